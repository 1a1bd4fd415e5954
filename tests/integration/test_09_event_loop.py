"""Stage 09: one thread for all clients, and one for each loop."""

import contextlib
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
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
    send_patiently,
    wait_until,
)
from every_stage import EveryStage, check_is_refused
from hypothesis import given
from hypothesis import strategies as st
from kernel import (
    at_rest,
    is_full,
    process_state,
    send_until_full,
    table_row,
    wait_until_read,
)
from test_07_binary_struct import (
    connect_without_delay,
    cut,
    examples,
    upper_cased_record,
)
from test_08_threaded import (  # noqa: F401 (fixtures)
    SOON,
    check_unanswered,
    clients_of,
    few_descriptors_now,
    no_wait_at_exit,
    process_status,
    room_for_sockets,
    rude_ways,
    sanitized,
    stuck_client,
    thread_names,
)

STAGE = "09-event-loop"
MESSAGE_MAX = 8192


class TestEveryStage(EveryStage):
    short_grace = ("--grace", "0.9")


def check_no_spin(server, when):
    """Fails if the server, which has nothing to do, does something all the time. Nothing can be
    waited for. How much of a processor it gets depends on the others, but not whether it rests."""
    looks = 20
    found = 0
    for _ in range(looks):
        time.sleep(0.025)
        found += not at_rest(server.pid)
    assert found < looks / 2, f"{when}: it spins, at work in {found} of {looks} looks"


@contextlib.contextmanager
def standing_still(server):
    """A server that is stopped like a program by Ctrl-Z, and then goes on: so all that was done
    to it meanwhile is reported by one epoll_wait, in the order in which it was done."""
    server.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: process_state(server.pid) in "Tt", "the server standing still")
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


def wait_until_arrived(server, connection, size):
    """Waits until so many bytes, or all that fit, are in the receive queue of the server's end."""
    port = connection.getsockname()[1]

    def arrived():
        row = table_row(server.port, port)
        return row is not None and row.waiting >= size

    wait_until(arrived, f"{size} bytes in the receive queue of a server that stands still")


# One thread for all.


@pytest.mark.idea
def test_a_silent_client_delays_nobody(start):
    server = start()
    with server.connect(), server.connect(timeout=SOON) as second, server.connect(timeout=SOON) as third:
        check_exchange(third, b"third\n")
        check_exchange(second, b"second\n")


@pytest.mark.idea
def test_there_is_one_thread_and_it_is_enough(start):
    server = start("--max-clients", 100)
    descriptors = server.descriptors()
    for _ in range(3):
        with clients_of(server, 60):
            assert thread_names(server) == ["server"], "one thread was expected for 60 clients"
            assert server.descriptors() == descriptors + 60
        wait_until(lambda: server.descriptors() == descriptors, "as many descriptors as before")


@pytest.mark.idea
@pytest.mark.parametrize(
    "handler, sent, expected",
    [
        ("echo", b"abc", b"abc"),
        ("upper", b"abc", b"ABC"),
        ("line", b"abc\n", b"ABC\n"),
        ("record", bytes(22), bytes(22)),
    ],
)
def test_every_handler_with_a_client_in_the_middle_of_a_message(start, handler, sent, expected):
    server = start("--handler", handler)
    with server.connect() as first, server.connect(timeout=SOON) as second:
        first.sendall(sent[:1])
        for _ in range(3):
            check_exchange(second, sent, expected)
        first.sendall(sent[1:])
        assert receive(first, len(expected)) == expected


@pytest.mark.idea
def test_verbose_says_whose_bytes_they_are(start):
    server = start("-v")
    with server.connect() as first, server.connect() as second:
        for connection, data in ((first, b"one"), (second, b"two")):
            check_exchange(connection, data)
            peer = re.escape("127.0.0.1:%d" % connection.getsockname()[1])
            server.wait_log(rf"{peer}:? received 3 bytes b'{data.decode()}'")
            server.wait_log(rf"{peer}:? sent 3 bytes b'{data.decode()}'")


