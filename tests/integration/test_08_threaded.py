"""Stage 08: a thread for each client, a limit, and a clean end."""

import contextlib
import fcntl
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import termios
import threading
import time
from pathlib import Path

import pytest
from course import (
    AT_ONCE,
    LIMIT,
    check_exchange,
    is_closed,
    receive,
    receive_all,
    reset,
    run,
    wait_until,
)
from every_stage import EveryStage, check_is_refused
from kernel import answering, refusing, setting, table_row

STAGE = "08-threaded"
SOON = min(5, LIMIT)  # for what should take no time at all


class TestEveryStage(EveryStage):
    # A second, as before this stage; its own default is longer.
    short_grace = ("--grace", "0.9")
    clean_end = True
    long_message = 5_000_000


@pytest.fixture(autouse=True)
def no_wait_at_exit(monkeypatch):
    """ThreadSanitizer has every program wait for a second before it ends."""
    given = os.environ.get("TSAN_OPTIONS", "")
    monkeypatch.setenv("TSAN_OPTIONS", f"atexit_sleep_ms=0:{given}")


@pytest.fixture
def sanitized(build):
    """Whether the programs carry a sanitizer, which costs memory, time and address space."""
    return build.name in ("address", "thread")


@contextlib.contextmanager
def clients_of(server, count, sent=b"x", expected=b"x"):
    """So many connections, each of them served: it has had an answer."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(server.connect(timeout=SOON)) for _ in range(count)]
        for connection in connections:
            check_exchange(connection, sent, expected)
            connection.settimeout(20)
        yield connections


def check_unanswered(connection, seconds=0.3):
    """Fails if an answer comes. That nothing happens cannot be waited for; this is the wait."""
    connection.settimeout(seconds)
    with pytest.raises(TimeoutError):
        came = connection.recv(100)
        pytest.fail(f"expected no answer yet, came {came!r}")
    connection.settimeout(20)


def thread_names(server):
    names = []
    for thread in Path(f"/proc/{server.pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            names.append((thread / "comm").read_text(encoding="utf-8").strip())
    return names


def process_status(server, name):
    """A number of /proc/PID/status (proc(5)); memory is in KiB."""
    status = Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8")
    return int(re.search(rf"{name}:\s+(\d+)", status)[1])


def stuck_client(server, size=60_000):
    """A client that has sent size bytes, all of which the server's kernel has, and reads none
    of the answer: the server, which needs a small --send-buffer, is stuck in the middle of it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    connection.settimeout(20)
    connection.connect(server.address)
    connection.sendall(bytes(size))

    def unacknowledged():
        return struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0]

    wait_until(lambda: unacknowledged() == 0, "the server's kernel having all that was sent")
    # It is stuck when part of the answer is here, and what it has not read does not change.
    port = connection.getsockname()[1]

    def same_for_a_while():
        before = table_row(server.port, port).waiting
        time.sleep(0.05)
        return 0 < before == table_row(server.port, port).waiting

    wait_until(same_for_a_while, "the server stuck in an answer that is not read")
    return connection


# One thread each.


@pytest.mark.idea
def test_a_silent_client_delays_nobody(start):
    server = start()
    with server.connect(), server.connect(timeout=SOON) as second, server.connect(timeout=SOON) as third:
        check_exchange(third, b"third\n")
        check_exchange(second, b"second\n")


@pytest.mark.idea
def test_without_threads_it_does(start):
    server = start("--threads", "off")
    silent = server.connect()
    check_exchange(silent, b"first\n")
    with server.connect() as second:
        second.sendall(b"second\n")
        check_unanswered(second)
        assert thread_names(server).count("client-1") == 0
        silent.close()
        assert receive(second, 7) == b"second\n"


@pytest.mark.idea
@pytest.mark.parametrize(
    "handler, sent, expected",
    [("upper", b"abc", b"ABC"), ("line", b"abc\n", b"ABC\n"), ("record", bytes(22), bytes(22))],
)
def test_every_handler_has_its_threads(start, handler, sent, expected):
    server = start("--handler", handler)
    with server.connect() as first, server.connect(timeout=SOON) as second:
        first.sendall(sent[:1])
        check_exchange(second, sent, expected)
        first.sendall(sent[1:])
        assert receive(first, len(expected)) == expected


