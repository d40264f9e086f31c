"""Where the cameras stand, and how their pictures are turned."""

import math

import numpy as np
import pytest

from bwot.rendering import camera_frames


def test_the_ring_stands_at_thirty_degrees_every_thirty_degrees():
    back = camera_frames("ring")[:, 2]
    np.testing.assert_allclose(np.degrees(np.arcsin(back[:, 2])), 30, atol=1e-9)
    turns = np.degrees(np.arctan2(back[:, 1], back[:, 0])) % 360
    np.testing.assert_allclose(turns, 30 * np.arange(12), atol=1e-9)


def test_the_dodecahedron_has_twenty_corners_with_three_neighbours_each():
    back = camera_frames("dodecahedron")[:, 2]
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), 1, atol=1e-12)
    between = np.degrees(np.arccos((back @ back.T).clip(-1, 1)))
    nearest = np.sort(between, axis=1)[:, 1:4]
    np.testing.assert_allclose(nearest, math.degrees(math.acos(math.sqrt(5) / 3)), atol=1e-6)
    np.testing.assert_allclose(back.sum(axis=0), 0, atol=1e-12)


@pytest.mark.parametrize("views", ["ring", "dodecahedron"])
@pytest.mark.parametrize("up", ["y", "z"])
def test_frames_are_rotations_whose_pictures_have_the_up_axis_up(views, up):
    frames = camera_frames(views, up)
    np.testing.assert_allclose(frames @ frames.transpose(0, 2, 1), np.tile(np.eye(3), (len(frames), 1, 1)), atol=1e-12)  # fmt: skip
    np.testing.assert_allclose(np.linalg.det(frames), 1)
    axis = "xyz".index(up)
    np.testing.assert_allclose(frames[:, 0, axis], 0, atol=1e-12)
    assert (frames[:, 1, axis] > 0.3).all()
