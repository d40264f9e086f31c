# The whole re-run as a graph: data → runs → notebooks → book.
#
#   snakemake --cores 2 book                        the notebooks on embedded data, and the book   (= make book)
#   snakemake --cores 2 --config preset=short -n    what the real thing would do, how long, how much disk
#   snakemake --cores 2 --config preset=short       the real thing; killed, it goes on where it was
#
# Settings (--config NAME=VALUE): preset (quick, short, full), datasets (mnist,cifar10), variant (what other files than the
# published ones are), data (folder with the data sets), results (folder for the records; book/results continues the
# committed ones), device (torch device). On a cluster: snakemake's executor plug-ins.

import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from bwot import experiments
from bwot.forecast import forecast

PYTHON = f"{sys.executable} -m"
JUPYTER_BOOK = Path(sys.executable).with_name("jupyter-book")
SETTINGS = {"preset": "quick", "datasets": "mnist,cifar10", "variant": "", "data": "", "results": "", "device": "cpu"}
if unknown := config.keys() - SETTINGS.keys():
    raise WorkflowError(f"no setting is called {', '.join(unknown)}; there are {', '.join(SETTINGS)}.")
SETTINGS |= config
PRESET = SETTINGS["preset"]
PRESETS = experiments.Images.PRESETS  # every experiment has these
if PRESET not in PRESETS:
    raise WorkflowError(f"preset must be one of {', '.join(PRESETS)}, not {PRESET}.")
RESULTS = SETTINGS["results"] or f"runs/{PRESET}"
NOTEBOOKS = {dataset: name for name, kind in experiments.EXPERIMENTS.items() for dataset in kind.DATASETS}  # of each data set
DATASETS = SETTINGS["datasets"].split(",")
if strange := set(DATASETS) - NOTEBOOKS.keys():
    raise WorkflowError(f"no data set is called {', '.join(strange)}; there are {', '.join(NOTEBOOKS)}.")
DATA = f"--data {SETTINGS['data']}" if SETTINGS["data"] else ""
DATA_DIR = f"-p data_dir {Path(SETTINGS['data']).resolve()}" if SETTINGS["data"] else ""
VARIANT = f"--variant {shlex.quote(SETTINGS['variant'])}" if SETTINGS["variant"] else ""
OPTIONS = f"--preset {PRESET} --device {SETTINGS['device']} {DATA} {VARIANT}"

# A quick page shows one way of comparing: a few seconds of each.
QUICK = {"mnist": "", "cifar10": "-p losses '[rowsoftmax, bwot]' -p comparisons '[tuned]'", "modelnet10": "", "shrec13-15": ""}
SIDES = {side: given for kind in experiments.EXPERIMENTS.values() for side, given in kind.SIDES.items()}
CODE = [str(path) for path in sorted(Path("bwot").rglob("*.py"))]
BOOK = sorted(f"book/{path}" for path in glob_wildcards("book/{path,(?!_build|executed|pages|extension/.*__pycache__).*}").path)
COMMITTED = [page for page in expand("book/pages/{dataset}.ipynb", dataset=NOTEBOOKS) if Path(page).exists()]
QUICK_PAGES = expand("book/executed/{page}.ipynb", page=["hard_samples", *QUICK])


def side_settings(wildcards):
    return " ".join(f"--{name} {value}" for name, value in SIDES[wildcards.side].items() if name != "loss")


def records_of(dataset):
    return [f"{RESULTS}/{dataset}/{name}.json" for name in experiments.campaign(dataset, PRESET)]


def ways(dataset):
    return experiments.experiment_of(dataset).COMPARISONS[dataset]


# Asked for by name: a page that is there, as in a fresh checkout, would not ask for records that are not.
RUNS = [] if PRESET == "quick" else [path for dataset in DATASETS for path in records_of(dataset)]
REAL_PAGES = COMMITTED if PRESET == "quick" else expand("book/pages/{dataset}.ipynb", dataset=DATASETS)


localrules: book


rule book:
    input:
        RUNS, QUICK_PAGES, REAL_PAGES, BOOK, CODE, "_config.yml", "_toc.yml", "runs/report.ok",
    output:
        "book/_build/html/index.html",
    log:
        "runs/logs/book.log",
    shell:
        "{JUPYTER_BOOK} build --path-output book -W --keep-going --quiet . >{log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


rule report:  # no book with a stale record, a number without one, or a page that says otherwise
    input:
        RUNS, BOOK, CODE,
    output:
        touch("runs/report.ok"),
    log:
        "runs/logs/report.log",
    params:  # new records among the committed ones: their pages are made again
        write=f"{PYTHON} bwot report &&" if RUNS and RESULTS == "book/results" else "",
    shell:
        "{params.write} {PYTHON} bwot report --check >{log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


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
        dataset="|".join(QUICK),
    params:
        notebook=lambda wildcards: NOTEBOOKS[wildcards.dataset],
        shown=lambda wildcards: QUICK[wildcards.dataset],
    shell:
        "{PYTHON} bwot page {params.notebook} -p dataset {wildcards.dataset} -p preset quick {params.shown} --output {output}"


