#!/usr/bin/env python3
"""Writes the generated parts of the documents, or checks them.

    generate.py           writes them; needs build/ and the results of 'make labs'
    generate.py --check   fails where one is stale, a link or an anchor is dead, a command is
                          too wide, a chapter too long, or a word of the glossary used too early
    generate.py --count   how long each chapter is

A chapter has these headings: The question, The idea, The lines that matter, Guess then see, Why,
Write it, Exercises, Where it bites, Sources; below them, folded (<details>), the whole diff and
what else there is. Stage 01 has no diff: it shows the whole program. A chapter of several parts
has the first five and 'Where it bites' in each.

A generated part stands between two comments, the first of which says what it is:

    <!-- diff 03 server 2-4 -->  hunks of the difference between a stage's program and the one
                                 before it; a chapter has to show each hunk once
    <!-- lines 03 server         lines of that difference, each by a text that it has; 'TEXT ...
    listen(listener,             OTHER' is all from the line with TEXT to the next with OTHER. For
    -->                          the first stage they come from the program itself
    <!-- source 01 server echo -->  a function of a program, with its comment
    <!-- patch 04 -->            docs/exercises/04.diff, an answer in code
    <!-- file trickle.py -->     docs/exercises/trickle.py
    <!-- try ... -->             commands, one in a line, and what they print; one that begins
                                 with '&' stays in the background, with '&-' without what it
                                 logs at first; 'log' is what a server has logged since then
                                 ('log %2': the second in the background), 'stop' stops it, and
                                 'kill %2' the second. One that ends with a backslash goes on in
                                 the next line. What still runs at the end is stopped. The parts
                                 of a document are run one after another on one host, as somebody
                                 would type them
    <!-- lab 03 backlog -->      what a part of a lab found: table, verdict, pictures
    <!-- tour -->                the table at the end of 'make tour'
    <!-- stages -->              the table of stages
    <!-- times -->               how long each chapter takes
    <!-- machine -->             where all this was measured
    <!-- end -->

What the sources alone decide is checked word for word. What commands print is checked for its
shape, on a system like the one where it was recorded: numbers, bytes, and how often a line comes
again are left out of the comparison. What the labs find is held against these documents by the
tests of the labs.
"""

import contextlib
import difflib
import itertools
import json
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
# The stage that a stage is compared with, where it is not the one before it.
BEFORE = {"09-event-loop": "07-binary-struct"}
KINDS = "diff|lines|source|patch|file|try|lab|tour|stages|times|machine"
PART = re.compile(rf"(<!-- ({KINDS})\b(.*?)-->\n)(.*?)(<!-- end -->)", re.S)
FENCED = re.compile(r"^ *```.*?^ *```$", re.S | re.M)
LIMIT = 60  # seconds, more than anything that is run here takes
COLUMNS = 80  # of a command with its prompt
# In the environment: commands are run to be compared, and a 'sleep' may take some seconds longer.
CHECKING = "CHECKING"


class Failure(Exception):
    """What is wrong with a document, in words."""


# ---- differences ----


def hunks(stage, program):
    """The hunks of the difference to the stage before, each a list of lines."""
    before = BEFORE.get(stage, STAGES[STAGES.index(stage) - 1])
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


def position(words, text, lines, start=0):
    """Where the first line with a text is; one that a stage changes before one that it does not."""
    found = [i for i in range(start, len(lines)) if text in lines[i][1:]]
    if not found:
        raise Failure(f"lines {words}: there is no '{text}'")
    return next((i for i in found if lines[i][0] in "+-"), found[0])


def make_lines(words):
    """Lines of a difference; "..." stands for what is left out between them."""
    place, *texts = words.splitlines()
    number, program = place.split()
    stage = stage_of(number)
    if stage == STAGES[0]:
        found = [[" " + line for line in (ROOT / stage / f"{program}.c").read_text().splitlines()]]
    else:
        found = [hunk[1:] for hunk in hunks(stage, program)]
    lines = [line for hunk in found for line in [*hunk, "@"]]
    shown, end = [], None
    for text in texts:
        first, _, last = text.partition(" ... ")
        start = position(words, first.strip(), lines)
        until = position(words, last.strip(), lines, start) if last else start
        if "@" in lines[start:until]:
            raise Failure(f"lines {words}: '{text}' goes beyond one hunk")
        if end is not None and start != end + 1:
            shown.append(" ...")
        shown += lines[start : until + 1]
        end = until
    if stage == STAGES[0]:
        return fence("c", "\n".join(line[1:] for line in shown))
    if not any(line[0] in "+-" for line in shown):
        raise Failure(f"lines {words}: the stage does not change them")
    return fence("diff", "\n".join(shown))