def check_streams(server, streams, order):
    """streams are (pieces, expected) of as many clients; order says which client sends its next
    piece. Each then has to get what is expected for it, and nothing of another's."""
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(connect_without_delay(server)) for _ in streams]
        left = [list(pieces) for pieces, _ in streams]
        for number in [*(n % len(streams) for n in order), *range(len(streams))]:
            if left[number]:
                connections[number].sendall(left[number].pop(0))
        for connection, pieces in zip(connections, left):
            for piece in pieces:
                connection.sendall(piece)
        for connection in connections:
            connection.shutdown(socket.SHUT_WR)
        for number, (connection, (pieces, expected)) in enumerate(zip(connections, streams)):
            came = receive_all(connection)
            assert came == expected, (
                f"client {number} of {len(streams)} sent {pieces!r}, expected {expected!r}, "
                f"came {came!r}"
            )


PLACES = st.lists(st.integers(0, 200), max_size=5)
ORDER = st.lists(st.integers(0, 30), max_size=40)


def test_any_lines_in_any_pieces_of_many_clients(start):
    server = start("-q", "--handler", "line")
    lines = st.lists(st.binary(max_size=30) | st.just(b"\n"), max_size=10).map(b"".join)

    @examples
    @given(st.lists(st.tuples(lines, PLACES), min_size=2, max_size=8), ORDER)
    def check(clients, order):
        streams = [(cut(data, places), data.upper()) for data, places in clients]
        check_streams(server, streams, order)

    check()


def test_any_records_in_any_pieces_of_many_clients(start):
    server = start("-q", "--handler", "record")
    records = st.lists(st.binary(min_size=22, max_size=22), max_size=6)

    @examples
    @given(st.lists(st.tuples(records, st.binary(max_size=21), PLACES), min_size=2, max_size=8), ORDER)
    def check(clients, order):
        streams = [
            (cut(b"".join(records) + rest, places), b"".join(map(upper_cased_record, records)))
            for records, rest, places in clients
        ]
        check_streams(server, streams, order)

    check()


@pytest.mark.idea
def test_5000_clients_at_once(start, room_for_sockets, sanitized):
    count = room_for_sockets(500 if sanitized else 5000)
    server = start("-q", "--max-clients", count, "--handler", "line")
    descriptors = server.descriptors()
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(count)]
        for number, connection in enumerate(connections):
            connection.sendall(b"client %d " % number)
        for number, connection in enumerate(connections):
            connection.sendall(b"says so\n")
        for number, connection in enumerate(connections):
            expected = b"CLIENT %d SAYS SO\n" % number
            came = receive(connection, len(expected))
            assert came == expected, f"client {number} of {count}: expected {expected!r}, came {came!r}"
        assert server.threads() == 1
    wait_until(lambda: server.descriptors() == descriptors, "as many descriptors as before")


@pytest.mark.idea
def test_10000_idle_clients(start, room_for_sockets, sanitized):
    count = 10_000
    if sanitized:
        pytest.skip("a sanitizer costs more memory for a client than this test allows")
    if room_for_sockets(count) < count:
        pytest.skip(f"needs room for {count} sockets; the hard limit is lower (ulimit -Hn)")
    low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()
    if int(high) - int(low) < 2 * count:
        pytest.skip(f"needs {count} free ports for the clients")

    server = start("-q", "--max-clients", count)
    with server.connect() as connection:
        check_exchange(connection, b"all that it needs for a client is there\n")
    before, descriptors = process_status(server, "VmRSS"), server.descriptors()
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(count)]
        wait_until(lambda: server.descriptors() >= descriptors + count - 1, f"{count} clients")
        # Each has had an answer and is idle now: what that took is given back.
        for connection in connections:
            check_exchange(connection, b"Hello\n")
        each = (process_status(server, "VmRSS") - before) / count
        assert each <= 1.5, f"{each:.2f} KiB resident for an idle client, expected 1.5 at most"
        assert server.threads() == 1
        status, seconds = server.stop()
        assert status == 0
        assert seconds < AT_ONCE, f"the server took {seconds:.2f} s to end"


