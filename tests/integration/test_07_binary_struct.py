"""Stage 07: messages in a stream: lines, and records of 22 bytes."""

import random
import re
import socket
import statistics
import struct
import time

import pytest
from course import check_exchange, is_closed, receive, receive_all
from every_stage import EveryStage, check_is_refused
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel import answering, refusing, wait_until_read

STAGE = "07-binary-struct"

RECORD = struct.Struct("! I 2s Q 2h f")
ALL_BYTES = bytes(range(256))
LINE_LIMIT = 8192

# The same examples each time, and no time limit: how fast they go depends on the machine.
examples = settings(derandomize=True, deadline=None, database=None, max_examples=60)


class TestEveryStage(EveryStage):
    long_message = 5_000_000


def upper_cased_record(data):
    """What the server answers: bytes 4 and 5 are the text."""
    return data[:4] + data[4:6].upper() + data[6:]


def random_records(count, seed=7):
    # Any 22 bytes are a record; many of these hold letters where a number is, and NaNs.
    generator = random.Random(seed)
    letters = b"abcdefghijklmnopqrstuvwxyz"
    return [
        bytes(generator.choice(letters + ALL_BYTES) for _ in range(RECORD.size))
        for _ in range(count)
    ]


def connect_without_delay(server):
    connection = server.connect()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def send_in_pieces(server, connection, pieces):
    """Sends each piece when the server has received the one before."""
    for count, piece in enumerate(pieces):
        try:
            connection.sendall(piece)
        except ConnectionError as error:
            raise AssertionError(
                f"sent {pieces[:count]!r}, one by one; expected the server to wait for the rest of "
                f"the message, came {error}: is what one recv brings taken for all of it?"
            ) from None
        wait_until_read(server, connection)


def bytewise(data):
    return [data[i : i + 1] for i in range(len(data))]


def cut(data, places):
    """The pieces of data, cut at places."""
    ends = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in zip(ends, ends[1:])]


def check_answer(connection, sent, expected):
    """Fails unless exactly the expected bytes come; says what was sent, also in pieces."""
    came, end = b"", "nothing more"
    try:
        while len(came) < len(expected) and (part := connection.recv(len(expected) - len(came))):
            came += part
    except OSError as error:
        end = str(error)
    assert came == expected, f"sent {sent!r}, expected {expected!r}, came {came!r}, then {end}"


def check_stream(server, pieces, expected):
    """Sends the pieces, ends the stream, and compares all that comes back."""
    with connect_without_delay(server) as connection:
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        came = receive_all(connection)
    assert came == expected, f"sent {pieces!r}, expected {expected!r}, came {came!r}"


# echo and upper.


@pytest.mark.idea
def test_echo_leaves_every_byte_alone(start):
    server = start("--handler", "echo")
    with server.connect() as connection:
        check_exchange(connection, ALL_BYTES)


def test_the_default_is_echo(start):
    with start().connect() as connection:
        check_exchange(connection, b"as it came\n" + ALL_BYTES)


@pytest.mark.idea
def test_upper_changes_the_ascii_letters_and_nothing_else(start):
    server = start("--handler", "upper")
    with server.connect() as connection:
        check_exchange(connection, ALL_BYTES, ALL_BYTES.upper())
        check_exchange(connection, "größer".encode(), "GRößER".encode())


@pytest.mark.idea
def test_upper_knows_no_messages(start):
    server = start("--handler", "upper")
    data = bytes(random.Random(1).choices(range(256), k=100_000))
    with server.connect() as connection:
        check_exchange(connection, b"a", b"A")
        check_exchange(connection, b"no newline", b"NO NEWLINE")
        check_exchange(connection, data, data.upper())


# line.


@pytest.fixture
def line_server(start):
    return start("--handler", "line")


