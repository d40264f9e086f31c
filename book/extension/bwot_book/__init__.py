"""What the book needs beyond Jupyter Book: numbers and figures from records, the explorer, a line about each notebook, repairs.

``{result}`mnist/bwot map``` is the test mAP of the committed records of that data set and loss: mean ± standard deviation
over seeds, ``cifar10/tuned/bwot`` those of a folder below. After the name of the field may stand, in any order:

- ``@3``: at epoch 3 (from the history) and not at the end;
- ``.1%``, ``.2f``, ...: a format as Python writes it; ``.3f`` if none is given;
- ``n``: the number of runs is shown as well;
- ``settings.learning_rate=0.01`` and the like: only the records that have this value.

A field is a score (``map``), a path into the record (``provenance.seconds``, ``settings.learning_rate``) or ``runs``, the
number of runs. Settings are the same in all chosen records or it is an error: unlike runs are never averaged. Diverged runs
are counted beside every mean. ``{published}`mnist/bwot map @1 .1%``` is the authors' number (:mod:`bwot.published`).
"""

from dataclasses import asdict
from pathlib import Path

from docutils import nodes
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

from bwot.origins import label_of
from bwot.published import CURVES
from bwot.records import read_record
from bwot_book.about import add_line, repository
from bwot_book.drawn import DrawnDirective
from bwot_book.explorer import ExplorerDirective, add_files
from bwot_book.numbers import ResultError, choose, describe, parse, written
from bwot_book.repairs import mend_page

RESULTS = Path("book", "results")


class _NumberRole(SphinxRole):
    """A number with its source as tool tip and behind a link; a warning (in our build an error) where there is none."""

    def run(self):
        try:
            text, source, place = self.number(*parse(self.text))
            return [nodes.abbreviation("", text, explanation=source, classes=["result"], place=place)], []  # fmt: skip
        except (ResultError, ValueError) as error:
            logging.getLogger(__name__).warning(
                "%s: %s", self.rawtext, error, location=self.get_location()
            )
            self.env.note_reread()  # or the next build, with the page cached, would pass
            return [nodes.problematic(self.rawtext, self.rawtext)], []


class ResultRole(_NumberRole):
    def number(self, dataset, loss, field, options):
        folder = Path(self.env.srcdir) / RESULTS / dataset
        files = sorted(folder.glob("*.json"))
        if not files:
            there = ", ".join(sorted(p.name for p in folder.parent.glob("*/"))) or "none"
            raise ResultError(
                f"no records in {RESULTS / dataset}; data sets with records: {there}."
            )
        for path in files:
            self.env.note_dependency(str(path))
        chosen = choose([asdict(read_record(path)) for path in files], loss, options["filters"])
        seeds = ", ".join(str(r["seed"]) for r in chosen)
        source = f"{RESULTS / dataset}, loss {loss}, seeds {seeds}"
        return describe(chosen, field, options), source, ("book/records", label_of(dataset))


class PublishedRole(_NumberRole):
    def number(self, dataset, loss, field, options):
        key = (dataset, loss, field)
        if key not in CURVES:
            raise ResultError(
                f"no published {key}; there are: {', '.join('/'.join(k) for k in CURVES)}."
            )
        points = dict(zip(CURVES[key].epochs, CURVES[key].values, strict=True))
        if options["epoch"] not in points:
            raise ResultError(f"published {key} at {sorted(points)}, not at {options['epoch']}.")
        place = ("book/scoreboard", f"scoreboard-{dataset}-{loss}")
        return written(options["format"], points[options["epoch"]]), CURVES[key].source, place


def link_numbers(app, doctree, docname):
    """Put each number behind a link to the table that names its source: a tool tip is nothing for a finger or a key."""
    for number in list(doctree.findall(nodes.abbreviation)):
        if place := number.get("place"):
            page, label = place
            address = f"{app.builder.get_relative_uri(docname, page)}#{label}"
            link = nodes.reference("", "", internal=True, refuri=address, classes=["result-source"])
            number.replace_self(link)
            link += number


def watch_files(app, config):
    """Make changes of files that Sphinx does not watch changes of settings, which it does.

    A record that comes or goes: all pages are read again. A style sheet or script: all are written again.
    """
    root = Path(app.srcdir)
    config.bwot_records = [str(path) for path in sorted((root / RESULTS).rglob("*.json"))]
    static = sorted(p for p in (root / "book/static").rglob("*") if p.is_file())
    config.bwot_static = [[str(path), path.stat().st_mtime_ns] for path in static]


def drop_thebe_scripts(app, pagename, templatename, context, doctree):
    """sphinx-thebe comes with Jupyter Book, emits its scripts twice (an error in the browser) and has no kernel here."""
    files = context.get("script_files", [])
    context["script_files"] = [
        f for f in files if "thebe" not in f"{f.filename} {f.attributes.get('body')}"
    ]


def follow_the_readers_theme(app, pagename, templatename, context, doctree):
    """Light or dark as the reader's system is set, until a reader chooses; without a default the theme logs an error."""
    context.setdefault("default_mode", "auto")


def drop_thebe_settings(app, doctree, docname):
    """The page's kernel settings for sphinx-thebe, which would name an example repository that is not ours."""
    for node in list(doctree.findall(nodes.raw)):
        if "x-thebe-config" in node.astext() or node.astext().startswith("<script>kernelName"):
            node.parent.remove(node)


def setup(app):
    app.add_role("result", ResultRole())
    app.add_role("published", PublishedRole())
    app.add_directive("drawn", DrawnDirective)
    app.add_directive("explorer", ExplorerDirective)
    app.add_config_value("bwot_records", [], "env")
    app.add_config_value("bwot_static", [], "html")
    app.add_config_value("bwot_repository", "", "env")
    app.connect("config-inited", watch_files)
    app.connect("config-inited", repository)
    app.connect("doctree-read", add_line, priority=400)
    app.connect("html-page-context", add_files)
    app.connect("html-page-context", mend_page, priority=900)
    app.connect("html-page-context", drop_thebe_scripts, priority=900)
    app.connect("html-page-context", follow_the_readers_theme)
    app.connect("doctree-resolved", link_numbers)
    app.connect("doctree-resolved", drop_thebe_settings, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