# One turn each.


@pytest.mark.idea
def test_a_client_that_sends_without_end_has_one_turn_like_everybody_else(start):
    # A large send buffer: or an answer that waits for room would end its turns, too.
    server = start("-v", "--send-buffer", 200_000)
    with server.connect() as greedy, server.connect() as modest:
        check_exchange(modest, b"here\n")
        # Until it waits again, it has the event of this exchange in front of all others.
        wait_until(lambda: process_state(server.pid) == "S", "a server that has nothing to do")
        with standing_still(server):
            sent = send_until_full(server, greedy)
            modest.sendall(b"modest\n")
            wait_until_arrived(server, modest, 7)
        assert receive(modest, 7) == b"modest\n"
        assert receive(greedy, len(sent)) == sent
        server.wait_log("received 7 bytes b'modest")
        turns = server.log.partition("b'modest\\n'")[0].count("received")
    assert turns <= 4, f"one client had {turns} turns before the other, who came after it, had one"


@pytest.mark.idea
def test_as_many_answers_while_another_floods(start):
    server = start("-q")
    begun, end = threading.Event(), threading.Event()

    def receive_all_of(connection):
        with contextlib.suppress(OSError):
            receive(connection, 1)
            begun.set()
            receive_all(connection)

    def flood():
        with contextlib.suppress(OSError), server.connect() as connection:
            reader = threading.Thread(target=receive_all_of, args=(connection,))
            reader.start()
            while not end.is_set():
                connection.sendall(bytes(65536))
            connection.shutdown(socket.SHUT_WR)
            reader.join()

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        assert begun.wait(LIMIT), "no answer for the client that floods"
        with server.connect() as connection:
            for number in range(300):
                check_exchange(connection, b"message %d" % number)
    finally:
        end.set()
        thread.join()


# A client that does not read.


@pytest.mark.idea
def test_a_reader_that_stops_and_goes_on_misses_nothing(start):
    """10 MB are to come; it reads nothing until everything on the way is full, and then all."""
    server = start("-q")
    data = random.Random(4).randbytes(10_000_000)

    def write():
        with contextlib.suppress(OSError):
            send_patiently(stopped, data)

    def full_or_done():
        return is_full(server, stopped) or not writer.is_alive()

    with server.connect() as stopped, server.connect(timeout=SOON) as other:
        writer = threading.Thread(target=write)
        writer.start()
        wait_until(full_or_done, "everything on the way being full")
        for _ in range(20):
            check_exchange(other, b"not held up\n")
        came = receive(stopped, len(data))
        writer.join()
    same = came == data
    assert same, (
        f"sent {len(data)} bytes, came {len(came)}, or others than these: is what a send left over "
        "sent later?"
    )


def test_a_client_that_does_not_read_is_not_read_either(start, sanitized):
    """Its answers wait up to a bound, and then what it sends waits, with itself: 60 MB do not fit
    into the buffers of the kernel, and are not in the server either."""
    server = start("-q", "--send-buffer", 65536, "--recv-buffer", 65536)
    with server.connect() as connection:
        check_exchange(connection, b"all that it needs for a client is there\n")
        before = process_status(server, "VmRSS")
        sent = send_until_full(server, connection)
        grown = process_status(server, "VmRSS") - before
        assert len(sent) < 60_000_000 and grown < (4000 if sanitized else 200), (
            f"a client that reads nothing could send {len(sent)} bytes, and the server has grown "
            f"by {grown} KiB: is it still read while its answers wait?"
        )
        check_no_spin(server, "with a client that does not read")
        came = receive(connection, len(sent))
        same = came == sent
        assert same, f"sent {len(sent)} bytes, came {len(came)}, or others than these"
        check_no_spin(server, "after a client that had stopped reading has all its answers")
        check_exchange(connection, b"as before\n")


