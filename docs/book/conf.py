"""Sphinx's settings for the book; make.py writes the pages that it reads."""

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


def setup(app):
    app.add_transform(HeadingsAsOnACodeHost)