@pytest.mark.idea
def test_threads_are_named_after_their_clients(start):
    server = start()
    with clients_of(server, 5):
        names = {name for name in thread_names(server) if re.fullmatch(r"client-\d+", name)}
        assert len(names) == 5, f"5 clients, and the threads are {thread_names(server)}"
        for name in names:
            assert re.search(rf"\b{name}\(\d+\)\] [\d.]+:\d+ connected", server.log)


@pytest.mark.idea
def test_threads_and_descriptors_go_with_their_clients(start):
    server = start()
    threads, descriptors = server.threads(), server.descriptors()
    for _ in range(3):
        with clients_of(server, 40):
            assert server.threads() == threads + 40
            assert server.descriptors() == descriptors + 40
        wait_until(lambda: server.threads() == threads, f"{threads} threads, as before")
        wait_until(lambda: server.descriptors() == descriptors, "as many descriptors as before")


# The limit.


@pytest.mark.idea
@pytest.mark.parametrize("most", [1, 3])
def test_clients_above_the_limit_wait_for_a_place(start, most):
    server = start("--max-clients", most)
    with clients_of(server, most) as served, server.connect() as waiting:
        waiting.sendall(b"me too\n")
        check_unanswered(waiting)
        # The listener's row counts the connections in its accept queue.
        assert table_row(server.port).waiting == 1
        served[0].close()
        came = receive(waiting, 7)
        assert came == b"me too\n", f"a client has left; expected b'me too\\n', came {came!r}"
        assert table_row(server.port).waiting == 0
        for connection in served[1:]:
            check_exchange(connection, b"still served\n")


@pytest.mark.idea
def test_places_are_given_back_however_a_client_leaves(start):
    server = start("--max-clients", 2)
    leave = [
        lambda c: c.close(),
        reset,
        lambda c: (c.sendall(b"x"), c.close()),
        lambda c: c.shutdown(socket.SHUT_WR),
    ]
    for round_number in range(12):
        leave[round_number % len(leave)](server.connect())
    with clients_of(server, 2):
        pass


@pytest.mark.idea
def test_many_clients_share_few_places(start, client):
    server = start("-q", "--max-clients", 3)
    result = client(server.port, "-q", "--clients", 60, "Hello\n")
    assert (result.status, result.out) == (0, b"Hello\n" * 60)


# The end.


@pytest.mark.idea
def test_sigterm_with_200_idle_clients(start):
    server = start()
    with clients_of(server, 200) as connections:
        status, seconds = server.stop()
        assert status == 0
        assert seconds < AT_ONCE, f"the server took {seconds:.2f} s to end"
        for connection in connections:
            assert is_closed(connection)


@pytest.mark.idea
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_while_the_limit_is_reached_and_others_wait(start, number):
    server = start("--max-clients", 2)
    with clients_of(server, 2) as served, server.connect() as waiting:
        waiting.sendall(b"me too\n")
        wait_until(lambda: table_row(server.port).waiting == 1, "a connection in the queue")
        status, seconds = server.stop(number)
        assert status == 0
        assert seconds < AT_ONCE, f"the server took {seconds:.2f} s to end"
        assert all(is_closed(connection) for connection in served)
        # The idle ones left at once, so there was a place for the one in the queue.
        assert receive_all(waiting) == b"me too\n"


@pytest.mark.idea
def test_who_finds_no_place_within_the_grace_is_reset(start):
    server = start("--max-clients", 1, "--grace", 0.5, "--send-buffer", 1)
    with stuck_client(server), server.connect() as waiting:
        waiting.sendall(b"me too\n")
        wait_until(lambda: table_row(server.port).waiting == 1, "a connection in the queue")
        status, _ = server.stop()
        assert status == 0
        with pytest.raises(ConnectionResetError):
            receive_all(waiting)


@pytest.mark.idea
def test_grace_is_what_a_stuck_client_gets(start):
    grace = 2
    server = start("--grace", grace, "--send-buffer", 1)
    with stuck_client(server), clients_of(server, 1) as [idle]:
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert is_closed(idle)
        assert time.monotonic() - begin < grace, "an idle client had to wait"
        status = server.wait()
        seconds = time.monotonic() - begin
        assert status == 0
        assert grace - 0.2 <= seconds < AT_ONCE, f"--grace {grace}, and it took {seconds:.2f} s"


@pytest.mark.idea
def test_an_answer_under_way_is_finished(start):
    server = start("--grace", 20, "--send-buffer", 1)
    with stuck_client(server) as busy, clients_of(server, 1) as [idle]:
        server.process.send_signal(signal.SIGTERM)
        assert is_closed(idle)  # so the stop is under way
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(0.5)  # one that does not wait has the time to be gone
        came = receive_all(busy)
        assert came == bytes(60_000), f"60000 bytes were sent and received, {len(came)} came back"
        assert server.wait() == 0


