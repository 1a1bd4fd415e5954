#!/usr/bin/env python3
"""Writes the generated parts of the documents, or checks them.

    generate.py           writes them; needs build/ and the results of 'make labs'
    generate.py --check   fails where one is stale, or a link or an anchor is dead

A generated part stands between two comments, the first of which says what it is:

    <!-- diff 03 server 2-4 -->  hunks of the difference between a stage's program and the one
                                 before it; a chapter has to show each hunk once
    <!-- source 01 server echo -->  a function of a program, with its comment
    <!-- patch 04 -->            docs/exercises/04.diff, an answer in code
    <!-- try ... -->             commands, one in a line, and what they print; one that begins
                                 with '&' stays in the background, with '&-' without what it
                                 logs at first; 'log' is what a server has logged since then,
                                 and 'stop' stops it
    <!-- lab 03 backlog -->      what a part of a lab found: table, verdict, pictures
    <!-- tour -->                the table at the end of 'make tour'
    <!-- stages -->              the table of stages
    <!-- machine -->             where all this was measured
    <!-- end -->

What the sources alone decide is checked word for word. What commands print is checked for its
shape, on a system like the one where it was recorded: numbers, bytes, and how often a line comes
again are left out of the comparison. What the labs find is held against these documents by the
tests of the labs.
"""

import contextlib
import difflib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LABS = ROOT / "build" / "labs"
STAGES = sorted(path.parent.name for path in ROOT.glob("[0-9][0-9]-*/server.c"))
PART = re.compile(r"(<!-- (diff|source|patch|try|lab|tour|stages|machine)\b(.*?)-->\n)(.*?)(<!-- end -->)", re.S)
LIMIT = 20  # seconds, more than anything that is run here takes


class Failure(Exception):
    """What is wrong with a document, in words."""


# ---- differences ----


def hunks(stage, program):
    """The hunks of the difference to the stage before, each a list of lines."""
    before = STAGES[STAGES.index(stage) - 1]
    old, new = ((ROOT / name / f"{program}.c").read_text().splitlines() for name in (before, stage))
    found = []
    for line in list(difflib.unified_diff(old, new, n=3, lineterm=""))[2:]:
        if line.startswith("@@"):
            found.append([])
        found[-1].append(line)
    return found


def stage_of(number):
    return next(stage for stage in STAGES if stage.startswith(number))


def range_of(words):
    """(stage, program, first, last) of 'NN PROGRAM FIRST-LAST'."""
    number, program, numbers = words.split()
    first, _, last = numbers.partition("-")
    return stage_of(number), program, int(first), int(last or first)


def make_diff(words):
    stage, program, first, last = range_of(words)
    found = hunks(stage, program)
    if not 1 <= first <= last <= len(found):
        raise Failure(f"diff {words}: {stage}/{program}.c has {len(found)} hunks")
    return fence("diff", "\n".join(line for hunk in found[first - 1 : last] for line in hunk))


def missing_hunks(text):
    """The hunks that a document which shows some of a stage's does not show just once."""
    shown = {}
    for part in PART.finditer(text):
        if part[2] == "diff":
            stage, program, first, last = range_of(part[3])
            shown.setdefault(stage, []).extend((program, i) for i in range(first, last + 1))
    for stage, found in shown.items():
        for program in ("server", "client"):
            for number in range(1, len(hunks(stage, program)) + 1):
                if found.count((program, number)) != 1:
                    times = found.count((program, number))
                    yield f"diff {stage[:2]} {program} {number} is shown {times} times, not once"


def make_source(words):
    number, program, function = words.split()
    lines = (ROOT / stage_of(number) / f"{program}.c").read_text().splitlines()
    first = next(
        (i for i, line in enumerate(lines) if re.match(rf"\w.*\b{function}\(.*[^;]$", line)), None
    )
    if first is None:
        raise Failure(f"source {words}: there is no such function")
    last = lines.index("}", first)
    while lines[first - 1].strip():
        first -= 1
    return fence("c", "\n".join(lines[first : last + 1]))


def make_patch(name):
    return fence("diff", (DOCS / "exercises" / f"{name}.diff").read_text())


# ---- commands ----


def fence(language, text):
    return f"```{language}\n{text.rstrip()}\n```\n"


class Background:
    """A server, or a client that holds connections, whose log comes into the output piece by
    piece."""

    def __init__(self, command, folder, number):
        self.log_path = folder / f"log-{number}"
        self.seen = 0
        self.is_server = "/client " not in command
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", f"exec {command}"],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.is_server else log,
                stderr=log,
                text=True,
            )
        self.first_line = self.process.stdout.readline().rstrip() if self.is_server else ""

    def news(self):
        """What it has logged since it was last asked; waits until it has nothing more to say."""
        size = -1
        while size != self.log_path.stat().st_size:
            size = self.log_path.stat().st_size
            time.sleep(0.2)
        text = self.log_path.read_text()
        news, self.seen = text[self.seen :], len(text)
        return news.rstrip()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(LIMIT)


