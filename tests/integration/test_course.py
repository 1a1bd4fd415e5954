"""The rule of the diffs: stage N is stage N-1 and its idea, and nothing else."""

import difflib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from course import run

ROOT = Path(__file__).resolve().parents[2]
STAGES = sorted(path.parent.name for path in ROOT.glob("[0-9][0-9]-*/server.c"))
# 08 and 09 are two answers to what 07 leaves open, so both are held against 07.
BEFORE = {**dict(zip(STAGES[1:], STAGES)), "09-event-loop": "07-binary-struct"}
PAIRS = [(BEFORE[stage], stage) for stage in STAGES[1:]]
PROGRAMS = ["server", "client"]


def source(stage, program):
    return (ROOT / stage / f"{program}.c").read_text(encoding="utf-8")


def options(stage, program):
    """The names in the option table, in its order."""
    return re.findall(r'\bOPTION_[A-Z_]+\("([^"]+)"', source(stage, program))


def functions(stage, program):
    return re.findall(r"^(?:static )?(?:\w+ )+\*?(\w+)\([^;{]*\)\n\{", source(stage, program), re.M)


def help_of(build, stage, program):
    """{option: its default} as --help lists them, in that order, and the whole text."""
    result = run([build / stage / program, "--help"])
    assert result.status == 0, result.report()
    rows = re.findall(rb"^  --([\w-]+).*\n.*\n      \((.*)\)$", result.out, re.M)
    return {name.decode(): text.decode() for name, text in rows}, result.out.decode()


def brought_later(stage):
    """The options that a stage after this one brings, of the server or of the client, and that
    neither program has here."""
    known = {name for program in PROGRAMS for name in options(stage, program)}
    later = STAGES[STAGES.index(stage) + 1 :]
    return {name for s in later for program in PROGRAMS for name in options(s, program)} - known


def mentioned(names, text):
    """Those of the names that stand in a text as an option or as a string of their own."""
    return [name for name in sorted(names) if re.search(rf'--{name}(?![\w-])|"{name}"', text)]


def compiler():
    """The C compiler and the dialect that the Makefile asks of it, without its warnings."""
    found = next(filter(shutil.which, [os.environ.get("CC", "cc"), "cc", "gcc", "clang"]), None)
    if found is None:
        pytest.skip("needs a C compiler")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    dialect = re.search(r"^C_DIALECT := (.*)", makefile, re.M)[1]
    return [found, *re.findall(r"-(?:std=|D)\S+", dialect), "-I."]


# Stage against stage.


def test_there_are_nine():
    assert [stage[:2] for stage in STAGES] == [f"{number:02}" for number in range(1, 10)]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("before, stage", PAIRS)
def test_hardly_a_line_of_the_stage_before_is_gone(before, stage, program):
    old = source(before, program).splitlines()
    new = source(stage, program).splitlines()
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    gone = [
        f"{number + 1:4} {old[number]}"
        for tag, start, end, _, _ in matcher.get_opcodes()
        if tag in ("delete", "replace")
        for number in range(start, end)
    ]
    share, words = (5, "a fifth") if stage[:2] == "09" else (20, "a twentieth")
    assert len(gone) <= len(old) / share, (
        f"{stage}/{program}.c lacks {len(gone)} of the {len(old)} lines of {before}, more than "
        f"{words}; a stage adds. Reshape the earlier stage so that these can stay:\n"
        + "\n".join(gone)
    )


def test_the_client_of_09_is_that_of_08():
    assert source("09-event-loop", "client") == source("08-threaded", "client"), "carry the change"


# The lines of stage 01, which a learner keeps in the head, and those that a later one may add.
LINES = {"server": 110, "client": 120}
ADDED = {"02": 16, "03": 25, "04": 36, "05": 14, "06": 46, "07": 75, "08": 95, "09": 230}
ALL_OF_08 = 370


@pytest.mark.parametrize("program", PROGRAMS)
def test_stage_01_can_be_kept_in_the_head(program):
    lines = len(source(STAGES[0], program).splitlines())
    assert lines <= LINES[program], f"{STAGES[0]}/{program}.c has {lines} lines"


