"""The checker is checked: by the course's own stages, by its own hints put in, and by servers that
are wrong, whose exact reports are on record in tests/check/wrong/ ('make wrong-servers' writes them
anew)."""

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from course import LIMIT, library, run

ROOT = Path(__file__).resolve().parents[2]
WRONG = ROOT / "tests" / "check" / "wrong"
STAGES = sorted(path.parent.name for path in ROOT.glob("[0-9][0-9]-*/server.c"))


@pytest.fixture
def checker(build):
    program = ROOT / "build" / "tests" / "check" / "check"
    if build != ROOT / "build":
        pytest.skip("the checker is the ordinary one")
    done = subprocess.run(
        ["make", "-s", str(program.relative_to(ROOT))], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture
def check(checker, tmp_path):
    """check(*arguments) runs the checker with a folder of its own for mine/."""

    def run_checker(*arguments, environment=None, limit=15 * LIMIT):
        command = [str(checker), "--mine", str(tmp_path / "mine"), *map(str, arguments)]
        return subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "BUILD": str(tmp_path / "build"), **(environment or {})},
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )

    return run_checker


@pytest.fixture
def private_network(checker):
    if subprocess.run(["unshare", "-Urn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no private network here, and the records are of one")


def steps(checker):
    lines = run([checker, "steps"]).out.decode().splitlines()
    return [line.split("\t") for line in lines]


# The steps, read as requirements.


def test_every_stage_has_its_steps(checker):
    counts = {}
    for step, *_ in steps(checker):
        counts[step[:2]] = counts.get(step[:2], 0) + 1
    least = {"01": 10, "02": 3, "03": 3, "04": 5, "05": 3, "06": 5, "07": 6, "08": 5, "09": 5}
    assert counts.keys() == least.keys()
    short = {stage: counts[stage] for stage in least if counts[stage] < least[stage]}
    assert not short


def heading_anchors(path):
    """The anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_what_a_step_says_to_read_is_there(checker):
    dead = []
    for step, _, read, *_ in steps(checker):
        page, anchor = read.split("#")
        if not (ROOT / page).exists() or anchor not in heading_anchors(ROOT / page):
            dead.append(f"{step}: {read}")
    assert not dead, "\n".join(dead)


def test_every_step_has_two_hints_and_lines(checker):
    for step, name, _, question, pointer in steps(checker):
        assert question and pointer and question != pointer, f"{step} {name}"
        assert "?" in question, f"the first hint of {step} asks"


# The course's own stages.


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_passes_all_steps_up_to_its_own(check, build, stage):
    result = check("check", stage[:2], "--server", f"{build}/{stage}/server -q")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("before, stage", list(zip(STAGES, STAGES[1:])))
def test_the_stage_before_fails_at_the_first_step_of_the_idea(check, build, before, stage):
    if stage.startswith("09"):
        before = [name for name in STAGES if name.startswith("08")][0]
    result = check("check", stage[:2], "--server", f"{build}/{before}/server -q", "--tap")
    first = re.search(r"^not ok \d+ - (\S+)", result.stdout, re.M)
    assert first and first[1] == f"{stage[:2]}.1", result.stdout


# The skeleton, and the hints put in.


def write_answer(checker, folder, step, python):
    """The skeleton with the third hints of all steps up to one."""
    name = "server.py" if python else "server.c"
    text = run([checker, "answer", step, *(["--python"] if python else [])]).out
    (folder / name).write_bytes(text)
    return folder / name


def python_flag(python):
    return ["--python"] if python else []


@pytest.mark.parametrize("python", [False, True], ids=["c", "python"])
def test_the_skeleton_compiles_without_a_warning_and_fails_the_first_step(check, tmp_path, python):
    started = check("start", "01", *python_flag(python))
    assert started.returncode == 0, started.stderr
    result = check("check", "01")
    assert result.returncode == 1
    assert "✗ 1  it listens" in result.stdout
    assert result.stderr == "", "the compiler has something to say about the skeleton"
    (path,) = (tmp_path / "mine" / "01").glob("server.*")
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 45
    assert "common/" not in path.read_text(encoding="utf-8")


def all_steps():
    rows = []
    for path in sorted((ROOT / "tests" / "check").glob("0*.c")):
        text = path.read_text(encoding="utf-8").split("const struct step steps_")[1]
        rows += [f"{text[:2]}.{i + 1}" for i in range(len(re.findall(r"\bREAD\b", text)))]
    return rows


def last_steps():
    rows = all_steps()
    return [a for a, b in zip(rows, [*rows[1:], "end"]) if a[:2] != b[:2]]


def check_answer(checker, check, folder, step, python, *more):
    path = write_answer(checker, folder, step, python)
    result = check("check", step[:2], "--source", path, "--all", "--tap", *more)
    assert result.stderr == "", result.stderr
    outcomes = re.findall(r"^(ok|not ok) \d+ - (\d\d)\.(\d+) ", result.stdout, re.M)
    failed = [
        f"{stage}.{number}"
        for outcome, stage, number in outcomes
        if outcome == "not ok" and (stage < step[:2] or int(number) <= int(step[3:]))
    ]
    assert outcomes and not failed, result.stdout


@pytest.mark.parametrize("step", all_steps())
def test_the_hints_up_to_a_step_make_it_pass(checker, check, tmp_path, step):
    path = write_answer(checker, tmp_path, step, False)
    only = ["--from", step[:2], "--only", step[3:]]
    result = check("check", step[:2], "--source", path, *only)
    assert result.stderr == "", result.stderr
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("step", last_steps()[:-2])
@pytest.mark.parametrize("python", [False, True], ids=["c", "python"])
def test_the_hints_up_to_a_stage_make_it_pass(checker, check, tmp_path, step, python):
    check_answer(checker, check, tmp_path, step, python, "--from", step[:2])


@pytest.mark.parametrize(
    "step, python", [("08.5", False), ("09.5", False), ("09.5", True)], ids=["08", "09", "09-python"]
)
def test_all_hints_put_in_are_a_server_that_passes_everything(
    checker, check, tmp_path, step, python
):
    check_answer(checker, check, tmp_path, step, python)


@pytest.mark.parametrize("python", [False, True], ids=["c", "python"])
def test_the_third_hint_shows_the_lines(checker, check, tmp_path, python):
    """Failing at a step, the third hint has the lines that the next moment has."""
    check("start", "01", *python_flag(python))
    for _ in range(3):
        assert check("check", "01").returncode == 1
        said = [check("hint", "01").stdout for _ in range(4)]
        assert "hint 1 of 3" in said[0] and "hint 2 of 3" in said[1] and "hint 3 of 3" in said[2]
        assert said[3] == said[2], "there is no fourth"
        step = said[2].split()[0]
        shown = re.findall(r"^  \+ (.*)$", said[2], re.M)
        assert shown, said[2]
        path = write_answer(checker, tmp_path / "mine" / "01", step, python)
        lines = path.read_text(encoding="utf-8").splitlines()
        assert [line for line in shown if line not in lines] == []


# start, hint, compare, progress.


def test_start_never_overwrites(check, tmp_path):
    check("start", "01")
    path = tmp_path / "mine" / "01" / "server.c"
    path.write_text("mine\n", encoding="ascii")
    result = check("start", "01")
    assert "is there already and is kept" in result.stdout and str(path) in result.stdout
    assert path.read_text(encoding="ascii") == "mine\n"


def test_start_names_no_step_of_a_file_that_was_changed_since(check, tmp_path):
    check("start")
    check("check")
    (tmp_path / "mine" / "01" / "server.c").write_text("int main(void) {\n", encoding="ascii")
    result = check("start")
    assert "does not pass all its steps yet. Go on with: WATCH=1 make check-01" in result.stdout
    assert "server.c:1:" in result.stdout + result.stderr


@pytest.mark.parametrize("python", [False, True], ids=["c", "python"])
def test_start_goes_on_with_the_learners_own_stage(checker, check, tmp_path, python):
    check("start", *python_flag(python))
    result = check("start", *python_flag(python))
    assert "does not pass all its steps yet (01.1 fails)" in result.stdout
    write_answer(checker, tmp_path / "mine" / "01", "01.10", python)
    result = check("start", *python_flag(python))
    assert "is your own stage 01, which now has its options from given" in result.stdout, result.stdout
    name = "server.py" if python else "server.c"
    second = tmp_path / "mine" / "02" / name
    assert second.exists() and (second.parent / f"given.{'py' if python else 'h'}").exists()
    result = check("check")
    assert "✗ 1  it can be started again at once" in result.stdout, result.stdout + result.stderr
    write_answer(checker, second.parent, "02.3", python)
    assert check("check", "02").returncode == 0
    assert "is your own stage 02" in check("start", *python_flag(python)).stdout
    assert (tmp_path / "mine" / "03" / name).read_bytes() == second.read_bytes()


def test_start_says_what_to_do_where_given_cannot_be_put_in(checker, check, tmp_path):
    check("start", "01")
    path = write_answer(checker, tmp_path / "mine" / "01", "01.10", False)
    text = path.read_text(encoding="ascii")
    path.write_text(text.replace("if (argc == 3 && ", "if (argc > 2 && "), encoding="ascii")
    result = check("start", "02")
    assert "call read_options(argc, argv) first in main" in " ".join(result.stdout.split())


@pytest.mark.parametrize("before, stage", list(zip(STAGES, STAGES[1:])))
def test_start_without_an_own_stage_takes_the_courses(check, tmp_path, before, stage):
    if stage.startswith("09"):
        before = [name for name in STAGES if name.startswith("07")][0]
    result = check("start", stage[:2])
    assert f"is the course's {before}/server.c, since there is none of yours" in result.stdout
    # It compiles, and knows the new options: what fails is the idea.
    result = check("check", stage[:2], environment={"BUILD": str(ROOT / "build")})
    assert result.stderr == "", result.stderr
    assert re.search(r"^  ✗ (\d|08\.1)  ", result.stdout, re.M), result.stdout
    assert "no such option" not in result.stdout


def test_a_hint_before_any_check_says_what_comes_first(check):
    assert "First: make check\n" in check("hint").stdout
    check("start", "01")
    hint = check("hint", "01")
    assert hint.returncode == 0 and "First: make check-01\n" in hint.stdout


def test_progress_is_of_the_last_checks(checker, check, tmp_path):
    assert "Next: make start-01" in check("progress").stdout
    check("start", "01")
    write_answer(checker, tmp_path / "mine" / "01", "01.4", False)
    check("check")
    progress = check("progress").stdout
    assert "01  an echo, one client after another" in progress
    assert "Next: make check-01" in progress
    write_answer(checker, tmp_path / "mine" / "01", "01.10", False)
    assert check("check").returncode == 0
    progress = check("progress").stdout
    assert "✓✓✓✓✓✓✓✓✓✓" in progress and "10 of 10" in progress and "Next: make start-02" in progress


def test_compare_shows_both_side_by_side(checker, check, tmp_path):
    check("start", "01")
    write_answer(checker, tmp_path / "mine" / "01", "01.10", False)
    result = check("compare", "01")
    assert result.returncode == 0
    assert "01-basic/server.c on the right" in result.stdout
    assert "int main(int argc, char **argv)" in result.stdout


def test_a_compile_error_is_shown_with_the_files_own_lines(check, tmp_path):
    check("start", "01")
    path = tmp_path / "mine" / "01" / "server.c"
    lines = path.read_text(encoding="ascii").splitlines()
    lines.insert(lines.index("int main(int argc, char **argv)") + 1, "wrong")
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    number = lines.index("wrong") + 1
    result = check("check")
    assert result.returncode == 1
    assert f"{path}:{number}:" in result.stderr
    assert "does not compile" in result.stdout


def test_watch_checks_again_at_each_save(checker, tmp_path):
    environment = {**os.environ, "BUILD": str(tmp_path / "build")}
    base = [str(checker), "--mine", str(tmp_path / "mine")]
    subprocess.run([*base, "start", "01"], cwd=ROOT, env=environment, check=True)
    output = tmp_path / "watch"
    with open(output, "wb") as file:
        watch = subprocess.Popen(
            [*base, "check", "01", "--watch"], cwd=ROOT, env=environment, stdout=file
        )
    try:
        from course import ENOUGH, wait_until

        seen = lambda text: text in output.read_text(encoding="utf-8")
        wait_until(lambda: seen("0 of 10 steps\n\nwatching"), "a first check", ENOUGH)
        write_answer(checker, tmp_path / "mine" / "01", "01.10", False)
        wait_until(lambda: seen("10 of 10 steps"), "a check after the file was saved", ENOUGH)
    finally:
        watch.send_signal(2)
        assert watch.wait(20) == -2


# For machines that grade.


def test_junit_and_tap(checker, check, tmp_path):
    source = write_answer(checker, tmp_path, "01.4", False)
    text = source.read_text(encoding="ascii").replace("MSG_NOSIGNAL", "0")
    text = text.replace("while ((received =", "if ((received =")
    source.write_text(text, encoding="ascii")
    file = tmp_path / "result.xml"
    result = check("check", "01", "--source", source, "--tap", "--junit", file)
    assert result.returncode == 1
    assert result.stdout.startswith("TAP version 13\n1..10\nok 1 - 01.1 ")
    assert "not ok 3 - 01.3 " in result.stdout and "# not reached" in result.stdout
    suite = ElementTree.parse(file).getroot()
    cases = {case.get("name").split()[0]: case for case in suite.iter("testcase")}
    assert len(cases) == 10
    assert cases["01.2"].find("failure") is None and cases["01.2"].find("skipped") is None
    assert cases["01.3"].find("failure") is not None
    assert cases["01.4"].find("skipped").get("message") == "not reached"


def test_a_folder_of_submissions_in_one_table(tmp_path, checker):
    folder = tmp_path / "submissions"
    for name, step in [("anna", "02.3"), ("ben", "01.10"), ("cem", "01.2")]:
        (folder / name).mkdir(parents=True)
        write_answer(checker, folder / name, step, False)
    shutil.copy(WRONG / "01-decodes.py", folder / "dora.py")
    done = subprocess.run(
        ["make", "-s", "check-all", f"DIR={folder}", "STAGE=02", f"BUILD_FOR_ALL={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    assert "13/13" in lines["anna"], done.stdout + done.stderr
    assert "02.1" in lines["ben"] and "01.3" in lines["cem"] and "01.2" in lines["dora"]


# A server of one's own may refuse an option that its stage does not have: the step that asks for one
# client at a time then starts it again without.


def test_a_server_that_refuses_what_it_does_not_know_is_looked_at_all_the_same(check, build):
    server = f"{build}/{STAGES[5]}/server -q --nodelay off"
    result = check("check", "06", "--from", "06", "--server", server)
    assert result.returncode == 1, result.stdout
    assert "✗ 4  two small answers do not wait for each other" in result.stdout
    assert "the second answer came about 40 ms late" in result.stdout


# Where the system does not allow a private network.


def test_without_a_private_network_steps_are_skipped_by_name(check, build):
    stage = STAGES[5]
    result = check(
        "check", "06", "--server", f"{build}/{stage}/server -q", environment={"PRIVATE": "0"}
    )
    assert result.returncode == 0, result.stdout
    assert "- 6  --fastopen 8 takes data" in result.stdout
    # Keep-alive takes a packet filter, which without a network of its own only root may set.
    skipped = int(re.search(r"of 31 steps, (\d+) skipped", result.stdout)[1])
    too_busy = len(re.findall(r"skipped\s+this machine is too busy", result.stdout))
    assert skipped - too_busy in (1, 2), result.stdout


def test_without_a_private_network_its_port_is_none_that_the_kernel_gives_out(check, tmp_path):
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()[0])
    if lowest < 32000:
        pytest.skip(f"here the kernel gives out ports from {lowest} on")
    told = tmp_path / "told"
    server = f"sh -c 'echo $2 >{told}; exec sleep 60' sh"
    assert check("check", "01", "--server", server, environment={"PRIVATE": "0"}).returncode == 1
    assert 1024 < int(told.read_text("ascii")) < lowest


# A kernel without sock_diag(7).
HAS_NO_NETLINK = """
#include <errno.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int socket(int family, int type, int protocol)
{
    if (family == AF_NETLINK) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    return (int)syscall(SYS_socket, family, type, protocol);
}
"""


@pytest.mark.parametrize("number", ["03", "06"])
def test_without_netlink_the_tables_of_proc_do(check, build, tmp_path, number):
    (stage,) = (stage for stage in STAGES if stage.startswith(number))
    result = check(
        "check",
        number,
        "--from",
        number,
        "--server",
        f"{build}/{stage}/server -q",
        environment={"LD_PRELOAD": str(library(tmp_path, HAS_NO_NETLINK)), "PRIVATE": "0"},
    )
    assert result.returncode == 0, result.stdout
    assert "✓ 2" in result.stdout


# Wrong servers, and their reports.


def wrong_servers():
    return sorted(p.name for p in WRONG.iterdir() if p.suffix in (".c", ".py", ".diff"))


def source_of(name, folder, checker):
    """The program itself, or the answer of a step with the lines of a .diff put in."""
    if not name.endswith(".diff"):
        return WRONG / name
    text = (WRONG / name).read_text(encoding="utf-8")
    first = text.splitlines()[0]
    source = write_answer(checker, folder, first.split()[1], name.endswith(".py.diff"))
    answer = source.read_text(encoding="utf-8")
    hunks = re.findall(r"((?:^-.*\n)+)((?:^\+.*\n)*)", text, re.M)
    assert hunks, f"{name} has no change"
    for old, new in hunks:
        old, new = (re.sub(r"^[-+]", "", part, flags=re.M) for part in (old, new))
        assert answer.count(old) == 1, f"{name}: this should be in the answer once:\n{old}"
        answer = answer.replace(old, new)
    source.write_text(answer, encoding="utf-8")
    return source


def mask(text):
    """What is another from run to run: process ids, paths, measured numbers."""
    text = text.replace(str(ROOT) + "/", "")
    text = re.sub(r"\b\d+ (KiB|threads|descriptors|segments)\b", r"N \1", text)
    text = re.sub(r"\d+ came back", "N came back", text)
    text = re.sub(r"missing is\s+byte \d+", "missing is byte N", text)
    text = re.sub(r"(read nothing \(--timeout\s+)[013.]+\)", r"\1N)", text)
    text = re.sub(r"\d+(\s+bytes\s+unsent\s+and\s+)\d+", r"N\1N", text)
    text = re.sub(r"(window of|no more than) \d{4,} bytes", r"\1 N bytes", text)
    return re.sub(r"with the option, \d+ without", "with the option, N without", text)


def unwrapped(report):
    """Without the breaks within a sentence: where they are depends on how long a number was."""
    return re.sub(r"\n {17}", " ", report)


def test_there_are_enough_wrong_servers():
    names = wrong_servers()
    assert len(names) >= 24
    assert {name[:2] for name in names} == {stage[:2] for stage in STAGES}
    assert len([name for name in names if ".py" in name]) >= 5


@pytest.mark.parametrize("name", wrong_servers())
def test_a_wrong_server_is_told_its_mistake(checker, check, tmp_path, private_network, name):
    source = source_of(name, tmp_path, checker)
    record = WRONG / f"{name.removesuffix('.diff')}.txt"
    # Where an earlier step tells it first, always or on a fast machine, its first line ends with
    # --from: the step that it is there for is asked.
    first = (WRONG / name).read_text(encoding="utf-8").splitlines()[0]
    begin = re.search(r"(--from) (\d\d)$", first)
    options = begin.groups() if begin else ()
    result = check("check", name[:2], *options, "--source", source, "--name", name)
    report = mask(result.stdout)
    assert result.returncode == 1, report
    if os.environ.get("RECORD") == "1":
        record.write_text(report, encoding="utf-8")
    recorded = record.read_text(encoding="utf-8")
    assert unwrapped(report) == unwrapped(recorded), f"{report}\nstderr:\n{result.stderr}"
    assert " so " in report or "does not compile" in report


if __name__ == "__main__":
    sys.exit("run it with pytest: sh tests/pytest.sh tests/integration/test_check.py")