def unshown_lines(text):
    """The lines of the first stage's programs that its chapter does not show."""
    shown = {line for block in FENCED.findall(text) for line in block.splitlines()}
    for program in ("server", "client"):
        for line in (ROOT / STAGES[0] / f"{program}.c").read_text().splitlines():
            if line not in shown and line.strip():
                yield f"{STAGES[0]}/{program}.c: the chapter does not show '{line.strip()}'"


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


def make_file(name):
    language = {".py": "python", ".c": "c"}.get(Path(name).suffix, "text")
    return fence(language, (DOCS / "exercises" / name).read_text())


# ---- commands ----


def fence(language, text):
    return f"```{language}\n{text.rstrip()}\n```\n"


def without_repetition(lines):
    """Of a line that comes more than twice the first two, and "..." for the others."""
    for _, group in itertools.groupby(lines):
        same = list(group)
        yield from same if len(same) < 3 else [*same[:2], "..."]


class Background:
    """A server, or a client that holds connections, whose log comes into the output piece by
    piece."""

    def __init__(self, command, folder, number):
        self.log_path = folder / f"log-{number}"
        self.seen = 0
        self.is_server = "/server" in command
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", command if "|" in command else f"exec {command}"],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.is_server else log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.first_line = self.process.stdout.readline().rstrip() if self.is_server else ""
        if "/client" in command:
            self.wait_for_its_socket()

    def wait_for_its_socket(self):
        """Until a client has sent its SYN: the next command may be another's, who is to come later."""
        end = time.monotonic() + 5
        while self.runs() and time.monotonic() < end:
            rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            sockets = {f"socket:[{row[9]}]" for row in rows if row[3] in ("01", "02")}
            for link in Path("/proc").glob("[0-9]*/fd/*"):
                with contextlib.suppress(OSError):
                    if os.getsid(int(link.parts[2])) == self.process.pid:
                        if os.readlink(link) in sockets:
                            return
            time.sleep(0.02)

    def rests(self):
        """Whether no thread of its programs runs, or would run if there were a processor for it."""
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.getsid(int(folder.name)) == self.process.pid:
                    for thread in os.listdir(folder / "task"):
                        stat = (folder / "task" / thread / "stat").read_text()
                        if stat.rpartition(")")[2].split()[0] in "RD":
                            return False
        return True

    def wait_for_rest(self):
        """Until what came to it is done: on a busy machine it may not have had its turn yet."""
        end = time.monotonic() + 2
        while not self.rests() and time.monotonic() < end:
            time.sleep(0.01)

    def news(self):
        """What it has logged since it was last asked; waits until it has nothing more to say, or
        says the same again and again."""
        size = -1
        end = time.monotonic() + 1
        while size != self.log_path.stat().st_size and time.monotonic() < end:
            self.wait_for_rest()
            size = self.log_path.stat().st_size
            time.sleep(0.2)
        text = self.log_path.read_text()
        news, self.seen = text[self.seen :], len(text)
        return "\n".join(without_repetition(news.splitlines()))

    def runs(self):
        return self.process.poll() is None

    def stop(self):
        """As a shell ends a job: all the programs of it."""
        if self.runs():
            os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(LIMIT)


def run_commands(scripts):
    """Runs the commands of parts one after another, on the client's host of a wire, where nothing
    is in the way and all ports are free. Returns what a person would see in the terminal, for
    each part."""
    with tempfile.TemporaryDirectory() as folder:
        inner = [sys.executable, __file__, "--commands", folder]
        wire = [ROOT / "build" / "wire", "--", *inner]
        done = subprocess.run(
            wire,
            input=json.dumps(scripts),
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=600,
            check=False,
        )
        if done.returncode != 0:
            raise Failure(f"commands: {done.stdout}{done.stderr}")
        return json.loads(done.stdout)


def run_in_front(command, folder, number):
    """What a command prints, and its exit status where that is not 0. A file takes the output:
    something that the command leaves in the background would keep a pipe open."""
    path = folder / f"out-{number}"
    command = re.sub(r"^sleep ", "sleep 2 ", command) if CHECKING in os.environ else command
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
    """Reads the commands of parts, runs them, and prints what a terminal would show."""
    numbers = itertools.count()
    print(json.dumps([terminal(script, folder, numbers) for script in json.load(sys.stdin)]))