@pytest.mark.parametrize("before, stage", PAIRS)
def test_a_stage_adds_its_idea_and_no_more(before, stage):
    old = source(before, "server").splitlines()
    new = source(stage, "server").splitlines()
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    added = sum(end - start for tag, _, _, start, end in matcher.get_opcodes() if tag != "equal")
    most = ADDED[stage[:2]]
    assert added <= most, f"{stage}/server.c adds {added} lines, and {most} are enough"
    if stage[:2] == "08":
        assert len(new) <= ALL_OF_08, f"{stage}/server.c has {len(new)} lines"


@pytest.mark.parametrize("stage", STAGES[:7])
def test_up_to_07_a_server_is_one_thread_and_ends_where_it_stands(build, stage):
    later = re.findall(r"\b(?:stop_\w+|pthread_\w+|grace)\b", source(stage, "server"))
    assert not later, f"{stage}/server.c has what belongs to 08: {later}"


@pytest.mark.parametrize("list_of", [functions, options])
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("before, stage", PAIRS)
def test_functions_and_options_keep_their_order(before, stage, program, list_of):
    old, new = list_of(before, program), list_of(stage, program)
    assert old, f"no {list_of.__name__} found in {before}/{program}.c"
    assert [name for name in new if name in old] == old, f"{before}/{program}.c, then {stage}"


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("stage", STAGES[:-1])
def test_no_stage_mentions_an_option_of_a_later_one(build, stage, program):
    later = brought_later(stage)
    assert later, "every stage but the last has something to come"
    _, text = help_of(build, stage, program)
    found = mentioned(later, source(stage, program)) + mentioned(later, text)
    assert not found, f"{stage}/{program} speaks of what only a later stage brings: {found}"


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("stage", STAGES)
def test_help_lists_the_options_with_the_defaults_of_the_stage_before(build, stage, program):
    defaults, _ = help_of(build, stage, program)
    assert list(defaults) == options(stage, program)
    if stage != STAGES[0]:
        before, _ = help_of(build, BEFORE[stage], program)
        assert {name: defaults.get(name) for name in before} == before


# A change that is carried through the stages.


