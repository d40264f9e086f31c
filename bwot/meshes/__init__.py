"""From a mesh file to vertices and triangles in the unit sphere: OFF, OBJ, PLY and STL.

All four are read here, at the speed of NumPy, and an error names its line, or its vertex or face where a file is binary.
Libraries pass over lines beyond the counts, the index 0, a face that was cut off, and what is no number.
"""

from bwot.meshes.reading import Mesh, normalised, read_mesh
from bwot.meshes.rows import MeshError

__all__ = ["Mesh", "MeshError", "normalised", "read_mesh"]
