"""Which meshes a bone moves: a bone without any influence would turn without effect."""

from typing import Any

import numpy as np

from codetalker_cli.export.character_nodes import Nodes
from codetalker_cli.formats.glb import item
from codetalker_cli.formats.gltf_container import Container, Json

_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_LEAST_WEIGHT = 1e-3
"""The weight from which a joint counts as moving a vertex; smaller ones are rounding errors."""
_LARGEST_VIEW = 1 << 30


class Skinning:
    """The influence of the nodes of a file on its meshes."""

    def __init__(self, container: Container, nodes: Nodes) -> None:
        self._container = container
        self._nodes = nodes
        self._influences: dict[int, set[int]] | None = None

    def moved(self, bone: int) -> set[int]:
        """Return the nodes of the meshes that move if a node turns."""
        if self._influences is None:
            self._influences = self._find()
        below = [k for k in self._nodes if bone in self._nodes.lineage(k)]
        attached = {k for k in below if "mesh" in self._nodes[k] and "skin" not in self._nodes[k]}
        return attached.union(*(self._influences.get(k, set()) for k in below))

    def _find(self) -> dict[int, set[int]]:
        """Return the skinned meshes that each joint moves."""
        influences: dict[int, set[int]] = {}
        tree = self._nodes.tree
        for k in self._nodes:
            node = self._nodes[k]
            if "mesh" not in node or "skin" not in node:
                continue
            joints = item(tree, "skins", node["skin"])["joints"]
            for primitive in item(tree, "meshes", node["mesh"])["primitives"]:
                for place in self._used(primitive, len(joints)):
                    influences.setdefault(joints[place], set()).add(k)
        return influences

    def _used(self, primitive: Json, n_joints: int) -> set[int]:
        """Return the places in the skin of the joints that move a part of a mesh.

        Compressed arrays are not decoded; their joints all count.
        """
        attributes = primitive["attributes"]
        used: set[int] = set()
        number = 0
        while f"JOINTS_{number}" in attributes:
            joints = self._array(attributes[f"JOINTS_{number}"])
            weights = self._array(attributes.get(f"WEIGHTS_{number}"))
            if joints is None or weights is None or joints.shape != weights.shape:
                return set(range(n_joints))
            used.update(np.unique(joints[weights >= _LEAST_WEIGHT]).astype(int).tolist())
            number += 1
        return {place for place in used if place < n_joints}

    def _array(self, number: Any) -> np.ndarray | None:
        """Return the (n, 4) values of an accessor, or None if they are not stored plainly."""
        tree = self._nodes.tree
        accessor = {} if number is None else item(tree, "accessors", number)
        if "bufferView" not in accessor or "sparse" in accessor or accessor["type"] != "VEC4":
            return None
        view = item(tree, "bufferViews", accessor["bufferView"])
        if view.get("extensions") or view["buffer"] != 0:
            return None
        dtype = np.dtype(_TYPES[accessor["componentType"]])
        row, count = 4 * dtype.itemsize, accessor["count"]
        stride, inside = view.get("byteStride", row), accessor.get("byteOffset", 0)
        sizes = (count, stride, inside, view.get("byteOffset", 0), view["byteLength"])
        if not all(type(size) is int and 0 <= size <= _LARGEST_VIEW for size in sizes):
            return None
        needed = inside + stride * (count - 1) + row if count else 0
        if stride < row or needed > view["byteLength"]:
            return None
        content = self._container.read(view.get("byteOffset", 0), needed)
        if len(content) < needed:
            return None
        strides = (stride, dtype.itemsize)
        values = np.ndarray((count, 4), dtype, content, inside if count else 0, strides)
        scale = np.iinfo(dtype).max if accessor.get("normalized") and dtype.kind in "iu" else 1
        return values / scale
