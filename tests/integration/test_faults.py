"""What a program does when a call fails: each call that each stage makes, one after another.

A library that stands before the C library, tests/faults/faults.c, has the n-th call of a kind
fail. A program may then say why and end with status 1, before it is ready; or what it was doing
for one client is lost; but the next client is served, and nothing stays behind.
"""

import contextlib
import errno
import mmap
import os
import re
import socket
import struct
import time

import pytest
from course import LIMIT, Server, receive_all, run, wait_until
from every_stage import PREFIX
from kernel import answering
from test_course import STAGES

MESSAGE, ONE_BYTE = b"hello\n", 0

# Each call with the ways in which it fails. Behind those of the second list nobody may see a
# difference: the program does it again, or does the rest, or does without. Left out: calls that
# fail only where their arguments are wrong.
FAILURES = {
    "accept": ([], [errno.EINTR, errno.ECONNABORTED, errno.EMFILE, errno.ENOMEM]),
    "accept4": ([], [errno.EINTR, errno.ECONNABORTED, errno.EMFILE, errno.ENOMEM]),
    "bind": ([errno.EADDRINUSE, errno.EACCES], []),
    "calloc": ([errno.ENOMEM], []),
    "close": ([], [errno.EINTR, errno.EIO]),
    "connect": ([errno.ECONNREFUSED, errno.ETIMEDOUT], []),
    "epoll_create1": ([errno.EMFILE], []),
    "epoll_ctl": ([errno.ENOMEM, errno.ENOSPC], []),
    "epoll_wait": ([], [errno.EINTR]),
    "eventfd": ([errno.EMFILE], []),
    "getaddrinfo": ([errno.EAGAIN], []),
    "getsockname": ([errno.ENOBUFS], []),
    "getsockopt": ([errno.ENOPROTOOPT], []),
    "listen": ([errno.EADDRINUSE], []),
    "malloc": ([errno.ENOMEM], []),
    "nanosleep": ([], [errno.EINTR]),
    "open": ([], [errno.EMFILE, errno.EACCES]),
    "pipe2": ([errno.EMFILE], []),
    "poll": ([errno.ENOMEM], [errno.EINTR]),
    "pthread_attr_setstacksize": ([errno.EINVAL], []),
    "pthread_create": ([errno.EAGAIN], []),
    "read": ([errno.EIO], [errno.EINTR, ONE_BYTE]),
    "realloc": ([errno.ENOMEM], []),
    "recv": ([errno.ECONNRESET, errno.ENOMEM], [errno.EINTR, ONE_BYTE]),
    "send": ([errno.EPIPE, errno.ENOBUFS], [errno.EINTR, ONE_BYTE]),
    "setsockopt": ([errno.ENOPROTOOPT, errno.ENOMEM], []),
    "signalfd": ([errno.EMFILE], []),
    "sigwait": ([], [errno.EINTR]),
    "socket": ([errno.EMFILE, errno.EAFNOSUPPORT], []),
    "write": ([], [errno.EINTR, errno.ENOSPC, ONE_BYTE]),
}

# Options from a stage on, so that its calls are made.
SERVER_OPTIONS = {
    "02": ["--reuse-port", "on"],
    "03": ["--backlog", "5"],
    "04": ["--timeout", "15", "--accept-timeout", "15", "--user-timeout", "15"],
    "05": ["--recv-buffer", "65536", "--send-buffer", "65536"],
    "06": ["--quickack", "on", "--fastopen", "5"],
    "07": ["--handler", "line"],
}
CLIENT_OPTIONS = {
    "04": ["--connect-timeout", "15", "--timeout", "15", "--syn-retries", "3"],
    "05": ["--recv-buffer", "65536", "--send-buffer", "65536"],
    "06": ["--nodelay", "on"],
}


def up_to(stage, options):
    return [word for number in options if number <= stage[:2] for word in options[number]]


