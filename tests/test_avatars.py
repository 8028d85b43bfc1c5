"""Test how rig curves drive the morph targets and bones of characters."""

from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest

import codetalker_cli as ct
import scripts
from codetalker_cli import audio, resources
from codetalker_cli.errors import InputError
from codetalker_cli.motion import Motion
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.avatar_face import JAW_RADIANS
from codetalker_cli.rigs.avatar_limits import OPPOSITES, group_of
from codetalker_cli.rigs.avatars import Drive, drive
from codetalker_cli.rigs.posing import PITCH_OF_GAZE, YAW_OF_GAZE
from codetalker_cli.rigs.units import bundled_rig

SECONDS = 4
CLOSED_MM = 1.0
VISEMES = tuple(f"viseme_{name}" for name in bundled_rig().visemes)
CHARACTERS = (
    "ARKit",
    "ARKit, few",
    "Oculus",
    "VRM",
    "VRoid",
    "MMD",
    "Reallusion",
    "jaw bone",
)


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return scripts.benchmark("avatars")


@pytest.fixture(scope="module")
def spoken() -> Motion:
    """Return the first seconds of the bundled recording, spoken by the bundled voice."""
    samples = audio.load(resources.asset("sample.wav"))[: SECONDS * audio.SAMPLE_RATE]
    return ct.load("demo").animate(samples)


@pytest.fixture(scope="module")
def spoken_curves(program: ModuleType, spoken: Motion) -> RigCurves:
    return program.arkit_curves(spoken)


def curves(*frames: dict[str, float], **more: object) -> RigCurves:
    """Return curves of the bundled head's units with these weights in each frame."""
    rig = bundled_rig()
    weights = np.stack([rig.unit_weights(frame) for frame in frames])
    return RigCurves(rig.unit_names, 30.0, weights, **more)  # type: ignore[arg-type]


def weight(driven: Drive, name: str) -> list[float]:
    return [round(float(w), 4) for w in driven.morphs[name]]


# Fitted mouths ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CHARACTERS)
@pytest.mark.parametrize("variant", ["same", "different"])
def test_character_shows_the_mouth_of_speech(
    program: ModuleType, spoken: Motion, spoken_curves: RigCurves, name: str, variant: str
) -> None:
    character = program.characters()[name]()
    if variant == "different":
        character = program.different(character)
    shown = character.deform(character.drive(spoken_curves))
    expected, gap = program.gap_mm(np.asarray(spoken.vertices)), program.gap_mm(shown)
    shut = expected < CLOSED_MM
    assert shut.sum() >= 10
    assert (gap[shut] < CLOSED_MM).mean() >= 0.95
    assert (gap[~shut] < CLOSED_MM).mean() <= 0.03
    assert np.corrcoef(expected, gap)[0, 1] >= 0.95
    assert 0.75 < np.polyfit(expected, gap, 1)[0] < 1.25
    u_mm, i_mm = program.viseme_widths(character)
    if name != "jaw bone":
        assert u_mm < i_mm - 10


def test_every_character_is_tested(program: ModuleType) -> None:
    assert set(CHARACTERS) == set(program.characters())


@pytest.mark.parametrize("viseme", ["PP", "FF", "aa", "E", "I", "O", "U"])
def test_viseme_of_the_head_is_that_of_the_character(viseme: str) -> None:
    rig = bundled_rig()
    driven = drive(RigCurves(rig.unit_names, 30.0, rig.visemes[viseme][None]), VISEMES)
    strongest = max(driven.morphs, key=lambda name: driven.morphs[name][0])
    # E lies between aa and I, so it is mixed with them.
    assert strongest == f"viseme_{viseme}"
    assert driven.morphs[strongest][0] > (0.5 if viseme == "E" else 0.9)


def test_visemes_that_differ_between_characters_are_mixed_with_vowels() -> None:
    lips = {"jawOpen": 0.04, "mouthUpperUp": 0.45, "mouthLowerDown": 0.7}
    driven = drive(curves(lips | {"mouthStretch": 0.4, "mouthSmile": 0.2}), VISEMES)
    assert driven.morphs["viseme_I"] > 0.3 and driven.morphs["viseme_SS"] > 0.3


def test_tongue_distinguishes_visemes_only_if_it_moves() -> None:
    mouth = {"jawOpen": 0.17, "mouthUpperUp": 0.25, "mouthLowerDown": 0.3}
    driven = drive(curves(mouth | {"tongueTipOut": 1.0}, mouth), VISEMES)
    assert driven.morphs["viseme_TH"][0] > 0.8
    still = drive(curves(mouth), VISEMES)
    assert still.morphs["viseme_TH"][0] < 0.6


