"""docs/options.md: each column of its tables, against the kernel that runs here, and against the
sources of the course."""

import contextlib
import errno
import json
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from course import wait_until
from kernel import setting

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")
STAGES = sorted(path.parent.name for path in ROOT.glob("[0-9][0-9]-*/server.c"))
LEVELS = {"SOL_SOCKET": socket.SOL_SOCKET, "IPPROTO_TCP": socket.IPPROTO_TCP}

# Python's socket module does not name it in every version; this is its number in linux/tcp.h.
OTHER_NUMBERS = {"TCP_FASTOPEN_CONNECT": 30}

# What looks like an option in the sources, and is none.
NOT_OPTIONS = {
    "TCP_HEADER": "the size of a header, in the labs' reader of segments",
    "TCP_MAGIC": "made up by the unit tests, for a system without the option",
    "SO_MAGIC": "made up by the unit tests, for a number that no option has",
    "TCP_STATE_ESTABLISHED": "the checker's name for a state",
    "TCP_STATE_SYN_RECV": "the checker's name for a state",
    "TCP_STATE_LISTEN": "the checker's name for a state",
    "TCP_ESTABLISHED": "the kernel's name for a state",
    "SO_BUF": "a label that the unit tests give to both buffers",
}
# What is none, or is only read to see it fail.
NOT_SETTINGS = {
    "kernel.ostype": "is no number",
    "user.name": "is git's, in a test",
    "user.email": "is git's, in a test",
    "net.ipv4.no_such_setting": "is not there",
}
# Told of on the page, but not in the table: programs for the kernel, what only a client of the labs
# or the checker sets, and the options of the wire's packet sockets.
TOLD_BELOW = {
    "SO_ATTACH_REUSEPORT_CBPF",
    "SO_ATTACH_FILTER",
    "IP_BIND_ADDRESS_NO_PORT",
    "TCP_MAXSEG",
    "PACKET_IGNORE_OUTGOING",
    "PACKET_VERSION",
    "PACKET_RX_RING",
    "PACKET_QDISC_BYPASS",
    "PACKET_STATISTICS",
}


def table(after):
    """The first table under a line: {first cell: {column: cell}}, in their order."""
    lines = PAGE.partition(f"\n{after}\n")[2].splitlines()
    while lines and not lines[0].startswith("|"):
        lines.pop(0)
    rows = []
    while lines and lines[0].startswith("|"):
        rows.append([cell.strip() for cell in lines.pop(0).strip("|").split("|")])
    assert len(rows) > 2, f"no table under '{after}'"
    head, _, *body = rows
    for row in body:
        assert len(row) == len(head), f"a row of {len(row)} cells, not {len(head)}: {row}"
    found = {row[0].strip("`"): dict(zip(head, row)) for row in body}
    assert len(found) == len(body), f"two rows of the same name under '{after}'"
    return found


OPTIONS = table("## Socket options")
SETTINGS = table("## Settings of the kernel")
each_option = pytest.mark.parametrize("name", OPTIONS)
each_setting = pytest.mark.parametrize("name", SETTINGS)


def file_of(name):
    return Path("/proc/sys", *name.split("."))


def number(name):
    found = getattr(socket, name, OTHER_NUMBERS.get(name))
    assert found is not None, f"{name}: Python has no number for it; add it to OTHER_NUMBERS"
    return found


def level(name):
    return LEVELS[OPTIONS[name]["level"].strip("`")]


def unit(name):
    return OPTIONS[name]["unit"]


def read_only(name):
    return unit(name) == "read only"


def get(sock, name):
    """The bytes of an option; skips the test where the kernel does not have it."""
    try:
        return sock.getsockopt(level(name), number(name), 512)
    except OSError as error:
        if error.errno == errno.ENOPROTOOPT:
            pytest.skip(f"this kernel has no {name} at {OPTIONS[name]['level']}")
        raise


