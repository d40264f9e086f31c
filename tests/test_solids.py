"""Drawn solids: closed parts, the same bits everywhere, families that differ and members that vary."""

import hashlib
from collections import Counter

import jaxtyping
import numpy as np
import pytest
import torch

from bwot.accuracy import svc_accuracy
from bwot.dice import dice
from bwot.families.parts import TURN, TURNS, arc, ball, box, joined, lathe, moved, tube, turned
from bwot.solids import FAMILIES, solid
from bwot.standins import solids


@pytest.fixture
def plain_types():
    """Our own errors, not those of the type checker that the tests may run under."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def volume(part):
    """Of what a closed surface holds: positive where its normals point outwards."""
    vertices, faces = part
    return sum(np.linalg.det(vertices[face]) for face in faces) / 6


def is_closed(part):
    """Whether every side of a triangle is another one's, the other way round."""
    vertices, faces = part
    corners = [[tuple(vertices[corner].round(9) + 0.0) for corner in face] for face in faces]
    sides = Counter((a, b) for p, q, r in corners for a, b in ((p, q), (q, r), (r, p)))
    return all(sides[b, a] == times for (a, b), times in sides.items())


def polygon(sides):
    """The area of a regular polygon in the unit circle."""
    return sides / 2 * np.sin(2 * np.pi / sides)