@pytest.mark.idea
def test_a_line_is_answered_in_upper_case(line_server):
    with line_server.connect() as connection:
        check_exchange(connection, b"Hello\n", b"HELLO\n")
        check_exchange(connection, "größer\n".encode(), "GRößER\n".encode())
        check_exchange(connection, b"\r\n", b"\r\n")


@pytest.mark.idea
def test_part_of_a_line_is_not_answered_yet(line_server):
    with connect_without_delay(line_server) as connection:
        send_in_pieces(line_server, connection, [b"Hel", b"lo"])
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        connection.settimeout(20)
        check_exchange(connection, b"\n", b"HELLO\n")


@pytest.mark.idea
def test_lines_glued_together(line_server):
    lines = b"".join(b"line %d\n" % number for number in range(3000))
    with line_server.connect() as connection:
        check_exchange(connection, lines, lines.upper())


@pytest.mark.idea
def test_lines_byte_by_byte(line_server):
    lines = b"one\ntwo\n\nthree\n"
    with connect_without_delay(line_server) as connection:
        send_in_pieces(line_server, connection, bytewise(lines))
        check_answer(connection, bytewise(lines), lines.upper())


@pytest.mark.idea
def test_empty_lines(line_server):
    with line_server.connect() as connection:
        check_exchange(connection, b"\n")
        check_exchange(connection, b"\n\n\na\n\n", b"\n\n\nA\n\n")


@pytest.mark.idea
def test_a_zero_byte_is_a_byte_like_any_other(line_server):
    with line_server.connect() as connection:
        check_exchange(connection, b"a\0b\n\0\n", b"A\0B\n\0\n")


@pytest.mark.idea
@pytest.mark.parametrize("length", [LINE_LIMIT - 1, LINE_LIMIT])
def test_the_longest_line(line_server, length):
    line = b"x" * (length - 1) + b"\n"
    with line_server.connect() as connection:
        check_exchange(connection, line, line.upper())
        # Again, right behind a short one, so that it does not begin where the buffer does.
        check_exchange(connection, b"abc\n" + line + b"d\n", b"ABC\n" + line.upper() + b"D\n")


@pytest.mark.idea
@pytest.mark.parametrize("length", [LINE_LIMIT + 1, 20_000, 1_000_000])
def test_a_longer_line_ends_the_connection(line_server, length):
    with line_server.connect() as connection:
        check_exchange(connection, b"before\n", b"BEFORE\n")
        try:
            connection.sendall(b"x" * (length - 1) + b"\n")
        except ConnectionError:
            pass  # it need not wait for the end of the line
        assert is_closed(connection), f"a line of {length} bytes: expected the end, came an answer"
        port = connection.getsockname()[1]
    line_server.wait_log(rf"127\.0\.0\.1:{port}\b[^\n]*([Ll]ong|8192)")
    with line_server.connect() as connection:
        check_exchange(connection, b"the next\n", b"THE NEXT\n")


@pytest.mark.idea
def test_a_line_that_never_ends_is_not_waited_for(line_server):
    with line_server.connect() as connection:
        try:
            connection.sendall(b"x" * (LINE_LIMIT + 1))
        except ConnectionError:
            pass
        assert is_closed(connection)


@pytest.mark.idea
@pytest.mark.parametrize("data", [b"no newline", b"one\ntwo", b"\nx"])
def test_the_last_line_needs_no_newline(line_server, data):
    check_stream(line_server, [data], data.upper())


@pytest.mark.idea
def test_an_empty_stream_has_no_lines(line_server):
    check_stream(line_server, [], b"")


@pytest.mark.idea
def test_any_lines_in_any_pieces(line_server):
    lines = st.lists(st.binary(max_size=40) | st.just(b"\n"), max_size=30).map(b"".join)

    @examples
    @given(data=lines, places=st.lists(st.integers(0, 400), max_size=8))
    def check(data, places):
        check_stream(line_server, cut(data, places), data.upper())

    check()


# TCP_QUICKACK, of the stage before: only here does a server wait for the rest of a message.


