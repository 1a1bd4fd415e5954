"""common/pack against Python's struct, from which it has its formats.

A small C program, pack_lines.c, hands pack() and unpack() what hypothesis thinks up. What is
meant to differ from Python: the codes e, n, N, p and P are not there; a text longer than its
field is an error, not cut; the values of ? are 0 and 1 and nothing else; and a format makes at
most 2147483647 bytes.
"""

import math
import os
import re
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]

# The same examples each time, and no time limit: how fast they go depends on the machine.
examples = settings(derandomize=True, deadline=None, database=None, max_examples=250)

SIGNED, UNSIGNED, REAL, TEXT = "bhilq", "BHILQ", "fd", "cs"
NOT_HERE = "enNpP"
SANITIZERS = {"address": ["-fsanitize=address,undefined"], "thread": ["-fsanitize=thread"]}


class Packer:
    """The C program, one for all examples."""

    def __init__(self, program):
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def ask(self, request, number, form, *words):
        """The words of an answer behind "ok"; ValueError with the reason behind "error"."""
        self.process.stdin.write(" ".join([request, str(number), hexadecimal(form), *words]) + "\n")
        answer = self.process.stdout.readline()
        assert answer, f"pack_lines ended on {request} {form!r} {words}"
        kind, _, rest = answer.rstrip("\n").partition(" ")
        if kind == "error":
            assert rest, f"{request} {form!r} {words}: refused without a reason"
            raise ValueError(rest)
        assert kind == "ok"
        return rest.split()

    def size(self, form):
        return int(self.ask("size", 0, form)[0])

    def pack(self, form, values, room):
        """values as value_word() takes them."""
        packed = self.ask("pack", room, form, *(value_word(*value) for value in values))[0]
        return bytes.fromhex(packed.replace("-", ""))

    def unpack(self, form, data, count):
        """Words as value_word() makes them."""
        return self.ask("unpack", count, form, hexadecimal(data))


def hexadecimal(data):
    return data.hex() or "-"


def bits(code, number):
    """The bits of a float as hexadecimal digits."""
    return struct.pack(">" + code, number).hex()


def value_word(code, value):
    """A value as pack_lines reads and writes it."""
    if code in TEXT:
        return code + hexadecimal(value)
    if code in REAL:
        return code + bits(code, value)
    return code + str(int(value))