def put(sock, name, value, at=None):
    """The errno of setsockopt, 0 where it went well."""
    try:
        sock.setsockopt(level(name) if at is None else at, number(name), value)
    except OSError as error:
        return error.errno
    return 0


def said(name, data):
    """An option's bytes as the page writes them."""
    kind = OPTIONS[name]["type"].strip("`")
    if kind == "struct tcp_info":
        return f"state {data[0]}"
    values = struct.unpack(FORMATS[kind], data)
    return "{%d, %d}" % values if len(values) > 1 else str(values[0])


FORMATS = {"int": "@i", "struct timeval": "@ll", "struct linger": "@ii"}


def another_value(name):
    """(what to set, what to read back): never the default."""
    kind = OPTIONS[name]["type"].strip("`")
    if kind != "int":
        value = struct.pack(FORMATS[kind], 1, 0)
        return value, value
    with socket.socket() as fresh:
        (default,) = struct.unpack("@i", get(fresh, name))
    if unit(name) == "0 or 1":
        asked = came = 1 - default
    elif unit(name) == "bytes":
        asked = 20_000 if default != 40_000 else 21_000
        came = 2 * asked
    elif unit(name) == "s, rounded up":
        asked, came = 5, 7  # 1 + 2 + 4: when the SYN ACK is sent again
    else:
        asked = came = 5 if default != 5 else 6
    return struct.pack("@i", asked), struct.pack("@i", came)


@pytest.fixture
def fresh():
    with socket.socket() as sock:
        yield sock


@pytest.fixture
def listener():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


# The page and the sources name the same.


def sources(*endings):
    """{path: text} of all C, C++ and Python of the course, but for this file."""
    folders = [*STAGES, "common", "tests"]
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*"))]
    return {
        path.relative_to(ROOT): path.read_text(encoding="utf-8")
        for path in paths
        if path.suffix in endings and path.name != Path(__file__).name
    }


CODE = sources(".c", ".h", ".cc", ".py")
# What only reports is in common/, one function for each stage that calls it: to the stage it is as
# if it stood there.
REPORTS = re.findall(
    r"^void (report_\w+)\(.*?\)\n(\{\n.*?^\})", CODE[Path("common/limits.c")], re.S | re.M
)
assert len(REPORTS) > 3
for path in [path for path in CODE if path.parts[0] in STAGES]:
    CODE[path] += "".join(body for name, body in REPORTS if f"{name}(" in CODE[path])


def named(pattern):
    """{what is found: where}."""
    found = {}
    for path, text in CODE.items():
        for name in re.findall(pattern, text):
            found.setdefault(name, []).append(path)
    return found


# In a string, alone or in a command; "kernel.setting" of Python's own is neither.
SETTING = r"""["'\s](net\.\w+\.[\w.-]*\w|(?:kernel|vm|user)\.[a-z_-]*[a-z])(?=["'\s=:;),]|\.\s)"""
SETTING_FILE = r"/proc/sys/((?:net/\w+|kernel|vm|user)/[\w/-]*\w)"


def named_settings():
    found = named(SETTING)
    for path, places in named(SETTING_FILE).items():
        found.setdefault(path.replace("/", "."), []).extend(places)
    return found


def test_every_option_of_the_sources_is_in_the_table_and_no_other():
    found = named(r"\b((?:SO|TCP)_[A-Z0-9_]*[A-Z0-9])\b")
    known = [*OPTIONS, *NOT_OPTIONS, *TOLD_BELOW]
    missing = {n: paths for n, paths in found.items() if n not in known}
    assert not missing, f"not in the table of docs/options.md: {missing}"
    assert set(OPTIONS) <= set(found), f"in no source: {set(OPTIONS) - set(found)}"
    assert set(NOT_OPTIONS) <= set(found), f"in no source: {set(NOT_OPTIONS) - set(found)}"


