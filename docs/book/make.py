"""Builds the book, a site that opens without a network, from the chapters (docs/*.md), the README
and the sources. Sphinx does the work; this writes the pages that it reads.

usage: make.py [--docs FOLDER] OUTPUT

The pages for Sphinx go to OUTPUT-source and what it remembers of them to OUTPUT-doctrees.
"""

import argparse
import functools
import html
import itertools
import os
import posixpath
import re
import shutil
import subprocess
import sys
from difflib import SequenceMatcher
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STAGES = sorted(path.parent.name for path in ROOT.glob("[0-9][0-9]-*/server.c"))
PROGRAMS = ["server.c", "client.c"]
# After the chapters, which have numbers; any other file comes last.
LAST_CHAPTERS = [
    "your-own-server",
    "glossary",
    "departures",
    "options",
    "kernels",
    "instructor",
    "maintaining",
]
# The stage that a stage is compared with, where it is not the one before it.
BEFORE = {"09-event-loop": "07-binary-struct"}
# Lines that are shown around a change; a longer stretch without a change is folded.
CONTEXT = 3

FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
LINK = re.compile(
    r"(?P<code>(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`))"
    r"|(?P<before>\]\(|^\[[^\]]+\]:\s*|\b(?:href|src)=\")(?P<target>[^)\s\"]+)"
)


PICTURE = re.compile(r"!\[(?P<title>.*)\]\((?P<path>[^)]*\.svg)\)")
# Shown as a document of its own, a drawing says more where the mouse rests on it.
DRAWING = (
    '<object type="image/svg+xml" data="{path}" role="img" aria-label="{title}" tabindex="-1">'
    '<img src="{path}" alt="{title}"></object>'
)


class Book:
    """Remembers which files the pages link to."""

    def __init__(self, docs):
        self.docs = docs
        self.sources = {
            path.relative_to(ROOT).as_posix()
            for folder in [*STAGES, "common"]
            for path in (ROOT / folder).glob("*.[ch]")
        }
        self.pictures = set()
        self.mistakes = []

    def target(self, page, link):
        """Where a link in a page (its path in the repository) leads in the book."""
        parts = urlsplit(link)
        if parts.scheme or not parts.path:
            return link
        path = posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(parts.path)))
        anchor = f"#{parts.fragment}" if parts.fragment else ""
        if path in ("README.md", "docs"):
            return f"index.html{anchor}"
        name = path.removeprefix("docs/")
        if path.startswith("docs/") and (self.docs / name).is_file():
            if name.endswith(".md") and "/" not in name:
                return f"{name[:-3]}.html{anchor}"
            if name.endswith((".svg", ".png", ".pcap")):
                self.pictures.add(name)
                return name
        if (ROOT / path).is_dir() and not path.startswith(".."):
            folder = {file.relative_to(ROOT).as_posix() for file in (ROOT / path).glob("*.*")}
            self.sources |= {file for file in folder if (ROOT / file).is_file()}
            return f"sources.html#{slug(heading('' if path == '.' else path))}"
        if (ROOT / path).is_file() and not path.startswith(".."):
            self.sources.add(path)
            return f"source/{path}.html" + re.sub(r"^#L(\d+).*", r"#L-\1", anchor)
        self.mistakes.append(f"{page}: leads nowhere: {link}")
        return link

    def rewrite(self, page, text):
        """A page's text with its links as they are in the book, and line for line the same."""

        def replace(match):
            if match["code"]:
                return match["code"]
            return match["before"] + self.target(page, match["target"])

        lines = []
        fence = None
        for line in without_comments(text).split("\n"):
            mark = FENCE.match(line)
            if fence is None and mark:
                fence = mark[1]
            elif fence is not None:
                if mark and mark[1].startswith(fence) and not line.strip(" `~"):
                    fence = None
            else:
                line = LINK.sub(replace, line)
                drawing = PICTURE.fullmatch(line)
                if drawing:
                    title = html.escape(drawing["title"])
                    line = DRAWING.format(path=drawing["path"], title=title)
            lines.append(line)
        return "\n".join(lines)


