"""Frames are read exactly and in little memory from each format, or refused with a clear error."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from custom_raw import (
    CLIPS,
    HEAD,
    N_VERTICES,
    motion,
    recorded,
    settings,
    write_motion,
    write_obj,
    write_pc2,
)
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from codetalker_cli.errors import CodeTalkerError, DataError, InputError
from codetalker_cli.formats.frames import (
    ConvertedFrames,
    FrameSource,
    MeshSequence,
    NpyFrames,
    Pc2Frames,
    axis_map,
    open_array,
)
from codetalker_cli.formats.point_caches import read_pc2_header

CLIP = CLIPS[0]
TRUTH = motion(CLIP)
LAYOUTS = {
    "npy3": NpyFrames,
    "npy2": NpyFrames,
    "pc2": Pc2Frames,
    "obj": MeshSequence,
    "ply": MeshSequence,
    "ply-ascii": MeshSequence,
    "glb": MeshSequence,
    "off": MeshSequence,
}
AXES = [
    f"{a}{x} {b}{y} {c}{z}"
    for x, y, z in ("xyz", "xzy", "yxz", "yzx", "zxy", "zyx")
    for a, b, c in (("", "", ""), ("-", "", "-"), ("", "-", ""))
]


def open_clip(folder: Path, layout: str) -> FrameSource:
    return LAYOUTS[layout](write_motion(folder, layout, CLIP), N_VERTICES)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_formats_contain_the_same_frames(tmp_path: Path, layout: str) -> None:
    with open_clip(tmp_path, layout) as frames:
        assert frames.numbers.tolist() == list(range(len(TRUTH)))
        every = frames.read(np.arange(len(TRUTH)))
        some = np.array([1, 4, 5, 19])
        np.testing.assert_array_equal(frames.read(some), every[some])
        assert frames.read(np.array([], dtype=int)).shape == (0, N_VERTICES, 3)
    np.testing.assert_allclose(every, TRUTH, rtol=1e-6, atol=1e-9)
    assert every.dtype == (np.float64 if LAYOUTS[layout] is MeshSequence else np.float32)
    assert type(every) is np.ndarray and every.flags.writeable  # a copy, not a memory map


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", ">f8"])
def test_arrays_of_all_float_types_are_read(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "c.npy", TRUTH.astype(dtype))
    read = NpyFrames(tmp_path / "c.npy", N_VERTICES).read(np.array([3]))
    assert read.dtype == (np.float64 if dtype.endswith("8") else np.float32)
    np.testing.assert_array_equal(read, TRUTH[3:4].astype(dtype))


def test_a_whole_array_is_memory_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "c.npy", TRUTH.reshape(len(TRUTH), -1))
    array = open_array(tmp_path / "c.npy", N_VERTICES)
    assert isinstance(array, np.memmap)
    np.testing.assert_array_equal(array, TRUTH)


MEASURE = """
import resource, sys
import numpy as np
from pathlib import Path
from codetalker_cli.formats.frames import NpyFrames, Pc2Frames
kind = Pc2Frames if sys.argv[1].endswith("pc2") else NpyFrames
def peak():  # kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with kind(Path(sys.argv[1]), 5000) as frames:
    frames.read(np.arange(20))
    before = peak()
    for start in range(0, len(frames.numbers), 20):
        frames.read(np.arange(start, start + 20))