@pytest.mark.idea
def test_no_grace_at_all(start):
    server = start("--grace", 0, "--send-buffer", 1)
    with stuck_client(server):
        status, seconds = server.stop()
        assert status == 0
        assert seconds < AT_ONCE, f"the server took {seconds:.2f} s to end"


@pytest.mark.idea
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once(start, first, second):
    server = start("--grace", 100, "--send-buffer", 1)
    with stuck_client(server), clients_of(server, 1) as [idle]:
        server.process.send_signal(first)
        assert is_closed(idle)
        status, seconds = server.stop(second)
        assert status == 0
        assert seconds < AT_ONCE, f"the server took {seconds:.2f} s to end"


@pytest.mark.idea
def test_two_signals_right_after_each_other(start):
    """Two of one kind may be one to the kernel; a TERM and an INT are two."""
    for _ in range(20):
        server = start("-q", "--grace", 100, "--send-buffer", 1)
        with stuck_client(server):
            server.process.send_signal(signal.SIGTERM)
            status, seconds = server.stop(signal.SIGINT)
            assert status == 0
            assert seconds < AT_ONCE, f"the server took {seconds:.2f} s to end"


@pytest.mark.idea
def test_nobody_connects_while_it_stops(start):
    server = start("--grace", 20, "--send-buffer", 1)
    with stuck_client(server) as busy, clients_of(server, 1) as [idle]:
        server.process.send_signal(signal.SIGTERM)
        assert is_closed(idle)

        def refused():
            try:
                server.connect().close()
            except ConnectionError:
                return True
            return False

        wait_until(refused, "the port being closed")
        receive_all(busy)
        assert server.wait() == 0


# Many, and rude.


@pytest.fixture
def room_for_sockets():
    """room_for_sockets(n) lets this process open n sockets, or fewer; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = 200

    def make_room(count):
        wanted = count + used
        if hard != resource.RLIM_INFINITY:
            wanted = min(wanted, hard)
        if wanted > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return min(count, max(wanted, soft) - used)

    yield make_room
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.idea
def test_3000_clients_at_once(start, client, room_for_sockets, sanitized):
    # A program that is started inherits the room that this one has.
    count = room_for_sockets(300 if sanitized else 3000)
    server = start("-q", "--max-clients", count)
    threads = server.threads()
    result = client(server.port, "--clients", count, "Hello\n")
    assert result.status == 0
    assert result.out == b"Hello\n" * count
    assert f"{count} of {count} clients had every reply" in result.err
    wait_until(lambda: server.threads() == threads, "no thread of a client left")
    status, _ = server.stop()
    assert (status, server.log) == (0, "")


def few_descriptors_now():
    """For a program that is about to start: a soft limit of 64, which it may raise."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))


@pytest.mark.idea
def test_the_server_makes_room_for_its_sockets(start):
    server = start("--max-clients", 100, limits=few_descriptors_now)
    with clients_of(server, 100):
        pass


def test_the_client_makes_room_for_its_sockets(start, client_program):
    few = ["sh", "-c", 'ulimit -Sn 64 && exec "$@"', "sh"]
    result = run([*few, client_program, "--port", start().port, "--clients", 100, "Hello\n"])
    assert (result.status, result.out) == (0, b"Hello\n" * 100), result.report()


