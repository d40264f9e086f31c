"""The floors of the package, and what it needs at each of them.

The picture in the README is drawn from FLOORS: a module imports only from lower floors.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bwot

ROOT = Path(bwot.__file__).parent
FLOORS = [
    {
        "paths",
        "progress",
        "batches",
        "ranks",
        "cpu",
        "gpu",
        "sinkhorn_torch",
        "implicit",
        "backbones",
        "heads",
        "published",
        "records",
        "dice",
        "meshes",
        "drawings",
        "looks",
    },
    {
        "sinkhorn",
        "pairs",
        "metrics",
        "data",
        "provenance",
        "comparison",
        "checkpoints",
        "families",
        "rendering",
        "printing",
    },
    {"losses", "accuracy", "features", "solids", "crossmodal", "baselines"},
    {"controls", "authors", "standins", "sketch_standins", "albums", "search"},
    {"training", "pipeline"},
    {"sketch_pipeline", "diagnosis"},
    {"experiments"},
    {"evaluation"},
    {"cross_retrieval"},
    {"runs"},
    {"tuning", "figures", "publishing", "ranklists", "forecast"},
    {
        "image_figures",
        "shape_figures",
        "told",
        "tables",
        "origins",
        "toy",
        "play",
        "indexing",
        "pad",
    },
    {
        "findings",
        "seen",
        "sketch_figures",
        "sketch_tables",
        "gradients",
        "explorer",
        "scoreboard",
        "sharpness",
        "mesh_models",
    },
    {"claims", "deviations", "longer"},
    {"front", "answers", "ledger", "data_commands", "search_commands"},
    {"report"},
    {"__main__"},
]
BARE = [
    "sinkhorn",
    "losses",
    "heads",
    "backbones",
    "metrics",
    "accuracy",
    "training",
    "experiments",
    "runs",
]
"""Modules that train: they import on a machine that has torch, NumPy and jaxtyping and nothing else."""


def sources():
    """Every module by its dotted name inside the package."""
    paths = {path.relative_to(ROOT).with_suffix(""): path for path in sorted(ROOT.rglob("*.py"))}
    return {".".join(name.parts).removesuffix(".__init__"): path for name, path in paths.items()}


MODULES = sources()


def floor(module):
    """The number of a module's floor; the files of a folder share one."""
    top = module.split(".")[0]
    for number, names in enumerate(FLOORS):
        if top in names:
            return number
    pytest.fail(
        f"bwot/{top} stands on no floor: give it one in FLOORS and in the README's picture."
    )


def imports(tree, module):
    """Names of modules of the package that are imported anywhere in a syntax tree, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"bwot.{module} imports relatively: write the full name."
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name == "bwot" or name.startswith("bwot."):
                yield resolve(name.removeprefix("bwot").removeprefix("."))


def resolve(name):
    """The module in a dotted name: of ``data.mnist.load`` it is ``data.mnist``."""
    while name not in MODULES:
        assert "." in name, f"bwot has no module {name}: import from the module that defines it."
        name = name.rpartition(".")[0]
    return name


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"__init__"}))
def test_a_module_imports_only_from_lower_floors(module):
    used = set(imports(ast.parse(MODULES[module].read_text(encoding="utf-8")), module)) - {module}
    for other in used:
        inside_folder = module.split(".")[0] == other.split(".")[0]
        assert inside_folder or floor(other) < floor(module), (
            f"bwot.{module} may not import bwot.{other}"
        )


@pytest.mark.parametrize(
    "folder",
    ["cpu.", "data.", "experiments.", "families.", "features.", "meshes.", "rendering.", "search."],
)
def test_the_files_of_a_folder_import_each_other_without_cycles(folder):
    left = {
        module: {name for name in imports(ast.parse(path.read_text(encoding="utf-8")), module) if name in MODULES}
        for module, path in MODULES.items()
        if module.startswith(folder)
    }  # fmt: skip
    while left:
        free = [module for module, used in left.items() if not used & left.keys()]
        assert free, f"these import each other in a circle: {', '.join(left)}"
        left = {module: used for module, used in left.items() if module not in free}


def test_every_module_on_a_floor_stands_on_one_alone():
    names = [name for names in FLOORS for name in names]
    assert len(names) == len(set(names))
    assert {name.split(".")[0] for name in MODULES} - {"__init__"} == set(names)


def test_the_package_itself_holds_public_names_alone_and_imports_them_late():
    tree = ast.parse(MODULES["__init__"].read_text(encoding="utf-8"))
    imported = [
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("bwot.")
        for alias in node.names
    ]
    assert sorted(bwot.__all__) == sorted(imported)
    code = """
import sys, bwot
assert "torch" not in sys.modules
import bwot.losses, bwot.sinkhorn  # a module of the name of a function
assert bwot.sinkhorn.__module__ == "bwot.sinkhorn" and callable(bwot.sinkhorn)
assert bwot.BatchwiseOTLoss is bwot.losses.BatchwiseOTLoss
from bwot import *
assert {PairwiseLoss.__name__, AllPairsLoss.__name__, sinkhorn.__name__} < set(bwot.__all__) < set(dir(bwot))
try: bwot.nothing
except AttributeError as error: print(error)
"""
    done = on_a_bare_machine(code)
    assert done.stdout == "module 'bwot' has no attribute 'nothing'\n", done.stderr


ALLOWED_ONLY = """
import importlib, importlib.metadata, re, sys

def closure(distribution, seen):
    if distribution in seen:
        return seen
    try:
        requirements = importlib.metadata.requires(distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return seen
    seen.add(distribution)
    for requirement in requirements:
        if "extra ==" not in requirement:
            closure(re.match(r"[A-Za-z0-9._-]+", requirement)[0], seen)
    return seen

def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()

wanted = {plain(name) for root in ("torch", "numpy", "jaxtyping") for name in closure(root, set())}
installed = importlib.metadata.packages_distributions()

class Bare:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        owners = {plain(owner) for owner in installed.get(top, [])} - {"bwot"}
        if owners and not owners & wanted and top not in sys.stdlib_module_names:
            raise ModuleNotFoundError(f"{top} is no part of a bare machine", name=name)

sys.meta_path.insert(0, Bare())
"""


def on_a_bare_machine(code):
    """Run code in a process that finds only torch, NumPy, jaxtyping and what those require."""
    return subprocess.run(
        [sys.executable, "-c", ALLOWED_ONLY + code],
        capture_output=True, text=True, cwd=ROOT.parent, timeout=120,
    )  # fmt: skip


def test_what_trains_imports_with_torch_numpy_and_jaxtyping_alone():
    code = f"for name in {BARE}: importlib.import_module('bwot.' + name)\n"
    code += "import torch; loss = sys.modules['bwot.losses'].BatchwiseOTLoss()\n"
    code += "assert loss(torch.eye(4), torch.tensor([0, 0, 1, 1])).isfinite()\nprint('imported')"
    done = on_a_bare_machine(code)
    assert done.returncode == 0 and done.stdout == "imported\n", done.stderr


@pytest.mark.parametrize("module", ["sklearn", "scipy", "matplotlib", "tqdm", "papermill"])
def test_the_bare_machine_really_is_bare(module):
    pytest.importorskip(module)
    done = on_a_bare_machine(f"import {module}")
    assert f"{module} is no part of a bare machine" in done.stderr


def test_the_public_names_are_those_of_the_design():
    assert set(bwot.__all__) == {"AllPairsLoss", "BatchwiseOTLoss", "PairwiseLoss", "sinkhorn"}
