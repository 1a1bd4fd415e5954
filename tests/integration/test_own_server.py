"""What 'make test-NN SERVER=' does beside testing: a command of several words, the ideas of all
stages up to NN first, twenty failures in full."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

ECHO = """\
import socket
import sys

listener = socket.socket()
listener.bind(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])))
listener.listen()
print("listening on 127.0.0.1:%d" % listener.getsockname()[1], flush=True)
while True:
    client, _ = listener.accept()
    while data := client.recv(4096):
        client.sendall(data)
    client.close()
"""


def run_tests(build, server, *arguments, limit="2"):
    # An option with a blank in it, before the tests are known, is taken for one of their files.
    command = [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider"]
    command += [*map(str, arguments), f"--build={build}", f"--server={server}"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    environment["TEST_LIMIT"] = limit
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


def files(*stages):
    return [path for stage in stages for path in (ROOT / "tests/integration").glob(f"test_{stage}_*")]


def test_a_command_of_several_words(build, tmp_path):
    program = tmp_path / "my echo.py"
    program.write_text(ECHO, encoding="ascii")
    done = run_tests(
        build,
        f"{sys.executable} -B '{program}'",
        f"--basetemp={tmp_path / 'inner'}",
        "-m",
        "idea",
        *files("01"),
        limit=os.environ.get("TEST_LIMIT", "20"),
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_ideas_first_and_those_of_every_stage(build):
    server = build / "02-reuseaddr" / "server"
    done = run_tests(build, server, "--collect-only", "-q", *files("01", "02"))
    names = [line for line in done.stdout.splitlines() if "::" in line]
    first = [name.split("/")[-1][:7] for name in names]
    assert first[:2] == ["test_01", "test_01"], "the idea of 01"
    rest = first[2:]
    assert rest and set(rest) == {"test_02"}, "of 01 no more than its idea"
    ideas = [name for name in names if "EveryStage" not in name]
    assert names[: len(ideas)][-1] in ideas


def test_twenty_failures_are_shown(build, tmp_path):
    program = tmp_path / "ends"
    program.write_text("#!/bin/sh\nexit 3\n", encoding="ascii")
    program.chmod(0o755)
    done = run_tests(build, program, f"--basetemp={tmp_path / 'inner'}", *files("01"), "-n", "0")
    shown = done.stdout.count("program ----")
    hidden = done.stdout.count("not shown, as 20 failures were already")
    assert hidden > 10 and 1 <= shown <= 20, done.stdout


def test_no_such_command(build):
    done = run_tests(build, "no-such-program --x", *files("01"))
    assert done.returncode == 2
    assert "no such program" in done.stdout + done.stderr
