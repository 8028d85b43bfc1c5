"""Write GLB files (binary glTF 2.0). The binary chunk is built in a temporary file."""

import tempfile
from copy import deepcopy
from pathlib import Path
from typing import IO, Any

import numpy as np

from codetalker_cli.errors import DataError, InputError
from codetalker_cli.export.table import Target
from codetalker_cli.formats.gltf_container import (
    Container,
    encode,
    file_size,
    padding,
    write_container,
)

_COMPONENTS = {"u1": 5121, "u2": 5123, "u4": 5125, "f4": 5126}
_KINDS = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}
_VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963
MAX_BYTES = 2**32 - 1
"""The size up to which a GLB file can store its own length."""

Json = dict[str, Any]


class GlbWriter:
    """The arrays and the JSON of a GLB file; used as a context manager.

    Equal calls give equal bytes.

    Args:
        folder: The folder of the file, which contains the temporary file too.
        base: The file to which the arrays and the JSON are added; None: a new file.

    Attributes:
        tree: The JSON. The accessors, buffer views and buffers are added by the methods.
    """

    def __init__(self, folder: Path, base: Container | None = None) -> None:
        self.tree: Json = {
            "asset": {"version": "2.0", "generator": "codetalker-cli"},
            "accessors": [],
            "bufferViews": [],
        }
        self._base, self._size = base, 0
        if base is not None:
            self.tree, self._size = deepcopy(base.tree), base.size
        self._content: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 (__exit__)

    def __enter__(self) -> "GlbWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._content.close()

    def append(self, kind: str, item: Json) -> int:
        """Append an object to a list of the JSON, such as ``nodes``, and return its index."""
        items = self.tree.setdefault(kind, [])
        items.append(item)
        return len(items) - 1

    def vertex_accessor(self, array: np.ndarray, *, bounds: bool = False) -> int:
        """Add a vertex attribute, (V, 3) float32 or normalized (V, 4) unsigned integers."""
        extra = {"normalized": True} if array.dtype.kind == "u" else {}
        return self._accessor(array, bounds=bounds, target=_VERTEX_BUFFER, **extra)

    def index_accessor(self, triangles: np.ndarray) -> int:
        """Add (F, 3) vertex indices."""
        dtype = np.uint16 if triangles.max() < 65535 else np.uint32  # 65535 would end a strip
        return self._accessor(triangles.reshape(-1).astype(dtype), target=_INDEX_BUFFER)

    def curve_accessor(self, array: np.ndarray, *, bounds: bool = False) -> int:
        """Add the times (with ``bounds``) or the values of an animation, (n,) or (n, 3 or 4)."""
        return self._accessor(array.astype(np.float32, copy=False), bounds=bounds)

    def offsets_accessor(self, offsets: np.ndarray) -> int:
        """Add (V, 3) float32 offsets of a morph target; only those that are not 0, if smaller."""
        moved = np.flatnonzero(offsets.any(axis=1))
        indices = moved.astype(np.uint16 if len(offsets) <= 65535 else np.uint32)
        if len(moved) * (indices.itemsize + offsets[:1].nbytes) >= offsets.nbytes:
            return self.vertex_accessor(offsets, bounds=True)
        accessor = _describe(offsets) | _bounds(offsets)
        if len(moved):
            accessor["sparse"] = {
                "count": len(moved),
                "indices": {
                    "bufferView": self._view(indices),
                    "componentType": _COMPONENTS[indices.dtype.str[1:]],
                },
                "values": {"bufferView": self._view(offsets[moved])},
            }
        return self.append("accessors", accessor)

    def _accessor(
        self, array: np.ndarray, *, bounds: bool = False, target: int | None = None, **extra: Any
    ) -> int:
        accessor = {"bufferView": self._view(array, target)} | _describe(array) | extra
        return self.append("accessors", accessor | (_bounds(array) if bounds else {}))

    def _view(self, array: np.ndarray, target: int | None = None) -> int:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError("the motion or its rig weights contain NaN or infinite values")
        content = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        view: Json = {"buffer": 0, "byteOffset": self._size, "byteLength": content.nbytes}
        if target is not None:
            view["target"] = target
        self._content.write(content.data)
        self._content.write(bytes(padding(content.nbytes)))  # values are aligned to 4 bytes
        self._size += content.nbytes + padding(content.nbytes)
        return self.append("bufferViews", view)

    def save(self, target: Target) -> None:
        """Write the file.

        Raises:
            InputError: The file would be larger than 4 GB.
        """
        # The further buffers of a base have no data of their own.
        first, *others = self.tree.get("buffers") or [{}]
        tree = self.tree | {"buffers": [first | {"byteLength": self._size}, *others]}
        text = encode(tree)
        size = file_size(text, self._size, self._base)
        if size > MAX_BYTES:
            raise InputError(
                f"{target.final}: the file would be {size / 1e9:.1f} GB, but a .glb has at most "
                "4.3 GB; export fewer frames, or other `targets`"
            )
        n_added = self._size - (0 if self._base is None else self._base.size)
        with open(target.path, "wb") as file:
            write_container(file, text, self._base, self._content, n_added)


def _describe(array: np.ndarray) -> Json:
    return {
        "componentType": _COMPONENTS[array.dtype.str[1:]],
        "count": len(array),
        "type": _KINDS[1 if array.ndim == 1 else array.shape[1]],
    }


def _bounds(array: np.ndarray) -> Json:
    rows = array.reshape(len(array), -1)
    return {"min": rows.min(axis=0).tolist(), "max": rows.max(axis=0).tolist()}
