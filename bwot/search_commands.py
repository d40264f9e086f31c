"""The commands with which a drawing finds models: ``bwot index`` and ``bwot search``. Imports without torch, and so does searching."""

import argparse
import sys
from pathlib import Path


def add_commands(commands) -> None:
    """Add these commands to the subparsers of the command line."""
    _add_index(commands.add_parser("index", help="make models findable by drawings"))
    _add_search(commands.add_parser("search", help="rank the models of an index by a drawing"))


def _add_index(parser):
    parser.add_argument("meshes", nargs="*", type=Path, metavar="MESH",
                        help="mesh files (OFF, OBJ, PLY, STL), and folders of them; without any, the shapes of the run")  # fmt: skip
    parser.add_argument("--head", metavar="RECORD", type=Path, required=True,
                        help="a finished run on sketches, as bwot run sketches --output wrote it: its heads are used")  # fmt: skip
    parser.add_argument(
        "--output", metavar="DIR", type=Path, required=True, help="the index, a new folder"
    )
    parser.add_argument(
        "--up",
        choices=["y", "z"],
        default="y",
        help="axis of the meshes that points up (default: y)",
    )
    parser.add_argument(
        "--data", metavar="DIR", help="folder with the data sets (default: $BWOT_DATA, else data/)"
    )
    parser.set_defaults(command=_index)


def _index(options) -> int:
    import torch

    from bwot import indexing, mesh_models
    from bwot.records import read_record
    from bwot.search import refuse_taken

    refuse_taken(options.output)
    if options.meshes:
        mesh_models.mesh_files(
            options.meshes
        )  # what is missing is told before anything is computed
    record = read_record(options.head)
    torch.set_num_threads(record.provenance["threads"])
    run = indexing.trained_run(record, options.data)
    if options.meshes:
        models = mesh_models.read_models(run, options.meshes, options.up)
    else:
        models = indexing.own_models(run)
    indexing.build_index(run, models, options.output)
    print(f"{len(models.names):,} models are in {options.output}")
    if models.broken:
        print(f"{len(models.broken):,} files could not be drawn and are not in it:")
    for each in models.broken:
        print(f"  {each.path}: {each.reason}")
    return 0


def _add_search(parser):
    parser.add_argument("sketches", nargs="+", type=Path, metavar="SKETCH",
                        help="a drawing: PNG or JPEG of any size, dark on light or light on dark")  # fmt: skip
    parser.add_argument("--index", metavar="DIR", type=Path, required=True, help="what bwot index wrote")  # fmt: skip
    parser.add_argument("--top", metavar="N", type=_positive, default=10,
                        help="how many models are shown (default: 10)")  # fmt: skip
    parser.add_argument("--sheet", metavar="FILE", type=_png,
                        help="write a contact sheet with the drawings and the models: NAME.png")  # fmt: skip
    parser.set_defaults(command=_search)


def _search(options) -> int:
    """Answer every drawing that can be read; 1 if one could not."""
    from bwot.drawings import read_drawing
    from bwot.search import answered, read_index, write_sheet

    gallery, rows, failed = read_index(options.index), [], 0
    for path in options.sketches:
        try:
            drawing = read_drawing(path)
        except (ValueError, OSError) as error:
            print(f"bwot: {error}", file=sys.stderr)
            failed += 1
            continue
        found = gallery.find(drawing, options.top)
        print(path)
        for rank, each in enumerate(found, 1):
            print(f"{rank:>4}  {each.distance:9.4f}  {each.name}  {each.path}".rstrip())
        rows.append(answered(path.stem, drawing, gallery, found))
    if options.sheet and rows:
        write_sheet(options.sheet, rows)
        print(f"wrote {options.sheet}")
    return int(failed > 0)


def _png(text):
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"a contact sheet is written as NAME.png, not {text}")
    return Path(text)


def _positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1, not {text!r}")
    return int(text)
