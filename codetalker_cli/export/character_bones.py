"""The bones of a character that speech moves, found by the VRM extension or by their names."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from codetalker_cli.export.character_nodes import Group, Nodes
from codetalker_cli.export.character_skin import Skinning
from codetalker_cli.export.head_rotation import product
from codetalker_cli.formats.glb_morphs import local_matrix
from codetalker_cli.formats.gltf_container import Json

JAW, HEAD, LEFT_EYE, RIGHT_EYE = BONES = ("jaw", "head", "leftEye", "rightEye")
"""The bones, as the VRM extension names them."""
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_A-Za-z]+")
_LEFT = {
    "l", "left", "左", "links", "linke", "linkes", "gauche", "izq", "izquierda", "izquierdo", "sx",
    "sinistra", "sinistro", "esquerda", "esquerdo",
}  # fmt: skip
_RIGHT = {
    "r", "right", "右", "rechts", "rechte", "rechtes", "droit", "droite", "der", "derecha",
    "derecho", "dx", "destra", "destro", "direita", "direito",
}  # fmt: skip
_LEFT_EYES, _RIGHT_EYES = {"左目", "左眼"}, {"右目", "右眼"}
_NOT_BONES = {
    "end", "top", "tip", "nub", "upper", "ik", "fk", "target", "pole", "aim", "twist", "hair",
    "hat", "ober",
}  # fmt: skip
_CONTROLS = {"ctrl", "control", "org", "mch"}
"""Words in the names of bones that often only control others; bones without them come first."""
_NAMES = {
    JAW: (
        {"jaw", "jawbone", "mandible", "lowerjaw", "顎", "下顎", "あご", "下あご", "アゴ", "下アゴ",
         "下巴", "下颌", "kiefer", "unterkiefer", "machoire", "mandibule", "mandibula", "quijada",
         "maxilar", "mandibola", "mascella"},
        {"teeth"},
    ),
    HEAD: (
        {"head", "頭", "頭部", "头", "头部", "kopf", "tete", "cabeza", "cabeca", "testa"},
        {"fore", "front", "back"},
    ),
    LEFT_EYE: (
        {"eye", "eyeball", "目", "眼", "auge", "augapfel", "oeil", "ojo", "occhio", "olho"}
        | _LEFT_EYES | _RIGHT_EYES,
        {"lid", "brow", "lash", "lower", "corner", "inner", "outer", "socket", "cheek", "light",
         "look", "lids", "eyelid", "eyebrow", "先", "戻", "mesh"},
    ),
}  # fmt: skip
_SNAP_COSINE = np.cos(np.radians(20.0))
"""Characters that face along an axis of the file up to this angle face exactly along it."""
_CLEARLY_AHEAD = 0.5
"""The least distance of what the jaw moves from the jaw, relative to its radius, that counts."""
_SHEAR = 1e-3


@dataclass(frozen=True)
class Bones:
    """The bones of a character that speech moves.

    Attributes:
        found: Their nodes by their names in ``BONES``.
        idle: The names of bones that seem to be such bones but move no mesh.
    """

    found: dict[str, int]
    idle: tuple[str, ...]


def find_bones(
    nodes: Nodes, group: Group, skinning: Skinning, given: Mapping[str, int | None] | None = None
) -> Bones:
    """Return the bones of a character.

    Args:
        nodes: The nodes.
        group: The parts of the character.
        skinning: The influence of bones on meshes.
        given: The nodes of some bones; None: the bone is not turned.
    """
    given = given or {}
    skeleton = _skeleton(nodes, group) if group.joints else set(nodes)
    listed = humanoid_bones(nodes.tree)
    candidates = _candidates(nodes, group)
    found: dict[str, int] = {}
    idle: list[str] = []
    for name in BONES:
        if name in given:
            k = given[name]
            if k is not None and (k in skeleton or _is_free(nodes, group, k)):
                found[name] = k
            continue
        named = [k for k in candidates if _is_named(nodes[k].get("name"), name)]
        named.sort(key=lambda k: (_is_control(nodes[k].get("name")), len(nodes.lineage(k)), k))
        if listed.get(name) in skeleton:
            named.insert(0, listed[name])
        able = next((k for k in named if skinning.moved(k)), None)
        if able is not None:
            found[name] = able
        else:
            idle += [nodes.name(k) for k in named[:1]]
    return Bones(found, tuple(idle))


def head_of(nodes: Nodes, joints: Iterable[int]) -> int | None:
    """Return the head among some bones, or None."""
    named = [k for k in joints if _is_named(nodes[k].get("name"), HEAD)]
    return min(named, key=lambda k: (len(nodes.lineage(k)), k), default=None)


def humanoid_bones(tree: Json) -> dict[str, int]:
    """Return the bones that the VRM extension of a file lists, by their names in the extension."""
    extensions = tree.get("extensions", {})
    listed: Any = extensions.get("VRMC_vrm", {}).get("humanoid", {}).get("humanBones", {})
    pairs = [(name, bone.get("node")) for name, bone in listed.items()]
    older = extensions.get("VRM", {}).get("humanoid", {}).get("humanBones", [])
    pairs += [(bone.get("bone"), bone.get("node")) for bone in older]
    n_nodes = len(tree.get("nodes", []))  # some exporters write -1 for a missing bone
    return {name: k for name, k in pairs if type(k) is int and 0 <= k < n_nodes}


def _skeleton(nodes: Nodes, group: Group) -> set[int]:
    """Return the bones of a character, and what is attached to them or contains them."""
    above = {k for joint in group.joints for k in nodes.lineage(joint)}
    return above | {k for k in nodes if group.joints.intersection(nodes.lineage(k))}


def _is_free(nodes: Nodes, group: Group, k: int) -> bool:
    """Return whether a node below the root of a character is not a bone of any skeleton."""
    joints = {joint for skin in nodes.tree.get("skins", []) for joint in skin["joints"]}
    return nodes.lineage(k)[0] in group.roots and k not in joints


def _candidates(nodes: Nodes, group: Group) -> list[int]:
    if group.joints:
        attached = (k for k in nodes if group.joints.intersection(nodes.lineage(k)))
        return [k for k in attached if k in group.joints or "mesh" not in nodes[k]]
    below = (k for k in nodes if nodes.lineage(k)[0] in group.roots)
    return [k for k in below if "mesh" not in nodes[k] or _turns_about_itself(nodes, k)]


def _turns_about_itself(nodes: Nodes, k: int) -> bool:
    """Return whether the origin of a mesh is near it, so that turning its node makes sense."""
    box = nodes.box(k)
    if box is None or "skin" in nodes[k]:
        return False
    origin, margin = nodes.placed(k)[:3, 3], (box[1] - box[0]).max() / 4
    return bool((origin >= box[0] - margin).all() and (origin <= box[1] + margin).all())


def _words(name: Any) -> list[str]:
    return _split(str(name or "")[:200])


@lru_cache(maxsize=10_000)
def _split(name: str) -> list[str]:
    text = unicodedata.normalize("NFKC", name).split(":")[-1].replace("œ", "oe").replace("Œ", "Oe")
    return [word.lower() for word in _WORDS.findall("".join(map(_plain, text)))]


def _plain(letter: str) -> str:
    """Return a Latin letter without its accent, and any other letter unchanged."""
    base = unicodedata.normalize("NFD", letter)[0]
    return base if base.isascii() else letter


def _is_control(name: Any) -> bool:
    return not _CONTROLS.isdisjoint(_words(name))


def _is_named(name: Any, bone: str) -> bool:
    words = set(_words(name))
    required, excluded = _NAMES[LEFT_EYE if bone == RIGHT_EYE else bone]
    if not words & required or words & (_NOT_BONES | excluded):
        return False
    left, right = bool(words & (_LEFT | _LEFT_EYES)), bool(words & (_RIGHT | _RIGHT_EYES))
    if "oeil" in words:  # French sides are g and d
        left, right = left or "g" in words, right or "d" in words
    return (left, right) == (bone == LEFT_EYE, bone == RIGHT_EYE)


# Directions --------------------------------------------------------------------------------------


def facing(nodes: Nodes, group: Group, bones: dict[str, int], skinning: Skinning) -> np.ndarray:
    """Return a (3, 3) matrix whose columns are the character's left, up and forward in the file.

    The left is found from the eyes, or from all bones that exist on both sides. If what the jaw
    moves is clearly in front of the jaw in the opposite direction, the names of the sides are those
    that a viewer sees. Without such bones, the jaw decides, and otherwise the character faces +z,
    or -z in a VRM 0 file.
    """
    ahead = _ahead(nodes, group, bones, skinning)
    up = np.array([0.0, 1.0, 0.0])
    pairs = _sided_pairs(nodes, group.joints)
    if LEFT_EYE in bones and RIGHT_EYE in bones:
        pairs = [(bones[LEFT_EYE], bones[RIGHT_EYE])]
    offset = np.zeros(3)
    for one, other in pairs:
        offset += nodes.placed(one)[:3, 3] - nodes.placed(other)[:3, 3]
    left = offset * (1, 0, 1)
    size = np.linalg.norm(left)
    is_known = size >= 1e-6 and size >= 0.5 * np.linalg.norm(offset)
    if is_known:
        left /= size
        if ahead is not None and np.cross(left, up) @ ahead < -0.5:
            left = -left
    elif ahead is not None:
        left = np.cross(up, ahead)
    else:
        is_vrm0 = "VRM" in nodes.tree.get("extensions", {})
        left = np.array([-1.0 if is_vrm0 else 1.0, 0, 0])
    if np.abs(left).max() > _SNAP_COSINE:
        left = np.where(np.abs(left) == np.abs(left).max(), np.sign(left), 0.0)
    return np.stack([left, up, np.cross(left, up)], axis=1)


def _ahead(
    nodes: Nodes, group: Group, bones: dict[str, int], skinning: Skinning
) -> np.ndarray | None:
    """Return the horizontal direction from the jaw to what it moves, or None if it is unclear."""
    if JAW not in bones or not _is_upright(nodes, group, bones):
        return None
    moved = skinning.place(bones[JAW])
    if moved is None:
        return None
    middle, radius = moved
    ahead: np.ndarray = (middle - nodes.placed(bones[JAW])[:3, 3]) * (1, 0, 1)
    size = np.linalg.norm(ahead)
    return ahead / size if size > _CLEARLY_AHEAD * radius else None


def _is_upright(nodes: Nodes, group: Group, bones: dict[str, int]) -> bool:
    """Return whether the head of a character is above the root of its skeleton."""
    if HEAD not in bones:
        return True
    root = next((k for k in nodes.lineage(bones[HEAD]) if k in group.joints), bones[HEAD])
    offset = nodes.placed(bones[HEAD])[:3, 3] - nodes.placed(root)[:3, 3]
    return bool(offset[1] >= np.abs(offset).max())


def _sided_pairs(nodes: Nodes, joints: Iterable[int]) -> list[tuple[int, int]]:
    lefts: dict[tuple[tuple[str, ...], str], int] = {}
    rights: dict[tuple[tuple[str, ...], str], int] = {}
    for k in joints:
        words = _words(nodes[k].get("name"))
        for sides, found in ((_LEFT, lefts), (_RIGHT, rights)):
            if sides.intersection(words):
                rest = re.sub(r"\D", "", str(nodes[k]["name"]))
                found[tuple(w for w in words if w not in sides), rest] = k
    return [(k, rights[key]) for key, k in lefts.items() if key in rights]


def turned(nodes: Nodes, k: int, rotation: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Return the rotations of a node that turn it from its rest pose.

    Args:
        nodes: The nodes.
        k: The node.
        rotation: (T, 4) quaternions of +y up, +z forward, +x left.
        axes: The result of ``facing``.

    Returns:
        (T, 4) float32 quaternions relative to the parent of the node.
    """
    parent = nodes.parent[k]
    above = np.eye(3) if parent is None else nodes.placed(parent)[:3, :3]
    u, _, v = np.linalg.svd(above)
    nearest = u @ v
    local = np.linalg.det(nearest) * (nearest.T @ axes)  # a mirror turns the other way round
    quaternion = np.concatenate([rotation[:, :3] @ local.T, rotation[:, 3:]], axis=1)
    rest = np.array([rest_of(nodes[k])["rotation"]], float)
    rest /= max(np.linalg.norm(rest), 1e-9)
    found = product(quaternion, np.broadcast_to(rest, quaternion.shape))
    unit: np.ndarray = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit.astype(np.float32)