if PRESET != "quick":

    wildcard_constraints:
        dataset="|".join(NOTEBOOKS),
        loss="|".join({name for kind in experiments.EXPERIMENTS.values() for name in (*kind.LOSSES, *kind.ZERO_LINES)}),
        side="|".join(SIDES),
        seed=r"\d+",


    rule data:
        output:
            touch("runs/data/{dataset}.ok"),
        params:  # nobody can fetch what only its owner has a name for
            command=lambda wildcards: "verify" if VARIANT else f"download {wildcards.dataset}",
        shell:
            "{PYTHON} bwot data {params.command} {DATA}"


    rule tune:
        input:
            ancient("runs/data/{dataset}.ok"),
        output:
            RESULTS + "/{dataset}/tuning/{loss}.json",
        log:
            f"runs/logs/{PRESET}-{{dataset}}-tune-{{loss}}.log",
        resources:
            gpu=int(SETTINGS["device"] != "cpu"),
        params:
            experiment=lambda wildcards: NOTEBOOKS[wildcards.dataset],
            how="",
        shell:
            "{PYTHON} bwot tune {params.experiment} --dataset {wildcards.dataset} --loss {wildcards.loss} {OPTIONS} {params.how} "
            "--output {output} >{log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


    use rule tune as side_tune with:
        output:
            RESULTS + "/{dataset}/{side}/tuning/{loss}.json",
        log:
            f"runs/logs/{PRESET}-{{dataset}}-{{side}}-tune-{{loss}}.log",
        params:
            experiment=lambda wildcards: NOTEBOOKS[wildcards.dataset],
            how=side_settings,


    rule run:
        input:
            ancient("runs/data/{dataset}.ok"),
        output:
            RESULTS + "/{dataset}/{loss}-seed{seed}.json",
        log:
            f"runs/logs/{PRESET}-{{dataset}}-{{loss}}-{{seed}}.log",
        benchmark:
            f"runs/logs/{PRESET}-{{dataset}}-{{loss}}-{{seed}}.tsv"
        resources:
            gpu=int(SETTINGS["device"] != "cpu"),
        params:
            experiment=lambda wildcards: NOTEBOOKS[wildcards.dataset],
            how="",
        shell:
            "{PYTHON} bwot run {params.experiment} --dataset {wildcards.dataset} --loss {wildcards.loss} --seed {wildcards.seed} {OPTIONS} "
            "{params.how} --output {output} >{log} 2>&1 || {{ cat {log} >&2; exit 1; }}"


    use rule run as tuned_run with:
        input:
            ancient("runs/data/{dataset}.ok"), tuning=RESULTS + "/{dataset}/tuning/{loss}.json",
        output:
            RESULTS + "/{dataset}/tuned/{loss}-seed{seed}.json",
        log:
            f"runs/logs/{PRESET}-{{dataset}}-tuned-{{loss}}-{{seed}}.log",
        benchmark:
            f"runs/logs/{PRESET}-{{dataset}}-tuned-{{loss}}-{{seed}}.tsv"
        params:
            experiment=lambda wildcards: NOTEBOOKS[wildcards.dataset],
            how=lambda wildcards, input: f"--tuned {input.tuning}",


    use rule run as side_run with:
        input:
            ancient("runs/data/{dataset}.ok"), tuning=RESULTS + "/{dataset}/{side}/tuning/{loss}.json",
        output:
            RESULTS + "/{dataset}/{side}/{loss}-seed{seed}.json",
        log:
            f"runs/logs/{PRESET}-{{dataset}}-{{side}}-{{loss}}-{{seed}}.log",
        benchmark:
            f"runs/logs/{PRESET}-{{dataset}}-{{side}}-{{loss}}-{{seed}}.tsv"
        params:
            experiment=lambda wildcards: NOTEBOOKS[wildcards.dataset],
            how=lambda wildcards, input: f"{side_settings(wildcards)} --tuned {input.tuning}",


    use rule run as published_run with:
        output:
            RESULTS + "/{dataset}/as-published/{loss}-seed{seed}.json",
        log:
            f"runs/logs/{PRESET}-{{dataset}}-as-published-{{loss}}-{{seed}}.log",
        benchmark:
            f"runs/logs/{PRESET}-{{dataset}}-as-published-{{loss}}-{{seed}}.tsv"
        params:
            experiment=lambda wildcards: NOTEBOOKS[wildcards.dataset],
            how="--as-published",


    use rule run as end_to_end_run with:
        output:
            RESULTS + "/{dataset}/end-to-end/{loss}-seed{seed}.json",
        log:
            f"runs/logs/{PRESET}-{{dataset}}-end-to-end-{{loss}}-{{seed}}.log",
        benchmark:
            f"runs/logs/{PRESET}-{{dataset}}-end-to-end-{{loss}}-{{seed}}.tsv"
        params:
            experiment=lambda wildcards: NOTEBOOKS[wildcards.dataset],
            how=" ".join(f"--{name} {value}" for name, value in experiments.Shapes.END_TO_END.items()),


    rule real_page:
        input:
            lambda wildcards: records_of(wildcards.dataset), ancient("runs/data/{dataset}.ok"), lambda wildcards: f"notebooks/{NOTEBOOKS[wildcards.dataset]}.ipynb",
        output:
            "book/pages/{dataset}.ipynb",
        params:
            notebook=lambda wildcards: NOTEBOOKS[wildcards.dataset],
            results=Path(RESULTS).resolve(),
            losses=lambda wildcards: f"[{', '.join(experiments.experiment_of(wildcards.dataset).LOSSES)}]",
            ways=lambda wildcards: f"[{', '.join(ways(wildcards.dataset))}]",
            variant=f"-p variant {shlex.quote(SETTINGS['variant'])}" if VARIANT else "",
        shell:
            "{PYTHON} bwot page {params.notebook} -p dataset {wildcards.dataset} -p preset {PRESET} {DATA_DIR} {params.variant} "
            "-p losses '{params.losses}' -p comparisons '{params.ways}' "
            "-p device {SETTINGS[device]} -p results_dir {params.results} --output {output}"


onstart:
    print(forecast(PRESET, DATASETS), file=sys.stderr)


onerror:
    for path in sorted(Path("runs/logs").glob("*.failed.txt")):
        print(path.read_text(), file=sys.stderr)


if "-n" in sys.argv or "--dry-run" in sys.argv:
    print(forecast(PRESET, DATASETS), file=sys.stderr)