def times_of_two_writes(server, count=9):
    """Milliseconds for a line that goes out in two writes, the second held back by Nagle's
    algorithm until the ACK of the first."""
    times = []
    with server.connect() as connection:
        for _ in range(count):
            begin = time.monotonic()
            connection.sendall(b"first,")
            connection.sendall(b"second\n")
            assert receive(connection, 13) == b"FIRST,SECOND\n"
            times.append((time.monotonic() - begin) * 1e3)
    return times


@pytest.mark.idea
def test_quickack_spares_the_client_the_wait(start):
    # The ACK of the very first part is not delayed, and a busy machine makes any of them late.
    off = statistics.median(times_of_two_writes(start("-q", "--handler", "line")))
    on = min(times_of_two_writes(start("-q", "--handler", "line", "--quickack", "on"))[1:])
    assert off > 30, f"about 40 ms were expected with --quickack off, it took {off:.2f} ms"
    assert on < off / 3, f"--quickack on took {on:.2f} ms, off {off:.2f} ms"


# record.


@pytest.fixture
def record_server(start):
    return start("--handler", "record")


@pytest.mark.idea
def test_a_record_comes_back_with_its_text_in_upper_case(record_server):
    # 0x61626364 is "abcd": a server that upper-cases all bytes makes another number of it.
    sent = (0x61626364, b"ok", 0x6162636465666768, -1, 0x6161, 0.5)
    expected = (sent[0], b"OK", *sent[2:])
    with record_server.connect() as connection:
        connection.sendall(RECORD.pack(*sent))
        came = receive(connection, RECORD.size)
    assert len(came) == RECORD.size, f"expected {RECORD.size} bytes, came {came!r}"
    assert RECORD.unpack(came) == expected, f"sent {sent}, expected {expected}, came {came!r}"


@pytest.mark.idea
@pytest.mark.parametrize("text", [b"\xe4\xf6", b"\xffz", b"\0a", b"{`", b"zZ"])
def test_only_ascii_letters_of_the_text_change(record_server, text):
    with record_server.connect() as connection:
        check_exchange(
            connection,
            RECORD.pack(1, text, 2, 3, 4, 5.0),
            RECORD.pack(1, text.upper(), 2, 3, 4, 5.0),
        )


@pytest.mark.idea
@pytest.mark.parametrize(
    "bits", [0x7F800001, 0x7FC00000, 0xFFFFFFFF, 0x7F800000, 0x80000000, 0x00000001, 0x6E616E61]
)
def test_the_bits_of_a_float_stay(record_server, bits):
    # NaNs, quiet and signalling, infinity, -0, the smallest: no sum was asked for.
    data = RECORD.pack(1, b"OK", 2, 3, 4, 0.0)[:-4] + struct.pack("!I", bits)
    with record_server.connect() as connection:
        check_exchange(connection, data)


@pytest.mark.idea
@pytest.mark.parametrize(
    "values",
    [
        (0, b"AB", 0, -32768, 32767, 0.0),
        (2**32 - 1, b"AB", 2**64 - 1, -1, 0, -1.5),
        (2**31, b"AB", 2**63, 255, -256, 3.0e38),
    ],
)
def test_the_numbers_at_their_limits(record_server, values):
    with record_server.connect() as connection:
        check_exchange(connection, RECORD.pack(*values))


@pytest.mark.idea
def test_a_record_byte_by_byte(record_server):
    first, second = random_records(2)
    with connect_without_delay(record_server) as connection:
        for record in (first, second):
            send_in_pieces(record_server, connection, bytewise(record))
            check_answer(connection, bytewise(record), upper_cased_record(record))


@pytest.mark.idea
def test_a_record_split_at_every_place(record_server):
    with connect_without_delay(record_server) as connection:
        for place, record in enumerate(random_records(RECORD.size - 1), start=1):
            pieces = [record[:place], record[place:]]
            send_in_pieces(record_server, connection, pieces)
            check_answer(connection, pieces, upper_cased_record(record))