@pytest.mark.idea
def test_many_that_do_not_read(start):
    server = start("-q", "--send-buffer", 65536, "--recv-buffer", 65536)
    with contextlib.ExitStack() as stack:
        full = []
        for _ in range(8):
            connection = stack.enter_context(server.connect())
            full.append((connection, send_until_full(server, connection)))
        with server.connect(timeout=SOON) as other:
            check_exchange(other, b"not held up\n")
        for connection, _ in full:
            connection.shutdown(socket.SHUT_WR)
        for connection, sent in full:
            came = receive_all(connection)
            same = came == sent
            assert same, f"sent {len(sent)} bytes and the end, came {len(came)}, or others"


@pytest.mark.parametrize("end", [b"the last line", b""])
def test_answers_that_wait_at_the_end_of_the_stream_are_sent(start, end):
    server = start("--handler", "line", "--send-buffer", 1)
    data = b"a line of the many\n" * 3000 + end
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        connection.settimeout(LIMIT)
        connection.connect(server.address)
        writer = threading.Thread(target=lambda: (connection.sendall(data), connection.shutdown(1)))
        writer.start()
        time.sleep(0.2)  # so that it does not read at once; how long does not matter
        came = receive_all(connection)
        writer.join()
    assert came == data.upper(), f"sent {len(data)} bytes and the end, came {len(came)}"
    server.wait_log("closed: end of file")


# How long a client may be silent, or leave its answers unread.


@pytest.mark.idea
def test_the_silent_are_ended_each_at_its_time(start):
    server = start("--timeout", 2)
    with server.connect() as first, server.connect() as second, server.connect() as third:
        for _ in range(6):
            time.sleep(0.4)  # together more than the timeout, each much less
            check_exchange(second, b"still here\n")
        assert is_closed(first) and is_closed(third)
        begin = time.monotonic()
        check_exchange(second, b"still here\n")
        assert is_closed(second)
        took = time.monotonic() - begin
    assert 1 < took < 2 + SOON, f"--timeout 2, and it took {took:.2f} s"
    assert len(server.wait_log("closed: timed out", times=3)) == 3


