"""Test that the names of a character's morph targets are recognized in all spellings."""

import re
from collections.abc import Callable, Mapping, Sequence

import pytest

from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.avatar_meaning import Recognized, Source, name_key, recognize

VISEMES = (
    "sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "I", "O", "U",
)  # fmt: skip
VOWELS = ("aa", "ih", "ou", "ee", "oh")
KANA = dict(zip(VOWELS, "あいうえお", strict=True)) | {"closed": "ん"}


def recognized(
    names: Sequence[str], expressions: Mapping[str, Mapping[str, float]] | None = None
) -> Recognized:
    bound = [Source(name, binds, True) for name, binds in (expressions or {}).items()]
    (found,) = recognize([bound + [Source(name, {name: 1.0}) for name in names]])
    return found


def poses(found: Recognized) -> dict[str, list[str]]:
    return {pose: [source.name for source in sources] for pose, sources in found.poses.items()}


def units(found: Recognized) -> dict[str, dict[str, float]]:
    return {source.name: meaning for source, meaning in found.units}


def words(unit: str) -> list[str]:
    return re.findall("[A-Z]?[a-z]+", unit)


def short_side(unit: str) -> str:
    return re.sub("(Left|Right)$", lambda match: "_" + match[0][0], unit)


def side_first(unit: str) -> str:
    *rest, last = words(unit)
    return "_".join([last.lower(), *rest] if last in ("Left", "Right") else words(unit))


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as ARKit": str,
    "capital": lambda unit: unit[0].upper() + unit[1:],
    "lower case": str.lower,
    "upper case": str.upper,
    "underscores": lambda unit: "_".join(words(unit)).lower(),
    "spaces": lambda unit: " ".join(words(unit)),
    "_L": short_side,
    "_l": lambda unit: short_side(unit).lower(),
    "L": lambda unit: short_side(unit).replace("_", ""),
    "side first": side_first,
    "prefix with a point": lambda unit: f"blendShapes.{unit}",
    "prefix with an underscore": lambda unit: f"Face.M_{short_side(unit)}",
    "prefix without a separator": lambda unit: f"bs{unit[0].upper()}{unit[1:]}",
    "numbered": lambda unit: f"A{ARKIT_UNITS.index(unit):02}_{'_'.join(words(unit)).title()}",
    "copied in Blender": lambda unit: f"{unit}.001",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_arkit_units_are_recognized_in_every_spelling(spelling: str) -> None:
    names = [SPELLINGS[spelling](unit) for unit in ARKIT_UNITS]
    found = recognized(names)
    assert found.namings == ("ARKit",) and found.mouth is None
    expected = {name: {unit: 1.0} for name, unit in zip(names, ARKIT_UNITS, strict=True)}
    assert units(found) == expected


@pytest.mark.parametrize("prefix", ["viseme_", "v_", "vrc.v_", "Viseme ", "Face_viseme_", ""])
@pytest.mark.parametrize("case", [str, str.lower])
def test_oculus_visemes_are_recognized_with_every_prefix(
    prefix: str, case: Callable[[str], str]
) -> None:
    found = recognized([prefix + case(viseme) for viseme in VISEMES])
    assert found.namings == ("Oculus visemes",)
    assert poses(found) == {viseme: [prefix + case(viseme)] for viseme in VISEMES}


def test_vrchat_vowels_are_the_oculus_visemes() -> None:
    vowels = ("aa", "e", "ih", "oh", "ou")
    names = [*(viseme.lower() for viseme in VISEMES[:10]), *vowels]
    found = recognized([f"vrc.v_{name}" for name in names])
    assert list(poses(found)) == list(VISEMES)


@pytest.mark.parametrize(
    "names",
    [["A", "I", "U", "E", "O"], ["a", "i", "u", "e", "o"], list(VOWELS)],
    ids=["VRM 0", "VRM 0 presets", "VRM 1"],
)
def test_vrm_expressions_are_recognized(names: list[str]) -> None:
    blinks = ("Blink_L", "blinkRight", "Blink", "lookLeft")
    binds = {name: {f"morph {k}": 1.0} for k, name in enumerate([*names, *blinks, "Joy"])}
    found = recognized(list({m for b in binds.values() for m in b}), binds)
    assert found.namings == ("VRM",)
    assert poses(found) == {vowel: [name] for vowel, name in zip(VOWELS, names, strict=True)}
    assert units(found) == {
        "Blink_L": {"eyeBlinkLeft": 1.0},
        "blinkRight": {"eyeBlinkRight": 1.0},
        "lookLeft": {"eyeLookOutLeft": 0.5, "eyeLookInRight": 0.5},
    }


