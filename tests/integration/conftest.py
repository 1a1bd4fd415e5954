"""Fixtures: the programs of the stage that a test file is about."""

import os
from pathlib import Path

import pytest
from course import Server, run

ROOT = Path(__file__).resolve().parents[2]


def pytest_addoption(parser):
    parser.addoption("--build", default="build", help="where the built programs are")
    parser.addoption("--server", help="a server to test in the place of the stage's own")


def pytest_configure(config):
    config.addinivalue_line("markers", "idea: what is new in the stage; the one before fails it")
    server = config.getoption("server")
    if server and not os.access(server, os.X_OK):
        pytest.exit(f"SERVER={server}: no such program, or it may not be run", returncode=2)


def pytest_collection_modifyitems(items):
    """Which tests are of the new idea stands in the JUnit file, for the tests of the tests."""
    for item in items:
        if item.get_closest_marker("idea"):
            item.user_properties.append(("idea", "yes"))


@pytest.fixture
def build(request):
    return ROOT / request.config.getoption("build")


@pytest.fixture
def stage(request):
    """The stage that the test's file is about, such as 03-listen-queue."""
    return request.module.STAGE


@pytest.fixture
def server_program(request, build, stage):
    other = request.config.getoption("server")
    return Path(other).resolve() if other else build / stage / "server"


@pytest.fixture
def client_program(build, stage):
    return build / stage / "client"


@pytest.fixture
def start(request, server_program, tmp_path):
    """start(*options) is a running server of the stage on a port of its own. It is ended when
    the test is over; a report of a sanitizer in its log is a failure."""
    servers = []

    def start_server(*options, program=None, port=0, ready=True, **settings):
        arguments = ["--port", port, *options]
        log = tmp_path / f"server-{len(servers)}.log"
        server = Server(program or server_program, arguments, log, **settings)
        servers.append(server)
        request.node.reports.append(server)
        return server.read_ready_line() if ready else server

    request.node.reports = getattr(request.node, "reports", [])
    yield start_server
    for server in servers:
        server.clean_up()
    for server in servers:
        for alarm in ("Sanitizer", "runtime error:"):
            assert alarm not in server.log, f"{alarm} in the log of a server\n{server.report()}"


@pytest.fixture
def client(request, client_program):
    """client(port, *arguments) runs the stage's client to its end; the result has status, out
    (bytes) and err."""
    request.node.reports = getattr(request.node, "reports", [])

    def run_client(port, *arguments, stdin=b"", limit=60):
        result = run([client_program, "--port", port, *arguments], stdin, limit)
        request.node.reports.append(result)
        assert "Sanitizer" not in result.err, result.report()
        return result

    return run_client


FORBID = "echo 0 > /proc/sys/user/max_user_namespaces; echo 0 > /proc/sys/user/max_net_namespaces"


@pytest.fixture
def without_namespaces():
    """A command to put before another one, which then can make no private network."""
    before = ["unshare", "-Ur", "sh", "-c", f'{FORBID}; exec "$@"', "sh"]
    if run([*before, "true"]).status != 0 or run([*before, "unshare", "-n", "true"]).status == 0:
        pytest.skip("namespaces cannot be forbidden here")
    return before


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows every program that the test has run, and all that it said."""
    report = (yield).get_result()
    if report.failed:
        for program in getattr(item, "reports", []):
            report.sections.append(("program", program.report()))
