"""Shapes → pictures: 12 or 20 views, shaded or as line drawings, by rays (Embree) on one thread."""

from bwot.rendering.cameras import camera_frames
from bwot.rendering.folders import Broken, read_strip, render_folder
from bwot.rendering.pictures import render, render_from

__all__ = ["Broken", "camera_frames", "read_strip", "render", "render_folder", "render_from"]