def test_expressions_for_arkit_units_come_before_the_presets_and_the_morph_targets() -> None:
    presets = {letter: {f"Fcl_MTH_{letter}": 1.0} for letter in "AIUEO"}
    perfect = {unit[0].upper() + unit[1:]: {unit: 1.0} for unit in ARKIT_UNITS}
    names = [*ARKIT_UNITS, *(f"Fcl_MTH_{letter}" for letter in "AIUEO")]
    found = recognized(names, presets | perfect)
    assert found.namings == ("ARKit",) and found.mouth is None
    assert [source.name for source, _ in found.units] == list(perfect)


@pytest.mark.parametrize("prefix", ["", "Face.M_F00_000_00_"])
def test_vroid_names_are_recognized(prefix: str) -> None:
    eyes = ("Fcl_EYE_Close", "Fcl_EYE_Close_L", "Fcl_EYE_Close_R")
    mouth = [f"{prefix}Fcl_MTH_{letter}" for letter in "AIUEO"]
    others = [prefix + name for name in ("Fcl_ALL_Joy", "Fcl_MTH_Close", "Fcl_HA_Hide")]
    found = recognized([*mouth, *(prefix + eye for eye in eyes), *others])
    assert found.namings == ("VRoid",)
    assert poses(found) == {vowel: [name] for vowel, name in zip(VOWELS, mouth, strict=True)}
    assert units(found) == {
        f"{prefix}Fcl_EYE_Close_L": {"eyeBlinkLeft": 1.0},
        f"{prefix}Fcl_EYE_Close_R": {"eyeBlinkRight": 1.0},
    }


MMD_BLINKS = {
    "both winks": (
        ["まばたき", "ウィンク", "ウィンク右", "ウィンク２", "ウィンク２右"],
        {"ウィンク２": "Left", "ウィンク２右": "Right"},
    ),
    "half width": (["まばたき", "ｳｨﾝｸ２", "ｳｨﾝｸ２右"], {"ｳｨﾝｸ２": "Left", "ｳｨﾝｸ２右": "Right"}),
    "one wink": (["ウィンク", "ウィンク右"], {"ウィンク": "Left", "ウィンク右": "Right"}),
    "English": (
        ["Wink", "Wink Right", "Wink 2", "Wink 2 Right"],
        {"Wink 2": "Left", "Wink 2 Right": "Right"},
    ),
}


@pytest.mark.parametrize("case", MMD_BLINKS)
def test_mmd_names_are_recognized(case: str) -> None:
    names, expected = MMD_BLINKS[case]
    found = recognized([*KANA.values(), "ワ", "真面目", *names])
    assert found.namings == ("MMD",)
    assert poses(found) == {vowel: [kana] for vowel, kana in KANA.items()}
    brows = {"真面目": {"browDownLeft": 0.5, "browDownRight": 0.5}}
    assert units(found) == {name: {f"eyeBlink{s}": 1.0} for name, s in expected.items()} | brows


def test_mmd_brows_move_once() -> None:
    found = units(recognized(["困る", "怒り", "上", "下", "真面目", "にこり"]))
    assert found == {
        "困る": {"browInnerUp": 1.0},
        "怒り": {"browDownLeft": 0.5, "browDownRight": 0.5},
        "上": {"browOuterUpLeft": 0.5, "browOuterUpRight": 0.5},
    }
    assert set(units(recognized(["下", "真面目"]))) == {"下"}


def test_up_and_down_of_other_parts_are_not_brows() -> None:
    assert not units(recognized(["口_上", "口_下"]))
    assert set(units(recognized(["眉_上", "眉_下"]))) == {"眉_上", "眉_下"}


def test_each_mesh_has_the_naming_of_its_own_names() -> None:
    visemes = [f"viseme_{viseme}" for viseme in VISEMES]
    meshes = [[*visemes, "mouthOpen"], list(ARKIT_UNITS), ["mouthOpen"], ["Zahn_viseme_aa"]]
    found = recognize([[Source(name, {name: 1.0}) for name in names] for names in meshes])
    assert [one.mouth.name if one.mouth else "" for one in found] == [
        "Oculus visemes", "", "", "Oculus visemes",
    ]  # fmt: skip
    assert len(found[0].poses) == 15 and len(found[1].units) == 52
    assert units(found[2]) == {"mouthOpen": {"jawOpen": 1.0}}


