"""The line below the title of a page that was a notebook: the notebook, how long it runs, and where it can be opened.

Addresses come from the one setting ``repository: url`` of ``_config.yml`` and are pinned to the tag of the release; while it is
empty there are none.
"""

import json
import re
import tomllib
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.errors import ConfigError

from bwot.experiments import EXPERIMENTS
from bwot.records import read_record

FOLDERS = ("book/pages", "book/executed")
GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+?)/?")
EXTRAS = {"shapes": "run,shapes"}
"""What a notebook needs of the package's extras; ``run`` is enough for the others."""


def repository(app, config):
    """Make the address a setting whose change makes all pages anew.

    Raises:
        ConfigError: for an address of another form: Colab and Binder open no other.
    """
    given = config.html_theme_options.get("repository_url") or ""
    if given and not GITHUB.fullmatch(given):
        raise ConfigError(f"repository: url in _config.yml must be https://github.com/OWNER/NAME or empty, not {given!r}.")  # fmt: skip
    config.bwot_repository = given.rstrip("/")


def notebook_of(docname: str) -> str | None:
    """The notebook that a page was made from; None for prose."""
    folder, _, stem = docname.rpartition("/")
    if folder not in FOLDERS:
        return None
    return next((name for name, kind in EXPERIMENTS.items() if stem in kind.DATASETS), stem)


def links(url: str, tag: str, notebook: str) -> dict[str, str]:
    """Title to address of the places that show or run a notebook."""
    path = GITHUB.fullmatch(url)[1]
    file = f"notebooks/{notebook}.ipynb"
    return {
        "Source": f"{url}/blob/{tag}/{file}",
        "Open in Colab": f"https://colab.research.google.com/github/{path}/blob/{tag}/{file}",
        "Open in Binder": f"https://mybinder.org/v2/gh/{path}/{tag}?urlpath=lab/tree/{file}",
    }


def install(url: str, tag: str, notebook: str) -> str:
    """What a first cell installs where nothing is: within our ranges, so that the torch which is there stays."""
    return f'%pip install "bwot[{EXTRAS.get(notebook, "run")}] @ git+{url}@{tag}"'


def duration(app, docname: str) -> str:
    """How long the page takes to make again; empty where nothing says it."""
    folder, _, stem = docname.rpartition("/")
    if folder == "book/executed":
        page = json.loads(Path(app.env.doc2path(docname)).read_text(encoding="utf-8"))
        seconds = page["metadata"].get("bwot", {}).get("seconds")
        return f"Takes {_long(seconds)} on the machine that built this book" if seconds else ""
    paths = sorted(Path(app.srcdir, "book/results", stem).rglob("*-seed*.json"))
    for path in paths:
        app.env.note_dependency(str(path))
    records = [read_record(path) for path in paths]
    seconds = sum(record.provenance["seconds"] for record in records)
    trained = sum(record.settings["epochs"] > 0 for record in records)
    return (
        f"Its {len(records)} records, {trained} of trained networks, took {_long(seconds)} one after another, without the tuning; "
        "at preset quick it takes minutes"
    )


def _long(seconds):
    minutes = seconds / 60
    return f"{minutes / 60:.0f} hours" if minutes > 180 else f"{max(1, minutes):.0f} min"


def add_line(app, doctree):
    """Put the line below the title; before Sphinx collects the files to download."""
    notebook = notebook_of(app.env.docname)
    title = next(doctree.findall(nodes.title), None)
    if notebook is None or title is None:
        return
    download = addnodes.download_reference("", "", refdoc=app.env.docname, reftarget=f"/notebooks/{notebook}.ipynb")  # fmt: skip
    download += nodes.literal("", f"{notebook}.ipynb", classes=["xref", "download"])
    line = nodes.paragraph("", "Notebook: ", download, nodes.Text(", to run it again. "))
    if said := duration(app, app.env.docname):
        line += nodes.Text(f"{said}. ")
    box = nodes.container("", line, classes=["about-page"])
    url = app.config.bwot_repository
    if url:
        project = tomllib.loads(Path(app.srcdir, "pyproject.toml").read_text(encoding="utf-8"))
        tag = f"v{project['project']['version']}"
        for place, address in links(url, tag, notebook).items():
            line += [nodes.reference("", place, refuri=address, internal=False), nodes.Text(" \N{MIDDLE DOT} ")]  # fmt: skip
        line.pop()
        box += nodes.paragraph("", "In Colab, first run ", nodes.literal("", install(url, tag, notebook)), nodes.Text(", which keeps its torch."))  # fmt: skip
    title.parent.insert(title.parent.index(title) + 1, box)