def test_a_client_that_does_not_read_is_ended_too(start):
    """Though it goes on sending, as far as it can."""
    server = start("--timeout", 1, "--send-buffer", 1, "--recv-buffer", 1)
    with socket.socket() as connection, contextlib.suppress(ConnectionError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        connection.connect(server.address)
        connection.settimeout(0.1)
        while "closed: timed out" not in server.log:
            with contextlib.suppress(TimeoutError):
                connection.sendall(bytes(65536))
    server.wait_log("closed: timed out")


def test_without_a_timeout_nobody_is_ended(start):
    server = start()
    with server.connect() as connection:
        check_exchange(connection, b"Hello\n")
        check_unanswered(connection)
        check_no_spin(server, "with an idle client")
        check_exchange(connection, b"Hello\n")


@pytest.mark.idea
def test_an_event_that_waits_is_its_clients_and_nobody_elses(start):
    """A client is silent for too long, sends at last, and others have come meanwhile; all that
    before the server looks again. Its bytes are there: it is not silent. A server that ends it
    first has an event left that is of nobody, or of the client that has its descriptor by then."""
    begun = time.monotonic()
    with clients_of(start("-v"), 8):
        patience = max(2, 5 * (time.monotonic() - begun))  # while all are connected
    for _ in range(2):
        server = start("--timeout", f"{patience:.1f}")
        with contextlib.ExitStack() as stack:
            late = [stack.enter_context(server.connect()) for _ in range(8)]
            for connection in late:
                check_exchange(connection, b"Hello\n")
            with standing_still(server):
                time.sleep(patience + 0.2)
                new = [stack.enter_context(server.connect()) for _ in range(8)]
                for connection in late:
                    connection.sendall(b"at last\n")
                for connection in late:
                    wait_until_arrived(server, connection, 8)
            for connection in late:
                came = b""
                with contextlib.suppress(ConnectionError):
                    came = receive(connection, 8)
                assert came == b"at last\n", (
                    f"a client's bytes had come before the server looked, but came back {came!r}: "
                    "was the client ended while its event still waited? The event is then taken for "
                    "its successor's"
                )
            for connection in new:
                check_exchange(connection, b"new\n")
        assert server.stop()[0] == 0


@pytest.mark.idea
def test_more_who_are_late_than_one_call_reports(start):
    """Whoever has sent is not silent, though the server sees some of them only with a later call
    of epoll_wait."""
    many = 300  # 256 with the first
    begun = time.monotonic()
    with clients_of(start("-q"), many):
        patience = max(2, round(5 * (time.monotonic() - begun)))  # while all are connected
    server = start("-q", "--timeout", patience)
    with clients_of(server, many) as connections:
        with standing_still(server):
            for connection in connections:
                connection.sendall(b"late\n")
            time.sleep(patience + 0.2)
        answered = 0
        for connection in connections:
            with contextlib.suppress(ConnectionError):
                answered += receive(connection, 5) == b"late\n"
    assert answered == many, f"{many} had sent before the server looked, {answered} were answered"


def test_accept_times_out_again_and_again(start):
    server = start("--accept-timeout", 0.2)
    server.wait_log("accept timed out: no client for 0.2 s", times=3)
    with server.connect() as connection:
        check_exchange(connection, b"Hello\n")


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
        check_no_spin(server, "at the limit, with one that waits")
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


@pytest.mark.idea
def test_the_server_makes_room_for_its_sockets(start):
    server = start("--max-clients", 100, limits=few_descriptors_now)
    with clients_of(server, 100):
        pass


@pytest.mark.idea
def test_without_descriptors_it_pauses_and_goes_on(start):
    room = 24

    def few_descriptors():
        resource.setrlimit(resource.RLIMIT_NOFILE, (room, room))

    server = start("--max-clients", 1000, limits=few_descriptors)
    connections = [server.connect() for _ in range(room + 10)]
    begin = time.monotonic()
    check_exchange(connections[0], b"served meanwhile\n")
    server.wait_log("Too many open files", times=3)
    check_exchange(connections[0], b"served meanwhile\n")
    lines = len(re.findall("Too many open files", server.log))
    most = 20 * (time.monotonic() - begin) + 20
    assert lines < most, f"{lines} lines in the log: it does not pause before it tries again"
    check_no_spin(server, "without descriptors")
    for connection in connections:
        connection.close()
    with server.connect() as connection:
        check_exchange(connection, b"served again\n")


# Rude clients.


@pytest.mark.idea
def test_200_rude_clients_at_once_hurt_nobody(start):
    server = start()
    ways = rude_ways()
    descriptors = server.descriptors()
    connections = [server.connect() for _ in range(200)]

    def be_rude(numbers):
        for number in numbers:
            with contextlib.suppress(OSError):
                ways[number % len(ways)](connections[number])

    rude = [threading.Thread(target=be_rude, args=(range(n, 200, 20),)) for n in range(20)]
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
    wait_until(
        lambda: server.descriptors() == descriptors,
        f"{descriptors} descriptors again, as before 200 rude clients (one was leaked)",
    )
    check_no_spin(server, "after 200 rude clients")
    status, seconds = server.stop()
    assert status == 0
    assert seconds < AT_ONCE, f"the server took {seconds:.2f} s to end"


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
    assert server.log.count("closed: server stops") == 200


@pytest.mark.idea
def test_a_stop_answers_what_has_come(start):
    """Also of a client whom it has not seen yet: he waits in the accept queue, and has sent."""
    server = start()
    with server.connect() as known, contextlib.ExitStack() as stack:
        check_exchange(known, b"Hello\n")
        with standing_still(server):
            known.sendall(b"the last\n")
            new = [stack.enter_context(server.connect()) for _ in range(20)]
            for connection in new:
                connection.sendall(b"in the queue\n")
            wait_until_arrived(server, known, 9)
            server.process.send_signal(signal.SIGTERM)
        assert receive_all(known) == b"the last\n"
        for connection in new:
            came = receive_all(connection)
            assert came == b"in the queue\n", f"one who waited for accept was answered {came!r}"
        assert server.wait() == 0


@pytest.mark.idea
@pytest.mark.parametrize("handler, answer", [("line", b"HALF"), ("record", b"")])
def test_a_stop_in_the_middle_of_a_message(start, handler, answer):
    server = start("--handler", handler)
    with server.connect() as connection:
        connection.sendall(b"half")
        wait_until_read(server, connection)
        server.process.send_signal(signal.SIGTERM)
        assert receive_all(connection) == answer
        assert server.wait() == 0
    if handler == "record":
        assert "record cut short: 4 of 22 bytes" in server.log


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
        assert all(is_closed(connection) for connection in [*served, waiting])


@pytest.mark.idea
def test_a_stop_without_descriptors(start):
    def few_descriptors():
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))

    server = start(limits=few_descriptors)
    connections = [server.connect() for _ in range(30)]
    server.wait_log("Too many open files")
    status, seconds = server.stop()
    assert status == 0
    assert seconds < AT_ONCE, f"the server took {seconds:.2f} s to end"
    for connection in connections:
        connection.close()


