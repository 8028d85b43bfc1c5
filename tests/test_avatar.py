"""A character's file gets one more animation, and nothing else of it changes."""

import json
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from characters import (
    VRM0_PRESETS,
    VRM1_PRESETS,
    CharacterFile,
    arkit,
    assert_untouched,
    draco,
    jaw_bone,
    large,
    meshopt,
    mmd,
    named,
    oculus,
    parts_of,
    tracks_of,
    vrm0,
    vrm1,
    vroid,
)
from gltf_reader import Glb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from takes import head_take, smooth_weights

from codetalker_cli.errors import DataError, InputError
from codetalker_cli.export.avatar import AvatarReport, AvatarSettings, export_avatar, write_avatar
from codetalker_cli.export.character import Character
from codetalker_cli.export.table import Target
from codetalker_cli.export.take import Take, make_take
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.avatars import Drive
from codetalker_cli.rigs.units import bundled_rig

N_FRAMES, FPS = 5, 30.0


@cache
def take() -> Take:
    """Return a take with known curves of all units of ARKit and a moving head."""
    weights = smooth_weights(N_FRAMES, len(ARKIT_UNITS))
    head = np.linspace(0, 0.3, N_FRAMES * 3, dtype=np.float32).reshape(N_FRAMES, 3)
    return make_take(RigCurves(ARKIT_UNITS, FPS, weights, "S01", head))


def drive_of(*names: str, **more: Any) -> Drive:
    """Return curves of some morph targets."""
    curves = smooth_weights(N_FRAMES, len(names), seed=1)
    morphs = dict(zip(names, curves.T, strict=True))
    matched = {name: [name] for name in names}
    blank = Drive(morphs, None, None, None, matched, [], [], "ARKit")
    return replace(blank, **more)


def export(path: Path, out: Path, **more: Any) -> AvatarReport:
    return export_avatar(take(), path, Target(out, out), AvatarSettings(**more))


def write(file: CharacterFile, folder: Path, drive: Drive) -> Path:
    path, out = file.save(folder / "a.glb"), folder / "b.glb"
    write_avatar(Character.read(path), drive, FPS, Target(out, out))
    assert_untouched(path, out)
    return out


# What stays --------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [arkit, oculus, vroid, mmd, vrm0, vrm1, jaw_bone, draco, meshopt])
def test_the_file_stays_as_it_is(make: Callable[[], CharacterFile], tmp_path: Path) -> None:
    path = make().save(tmp_path / "a.glb")
    character = Character.read(path)
    out = tmp_path / "b.glb"
    jaw = np.linspace(0, 0.3, N_FRAMES)
    write_avatar(character, drive_of(*character.names, jaw=jaw), FPS, Target(out, out))
    assert_untouched(path, out)
    assert tracks_of(out)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
EXTRA_KEYS = ("materials", "extensionsX", "samplers", "cameras", "ünknown")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    extra=st.dictionaries(st.sampled_from(EXTRA_KEYS), VALUES),
    asset=VALUES,
    animations=st.lists(st.fixed_dictionaries({"name": st.sampled_from(["speech", "run", ""])})),
    tail=st.binary(max_size=9),
    chunk=st.none() | st.binary(max_size=8).map(lambda content: content.ljust(8)),
    driven=st.sets(st.sampled_from(("a", "b", "c")), min_size=1),
    has_skeleton=st.booleans(),
)
def test_any_file_stays_as_it_is(
    tmp_path: Path,
    extra: dict[str, Any],
    asset: Any,
    animations: list[dict[str, str]],
    tail: bytes,
    chunk: bytes | None,
    driven: set[str],
    has_skeleton: bool,
) -> None:
    file = arkit(("a", "b", "c")) if has_skeleton else named(("a", "b", "c"))
    file.data += tail
    file.tree |= extra
    file.tree["asset"]["extras"] = asset
    file.tree["buffers"] = [{"name": "arrays", "byteLength": len(file.data)}]
    if animations:
        file.tree["animations"] = animations
    content = file.content()
    if chunk is not None:
        content += struct.pack("<I4s", len(chunk), b"ANY ") + chunk
    path, out = tmp_path / "a.glb", tmp_path / "b.glb"
    path.write_bytes(content[:8] + struct.pack("<I", len(content)) + content[12:])
    write_avatar(Character.read(path), drive_of(*sorted(driven)), FPS, Target(out, out))
    assert_untouched(path, out)
    result = out.read_bytes()
    assert struct.unpack_from("<I", result, 8)[0] == len(result)
    if chunk is not None:
        assert result.endswith(content[-8 - len(chunk) :])
    names = [animation["name"] for animation in parts_of(out)[0]["animations"]]
    assert names[-1] not in names[:-1] and names[-1].startswith("speech")