def without_comments(text):
    """The text less its comments, which mark generated parts. The search is not to find them."""
    fenced = r"^ {0,3}(?P<fence>`{3,}|~{3,}).*?^ {0,3}(?P=fence)[`~]* *$"
    return re.sub(
        rf"(?P<keep>{fenced})|<!--.*?-->",
        lambda match: match["keep"] or "\n" * match[0].count("\n"),
        text,
        flags=re.S | re.M,
    )


def slug(text):
    """The anchor of a heading, as code hosts make it."""
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


@functools.lru_cache(maxsize=None)
def coloured(path):
    """The lines of a file as HTML."""
    text = (ROOT / path).read_text(encoding="utf-8")
    try:
        lexer = get_lexer_for_filename(path, stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    lines = highlight(text, lexer, HtmlFormatter(nowrap=True)).split("\n")[:-1]
    # Names, blanks and punctuation have no colour of their own, and are half of the page.
    return [re.sub(r'<span class="[nwp]">([^<]*)</span>', r"\1", line) for line in lines]


class Raw(str):
    """HTML, for which a page has a file of its own: Markdown would be slow to read it."""


# The sources.


def source_page(path, chapter):
    """A file with its line numbers, each a link to its line."""
    stage = posixpath.dirname(path)
    up = "../" * (path.count("/") + 1)
    ways = [f"[{heading(stage)}]({up}sources.html#{slug(heading(stage))})"]
    if stage in STAGES:
        if chapter:
            ways.append(f"[the chapter]({up}{chapter}.html)")
        number = STAGES.index(stage)
        if number > 0:
            pair = f"{BEFORE.get(stage, STAGES[number - 1])[:2]}-{stage[:2]}"
            name = slug(Path(path).name)
            ways.append(f"[what is new in it]({up}diff/{pair}.html#{name})")
    lines = coloured(path)
    width = len(str(len(lines)))
    code = "".join(
        f'<span id="L-{number}"><a class="number" href="#L-{number}">{number:{width}}</a>{line}\n'
        "</span>"
        for number, line in enumerate(lines, 1)
    )
    return [
        "---\norphan: true\nhide-toc: true\n---",
        f"# {path}\n",
        " · ".join(ways),
        "",
        Raw(f'<div class="highlight source"><pre>{code}</pre></div>'),
    ]


def heading(folder):
    return folder or "The course"


def sources_page(sources):
    page = ["# The sources", ""]
    folders = {posixpath.dirname(path) for path in sources}
    for folder in sorted(folders, key=lambda name: (name not in STAGES, name)):
        page += ["", f"## {heading(folder)}", ""]
        names = sorted(
            (posixpath.basename(path) for path in sources if posixpath.dirname(path) == folder),
            key=lambda name: (PROGRAMS.index(name) if name in PROGRAMS else 2, name),
        )
        page += [f"- [{name}](source/{posixpath.join(folder, name)}.html)" for name in names]
    return page


# The diffs.


def changes(old, new):
    """difflib's [tag, i1, i2, j1, j2]. What was added is moved along lines that are the same at
    its two ends, to begin where a person would say it does: behind a blank line."""
    edits = [list(edit) for edit in SequenceMatcher(None, old, new, autojunk=False).get_opcodes()]
    for before, edit, after in zip(edits, edits[1:], edits[2:]):
        tag, i1, _, j1, j2 = edit
        if tag != "insert":
            continue
        for by in range(after[4] - after[3]):
            if new[j1 + by - 1] == "" and new[j1 + by] != "":
                before[2], before[4] = i1 + by, j1 + by
                edit[1:] = [i1 + by, i1 + by, j1 + by, j2 + by]
                after[1], after[3] = i1 + by, j2 + by
                break
            if new[j1 + by] != new[j2 + by]:
                break
    return edits


def diff_line(before, after, sign, code):
    """A line with its numbers in the old and the new file, which the page's style shows."""
    return (
        f'<div class="line" data-before="{before}" data-after="{after}">'
        f"<b>{sign}</b><code>{code}</code></div>"
    )


def chunk(tag, before, after):
    """Lines of both sides, (number, HTML) each. The page's style makes of them either two
    columns or one, where lines that are the same are taken from the new side."""
    if tag == "equal":
        left = [diff_line(i, "", " ", code) for i, code in before]
        right = [diff_line(i, j, " ", code) for (i, _), (j, code) in zip(before, after)]
    else:
        left = [diff_line(i, "", "−", code) for i, code in before]
        right = [diff_line("", j, "+", code) for j, code in after]
    return (
        f'<div class="{"same" if tag == "equal" else "changed"}"><div class="old">'
        f'{"".join(left)}</div><div class="new">{"".join(right)}</div></div>'
    )


def diff_of_program(old_path, new_path):
    """A heading and the diff; long stretches without a change are folded."""
    texts = [(ROOT / path).read_text(encoding="utf-8") for path in (old_path, new_path)]
    old_lines, new_lines = (list(enumerate(coloured(path), 1)) for path in (old_path, new_path))
    edits = changes(*(text.splitlines() for text in texts))
    added = sum(j2 - j1 for tag, _, _, j1, j2 in edits if tag != "equal")
    removed = sum(i2 - i1 for tag, i1, i2, _, _ in edits if tag != "equal")
    name = Path(new_path).name
    amount = f"Lines: {added} added, {removed} removed."
    if added == removed == 0:
        amount = "The two are the same."
    page = [
        f"## {name}",
        "",
        f"{amount} The whole files: "
        f"[{old_path}](../source/{old_path}.html), [{new_path}](../source/{new_path}.html)",
    ]
    rows = []
    for tag, i1, i2, j1, j2 in edits:
        before, after = old_lines[i1:i2], new_lines[j1:j2]
        # The file's beginning and end are no neighbours of a change.
        head = 0 if i1 == 0 else CONTEXT
        tail = 0 if i2 == len(old_lines) else CONTEXT
        folded = len(before) - head - tail
        if tag != "equal" or folded <= CONTEXT:
            rows.append(chunk(tag, before, after))
            continue
        end = len(before) - tail
        rows.append(chunk(tag, before[:head], after[:head]))
        rows.append(f"<details><summary>{folded} lines are the same</summary>")
        rows.append(chunk(tag, before[head:end], after[head:end]) + "</details>")
        rows.append(chunk(tag, before[end:], after[end:]))
    label = f"Diff of {old_path} and {new_path}"
    start = f'<div class="highlight diff" tabindex="0" role="region" aria-label="{label}"><div>'
    return [*page, "", Raw("\n".join([start, *rows, "</div></div>"]))]


VIEWS = """\
<fieldset class="views"><legend>View</legend>
<label><input type="radio" name="view" id="view-side" checked> side by side</label>
<label><input type="radio" name="view" id="view-inline"> inline</label>
</fieldset>
<script>
if (matchMedia("(max-width: 46em)").matches) document.getElementById("view-inline").checked = true;
</script>"""


def diff_page(old, new):
    page = [
        # Not searched: every line of it is in a source.
        "---\norphan: true\nhide-toc: true\nnosearch: true\n---",
        f"# {old[:2]} → {new[:2]}\n",
        f"From {old} to {new}. [Diff of any two stages](../diffs.html)",
        "",
        Raw(VIEWS),
    ]
    for program in PROGRAMS:
        page += ["", *diff_of_program(f"{old}/{program}", f"{new}/{program}")]
    return page


def diffs_page(pairs):
    page = ["# Diff of any two stages", "", "| from | to |", "|---|---|"]
    for old, group in itertools.groupby(pairs, key=lambda pair: pair[0]):
        links = [f"[{old[:2]} → {new[:2]}](diff/{old[:2]}-{new[:2]}.html)" for _, new in group]
        page.append(f"| {old} | {' '.join(links)} |")
    return page


# The book.


def chapters(docs):
    """The names of the chapters, in their order, without .md."""
    names = [path.stem for path in docs.glob("*.md")]

    def place(name):
        last = LAST_CHAPTERS.index(name) if name in LAST_CHAPTERS else len(LAST_CHAPTERS)
        return (not name[:2].isdigit(), name if name[:2].isdigit() else last, name)

    return sorted((name for name in names if name != "README"), key=place)


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    for number, line in enumerate(lines):
        if isinstance(line, Raw):
            part = path.with_suffix(f".{number}.html")
            part.write_text(line, encoding="utf-8")
            lines[number] = f"```{{raw}} html\n:file: {part.name}\n```\n"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_pages(book, folder):
    names = chapters(book.docs)
    for name in names:
        text = (book.docs / f"{name}.md").read_text(encoding="utf-8")
        write(folder / f"{name}.md", [book.rewrite(f"docs/{name}.md", text)])
    readme = book.rewrite("README.md", (ROOT / "README.md").read_text(encoding="utf-8"))
    toctree = ["```{toctree}", ":hidden:", *names, "diffs", "sources", "```"]
    write(folder / "index.md", [readme, *toctree])
    if book.mistakes:
        sys.exit("\n".join(book.mistakes))

    pairs = list(itertools.combinations(STAGES, 2))
    write(folder / "diffs.md", diffs_page(pairs))
    for old, new in pairs:
        write(folder / "diff" / f"{old[:2]}-{new[:2]}.md", diff_page(old, new))
    write(folder / "sources.md", sources_page(book.sources))
    for path in book.sources:
        chapter = next((name for name in names if name[:2] == path[:2] and path[2] == "-"), None)
        write(folder / "source" / f"{path}.md", source_page(path, chapter))
    # Shown by a page, these are copied by Sphinx; linked to, they are not.
    for name in book.pictures:
        for copy in (folder / name, folder / "linked" / name):
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(book.docs / name, copy)


def mend_theme(static):
    """Mends what Debian's package of the theme lacks. It expects a web server: its style names a
    file by a path from the server's root, and its script is in two parts, which a page from a
    file may not join. And it is dark only when told to, not when the system is."""
    style, script = static / "styles" / "furo.css", static / "scripts" / "furo.js"
    text = style.read_text(encoding="utf-8")
    common = re.search(r"@import url\((/javascript/[^)]*)\);", text)
    if common:
        text = text.replace(common[0], Path("/usr/share" + common[1]).read_text(encoding="utf-8"))
    dark = re.search(r'body\[data-theme="dark"\] \{([^}]*)\}', text)
    if dark and "prefers-color-scheme" not in text:
        text += "@media screen and (prefers-color-scheme: dark) {\n"
        text += f'body:not([data-theme="light"]) {{{dark[1]}}} }}\n'
    style.write_text(text, encoding="utf-8")
    text = script.read_text(encoding="utf-8")
    part = re.match(r'import Gumshoe from "\./([\w-]+\.js)";', text)
    if part:
        other = (script.parent / part[1]).read_text(encoding="utf-8")
        script.write_text(other + text.replace(part[0], ""), encoding="utf-8")


class Page:
    """What can be linked to in a page, and what it links to."""

    def __init__(self, path):
        self.names, self.links = set(), set()
        tags = re.findall(r"<[a-zA-Z][^>]*>", path.read_text(encoding="utf-8"))
        for key, value in re.findall(r""" (id|name|href|src|data)=["']([^"']+)["']""", "".join(tags)):
            (self.names if key in ("id", "name") else self.links).add(html.unescape(value))


def dead_links(site):
    """Links within the book that lead nowhere."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.exists():
                yield f"{name}: there is no {link}"
            elif anchor and target in pages and anchor not in pages[target].names:
                yield f"{name}: there is no heading {link}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where the chapters are")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    site = arguments.output
    pages, memory = (site.with_name(site.name + end) for end in ("-source", "-doctrees"))
    for folder in (site, pages, memory):
        shutil.rmtree(folder, ignore_errors=True)

    book = Book(arguments.docs)
    write_pages(book, pages)
    command = [sys.executable, "-B", "-m", "sphinx", "-W", "--keep-going", "-q", "-j", "auto"]
    command += ["-c", HERE, "-d", memory, pages, site]
    done = subprocess.run(command, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)
    mend_theme(site / "_static")
    if (pages / "linked").exists():
        shutil.copytree(pages / "linked", site, dirs_exist_ok=True)
    if dead := list(dead_links(site)):
        sys.exit("\n".join(dead))


if __name__ == "__main__":
    main()
