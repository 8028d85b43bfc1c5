"""Mesh files: vertices in the order of the file, triangles and vertex colors.

Motion is stored by vertex index, so nothing here merges, drops, splits or reorders vertices, and
unreferenced vertices are kept. trimesh reads .glb and .off and writes all formats. We parse .obj
and .ply ourselves. The modules ``obj`` and ``ply`` list what trimesh would change in those files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.errors import DataError, InputError, counted, printable
from codetalker_cli.files import atomic_path
from codetalker_cli.formats import glb, obj, off, ply
from codetalker_cli.formats.ply import too_many_triangles
from codetalker_cli.settings.limits import active
from codetalker_cli.text_files import check_file, content_fault

_Parsed = tuple[np.ndarray, ply.Polygons, np.ndarray | None]
_PARSERS: dict[str, Callable[..., _Parsed]] = {
    ".obj": obj.parse,
    ".ply": ply.parse,
    ".glb": glb.parse,
    ".off": off.parse,
}
SUFFIXES = tuple(_PARSERS)
"""The suffixes of supported mesh files, in lower case."""
_BYTES_PER_TRIANGLE = 200  # more than any of the formats needs, with all attributes
GLTF = ".gltf"
"""A suffix that is refused, because a .gltf file stores its vertices in another file."""
SUFFIX_LIST = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
"""The supported suffixes as text for messages."""


@dataclass(frozen=True)
class MeshFile:
    """The content of a mesh file.

    Attributes:
        vertices: (V, 3) float64 coordinates of all vertices, in the order and unit of the file.
        triangles: (F, 3) int32 vertex indices. A polygon becomes a fan around its first corner.
        colors: (V, 3) uint8 vertex colors, or None.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    colors: np.ndarray | None


def read_mesh_file(path: Path) -> MeshFile:
    """Read an .obj, .ply, .glb or .off file.

    Raises:
        InputError: The file is missing.
        DataError: The file has an unknown format, is cut short, contains no vertices or (.glb)
            several meshes, a coordinate is not finite, or a face refers to a vertex that does not
            exist.
    """
    vertices, (n_corners, corners), colors = _parse(path, with_faces=True)
    _check_vertices(path, vertices)
    if (n_triangles := int(np.maximum(n_corners - 2, 0).sum())) > active().mesh_triangles:
        raise DataError(f"{path}: {too_many_triangles(n_triangles)}")
    if n_corners.size and n_corners.min() < 3:
        k = int(n_corners.argmin())
        raise DataError(
            f"{path}: face {k + 1} has {counted(n_corners[k], 'corner')}; at least 3 are needed"
        )
    bad = np.flatnonzero((corners < 0) | (corners >= len(vertices)))
    if bad.size:
        k = int(np.searchsorted(np.cumsum(n_corners), bad[0], side="right"))
        raise DataError(
            f"{path}: face {k + 1} refers to vertex {corners[bad[0]]} (counted from 0), "
            f"but there are only {len(vertices)} vertices"
        )
    return MeshFile(vertices, _triangles(n_corners, corners), colors)


def read_vertices(path: Path) -> np.ndarray:
    """Return only the (V, 3) float64 vertices of a mesh file, which is faster than reading it all.

    Raises:
        InputError: The file is missing.
        DataError: The file is not a mesh, contains no vertices, or a coordinate is not finite.
    """
    vertices, _, _ = _parse(path, with_faces=False)
    _check_vertices(path, vertices)
    return vertices