def test_whatever_is_set_or_read_is_on_the_page():
    call = r"\b(?:[sg]etsockopt|set_(?:time_|buffer_)?option)\([^;]*?,\s*([A-Z]+_[A-Z_]+)\s*,"
    with_level = r"\b(?:SOL_[A-Z]+|IPPROTO_[A-Z]+),\s*(?:socket\.)?([A-Z]+_[A-Z_]+)\b"
    found = {n for n in {**named(call), **named(with_level)} if not re.match("SOL_|IPPROTO_", n)}
    found.discard("NO_SUCH_OPTION")  # what an option is that the system does not have
    assert "SO_ERROR" in found and "SO_RCVTIMEO" in found, f"found only {found}"
    assert found - set(OPTIONS) - set(NOT_OPTIONS) == TOLD_BELOW
    for name in TOLD_BELOW:
        assert f"`{name}`" in PAGE


def test_every_setting_of_the_sources_is_in_the_table():
    found = named_settings()
    missing = {n: paths for n, paths in found.items() if n not in [*SETTINGS, *NOT_SETTINGS]}
    assert not missing, f"not in the table of docs/options.md: {missing}"
    assert set(NOT_SETTINGS) <= set(found), f"in no source: {set(NOT_SETTINGS) - set(found)}"


def fallbacks(name):
    """The options whose row speaks of a setting."""
    return [option for option, row in OPTIONS.items() if f"`{name}`" in " ".join(row.values())]


@each_setting
def test_a_setting_of_the_table_is_in_a_source_or_a_default(name):
    assert name in named_settings() or fallbacks(name), f"{name}: nothing in the course names it"


def first_stage(is_named):
    """The number of the first stage with a source of which that is true."""
    for path, text in sorted(CODE.items(), key=lambda item: stage_of(item[0])):
        if stage_of(path) != "labs" and is_named(path, text):
            return stage_of(path)
    return None


def stage_of(path):
    """01 to 09 for the programs, the lab and the tests of a stage; labs for all others."""
    found = re.match(r"(?:tests/labs/|tests/integration/test_)?(0[1-9])[-_]", str(path))
    return found[1] if found else "labs"


def stage_cell(row):
    """The stage that a row names; its link has to lead to that stage's chapter."""
    found = re.fullmatch(r"\[(\d\d)\]\((\d\d-[\w-]+)\.md\)", row["stage"])
    if found is None:
        return row["stage"]
    assert found[2] in STAGES and found[2].startswith(found[1]), f"a wrong link: {row['stage']}"
    return found[1]


@each_option
def test_the_stage_is_the_first_whose_programs_use_the_option(name):
    programs = {path for stage in STAGES for path in (f"{stage}/server.c", f"{stage}/client.c")}
    first = first_stage(
        lambda path, text: str(path) in programs and re.search(rf"\b{name}\b", code_of(text))
    )
    if first is None:
        labs = any(str(path).startswith("tests/labs") for path in named(rf"\b({name})\b")[name])
        first = "labs" if labs else "tests"
    assert stage_cell(OPTIONS[name]) == first


def code_of(text):
    """Without the comments, which may speak of what is to come."""
    return re.sub(r"/\*.*?\*/", "", text, flags=re.S)


@each_setting
def test_the_stage_is_the_first_that_names_the_setting(name):
    places = named_settings().get(name, [])
    first = first_stage(lambda path, _: path in places)
    by_default = [stage_cell(OPTIONS[option]) for option in fallbacks(name)]
    candidates = [found for found in [first, *by_default] if found]
    assert stage_cell(SETTINGS[name]) == min(candidates, default="labs")


@each_setting
def test_who_sets_a_setting(name):
    """In the labs. The servers and clients set none."""
    setters = named(rf'\b(?:lab_set|lab_try_set|hosts_set)\("({re.escape(name)})"').get(name, [])
    expected = {"wire" if "wire" in path.parts else "lab" for path in setters}
    said_to = {who for who in ("lab", "wire") if f"{who} sets" in SETTINGS[name]["read or set by"]}
    assert said_to == expected, f"{name} is set by {expected} in {setters}"


