"""The rule of the diffs: stage N is stage N-1 and its idea, and nothing else."""

import difflib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from course import run

ROOT = Path(__file__).resolve().parents[2]
STAGES = sorted(path.parent.name for path in ROOT.glob("[0-9][0-9]-*/server.c"))
PAIRS = list(zip(STAGES, STAGES[1:]))
PROGRAMS = ["server", "client"]


def source(stage, program):
    return (ROOT / stage / f"{program}.c").read_text(encoding="utf-8")


def options(stage, program):
    """The names in the option table, in its order."""
    return re.findall(r'\bOPTION_[A-Z_]+\("([^"]+)"', source(stage, program))


def functions(stage, program):
    return re.findall(r"^(?:static )?(?:\w+ )+\*?(\w+)\([^;{]*\)\n\{", source(stage, program), re.M)


def test_there_are_eight():
    assert [stage[:2] for stage in STAGES] == [f"{number:02}" for number in range(1, 9)]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("before, stage", PAIRS)
def test_hardly_a_line_of_the_stage_before_is_gone(before, stage, program):
    old = source(before, program).splitlines()
    new = source(stage, program).splitlines()
    gone = [line[2:] for line in difflib.ndiff(old, new) if line.startswith("- ")]
    assert len(gone) <= len(old) / 20, (
        f"{stage}/{program}.c lacks {len(gone)} of the {len(old)} lines of {before}; a stage adds. "
        "Reshape the earlier stage so that these can stay:\n" + "\n".join(gone)
    )


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("before, stage", PAIRS)
def test_functions_and_options_keep_their_order(before, stage, program):
    for list_of in (functions, options):
        old, new = list_of(before, program), list_of(stage, program)
        assert old, f"nothing found in {before}/{program}.c"
        assert [name for name in new if name in old] == old


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_mentions_what_a_later_one_brings(stage, program):
    known = {name for which in PROGRAMS for name in options(stage, which)}
    later = {
        name
        for other in STAGES[STAGES.index(stage) + 1 :]
        for which in PROGRAMS
        for name in options(other, which)
    } - known
    for name in later:
        assert f'"{name}"' not in source(stage, program)
        assert f"--{name}" not in source(stage, program)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("stage", STAGES)
def test_help_lists_the_options_of_the_stage_and_the_defaults_of_the_one_before(
    build, stage, program
):
    def described(which):
        result = run([build / which / program, "--help"])
        assert result.status == 0, result.report()
        rows = re.findall(rb"^  --([\w-]+).*\n.*\n      \((.*)\)$", result.out, re.M)
        return {name.decode(): text for name, text in rows}

    found = described(stage)
    assert list(found) == options(stage, program)
    if stage != STAGES[0]:
        before = described(STAGES[STAGES.index(stage) - 1])
        assert {name: found[name] for name in before} == before


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_two_files(stage):
    assert sorted(path.name for path in (ROOT / stage).iterdir()) == ["client.c", "server.c"]


def test_includes_point_one_way():
    for path in [*ROOT.glob("[0-9][0-9]-*/*.c"), *ROOT.glob("common/*.[ch]")]:
        for name in re.findall(r'#include "([^"]+)"', path.read_text(encoding="utf-8")):
            assert re.fullmatch(r"common/\w+\.h", name), f"{path} includes {name}"
    for path in ROOT.glob("common/*.[ch]"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"stage|\b0[1-8]-|chapter", text), f"{path} knows of a stage"


def test_every_part_of_common_has_its_unit_tests():
    for header in ROOT.glob("common/*.h"):
        assert header.with_suffix(".c").exists()
        assert (ROOT / "tests" / "unit" / f"{header.stem}_test.cc").exists()


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_linux_only_is_guarded(stage, tmp_path):
    """Compiles the stage as if the system had none of the options that only Linux has."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("needs a C compiler")
    names = ["USER_TIMEOUT", "SYNCNT", "QUICKACK", "FASTOPEN", "FASTOPEN_CONNECT"]
    lines = ["#include <netinet/tcp.h>", *(f"#undef TCP_{name}" for name in names)]
    elsewhere = tmp_path / "elsewhere.h"
    elsewhere.write_text("\n".join([*lines, "#undef __linux__", ""]), encoding="ascii")
    for program in PROGRAMS:
        command = [compiler, "-std=c11", "-D_GNU_SOURCE", "-I.", "-Wall", "-Werror"]
        command += ["-include", elsewhere, "-fsyntax-only", f"{stage}/{program}.c"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_nothing_that_was_built_is_in_the_way_of_git():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    listed = run(["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "ls-files", "--", "build"])
    assert listed.out == b"", "built files are under version control"
    ignored = run(["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "check-ignore", "build/x"])
    assert ignored.status == 0, "build/ is not in .gitignore"