@pytest.mark.idea
def test_10000_idle_clients(start, room_for_sockets, sanitized):
    count = 10_000
    if sanitized:
        pytest.skip("a sanitizer costs more memory for a thread than this test allows")
    if room_for_sockets(count) < count:
        pytest.skip(f"needs room for {count} sockets; the hard limit is lower (ulimit -Hn)")
    processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    allowed = min(setting("kernel.threads-max"), setting("vm.max_map_count") // 2)
    if processes != resource.RLIM_INFINITY:
        allowed = min(allowed, processes)
    if allowed < count + 1000:
        pytest.skip(f"needs {count} threads; the system allows about {allowed}")
    low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()
    if int(high) - int(low) < 2 * count:
        pytest.skip(f"needs {count} free ports for the clients")

    server = start("-q", "--max-clients", count)
    threads, before = process_status(server, "Threads"), process_status(server, "VmRSS")
    with contextlib.ExitStack() as stack:
        first = last = stack.enter_context(server.connect())
        for _ in range(count - 1):
            last = stack.enter_context(server.connect())

        def all_served():
            if "pthread_create" in server.log:
                pytest.skip(f"the system does not allow so many threads: {server.log}")
            return process_status(server, "Threads") == threads + count

        wait_until(all_served, f"{count} threads, one for each client")
        for connection in (first, last):
            check_exchange(connection, b"Hello\n")
        each = (process_status(server, "VmRSS") - before) / count
        assert each <= 20, f"{each:.1f} KiB resident for an idle client"
        assert server.stop()[0] == 0


def rude_ways():
    """What a client should not do: functions that do it to a connection, and leave it open."""

    def byte_by_byte(connection):
        for _ in range(50):
            connection.sendall(b"x")

    def stop_reading(connection):
        connection.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            connection.sendall(bytes(20_000_000))

    def reset_amid_the_answer(connection):
        connection.sendall(bytes(100_000))
        reset(connection)

    return [
        lambda connection: None,  # silent
        reset,
        lambda connection: connection.close(),
        lambda connection: connection.shutdown(socket.SHUT_WR),
        lambda connection: connection.sendall(os.urandom(5000)),
        lambda connection: connection.send(b"!", socket.MSG_OOB),
        reset_amid_the_answer,
        byte_by_byte,
        stop_reading,
        lambda connection: (connection.sendall(b"half of it"), connection.close()),
    ]


@pytest.mark.idea
def test_50_rude_clients_hurt_nobody(start):
    server = start()
    threads, descriptors = server.threads(), server.descriptors()
    ways = rude_ways()
    connections = [server.connect() for _ in range(50)]

    def be_rude(number):
        with contextlib.suppress(ConnectionError):
            ways[number % len(ways)](connections[number])

    rude = [threading.Thread(target=be_rude, args=(n,)) for n in range(len(connections))]
    for thread in rude:
        thread.start()
    with server.connect(timeout=SOON) as polite:
        for _ in range(50):
            check_exchange(polite, b"Excuse me\n")
        for thread in rude:
            thread.join()
        check_exchange(polite, b"Excuse me\n")
    for connection in connections:
        connection.close()
    wait_until(lambda: server.threads() == threads, f"{threads} threads, as before")
    wait_until(lambda: server.descriptors() == descriptors, "as many descriptors as before")
    status, seconds = server.stop()
    assert status == 0
    assert seconds < AT_ONCE, f"the server took {seconds:.2f} s to end"


@pytest.mark.idea
def test_sigterm_among_rude_clients(start):
    server = start("--grace", 0.3)
    ways = rude_ways()
    with contextlib.ExitStack() as stack:
        for number in range(20):
            connection = stack.enter_context(server.connect())
            with contextlib.suppress(ConnectionError):
                ways[number % len(ways)](connection)
        status, seconds = server.stop()
    assert status == 0
    assert seconds < AT_ONCE, f"the server took {seconds:.2f} s to end"


# When the system has nothing left.


@pytest.mark.idea
def test_without_descriptors_it_pauses_and_goes_on(start):
    room = 24

    def few_descriptors():
        resource.setrlimit(resource.RLIMIT_NOFILE, (room, room))

    server = start("--max-clients", 1000, limits=few_descriptors)
    connections = [server.connect() for _ in range(room + 10)]
    begin = time.monotonic()
    server.wait_log("Too many open files|EMFILE", times=3)
    lines = len(re.findall("Too many open files|EMFILE", server.log))
    most = 20 * (time.monotonic() - begin) + 20
    assert lines < most, f"{lines} lines in the log: it does not pause before it tries again"
    check_exchange(connections[0], b"still served\n")
    for connection in connections:
        connection.close()
    with server.connect() as connection:
        check_exchange(connection, b"served again\n")


@pytest.mark.idea
def test_without_threads_to_be_had_it_goes_on(start, sanitized):
    # The number of a user's threads is limited; not the administrator's, and there it is the
    # address space, where the stack of one more thread finds no room.
    limit = resource.RLIMIT_NPROC if os.getuid() else resource.RLIMIT_AS
    if sanitized and limit == resource.RLIMIT_AS:
        pytest.skip("a sanitizer needs the address space that this test takes away")
    server = start("--max-clients", 1000)
    with clients_of(server, 1) as [first]:
        soft, hard = resource.prlimit(server.pid, limit)
        little = 1 if os.getuid() else process_status(server, "VmSize") * 1024 + 4096
        resource.prlimit(server.pid, limit, (little, hard))
        with server.connect() as turned_away:
            server.wait_log("Resource temporarily unavailable|Cannot allocate memory")
            assert is_closed(turned_away)
        check_exchange(first, b"still served\n")
        resource.prlimit(server.pid, limit, (soft, hard))
        with clients_of(server, 5):
            check_exchange(first, b"still served\n")
    assert server.stop()[0] == 0


# No leak.


def test_valgrind_finds_no_leak_and_no_error(start, build, sanitized, tmp_path):
    if shutil.which("valgrind") is None:
        pytest.skip("needs valgrind")
    if sanitized:
        pytest.skip("valgrind and a sanitizer do not go together")
    script = tmp_path / "valgrind.sh"
    script.write_text(
        "#!/bin/sh\nexec valgrind --vgdb=no --quiet --leak-check=full "
        f"--errors-for-leak-kinds=definite --error-exitcode=99 '{build / STAGE / 'server'}' \"$@\"\n",
        encoding="utf-8",
    )
    script.chmod(0o755)
    server = start("-v", "--handler", "line", "--max-clients", 5, program=script)
    with clients_of(server, 4, b"line\n", b"LINE\n") as connections:
        reset(connections.pop())
        connections.pop().close()
        with server.connect() as another:
            check_exchange(another, b"Hello\n", b"HELLO\n")
        status, _ = server.stop()
    assert status == 0, f"exit status {status}; 99 is valgrind's, see the log"


# The client's --clients.


def test_the_client_does_it_n_times_at_once(start, client):
    result = client(start().port, "--clients", 7, "Hello\n", "again\n")
    assert result.status == 0
    assert sorted(result.out.splitlines()) == [b"Hello"] * 7 + [b"again"] * 7
    assert "7 of 7 clients had every reply" in result.err


def test_the_clients_are_there_at_the_same_time(client):
    together = threading.Barrier(4)

    def answer(connection):
        data = receive(connection, 5)
        together.wait(20)
        connection.sendall(data)

    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listener.accept()
        with connection:
            answer(connection)

    with listener:
        threads = [threading.Thread(target=serve, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        result = client(listener.getsockname()[1], "--clients", 4, "Hello")
        for thread in threads:
            thread.join(20)
    assert (result.status, result.out) == (0, b"Hello" * 4)


def test_every_client_sends_the_bulk_or_the_record(start, client):
    server = start()
    bulk = client(server.port, "--clients", 4, "--send-bytes", 100_000)
    assert bulk.status == 0
    assert bulk.out.count(b"100000 bytes there and back") == 4
    record = client(server.port, "--clients", 4, "--record", *"1 ab 2 -3 4 0.5".split())
    assert (record.status, record.out) == (0, b"1 ab 2 -3 4 0.5\n" * 4)


def test_one_client_without_an_answer_is_an_error(client):
    served = []

    def answer(connection):
        data = receive(connection, 5)
        served.append(data)
        if len(served) != 2:
            connection.sendall(data)

    with answering(answer) as port:
        result = client(port, "--clients", 3, "Hello")
    assert result.status == 1
    assert result.out == b"Hello" * 2
    assert "2 of 3 clients had every reply" in result.err


def test_clients_without_a_server_are_an_error(client):
    with refusing() as port:
        result = client(port, "--clients", 3, "Hello")
    assert result.status == 1
    assert result.err.count(f"connect 127.0.0.1:{port}: Connection refused") == 3


def test_many_clients_have_one_stdin(client):
    result = client(9, "--clients", 2, stdin=b"Hello\n")
    assert result.status == 2
    assert "--clients" in result.err and "MESSAGE" in result.err


@pytest.mark.parametrize("value", ["0", "-77", "60001", "many"])
def test_the_client_refuses_a_wrong_number_of_clients(client, value):
    result = client(9, "--clients", value, "Hello")
    assert result.status == 2
    assert "--clients" in result.err and value in result.err and "60000" in result.err


# Command lines.


@pytest.mark.idea
@pytest.mark.parametrize(
    "option, value, allowed",
    [
        ("--threads", "perhaps", "on or off"),
        ("--max-clients", "0", "100000"),
        ("--max-clients", "100001", "100000"),
        ("--max-clients", "many", "100000"),
        ("--grace", "-77", "1000000"),
        ("--grace", "long", "1000000"),
        ("--grace", "nan", "1000000"),
    ],
)
def test_a_wrong_value_is_refused(start, option, value, allowed):
    check_is_refused(start(option, value, ready=False), option, value, allowed)
