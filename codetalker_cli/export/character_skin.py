"""What a bone moves, and where it is: a bone without any influence would turn without effect."""

from typing import Any

import numpy as np

from codetalker_cli.export.character_nodes import Nodes
from codetalker_cli.formats.glb import item
from codetalker_cli.formats.gltf_container import Container, Json

_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_LEAST_WEIGHT = 1e-3
"""The weight from which a joint counts as moving a vertex; smaller ones are rounding errors."""
_LARGEST_VIEW = 1 << 30
_WIDTHS = {"VEC3": 3, "VEC4": 4, "MAT4": 16}


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

    def place(self, bone: int) -> tuple[np.ndarray, float] | None:
        """Return the (3,) mean position of what a bone moves in the rest pose, and its radius.

        The radius is the root mean square distance from the mean. The result is None if nothing
        moves, or if the arrays of a skin are compressed.
        """
        below = {k for k in self._nodes if bone in self._nodes.lineage(k)}
        clouds = []
        for k in sorted(self.moved(bone)):
            if "skin" in self._nodes[k]:
                clouds += self._skinned(k, below)
            elif (box := self._nodes.box(k)) is not None:
                clouds.append((box, np.ones(2)))
        points = np.concatenate([np.zeros((0, 3)), *(points for points, _ in clouds)])
        weights = np.concatenate([np.zeros(0), *(weights for _, weights in clouds)])
        total = weights.sum()
        if not total > 0:
            return None
        mean = weights @ points / total
        return mean, float(np.sqrt(weights @ ((points - mean) ** 2).sum(axis=1) / total))

    def _skinned(self, k: int, bones: set[int]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the positions of the vertices of a mesh that bones move, and their weights."""
        tree = self._nodes.tree
        skin = item(tree, "skins", self._nodes[k]["skin"])
        inverse = self._array(skin.get("inverseBindMatrices"), "MAT4")
        clouds = []
        for primitive in item(tree, "meshes", self._nodes[k]["mesh"])["primitives"]:
            attributes = primitive["attributes"]
            points = self._array(attributes.get("POSITION"), "VEC3")
            joints = self._array(attributes.get("JOINTS_0"))
            weights = self._array(attributes.get("WEIGHTS_0"))
            if points is None or joints is None or weights is None:
                continue
            if not len(points) == len(joints) == len(weights):
                continue
            for place, joint in enumerate(skin["joints"]):
                if joint not in bones:
                    continue
                strength = np.where(joints == place, weights, 0.0).sum(axis=1)
                moves = strength >= _LEAST_WEIGHT
                bind = np.eye(4)
                if inverse is not None and place < len(inverse):
                    bind = inverse[place].reshape(4, 4).T
                matrix = self._nodes.placed(joint) @ bind
                placed = points[moves] @ matrix[:3, :3].T + matrix[:3, 3]
                clouds.append((placed, strength[moves]))
        return clouds

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

    def _array(self, number: Any, kind: str = "VEC4") -> np.ndarray | None:
        """Return the (n, width) values of an accessor, or None if they are not stored plainly."""
        tree = self._nodes.tree
        accessor = {} if number is None else item(tree, "accessors", number)
        if "bufferView" not in accessor or "sparse" in accessor or accessor["type"] != kind:
            return None
        width = _WIDTHS[kind]
        view = item(tree, "bufferViews", accessor["bufferView"])
        if view.get("extensions") or view["buffer"] != 0:
            return None
        dtype = np.dtype(_TYPES[accessor["componentType"]])
        row, count = width * dtype.itemsize, accessor["count"]
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
        values = np.ndarray((count, width), dtype, content, inside if count else 0, strides)
        scale = np.iinfo(dtype).max if accessor.get("normalized") and dtype.kind in "iu" else 1
        with np.errstate(invalid="ignore"):  # a damaged array may contain signaling NaN
            return values / scale
