"""Exports of bad motions, curves and units, and into places that must not change."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import run, succeed
from takes import head_take, small_take

import codetalker_cli as ct
from codetalker_cli.errors import CodeTalkerError, DataError, InputError
from codetalker_cli.export import FORMATS
from codetalker_cli.motion import Motion
from codetalker_cli.topology import Topology

SUFFIXES = FORMATS.suffixes
STORED = ("npz", "npy")
"""Formats that store a motion as it is."""


@pytest.fixture(autouse=True)
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def names() -> list[str]:
    return sorted(p.name for p in Path().iterdir())


def broken(motion: Motion, value: float) -> Motion:
    vertices = np.array(motion.vertices)
    vertices[1, 17, 2] = value
    return replace(motion, vertices=vertices)


@pytest.mark.parametrize("name", [name for name in SUFFIXES if name not in STORED])
@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_no_format_stores_a_vertex_that_is_not_finite(name: str, value: float) -> None:
    with pytest.raises(DataError, match=r"vertex 17 of frame 1 is NaN or infinite"):
        ct.export(broken(head_take(3).motion, value), f"a{SUFFIXES[name]}", format=name)
    assert names() == []


@pytest.mark.parametrize("name", [name for name in SUFFIXES if name not in STORED])
def test_motion_without_frames_is_refused(name: str) -> None:
    motion = head_take(3).motion
    with pytest.raises(DataError, match="the motion has no frames"):
        ct.export(replace(motion, vertices=motion.vertices[:0]), f"a{SUFFIXES[name]}", format=name)
    assert names() == []


@pytest.mark.parametrize("name", ["glb", "usdc", "abc", "pc2", "ply"])
def test_mesh_without_triangles_is_refused(name: str) -> None:
    motion = small_take().motion
    points = Topology("points", np.zeros((0, 3), np.int32), 5, "mm")
    settings = {"targets": "frames"} if name in ("glb", "usdc") else {}
    with pytest.raises(DataError, match="has no triangles"):
        ct.export(replace(motion, topology=points), f"a{SUFFIXES[name]}", format=name, **settings)
    assert names() == []


@pytest.mark.parametrize("name", ["glb", "csv", "anim"])
def test_template_that_is_not_finite_is_refused(name: str) -> None:
    motion = head_take(3).motion
    template = np.where(np.arange(5370)[:, None] == 3, np.nan, motion.template)
    with pytest.raises(DataError, match="neutral face contains NaN"):
        ct.export(replace(motion, template=template), f"a{SUFFIXES[name]}", format=name)


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": np.array([[np.nan]])},
        {"weights": np.zeros(3)},
        {"weights": [["a"]]},
        {"weights": None},
        {"names": None},
        {"names": "jawOpen"},
        {"names": ("a", "b")},
        {"fps": None},
        {"fps": np.nan},
        {"fps": "fast"},
        {"head": np.full((2, 3), np.inf)},
        {"head": np.zeros(3)},
        {"audio_path": 5},
    ],
)
def test_invalid_rig_curves_are_refused(changes: dict[str, Any]) -> None:
    good: dict[str, Any] = {"names": ("jawOpen",), "fps": 30, "weights": np.zeros((2, 1))}
    with pytest.raises(CodeTalkerError):
        ct.RigCurves(**good | changes)


def test_rig_curves_accept_lists_and_numbers_of_numpy() -> None:
    curves = ct.RigCurves(["jawOpen"], np.float32(30), [[0], [1]])  # type: ignore[arg-type]
    assert curves.weights.dtype == np.float32 and curves == curves and hash(curves)
    ct.export(curves, "a.glb")


@pytest.mark.parametrize(
    ("unit_names", "deltas"),
    [
        (("a",), np.full((1, 5, 3), np.nan)),
        (("a",), np.zeros((1, 5, 2))),
        (("a", "b"), np.zeros((1, 5, 3))),
        (("a", "a"), np.zeros((2, 5, 3))),
        ((), np.zeros((0, 5, 3))),
        (None, np.zeros((1, 5, 3))),
        (("a",), [["x"]]),
        (tuple(map(str, range(1001))), np.zeros((1001, 1, 3))),
    ],
)
def test_invalid_units_are_refused(unit_names: Any, deltas: Any) -> None:
    with pytest.raises(InputError, match="units"):
        ct.UnitSet(unit_names, deltas)


def test_names_of_units_can_be_written_as_text() -> None:
    take = small_take()
    units = ct.UnitSet(("\ud800a", "b"), take.units.deltas.astype(np.float64))
    for suffix in (".glb", ".usda", ".usdz"):
        ct.export(take.motion, f"a{suffix}", units=units)


@pytest.mark.parametrize(
    "options",
    [
        {"path": None},
        {"path": 5},
        {"path": "a\0b.glb"},
        {"path": f"{'x' * 300}.glb"},
        {"path": "a\nb.usda"},
        {"path": "."},
        {"format": 5},
        {"units": [1]},
        {"units": 5},
        {"solve": {"l2": 1}},
        {"motion": None},
    ],
)
def test_arguments_of_wrong_types_are_named(options: dict[str, Any]) -> None:
    given: dict[str, Any] = {"motion": head_take(2).motion, "path": "a.glb"} | options
    with pytest.raises(InputError):
        ct.export(given.pop("motion"), given.pop("path"), **given)
    assert names() == []


@pytest.mark.parametrize("wrong", [None, 5, "a"])
def test_other_functions_name_wrong_types_too(wrong: Any) -> None:
    with pytest.raises(InputError):
        ct.solve_curves(wrong)
    with pytest.raises(InputError):
        ct.solve_curves(head_take(2).motion, 5 if wrong is None else wrong)
    with pytest.raises(InputError):
        ct.read_curves(wrong)


@pytest.mark.parametrize(
    "setting",
    ["solve.symmetry=1e20", "solve.smoothness=1e308", "export.basis_error_mm=1e200",
     "solve.exclusive=[[jawOpen, jawOpen]]", "solve.lips=0"],
)  # fmt: skip
def test_settings_that_no_face_needs_are_refused(setting: str) -> None:
    head_take(2).motion.save("a.npz")
    ended = run("export", "a.npz", "-o", "a.glb", "--targets", "basis", "--set", setting)
    assert ended.code == 2 and names() == ["a.npz"]


# Places -------------------------------------------------------------------------------------------


def test_folders_with_anything_but_our_frames_are_kept() -> None:
    motion = head_take(2).motion
    for content in ("scan.obj", "song.wav", "0001.obj", "deep.obj/thesis.txt"):
        folder = Path(content.replace("/", "_").replace(".", "_"))
        (folder / content).parent.mkdir(parents=True)
        (folder / content).write_text("mine")
        with pytest.raises(InputError, match="is not a frame"):
            ct.export(motion, folder, format="obj")
        assert (folder / content).read_text() == "mine"
    ct.export(motion, "frames", format="obj")
    ct.export(head_take(1).motion, "frames", format="obj")
    assert [p.name for p in Path("frames").iterdir()] == ["00001.obj"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("m.npz", "--units", "u.glb", "-o", "u.glb"),
        ("v.npy", "--mesh", "face.obj", "--fps", "30", "-o", "face.pc2"),
        ("d/t.csv", "-o", "link/t.csv"),
        ("d/t.csv", "-o", "d/t.npz", "--audio", "d/t.npz"),
    ],
)
def test_inputs_are_never_replaced(arguments: tuple[str, ...]) -> None:
    take = head_take(2)
    take.motion.save("m.npz")
    np.save("v.npy", take.motion.vertices)
    ct.write_mesh("face.obj", take.template, take.triangles)
    Path("d").mkdir()
    Path("link").symlink_to("d")
    ct.export(take.motion, "d/t.csv")
    ct.export(take.motion, "u.glb")
    Path("d/t.npz").write_bytes(b"sound")
    before = {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()}
    assert run("export", *arguments, "--overwrite").code == 2
    assert {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()} == before


def test_links_to_missing_files_exist() -> None:
    head_take(2).motion.save("m.npz")
    for suffix in (".glb", ".usdz"):
        os.symlink("gone", f"o{suffix}")
        assert run("export", "m.npz", "-o", f"o{suffix}").code == 2
        assert Path(f"o{suffix}").is_symlink()


def test_folder_can_be_exported_again_and_to_another_format() -> None:
    Path("d").mkdir()
    head_take(2).motion.save("d/a.npz")
    assert succeed("export", "d", "--format", "csv") == "1 exported\n"
    again = succeed("export", "d", "--format", "csv")
    assert again == "0 exported, 1 skipped (already exported)\n"
    assert succeed("export", "d", "--format", "glb") == "1 exported\n"


@pytest.mark.parametrize(
    "samples",
    [np.zeros(8000), np.full(1000, 0.1), np.sin(np.arange(16000) / 9) * 1.5, np.zeros(0)],
    ids=["silent", "short", "clipped", "empty"],
)
def test_own_sound_is_recognized(samples: np.ndarray) -> None:
    motion = head_take(3, audio=samples.astype(np.float32)).motion
    for _ in range(2):
        ct.export(motion, "a.csv")
    assert Path("a.wav").exists() == (len(samples) > 0)


def test_sound_that_is_not_a_file_is_named() -> None:
    Path("a.wav").mkdir()
    with pytest.raises(InputError, match=r"a\.wav is not a file"):
        ct.export(head_take(3, audio=np.ones(900, np.float32)).motion, "a.csv")


def test_archive_with_other_files_is_refused() -> None:
    import zipfile

    small_take().motion.save("m.npz")
    with zipfile.ZipFile("m.npz", "a") as archive:
        archive.writestr("readme.txt", "hello")
    ended = run("export", "m.npz", "-o", "a.abc")
    assert ended.code in (1, 2) and "readme.txt" in ended.err


@pytest.mark.parametrize("fps", ["0.01", "1000", "-1", "nan"])
def test_frame_rates_are_limited_for_all_inputs(fps: str) -> None:
    ct.export(head_take(2).motion, "a.csv")
    ended = run("export", "a.csv", "-o", "a.glb", "--fps", fps)
    assert ended.code == 2 and "--fps" in ended.err
