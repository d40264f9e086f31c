"""Views of shapes: cameras, shading, splats and lines against shapes whose pictures are known."""

import math

import numpy as np
import pytest

from bwot.meshes import Mesh
from bwot.rendering import camera_frames, render
from bwot.rendering.cameras import DISTANCE, FIELD_OF_VIEW, HALF_WIDTH
from bwot.rendering.shading import shaded
from bwot.rendering.surfaces import surface
from bwot.rendering.tracing import Tracer

CUBE = Mesh(
    np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / math.sqrt(3),
    np.array(
        [(0, 1, 3), (0, 3, 2), (4, 6, 7), (4, 7, 5), (0, 4, 5), (0, 5, 1),
         (2, 3, 7), (2, 7, 6), (0, 2, 6), (0, 6, 4), (1, 5, 7), (1, 7, 3)]
    ),
)  # fmt: skip
NO_FACES = np.zeros((0, 3), np.int64)


def sphere(rings=48, around=96):
    """The unit sphere, in triangles small enough to take its area for the true one."""
    heights, turns = np.linspace(0, math.pi, rings + 1), 2 * math.pi * np.arange(around) / around
    points = [(math.sin(h) * math.cos(t), math.sin(h) * math.sin(t), math.cos(h)) for h in heights for t in turns]  # fmt: skip
    faces = []
    for i in range(rings):
        for j in range(around):
            a, b = i * around + j, i * around + (j + 1) % around
            faces += [(a, a + around, b), (b, a + around, b + around)]
    return Mesh(np.array(points), np.array(faces))


def lopsided(seed=0, count=60):
    """Random triangles that have no symmetry."""
    points = np.random.default_rng(seed).uniform(-0.57, 0.57, (3 * count, 3))
    return Mesh(points, np.arange(3 * count).reshape(-1, 3))


def coverage(picture):
    """How much of each pixel is not white, for a picture whose shapes are all darker than 240."""
    return (picture < 255).mean()


def silhouette_of_sphere():
    """The share of the picture that the unit sphere covers: a disc of tangents."""
    return math.pi / 4 * (1 / math.sqrt(DISTANCE**2 - 1) / HALF_WIDTH) ** 2


def test_a_spheres_silhouette_has_its_analytic_area():
    for picture in render(sphere(), "ring", size=224)[::4]:
        assert coverage(picture) == pytest.approx(silhouette_of_sphere(), rel=0.02)
        assert picture[112, 112] < 255 and picture[3, 3] == 255


def square_before_the_first_camera(near=0.0):
    """A square of side .8, and the share of the picture that it covers."""
    frame = camera_frames("ring")[0]
    flat = np.array([(-0.4, -0.4), (0.4, -0.4), (0.4, 0.4), (-0.4, 0.4)])
    corners = flat @ frame[:2] + near * frame[2]
    area = (0.8 / (2 * math.tan(math.radians(FIELD_OF_VIEW / 2)) * (DISTANCE - near))) ** 2
    return Mesh(corners, np.array([(0, 1, 2), (0, 2, 3)])), area


def test_perspective_shows_what_is_near_larger():
    for near in (-0.5, 0.0, 0.5):
        mesh, area = square_before_the_first_camera(near)
        assert coverage(render(mesh, "ring", samples=1)[0]) == pytest.approx(area, rel=0.03)


def test_anti_aliasing_weighs_the_edge_by_what_the_shape_covers():
    mesh, area = square_before_the_first_camera()
    turned = Mesh(rolled(mesh.vertices, 20), mesh.faces)
    errors = {}
    for samples in (1, 4):
        picture = render(turned, "ring", 48, samples=samples)[0].astype(float)
        share = (255 - picture) / (255 - np.median(picture[picture < 250]))
        errors[samples] = abs(share.mean() / area - 1)
        between = ((share > 0.1) & (share < 0.9)).sum()
        assert (between > 40) == (samples > 1)
    assert errors[4] < 0.03  # the light is not quite even


def rolled(points, degrees):
    """Points turned around the axis of the first camera."""
    frame, turn = camera_frames("ring")[0], math.radians(degrees)
    turned = [(math.cos(turn), -math.sin(turn), 0), (math.sin(turn), math.cos(turn), 0), (0, 0, 1)]
    return points @ frame.T @ np.array(turned).T @ frame


@pytest.mark.parametrize("style", ["shaded", "drawn"])
def test_what_touches_the_unit_sphere_stays_off_the_border(style):
    for mesh in (sphere(), CUBE, Mesh(sphere().vertices, NO_FACES)):
        pictures = render(mesh, "dodecahedron", size=112, style=style)
        assert (pictures[:, [0, -1]] == 255).all() and (pictures[:, :, [0, -1]] == 255).all()