@pytest.mark.idea
def test_grace_is_what_a_stuck_client_gets(start):
    grace = 2
    server = start("--grace", grace, "--send-buffer", 1)
    with stuck_client(server), clients_of(server, 1) as [idle]:
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert is_closed(idle)
        assert time.monotonic() - begin < grace, "an idle client had to wait"
        check_no_spin(server, "while a stop waits for an answer to be read")
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
        with pytest.raises(ConnectionError):
            server.connect()
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
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_it_at_once(start, second):
    server = start("--grace", 100, "--send-buffer", 1)
    with stuck_client(server), clients_of(server, 1) as [idle]:
        server.process.send_signal(signal.SIGTERM)
        assert is_closed(idle)
        status, seconds = server.stop(second)
        assert status == 0
        assert seconds < AT_ONCE, f"the server took {seconds:.2f} s to end"


@pytest.mark.idea
def test_two_signals_in_the_same_moment_end_it_at_once(start):
    for _ in range(3):
        server = start("--grace", 100, "--send-buffer", 1)
        with stuck_client(server):
            server.process.send_signal(signal.SIGTERM)
            status, seconds = server.stop(signal.SIGINT)
            assert status == 0
            assert seconds < AT_ONCE, f"the server took {seconds:.2f} s to end"


# Loops.


@pytest.mark.idea
@pytest.mark.parametrize("loops", [2, 3])
def test_every_loop_has_its_thread_and_its_clients(start, loops, build):
    server = start("--loops", loops)
    expected = ["server", *(f"loop-{n}" for n in range(2, loops + 1))]
    if build.name == "thread":
        expected.append("server")  # ThreadSanitizer has a thread of its own
    wait_until(lambda: sorted(thread_names(server)) == sorted(expected), f"threads {expected}")
    with clients_of(server, 120):
        assert server.threads() == len(expected)
        for name in ["main", *expected[1:loops]]:
            count = len(re.findall(rf"\b{name}\(\d+\)\] [\d.]+:\d+ connected", server.log))
            assert count > 0, f"none of 120 clients came to {name}"
        status, seconds = server.stop()
    assert status == 0
    assert seconds < AT_ONCE, f"the server took {seconds:.2f} s to end"
    assert server.log.count("closed: server stops") == 120


@pytest.mark.idea
def test_loops_in_a_hurry(start, client):
    """Under ThreadSanitizer this is where two loops would meet."""
    server = start("-q", "--loops", 2, "--handler", "record", "--timeout", 20)
    for _ in range(3):
        results = []
        words = "1 ab 2 -3 4 0.5".split()
        result = client(server.port, "-q", "--clients", 50, "--record", *words)
        results.append(result)
        assert (result.status, result.out) == (0, b"1 AB 2 -3 4 0.5\n" * 50)
    for number in range(60):
        rude_ways()[number % 10 if number % 10 != 8 else 0](server.connect())
    assert server.stop()[0] == 0