def test_a_file_without_arrays_gets_its_first_ones(tmp_path: Path) -> None:
    file = CharacterFile()
    file.node("Chin", file.node("Jaw", file.node("Root")), mesh=0)
    file.tree["meshes"].append({"primitives": [{"attributes": {}}]})
    for key in ("accessors", "bufferViews", "buffers"):
        del file.tree[key]
    text = json.dumps(file.tree).encode()
    text += b" " * (-len(text) % 4)
    path, out = tmp_path / "a.glb", tmp_path / "b.glb"
    header = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text), len(text), b"JSON")
    path.write_bytes(header + text)
    found = drive_of(jaw=np.zeros(N_FRAMES))
    write_avatar(Character.read(path), found, FPS, Target(out, out))
    assert_untouched(path, out)
    assert list(tracks_of(out)) == [("Jaw", "rotation")]


def test_files_next_to_a_gltf_are_embedded(tmp_path: Path) -> None:
    path, out = arkit().save_gltf(tmp_path / "files"), tmp_path / "b.glb"
    report = export(path, out)
    assert len(report.changes) == 2
    expected = tmp_path / "c.glb"
    export(arkit().save(tmp_path / "a.glb"), expected)
    for key, (times, values) in tracks_of(expected).items():
        np.testing.assert_array_equal(tracks_of(out)[key][0], times)
        np.testing.assert_array_equal(tracks_of(out)[key][1], values)


def test_a_character_of_500_mb_is_written(tmp_path: Path) -> None:
    path, out = large(tmp_path / "a.glb"), tmp_path / "b.glb"
    tracemalloc.start()
    try:
        export(path, out)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    with out.open("rb") as file:
        declared = struct.unpack("<4sII", file.read(12))[2]
    assert declared == out.stat().st_size > 500_000_000
    out.unlink()
    assert peak < 50_000_000


# What moves --------------------------------------------------------------------------------------


def test_all_meshes_get_the_same_curves(tmp_path: Path) -> None:
    drive = drive_of("jawOpen", "mouthClose")
    found = tracks_of(write(arkit(), tmp_path, drive))
    assert list(found) == [(name, "weights") for name in ("Head_Mesh", "Teeth", "Eyes")]
    for times, values in found.values():
        np.testing.assert_allclose(times, np.arange(N_FRAMES) / FPS, atol=1e-6)
        for column, name in enumerate(ARKIT_UNITS):
            expected = drive.morphs.get(name, np.zeros(N_FRAMES))
            np.testing.assert_array_equal(values[:, column], expected)
    tree, _ = parts_of(tmp_path / "b.glb")
    assert len(tree["animations"][-1]["samplers"]) == 1  # equal curves are stored once


def test_only_meshes_with_driven_targets_are_animated(tmp_path: Path) -> None:
    file = arkit()
    file.face(("other",), "Hat", 0, skin=0)
    found = tracks_of(write(file, tmp_path, drive_of("jawOpen")))
    assert ("Hat", "weights") not in found and ("Teeth", "weights") in found


