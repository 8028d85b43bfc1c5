"""Each mesh of a character is moved by the morph targets that it has, or by its bones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from characters import CharacterFile, arkit, jaw_bone, tracks_of
from takes import smooth_weights

from codetalker_cli.errors import InputError
from codetalker_cli.export.avatar import AvatarReport, AvatarSettings, export_avatar
from codetalker_cli.export.character import Character
from codetalker_cli.export.table import Target
from codetalker_cli.export.take import make_take
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.avatars import Drive, drive_meshes
from codetalker_cli.rigs.units import bundled_rig

VISEMES = tuple(f"viseme_{name}" for name in bundled_rig().visemes)
SPEECH = RigCurves(ARKIT_UNITS, 30.0, 0.4 * smooth_weights(12, len(ARKIT_UNITS)))


def export(file: CharacterFile, folder: Path, **more: Any) -> tuple[Path, AvatarReport]:
    path, out = file.save(folder / "a.glb"), folder / "b.glb"
    report = export_avatar(make_take(SPEECH), path, Target(out, out), AvatarSettings(**more))
    return out, report


def weights(driven: Drive, mesh: int, name: str) -> np.ndarray:
    return driven.mesh(mesh).morphs[name]


# Names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["mouthOpen", "MouthOpen", "Mouth_Open", "jawOpen", "Teeth_jawOpen"]
)
def test_teeth_with_one_shape_follow_the_jaw_of_an_arkit_head(name: str) -> None:
    driven = drive_meshes(SPEECH, [ARKIT_UNITS, [name]])
    np.testing.assert_array_equal(weights(driven, 1, name), weights(driven, 0, "jawOpen"))
    assert name in driven.matched["jawOpen"] and name not in driven.unused


def test_the_head_is_moved_as_if_it_were_alone() -> None:
    others = [["mouthOpen"], ["viseme_aa"], ["mouthSmile", "mouthOpen"]]
    for names in (ARKIT_UNITS, VISEMES, ("jawOpen", "mouthSmileLeft", "mouthPucker")):
        alone, with_others = (drive_meshes(SPEECH, [names, *more]) for more in ([], others))
        for name, expected in alone.mesh(0).morphs.items():
            np.testing.assert_array_equal(weights(with_others, 0, name), expected)


def test_a_shape_that_the_head_does_not_need_moves_the_mesh_that_needs_it() -> None:
    driven = drive_meshes(SPEECH, [[*ARKIT_UNITS, "mouthOpen"], ["mouthOpen"]])
    assert "mouthOpen" not in driven.mesh(0).morphs and "mouthOpen" in driven.mesh(1).morphs


@pytest.mark.parametrize(
    "names", [["viseme_aa"], ["viseme_aa", "viseme_O"], list("AIUEO"), VISEMES]
)
def test_a_mesh_with_another_naming_opens_with_the_head(names: list[str]) -> None:
    weights_of_jaw = 0.3 - 0.3 * np.cos(np.linspace(0, 6, 12))
    jaw = np.outer(weights_of_jaw, np.array(ARKIT_UNITS) == "jawOpen")
    driven = drive_meshes(RigCurves(ARKIT_UNITS, 30.0, jaw), [ARKIT_UNITS, names])
    morphs = driven.mesh(1).morphs
    opened = np.sum([curve for name, curve in morphs.items() if name != VISEMES[0]], axis=0)
    assert np.ptp(opened) > 0.5
    assert np.corrcoef(opened, weights(driven, 0, "jawOpen"))[0, 1] > 0.9


def test_teeth_follow_the_jaw_of_a_head_with_visemes() -> None:
    jaw = bundled_rig().unit_weights({"jawOpen": 0.4})
    still = np.zeros_like(jaw)
    given = RigCurves(bundled_rig().unit_names, 30.0, np.stack([still, jaw]))
    driven = drive_meshes(given, [VISEMES, ["jawOpen"]])
    assert weights(driven, 1, "jawOpen") == pytest.approx([0, 0.4], abs=1e-6)
    assert weights(driven, 0, "viseme_aa")[1] > 0.3 and driven.jaw is None


def test_meshes_with_about_the_same_poses_get_the_same_curves() -> None:
    driven = drive_meshes(SPEECH, [VISEMES, VISEMES[3:]])
    for name in VISEMES[3:]:
        np.testing.assert_array_equal(weights(driven, 0, name), weights(driven, 1, name))


def test_a_shape_of_both_sides_follows_the_fitted_sides_of_the_head() -> None:
    names = ["jawOpen", "mouthSmileLeft", "mouthSmileRight"]
    driven = drive_meshes(SPEECH, [names, ["mouthSmile", "jawOpen"]])
    mean = (weights(driven, 0, names[1]) + weights(driven, 0, names[2])) / 2
    np.testing.assert_allclose(weights(driven, 1, "mouthSmile"), mean, atol=1e-6)


# Report ------------------------------------------------------------------------------------------


def test_the_report_lists_each_mesh(tmp_path: Path) -> None:
    file = arkit()
    file.face(("mouthOpen",), "Tongue", 0, skin=0)
    file.face(("hook", "line"), "Beard", 0, skin=0)
    out, report = export(file, tmp_path)
    assert ("Tongue", "weights") in tracks_of(out)
    lines = list(report.lines())
    assert lines[0] == (
        "4 moving meshes (ARKit, common names): Head_Mesh, Teeth, Eyes by 52 of 52 morph targets; "
        "Tongue by mouthOpen"
    )
    assert lines[1] == (
        "1 mesh stays still, because no name of its morph targets is known: Beard (hook, line)"
    )
    assert report.to_dict()["meshes"][4] == {
        "mesh": "Beard", "driven": [], "still": ["hook", "line"]
    }  # fmt: skip


def test_the_report_lists_what_stays_still_in_a_moving_mesh(tmp_path: Path) -> None:
    file = arkit((*ARKIT_UNITS, *(f"extra {k}" for k in range(10))))
    _, report = export(file, tmp_path)
    shown = ", ".join(f"extra {k}" for k in range(8))
    assert f"not driven in Head_Mesh, Teeth, Eyes: {shown} and 2 more" in list(report.lines())


def test_the_report_lists_names_that_another_naming_replaces(tmp_path: Path) -> None:
    _, report = export(arkit((*ARKIT_UNITS, "viseme_PP", "viseme_aa", "hat")), tmp_path)
    where = "not driven in Head_Mesh, Teeth, Eyes"
    reason = "because other morph targets show the same"
    expected = [f"{where}, {reason}: viseme_PP, viseme_aa", f"{where}: hat"]
    assert [line for line in report.lines() if line.startswith("not driven")] == expected
    assert report.to_dict()["redundant"] == ["viseme_PP", "viseme_aa"]


def test_the_report_says_if_the_mouth_does_not_open(tmp_path: Path) -> None:
    _, report = export(arkit(("eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft")), tmp_path)
    assert not report.to_dict()["opens_mouth"]
    assert any(line.startswith("the mouth does not open: no morph") for line in report.lines())
    for opening in (arkit(), arkit(VISEMES), jaw_bone()):
        _, report = export(opening, tmp_path)
        assert report.opens_mouth


def test_the_report_lists_a_mesh_without_names_and_another_name_of_the_animation(
    tmp_path: Path,
) -> None:
    file = arkit()
    del file.tree["meshes"][1]["extras"]
    file.tree["animations"] = [{"name": "speech", "channels": [], "samplers": []}]
    _, report = export(file, tmp_path)
    (unnamed,) = report.warnings
    assert unnamed.startswith("the mesh Teeth stays still") and unnamed in report.lines()
    expected = "the animation is called speech 2, because the character has one called speech"
    assert expected in report.lines()


# Bones that move other meshes --------------------------------------------------------------------


def head_and_teeth(bound: tuple[int, ...]) -> CharacterFile:
    """Return a head with ARKit's shapes and teeth without any; the jaw bone moves the teeth."""
    file = CharacterFile()
    root = file.node("Armature")
    skin = file.skeleton(root, ("Head", "Jaw", "LeftEye", "RightEye"))
    file.face(ARKIT_UNITS, "Skin", root, bound=bound, skin=skin)
    file.face((), "Teeth", root, bound=(2,), skin=skin)
    file.face((), "Eyes", root, bound=(3, 4), skin=skin)
    return file


