"""Are the notebooks a pleasure live? Seconds from the top at preset quick, the kernel's memory, and how fast sliders answer.

`python benchmarks/notebooks.py` runs each notebook as it is, with progress bars and without finished runs, and prints wall and
processor time and the peak of the kernel's memory; then it moves the sliders of the explorer. Exit status 1 where a target is
missed. On a machine that is busy with other work, only the processor times count.
"""

import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import papermill

from bwot import figures
from bwot.explorer import explore_play
from bwot.paths import PROJECT

TARGETS = {"seconds": 120, "megabytes": 2000, "slider": 200}
NOTEBOOKS = {
    "hard_samples": [{}],
    "images": [{"dataset": "mnist"}, {"dataset": "cifar10"}],
    "shapes": [{"dataset": "modelnet10"}],
    "sketches": [{"dataset": "shrec13-15"}],
}
LAST = "import resource\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
MOVES = 20


def run(notebook: str, parameters: dict) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and the kernel's peak in megabytes."""
    page = nbformat.read(PROJECT / "notebooks" / f"{notebook}.ipynb", as_version=4)
    page.cells.append(nbformat.v4.new_code_cell(LAST))
    given = parameters | {"preset": "quick"} if parameters else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{notebook}.ipynb")
        nbformat.write(page, path)
        os.environ["BWOT_RUNS"] = str(Path(folder, "runs"))
        before, started = _children(), time.perf_counter()
        done = papermill.execute_notebook(path, Path(folder, "out.ipynb"), given, cwd=folder, progress_bar=False)  # fmt: skip
        wall, processor = time.perf_counter() - started, _children() - before
    peak = float(done.cells[-1].outputs[0].text)
    return wall, processor, peak / (1024**2 if sys.platform == "darwin" else 1024)


def _children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def slider() -> float:
    """Median processor milliseconds from a moved slider to the picture, of the explorer with the most to draw."""
    figures.theme()
    box, taken = explore_play(), []
    lam = next(each for each in box.children if getattr(each, "description", "").startswith("λ"))
    for move in range(MOVES):
        started = time.process_time()
        lam.value = 10 ** (move / MOVES)
        taken.append(1000 * (time.process_time() - started))
    return statistics.median(taken)


def main() -> int:
    missed = []
    for notebook, choices in NOTEBOOKS.items():
        for parameters in choices:
            wall, processor, peak = run(notebook, parameters)
            name = " ".join([notebook, *parameters.values()])
            print(f"{name:<22} {wall:6.1f} s, {processor:6.1f} s of processor, {peak:6.0f} MB")
            if wall > TARGETS["seconds"] or peak > TARGETS["megabytes"]:
                missed.append(name)
    answer = slider()
    print(f"{'slider of the explorer':<22} {answer:6.1f} ms of processor")
    missed += ["slider"] * (answer > TARGETS["slider"])
    print(f"targets {TARGETS}: {'missed by ' + ', '.join(missed) if missed else 'reached'}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
