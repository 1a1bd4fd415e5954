"""Stage 02: SO_REUSEADDR and SO_REUSEPORT."""

import pytest
from course import check_exchange, is_closed, run
from every_stage import EveryStage

STAGE = "02-reuseaddr"


class TestEveryStage(EveryStage):
    pass


def leave_a_connection_behind(server):
    """Stops a server while a client is connected: the server's end closes first, and its kernel
    keeps the connection, in FIN_WAIT2 and then TIME_WAIT."""
    with server.connect() as connection:
        check_exchange(connection, b"Hello")
        assert server.stop()[0] == 0
        assert is_closed(connection)


@pytest.mark.idea
def test_a_restart_succeeds_at_once(start):
    first = start()
    leave_a_connection_behind(first)
    second = start(port=first.port, ready=False)
    try:
        second.read_ready_line()
    except AssertionError as error:
        raise AssertionError(
            "a connection of the server before is in TIME_WAIT, and bind failed: SO_REUSEADDR has "
            f"to be set before bind. {error}"
        ) from None


@pytest.mark.idea
@pytest.mark.parametrize("old, new", [("off", "off"), ("off", "on"), ("on", "off")])
def test_both_servers_have_to_set_it(start, old, new):
    first = start("--reuse-addr", old)
    leave_a_connection_behind(first)
    second = start("--reuse-addr", new, port=first.port, ready=False)
    assert second.wait() == 1, f"--reuse-addr {old}, then {new}: expected bind to fail"
    assert f"bind 127.0.0.1:{first.port}: Address already in use" in second.log
    assert "is listening there" not in second.log


@pytest.mark.idea
def test_a_client_that_closes_first_is_in_nobodys_way(start):
    first = start("--reuse-addr", "off")
    with first.connect() as connection:
        check_exchange(connection, b"Hello")
    first.wait_log("end of file|closed")
    assert first.stop()[0] == 0
    start("--reuse-addr", "off", port=first.port)


@pytest.mark.idea
@pytest.mark.parametrize("addr, port", [("on", "off"), ("off", "on")])
def test_the_options_are_read_back(start, addr, port):
    log = start("--reuse-addr", addr, "--reuse-port", port).log
    for option, value in (("SO_REUSEADDR", addr), ("SO_REUSEPORT", port)):
        number = int(value == "on")
        assert f"{option}: asked {number}, got {number}" in log


@pytest.mark.idea
def test_two_servers_share_a_port(start):
    first = start("--reuse-port", "on")
    second = start("--reuse-port", "on", port=first.port)
    for _ in range(60):
        with first.connect() as connection:
            check_exchange(connection, b"Hello")
    counts = [len(server.wait_log(" connected")) for server in (first, second)]
    assert sum(counts) == 60, f"60 clients came, the servers saw {counts}"
    assert min(counts) >= 10, f"the kernel spreads connections by a hash, but {counts}"


@pytest.mark.idea
@pytest.mark.parametrize("old, new", [("off", "on"), ("on", "off")])
def test_both_servers_have_to_share(start, old, new):
    first = start("--reuse-port", old)
    second = start("--reuse-port", new, port=first.port, ready=False)
    assert second.wait() == 1
    assert "Address already in use" in second.log


@pytest.mark.idea
@pytest.mark.parametrize("option", ["--reuse-addr", "--reuse-port"])
@pytest.mark.parametrize("value", ["yes", "1", "", "ON"])
def test_a_switch_is_on_or_off(server_program, option, value):
    result = run([server_program, "--port", "0", option, value])
    assert result.status == 2, result.report()
    assert option in result.err and "on" in result.err and "off" in result.err, result.report()