@pytest.mark.idea
def test_the_end_of_all_loops(start):
    server = start("--loops", 3, "--grace", 20, "--send-buffer", 1)
    with contextlib.ExitStack() as stack:
        busy = [stack.enter_context(stuck_client(server)) for _ in range(5)]
        idle = stack.enter_context(server.connect())
        check_exchange(idle, b"Hello\n")
        server.process.send_signal(signal.SIGTERM)
        assert is_closed(idle)
        for connection in busy:
            assert receive_all(connection) == bytes(60_000)
        assert server.wait() == 0


@pytest.mark.idea
def test_a_second_server_cannot_join_the_loops_unasked(start):
    """They share the port by SO_REUSEPORT, as two servers can that both ask for it."""
    first = start("--loops", 2)
    second = start(port=first.port, ready=False)
    assert second.wait() == 1
    assert "Address already in use" in second.log


# What it costs, counted.


def trace(server_program, tmp_path):
    """A script that runs the server under strace, and the file with the calls."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    calls, script = tmp_path / "calls", tmp_path / "strace.sh"
    script.write_text(
        f"#!/bin/sh\nexec strace -D -qq -o '{calls}' '{server_program}' \"$@\"\n", encoding="utf-8"
    )
    script.chmod(0o755)
    return script, calls


def counted(calls):
    """{system call: how often}, after the first client was accepted."""
    text = calls.read_text(encoding="utf-8", errors="replace")
    counts = {}
    for name in re.findall(r"^(\w+)\(", text.partition("accept4(")[2], re.M):
        name = {"epoll_pwait": "epoll_wait"}.get(name, name)  # by which other C libraries do it
        counts[name] = counts.get(name, 0) + 1
    return counts


@pytest.mark.idea
def test_a_message_costs_three_system_calls_and_under_load_fewer(
    start, server_program, tmp_path, sanitized
):
    if sanitized:
        pytest.skip("a sanitizer makes calls of its own")
    script, calls = trace(server_program, tmp_path)
    server = start("-q", "--handler", "line", program=script)
    few = 40  # to begin and to end
    with server.connect() as connection:
        for _ in range(200):
            check_exchange(connection, b"line\n", b"LINE\n")
        wait_until(lambda: counted(calls).get("sendto", 0) >= 200, "200 calls of send")
        counts = counted(calls)
        for name in ("epoll_wait", "recvfrom", "sendto"):
            assert counts[name] <= 200 + few, f"{counts[name]} x {name} for 200 messages: {counts}"
        others = sum(n for name, n in counts.items() if name not in ("epoll_wait", "recvfrom", "sendto"))
        assert others <= few, f"more than epoll_wait, recv and send for a message: {counts}"
        before = counts["epoll_wait"]
        with clients_of(server, 50, b"a\n", b"A\n") as connections:
            begin = counted(calls)["epoll_wait"]
            for _ in range(10):
                with standing_still(server):
                    for other in connections:
                        other.sendall(b"x\n")
                for other in connections:
                    assert receive(other, 2) == b"X\n"
            waits = counted(calls)["epoll_wait"] - begin
        assert waits < 250, f"{waits} x epoll_wait for 500 messages, of which 50 had come at once"
        assert before > 0


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
    server = start("-v", "--handler", "line", "--max-clients", 5, "--timeout", 60, program=script)
    with clients_of(server, 4, b"line\n", b"LINE\n") as connections:
        connections[0].sendall(b"half a line")
        reset(connections.pop())
        connections.pop().close()
        with server.connect() as another:
            check_exchange(another, b"Hello\n", b"HELLO\n")
        status, _ = server.stop()
    assert status == 0, f"exit status {status}; 99 is valgrind's, see the log"


# Command lines.


@pytest.mark.idea
@pytest.mark.parametrize(
    "option, value, allowed",
    [
        ("--loops", "0", "64"),
        ("--loops", "65", "64"),
        ("--loops", "many", "64"),
        ("--max-clients", "0", "100000"),
        ("--max-clients", "100001", "100000"),
        ("--grace", "-77", "1000000"),
        ("--grace", "nan", "1000000"),
    ],
)
def test_a_wrong_value_is_refused(start, option, value, allowed):
    check_is_refused(start(option, value, ready=False), option, value, allowed)
