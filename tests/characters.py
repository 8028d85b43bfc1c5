"""Small characters as artists' programs write them, one for each naming and kind of file."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from morph_files import VERTICES, GlbFile, Json

from codetalker_cli.rigs.arkit import ARKIT_UNITS

OCULUS = (
    "sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "I", "O", "U",
)  # fmt: skip
VROID = (
    "Fcl_ALL_Joy", "Fcl_EYE_Close", "Fcl_EYE_Close_L", "Fcl_EYE_Close_R", "Fcl_MTH_A",
    "Fcl_MTH_I", "Fcl_MTH_U", "Fcl_MTH_E", "Fcl_MTH_O", "Fcl_MTH_Close",
)  # fmt: skip
MMD = ("まばたき", "ウィンク", "ウィンク右", "あ", "い", "う", "え", "お", "ん", "にこり")
VRM0_PRESETS = {
    "a": "Fcl_MTH_A", "i": "Fcl_MTH_I", "u": "Fcl_MTH_U", "e": "Fcl_MTH_E", "o": "Fcl_MTH_O",
    "blink": "Fcl_EYE_Close", "blink_l": "Fcl_EYE_Close_L", "blink_r": "Fcl_EYE_Close_R",
    "joy": "Fcl_ALL_Joy",
}  # fmt: skip
VRM1_PRESETS = {
    "aa": "Fcl_MTH_A", "ih": "Fcl_MTH_I", "ou": "Fcl_MTH_U", "ee": "Fcl_MTH_E", "oh": "Fcl_MTH_O",
    "blink": "Fcl_EYE_Close", "blinkLeft": "Fcl_EYE_Close_L", "blinkRight": "Fcl_EYE_Close_R",
    "happy": "Fcl_ALL_Joy",
}  # fmt: skip
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360f8"
    "cfc0f01f0005000101ff6a27d90000000049454e44ae426082"
)
"""A picture of one pixel."""


class CharacterFile(GlbFile):
    """A character in the making. +y points up, and the character looks along +z."""

    def accessor(self, values: np.ndarray, dtype: str = "<f4", **more: Any) -> int:
        """Add an accessor with its bounds and return its index."""
        array = np.asarray(values, dtype).reshape(len(values), -1)
        bounds = {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        return super().accessor(values, dtype, **bounds, **more)

    def node(self, name: str, parent: int | None = None, **more: Any) -> int:
        """Add a node below another one or to the scene, and return its index."""
        number = len(self.tree["nodes"])
        self.tree["nodes"].append({"name": name, **more})
        if parent is None:
            self.tree["scenes"][0]["nodes"].append(number)
        else:
            self.tree["nodes"][parent].setdefault("children", []).append(number)
        return number

    def face(
        self,
        names: tuple[str, ...],
        name: str = "Face",
        parent: int | None = None,
        bound: Sequence[int] = (),
        at: Sequence[float] = (0, 0, 0),
        **node: Any,
    ) -> int:
        """Add a mesh with morph targets, and return its node.

        Args:
            names: The names of the morph targets.
            name: The name of the node.
            parent: The node above it; None: the scene.
            bound: The places in the skin of the joints that move it; empty: all.
            at: The middle of its vertices.
            **node: Further properties of the node, such as ``skin``.
        """
        steps = np.arange(1, len(names) + 1) / 1000
        offsets = np.zeros((len(names), len(VERTICES), 3), np.float32)
        offsets[:, 8:, 1] = -steps[:, None]
        places = VERTICES + at
        mesh = self.add(places, offsets=offsets, names=names, name=name, **node)
        number = len(self.tree["nodes"]) - 1
        if parent is not None:
            self.tree["scenes"][0]["nodes"].remove(number)
            self.tree["nodes"][parent].setdefault("children", []).append(number)
        if "skin" in node:
            self._bind(mesh, bound or range(len(self.tree["skins"][node["skin"]]["joints"])))
        return number

    def _bind(self, mesh: Json, places: Sequence[int]) -> None:
        order = [places[k % len(places)] for k in range(2 * len(VERTICES))]
        joints = np.zeros((len(VERTICES), 4), "u1")
        joints[:, :2] = np.reshape(order, (-1, 2))
        weights = np.tile(np.float32([0.5, 0.5, 0, 0]), (len(VERTICES), 1))
        attributes = mesh["primitives"][0]["attributes"]
        attributes["JOINTS_0"] = self.accessor(joints, "u1", type="VEC4")
        attributes["WEIGHTS_0"] = self.accessor(weights, type="VEC4")

    def skeleton(
        self, parent: int, bones: tuple[str, ...] = ("Head", "LeftEye", "RightEye")
    ) -> int:
        """Add a skin of Hips, then the first bone, and the others below it. Return the skin."""
        hips = self.node("Hips", parent, translation=[0, 1, 0])
        first = self.node(bones[0], hips, translation=[0, 0.6, 0])
        joints = [hips, first]
        for bone in bones[1:]:
            side = 0.03 * (("Left" in bone) - ("Right" in bone))
            joints.append(self.node(bone, first, translation=[side, 0.07, 0.06]))
        self.tree.setdefault("skins", []).append({"joints": joints})
        return len(self.tree["skins"]) - 1

    def save(self, path: Path) -> Path:
        """Write a .glb file."""
        path.write_bytes(self.content())
        return path

    def save_gltf(self, folder: Path) -> Path:
        """Write a .gltf file with two buffers and a picture in other files."""
        half = self.tree["bufferViews"][len(self.tree["bufferViews"]) // 2]["byteOffset"]
        parts = {"face 1.bin": self.data[:half], "face 2.bin": self.data[half:]}
        for view in self.tree["bufferViews"]:
            if view["byteOffset"] >= half:
                view |= {"buffer": 1, "byteOffset": view["byteOffset"] - half}
        uris = [name.replace(" ", "%20") for name in parts]
        self.tree["buffers"] = [
            {"byteLength": len(part), "uri": uri}
            for part, uri in zip(parts.values(), uris, strict=True)
        ]
        self.tree["images"] = [{"uri": "skin.png", "name": "skin"}]
        folder.mkdir(exist_ok=True)
        for name, part in parts.items():
            (folder / name).write_bytes(part)
        (folder / "skin.png").write_bytes(PNG)
        path = folder / "character.gltf"
        path.write_text(json.dumps(self.tree), "utf-8")
        return path


def arkit(names: tuple[str, ...] = ARKIT_UNITS) -> CharacterFile:
    """Return a character with a skeleton, whose head, teeth and eyes have morph targets."""
    file = CharacterFile()
    root = file.node("Armature")
    skin = file.skeleton(root)
    for name in ("Head_Mesh", "Teeth", "Eyes"):
        file.face(names, name, root, skin=skin)
    return file


def named(names: tuple[str, ...]) -> CharacterFile:
    """Return a character of one mesh without a skeleton."""
    file = CharacterFile()
    file.face(names, "Face", file.node("Root"))
    return file


def oculus() -> CharacterFile:
    """Return a character with the 15 visemes of Oculus."""
    return named(tuple(f"viseme_{name}" for name in OCULUS))


def vroid() -> CharacterFile:
    """Return a character with the morph targets of VRoid Studio."""
    return named(VROID)


def mmd() -> CharacterFile:
    """Return a character with the morph targets of MikuMikuDance."""
    return named(MMD)


def vrm0() -> CharacterFile:
    """Return a VRM 0 avatar, which looks along -z. Its primitives contain the names."""
    file = CharacterFile()
    root = file.node("Root")
    skin = file.skeleton(root, ("J_Bip_C_Head",))
    node = file.face(VROID, "Face", root, skin=skin)
    mesh = file.tree["nodes"][node]["mesh"]
    file.tree["meshes"][mesh]["primitives"][0]["extras"] = file.tree["meshes"][mesh].pop("extras")
    groups = [
        {
            "name": preset.upper(),
            "presetName": preset,
            "binds": [{"mesh": mesh, "index": VROID.index(target), "weight": 100}],
        }
        for preset, target in VRM0_PRESETS.items()
    ]
    head = file.tree["skins"][0]["joints"][1]
    file.tree["extensionsUsed"] = ["VRM"]
    file.tree["extensions"] = {
        "VRM": {
            "specVersion": "0.0",
            "humanoid": {"humanBones": [{"bone": "head", "node": head}]},
            "blendShapeMaster": {"blendShapeGroups": groups},
        }
    }
    return file


def vrm1(custom: tuple[str, ...] = ()) -> CharacterFile:
    """Return a VRM 1 avatar whose targets have no names, with some custom expressions."""
    file = CharacterFile()
    root = file.node("Root")
    skin = file.skeleton(root)
    node = file.face((*VROID, *custom), "Face", root, skin=skin)
    del file.tree["meshes"][file.tree["nodes"][node]["mesh"]]["extras"]

    def bind(index: int, weight: float = 1.0) -> Json:
        return {"morphTargetBinds": [{"node": node, "index": index, "weight": weight}]}

    head, left, right = file.tree["skins"][0]["joints"][1:]
    bones = {"head": {"node": head}, "leftEye": {"node": left}, "rightEye": {"node": right}}
    presets = {name: bind(VROID.index(target)) for name, target in VRM1_PRESETS.items()}
    own = {name: bind(len(VROID) + k, 0.5) for k, name in enumerate(custom)}
    file.tree["extensionsUsed"] = ["VRMC_vrm"]
    file.tree["extensions"] = {
        "VRMC_vrm": {
            "specVersion": "1.0",
            "humanoid": {"humanBones": bones},
            "expressions": {"preset": presets, "custom": own},
        }
    }
    return file


def jaw_bone(jaw: str = "Jaw", **rest: Any) -> CharacterFile:
    """Return a character without morph targets, whose jaw has some rest pose."""
    file = CharacterFile()
    root = file.node("Armature")
    skin = file.skeleton(root, ("Head", jaw, "LeftEye", "RightEye"))
    file.tree["nodes"][file.tree["skins"][skin]["joints"][2]] |= rest
    file.face((), "Body", root, skin=skin)
    return file


def draco() -> CharacterFile:
    """Return a character with compressed triangles, which no test can decode."""
    file = arkit()
    view = file.view(np.arange(37, dtype="u1"))
    for mesh in file.tree["meshes"]:
        (primitive,) = mesh["primitives"]
        for number in (primitive["indices"], *primitive["attributes"].values()):
            del file.tree["accessors"][number]["bufferView"]
        compressed = {"bufferView": view, "attributes": {"POSITION": 0}}
        primitive["extensions"] = {"KHR_draco_mesh_compression": compressed}
    file.tree["extensionsUsed"] = file.tree["extensionsRequired"] = ["KHR_draco_mesh_compression"]
    return file


def meshopt() -> CharacterFile:
    """Return a character whose arrays are compressed, so that one buffer has no content."""
    file = arkit()
    views, file.data = file.tree["bufferViews"], bytes(range(200))
    extension = "EXT_meshopt_compression"
    size = max(view["byteOffset"] + view["byteLength"] for view in views)
    for k, view in enumerate(views):
        place = {"buffer": 0, "byteOffset": k % 40 * 4, "byteLength": 8, "count": 2}
        view |= {
            "buffer": 1,
            "extensions": {extension: place | {"byteStride": 4, "mode": "INDICES"}},
        }
    file.tree["buffers"] = [
        {"byteLength": 200},
        {"byteLength": size, "extensions": {extension: {"fallback": True}}},
    ]
    file.tree["extensionsUsed"] = file.tree["extensionsRequired"] = [extension]
    return file


def large(path: Path, size: int = 500_000_000) -> Path:
    """Write a character whose binary chunk ends with ``size`` zeros, which use no disk space."""
    file = arkit()
    used = len(file.data) + -len(file.data) % 4
    file.tree["buffers"] = [{"byteLength": used + size}]
    content = file.content()
    n_json = struct.unpack_from("<I", content, 12)[0]
    with path.open("wb") as output:
        output.write(struct.pack("<4sII", b"glTF", 2, len(content) + size))
        output.write(content[12 : 20 + n_json])
        output.write(struct.pack("<I4s", used + size, b"BIN\0") + content[28 + n_json :])
        output.truncate(len(content) + size)
    return path


def two_faces(apart: float = 1.0, parent: bool = False) -> CharacterFile:
    """Return a file with two faces, Anna and Ben, at some distance."""
    file = CharacterFile()
    root = file.node("Stage") if parent else None
    for name, x in (("Anna", 0.0), ("Ben", apart)):
        place = file.node(name, root, translation=[x, 0, 0])
        file.face(ARKIT_UNITS, f"{name} Face", place)
    return file


def two_skeletons() -> CharacterFile:
    """Return a file with two characters with skeletons below one root."""
    file = CharacterFile()
    root = file.node("Stage")
    for name in ("Anna", "Ben"):
        place = file.node(name, root)
        file.face(ARKIT_UNITS, f"{name} Face", place, skin=file.skeleton(place))
    return file


def assert_untouched(before: Path, after: Path) -> None:
    """Check that a .glb file only got an animation at the end."""
    old_tree, old_binary = parts_of(before)
    new_tree, new_binary = parts_of(after)
    assert new_binary[: len(old_binary)] == old_binary
    for key in ("accessors", "bufferViews", "animations"):
        items = new_tree[key]
        kept = items[: len(old_tree.get(key, []))]
        assert kept == old_tree.get(key, []) and len(items) > len(kept)
        if key in old_tree:
            new_tree[key] = kept
        else:
            del new_tree[key]
    if "buffers" in old_tree:
        assert new_tree["buffers"][0].pop("byteLength") == len(new_binary)
        del old_tree["buffers"][0]["byteLength"]
    else:
        del new_tree["buffers"]
    assert json.dumps(new_tree) == json.dumps(old_tree)  # also the order of keys, and 1 or 1.0


def parts_of(path: Path) -> tuple[Json, bytes]:
    """Return the JSON and the binary chunk of a .glb file."""
    content = path.read_bytes()
    n_json = struct.unpack_from("<I", content, 12)[0]
    tree = json.loads(content[20 : 20 + n_json])
    if len(content) <= 20 + n_json:
        return tree, b""
    size, kind = struct.unpack_from("<I4s", content, 20 + n_json)
    assert kind == b"BIN\0"
    return tree, content[28 + n_json : 28 + n_json + size]


Tracks = dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]


def tracks_of(path: Path) -> Tracks:
    """Return the times and the values of each node and path in the last animation of a file."""
    tree, binary = parts_of(path)
    widths = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}

    def array(number: int) -> np.ndarray:
        accessor = tree["accessors"][number]
        view = tree["bufferViews"][accessor["bufferView"]]
        assert view["buffer"] == 0 and view["byteOffset"] % 4 == 0
        assert accessor["componentType"] == 5126
        n_values = accessor["count"] * widths[accessor["type"]]
        assert view["byteLength"] == 4 * n_values
        return np.frombuffer(binary, "<f4", n_values, view["byteOffset"])

    animation = tree["animations"][-1]
    found: Tracks = {}
    for channel in animation["channels"]:
        sampler, target = animation["samplers"][channel["sampler"]], channel["target"]
        times = array(sampler["input"])
        assert tree["accessors"][sampler["input"]]["min"] == [times[0]]
        assert tree["accessors"][sampler["input"]]["max"] == [times[-1]]
        key = tree["nodes"][target["node"]]["name"], target["path"]
        assert key not in found
        found[key] = times, array(sampler["output"]).reshape(len(times), -1)
    return found