PARTS = {
    "cylinder": (lathe([(2, 0), (2, 3)], 24), polygon(24) * 4 * 3),
    "cone": (lathe([(0, 0), (1, 0), (0, 3)], 12), polygon(12)),
    "oval": (lathe([(1, 0), (1, 1)], 24, stretch=0.5), polygon(24) / 2),
    "pipe": (lathe([(1, 0), (1, 1), (0.5, 1), (0.5, 0), (1, 0)], 24), polygon(24) * 0.75),
    "ball": (ball((1, 2, 3), (4, 5, 6), 24), 4 / 3 * np.pi * 6),
    "tube": (tube([(0, 0, 0), (3, 0, 4)], 1.0, 20), polygon(20) * 5),
    "flat tube": (tube([(0, 1, 0), (0, 0, 0)], 1.0, 20, flat=0.5), polygon(20) / 2),
    "bend": (tube(arc((0, 0, 0), (2, 2), 0, 60), 0.5, 24), polygon(24) * 0.25 * np.pi),
    "box": (box((1, 2, 3), (7, 8, 9)), 6),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_closed_and_holds_what_it_should(name):
    part, expected = PARTS[name]
    assert is_closed(part)
    assert volume(part) == pytest.approx(expected, rel=0.06)


def test_a_bevelled_block_is_a_little_smaller_than_the_whole_one():
    assert 5.7 < volume(box((1, 2, 3), (0, 0, 0))) < 6
    low, high = (getattr(box((1, 2, 3), (7, 8, 9))[0], end)(axis=0) for end in ("min", "max"))
    assert low.tolist() == [6.5, 7, 7.5] and high.tolist() == [7.5, 9, 10.5]


def test_a_quarter_turn_goes_from_each_axis_to_the_next():
    point = np.array([[1.0, 2.0, 3.0]]), np.zeros((0, 3), np.int64)
    assert turned(point, TURN // 4)[0].tolist() == [[-2, 1, 3]]
    assert turned(point, TURN // 4, axis=0)[0].tolist() == [[1, -3, 2]]
    assert turned(point, -TURN // 4, axis=1)[0].tolist() == [[-3, 2, 1]]


def test_parts_are_joined_one_after_another():
    first, second = box((1, 1, 1), (0, 0, 0)), moved(lathe([(1, 0), (1, 1)]), 5, 0, 0)
    whole = joined([first, second])
    assert volume(whole) == pytest.approx(volume(first) + volume(second))


def test_sines_stand_on_a_grid_that_no_platform_rounds_to_differently():
    steps = TURNS * 2**16
    assert np.array_equal(steps, steps.round())
    angles = 2 * np.pi * np.arange(TURN) / TURN
    exact = 2**16 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert np.abs(np.abs(exact - np.floor(exact)) - 0.5).min() > 1e-6  # none is near a tie


def test_dice_are_fair_and_each_seed_has_its_own():
    counts = np.bincount(dice((3, 4))(6000, below=6), minlength=6)
    assert len(counts) == 6 and np.abs(counts - 1000).max() < 120
    assert not np.array_equal(dice((3, 4))(50, below=6), dice((4, 3))(50, below=6))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_solid_lies_in_the_unit_sphere_around_its_middle(family):
    for seed in range(12):
        vertices, faces = solid(family, seed)
        assert np.abs(vertices.min(axis=0) + vertices.max(axis=0)).max() < 1e-12
        assert np.linalg.norm(vertices, axis=1).max() == pytest.approx(1, abs=1e-12)
        assert 200 <= len(faces) <= 3000 and 0 <= faces.min() <= faces.max() < len(vertices)
        p, q, r = vertices[faces].transpose(1, 0, 2)
        assert np.linalg.norm(np.cross(q - p, r - p), axis=1).min() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_members_of_a_family_differ(family):
    extents = [np.ptp(solid(family, seed).vertices, axis=0).round(3) for seed in range(12)]
    assert len({tuple(extent) for extent in extents}) == 12
    counts = {len(solid(family, seed).faces) for seed in range(12)}
    assert len(counts) > 1 or family == "animal"  # whose parts are the same in number


def test_a_solid_does_not_depend_on_what_was_drawn_before():
    np.random.seed(0)
    first = solid("lamp", 5)
    np.random.seed(1)
    solid("tree", 2)
    again = solid("lamp", 5)
    assert np.array_equal(first.vertices, again.vertices)
    assert np.array_equal(first.faces, again.faces)


@pytest.mark.parametrize(
    ("family", "seed", "message"),
    [("sofa", 0, "one of chair, .*, not 'sofa'"), ("chair", -1, "seed must not be negative")],
)
def test_what_cannot_be_drawn_is_named(family, seed, message, plain_types):
    with pytest.raises(ValueError, match=message):
        solid(family, seed)


def test_the_set_is_marked_as_a_stand_in_and_its_parts_share_nothing():
    shapes = solids()
    assert shapes.name == "modelnet10" and shapes.variant.startswith("stand-in")
    assert not shapes.official and shapes.classes == FAMILIES
    assert len(shapes.meshes) == len(shapes.names) == len(set(shapes.names)) == 400
    parts = [shapes.splits[part] for part in ("train", "validation", "test")]
    assert torch.cat(parts).sort().values.tolist() == list(range(400))
    for part, each in zip(parts, (24, 4, 12), strict=True):
        assert shapes.labels[part].bincount().tolist() == [each] * 10
        assert part.tolist() == sorted(part.tolist())


def test_names_labels_and_meshes_of_the_set_belong_together():
    shapes = solids()
    for place in (0, 57, 399):
        family, _, member = shapes.names[place].rpartition("-")
        assert family == shapes.classes[shapes.labels[place]]
        assert np.array_equal(shapes.meshes[place].vertices, solid(family, int(member)).vertices)


def test_the_set_never_changes():
    shapes, digest = solids(), hashlib.sha256()
    digest.update(shapes.labels.numpy().astype("<i8").tobytes())
    for vertices, faces in shapes.meshes:
        digest.update(vertices.astype("<f8").tobytes())
        digest.update(faces.astype("<i8").tobytes())
    assert shapes.splits["test"][:8].tolist() == [1, 2, 3, 4, 10, 11, 18, 22]
    assert (
        digest.hexdigest()
        == shapes.sha256
        == "b6bb806274b93c57497ad156bd919f932b70a6c033e845bb89bccef4531d0ffd"
    )


def distances_between_points(mesh, count=1000):
    """Shares of the distances between chance points of the surface, in 32 steps from 0 to 2."""
    rng = np.random.default_rng(0)
    p, q, r = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    areas = np.linalg.norm(np.cross(q - p, r - p), axis=1)
    chosen = rng.choice(len(areas), 2 * count, p=areas / areas.sum())
    u, v = rng.random((2, 2 * count, 1))
    u, v = np.where(u + v > 1, (1 - u, 1 - v), (u, v))
    points = p[chosen] + u * (q - p)[chosen] + v * (r - p)[chosen]
    apart = np.linalg.norm(points[:count] - points[count:], axis=1)
    return np.histogram(apart, 32, (0, 2))[0] / count


def test_families_can_be_told_apart_and_overlap():
    shapes = solids()
    found = torch.from_numpy(np.stack([50 * distances_between_points(m) for m in shapes.meshes]))
    train, test = shapes.splits["train"], shapes.splits["test"]
    accuracy = svc_accuracy(found[train], shapes.labels[train], found[test], shapes.labels[test])
    assert 0.4 < accuracy < 0.9
