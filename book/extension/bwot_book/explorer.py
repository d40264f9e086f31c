"""The directive ``{explorer}``: the live explorer of hard samples, and what stands in its place on paper.

``:::{explorer} batch`` is the batch with its plan and settings, followed by a numbered figure of where it starts; its content is
the figure's caption, ``:name:`` its label, ``:alt:`` what it shows. ``:::{explorer} steps`` is the six losses side by side. The
scripts and the style sheet are loaded on pages that have the directive, and on no others.
"""

import inspect
import json
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.parsers.rst.directives.images import Figure

from bwot import explorer, figures, play
from bwot_book.drawn import as_address

PARTS = ("batch", "steps")
SCRIPTS = ("math", "drawing", "batch", "plan", "steps", "explorer")
"""In the order in which they need each other; classic scripts, for a browser loads no modules from disk."""


def markup(part: str) -> str:
    """HTML of a part, with what it starts from in it."""
    template = Path(__file__).with_name(f"explorer_{part}.html").read_text(encoding="utf-8")
    start = json.dumps(play.start(), ensure_ascii=False).replace("</", "<\\/")
    return template.replace("START", start)


def still() -> str:
    """Address of the picture of the start: the picture itself."""
    figures.theme()
    return as_address(explorer.draw_play(play.play_batch(), play.Settings()))


class ExplorerDirective(Figure):
    """A part of the explorer."""

    option_spec = {"name": directives.unchanged, "alt": directives.unchanged}

    def run(self):
        part = directives.choice(self.arguments[0], PARTS)
        env = self.state.document.settings.env
        for source in (play, explorer):
            env.note_dependency(inspect.getsourcefile(source))
        env.note_dependency(str(Path(__file__).with_name(f"explorer_{part}.html")))
        live = nodes.raw("", markup(part), format="html")
        if part == "steps":
            return [live]
        self.arguments = [still()]
        figure, *problems = super().run()
        figure["classes"].append("explorer-still")
        figure[0]["classes"].append("dark-light")
        return [live, figure, *problems]


def add_files(app, pagename, templatename, context, doctree):
    """Scripts and style sheet, for a page that has an explorer."""
    raw = doctree.findall(nodes.raw) if doctree else ()
    if any('id="explorer"' in node.astext() for node in raw):
        app.add_css_file("explorer/explorer.css")
        for script in SCRIPTS:
            app.add_js_file(f"explorer/{script}.js", loading_method="defer")
