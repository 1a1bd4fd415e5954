"""Stage 05: SO_RCVBUF and SO_SNDBUF, and much data at once."""

import re
import socket
import threading

import pytest
from course import check_exchange, receive, send_patiently
from every_stage import EveryStage, check_is_refused
from kernel import accepted_buffers, answering, refusing, setting, tcp_info

STAGE = "05-bufsize"

OPTIONS = {
    "--recv-buffer": ("SO_RCVBUF", "net.core.rmem_max"),
    "--send-buffer": ("SO_SNDBUF", "net.core.wmem_max"),
}
LARGEST = 2**31 - 1
both = pytest.mark.parametrize("option", OPTIONS)


class TestEveryStage(EveryStage):
    long_message = 5_000_000


def read_back(log, option):
    """(asked, got, limit, line) from the log line of an option."""
    name, limit_name = OPTIONS[option]
    pattern = rf"{name}: asked (\d+), got (\d+).*{re.escape(limit_name)} = (\d+).*"
    found = re.search(pattern, log)
    assert found, f"expected a line '{name}: asked N, got N …; limit {limit_name} = N', log:\n{log}"
    return int(found[1]), int(found[2]), int(found[3]), found[0]


def accepted_buffer(server, connection, option):
    return accepted_buffers(server, connection)[0 if option == "--recv-buffer" else 1]


def connection_to(address):
    return socket.create_connection(address, timeout=20)


# The server's options.


@pytest.mark.idea
@both
def test_the_log_says_what_was_asked_what_came_and_the_limit(start, option):
    limit = setting(OPTIONS[option][1])
    asked = min(50_000, limit)
    server = start(option, asked)
    assert read_back(server.log, option)[:3] == (asked, 2 * asked, limit)
    assert "warning" not in read_back(server.log, option)[3]


@pytest.mark.idea
@both
def test_accepted_connections_have_the_doubled_size(start, option):
    asked = min(50_000, setting(OPTIONS[option][1]))
    server = start(option, asked)
    for number in (1, 2):
        with server.connect() as connection:
            check_exchange(connection, b"Hello\n")
            got = accepted_buffer(server, connection, option)
            assert got == 2 * asked, (
                f"{option} {asked}: expected {2 * asked} on accepted connection {number}, the "
                f"kernel says {got}: was the option set on the listener?"
            )


@pytest.mark.idea
@both
def test_asked_for_a_byte_the_kernel_gives_its_least(start, option):
    server = start(option, 1)
    asked, got, _, _ = read_back(server.log, option)
    assert asked == 1 and got > 2
    with server.connect() as connection:
        check_exchange(connection, b"Hello\n")
        assert accepted_buffer(server, connection, option) == got


@pytest.mark.idea
@both
def test_more_than_the_limit_is_cut_with_a_warning(start, option):
    limit = setting(OPTIONS[option][1])
    if limit == LARGEST:
        pytest.skip("there is no more than the limit here")
    for asked in (limit + 1, LARGEST):
        server = start(option, asked)
        _, got, said_limit, line = read_back(server.log, option)
        assert said_limit == limit
        assert got <= 2 * limit, f"asked {asked}, limit {limit}: the log says {got}"
        assert "warning" in line, f"asked {asked}, limit {limit}: expected a warning in {line!r}"
        with server.connect() as connection:
            check_exchange(connection, b"Hello\n")
            assert accepted_buffer(server, connection, option) == got


@pytest.mark.idea
@both
def test_exactly_the_limit_is_not_cut(start, option):
    limit = setting(OPTIONS[option][1])
    if limit > LARGEST // 2:
        pytest.skip("twice the limit is more than the kernel has numbers for")
    server = start(option, limit)
    _, got, _, line = read_back(server.log, option)
    assert got == 2 * limit
    assert "warning" not in line