@pytest.mark.idea
def test_part_of_a_record_is_not_answered_yet(record_server):
    record = random_records(1)[0]
    with connect_without_delay(record_server) as connection:
        send_in_pieces(record_server, connection, [record[:21]])
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(100)
        connection.settimeout(20)
        check_exchange(connection, record[21:], upper_cased_record(record))


@pytest.mark.idea
def test_500_records_glued_together(record_server):
    records = random_records(500)
    with record_server.connect() as connection:
        check_exchange(
            connection, b"".join(records), b"".join(upper_cased_record(r) for r in records)
        )


@pytest.mark.idea
@pytest.mark.parametrize("length", [1, 2, 21])
def test_a_record_cut_short_is_dropped_and_logged(record_server, length):
    record = random_records(1)[0]
    check_stream(record_server, [record, record[:length]], upper_cased_record(record))
    record_server.wait_log(rf"[Rr]ecord[^\n]*\b{length}\b")
    with record_server.connect() as connection:
        check_exchange(connection, record, upper_cased_record(record))


@pytest.mark.idea
def test_no_record_is_nothing_to_log(record_server):
    record = random_records(1)[0]
    check_stream(record_server, [], b"")
    check_stream(record_server, [record], upper_cased_record(record))
    assert "cut short" not in record_server.log


@pytest.mark.idea
def test_any_records_in_any_pieces(record_server):
    @examples
    @given(
        records=st.lists(st.binary(min_size=22, max_size=22), max_size=12),
        rest=st.binary(max_size=21),
        places=st.lists(st.integers(0, 280), max_size=8),
    )
    def check(records, rest, places):
        expected = b"".join(upper_cased_record(record) for record in records)
        check_stream(record_server, cut(b"".join(records) + rest, places), expected)

    check()


@pytest.mark.idea
def test_any_values_come_back(record_server):
    short = st.integers(-(2**15), 2**15 - 1)
    with record_server.connect() as connection:

        @examples
        @given(
            st.integers(0, 2**32 - 1),
            st.binary(min_size=2, max_size=2),
            st.integers(0, 2**64 - 1),
            short,
            short,
            st.floats(width=32, allow_nan=False),
        )
        def check(number, text, long_number, first, second, real):
            numbers = (long_number, first, second, real)
            sent = RECORD.pack(number, text, *numbers)
            connection.sendall(sent)
            check_answer(connection, sent, RECORD.pack(number, text.upper(), *numbers))

        check()


# The client's records.


def answer_records(connection):
    """A record server in Python, for tests of the client that hold whatever the server is."""
    while len(record := receive(connection, RECORD.size)) == RECORD.size:
        connection.sendall(upper_cased_record(record))


@pytest.mark.parametrize(
    "words, printed",
    [
        ("1 ab 2 3 4 0.5", "1 AB 2 3 4 0.5"),
        ("0 ab 0 -32768 32767 -1.5", "0 AB 0 -32768 32767 -1.5"),
        ("4294967295 Zz 18446744073709551615 -1 -1 1e10", None),
        ("1 a 2 3 4 0.1", r"1 A\x00 2 3 4 0.100000001"),
        ("1 ab 2 3 4 -inf", "1 AB 2 3 4 -inf"),
        ("1 ab 2 3 4 nan", "1 AB 2 3 4 nan"),
    ],
)
def test_the_client_prints_the_values_that_come_back(client, words, printed):
    with answering(answer_records) as port:
        result = client(port, "--record", *words.split())
    assert result.status == 0
    expected = printed or "4294967295 ZZ 18446744073709551615 -1 -1 1e+10"
    assert result.out.decode() == expected + "\n"


