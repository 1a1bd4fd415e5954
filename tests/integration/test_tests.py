"""The tests are tested: with servers that are wrong, each test that should fail does, and says
what is wrong. Two kinds: the server of the stage before, which lacks the idea, and servers with
one deliberate fault."""

import importlib.util
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from test_course import PAIRS, ROOT

HERE = Path(__file__).parent


def run_tests(tmp_path, stage, server, build, *selection):
    """Runs a stage's test file with a server in the place of its own. Returns
    {test name: (failed, about the idea, all that was said)}."""
    results = tmp_path / "results.xml"
    (file,) = HERE.glob(f"test_{stage[:2]}_*.py")
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--basetemp", tmp_path / "inner", "--junitxml", results]
    command += [f"--build={build}", f"--server={server}", file, *selection]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env={**environment, "TEST_LIMIT": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert results.exists(), done.stdout + done.stderr
    outcomes = {}
    for case in ElementTree.parse(results).iter("testcase"):
        if case.find("skipped") is not None:
            continue
        faults = [*case.iter("failure"), *case.iter("error")]
        said = "\n".join(f"{fault.get('message')}\n{fault.text}" for fault in faults)
        idea = any(entry.get("name") == "idea" for entry in case.iter("property"))
        outcomes[case.get("name")] = (bool(faults), idea, said)
    return outcomes


@pytest.mark.parametrize("before, stage", PAIRS)
def test_without_the_idea_its_tests_fail_and_no_others(build, tmp_path, before, stage):
    # What every stage keeps to was tested with this very server in the file of its own stage.
    # What valgrind finds is no part of the idea either, and takes its time.
    selection = ["-k", "not TestEveryStage and not valgrind"]
    if stage[:2] == "08" and importlib.util.find_spec("xdist"):
        selection += ["-n", "4"]  # many of its tests fail by waiting for what does not come
    outcomes = run_tests(tmp_path, stage, build / before / "server", build, *selection)
    expected = {name for name, (_, idea, _) in outcomes.items() if idea}
    failed = {name for name, (fault, _, _) in outcomes.items() if fault}
    assert expected, "no test is marked as one of the idea"
    assert failed == expected, (
        f"with the server of {before}: should have failed, but passed: {expected - failed}; "
        f"should have passed, but failed: {failed - expected}"
    )


# stage, what is replaced by what, the test that has to fail, words that have to be in its message
WRONG = {
    "short send ignored": (
        "01-basic",
        [
            (
                "if (send_all(client, bytes, (size_t)received) < 0)",
                "if (send(client, bytes, (size_t)received, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&\n"
                "            errno != EAGAIN)",
            )
        ],
        "test_a_slow_reader_misses_nothing",
        "sent 16000000 bytes, came",
    ),
    "descriptor leaked": (
        "01-basic",
        [("    close(client);\n", "")],
        "test_rude_clients",
        "a descriptor or a thread was leaked",
    ),
    "failing accept unnoticed": (
        "01-basic",
        [("            accept_failed();\n", "")],
        "test_without_descriptors_it_waits",
        "Too many open files",
    ),
    "idle client holds up the stop": (
        "01-basic",
        [("stop_watch(client) < 0 || ", "")],
        "test_a_stop_while_a_client_is_idle[15]",
        "the server did not end",
    ),
    "client's error ends the server": (
        "01-basic",
        [
            (
                '        log_info("%s closed: %s", peer, error_text(errno).text);\n',
                '        die("%s", peer);\n',
            )
        ],
        "test_rude_clients",
        "Connection re",
    ),
    "option set after bind": (
        "02-reuseaddr",
        [
            (
                "    if (set_option(listener, SOL_SOCKET, SO_REUSEADDR, reuse_addr) < 0)\n"
                '        die("SO_REUSEADDR");\n',
                "",
            ),
            (
                "    if (listen(",
                "    if (set_option(listener, SOL_SOCKET, SO_REUSEADDR, reuse_addr) < 0)\n"
                '        die("SO_REUSEADDR");\n'
                "    if (listen(",
            ),
        ],
        "test_a_restart_succeeds_at_once",
        "SO_REUSEADDR has to be set before bind",
    ),
    "backlog ignored": (
        "03-listen-queue",
        [("listen(listener, backlog)", "listen(listener, SOMAXCONN)")],
        "test_backlog_and_one_more_are_let_in[1]",
        "--backlog 1",
    ),
    "timeout only on the listener": (
        "04-timeout",
        [("configure_client(client) < 0 || ", "")],
        "test_a_silent_client_is_closed_after_the_timeout[0.2]",
        "did not close the connection",
    ),
    "buffer set on the accepted socket": (
        "05-bufsize",
        [
            (
                "    if (recv_buffer > 0 && set_buffer_option(listener, SO_RCVBUF, recv_buffer) < 0)\n"
                '        die("SO_RCVBUF");\n',
                "",
            ),
            (
                "    if (timeout == 0 && accept_timeout == 0)\n",
                "    if (recv_buffer > 0 && set_buffer_option(client, SO_RCVBUF, recv_buffer) < 0)\n"
                "        return -1;\n"
                "    if (timeout == 0 && accept_timeout == 0)\n",
            ),
        ],
        "test_the_receive_buffer_is_there_at_the_handshake",
        "was it set on the listener?",
    ),
    "record read with one recv": (
        "07-binary-struct",
        [
            (
                "receive_exactly(client, record, sizeof record)",
                "recv(client, record, sizeof record, 0)",
            )
        ],
        "test_a_record_byte_by_byte",
        "expected",
    ),
    "record as a whole in upper case": (
        "07-binary-struct",
        [("upper_case(text, sizeof text)", "upper_case(record, sizeof record)")],
        "test_500_records_glued_together",
        "expected",
    ),
    "clients without a limit": (
        "08-threaded",
        [("waits in the accept queue. */\n    take_place();\n", "waits in the accept queue. */\n")],
        "test_clients_above_the_limit_wait_for_a_place[1]",
        "expected no answer yet",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_fault_is_found_and_named(build, tmp_path, fault):
    stage, changes, test, words = WRONG[fault]
    text = (ROOT / stage / "server.c").read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, f"{stage}/server.c should have this once:\n{old}"
        text = text.replace(old, new)
    source, program = tmp_path / "server.c", tmp_path / "server"
    source.write_text(text, encoding="utf-8")
    sanitizer = {"address": ["-fsanitize=address,undefined"], "thread": ["-fsanitize=thread"]}
    compiler = next(filter(shutil.which, [os.environ.get("CC", "cc"), "gcc", "clang"]))
    command = [compiler, "-std=c11", "-D_GNU_SOURCE", "-I.", "-pthread", "-w", source]
    command += [*sanitizer.get(build.name, []), *build.glob("common/*.o"), "-lm", "-o", program]
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)

    name = test.partition("[")[0]
    others = "test_one_client_after_another or test_help" if stage[:2] == "01" else "test_host"
    outcomes = run_tests(tmp_path, stage, program, build, "-k", f"{name} or {others}")
    failed, _, said = outcomes[test]
    assert failed, f"{stage} with this fault passes {test}"
    assert words in said, f"expected {words!r} in what the failure says:\n{said}"
    for other, (failed, _, said) in outcomes.items():
        if other.partition("[")[0] != name:
            assert not failed, f"{other} should pass with this fault:\n{said}"