@pytest.mark.idea
def test_the_receive_buffer_is_there_at_the_handshake(start):
    # The window scale is agreed in the handshake. A buffer that is set on the accepted connection
    # does not show in it: the scale is then that of the largest buffer the kernel might choose.
    plain, small = start(), start("--recv-buffer", 4096)
    with plain.connect() as first, small.connect() as second:
        unset, set_small = (tcp_info(c).peer_window_scale for c in (first, second))
    if unset == 0:
        pytest.skip("windows are not scaled here")
    assert set_small < unset, (
        f"window scale of the server: {unset} without --recv-buffer, expected a smaller one with "
        f"--recv-buffer 4096, came {set_small}: was it set on the listener?"
    )


@pytest.mark.idea
def test_a_size_that_was_set_does_not_grow(start):
    # Under the same traffic the kernel's own sizes do grow, where it tunes them.
    size = min(40_000, setting("net.core.rmem_max"), setting("net.core.wmem_max"))
    server = start("-q", "--recv-buffer", size, "--send-buffer", size)
    message = bytes(8_000_000)
    with server.connect() as connection:
        sender = threading.Thread(target=send_patiently, args=(connection, message), daemon=True)
        sender.start()
        assert receive(connection, len(message)) == message
        sender.join()
        assert accepted_buffers(server, connection) == (2 * size, 2 * size)


@pytest.mark.idea
def test_one_option_leaves_the_other_alone(start):
    plain, receiving, sending = start(), start("--recv-buffer", 5000), start("--send-buffer", 5000)
    with plain.connect() as a, receiving.connect() as b, sending.connect() as c:
        rb, tb = accepted_buffers(plain, a)
        assert accepted_buffers(receiving, b) == (10_000, tb)
        assert accepted_buffers(sending, c) == (rb, 10_000)
    assert "SO_SNDBUF" not in receiving.log
    assert "SO_RCVBUF" not in sending.log


def test_without_the_options_the_sizes_are_the_kernels(start):
    server = start()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with server.connect() as ours, connection_to(listener.getsockname()) as plain:
            accepted, _ = listener.accept()
            with accepted:
                expected = tuple(
                    accepted.getsockopt(socket.SOL_SOCKET, name)
                    for name in (socket.SO_RCVBUF, socket.SO_SNDBUF)
                )
                assert accepted_buffers(server, ours) == expected
                scales = [tcp_info(c).peer_window_scale for c in (ours, plain)]
                assert scales[0] == scales[1]


@pytest.mark.idea
@both
@pytest.mark.parametrize("value", ["-77", "0", "2147483648", "some", "7k"])
def test_a_wrong_size_is_refused(start, option, value):
    check_is_refused(start(option, value, ready=False), option, value, str(LARGEST))


# The client's options.


@both
def test_the_client_says_what_the_kernel_made_of_its_sizes(start, client, option):
    limit = setting(OPTIONS[option][1])
    asked = min(50_000, limit)
    result = client(start().port, option, asked, "Hello")
    assert (result.status, result.out) == (0, b"Hello")
    assert read_back(result.err, option)[:3] == (asked, 2 * asked, limit)


@both
def test_the_client_warns_when_its_size_is_cut(start, client, option):
    limit = setting(OPTIONS[option][1])
    if limit == LARGEST:
        pytest.skip("there is no more than the limit here")
    result = client(start().port, option, LARGEST, "Hello")
    assert (result.status, result.out) == (0, b"Hello")
    assert "warning" in read_back(result.err, option)[3]


def test_the_client_sets_its_receive_buffer_before_it_connects(client):
    scales = []

    def answer(connection):
        scales.append(tcp_info(connection).peer_window_scale)
        connection.sendall(receive(connection, 5))

    with answering(answer) as port:
        assert client(port, "Hello").status == 0
        assert client(port, "--recv-buffer", 4096, "Hello").status == 0
    if scales[0] == 0:
        pytest.skip("windows are not scaled here")
    assert scales[1] < scales[0]


def check_bulk(result, size):
    assert result.status == 0, result.report()
    assert re.fullmatch(rb"%d bytes\D.* \d+\.\d+ MB/s.*\n" % size, result.out), (
        f"expected one line with the bytes and the MB/s, came {result.out!r}"
    )


