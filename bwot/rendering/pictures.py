"""Shapes → pictures from 12 or 20 cameras, shaded or as line drawings.

The same mesh gives the same bytes on the same machine: nothing is random, and one thread draws.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float64, UInt8

from bwot.meshes import Mesh
from bwot.rendering.cameras import Up, Views, camera_frames

Style = Literal["shaded", "drawn"]


def render(
    mesh: Mesh,
    views: Views,
    size: int = 224,
    style: Style = "shaded",
    samples: int = 2,
    up: Up = "z",
) -> UInt8[np.ndarray, "v size size"]:
    """Grey pictures of a shape on white (255), one a camera.

    Triangles are met by rays (Embree), whichever way they are wound; a shape without any that has an area is drawn as its
    points. Cameras and what fits into their pictures: :mod:`bwot.rendering.cameras`.

    Args:
        mesh: a shape in the unit sphere, as :func:`bwot.meshes.read_mesh` gives it.
        views: ``ring``, 12 for upright shapes, or ``dodecahedron``, 20 for others.
        size: width and height in pixels.
        style: ``shaded`` grey, or ``drawn`` in black lines.
        samples: rays a pixel along each side, averaged against jagged edges; shading takes them where grey changes.
        up: the axis of the shape that points up.

    Raises:
        ValueError: for a shape that is not finite, empty or outside the unit sphere, faces that name vertices that are not
            there, or settings of another kind than these.
    """
    return render_from(mesh, camera_frames(views, up), size, style, samples)


def render_from(
    mesh: Mesh,
    frames: Float64[np.ndarray, "v 3 3"],
    size: int = 224,
    style: Style = "shaded",
    samples: int = 2,
) -> UInt8[np.ndarray, "v size size"]:
    """As :func:`render`, from cameras of one's own: frames as :func:`~bwot.rendering.cameras.camera_frames` gives them."""
    _check_picture(size, style, samples)
    _check(mesh)
    draw = _painter(mesh, size, style, samples)
    return np.stack([draw(frame) for frame in frames])


def check_settings(views: str, size: int, style: str, samples: int, up: str) -> None:
    """Refuse settings that :func:`render` does not know."""
    camera_frames(views, up)
    _check_picture(size, style, samples)


def _check_picture(size, style, samples):
    if style not in ("shaded", "drawn"):
        raise ValueError(f"style must be 'shaded' or 'drawn', not {style!r}.")
    if not 8 <= size <= 2048:
        raise ValueError(f"size must be 8 to 2048 pixels, not {size}.")
    if not 1 <= samples <= 4:
        raise ValueError(f"samples must be 1 to 4 a side of a pixel, not {samples}.")


def _check(mesh):
    if not len(mesh.vertices):
        raise ValueError("a shape must have vertices to be drawn; this one has none.")
    farthest = np.linalg.norm(mesh.vertices, axis=1).max()
    if not farthest <= 1.001:  # NaN too
        raise ValueError(
            f"vertices must lie in the unit sphere, not as far from the origin as {farthest:.6g}: "
            "take meshes as bwot.meshes.read_mesh gives them."
        )
    if len(mesh.faces) and not 0 <= mesh.faces.min() <= mesh.faces.max() < len(mesh.vertices):
        raise ValueError(
            f"faces must name vertices 0 to {len(mesh.vertices) - 1}, not {mesh.faces.min()} to {mesh.faces.max()}."
        )


def _painter(mesh, size, style, samples):
    """The function from the frame of a camera to its picture; what all views share is done once."""
    from bwot.rendering.layers import mesh_layer
    from bwot.rendering.lines import drawn
    from bwot.rendering.shading import shaded, shaded_layer
    from bwot.rendering.splats import splat_layer, splats
    from bwot.rendering.surfaces import surface
    from bwot.rendering.tracing import Tracer

    triangles = surface(mesh)
    if len(triangles.faces):
        tracer = Tracer(triangles)
        if style == "shaded":
            return lambda frame: shaded(tracer, frame, size, samples)
        return lambda frame: drawn(mesh_layer(tracer, frame, size * samples), samples)
    spheroids = splats(mesh.vertices)
    finish = shaded_layer if style == "shaded" else drawn
    return lambda frame: finish(splat_layer(spheroids, frame, size * samples), samples)