@each_option
def test_the_options_of_the_course_that_set_it(name):
    """An option of the course names in its help what it sets."""
    expected = set()
    for program in ("server", "client"):
        text = CODE[Path(STAGES[-1], f"{program}.c")]
        for flag, says in re.findall(r'OPTION_[A-Z_]+\("([\w-]+)"(.*?)\),\n', text, re.S):
            if re.search(rf"\b{name}\b", says):
                expected.add((program, f"--{flag}"))
    found = {
        (program, flag)
        for part in OPTIONS[name]["option of the course"].split(";")
        for program in re.findall(r"\b(?:server|client)\b", part)
        for flag in re.findall(r"--[\w-]+", part)
    }
    assert found == expected


# The kernel agrees: options.


@each_option
def test_the_default_is_what_a_fresh_socket_says(fresh, name):
    came, cell = said(name, get(fresh, name)), OPTIONS[name]["default"]
    named_setting = re.match(r"`([a-z0-9_.]+\.[a-z0-9_.]+)`(, second number)?$", cell)
    if named_setting:
        setting(named_setting[1])  # skips where it cannot be read
        values = file_of(named_setting[1]).read_text(encoding="ascii").split()
        assert came == values[1 if named_setting[2] else 0], f"{name}, {cell}: {values}"
        assert len(values) == (3 if named_setting[2] else 1)
    else:
        assert re.match(rf"`?{re.escape(came)}`?(?![\w])", cell), f"{name}: {cell}, came {came}"


@each_option
def test_the_type_is_the_size_that_the_kernel_takes_and_gives(fresh, name):
    kind = OPTIONS[name]["type"].strip("`")
    data = get(fresh, name)
    if kind == "struct tcp_info":
        assert len(data) > 100 and read_only(name)
        return
    size = struct.calcsize(FORMATS[kind])
    assert len(data) == size
    if read_only(name):
        assert put(fresh, name, data) == errno.ENOPROTOOPT
        return
    value, _ = another_value(name)
    assert put(fresh, name, value[:-1]) == errno.EINVAL
    if kind != "int":
        assert put(fresh, name, struct.pack("@i", 1)) == errno.EINVAL
    assert get(fresh, name) == data, "a size that was refused has changed the option"
    assert put(fresh, name, value) == 0


@each_option
def test_the_unit_says_what_values_there_are(fresh, name):
    bounds = re.search(r"(\d+) to (\d+)$", unit(name))
    if bounds:
        low, high = map(int, bounds.groups())
        for value in (low, high):
            assert put(fresh, name, struct.pack("@i", value)) == 0, f"{name} refuses {value}"
            assert struct.unpack("@i", get(fresh, name)) == (value,)
        for value in (low - 1, high + 1):
            if -(2**31) <= value < 2**31:
                assert put(fresh, name, struct.pack("@i", value)) == errno.EINVAL, (name, value)
    elif unit(name) == "0 or 1":
        # Any other number is refused, or taken for 1.
        if put(fresh, name, struct.pack("@i", 7)) == 0:
            assert struct.unpack("@i", get(fresh, name)) == (1,)
    elif unit(name) == "bytes":
        value, doubled = another_value(name)
        assert put(fresh, name, value) == 0
        assert get(fresh, name) == doubled
    elif read_only(name):
        assert put(fresh, name, get(fresh, name)) == errno.ENOPROTOOPT
    else:
        value, came = another_value(name)
        assert put(fresh, name, value) == 0
        assert get(fresh, name) == came


