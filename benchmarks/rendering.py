"""Pictures a second on one core: shaded with and without anti-aliasing, drawn in lines, and points as splats.

`python -m benchmarks.rendering [FOLDER]` takes 40 mesh files below a folder, evenly spread by name, or makes shapes of 5,000
faces without one. Each mesh is drawn from the 20 corners of a dodecahedron at 224 × 224, set-up included, reading not. What is
counted is the time of the processor, so a machine that does other work as well disturbs less.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bwot.meshes import Mesh, read_mesh
from bwot.rendering import render

MESHES, POINTS = 40, 1024
ENDINGS = {".off", ".obj", ".ply", ".stl"}
WAYS = {  # name → what is drawn, how, and the target in pictures a second
    "shaded, 2 × 2 rays": (lambda mesh: mesh, {"samples": 2}, "120"),
    "shaded, 1 ray": (lambda mesh: mesh, {"samples": 1}, "350"),
    "drawn": (lambda mesh: mesh, {"style": "drawn"}, ""),
    f"{POINTS} points": (lambda mesh: as_points(mesh), {}, ""),
}


def main() -> None:
    meshes = read(Path(sys.argv[1])) if len(sys.argv) > 1 else [knot(seed) for seed in range(10)]
    faces = [len(mesh.faces) for mesh in meshes]
    print(f"{len(meshes)} shapes of {min(faces)} to {max(faces)} faces, median {statistics.median(faces):.0f}")  # fmt: skip
    print(f"\n{'pictures a second':<22}{'median':>8}{'quartiles':>16}{'all':>8}{'target':>8}")
    for way, (shape_of, settings, target) in WAYS.items():
        seconds = [measure(shape_of(mesh), settings) for mesh in meshes]
        low, median, high = statistics.quantiles([20 / each for each in seconds], n=4)
        over_all = 20 * len(meshes) / sum(seconds)
        print(f"{way:<22}{median:>8.0f}{low:>8.0f}{high:>8.0f}{over_all:>8.0f}{target:>8}", flush=True)  # fmt: skip


def measure(mesh: Mesh, settings: dict, clock: Callable[[], float] = time.process_time) -> float:
    """Seconds for the 20 views of one mesh, compiled before."""
    render(Mesh(mesh.vertices[:8], np.array([(0, 1, 2)])[: len(mesh.faces)]), "ring", 16, **settings)  # fmt: skip
    start = clock()
    render(mesh, "dodecahedron", **settings)
    return clock() - start


def read(folder: Path) -> list[Mesh]:
    """Meshes of a folder, at most ``MESHES`` of them; point-only files are left out."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    if not paths:
        raise SystemExit(f"{folder} holds no {', '.join(sorted(ENDINGS))} files.")
    meshes = [read_mesh(path) for path in paths[:: max(1, len(paths) // MESHES)]]
    return [mesh for mesh in meshes if len(mesh.faces)] or meshes


def knot(seed: int, around: int = 125, across: int = 20) -> Mesh:
    """A closed tube of 5,000 faces along a random curve."""
    amplitudes = np.random.default_rng(seed).normal(size=(2, 3, 3)) / np.array([1, 2, 3])
    turn = 2 * np.pi * np.arange(around) / around
    waves = np.stack([np.cos(np.outer([1, 2, 3], turn)), np.sin(np.outer([1, 2, 3], turn))])
    middle = np.einsum("sdk,ska->ad", amplitudes, waves)
    along = np.roll(middle, -1, axis=0) - np.roll(middle, 1, axis=0)
    side = np.cross(along, amplitudes[0, :, 0])
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    other = np.cross(along / np.linalg.norm(along, axis=1, keepdims=True), side)
    angle = 2 * np.pi * np.arange(across) / across
    ring = np.cos(angle)[:, None] * side[:, None] + np.sin(angle)[:, None] * other[:, None]
    points = (middle[:, None] + 0.15 * ring).reshape(-1, 3)
    a = np.arange(around * across).reshape(around, across)
    b, c, d = np.roll(a, -1, 0), np.roll(a, -1, 1), np.roll(a, (-1, -1), (0, 1))
    faces = np.concatenate([np.stack([a, b, c], -1), np.stack([c, b, d], -1)]).reshape(-1, 3)
    points -= (points.min(axis=0) + points.max(axis=0)) / 2
    return Mesh(points / np.linalg.norm(points, axis=1).max(), faces)


def as_points(mesh: Mesh) -> Mesh:
    """Random points on the surface of a mesh, or the points that it is."""
    if not len(mesh.faces):
        return mesh
    generator = np.random.default_rng(0)
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    chosen = generator.choice(len(areas), POINTS, p=areas / areas.sum())
    u, v = generator.random((2, POINTS, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    a, b, c = a[chosen], b[chosen], c[chosen]
    return Mesh(a + u * (b - a) + v * (c - a), np.zeros((0, 3), np.int64))


if __name__ == "__main__":
    main()