def test_other_targets_keep_their_default_weights(tmp_path: Path) -> None:
    file = arkit(("a", "b", "c"))
    file.tree["meshes"][0]["weights"] = [0.1, 0.2, 0.3]
    file.tree["meshes"][1]["weights"] = [0.4, 0.5, 0.6]
    node = [node["name"] for node in file.tree["nodes"]].index("Teeth")
    file.tree["nodes"][node]["weights"] = [0.7, 0.8, 0.9]
    drive = drive_of("b")
    found = tracks_of(write(file, tmp_path, drive))
    for name, rest in {"Head_Mesh": (0.1, 0.3), "Teeth": (0.7, 0.9), "Eyes": (0, 0)}.items():
        values = found[name, "weights"][1]
        np.testing.assert_array_equal(values[:, 1], drive.morphs["b"])
        assert (values[:, [0, 2]] == np.float32(rest)).all()


def test_targets_with_the_same_name_move_together(tmp_path: Path) -> None:
    drive = drive_of("a")
    found = tracks_of(write(named(("a", "b", "a")), tmp_path, drive))
    for column in (0, 2):
        np.testing.assert_array_equal(found["Face", "weights"][1][:, column], drive.morphs["a"])


def test_constant_curves_have_two_keys(tmp_path: Path) -> None:
    head = np.zeros((N_FRAMES, 3), np.float32)
    drive = replace(drive_of("jawOpen", head=head), morphs={"jawOpen": np.full(N_FRAMES, 0.5)})
    found = tracks_of(write(arkit(), tmp_path, drive))
    assert len(found) == 4
    for times, values in found.values():
        assert len(times) == len(values) == 2
        assert times[1] == pytest.approx((N_FRAMES - 1) / FPS)


@pytest.mark.parametrize("n_frames", [1, 2])
def test_short_motions_are_written(n_frames: int, tmp_path: Path) -> None:
    drive = replace(drive_of("jawOpen"), morphs={"jawOpen": np.zeros(n_frames, np.float32)})
    found = tracks_of(write(arkit(), tmp_path, drive))
    assert {len(times) for times, _ in found.values()} == {n_frames}


def test_the_animation_refers_to_the_sound_and_the_frame_rate(tmp_path: Path) -> None:
    path, out = arkit().save(tmp_path / "a.glb"), tmp_path / "b.glb"
    target = Target(out, out, sound_name="b.wav")
    report = export_avatar(take(), path, target, AvatarSettings())
    animation = parts_of(out)[0]["animations"][-1]
    assert animation["extras"] == {"fps": FPS, "sound": "b.wav"}
    assert animation["name"] == report.animation == "speech"


def test_the_report_lists_what_moves(tmp_path: Path) -> None:
    path, out = arkit(("jawOpen", "mouthClose", "hat")).save(tmp_path / "a.glb"), tmp_path / "b.glb"
    report = export(path, out)
    assert report.matched["jawOpen"] == ["jawOpen"] and report.unused == ["hat"]
    assert "mouthClose" not in report.unmatched and "mouthFunnel" in report.unmatched
    assert report.bones["head"] == "Head"
    assert json.loads(json.dumps(report.to_dict()))["animation"] == "speech"


def test_a_jaw_bone_shows_the_opening_of_the_jaw(tmp_path: Path) -> None:
    report = export(jaw_bone().save(tmp_path / "a.glb"), tmp_path / "b.glb")
    assert report.matched["jawOpen"] == ["Jaw"] and "jawOpen" not in report.unmatched
    assert report.matched["eyeLookUpLeft"] == ["LeftEye"]
    assert set(report.bones) == {"jaw", "head", "leftEye", "rightEye"}


def test_motion_without_bones_is_reported(tmp_path: Path) -> None:
    blank = np.zeros((N_FRAMES, 3))
    drive = drive_of("blink", jaw=blank[:, 0], head=blank, eyes=blank[:, :2])
    path, out = named(("blink",)).save(tmp_path / "a.glb"), tmp_path / "b.glb"
    report = write_avatar(Character.read(path), drive, FPS, Target(out, out))
    assert report.unmatched == ["jawOpen", "gaze", "head rotation"] and report.bones == {}


