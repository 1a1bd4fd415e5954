#!/usr/bin/env python3
"""Writes docs/kernels.md from what tests/kernels/kernels.sh has left in build/kernels."""

import re
import sys
import xml.etree.ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build" / "kernels"

INTRODUCTION = """# On which kernels this was seen

Each column is a kernel of Debian's, in a virtual machine without a network, where an ordinary user
ran `make tour`, `make labs` and `make test`. The machine is emulated, two processors, and about ten
times slower than one of metal: where a part needs more speed to tell one thing from another, it says
so. The whole page is written by `make kernels` ([how](maintaining.md)).
"""

WORDS = {
    "seen": "each verdict of the part was given",
    "slow": "the emulated machine is too slow to tell",
    "not here": "the kernel does not have what the part needs, or does not allow it; the note says what",
    "NOT SEEN": "the effect was looked for and missed",
    "failed, no verdict": "the part did not come to its end",
}


class Kernel:
    """What one kernel's machine left behind."""

    def __init__(self, folder):
        self.version = folder.parent.name
        self.folder = folder
        self.release = (folder / "release").read_text(encoding="utf-8").strip()
        self.commit = (self.text("commit") or "–").strip()

    def sort_key(self):
        return [int(number) for number in self.version.split(".")]

    def text(self, *names):
        path = self.folder.joinpath(*names)
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else None

    def task(self, name):
        """A cell about make NAME: how it ended, and how long it took."""
        status = self.text(f"{name}.status")
        if status is None:
            return "not run"
        code, seconds = status.split()
        words = {"0": "all well", "124": "took too long"}.get(code, f"**status {code}**")
        return f"{words}, {int(seconds) / 60:.0f} min" if int(seconds) > 99 else f"{words}, {seconds} s"

    def part(self, lab, name, notes):
        """A cell about a part of a lab."""
        text = self.text("labs", lab, f"{name}.txt")
        if text is None:
            return "–"
        said = {
            word: re.findall(rf"^  {word}: (.*)$", text, re.M)
            for word in ("seen", "NOT SEEN", "FAILED", "not shown here")
        }
        slow = [why for why in said["not shown here"] if "too slow" in why]
        cells = ["seen"] if said["seen"] else []
        cells += [f"**NOT SEEN** {notes.mark(why)}" for why in said["NOT SEEN"]]
        cells += [f"**failed** {notes.mark(why)}" for why in said["FAILED"]]
        cells += ["slow"] if slow else []
        for why in said["not shown here"]:
            if why not in slow:
                cells.append(f"not here {notes.mark(why.partition('; this is Linux')[0])}")
        # A part that takes too long is ended from outside.
        return "; ".join(cells) or "**no verdict**"

    def tests(self):
        """{"unit" or "integration": (how many, skipped with their reasons, failed)}"""
        found = {}
        for name in ("unit", "integration"):
            text = self.text(f"{name}.xml")
            if text is None:
                continue
            cases = list(xml.etree.ElementTree.fromstring(text).iter("testcase"))
            skipped = [case for case in cases if case.find("skipped") is not None]
            failed = [
                f"{case.get('classname')} {case.get('name')}"
                for case in cases
                if case.find("failure") is not None or case.find("error") is not None
            ]
            reasons = sorted({case.find("skipped").get("message", "") for case in skipped})
            found[name] = (len(cases), len(skipped), reasons, failed)
        return found


class Notes:
    """Reasons, each with its number."""

    def __init__(self):
        self.reasons = []

    def mark(self, reason):
        if reason not in self.reasons:
            self.reasons.append(reason)
        return f"({self.reasons.index(reason) + 1})"

    def lines(self):
        return [f"{i}. {reason}" for i, reason in enumerate(self.reasons, 1)]


def row(*cells):
    return f"| {' | '.join(cells)} |"


def table(head, rows):
    return [row(*head), row(*("---" for _ in head)), *(row(*cells) for cells in rows), ""]


def parts_of(kernels, lab):
    """The names of a lab's parts in their order, with their questions."""
    for kernel in kernels:
        listed = kernel.text("labs", lab, "parts.list")
        if listed is not None:
            title, *names = listed.splitlines()
            questions = [kernel.text("labs", lab, f"{name}.txt").strip() for name in names]
            return title, [(n, q.splitlines()[0] if q else n) for n, q in zip(names, questions)]
    return lab, []


def page(kernels):
    heads = [kernel.version for kernel in kernels]
    notes = Notes()
    lines = [INTRODUCTION]
    lines += table(
        ["", *heads],
        [
            ["`uname -r`", *(kernel.release for kernel in kernels)],
            ["the course's commit", *(kernel.commit for kernel in kernels)],
            *(
                [f"`make {task}`", *(kernel.task(task) for kernel in kernels)]
                for task in ("tour", "labs", "test")
            ),
        ],
    )
    lines += [f"- *{word}*: {meaning}" for word, meaning in WORDS.items()] + [""]
    for lab in sorted({path.name for k in kernels for path in k.folder.glob("labs/[0-9]*/")}):
        title, parts = parts_of(kernels, lab)
        lines += [f"## {lab}: {title}", ""]
        lines += table(
            ["", *heads],
            [
                [question, *(kernel.part(lab, name, notes) for kernel in kernels)]
                for name, question in parts
            ],
        )
    if notes.reasons:
        lines += ["## Notes", "", *notes.lines(), ""]
    lines += tests_of(kernels)
    return "\n".join(lines)


def tests_of(kernels):
    lines = []
    for kernel in kernels:
        for name, (count, skipped, reasons, failed) in kernel.tests().items():
            lines.append(
                f"- {kernel.version}, {name}: {count - skipped - len(failed)} passed, "
                f"{skipped} skipped, {len(failed)} failed"
            )
            lines += [f"  - skipped: {reason}" for reason in reasons if reason]
            lines += [f"  - **failed**: {case}" for case in failed]
    return ["## Tests", "", *lines, ""] if lines else []


def main():
    kernels = sorted(
        (Kernel(path.parent) for path in RESULTS.glob("*/results/release")), key=Kernel.sort_key
    )
    if not kernels:
        sys.exit("table.py: no results in build/kernels; make kernels has them made")
    (ROOT / "docs" / "kernels.md").write_text(page(kernels), encoding="utf-8")


main()
