"""The nodes of a character's file: their places, and which of them belong together."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations, product

import numpy as np

from codetalker_cli.formats.glb import item
from codetalker_cli.formats.glb_morphs import local_matrix
from codetalker_cli.formats.gltf_container import Json

_INTEGER_RANGES = {5120: 127, 5121: 255, 5122: 32767, 5123: 65535}
_LARGEST = 1e12
_MIN_COMMON_NAMES = 5
"""Two meshes with as many morph targets of the same names may be two faces."""


class Nodes:
    """The nodes of the scenes of a file.

    Attributes:
        tree: The JSON of the file.
        parent: The parent of each node, or None.
        world: The (4, 4) transform of each node in the rest pose; None: not in a scene.
    """

    def __init__(self, tree: Json) -> None:
        self.tree = tree
        nodes = tree.get("nodes", [])
        self.parent: list[int | None] = [None] * len(nodes)
        for k, node in enumerate(nodes):
            for child in node.get("children", []):
                item(tree, "nodes", child)
                if self.parent[child] is not None:
                    raise ValueError(f"its node {child} has two parents")
                self.parent[child] = k
        self.world: list[np.ndarray | None] = [None] * len(nodes)
        scenes = tree.get("scenes")
        roots = [k for k, parent in enumerate(self.parent) if parent is None]
        if scenes:
            roots = [root for scene in scenes for root in scene.get("nodes", [])]
        waiting = [(root, np.eye(4)) for root in roots]
        while waiting:
            k, above = waiting.pop()
            node = item(tree, "nodes", k)
            if self.world[k] is None:
                self.world[k] = matrix = above @ local_matrix(node)
                if not (np.abs(matrix) < _LARGEST).all():
                    raise ValueError(f"its node {self.name(k)!r} is too large or too far away")
                waiting += [(child, matrix) for child in node.get("children", [])]

    def __iter__(self) -> Iterator[int]:
        """Iterate over the nodes in scenes."""
        return (k for k, matrix in enumerate(self.world) if matrix is not None)

    def __getitem__(self, k: int) -> Json:
        """Return the JSON of a node."""
        node: Json = self.tree["nodes"][k]
        return node

    def name(self, k: int) -> str:
        """Return the name of a node, or of its mesh, for messages."""
        node = self[k]
        mesh = item(self.tree, "meshes", node["mesh"]) if "mesh" in node else {}
        return str(node.get("name") or mesh.get("name") or f"node {k}")[:80]

    def lineage(self, k: int) -> list[int]:
        """Return a node and its ancestors, from the root on."""
        found: list[int] = []
        current: int | None = k
        while current is not None and len(found) <= len(self.parent):
            found.insert(0, current)
            current = self.parent[current]
        return found

    def placed(self, k: int) -> np.ndarray:
        """Return the (4, 4) transform of a node in the rest pose."""
        matrix = self.world[k]
        return np.eye(4) if matrix is None else matrix

    def box(self, k: int) -> np.ndarray | None:
        """Return the (2, 3) bounds of the mesh of a node, or None if the file lacks them."""
        corners = []
        for primitive in item(self.tree, "meshes", self[k]["mesh"])["primitives"]:
            position = primitive["attributes"].get("POSITION")
            accessor = {} if position is None else item(self.tree, "accessors", position)
            lowest, highest = accessor.get("min", ()), accessor.get("max", ())
            if len(lowest) != 3 or len(highest) != 3:
                return None
            bounds = np.array([lowest, highest], float)
            if accessor.get("normalized"):
                bounds = bounds / _INTEGER_RANGES.get(accessor["componentType"], 1)
            corners += list(product(*bounds.T))
        if not corners:
            return None
        matrix = np.eye(4) if "skin" in self[k] else self.placed(k)
        points = np.array(corners) @ matrix[:3, :3].T + matrix[:3, 3]
        return np.stack([points.min(axis=0), points.max(axis=0)])


@dataclass
class Group:
    """The parts of a file that belong to one character.

    Attributes:
        meshes: The nodes with morph targets.
        joints: The bones of its skeleton.
        roots: The roots of the scene below which it is.
    """

    meshes: set[int] = field(default_factory=set)
    joints: set[int] = field(default_factory=set)
    roots: set[int] = field(default_factory=set)

    def add(self, other: "Group") -> None:
        """Add the parts of another group."""
        self.meshes |= other.meshes
        self.joints |= other.joints
        self.roots |= other.roots


def find_groups(
    nodes: Nodes, names: dict[int, tuple[str, ...]], head_of: Callable[[Iterable[int]], int | None]
) -> list[Group]:
    """Divide a file into characters.

    Meshes belong together if they share bones, have the same root, or are at the same place.
    Skeletons below one root are different characters if each of them has a head, except for the
    parts of one face with a skeleton each. Two meshes without bones that have the same morph
    targets at different places are different characters too.

    Args:
        nodes: The nodes.
        names: The names of the morph targets of each node that has some.
        head_of: Returns the head among some bones, or None.

    Returns:
        The groups, in the order of their first node.
    """
    boxes = {k: nodes.box(k) for k in names}

    def same_place(a: Group, b: Group) -> bool:
        if a.joints and b.joints:  # their skins place the meshes, so boxes alone mean nothing
            heads = [
                nodes.placed(k)[:3, 3] for k in map(head_of, (a.joints, b.joints)) if k is not None
            ]
            if len(heads) < 2 or np.abs(heads[0] - heads[1]).max() > 1e-3 * np.abs(heads[0]).max():
                return False
        return any(_overlap(boxes[i], boxes[j]) for i in a.meshes for j in b.meshes)

    def same_skeleton(a: Group, b: Group) -> bool:
        return bool(a.roots & b.roots) and None in (head_of(a.joints), head_of(b.joints))

    groups = _join(_pieces(nodes, names), lambda a, b: bool(a.joints & b.joints))
    boned = _join([group for group in groups if group.joints], same_skeleton)
    left = []
    for group in (group for group in groups if not group.joints):
        (node,) = group.meshes
        owner = _nearest(nodes, node, boned)
        if owner is None:
            left.append(group)
        else:
            owner.add(group)

    def same_root(a: Group, b: Group) -> bool:
        pairs = [(i, j) for i in a.meshes for j in b.meshes]
        apart = any(_are_two_faces(names[i], names[j], boxes[i], boxes[j]) for i, j in pairs)
        return bool(a.roots & b.roots) and not (a.joints and b.joints) and not apart

    groups = _join(_join([*boned, *left], same_place), same_root)
    return sorted(groups, key=lambda group: min(group.meshes | group.joints))


def _pieces(nodes: Nodes, names: dict[int, tuple[str, ...]]) -> list[Group]:
    pieces = []
    for k in nodes:
        node = nodes[k]
        if k in names or "skin" in node:
            joints = item(nodes.tree, "skins", node["skin"])["joints"] if "skin" in node else []
            for joint in joints:
                item(nodes.tree, "nodes", joint)
            root = {nodes.lineage(k)[0], *(nodes.lineage(joint)[0] for joint in joints[:1])}
            if k not in names and not joints:
                continue
            pieces.append(Group({k} if k in names else set(), set(joints), root))
    return pieces


def _join(groups: list[Group], belong: Callable[[Group, Group], bool]) -> list[Group]:
    """Join groups until no two of them belong together."""
    groups = list(groups)
    while pair := next((p for p in combinations(groups, 2) if belong(*p)), None):
        pair[0].add(pair[1])
        groups.remove(pair[1])
    return groups


def _nearest(nodes: Nodes, node: int, groups: list[Group]) -> Group | None:
    """Return the skeleton that shares most ancestors with a mesh, or None."""
    above = set(nodes.lineage(node))

    def shared(group: Group) -> int:
        return max(len(above.intersection(nodes.lineage(joint))) for joint in group.joints)

    best = max(groups, key=shared, default=None)
    return best if best is not None and shared(best) else None


def _overlap(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    if a is None or b is None or np.allclose(a, b):  # the same face twice is two faces
        return False
    return bool((a[0] <= b[1]).all() and (b[0] <= a[1]).all())


def _are_two_faces(
    names: tuple[str, ...],
    other_names: tuple[str, ...],
    box: np.ndarray | None,
    other_box: np.ndarray | None,
) -> bool:
    if len(names) < _MIN_COMMON_NAMES or names != other_names or box is None or other_box is None:
        return False
    return not _overlap(box, other_box) and not np.allclose(box, other_box)
