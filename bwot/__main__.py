"""The command line: ``run``, ``tune``, ``evaluate``, ``page``, ``report``, ``pdf``; more in :mod:`bwot.data_commands`, :mod:`bwot.search_commands`."""

import argparse
import re
import sys
from dataclasses import fields
from pathlib import Path

from bwot import data_commands, search_commands


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 0 on success, 1 on an error in what was asked or found, 2 on wrong usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser(arguments[:1] == ["search"]).parse_args(arguments)
    try:
        return options.command(options) or 0
    except (ValueError, OSError, RuntimeError) as error:
        print(f"bwot: {error}", file=sys.stderr)
    except ModuleNotFoundError as error:
        if not error.name or error.name.split(".")[0] == "bwot":
            raise
        print(
            f"bwot: this needs the module {error.name}, which is not installed. In the folder of the project, "
            '`pip install -e ".[run,shapes]"` brings what the commands need, `.[book]` what the pages need.',
            file=sys.stderr,
        )
    return 1


def _parser(search=False):
    """The commands; with ``search`` those that answer at once, as the settings of the others need torch."""
    parser = argparse.ArgumentParser(
        prog="bwot", description="Batch-wise optimal transport: data, runs and pages."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    search_commands.add_commands(commands)
    if search:
        return parser
    _add_run(commands.add_parser("run", help="compute one run and print or write its record"))
    _add_tune(commands.add_parser("tune", help="find the learning rate and margin of a loss"))
    _add_evaluate(
        commands.add_parser("evaluate", help="scores and rank lists of a finished run on sketches")
    )
    data_commands.add_commands(commands)
    _add_page(commands.add_parser("page", help="execute a notebook into a page of the book"))
    _add_report(commands.add_parser("report", help="write the pages that are made from records"))
    _add_pdf(commands.add_parser("pdf", help="print the book that was built as one page"))
    return parser


def _add_run(parser):
    for experiment in _experiments(parser):
        experiment.add_argument(
            "--tuned",
            metavar="FILE",
            type=Path,
            help="take rate and margin from what bwot tune wrote",
        )
        experiment.add_argument(
            "--output", metavar="FILE", type=Path, help="write the record to FILE too"
        )
        experiment.set_defaults(command=_run)


def _add_tune(parser):
    for experiment in _experiments(parser):
        experiment.add_argument(
            "--output",
            metavar="FILE",
            type=Path,
            required=True,
            help="write what was found to FILE",
        )
        experiment.set_defaults(command=_tune)


def _experiments(parser):
    """A parser for each experiment, with its settings as options."""
    from bwot.experiments import EXPERIMENTS

    names = parser.add_subparsers(dest="experiment", required=True, metavar="EXPERIMENT")
    for name, kind in EXPERIMENTS.items():
        experiment = names.add_parser(name, help=f"data sets: {', '.join(kind.DATASETS)}")
        _add_settings(experiment, kind)
        yield experiment


def _add_settings(parser, kind):
    parser.add_argument("--preset", choices=list(kind.PRESETS), default="quick")
    parser.add_argument("--loss", choices=(*kind.LOSSES, *kind.ZERO_LINES), default="bwot")
    for field in fields(kind):
        if field.name in ("preset", "loss"):
            continue
        options = {"type": field.type if isinstance(field.type, type) else str}
        if field.type is bool:
            options = {"action": argparse.BooleanOptionalAction}
        parser.add_argument(f"--{field.name.replace('_', '-')}", **options)
    parser.add_argument("--device", default="cpu", help="torch device to train on")
    parser.add_argument(
        "--data", metavar="DIR", help="folder with the data sets (default: $BWOT_DATA, else data/)"
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        help="CPU threads; part of what identifies a run (default: 1)",
    )


def _settings(options):
    import torch

    from bwot.experiments import EXPERIMENTS, grid

    if not 1 <= options.threads <= 1024:
        raise ValueError(f"threads must be from 1 to 1024, not {options.threads}.")
    if not re.fullmatch(r"cpu|cuda(:\d{1,2})?|mps", options.device):
        raise ValueError(
            f"device must be cpu, cuda, cuda:1 or the like, or mps, not {options.device!r}."
        )
    torch.set_num_threads(options.threads)
    kind = EXPERIMENTS[options.experiment]
    names = {field.name for field in fields(kind)} - {"preset", "loss", "seed"}
    given = {name: getattr(options, name) for name in names}
    (settings,) = grid(kind, options.preset, (options.loss,), (options.seed or 0,), **given)
    for name, value in given.items():
        if value is not None and getattr(settings, name) != value:
            taken = getattr(settings, name)
            raise ValueError(
                f"--{name.replace('_', '-')} {value} is not taken: the other settings make it {taken}. Leave it out, or what fixes it."
            )
    if options.preset == "quick" and (options.data or given.get("variant")):
        print("the preset quick takes embedded stand-ins: --data and --variant are for --preset short and full", flush=True)  # fmt: skip
    if getattr(settings, "steered_by", None) == "map":
        print("the score of the TEST shapes steers the learning rate, as in the published code", flush=True)  # fmt: skip
    return settings


def _tune(options) -> int:
    from bwot.tuning import tune, write_tuning

    settings = _settings(options)
    print(f"{settings.dataset} {settings.loss}: tuning", flush=True)
    data = settings.load_data(options.data)
    found = tune(
        settings, device=options.device, report=lambda line: print(line, flush=True), data=data
    )
    write_tuning(found, settings, data.sha256, options.device, options.output)
    print("chosen:", "  ".join(f"{name} {value:g}" for name, value in found["chosen"].items()))
    return 0


def _run(options) -> int:
    from dataclasses import replace

    from bwot.comparison import stopped
    from bwot.records import write_record
    from bwot.runs import run
    from bwot.tuning import TuningError, read_tuning

    settings, tuning, data = _settings(options), None, None
    if options.tuned:
        data = settings.load_data(options.data)
        tuning = read_tuning(options.tuned, settings, data.sha256)
        if tuning is None:
            raise TuningError(
                f"{options.tuned} is the tuning of other settings or data than those of this run."
            )
        settings = replace(settings, **tuning["chosen"])
    print(
        f"{settings.dataset} {settings.loss} seed {settings.seed}: {settings.epochs} epochs, "
        f"rate {settings.learning_rate:g}, margin {settings.margin:g}",
        flush=True,
    )
    record = run(settings, options.data, options.device, _print_row, tuning=tuning, data=data)
    if options.output:
        write_record(record, options.output)
    if record.status == "diverged":
        where = stopped(record.diverged, record.provenance["device"])
        print(
            f"bwot: DivergedError: the loss stopped being finite {where}; recorded as diverged.",
            file=sys.stderr,
        )
    else:
        numbers = {name: value for name, value in record.scores.items() if name != "curve"}
        print("  ".join(f"{name} {value:.4f}" for name, value in numbers.items()))
    return 0


def _print_row(row):
    loss = "" if row["loss"] is None else f"  loss {row['loss']:.4f}"
    accuracy = f"  accuracy {row['accuracy']:.4f}" if "accuracy" in row else ""
    print(
        f"epoch {row['epoch']}{loss}  mAP {row['map']:.4f}{accuracy}  {row['seconds']:.1f} s",
        flush=True,
    )


def _add_evaluate(parser):
    parser.add_argument("record", type=Path, help="what bwot run wrote to --output")
    parser.add_argument("--rank-lists", metavar="DIR", type=Path,
                        help="write a file for each query into DIR, as the SHREC tracks ask for them")  # fmt: skip
    parser.add_argument(
        "--per-query", metavar="FILE", type=Path, help="write the scores of each query to FILE, CSV"
    )
    parser.add_argument(
        "--data", metavar="DIR", help="folder with the data sets (default: $BWOT_DATA, else data/)"
    )
    parser.set_defaults(command=_evaluate)


def _evaluate(options) -> int:
    import torch

    from bwot import ranklists
    from bwot.records import read_record

    record = read_record(options.record)
    torch.set_num_threads(record.provenance["threads"])
    data, answers = ranklists.answers_of(record, options.data)
    for line in ranklists.summary(data, answers):
        print(line)
    if options.per_query:
        ranklists.write_per_query(options.per_query, data, answers)
    if options.rank_lists:
        written = ranklists.write_rank_lists(options.rank_lists, data, answers)
        print(f"wrote {written} rank lists to {options.rank_lists}")
    return 0


def _add_page(parser):
    parser.add_argument("notebook", help="name of a notebook in notebooks/, such as images")
    parser.add_argument("-p", dest="parameters", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"),
                        help="a parameter of the notebook, as papermill takes it; may be repeated")  # fmt: skip
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="the page to write"
    )
    parser.set_defaults(command=_page)


