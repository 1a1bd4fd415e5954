"""Stage 06: SO_KEEPALIVE, TCP_NODELAY, TCP_QUICKACK and TCP_FASTOPEN."""

import re
import signal
import socket
import statistics
import time

import pytest
from course import check_exchange, receive, run, wait_until
from every_stage import EveryStage, check_is_refused
from kernel import (
    PrivateNetwork,
    answering,
    process_state,
    refusing,
    server_row,
    setting,
    tcp_info,
)

STAGE = "06-keepalive-nodelay"


class TestEveryStage(EveryStage):
    long_message = 5_000_000


def check_read_back(log, name, asked, got=None):
    got = asked if got is None else got
    assert re.search(rf"{name}: asked {asked}, got {got}\b", log), (
        f"expected a line '{name}: asked {asked}, got {got}', log:\n{log}"
    )


# Keep-alive.


@pytest.mark.idea
def test_keepalive_is_on_and_read_back(start):
    server = start()
    check_read_back(server.log, "SO_KEEPALIVE", 1)
    check_read_back(server.log, "TCP_KEEPIDLE", 1800)
    check_read_back(server.log, "TCP_KEEPINTVL", 15)
    check_read_back(server.log, "TCP_KEEPCNT", 9)


@pytest.mark.idea
def test_keepalive_as_asked_is_read_back(start):
    server = start(
        "--keepalive", "on", "--keepalive-idle", 77, "--keepalive-interval", 7,
        "--keepalive-count", 127,
    )  # fmt: skip
    check_read_back(server.log, "SO_KEEPALIVE", 1)
    check_read_back(server.log, "TCP_KEEPIDLE", 77)
    check_read_back(server.log, "TCP_KEEPINTVL", 7)
    check_read_back(server.log, "TCP_KEEPCNT", 127)


@pytest.mark.idea
def test_keepalive_off_is_read_back(start):
    check_read_back(start("--keepalive", "off").log, "SO_KEEPALIVE", 0)


@pytest.mark.idea
@pytest.mark.parametrize("options, idle", [((), 1800), (("--keepalive-idle", 300), 300)])
def test_accepted_connections_have_the_keepalive_timer(start, options, idle):
    server = start(*options)
    with server.connect() as first, server.connect() as second:
        check_exchange(first, b"Hello\n")
        for connection in (first, second):
            timer = server_row(server, connection).keepalive
            assert timer is not None, "the server's end of the connection has no keep-alive timer"
            assert idle - 30 <= timer <= idle + 5, f"expected about {idle} s, it says {timer}"


@pytest.mark.idea
def test_with_keepalive_off_there_is_no_timer(start):
    server = start("--keepalive", "off", "--keepalive-idle", 300)
    with server.connect() as connection:
        check_exchange(connection, b"Hello\n")
        assert server_row(server, connection).keepalive is None


@pytest.mark.idea
def test_a_silent_client_is_asked_if_it_lives(start):
    probing = start("--keepalive-idle", 1, "--keepalive-interval", 1)
    silent = start("--keepalive", "off", "--keepalive-idle", 1, "--keepalive-interval", 1)
    with silent.connect() as not_asked, probing.connect() as asked:
        start_time = time.monotonic()
        for connection in (not_asked, asked):
            check_exchange(connection, b"Hello\n")
        before = [tcp_info(c).segments_received for c in (not_asked, asked)]
        wait_until(
            lambda: tcp_info(asked).segments_received > before[1],
            "a keep-alive probe, with --keepalive-idle 1",
        )
        assert time.monotonic() - start_time > 0.9
        assert tcp_info(not_asked).segments_received == before[0]
        # It has answered the probe, so it is still served.
        check_exchange(asked, b"still here\n")


# TCP_NODELAY.