def terminal(script, folder, numbers):
    """The commands of one part, and what they print."""
    started, lines = [], []
    for line in re.split(r"(?<!\\)\n", script.strip()):
        command, shown = line.strip(), line.strip().replace("\\\n", "\\\n> ")
        number = next(numbers)
        for program in started:
            program.wait_for_rest()
        servers = [program for program in started if program.is_server and program.runs()]
        if command.startswith("&"):
            whole = not command.startswith("&-")
            command, shown = command.lstrip("&- "), shown.lstrip("&- ")
            program = Background(command, folder, number)
            started.append(program)
            news = program.news()
            lines += [f"$ {shown} &", program.first_line, news if whole or not news else "..."]
        elif re.fullmatch(r"log( %\d+)?", command):
            job = started.index(servers[-1]) if command == "log" else int(command[5:]) - 1
            lines.append(started[job].news())
        elif command == "stop" or re.fullmatch(r"kill %\d+", command):
            job = started.index(servers[-1]) if command == "stop" else int(command[6:]) - 1
            started[job].stop()
            lines += [f"$ kill %{job + 1}", started[job].news()]
        else:
            lines += [f"$ {shown}", run_in_front(command, folder, number)]
            if command.startswith("make ") and lines[-1].endswith(")"):
                sys.exit("\n".join(lines))  # a patch that no longer fits is nothing to show
    if any(program.runs() for program in started):
        lines.append("$ kill $(jobs -p)")
    for program in started:
        program.stop()
    return "\n".join(line for line in lines if line)


# ---- labs ----


def lab_files(words):
    number, part = words.split()
    folder = LABS / number
    if not (folder / f"{part}.txt").exists():
        raise Failure(f"lab {words}: no such results; 'make labs' makes them")
    return number, part, folder


def folded(command):
    """A command that is too wide, as one would type it in several lines."""
    lines = [command]
    while len(lines[-1]) > COLUMNS:
        space = lines[-1].rfind(" ", 0, COLUMNS - 2)
        lines[-1:] = [f"{lines[-1][:space]} \\", "> " + lines[-1][space + 1 :]]
    return "\n".join(lines)


def markdown_table(lines):
    rows = [line.replace("|", "\\|").split("\t") for line in lines]
    rows.insert(1, ["---"] * len(rows[0]))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def make_lab(words):
    number, part, folder = lab_files(words)
    commands, verdicts, where, remark = [], [], "", []
    lines = (folder / f"{part}.txt").read_text().strip().splitlines()
    for before, line in zip(lines, lines[1:]):
        if re.match(r"  \w*\$ ", line):
            commands.append(folded(line.strip()))
        elif re.match(r"  (NOT SEEN|FAILED|not shown here)", line):
            raise Failure(f"lab {words}: {line.strip()}")
        elif line.startswith("  ("):
            where += f"*{line.strip()}*\n\n"
        elif line.startswith("    (") and re.match(r"  (\w*\$ |  \()", before):
            commands.append(f"# {line.strip()[1:-1]}")
        elif line.startswith("  seen: "):
            verdicts.append(line.strip())
        elif re.match(r"  (?!a ladder: |look yourself: )\S", line):
            remark.append(line.strip())
    # No heading: a part may be folded.
    text = f"**{lines[0]}**\n\n"
    text += where
    if remark:
        remark = " ".join(remark).rstrip(":.")
        end = "" if remark.endswith("?") else "."
        text += f"{remark[0].upper()}{remark[1:]}{end}\n\n"
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


# What a learner does in a minute, and how long an exercise takes.
WORDS_A_MINUTE, LINES_A_MINUTE, LINES_WRITTEN_A_MINUTE, MINUTES_AN_EXERCISE = 120, 20, 2, 5


def minutes(amount, a_minute):
    """In steps of five."""
    return max(5, 5 * round(amount / a_minute / 5))


def make_times(_):
    """Reading is all up to the exercises, with what is folded there, but not the answers."""
    rows = ["chapter\tread\twrite\texercises\ttogether"]
    for path in chapters():
        text, _, rest = path.read_text().partition("\n## Exercises\n")
        words, lines = measure(re.sub(r"<!--.*?-->\n?", "", text, flags=re.S))
        read = minutes(words / WORDS_A_MINUTE + lines / LINES_A_MINUTE, 1)
        stage = path.stem
        if stage == STAGES[0]:
            source = re.sub(r"/\*.*?\*/", "", (ROOT / stage / "server.c").read_text(), flags=re.S)
            added = sum(1 for line in source.splitlines() if line.strip(" {}"))
        else:
            added = sum(line[0] == "+" for hunk in hunks(stage, "server") for line in hunk)
        write = minutes(added, LINES_WRITTEN_A_MINUTE)
        exercises = minutes(len(re.findall(r"^\*\*\d\.\*\*", rest, re.M)) * MINUTES_AN_EXERCISE, 1)
        title = path.read_text().splitlines()[0][2:]
        rows.append(
            f"[{title}]({path.name})\t{read}\t{write}\t{exercises}\t{read + write + exercises}"
        )
    return markdown_table(rows)