def test_visemes_add_up_to_one() -> None:
    rng = np.random.default_rng(0)
    weights = rng.uniform(size=(40, bundled_rig().n_units)).astype(np.float32)
    driven = drive(RigCurves(bundled_rig().unit_names, 30.0, weights), VISEMES)
    total = np.sum(list(driven.morphs.values()), axis=0)
    np.testing.assert_allclose(total, 1, atol=1e-5)
    assert all((w >= 0).all() and w.dtype == np.float32 for w in driven.morphs.values())


def test_silence_leaves_the_face_at_rest() -> None:
    driven = drive(curves({}, {}), [*VISEMES[1:], "eyeBlinkLeft"])
    assert driven.morphs and not any(w.any() for w in driven.morphs.values())
    assert weight(drive(curves({}), VISEMES), "viseme_sil") == [1]


# Units --------------------------------------------------------------------------------------------


def test_arkit_character_gets_the_weights_of_its_units() -> None:
    given = curves({"jawOpen": 0.4, "mouthSmile": 0.25, "eyeBlink": 0.5, "browInnerUp": 0.125})
    driven = drive(given, [name.upper() for name in ARKIT_UNITS])
    expected = given.select(ARKIT_UNITS).weights[0]
    found = np.array([driven.morphs[name.upper()][0] for name in ARKIT_UNITS])
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert driven.naming == "ARKit" and driven.jaw is None and not driven.unused
    assert driven.matched["jawOpen"] == ("JAWOPEN",) and not driven.unmatched


def test_extra_units_of_the_head_are_replaced_by_arkits() -> None:
    seal = {"jawOpen": 0.3, "mouthFunnel": 0.6, "mouthPucker": 0.4, "lipRound": 1.0}
    with_extras, without = (
        drive(curves(seal | {"lipRound": amount, "browInnerUp": 0.5}), ARKIT_UNITS)
        for amount in (1.0, 0.0)
    )
    assert weight(with_extras, "browInnerUp") == weight(without, "browInnerUp") == [0.5]
    change = [
        abs(with_extras.morphs[name] - without.morphs[name]).max()
        for name in ARKIT_UNITS
        if name.startswith("mouth")
    ]
    assert max(change) > 0.05


def test_missing_units_are_reported_only_if_they_move() -> None:
    names = [name for name in ARKIT_UNITS if not name.startswith(("brow", "cheek"))]
    driven = drive(curves({"browInnerUp": 0.3, "jawOpen": 0.2}), [*names, "Hat"])
    assert driven.unmatched == ("browInnerUp",)
    assert driven.unused == ("Hat",) and "Hat" not in driven.morphs


def test_expressions_add_up_and_are_limited_to_one() -> None:
    binds = {"A": {"open": 1.0, "wide": 0.5, "none": 1.0}, "O": {"open": 0.5}}
    binds["blink"] = {"shut": 1.0, "open": 0.5}
    blink = bundled_rig().unit_weights({"eyeBlink": 1.0})
    weights = (bundled_rig().visemes["aa"] + blink)[None]
    driven = drive(
        RigCurves(bundled_rig().unit_names, 30.0, weights),
        ["open", "wide", "shut", "other"],
        expressions=binds | {"Missing": {"none": 1.0}},
    )
    assert driven.naming == "VRM" and driven.unused == ("other",)
    assert driven.matched["aa"] == ("open", "wide")
    assert weight(driven, "open") == [1] and "none" not in driven.morphs
    assert weight(driven, "wide") == pytest.approx([0.5], abs=0.05)
    closed = drive(curves({"eyeBlink": 1.0}), ["shut"], expressions=binds)
    assert weight(closed, "shut") == [1]


# Bones --------------------------------------------------------------------------------------------


def test_jaw_turns_only_if_no_morph_target_opens_the_mouth() -> None:
    given = curves({"jawOpen": 0.5}, {})
    driven = drive(given, ["mouthSmileLeft", "eyeBlinkLeft"])
    assert driven.jaw is not None and driven.jaw.dtype == np.float32
    assert driven.jaw == pytest.approx([0.5 * JAW_RADIANS, 0], abs=0.02)
    lips = ["mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft", "mouthFunnel"]
    with_lips = drive(given, lips)
    assert with_lips.jaw is not None and with_lips.jaw[0] > 0.4 * JAW_RADIANS
    assert drive(given, ["jawOpen"]).jaw is None
    assert drive(given, VISEMES).jaw is None
    assert drive(given, ["A"], {"A": {"aa": 1.0}}).jaw is None