def test_bones_move_teeth_and_eyes_that_have_no_shapes(tmp_path: Path) -> None:
    out, report = export(head_and_teeth((1,)), tmp_path)
    assert report.bones == {"jaw": "Jaw", "leftEye": "LeftEye", "rightEye": "RightEye"}
    turns = tracks_of(out)["Jaw", "rotation"][1]
    opened = tracks_of(out)["Skin", "weights"][1][:, ARKIT_UNITS.index("jawOpen")]
    np.testing.assert_allclose(2 * np.arccos(turns[:, 3]), 0.42 * opened, atol=1e-3)


def test_a_bone_does_not_open_a_mouth_that_shapes_open(tmp_path: Path) -> None:
    _, report = export(head_and_teeth((1, 2, 3, 4)), tmp_path)
    assert not report.bones


# Bones without influence -------------------------------------------------------------------------


def test_a_jaw_that_moves_no_vertex_is_absent(tmp_path: Path) -> None:
    file = CharacterFile()
    root = file.node("Armature")
    skin = file.skeleton(root, ("Head", "Jaw"))
    file.face(("mouthSmileLeft", "mouthSmileRight"), "Face", root, bound=(0, 1), skin=skin)
    out, report = export(file, tmp_path)
    assert report.bones == {} and report.idle_bones == ("Jaw",)
    assert "jawOpen" in report.unmatched and ("Jaw", "rotation") not in tracks_of(out)
    assert "the bone Jaw is not turned, because it moves no vertex" in list(report.lines())


