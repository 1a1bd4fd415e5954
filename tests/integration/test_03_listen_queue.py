"""Stage 03: the backlog, and the two queues of a listener."""

import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from course import check_exchange, run, wait_until
from every_stage import EveryStage
from kernel import setting, table_row

STAGE = "03-listen-queue"
ESTABLISHED, SYN_SENT = 0x01, 0x02


class TestEveryStage(EveryStage):
    pass


def overflows():
    """TcpExtListenOverflows: how often a full accept queue turned somebody away."""
    lines = Path("/proc/net/netstat").read_text(encoding="ascii").splitlines()
    names, values = (line.split() for line in lines[:2])
    return int(values[names.index("ListenOverflows")])


def begin_to_connect(server):
    connection = socket.socket()
    connection.setblocking(False)
    connection.connect_ex((server.address[0], server.port))
    return connection


def states(server, connections):
    rows = (table_row(c.getsockname()[1], server.port) for c in connections)
    return [row.state for row in rows if row]


@pytest.mark.idea
@pytest.mark.parametrize("backlog", [0, 1, 4])
def test_backlog_and_one_more_are_let_in(start, backlog):
    server = start("--backlog", backlog)
    with server.connect() as served:
        check_exchange(served, b"Hello")
        before = overflows()
        clients = [begin_to_connect(server) for _ in range(backlog + 3)]
        wait_until(
            lambda: states(server, clients).count(ESTABLISHED) >= backlog + 1,
            f"{backlog + 1} connections for --backlog {backlog}, while one client is served",
        )
        wait_until(
            lambda: overflows() > before
            or states(server, clients).count(ESTABLISHED) > backlog + 1,
            "ListenOverflows counting the ones too many",
        )
        found = states(server, clients)
        assert found.count(ESTABLISHED) == backlog + 1, (
            f"--backlog {backlog}: expected {backlog + 1} connections in the accept queue, "
            f"found {found.count(ESTABLISHED)} of {len(clients)}"
        )
        assert found.count(SYN_SENT) == 2
        for client in clients:
            client.close()


@pytest.mark.idea
def test_the_log_says_what_became_of_the_backlog(start):
    somaxconn = setting("net.core.somaxconn")
    log = start("--backlog", 7).log
    assert "asked 7" in log and f"net.core.somaxconn = {somaxconn}" in log
    assert "warning" not in log


@pytest.mark.idea
def test_a_backlog_above_the_limit_is_cut(start):
    somaxconn = setting("net.core.somaxconn")
    server = start("--backlog", somaxconn + 1)
    assert f"asked {somaxconn + 1}, effective {somaxconn}" in server.log
    assert "warning" in server.log
    with server.connect() as connection:
        check_exchange(connection, b"Hello")
    server.wait_log(rf"accept queue: 0 waiting, backlog {somaxconn}\b")


@pytest.mark.idea
def test_the_backlog_is_somaxconn_by_default(start):
    somaxconn = setting("net.core.somaxconn")
    assert f"asked {somaxconn}, effective {somaxconn}" in start().log


@pytest.mark.idea
def test_each_accept_says_how_many_wait(start):
    server = start("--backlog", 5)
    first = server.connect()
    check_exchange(first, b"Hello")
    others = [server.connect() for _ in range(3)]
    wait_until(lambda: table_row(server.port).waiting == 3, "3 connections in the accept queue")
    first.close()
    check_exchange(others[0], b"Hello")
    server.wait_log(r"accept queue: 2 waiting, backlog 5\b")
    for other in others:
        other.close()


def in_private_network(tmp_path, server_program, prepare, *options):
    """The log of a server that was started, and stopped, where the settings are our own."""
    if shutil.which("unshare") is None or run(["unshare", "-Urnm", "true"]).status != 0:
        pytest.skip("needs user namespaces: unshare -Urnm true")
    mount = f'mount -t tmpfs tmpfs "{tmp_path}/empty" && {prepare}'
    script = f'{mount} && ip link set lo up; exec "$@"'
    (tmp_path / "empty").mkdir()
    # In a container /proc/sys may be closed to all.
    if run(["unshare", "-Urnm", "sh", "-c", mount]).status != 0:
        pytest.skip(f"not allowed here: {prepare}")
    command = ["unshare", "-Urnm", "sh", "-c", script, "sh", str(server_program)]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline().startswith("listening on ")
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=20)
    assert process.returncode == 0, log
    return log


@pytest.mark.idea
def test_somaxconn_is_read_and_not_assumed(tmp_path, server_program):
    prepare = "echo 16 > /proc/sys/net/core/somaxconn"
    log = in_private_network(tmp_path, server_program, prepare, "--backlog", "100")
    assert "asked 100, effective 16; limit net.core.somaxconn = 16" in log


@pytest.mark.idea
def test_settings_that_cannot_be_read_are_no_reason_to_end(tmp_path, server_program):
    prepare = f'mount --bind "{tmp_path}/empty" /proc/sys/net'
    log = in_private_network(tmp_path, server_program, prepare)
    assert "net.core.somaxconn cannot be read" in log


@pytest.mark.idea
@pytest.mark.parametrize("value", ["-1", "many", "2147483648", ""])
def test_bad_backlog(server_program, value):
    result = run([server_program, "--port", "0", "--backlog", value])
    assert result.status == 2, result.report()
    assert "--backlog" in result.err and "2147483647" in result.err, result.report()


# The client.


def test_client_holds_connections_until_it_is_stopped(start, client_program):
    server = start()
    command = [client_program, "--port", str(server.port), "--connections", "4"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as holder:
        # One is served, three are in the accept queue.
        wait_until(lambda: table_row(server.port).waiting == 3, "3 connections that wait")
        holder.terminate()
        wait_until(lambda: holder.poll() is not None, "the client's end")
        assert holder.returncode in (0, -signal.SIGTERM)
    wait_until(lambda: table_row(server.port).waiting == 0, "the accept queue being empty")


def test_client_holds_more_than_the_soft_limit_of_descriptors(start, client_program, tmp_path):
    few = ["sh", "-c", 'ulimit -Sn 20 && exec "$@"', "sh"]
    command = [*few, client_program, "--port", str(start().port), "--connections", "40"]
    with open(tmp_path / "log", "wb") as log, subprocess.Popen(command, stderr=log) as holder:
        wait_until(
            lambda: b"holding 40" in (tmp_path / "log").read_bytes() or holder.poll() is not None,
            "40 connections, or the client's end",
        )
        holder.terminate()
        assert holder.wait(20) == 0, (tmp_path / "log").read_text()


def test_client_that_holds_ends_with_0(start, client_program, tmp_path):
    server = start()
    with open(tmp_path / "log", "wb") as log:
        command = [client_program, "--port", str(server.port), "--connections", "2"]
        with subprocess.Popen(command, stderr=log) as holder:
            wait_until(lambda: b"holding 2" in (tmp_path / "log").read_bytes(), "holding 2")
            holder.send_signal(signal.SIGINT)
            assert holder.wait(20) in (0, -signal.SIGINT)


def test_client_that_cannot_connect_all(client):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = client(port, "--connections", 3)
    assert result.status == 1
    assert f"connect 127.0.0.1:{port}: Connection refused" in result.err


def test_client_takes_no_message_with_connections(client):
    result = client(1, "--connections", 3, "Hello")
    assert result.status == 2
    assert "Hello" in result.err and "--connections" in result.err


@pytest.mark.parametrize("value", ["0", "-3", "x"])
def test_client_bad_connections(client, value):
    result = client(1, "--connections", value)
    assert result.status == 2
    assert "--connections" in result.err