def delay_acks(connection):
    """Until the next receive this end acknowledges late, even where it has not sent for a while, as
    on a busy machine; by itself it would do so only in the midst of a dialogue."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)


def quickest_two_piece_reply(server, count=9):
    """Milliseconds for a reply that the server sends in two pieces, whatever it reads at a time:
    a receive never goes past a byte of urgent data (tcp(7)), so what comes before it and what
    comes after it are received, and echoed, in two calls. The server stands still until all has
    come: otherwise what the client sends last might carry the ACK of the first piece. The quickest
    of some, since a busy machine makes any late, and none early."""
    times = []
    with server.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            server.process.send_signal(signal.SIGSTOP)
            wait_until(lambda: process_state(server.pid) == "T", "the server standing still")
            delay_acks(connection)
            connection.sendall(b"first,")
            connection.send(b"!", socket.MSG_OOB)
            connection.sendall(b"second")
            begin = time.monotonic()
            server.process.send_signal(signal.SIGCONT)
            came = receive(connection, 12)
            times.append((time.monotonic() - begin) * 1e3)
            assert came == b"first,second", f"expected b'first,second', came {came!r}"
    return min(times)


@pytest.mark.idea
def test_nodelay_saves_the_wait_for_an_ack(start):
    # Without it the second piece waits for the ACK of the first, which the client delays.
    off = quickest_two_piece_reply(start("--nodelay", "off"))
    on = quickest_two_piece_reply(start("--nodelay", "on"))
    standard = quickest_two_piece_reply(start())
    assert off > 30, f"with --nodelay off about 40 ms were expected, it took {off:.2f} ms"
    assert on < off / 3, f"--nodelay on took {on:.2f} ms, off {off:.2f} ms"
    assert standard < off / 3, f"the default is on, it took {standard:.2f} ms, off {off:.2f} ms"


@pytest.mark.idea
def test_nodelay_is_read_back(start):
    check_read_back(start().log, "TCP_NODELAY", 1)
    check_read_back(start("--nodelay", "on").log, "TCP_NODELAY", 1)
    check_read_back(start("--nodelay", "off").log, "TCP_NODELAY", 0)


# TCP_QUICKACK.


def segments_from(server, exchanges):
    with server.connect() as connection:
        for _ in range(exchanges):
            check_exchange(connection, b"x")
        return tcp_info(connection).segments_received


@pytest.mark.idea
def test_quickack_acks_every_request_at_once(start):
    # An ACK at once goes ahead of the reply, a delayed one goes with it. The kernel falls back
    # to delaying them after a few, so this shows that the option is set again and again.
    exchanges = 200
    # A busy machine makes a reply late, and its ACK then goes ahead.
    off = min(segments_from(start("-q"), exchanges) for _ in range(3))
    on = segments_from(start("-q", "--quickack", "on"), exchanges)
    assert off < 1.3 * exchanges, f"{exchanges} exchanges without: {off} segments from the server"
    assert on > 1.7 * exchanges, (
        f"{exchanges} exchanges with --quickack on: expected two segments for each from the "
        f"server, an ACK and a reply, came {on}; without the option {off}"
    )


@pytest.mark.idea
def test_quickack_is_read_back_for_each_connection(start):
    server = start("--quickack", "on")
    for number in (1, 2):
        with server.connect() as connection:
            check_exchange(connection, b"Hello\n")
        server.wait_log("TCP_QUICKACK: asked 1, got 1", number)


@pytest.mark.idea
def test_quickack_off_sets_nothing(start):
    server = start("--quickack", "off")
    with server.connect() as connection:
        check_exchange(connection, b"Hello\n")
    assert "TCP_QUICKACK: asked 1" not in server.log


# TCP_FASTOPEN.


@pytest.fixture
def network(tmp_path):
    """network(setting) is a private network with net.ipv4.tcp_fastopen set so."""
    networks = []

    def make(fastopen):
        networks.append(PrivateNetwork(fastopen, tmp_path))
        return networks[-1]

    yield make
    for made in networks:
        made.close()


@pytest.fixture
def visit(request, client_program):
    """visit(network, server, *arguments) runs the stage's client inside the network."""
    def run_inside(network, port, *arguments):
        result = run([network.inside(client_program), "--port", port, *arguments])
        request.node.reports.append(result)
        assert "Sanitizer" not in result.err, result.report()
        return result

    return run_inside


WITH_SYN = "data went with the SYN and was accepted"
ORDINARY = "no data with the SYN"


@pytest.mark.idea
def test_fastopen_takes_data_with_the_syn(start, server_program, network, visit):
    inside = network(3)
    server = start("--fastopen", 16, program=inside.inside(server_program))
    check_read_back(server.log, "TCP_FASTOPEN", 16)
    assert "warning" not in re.search(r".*net\.ipv4\.tcp_fastopen = 3.*", server.log)[0]
    # The first connection only fetches the cookie that lets the next ones send at once.
    for number, (expected, counted) in enumerate([(ORDINARY, 0), (WITH_SYN, 1), (WITH_SYN, 2)]):
        result = visit(inside, server.port, "--fastopen", "on", "Hello")
        assert (result.status, result.out) == (0, b"Hello")
        assert expected in result.err, f"connection {number}: expected {expected!r}"
        came = inside.counter("TCPFastOpenPassive")
        assert came == counted, f"connection {number}: TCPFastOpenPassive is {came}, not {counted}"


