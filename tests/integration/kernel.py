"""What the kernel says about a connection: the programs seen from outside, whatever they log.

And two things to stand on: a private network, whose settings are the test's own, and a server
of a few lines that does what the test wants.
"""

import contextlib
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from course import AT_ONCE, wait_until


def setting(name):
    """The first number of a setting below /proc/sys; skips the test where there is none."""
    try:
        return int(Path("/proc/sys", *name.split(".")).read_text(encoding="ascii").split()[0])
    except OSError as error:
        pytest.skip(f"{name} cannot be read here: {error}")


def process_state(pid):
    """One letter, as in ps(1): R runs, S sleeps, T stands still after SIGSTOP."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]


def at_rest(pid):
    """Whether no thread of a process runs, or would run if there were a processor for it."""
    tasks = Path(f"/proc/{pid}/task")
    for thread in os.listdir(tasks):
        with contextlib.suppress(OSError):  # one that has ended meanwhile
            stat = (tasks / thread / "stat").read_text(encoding="utf-8")
            if stat.rpartition(")")[2].split()[0] in "RD":
                return False
    return True


def tcp_info(connection):
    """The parts of TCP_INFO (struct tcp_info in linux/tcp.h) that the tests look at."""
    data = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    scales = data[6]
    return SimpleNamespace(
        # Two bit fields of 4 bits: the peer's scale comes first in the C struct.
        peer_window_scale=scales & 15 if sys.byteorder == "little" else scales >> 4,
        segments_received=struct.unpack_from("=I", data, 140)[0],
        data_segments_received=struct.unpack_from("=I", data, 152)[0],
    )


def accepted_buffers(server, connection):
    """(SO_RCVBUF, SO_SNDBUF) of the server's end of a connection, from ss."""
    if shutil.which("ss") is None:
        pytest.skip("needs ss, of the package iproute2")
    port = connection.getsockname()[1]
    command = ["ss", "-Htmn", f"sport = :{server.port} and dport = :{port}"]

    def look():
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return re.search(r"skmem:\(r\d+,rb(\d+),t\d+,tb(\d+),", lines)

    found = wait_until(look, f"the connection from port {port} in {' '.join(command)}")
    return int(found[1]), int(found[2])


LISTEN, ESTABLISHED = 0x0A, 0x01


def table_row(local_port, remote_port=0):
    """The row of /proc/net/tcp (proc(5)) of one socket: its state, what waits in its receive
    queue (for a listener: how many connections), and its timer in seconds; or None."""
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        words = line.split()
        ports = [int(words[i].split(":")[1], 16) for i in (1, 2)]
        if ports == [local_port, remote_port]:
            timer, ticks = (int(word, 16) for word in words[5].split(":"))
            return SimpleNamespace(
                state=int(words[3], 16),
                waiting=int(words[4].split(":")[1], 16),
                keepalive=ticks / os.sysconf("SC_CLK_TCK") if timer == 2 else None,
            )
    return None


def server_row(server, connection):
    """The row of the server's end of a connection, once it is there."""
    port = connection.getsockname()[1]
    return wait_until(lambda: table_row(server.port, port), f"port {port} in /proc/net/tcp")


def wait_until_read(server, connection):
    """Waits until the server has received all that was sent: none of it is on its way, none in
    the receive queue. So what is sent next cannot reach it together with what was sent."""
    port = connection.getsockname()[1]

    def nothing_waits():
        row = table_row(server.port, port)
        return row is None or row.waiting == 0

    wait_until(nothing_waits, "the server having received what was sent")


def is_full(server, connection):
    """Whether the server has bytes of a connection to receive, and waits all the same: everything
    on the way to the client, who reads nothing, is full, and so nothing is received from it."""
    port = connection.getsockname()[1]
    for _ in range(3):
        row = table_row(server.port, port)
        if row is None or row.waiting == 0 or not at_rest(server.pid):
            return False
        time.sleep(0.005)
    return True


def send_until_full(server, connection, most=60_000_000):
    """Sends until nothing more fits, or so many bytes; returns all that was sent. Nothing more
    fits, too, where nothing goes for long, and the server works on all the same."""
    chance = random.Random(3)
    patience = connection.gettimeout()
    connection.settimeout(0.05)
    sent, full, last = [], False, time.monotonic()
    while most > 0 and not full:
        piece = chance.randbytes(65536)
        try:
            sent.append(piece[: connection.send(piece)])
            most -= len(sent[-1])
            last = time.monotonic()
        except TimeoutError:
            full = is_full(server, connection) or time.monotonic() - last > AT_ONCE
    connection.settimeout(patience)
    return b"".join(sent)


@contextlib.contextmanager
def answering(answer):
    """A server in a thread that calls answer(connection) for one client after another. Yields
    its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                answer(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)


@contextlib.contextmanager
def refusing():
    """Yields a port where nobody listens, and nobody else can while the test has it."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


# Brings up the loopback of a new network namespace: SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP.
HOLDER = """
import fcntl, socket, struct, sys
with socket.socket() as any_socket:
    request = struct.pack("16sH14x", b"lo", 0)
    name, flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, 0x8913, request))
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", name, flags | 1))
with open("/proc/sys/net/ipv4/tcp_fastopen", "w") as setting:
    setting.write(sys.argv[1])
print("ready", flush=True)
sys.stdin.read()
"""


class PrivateNetwork:
    """A network namespace, made without any right: nothing in it but a loopback of its own, with
    a setting of net.ipv4.tcp_fastopen of its own. It is gone when its holder is."""

    def __init__(self, fastopen, folder):
        for tool in ("unshare", "nsenter"):
            if shutil.which(tool) is None:
                pytest.skip(f"needs {tool}, of the package util-linux")
        self.folder = folder
        self.holder = subprocess.Popen(
            ["unshare", "-Urn", sys.executable, "-c", HOLDER, str(fastopen)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if self.holder.stdout.readline() != b"ready\n":
            reason = self.holder.stderr.read().decode(errors="replace").strip().splitlines()
            self.close()
            pytest.skip(f"no private network here: {reason[-1] if reason else 'unshare failed'}")

    def inside(self, program):
        """A script that runs the program in the network."""
        script = self.folder / f"{program.parent.name}-{program.name}.sh"
        script.write_text(
            f"#!/bin/sh\nexec nsenter -t {self.holder.pid} -U -n --preserve-credentials "
            f"'{program}' \"$@\"\n",
            encoding="ascii",
        )
        script.chmod(0o755)
        return script

    def counter(self, name):
        """A counter of /proc/net/netstat, which nstat(8) shows."""
        text = Path(f"/proc/{self.holder.pid}/net/netstat").read_text(encoding="ascii")
        for names, values in zip(text.splitlines()[::2], text.splitlines()[1::2]):
            found = dict(zip(names.split(), values.split()))
            if name in found:
                return int(found[name])
        pytest.skip(f"this kernel does not count {name}")

    def close(self):
        self.holder.communicate()