def test_the_clients_record_is_22_bytes_in_network_order(client):
    came = []

    def answer(connection):
        came.append(receive(connection, RECORD.size))
        connection.sendall(RECORD.pack(5, b"no", 6, -7, 8, 9.5))
        came.append(receive_all(connection))

    with answering(answer) as port:
        result = client(port, "--record", "4000000000", "x", "2", "-3", "4", "-0.25")
    assert came == [RECORD.pack(4_000_000_000, b"x", 2, -3, 4, -0.25), b""]
    assert (result.status, result.out) == (0, b"5 no 6 -7 8 9.5\n")


@pytest.mark.idea
def test_the_client_and_the_server_on_a_record(record_server, client):
    words = ["1633837924", "ok", "7017280452245743464", "-2", "24929", "3.25"]
    for split in ("off", "on"):
        result = client(record_server.port, "--split", split, "--record", *words)
        assert result.status == 0
        assert result.out.decode().split() == [words[0], "OK", *words[2:]]


def test_any_floats_come_back_as_the_same_bits(client):
    with answering(answer_records) as port:
        for bits in (0x3DCCCCCD, 0x00000001, 0x7F7FFFFF, 0x3F800001):
            (real,) = struct.unpack("!f", struct.pack("!I", bits))
            result = client(port, "--record", "1", "ab", "2", "3", "4", repr(real))
            assert result.status == 0
            assert struct.pack("!f", float(result.out.split()[-1])) == struct.pack("!I", bits)


@pytest.mark.parametrize(
    "words, field",
    [
        ("-1 ab 2 3 4 5", 1),
        ("4294967296 ab 2 3 4 5", 1),
        ("one ab 2 3 4 5", 1),
        ("1 abc 2 3 4 5", 2),
        ("1 ab -2 3 4 5", 3),
        ("1 ab 18446744073709551616 3 4 5", 3),
        ("1 ab 2 32768 4 5", 4),
        ("1 ab 2 -32769 4 5", 4),
        ("1 ab 2 3 4.5 5", 5),
        ("1 ab 2 3 4 five", 6),
        ("1 ab 2 3 4 1e39", 6),
    ],
)
def test_the_client_names_the_field_that_is_wrong(client, words, field):
    result = client(9, "--record", *words.split())
    assert result.status == 2
    assert re.search(rf"--record: field {field} \(", result.err), (
        f"expected 'field {field}' in {result.err!r}"
    )
    assert result.out == b""


@pytest.mark.parametrize("words", ["", "1", "1 ab 2 3 4"])
def test_the_client_wants_six_words(client, words):
    result = client(9, "--record", *words.split())
    assert result.status == 2
    assert "--record" in result.err and "6 words" in result.err


def test_a_record_takes_the_place_of_a_message(client):
    result = client(9, "--record", *"1 ab 2 3 4 5".split(), "Hello")
    assert result.status == 2
    assert "Hello" in result.err and "--record" in result.err


def test_options_may_follow_the_record(client):
    with answering(answer_records) as port:
        result = client(port, "--record", *"1 ab 2 -3 4 5".split(), "--nodelay", "off")
    assert (result.status, result.out) == (0, b"1 AB 2 -3 4 5\n")
    assert "TCP_NODELAY: asked 0" in result.err


def test_a_record_without_an_answer_is_an_error(client):
    with answering(lambda connection: receive(connection, RECORD.size)) as port:
        result = client(port, "--record", *"1 ab 2 3 4 5".split())
    assert (result.status, result.out) == (1, b"")
    assert "after 0 of 22 bytes" in result.err
    with refusing() as port:
        result = client(port, "--record", *"1 ab 2 3 4 5".split())
    assert result.status == 1
    assert f"connect 127.0.0.1:{port}: Connection refused" in result.err


# Command lines.


@pytest.mark.idea
@pytest.mark.parametrize("value", ["shout", "ECHO", "", "lines"])
def test_a_handler_that_is_not_there_is_refused(start, value):
    server = start("--handler", value, ready=False)
    check_is_refused(server, "--handler", value, "echo, upper, line, record")