def rest_of(node: Json) -> Json:
    """Return the translation, rotation and scale of a node in the rest pose.

    Raises:
        ValueError: Its matrix has no such parts.
    """
    if "matrix" not in node:
        rotation = node.get("rotation", [0.0, 0.0, 0.0, 1.0])
        if len(rotation) != 4:
            raise ValueError(f"the rotation of a node has {len(rotation)} values, expected 4")
        return {"rotation": rotation}
    matrix = local_matrix(node)
    scale = np.linalg.norm(matrix[:3, :3], axis=0)
    if np.linalg.det(matrix[:3, :3]) < 0:
        scale[0] = -scale[0]
    if (scale == 0).any():
        raise ValueError(f"the matrix of the bone {str(node.get('name'))[:80]!r} is not invertible")
    turn = matrix[:3, :3] / scale
    if np.abs(turn.T @ turn - np.eye(3)).max() > _SHEAR:
        raise ValueError(
            f"the matrix of the bone {str(node.get('name'))[:80]!r} is sheared, so that it cannot "
            "be animated; export it with translations, rotations and scales"
        )
    return {
        "translation": matrix[:3, 3].tolist(),
        "rotation": _quaternion(turn).tolist(),
        "scale": scale.tolist(),
    }


def _quaternion(turn: np.ndarray) -> np.ndarray:
    """Return the unit quaternion (x, y, z, w) of a (3, 3) rotation."""
    (a, b, c), (d, e, f), (g, h, i) = turn
    # The eigenvector of the largest eigenvalue is stable for every angle.
    symmetric = np.array(
        [
            [a - e - i, b + d, c + g, h - f],
            [b + d, e - a - i, f + h, c - g],
            [c + g, f + h, i - a - e, d - b],
            [h - f, c - g, d - b, a + e + i],
        ]
    )
    found: np.ndarray = np.linalg.eigh(symmetric)[1][:, -1]
    return found if found[3] >= 0 else -found
