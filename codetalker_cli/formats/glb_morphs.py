"""Morph targets of GLB files, which trimesh does not read.

All meshes of the scene are read, because a head often consists of several: skin, teeth and eyes.
Only positions are read. Sparse accessors and quantized positions (KHR_mesh_quantization) are
supported; compressed meshes are refused. Reading never opens other files.
"""

import base64
import binascii
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.errors import DataError, printable
from codetalker_cli.formats.glb import item, refuse_other_files, split
from codetalker_cli.formats.ply import too_many_triangles
from codetalker_cli.settings.limits import active
from codetalker_cli.text_files import check_file

MAX_OFFSETS = 100_000_000
"""The most vertices of a file, counting each one again for each of its morph targets."""
_CHUNK = struct.Struct("<I4s")
_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_POSITION_TYPES = (5126, 5120, 5121, 5122, 5123)
_INDEX_TYPES = (5121, 5123, 5125)
_WIDTHS = {"SCALAR": 1, "VEC3": 3}
_STRIP, _FAN = 5, 6

_Json = dict[str, Any]


@dataclass(frozen=True)
class MorphMesh:
    """A mesh of a GLB file, placed by the transforms of its node.

    Attributes:
        name: The name of its node or mesh, for messages.
        vertices: (V, 3) float64 positions.
        triangles: (F, 3) int64 vertex indices, counter-clockwise seen from outside.
        names: The names of the U morph targets; empty if the mesh has none.
        offsets: (U, V, 3) float32 offsets of the morph targets.
    """

    name: str
    vertices: np.ndarray
    triangles: np.ndarray
    names: tuple[str, ...]
    offsets: np.ndarray


def read_morphs(path: Path | str) -> list[MorphMesh]:
    """Read all meshes in the scene of a GLB file, in the order of their nodes.

    Raises:
        InputError: The file is missing.
        DataError: The file is not a complete GLB file, refers to other files, is compressed, or
            contains no mesh. The message gives the reason.
    """
    check_file(path)
    try:
        return parse(Path(path).read_bytes())
    except (OSError, ValueError, OverflowError) as error:
        reason = printable(error)  # it may quote a name from the file
        raise DataError(f"{printable(path)}: not a readable .glb file ({reason})") from error


def parse(content: bytes) -> list[MorphMesh]:
    """Parse the content of a GLB file; see ``read_morphs``.

    Raises:
        ValueError: The content cannot be read. The message gives the reason.
    """
    try:
        tree, chunks = split(content)
        refuse_other_files(tree)
        accessors = _Accessors(tree, chunks)
        placed = _placed_meshes(tree)
        if not placed:
            raise ValueError("its scene contains no mesh")
        return [_read_mesh(tree, accessors, node, matrix) for node, matrix in placed]
    except (ArithmeticError, AttributeError, LookupError, TypeError, struct.error) as error:
        raise ValueError(f"its JSON is invalid: {error!r}") from error
    except (MemoryError, RecursionError) as error:
        raise ValueError(f"its JSON is nested too deeply or too large: {error!r}") from error


# Accessors ----------------------------------------------------------------------------------------