@each_option
def test_at_the_other_level_it_is_something_else(fresh, name):
    (other,) = set(LEVELS.values()) - {level(name)}
    # So it is named; and a kernel without the option could not tell.
    assert level(name) == LEVELS["SOL_SOCKET" if name.startswith("SO_") else "IPPROTO_TCP"]
    default = get(fresh, name)
    if read_only(name):
        try:
            came = fresh.getsockopt(other, number(name), 512)
        except OSError:
            return
        assert came != default
        return
    value, came = another_value(name)
    put(fresh, name, value, at=other)  # fails, or sets something else
    assert get(fresh, name) == default, f"{name} can be set at the other level too"
    assert put(fresh, name, value) == 0
    assert get(fresh, name) == came


WHEN = {
    "before bind",
    "before connect",
    "on a listener",
    "before each recv",
    "any time",
}


@each_option
def test_when_it_can_be_set(fresh, listener, name):
    """What can be set at any time can be set on all of these; what cannot be set on a connection
    has to be set before there is one. That an option is of use then is for the chapters' tests."""
    when = OPTIONS[name]["set it"]
    assert when.partition(";")[0] in WHEN
    if read_only(name):
        assert when == "any time"
        get(fresh, name)
        return
    value, _ = another_value(name)
    results = {"fresh": put(fresh, name, value), "bound": put(listener, name, value)}
    with socket.create_server(("127.0.0.1", 0)) as plain:
        results["listening"] = put(plain, name, value)
    with socket.create_server(("127.0.0.1", 0)) as plain:
        with socket.create_connection(plain.getsockname()) as connection:
            results["connected"] = put(connection, name, value)
    refused = [state for state, error in results.items() if error]
    if when == "on a listener":
        assert refused == ["connected"]
    elif when == "before connect" and refused:
        assert "connected" in refused and "fresh" not in refused
    else:
        assert not refused, f"{name}, {when}: refused when {refused}"


def listener_and_accepted(name, value=None):
    """What an option is on a listener before it listens, and on a socket that it accepted."""
    with socket.socket() as listener:
        if value is not None:
            assert put(listener, name, value) == 0
        on_listener = get(listener, name)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                return on_listener, get(accepted, name)


@each_option
def test_what_an_accepted_socket_inherits(listener, name):
    cell = OPTIONS[name]["inherited"]
    if cell == "not applicable":
        value = struct.pack("@i", 1) if read_only(name) else another_value(name)[0]
        listener.listen()
        assert put(listener, name, value) != 0, f"a listener has {name}"
        return
    value, expected = another_value(name)
    on_listener, accepted = listener_and_accepted(name, value)
    _, otherwise = listener_and_accepted(name)
    assert on_listener == expected != otherwise, "the test cannot tell"
    assert accepted == {"yes": on_listener, "no": otherwise}[cell], (
        f"{name}: the page says inherited: {cell}; set on the listener {said(name, on_listener)}, "
        f"accepted {said(name, accepted)}, without it {said(name, otherwise)}"
    )


# The kernel agrees: settings. What a setting belongs to shows from inside of new namespaces.

# Prints of each setting its value, whether it can be opened for writing, the file's inode, and
# whether it kept a change, to the next number or another name; it changes those named after
# "write". The inode tells whose file it is, as long as somebody holds that open: each namespace
# has files of its own.
INSIDE = """
import json, os, sys
def change(text):
    words = text.split()
    last = words[-1]
    if last.isdigit():
        words[-1] = str(int(last) - 1 if int(last) > 0 else 1)
    else:
        with open("/proc/sys/net/ipv4/tcp_allowed_congestion_control") as names:
            words = [([n for n in names.read().split() if n != last] or [last])[0]]
    return " ".join(words)
found = {}
for name in sys.argv[2:]:
    path = "/proc/sys/" + name.replace(".", "/")
    try:
        with open(path) as file:
            text, inode = file.read(), os.fstat(file.fileno()).st_ino
    except OSError:
        continue
    try:
        os.close(os.open(path, os.O_WRONLY))
        writable = True
    except OSError:
        writable = False
    kept = None
    if sys.argv[1].startswith("write") and name in sys.argv[1].split(","):
        with open(path, "w") as file:
            file.write(change(text))
        with open(path) as file:
            kept = file.read().split() == change(text).split()
    found[name] = [text.split(), writable, inode, kept]
json.dump(found, sys.stdout)
"""