class Faults:
    """The order to fail, shared with a program by a file: struct faults of faults.c."""

    ORDER, COUNT = struct.Struct("=32s4i"), struct.Struct("=32si")

    def __init__(self, path):
        path.write_bytes(bytes(4096))
        self.path = path
        with open(path, "r+b") as file:
            self.shared = mmap.mmap(file.fileno(), 4096)

    def order(self, call="", first=0, last=0, error=0):
        """From the first-th to the last-th call fail. Forgets how often one did so far."""
        self.shared[: self.ORDER.size] = self.ORDER.pack(call.encode(), first, last, error, 0)

    def forget(self):
        self.shared[:] = bytes(4096)

    @property
    def failed(self):
        return self.ORDER.unpack_from(self.shared)[4]

    def counts(self):
        """{call: how often it was called}"""
        found = {}
        for at in range(self.ORDER.size, 4096 - self.COUNT.size, self.COUNT.size):
            name, calls = self.COUNT.unpack_from(self.shared, at)
            if name[:1] != b"\0":
                found[name.rstrip(b"\0").decode()] = calls
        return found


@pytest.fixture
def library(build):
    path = build / "tests" / "faults" / "faults.so"
    if not path.exists():
        pytest.skip(f"{path} is not built: it needs the GNU C library, and no sanitizer beside it")
    return path


@pytest.fixture
def faults(tmp_path):
    return Faults(tmp_path / "faults")


class Broken(AssertionError):
    """What a program must not do when a call fails."""


def orders(counts):
    """Each call that was made, with each way in which it fails: its name, its number, the error,
    and whether nobody may see a difference. Of what is written all goes through one place."""
    for call, (noticed, unseen) in FAILURES.items():
        calls = counts[call]
        for n in range(1, calls + 1):
            if call != "write" or n in (1, calls):
                for error in noticed + unseen:
                    yield call, n, error, error in unseen


def in_turn(faults, counts, can_be_interrupted, check):
    """Has each call fail, and calls check(what, whether it must go unseen) for each; fails with
    all that was found broken."""
    broken = []
    for call, n, error, unseen in orders(counts):
        # Where no signal has a handler that returns, only a receive or send with a time-out is
        # interrupted: by a stop and its end (signal(7)). One that does not wait never is.
        if call in ("recv", "send") and error == errno.EINTR and not can_be_interrupted:
            continue
        faults.forget()
        faults.order(call, n, n, error)
        how = os.strerror(error) if error != ONE_BYTE else "after one byte"
        try:
            check(f"{call} number {n} of {counts[call]} fails, {how}", unseen)
        except AssertionError as found:
            broken.append(str(found))
    if broken:
        pytest.fail("\n\n".join([f"{len(broken)} are broken", *broken]), pytrace=False)


def preloaded(program, library, faults):
    return ["env", f"FAULTS={faults.path}", f"LD_PRELOAD={library}", str(program)]


def served(server):
    """What a client gets: all that came before the end of the stream, or a failure."""
    came = b""
    try:
        with server.connect() as connection:
            connection.sendall(MESSAGE)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(100):
                came += part
    except TimeoutError:
        raise
    except OSError:
        pass
    return came