def write_mesh_file(
    path: Path | str,
    vertices: np.ndarray,
    triangles: np.ndarray,
    colors: np.ndarray | None = None,
) -> None:
    """Write an .obj, .ply, .glb or .off file. Equal arguments produce equal bytes.

    The vertices keep their order. .ply and .glb store float32. .obj and .off store at least eight
    significant digits of each coordinate, except for those smaller than 1e-12 of the largest one.

    Args:
        path: The output file. An existing file is replaced.
        vertices: (V, 3) finite coordinates.
        triangles: (F, 3) vertex indices. F can be 0.
        colors: (V, 3) uint8 vertex colors, or None.

    Raises:
        InputError: The suffix is not supported, an argument has an invalid shape, type or value,
            or the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{path}: cannot write a mesh as {path.suffix!r}; use {SUFFIX_LIST}")
    vertices, triangles = np.asarray(vertices, np.float64), np.asarray(triangles)
    _check_arguments(path, vertices, triangles, colors)
    content = _encode(suffix, vertices, triangles.astype(np.int64), colors)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _check_arguments(
    path: Path, vertices: np.ndarray, triangles: np.ndarray, colors: np.ndarray | None
) -> None:
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not len(vertices):
        raise InputError(f"{path}: vertices have shape {vertices.shape}, expected (V, 3)")
    if not (np.abs(vertices) <= np.finfo(np.float32).max).all():
        raise InputError(f"{path}: a coordinate is NaN, infinite or too large for float32")
    if triangles.shape[1:] != (3,) or triangles.dtype.kind not in "iu":
        raise InputError(
            f"{path}: triangles are {triangles.dtype} of shape {triangles.shape}, expected "
            "integers of shape (F, 3)"
        )
    if triangles.size and not 0 <= triangles.min() <= triangles.max() < len(vertices):
        raise InputError(
            f"{path}: triangles refer to vertices {triangles.min()} to {triangles.max()}, but the "
            f"{len(vertices)} vertices are numbered from 0"
        )
    if colors is not None and (colors.shape != vertices.shape or colors.dtype != np.uint8):
        raise InputError(
            f"{path}: colors are {colors.dtype} of shape {colors.shape}, expected uint8 of shape "
            f"{vertices.shape}"
        )


def _encode(
    suffix: str, vertices: np.ndarray, triangles: np.ndarray, colors: np.ndarray | None
) -> bytes:
    import trimesh

    options: dict[str, Any] = {}
    if suffix in (".obj", ".off"):
        options["digits"] = _n_decimals(vertices)
    if suffix == ".obj":
        options["header"] = None
    mesh: trimesh.Trimesh | trimesh.PointCloud
    if len(triangles) or suffix == ".off":
        mesh = trimesh.Trimesh(vertices, triangles, vertex_colors=colors, process=False)
    else:  # for a Trimesh without triangles, trimesh writes nothing (.glb) or an empty face (.obj)
        mesh = trimesh.PointCloud(vertices, colors=colors)
    exported: Any = mesh.export(file_type=suffix[1:], **options)
    content: bytes = exported.encode() if isinstance(exported, str) else exported
    return off.with_colors(content, colors) if suffix == ".off" else content


def _n_decimals(vertices: np.ndarray) -> int:
    """Return how many decimals keep eight significant digits of each coordinate, and of colors."""
    sizes = np.abs(vertices[vertices != 0])
    if not sizes.size:
        return 8
    # Without this limit, one tiny coordinate would add many decimals to all of them.
    smallest = max(sizes.min(), 1e-12 * sizes.max())
    return max(8, 8 - int(np.floor(np.log10(smallest))))


def _parse(path: Path, *, with_faces: bool) -> _Parsed:
    suffix = path.suffix.lower()
    if not path.is_file():
        if not path.exists():
            raise InputError(f"{path}: no such mesh file")
        check_file(path)
    if suffix == GLTF:
        raise DataError(f"{path}: .gltf stores its vertices in another file; export it as .glb")
    if suffix not in SUFFIXES:
        raise DataError(
            f"{path}: unsupported mesh format; give .obj, .ply, .off or .glb (many programs split "
            "vertices when they export .glb)"
        )
    most = active().mesh_triangles
    try:
        if path.exists() and path.stat().st_size > most * _BYTES_PER_TRIANGLE:
            raise ValueError(too_many_triangles(path.stat().st_size // _BYTES_PER_TRIANGLE))
        content = path.read_bytes()
        if fault := content_fault(content[:512]):
            raise ValueError(fault)
        with np.errstate(invalid="ignore"):  # invalid indices are errors below
            return _PARSERS[suffix](content, with_faces=with_faces)
    except (OSError, ValueError, OverflowError) as error:
        reason = printable(error)  # it may quote a name from the file
        raise DataError(f"{path}: not a readable mesh file ({reason})") from error


def _check_vertices(path: Path, vertices: np.ndarray) -> None:
    if not len(vertices):
        raise DataError(f"{path}: not a readable mesh file (it contains no vertices)")
    bad = np.flatnonzero(~np.isfinite(vertices).all(axis=1))
    if bad.size:
        raise DataError(
            f"{path}: vertex {bad[0]} is NaN or infinite (number of such vertices: {len(bad)})"
        )


def _triangles(n_corners: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return (F, 3) int32 triangles, each polygon as a fan around its first corner."""
    starts = np.cumsum(n_corners) - n_corners
    n_fans = n_corners - 2
    first = np.repeat(starts, n_fans)
    within = np.arange(len(first)) - np.repeat(np.cumsum(n_fans) - n_fans, n_fans)
    picks = np.stack([first, first + within + 1, first + within + 2], axis=1)
    return corners[picks].astype(np.int32).reshape(-1, 3)
