"""What the tests drive the programs with: a server, a client, and plain sockets.

Nothing here sleeps for a guessed time: it waits for the ready line, for a line in the log, for
a process to end, or for a condition that it looks at again and again until a generous limit.
"""

import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

# Seconds: far more than anything takes, so that a busy machine fails no test. Tests that are
# expected to fail are run with less.
LIMIT = float(os.environ.get("TEST_LIMIT", "20"))

# Seconds, for what should take no time, or little: it may take what a busy machine, or a slow one,
# makes of it, but not the 5 s that a server has by default to finish its answers.
AT_ONCE = 4

# Seconds, for a program that does a good deal of work and ends. On a slow machine it takes longer.
ENOUGH = max(60, 3 * LIMIT)


# What a C library other than GNU's (musl) calls an error, and what the tests call it.
OTHER_WORDS = {
    "Address in use": "Address already in use",
    "Message too large": "Message too long",
    "No file descriptors available": "Too many open files",
    "Operation timed out": "Connection timed out",
}


def in_gnu_words(text):
    for other, gnu in OTHER_WORDS.items():
        text = text.replace(other, gnu)
    return text


def wait_until(condition, what, limit=LIMIT):
    """Returns condition()'s first true answer; fails with `what` when none comes."""
    end = time.monotonic() + limit
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {limit} s, but not seen: {what}")
        time.sleep(0.005)


class Server:
    """A running server: started, ready, with its log in a file."""

    def __init__(self, program, arguments, log_path, limits=None, before=(), stderr=None):
        """before is a command that executes the server; stderr a descriptor, if the log is not
        to go into a file."""
        self.command = [*before, str(program), *map(str, arguments)]
        self.log_path = Path(log_path)
        self.after_ready = b""
        self.address = None
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log if stderr is None else stderr,
                preexec_fn=limits,
            )

    @property
    def pid(self):
        return self.process.pid

    @property
    def port(self):
        return self.address[1]

    @property
    def log(self):
        return in_gnu_words(self.log_path.read_text(errors="replace"))

    def read_ready_line(self):
        """Waits for "listening on HOST:PORT"."""
        line = b""
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([self.process.stdout], [], [], LIMIT)
            assert readable, f"no ready line within {LIMIT} s"
            byte = os.read(self.process.stdout.fileno(), 1)
            assert byte, (
                f"the server ended with status {self.process.wait()} before it said "
                f"'listening on HOST:PORT'; stdout was {line!r}"
            )
            line += byte
        match = re.fullmatch(rb"listening on (\d+\.\d+\.\d+\.\d+):(\d+)\n", line)
        assert match, f"expected 'listening on HOST:PORT' on stdout, came {line!r}"
        self.address = (match[1].decode(), int(match[2]))
        return self

    def connect(self, timeout=LIMIT):
        """A plain TCP connection to the server. Its calls fail after `timeout` seconds."""
        host = "127.0.0.1" if self.address[0] == "0.0.0.0" else self.address[0]
        return socket.create_connection((host, self.port), timeout=timeout)

    def wait_log(self, pattern, times=1):
        """Waits until a regular expression was found so often in the log."""
        return wait_until(
            lambda: len(found := re.findall(pattern, self.log)) >= times and found,
            f"{times} x {pattern!r} in the server's log",
        )

    def wait(self, limit=LIMIT):
        """Waits for the end; returns the exit status, -N where signal N ended it."""
        try:
            status = self.process.wait(limit)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server did not end within {limit} s") from None
        self.after_ready += self.process.stdout.read()
        return status

    def stop(self, number=signal.SIGTERM):
        """Sends a signal, waits; returns the exit status and how many seconds it took."""
        start = time.monotonic()
        self.process.send_signal(number)
        status = self.wait()
        return status, time.monotonic() - start

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def clean_up(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()

    def report(self):
        return f"command: {' '.join(self.command)}\nits log:\n{self.log}"


class Result:
    """What a program that has ended left behind."""

    def __init__(self, command, status, out, err, seconds):
        self.command, self.status, self.out, self.err = command, status, out, err
        self.seconds = seconds

    def report(self):
        return (
            f"command: {' '.join(map(repr, self.command))}\nexit status: {self.status}\n"
            f"stdout: {self.out!r}\nstderr:\n{self.err}"
        )


def run(command, stdin=b"", limit=ENOUGH):
    """Runs a program to its end."""
    command = [str(part) for part in command]
    start = time.monotonic()
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=limit, check=False)
    return Result(
        command,
        done.returncode,
        done.stdout,
        in_gnu_words(done.stderr.decode(errors="replace")),
        time.monotonic() - start,
    )


def library(folder, source):
    """A library that takes the place of a call, for LD_PRELOAD."""
    path = folder / "library.so"
    compiler = [*os.environ.get("CC", "cc").split(), "-shared", "-fPIC", "-x", "c", "-"]
    subprocess.run([*compiler, "-o", path], input=source.encode(), check=True)
    return path


def open_terminal():
    """Both ends of a new terminal (pty(7)), which the caller closes."""
    try:
        return pty.openpty()
    except OSError:
        pytest.skip("no terminal can be made here: 'mount -t devpts devpts /dev/pts' lets one be")


def receive(connection, size):
    """Receives size bytes, or what came before the end of the stream, or in time."""
    data = bytearray()
    while len(data) < size:
        try:
            part = connection.recv(size - len(data))
        except TimeoutError:
            break
        if not part:
            break
        data += part
    return bytes(data)


def receive_all(connection):
    """Receives up to the end of the stream."""
    data = bytearray()
    while part := connection.recv(65536):
        data += part
    return bytes(data)


def send_patiently(connection, data):
    """As sendall, whose time is for all of the data: here it is for each piece of them."""
    for place in range(0, len(data), 65536):
        connection.sendall(data[place : place + 65536])


def check_exchange(connection, sent, expected=None):
    """Sends, and fails unless exactly the expected bytes (the same ones) come back."""
    expected = sent if expected is None else expected
    connection.sendall(sent)
    came = receive(connection, len(expected))
    assert came == expected, f"sent {sent!r}, expected {expected!r}, came {came!r}"


def is_closed(connection):
    """Waits for the server's end of the connection: end of file or a reset."""
    try:
        return connection.recv(65536) == b""
    except TimeoutError:
        raise AssertionError("the server did not close the connection") from None
    except ConnectionError:
        return True


def reset(connection):
    """Closes with a reset instead of an orderly end (SO_LINGER with time 0)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