@pytest.mark.idea
def test_fastopen_0_takes_none(start, server_program, network, visit):
    inside = network(3)
    server = start("--fastopen", 0, program=inside.inside(server_program))
    assert "TCP_FASTOPEN" not in server.log
    for _ in range(3):
        result = visit(inside, server.port, "--fastopen", "on", "Hello")
        assert (result.status, result.out) == (0, b"Hello")
        assert ORDINARY in result.err
    assert inside.counter("TCPFastOpenPassive") == 0


@pytest.mark.idea
def test_a_client_that_does_not_ask_is_served_by_a_fastopen_server(
    start, server_program, network, visit
):
    inside = network(3)
    server = start("--fastopen", 16, program=inside.inside(server_program))
    for _ in range(2):
        result = visit(inside, server.port, "--fastopen", "off", "Hello")
        assert (result.status, result.out) == (0, b"Hello")
    assert inside.counter("TCPFastOpenPassive") == 0


@pytest.mark.idea
def test_the_server_warns_when_the_system_forbids_fastopen(start, server_program, network, visit):
    inside = network(1)
    server = start("--fastopen", 16, program=inside.inside(server_program))
    line = re.search(r".*net\.ipv4\.tcp_fastopen = 1.*", server.log)
    assert line and "warning" in line[0], f"expected a warning about bit 2, log:\n{server.log}"
    for _ in range(2):
        result = visit(inside, server.port, "--fastopen", "on", "Hello")
        assert (result.status, result.out) == (0, b"Hello")
        assert ORDINARY in result.err
    assert inside.counter("TCPFastOpenPassive") == 0


@pytest.mark.idea
def test_the_log_says_if_servers_may_take_data_with_the_syn(start):
    allowed = setting("net.ipv4.tcp_fastopen")
    server = start("--fastopen", 5)
    check_read_back(server.log, "TCP_FASTOPEN", 5)
    line = re.search(rf".*net\.ipv4\.tcp_fastopen = {allowed}\b.*", server.log)
    assert line, f"expected a line with net.ipv4.tcp_fastopen = {allowed}, log:\n{server.log}"
    assert ("warning" in line[0]) == (not allowed & 2)


@pytest.mark.idea
def test_a_refused_connection_with_a_cookie_is_an_error(start, server_program, network, visit):
    # connect() then succeeds before anything was sent, and it is send that fails.
    inside = network(3)
    server = start("--fastopen", 16, program=inside.inside(server_program))
    for _ in range(2):
        result = visit(inside, server.port, "--fastopen", "on", "Hello")
    assert WITH_SYN in result.err
    server.stop()
    result = visit(inside, server.port, "--fastopen", "on", "Hello")
    assert result.status == 1
    assert f"127.0.0.1:{server.port}: Connection refused" in result.err
    assert result.out == b""


def test_the_client_goes_on_where_the_system_forbids_fastopen(
    start, server_program, network, visit
):
    inside = network(2)
    server = start(program=inside.inside(server_program))
    result = visit(inside, server.port, "--fastopen", "on", "Hello")
    assert (result.status, result.out) == (0, b"Hello")
    assert "net.ipv4.tcp_fastopen = 2" in result.err and ORDINARY in result.err


def test_the_client_goes_on_when_the_server_takes_no_data_with_the_syn(start, client):
    server = start()
    for _ in range(2):
        result = client(server.port, "--fastopen", "on", "Hello", " ", "again")
        assert (result.status, result.out) == (0, b"Hello again")
        assert ORDINARY in result.err


def test_the_client_without_fastopen_does_not_speak_of_it(start, client):
    assert "Fast Open" not in client(start().port, "Hello").err


def test_a_refused_connection_with_fastopen_is_an_error(client):
    with refusing() as port:
        result = client(port, "--fastopen", "on", "Hello")
    assert result.status == 1
    assert f"127.0.0.1:{port}: Connection refused" in result.err


# The client's small messages.


