"""USD files contain blend shapes with weights, or the vertices of every frame, and the sound."""

import errno
import os
import sys
import time
import wave
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from geometry_exports import export
from hypothesis import given, settings
from hypothesis import strategies as st
from takes import curves_take, head_take, small_take, smooth_weights

from codetalker_cli.errors import InputError, MissingDependencyError, SettingsError
from codetalker_cli.export.space import full_disk_is_reported
from codetalker_cli.export.take import Take
from codetalker_cli.export.usd_stage import identifiers
from codetalker_cli.motion import VertexFrames
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.posing import NECK_PIVOT
from codetalker_cli.surface import vertex_normals

pytest.importorskip("pxr")
from pxr import Tf, Usd, UsdGeom, UsdMedia, UsdShade, UsdSkel, UsdValidation


def face_of(stage: Usd.Stage) -> UsdGeom.Mesh:
    return UsdGeom.Mesh(stage.GetDefaultPrim().GetChild("Face"))


def baked_frames(path: Path) -> np.ndarray:
    """Return the (T, V, 3) vertices that USD itself computes from blend shapes and joints."""
    stage = Usd.Stage.Open(str(path))
    assert UsdSkel.BakeSkinning(stage.Traverse())
    return sampled_frames(stage)


def sampled_frames(stage: Usd.Stage) -> np.ndarray:
    start, end = stage.GetStartTimeCode(), stage.GetEndTimeCode()
    points = face_of(stage).GetPointsAttr()
    return np.stack([points.Get(time) for time in np.arange(start, end + 1)])


def animation_of(stage: Usd.Stage) -> UsdSkel.Animation:
    return UsdSkel.Animation(stage.GetDefaultPrim().GetChild("Animation"))


def faults(path: Path) -> list[str]:
    """Return what all validators of USD report."""
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    assert any(one.GetMetadata().name.startswith("usdSkel") for one in validators)
    stage = Usd.Stage.Open(str(path))
    context = UsdValidation.ValidationContext(validators)
    return [error.GetMessage() for error in context.Validate(stage)]


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "a b.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(3200))
    return path