@pytest.mark.parametrize("size", [1, 2, 4096, 4097, 1_000_003])
def test_bulk_comes_back(start, client, size):
    check_bulk(client(start("-q").port, "--send-bytes", size), size)


def test_50_megabytes(start, client):
    check_bulk(client(start("-q").port, "--send-bytes", 50_000_000), 50_000_000)


def test_bulk_through_the_clients_tiniest_buffers(start, client):
    tiny = ("--recv-buffer", 1, "--send-buffer", 1)
    check_bulk(client(start("-q").port, *tiny, "--send-bytes", 300_000), 300_000)


@pytest.mark.idea
def test_bulk_through_the_tiniest_buffers_on_both_sides(start, client):
    tiny = ("--recv-buffer", 1, "--send-buffer", 1)
    check_bulk(client(start("-q", *tiny).port, *tiny, "--send-bytes", 300_000), 300_000)
    check_bulk(client(start("-q", *tiny).port, "--send-bytes", 300_000), 300_000)


def echo_with_a_fault(size, place, fault):
    """A server that does something to the one byte at place, and ends the connection after
    size bytes."""

    def answer(connection):
        come = 0
        while come < size:
            data = connection.recv(65536)
            here = place - come
            come += len(data)
            if 0 <= here < len(data):
                data = data[:here] + fault(data[here : here + 1]) + data[here + 1 :]
            connection.sendall(data)

    return answer


FAULTS = {
    "changed": lambda byte: bytes([byte[0] ^ 1]),
    "doubled": lambda byte: byte + byte,
    "dropped": lambda byte: b"",
}


@pytest.mark.parametrize("place", [0, 123_456, 299_998])
@pytest.mark.parametrize("fault", FAULTS)
def test_the_client_notices_a_byte_that_is(client, fault, place):
    with answering(echo_with_a_fault(300_000, place, FAULTS[fault])) as port:
        result = client(port, "--send-bytes", 300_000)
    assert result.status == 1, f"byte {place} was {fault}, and the client exits {result.status}"
    assert b"MB/s" not in result.out
    expected = "after 299999 of 300000" if fault == "dropped" else "not what was sent"
    assert expected in result.err


def test_the_client_notices_a_byte_too_many(client):
    with answering(echo_with_a_fault(300_000, 299_999, FAULTS["doubled"])) as port:
        result = client(port, "--send-bytes", 300_000)
    assert result.status == 1
    assert "more than was sent" in result.err


def test_a_server_that_ends_early_is_an_error(client):
    def answer(connection):
        connection.sendall(receive(connection, 1000))
        connection.shutdown(socket.SHUT_WR)
        receive(connection, 50_000_000)

    with answering(answer) as port:
        result = client(port, "--send-bytes", 50_000_000)
    assert result.status == 1
    assert "after 1000 of 50000000" in result.err
    assert result.out == b""


def test_a_server_that_resets_is_an_error(client):
    with answering(lambda connection: receive(connection, 1000)) as port:
        result = client(port, "--send-bytes", 50_000_000)
    assert result.status == 1
    assert f"127.0.0.1:{port}" in result.err
    assert result.out == b""


def test_bulk_without_a_server_is_an_error(client):
    with refusing() as port:
        result = client(port, "--send-bytes", 1000)
    assert result.status == 1
    assert f"connect 127.0.0.1:{port}: Connection refused" in result.err


def test_bulk_has_no_message(client):
    result = client(9, "--send-bytes", 1000, "Hello")
    assert result.status == 2
    assert "Hello" in result.err and "--send-bytes" in result.err


@pytest.mark.parametrize(
    "option, value, allowed",
    [
        ("--send-bytes", "0", "1073741824"),
        ("--send-bytes", "1073741825", "1073741824"),
        ("--send-bytes", "all", "1073741824"),
        ("--recv-buffer", "0", str(LARGEST)),
        ("--send-buffer", "-77", str(LARGEST)),
    ],
)
def test_the_client_refuses_a_wrong_number(client, option, value, allowed):
    result = client(9, option, value)
    assert result.status == 2
    assert option in result.err and value in result.err and allowed in result.err