print((peak() - before) // 1024)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is missing on Windows")
@pytest.mark.parametrize("suffix", ["npy", "pc2"])
def test_memory_does_not_grow_with_the_clip_length(tmp_path: Path, suffix: str) -> None:
    frames = np.zeros((2000, 5000, 3), np.float32)  # 120 MB
    path = tmp_path / f"long.{suffix}"
    if suffix == "npy":
        np.save(path, frames)
    else:
        write_pc2(path, frames)
    del frames
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 30, f"{done.stdout} MB more"


# Sequences of meshes ----------------------------------------------------------------------------


def sequence(folder: Path, *names: str) -> Path:
    for k, name in enumerate(names):
        write_obj(folder / name, HEAD * (1 + k), None)
    return folder


def test_the_last_number_in_a_file_name_is_the_frame_number(tmp_path: Path) -> None:
    names = ("take2_frame10.obj", "take2_frame9.obj", "take2_frame012.obj")
    frames = MeshSequence(sequence(tmp_path / "s", *names), N_VERTICES)
    assert frames.numbers.tolist() == [9, 10, 12]  # 11 is missing
    read = frames.read(np.arange(3))
    np.testing.assert_allclose(read[:, 0], np.array([2, 1, 3])[:, None] * HEAD[0], rtol=1e-6)


def test_other_files_in_the_folder_are_ignored(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "s", "f1.obj", "f2.OBJ")
    for name in ("._f1.obj", ".DS_Store", "f1.mtl", "notes.txt", "f3.npy"):
        (folder / name).write_bytes(b"\0\1")
    assert MeshSequence(folder, N_VERTICES).numbers.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("f1.obj", "g01.obj"), r"f1\.obj and g01\.obj are both frame 1"),
        (("f1.obj", "neutral.obj"), r"neutral\.obj: the name contains no frame number"),
        (("f1.obj", "f2.ply"), r"contains \.obj and \.ply files"),
        ((), r"contains no \.obj, \.ply, \.glb or \.off files"),
    ],
)
def test_ambiguous_mesh_sequences_are_refused(
    tmp_path: Path, names: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "s").mkdir()
    with pytest.raises(DataError, match=reason):
        MeshSequence(sequence(tmp_path / "s", *names), N_VERTICES)


def test_a_frame_with_another_vertex_count_is_named(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "s", "f1.obj", "f2.obj", "f3.obj", "f4.obj")
    write_obj(folder / "f3.obj", HEAD[1:], None)
    with MeshSequence(folder, N_VERTICES) as frames:
        frames.read(np.array([0, 1, 3]))
        with pytest.raises(DataError, match=r"f3\.obj: frame 3 has 25 vertices, expected 26"):
            frames.read(np.array([1, 2]))


def test_a_damaged_or_deleted_frame_is_named(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "s", "f1.obj", "f2.obj")
    frames = MeshSequence(folder, N_VERTICES)
    (folder / "f2.obj").write_text("v 0 0\n")
    with pytest.raises(DataError, match=r"f2\.obj: .*vertex 0 has 2 numbers"):
        frames.read(np.array([0, 1]))
    (folder / "f2.obj").unlink()
    with pytest.raises(InputError, match=r"f2\.obj: no such mesh file"):
        frames.read(np.array([1]))


# Invalid arrays and point caches ----------------------------------------------------------------


class Hostile:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.proof}",)


@pytest.mark.parametrize("as_npy", [True, False])
def test_python_objects_in_an_array_are_never_loaded(tmp_path: Path, as_npy: bool) -> None:
    proof, path = tmp_path / "proof", tmp_path / "c.npy"
    if as_npy:
        np.save(path, np.array([Hostile(proof)], dtype=object), allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps(Hostile(proof)))
    with pytest.raises(
        DataError, match=r"c\.npy: (contains Python objects|not a readable \.npy file)"
    ):
        NpyFrames(path, N_VERTICES)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (TRUTH[:, 1:], r"frames have 25 vertices, expected 26"),
        (TRUTH[:, 1:].reshape(len(TRUTH), -1), r"frames have 25 vertices, expected 26"),
        (TRUTH[0].ravel(), r"the array has shape \(78,\), expected \(frames, vertices, 3\)"),
        (TRUTH[:, :, :2], r"the array has shape \(20, 26, 2\), expected"),
        (TRUTH[:0], "contains no frames"),
        (TRUTH.astype(np.int32), "contains int32, expected float"),
        (TRUTH.astype(np.complex64), "contains complex64, expected float"),
        (np.asfortranarray(TRUTH), "stored in Fortran order"),
        (np.zeros(3, [("x", "f4")]), "expected float"),
    ],
)
def test_arrays_that_are_not_frames_are_refused(
    tmp_path: Path, array: np.ndarray, reason: str
) -> None:
    np.save(tmp_path / "c.npy", array)
    with pytest.raises(DataError, match=rf"c\.npy: .*{reason}") as caught:
        NpyFrames(tmp_path / "c.npy", N_VERTICES)
    assert "\n" not in str(caught.value)


