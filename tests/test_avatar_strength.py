"""The strength changes how far a mouth moves, but not which shapes show a sound."""

import numpy as np
import pytest
from takes import smooth_weights

from codetalker_cli.export.vrma import PRESETS, presets
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.avatars import Drive, drive
from codetalker_cli.rigs.units import bundled_rig

RIG = bundled_rig()
VISEMES = tuple(f"viseme_{name}" for name in RIG.visemes)
VROID = tuple(f"Fcl_MTH_{letter}" for letter in "AIUEO")
REALLUSION = ("V_Open", "V_Explosive", "V_Dental_Lip", "V_Tight_O", "V_Wide", "V_Lip_Open")
NAMES = {"Oculus": VISEMES[1:], "VRoid": VROID, "Reallusion": REALLUSION}
SPEECH = RigCurves(ARKIT_UNITS, 30.0, smooth_weights(40, len(ARKIT_UNITS), seed=3))


def of_viseme(name: str) -> RigCurves:
    return RigCurves(RIG.unit_names, 30.0, RIG.visemes[name][None])


def table(driven: Drive) -> np.ndarray:
    return np.stack([driven.morphs[name] for name in driven.morphs], axis=1)


def mixture(weights: np.ndarray) -> np.ndarray:
    return weights / np.maximum(weights.sum(1, keepdims=True), 1e-9)


@pytest.mark.parametrize("naming", NAMES)
@pytest.mark.parametrize("strength", [{"jaw": 0.3}, {"mouth": 0.5}, {"jaw": 0.0, "mouth": 0.7}])
def test_weaker_mouths_show_the_same_mixture(naming: str, strength: dict[str, float]) -> None:
    plain = table(drive(SPEECH, NAMES[naming]))
    weak = table(drive(SPEECH, NAMES[naming], strength=strength))
    np.testing.assert_allclose(mixture(weak), mixture(plain), atol=1e-5)
    assert (weak.sum(1) < plain.sum(1) - 0.01).mean() > 0.9


@pytest.mark.parametrize("viseme", ["I", "U", "O", "aa", "FF"])
@pytest.mark.parametrize("group", ["jaw", "mouth"])
@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0])
def test_a_sound_keeps_its_viseme(viseme: str, group: str, factor: float) -> None:
    plain = drive(of_viseme(viseme), VISEMES).morphs
    changed = drive(of_viseme(viseme), VISEMES, strength={group: factor}).morphs
    moved = {name: float(w[0]) for name, w in changed.items() if name != "viseme_sil"}
    assert max(moved, key=lambda name: moved[name]) == f"viseme_{viseme}"
    assert {name for name, w in moved.items() if w > 1e-6} == {
        name for name, w in plain.items() if w[0] > 1e-6 and name != "viseme_sil"
    }


def test_a_viseme_is_scaled_by_the_part_of_the_group() -> None:
    def factor(viseme: str, **strength: float) -> float:
        name = f"viseme_{viseme}"
        changed = drive(of_viseme(viseme), VISEMES, strength=strength).morphs[name][0]
        return float(changed / drive(of_viseme(viseme), VISEMES).morphs[name][0])

    assert factor("U", jaw=0) > factor("aa", jaw=0) + 0.2
    assert factor("U", mouth=0) < factor("aa", mouth=0) - 0.2
    assert factor("aa", jaw=0.5, mouth=0.5, tongue=0.5) == pytest.approx(0.5)


@pytest.mark.parametrize("factor", [0.0, 0.5, 3.0])
def test_the_strength_of_the_jaw_leaves_shut_lips_as_they_are(factor: float) -> None:
    plain = drive(of_viseme("PP"), VISEMES).morphs["viseme_PP"]
    changed = drive(of_viseme("PP"), VISEMES, strength={"jaw": factor}).morphs["viseme_PP"]
    assert changed == pytest.approx(plain, abs=1e-6)


def test_stronger_visemes_add_up_to_one() -> None:
    driven = drive(SPEECH, VISEMES, strength={"jaw": 5, "mouth": 5})
    np.testing.assert_allclose(table(driven).sum(1), 1, atol=1e-5)


def test_fitted_units_follow_their_own_group() -> None:
    names = ("jawOpen", "mouthPucker", "mouthSmileLeft", "mouthSmileRight")
    plain = drive(SPEECH, names).morphs
    weak = drive(SPEECH, names, strength={"jaw": 0.5}).morphs
    np.testing.assert_allclose(weak["jawOpen"], plain["jawOpen"] / 2, atol=1e-6)
    for name in names[1:]:
        np.testing.assert_array_equal(weak[name], plain[name])


def test_the_bone_of_the_jaw_follows_its_strength() -> None:
    plain, weak = (drive(SPEECH, (), strength={"jaw": f}).jaw for f in (1.0, 0.5))
    assert plain is not None and weak is not None
    np.testing.assert_allclose(weak, plain / 2, atol=1e-6)


def test_presets_of_a_vrma_keep_their_mixture() -> None:
    plain, weak = (presets(SPEECH, strength) for strength in (None, {"jaw": 0.0, "eyes": 0.5}))
    mouth = PRESETS[:5]
    before, after = (np.stack([one[name] for name in mouth], axis=1) for one in (plain, weak))
    np.testing.assert_allclose(mixture(after), mixture(before), atol=1e-5)
    assert after.sum() < before.sum()
    np.testing.assert_allclose(weak["blinkLeft"], plain["blinkLeft"] / 2, atol=1e-6)