@pytest.fixture
def checkout(tmp_path):
    """A checkout of the stages alone; commands are run in it."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    for stage in STAGES:
        shutil.copytree(ROOT / stage, tmp_path / stage)
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "carry.sh", tmp_path / "tests")
    author = ["-c", "user.name=a learner", "-c", "user.email=learner@example.org"]
    for words in (["init", "-q"], ["add", "."], [*author, "commit", "-q", "-m", "as it was"]):
        assert run(["git", "-C", tmp_path, *words]).status == 0
    return tmp_path


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} in {path}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def carry(checkout, number):
    command = ["sh", "tests/carry.sh", number]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


def test_a_change_is_carried_to_the_last_stage(checkout):
    for program in PROGRAMS:
        old, new = f'OPTION_INT("port", &port, 0, 65535, "TCP port', "OPTION_INT_CARRIED("
        edit(checkout / STAGES[2] / f"{program}.c", old, new)
    done = carry(checkout, "03")
    assert done.returncode == 0, done
    for stage in STAGES:
        for program in PROGRAMS:
            text = (checkout / stage / f"{program}.c").read_text(encoding="utf-8")
            assert ("OPTION_INT_CARRIED(" in text) == (stage >= STAGES[2]), f"{stage}/{program}.c"
            assert (f"carried   {stage}/{program}.c" in done.stdout) == (stage > STAGES[2])


def test_a_change_that_conflicts_is_named_and_left_marked(checkout):
    """Stage 04 has changed what stage 03 changes now; 05 and the others have that too."""
    edit(checkout / STAGES[2] / "server.c", "answer(client)).text", "answer(client)).words")
    done = carry(checkout, "03")
    assert done.returncode == 1, done
    server = checkout / STAGES[3] / "server.c"
    lines = server.read_text(encoding="utf-8").splitlines()
    place = lines.index(f"<<<<<<< {STAGES[3]}") + 1
    assert f"CONFLICT  {STAGES[3]}/server.c:{place}" in done.stdout
    assert f">>>>>>> {STAGES[2]}, now" in lines


def test_nothing_to_carry(checkout):
    done = carry(checkout, "03")
    assert done.returncode == 0 and "nothing to carry" in done.stdout, done
    assert carry(checkout, "00").returncode == 2
    assert run(["git", "-C", checkout, "diff", "--quiet"]).status == 0


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("stage", STAGES)
def test_help_fits_a_terminal(build, stage, program):
    _, text = help_of(build, stage, program)
    lines = text.splitlines()[1:]  # the first has the path, as it was typed
    assert not [line for line in lines if len(line) > 80]


def test_the_list_of_commands_fits_a_terminal():
    lines = run(["make", "-C", ROOT, "--no-print-directory", "help"]).out.decode().splitlines()
    assert len(lines) > 20 and not [line for line in lines if len(line) > 80]


# The house.


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_two_files(stage):
    assert sorted(path.name for path in (ROOT / stage).iterdir()) == ["client.c", "server.c"]


def test_includes_point_one_way():
    files = [*ROOT.glob("[0-9][0-9]-*/*.c"), *ROOT.glob("common/*.[ch]")]
    for path in files:
        text = path.read_text(encoding="utf-8")
        for bracket, name in re.findall(r'^\s*#\s*include\s*([<"])([^>"]+)', text, re.M):
            if bracket == '"':
                assert re.fullmatch(r"common/\w+\.h", name), f"{path} includes {name}"
            assert bracket == '"' or not (ROOT / name).exists(), f"{path} includes <{name}>"


def test_common_knows_no_stage():
    for path in ROOT.glob("common/*.[ch]"):
        found = re.findall(r"stage|\b0[1-8]-\w+|chapter", path.read_text(encoding="utf-8"), re.I)
        assert not found, f"{path} knows of a stage: {found}"


def test_every_part_of_common_has_its_unit_tests():
    headers = list(ROOT.glob("common/*.h"))
    assert headers
    for header in headers:
        assert header.with_suffix(".c").exists()
        assert (ROOT / "tests" / "unit" / f"{header.stem}_test.cc").exists()


@pytest.mark.parametrize("folder", [*STAGES, "common"])
def test_what_is_linux_only_is_guarded(folder, tmp_path):
    """Compiles as if the system were not Linux, and had none of the options of its TCP."""
    names = ["USER_TIMEOUT", "SYNCNT", "KEEPIDLE", "QUICKACK", "FASTOPEN", "FASTOPEN_CONNECT"]
    # Headers that are found first. Included from the command line, a system header would come
    # before a file can say which interfaces it wants, as common/log.c does.
    for header, lines in {
        "netinet/tcp.h": ["#include_next <netinet/tcp.h>", *(f"#undef TCP_{n}" for n in names)],
        "sys/prctl.h": ["#error only Linux has this"],
    }.items():
        (tmp_path / header).parent.mkdir()
        (tmp_path / header).write_text("\n".join([*lines, ""]), encoding="ascii")
    command = [*compiler(), f"-I{tmp_path}", "-U__linux__", "-Wall", "-Werror", "-fsyntax-only"]
    command += sorted((ROOT / folder).glob("*.c"))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def git(*arguments):
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    # The checkout may be another user's; git asks to be told that this is no mistake.
    result = run(["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, *arguments])
    if result.status == 128:
        pytest.skip(f"git cannot read the checkout: {result.err}")
    return result


def test_nothing_that_was_built_is_in_the_way_of_git():
    built = re.compile(r"(^|/)(build|__pycache__|\.pytest_cache|\.hypothesis)/|\.(o|d|pyc|xml)$")
    # Under version control, or about to be. What somebody has built beside the course is theirs.
    ours = ["--others", "--exclude-standard", *STAGES, "common", "tests", "build"]
    for listing in (["ls-files"], ["ls-files", *ours]):
        found = [name for name in git(*listing).out.decode().split("\n") if built.search(name)]
        assert not found, f"'git {' '.join(listing)}' lists what was built: {found}"
    assert git("check-ignore", "build/x").status == 0, "build/ is not in .gitignore"
