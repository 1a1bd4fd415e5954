"""The book: built once, from the chapters that there are and a sample, and read in a browser."""

import fcntl
import os
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import pytest
from browser import Browser, find_browser
from course import wait_until

ROOT = Path(__file__).resolve().parents[2]
MAKE = ROOT / "docs" / "book" / "make.py"
STAGES = sorted(path.parent.name for path in ROOT.glob("[0-9][0-9]-*/server.c"))
PAIRS = list(combinations([stage[:2] for stage in STAGES], 2))
SCREENSHOTS = ROOT / "build" / "book-screenshots"

# All that a chapter may have in it.
SAMPLE = """# 98 A sample of a chapter

<!-- generated: > "marks" --> It speaks of `--help` and of sesquipedalian--words. See
[the other one](99-other.md#9-so_reuseaddr-and-time_wait), [its beginning](99-other.md), [a source
of a stage](../02-reuseaddr/server.c), [a line of it](../02-reuseaddr/server.c#L7-L9),
[a folder](../01-basic/), [a test](../tests/integration/course.py),
[the README](../README.md#the-labs) and [this](#what-you-see). This is code and no link:
`[a](nowhere.md)`.

<!-- try
build/02-reuseaddr/server -v > concealed
-->
```console
$ build/02-reuseaddr/client Hello
Hello
```
<!-- end -->

A backlog of 4, and a `RST`; and another backlog.

## What you see

| what | a long heading of a column | another one, of another column | and one more |
|---|---|---:|---|
| SO_REUSEADDR | `net.ipv4.tcp_max_syn_backlog` | 12 345 | [a picture](pictures/sample.svg) |

![A picture of a square](pictures/sample.svg)

```diff
-    if (listen(listener, SOMAXCONN) < 0)
+    if (listen(listener, backlog) < 0) /* longer than a line may be on a narrow telephone */
```

```c
[not a link](either.md) <!-- and not a comment -->
```

```sh
make diff-02
```

## Exercises

1. What happens?

   <details><summary>Answer</summary>

   *Nothing*, says `server.c`.

   ```text
   nothing
   ```

   </details>

2. Why?

<details><summary>Answer</summary>

Because of **that**.

</details>
"""
OTHER = """# 99 Another chapter

## 9. SO_REUSEADDR and TIME_WAIT

Here.
"""
PICTURE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 90" width="900" height="90">
<rect width="900" height="90" fill="#888"/></svg>
"""


@pytest.fixture(scope="module")
def python():
    """A Python with which the book can be built."""
    command = ["sh", "tests/setup.sh", "book-python"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if found.returncode != 0:
        pytest.skip("needs Sphinx, MyST and Furo: 'make book' installs them")
    return found.stdout.strip()


@pytest.fixture(scope="module")
def site(python, tmp_path_factory):
    """The folder with the book. Tests that run at the same time share it."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    done = folder / "book-is-built"
    with open(folder / "book-lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            docs = folder / "chapters"
            shutil.copytree(ROOT / "docs", docs, dirs_exist_ok=True)
            (docs / "pictures").mkdir(exist_ok=True)
            (docs / "pictures" / "sample.svg").write_text(PICTURE, encoding="utf-8")
            (docs / "98-sample.md").write_text(SAMPLE, encoding="utf-8")
            (docs / "99-other.md").write_text(OTHER, encoding="utf-8")
            for name in ("options", "instructor", "departures"):
                if not (docs / f"{name}.md").exists():
                    (docs / f"{name}.md").write_text(f"# The {name}\n", encoding="utf-8")
            result = make(python, "--docs", docs, folder / "book")
            done.write_text("" if result.returncode == 0 else result.stderr, encoding="utf-8")
        assert done.read_text(encoding="utf-8") == "", "the book could not be built"
    return folder / "book"


@pytest.fixture(scope="module")
def browser(site, tmp_path_factory):
    if find_browser() is None:
        pytest.skip("needs Chromium")
    chromium = Browser(tmp_path_factory.mktemp("browser"))
    yield chromium
    chromium.close()


@pytest.fixture
def page(site, browser):
    """page(name) opens a page of the book in a wide and light window."""

    def open_page(name, width=1280, scheme="light", media="screen"):
        browser.look(width, scheme=scheme, media=media)
        browser.open(f"{site.as_uri()}/{name}")
        return browser

    return open_page


def make(python, *arguments):
    command = [python, "-B", MAKE, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# Every page.

PARTS = 4  # for as many tests at a time

# How many pixels a page can be scrolled sideways.
SIDEWAYS = """Math.max(...[document.documentElement, document.querySelector(".content")]
    .map(element => element.scrollWidth - element.clientWidth))"""


@pytest.mark.parametrize("part", range(PARTS))
def test_every_page_opens(site, browser, part):
    """Without an error, without the network, and no wider than the window. That all links lead
    somewhere is seen to by make.py."""
    # Each part gets as many of the large pages.
    pages = sorted(site.rglob("*.html"), key=lambda path: (path.stat().st_size, path))
    assert len(pages) > len(PAIRS) + 2 * len(STAGES)
    wrong = []
    for path in pages[part::PARTS]:
        name = path.relative_to(site)
        browser.look(390)
        browser.open(path.as_uri())
        wrong += [f"{name}: {complaint}" for complaint in browser.complaints]
        # One diff is like the other where there is room.
        for width in (390,) if path.parent.name == "diff" else (390, 1280):
            browser.look(width)
            sideways = browser.evaluate(SIDEWAYS)
            if sideways > 0:
                wrong.append(f"{name}: at {width} pixels {sideways} too wide")
        headings = browser.evaluate("document.querySelectorAll('h1').length")
        if headings != (name.name != "search.html"):
            wrong.append(f"{name}: {headings} headings of the first level")
        if browser.evaluate("document.querySelectorAll('img:not([alt])').length"):
            wrong.append(f"{name}: a picture without a description")
    local = ("file:", "data:", "about:")
    wrong += [f"asks for {url}" for url in browser.requested if not url.startswith(local)]
    assert not wrong, "\n".join(wrong)


def test_no_page_needs_the_network(site):
    loads = r"<(?!a\b)\w[^>]* (?:src|srcset|href|data|poster)=\"\s*((?:https?:)?//[^\"]*)"
    style = r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?/[^)\s"']*)"""
    found = []
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        text = path.read_text(encoding="utf-8")
        urls = re.findall(loads, text) if path.suffix == ".html" else re.findall(style, text)
        found += [f"{path.relative_to(site)}: {url}" for url in urls]
    assert not found, "\n".join(found)


# Finding one's way.

BACKGROUND = "getComputedStyle(document.body).backgroundColor"


def links_to_files(links):
    return {link.rpartition("/")[2] for link in links}


def test_chapters_come_in_their_order(page):
    opened = page("index.html")
    links = opened.evaluate("[...document.querySelectorAll('.sidebar-tree a')].map(a => a.href)")
    names = [Path(link).stem for link in links]
    numbered = sorted(path.stem for path in (ROOT / "docs").glob("[0-9][0-9]-*.md"))
    numbered += ["98-sample", "99-other"]
    last = ("your-own-server", "glossary", "departures", "options", "kernels", "instructor")
    numbered += [name for name in last if f"{name}.html" in links_to_files(links)]
    assert "glossary" in numbered and "instructor" in numbered
    assert names[: len(numbered)] == numbered
    assert names[-2:] == ["diffs", "sources"]


def test_the_search_finds_time_wait(page, site):
    opened = page("search.html?q=TIME_WAIT")
    results = wait_until(
        lambda: "finished" in opened.evaluate("document.querySelector('#search-results').innerText")
        and opened.evaluate("[...document.querySelectorAll('.search li a')].map(a => a.href)"),
        "results of the search",
    )
    names = [result.removeprefix(f"{site.as_uri()}/").partition("?")[0] for result in results]
    assert "99-other.html" in names and "source/02-reuseaddr/server.c.html" in names, names
    first_source = next(i for i, name in enumerate(names) if name.startswith("source/"))
    assert all(name.startswith("source/") for name in names[first_source:]), names
    assert not opened.complaints


def test_the_search_does_not_find_comments(page):
    opened = page("search.html?q=concealed")
    results = "document.querySelector('#search-results').innerText"
    wait_until(lambda: re.search("finished|did not match", opened.evaluate(results)), "results")
    assert "did not match" in opened.evaluate(results)


def focus(opened):
    """The element that has the focus, by its id or class or text."""
    return opened.evaluate(
        "(e => e.id || e.className || e.textContent)(document.activeElement)"
    )


def test_dark_and_light_by_keyboard(page):
    opened = page("index.html")
    light = opened.evaluate(BACKGROUND)
    opened.evaluate("document.querySelector('.theme-toggle-content button').focus()")
    opened.press("Enter")
    wait_until(lambda: opened.evaluate("document.body.dataset.theme") == "dark", "dark")
    dark = opened.evaluate(BACKGROUND)
    assert dark != light
    # The next page remembers.
    opened = page("diffs.html")
    assert opened.evaluate(BACKGROUND) == dark
    opened.evaluate("localStorage.clear()")
    assert page("index.html", scheme="dark").evaluate(BACKGROUND) == dark


def test_navigation_by_keyboard_on_a_narrow_page(page):
    opened = page("98-sample.html", width=390)
    opened.press("Tab")
    assert focus(opened) == "skip-navigation"
    opened.press("Tab")
    assert focus(opened) == "__navigation"
    link = "document.querySelector('.sidebar-tree a')"
    visible = f"{link}.checkVisibility({{visibilityProperty: true}})"
    assert not opened.evaluate(visible), "a link outside of the window can have the focus"
    opened.press(" ")
    wait_until(lambda: opened.evaluate(f"{visible} && {link}.getBoundingClientRect().x >= 0"), "it")


# A chapter.


def test_links_of_a_chapter(page):
    opened = page("98-sample.html")
    links = opened.evaluate(
        "Object.fromEntries([...document.querySelectorAll('article a')].map("
        "a => [a.textContent.replace(/\\s+/g, ' '), a.getAttribute('href')]))"
    )
    for text, target in {
        "the other one": "99-other.html#9-so_reuseaddr-and-time_wait",
        "its beginning": "99-other.html",
        "a source of a stage": "source/02-reuseaddr/server.c.html",
        "a line of it": "source/02-reuseaddr/server.c.html#L-7",
        "a folder": "sources.html#01-basic",
        "a test": "source/tests/integration/course.py.html",
        "the README": "index.html#the-labs",
        "this": "#what-you-see",
        "a picture": "pictures/sample.svg",
        "backlog": "glossary.html#backlog",
        "RST": "glossary.html#reset-rst",
    }.items():
        assert links.pop(text, None) == target
    words = opened.evaluate("[...document.querySelectorAll('a.word')].map(a => a.textContent)")
    assert words.count("backlog") == 1, "only the first use of a word is a link"
    text = opened.evaluate("document.querySelector('article').innerText")
    assert "[a](nowhere.md)" in text and "--help" in text and "sesquipedalian--words" in text
    assert "[not a link](either.md) <!-- and not a comment -->" in text
    assert "generated" not in text and "concealed" not in text


def test_a_drawing_is_a_document_of_its_own(page):
    """So that what it says of a segment can be seen where the mouse rests on it."""
    opened = page("98-sample.html")
    drawing = "document.querySelector('article object')"
    assert opened.evaluate(f"{drawing}.getAttribute('data')") == "pictures/sample.svg"
    assert opened.evaluate(f"{drawing}.getAttribute('aria-label')") == "A picture of a square"
    # Shown in its place, the picture for browsers that cannot do it has no size.
    assert opened.evaluate(f"{drawing}.firstElementChild.getBoundingClientRect().width") == 0
    shape = f"(({{width, height}}) => width / height)({drawing}.getBoundingClientRect())"
    assert opened.evaluate(shape) == pytest.approx(10, rel=0.02)
    assert opened.evaluate(f"{drawing}.tabIndex") == -1


def test_answers_are_folded_and_printed(page):
    opened = page("98-sample.html")
    answers = "[...document.querySelectorAll('article details')].map(d => d.open)"
    assert opened.evaluate(answers) == [False, False]
    shown = (
        "[...document.querySelectorAll('article details strong, article details em')]"
        ".map(e => e.checkVisibility({contentVisibilityAuto: true}))"
    )
    assert opened.evaluate(shown) == [False, False]
    opened = page("98-sample.html", scheme="dark", media="print")
    assert opened.evaluate(shown) == [True, True]
    assert opened.evaluate(BACKGROUND) == "rgb(255, 255, 255)"
    for part in (".sidebar-drawer", ".toc-drawer", ".related-pages"):
        assert not opened.evaluate(f"document.querySelector('{part}').checkVisibility()"), part


def test_a_source_has_numbered_lines(page):
    opened = page("source/02-reuseaddr/server.c.html#L-7")
    text = (ROOT / "02-reuseaddr" / "server.c").read_text(encoding="utf-8")
    lines = opened.evaluate(
        "[...document.querySelectorAll('.source pre > span')].map(line => line.innerText)"
    )
    numbered = [f"{number}{line}".rstrip() for number, line in enumerate(text.splitlines(), 1)]
    assert [re.sub(r"^ +", "", line).rstrip() for line in lines] == numbered
    assert opened.evaluate("document.querySelector(':target').id") == "L-7"
    assert opened.evaluate("document.querySelectorAll('.source .k').length") > 5, "no highlighting"


# The diffs.


def test_there_is_a_diff_of_any_two_stages(page, site):
    opened = page("diffs.html")
    links = opened.evaluate(
        "[...document.querySelectorAll('td a')].map(a => [a.textContent, a.href])"
    )
    assert [text for text, _ in links] == [f"{old} → {new}" for old, new in PAIRS]
    for text, link in links:
        html = Path(link[len("file://") :]).read_text(encoding="utf-8")
        assert re.search(rf"<h1>{text}<", html)
    assert len(list((site / "diff").iterdir())) == len(PAIRS)


@pytest.mark.parametrize("old, new", [(0, 1), (0, 7), (1, 5), (6, 7)])
def test_a_diff_is_complete(page, old, new):
    """What stands on a side of it is the whole file of that stage, and all signs are right."""
    opened = page(f"diff/{STAGES[old][:2]}-{STAGES[new][:2]}.html")
    diffs = opened.evaluate(
        """[...document.querySelectorAll('.diff')].map(diff =>
        [...diff.querySelectorAll('.line')].map(line =>
        [line.parentNode.className, line.dataset.before, line.dataset.after,
         ...[...line.children].map(part => part.textContent)]))"""
    )
    for program, lines in zip(("server.c", "client.c"), diffs, strict=True):
        old_lines, new_lines = (
            (ROOT / STAGES[stage] / program).read_text(encoding="utf-8").splitlines()
            for stage in (old, new)
        )
        left = [line[1:] for line in lines if line[0] == "old"]
        right = [line[1:] for line in lines if line[0] == "new"]
        assert [code for _, _, _, code in left] == old_lines
        assert [code for _, _, _, code in right] == new_lines
        assert [before for before, _, _, _ in left] == numbers(old_lines)
        assert [after for _, after, _, _ in right] == numbers(new_lines)
        assert {sign for _, _, sign, _ in left} <= {" ", "−"}
        assert {sign for _, _, sign, _ in right} <= {" ", "+"}
        same = [code for _, _, sign, code in left if sign == " "]
        assert same == [code for _, _, sign, code in right if sign == " "]
        assert len(same) < len(new_lines) or old_lines == new_lines
        # Inline, the lines that are the same come from the right, with both their numbers.
        for before, after, sign, code in right:
            if sign == " ":
                assert old_lines[int(before) - 1] == new_lines[int(after) - 1] == code


def numbers(lines):
    return [str(number) for number in range(1, len(lines) + 1)]


def test_both_views_without_javascript(page, browser):
    added = "    if (set_option(listener, IPPROTO_TCP, TCP_NODELAY, nodelay) < 0)"
    assert added in (ROOT / "06-keepalive-nodelay" / "server.c").read_text(encoding="utf-8")
    # Where a line that is new in stage 06 is, and the old side of the same place.
    where = f"""(line => {{
        const side = line.parentNode, other = side.previousSibling;
        return [side.className, line.querySelector("b").textContent,
                side.getBoundingClientRect().x - other.getBoundingClientRect().x,
                side.getBoundingClientRect().y - other.getBoundingClientRect().y,
                getComputedStyle(line).backgroundColor]}})(
        [...document.querySelectorAll(".diff .line")].find(
            line => line.querySelector("code").textContent == {added!r}))"""
    shown = """[...document.querySelectorAll(".diff > div > .same > .old .line")].filter(
        line => line.checkVisibility()).length"""
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        opened = page("diff/02-06.html")
        side, sign, right, down, colour = opened.evaluate(where)
        assert (side, sign) == ("new", "+") and right > 300 and down == 0
        assert opened.evaluate(shown) > 20
        opened.evaluate("document.querySelector('#view-side').focus()")
        opened.press("ArrowRight")
        assert focus(opened) == "view-inline"
        side, sign, right, down, inline_colour = opened.evaluate(where)
        assert (side, sign) == ("new", "+") and right == 0 and down > 0
        assert inline_colour == colour != "rgba(0, 0, 0, 0)"
        assert opened.evaluate(shown) == 0
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


# Looking at it.


def test_screenshots(page):
    """Leaves pictures in build/book-screenshots for a person to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    def take(name):
        for width in (1280, 390):
            for scheme in ("light", "dark"):
                opened.look(width, scheme=scheme)
                opened.screenshot(SCREENSHOTS / f"{name}-{width}-{scheme}.png")
        light, dark = (SCREENSHOTS / f"{name}-390-{scheme}.png" for scheme in ("light", "dark"))
        assert light.read_bytes() != dark.read_bytes()

    views = {
        "index": "index.html",
        "chapter": "98-sample.html#what-you-see",
        "source": "source/02-reuseaddr/server.c.html#L-7",
        "search": "search.html?q=TIME_WAIT",
        "diffs": "diffs.html",
        "diff": "diff/02-06.html",
    }
    for name, view in views.items():
        opened = page(view)
        take(name)
    opened.evaluate("document.querySelector('#view-inline').click()")
    take("diff-inline")
    assert page("diff/02-06.html", width=390).evaluate(
        "document.querySelector('#view-inline').checked"
    ), "a narrow page shows the diff inline at first"
    opened = page("98-sample.html", scheme="dark", media="print")
    opened.screenshot(SCREENSHOTS / "chapter-printed.png")


# Mistakes of authors.


def test_a_link_that_leads_nowhere_is_named(python, tmp_path):
    chapter = "# 01 A\n\n[a](02-b.md) [b](../no/server.c) `[c](d)` ![e](pictures/f.svg)\n"
    (tmp_path / "01-a.md").write_text(chapter, encoding="utf-8")
    result = make(python, "--docs", tmp_path, tmp_path / "book")
    assert result.returncode == 1
    links = ("02-b.md", "../no/server.c", "pictures/f.svg")
    assert result.stderr.splitlines() == [f"docs/01-a.md: leads nowhere: {link}" for link in links]


def test_a_missing_heading_is_named(python, tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#here">', encoding="utf-8")
    (tmp_path / "b.html").write_text('<p id="there"><a href="c.html">', encoding="utf-8")
    script = "import make, sys; print(*make.dead_links(make.Path(sys.argv[1])), sep='; ')"
    found = subprocess.run(
        [python, "-B", "-c", script, tmp_path],
        cwd=MAKE.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "a.html: there is no heading b.html#here; b.html: there is no c.html\n"