def test_solved_curves_drive_a_character(tmp_path: Path) -> None:
    weights = np.zeros((2, 58), np.float32)
    names = bundled_rig().unit_names
    weights[1, names.index("jawOpen")] = 0.6
    path, out = arkit().save(tmp_path / "a.glb"), tmp_path / "b.glb"
    export_avatar(head_take(weights=weights), path, Target(out, out), AvatarSettings())
    _, values = tracks_of(out)["Teeth", "weights"]
    assert values[1, ARKIT_UNITS.index("jawOpen")] == pytest.approx(0.6, abs=0.03)


# VRM ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "presets"), [(vrm0, VRM0_PRESETS), (vrm1, VRM1_PRESETS)])
def test_a_vrm_avatar_gets_a_vrma(
    make: Callable[[], CharacterFile], presets: dict[str, str], tmp_path: Path
) -> None:
    path, out = make().save(tmp_path / "a.vrm"), tmp_path / "b.vrma"
    report = export(path, out)
    expressions = Glb(out).tree["extensions"]["VRMC_vrm_animation"]["expressions"]
    written = [*expressions["preset"], *expressions["custom"]]
    assert len(report.matched) == 7 and set(report.matched) <= set(written)
    driven = {name for (name,) in report.matched.values()}
    assert driven | set(report.unused) == set(presets)
    assert report.bones == {"head": make().tree["nodes"][2]["name"]}


def test_an_avatar_with_arkit_expressions_is_moved_by_these_alone(tmp_path: Path) -> None:
    custom = tuple(unit[0].upper() + unit[1:] for unit in ARKIT_UNITS)
    path, out = vrm1(custom).save(tmp_path / "a.vrm"), tmp_path / "b.vrma"
    report = export(path, out)
    expressions = Glb(out).tree["extensions"]["VRMC_vrm_animation"]["expressions"]
    assert set(expressions) == {"custom"} and set(expressions["custom"]) == set(custom)
    assert report.matched["jawOpen"] == ["JawOpen"] and report.unmatched == []


# Bad input ---------------------------------------------------------------------------------------


def test_a_character_is_never_replaced(tmp_path: Path) -> None:
    path = arkit().save(tmp_path / "a.glb")
    before = path.read_bytes()
    with pytest.raises(InputError, match="this is the file of the character"):
        export_avatar(take(), path, Target(tmp_path / "x.glb", path), AvatarSettings())
    assert path.read_bytes() == before


def test_a_missing_character_is_reported_although_the_output_exists(tmp_path: Path) -> None:
    (tmp_path / "b.glb").touch()
    with pytest.raises(InputError, match=r"a\.glb: no such file"):
        export(tmp_path / "a.glb", tmp_path / "b.glb")


def test_other_outputs_are_refused(tmp_path: Path) -> None:
    path = arkit().save(tmp_path / "a.glb")
    with pytest.raises(InputError, match=r"`out` b\.mp4: a character is written as \.glb, or as"):
        export(path, tmp_path / "b.mp4")
    with pytest.raises(InputError, match=r"a\.glb is not a VRM avatar, and a \.vrma moves only"):
        export(path, tmp_path / "b.vrma")
    assert [file.name for file in tmp_path.iterdir()] == ["a.glb"]


def test_unknown_names_are_listed(tmp_path: Path) -> None:
    path = arkit(("hat", "wings")).save(tmp_path / "a.glb")
    expected = (
        "no morph target has a known name, and there is no jaw bone to move; the morph targets "
        "are hat, wings; the bones of the head are Head, LeftEye, RightEye; name the morph "
        "targets or the bone of the jaw in `avatar_map`, e.g. Mouth_Open: jawOpen"
    )
    with pytest.raises(InputError) as error:
        export(path, tmp_path / "b.glb")
    assert str(error.value) == f"{path}: {expected}"


def test_curves_with_nan_are_refused(tmp_path: Path) -> None:
    path, out = arkit().save(tmp_path / "a.glb"), tmp_path / "b.glb"
    drive = replace(drive_of("jawOpen"), morphs={"jawOpen": np.full(N_FRAMES, np.nan)})
    with pytest.raises(DataError, match="NaN"):
        write_avatar(Character.read(path), drive, FPS, Target(out, out))
    assert not out.exists()