def test_a_blink_of_both_eyes_follows_the_mean() -> None:
    assert units(recognized(["まばたき"])) == {
        "まばたき": {"eyeBlinkLeft": 0.5, "eyeBlinkRight": 0.5}
    }


@pytest.mark.parametrize("names", [["Ah", "Ch", "U", "E", "Oh"], list("aiueo"), list(VOWELS)])
def test_plain_vowels_are_recognized(names: list[str]) -> None:
    found = recognized([*names, "smile"])
    assert poses(found) == {vowel: [name] for vowel, name in zip(VOWELS, names, strict=True)}


REALLUSION = """
    V_Open V_Explosive V_Dental_Lip V_Tight_O V_Tight V_Wide V_Affricate V_Lip_Open V_Tongue_up
    V_Tongue_Curl_U V_Tongue_Curl_D Eye_Blink_L Eye_Blink_R
"""
REALLUSION_PAIRS = """
    Eye_Squint Eye_Wide Mouth_Smile Mouth_Frown Mouth_Dimple Mouth_Stretch Mouth_Press
    Mouth_Down_Lower Mouth_Up_Upper Mouth_Pucker_Up Mouth_Pucker_Down Mouth_Funnel_Up
    Mouth_Funnel_Down Mouth_Roll_In_Upper Mouth_Roll_In_Lower Brow_Drop Brow_Raise_Inner
    Brow_Raise_Outer Cheek_Raise Cheek_Puff Nose_Sneer Jaw Mouth
"""
REALLUSION_LOOKS = "L_Look_L L_Look_R L_Look_Up L_Look_Down R_Look_L R_Look_R R_Look_Up R_Look_Down"


def test_reallusion_visemes_are_recognized() -> None:
    found = recognized(REALLUSION.split())
    assert found.mouth is not None and found.mouth.name == "Reallusion visemes"
    assert poses(found) == {name.removeprefix("V_"): [name] for name in REALLUSION.split()[:8]}
    assert set(units(found)) == {"Eye_Blink_L", "Eye_Blink_R"}


def test_reallusion_units_cover_arkit() -> None:
    names = [*REALLUSION.split(), "Jaw_Open", "Jaw_Forward", "Mouth_Close", "Tongue_Out"]
    names += ["Mouth_Shrug_Upper", "Mouth_Shrug_Lower"]
    names += [f"{name}_{side}" for name in REALLUSION_PAIRS.split() for side in "LR"]
    found = recognized([*names, *(f"Eye_{look}" for look in REALLUSION_LOOKS.split())])
    assert found.mouth is None
    assert {unit for meaning in units(found).values() for unit in meaning} == set(ARKIT_UNITS)
    assert units(found)["Eye_L_Look_R"] == {"eyeLookInLeft": 1.0}


def test_unified_expressions_are_recognized() -> None:
    names = ["EyeClosedLeft", "MouthClosed", "LipFunnel", "LipPucker", "JawOpen", "LipSuckUpper"]
    expected = ["eyeBlinkLeft", "mouthClose", "mouthFunnel", "mouthPucker", "jawOpen"]
    assert units(recognized(names)) == {
        name: {unit: 1.0} for name, unit in zip(names, [*expected, "mouthRollUpper"], strict=True)
    }


def test_most_detailed_naming_moves_the_mouth() -> None:
    visemes = [f"viseme_{viseme}" for viseme in VISEMES]
    both = recognized([*visemes, *ARKIT_UNITS])
    assert both.mouth is None and not both.poses
    few = recognized([*visemes, "mouthOpen", "mouthSmile", "eyeBlinkLeft"])
    assert few.mouth is not None and few.mouth.name == "Oculus visemes"
    assert set(units(few)) == {"eyeBlinkLeft"}


def test_vowels_open_a_mouth_that_many_other_units_move() -> None:
    lips = [name for name in ARKIT_UNITS if "mouth" in name and "Up" not in name]
    closed = [name for name in lips if "Down" not in name and "Funnel" not in name]
    assert len(closed) > 12
    found = recognized([*closed, *(f"Fcl_MTH_{letter}" for letter in "AIUEO")])
    assert found.namings == ("VRoid",) and not found.units


