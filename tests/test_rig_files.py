"""Recordings of rig weights (.csv) and Audio2Face exports (.json): written, read and damaged."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from takes import head_take, smooth_weights

from codetalker_cli.errors import CodeTalkerError, DataError, InputError
from codetalker_cli.formats import audio2face, live_link
from codetalker_cli.formats.arkit_names import UNITS
from codetalker_cli.formats.rig_files import read_curves
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.units import bundled_rig

ONE_FILE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def recording(n_frames: int = 12, fps: float = 30.0, **other: object) -> RigCurves:
    """Return curves of all 52 units with random weights."""
    return RigCurves(UNITS, fps, smooth_weights(n_frames, 52), **other)  # type: ignore[arg-type]


def written(path: Path, curves: RigCurves) -> list[list[str]]:
    """Write a recording and return its cells."""
    live_link.write(path, curves)
    return [line.split(",") for line in path.read_text("utf-8").splitlines()]


def save(path: Path, rows: list[list[str]]) -> Path:
    path.write_text("".join(",".join(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_a_curve_of_one_unit_survives(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"take{suffix}"
    curves = RigCurves(UNITS, 30.0, np.eye(52, dtype=np.float32))
    (live_link if suffix == ".csv" else audio2face).write(path, curves)
    read = read_curves(path)
    assert set(read.names) == set(ARKIT_UNITS)
    np.testing.assert_array_equal(read.select(UNITS).weights, np.eye(52))


@pytest.mark.parametrize("fps", [23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 59.94, 60.0])
@pytest.mark.parametrize("n_frames", [2, 3, 700])
def test_weights_and_frame_rates_survive(tmp_path: Path, fps: float, n_frames: int) -> None:
    head = np.random.default_rng(0).normal(0, 0.2, (n_frames, 3)).astype(np.float32)
    curves = recording(n_frames, fps, head=head)
    live_link.write(tmp_path / "a.csv", curves)
    audio2face.write(tmp_path / "a.json", curves)
    for name in ("a.csv", "a.json"):
        read = read_curves(tmp_path / name)
        assert read.fps == fps
        np.testing.assert_allclose(read.select(UNITS).weights, curves.weights, atol=1e-6)
    np.testing.assert_allclose(read_curves(tmp_path / "a.csv").head, head, atol=1e-6)


def test_the_layout_is_that_of_the_app(tmp_path: Path) -> None:
    rows = written(tmp_path / "a.csv", recording(20, 30.0))
    assert rows[0][:3] == ["Timecode", "BlendshapeCount", "EyeBlinkLeft"]
    assert rows[0][16:20] == ["JawForward", "JawRight", "JawLeft", "JawOpen"]
    assert len(rows[0]) == 63
    assert [row[0] for row in rows[1:4]] == [f"00:00:00:0{n}.000" for n in (0, 2, 4)]
    assert {row[1] for row in rows[1:]} == {"61"}
    assert all(len(cell.split(".")[1]) == 10 for cell in rows[1][2:])
    assert b"\r" not in (tmp_path / "a.csv").read_bytes()


@pytest.mark.parametrize("n_frames", [1, 2, 8, 15, 16, 17, 31])
def test_unreal_recognizes_that_timecodes_count_to_60(tmp_path: Path, n_frames: int) -> None:
    # Its importer counts them to 30 unless a number of frames is above 30.
    rows = written(tmp_path / "a.csv", recording(n_frames, 30.0))
    frames = [float(row[0].rpartition(":")[2]) for row in rows[1:]]
    seconds = [60 * int(row[0][6:8]) for row in rows[1:]]
    assert max(frames) > 30
    np.testing.assert_allclose(np.diff(np.add(frames, seconds)), 2)


def test_timecodes_count_to_60_at_23_976_fps(tmp_path: Path) -> None:
    rows = written(tmp_path / "a.csv", recording(25, 23.976))
    assert rows[24][0] == "00:00:00:57.558"
    assert rows[25][0] == "00:00:01:00.060"


def test_eye_angles_are_those_of_the_bundled_head() -> None:
    rig = bundled_rig()
    measured = {}
    for look in live_link.EYE_RADIANS:
        for side in ("Left", "Right"):
            start, stop = rig.topology.parts[f"eye_{side.lower()}"]
            rest = rig.neutral[start:stop] - rig.neutral[start:stop].mean(0)
            turned = rest + rig.unit_deltas[rig.unit_names.index(look + side), start:stop]
            u, _, v = np.linalg.svd(rest.T @ (turned - turned.mean(0)))
            forward = (u @ v)[2]  # the rotated +z
            measured[look + side] = np.arccos(forward[2])
    for name, angle in measured.items():
        assert (
            abs(angle - live_link.EYE_RADIANS[name.removesuffix("Left").removesuffix("Right")])
            < 1e-3
        )
    assert measured


@pytest.mark.parametrize(
    ("unit", "column", "sign"),
    [
        ("eyeLookInLeft", "LeftEyeYaw", 1),
        ("eyeLookOutLeft", "LeftEyeYaw", -1),
        ("eyeLookInRight", "RightEyeYaw", -1),
        ("eyeLookOutRight", "RightEyeYaw", 1),
        ("eyeLookDownLeft", "LeftEyePitch", 1),
        ("eyeLookUpRight", "RightEyePitch", -1),
    ],
)
def test_eyes_turn_as_in_recordings_of_the_app(
    tmp_path: Path, unit: str, column: str, sign: int
) -> None:
    weights = np.zeros((1, 52), np.float32)
    weights[0, UNITS.index(unit)] = 1
    rows = written(tmp_path / "a.csv", RigCurves(UNITS, 30.0, weights))
    angles = dict(zip(rows[0], rows[1], strict=True))
    assert sign * float(angles[column]) > 0.15
    others = [name for name in live_link.EYES if name != column]
    assert all(float(angles[name]) == 0 for name in others)


def test_a_turn_to_the_subjects_left_is_a_negative_yaw(tmp_path: Path) -> None:
    head = np.array([[0.3, 0.2, 0.1]] * 2, np.float32)
    rows = written(tmp_path / "a.csv", recording(2, head=head))
    assert [cell[:5] for cell in rows[1][54:57]] == ["-0.30", "0.200", "0.100"]


# Other programs ----------------------------------------------------------------------------------


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    curves = recording(5)
    rows = written(tmp_path / "a.csv", curves)
    order = [0, 1, *sorted(range(2, 54), key=lambda k: rows[0][k])]
    alphabetical = [[row[k] for k in order] for row in rows]
    spellings = {
        "alphabetical": alphabetical,
        "camel case": [[name[0].lower() + name[1:] for name in rows[0]], *rows[1:]],
        "upper case": [[name.upper() for name in rows[0]], *rows[1:]],
        "sides": [
            [n.replace("BlinkLeft", "Blink_L").replace("SmileRight", "Smile_R") for n in rows[0]],
            *rows[1:],
        ],
        "a2f": [
            ["timeCode", *(f"blendShapes.{name}" for name in rows[0][2:54])],
            *([str(k / 30), *row[2:54]] for k, row in enumerate(rows[1:])),
        ],
    }
    for name, table in spellings.items():
        read = read_curves(save(tmp_path / "b.csv", table))
        assert read.fps == 30, name
        np.testing.assert_allclose(read.select(UNITS).weights, curves.weights, atol=1e-6)


def test_missing_columns_are_0(tmp_path: Path) -> None:
    rows = written(tmp_path / "a.csv", recording(4))
    tongue = rows[0].index("TongueOut")
    read = read_curves(save(tmp_path / "b.csv", [row[:tongue] for row in rows]))
    assert read.head is None
    assert not read.weights[:, read.names.index("tongueOut")].any()
    assert read.weights[:, read.names.index("jawOpen")].any()


def test_frames_without_a_face_are_interpolated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    curves = RigCurves(
        UNITS, 30.0, np.linspace(0, 0.9, 10, dtype=np.float32)[:, None].repeat(52, 1)
    )
    rows = written(tmp_path / "a.csv", curves)
    for line in (1, 4, 5):
        rows[line] = [rows[line][0], "0"]
    with caplog.at_level(logging.WARNING):
        read = read_curves(save(tmp_path / "b.csv", rows))
    expected = np.linspace(0, 0.9, 10)
    expected[0] = expected[1]
    np.testing.assert_allclose(read.weights[:, 0], expected, atol=1e-6)
    assert "3 frames without a face were interpolated" in caplog.text


@pytest.mark.parametrize("base", [24, 25, 30, 60])
def test_frames_counted_to_another_number_are_understood(tmp_path: Path, base: int) -> None:
    curves = recording(3 * base, float(base))
    rows = written(tmp_path / "a.csv", curves)
    for k, row in enumerate(rows[1:]):
        row[0] = (
            f"10:59:{58 + k // base:02d}:{k % base:02d}"
            if k < 2 * base
            else (f"11:00:00:{k % base:02d}")
        )
    read = read_curves(save(tmp_path / "b.csv", rows))
    assert read.fps == base
    np.testing.assert_allclose(read.select(UNITS).weights, curves.weights, atol=1e-6)


def test_dropped_frames_keep_the_others_in_time(tmp_path: Path) -> None:
    curves = RigCurves(UNITS, 60.0, np.linspace(0, 1, 200, dtype=np.float32)[:, None].repeat(52, 1))
    rows = written(tmp_path / "a.csv", curves)
    kept = [rows[0], *(row for k, row in enumerate(rows[1:]) if k % 7 and k not in (50, 51, 52))]
    read = read_curves(save(tmp_path / "b.csv", kept))
    assert read.fps == 60
    np.testing.assert_allclose(read.weights[:, 0], curves.weights[1:, 0], atol=1e-6)


def test_three_rows_at_unequal_distances_are_read(tmp_path: Path) -> None:
    rows = [["time", "jawOpen"], ["0", "0"], ["0.1", "0.1"], ["1.1", "1"]]
    read = read_curves(save(tmp_path / "a.csv", rows))
    assert (round(read.fps, 6), read.n_frames) == (10, 12)


def test_a_slightly_wrong_clock_does_not_accumulate(tmp_path: Path) -> None:
    # A public take has 59.907 rows a second. At 59.94 fps, 20 minutes would drift by 0.7 s.
    times = np.arange(6000) / 59.907
    rows = [["Timecode", "JawOpen"], *([f"{t:.6f}", f"{t / 101:.8f}"] for t in times)]
    read = read_curves(save(tmp_path / "a.csv", rows))
    assert read.fps == 59.94
    jaw = read.weights[:, read.names.index("jawOpen")]
    np.testing.assert_allclose(jaw[:-1], np.arange(len(jaw) - 1) / 59.94 / 101, atol=1e-5)


# The times of the first rows of two public takes, of 2021 and 2024.
PUBLIC = {
    30.0: """13:13:04:31.652 13:13:04:33.651 13:13:04:35.651 13:13:04:37.651 13:13:04:39.650
        13:13:04:41.650 13:13:04:43.650 13:13:04:45.650 13:13:04:47.649 13:13:04:49.649
        13:13:04:51.649 13:13:04:53.649 13:13:04:55.648 13:13:04:57.648 13:13:04:59.648
        13:13:05:01.648 13:13:05:03.647 13:13:05:05.647 13:13:05:07.647""",
    59.94: """19:16:30:36.370 19:16:30:37.371 19:16:30:38.373 19:16:30:39.374 19:16:30:40.376
        19:16:30:41.378 19:16:30:42.379 19:16:30:43.381 19:16:30:44.382 19:16:30:45.384
        19:16:30:46.386 19:16:30:47.388 19:16:30:48.389 19:16:30:49.390 19:16:30:50.393""",
}


@pytest.mark.parametrize("fps", PUBLIC)
def test_frame_rates_of_public_takes(tmp_path: Path, fps: float) -> None:
    rows = [[time, str(k / 100)] for k, time in enumerate(PUBLIC[fps].split())]
    read = read_curves(save(tmp_path / "a.csv", [["Timecode", "JawOpen"], *rows]))
    assert (read.fps, read.n_frames) == (fps, len(rows))
    jaw = read.weights[:, read.names.index("jawOpen")]
    np.testing.assert_allclose(jaw, np.arange(len(rows)) / 100, atol=1e-6)


def test_a_take_continues_over_midnight(tmp_path: Path) -> None:
    rows = written(tmp_path / "a.csv", recording(120, 30.0))
    for k, row in enumerate(rows[1:]):
        row[0] = (
            f"23:59:{58 + k // 30}:{k % 30 * 2:02d}.000"
            if k < 60
            else (f"00:00:{k // 30 - 2:02d}:{k % 30 * 2:02d}.000")
        )
    read = read_curves(save(tmp_path / "b.csv", rows))
    assert (read.fps, read.n_frames) == (30, 120)


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_weights_outside_of_0_to_1_are_clipped(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    weights = np.zeros((3, 52), np.float32)
    weights[0, 0], weights[2, 1] = 1.25, -0.5
    path = tmp_path / f"a{suffix}"
    (live_link if suffix == ".csv" else audio2face).write(path, RigCurves(UNITS, 30.0, weights))
    with caplog.at_level(logging.WARNING):
        read = read_curves(path).select(UNITS).weights
    assert (read[0, 0], read[2, 1]) == (1, 0)
    assert "were clipped" in caplog.text


def test_one_frame_is_read(tmp_path: Path) -> None:
    for name, module in (("a.csv", live_link), ("a.json", audio2face)):
        module.write(tmp_path / name, recording(1))
        assert read_curves(tmp_path / name).n_frames == 1


def test_a_table_without_times_needs_a_frame_rate(tmp_path: Path) -> None:
    rows = [["jawOpen", "tongueOut"], *([f"{k / 10}", "0"] for k in range(9))]
    path = save(tmp_path / "a.csv", rows)
    with pytest.raises(InputError, match="give `fps`"):
        read_curves(path)
    read = read_curves(path, 37.0)
    assert (read.fps, read.n_frames) == (37, 9)


def test_the_sound_with_the_name_of_a_file_belongs_to_it(tmp_path: Path) -> None:
    live_link.write(tmp_path / "Löwe 1.csv", recording(2))
    audio2face.write(tmp_path / "Löwe 1.json", recording(2))
    for name in ("Löwe 1.csv", "Löwe 1.json"):
        assert read_curves(tmp_path / name).audio_path is None
    (tmp_path / "Löwe 1.wav").touch()
    for name in ("Löwe 1.csv", "Löwe 1.json"):
        assert read_curves(tmp_path / name).audio_path == tmp_path / "Löwe 1.wav"


def test_the_track_that_a_file_names_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "x.wav").touch()
    (tmp_path / "in" / "x.wav").touch()
    for name in ("../x.wav", str(tmp_path / "x.wav"), "C:\\x.wav", "x.wav", ""):
        audio2face.write(tmp_path / "in" / "a.json", recording(2), name)
        assert read_curves(tmp_path / "in" / "a.json").audio_path is None


def test_unknown_columns_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        ["Timecode", "JawOpn", "MouthClose", "LeftEyeYaw"],
        *([f"00:00:00:{k:02}.000", "0.5", "0.1", "0"] for k in range(0, 20, 2)),
    ]
    read_curves(save(tmp_path / "a.csv", rows))
    assert [m for m in caplog.messages if "JawOpn" in m and "LeftEyeYaw" not in m]


def test_semicolons_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Timecode;JawOpen\n00:00:00:00.000;0,5\n")
    with pytest.raises(DataError, match="separated by semicolons, expected commas"):
        read_curves(tmp_path / "a.csv")


# Damage ------------------------------------------------------------------------------------------


def broken_cell(rows: list[list[str]]) -> list[list[str]]:
    rows[3][7] = "0.1x"
    return rows


def empty_cell(rows: list[list[str]]) -> list[list[str]]:
    rows[3][7] = ""
    return rows


def nan_cell(rows: list[list[str]]) -> list[list[str]]:
    rows[3][7] = "nan"
    return rows


def cut_row(rows: list[list[str]]) -> list[list[str]]:
    return [*rows[:4], rows[4][:20]]


def bad_time(rows: list[list[str]]) -> list[list[str]]:
    rows[3][0] = "00:00:61:00.000"
    return rows


def no_face(rows: list[list[str]]) -> list[list[str]]:
    return [rows[0], *([row[0], "0"] for row in rows[1:])]


def no_units(rows: list[list[str]]) -> list[list[str]]:
    return [["a", "b"], ["1", "2"]]


def far_apart(rows: list[list[str]]) -> list[list[str]]:
    rows[-1][0] = "09:00:00:00.000"
    return rows


def twice(rows: list[list[str]]) -> list[list[str]]:
    rows[0][7] = rows[0][8]
    return rows


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (broken_cell, r"line 4, column EyeSquintLeft: '0.1x' is not a number"),
        (empty_cell, r"line 4, column EyeSquintLeft: '' is not a number"),
        (nan_cell, r"line 4, column EyeSquintLeft: 'nan' is not a number"),
        (cut_row, r"line 5: the row has 20 cells, expected 63"),
        (bad_time, r"line 4: the time is not valid"),
        (no_face, r"no frame contains a face"),
        (no_units, r"the first line names no ARKit unit"),
        (far_apart, r"remove the gaps"),
        (twice, r"is listed twice"),
    ],
)
def test_a_damaged_recording_gets_one_line(tmp_path: Path, damage: object, message: str) -> None:
    rows = written(tmp_path / "a.csv", recording(9))
    with pytest.raises(DataError, match=message) as caught:
        read_curves(save(tmp_path / "b.csv", damage(rows)))  # type: ignore[operator]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weightMat": [[0] * 51]}, "weightMat has shape"),
        ({"weightMat": [[0] * 52, [0]]}, "not a table of numbers"),
        ({"weightMat": []}, "contains no frames"),
        ({"weightMat": None}, "weightMat has shape"),
        ({"weightMat": [["a"] * 52]}, "not an Audio2Face export"),
        ({"facsNames": ["a"] * 52}, "lists a unit twice"),
        ({"facsNames": [[] for _ in range(52)]}, "not a list of names"),
        ({"facsNames": [f"x{k}" for k in range(52)]}, "lists no ARKit unit"),
        ({"exportFps": 0}, "exportFps is 0"),
        ({"exportFps": None}, "not an Audio2Face export"),
    ],
)
def test_a_damaged_export_gets_one_line(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    audio2face.write(tmp_path / "a.json", recording(3))
    content = json.loads((tmp_path / "a.json").read_text("utf-8")) | change
    (tmp_path / "a.json").write_text(json.dumps(content), "utf-8")
    with pytest.raises(DataError, match=message) as caught:
        read_curves(tmp_path / "a.json")
    assert "\n" not in str(caught.value)


@ONE_FILE
@given(data=st.data())
def test_damage_never_gives_another_error(tmp_path: Path, data: st.DataObject) -> None:
    suffix = data.draw(st.sampled_from([".csv", ".json"]))
    path = tmp_path / f"a{suffix}"
    (live_link if suffix == ".csv" else audio2face).write(path, recording(4))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(content)))
        stop = min(len(content), start + data.draw(st.integers(0, 40)))
        junk = st.one_of(
            st.binary(max_size=12),
            st.sampled_from([b",", b"\n", b'"', b"0", b":", b"1e400", b"-", b"[", b"{}", b"99:"]),
        )
        content[start:stop] = data.draw(junk)
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    path.write_bytes(bytes(content))
    try:
        curves = read_curves(path)
    except CodeTalkerError as error:
        assert "\n" not in str(error)
        return
    assert np.isfinite(curves.weights).all()
    assert curves.n_frames < 200


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.csv or \.json"):
        read_curves(tmp_path / "a.txt")


def test_a_take_is_read_as_it_was_solved(tmp_path: Path) -> None:
    curves = head_take(6).arkit_curves
    live_link.write(tmp_path / "a.csv", curves)
    read = read_curves(tmp_path / "a.csv").select(curves.names)
    np.testing.assert_allclose(read.weights, curves.weights, atol=1e-6)
