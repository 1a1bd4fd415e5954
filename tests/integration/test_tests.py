"""The tests are tested: with servers that are wrong, each test that should fail does, and says
what is wrong. Two kinds: the server of the stage before, which lacks the idea, and servers with
one deliberate fault."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

import pytest
from test_course import PAIRS, ROOT, STAGES, compiler

HERE = Path(__file__).parent


def test_file(stage):
    (file,) = HERE.glob(f"test_{stage[:2]}_*.py")
    return file


test_file.__test__ = False  # a name for a reader, not a test


def run_tests(tmp_path, build, server, selection, limit=None):
    """Runs tests with a server in the place of the stage's own, in a pytest of their own. Returns
    {name: (outcome, what was said)} without the tests that were skipped here.

    A test that is expected to fail often does so by waiting for what does not come; limit is for
    how many seconds. One that is expected to pass keeps the generous limit of course.py."""
    results = tmp_path / "results.xml"
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += [f"--basetemp={tmp_path / 'inner'}", f"--junitxml={results}"]
    command += [f"--build={build}", f"--server={server}", *selection]
    # What a pytest around this one has put there is not meant for the one inside.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    if limit is not None:
        environment["TEST_LIMIT"] = str(limit)
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert results.exists(), done.stdout + done.stderr
    outcomes = {}
    for case in ElementTree.parse(results).iter("testcase"):
        faults = [*case.iter("failure"), *case.iter("error")]
        said = "\n".join(f"{fault.get('message')}\n{fault.text}" for fault in faults)
        if case.find("skipped") is None:
            outcomes[case.get("name")] = ("failed" if faults else "passed", said)
    return outcomes


def names(outcomes, which):
    return sorted(name for name, (outcome, _) in outcomes.items() if outcome == which)


# The server of the stage before. What every stage keeps to is left out: it was tested with this
# very server in the file of its own stage.


@pytest.mark.parametrize("before, stage", PAIRS)
def test_without_the_idea_its_tests_fail(build, tmp_path, before, stage):
    selection = [test_file(stage), "-m", "idea", "-k", "not TestEveryStage"]
    outcomes = run_tests(tmp_path, build, build / before / "server", selection, limit=0.5)
    assert outcomes, f"no test in {test_file(stage).name} is marked as one of the idea"
    passed = names(outcomes, "passed")
    assert not passed, (
        f"marked as tests of the idea of {stage}, but passed by the server of {before}, which "
        "does not have it:\n" + "\n".join(passed)
    )


@pytest.mark.parametrize("before, stage", PAIRS)
def test_without_the_idea_all_other_tests_pass(build, tmp_path, before, stage):
    # What valgrind looks at is not the server that is put in, and takes its time.
    selection = [test_file(stage), "-m", "not idea", "-k", "not TestEveryStage and not valgrind"]
    outcomes = run_tests(tmp_path, build, build / before / "server", selection)
    failed = names(outcomes, "failed")
    assert not failed, (
        f"not marked as tests of the idea of {stage}, but failed by the server of {before}:\n"
        + "\n".join(f"{name}\n{outcomes[name][1]}" for name in failed)
    )


# The event loop took the calls apart that these stages wrote: here is that it lost nothing of theirs.
# Those that are left out fill the accept queue behind a client that is served alone.


@pytest.mark.parametrize("stage", STAGES[1:7])
def test_the_event_loop_has_the_ideas_of_the_stages_before_it(build, tmp_path, stage):
    left_out = "not TestEveryStage and not backlog_and_one_more and not each_accept_says"
    selection = [test_file(stage), "-m", "idea", "-k", left_out]
    outcomes = run_tests(tmp_path, build, build / "09-event-loop" / "server", selection)
    assert outcomes
    failed = names(outcomes, "failed")
    assert not failed, f"ideas of {stage} that 09 has lost:\n" + "\n".join(
        f"{name}\n{outcomes[name][1]}" for name in failed
    )


# Servers with one fault each.


class Wrong(NamedTuple):
    """A stage's server with each key of changes, which it has once, replaced by the value; the
    test that has to fail, and what the failure has to say; other tests, which have to pass."""

    stage: str
    changes: dict
    test: str
    words: str
    others: tuple = ("test_help", "test_one_client_after_another")


WRONG = {
    "a short send ignored": Wrong(
        "01-basic",
        {
            "#include <netinet/in.h>\n": "#include <errno.h>\n#include <netinet/in.h>\n",
            "send_all(client, bytes, (size_t)received) < 0": (
                "send(client, bytes, (size_t)received, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&\n"
                "            errno != EAGAIN"
            )
        },
        "TestEveryStage::test_a_slow_reader_misses_nothing",
        "sent 16000000 bytes, came",
    ),
    "a descriptor leaked": Wrong(
        "01-basic",
        {"    close(client);\n": ""},
        "TestEveryStage::test_rude_clients",
        "a descriptor or a thread was leaked",
    ),
    "SIGPIPE left as it is": Wrong(
        "01-basic",
        {
            "#include <netinet/in.h>\n": "#include <netinet/in.h>\n#include <signal.h>\n",
            "    announce(listener);\n": (
                "    announce(listener);\n    signal(SIGPIPE, SIG_DFL);\n"
            ),
            "send_all(client, bytes, (size_t)received) < 0": (
                "write(client, bytes, (size_t)received) < 0"
            ),
        },
        "TestEveryStage::test_rude_clients",
        "a rude client ended the server",
    ),
    "a client's error ends the server": Wrong(
        "01-basic",
        {
            '    log_info("%s closed: %s", peer, end_text(answer(client)).text);\n': (
                '    if (answer(client) < 0)\n        die("%s", peer);\n'
            )
        },
        "TestEveryStage::test_rude_clients",
        "a rude client ended the server",
    ),
    "no pause when accept fails": Wrong(
        "08-threaded",
        {"    accept_failed();\n": '    log_error("%s", error_text(errno).text);\n'},
        "test_without_descriptors_it_pauses_and_goes_on",
        "it does not pause before it tries again",
    ),
    "a stop that is a flag to look at": Wrong(
        "01-basic",
        {
            "#include <netinet/in.h>\n": "#include <netinet/in.h>\n#include <signal.h>\n",
            "static int port = 9999;\n": (
                "static int port = 9999;\n"
                "static volatile sig_atomic_t stopped;\n"
                "static void stop(int number)\n{\n    stopped = number;\n}\n"
            ),
            "    exit_on_signals();\n": "    signal(SIGTERM, stop);\n",
            "    for (;;) {\n        struct": "    while (!stopped) {\n        struct",
        },
        "TestEveryStage::test_a_stop_while_a_client_is_idle[15]",
        "the server did not end",
    ),
    "the ready line not flushed": Wrong(
        "01-basic",
        {
            "#include <netinet/in.h>\n": "#include <netinet/in.h>\n#include <stdio.h>\n",
            "    announce_address(&address);\n": (
                '    printf("listening on %s\\n", address_text(&address).text);\n'
            ),
        },
        "test_two_sends_come_back_as_one_stream",
        "no ready line",
        others=("test_help",),
    ),
    "the ready line before listen": Wrong(
        "01-basic",
        {
            "    if (listen(listener, SOMAXCONN) < 0)\n"
            '        die("listen on %s", address_text(&address).text);\n': "",
            "    announce(listener);\n": (
                "    announce(listener);\n    sleep(5);\n    listen(listener, SOMAXCONN);\n"
            ),
        },
        "test_two_sends_come_back_as_one_stream",
        "Connection refused",
        others=("test_help",),
    ),
    "SO_REUSEADDR set after bind": Wrong(
        "02-reuseaddr",
        {
            "    if (set_option(listener, SOL_SOCKET, SO_REUSEADDR, reuse_addr) < 0)\n"
            '        die("SO_REUSEADDR");\n': "",
            "    if (listen(": (
                "    if (set_option(listener, SOL_SOCKET, SO_REUSEADDR, reuse_addr) < 0)\n"
                '        die("SO_REUSEADDR");\n'
                "    if (listen("
            ),
        },
        "test_a_restart_succeeds_at_once",
        "SO_REUSEADDR has to be set before bind",
    ),
    "the backlog ignored": Wrong(
        "03-listen-queue",
        {"listen(listener, backlog)": "listen(listener, SOMAXCONN)"},
        "test_backlog_and_one_more_are_let_in[1]",
        "--backlog 1: expected 2 connections in the accept queue, found 4",
    ),
    "the timeout not on accepted connections": Wrong(
        "04-timeout",
        {"configure_client(client) < 0 ? -1 : answer(client)": "answer(client)"},
        "test_a_silent_client_is_closed_after_the_timeout[0.5]",
        "did not close the connection",
    ),
    "TCP_USER_TIMEOUT in seconds": Wrong(
        "04-timeout",
        {"(int)ceil(user_timeout * 1000)": "(int)ceil(user_timeout)"},
        "test_the_user_timeout_is_in_milliseconds",
        "TCP_USER_TIMEOUT: asked 1500, got 1500",
    ),
    "the receive buffer set on accepted connections": Wrong(
        "05-bufsize",
        {
            "    if (recv_buffer > 0 && set_buffer_option(listener, SO_RCVBUF, recv_buffer) < 0)\n"
            '        die("SO_RCVBUF");\n': "",
            "    if (timeout == 0 && accept_timeout == 0)\n": (
                "    if (recv_buffer > 0 &&\n"
                "        set_buffer_option(client, SO_RCVBUF, recv_buffer) < 0)\n"
                "        return -1;\n"
                "    if (timeout == 0 && accept_timeout == 0)\n"
            ),
        },
        "test_the_receive_buffer_is_there_at_the_handshake",
        "was it set on the listener?",
    ),
    "TCP_QUICKACK set once": Wrong(
        "06-keepalive-nodelay",
        {"        ack_at_once(client);\n": ""},
        "test_quickack_acks_every_request_at_once",
        "expected",
    ),
    "the part of a message that has come thrown away": Wrong(
        "07-binary-struct",
        {"        held -= whole;\n": "        held = 0;\n"},
        "test_a_record_byte_by_byte",
        "came b'', then",
    ),
    "a record put in upper case as a whole": Wrong(
        "07-binary-struct",
        {"upper_case(text, sizeof text)": "upper_case(record, sizeof record)"},
        "test_a_record_comes_back_with_its_text_in_upper_case",
        "expected (1633837924, b'OK', ",
    ),
    "clients without a limit": Wrong(
        "08-threaded",
        {"waits in the accept queue. */\n    take_place();\n": "waits in the accept queue. */\n"},
        "test_clients_above_the_limit_wait_for_a_place[1]",
        "expected no answer yet",
    ),
    "a place not given back": Wrong(
        "08-threaded",
        {"    sem_post(&places);\n": ""},
        "test_places_are_given_back_however_a_client_leaves",
        "expected b'x', came b''",
        others=("test_help",),
    ),
    "threads that do not end": Wrong(
        "08-threaded",
        {"    sem_post(&places);\n": "    sem_post(&places);\n    pause();\n"},
        "test_threads_and_descriptors_go_with_their_clients",
        "threads, as before",
    ),
    "an end that does not wait for answers": Wrong(
        "08-threaded",
        {"    for (int place = 1; place < max_clients; place++)\n        take_place();\n": ""},
        "test_an_answer_under_way_is_finished",
        "Connection reset by peer",
    ),
    "what a send left over forgotten": Wrong(
        "09-event-loop",
        {
            "        unsent -= (size_t)sent;\n"
            "        memmove(bytes, bytes + sent, unsent + held);\n": (
                "        memmove(bytes, bytes + unsent, held);\n        unsent = 0;\n"
            )
        },
        "test_a_reader_that_stops_and_goes_on_misses_nothing",
        "is what a send left over sent later?",
    ),
    "EPOLLOUT left on": Wrong(
        "09-event-loop",
        {"waits ? EPOLLOUT : EPOLLIN;": "waits ? EPOLLOUT : EPOLLIN | EPOLLOUT;"},
        "test_a_client_that_does_not_read_is_not_read_either",
        "has all its answers: it spins",
    ),
    "an event left of a connection that is closed": Wrong(
        "09-event-loop",
        {
            "loop->deadline >= now && poll(&event, 1, 0) > 0": "false",
            "        for (int i = 0; i < count; i++) {\n": (
                "        end_overdue(loop, clock_seconds_since(0));\n"
                "        for (int i = 0; i < count; i++) {\n"
            ),
        },
        "test_an_event_that_waits_is_its_clients_and_nobody_elses",
        "was the client ended while its event still waited?",
    ),
    "events behind the 256 of a call forgotten": Wrong(
        "09-event-loop",
        {"loop->deadline >= now && poll(&event, 1, 0) > 0": "false"},
        "test_more_who_are_late_than_one_call_reports",
        "300 had sent before the server looked",
    ),
    "a client read that does not read": Wrong(
        "09-event-loop",
        {
            "connection->bytes != NULL ? connection->bytes : loop->bytes;": (
                "connection->bytes = realloc(connection->bytes, connection->unsent + MESSAGE_MAX);"
            ),
            "    if (unsent == 0) {\n": "    {\n        size_t before = unsent;\n",
            "recv(client, bytes + held, MESSAGE_MAX - held, 0);\n": (
                "recv(client, bytes + before, MESSAGE_MAX, 0);\n"
                "        bool nothing = received < 0 && errno == EAGAIN;\n"
                "        received += nothing;\n"
            ),
            "            return errno == EAGAIN ? 0 : -1;\n": "            return -1;\n",
            "        unsent = whole;\n": "        unsent = before + whole;\n",
            "connection->ended = received == 0;": "connection->ended |= received == 0 && !nothing;",
            "waits ? EPOLLOUT : EPOLLIN;": "waits ? EPOLLIN | EPOLLOUT : EPOLLIN;",
        },
        "test_a_client_that_does_not_read_is_not_read_either",
        "is it still read while its answers wait?",
    ),
    "a client read until nothing is left": Wrong(
        "09-event-loop",
        {
            "    int result = answer(loop, connection);\n": (
                "    int result;\n    char byte;\n    do {\n"
                "        result = answer(loop, connection);\n"
                "    } while (result == 0 && !connection->ended && connection->unsent == 0 &&\n"
                "             recv(connection->client, &byte, 1, MSG_PEEK) > 0);\n"
            )
        },
        "test_a_client_that_sends_without_end_has_one_turn_like_everybody_else",
        "turns before the other, who came after it, had one",
    ),
    "a listener that is watched without descriptors": Wrong(
        "09-event-loop",
        {"                set_state(loop, PAUSED, RETRY_SECONDS);\n": "                return;\n"},
        "test_without_descriptors_it_pauses_and_goes_on",
        "it does not pause before it tries again",
    ),
    "a stop that ends answers under way": Wrong(
        "09-event-loop",
        {"shutdown(c->client, SHUT_RD);": "shutdown(c->client, SHUT_RDWR);"},
        "test_an_answer_under_way_is_finished",
        "Connection reset by peer",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_fault_is_found_and_named(build, tmp_path, fault):
    stage, changes, test, words, others = WRONG[fault]
    text = (ROOT / stage / "server.c").read_text(encoding="utf-8")
    for old, new in changes.items():
        assert text.count(old) == 1, f"{stage}/server.c should have this once:\n{old}"
        text = text.replace(old, new)
    source, program = tmp_path / "server.c", tmp_path / "server"
    source.write_text(text, encoding="utf-8")
    sanitizer = {"address": ["-fsanitize=address,undefined"], "thread": ["-fsanitize=thread"]}
    command = [*compiler(), *sanitizer.get(build.name, []), "-w", "-pthread", source]
    command += [*build.glob("common/*.o"), "-lm", "-o", program]
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)

    others = [f"TestEveryStage::{other}" for other in others]
    selection = [f"{test_file(stage)}::{name}" for name in (test, *others)]
    outcomes = run_tests(tmp_path, build, program, selection, limit=3)
    outcome, said = outcomes.pop(test.split("::")[-1])
    assert outcome == "failed", f"{stage} with this fault passes {test}"
    assert words in said, f"expected {words!r} in what the failure says:\n{said}"
    failed = names(outcomes, "failed")
    assert not failed, "other tests, which should pass:\n" + "\n".join(
        f"{name}\n{outcomes[name][1]}" for name in failed
    )
