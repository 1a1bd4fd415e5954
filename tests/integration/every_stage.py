"""What every stage keeps to. A stage's test file inherits it: class TestEveryStage(EveryStage)."""

import contextlib
import os
import random
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading
from pathlib import Path

import pytest
from course import (
    AT_ONCE,
    LIMIT,
    check_exchange,
    is_closed,
    open_terminal,
    receive,
    receive_all,
    reset,
    run,
    send_patiently,
    wait_until,
)
from kernel import is_full, process_state

# What is wrong with each command line, and the words that the message has to hold.
BAD_SERVER_LINES = [
    (["--port", "70000"], ["--port", "70000", "0", "65535"]),
    (["--port", "-1"], ["--port", "-1", "65535"]),
    (["--port", "http"], ["--port", "http", "65535"]),
    (["--port", "80x"], ["--port", "80x"]),
    (["--port="], ["--port"]),
    (["--port"], ["--port"]),
    (["--no-such-option"], ["--no-such-option"]),
    (["--no-such-option=3"], ["--no-such-option"]),
    (["-x"], ["x"]),
    (["word"], ["word"]),
]
PREFIX = r"\[\S+\(\d+\), \S+\(\d+\)\] "


def check_is_refused(server, *words):
    """The server, which was started without a ready line, ends with status 2 and says the words.

    They have to be in the message itself: a pid in front of it may look like a number of them.
    """
    assert server.wait() == 2
    said = re.sub(PREFIX, "", server.log)
    for word in words:
        assert word in said, f"expected {word!r} in {said!r}"


def rude_reset(connection):
    connection.sendall(b"x" * 100)
    reset(connection)


def rude_close(connection):
    connection.close()


def rude_unread_reply(connection):
    connection.sendall(b"x" * 50_000)
    connection.close()


def rude_half_close(connection):
    connection.sendall(b"x" * 10)
    connection.shutdown(socket.SHUT_WR)
    connection.close()


def rude_garbage(connection):
    connection.sendall(os.urandom(3000))
    reset(connection)


def rude_flood(connection):
    connection.settimeout(0.02)
    try:
        while True:
            connection.sendall(b"x" * 65536)
    except (TimeoutError, OSError):
        pass
    reset(connection)


RUDE = [rude_reset, rude_close, rude_unread_reply, rude_half_close, rude_garbage]