def test_the_pictures_of_a_symmetric_shape_are_mirrored():
    mesh = lopsided(count=40)
    twin = Mesh(mesh.vertices * (1, -1, 1), mesh.faces)
    both = Mesh(np.concatenate([mesh.vertices, twin.vertices]), np.concatenate([mesh.faces, mesh.faces + len(mesh.vertices)]))  # fmt: skip
    pictures = render(both, "ring", size=96).astype(int)
    for view in range(12):
        mirrored = pictures[-view % 12, :, ::-1]
        assert (abs(pictures[view] - mirrored) > 8).mean() < 0.005, view
    assert abs(pictures[1] - pictures[11]).mean() > 1


def test_a_quarter_turn_of_a_cube_gives_the_same_pictures():
    pictures = render(CUBE, "ring", size=96).astype(int)
    assert (abs(pictures[:9] - pictures[3:]) > 8).mean() < 0.005
    greys = np.unique(pictures[0][pictures[0] < 250])
    assert len(greys) > 1 and coverage(pictures[0]) > 0.2


def test_the_up_axis_is_a_rotation_of_the_shape():
    mesh = lopsided()
    turned = Mesh(mesh.vertices[:, [0, 2, 1]] * (1, 1, -1), mesh.faces)
    one, two = (
        render(each, "ring", 64, up=up).astype(int) for each, up in ((mesh, "z"), (turned, "y"))
    )
    assert (abs(one - two) > 8).mean() < 0.005


@pytest.mark.parametrize("style", ["shaded", "drawn"])
def test_winding_makes_no_difference(style):
    flipped = sphere(24, 48)
    order = np.random.default_rng(1).random(len(flipped.faces)) < 0.5
    faces = np.where(order[:, None], flipped.faces[:, ::-1], flipped.faces)
    one = render(flipped, "ring", 96, style)
    two = render(Mesh(flipped.vertices, faces), "ring", 96, style)
    assert (abs(one.astype(int) - two) > 2).mean() < 0.001


def test_normals_are_smooth_over_a_sphere_and_sharp_at_a_cube():
    ball = surface(sphere())
    places = ball.vertices[ball.faces]
    agreement = abs((ball.corner_normals * places).sum(axis=-1))
    assert agreement.min() > 0.99
    cube = surface(CUBE)
    np.testing.assert_allclose(cube.corner_normals, np.repeat(cube.face_normals[:, None], 3, axis=1), atol=1e-6)  # fmt: skip


def test_equal_vertices_are_one_and_a_face_counts_once():
    soup = Mesh(CUBE.vertices[CUBE.faces].reshape(-1, 3), np.arange(36).reshape(-1, 3))
    doubled = Mesh(soup.vertices, np.concatenate([soup.faces, soup.faces[:, ::-1]]))
    assert len(surface(doubled).faces) == 12
    np.testing.assert_array_equal(render(doubled, "ring", 64), render(soup, "ring", 64))


@pytest.mark.parametrize("mesh", [lopsided(), sphere(), CUBE], ids=["triangles", "sphere", "cube"])
def test_adaptive_anti_aliasing_is_close_to_all_rays(mesh):
    tracer = Tracer(surface(mesh))
    for frame in camera_frames("dodecahedron")[::5]:
        adaptive = shaded(tracer, frame, 128, 2).astype(int)
        full = shaded(tracer, frame, 128, 2, adaptive=False)
        assert abs(adaptive - full).mean() < 0.1
        assert (abs(adaptive - full) > 16).mean() < 0.002


@pytest.mark.parametrize("style", ["shaded", "drawn"])
def test_the_same_mesh_gives_the_same_bytes(style):
    for mesh in (lopsided(), Mesh(lopsided().vertices, NO_FACES)):
        first = render(mesh, "dodecahedron", 64, style)
        np.testing.assert_array_equal(first, render(mesh, "dodecahedron", 64, style))


def flat(count=2):
    """A square in the plane through z, which the ring sees from the edge at its fourth camera."""
    corners = np.array([(-0.6, 0.0, -0.6), (0.6, 0.0, -0.6), (0.6, 0.0, 0.6), (-0.6, 0.0, 0.6)])
    return Mesh(corners, np.array([(0, 1, 2), (0, 2, 3)])[:count])


@pytest.mark.parametrize(
    ("mesh", "visible"),
    [
        (flat(1), True),
        (flat(), True),
        (Mesh(np.zeros((3, 3)), np.array([(0, 1, 2)])), True),  # no area: its points
        (Mesh(np.array([(0, 0, 0.5), (0, 0, 0), (0, 0, -0.5)]), np.array([(0, 1, 2)])), True),
        (Mesh(flat().vertices, np.array([(0, 1, 2), (0, 0, 0), (1, 1, 2)])), True),
        (Mesh(np.zeros((1, 3)), NO_FACES), True),
        (Mesh(np.array([(0.0, 0.0, 1.0), (0.0, 0.0, -1.0)]), NO_FACES), True),
        (Mesh(np.repeat(flat().vertices, 5, axis=0), NO_FACES), True),
        (Mesh(np.array([(0.0, 0, 0), (1e-5, 0, 0), (0, 1e-5, 0)]), np.array([(0, 1, 2)])), False),
    ],
)
@pytest.mark.parametrize("style", ["shaded", "drawn"])
@pytest.mark.parametrize("views", ["ring", "dodecahedron"])
def test_degenerate_shapes_have_pictures(mesh, visible, style, views):
    pictures = render(mesh, views, 64, style)
    assert pictures.dtype == np.uint8 and len(pictures) == (12 if views == "ring" else 20)
    assert (pictures < 255).any() or not visible


