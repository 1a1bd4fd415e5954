"""The documents: what is generated in them is what would be generated now, and links lead on."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from course import run

ROOT = Path(__file__).resolve().parents[2]
GENERATE = ROOT / "docs" / "generate.py"
CHAPTERS = sorted(ROOT.glob("docs/[0-9][0-9]-*.md"))


@pytest.fixture
def only_ordinary_programs(build):
    if build != ROOT / "build":
        pytest.skip("the documents show the ordinary programs")


def test_nothing_is_stale_or_dead(only_ordinary_programs):
    result = run([sys.executable, "-B", GENERATE, "--check"], limit=600)
    assert result.status == 0, result.err


def test_there_is_a_chapter_for_each_stage():
    stages = [path.parent.name for path in sorted(ROOT.glob("[0-9][0-9]-*/server.c"))]
    assert [path.stem for path in CHAPTERS] == stages


PART = ["The question", "The idea", "The lines that matter", "Guess, then see", "Why"]
REST = ["Write it", "Exercises", "Where it bites", "Sources"]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_has_all_its_sections_in_order(path):
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.S | re.M)
    unfolded = re.sub(r"<details>.*?</details>", "", text, flags=re.S)
    sections = re.split(r"^## ", unfolded, flags=re.M)[1:]
    parts = [section for section in sections if "\n### The question\n" in section]
    for part in parts:
        found = [heading for heading in re.findall(r"^### (.*)$", part, re.M) if heading in PART]
        assert found in (PART, [heading for heading in PART if heading != "The lines that matter"])
        assert "\n### Where it bites\n" in part
    expected = [] if parts else list(PART)
    if path.stem.startswith("01"):
        expected.append("The program")
    expected += [heading for heading in REST if not parts or heading != "Where it bites"]
    rest = [section.splitlines()[0] for section in sections if section not in parts]
    assert rest == expected
    exercises = text[text.index("\n## Exercises\n") :]
    exercises = exercises[: exercises.index("\n## ", 1)]
    numbers = re.findall(r"^\*\*(\d)\.\*\*", exercises, re.M)
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    assert 4 <= len(numbers) <= 6
    assert len(numbers) == exercises.count("<details><summary>Answer</summary>")
    assert text.count("<details>") == text.count("</details>")


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_shows_all_that_its_lab_finds(path):
    number = path.stem[:2]
    source = (ROOT / "tests" / "labs" / f"{path.stem}.c").read_text(encoding="utf-8")
    parts = re.findall(r'\.name = "([\w-]+)",\s*\.question', source)
    assert parts
    shown = re.findall(rf"<!-- lab {number} ([\w-]+) -->", path.read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(parts)


@pytest.fixture
def copy(tmp_path, only_ordinary_programs):
    """The documents and what they show, to spoil."""
    listed = subprocess.run(
        ["find", "docs", "common", "tests", ".ci", "README.md", "Makefile", *STAGES, "-type", "f"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in listed.stdout.split():
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    for name in ("LICENSE", "LICENSE-docs"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    # Only what the sources decide: the commands would take too long for each fault.
    for path in [tmp_path / "README.md", *tmp_path.glob("docs/*.md")]:
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"<!-- (try|times)\b.*?<!-- end -->", "", text, flags=re.S)
        path.write_text(text, encoding="utf-8")
    return tmp_path


STAGES = [path.stem for path in CHAPTERS]


def check(folder):
    return run([sys.executable, "-B", folder / "docs" / "generate.py", "--check"])


def change(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_copy_is_sound(copy):
    result = check(copy)
    assert result.status == 0, result.err


@pytest.mark.parametrize(
    ("path", "old", "new", "says"),
    [
        ("02-reuseaddr/server.c", "Both before bind", "Both before it", "diff 02"),
        ("02-reuseaddr/server.c", "static bool reuse_port", "static  bool reuse_port", "diff 02"),
        ("01-basic/server.c", "static int answer", "static  int answer", "source 01"),
        ("01-basic/server.c", "/* Prints the", "/* New. */\n\n/* Prints the", "not show '/* New. */'"),
        ("docs/03-listen-queue.md", "<!-- diff 03 server 4 -->", "<!-- diff 03 server 3 -->", "4"),
        ("docs/03-listen-queue.md", "](04-timeout.md)", "](04-time.md)", "04-time.md"),
        ("docs/02-reuseaddr.md", "](03-listen-queue.md)", "](03-listen-queue.md#no)", "#no"),
        ("docs/exercises/03.diff", "sleep(5)", "sleep(3)", "patch 03"),
        ("docs/01-basic.md", "pictures/01-half-close.svg", "pictures/none.svg", "none.svg"),
        ("02-reuseaddr/server.c", "SO_REUSEADDR, reuse_addr", "SO_REUSEADDR, true", "lines 02"),
        ("docs/02-reuseaddr.md", "## Why\n", "## Why\n\n" + "word " * 1300, "too long"),
        ("docs/02-reuseaddr.md", "## Why\n", "## Why\n\n```\n" + "x\n" * 90 + "```\n", "too long"),
        ("docs/02-reuseaddr.md", "## Why\n", f"```\n$ {'x' * 79}\n```\n\n## Why\n", "81 columns"),
        ("docs/01-basic.md", "## Why\n", "## Why\n\nA TIME_WAIT.\n", "'TIME_WAIT' is of chapter 02"),
        ("docs/glossary.md", "## backlog\n", "## backlock\n", "says the glossary"),
    ],
)
def test_a_fault_is_found(copy, path, old, new, says):
    change(copy / path, old, new)
    result = check(copy)
    assert result.status == 1, "nothing was found"
    assert says in result.err, result.err


def test_a_copy_to_try_is_the_learners_until_a_patch_is_asked_for(copy):
    def make(*arguments):
        command = ["make", "-s", "-C", copy, "try-02", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return (copy / "build" / "try" / "02" / "server.c").read_text(encoding="utf-8")

    stage = (copy / "02-reuseaddr" / "server.c").read_text(encoding="utf-8")
    assert make() == stage
    change(copy / "build" / "try" / "02" / "server.c", "An echo server", "My server")
    assert "My server" in make()
    assert (copy / "build" / "try" / "02" / "server").exists()
    patched = make("PATCH=docs/exercises/02.diff")
    assert patched != stage and "My server" not in patched
    assert (copy / "02-reuseaddr" / "server.c").read_text(encoding="utf-8") == stage