def answer_lines(connection):
    """Receives a whole line before it answers, so nothing but a bare ACK can answer a part."""
    with connection.makefile("rb") as lines:
        for line in lines:
            delay_acks(connection)
            connection.sendall(line)


def times_of_replies(result):
    return [float(ms) for ms in re.findall(r"reply of \d+ bytes after ([\d.]+) ms", result.err)]


def test_two_small_writes_wait_for_an_ack_unless_nodelay_is_on(client):
    messages = [f"message {number}\n" for number in range(9)]
    times = {}
    with answering(answer_lines) as port:
        for nodelay in ("off", "on"):
            result = client(port, "--nodelay", nodelay, "--split", "on", *messages)
            assert (result.status, result.out.decode()) == (0, "".join(messages))
            times[nodelay] = times_of_replies(result)
            assert len(times[nodelay]) == len(messages)
    off = statistics.median(times["off"])
    assert off > 30, f"about 40 ms were expected with --nodelay off, came {times}"
    # Not the first: the ACK of its first part is not delayed.
    assert min(times["on"][1:]) < off / 3, f"milliseconds by --nodelay: {times}"


def test_one_write_waits_for_nothing(client):
    messages = [f"message {number}\n" for number in range(9)]
    with answering(answer_lines) as port:
        split = client(port, "--nodelay", "off", "--split", "on", *messages)
        whole = client(port, "--nodelay", "off", "--split", "off", *messages)
    assert (whole.status, whole.out) == (split.status, split.out) == (0, whole.out)
    at_once, delayed = times_of_replies(whole), times_of_replies(split)
    assert min(at_once[1:]) < statistics.median(delayed) / 3, f"{at_once} ms; split: {delayed}"


@pytest.mark.parametrize("split, segments", [("off", 1), ("on", 2)])
def test_split_sends_a_message_in_two_segments(client, split, segments):
    came = []

    def answer(connection):
        data = receive(connection, 11)
        came.append(tcp_info(connection).data_segments_received)
        connection.sendall(data)

    with answering(answer) as port:
        result = client(port, "--split", split, "Hello world")
    assert (result.status, result.out) == (0, b"Hello world")
    assert came == [segments]


@pytest.mark.parametrize("nodelay", ["on", "off"])
@pytest.mark.parametrize("size", [1, 2, 3, 4096, 100_001])
def test_split_messages_come_back_whole(start, client, nodelay, size):
    message = "0123456789"[: size % 10] + "x" * (size - size % 10)
    result = client(start().port, "--split", "on", "--nodelay", nodelay, message)
    assert (result.status, result.out.decode()) == (0, message)


def test_split_bulk_comes_back(start, client):
    result = client(start("-q").port, "--split", "on", "--send-bytes", 1_000_001)
    assert result.status == 0, result.report()


def test_the_clients_nodelay_is_read_back(start, client):
    server = start()
    check_read_back(client(server.port, "Hello").err, "TCP_NODELAY", 1)
    check_read_back(client(server.port, "--nodelay", "off", "Hello").err, "TCP_NODELAY", 0)


# Command lines.


@pytest.mark.idea
@pytest.mark.parametrize(
    "option, value, allowed",
    [
        ("--keepalive", "perhaps", "on or off"),
        ("--nodelay", "perhaps", "on or off"),
        ("--quickack", "ON", "on or off"),
        ("--keepalive-idle", "0", "32767"),
        ("--keepalive-idle", "32768", "32767"),
        ("--keepalive-interval", "-77", "32767"),
        ("--keepalive-interval", "1.5", "32767"),
        ("--keepalive-count", "0", "127"),
        ("--keepalive-count", "128", "127"),
        ("--fastopen", "-77", "65535"),
        ("--fastopen", "65536", "65535"),
        ("--fastopen", "perhaps", "65535"),
    ],
)
def test_a_wrong_value_is_refused(start, option, value, allowed):
    check_is_refused(start(option, value, ready=False), option, value, allowed)


@pytest.mark.parametrize("option", ["--nodelay", "--fastopen", "--split"])
def test_the_client_refuses_what_is_not_on_or_off(client, option):
    result = client(9, option, "perhaps", "Hello")
    assert result.status == 2
    assert option in result.err and "perhaps" in result.err and "on or off" in result.err


def test_the_client_has_nothing_to_send_fast_with_connections(client):
    result = client(1, "--fastopen", "on", "--connections", 2)
    assert result.status == 2
    assert "--fastopen on" in result.err and "--connections" in result.err