def test_shape_of_both_sides_is_not_added_to_those_of_each_side() -> None:
    found = units(recognized(["jawOpen", "mouthOpen", "mouthSmile", "mouthSmileLeft"]))
    assert found == {"jawOpen": {"jawOpen": 1.0}, "mouthSmileLeft": {"mouthSmileLeft": 1.0}}


def test_meshes_with_prefixes_of_their_own_follow_the_same_units() -> None:
    names = [*ARKIT_UNITS, "Teeth_jawOpen", *(f"Wimpern.{unit}" for unit in ARKIT_UNITS[:4])]
    found = units(recognized(names))
    assert found["Teeth_jawOpen"] == {"jawOpen": 1.0}
    assert found[f"Wimpern.{ARKIT_UNITS[0]}"] == {ARKIT_UNITS[0]: 1.0}


@pytest.mark.parametrize("form", ["{}_{k:02d}", "{}Shape", "{}_Face", "blendShape1.{}_{k}"])
def test_a_common_suffix_is_ignored(form: str) -> None:
    names = [form.format(unit, k=k) for k, unit in enumerate(ARKIT_UNITS)]
    assert units(recognized(names)) == {
        name: {unit: 1.0} for name, unit in zip(names, ARKIT_UNITS, strict=True)
    }
    names = [form.format(f"viseme_{viseme}", k=k) for k, viseme in enumerate(VISEMES)]
    assert len(poses(recognized(names))) == len(VISEMES)


@pytest.mark.parametrize(
    "names",
    [
        ["mouthSmile_1", "mouthSmile_2", "mouthSmile_3", "jawOpen"],
        ["jawOpen_fix", "mouthClose_fix", "mouthPucker_fix"],
        ["jawOpen_Angry", "mouthClose_Sad", "mouthPucker_Happy"],
        [*ARKIT_UNITS, "jawOpen_Wide", "mouthClose_Wide", "mouthPucker_Wide"],
        ["eyeBlinkLeft", "mouthSmileLeft", "browDownLeft"],
        ["jawOpen", *(f"x{viseme}_Pose" for viseme in VISEMES), "A_Pose", "U_Pose", "O_Pose"],
    ],
)
def test_a_suffix_of_few_names_is_part_of_them(names: list[str]) -> None:
    plain = {name for name in names if name in ARKIT_UNITS}
    assert set(units(recognized(names))) == plain


def test_a_single_prefix_that_begins_like_the_others_is_ignored() -> None:
    lips = ("MouthClose", "MouthFunnel", "MouthPucker")
    names = [*(f"facs_bs_{name}" for name in lips), "facs_jnt_JawOpen", "other_jnt_BrowInnerUp"]
    found = units(recognized(names))
    assert found["facs_jnt_JawOpen"] == {"jawOpen": 1.0}
    assert "other_jnt_BrowInnerUp" not in found
    found = units(recognized([*names, *(f"facs_bs_{unit}" for unit in ARKIT_UNITS)]))
    assert "facs_jnt_JawOpen" not in found


@pytest.mark.parametrize(
    "name", ["corrective_jawOpen", "head_corrective_jawOpen", "jawOpen_fix", "my jawOpen"]
)
def test_correctives_and_single_prefixes_are_not_units(name: str) -> None:
    assert name not in units(recognized([*ARKIT_UNITS, name]))


@pytest.mark.parametrize(
    "names",
    [
        [f"Shape_{letter}" for letter in "ABCDE"],
        ["Door_Open", "Wide"],
        ["Key 1", "x", ""],
        ["viseme_PP"],
    ],
    ids=["letters", "single words", "other", "nothing opens"],
)
def test_other_names_are_not_recognized(names: list[str]) -> None:
    found = recognized(names)
    assert not found.poses and not found.units and not found.namings


def test_key_ignores_case_separators_and_the_place_of_the_side() -> None:
    spellings = ("eyeBlinkLeft", "EYE_BLINK_L", "L.eyeBlink", "left eye-blink", "EyeBlinkL")
    assert {name_key(name) for name in spellings} == {"eyeblinkleft"}
    assert name_key("Eye_L_Look_R") == "eyeleftlookright"
