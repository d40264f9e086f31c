# The whole re-run as a graph: data → runs → notebooks → book.
#
#   snakemake --cores 2 book                        the notebooks on embedded data, and the book   (= make book)
#   snakemake --cores 2 --config preset=short -n    what the real thing would do, how long, how much disk
#   snakemake --cores 2 --config preset=short       the real thing; killed, it goes on where it was
#
# Settings (--config NAME=VALUE): preset (quick, short, full), data (folder with the data sets), results (folder for the
# records; book/results continues the committed ones), device (torch device). On a cluster: snakemake's executor plug-ins.

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from bwot import experiments, tables

PYTHON = f"{sys.executable} -m"
JUPYTER_BOOK = Path(sys.executable).with_name("jupyter-book")
SETTINGS = {"preset": "quick", "data": "", "results": "", "device": "cpu"}
if unknown := config.keys() - SETTINGS.keys():
    raise WorkflowError(f"no setting is called {', '.join(unknown)}; there are {', '.join(SETTINGS)}.")
SETTINGS |= config
PRESET = SETTINGS["preset"]
if PRESET not in experiments.PRESETS:
    raise WorkflowError(f"preset must be one of {', '.join(experiments.PRESETS)}, not {PRESET}.")
RESULTS = SETTINGS["results"] or f"runs/{PRESET}"
DATA = f"--data {SETTINGS['data']}" if SETTINGS["data"] else ""
DATA_DIR = f"-p data_dir {Path(SETTINGS['data']).resolve()}" if SETTINGS["data"] else ""

NOTEBOOKS = {"mnist": "images"}  # the notebook of each data set
CODE = [str(path) for path in sorted(Path("bwot").rglob("*.py"))]
BOOK = sorted(f"book/{path}" for path in glob_wildcards("book/{path,(?!_build|executed|pages|extension/.*__pycache__).*}").path)
REAL_PAGES = expand("book/pages/{dataset}.ipynb", dataset=NOTEBOOKS)
QUICK_PAGES = expand("book/executed/{page}.ipynb", page=["hard_samples", *NOTEBOOKS])


def records_of(dataset):
    runs = experiments.grid(PRESET, experiments.LOSSES, dataset=dataset)
    return [f"{RESULTS}/{run.dataset}/{run.loss}-seed{run.seed}.json" for run in runs]


# Asked for by name: a page that is there, as in a fresh checkout, would not ask for records that are not.
RUNS = [] if PRESET == "quick" else [path for dataset in NOTEBOOKS for path in records_of(dataset)]


localrules: book


rule book:
    input:
        RUNS, QUICK_PAGES, REAL_PAGES, BOOK, CODE, "_config.yml", "_toc.yml",
    output:
        "book/_build/html/index.html",
    log:
        "runs/logs/book.log",
    shell:
        "{JUPYTER_BOOK} build --path-output book -W --keep-going --quiet . >{log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


rule hard_samples:
    input:
        "notebooks/hard_samples.ipynb", CODE,
    output:
        "book/executed/hard_samples.ipynb",
    shell:
        "{PYTHON} bwot page hard_samples --output {output}"


rule quick_page:
    input:
        lambda wildcards: f"notebooks/{NOTEBOOKS[wildcards.dataset]}.ipynb", CODE,
    output:
        "book/executed/{dataset}.ipynb",
    wildcard_constraints:
        dataset="|".join(NOTEBOOKS),
    params:
        notebook=lambda wildcards: NOTEBOOKS[wildcards.dataset],
    shell:
        "{PYTHON} bwot page {params.notebook} -p dataset {wildcards.dataset} -p preset quick --output {output}"


if PRESET != "quick":

    rule data:
        output:
            touch("runs/data/{dataset}.ok"),
        shell:
            "{PYTHON} bwot data download {wildcards.dataset} {DATA}"

    rule run:
        input:
            ancient("runs/data/{dataset}.ok"),
        output:
            RESULTS + "/{dataset}/{loss}-seed{seed}.json",
        wildcard_constraints:
            loss="|".join(experiments.LOSSES),
            seed=r"\d+",
        log:
            f"runs/logs/{PRESET}-{{dataset}}-{{loss}}-{{seed}}.log",
        benchmark:
            f"runs/logs/{PRESET}-{{dataset}}-{{loss}}-{{seed}}.tsv"
        resources:
            gpu=int(SETTINGS["device"] != "cpu"),
        shell:
            "{PYTHON} bwot run images --dataset {wildcards.dataset} --preset {PRESET} --loss {wildcards.loss} "
            "--seed {wildcards.seed} --device {SETTINGS[device]} {DATA} --output {output} >{log} 2>&1 "
            "|| {{ cat {log} >&2; exit 1; }}"

    rule real_page:
        input:
            lambda wildcards: records_of(wildcards.dataset), ancient("runs/data/{dataset}.ok"), lambda wildcards: f"notebooks/{NOTEBOOKS[wildcards.dataset]}.ipynb",
        output:
            "book/pages/{dataset}.ipynb",
        params:
            notebook=lambda wildcards: NOTEBOOKS[wildcards.dataset],
            results=Path(RESULTS).resolve(),
        shell:
            "{PYTHON} bwot page {params.notebook} -p dataset {wildcards.dataset} -p preset {PRESET} {DATA_DIR} "
            "-p device {SETTINGS[device]} -p results_dir {params.results} --output {output}"


onstart:
    print(tables.forecast(PRESET), file=sys.stderr)


onerror:
    for path in sorted(Path("runs/logs").glob("*.failed.txt")):
        print(path.read_text(), file=sys.stderr)


if "-n" in sys.argv or "--dry-run" in sys.argv:
    print(tables.forecast(PRESET), file=sys.stderr)
