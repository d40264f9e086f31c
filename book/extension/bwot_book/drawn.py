"""The directive ``{drawn}``: a numbered figure of the first page, drawn from the records when the book is built.

``:::{drawn} weighting`` and ``:::{drawn} convergence`` are the pictures of :mod:`bwot.front`; caption and alternative text come
with them. ``:name:`` is the label. There are two renderings, one for phones; the style sheet shows one of them.
"""

import base64
import inspect
from pathlib import Path

from docutils.parsers.rst import directives
from docutils.parsers.rst.directives.images import Figure
from docutils.statemachine import StringList

from bwot import figures, front, play


def as_address(figure) -> str:
    """Address of a picture that is the picture itself, and follows the theme."""
    return "data:image/svg+xml;base64," + base64.b64encode(figures.svg(figure).encode()).decode()


class DrawnDirective(Figure):
    """A picture of the first page."""

    option_spec = {"name": directives.unchanged}

    def run(self):
        part = directives.choice(self.arguments[0], ("weighting", "convergence"))
        env = self.state.document.settings.env
        for source in (front, play, figures):
            env.note_dependency(inspect.getsourcefile(source))
        figures.theme()
        picture = front.weighting() if part == "weighting" else front.convergence(front.records(Path(env.srcdir)))  # fmt: skip
        if picture is None:
            raise self.error("no committed record has a curve to draw.")
        self.arguments = [as_address(picture.figure)]
        self.options["alt"] = picture.alt
        self.content = StringList([picture.caption], source=env.doc2path(env.docname))
        figure, *problems = super().run()
        figure[0]["classes"] += ["dark-light", "for-desks"]
        phone = figure[0].deepcopy()
        phone["uri"] = as_address(picture.phone)
        phone["classes"] = ["dark-light", "for-phones"]
        figure.insert(1, phone)
        return [figure, *problems]
