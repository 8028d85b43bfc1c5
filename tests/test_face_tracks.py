"""Face tracks: their files and the curves of the lips."""

import re
from pathlib import Path

import numpy as np
import pytest

from codetalker_cli.errors import DataError
from codetalker_cli.face_track import (
    EYE_CORNERS,
    INNER_LIP_PAIRS,
    MOUTH_CORNERS,
    FaceTrack,
    TimedWord,
)
from codetalker_cli.formats.face_tracks import read_track, write_track

IDS = sorted({*sum(INNER_LIP_PAIRS, ()), *MOUTH_CORNERS, *EYE_CORNERS})


def make_track(openings: np.ndarray, gap_frame: int | None = None) -> FaceTrack:
    n = len(openings)
    landmarks = np.zeros((n, len(IDS), 3), np.float32)
    landmarks[:, IDS.index(33)] = (100, 50, 0)
    landmarks[:, IDS.index(263)] = (200, 50, 0)
    landmarks[:, IDS.index(78)] = (125, 150, 0)
    landmarks[:, IDS.index(308)] = (175, 150, 0)
    for upper, lower in INNER_LIP_PAIRS:
        landmarks[:, IDS.index(upper)] = (150, 150, 0)
        landmarks[:, IDS.index(lower)] = (150, 150, 0)
        landmarks[:, IDS.index(lower), 1] += openings * 100
    weights = np.linspace(0, 1, n, dtype=np.float32)[:, None]
    head = np.tile(np.eye(4, dtype=np.float32), (n, 1, 1))
    if gap_frame is not None:
        landmarks[gap_frame] = weights[gap_frame] = head[gap_frame] = np.nan
    times = np.arange(n) / 25 + 0.02
    words = (TimedWord("bin", 0.0, 0.1),)
    return FaceTrack(
        np.array(IDS), landmarks, times, (360, 288), ("jawOpen",), weights, head, words
    )


def test_opening_and_width_are_relative_to_the_eye_corners() -> None:
    track = make_track(np.array([0.0, 0.05, 0.1]))
    assert np.allclose(track.opening(), [0, 0.05, 0.1], atol=1e-6)
    assert np.allclose(track.width(), 0.5)
    assert track.fps == pytest.approx(25)


def test_written_track_is_read_back(tmp_path: Path) -> None:
    track = make_track(np.linspace(0, 0.1, 6), gap_frame=2)
    write_track(tmp_path / "take.npz", track)
    again = read_track(tmp_path / "take.npz")
    assert np.array_equal(again.found, track.found) and not again.found[2]
    assert np.nanmax(np.abs(again.landmarks - track.landmarks)) <= 0.011
    assert np.allclose(again.times, track.times)
    assert again.words[0].label == "bin" and again.size == (360, 288)
    assert np.isnan(again.weights[2]).all() and np.isnan(again.head[2]).all()


def test_large_pictures_stay_within_the_stored_range(tmp_path: Path) -> None:
    track = make_track(np.linspace(0, 0.1, 4))
    track.landmarks[...] *= 40
    write_track(tmp_path / "take.npz", track)
    again = read_track(tmp_path / "take.npz")
    assert np.abs(again.landmarks - track.landmarks).max() < 0.2


def test_file_without_landmarks_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", vertices=np.zeros((3, 4, 3)))
    with pytest.raises(DataError, match="not a face track; the array 'landmarks' is missing"):
        read_track(tmp_path / "other.npz")


def test_missing_landmark_is_named() -> None:
    track = make_track(np.zeros(3))
    with pytest.raises(DataError, match="landmark 7 is missing"):
        track.points((7,))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"landmarks": np.zeros((6, 4, 2), np.int16)}, "landmarks have shape"),
        ({"landmarks": np.zeros((6, len(IDS), 3), bool)}, "landmarks are not real numbers"),
        ({"landmarks": np.full((6, len(IDS), 3), 1e30)}, "pixels from the corner of a picture"),
        ({"landmark_scale": np.float32(np.nan)}, "landmark_scale is nan"),
        ({"landmark_ids": np.zeros(len(IDS), int)}, "landmark_ids is listed twice"),
        ({"size": np.zeros(2, int)}, "size is (0, 0)"),
        ({"times": np.zeros(6)}, "times are not strictly increasing"),
        ({"times": np.zeros((6, 1))}, "times have shape (6, 1)"),
        ({"times": np.arange(6) + 1e9}, "times reach 1e+09 s, which is more than 4 h"),
        ({"times": np.arange(6) * 1e-9}, "its frame rate is 1e+09"),
        ({"words": np.array(["a", "b"])}, "do not have the same length"),
        ({"word_end": np.array([np.inf])}, "not a finite number"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_damaged_arrays_are_refused(tmp_path: Path, changed: dict, message: str) -> None:
    write_track(tmp_path / "take.npz", make_track(np.zeros(6)))
    with np.load(tmp_path / "take.npz") as stored:
        arrays = dict(stored) | changed
    np.savez(tmp_path / "take.npz", **arrays)
    with pytest.raises(DataError, match=re.escape(message)):
        read_track(tmp_path / "take.npz")


def test_words_without_times_are_refused(tmp_path: Path) -> None:
    write_track(tmp_path / "take.npz", make_track(np.zeros(6)))
    with np.load(tmp_path / "take.npz") as stored:
        arrays = {name: array for name, array in stored.items() if name != "word_start"}
    np.savez(tmp_path / "take.npz", **arrays)
    with pytest.raises(DataError, match="do not have the same length"):
        read_track(tmp_path / "take.npz")