def _page(options) -> int:
    import yaml

    from bwot.paths import PROJECT
    from bwot.publishing import make_page

    try:
        parameters = {name: yaml.safe_load(value) for name, value in options.parameters}
    except yaml.YAMLError as error:
        raise ValueError(
            f"the value of a parameter must be YAML, such as 5 or [a, b]: {error}"
        ) from error
    make_page(PROJECT / "notebooks" / f"{options.notebook}.ipynb", options.output, parameters)
    print(f"wrote {options.output}")
    return 0


def _add_report(parser):
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing: say what is missing, stale or not what the records say, and exit with 1",
    )
    parser.set_defaults(command=_report)


def _report(options) -> int:
    from bwot import paths, report

    if options.check:
        found = report.faults(paths.PROJECT)
        for fault in found:
            print(f"bwot: {fault}", file=sys.stderr)
        return int(bool(found))
    changed = report.write(paths.PROJECT)
    print(f"wrote {', '.join(changed)}" if changed else "nothing has changed")
    return 0


def _add_pdf(parser):
    parser.add_argument("folder", type=Path, help="what the builder singlehtml wrote")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="the PDF to write"
    )
    parser.set_defaults(command=_pdf)


def _pdf(options) -> int:
    from bwot.printing import print_book

    print_book(options.folder, options.output)
    print(f"wrote {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
