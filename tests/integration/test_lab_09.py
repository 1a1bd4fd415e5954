"""Lab 09 and the bench that it rests on: what they see, and that they say so when it is not there.

What the machine can do is not asked here: where a verdict compares speeds, the bench is replaced
by one that gives figures made up for the test.
"""

import re
import sys

import pytest
from course import ENOUGH, run

LAB = "09-event-loop"
NOT_ALLOWED = 77
SLOW = "tests/labs/slow"


@pytest.fixture
def lab(build, tmp_path, request):
    """lab(*options) runs the lab to its end; programs is a folder to take its programs from."""
    request.node.reports = []

    def run_lab(*options, programs=None):
        command = [build / "tests" / "labs" / LAB, "--build", programs or build]
        result = run([*command, "--results", tmp_path / "labs", *options], limit=2 * ENOUGH)
        request.node.reports.append(result)
        out = result.out.decode()
        if result.status == NOT_ALLOWED and (programs is None or "too slow to tell (" in out):
            reason = out.partition("not shown here: ")[2]
            pytest.skip(" ".join(reason.split("\n\n")[0].split()))
        return result

    return run_lab


@pytest.fixture
def programs(build, tmp_path):
    """A folder with the programs of the lab, where some can be put in the place of others."""
    folder = tmp_path / "programs"
    names = [f"{stage}/server" for stage in ("07-binary-struct", "08-threaded", LAB)]
    names += [f"{SLOW}/08-threaded/server", f"{SLOW}/{LAB}/server", "tests/bench/bench"]
    for name in [*names, "08-threaded/client", "03-listen-queue/client", "01-basic/client"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(build / name)
    return folder


def put_in_place(program, script):
    program.unlink()
    program.write_text(script, encoding="utf-8")
    program.chmod(0o755)


@pytest.mark.parametrize("part", ["price", "slow-reader", "loops"])
def test_the_part_sees_its_effect(lab, part):
    result = lab("--part", part)
    if result.status == 77:
        pytest.skip(re.findall("not shown here: (.*)", result.out.decode())[-1])
    assert result.status == 0, result.report()
    assert "seen: " in result.out.decode()
    assert "NOT SEEN" not in result.out.decode()


def test_on_loopback(build, tmp_path, without_namespaces):
    command = [*without_namespaces, build / "tests" / "labs" / LAB, "--quick", "on"]
    result = run([*command, "--build", build, "--results", tmp_path / "labs"])
    assert result.status == 0, result.report()
    assert "127.0.0.1" in result.out.decode()


# Another server takes the loop's place: with a thread each, nobody pays the price, and an idle
# client is not cheap; one at a time, nobody is served beside the stuck one.
@pytest.mark.parametrize(
    ("part", "stage", "instead"),
    [
        ("idle", LAB, "08-threaded"),
        ("price", f"{SLOW}/{LAB}", f"{SLOW}/08-threaded"),
        ("slow-reader", LAB, "07-binary-struct"),
    ],
)
def test_without_a_loop_the_verdict_is_not_seen(lab, build, programs, part, stage, instead):
    # Stage 08 has no --loops.
    options = "$(echo \"$*\" | sed 's/--loops 2//')"
    script = f"#!/bin/sh\nexec '{build / instead / 'server'}' {options}\n"
    put_in_place(programs / stage / "server", script)
    result = lab("--part", part, "--quick", "on", programs=programs)
    if re.search("no (user|network) namespace", result.out.decode()):
        pytest.skip("the part needs the wire")
    if result.status == 77:
        pytest.skip(re.findall("not shown here: (.*)", result.out.decode())[-1])
    assert result.status == 1, result.report()
    assert "NOT SEEN" in result.out.decode(), result.report()


# Keeps what it could not send, however much that becomes.
WITHOUT_BACK_PRESSURE = """
import asyncio, sys
def option(name, default):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default
class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(data)
async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, option("--host", ""), int(option("--port", "9999")))
    print("listening on %s:%d" % server.sockets[0].getsockname(), flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def test_a_server_without_back_pressure_is_seen(lab, programs):
    put_in_place(programs / LAB / "server", f"#!{sys.executable} -I\n{WITHOUT_BACK_PRESSURE}")
    result = lab("--part", "slow-reader", programs=programs)
    if re.search("no (user|network) namespace", result.out.decode()):
        pytest.skip("the part needs the wire")
    assert result.status == 1, result.report()
    assert "NOT SEEN: who does not read is not read from" in result.out.decode(), result.report()
    assert "\n  seen: meanwhile nobody else is served at stage 07" in result.out.decode()


def test_a_second_loop_that_is_missing_is_seen(lab, build, programs):
    script = f"#!/bin/sh\nexec '{build / SLOW / LAB / 'server'}' \"$@\" --loops 1\n"
    put_in_place(programs / SLOW / LAB / "server", script)
    result = lab("--part", "loops", programs=programs)
    if result.status == NOT_ALLOWED:
        pytest.skip("no second processor to show it with")
    assert result.status == 1, result.report()
    assert "NOT SEEN: one loop uses" in result.out.decode(), result.report()


def made_up_bench(stage_08, bare, stage_09):
    """A bench that gives these requests per second, with any number of connections."""
    rates = {"08": stage_08, "epoll": bare, "09": stage_09}
    rows = [
        f"{connections} {name} {rate} 1.0 5.0 {stage_09 / rate:.2f}"
        for connections in (1, 10, 100, 1000)
        for name, rate in rates.items()
    ]
    return "#!/bin/sh\ncat <<'END'\n" + "\n".join(rows) + "\nEND\n"


@pytest.mark.parametrize(
    ("rates", "status", "said"),
    [
        ((50000, 100000, 98000), 0, "seen: at 100 connections one thread for all answers 2.0"),
        ((50000, 100000, 52000), 1, "NOT SEEN: at 100 connections"),
        ((50000, 100000, 65000), 1, "NOT SEEN: stage 09 costs little"),
        ((90000, 100000, 98000), NOT_ALLOWED, "too slow to tell: at 100 connections even a bare"),
    ],
)
def test_verdicts_of_the_speed(lab, programs, rates, status, said):
    put_in_place(programs / "tests" / "bench" / "bench", made_up_bench(*rates))
    result = lab("--part", "speed", programs=programs)
    assert result.status == status, result.report()
    assert said in result.out.decode(), result.report()


# ---- the bench ----


def bench(build, *options):
    result = run([build / "tests" / "bench" / "bench", "--build", build, *options])
    assert result.status == 0, result.report()
    return result.out.decode()


def test_the_bench_has_a_row_for_each_server_and_load(build):
    out = bench(
        build, "--only", "07,08,epoll,09", "--rounds", "1", "--round", "0.02", "--idle", "60"
    )
    rows = re.findall(r"(?m)^ +(\d+)  (\S+) +(\d+) +(\d+\.\d+) +(\d+\.\d) +(\d+\.\d\d)(?: |$)", out)
    loads = [(int(connections), name) for connections, name, *_ in rows]
    expected = [(n, name) for n in (1, 10, 100, 1000) for name in ("08", "epoll", "09")]
    assert sorted(loads) == sorted([(1, "07"), *expected]), out
    for connections, name, requests, p99, cpu, ratio in rows:
        # In a closed loop each connection has one request under way: the mean wait is known,
        # and 99 of 100 waits are no shorter than what makes a hundredth of it.
        mean_ms = int(connections) / int(requests) * 1e3
        assert float(p99) > mean_ms / 100, f"{connections} {name}: {out}"
        assert float(cpu) > 0 and (float(ratio) == 1 or name != "09"), out
    idle = re.findall(r"(?m)^ +(\d+)  (08|09) +(\d+) +(-?\d+\.\d) +(\d+)$", out)
    assert [(int(n), name) for n, name, *_ in idle] == [
        (n, name) for name in ("08", "09") for n in (6, 20, 60)
    ], out
    assert [int(threads) for *_, threads in idle if _[1] == "09"] == [1, 1, 1], out


def test_the_bench_goes_without_what_is_not_installed(build, tmp_path):
    (tmp_path / "bin").mkdir()
    command = ["env", f"PATH={tmp_path / 'bin'}", build / "tests" / "bench" / "bench"]
    options = ["--only", "09,node,asyncio", "--rounds", "1", "--round", "0.01", "--idle", "0"]
    result = run([*command, "--build", build, *options])
    assert result.status == 0, result.report()
    assert "Node's net module: not there" in result.out.decode()
    assert "Python's asyncio, protocols: not there" in result.out.decode()


def test_the_bench_without_a_stage_is_a_wrong_command_line(build):
    result = run([build / "tests" / "bench" / "bench", "--only", "epoll"])
    assert result.status == 2, result.report()
    assert "--only epoll" in result.err