MAKERS = {
    "diff": make_diff,
    "lines": make_lines,
    "source": make_source,
    "patch": make_patch,
    "file": make_file,
    "lab": make_lab,
    "tour": make_tour,
    "stages": make_stages,
    "times": make_times,
    "machine": make_machine,
}


# ---- documents ----


def documents():
    return [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


def write(path):
    text = path.read_text()
    scripts = [part[3] for part in PART.finditer(text) if part[2] == "try"]
    outputs = iter(run_commands(scripts) if scripts else [])

    def fresh(part):
        if part[2] == "try":
            return part[1] + fence("console", next(outputs)) + part[5]
        return part[1] + MAKERS[part[2]](part[3].strip()) + part[5]

    path.write_text(PART.sub(fresh, text))


def shape(text):
    """The text without what differs from run to run."""
    text = re.sub(r"b'.*'", "bytes", text)  # in how many pieces they come, too
    text = re.sub(r"\d+(\.\d+)?", "N", text)
    lines = re.sub(r"[ |]+", " ", text).splitlines()
    # How often the same line comes again may depend on the time.
    lines = [line for line in lines if line != "..."]
    return "\n".join(line for i, line in enumerate(lines) if i == 0 or line != lines[i - 1])


# Not every system has them, and 'make test' does not need all of them.
TOOLS = ("sysctl", "ss", "nstat", "pgrep", "ip", "git", "strace")


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
    if kind in ("diff", "lines", "source", "patch", "file", "stages", "times"):
        return difference(part, recorded, MAKERS[kind](words))
    return None if recorded.strip() else f"{kind} {words}: it is empty; 'make docs' writes it"


def check_commands(parts):
    """What is wrong with the recorded output of commands. Where it differs they run again: on a busy
    machine one may be late, and what is stale differs each time."""
    different = [(part, "") for part in parts if part[4].strip() and can_compare(part[3])]
    for _ in range(3):
        parts = [part for part, _ in different]
        outputs = run_commands([part[3] for part in parts]) if parts else []
        compared = [
            (part, difference(part, shape(part[4]), shape(fence("console", output))))
            for part, output in zip(parts, outputs)
        ]
        different = [(part, what) for part, what in compared if what]
    return "\n\n".join(what for _, what in different)


def difference(part, old, fresh):
    """What 'make docs' would change in a part; None where it is nothing."""
    if fresh == old:
        return None
    lines = difflib.unified_diff(old.splitlines(), fresh.splitlines(), "document", "now", lineterm="")
    what = f"{part[2]} {part[3].strip()}: 'make docs' would write something else:"
    return "\n".join([what, *lines])


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


# ---- a chapter's measure ----

FOLD = re.compile(r"<details>.*?</details>", re.S)
PARTS = "The question"  # a heading of the third level where a chapter has parts
WORDS, LINES = 1300, 90
LINES_OF = {"01": 250}  # it shows two whole programs
WORDS_OF_A_PART, LINES_OF_A_PART = 600, 45


def chapters():
    return sorted(DOCS.glob("[0-9][0-9]-*.md"))


def unfolded(text):
    """A document without what is folded away and without comments."""
    return re.sub(r"<!--.*?-->\n?", "", FOLD.sub("", text), flags=re.S)


def prose(text):
    """The text of a document that is neither code nor a table nor a picture."""
    return re.sub(r"^(\||!\[).*$", "", FENCED.sub("", text), flags=re.M)


def measure(text):
    """(words of prose, lines of code and output and rows of tables)"""
    plain = re.sub(r"\]\([^)]*\)", "]", prose(text))
    words = sum(1 for word in plain.split() if re.search(r"\w", word))
    fenced = sum(block.strip().count("\n") - 1 for block in FENCED.findall(text))
    rows = re.findall(r"^\|(?! ?---)", FENCED.sub("", text), re.M)
    return words, fenced + len(rows)


def measured(path):
    """(name, text, most words, most lines) of a chapter, or of each of its parts and of what is
    outside of them."""
    text = unfolded(path.read_text())
    sections = re.split(r"^(?=## )", text, flags=re.M)
    parts = [section for section in sections if f"\n### {PARTS}\n" in section]
    if not parts:
        yield path.name, text, WORDS, LINES_OF.get(path.name[:2], LINES)
        return
    for part in parts:
        yield f"{path.name}, {part.splitlines()[0][3:]}", part, WORDS_OF_A_PART, LINES_OF_A_PART
    rest = "".join(section for section in sections if section not in parts)
    yield f"{path.name}, beside its parts", rest, WORDS_OF_A_PART, LINES_OF_A_PART


def count():
    """Prints how long each chapter is. Returns what is too long."""
    failures = []
    print(f"{'outside of what is folded away':45}  words of prose  lines of code and output")
    for path in chapters():
        for name, text, most_words, most_lines in measured(path):
            words, lines = measure(text)
            print(f"{name:45}  {words:5} of {most_words:4}    {lines:4} of {most_lines}")
            if words > most_words or lines > most_lines:
                failures.append((path, f"{name} is too long: {words} words, {lines} lines"))
    return failures


def wide_commands(path):
    for block in FENCED.findall(path.read_text()):
        for line in block.splitlines():
            if len(line) > COLUMNS and re.match(r"(\w*\$|>) ", line):
                yield f"{len(line)} columns, {COLUMNS} are the most: {line}"


# ---- the glossary ----


def glossary():
    """(forms, number of the chapter that teaches it) of each word, as '## word, other form' and
    'Chapter [03](...)' below it say."""
    path = DOCS / "glossary.md"
    entries = re.split(r"^## ", path.read_text(), flags=re.M)[1:] if path.exists() else []
    for entry in entries:
        title, _, text = entry.partition("\n")
        chapter = re.search(r"Chapter\s\[(\d\d)\]\(\1-[\w-]+\.md", text)
        yield title.split(", "), chapter[1] if chapter else None


def spaced(form):
    return r"\s+".join(map(re.escape, form.split()))


def uses(forms, text):
    """The paragraphs of a text that use a word, or more than one of it. With a capital letter in
    it, it is a word of its own: ACK, TIME_WAIT."""
    pattern = "|".join(
        spaced(form) if re.search("[A-Z]", form) else f"(?i:{spaced(form)})"
        for form in sorted(forms, key=len, reverse=True)
    )
    for paragraph in re.split(r"\n\s*\n", text):
        if re.search(rf"(?<![\w-])({pattern})s?(?![\w-])", paragraph):
            yield paragraph


def words_too_early():
    """(document, what) for each word of the glossary that a chapter uses before the one that
    teaches it, and does not name that one in the same paragraph; and for each that its chapter
    does not use."""
    texts = {path: prose(unfolded(path.read_text())) for path in chapters()}
    for forms, chapter in glossary():
        if chapter is None:
            yield DOCS / "glossary.md", f"{forms[0]}: 'Chapter [NN](NN-name.md).' is missing"
            continue
        for path, text in texts.items():
            number = path.name[:2]
            names = rf"(?i:stages?|chapters?) (\d\d,? (and )?)*{chapter}|{chapter}-[\w-]+"
            if number < chapter:
                for paragraph in uses(forms, text):
                    if not re.search(names, paragraph):
                        yield path, f"'{forms[0]}' is of chapter {chapter}: {paragraph}"
            elif number == chapter and not any(uses(forms, prose(path.read_text()))):
                yield path, f"'{forms[0]}', says the glossary, is explained here, and is not"


def check():
    failures = [*count(), *words_too_early()]
    with ThreadPoolExecutor(8) as pool:  # they mostly wait
        checks = []
        for path in documents():
            text = path.read_text()
            parts = list(PART.finditer(text))
            checks.append((path, pool.submit(check_commands, [p for p in parts if p[2] == "try"])))
            checks += [(path, pool.submit(check_part, part, part[4])) for part in parts]
            failures += [(path, what) for what in missing_hunks(text)]
            if path.stem == STAGES[0]:
                failures += [(path, what) for what in unshown_lines(text)]
            failures += [(path, what) for what in dead_links(path)]
            if path in chapters():
                failures += [(path, what) for what in wide_commands(path)]
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
    # A make that started this one must not lend its jobs to those that the chapters type.
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
        os.environ.pop(name, None)
    if sys.argv[1:2] == ["--commands"]:
        commands_inside(Path(sys.argv[2]))
    elif sys.argv[1:] == ["--check"]:
        os.environ[CHECKING] = "1"
        return check()
    elif sys.argv[1:] == ["--count"]:
        return 1 if count() else 0
    else:
        only = sys.argv[1:]
        failures = 0
        for path in documents():
            if not only or path.name in only:
                try:
                    write(path)
                except Failure as error:
                    print(f"{path.relative_to(ROOT)}: {error}", file=sys.stderr)
                    failures += 1
        return 1 if failures else 0
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as error:
        sys.exit(f"generate.py: {error}")
