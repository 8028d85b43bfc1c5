"""Exports of rig weights: tables, animations of game engines, visemes and mouth shapes."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from takes import curves_take, head_take, small_take, smooth_weights

from codetalker_cli.errors import InputError
from codetalker_cli.export import animation_clips, rig_tables, visemes
from codetalker_cli.export.table import Exporter, Target
from codetalker_cli.export.take import Take
from codetalker_cli.formats.rig_files import read_curves
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.units import UnitSet, bundled_rig
from codetalker_cli.rigs.visemes import REST, cues_of, solve_visemes
from codetalker_cli.settings import ExportSettings

EXPORTERS = {
    one.name: one for module in (rig_tables, animation_clips, visemes) for one in module.EXPORTERS
}
NAME = 'Löwe "1" \\ ü'
SOUND = f"{NAME} & <a>.wav"


def export(
    take: Take, name: str, folder: Path, *, sound: str | None = SOUND, **settings: str
) -> Path:
    exporter: Exporter = EXPORTERS[name]
    path = folder / f"temporary{exporter.suffix}"
    target = Target(path, folder / f"{NAME}{exporter.suffix}", sound_name=sound)
    exporter.write(take, target, ExportSettings.model_validate(settings))
    return path


def unity_curves(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """Return a clip, and the (K, 4) time, value and slopes of each unit."""
    text = path.read_text("utf-8")
    assert text.startswith("%YAML 1.1\n%TAG !u! tag:unity3d.com,2011:\n--- !u!74 &7400000\n")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the latter takes ten times as long
    clip = yaml.load(text.split("&7400000\n")[1], loader)["AnimationClip"]
    curves = {}
    for one in clip["m_FloatCurves"]:
        assert (one["path"], one["classID"]) == ("Head", 137)
        keys = one["curve"]["m_Curve"]
        fields = ("time", "value", "inSlope", "outSlope")
        name = one["attribute"].removeprefix("blendShape.")
        curves[name] = np.array([[key[field] for field in fields] for key in keys])
    return clip, curves


def godot_curves(path: Path) -> tuple[str, dict[str, np.ndarray]]:
    """Return the text, and the (K, 2) time and value of each unit."""
    text = path.read_text("utf-8")
    assert text.startswith('[gd_resource type="Animation" format=3]\n\n[resource]\n')
    tracks = re.findall(
        r'tracks/(\d+)/type = "blend_shape"\ntracks/\1/imported = false\ntracks/\1/enabled = true\n'
        r'tracks/\1/path = NodePath\("(\w+):(\w+)"\)\ntracks/\1/interp = 1\n'
        r"tracks/\1/loop_wrap = true\ntracks/\1/keys = PackedFloat32Array\(([^)]*)\)\n",
        text,
    )
    assert [int(track[0]) for track in tracks] == list(range(len(tracks)))
    assert {track[1] for track in tracks} == {"Head"}
    curves = {}
    for _, _, unit, numbers in tracks:
        keys = np.array(numbers.split(", "), float).reshape(-1, 3)
        assert (keys[:, 1] == 1).all()
        curves[unit] = keys[:, [0, 2]]
    return text, curves


def weights_in(name: str, path: Path, n_frames: int, fps: float) -> np.ndarray:
    """Return the (T, 52) weights that an export contains at the times of the frames."""
    if name in ("csv", "json"):
        curves = read_curves(path)
        assert curves.n_frames == n_frames
        return curves.select(ARKIT_UNITS).weights
    times = np.arange(n_frames) / fps
    curves = unity_curves(path)[1] if name == "anim" else godot_curves(path)[1]
    factor = 100 if name == "anim" else 1
    columns = [np.interp(times, keys[:, 0], keys[:, 1]) / factor for keys in curves.values()]
    stored = RigCurves(tuple(curves), fps, np.stack(columns, axis=1))
    return stored.select(ARKIT_UNITS).weights


@pytest.mark.parametrize("name", ["csv", "json", "anim", "tres"])
def test_a_curve_of_each_unit_survives(name: str, tmp_path: Path) -> None:
    weights = np.zeros((58, 58), np.float32)
    np.fill_diagonal(weights, 1)
    take = curves_take(weights)
    names = take.arkit_curves.names
    assert names == ARKIT_UNITS
    stored = weights_in(name, export(take, name, tmp_path), 58, 30)
    np.testing.assert_allclose(stored, take.arkit_curves.weights, atol=2e-7)
    assert stored.sum() == pytest.approx(52)


@pytest.mark.parametrize("name", ["csv", "json", "anim", "tres"])
@pytest.mark.parametrize("fps", [23.976, 25.0, 30.0, 60.0])
@pytest.mark.parametrize("n_frames", [1, 2, 90])
def test_weights_survive(name: str, fps: float, n_frames: int, tmp_path: Path) -> None:
    weights = smooth_weights(n_frames, 58)
    weights[n_frames // 3 : n_frames // 2, 5:] = 0  # constant runs are stored with few keys
    take = curves_take(weights, fps)
    stored = weights_in(name, export(take, name, tmp_path), n_frames, fps)
    np.testing.assert_allclose(stored, take.arkit_curves.weights, atol=1e-6)


@pytest.mark.parametrize("name", EXPORTERS)
def test_equal_takes_give_equal_bytes(name: str, tmp_path: Path) -> None:
    assert len(EXPORTERS) == 7
    made = [export(head_take(6), name, tmp_path).read_bytes() for _ in range(2)]
    assert made[0] == made[1]
    assert b"\r" not in made[0]
    opening = EXPORTERS[name].opening.format(name="a.b")
    assert "a.b" in opening
    assert "{" not in opening


def test_a_recording_contains_the_head_rotation(tmp_path: Path) -> None:
    head = np.random.default_rng(0).normal(0, 0.3, (9, 3)).astype(np.float32)
    take = head_take(9)
    native = RigCurves(ARKIT_UNITS, 30.0, smooth_weights(9, 52), "S01", head)
    path = export(Take(take.motion, native), "csv", tmp_path)
    np.testing.assert_allclose(read_curves(path).head, head, atol=1e-6)
    assert read_curves(export(take, "csv", tmp_path)).head is None


def test_a_unity_clip_is_linear_between_its_keys(tmp_path: Path) -> None:
    take = curves_take(smooth_weights(40, 58), 25.0)
    clip, curves = unity_curves(export(take, "anim", tmp_path))
    assert clip["m_Name"] == NAME
    assert clip["m_SampleRate"] == 25
    assert clip["m_AnimationClipSettings"]["m_StopTime"] == pytest.approx(40 / 25)
    assert curves.keys() == set(ARKIT_UNITS)
    for keys in curves.values():
        slopes = np.diff(keys[:, 1]) / np.diff(keys[:, 0])
        np.testing.assert_allclose(keys[1:, 2], slopes, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(keys[:-1, 3], slopes, rtol=1e-4, atol=1e-4)


def test_a_godot_animation_has_its_length_and_name(tmp_path: Path) -> None:
    text, curves = godot_curves(export(curves_take(smooth_weights(24, 58), 24.0), "tres", tmp_path))
    assert '\nresource_name = "Löwe \\"1\\" \\\\ ü"\nlength = 1\nstep = 0.0416666667\n' in text
    assert curves.keys() == set(ARKIT_UNITS)


def test_runs_of_equal_weights_need_two_keys(tmp_path: Path) -> None:
    take = curves_take(np.zeros((500, 58), np.float32))
    assert all(len(keys) == 2 for keys in unity_curves(export(take, "anim", tmp_path))[1].values())


def test_audio2face_json_names_the_sound(tmp_path: Path) -> None:
    content = json.loads(export(head_take(3), "json", tmp_path).read_text("utf-8"))
    assert (content["trackPath"], content["numPoses"], content["numFrames"]) == (SOUND, 52, 3)
    assert content["exportFps"] == 30
    assert isinstance(content["exportFps"], int)
    silent = json.loads(export(head_take(3), "json", tmp_path, sound=None).read_text("utf-8"))
    assert silent["trackPath"] == ""


def test_a_face_with_units_of_arkit_is_exported(tmp_path: Path) -> None:
    take = small_take()
    for name in ("csv", "json"):
        stored = read_curves(export(take, name, tmp_path))
        jaw = take.arkit_curves.weights[:, ARKIT_UNITS.index("jawOpen")]
        assert jaw.max() > 0.05
        np.testing.assert_allclose(stored.select(("jawOpen",)).weights[:, 0], jaw, atol=1e-6)
        assert not stored.select(("mouthClose",)).weights.any()
    unknown = Take(take.motion, given_units=UnitSet(("Löwe", "b"), take.units.deltas))
    with pytest.raises(InputError):
        export(unknown, "csv", tmp_path)


# Visemes -----------------------------------------------------------------------------------------


def spoken(*parts: tuple[str, int], fps: float = 30.0, native: bool = False) -> Take:
    """Return a take that shows each viseme for a number of frames."""
    rig = bundled_rig()
    weights = np.concatenate([np.repeat(rig.visemes[name][None], n, axis=0) for name, n in parts])
    return curves_take(weights, fps) if native else head_take(fps=fps, weights=weights)


def viseme_json(take: Take, folder: Path) -> dict:
    return json.loads(export(take, "visemes", folder).read_text("utf-8"))


@pytest.mark.parametrize("native", [False, True])
def test_each_viseme_is_recognized(native: bool) -> None:
    names = tuple(bundled_rig().visemes)
    assert len(names) == 15
    curves = visemes.viseme_curves(spoken(*((name, 1) for name in names), native=native))
    assert curves.names == names
    assert [names[k] for k in curves.weights.argmax(axis=1)] == list(names)
    assert curves.weights[0, 0] == 1
    assert (curves.weights.sum(axis=1) > 0.8).all()


def test_visemes_are_recognized_in_a_recording_of_arkit() -> None:
    names = tuple(bundled_rig().visemes)
    take = spoken(*((name, 1) for name in names), native=True)
    curves = visemes.viseme_curves(Take(take.motion, take.arkit_curves))
    alike = {"DD", "kk", "nn"}, {"CH", "RR"}  # the other units of the head distinguish them
    for expected, found in zip(names, curves.weights.argmax(axis=1), strict=True):
        assert any({expected, names[found]} <= group for group in (*alike, {expected}))
    assert (curves.weights.sum(axis=1) > 0.8).all()


def test_the_face_of_another_subject_and_its_upper_half_do_not_matter() -> None:
    rig, weights = bundled_rig(), np.repeat(bundled_rig().visemes["O"][None], 3, axis=0).copy()
    for name in ("browInnerUp", "eyeBlinkLeft", "eyeBlinkRight", "eyeWideLeft"):
        weights[1:, rig.unit_names.index(name)] = 1
    curves = solve_visemes(head_take(weights=weights).motion)
    assert [curves.names[k] for k in curves.weights.argmax(axis=1)] == ["O"] * 3
    assert np.abs(curves.weights[0] - curves.weights[2]).max() < 0.15


def test_visemes_have_their_times(tmp_path: Path) -> None:
    parts = (("sil", 10), ("PP", 4), ("aa", 7), ("FF", 5), ("U", 3))
    content = viseme_json(spoken(*parts, fps=23.976), tmp_path)
    assert content["visemes"] == [name for name, _ in parts]
    starts = np.cumsum([0, 10, 4, 7, 5]) / 23.976
    np.testing.assert_allclose(np.array(content["vtimes"]) / 1000, starts, atol=6e-4)
    lengths = np.array([n for _, n in parts]) / 23.976
    np.testing.assert_allclose(np.array(content["vdurations"]) / 1000, lengths, atol=1.1e-3)
    assert content["vtimes"][-1] + content["vdurations"][-1] == round(1000 * 29 / 23.976)
    assert content["cues"][1] == {
        "time": content["vtimes"][1] / 1000,
        "duration": content["vdurations"][1] / 1000,
        "viseme": "PP",
    }
    assert (content["sound"], content["fps"]) == (SOUND, 23.976)
    assert np.array(content["weights"]).shape == (29, 15) == (29, len(content["names"]))


def test_one_frame_is_one_cue(tmp_path: Path) -> None:
    take = spoken(("aa", 1), fps=60.0)
    assert viseme_json(take, tmp_path)["visemes"] == ["aa"]
    assert export(take, "tsv", tmp_path).read_text("utf-8") == "0.00\tD\n0.02\tX\n"


def test_short_cues_are_merged_but_contacts_of_the_lips_stay() -> None:
    names = tuple(bundled_rig().visemes)
    order = ["aa"] * 5 + ["E"] + ["aa"] * 2 + ["PP"] + ["U"] * 4
    weights = np.eye(15, dtype=np.float32)[[names.index(name) for name in order]]
    cues = cues_of(RigCurves(names, 30.0, weights))
    assert [(cue.viseme, cue.start, cue.stop) for cue in cues] == [
        ("aa", 0, 8), ("PP", 8, 9), ("U", 9, 13),
    ]  # fmt: skip


def test_mouth_shapes_are_written_as_rhubarb_does(tmp_path: Path) -> None:
    parts = ((REST, 15), ("PP", 6), ("aa", 9), ("SS", 6), ("I", 3), ("U", 6), ("FF", 3), (REST, 12))
    take = spoken(*parts)
    lines = [
        line.split("\t") for line in export(take, "tsv", tmp_path).read_text("utf-8").splitlines()
    ]
    assert lines == [
        ["0.00", "X"], ["0.50", "A"], ["0.70", "D"], ["1.00", "B"], ["1.30", "F"], ["1.50", "G"],
        ["1.60", "X"], ["2.00", "X"],
    ]  # fmt: skip
    result = ElementTree.parse(export(take, "xml", tmp_path)).getroot()
    assert result.tag == "rhubarbResult"
    assert result.findtext("metadata/soundFile") == SOUND
    assert result.findtext("metadata/duration") == "2.00"
    cues = [(cue.get("start"), cue.text) for cue in result.iterfind("mouthCues/mouthCue")]
    assert cues == [tuple(line) for line in lines[:-1]]
    ends = [cue.get("end") for cue in result.iterfind("mouthCues/mouthCue")]
    assert ends == [line[0] for line in lines[1:]]


def test_a_half_open_mouth_is_not_wide() -> None:
    names = tuple(bundled_rig().visemes)
    for weight, shape in ((0.45, "C"), (0.55, "D")):
        weights = np.zeros((9, 15), np.float32)
        weights[:, names.index("aa")] = weight
        cues = visemes.mouth_cues(RigCurves(names, 30.0, weights))
        assert [(cue.viseme, cue.stop) for cue in cues] == [(shape, 9)]


def test_every_viseme_has_a_mouth_shape() -> None:
    assert set(visemes.MOUTH_SHAPES) == set(bundled_rig().visemes)
    assert set(visemes.MOUTH_SHAPES.values()) | {"C"} == set("ABCDEFGHX")


def test_another_face_gets_the_visemes_of_its_units(tmp_path: Path) -> None:
    take = small_take()
    content = viseme_json(take, tmp_path)
    weights = np.array(content["weights"])
    opening = weights[:, content["names"].index("aa")]
    jaw = take.arkit_curves.weights[:, ARKIT_UNITS.index("jawOpen")]
    assert len(weights) == take.n_frames
    assert opening.argmax() == jaw.argmax()


def test_animations_name_the_object_of_the_character(tmp_path: Path) -> None:
    place = "Körper 1/Head\\mesh"
    clip = export(head_take(2), "anim", tmp_path, object=place).read_text("utf-8")
    curves = yaml.safe_load(clip.split("&7400000\n")[1])["AnimationClip"]["m_FloatCurves"]
    assert {one["path"] for one in curves} == {place}
    text = export(head_take(2), "tres", tmp_path, object=place).read_text("utf-8")
    assert 'NodePath("Körper 1/Head\\\\mesh:jawOpen")' in text
