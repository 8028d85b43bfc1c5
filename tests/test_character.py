"""A character is found in a file: its meshes, its expressions, and which parts belong to it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from characters import (
    MMD,
    OCULUS,
    VRM0_PRESETS,
    VRM1_PRESETS,
    VROID,
    CharacterFile,
    arkit,
    draco,
    jaw_bone,
    meshopt,
    mmd,
    named,
    oculus,
    two_faces,
    two_skeletons,
    vrm0,
    vrm1,
    vroid,
)

from codetalker_cli.errors import DataError, InputError
from codetalker_cli.export.character import Character
from codetalker_cli.rigs.arkit import ARKIT_UNITS


def read(file: CharacterFile, folder: Path, node: str | None = None) -> Character:
    return Character.read(file.save(folder / "a.glb"), node)


def mesh_names(character: Character) -> list[str]:
    return [character.nodes.name(mesh.node) for mesh in character.meshes]


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (arkit, ARKIT_UNITS),
        (oculus, tuple(f"viseme_{name}" for name in OCULUS)),
        (vrm0, VROID),
        (vroid, VROID),
        (mmd, MMD),
        (draco, ARKIT_UNITS),
        (meshopt, ARKIT_UNITS),
        (jaw_bone, ()),
    ],
)
def test_the_names_of_morph_targets_are_read(
    make: Callable[[], CharacterFile], names: tuple[str, ...], tmp_path: Path
) -> None:
    assert read(make(), tmp_path).names == names


def test_names_of_accessors_are_read(tmp_path: Path) -> None:
    file = named(("a", "b"))
    del file.tree["meshes"][0]["extras"]
    for name, target in zip("ab", file.tree["meshes"][0]["primitives"][0]["targets"], strict=True):
        file.tree["accessors"][target["POSITION"]]["name"] = name
    assert read(file, tmp_path).names == ("a", "b")


def test_expressions_of_vrm_0_are_read(tmp_path: Path) -> None:
    character = read(vrm0(), tmp_path)
    assert character.is_vrm
    assert character.expressions == {name: {t: 1.0} for name, t in VRM0_PRESETS.items()}


def test_expressions_of_vrm_1_refer_to_targets_without_names(tmp_path: Path) -> None:
    character = read(vrm1(custom=("JawOpen",)), tmp_path)
    assert character.names == tuple(f"Face[{k}]" for k in range(len(VROID) + 1))
    expected = {name: {f"Face[{VROID.index(t)}]": 1.0} for name, t in VRM1_PRESETS.items()}
    assert character.expressions == expected | {"JawOpen": {f"Face[{len(VROID)}]": 0.5}}


def test_several_meshes_of_a_skeleton_are_one_character(tmp_path: Path) -> None:
    character = read(arkit(), tmp_path)
    assert mesh_names(character) == ["Head_Mesh", "Teeth", "Eyes"]
    assert character.bone_names == {"head": "Head", "leftEye": "LeftEye", "rightEye": "RightEye"}


def test_meshes_at_the_same_place_are_one_character(tmp_path: Path) -> None:
    file = CharacterFile()
    file.face(ARKIT_UNITS, "Head")
    file.face(ARKIT_UNITS, "Teeth", translation=[0, 0.005, 0], scale=[0.5, 0.5, 0.5])
    assert mesh_names(read(file, tmp_path)) == ["Head", "Teeth"]


def test_parts_of_a_face_with_own_skeletons_are_one_character(tmp_path: Path) -> None:
    file = CharacterFile()
    root = file.node("Root")
    for name, size in (("Face", 1.0), ("Teeth", 0.5)):
        place = file.node(name, root)
        node = file.face(ARKIT_UNITS, f"{name}_Mesh", place, skin=file.skeleton(place))
        mesh = file.tree["meshes"][file.tree["nodes"][node]["mesh"]]["primitives"][0]
        position = file.tree["accessors"][mesh["attributes"]["POSITION"]]
        position |= {key: [size * x for x in position[key]] for key in ("min", "max")}
    assert mesh_names(read(file, tmp_path)) == ["Face_Mesh", "Teeth_Mesh"]


def test_a_mesh_below_a_bone_belongs_to_its_character(tmp_path: Path) -> None:
    file = two_skeletons()
    head = file.tree["skins"][1]["joints"][1]
    file.face(("jawOpen",), "Ben's teeth", head)
    assert mesh_names(read(file, tmp_path, "Ben")) == ["Ben Face", "Ben's teeth"]


@pytest.mark.parametrize(
    "file",
    [two_faces(), two_faces(apart=0.0), two_faces(parent=True), two_skeletons()],
    ids=["apart", "same place", "one root", "skeletons"],
)
def test_a_node_chooses_one_of_two_characters(file: CharacterFile, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"contains 2 characters; .* `avatar_node`: Anna, Ben$"):
        read(file, tmp_path)
    assert mesh_names(read(file, tmp_path, "Ben")) == ["Ben Face"]
    assert mesh_names(read(file, tmp_path, "anna face")) == ["Anna Face"]
    number = [node["name"] for node in file.tree["nodes"]].index("Ben Face")
    assert mesh_names(read(file, tmp_path, str(number))) == ["Ben Face"]


def test_a_node_must_choose_one_character(tmp_path: Path) -> None:
    file = two_faces(parent=True)
    file.node("Lamp")
    with pytest.raises(InputError, match=r"node 'Stage' contains 2 characters; .* Anna, Ben as"):
        read(file, tmp_path, "Stage")
    with pytest.raises(InputError, match="'Lamp' is not part of a character"):
        read(file, tmp_path, "Lamp")
    with pytest.raises(InputError, match="no node is named 'Carl'; the nodes are Stage, Anna, "):
        read(file, tmp_path, "Carl")


def test_two_characters_with_jaw_bones_are_refused(tmp_path: Path) -> None:
    file = CharacterFile()
    for name in ("Anna", "Ben"):
        place = file.node(name)
        file.face((), f"{name} Body", place, skin=file.skeleton(place, ("Head", "Jaw")))
    with pytest.raises(InputError, match="contains 2 characters"):
        read(file, tmp_path)
    character = read(file, tmp_path, "Ben")
    assert character.nodes.lineage(character.bones["jaw"])[0] == 5


def test_a_jaw_without_a_skin_is_found(tmp_path: Path) -> None:
    file = CharacterFile()
    root = file.node("Robot")
    head = file.node("Head", root)
    jaw = file.node("Jaw", head, translation=[0, -0.05, 0.02])
    file.face((), "Chin", jaw)
    assert read(file, tmp_path).bone_names == {"head": "Head", "jaw": "Jaw"}


def test_a_mesh_turns_only_about_an_origin_near_it(tmp_path: Path) -> None:
    file = CharacterFile()
    root = file.node("Root")
    file.face(("jawOpen",), "Face", root)
    file.face((), "LeftEye", root, translation=[0.03, 1.6, 0])
    far = file.face((), "RightEye", root)
    position = file.tree["meshes"][-1]["primitives"][0]["attributes"]["POSITION"]
    for number in range(len(file.tree["accessors"])):
        file.tree["accessors"][number] |= {"min": [-0.04, -0.05, 0], "max": [0.04, 0.05, 0.03]}
    file.tree["accessors"][position] |= {"min": [-0.04, 1.55, 0], "max": [0.04, 1.65, 0.03]}
    assert file.tree["nodes"][far]["name"] == "RightEye"
    assert read(file, tmp_path).bone_names == {"leftEye": "LeftEye"}


@pytest.mark.parametrize(
    ("jaw", "head", "left", "right"),
    [
        ("mixamorig:Jaw", "mixamorig:Head", "mixamorig:LeftEye", "mixamorig:RightEye"),
        ("CC_Base_JawRoot", "CC_Base_Head", "CC_Base_L_Eye", "CC_Base_R_Eye"),
        ("Bip01 Jaw", "Bip01 Head", "Bip01 L Eye", "Bip01 R Eye"),
        ("c_jawbone.x", "head.x", "c_eye.l", "c_eye.r"),
        ("DEF-jaw", "DEF-head", "DEF-eye.L", "DEF-eye.R"),
        ("FACIAL_C_Jaw", "head", "FACIAL_L_Eye", "FACIAL_R_Eye"),
        ("lowerJaw", "head", "lEye", "rEye"),
        ("J_Bip_C_Jaw", "J_Bip_C_Head", "J_Adj_L_FaceEye", "J_Adj_R_FaceEye"),
        ("あご", "頭", "左目", "右目"),
        ("Jaw_M", "Head_M", "Eye_L_01", "Eye_R_01"),
        ("Unterkiefer", "Kopf", "Auge_links", "Auge_rechts"),
        ("Unterkiefer", "Kopf", "linkes Auge", "rechtes Auge"),
        ("Mâchoire", "Tête", "Œil_G", "Œil_D"),
        ("Mandíbula", "Cabeza", "Ojo_Izq", "Ojo_Der"),
        ("Mandibola", "Testa", "Occhio_SX", "Occhio_DX"),
        ("下顎", "頭", "目.L", "目.R"),
        ("CTRL_jaw", "CTRL_head", "CTRL_eye_L", "CTRL_eye_R"),
        ("ORG-jaw", "ORG-head", "ORG-eye.L", "ORG-eye.R"),
        ("jaw_master", "DEF-head", "DEF-eye.L", "DEF-eye.R"),
        ("ValveBiped.Jaw", "ValveBiped.Bip01_Head1", "ValveBiped.Eye_L", "ValveBiped.Eye_R"),
        ("mixamorigJaw_05", "mixamorigHead_04", "mixamorigLeftEye_06", "mixamorigRightEye_07"),
    ],
)
def test_bones_are_found_by_their_names(
    jaw: str, head: str, left: str, right: str, tmp_path: Path
) -> None:
    others = ("HeadTop_End", "Jaw_end", "CC_Base_UpperJaw", "L_Eyelid_Upper", "Eye_target_L")
    file = CharacterFile()
    root = file.node("Armature")
    skin = file.skeleton(root, (head, *others, jaw, left, right))
    file.face(("jawOpen",), "Head", root, skin=skin)
    found = read(file, tmp_path).bone_names
    assert found == {"jaw": jaw, "head": head, "leftEye": left, "rightEye": right}


def test_missing_bones_of_a_vrm_file_are_ignored(tmp_path: Path) -> None:
    file = vrm0()
    bones = file.tree["extensions"]["VRM"]["humanoid"]["humanBones"]
    bones += [{"bone": "jaw", "node": -1}, {"bone": "leftEye", "node": 999}]
    assert read(file, tmp_path).bone_names == {"head": "J_Bip_C_Head"}


# Bad input ---------------------------------------------------------------------------------------


def test_a_character_that_speech_cannot_move_is_refused(tmp_path: Path) -> None:
    file = CharacterFile()
    root = file.node("Armature")
    file.face((), "Body", root, skin=file.skeleton(root))
    with pytest.raises(InputError) as error:
        read(file, tmp_path)
    expected = "no morph targets and no jaw bone, so speech cannot move it; its bones are Hips, "
    assert expected in str(error.value) and "LeftEye" in str(error.value)


def test_morph_targets_without_names_are_refused(tmp_path: Path) -> None:
    file = named(("jawOpen", "mouthClose"))
    del file.tree["meshes"][0]["extras"]
    with pytest.raises(
        InputError, match="the names of the morph targets are missing: Face; export"
    ):
        read(file, tmp_path)


def test_missing_names_are_counted(tmp_path: Path) -> None:
    file = named(("jawOpen", "mouthClose"))
    del file.tree["meshes"][0]["extras"]["targetNames"][1]
    with pytest.raises(InputError, match=r"Face \(1 name for 2 morph targets\); export"):
        read(file, tmp_path)


def test_a_mesh_without_names_beside_a_named_one_is_reported(tmp_path: Path) -> None:
    file = arkit()
    del file.tree["meshes"][1]["extras"]
    character = read(file, tmp_path)
    assert mesh_names(character) == ["Head_Mesh", "Eyes"]
    (warning,) = character.warnings
    assert warning.startswith("the mesh Teeth stays still, because the names")


@pytest.mark.parametrize("n_left", [0, 1])
def test_parts_with_fewer_morph_targets_are_reported(n_left: int, tmp_path: Path) -> None:
    file = named(("jawOpen", "mouthClose"))
    parts = file.tree["meshes"][0]["primitives"]
    parts.insert(0, parts[0] | {"targets": parts[0]["targets"][:n_left]})
    character = read(file, tmp_path)
    assert character.names == ("jawOpen", "mouthClose")
    (warning,) = character.warnings
    assert f"the parts of the mesh Face have {n_left} to 2 morph targets" in warning


def break_weights(file: CharacterFile) -> None:
    file.tree["meshes"][0]["weights"] = [0.5]


def break_parents(file: CharacterFile) -> None:
    file.tree["nodes"][0]["children"] *= 2


def break_children(file: CharacterFile) -> None:
    file.tree["nodes"][0]["children"] = [99]


def break_cycle(file: CharacterFile) -> None:
    file.tree["nodes"][1]["children"] = [1]


def break_meshes(file: CharacterFile) -> None:
    file.tree["meshes"] = {}


def break_nodes(file: CharacterFile) -> None:
    file.tree["nodes"] = [1, 2]


def break_bounds(file: CharacterFile) -> None:
    for accessor in file.tree["accessors"]:
        accessor |= {"min": ["a", "b", "c"], "max": [1, 2, 3]}


FAULTS: dict[str, tuple[Callable[[CharacterFile], None], str]] = {
    "weights": (break_weights, "has 2 morph targets, but 1 weights"),
    "parents": (break_parents, "its node 1 has two parents"),
    "children": (break_children, "its nodes have no entry 99"),
    "cycle": (break_cycle, "its node 1 has two parents"),
    "meshes": (break_meshes, "its meshes are not a list of objects"),
    "nodes": (break_nodes, "its nodes are not a list of objects"),
    "bounds": (break_bounds, "not a readable glTF file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_invalid_files_are_refused_with_the_reason(fault: str, tmp_path: Path) -> None:
    change, message = FAULTS[fault]
    file = named(("jawOpen", "mouthClose"))
    change(file)
    with pytest.raises(DataError, match=message):
        read(file, tmp_path)


def test_a_transform_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    file = named(("jawOpen",))
    file.tree["nodes"][0]["translation"] = [float(np.finfo(float).max) * 2, 0, 0]
    with pytest.raises(DataError, match="not a readable glTF file"):
        read(file, tmp_path)
