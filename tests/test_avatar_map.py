"""A user's map: it replaces what moves the morph targets and bones that it lists."""

import json
from pathlib import Path

import characters
import numpy as np
import pytest
from characters import CharacterFile
from command import run, succeed
from takes import head_take, smooth_weights

import codetalker_cli as ct
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.avatars import drive, drive_meshes
from codetalker_cli.rigs.units import bundled_rig

VISEMES = tuple(f"viseme_{name}" for name in bundled_rig().visemes)
SPEECH = RigCurves(ARKIT_UNITS, 30.0, smooth_weights(12, len(ARKIT_UNITS)))


def moving(names: list[str] | tuple[str, ...], overrides: dict[str, dict[str, float]]) -> set[str]:
    return set(drive(SPEECH, names, overrides).morphs)


# Morph targets -----------------------------------------------------------------------------------


def test_a_mapped_unit_moves_only_the_targets_of_the_map() -> None:
    names = (*ARKIT_UNITS, "viseme_aa")
    driven = drive(SPEECH, names, {"viseme_aa": {"jawOpen": 1.0}})
    assert "jawOpen" not in driven.morphs and driven.matched["jawOpen"] == ("viseme_aa",)
    expected = drive(SPEECH, names).morphs["jawOpen"]
    np.testing.assert_array_equal(driven.morphs["viseme_aa"], expected)
    both = drive(SPEECH, names, {"viseme_aa": {"jawOpen": 0.5}, "jawOpen": {"jawOpen": 0.5}})
    np.testing.assert_allclose(both.morphs["jawOpen"], expected / 2)


def test_a_map_leaves_the_other_meshes_as_they_are() -> None:
    driven = drive_meshes(SPEECH, [ARKIT_UNITS, ["Zahn"]], {"Zahn": {"jawOpen": 1.0}})
    jaw = driven.mesh(0).morphs["jawOpen"]
    np.testing.assert_array_equal(driven.mesh(1).morphs["Zahn"], jaw)
    np.testing.assert_array_equal(jaw, drive(SPEECH, ARKIT_UNITS).morphs["jawOpen"])


def test_a_map_of_one_side_leaves_the_other_side() -> None:
    names = ("jawOpen", "mouthSmile", "Grin", "browInnerUp")
    driven = drive(SPEECH, names, {"Grin": {"mouthSmileLeft": 1.0}})
    assert driven.matched["mouthSmileRight"] == ("mouthSmile",)
    assert driven.matched["mouthSmileLeft"] == ("Grin",)


def test_visemes_stay_still_if_mapped_units_open_the_mouth() -> None:
    names = (*VISEMES, "Open", "Tongue")
    assert moving(names, {"Open": {"jawOpen": 1.0}}) == {"Open"}
    assert moving(names, {"Tongue": {"tongueOut": 1.0}}) == {*VISEMES, "Tongue"}


def test_units_of_the_mouth_stay_still_if_mapped_visemes_open_it() -> None:
    names = (*ARKIT_UNITS, "Ah")
    found = moving(names, {"Ah": {"viseme_aa": 1.0}})
    assert found == {"Ah"} | {n for n in ARKIT_UNITS if not n.startswith(("jaw", "mouth", "tong"))}


def test_a_mapped_viseme_replaces_the_usual_one() -> None:
    found = moving((*VISEMES, "My_U"), {"My_U": {"viseme_U": 1.0}})
    assert found == {*VISEMES, "My_U"} - {"viseme_U"}


def test_a_still_jaw_leaves_the_opening_to_the_bone() -> None:
    driven = drive(SPEECH, ARKIT_UNITS, {"jawOpen": {}})
    assert driven.jaw is not None and "jawOpen" not in driven.morphs
    expected = drive(SPEECH, ARKIT_UNITS).morphs
    np.testing.assert_allclose(driven.jaw, 0.42 * expected["jawOpen"], atol=1e-6)
    np.testing.assert_array_equal(driven.morphs["mouthFunnel"], expected["mouthFunnel"])