def inside(flags, action):
    """{setting: its value, whether it can be written, its inode, whether it kept a change}, as a
    process in new namespaces sees it."""
    command = ["unshare", flags, sys.executable, "-c", INSIDE, action, *SETTINGS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare:" in done.stderr:
        pytest.skip(f"no namespaces to try it in: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    names = ("value", "writable", "inode", "kept")
    found = json.loads(done.stdout)
    return {name: SimpleNamespace(**dict(zip(names, row))) for name, row in found.items()}


@pytest.fixture(scope="module")
def views():
    """The settings as they are here, in a user namespace, and in a network namespace in it."""
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, of the package util-linux")
    with contextlib.ExitStack() as held:
        files = {}
        for name in SETTINGS:
            with contextlib.suppress(OSError):
                files[name] = held.enter_context(open(file_of(name), encoding="ascii"))
        before = {name: file.read().split() for name, file in files.items()}
        here = {name: os.fstat(file.fileno()).st_ino for name, file in files.items()}
        user, network = inside("-Ur", "look"), inside("-Urn", "look")
        # Whatever the page says, only what is not the machine's own is changed.
        own = [
            name
            for name, row in network.items()
            if name in here and row.inode != here[name] and row.writable
        ]
        if not own:
            pytest.skip("/proc/sys cannot be written here")
        written = inside("-Urn", ",".join(["write", *own]))
        for file in files.values():
            file.seek(0)
        changed = {name for name, file in files.items() if file.read().split() != before[name]}
    return SimpleNamespace(here=here, user=user, network=network, written=written, changed=changed)


# Before, only the first network has it.
SINCE = {"net.core.somaxconn": (6, 3)}
BELONGS = {"network namespace", "user namespace", "machine"}


@each_setting
def test_what_a_setting_belongs_to(views, name):
    if name not in views.here:
        pytest.skip(f"this kernel has no {name}, or it cannot be read")
    belongs = SETTINGS[name]["belongs to"]
    assert belongs in BELONGS
    if belongs == "machine":
        for where, view in {"user": views.user, "network": views.network}.items():
            assert name not in view or not view[name].writable or is_same(views, view, name), (
                f"{name}: a new {where} namespace has one of its own, which can be written"
            )
        return
    version = tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])
    if name not in views.network and version < SINCE.get(name, version):
        pytest.skip("a new network has {} since Linux {}.{}".format(name, *SINCE[name]))
    assert name in views.network, f"{name} is not there in a new namespace"
    assert not is_same(views, views.network, name), f"{name} is the same inside and outside"
    assert views.written[name].kept, f"{name} cannot be changed in a namespace of one's own"
    assert name not in views.changed, f"{name}: a change inside is seen outside"
    # In a new user namespace alone, the network's settings are those from outside.
    assert is_same(views, views.user, name) == (belongs == "network namespace")


def is_same(views, view, name):
    """Whether it is the file from outside."""
    return view[name].inode == views.here[name]


FIXED = [
    name
    for name, row in SETTINGS.items()
    if row["belongs to"] == "network namespace" and row["usual default"].startswith("`")
]


@pytest.mark.parametrize("name", FIXED)
def test_the_usual_default_is_what_a_new_network_starts_with(views, name):
    if name not in views.network:
        pytest.skip(f"this kernel has no {name}")
    expected, more = re.match(r"`([\d ]+)(…)?`", SETTINGS[name]["usual default"]).groups()
    came = views.network[name].value
    assert came[: len(expected.split())] == expected.split()
    assert len(came) == len(expected.split()) + (more is not None)


# The traps, as far as a socket or two can show them.