class _Accessors:
    """Reads the accessors of a GLB file."""

    def __init__(self, tree: _Json, chunks: bytes) -> None:
        self._tree = tree
        self._n_indices = 0
        self._n_offsets = 0
        self._buffers = [
            _decode_uri(buffer["uri"]) if "uri" in buffer else _binary_chunk(chunks)
            for buffer in tree.get("buffers", [])
        ]

    def reserve(self, n_offsets: int, name: str) -> None:
        """Refuse a file that would need too much memory, before the offsets of a mesh are read."""
        self._n_offsets += n_offsets
        if self._n_offsets > MAX_OFFSETS:
            raise ValueError(
                f"up to its mesh {name!r}, its morph targets have {self._n_offsets} vertices, but "
                f"at most {MAX_OFFSETS} are read; export only the face"
            )

    def reserve_indices(self, number: Any) -> None:
        """Refuse a file whose triangles would need too much memory, before they are read."""
        count = item(self._tree, "accessors", number)["count"]
        _check_sizes(number, count)
        self._n_indices += count
        if self._n_indices > 3 * active().mesh_triangles:
            raise ValueError(too_many_triangles(self._n_indices // 3))

    def read(self, number: Any, kind: str, component_types: tuple[int, ...]) -> np.ndarray:
        """Return the (n, width) values of an accessor; normalized integers as fractions."""
        accessor = item(self._tree, "accessors", number)
        count, component_type = accessor["count"], accessor["componentType"]
        if accessor["type"] != kind or component_type not in component_types:
            raise ValueError(
                f"its accessor {number} is {accessor['type']!r} of component type "
                f"{component_type!r}, expected {kind} of {component_types}"
            )
        _check_sizes(number, count, accessor.get("byteOffset", 0))
        if count > 3 * active().mesh_triangles:
            raise ValueError(too_many_triangles(count // 3))
        width, dtype = _WIDTHS[kind], np.dtype(_TYPES[component_type])
        values = np.zeros((count, width), dtype)
        if "bufferView" in accessor:
            values = self._view(number, accessor, count, (width, dtype))
        elif accessor.get("extensions"):
            raise ValueError("its mesh is compressed; export it without compression")
        if "sparse" in accessor:
            values = self._with_sparse(number, values, accessor["sparse"])
        if accessor.get("normalized") and dtype.kind in "iu":
            return np.maximum(values / np.iinfo(dtype).max, -1.0)
        return values

    def _with_sparse(self, number: Any, values: np.ndarray, sparse: _Json) -> np.ndarray:
        count, where = sparse["count"], sparse["indices"]
        _check_sizes(number, count)
        if where["componentType"] not in _INDEX_TYPES:
            raise ValueError(f"its accessor {number} has invalid sparse indices")
        index_type = np.dtype(_TYPES[where["componentType"]])
        indices = self._view(number, where, count, (1, index_type))[:, 0]
        if count and indices.max() >= len(values):
            raise ValueError(
                f"its accessor {number} has a sparse index {indices.max()}, but only "
                f"{len(values)} values"
            )
        values = values.copy()
        values[indices] = self._view(
            number, sparse["values"], count, (values.shape[1], values.dtype)
        )
        return values

    def _view(
        self, number: Any, source: _Json, count: int, layout: tuple[int, np.dtype]
    ) -> np.ndarray:
        """Return (count, width) values from a buffer view, without a copy."""
        width, dtype = layout
        view = item(self._tree, "bufferViews", source["bufferView"])
        if view.get("extensions"):
            raise ValueError("its mesh is compressed; export it without compression")
        item(self._tree, "buffers", view["buffer"])
        buffer = self._buffers[view["buffer"]]
        row = width * dtype.itemsize
        stride = view.get("byteStride", row)
        offset, start = source.get("byteOffset", 0), view.get("byteOffset", 0)
        _check_sizes(number, offset, start, stride, view["byteLength"])
        needed = offset + (stride * (count - 1) + row if count else 0)
        available = min(view["byteLength"], len(buffer) - start)
        if needed > available or stride < row:
            raise ValueError(
                f"its accessor {number} needs {needed} bytes, but its buffer view has "
                f"{max(available, 0)}"
            )
        return np.ndarray((count, width), dtype, buffer, start + offset, (stride, dtype.itemsize))


def _check_sizes(number: Any, *sizes: Any) -> None:
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError(f"its accessor {number} has an invalid size or offset")


def _binary_chunk(chunks: bytes) -> bytes:
    """Return the content of the first chunk after the JSON; empty if there is none."""
    if len(chunks) < _CHUNK.size:
        return b""
    n_bytes, kind = _CHUNK.unpack_from(chunks)
    return chunks[_CHUNK.size : _CHUNK.size + n_bytes] if kind == b"BIN\0" else b""


def _decode_uri(uri: str) -> bytes:
    _, _, text = uri.partition(";base64,")
    try:
        return base64.b64decode(text)
    except binascii.Error as error:
        raise ValueError(f"the data of a buffer is damaged ({error})") from error


# Nodes --------------------------------------------------------------------------------------------


def _placed_meshes(tree: _Json) -> list[tuple[int, np.ndarray]]:
    """Return the index and the (4, 4) transform of each node of the scene that has a mesh."""
    nodes = tree.get("nodes", [])
    if tree.get("scenes"):
        roots = item(tree, "scenes", tree.get("scene", 0)).get("nodes", [])
    else:
        children = {child for node in nodes for child in node.get("children", [])}
        roots = [k for k in range(len(nodes)) if k not in children]
    waiting = [(root, np.eye(4)) for root in roots]
    placed, seen = [], set()
    while waiting:
        number, parent = waiting.pop()
        node = item(tree, "nodes", number)
        if number in seen:
            raise ValueError(f"its node {number} occurs twice in the scene")
        seen.add(number)
        matrix = parent @ local_matrix(node)
        waiting += [(child, matrix) for child in node.get("children", [])]
        if "mesh" in node:  # glTF ignores the transform of a skinned node
            placed.append((number, np.eye(4) if "skin" in node else matrix))
    return sorted(placed, key=lambda pair: pair[0])


def local_matrix(node: _Json) -> np.ndarray:
    """Return the (4, 4) transform of a node relative to its parent.

    Raises:
        ValueError: It contains NaN or infinite values.
    """
    matrix = np.eye(4)
    if "matrix" in node:
        matrix = np.array(node["matrix"], np.float64).reshape(4, 4).T  # stored by columns
    else:
        x, y, z, w = (float(part) for part in node.get("rotation", (0, 0, 0, 1)))
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        matrix[:3, :3] = rotation * np.array(node.get("scale", (1, 1, 1)), np.float64)
        matrix[:3, 3] = node.get("translation", (0, 0, 0))
    if not np.isfinite(matrix).all():
        raise ValueError("the transform of a node contains NaN or infinite values")
    return matrix


# Meshes -------------------------------------------------------------------------------------------


def _read_mesh(tree: _Json, accessors: _Accessors, node: int, matrix: np.ndarray) -> MorphMesh:
    mesh = item(tree, "meshes", tree["nodes"][node]["mesh"])
    name = str(tree["nodes"][node].get("name") or mesh.get("name") or f"node {node}")[:80]
    primitives = mesh["primitives"]
    names = _target_names(tree, mesh, name)
    vertices, triangles, offsets, n_before = [], [], [], 0
    for position, parts in _by_position(primitives, name).items():
        base = accessors.read(position, "VEC3", _POSITION_TYPES)
        accessors.reserve(len(base) * (len(names) + 1), name)
        vertices.append(base.astype(np.float64))
        offsets.append(_read_offsets(accessors, parts[0].get("targets", []), len(base), name))
        triangles += [_read_triangles(accessors, part, len(base)) + n_before for part in parts]
        n_before += len(base)
    linear, shift = matrix[:3, :3], matrix[:3, 3]
    corners = np.concatenate(triangles)
    if np.linalg.det(linear) < 0:  # a mirror turns the triangles inside out
        corners = corners[:, ::-1]
    deltas = np.concatenate(offsets, axis=1)
    if not np.array_equal(linear, np.eye(3)):
        deltas = deltas @ linear.T.astype(np.float32)
    return MorphMesh(name, np.concatenate(vertices) @ linear.T + shift, corners, names, deltas)


def _by_position(primitives: list[_Json], name: str) -> dict[int, list[_Json]]:
    """Group the primitives of a mesh by their vertices, which several materials can share."""
    groups: dict[int, list[_Json]] = {}
    for primitive in primitives:
        if (primitive.get("extensions") or {}).get("KHR_draco_mesh_compression"):
            raise ValueError("its mesh is compressed; export it without compression")
        groups.setdefault(primitive["attributes"]["POSITION"], []).append(primitive)
    if not groups:
        raise ValueError(f"its mesh {name!r} has no primitives")
    return groups


def _target_names(tree: _Json, mesh: _Json, name: str) -> tuple[str, ...]:
    """Return the names of the morph targets of a mesh, which glTF does not standardize."""
    counts = {len(primitive.get("targets", [])) for primitive in mesh["primitives"]}
    if len(counts) > 1:
        raise ValueError(
            f"the parts of its mesh {name!r} have {min(counts)} to {max(counts)} morph targets, "
            "expected the same number"
        )
    n_targets = counts.pop() if counts else 0
    if not n_targets:
        return ()
    first = mesh["primitives"][0]
    for owner in (mesh, first):
        listed = (owner.get("extras") or {}).get("targetNames")
        if listed is not None:
            if not isinstance(listed, list) or len(listed) != n_targets:
                n_names = len(listed) if isinstance(listed, list) else 0
                raise ValueError(
                    f"its mesh {name!r} has {n_targets} morph targets, but {n_names} names"
                )
            return tuple(str(entry) for entry in listed)
    named = []
    for target in first["targets"]:
        accessor = item(tree, "accessors", next(iter(target.values())))
        named.append(str(accessor.get("name") or ""))
    if not all(named):
        raise ValueError(
            f"the morph targets of its mesh {name!r} have no names; export it with the names of "
            "the shapes (mesh.extras.targetNames)"
        )
    return tuple(named)


def _read_offsets(
    accessors: _Accessors, targets: list[_Json], n_vertices: int, name: str
) -> np.ndarray:
    offsets = np.zeros((len(targets), n_vertices, 3), np.float32)
    for k, target in enumerate(targets):
        if "POSITION" not in target:
            continue
        values = accessors.read(target["POSITION"], "VEC3", _POSITION_TYPES)
        if len(values) != n_vertices:
            raise ValueError(
                f"morph target {k} of its mesh {name!r} has {len(values)} vertices, expected "
                f"{n_vertices}"
            )
        offsets[k] = values
    return offsets


def _read_triangles(accessors: _Accessors, primitive: _Json, n_vertices: int) -> np.ndarray:
    """Return the (F, 3) triangles of a primitive; none for points and lines."""
    mode = primitive.get("mode", 4)
    if mode not in (4, _STRIP, _FAN):
        return np.zeros((0, 3), np.int64)
    corners = np.arange(n_vertices)
    if "indices" in primitive:
        accessors.reserve_indices(primitive["indices"])
        corners = accessors.read(primitive["indices"], "SCALAR", _INDEX_TYPES)[:, 0]
        corners = corners.astype(np.int64)
    if corners.size and corners.max() >= n_vertices:
        raise ValueError(
            f"a triangle refers to vertex {corners.max()}, but there are only {n_vertices}"
        )
    if mode == 4:
        return corners[: len(corners) // 3 * 3].reshape(-1, 3)
    k = np.arange(max(len(corners) - 2, 0))
    if mode == _FAN:
        return corners[np.stack([0 * k, k + 1, k + 2], axis=1)]
    odd = k % 2  # every other triangle of a strip runs the other way round
    return corners[np.stack([k, k + 1 + odd, k + 2 - odd], axis=1)]