# Bones -------------------------------------------------------------------------------------------


@pytest.fixture
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    head_take(5).motion.save("talk.npz")


def with_bones(*bones: str) -> CharacterFile:
    file = CharacterFile()
    root = file.node("Armature")
    skin = file.skeleton(root, bones)
    file.face((), "Body", root, skin=skin)
    return file


COMMAND = ("export", "talk.npz", "--avatar", "a.glb", "--avatar-map", "map.yaml", "-o", "x.glb")


@pytest.mark.usefixtures("talk")
def test_a_map_names_bones() -> None:
    with_bones("Kugel", "Unten", "Perle 1").save(Path("a.glb"))
    text = "bones:\n  jaw: unten\n  head: Kugel\n  left_eye: Perle 1\n  rightEye:\n"
    Path("map.yaml").write_text(text)
    report = json.loads(succeed(*COMMAND, "--json"))["avatar"]
    assert report["bones"] == {"jaw": "Unten", "leftEye": "Perle 1"}
    assert ("Unten", "rotation") in characters.tracks_of(Path("x.glb"))


@pytest.mark.usefixtures("talk")
def test_a_map_keeps_a_bone_still() -> None:
    characters.jaw_bone().save(Path("a.glb"))
    Path("map.yaml").write_text("bones: {left_eye: , right_eye: null}\n")
    report = json.loads(succeed(*COMMAND, "--json"))["avatar"]
    assert report["bones"] == {"jaw": "Jaw"} and report["idle_bones"] == []


@pytest.mark.usefixtures("talk")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bones: {jow: Jaw}", "'jow' is not a bone that speech moves (did you mean jaw?); choose"),
        ("bones: {eye: Jaw}", "choose from jaw, head, left_eye, right_eye"),
        ("bones: {jaw: Jw}", "the character has no bone 'Jw' (did you mean Jaw?); its bones are"),
        ("bones: {jaw: Lamp}", "avatar map, bones, jaw: the bone Lamp moves no vertex"),
        ("bones: Jaw", "map.yaml: bones: expected the names of bones, e.g. {jaw: Chin"),
        ("bones: {left_eye: Jaw, leftEye: Jaw}", "map.yaml: bones: leftEye is listed twice"),
        ("bones: {jaw: [1]}", "expected the names of bones"),
    ],
)
def test_wrong_bones_are_refused(text: str, message: str) -> None:
    file = characters.jaw_bone()
    file.node("Lamp", 0)
    file.save(Path("a.glb"))
    Path("map.yaml").write_text(text)
    ended = run(*COMMAND)
    assert ended.code in (1, 2) and message in ended.err.splitlines()[-1]
    assert not Path("x.glb").exists()


@pytest.mark.usefixtures("talk")
def test_a_bone_of_another_character_is_refused() -> None:
    file = characters.two_skeletons()
    for joint, owner in zip(file.tree["skins"][1]["joints"], ("Hips", "Head"), strict=False):
        file.tree["nodes"][joint]["name"] = f"Ben's {owner}"
    file.save(Path("a.glb"))
    Path("map.yaml").write_text("bones: {jaw: Ben's Head}")
    ended = run(*COMMAND, "--avatar-node", "Anna")
    assert "the bone Ben's Head belongs to another character" in ended.err


@pytest.mark.usefixtures("talk")
def test_python_names_bones() -> None:
    with_bones("Kugel", "Unten").save(Path("a.glb"))
    avatar = ct.Avatar("a.glb", bones={"jaw": "Unten"})
    ct.export(head_take(5).motion, "x.glb", avatar=avatar)
    assert ("Unten", "rotation") in characters.tracks_of(Path("x.glb"))
    with pytest.raises(ct.InputError, match="no morph targets and no jaw bone"):
        ct.export(head_take(5).motion, "y.glb", avatar="a.glb")