def test_two_hundred_thousand_faces_have_a_picture():
    mesh = sphere(316, 316)
    assert len(mesh.faces) > 199_000
    assert coverage(render(mesh, "ring", 64, samples=1)[0]) == pytest.approx(
        silhouette_of_sphere(), rel=0.05
    )


def test_a_fan_of_many_faces_around_one_vertex_ends():
    turns = 2 * math.pi * np.arange(20_000) / 20_000
    rim = np.stack([0.7 * np.cos(turns), 0.7 * np.sin(turns), np.zeros_like(turns)], axis=1)
    low = np.arange(20_000)
    faces = np.stack([low, np.roll(low, -1), np.full_like(low, 20_000)], axis=1)
    fan = Mesh(np.concatenate([rim, [(0.0, 0.0, 0.7)]]), faces)
    assert 0.15 < coverage(render(fan, "ring", 64)[0]) < 0.5


def test_splats_of_a_spheres_points_fill_the_spheres_silhouette():
    points = np.random.default_rng(0).normal(size=(1024, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    ball = render(sphere(), "ring", 128).astype(int)
    for splats, true in zip(
        render(Mesh(points, NO_FACES), "ring", 128).astype(int), ball, strict=True
    ):
        wrong = (splats < 250) != (true < 250)
        assert wrong.mean() < 0.04
        both = (splats < 250) & (true < 250)
        assert abs(splats - true)[both].mean() < 15


def test_the_drawing_of_a_cube_has_its_edges_and_nothing_inside_its_faces():
    size = 224
    for frame, picture in zip(
        camera_frames("ring"), render(CUBE, "ring", size, "drawn"), strict=True
    ):
        seen = np.zeros((size, size), bool)
        for face in CUBE.faces.reshape(6, 6):
            normal = CUBE.vertices[face].mean(axis=0)
            if (DISTANCE * frame[2] - normal) @ normal <= 1e-3:
                continue
            corners = [c for c in CUBE.vertices if abs(c @ normal - normal @ normal) < 1e-6]
            for a in corners:
                for b in corners:
                    if abs(np.linalg.norm(a - b) - 2 / math.sqrt(3)) < 1e-6:
                        line = np.linspace(a, b, 300)
                        places = project(line, frame, size).astype(int)
                        seen[places[:, 1], places[:, 0]] = True
        distance = distances(seen)
        dark = picture < 128
        assert distance[dark].max() <= 3
        assert distances(dark)[seen].max() <= 3


def project(points, frame, size):
    """The definition: coordinates in the camera's frame, over the depth."""
    right, up, back = (points @ frame.T).T
    depth = DISTANCE - back
    return np.stack([size / 2 * (1 + right / depth / HALF_WIDTH), size / 2 * (1 - up / depth / HALF_WIDTH)], axis=1)  # fmt: skip


def distances(marks):
    """From each pixel to the nearest marked one."""
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~marks)


def test_a_bulge_without_an_edge_is_drawn_by_its_outline_alone():
    picture = render(sphere(), "ring", 128, "drawn")[0]
    rows, columns = np.nonzero(picture < 128)
    radius = np.hypot(rows + 0.5 - 64, columns + 0.5 - 64)
    outline = 64 / math.sqrt(DISTANCE**2 - 1) / HALF_WIDTH
    assert abs(radius - outline).max() < 2.5 and len(rows) > 2 * outline


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        (Mesh(2 * CUBE.vertices, CUBE.faces), "unit sphere, not as far from the origin as 2"),
        (Mesh(np.full((3, 3), np.nan), np.array([(0, 1, 2)])), "unit sphere"),
        (Mesh(CUBE.vertices, np.array([(0, 1, 8)])), "vertices 0 to 7, not 0 to 8"),
        (Mesh(CUBE.vertices, np.array([(0, 1, -1)])), "not -1 to 1"),
        (Mesh(np.zeros((0, 3)), NO_FACES), "must have vertices"),
    ],
)
def test_what_is_no_shape_in_the_unit_sphere_is_refused(mesh, message):
    with pytest.raises(ValueError, match=message):
        render(mesh, "ring", 64)


@pytest.mark.parametrize("settings", [{"size": 4}, {"size": 5000}, {"samples": 0}, {"samples": 9}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be .* not"):
        render(CUBE, "ring", **settings)
