"""A .vrma moves the expressions that a VRM avatar has, under the names that players look for."""

from pathlib import Path

import numpy as np
import pytest
from characters import CharacterFile, tracks_of, vrm0, vrm1
from gltf_reader import Glb
from takes import smooth_weights

from codetalker_cli.export.avatar import AvatarReport, AvatarSettings, export_avatar
from codetalker_cli.export.table import Target
from codetalker_cli.export.take import make_take
from codetalker_cli.export.vrma import presets
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS

CURVES = RigCurves(ARKIT_UNITS, 30.0, smooth_weights(5, len(ARKIT_UNITS)))


def export(path: Path, out: Path) -> AvatarReport:
    return export_avatar(make_take(CURVES), path, Target(out, out), AvatarSettings())


def vrm0_without_presets(names: dict[str, str]) -> CharacterFile:
    """Return a VRM 0 avatar whose expressions have only names, as many programs write them."""
    file = vrm0()
    groups = file.tree["extensions"]["VRM"]["blendShapeMaster"]["blendShapeGroups"]
    binds = {group["presetName"]: group["binds"] for group in groups}
    groups[:] = [
        {"name": name, "presetName": "unknown", "binds": binds[preset]}
        for preset, name in names.items()
    ]
    return file


def test_expressions_that_are_not_presets_are_written_with_their_names(tmp_path: Path) -> None:
    names = {preset: preset.upper() for preset in "aiueo"}
    names |= {"blink_l": "Blink_L", "blink_r": "Blink_R", "joy": "Joy"}
    path, out = vrm0_without_presets(names).save(tmp_path / "a.vrm"), tmp_path / "b.vrma"
    report = export(path, out)
    expressions = Glb(out).tree["extensions"]["VRMC_vrm_animation"]["expressions"]
    driven = {"A", "I", "U", "E", "O", "Blink_L", "Blink_R"}
    assert driven < set(expressions["custom"]) and report.unused == ["Joy"]
    assert {name for (name,) in report.matched.values()} == driven
    assert report.matched["aa"] == ["A"] and report.opens_mouth


@pytest.mark.parametrize("is_preset", [True, False])
def test_an_avatar_with_one_expression_for_both_eyes_blinks(
    is_preset: bool, tmp_path: Path
) -> None:
    file = vrm0_without_presets({"a": "A", "blink": "Blink", "blink_l": "Blink_L"})
    groups = file.tree["extensions"]["VRM"]["blendShapeMaster"]["blendShapeGroups"]
    groups[1]["presetName"] = "blink" if is_preset else "unknown"
    out = tmp_path / "b.vrma"
    report = export(file.save(tmp_path / "a.vrm"), out)
    expressions = Glb(out).tree["extensions"]["VRMC_vrm_animation"]["expressions"]
    written = expressions["preset"]["blink"] if is_preset else expressions["custom"]["Blink"]
    single = presets(CURVES)
    expected = (single["blinkLeft"] + single["blinkRight"]) / 2
    name = Glb(out).tree["nodes"][written["node"]]["name"]
    _, offsets = tracks_of(out)[name, "translation"]
    np.testing.assert_allclose(offsets[:, 0], expected, atol=1e-6)
    assert "blinkLeft" not in expressions["preset"] and report.unused == ["Blink_L"]


def test_an_avatar_whose_expressions_change_materials_gets_a_vrma(tmp_path: Path) -> None:
    file = vrm1()
    presets = file.tree["extensions"]["VRMC_vrm"]["expressions"]["preset"]
    for name in ("aa", "ih", "ou", "ee", "oh"):
        presets[name] = {"textureTransformBinds": [{"material": 0, "offset": [0.5, 0]}]}
    report = export(file.save(tmp_path / "a.vrm"), tmp_path / "b.vrma")
    assert report.opens_mouth and report.matched["aa"] == ["aa"]
    for name in ("aa", "ih", "ou", "ee", "oh"):
        presets[name] = {"morphTargetBinds": []}
    report = export(file.save(tmp_path / "a.vrm"), tmp_path / "b.vrma")
    assert "aa" not in report.matched and not report.opens_mouth
    assert any("no expressions for the vowels" in line for line in report.lines())