def test_what_is_set_at_the_wrong_level():
    for meant, row in table("These are not errors:").items():
        victim = row["what is set instead"].strip("`")
        other = LEVELS[row["written with"].strip("`")]
        assert other != level(meant)
        assert number(meant) == getattr(socket, victim), f"{meant} has not the number of {victim}"
        with socket.socket() as fresh:
            before = fresh.getsockopt(other, getattr(socket, victim))
            assert put(fresh, meant, struct.pack("@i", 5), at=other) == 0
            assert fresh.getsockopt(other, getattr(socket, victim)) != before
    with socket.socket() as fresh:
        assert put(fresh, "TCP_FASTOPEN", struct.pack("@i", 5), at=socket.SOL_SOCKET) != 0


def test_quickack_does_not_stay():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as client:
            server, _ = listener.accept()
            with server:
                assert put(server, "TCP_QUICKACK", struct.pack("@i", 1)) == 0

                def gone_after_an_answer():
                    client.sendall(b"question")
                    server.recv(8)
                    server.sendall(b"answer")
                    return said("TCP_QUICKACK", get(server, "TCP_QUICKACK")) == "0"

                # On a busy machine the answer may come too late to count as one.
                wait_until(gone_after_an_answer, "TCP_QUICKACK gone back to 0")


def test_quickack_and_listen(listener):
    for expected in (1, 0):  # set before listen, which sets it back; then after it
        assert put(listener, "TCP_QUICKACK", struct.pack("@i", 0)) == 0
        if expected == 1:
            listener.listen()
        assert said("TCP_QUICKACK", get(listener, "TCP_QUICKACK")) == str(expected)
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                assert said("TCP_QUICKACK", get(accepted, "TCP_QUICKACK")) == str(expected)


def test_a_negative_time_is_no_time(listener):
    listener.listen()
    assert put(listener, "SO_RCVTIMEO", struct.pack("@ll", -1, 0)) == 0
    assert said("SO_RCVTIMEO", get(listener, "SO_RCVTIMEO")) == "{0, 0}"
    # Python would wait by itself; blocking, the call is the kernel's.
    listener.settimeout(None)
    with pytest.raises(BlockingIOError):
        listener.accept()
    assert put(listener, "SO_RCVTIMEO", struct.pack("@ll", 0, 1_000_000)) == errno.EDOM


def test_a_small_receive_buffer_before_the_handshake_limits_the_window_for_good():
    """And one that is set for the first time on the accepted socket does not."""

    def offered_scale(on_listener):
        with socket.socket() as server:
            if on_listener:
                assert put(server, "SO_RCVBUF", struct.pack("@i", on_listener)) == 0
            server.bind(("127.0.0.1", 0))
            server.listen()
            with socket.create_connection(server.getsockname()) as client:
                accepted, _ = server.accept()
                with accepted:
                    assert put(accepted, "SO_RCVBUF", struct.pack("@i", 1 << 20)) == 0
                    return get(client, "TCP_INFO")[6] & 15

    assert offered_scale(8192) == 0
    assert offered_scale(None) >= offered_scale(1 << 20) > 0


SO_BUF_LOCK = 72