def run_commands(script):
    """Runs the commands of a part, on the client's host of a wire, where nothing is in the way
    and all ports are free. Returns what a person would see in the terminal."""
    with tempfile.TemporaryDirectory() as folder:
        inner = [sys.executable, __file__, "--commands", folder]
        wire = [ROOT / "build" / "wire", "--", *inner]
        done = subprocess.run(
            wire, input=script, capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
        )
        if done.returncode != 0:
            raise Failure(f"commands:\n{script}\n{done.stdout}{done.stderr}")
        return done.stdout


def run_in_front(command, folder, number):
    """What a command prints, and its exit status where that is not 0. A file takes the output:
    something that the command leaves in the background would keep a pipe open."""
    path = folder / f"out-{number}"
    with open(path, "wb") as out:
        status = subprocess.run(
            ["bash", "-c", command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            timeout=LIMIT,
            check=False,
        ).returncode
    text = path.read_text().rstrip()
    return text if status == 0 else f"{text}\n(exit status {status})".lstrip()


def commands_inside(folder):
    """Reads commands, prints them and what they print."""
    started, lines = [], []
    for number, line in enumerate(sys.stdin.read().strip().splitlines()):
        command = line.strip()
        servers = [program for program in started if program.is_server]
        if command.startswith("&"):
            whole = not command.startswith("&-")
            command = command.lstrip("&- ")
            program = Background(command, folder, number)
            started.append(program)
            news = program.news()
            lines += [f"$ {command} &", program.first_line, news if whole or not news else "..."]
        elif command == "log":
            lines.append(servers[-1].news())
        elif command == "stop":
            servers[-1].stop()
            lines += ["$ kill %1", servers[-1].news()]
            started.remove(servers[-1])
        else:
            lines += [f"$ {command}", run_in_front(command, folder, number)]
    for program in started:
        program.stop()
    print("\n".join(line for line in lines if line))


def make_try(script):
    return fence("console", run_commands(script))


# ---- labs ----


def lab_files(words):
    number, part = words.split()
    folder = LABS / number
    if not (folder / f"{part}.txt").exists():
        raise Failure(f"lab {words}: no such results; 'make labs' makes them")
    return number, part, folder


def markdown_table(lines):
    rows = [line.replace("|", "\\|").split("\t") for line in lines]
    rows.insert(1, ["---"] * len(rows[0]))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def make_lab(words):
    number, part, folder = lab_files(words)
    commands, verdicts, where = [], [], ""
    lines = (folder / f"{part}.txt").read_text().strip().splitlines()
    for line in lines[1:]:
        if re.match(r"  \w*\$ ", line):
            commands.append(line.strip())
        elif re.match(r"  (NOT SEEN|FAILED|not shown here)", line):
            raise Failure(f"lab {words}: {line.strip()}")
        elif line.startswith("  ("):
            where += f"*{line.strip()}*\n\n"
        elif line.startswith("  seen: "):
            verdicts.append(line.strip())
    text = f"### {lines[0]}\n\n"
    text += where
    if commands:
        text += fence("console", "\n".join(commands)) + "\n"
    if (folder / f"{part}.tsv").exists():
        text += markdown_table((folder / f"{part}.tsv").read_text().splitlines()) + "\n"
    for verdict in verdicts:
        text += f"**{verdict[:5]}**{verdict[5:]}\n\n"
    pictures = folder / f"{part}.pictures"
    for line in pictures.read_text().splitlines() if pictures.exists() else []:
        picture, title = line.split("\t")
        name = f"{number}-{picture}"
        shutil.copy(folder / picture, DOCS / "pictures" / name)
        text += f"![{title}](pictures/{name})\n\n"
    return text.rstrip() + "\n"


def make_tour(_):
    rows = ["stage\toption\twithout\twith\tfactor"]
    for stage in STAGES:
        folder = LABS / stage[:2]
        for part in (folder / "parts.list").read_text().splitlines()[1:]:
            if (folder / f"{part}.row").exists():
                fields = (folder / f"{part}.row").read_text().strip().split("\t")
                rows.append("\t".join(fields))
    return markdown_table(rows)


def system():
    """The kernel and the tools that decide what commands print: "Linux 6.18, Debian 12"."""
    release = ".".join(platform.release().split(".")[:2])
    names = {}
    with contextlib.suppress(OSError):
        for line in Path("/etc/os-release").read_text().splitlines():
            name, _, value = line.partition("=")
            names[name] = value.strip('"')
    distribution = names.get("NAME", "unknown").split()[0]
    return f"Linux {release}, {distribution} {names.get('VERSION_ID', '')}".strip()


def make_machine(_):
    return (
        f"*Measured on {system()}, {platform.machine()}, {os.cpu_count()} processors, by "
        "'make docs'. Your numbers will differ; the shape should not.*\n"
    )


# ---- stages ----


def make_stages(_):
    rows = ["stage\tthe idea\tlines it adds\tread"]
    for stage in STAGES:
        header = (ROOT / stage / "server.c").read_text()
        idea = re.search(rf"^ \*   {stage[:2]}  (.*?): ", header, re.M)[1]
        added = "-"
        if stage != STAGES[0]:
            added = " + ".join(
                str(sum(line[0] == "+" for hunk in hunks(stage, program) for line in hunk))
                for program in ("server", "client")
            )
        chapter = f"[docs/{stage}.md](docs/{stage}.md)"
        rows.append(f"[{stage}]({stage}/)\t{idea}\t{added}\t{chapter}")
    return markdown_table(rows)


MAKERS = {
    "diff": make_diff,
    "source": make_source,
    "patch": make_patch,
    "try": make_try,
    "lab": make_lab,
    "tour": make_tour,
    "stages": make_stages,
    "machine": make_machine,
}


# ---- documents ----


def documents():
    return [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


def write(path):
    text = path.read_text()
    path.write_text(
        PART.sub(lambda part: part[1] + MAKERS[part[2]](part[3].strip()) + part[5], text)
    )


def shape(text):
    """The text without what differs from run to run."""
    text = re.sub(r"b'.*'", "bytes", text)  # in how many pieces they come, too
    text = re.sub(r"\d+(\.\d+)?", "N", text)
    lines = re.sub(r"[ |]+", " ", text).splitlines()
    # How often the same line comes again may depend on the time.
    return "\n".join(line for i, line in enumerate(lines) if i == 0 or line != lines[i - 1])


# Not every system has them, and 'make test' does not need all of them.
TOOLS = ("sysctl", "ss", "nstat", "pgrep", "ip", "git")


def can_compare(script):
    """Whether what commands print here can be held against what is recorded: another kernel or
    another version of a tool says some things otherwise."""
    words = re.findall(r"\w+", script)
    return (
        f"Measured on {system()}," in (ROOT / "README.md").read_text()
        and all(tool not in words or shutil.which(tool) for tool in TOOLS)
        and subprocess.run([ROOT / "build" / "wire", "--", "true"], check=False).returncode == 0
    )


def check_part(part, recorded):
    """What is wrong with a generated part; None where nothing is."""
    kind, words = part[2], part[3].strip()
    if kind in ("diff", "source", "patch", "stages"):
        fresh, old = MAKERS[kind](words), recorded
    elif kind == "try" and can_compare(words):
        fresh, old = shape(make_try(words)), shape(recorded)
    else:
        fresh = old = recorded
        if not recorded.strip():
            return f"{kind} {words}: it is empty; 'make docs' writes it"
    if fresh == old:
        return None
    lines = difflib.unified_diff(old.splitlines(), fresh.splitlines(), "document", "now", lineterm="")
    return f"{kind} {words}: 'make docs' would write something else:\n" + "\n".join(lines)


def anchors(path):
    """The anchors that a code host gives to the headings of a document."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
    found = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.M):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-"))
    return found


def dead_links(path):
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.S)
    text = re.sub(r"`[^`\n]*`", "", text)
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists():
            yield f"{target}: there is no such file"
        elif anchor and anchor not in anchors(file):
            yield f"{target}: there is no such heading"


def check():
    failures = []
    with ThreadPoolExecutor(4) as pool:
        checks = []
        for path in documents():
            text = path.read_text()
            for part in PART.finditer(text):
                checks.append((path, pool.submit(check_part, part, part[4])))
            failures += [(path, what) for what in missing_hunks(text)]
            failures += [(path, what) for what in dead_links(path)]
            if len(re.findall(r"<!-- end -->", text)) != len(PART.findall(text)):
                failures.append((path, "a generated part is not closed, or of no known kind"))
        for path, outcome in checks:
            try:
                failure = outcome.result()
            except Failure as error:
                failure = str(error)
            if failure:
                failures.append((path, failure))
    for path, what in failures:
        print(f"{path.relative_to(ROOT)}: {what}\n", file=sys.stderr)
    return 1 if failures else 0


def main():
    if sys.argv[1:2] == ["--commands"]:
        commands_inside(Path(sys.argv[2]))
    elif sys.argv[1:] == ["--check"]:
        return check()
    else:
        only = sys.argv[1:]
        for path in documents():
            if not only or path.name in only:
                write(path)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as error:
        sys.exit(f"generate.py: {error}")