def test_jaw_radians_are_the_rotation_of_the_lower_teeth() -> None:
    rig = bundled_rig()
    teeth = slice(*rig.topology.parts["teeth_lower"])
    before = rig.neutral[teeth].astype(float)
    after = before + rig.unit_deltas[rig.unit_names.index("jawOpen"), teeth]
    u, _, v = np.linalg.svd((before - before.mean(0)).T @ (after - after.mean(0)))
    assert np.arccos((np.trace(u @ v) - 1) / 2) == pytest.approx(JAW_RADIANS, rel=0.02)


def test_gaze_is_to_the_left_and_up_if_no_morph_target_looks() -> None:
    left = {"eyeLookOutLeft": 0.5, "eyeLookInRight": 0.5}
    given = curves(left, {"eyeLookUp": 1.0}, {"eyeLookDown": 0.5})
    driven = drive(given, ["jawOpen"])
    assert driven.eyes is not None and driven.eyes.dtype == np.float32
    expected = [[YAW_OF_GAZE / 2, 0], [0, PITCH_OF_GAZE], [0, -PITCH_OF_GAZE / 2]]
    np.testing.assert_allclose(driven.eyes, expected, atol=1e-6)
    assert "eyeLookUpLeft" not in driven.unmatched
    assert drive(given, ["jawOpen", "eyeLookUpLeft"]).eyes is None
    assert drive(curves({}), ["jawOpen"]).eyes is None


def test_rotation_of_the_head_is_passed_on() -> None:
    head = np.array([[0.1, 0.2, 0.3]], np.float32)
    assert drive(curves({}, head=head), ARKIT_UNITS).head is head
    assert drive(curves({}), ARKIT_UNITS).head is None


# Limits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("one", "other"), OPPOSITES)
def test_only_the_difference_of_opposites_is_shown(one: str, other: str) -> None:
    driven = drive(curves({one: 0.75, other: 0.25}, {one: 0.2, other: 0.5}), ARKIT_UNITS)
    assert weight(driven, one) == [0.5, 0] and weight(driven, other) == [0, 0.3]


def test_lips_close_no_further_than_the_jaw_opens() -> None:
    driven = drive(curves({"jawOpen": 0.4, "mouthClose": 0.9}), ARKIT_UNITS)
    assert weight(driven, "mouthClose") <= weight(driven, "jawOpen")


def test_rounding_and_spreading_add_up_to_one() -> None:
    driven = drive(curves({"jawOpen": 0.3, "mouthPucker": 1.0, "mouthStretch": 1.0}), ARKIT_UNITS)
    assert weight(driven, "mouthPucker") == weight(driven, "mouthStretchLeft") == [0.5]
    little = drive(curves({"jawOpen": 0.3, "mouthPucker": 0.6, "mouthSmile": 0.3}), ARKIT_UNITS)
    assert weight(little, "mouthPucker") == [0.6]


def test_blink_leaves_no_room_for_a_squint() -> None:
    driven = drive(curves({"eyeBlink": 0.75, "eyeSquint": 0.5}), ARKIT_UNITS)
    assert weight(driven, "eyeSquintLeft") == weight(driven, "eyeSquintRight") == [0.25]


def test_shut_lips_leave_no_unit_that_parts_them() -> None:
    shut = {"jawOpen": 0.03, "mouthPress": 0.4, "mouthClose": 0.02}
    driven = drive(curves(shut, shut | {"jawOpen": 0.3}), ARKIT_UNITS)
    assert weight(driven, "jawOpen") == [0, 0.3]
    assert weight(driven, "mouthPressLeft") == [0.4, 0.4]


# Strength -----------------------------------------------------------------------------------------


def test_every_arkit_unit_has_a_group() -> None:
    groups = {unit: group_of(unit) for unit in ARKIT_UNITS}
    assert all(groups.values()) and groups["mouthClose"] == "jaw"


@pytest.mark.parametrize(
    ("group", "unit"),
    [
        ("jaw", "jawOpen"),
        ("mouth", "mouthSmileLeft"),
        ("tongue", "tongueOut"),
        ("eyes", "eyeBlinkLeft"),
        ("brows", "browInnerUp"),
    ],
)
def test_strength_scales_the_units_of_a_group(group: str, unit: str) -> None:
    units = ("jawOpen", "mouthSmileLeft", "tongueOut", "eyeBlinkLeft", "browInnerUp")
    given = curves(dict.fromkeys(units, 0.4))
    driven = drive(given, ARKIT_UNITS, strength={group: 1.5})
    assert {name: weight(driven, name)[0] for name in units} == pytest.approx(
        {name: 0.6 if name == unit else 0.4 for name in units}
    )
    assert weight(drive(given, ARKIT_UNITS, strength={group: 5}), unit) == [1]


