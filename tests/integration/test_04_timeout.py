"""Stage 04: how long to wait."""

import contextlib
import re
import socket
import threading
import time

import pytest
from course import check_exchange, is_closed, receive, reset, run
from every_stage import EveryStage
from test_03_listen_queue import in_private_network

STAGE = "04-timeout"


class TestEveryStage(EveryStage):
    pass


# A client that keeps still.


@pytest.mark.idea
@pytest.mark.parametrize("seconds", [0.5, 1.2])
def test_a_silent_client_is_closed_after_the_timeout(start, seconds):
    server = start("--timeout", seconds)
    with server.connect() as connection:
        begin = time.monotonic()
        check_exchange(connection, b"Hello")
        assert is_closed(connection)
        took = time.monotonic() - begin
    # The kernel counts in ticks; by another clock than its own it may be early, emulated by much.
    assert took >= seconds / 2, f"--timeout {seconds}, closed after only {took:.3f} s"
    assert took < seconds + 5
    server.wait_log("(?i)timed out")


@pytest.mark.idea
def test_the_next_client_is_served_after_a_silent_one(start):
    server = start("--timeout", 0.3)
    with server.connect(), server.connect() as second:
        begin = time.monotonic()
        check_exchange(second, b"Hello")
        assert time.monotonic() - begin < 5


@pytest.mark.idea
def test_a_client_that_speaks_now_and_then_stays(start):
    server = start("--timeout", 2)
    with server.connect() as connection:
        for _ in range(7):
            check_exchange(connection, b"x")
            time.sleep(0.4)  # together more than the timeout, each less


@pytest.mark.idea
def test_the_ends_of_a_connection_are_told_apart(start):
    server = start("--timeout", 2)
    with server.connect() as connection:
        check_exchange(connection, b"x")
    server.wait_log("(?i)end of file")
    connection = server.connect()
    check_exchange(connection, b"x")
    reset(connection)
    server.wait_log("(?i)reset")
    with server.connect() as connection:
        assert is_closed(connection)
    server.wait_log("(?i)timed out")
    assert len(re.findall("(?i)closed|end of file|reset|timed out", server.log)) >= 3


@pytest.mark.idea
def test_a_client_that_does_not_read_is_closed(start):
    server = start("--timeout", 0.3)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0.1)
        connection.connect((server.address[0], server.port))
        with contextlib.suppress(OSError):
            while True:
                connection.send(b"x" * 65536)
        server.wait_log("(?i)timed out")
        with server.connect() as second:
            check_exchange(second, b"Hello")


@pytest.mark.idea
def test_a_tiny_timeout_is_not_for_ever(start):
    """Rounded down to whole microseconds it would be 0, which is no timeout at all."""
    server = start("--timeout", "0.0000001")
    with server.connect() as connection:
        assert is_closed(connection)


@pytest.mark.idea
def test_the_timeout_is_read_back(start):
    server = start("--timeout", 0.5)
    with server.connect() as connection:
        check_exchange(connection, b"x")
    for option in ("SO_RCVTIMEO", "SO_SNDTIMEO"):
        server.wait_log(rf"{option}: asked 0\.5 s, got 0\.5")


@pytest.mark.idea
def test_no_timeout_by_default(server_program):
    result = run([server_program, "--help"])
    for option in (b"--timeout", b"--accept-timeout", b"--user-timeout"):
        assert option in result.out
    assert b"none" in result.out


# accept, TCP_USER_TIMEOUT, the handshake.


@pytest.mark.idea
def test_accept_times_out_and_the_server_goes_on(start):
    server = start("--accept-timeout", 0.1)
    server.wait_log("(?i)accept.*timed out", times=2)
    with server.connect() as connection:
        check_exchange(connection, b"Hello")


@pytest.mark.idea
def test_a_connection_does_not_inherit_the_accept_timeout(start):
    server = start("--accept-timeout", 0.1)
    with server.connect() as connection:
        check_exchange(connection, b"x")
        time.sleep(0.4)  # much more than it may wait in accept
        check_exchange(connection, b"still here")


@pytest.mark.idea
def test_the_user_timeout_is_in_milliseconds(start):
    assert "TCP_USER_TIMEOUT: asked 1500, got 1500" in start("--user-timeout", 1.5).log


@pytest.mark.idea
@pytest.mark.parametrize("retries, seconds", [(0, 1), (2, 7), (5, 63), (6, 127), (8, 367)])
def test_the_longest_handshake(tmp_path, server_program, retries, seconds):
    """2^(retries+1) - 1 up to 6 retries; after that each wait is 120 s."""
    prepare = f"echo {retries} > /proc/sys/net/ipv4/tcp_synack_retries"
    log = in_private_network(tmp_path, server_program, prepare)
    assert re.search(rf"\b{seconds} s; net.ipv4.tcp_synack_retries = {retries}\b", log)


@pytest.mark.idea
@pytest.mark.parametrize("option", ["--timeout", "--accept-timeout", "--user-timeout"])
@pytest.mark.parametrize("value", ["-1", "soon", "nan", "inf", "1e9", "0x1", ""])
def test_bad_timeouts(server_program, option, value):
    result = run([server_program, "--port", "0", option, value])
    assert result.status == 2, result.report()
    assert option in result.err, result.report()
    assert re.search("(?i)second|number", result.err), f"what is allowed?\n{result.report()}"


# The client.


def test_client_gives_up_on_a_server_that_is_silent(client):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        result = client(listener.getsockname()[1], "--timeout", 0.3, "Hello")
    assert result.status == 1
    assert "timed out" in result.err
    assert result.seconds >= 0.15


def test_client_gives_up_on_a_server_that_does_not_end(client):
    def serve(listener, done):
        connection, _ = listener.accept()
        with connection:
            connection.sendall(receive(connection, 5))
            done.wait(20)

    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener, done))
        thread.start()
        result = client(listener.getsockname()[1], "--timeout", 2, "Hello")
        done.set()
        thread.join()
    assert (result.status, result.out) == (1, b"Hello")
    assert "receive from" in result.err and "timed out" in result.err, result.report()


def test_client_gives_up_connecting(client):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        with socket.create_connection(address):  # the accept queue is full now
            result = client(address[1], "--connect-timeout", 0.3, "Hello")
    assert result.status == 1
    assert f"connect 127.0.0.1:{address[1]}: Connection timed out" in result.err
    assert 0.28 <= result.seconds < 20


def test_client_timeouts_are_none_of_a_good_servers_business(start, client):
    result = client(start().port, "--connect-timeout", 5, "--timeout", 5, "Hello")
    assert (result.status, result.out) == (0, b"Hello")


def test_client_syn_retries(start, client):
    result = client(start().port, "--syn-retries", 2, "Hello")
    assert (result.status, result.out) == (0, b"Hello")
    assert "TCP_SYNCNT: asked 2, got 2" in result.err


@pytest.mark.parametrize(
    "option, value",
    [("--syn-retries", "0"), ("--syn-retries", "128"), ("--timeout", "-1"),
     ("--connect-timeout", "x")],
)
def test_client_bad_values(client, option, value):
    result = client(1, option, value, "Hello")
    assert result.status == 2
    assert option in result.err
