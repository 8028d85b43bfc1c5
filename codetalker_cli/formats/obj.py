"""OBJ files: vertices, polygons and vertex colors.

We parse these files ourselves, because trimesh changes many of them:

- It drops unreferenced vertices if faces have texture or normal indices.
- It returns a separate mesh for each material.
- It counts negative indices back from the end of the file instead of from the face.
- It accepts a zero index, and silently skips a face with two corners.
- It skips lines with tabs between the values.
- It starts the second triangle of a quad at the third corner of the quad.

Rewriting such files for trimesh would require parsing every number, so nothing would be gained.
trimesh is also slower for mesh sequences, because it cannot skip the faces: 9 ms instead of 3 ms
for a file with 5000 vertices.
``tests/test_trimesh_limits.py`` shows each of these points.
"""

import re
from itertools import chain

import numpy as np

from codetalker_cli.formats.ply import Polygons, too_many_triangles
from codetalker_cli.settings.limits import active

_VERTEX = re.compile(rb"^[ \t]*v[ \t]+([^\r\n#]*)", re.MULTILINE)
_FACE = re.compile(rb"^[ \t]*f[ \t]+([^\r\n#]*)", re.MULTILINE)
_OTHER_INDICES = re.compile(rb"/[^\s]*")
_WIDTHS = {3, 4, 6, 7}  # x y z [w] [r g b]


def parse(content: bytes, *, with_faces: bool) -> tuple[np.ndarray, Polygons, np.ndarray | None]:
    """Parse the content of an OBJ file.

    Args:
        content: The whole file.
        with_faces: If false, the faces are skipped.

    Returns:
        (V, 3) float64 vertices, polygons, and (V, 3) uint8 colors or None.

    Raises:
        ValueError: The content is not a valid OBJ file. The message gives the reason.
    """
    if b"\\" in content:  # a backslash joins a line with the next one
        content = re.sub(rb"\\\r?\n", b" ", content)
    lines = [line.split() for line in _VERTEX.findall(content)]
    if not lines:
        raise ValueError("it contains no vertices")
    widths = set(map(len, lines))
    if wrong := widths - _WIDTHS:
        k = next(i for i, line in enumerate(lines) if len(line) in wrong)
        raise ValueError(f"vertex {k} has {len(lines[k])} numbers, expected 3, or 6 with a color")
    if len(widths) > 1:  # colors that only some vertices have are dropped
        lines = [line[:3] for line in lines]
    values = np.array(list(map(float, chain.from_iterable(lines)))).reshape(len(lines), -1)
    vertices = values[:, :3]
    polygons = (np.zeros(0, np.int64), np.zeros(0, np.int64))
    if with_faces:
        polygons = _polygons(content)
    colors = values[:, -3:] if values.shape[1] >= 6 else None
    return np.ascontiguousarray(vertices), polygons, _colors(colors)


def _polygons(content: bytes) -> Polygons:
    most = active().mesh_triangles
    if len(content) > most and sum(1 for _ in _FACE.finditer(content)) > most:
        raise ValueError(too_many_triangles(most + 1))
    texts = _FACE.findall(content)
    faces = [face.split() for face in _OTHER_INDICES.sub(b"", b"\n".join(texts)).split(b"\n")]
    n_corners = np.array([len(face) for face in faces] if texts else [], dtype=np.int64)
    corners = np.array(list(map(int, chain.from_iterable(faces))), dtype=np.int64)
    if (corners == 0).any():
        k = int(np.searchsorted(np.cumsum(n_corners), np.argmin(corners != 0), side="right"))
        raise ValueError(f"face {k + 1} refers to vertex 0, but .obj counts from 1")
    if (corners < 0).any():  # counted back from the last vertex above the face
        vertex_starts = [match.start() for match in _VERTEX.finditer(content)]
        face_starts = [match.start() for match in _FACE.finditer(content)]
        n_above = np.repeat(np.searchsorted(vertex_starts, face_starts), n_corners)
        corners = np.where(corners < 0, corners + n_above + 1, corners)
    return n_corners, corners - 1


def _colors(values: np.ndarray | None) -> np.ndarray | None:
    # most programs write colors from 0 to 1, some from 0 to 255
    if values is None or not np.isfinite(values).all():
        return None
    scale = 255.0 if values.max(initial=0.0) <= 1.0 else 1.0
    return np.round(np.clip(values * scale, 0, 255)).astype(np.uint8)