def stuck(server):
    """A client that sends until nothing more fits and receives nothing: the server is in the
    middle of an answer. It may have a last buffer to fill, which its log cannot tell."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((server.address[0], server.port))
    connection.settimeout(0.2)
    try:
        while True:
            connection.send(b"x" * 65536)
    except TimeoutError:
        connection.settimeout(20)
    return connection


class UnreadPipe:
    """A pipe for a log that nobody reads until the test does. Closed with its scope."""

    def __enter__(self):
        self.out, self.into = os.pipe()
        os.set_blocking(self.out, False)
        return self

    def __exit__(self, *_):
        os.close(self.out)
        os.close(self.into)

    def fill(self):
        # Opened again: O_NONBLOCK on the end that the server has would be the server's too.
        end = os.open(f"/proc/self/fd/{self.into}", os.O_WRONLY | os.O_NONBLOCK)
        for size in (65536, 1):
            try:
                while True:
                    os.write(end, b"#" * size)
            except BlockingIOError:
                pass
        os.close(end)

    def read(self):
        """What is in there, but for what filled it."""
        data = b""
        try:
            while part := os.read(self.out, 65536):
                data += part
        except BlockingIOError:
            pass
        return data.decode().replace("#", "")


class EchoServer:
    """Answers one client after another, since a stranger may come first; keeps what came."""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(LIMIT)
        self.port = self.listener.getsockname()[1]
        self.received = b""
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()
        return self

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                while part := connection.recv(4096):
                    self.received += part
                    connection.sendall(part)

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()


def redirected(how):
    """A command to put before another one, which then has this redirection."""
    return ["sh", "-c", f'exec "$@" {how}', "sh"]


def run_into_closed_pipe(command, stdin=b""):
    """Runs a command whose stdout is a pipe that nobody reads any more."""
    out, into = os.pipe()
    os.close(out)
    try:
        return subprocess.run(
            [str(part) for part in command],
            input=stdin,
            stdout=into,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(into)


# Every way to close some of stdin, stdout and stderr.
CLOSED = ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"]


class EveryStage:
    # What keeps an answer under way from holding up a stop for long.
    short_grace = ()
    # A stop lets an answer under way be finished.
    clean_end = False
    # What the client can send in one message: from 05 on as much as it likes.
    long_message = 100_000

    # The ready line and the address.

    def test_the_ready_line_is_all_there_is_on_stdout(self, start):
        server = start()
        assert server.address[0] == "127.0.0.1"
        with server.connect() as connection:
            check_exchange(connection, b"Hello\n")
        assert server.stop()[0] == 0
        assert server.after_ready == b"", f"more on stdout: {server.after_ready!r}"

    @pytest.mark.parametrize(
        "host, address",
        [
            ("localhost", "127.0.0.1"),
            ("127.0.0.2", "127.0.0.2"),
            ("0.0.0.0", "0.0.0.0"),
            ("", "0.0.0.0"),
        ],
    )
    def test_host(self, start, host, address):
        server = start("--host", host)
        assert server.address[0] == address
        with server.connect() as connection:
            check_exchange(connection, b"Hello\n")

    def test_a_name_that_nobody_knows(self, start):
        server = start("--host", "no-such-host.invalid", ready=False)
        assert server.wait() == 1
        assert "no-such-host.invalid" in server.log

    def test_the_port_that_was_asked_for(self, start, server_program):
        first = start()
        port = first.port
        assert first.stop()[0] == 0
        assert start(port=port).port == port

    def test_name_equals_value(self, start):
        server = start("--host=127.0.0.3")
        assert server.address[0] == "127.0.0.3"

    def test_a_port_in_use(self, start):
        first = start()
        second = start(port=first.port, ready=False)
        assert second.wait() == 1
        assert f"bind 127.0.0.1:{first.port}: Address already in use" in second.log

    def test_who_has_the_port(self, start):
        first = start()
        second = start(port=first.port, ready=False)
        assert second.wait() == 1
        holder = "/".join(Path(os.readlink(f"/proc/{first.pid}/exe")).parts[-2:])
        assert re.search(
            rf"{re.escape(holder)}, pid {first.pid}, is listening there\n"
            rf".*bind 127\.0\.0\.1:{first.port}: Address already in use\n$",
            second.log,
        )

    def test_who_has_the_port_when_it_was_built_again(self, start, server_program, tmp_path):
        copy = tmp_path / "77-copied" / "server"
        copy.parent.mkdir()
        shutil.copy(server_program, copy)
        first = start(program=copy)
        copy.unlink()
        second = start(port=first.port, ready=False)
        assert second.wait() == 1
        assert f" 77-copied/server, pid {first.pid}, is listening there\n" in second.log

    # Output that cannot be written.

    @pytest.mark.parametrize("arguments", [["--port", "0"], ["--help"]])
    def test_a_full_disk(self, server_program, arguments):
        result = run([*redirected(">/dev/full"), server_program, *arguments])
        assert result.status == 1, result.report()
        assert "No space left on device" in result.err.splitlines()[-1], result.report()

    @pytest.mark.parametrize("arguments", [["--port", "0"], ["--help"]])
    def test_a_closed_pipe(self, server_program, arguments):
        done = run_into_closed_pipe([server_program, *arguments])
        assert done.returncode == 1, f"exit status {done.returncode}, expected 1"
        assert b"Broken pipe" in done.stderr.splitlines()[-1]

    # Descriptors that are closed from the beginning: no socket may take their place.

    @pytest.mark.parametrize("closed", CLOSED)
    def test_closed_descriptors(self, start, closed):
        server = start("-v", before=redirected(closed), ready=False)
        if ">&-" in closed.split():
            assert server.wait() == 1, "the ready line cannot be printed"
            assert "2>&-" in closed or "stdout: Bad file descriptor" in server.log
            return
        server.read_ready_line()
        with server.connect() as first, server.connect() as second:
            for connection in (first, second):
                check_exchange(connection, b"Hello")
                connection.shutdown(socket.SHUT_WR)
                rest = receive_all(connection)
                assert rest == b"", f"more than the answer came: {rest!r}"
        assert server.stop()[0] == 0

    # A log that nobody reads.

    def test_a_log_that_nobody_reads(self, start):
        with UnreadPipe() as log:
            log.fill()
            server = start("-v", stderr=log.into)
            for number in range(20):
                with server.connect() as connection:
                    check_exchange(connection, b"client %d" % number)
            assert os.get_blocking(log.into), "O_NONBLOCK was set for all who have this pipe"
            text = log.read()
            with server.connect() as connection:
                check_exchange(connection, b"Hello")
            assert server.stop()[0] == 0
            lines = (text + log.read()).splitlines()
        assert re.fullmatch(PREFIX + r"lines lost: \d+; .*", lines[0]), lines
        for line in lines:
            assert re.match(PREFIX, line), f"expected '[program(pid), thread(tid)] …': {line!r}"
        assert any(line.endswith(" connected") for line in lines), lines

    def test_a_stop_while_nobody_reads_the_log(self, start):
        """Every client that is served at once has a line to log, and so has who stops it."""
        with UnreadPipe() as log:
            server = start(*self.short_grace, stderr=log.into)
            descriptors = server.descriptors()
            log.fill()
            clients = [server.connect() for _ in range(50)]
            wait_until(lambda: server.descriptors() > descriptors, "a client being accepted")
            status, seconds = server.stop()
            for client in clients:
                client.close()
        assert status == 0
        assert seconds < AT_ONCE, f"{seconds:.1f} s, expected less than {AT_ONCE}"

    def test_a_terminal_after_control_s(self, start):
        master, slave = open_terminal()
        writable = select.poll()
        writable.register(slave, select.POLLOUT)
        os.write(master, b"\x13")
        wait_until(lambda: not writable.poll(0), "the terminal being stopped")
        server = start(stderr=slave)
        with server.connect() as connection:
            check_exchange(connection, b"Hello")
        assert server.stop()[0] == 0
        os.close(slave)
        os.close(master)

    def test_a_log_whose_reader_has_gone(self, start):
        out, into = os.pipe()
        server = start(stderr=into)
        os.close(into)
        os.close(out)
        for _ in range(3):
            with server.connect() as connection:
                check_exchange(connection, b"Hello")
        assert server.stop()[0] == 0

    # The command line.

    def test_help(self, server_program):
        result = run([server_program, "--help"])
        assert result.status == 0, result.report()
        assert b"--host" in result.out and b"localhost" in result.out, result.report()
        assert b"--port" in result.out and b"9999" in result.out, result.report()

    @pytest.mark.parametrize("arguments, words", BAD_SERVER_LINES)
    def test_bad_command_line(self, server_program, arguments, words):
        result = run([server_program, *arguments])
        assert result.status == 2, result.report()
        assert result.out == b"", result.report()
        for word in words:
            assert word in result.err, f"expected {word!r} in the message\n{result.report()}"

    # The log.

    def test_the_log_says_who_came_and_who_went(self, start):
        server = start()
        with server.connect() as connection:
            check_exchange(connection, b"Hello\n")
            peer = "127.0.0.1:%d" % connection.getsockname()[1]
        server.wait_log(re.escape(peer) + ".*(?i:end of file|closed)")
        for line in server.log.splitlines():
            assert re.match(PREFIX, line), f"expected '[program(pid), thread(tid)] …': {line!r}"
        assert f"{peer} connected" in server.log

    def test_verbose_shows_the_bytes(self, start):
        server = start("-v")
        with server.connect() as connection:
            check_exchange(connection, b"a\n\x00\xff")
            check_exchange(connection, b"y" * 64)
            check_exchange(connection, b"z" * 65)
        server.wait_log("end of file|closed")
        assert r"b'a\n\x00\xff'" in server.log
        assert "y" * 64 in server.log
        assert "z" * 64 in server.log and "z" * 65 not in server.log
        assert re.search(r"\b65\b.*z", server.log), "expected the total, 65, beside the bytes"

    def test_quiet_says_nothing_of_ordinary_clients(self, start):
        server = start("-q")
        with server.connect() as connection:
            check_exchange(connection, b"Hello\n")
        assert server.stop()[0] == 0
        assert server.log == ""

    # Echo.

    def test_bytes_one_by_one(self, start):
        server = start()
        with server.connect() as connection:
            for byte in range(256):
                check_exchange(connection, bytes([byte]))

    def test_a_half_close_still_gets_the_reply(self, start):
        server = start()
        with server.connect() as connection:
            connection.sendall(b"Hello")
            connection.shutdown(socket.SHUT_WR)
            came = receive_all(connection)
            assert came == b"Hello", f"sent b'Hello' and end of file, came {came!r}"

    def test_a_slow_reader_misses_nothing(self, start):
        """More than all buffers hold, and read only when nothing more fits into them: the server's
        send takes a part of what it is given, or waits."""
        server = start()
        data = random.Random(1).randbytes(16_000_000)

        def write():
            send_patiently(connection, data)
            connection.shutdown(socket.SHUT_WR)

        def full_or_done():
            return is_full(server, connection) or not writer.is_alive()

        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            connection.settimeout(LIMIT)
            connection.connect((server.address[0], server.port))
            writer = threading.Thread(target=write)
            writer.start()
            wait_until(full_or_done, "every buffer being full")
            came = receive(connection, len(data))
            writer.join()
        # Not left to pytest to compare: it would show where 16 MB differ.
        same = came == data
        assert same, f"sent {len(data)} bytes, came {len(came)}, or others than these"

    def test_one_client_after_another(self, start):
        server = start()
        for number in range(20):
            with server.connect() as connection:
                check_exchange(connection, b"client %d" % number)

    @pytest.mark.parametrize("tool", ["nc", "socat"])
    def test_other_clients(self, start, tool):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
        server = start()
        command = {
            "nc": ["nc", "-N", "127.0.0.1", str(server.port)],
            "socat": ["socat", "-t", "20", "-", f"TCP:127.0.0.1:{server.port}"],
        }[tool]
        if tool == "nc" and "-N" not in run(["nc", "-h"]).err:
            pytest.skip("this nc has no -N")
        result = run(command, stdin=b"Hello\nthere\n")
        assert result.out == b"Hello\nthere\n", result.report()

    # What a client can do to it: nothing.

    def test_rude_clients(self, start):
        server = start("-q")
        with server.connect() as connection:
            check_exchange(connection, b"before")
            threads = server.threads()
        descriptors = server.descriptors()
        # One that has come and gone before the server gets to it: whatever it sends, nobody is there.
        os.kill(server.pid, signal.SIGSTOP)
        rude_unread_reply(server.connect())
        os.kill(server.pid, signal.SIGCONT)
        try:
            for number in range(200):
                RUDE[number % len(RUDE)](server.connect())
            with server.connect() as connection:
                check_exchange(connection, b"after")
        except OSError as error:
            # Which error depends on how far the client was when the server ended.
            raise AssertionError("a rude client ended the server, or held it up") from error
        wait_until(
            lambda: server.descriptors() <= descriptors and server.threads() <= threads,
            f"{descriptors} descriptors and {threads} threads again, as before 200 rude clients "
            "(a descriptor or a thread was leaked)",
        )

    def test_clients_that_flood_and_vanish(self, start):
        server = start("-q")
        for _ in range(5):
            rude_flood(server.connect())
        with server.connect() as connection:
            check_exchange(connection, b"after")

    def test_without_descriptors_it_waits(self, start):
        server = start()
        with open(f"/proc/{server.pid}/stat", encoding="utf-8") as stat:

            def processor_time():
                stat.seek(0)
                ticks = sum(map(int, stat.read().rpartition(")")[2].split()[11:13]))
                return ticks / os.sysconf("SC_CLK_TCK")

            limit = server.descriptors()
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (limit, 1024))
            # An accept that waits at this moment has its descriptor already; this client takes it.
            server.connect().close()
            with server.connect() as connection:
                before = processor_time()
                server.wait_log("Too many open files", times=3)
                assert processor_time() - before < 0.1, "it spins while accept fails"
                resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (1024, 1024))
                check_exchange(connection, b"at last")

    # Stopping.

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_stop_without_clients(self, start, number):
        status, seconds = start().stop(number)
        assert status == 0
        assert seconds < AT_ONCE

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_stop_while_the_ready_line_cannot_be_printed(self, build, server_program, number):
        """Nobody reads its stdout, and that is full."""
        if build.name == "thread":
            pytest.skip("the thread sanitizer holds a signal back while write(2) blocks")
        with UnreadPipe() as stdout:
            stdout.fill()
            command = [server_program, "--port", "0", *self.short_grace]
            server = subprocess.Popen(command, stdout=stdout.into, stderr=subprocess.PIPE)
            descriptors = Path(f"/proc/{server.pid}/fd")
            try:
                wait_until(lambda: len(list(descriptors.iterdir())) > 3, "a listener")
                wait_until(lambda: process_state(server.pid) == "S", "a server that waits")
                server.send_signal(number)
                _, log = server.communicate(timeout=10)
            finally:
                server.kill()
                server.wait()
            assert server.returncode == 0, f"exit status {server.returncode}, its log: {log}"

    def test_a_stop_right_after_the_ready_line(self, start):
        for _ in range(20):
            status, seconds = start("-q").stop()
            assert status == 0
            assert seconds < AT_ONCE

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_stop_while_a_client_is_idle(self, start, number):
        server = start()
        with server.connect() as connection:
            check_exchange(connection, b"Hello")
            status, seconds = server.stop(number)
            assert status == 0
            assert seconds < AT_ONCE, f"{seconds:.1f} s for an idle client"
            assert is_closed(connection)

    def test_a_stop_while_clients_wait(self, start):
        server = start()
        clients = [server.connect() for _ in range(3)]
        status, seconds = server.stop()
        assert status == 0
        assert seconds < AT_ONCE
        for client in clients:
            client.close()

    def test_a_stop_at_any_moment(self, start):
        chance = random.Random(2)
        for _ in range(15):
            server = start("-q", *self.short_grace)
            connection = server.connect()
            for _ in range(chance.randrange(4)):
                connection.sendall(b"x" * chance.randrange(1, 20_000))
            status, seconds = server.stop()
            assert status == 0
            assert seconds < AT_ONCE
            connection.close()

    def test_a_stop_in_the_middle_of_an_answer(self, start):
        """With a clean end, the connection is not reset over what was sent."""
        server = start(*self.short_grace)
        with server.connect() as connection:
            check_exchange(connection, b"Hello")
            connection.sendall(b"x" * 100_000)
            server.process.send_signal(signal.SIGTERM)
            try:
                came = receive(connection, 100_000)
                assert came == b"x" * len(came)
            except ConnectionResetError:
                assert not self.clean_end, "reset in the middle of an answer"
        assert server.wait() == 0

    def test_a_stop_while_an_answer_is_stuck(self, start):
        server = start(*self.short_grace)
        with stuck(server):
            status, seconds = server.stop()
            assert status == 0
            assert seconds < AT_ONCE, f"{seconds:.1f} s for a client that does not read"

    def test_nobody_new_can_connect_while_it_stops(self, start):
        server = start(*self.short_grace)
        with stuck(server):
            server.process.send_signal(signal.SIGTERM)

            def refused():
                try:
                    server.connect(timeout=5).close()
                    return False
                except ConnectionRefusedError:
                    return True
                except ConnectionResetError:
                    return False  # it came just when the port was being closed

            wait_until(refused, "the port being closed")
            assert server.wait() == 0

    # The client.

    def test_client_messages(self, start, client):
        result = client(start().port, "Hello", "", " there\n", "é")
        assert result.status == 0
        assert result.out == b"Hello there\n" + "é".encode()

    def test_client_lines_of_stdin(self, start, client):
        lines = b"one\ntwo\n\nthree without an end"
        result = client(start().port, stdin=lines)
        assert result.status == 0
        assert result.out == lines

    def test_client_with_a_long_message(self, start, client):
        data = random.Random(3).randbytes(self.long_message).replace(b"\n", b"?")
        result = client(start("-q").port, "-q", stdin=data)
        assert result.status == 0
        assert result.out == data, f"sent {len(data)} bytes, came {len(result.out)}"

    def test_client_refused(self, client):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        result = client(port, "Hello")
        assert result.status == 1
        assert f"connect 127.0.0.1:{port}: Connection refused" in result.err

    @pytest.mark.parametrize("end", ["close", "reset"])
    def test_client_of_a_server_that_goes_away(self, client, end):
        def serve(listener):
            connection, _ = listener.accept()
            connection.recv(3)
            connection.sendall(b"ab")
            if end == "reset":
                connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            else:
                connection.recv(100)
            connection.close()

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=serve, args=(listener,))
            thread.start()
            result = client(listener.getsockname()[1], "-q", "Hello")
            thread.join()
        assert result.status == 1
        assert len(result.err.splitlines()) == 1, result.report()

    def test_client_of_a_server_that_answers_byte_by_byte(self, client):
        def serve(listener):
            connection, _ = listener.accept()
            with connection:
                while data := connection.recv(1):
                    connection.sendall(data)

        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=serve, args=(listener,))
            thread.start()
            result = client(listener.getsockname()[1], "Hello", "there")
            thread.join()
        assert (result.status, result.out) == (0, b"Hellothere")

    @pytest.mark.parametrize(
        "arguments", [["--port", "70000"], ["--port", "x"], ["--no-such-option"]]
    )
    def test_client_bad_command_line(self, client_program, arguments):
        result = run([client_program, *arguments, "Hello"])
        assert result.status == 2, result.report()
        assert arguments[0] in result.err, result.report()

    def test_client_output_that_cannot_be_written(self, client_program, start):
        for arguments in (["--help"], ["--port", start().port, "Hello"]):
            result = run([*redirected(">/dev/full"), client_program, *arguments])
            assert result.status == 1, result.report()
            assert "No space left on device" in result.err.splitlines()[-1], result.report()

            done = run_into_closed_pipe([client_program, *arguments])
            assert done.returncode == 1, f"exit status {done.returncode}, expected 1"
            assert b"Broken pipe" in done.stderr.splitlines()[-1]

    @pytest.mark.parametrize("closed", CLOSED)
    def test_client_with_closed_descriptors(self, client_program, closed):
        with EchoServer() as server:
            result = run(
                [*redirected(closed), client_program, "-v", "--port", server.port, "Hello"]
            )
        if ">&-" in closed.split():
            assert result.status == 1, result.report()
            assert server.received in (b"", b"Hello")
            assert "2>&-" in closed or "Bad file descriptor" in result.err, result.report()
        else:
            assert (result.status, result.out) == (0, b"Hello"), result.report()
            assert server.received == b"Hello"

    @pytest.mark.parametrize("closed", [how for how in CLOSED if "<&-" in how])
    def test_client_without_stdin_to_read(self, client_program, closed):
        with EchoServer() as server:
            result = run([*redirected(closed), client_program, "-v", "--port", server.port])
        assert result.status == 1, result.report()
        assert result.out == b"" and server.received == b""
        assert "2>&-" in closed or "Bad file descriptor" in result.err, result.report()
