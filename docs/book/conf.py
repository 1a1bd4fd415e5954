"""Sphinx's settings for the book; make.py writes the pages that it reads."""

import re
from pathlib import Path

from docutils import nodes
from sphinx.transforms import SphinxTransform

HERE = Path(__file__).resolve().parent

project = "TCP servers, one option at a time"
html_title = project
extensions = ["myst_parser"]
templates_path = [str(HERE / "templates")]

# The chapters say what they mean: --help keeps its two dashes, and a block without a language
# is not C or Python.
smartquotes = False
highlight_language = "text"
suppress_warnings = ["misc.highlighting_failure"]

# make.py has already turned every link into that of a page.
myst_all_links_external = True
myst_heading_anchors = 6

html_theme = "furo"
html_theme_options = {"top_of_page_button": None}
html_static_path = [str(HERE / "static")]
html_css_files = ["book.css"]
pygments_style = "default"
pygments_dark_style = "native"
html_copy_source = False
html_show_copyright = False
html_use_index = False
html_search_scorer = str(HERE / "scorer.js")
# An excerpt would have to be fetched, which a browser refuses to pages opened from a file.
html_show_search_summary = False


class HeadingsAsOnACodeHost(SphinxTransform):
    """Gives a heading the anchor that code hosts give it, so that links work on both."""

    default_priority = 10

    def apply(self, **_):
        for section in self.document.findall(nodes.section):
            anchor = section.get("slug") or section.get("myst-anchor", "").rpartition("#")[2]
            if anchor:
                section["ids"] = [anchor]


class WordsOfTheGlossary(SphinxTransform):
    """Links the first use of a word of the glossary in a chapter to what it means."""

    default_priority = 20
    elsewhere = (nodes.reference, nodes.literal_block, nodes.title, nodes.raw)

    def apply(self, **_):
        glossary = Path(self.app.srcdir) / "glossary.md"
        if not self.env.docname[:2].isdigit() or not glossary.exists():
            return
        titles = re.findall(r"^## (.*)$", glossary.read_text(encoding="utf-8"), re.M)
        words = {form: title for title in titles for form in title.split(", ")}
        forms = sorted(words, key=len, reverse=True)
        pattern = re.compile("|".join(rf"(?<![\w-]){written(form)}s?(?![\w-])" for form in forms))
        new = set(titles)

        def link(word, shown):
            """A link around what is shown, if this is the word's first use; else None."""
            title = next(t for f, t in words.items() if re.fullmatch(rf"{written(f)}s?", word))
            if title not in new:
                return None
            new.remove(title)
            anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            node = nodes.reference("", "", shown, refuri=f"glossary.html#{anchor}")
            node["classes"].append("word")
            return node

        for node in list(self.document.findall()):
            if any(isinstance(above, self.elsewhere) for above in ancestors(node)):
                continue
            if isinstance(node, nodes.literal) and pattern.fullmatch(node.astext()):
                found = link(node.astext(), node.deepcopy())
                if found is not None:
                    node.parent.replace(node, found)
            elif isinstance(node, nodes.Text) and not isinstance(node.parent, nodes.literal):
                node.parent.replace(node, list(linked(node, pattern, link)))


def ancestors(node):
    while node.parent is not None:
        node = node.parent
        yield node


def linked(text, pattern, link):
    """A text in pieces, some of them links."""
    end = 0
    for match in pattern.finditer(text):
        found = link(match[0], nodes.Text(match[0]))
        if found is not None:
            yield nodes.Text(text[end : match.start()])
            yield found
            end = match.end()
    yield nodes.Text(text[end:])


def written(form):
    """A pattern for a word as it may be written: with a capital letter at the beginning of a
    sentence, and broken between two lines."""
    words = [re.escape(word) for word in form.split()]
    if not re.search("[A-Z]", form):
        words[0] = f"[{form[0]}{form[0].upper()}]{words[0][1:]}"
    return r"\s+".join(words)


def setup(app):
    app.add_transform(HeadingsAsOnACodeHost)
    app.add_transform(WordsOfTheGlossary)