def connected_pair():
    """With segments as on Ethernet: one of loopback's is larger than a small window."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    return client, server


def receive_buffer_after(client, server, size):
    """How large it is when so many bytes have come."""
    sender = threading.Thread(target=client.sendall, args=[bytes(size)])
    sender.start()
    while size > 0:
        size -= len(server.recv(1 << 20))
    sender.join()
    return struct.unpack("@i", get(server, "SO_RCVBUF"))[0]


@pytest.mark.parametrize("given_back", [False, True])
def test_a_size_that_was_set_can_be_given_back(given_back):
    client, server = connected_pair()
    with client, server:
        assert put(server, "SO_RCVBUF", struct.pack("@i", 16384)) == 0
        assert said("SO_RCVBUF", get(server, "SO_RCVBUF")) == "32768"
        if given_back:
            try:
                server.setsockopt(socket.SOL_SOCKET, SO_BUF_LOCK, 0)
            except OSError:
                pytest.skip("SO_BUF_LOCK is of Linux 5.14")
        grown = receive_buffer_after(client, server, 20_000_000) > 32768
    if not grown and given_back:
        untouched_client, untouched = connected_pair()
        with untouched_client, untouched:
            before = receive_buffer_after(untouched_client, untouched, 0)
            if receive_buffer_after(untouched_client, untouched, 20_000_000) <= before:
                pytest.skip("so slow a machine needs no more than it begins with")
    assert grown == given_back


def test_a_user_timeout_ends_a_live_peer_that_does_not_read(listener):
    """Whose kernel answers every probe of the closed window. Without it the connection stays."""
    listener.listen()
    for milliseconds in (300, 0):
        with socket.create_connection(listener.getsockname()) as client:
            assert put(client, "TCP_USER_TIMEOUT", struct.pack("@i", milliseconds)) == 0
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    client.send(bytes(1 << 16))
            watch = select.poll()
            watch.register(client, 0)
            ended = watch.poll(10_000 if milliseconds else 2_000)
            assert bool(ended) == (milliseconds > 0)


# The flags of a loop.


def test_what_does_not_block(listener):
    listener.listen()
    with socket.create_connection(listener.getsockname()) as client:
        accepted, _ = listener.accept()
        with accepted:
            with pytest.raises(BlockingIOError):
                accepted.recv(1, socket.MSG_DONTWAIT)
        # accept, and not accept4: what the listener is does not matter.
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
        with socket.create_connection(listener.getsockname()):
            descriptor, _ = listener._accept()
            assert os.get_blocking(descriptor)
            os.close(descriptor)
        assert client.recv(1) == b""


def events_of(flags):
    """What epoll reports of one byte that nobody receives, asked three times; then after
    EPOLL_CTL_MOD; then when the peer has ended its half, and when both halves have ended."""
    near, far = socket.socketpair()
    with near, far, select.epoll() as epoll:
        epoll.register(near, flags)
        far.send(b"x")
        found = [dict(epoll.poll(0)).get(near.fileno(), 0) for _ in range(3)]
        epoll.modify(near, flags)
        found.append(dict(epoll.poll(0)).get(near.fileno(), 0))
        far.shutdown(socket.SHUT_WR)
        found.append(dict(epoll.poll(0)).get(near.fileno(), 0))
        near.shutdown(socket.SHUT_WR)
        found.append(dict(epoll.poll(0)).get(near.fileno(), 0))
        return found


def test_the_flags_of_a_loop():
    table("## Calls and flags of a loop")
    ready, ended, over = select.EPOLLIN, select.EPOLLRDHUP, select.EPOLLHUP
    assert events_of(ready) == [ready] * 5 + [ready | over]
    assert events_of(ready | ended) == [ready] * 4 + [ready | ended, ready | ended | over]
    once = events_of(ready | select.EPOLLET)
    assert once[:4] == [ready, 0, 0, ready]
    assert events_of(ready | select.EPOLLONESHOT) == [ready, 0, 0, ready, 0, 0]
    assert events_of(0) == [0, 0, 0, 0, 0, over]
    assert events_of(select.EPOLLOUT) == [select.EPOLLOUT] * 5 + [select.EPOLLOUT | over]


def test_an_error_is_read_once(fresh, listener):
    fresh.setblocking(False)
    assert fresh.connect_ex(listener.getsockname()) in (errno.EINPROGRESS, errno.ECONNREFUSED)
    assert [fresh.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for _ in range(2)][1] == 0


def test_fast_open_is_cut_to_somaxconn(fresh):
    most = setting("net.core.somaxconn")
    assert put(fresh, "TCP_FASTOPEN", struct.pack("@i", most + 1)) == 0
    assert said("TCP_FASTOPEN", get(fresh, "TCP_FASTOPEN")) == str(most)
