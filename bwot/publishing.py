"""From a notebook and its parameters to a page of the book.

Papermill executes the notebook under a temporary name; then what each figure said of itself (name, alternative text,
caption) is put where the book reads it, labels get the page's name in front, and the whole is moved in place.
"""

import os
import re
import shutil
import time
from pathlib import Path

import nbformat

from bwot.paths import PROJECT, runs_root

DATASET_TITLES = {
    "mnist": "MNIST",
    "cifar10": "CIFAR-10",
    "modelnet10": "ModelNet10",
    "modelnet40": "ModelNet40",
    "modelnet40-views": "ModelNet40, twelve shaded images a shape",
    "psb": "Princeton Shape Benchmark",
    "shrec13": "SHREC'13",
    "shrec13-15": "SHREC'13, 15-class subset",
    "shrec14": "SHREC'14",
}


class PageError(RuntimeError):
    """A notebook that stopped with an exception or whose kernel died; the failed notebook is kept."""


def make_page(notebook: Path, output: Path, parameters: dict) -> None:
    """Execute ``notebook`` with ``parameters`` and write the page ``output``, whole or not at all.

    Raises:
        FileNotFoundError: if there is no such notebook.
        ValueError: for a parameter that the notebook does not have; nothing is started.
        PageError: if a cell raises; names cell and exception, and where the failed notebook is kept.
    """
    import papermill

    if not notebook.exists():
        known = ", ".join(sorted(path.stem for path in (PROJECT / "notebooks").glob("*.ipynb")))
        raise FileNotFoundError(f"there is no notebook {notebook}; there are {known}.")
    check_parameters(notebook, parameters)
    kept = runs_root() / "logs" / f"{output.stem}.failed.ipynb"
    for left in (kept, kept.with_suffix(".txt")):
        left.unlink(missing_ok=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.stem}.{os.getpid()}.part.ipynb")
    os.environ["BWOT_PROGRESS"] = "off"  # nobody watches a page being made
    try:
        started = time.monotonic()
        papermill.execute_notebook(
            notebook, partial, parameters, cwd=notebook.parent, progress_bar=False, log_output=False
        )
        page = publish(nbformat.read(partial, as_version=4), _label(output))
        page.metadata["bwot"] = {"seconds": round(time.monotonic() - started)}  # the book says so
        nbformat.write(page, partial)
        os.replace(partial, output)
    except (papermill.PapermillExecutionError, RuntimeError) as error:  # the latter: a dead kernel
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(partial, kept)  # runs/ may lie on another disk
        message = f"{notebook.name}: {_failure(error)}\nThe notebook as it failed: {kept}"
        kept.with_suffix(".txt").write_text(message + "\n")
        raise PageError(message) from error
    finally:
        partial.unlink(missing_ok=True)


def _failure(error):
    if isinstance(error, RuntimeError):
        return f"the kernel died, for want of memory perhaps ({error})"
    return f"cell In [{error.exec_count}] raised {error.ename}: {error.evalue}"


def _label(output):
    """A quick page stands beside the real one of its data set: its labels and its title say so."""
    return f"try-{output.stem}" if output.parent.name == "executed" else output.stem


def _title(label):
    """What stands in place of "Images", "Shapes" or "Sketches" in the title: the data set, since every one has a page."""
    stem = label.removeprefix("try-")
    return ("Try it: " if stem != label else "") + DATASET_TITLES.get(stem, stem)


def check_parameters(notebook: Path, parameters: dict) -> None:
    """Refuse parameters that the notebook does not have: papermill only logs them.

    Raises:
        ValueError: that names the unknown and the allowed ones.
    """
    import papermill

    allowed = list(papermill.inspect_notebook(notebook))
    unknown = sorted(parameters.keys() - set(allowed))
    if unknown:
        raise ValueError(
            f"{notebook.name} has no parameter {', '.join(unknown)}; it has {', '.join(allowed)}."
        )


def publish(page: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """The executed notebook as the book wants it; ``name`` goes in front of its labels, folders of a machine go out."""
    labels = set()
    for cell in page.cells:
        for output in cell.get("outputs", []):
            said = output.get("metadata", {}).pop("bwot", None)
            if said:
                labels.add(said["name"])
                cell.metadata["mystnb"] = {
                    "image": {"alt": said["alt"], "classes": "dark-light"},
                    "figure": {"name": f"{name}-{said['name']}", "caption": said["caption"]},
                }
    for cell in page.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(
                r"^# (Images|Shapes|Sketches)(?=:)", f"# {_title(name)}", cell.source
            )
            cell.source = _prefixed(cell.source, labels, name)
        if "injected-parameters" in cell.metadata.get("tags", []):
            cell.source = re.sub(
                r"^(data|results)_dir = .*\n?", "", cell.source, flags=re.MULTILINE
            )
        cell.metadata.pop("papermill", None)
        cell.get("metadata", {}).pop("execution", None)
    page.metadata.pop("papermill", None)
    return page


def _prefixed(source, labels, name):
    """``{numref}`plan``` becomes ``{numref}`<name>-plan``` for the labels of this page's figures."""

    def replaced(match):
        return f"{match[1]}{name}-{match[2]}`" if match[2] in labels else match[0]

    return re.sub(r"(\{(?:numref|ref)\}`)([\w-]+)`", replaced, source)