def test_a_character_with_an_idle_jaw_only_is_refused(tmp_path: Path) -> None:
    file = CharacterFile()
    root = file.node("Armature")
    skin = file.skeleton(root, ("Head", "Jaw"))
    file.face((), "Body", root, bound=(0, 1), skin=skin)
    with pytest.raises(InputError, match=r"no jaw bone \(Jaw moves no vertex\), so speech cannot"):
        export(file, tmp_path)


def test_a_jaw_that_moves_a_bone_with_weights_is_found(tmp_path: Path) -> None:
    file = CharacterFile()
    root = file.node("Armature")
    skin = file.skeleton(root, ("Head", "CTRL_jaw"))
    control = file.tree["skins"][skin]["joints"][2]
    file.tree["skins"][skin]["joints"].append(file.node("chin", control))
    file.face((), "Body", root, bound=(0, 3), skin=skin)
    assert Character.read(file.save(tmp_path / "a.glb")).bone_names["jaw"] == "CTRL_jaw"


def test_the_bone_with_weights_is_chosen(tmp_path: Path) -> None:
    file = CharacterFile()
    root = file.node("Armature")
    skin = file.skeleton(root, ("Head", "ORG-jaw", "CTRL_jaw", "DEF-jaw"))
    file.face((), "Body", root, bound=(0, 1, 4), skin=skin)
    assert Character.read(file.save(tmp_path / "a.glb")).bone_names["jaw"] == "DEF-jaw"


@pytest.mark.parametrize("dtype", ["u1", "<u2"])
def test_integer_weights_and_wide_joints_are_read(dtype: str, tmp_path: Path) -> None:
    file = jaw_bone()
    attributes = file.tree["meshes"][0]["primitives"][0]["attributes"]
    n_vertices = file.tree["accessors"][attributes["POSITION"]]["count"]
    values = np.zeros((n_vertices, 4), dtype)
    values[:, 0] = np.iinfo(dtype).max
    attributes["WEIGHTS_0"] = file.accessor(values, dtype, type="VEC4", normalized=True)
    places = np.full((n_vertices, 4), 2)
    attributes["JOINTS_0"] = file.accessor(places, "<u2", type="VEC4")
    character = Character.read(file.save(tmp_path / "a.glb"))
    assert character.bone_names == {"head": "Head", "jaw": "Jaw"}
    assert character.idle_bones == ("LeftEye", "RightEye")
