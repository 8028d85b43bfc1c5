"""OFF files, which trimesh reads after we have checked their rows.

The check is needed because trimesh accepts a file that ends within its faces. Polygons are split
into triangles first, because trimesh would reorder them, and fails on a mesh of triangles and
pentagons. Vertex colors (COFF) are read and written here, because trimesh ignores them.
``tests/test_trimesh_limits.py`` shows each of these points.
"""

from io import BytesIO
from itertools import pairwise

import numpy as np

from codetalker_cli.errors import counted
from codetalker_cli.formats.ply import Polygons, too_many_triangles
from codetalker_cli.settings.limits import active

_KEYWORDS = (b"OFF", b"COFF", b"NOFF")

_Rows = list[list[bytes]]


def parse(content: bytes, *, with_faces: bool) -> tuple[np.ndarray, Polygons, np.ndarray | None]:
    """Parse the content of an OFF file.

    Args:
        content: The whole file.
        with_faces: If false, the faces are skipped.

    Returns:
        (V, 3) float64 vertices, polygons (all of them triangles), and (V, 3) uint8 colors or None.

    Raises:
        ValueError: The content is not a complete OFF file. The message gives the reason.
    """
    from trimesh.exchange.off import load_off

    keyword, vertex_rows, face_rows = _rows(content)
    if not with_faces:
        face_rows = []
    _check(vertex_rows, face_rows)
    if not vertex_rows:
        raise ValueError("it contains no vertices")
    triangle_rows = [triangle for row in face_rows for triangle in _triangles(row)]
    header = [[b"OFF"], [b"%d" % len(vertex_rows), b"%d" % len(triangle_rows), b"0"]]
    text = b"\n".join(b" ".join(row) for row in [*header, *vertex_rows, *triangle_rows])
    if not text.isascii():  # otherwise trimesh guesses an encoding
        raise ValueError("it contains bytes that are not ASCII text")
    loaded = load_off(BytesIO(text))
    corners = np.asarray(loaded["faces"], dtype=np.int64).reshape(-1)
    polygons = (np.full(len(corners) // 3, 3, dtype=np.int64), corners)
    colors = _colors(vertex_rows) if keyword == b"COFF" else None
    return loaded["vertices"], polygons, colors


def _rows(content: bytes) -> tuple[bytes, _Rows, _Rows]:
    """Return the keyword, the vertex rows and the face rows, without comments."""
    lines = (line.split(b"#", 1)[0].split() for line in content.splitlines())
    rows = [line for line in lines if line]
    if not rows or rows[0][0] not in _KEYWORDS:
        raise ValueError("it does not begin with OFF, COFF or NOFF")
    keyword = rows[0].pop(0)
    if not rows[0]:
        rows.pop(0)
    counts = rows.pop(0)[:2] if rows else []
    if len(counts) != 2 or not all(count.isdigit() for count in counts):
        raise ValueError(f"{keyword.decode()} is not followed by the vertex and face counts")
    n_vertices, n_faces = map(int, counts)
    if n_faces > active().mesh_triangles:
        raise ValueError(too_many_triangles(n_faces))
    if len(rows) < n_vertices + n_faces:
        name, n = ("vertex", n_vertices) if len(rows) < n_vertices else ("face", n_faces)
        raise ValueError(f"it ends within its {counted(n, f'{name} entry')}")
    return keyword, rows[:n_vertices], rows[n_vertices : n_vertices + n_faces]


def _check(vertex_rows: _Rows, face_rows: _Rows) -> None:
    for k, row in enumerate(vertex_rows):
        if len(row) < 3:
            raise ValueError(f"vertex {k} has {len(row)} numbers, expected 3")
    for k, row in enumerate(face_rows):
        n_corners = int(row[0])
        if n_corners < 3:
            raise ValueError(
                f"face {k + 1} has {counted(n_corners, 'corner')}; at least 3 are needed"
            )
        if len(row) <= n_corners:
            raise ValueError(f"face {k + 1} lists only {len(row) - 1} of its {n_corners} corners")


def _triangles(face_row: list[bytes]) -> _Rows:
    """Split a polygon into a fan of triangles around its first corner."""
    corners = face_row[1 : int(face_row[0]) + 1]
    return [[b"3", corners[0], *pair] for pair in pairwise(corners[1:])]


def _colors(vertex_rows: _Rows) -> np.ndarray | None:
    """Return the colors in columns 4 to 6: integers from 0 to 255, or decimals from 0 to 1."""
    texts = [row[3:6] for row in vertex_rows]
    if any(len(row) != 3 for row in texts):  # only some vertices have a color
        return None
    scale = 1.0 if all(text.isdigit() for row in texts for text in row) else 255.0
    values = np.array(texts, dtype=np.float64) * scale
    if not np.isfinite(values).all():
        return None
    return np.round(np.clip(values, 0, 255)).astype(np.uint8)


def with_colors(content: bytes, colors: np.ndarray | None) -> bytes:
    """Add vertex colors to an OFF file written by trimesh, which omits them."""
    if colors is None:
        return content
    lines = content.split(b"\n")
    for k, (red, green, blue) in enumerate(colors.tolist(), start=2):
        lines[k] += b" %d %d %d 255" % (red, green, blue)
    return b"\n".join([b"COFF", *lines[1:]])