class Case:
    """A server, from its start to its end, while one call of it fails."""

    def __init__(self, build, stage, library, faults, log):
        self.command = preloaded(build / stage / "server", library, faults)
        self.options = ["--port", "0", *up_to(stage, SERVER_OPTIONS)]
        self.expected = MESSAGE.upper() if stage >= "07" else MESSAGE
        self.faults, self.log = faults, log

    @contextlib.contextmanager
    def server(self, what="no call fails"):
        server = Server(self.command[0], [*self.command[1:], *self.options], self.log)
        try:
            yield server
        except AssertionError as found:
            raise Broken(f"{what}: {found}\n{server.report()}") from None
        finally:
            server.clean_up()

    def serve(self, server, unseen=True):
        """Clients, one after another, until one was served after the call has failed."""
        for _ in range(4):
            failed = self.faults.failed
            came = served(server)
            assert server.process.poll() is None, f"it ended, status {server.process.returncode}"
            assert self.expected.startswith(came), f"a client got {came!r}"
            assert came == self.expected or not unseen, f"a client got {came!r}"
            if came == self.expected and failed == self.faults.failed:
                return
        raise Broken("no client was served any more")

    def run(self, what, unseen=True, idle=None):
        """Returns how many descriptors the server has without clients; None where it did not get
        ready, but said why."""
        with self.server(what) as server:
            try:
                server.read_ready_line()
            except AssertionError:
                status = server.wait()
                assert status == 1, f"status {status}, and it is not ready"
                assert re.search(PREFIX + r"\S.*: \S", server.log), "no word about why it ended"
                return None
            idle = idle or server.descriptors()
            self.serve(server, unseen)
            self.serve(server, unseen)
            wait_until(lambda: server.descriptors() <= idle, f"at most {idle} descriptors")
            status, _ = server.stop()
            assert status == 0, f"status {status} at SIGTERM"
            return idle


@pytest.mark.parametrize("stage", STAGES)
def test_a_server_serves_on_when_a_call_fails(build, stage, library, faults, tmp_path):
    case = Case(build, stage, library, faults, tmp_path / "log")
    idle = case.run("no call fails")
    counts = faults.counts()
    assert all(counts[call] > 0 for call in ("socket", "bind", "listen", "send", "recv"))
    assert counts["accept"] + counts["accept4"] > 0

    def check(what, unseen):
        if case.run(what, unseen, idle) is not None:
            calls = sum(faults.counts().values())
            assert calls < 3 * sum(counts.values()), f"{what}: {calls} calls, it spins"

    in_turn(faults, counts, "04" <= stage < "09", check)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_a_server_that_cannot_accept_waits(build, stage, library, faults, tmp_path, error):
    """As long as it is out of descriptors or memory it tries now and then, and does not spin."""
    case = Case(build, stage, library, faults, tmp_path / "log")
    with case.server() as server, contextlib.ExitStack() as stack:
        server.read_ready_line()
        case.serve(server)
        call = "accept" if faults.counts()["accept"] > 0 else "accept4"
        faults.order(call, faults.counts()[call] + 1, 1_000_000, error)
        clients = [stack.enter_context(server.connect()) for _ in range(3)]
        for client in clients:
            client.sendall(MESSAGE)
            client.shutdown(socket.SHUT_WR)
        wait_until(lambda: faults.failed >= 2, f"{call} failing twice")
        start, before = time.monotonic(), faults.failed
        wait_until(lambda: faults.failed >= before + 4, f"{call} failing four times more")
        assert time.monotonic() - start > 0.2, "no pause"
        faults.order()
        for client in clients:
            assert receive_all(client) == case.expected
        assert server.stop()[0] == 0


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("words, stdin", [(["hello"], b""), ([], MESSAGE)], ids=["words", "stdin"])
def test_a_client_has_its_reply_or_says_why_not(build, stage, library, faults, words, stdin):
    def echo(connection):
        while data := connection.recv(100):
            connection.sendall(data)

    with answering(echo) as port:
        command = [*preloaded(build / stage / "client", library, faults), "--port", port]
        command += [*up_to(stage, CLIENT_OPTIONS), *words]
        plain = run(command, stdin, LIMIT)
        assert plain.status == 0, plain.report()
        counts = faults.counts()
        assert all(counts[call] > 0 for call in ("socket", "connect", "send", "recv"))

        def check(what, unseen):
            result = run(command, stdin, LIMIT)
            what = f"{what}\n{result.report()}"
            assert result.status == 0 or not unseen, what
            if result.status == 0:
                assert result.out == plain.out, what
            else:
                assert result.status == 1 and plain.out.startswith(result.out), what
                assert re.search(PREFIX + r"\S.*: \S", result.err), what

        in_turn(faults, counts, stage >= "04", check)
