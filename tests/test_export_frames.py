"""Point caches and folders of meshes contain every vertex of every frame in order."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from geometry_exports import EXPORTERS, export
from takes import head_take, small_take

from codetalker_cli.export.take import Take
from codetalker_cli.formats.frames import MeshSequence, Pc2Frames
from codetalker_cli.formats.meshes import read_mesh_file
from codetalker_cli.formats.point_caches import read_pc2_header
from codetalker_cli.motion import VertexFrames


def all_vertices(take: Take) -> np.ndarray:
    return np.concatenate(list(take.blocks()))


def computed_on_demand(take: Take) -> Take:
    """Return the same take with vertices that are computed in blocks."""
    whole = take.motion.vertices
    frames = VertexFrames(*whole.shape[:2], lambda k: whole[k])
    return Take(replace(take.motion, vertices=frames), given_units=take.given_units)


def read_mdd(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the times and the (T, V, 3) vertices."""
    content = path.read_bytes()
    n_frames, n_vertices = struct.unpack_from(">ii", content)
    times = np.frombuffer(content, ">f4", n_frames, 8)
    vertices = np.frombuffer(content, ">f4", offset=8 + 4 * n_frames)
    return times, vertices.reshape(n_frames, n_vertices, 3)


@pytest.mark.parametrize("n_frames", [1, 7])
@pytest.mark.parametrize("unit", ["m", "mm"])
def test_pc2_contains_all_frames_in_meters(n_frames: int, unit: str, tmp_path: Path) -> None:
    take = small_take(n_frames, 23.976, unit)
    path = export(take, tmp_path / "Ä b.pc2")
    assert read_pc2_header(path) == (n_frames, 5, 1.0)
    frames = Pc2Frames(path, 5).read(np.arange(n_frames))
    np.testing.assert_array_equal(frames, all_vertices(take))
    assert unit == "m" or np.ptp(frames[0]) < 0.2  # the small face is 90 mm wide


@pytest.mark.parametrize("fps", [23.976, 25.0, 30.0, 60.0])
def test_mdd_contains_all_frames_and_their_times(fps: float, tmp_path: Path) -> None:
    take = small_take(9, fps)
    times, vertices = read_mdd(export(take, tmp_path / "x.mdd"))
    np.testing.assert_allclose(times, np.arange(9) / fps, rtol=1e-6)
    np.testing.assert_array_equal(vertices, all_vertices(take))


@pytest.mark.parametrize("suffix", [".pc2", ".mdd"])
def test_obj_next_to_a_cache_is_the_neutral_face(suffix: str, tmp_path: Path) -> None:
    take = head_take(1)
    path = export(take, tmp_path / f"face{suffix}")
    mesh = read_mesh_file(path.with_suffix(".obj"))
    np.testing.assert_allclose(mesh.vertices, take.template, atol=1e-8)
    np.testing.assert_array_equal(mesh.triangles, take.triangles)
    np.testing.assert_array_equal(mesh.colors, take.colors)


@pytest.mark.parametrize("kind", ["obj", "ply"])
def test_mesh_folder_contains_one_file_per_frame(kind: str, tmp_path: Path) -> None:
    take = head_take(3)
    folder = export(take, tmp_path / "Gesicht 1", kind)
    names = [f"0000{k}.{kind}" for k in (1, 2, 3)]
    assert sorted(path.name for path in folder.iterdir()) == names
    frames = MeshSequence(folder, 5370).read(np.arange(3))
    np.testing.assert_allclose(frames, all_vertices(take), atol=1e-8)
    mesh = read_mesh_file(folder / names[2])
    np.testing.assert_array_equal(mesh.triangles, take.triangles)
    if kind == "ply":
        np.testing.assert_array_equal(mesh.colors, take.colors)


def test_frame_numbers_of_long_takes_sort_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codetalker_cli.export.mesh_frames.MIN_DIGITS", 1)
    folder = export(small_take(12), tmp_path / "frames", "obj")
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"{k:02}.obj" for k in range(1, 13)]


@pytest.mark.parametrize("name", ["pc2", "mdd", "obj", "ply"])
def test_blocks_and_units_do_not_change_a_byte(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = small_take()
    streamed = computed_on_demand(take)
    monkeypatch.setattr("codetalker_cli.motion.BLOCK_BYTES", 120)
    assert [len(block) for block in streamed.blocks()] == [2, 2, 2, 1]
    written = []
    for number, one in enumerate([take, streamed, Take(take.motion)]):
        suffix = EXPORTERS[name].suffix
        path = export(one, tmp_path / f"{number}{suffix}", name)
        files = sorted(path.iterdir()) if path.is_dir() else [path, path.with_suffix(".obj")]
        written.append([file.read_bytes() for file in files])
    assert len(written[0]) == (2 if suffix else 7)
    assert written[0] == written[1] == written[2]