def npy_of(shape: str, content: bytes = b"") -> bytes:
    """Return a .npy file of format 1.0 with any text as the shape in its header."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (f"(-1, {N_VERTICES}, 3)", "its header is damaged"),
        (f"(-20, -{N_VERTICES}, 3)", "its header is damaged"),
        (f"(20, -{3 * N_VERTICES})", "its header is damaged"),
        (f"(True, {N_VERTICES}, 3)", "its header is damaged"),
        (f"({10**25}, {N_VERTICES}, 3)", "its header is damaged"),
        (f"({2**62}, {N_VERTICES}, 3)", "its header is damaged"),
        (f"(20, {N_VERTICES}, {2**64 + 3})", "its header is damaged"),
        (f"({'9' * 4000}, {N_VERTICES}, 3)", "its header is damaged"),
        (f"({10**9}, {N_VERTICES}, 3)", "cut short: it contains only 20 of 1000000000 frames"),
        ("(" + "1, " * 3000 + ")", "the array has 3000 dimensions, expected"),
        ("(" * 500, "not a readable .npy file"),
        (f"{'-' * 5000}1", "not a readable .npy file"),
        ("(20, 26, 3), []: 1", "not a readable .npy file"),
        ("(20, 26, 3)}\n  a\n b", "not a readable .npy file"),
        ("'" + "x" * 20_000 + "'", "not a readable .npy file"),
    ],
)
def test_an_invalid_header_is_refused_in_one_line(tmp_path: Path, shape: str, reason: str) -> None:
    path, content = tmp_path / "c.npy", TRUTH.astype("<f4").tobytes()
    path.write_bytes(npy_of(shape, content))
    with pytest.raises(DataError, match=rf"c\.npy: .*{reason}") as caught:
        NpyFrames(path, N_VERTICES)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < len(str(path)) + 300
    path.write_bytes(npy_of(f"(20, {N_VERTICES}, 3)", content))
    np.testing.assert_allclose(NpyFrames(path, N_VERTICES).read(np.arange(20)), TRUTH, rtol=1e-6)


def test_a_truncated_array_is_reported_with_its_frame_count(tmp_path: Path) -> None:
    path = write_motion(tmp_path, "npy3", CLIP)
    frames = NpyFrames(path, N_VERTICES)
    path.write_bytes(path.read_bytes()[: 128 + 7 * N_VERTICES * 12 + 5])
    for read in (lambda: NpyFrames(path, N_VERTICES), lambda: frames.read(np.array([0]))):
        with pytest.raises(DataError, match="cut short: it contains only 7 of 20 frames"):
            read()
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match=r"not a readable \.npy file"):
        NpyFrames(path, N_VERTICES)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"not a readable \.npy file"):
        NpyFrames(path, N_VERTICES)
    path.unlink()
    with pytest.raises(InputError, match="no such file"):
        NpyFrames(path, N_VERTICES)


@pytest.mark.parametrize("step", [1.0, 2.0, 0.5])
def test_the_sampling_of_a_point_cache_is_read(tmp_path: Path, step: float) -> None:
    path = write_pc2(tmp_path / "c.pc2", TRUTH, step)
    assert read_pc2_header(path) == (len(TRUTH), N_VERTICES, step)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c[:-1], r"contains 19\.\d+ frames of 26 points, but the header gives 20"),
        (lambda c: c + c[-24:], r"contains 20\.\d+ frames of 26 points, but the header gives 20"),
        (lambda c: c[:20], "not a point cache"),
        (lambda c: b"P" + c, "not a point cache"),
        (lambda c: c[:12] + b"\2" + c[13:], "has version 2, expected 1"),
        (lambda c: c[:16] + bytes(4) + c[20:], r"is empty \(20 frames of 0 points\)"),
        (lambda c: c[:28] + b"\xff" * 4, r"is empty \(-1 frames of 26 points\)"),
        (lambda c: c[:24] + np.float32(30).tobytes() + c[28:], "sample per 30 scene"),
        (lambda c: c[:24] + np.float32(np.nan).tobytes() + c[28:], "sample per nan scene"),
    ],
)
def test_a_damaged_point_cache_is_refused(tmp_path: Path, change: object, reason: str) -> None:
    path = write_pc2(tmp_path / "c.pc2", TRUTH)
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(DataError, match=rf"c\.pc2: .*{reason}"):
        Pc2Frames(path, N_VERTICES)


def test_a_point_cache_with_another_vertex_count_or_no_file_is_refused(tmp_path: Path) -> None:
    path = write_pc2(tmp_path / "c.pc2", TRUTH)
    with pytest.raises(DataError, match="frames have 26 vertices, expected 25"):
        Pc2Frames(path, 25)
    frames = Pc2Frames(path, N_VERTICES)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"c\.pc2: cannot be read"):
        frames.read(np.array([0]))
    with pytest.raises(InputError, match="no such file"):
        Pc2Frames(tmp_path / "none.pc2", N_VERTICES)


# Unit and axes ----------------------------------------------------------------------------------


@given(st.sampled_from(AXES), st.sampled_from(["m", "cm", "mm"]))
def test_unit_and_axes_are_converted_to_ours(axes: str, unit: str) -> None:
    scale = {"m": 1.0, "cm": 0.01, "mm": 0.001}[unit]
    change = axis_map(axes, scale)
    raw = recorded(TRUTH, unit, axes)
    np.testing.assert_allclose(change.apply(raw), TRUTH, rtol=1e-12, atol=1e-15)
    assert change.apply(raw.astype(np.float32)).dtype == np.float32
    assert change.is_identity == (axes == "x y z" and unit == "m")


def test_axis_map_of_a_recording_with_z_up() -> None:
    """A face recorded with z up that looks along -y looks along our z."""
    change = axis_map("x z -y")
    assert change.apply(np.array([0.0, -1.0, 0.0])).tolist() == [0.0, 0.0, 1.0]
    assert change.apply(np.array([0.0, 0.0, 2.0])).tolist() == [0.0, 2.0, 0.0]


def test_converted_frames_have_our_unit_and_axes(tmp_path: Path) -> None:
    path = write_motion(tmp_path, "npy3", CLIP, "mm", "-y z x")
    with ConvertedFrames(NpyFrames(path, N_VERTICES), axis_map("-y z x", 0.001)) as frames:
        assert frames.numbers.tolist() == list(range(len(TRUTH)))
        read = frames.read(np.array([2, 7]))
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, TRUTH[[2, 7]], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "axes", ["", "x y", "x y y", "x y w", "x y z z", "xyz", "x y --z", "X Y Z", "x y -Z", "x y +z"]
)
def test_invalid_axes_are_refused(axes: str) -> None:
    message = "must name each of x, y and z once"
    with pytest.raises(InputError, match=message):
        axis_map(axes)
    with pytest.raises(ValidationError, match=message):  # the settings validate axes too
        settings(axes=axes)


@given(st.permutations(["x", "y", "z"]), st.sampled_from(["", "-", "--", "+", " ", "Z", "z"]))
def test_settings_and_axis_map_accept_the_same_axes(names: list[str], odd: str) -> None:
    axes = f"{names[0]}\t{odd}{names[1]} {names[2].upper() if odd == 'Z' else names[2]} "
    for take, refusal in (
        (axis_map, InputError),
        (lambda text: settings(axes=text), ValidationError),
    ):
        if sorted(word.removeprefix("-") for word in axes.split()) == ["x", "y", "z"]:
            take(axes)
        else:
            with pytest.raises(refusal):
                take(axes)


@given(st.binary(max_size=200), st.sampled_from(["npy", "pc2"]), st.booleans())
def test_random_bytes_are_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str, headed: bool
) -> None:
    head = {"npy": b"\x93NUMPY\x01\x00", "pc2": b"POINTCACHE2\0\1\0\0\0"}[suffix]
    path = tmp_path_factory.getbasetemp() / f"any.{suffix}"
    path.write_bytes(head * headed + content)
    kind = NpyFrames if suffix == "npy" else Pc2Frames
    with pytest.raises(CodeTalkerError, match=rf"any\.{suffix}: ") as caught:
        kind(path, N_VERTICES)
    assert "\n" not in str(caught.value)