@pytest.fixture(scope="module")
def packer(request, tmp_path_factory):
    build = ROOT / request.config.getoption("build")
    program = tmp_path_factory.mktemp("pack") / "pack_lines"
    command = [
        os.environ.get("CC", "cc"), "-std=c11", "-D_GNU_SOURCE", "-pthread", f"-I{ROOT}",
        *SANITIZERS.get(build.name, []), str(Path(__file__).with_name("pack_lines.c")),
        str(build / "common" / "pack.o"), "-lm", "-o", str(program),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    made = Packer(program)
    yield made
    made.process.stdin.close()
    assert made.process.wait(20) == 0
    made.process.stdout.close()


# What hypothesis makes formats and values of.

orders = st.sampled_from(["", "@", "=", "<", ">", "!"])
blanks = st.sampled_from(["", "", "", " ", "  ", "\t", "\n\v"])
counts = st.none() | st.integers(0, 4) | st.just(17)


def values_of(code, count):
    """What a code with its count takes: [(code, value), …] as a strategy."""
    if code == "x":
        return st.just([])
    if code == "s":
        size = 1 if count is None else count
        # Shorter than the field too: the rest is zeros, as in Python.
        return st.binary(max_size=size).map(lambda text: [(code, text)])
    if code == "c":
        value = st.binary(min_size=1, max_size=1)
    elif code == "?":
        value = st.booleans()
    elif code in REAL:
        value = st.floats(width=32 if code == "f" else 64, allow_nan=False)
    else:
        # A little more than the range too: then Python and C must both refuse.
        width = 8 * struct.calcsize("=" + code.replace("l", "i").replace("L", "I"))
        low, high = (-(2 ** (width - 1)), 2 ** (width - 1)) if code in SIGNED else (0, 2**width)
        edges = [low, low + 1, 0, 1, high // 2, high - 1]
        if width < 64:
            edges += [high] + [low - 1] * (code in SIGNED)
        value = st.integers(low, high - 1) | st.sampled_from(edges)
    size = 1 if count is None else count
    return st.lists(value.map(lambda v: (code, v)), min_size=size, max_size=size)


@st.composite
def formats(draw, order=orders, letters="xcbB?hHiIlLqQfds"):
    """A format, and its codes with their counts."""
    fields = draw(st.lists(st.tuples(counts, st.sampled_from(letters)), max_size=6))
    text = draw(order)
    for count, code in fields:
        text += draw(blanks) + ("" if count is None else str(count)) + code
    return (text + draw(blanks)).encode(), fields


@st.composite
def formats_with_values(draw):
    form, fields = draw(formats())
    return form, [value for count, code in fields for value in draw(values_of(code, count))]


def codes_of(fields):
    """The code of each value of a format."""
    codes = []
    for count, code in fields:
        if code == "s":
            codes.append(code)
        elif code != "x":
            codes += [code] * (1 if count is None else count)
    return codes


# The tests.


def test_sizes_are_pythons(packer):
    @examples
    @given(formats())
    def check(form_and_fields):
        form, _ = form_and_fields
        assert packer.size(form) == struct.calcsize(form), form

    check()


@pytest.mark.parametrize("order", ["", "@", "=", "<", ">", "!"])
@pytest.mark.parametrize("code", "xcbB?hHiIlLqQfds")
def test_the_size_of_each_code(packer, order, code):
    # Behind a single byte, so that alignment shows; and with the counts 0 to 3.
    for count in ("", 0, 1, 2, 3):
        for form in (f"{order}{count}{code}", f"{order}b{count}{code}", f"{order}b{count}{code}b"):
            assert packer.size(form.encode()) == struct.calcsize(form), form


def test_packed_bytes_are_pythons(packer):
    @examples
    @given(formats_with_values())
    def check(form_and_values):
        form, values = form_and_values
        try:
            expected = struct.pack(form, *(value for _, value in values))
        except struct.error as refused:
            with pytest.raises(ValueError, match=r"field \d+ \(.\): "):
                packer.pack(form, values, 5000)
                pytest.fail(f"{form!r} {values}: Python says {refused}")
            return
        room = len(expected)
        assert packer.pack(form, values, room) == expected, (form, values)
        if room > 0:
            with pytest.raises(ValueError):
                packer.pack(form, values, room - 1)

    check()


def test_unpacked_values_are_pythons(packer):
    @examples
    @given(formats(), st.data())
    def check(form_and_fields, data):
        form, fields = form_and_fields
        size, codes = struct.calcsize(form), codes_of(fields)
        packed = data.draw(st.binary(min_size=size, max_size=size))
        came = packer.unpack(form, packed, len(codes))
        expected = struct.unpack(form, packed)
        assert len(came) == len(expected) == len(codes)
        for word, code, value in zip(came, codes, expected):
            if code in REAL and math.isnan(value):
                # On the way through Python a NaN may change; below its bits are compared.
                assert word[0] == code and math.isnan(
                    struct.unpack(">" + code, bytes.fromhex(word[1:]))[0]
                )
            else:
                assert word == value_word(code, value), (form, packed)

    check()


def test_any_bytes_come_back_through_unpack_and_pack(packer):
    # Without padding and truth values, which have only one way to be written, and without
    # alignment, no bit is lost: also none of a NaN.
    @examples
    @given(formats(st.sampled_from("=<>!"), "cbBhHiIlLqQfds"), st.data())
    def check(form_and_fields, data):
        form, fields = form_and_fields
        size, codes = struct.calcsize(form), codes_of(fields)
        packed = data.draw(st.binary(min_size=size, max_size=size))
        words = packer.unpack(form, packed, len(codes))
        again = packer.ask("pack", size, form, *words)[0]
        assert bytes.fromhex(again.replace("-", "")) == packed, form

    check()


@pytest.mark.parametrize("order", "<>=!@")
@pytest.mark.parametrize(
    "code, digits",
    [
        ("f", "7fc00000"), ("f", "7f800001"), ("f", "ffffffff"), ("f", "ff800000"),
        ("d", "7ff8000000000000"), ("d", "7ff0000000000001"), ("d", "ffffffffffffffff"),
    ],
)  # fmt: skip
def test_the_bits_of_a_nan_stay(packer, order, code, digits):
    form = (order + code).encode()
    packed = packer.ask("pack", 8, form, code + digits)[0]
    big_endian = order in ">!" or struct.pack("=h", 1) == struct.pack(">h", 1) and order != "<"
    expected = bytes.fromhex(digits)
    assert packed == (expected if big_endian else expected[::-1]).hex()
    assert packer.ask("unpack", 1, form, packed) == [code + digits]


def test_formats_that_python_refuses_are_refused(packer):
    # Also those that are only nearly formats. Counts stay small: where Python stops is far
    # beyond an int.
    alphabet = "!<>=@ \t\nxcbB?hHiIlLqQfds0123" + NOT_HERE + "aZ*-+.%\xe9"

    @examples
    @given(st.lists(st.sampled_from(alphabet), max_size=6).map("".join))
    def check(text):
        form = text.encode("latin-1")
        try:
            expected = struct.calcsize(form)
        except struct.error:
            expected = None
        if expected is None or any(code in text for code in NOT_HERE):
            with pytest.raises(ValueError):
                packer.size(form)
                pytest.fail(f"{form!r} is not refused")
        else:
            assert packer.size(form) == expected, form

    check()


@pytest.mark.parametrize(
    "form",
    ["!2147483648x", "!99999999999999999999s", "!1073741824h", "!b2147483647s", "3", "! 3 h"],
)
def test_what_is_too_large_or_not_a_format_is_refused(packer, form):
    with pytest.raises(ValueError, match="format: "):
        packer.size(form.encode())


def test_the_largest_sizes(packer):
    assert packer.size(b"!2147483647x") == 2**31 - 1
    assert packer.size(b"!268435455q") == 2**31 - 8


@pytest.mark.parametrize("text", [b"abc", b"abcd"])
def test_a_text_longer_than_its_field_is_an_error(packer, text):
    # Python would cut it without a word.
    with pytest.raises(ValueError, match=r"field 2 \(s\)"):
        packer.pack(b"!b2s", [("b", 1), ("s", text)], 100)


@pytest.mark.parametrize("text", [b"", b"ab"])
def test_a_c_takes_one_byte(packer, text):
    with pytest.raises(struct.error):
        struct.pack("c", text)
    with pytest.raises(ValueError, match=r"field 1 \(c\)"):
        packer.pack(b"c", [("c", text)], 100)


@pytest.mark.parametrize("number", [2, 255, 2**64 - 1])
def test_a_truth_value_is_0_or_1(packer, number):
    with pytest.raises(ValueError, match=r"field 1 \(\?\)"):
        packer.ask("pack", 10, b"?", f"?{number}")


def test_the_number_of_values_must_be_right(packer):
    @settings(examples, max_examples=100)
    @given(formats_with_values())
    def check(form_and_values):
        form, values = form_and_values
        for wrong in [values + [("h", 1)]] + [values[:-1]] * bool(values):
            with pytest.raises(struct.error):
                struct.pack(form, *(value for _, value in wrong))
            with pytest.raises(ValueError):
                packer.pack(form, wrong, 5000)
        data = bytes(struct.calcsize(form))
        with pytest.raises(ValueError):
            packer.unpack(form, data, len(values) + 1)

    check()


def test_the_number_of_bytes_must_be_right(packer):
    @settings(examples, max_examples=100)
    @given(formats())
    def check(form_and_fields):
        form, fields = form_and_fields
        data, count = bytes(struct.calcsize(form)), len(codes_of(fields))
        for wrong in [data + b"\0"] + [data[:-1]] * bool(data):
            with pytest.raises(struct.error):
                struct.unpack(form, wrong)
            with pytest.raises(ValueError):
                packer.unpack(form, wrong, count)

    check()


@pytest.mark.parametrize("code, other", ["hH", "Ii", "fd", "cs", "?B"])
def test_a_value_of_another_code_is_an_error(packer, code, other):
    with pytest.raises(ValueError, match=rf"field 1 \({re.escape(code)}\)"):
        packer.ask("pack", 10, code.encode(), other + "1")


def test_the_record_of_stage_07(packer):
    values = (1, b"ab", 2**63, -1, 32767, 0.1)
    form = b"! I 2s Q 2h f"
    pairs = list(zip("IsQhhf", values))
    assert packer.size(form) == 22
    assert packer.pack(form, pairs, 22) == struct.pack(form, *values)
    assert packer.size(form.replace(b"!", b"@")) == struct.calcsize(form.replace(b"!", b"@"))
