"""build/wire: two private hosts and the cable between them, used as a person would.

A script runs on the client's host and one on the server's. What they have seen they write as
JSON to their stdout. The client's begins when the server's is ready.
"""

import contextlib
import fcntl
import json
import os
import pwd
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from course import LIMIT, library, open_terminal, run, wait_until
from kernel import process_state

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
NOT_ALLOWED = 77


class Program:
    """A program in one of the hosts. Its stderr goes to the log of the wire."""

    def __init__(self, command, log, **who):
        self.command = [str(word) for word in command]
        self.process = subprocess.Popen(
            self.command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            **who,
        )

    def line(self):
        """The next line of its stdout, without its end; "" where there is none to come."""
        readable, _, _ = select.select([self.process.stdout], [], [], LIMIT)
        assert readable, f"nothing from {self.command} within {LIMIT} s"
        return self.process.stdout.readline().decode().rstrip("\n")

    def go(self):
        self.process.stdin.write(b"go\n")

    def end(self):
        """Lets it end; returns the rest of its stdout."""
        return self.process.communicate(timeout=LIMIT)[0].decode()

    def clean_up(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Wire(Program):
    """A running wire, with a command on the client's host."""

    def __init__(self, program, options, command, log_path, **who):
        self.tool, self.who, self.log_path = program, who, log_path
        self.joined = []
        with open(log_path, "wb") as log:
            words = [program, *options, *(["--", *command] if command else [])]
            super().__init__(words, log, **who)

    @property
    def log(self):
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def skip_if_refused(self):
        if self.process.poll() == NOT_ALLOWED:
            pytest.skip(self.log.strip())

    def ready(self):
        """Waits until the client's script says so."""
        line = self.line()
        if line == "":
            self.process.wait(LIMIT)
            self.skip_if_refused()
        assert line == "ready", f"the client said {line!r}\n{self.log}"
        return self

    def keeper(self):
        """The process on the server's host, once it is there. Its child is the first of the
        process namespace, whose child is the client's command, on the client's host."""

        def look():
            self.skip_if_refused()
            with contextlib.suppress(OSError):
                for keeper in children(self.process.pid):
                    for first in children(keeper):
                        if any(net_of(keeper) != net_of(child) for child in children(first)):
                            return keeper
            return None

        return wait_until(look, "a process on the server's host")

    def keeper_of_a_watch(self):
        """The same where there is no command: its child is all there is."""

        def look():
            self.skip_if_refused()
            with contextlib.suppress(OSError):
                return next((keeper for keeper in children(self.process.pid)), None)
            return None

        return wait_until(look, "a process on the server's host")

    def join(self, command, keeper=None, *options):
        """Starts a command on the server's host, if the options do not say otherwise."""
        with open(self.log_path, "ab") as log:
            words = [self.tool, "--join", keeper or self.keeper(), *options, "--", *command]
            self.joined.append(Program(words, log, **self.who))
        return self.joined[-1]

    def clean_up(self):
        super().clean_up()
        for program in self.joined:
            program.clean_up()

    def report(self):
        return f"command: {' '.join(self.command)}\nits log:\n{self.log}"


def children(process):
    text = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii")
    return [int(word) for word in text.split()]


def net_of(process, thread=None):
    return os.readlink(f"/proc/{process}/task/{thread or process}/ns/net")


@pytest.fixture
def start_wire(request, build, tmp_path):
    """start_wire(*options, command=...) is a running wire. It is ended when the test is over; a
    report of a sanitizer in its log is a failure."""
    wires = []
    request.node.reports = wires

    def start(*options, command=(), program=build / "wire", **who):
        log = tmp_path / f"wire-{len(wires)}.log"
        wires.append(Wire(program, options, command, log, **who))
        return wires[-1]

    yield start
    for wire in wires:
        wire.clean_up()
    for wire in wires:
        for alarm in ("Sanitizer", "runtime error:"):
            assert alarm not in wire.log, wire.report()


def dropped_by_the_machine():
    """Frames that found the queue of a processor full (net.core.netdev_max_backlog). It is one for
    all networks: what floods another one, on a busy machine, has frames of the wire dropped."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/net/softnet_stat").read_text(encoding="ascii").splitlines()
        return sum(int(line.split()[1], 16) for line in lines)
    return 0


@pytest.fixture
def converse(start_wire):
    """converse(client, server, *options, **how) runs two scripts, one on each host. Returns what
    they have said, and the rest of the tool's stdout. With the client's script all ends, so it
    must not end before the server's has said something: its second line of stdin never comes,
    but its end does. Once more where the machine itself has dropped frames meanwhile."""

    def start(*scripts_and_options, **how):
        for _ in range(4):
            before = dropped_by_the_machine()
            try:
                said = once(*scripts_and_options, **how)
            except AssertionError:
                if dropped_by_the_machine() == before:
                    raise
            else:
                if dropped_by_the_machine() == before:
                    return said
        return once(*scripts_and_options, **how)

    def once(client, server, *options, who=None, live=False, **how):
        words = json.dumps(how)
        python = [sys.executable, "-ISc"]
        wire = start_wire(*options, command=[*python, client, words], **(who or {}))
        if live:
            first = wire.line()
            if first == "":
                wire.process.wait(LIMIT)
                wire.skip_if_refused()
            assert CLIENT in first, "the hosts above the lines"
        wire.ready()
        other = wire.join([*python, server, words])
        assert other.line() == "ready", wire.report()
        other.go()
        wire.go()
        theirs = other.line()
        ours, _, rest = wire.end().partition("\n")
        if live:
            rest = f"{ours}\n{rest}".replace("null\n", "", 1)
            ours = "null"
        assert wire.process.returncode == 0, wire.report()
        return json.loads(ours), json.loads(theirs), rest

    return start


# Sends numbered datagrams. After each batch, so small that it fits into any receive buffer, it
# sends marks, several because they may be lost, and waits until the receiver has sent one back.
SENDER = """
import json, socket, sys, time
how = json.loads(sys.argv[1])
udp = socket.socket(type=socket.SOCK_DGRAM)
udp.settimeout(how.get("retry", 20))
udp.connect((how["to"], 9000))
print("ready", flush=True)
sys.stdin.readline()
start = time.monotonic()
for first in range(0, how["count"], 100):
    for number in range(first, min(first + 100, how["count"])):
        udp.send(number.to_bytes(4, "big").ljust(how.get("size", 18), b"x"))
    mark = b"last" if first + 100 >= how["count"] else b"mark %d" % first
    answer = b""
    while answer != mark:
        for _ in range(8):
            udp.send(mark)
        try:
            while answer != mark:
                answer = udp.recv(100)
        except TimeoutError:
            pass
print(json.dumps(start), flush=True)
sys.stdin.readline()
"""

# Says what came, and when the last of it did. Then it answers until it is ended.
RECEIVER = """
import json, select, socket, sys, time
udp = socket.socket(type=socket.SOCK_DGRAM)
udp.bind(("", 9000))
print("ready", flush=True)
sys.stdin.readline()
numbers, end, said = [], 0, False
while udp in select.select([udp, sys.stdin], [], [])[0]:
    data, sender = udp.recvfrom(2000)
    if data == b"last" and not said:
        print(json.dumps([numbers, end]), flush=True)
        said = True
    if data[:1] in (b"l", b"m"):
        udp.sendto(data, sender)
    else:
        numbers.append(int.from_bytes(data[:4], "big"))
        end = time.monotonic()
"""


@pytest.fixture
def send(converse):
    """send(count, *options, back=False) sends datagrams from the client to the server, or back;
    returns the numbers of those that came, in the order they came, and the seconds they took."""

    def start(count, *options, back=False, **how):
        if back:
            received, begin, _ = converse(
                RECEIVER, SENDER, *options, to=CLIENT, count=count, **how
            )
        else:
            begin, received, _ = converse(
                SENDER, RECEIVER, *options, to=SERVER, count=count, **how
            )
        return received[0], received[1] - begin

    return start


# What a cable does to frames.


@pytest.mark.parametrize("back", [False, True], ids=["there", "back"])
@pytest.mark.parametrize("options", [[], ["--delay", "3ms"]], ids=["fast", "slow"])
def test_a_good_cable_keeps_all_and_their_order(send, options, back):
    # A queue is for frames that wait for a rate; there is none.
    # Marks that are lost as well are sent again, so that the end says which numbers are missing.
    numbers, _ = send(1000, "--loss", "0%", "--queue", "1", *options, back=back, retry=2)
    assert numbers == list(range(1000))


PING = """
import json, socket, sys, time
how = json.loads(sys.argv[1])
udp = socket.socket(type=socket.SOCK_DGRAM)
udp.settimeout(20)
udp.connect(("10.0.0.2", 9000))
print("ready", flush=True)
sys.stdin.readline()
times = []
for number in range(how["trips"]):
    start = time.monotonic()
    udp.send(b"ping %d" % number)
    answer = udp.recv(100)
    times.append(time.monotonic() - start)
    assert answer == b"PING %d" % number, answer
print(json.dumps(times), flush=True)
sys.stdin.readline()
"""

PONG = """
import json, socket, sys
how = json.loads(sys.argv[1])
udp = socket.socket(type=socket.SOCK_DGRAM)
udp.bind(("", 9000))
print("ready", flush=True)
for _ in range(how["trips"]):
    data, sender = udp.recvfrom(100)
    udp.sendto(data.upper(), sender)
print("null", flush=True)
"""


def test_the_delay_is_that_of_each_direction(converse):
    times, _, _ = converse(PING, PONG, "--delay", "20ms", trips=31)
    assert min(times) >= 0.040
    # Three processes have their turns within each trip; a busy machine makes many of them late.
    assert sorted(times)[3] < 0.070


def test_without_a_delay_it_takes_no_time(converse):
    times, _, _ = converse(PING, PONG, trips=101)
    assert sorted(times)[10] < 0.030


@pytest.mark.parametrize("back", [False, True], ids=["there", "back"])
def test_the_same_seed_loses_the_same_frames(send, back):
    options = ["--loss", "10%", "--seed"]
    first, _ = send(600, *options, 7, back=back)
    again, _ = send(600, *options, 7, back=back)
    other, _ = send(600, *options, 8, back=back)
    assert first == again
    assert first != other
    assert len(first) < 600 and first == sorted(set(first))


def test_the_directions_do_not_lose_the_same_frames(send):
    there, _ = send(600, "--loss", "10%", "--seed", 7)
    back, _ = send(600, "--loss", "10%", "--seed", 7, back=True)
    assert there != back


def test_as_many_are_lost_as_was_said(send):
    numbers, _ = send(2000, "--loss", "10%", "--seed", 5)
    # Three standard deviations; the seed is always the same, and so is the outcome.
    assert 1800 - 40 < len(numbers) < 1800 + 40
    # Each is lost for itself: after a loss as often as otherwise, 20 of 200, deviation 4.2.
    lost = set(range(2000)) - set(numbers)
    assert 3 <= len([number for number in lost if number + 1 in lost]) <= 37


@pytest.mark.parametrize("back", [False, True], ids=["there", "back"])
def test_a_rate_takes_its_time(send, back):
    least = 80 * (1000 + 8 + 20 + 14) * 8 / 2e6
    for _ in range(4):
        _, seconds = send(80, "--rate", "2mbit", size=1000, back=back)
        assert least <= seconds
        if seconds < 3 * least:  # a byte has 8 bits, so what counts others is far off
            return
    pytest.fail(f"{seconds:.2f} s, expected {least:.2f} s")


def test_a_full_queue_takes_no_more(send):
    numbers, _ = send(60, "--rate", "200kbit", "--queue", 10, size=1000, retry=0.05)
    # The next one has room when the first is in the cable, after 42 ms.
    assert numbers[:10] == list(range(10))
    assert 10 <= len(numbers) <= 20


# The capture.


def read_pcap(path):
    """[(nanoseconds, length on the wire, the bytes kept)] of a capture file."""
    data = Path(path).read_bytes()
    magic, major, minor, _, _, longest, link_type = struct.unpack_from("=IHHIIII", data)
    assert magic == 0xA1B23C4D, "not a capture with nanoseconds"
    assert (major, minor, longest, link_type) == (2, 4, 192, 1)
    frames, at = [], 24
    while at < len(data):
        seconds, nanoseconds, kept, length = struct.unpack_from("=IIII", data, at)
        assert nanoseconds < 10**9 and kept == min(length, longest)
        frames.append((seconds * 10**9 + nanoseconds, length, data[at + 16 : at + 16 + kept]))
        at += 16 + kept
    assert at == len(data), "the last frame is cut off"
    return frames


def test_the_capture_has_every_frame(converse, tmp_path):
    before = time.time_ns()
    converse(PING, PONG, "--delay", "2ms", "--pcap", tmp_path / "pcap", trips=20)
    after = time.time_ns()
    frames = read_pcap(tmp_path / "pcap")
    said = [data[42:].decode() for _, _, data in frames]
    expected = [f"{word} {number}" for number in range(20) for word in ("ping", "PING")]
    assert said == expected
    times = [when for when, _, _ in frames]
    # The next frame is sent when the one before has arrived, 2 ms after it was sent.
    assert all(later - when >= 2e6 for when, later in zip(times, times[1:]))
    assert before < times[0] and times[-1] < after


@pytest.mark.parametrize("reader", ["tcpdump", "tshark"])
def test_others_can_read_the_capture(converse, tmp_path, reader):
    if shutil.which(reader) is None:
        pytest.skip(f"needs {reader}")
    converse(PING, PONG, "--pcap", tmp_path / "pcap", trips=20)
    # From stdin: as root tcpdump gives up its rights before it opens a file.
    with open(tmp_path / "pcap", "rb") as pcap:
        text = subprocess.run(
            [reader, "-n", "-r", "-"], stdin=pcap, capture_output=True, text=True, check=True
        ).stdout
    lines = [line for line in text.splitlines() if CLIENT in line and SERVER in line]
    assert len(lines) == 40, text


TALK = """
import json, socket, sys
how = json.loads(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
tcp = socket.create_connection(("10.0.0.2", 9000), timeout=20)
tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
for _ in range(how["times"]):
    tcp.sendall(b"x" * how["size"])
    if how["answer"]:
        assert tcp.recv(1000, socket.MSG_WAITALL) == b"y" * how["answer"]
tcp.shutdown(socket.SHUT_WR)
assert tcp.recv(1) == b""
print("null", flush=True)
sys.stdin.readline()
"""

ANSWER = """
import json, socket, sys
how = json.loads(sys.argv[1])
listener = socket.create_server(("10.0.0.2", 9000))
print("ready", flush=True)
tcp, _ = listener.accept()
tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
came = 0
while data := tcp.recv(min(65536, how["size"]), socket.MSG_WAITALL):
    came += len(data)
    if how["answer"]:
        tcp.sendall(b"y" * how["answer"])
print(json.dumps(came), flush=True)
tcp.close()
sys.stdin.readline()
sys.stdin.readline()
"""


def test_a_frame_is_a_segment_however_much_is_sent(converse, tmp_path):
    pcap = tmp_path / "pcap"
    _, came, _ = converse(TALK, ANSWER, "--pcap", pcap, times=16, size=65536, answer=0)
    assert came == 16 * 65536
    lengths = [length for _, length, _ in read_pcap(pcap)]
    assert max(lengths) == 1514
    assert len(lengths) > 16 * 65536 / 1460


def ones_sum(data):
    """The sum that the Internet checksum is the complement of (RFC 1071)."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_checksums_are_right(converse, tmp_path):
    pcap = tmp_path / "pcap"
    converse(TALK, ANSWER, "--pcap", pcap, times=20, size=99, answer=0)
    whole = [data for _, length, data in read_pcap(pcap) if length == len(data)]
    # Of 20 pieces, those that the congestion window holds back may leave as one segment.
    assert len(whole) >= 10 + 6, "segments with data, the beginning and the end"
    for data in whole:
        packet = data[14:]
        header = (packet[0] & 15) * 4
        segment = packet[header : int.from_bytes(packet[2:4], "big")]
        pseudo_header = packet[12:20] + struct.pack("!HH", packet[9], len(segment))
        assert ones_sum(packet[:header]) == 0xFFFF, "of the IP header"
        assert ones_sum(pseudo_header + segment) == 0xFFFF, "of the segment"


# The ladder.


def ladder_labels(text):
    """What stands between the lines that the arrows of a ladder in text are made of."""
    return re.findall(r"─ ([^─✕▶\n]+) [─✕▶]", text)


def svg_labels(path):
    """The same of a picture, where the names of the hosts are set in the middle."""
    root = ET.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = root.iter("{http://www.w3.org/2000/svg}text")
    return [
        text.text
        for text in texts
        if text.get("class") == "label" and text.get("text-anchor") != "middle"
    ]


def test_ladder_and_picture_show_the_same(converse, tmp_path):
    svg = tmp_path / "svg"
    options = ["--delay", "5ms", "--ladder", "on", "--svg", svg]
    _, _, text = converse(TALK, ANSWER, *options, times=1, size=5, answer=3)
    labels = ladder_labels(text)
    assert labels[:4] == ["SYN", "SYN ACK", "ACK 1", "PSH ACK, 5 bytes: 1 to 5"], text
    for label in ("ACK 6", "PSH ACK, 3 bytes: 1 to 3", "ACK 4"):
        assert label in labels, text
    assert labels.count("FIN ACK") == 2, text
    # The very last segment may still be under way when the client's script ends.
    assert "lost" not in text, text
    # On a machine that stands still for a while TCP sends again; then something it has sent before.
    for place, label in enumerate(labels):
        plain, again, _ = label.partition(" (again)")
        assert not again or plain in labels[:place], text
    assert svg_labels(svg) == labels


def test_what_is_lost_is_in_the_ladder(converse, tmp_path):
    svg = tmp_path / "svg"
    options = ["--loss", "30%", "--seed", 3, "--ladder", "on", "--svg", svg]
    _, _, text = converse(TALK, ANSWER, *options, times=30, size=10, answer=0)
    assert "✕ lost" in text and "(again)" in text, text
    assert svg_labels(svg) == ladder_labels(text)


def test_a_picture_of_nothing(start_wire, tmp_path):
    svg = tmp_path / "svg"
    wire = start_wire("--svg", svg, "--ladder", "on", command=["true"])
    text = wire.end()
    wire.skip_if_refused()
    assert wire.process.returncode == 0
    assert len(text.splitlines()) == 1 and CLIENT in text and SERVER in text
    assert svg_labels(svg) == []


def test_the_picture_tells_the_headers(converse, tmp_path):
    svg = tmp_path / "svg"
    converse(TALK, ANSWER, "--svg", svg, times=1, size=5, answer=3)
    titles = [title.text for title in ET.parse(svg).iter("{http://www.w3.org/2000/svg}title")]
    assert titles[0] == "All segments"
    assert re.match(r"SYN, port \d+ to 9000\nsequence number 0 \(\d+\)\n", titles[1])
    assert re.search(r"options: MSS 1460, SACK permitted, time stamps \d+ 0, window", titles[1])
    data = next(title for title in titles if title.startswith("PSH ACK"))
    assert re.search(r"\nacknowledgement number 1 \(\d+\)\n5 bytes of data\nwindow \d+", data)


def test_watching_a_command(converse):
    """Each segment is drawn, with the same words as in the end; the command's own output is
    between them."""
    ours, _, rest = converse(TALK, ANSWER, "--watch", "on", times=1, size=5, answer=3, live=True)
    assert ours is None
    labels = ladder_labels(rest)
    assert labels[:4] == ["SYN", "SYN ACK", "ACK 1", "PSH ACK, 5 bytes: 1 to 5"], rest
    assert labels.count("FIN ACK") == 2, rest


ECHO_ONCE = """
import socket
with socket.create_server(("10.0.0.2", 9000)) as listener:
    print("ready", flush=True)
    tcp, _ = listener.accept()
    while data := tcp.recv(100):
        tcp.sendall(data)
"""

CONNECT = """
import socket, sys
tcp = socket.create_connection(("10.0.0.2", 9000), timeout=20)
print("connected", flush=True)
sys.stdin.readline()
tcp.sendall(b"Hello")
assert tcp.recv(100) == b"Hello"
print("answered", flush=True)
sys.stdin.readline()
"""


def test_watching_in_a_terminal_of_its_own(start_wire, build):
    wire = start_wire("--watch", "on")

    def said():
        wire.skip_if_refused()
        return re.findall(r"--join (\d+)( --on client)?\n", wire.log)

    wait_until(lambda: len(said()) == 2, "--join for both hosts in the log")
    keeper = wire.keeper_of_a_watch()
    assert said() == [(str(keeper), ""), (str(keeper), " --on client")]
    server = wire.join([sys.executable, "-ISc", ECHO_ONCE], keeper)
    assert server.line() == "ready", wire.report()
    client = wire.join([sys.executable, "-ISc", CONNECT], keeper, "--on", "client")
    assert client.line() == "connected", wire.report()

    # What is there is drawn at once, and not when the next segment comes.
    assert CLIENT in wire.line() and "ACK" not in wire.line()
    assert "SYN ACK" in wire.line()
    assert "ACK 1" in wire.line()
    client.go()
    assert client.line() == "answered", wire.report()
    assert "PSH ACK, 5 bytes: 1 to 5" in wire.line()
    wire.process.send_signal(signal.SIGINT)
    wire.end()
    assert wire.process.returncode == 0, wire.report()
    assert client.process.wait(LIMIT) == 128 + signal.SIGKILL


# Put before the C library: a process that another one started takes its time to enter a namespace.
LATE = """
#include <sys/syscall.h>
#include <unistd.h>

static pid_t first;

__attribute__((constructor)) static void remember(void)
{
    first = getpid();
}

int setns(int descriptor, int kind)
{
    if (getpid() != first)
        usleep(300 * 1000);
    return (int)syscall(SYS_setns, descriptor, kind);
}
"""


def test_who_is_told_to_join_can_do_so_at_once(start_wire, build, tmp_path):
    if re.search("address|thread", build.name):
        pytest.skip("a sanitizer comes first")
    environment = {**os.environ, "LD_PRELOAD": str(library(tmp_path, LATE))}
    wire = start_wire("--watch", "on", env=environment)
    wait_until(lambda: wire.skip_if_refused() or "--join" in wire.log, "--join in the log")
    host = wire.join(["ip", "-o", "address"], wire.keeper_of_a_watch())
    assert f" {SERVER}/24 " in host.end(), wire.report()


# The tool.


def interfaces():
    text = Path("/proc/net/dev").read_text(encoding="ascii")
    return re.findall(r"(?m)^ *(\S+):", text)


def descendants(process):
    found = children(process)
    for child in list(found):
        found += descendants(child)
    return found


def is_running(process):
    """A zombie, which nobody waits for yet, is not."""
    try:
        return process_state(process) not in "ZX"
    except OSError:
        return False


def networks(process_ids):
    """The network namespaces that threads of these processes are in."""
    found = set()
    for process in process_ids:
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{process}/task"):
                with contextlib.suppress(OSError):
                    found.add(net_of(process, thread))
    return found


def all_processes():
    return [name for name in os.listdir("/proc") if name.isdigit()]


@pytest.mark.parametrize("end", ["exit", "SIGTERM", "SIGKILL"])
def test_nothing_is_left(start_wire, end):
    before = interfaces(), os.readlink("/proc/self/ns/net")
    script = "sleep 1000 & setsid sleep 1000 & echo ready; read line; exit 5"
    wire = start_wire("--delay", "1s", command=["sh", "-c", script]).ready()
    joined = wire.join(["sh", "-c", "sleep 1000 & echo ready; exec sleep 1000"])
    assert joined.line() == "ready", wire.log
    tool = wire.process.pid
    # The keeper, the first process, the shell and its two; of the other, its helper and two.
    inside = wait_until(
        lambda: len(found := descendants(tool) + descendants(joined.process.pid)) >= 7 and found,
        "all processes",
    )
    used = networks([tool, *inside]) - {before[1]}
    assert len(used) == 3, "the client's, the server's, and the relay's between them"

    if end == "exit":
        wire.go()
    else:
        wire.process.send_signal(getattr(signal, end))
    status = wire.process.wait(LIMIT)
    assert status == (5 if end == "exit" else -getattr(signal, end)), wire.report()
    wait_until(lambda: not any(map(is_running, inside)), "the end of all processes inside")
    assert joined.process.wait(LIMIT) == 128 + signal.SIGKILL
    wait_until(lambda: not used & networks(all_processes()), "the end of the namespaces")
    assert (interfaces(), os.readlink("/proc/self/ns/net")) == before


# So many seconds for an answer, and so many tries.
EARLY = """
import socket
udp = socket.socket(type=socket.SOCK_DGRAM)
udp.settimeout(%d)
udp.connect(("10.0.0.2", 9000))
for _ in range(%d):
    try:
        udp.send(b"early")
        udp.recv(1)
    except TimeoutError:
        continue
    except ConnectionRefusedError:
        print("refused", flush=True)
    break
"""


def test_the_first_frame_of_the_command_arrives(start_wire):
    wire = start_wire(command=[sys.executable, "-ISc", EARLY % (20, 1)])
    text = wire.end()
    wire.skip_if_refused()
    assert text == "refused\n", "the host should have answered that nobody listens"


def test_all_is_there_before_the_command(start_wire):
    wire = start_wire(command=["sh", "-c", "echo ready; read line"]).ready()
    tool = wire.process.pid
    threads, keeper = os.listdir(f"/proc/{tool}/task"), children(tool)[0]
    assert len(threads) >= 2, "no relay yet"
    command = children(children(keeper)[0])[0]
    assert net_of(keeper) != net_of(command), "--join would lead to the client"


@pytest.mark.parametrize(
    "command, status",
    [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 128 + signal.SIGTERM)],
)
def test_the_exit_status_is_that_of_the_command(start_wire, command, status):
    script = f"echo ready; read line; {command}"
    wire = start_wire(command=["sh", "-c", script]).ready()
    joined = wire.join(["sh", "-c", command])
    assert joined.process.wait(LIMIT) == status
    wire.end()
    assert wire.process.returncode == status


def is_in(routes, address):
    return re.search(rf"-- {re.escape(address)}\s+/32 host LOCAL", routes) is not None


def test_a_command_that_is_not_there(start_wire):
    wire = start_wire(command=["./no-such-command"])
    wire.end()
    wire.skip_if_refused()
    assert wire.process.returncode == 1
    assert "./no-such-command: No such file or directory" in wire.log


def test_a_command_is_ended_by_sigpipe_as_ever(start_wire):
    wire = start_wire(command=["grep", "SigIgn", "/proc/self/status"])
    text = wire.end()
    wire.skip_if_refused()
    assert not int(text.split()[1], 16) & 1 << (signal.SIGPIPE - 1), text


def test_without_a_command_it_is_a_shell(start_wire):
    wire = start_wire(env={**os.environ, "SHELL": "/bin/sh"})

    def said():
        wire.skip_if_refused()
        return re.search(r"--join (\d+)", wire.log)

    assert int(wait_until(said, "--join in the log")[1]) == wire.keeper()
    wire.process.stdin.write(b"cat /proc/net/fib_trie; id -u; exit 5\n")
    text = wire.end()
    assert wire.process.returncode == 5, wire.report()
    assert is_in(text, CLIENT) and not is_in(text, SERVER)
    assert text.splitlines()[-1] == "0", "root, of its own two hosts"


def test_a_second_terminal_is_on_the_other_host(start_wire, tmp_path):
    wire = start_wire(command=["sh", "-c", "echo ready; read line"], cwd=tmp_path).ready()
    joined = wire.join(["sh", "-c", "cat /proc/net/fib_trie; pwd"])
    text = joined.end()
    assert joined.process.returncode == 0, wire.report()
    assert is_in(text, SERVER) and not is_in(text, CLIENT)
    assert text.splitlines()[-1] == str(tmp_path), "the folder it was started in"


def test_join_of_a_process_that_is_none(build):
    result = run([build / "wire", "--join", 2**31 - 1, "--", "true"])
    assert result.status == 1, result.report()
    assert "--join 2147483647" in result.err, result.report()


def test_an_ordinary_user_may(converse, start_wire, build):
    with tempfile.TemporaryDirectory() as folder:
        program, who = Path(folder) / "wire", {}
        if os.geteuid() == 0:
            # The folder of the tests may be closed to others.
            nobody = pwd.getpwnam("nobody")
            who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            try:
                os.chown(folder, nobody.pw_uid, nobody.pw_gid)
            except OSError as error:
                pytest.skip(f"root of a namespace in which there is no other user: {error}")
        shutil.copy(build / "wire", program)
        who["cwd"] = folder
        if subprocess.run([program, "-q", "--", "true"], check=False, **who).returncode != 0:
            # Not what the test is about, if nobody else can do it either.
            setting = "echo 1 > /proc/sys/net/ipv4/tcp_no_metrics_save"
            probe = ["unshare", "-Urn", "sh", "-c", setting]
            if subprocess.run(probe, check=False, **who).returncode != 0:
                pytest.skip(f"needs user namespaces: unshare -Urn, in it: {setting}")
            pytest.fail("the wire does not start, though user namespaces are allowed")
        who["program"] = program
        options = ["--delay", "1ms", "--pcap", f"{folder}/pcap"]
        times, _, _ = converse(PING, PONG, *options, trips=5, who=who)
        assert min(times) >= 0.002
        assert len(read_pcap(f"{folder}/pcap")) == 10


@pytest.mark.parametrize(
    "option, value",
    [
        ("--delay", "20"),
        ("--delay", "-1ms"),
        ("--delay", "ms"),
        ("--delay", "nanms"),
        ("--delay", "1ms2"),
        ("--loss", "0.1"),
        ("--loss", "101%"),
        ("--loss", "-1%"),
        ("--rate", "10"),
        ("--rate", "10mbi"),
        ("--rate", ""),
        ("--queue", "0"),
        ("--seed", "-1"),
        ("--join", "0"),
        ("--ladder", "maybe"),
        ("--watch", "maybe"),
        ("--on", "wire"),
        ("--no-such-option", "1"),
    ],
)
def test_bad_options(build, tmp_path, option, value):
    result = run([build / "wire", option, value, "--", "touch", tmp_path / "touched"])
    assert result.status == 2, result.report()
    assert option in result.err, result.report()
    assert not (tmp_path / "touched").exists()


def test_a_result_that_cannot_be_written(start_wire, tmp_path):
    wire = start_wire("--pcap", tmp_path / "no" / "pcap", command=["true"])
    wire.end()
    wire.skip_if_refused()
    assert wire.process.returncode == 1
    assert f"{tmp_path}/no/pcap: No such file or directory" in wire.log


@pytest.mark.parametrize(
    "options",
    [["--pcap", "/dev/full"], ["--svg", "/dev/full"], ["--ladder", "on"], ["--watch", "on"]],
)
def test_output_that_cannot_be_written(build, options):
    with open("/dev/full", "wb") as full:
        command = [build / "wire", *options, "--", "true"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    if result.returncode == NOT_ALLOWED:
        pytest.skip(result.stderr.decode().strip())
    assert result.returncode == 1, result.stderr
    assert b"No space left on device" in result.stderr


@pytest.mark.parametrize("end", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_leaves_the_results(start_wire, tmp_path, end):
    pcap, svg = tmp_path / "pcap", tmp_path / "svg"
    script = f"echo ready; {sys.executable} -ISc '{EARLY % (1, 20)}'; read line"
    options = ["--pcap", pcap, "--svg", svg, "--ladder", "on"]
    wire = start_wire(*options, command=["sh", "-c", script]).ready()
    assert wire.line() == "refused", wire.report()
    wire.process.send_signal(getattr(signal, end))
    text = wire.end()
    assert wire.process.returncode == -getattr(signal, end), wire.report()
    assert b"early" in read_pcap(pcap)[0][2]
    assert svg_labels(svg) == []
    assert CLIENT in text and SERVER in text


def test_ctrl_c_is_for_the_command(start_wire):
    """The kernel sends it to all programs of the terminal; the wire waits for the command."""
    script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done"
    terminal, inside = open_terminal()
    wire = start_wire(command=["sh", "-c", script], preexec_fn=lambda: take_terminal(inside))
    wire.ready()
    os.write(terminal, b"\x03")
    assert wire.line() == "caught", wire.report()
    wire.end()
    assert wire.process.returncode == 3, wire.report()
    os.close(terminal)
    os.close(inside)


def take_terminal(terminal):
    """In a child that is about to become the wire: the terminal controls it."""
    os.setsid()
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)


def test_what_forbids_it_is_named(build):
    if shutil.which("unshare") is None or run(["unshare", "-Ur", "true"]).status != 0:
        pytest.skip("needs user namespaces: unshare -Ur true")
    # Root, who may do without a user namespace, meets the second.
    script = (
        "echo 0 > /proc/sys/user/max_user_namespaces && "
        'echo 0 > /proc/sys/user/max_net_namespaces || exit 99; exec "$@"'
    )
    command = [build / "wire", "--", "true"]
    result = run(["unshare", "-Ur", "sh", "-c", script, "sh", *command])
    if result.status == 99:
        pytest.skip(result.err.strip())
    assert result.status == NOT_ALLOWED, result.report()
    assert "user.max_user_namespaces" in result.err, result.report()
    assert "network namespace" in result.err, result.report()
