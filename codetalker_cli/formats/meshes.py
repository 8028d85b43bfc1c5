"""Mesh files: vertices in the file's own order, triangles, vertex colours.

Motion is stored by vertex number, so nothing here merges, drops or reorders vertices.
"""

import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from codetalker_cli.errors import DataError, InputError
from codetalker_cli.formats import ply

SUFFIXES = (".obj", ".ply")
"""Of the mesh files that are read, in lower case."""

_OBJ_VERTEX = re.compile(rb"^[ \t]*v[ \t]+([^\r\n#]*)", re.MULTILINE)
_OBJ_FACE = re.compile(rb"^[ \t]*f[ \t]+([^\r\n#]*)", re.MULTILINE)
_OBJ_OTHER_INDICES = re.compile(rb"/[^\s]*")
_OBJ_WIDTHS = {3, 4, 6, 7}  # x y z [w] [r g b]


@dataclass(frozen=True)
class MeshFile:
    """What a mesh file holds.

    Attributes:
        vertices: (V, 3) float64, in the file's order and unit; unused ones too.
        triangles: (F, 3) int32; polygons are cut into triangles from their first corner.
        colours: (V, 3) uint8, or None.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    colours: np.ndarray | None


def read_mesh_file(path: Path) -> MeshFile:
    """Read an .obj or .ply file.

    Raises:
        InputError: Missing.
        DataError: Not such a file, cut short, no vertices, a coordinate that is not finite, or a
            face that names a vertex that is not there.
    """
    vertices, (n_corners, corners), colours = _parse(path, with_faces=True)
    _check_vertices(path, vertices)
    if n_corners.size and n_corners.min() < 3:
        k = int(n_corners.argmin())
        raise DataError(f"{path}: face {k + 1} has {n_corners[k]} corners, at least 3 are needed")
    bad = np.flatnonzero((corners < 0) | (corners >= len(vertices)))
    if bad.size:
        k = int(np.searchsorted(np.cumsum(n_corners), bad[0], side="right"))
        raise DataError(
            f"{path}: face {k + 1} names vertex {corners[bad[0]]} (counted from 0), "
            f"but there are {len(vertices)}"
        )
    return MeshFile(vertices, _triangles(n_corners, corners), colours)


def read_vertices(path: Path) -> np.ndarray:
    """(V, 3) float64 vertices of an .obj or .ply file; faster, since its faces are not looked at.

    Raises:
        InputError: Missing.
        DataError: Not such a file, no vertices, or a coordinate that is not finite.
    """
    vertices, _, _ = _parse(path, with_faces=False)
    _check_vertices(path, vertices)
    return vertices


def _parse(path: Path, *, with_faces: bool) -> tuple[np.ndarray, ply.Polygons, np.ndarray | None]:
    suffix = path.suffix.lower()
    if not path.is_file():
        raise InputError(f"{path}: no such mesh file")
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path}: not a mesh file of a kind that is read; give .obj or .ply, "
            "which keep the order of the vertices"
        )
    try:
        content = path.read_bytes()
        if suffix == ".ply":
            with np.errstate(invalid="ignore"):  # what is no whole number is told as an error
                return ply.parse(content, with_faces=with_faces)
        return _parse_obj(content, with_faces=with_faces)
    except (OSError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: not a mesh file that can be read ({error})") from error


def _check_vertices(path: Path, vertices: np.ndarray) -> None:
    if not len(vertices):
        raise DataError(f"{path}: not a mesh file that can be read (it holds no vertices)")
    bad = np.flatnonzero(~np.isfinite(vertices).all(axis=1))
    if bad.size:
        raise DataError(f"{path}: vertex {bad[0]} is NaN or infinite ({len(bad)} such vertices)")


def _triangles(n_corners: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """(F, 3) int32: each polygon as a fan around its first corner."""
    starts = np.cumsum(n_corners) - n_corners
    n_fans = n_corners - 2
    first = np.repeat(starts, n_fans)
    within = np.arange(len(first)) - np.repeat(np.cumsum(n_fans) - n_fans, n_fans)
    picks = np.stack([first, first + within + 1, first + within + 2], axis=1)
    return corners[picks].astype(np.int32).reshape(-1, 3)


def _parse_obj(
    content: bytes, *, with_faces: bool
) -> tuple[np.ndarray, ply.Polygons, np.ndarray | None]:
    if b"\\" in content:  # a line that goes on in the next one
        content = re.sub(rb"\\\r?\n", b" ", content)
    lines = [line.split() for line in _OBJ_VERTEX.findall(content)]
    if not lines:
        raise ValueError("it holds no vertices")
    widths = set(map(len, lines))
    if wrong := widths - _OBJ_WIDTHS:
        k = next(i for i, line in enumerate(lines) if len(line) in wrong)
        raise ValueError(f"vertex {k} has {len(lines[k])} numbers, expected 3, or 6 with a colour")
    if len(widths) > 1:  # colours of some vertices are of no use
        lines = [line[:3] for line in lines]
    values = np.array(list(map(float, chain.from_iterable(lines)))).reshape(len(lines), -1)
    vertices = values[:, :3]
    polygons = (np.zeros(0, np.int64), np.zeros(0, np.int64))
    if with_faces:
        polygons = _obj_polygons(content)
    colours = values[:, -3:] if values.shape[1] >= 6 else None
    return np.ascontiguousarray(vertices), polygons, _obj_colours(colours)


def _obj_polygons(content: bytes) -> ply.Polygons:
    texts = _OBJ_FACE.findall(content)
    faces = [face.split() for face in _OBJ_OTHER_INDICES.sub(b"", b"\n".join(texts)).split(b"\n")]
    n_corners = np.array([len(face) for face in faces] if texts else [], dtype=np.int64)
    corners = np.array(list(map(int, chain.from_iterable(faces))), dtype=np.int64)
    if (corners == 0).any():
        k = int(np.searchsorted(np.cumsum(n_corners), np.argmin(corners != 0), side="right"))
        raise ValueError(f"face {k + 1} names vertex 0, but .obj counts from 1")
    if (corners < 0).any():  # counted back from the last vertex above the face
        vertex_starts = [match.start() for match in _OBJ_VERTEX.finditer(content)]
        face_starts = [match.start() for match in _OBJ_FACE.finditer(content)]
        n_above = np.repeat(np.searchsorted(vertex_starts, face_starts), n_corners)
        corners = np.where(corners < 0, corners + n_above + 1, corners)
    return n_corners, corners - 1


def _obj_colours(values: np.ndarray | None) -> np.ndarray | None:
    """Most programs write 0 to 1, some 0 to 255."""
    if values is None or not np.isfinite(values).all():
        return None
    scale = 255.0 if values.max(initial=0.0) <= 1.0 else 1.0
    return np.round(np.clip(values * scale, 0, 255)).astype(np.uint8)
