"""The commands that bring data to where a run finds them: ``bwot data``, ``views``, ``features``, ``convert``."""

from pathlib import Path


def add_commands(commands) -> None:
    """Add these commands to the subparsers of the command line."""
    _add_data(commands.add_parser("data", help="verify or download data sets"))
    _add_views(commands.add_parser("views", help="draw the models of a data set from all sides"))
    _add_features(
        commands.add_parser("features", help="features of views and sketches by a frozen network")
    )
    _add_convert(
        commands.add_parser("convert", help="the authors' text files of features as one array file")
    )


def _add_root(parser):
    parser.add_argument(
        "--data", metavar="DIR", help="folder with the data sets (default: $BWOT_DATA, else data/)"
    )


def _add_set(parser):
    from bwot.pipeline import ARRANGEMENTS

    parser.add_argument("dataset", choices=list(ARRANGEMENTS), metavar="DATASET", help=", ".join(ARRANGEMENTS))  # fmt: skip
    parser.add_argument(
        "--variant", metavar="NAME", help="what the files are, where they are not as published"
    )
    _add_root(parser)


def _add_data(parser):
    parser.add_argument("action", choices=["verify", "download"])
    parser.add_argument("dataset", nargs="?", help="the set to download")
    _add_root(parser)
    parser.set_defaults(command=_data)


def _data(options) -> int:
    from bwot.data import catalogue
    from bwot.paths import data_root

    root = data_root(options.data)
    sets = {entry.name: entry for entry in catalogue.SETS if entry.download}
    if options.action == "download":
        if options.dataset not in sets:
            raise ValueError(f"name the set to download: {', '.join(sets)}.")
        sets[options.dataset].download(root)
    print(f"data sets in {root}")
    statuses = catalogue.verify(root)
    for status in statuses:
        print(
            f"  {status.name:<36} {status.state:<9} {status.size / 1e6:>8.1f} MB  {status.licence}"
        )
    for status in statuses:
        if status.detail:
            print(f"\n{status.name}:\n{status.detail}")
    return int(any(status.state == "damaged" for status in statuses))


def _add_views(parser):
    _add_set(parser)
    parser.set_defaults(command=_views)


def _views(options) -> None:
    from bwot.pipeline import FROZEN, make_views

    shapes, _ = _found(options)
    _say_views(shapes, make_views(shapes, FROZEN))


def _add_features(parser):
    _add_set(parser)
    parser.add_argument(
        "--network",
        default="mobilenet",
        help="mobilenet, resnet50, alexnet, vgg11 or an ONNX file with an output `feature` (default: mobilenet)",
    )
    parser.set_defaults(command=_features)


def _features(options) -> None:
    from bwot.pipeline import FROZEN, frozen_network, make_features, make_views

    shapes, sketches = _found(options)
    frozen_network(
        options.network, options.data
    )  # one that is missing is told before hours of drawing
    views = make_views(shapes, FROZEN)
    _say_views(shapes, views)
    made, _ = make_features(shapes, views, options.network, options.data)
    _say_features(made, "views", "shapes")
    if sketches is not None:
        from bwot.sketch_pipeline import make_sketch_features

        made, _ = make_sketch_features(sketches, options.network, options.data)
        _say_features(made, "rotations", "sketches")


def _found(options):
    """The shapes of the set that was asked for, and the whole set where it has sketches."""
    from bwot import pipeline, sketch_pipeline

    if options.dataset not in sketch_pipeline.DATASETS:
        found, sketches = pipeline.load_shapes(options.dataset, options.data, options.variant), None
        shapes = found
    else:
        sketches = found = sketch_pipeline.load_sketches(
            options.dataset, options.data, options.variant
        )
        shapes = sketch_pipeline.models(sketches)
    print(f"{found.name}, {found.variant}: {found.summary}", flush=True)
    return shapes, sketches


def _say_views(shapes, views):
    print(
        f"{views.count} views of each of {len(shapes.names):,} shapes are in {views.folder}",
        flush=True,
    )


def _say_features(made, pictures, what):
    n, count, length = made.values.shape
    print(
        f"{length} features of each of {count} {pictures} of {n:,} {what} are in {made.values.filename}",
        flush=True,
    )


def _add_convert(parser):
    for name, what in (
        ("train", "list of training sketches, `path label` a line"),
        ("test", "list of test sketches"),
        ("shapes", "list of the views of the shapes"),
        ("output", "NAME.npz to write, which a run takes as its --network"),
    ):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="FILE", help=what)
    for name, what in (("rotations", "a sketch"), ("views", "a shape")):
        parser.add_argument(f"--{name}", type=int, default=20, metavar="N",
                            help=f"files of {what}, which follow each other in a list (default: 20)")  # fmt: skip
    parser.set_defaults(command=_convert)


def _convert(options) -> None:
    from bwot.data.feature_lists import convert

    path = convert(
        options.train, options.test, options.shapes, options.output,
        options.rotations, options.views,
    )  # fmt: skip
    print(f"wrote {path}")