def test_strength_of_the_jaw_opens_fitted_mouths_too() -> None:
    given = curves({"jawOpen": 0.3})
    plain, strong = (
        drive(given, ["Fcl_MTH_A", "Fcl_MTH_I"], strength={"jaw": f}) for f in (1, 1.5)
    )
    assert weight(strong, "Fcl_MTH_A")[0] > 1.3 * weight(plain, "Fcl_MTH_A")[0]


def test_strength_does_not_open_shut_lips() -> None:
    given = curves({"jawOpen": 0.03, "mouthPress": 0.3})
    driven = drive(given, ARKIT_UNITS, strength={"jaw": 5, "mouth": 2})
    assert weight(driven, "jawOpen") == [0]


@pytest.mark.parametrize(
    ("strength", "message"),
    [
        ({"lips": 1.0}, "'lips' is not a group of units; the groups are jaw, mouth, tongue, eyes"),
        ({"jaw": -0.1}, "strength of jaw is -0.1; expected a number from 0 to 5"),
        ({"jaw": float("nan")}, "strength of jaw is nan"),
        ({"jaw": True}, "strength of jaw is True"),
        ({"jaw": "2"}, "strength of jaw is 2; expected a number"),
    ],
)
def test_invalid_strength_is_refused(strength: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        drive(curves({}), ARKIT_UNITS, strength=strength)


# Overrides ----------------------------------------------------------------------------------------


def test_overrides_win_over_the_meaning_of_a_name() -> None:
    given = curves({"jawOpen": 0.5, "mouthSmileLeft": 0.25, "mouthSmileRight": 0.5})
    overrides = {
        "jawOpen": {"mouthSmileLeft": 2.0, "mouth_smile_R": -0.5},
        "Grin": {"mouthSmileRight": 3.0},
        "mouthSmileLeft": {},
    }
    driven = drive(given, [*ARKIT_UNITS, "Grin"], overrides)
    assert weight(driven, "jawOpen") == [0.25] and weight(driven, "Grin") == [1.5]
    assert "mouthSmileLeft" not in driven.morphs and "mouthSmileLeft" in driven.unused
    assert driven.matched["mouthSmileRight"] == ("jawOpen", "Grin")
    assert "mouthSmileRight" in driven.unused  # the map moves the unit
    assert "jawOpen" not in driven.matched


def test_overrides_take_visemes_and_vowels() -> None:
    rig = bundled_rig()
    weights = np.stack([rig.visemes[name] for name in ("PP", "U", "sil")])
    overrides = {
        "Lips shut": {"viseme_PP": 1.0},
        "Kiss": {"U": 0.5},
        "oo": {"ou": 1.0},
        "Rest": {"sil": 1.0},
    }
    driven = drive(RigCurves(rig.unit_names, 30.0, weights), list(overrides), overrides)
    found = {name: driven.morphs[name] for name in overrides}
    assert found["Lips shut"] == pytest.approx([1, 0, 0], abs=0.1)
    assert found["Kiss"] == pytest.approx([0, 0.5, 0], abs=0.1)
    assert found["oo"] == pytest.approx([0, 1, 0], abs=0.1)
    assert found["Rest"] == pytest.approx([0, 0, 1], abs=0.1)
    assert driven.matched["PP"] == ("Lips shut",)


def test_name_of_a_viseme_and_a_vowel_is_the_viseme_in_overrides() -> None:
    given = curves({"jawOpen": 0.3, "mouthUpperUp": 0.3, "mouthLowerDown": 0.4})
    as_override = drive(given, ["x"], {"x": {"aa": 1.0}}).morphs["x"]
    assert as_override == drive(given, VISEMES).morphs["viseme_aa"]
    assert as_override != drive(given, ["A", "I", "U", "E", "O"]).morphs["A"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"jawOpne": {"jawOpen": 1.0}}, r"no morph target 'jawOpne' \(did you mean jawOpen"),
        ({"x": {"jawOpen": 1.0}}, "its morph targets are browDownLeft, browDownRight"),
        ({"jawOpen": {"mouthSmil": 1.0}}, r"'mouthSmil' is not a unit.*did you mean mouthSmile"),
        ({"jawOpen": {"jawOpen": "much"}}, "avatar map, jawOpen, jawOpen: much is not a number"),
        ({"jawOpen": {"jawOpen": float("inf")}}, "inf is not a number"),
    ],
)
def test_invalid_overrides_are_refused(
    overrides: dict[str, dict[str, float]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        drive(curves({}), ARKIT_UNITS, overrides)


def test_character_without_names_needs_no_fit() -> None:
    driven = drive(replace(curves({"jawOpen": 0.5}), fps=60.0), [])
    assert not driven.morphs and not driven.naming and driven.jaw is not None