@pytest.fixture
def time_zones(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Yield a function that sets the time zone of this process; the old one returns at the end."""

    def set_zone(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def blocks_of_two(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("codetalker_cli.motion.BLOCK_BYTES", 120)
    yield


# Blend shapes -------------------------------------------------------------------------------------


def test_each_unit_moves_its_vertices(tmp_path: Path) -> None:
    take = curves_take(np.eye(58, dtype=np.float32))
    frames = baked_frames(export(take, tmp_path / "units.usdc"))
    np.testing.assert_allclose(frames, take.template + take.units.deltas, atol=1e-7)


def test_arkit_targets_are_the_units_of_arkit(tmp_path: Path) -> None:
    weights = smooth_weights(5, 58)
    take = curves_take(weights)
    path = export(take, tmp_path / "arkit.usdc", targets="arkit")
    stage = Usd.Stage.Open(str(path))
    assert tuple(animation_of(stage).GetBlendShapesAttr().Get()) == ARKIT_UNITS
    assert [child.GetName() for child in face_of(stage).GetPrim().GetChildren()] == [*ARKIT_UNITS]
    chosen = [take.units.names.index(name) for name in ARKIT_UNITS]
    posed = np.einsum("tu,uvc->tvc", weights[:, chosen], take.units.deltas[chosen])
    np.testing.assert_allclose(baked_frames(path), take.template + posed, atol=1e-6)


@given(st.integers(1, 6), st.sampled_from([23.976, 25.0, 30.0, 60.0]), st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_random_weights_survive(
    tmp_path_factory: pytest.TempPathFactory, n_frames: int, fps: float, seed: int
) -> None:
    weights = np.random.default_rng(seed).uniform(size=(n_frames, 58)).astype(np.float32)
    path = export(curves_take(weights, fps), tmp_path_factory.mktemp("usd") / "x.usdc")
    stage = Usd.Stage.Open(str(path))
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (0, n_frames - 1)
    assert stage.GetTimeCodesPerSecond() == stage.GetFramesPerSecond() == fps
    attribute = animation_of(stage).GetBlendShapeWeightsAttr()
    assert attribute.GetTimeSamples() == list(range(n_frames))
    read = np.stack([attribute.Get(k) for k in range(n_frames)])
    np.testing.assert_array_equal(read, weights)


def test_head_turns_about_the_neck(tmp_path: Path) -> None:
    take = curves_take(smooth_weights(4, 58))
    head = np.zeros((4, 3), np.float32)
    head[1, 0] = head[2, 1] = head[3, 2] = np.pi / 2  # left, down, toward the left shoulder
    native = replace(take.native, head=head)
    frames = baked_frames(export(Take(take.motion, native), tmp_path / "x.usdc"))
    offsets = np.concatenate(list(take.blocks())) - np.array(NECK_PIVOT, np.float32)
    x, y, z = offsets.transpose(2, 0, 1)
    turned = [
        np.stack([x, y, z], -1)[0],
        np.stack([z, y, -x], -1)[1],
        np.stack([x, -z, y], -1)[2],
        np.stack([y, -x, z], -1)[3],
    ]
    np.testing.assert_allclose(frames, np.stack(turned) + NECK_PIVOT, atol=1e-6)


def test_normals_follow_the_blend_shapes(tmp_path: Path) -> None:
    take = curves_take(np.eye(58, dtype=np.float32)[[24]])  # jawOpen
    stage = Usd.Stage.Open(str(export(take, tmp_path / "x.usdc")))
    rest = np.array(face_of(stage).GetNormalsAttr().Get())
    assert UsdSkel.BakeSkinning(stage.Traverse())
    face = face_of(stage)
    points, normals = np.array(face.GetPointsAttr().Get(0)), np.array(face.GetNormalsAttr().Get(0))
    expected = vertex_normals(points, take.triangles)
    moved = np.abs(take.units.deltas[24]).max(1) > 1e-3

    def agreement(vectors: np.ndarray) -> float:
        return float((vectors * expected)[moved].sum(1).mean())

    assert agreement(normals) > 0.999 > agreement(rest)


# Frames -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["usdc", "usda", "usdz"])
@pytest.mark.parametrize("n_frames", [1, 7])
def test_frames_contain_every_vertex(
    suffix: str, n_frames: int, tmp_path: Path, blocks_of_two: None
) -> None:
    motion = small_take(n_frames, 23.976).motion
    whole = motion.vertices
    computed = replace(motion, vertices=VertexFrames(*whole.shape[:2], lambda k: whole[k]))
    take = Take(computed)  # without units
    path = export(take, tmp_path / f"Ä b.{suffix}", targets="frames")
    stage = Usd.Stage.Open(str(path))
    expected = np.concatenate(list(take.blocks()))
    np.testing.assert_allclose(sampled_frames(stage), expected, rtol=1e-6)
    extent = np.stack([face_of(stage).GetExtentAttr().Get(k) for k in range(n_frames)])
    box = np.stack([expected.min(1), expected.max(1)], axis=1)
    np.testing.assert_allclose(extent, box, rtol=1e-6)
    assert list(tmp_path.iterdir()) == [path]


# Scene --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("targets", ["units", "arkit", "frames"])
@pytest.mark.parametrize("suffix", ["usdc", "usda", "usdz"])
def test_validators_of_usd_report_nothing(
    suffix: str, targets: str, tmp_path: Path, sound: Path
) -> None:
    path = export(head_take(3), tmp_path / f"a b.{suffix}", sound=sound, targets=targets)
    assert faults(path) == []


def test_validators_report_a_missing_sound(tmp_path: Path) -> None:
    path = export(small_take(), tmp_path / "x.usdc", sound=tmp_path / "none.wav")
    assert any("x.wav" in fault for fault in faults(path))


def test_scene_has_meters_colors_and_texture_coordinates(tmp_path: Path) -> None:
    take = head_take(2)
    stage = Usd.Stage.Open(str(export(take, tmp_path / "x.usdc")))
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    face = face_of(stage)
    corners = np.array(face.GetFaceVertexIndicesAttr().Get()).reshape(-1, 3)
    np.testing.assert_array_equal(corners, take.triangles)
    primvars = UsdGeom.PrimvarsAPI(face)
    colors = np.array(primvars.GetPrimvar("displayColor").Get())
    expected = np.where(take.colors <= 10, 0, ((take.colors / 255 + 0.055) / 1.055) ** 2.4)
    assert (take.colors > 10).any()
    np.testing.assert_allclose(colors[take.colors > 10], expected[take.colors > 10], atol=1e-6)
    topology = take.motion.topology
    uv = np.array(primvars.GetPrimvar("st").ComputeFlattened())
    np.testing.assert_array_equal(uv, topology.uv[topology.uv_triangles.ravel()])
    material = UsdShade.MaterialBindingAPI(face).ComputeBoundMaterial()[0]
    assert material.ComputeSurfaceSource()[0].GetIdAttr().Get() == "UsdPreviewSurface"


def test_names_that_are_not_identifiers_become_display_names(tmp_path: Path) -> None:
    take = small_take()
    named = Take(replace(take.motion, subject="Jörg Müller"), given_units=take.given_units)
    stage = Usd.Stage.Open(str(export(named, tmp_path / "x.usda")))
    root = stage.GetDefaultPrim()
    assert (root.GetName(), root.GetDisplayName()) == ("J__rg_M__ller", "Jörg Müller")
    shapes = face_of(stage).GetPrim().GetChildren()
    assert [shape.GetName() for shape in shapes] == ["jawOpen", "mouth_L__wer"]
    assert [shape.GetDisplayName() for shape in shapes] == ["", "mouth Löwer"]
    names = ["jawOpen", "mouth Löwer"]
    assert list(animation_of(stage).GetBlendShapesAttr().Get()) == names
    assert list(UsdSkel.BindingAPI(face_of(stage)).GetBlendShapesAttr().Get()) == names


def test_identifiers_are_different_and_valid_names_keep_theirs() -> None:
    assert identifiers(["a b", "a_b", "a-b", "1a"]) == ["a_b_2", "a_b", "a_b_3", "_a"]


def test_box_of_the_face_contains_every_frame(tmp_path: Path) -> None:
    take = curves_take(np.ones((2, 58), np.float32))
    turning = Take(take.motion, replace(take.native, head=np.ones((2, 3), np.float32)))
    for number, one in enumerate([take, turning]):
        path = export(one, tmp_path / f"{number}.usdc")
        stage = Usd.Stage.Open(str(path))
        low, high = np.array(UsdSkel.Root(stage.GetDefaultPrim()).GetExtentAttr().Get())
        frames = baked_frames(path)
        assert (frames >= low - 1e-6).all() and (frames <= high + 1e-6).all()
        assert (high - low < 2 * np.ptp(take.template, axis=0) + 0.2).all()


def test_sound_is_next_to_layers_and_inside_packages(tmp_path: Path, sound: Path) -> None:
    for suffix in ("usdc", "usda", "usdz"):
        path = export(small_take(), tmp_path / f"my face.{suffix}", sound=sound)
        stage = Usd.Stage.Open(str(path))
        asset = UsdMedia.SpatialAudio(stage.GetDefaultPrim().GetChild("Speech")).GetFilePathAttr()
        expected = "./speech.wav" if suffix == "usdz" else "./my face.wav"
        assert asset.Get().path == expected
    assert path.suffix == ".usdz"
    with zipfile.ZipFile(path) as package:
        assert package.namelist() == ["face.usdc", "speech.wav"]
        assert package.read("speech.wav") == sound.read_bytes()


def test_take_without_sound_has_no_sound_prim(tmp_path: Path) -> None:
    stage = Usd.Stage.Open(str(export(small_take(), tmp_path / "x.usdz")))
    assert not stage.GetDefaultPrim().GetChild("Speech")


@pytest.mark.parametrize("targets", ["units", "frames"])
@pytest.mark.parametrize("suffix", ["usdc", "usda", "usdz"])
def test_equal_takes_give_equal_bytes(
    suffix: str, targets: str, tmp_path: Path, sound: Path, time_zones: Callable[[str], None]
) -> None:
    take = head_take(6)
    files = []
    for zone in ("UTC", "Asia/Tokyo"):
        time_zones(zone)
        folder = tmp_path / zone[:3]
        folder.mkdir()
        files.append(export(take, folder / f"x.{suffix}", sound=sound, targets=targets))
    assert files[0].read_bytes() == files[1].read_bytes()


# Errors -------------------------------------------------------------------------------------------


def test_principal_shapes_are_refused(tmp_path: Path) -> None:
    reason = r"targets: 'basis' does not apply to USD files; use units, arkit or frames"
    with pytest.raises(SettingsError, match=reason):
        export(small_take(), tmp_path / "x.usdc", targets="basis")


@pytest.mark.parametrize("targets", ["units", "arkit"])
def test_face_without_units_is_refused(targets: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'pyramid' has no known units; set .*targets to frames"):
        export(Take(small_take().motion), tmp_path / "x.usdz", targets=targets)


def test_missing_package_names_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'usd-core>="):
        export(small_take(), tmp_path / "x.usdc")


def test_full_disk_is_the_error_of_python(tmp_path: Path) -> None:
    reason = os.strerror(errno.ENOSPC)
    with pytest.raises(OSError, match=reason) as caught, full_disk_is_reported(tmp_path / "x"):
        raise Tf.ErrorException(f"Error occurred writing file: {reason}")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "x"))
    with pytest.raises(Tf.ErrorException), full_disk_is_reported(tmp_path / "x"):
        raise Tf.ErrorException("something else")
