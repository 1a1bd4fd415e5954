"""Fixtures: the programs of the stage that a test file is about."""

import os
import shlex
import shutil
import signal
from pathlib import Path

import pytest
from course import ENOUGH, Server, run

ROOT = Path(__file__).resolve().parents[2]


# Of a server of somebody's own so many failures are shown in full.
SHOWN = 20


def pytest_addoption(parser):
    parser.addoption("--build", default="build", help="where the built programs are")
    parser.addoption("--server", help="a server to test in the place of the stage's own: a command")


def command_of(server):
    """A command as a list of words; the program is found in this folder, or in PATH."""
    program, *arguments = shlex.split(server) or [""]
    found = program if os.access(program, os.X_OK) else shutil.which(program)
    if found is None or not os.path.isfile(found):
        pytest.exit(f"SERVER={server}: no such program, or it may not be run", returncode=2)
    # The tests run in folders of their own; a file that is named here is the same there.
    there = [str(Path(word).resolve()) if os.path.isfile(word) else word for word in arguments]
    return [str(Path(found).absolute()), *there]


def pytest_configure(config):
    # A shell starts what is to run in the background with SIGINT ignored, and its children inherit
    # that; some tests are about Ctrl-C. The workers of xdist, which may be here in a thread that is
    # not the main one and may set no signal, inherit it in their turn.
    if not hasattr(config, "workerinput"):
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "idea: what is new in the stage; the one before fails it")
    server = config.getoption("server")
    if server:
        command_of(server)


def stage_of(item):
    return item.path.name[len("test_") : len("test_") + 2]


def is_idea(item):
    return item.get_closest_marker("idea") is not None


def spread(items):
    """xdist deals out rows of tests. Neighbours take about as long, and so a worker that has got a
    row of long ones would still work when all others are done: each row is made of all sorts. The
    tests of the book stay together, since they share a browser, and begin."""
    apart = 64
    places = {
        item: 0 if item.path.stem == "test_book" else i % apart for i, item in enumerate(items)
    }
    items.sort(key=places.get)


def pytest_collection_modifyitems(config, items):
    """Which tests are of the new idea stands in the JUnit file, for the tests of the tests. For a
    server of somebody's own the ideas come first, those of 01 before those of 02, which stand on
    them; then what else the last of the stages asks for."""
    for item in items:
        if is_idea(item):
            item.user_properties.append(("idea", "yes"))
    if hasattr(config, "workerinput"):
        spread(items)
    if config.getoption("server"):
        last = max((stage_of(item) for item in items), default="")
        ideas = sorted(filter(is_idea, items), key=stage_of)
        others = [item for item in items if not is_idea(item) and stage_of(item) == last]
        left = [item for item in items if not is_idea(item) and stage_of(item) != last]
        items[:] = [*ideas, *others]
        config.hook.pytest_deselected(items=left)


def pytest_report_teststatus(report, config):
    """After so many failures of somebody's own server a failure is counted and not shown."""
    # With several at a time each report comes by twice: where it was made, and where it is shown.
    if not config.getoption("server") or not report.failed or hasattr(config, "workerinput"):
        return
    config.failures_of_own = getattr(config, "failures_of_own", 0) + 1
    if config.failures_of_own > SHOWN:
        report.longrepr = f"not shown, as {SHOWN} failures were already"
        report.sections = []


@pytest.fixture
def build(request):
    return ROOT / request.config.getoption("build")


@pytest.fixture
def stage(request):
    """The stage that the test's file is about, such as 03-listen-queue."""
    return request.module.STAGE


@pytest.fixture
def server_program(request, build, stage, tmp_path_factory):
    other = request.config.getoption("server")
    if not other:
        return build / stage / "server"
    words = command_of(other)
    if len(words) == 1:
        return Path(words[0])
    # A command of several words becomes a program.
    program = tmp_path_factory.mktemp("server") / "server"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return program


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

    def run_client(port, *arguments, stdin=b"", limit=ENOUGH):
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
