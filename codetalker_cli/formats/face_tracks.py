"""Read and write face tracks as .npz files.

The arrays are: ``landmarks`` (T, L, 3) int16 with ``landmark_scale`` (pixels per unit; −32768: no
face), ``landmark_ids``, ``size`` (width, height), ``weights`` (T, W) float16 with ``weight_names``,
``head`` (T, 4, 4) float32, and ``times`` (T,) in seconds or ``fps``. Optional: ``words`` with
``word_start`` and ``word_end`` in seconds.
"""

from pathlib import Path

import numpy as np

from codetalker_cli.arrays import read_arrays
from codetalker_cli.errors import DataError, printable
from codetalker_cli.face_track import FaceTrack, TimedWord
from codetalker_cli.files import atomic_path

NO_FACE = np.iinfo(np.int16).min
_REQUIRED = (
    "landmarks",
    "landmark_scale",
    "landmark_ids",
    "size",
    "weights",
    "weight_names",
    "head",
)


def read_track(path: Path) -> FaceTrack:
    """Return the face track in a file.

    Raises:
        DataError: The file is missing, damaged, or not a face track.
    """
    arrays = read_arrays(path)
    missing = [name for name in _REQUIRED if name not in arrays]
    if missing or not {"times", "fps"} & arrays.keys():
        raise DataError(
            f"{printable(path)}: not a face track; the array {(*missing, 'times')[0]!r} is missing"
        )
    try:
        stored = np.asarray(arrays["landmarks"])
        landmarks = stored.astype(np.float32) * np.float32(arrays["landmark_scale"])
        lost = (stored == NO_FACE).any((1, 2)) if stored.dtype == np.int16 else None
        weights = arrays["weights"].astype(np.float32)
        head = arrays["head"].astype(np.float32)
        for values in (landmarks, weights, head):
            if lost is not None and len(values) == len(lost):
                values[lost] = np.nan
        width, height = (int(number) for number in arrays["size"])
        times = arrays.get("times")
        if times is None:
            times = np.arange(len(landmarks)) / float(arrays["fps"])
        return FaceTrack(
            arrays["landmark_ids"].astype(int),
            landmarks,
            times.astype(np.float64),
            (width, height),
            tuple(str(name) for name in arrays["weight_names"]),
            weights,
            head,
            _words(arrays),
            path,
        )
    except (TypeError, ValueError, IndexError, ZeroDivisionError, DataError) as error:
        raise DataError(f"{printable(path)}: not a valid face track ({error})") from error


def write_track(path: Path, track: FaceTrack) -> None:
    """Write a face track, with landmarks rounded to 0.02 pixels or finer than the picture needs."""
    largest = float(np.nanmax(np.abs(track.landmarks), initial=0.0)) if track.found.any() else 0.0
    scale = max(0.02, largest / 32000)
    found = track.found
    landmarks = np.full(track.landmarks.shape, NO_FACE, np.int16)
    landmarks[found] = np.round(track.landmarks[found] / scale)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            landmarks=landmarks,
            landmark_scale=np.float32(scale),
            landmark_ids=track.landmark_ids.astype(np.int16),
            size=np.array(track.size),
            times=track.times,
            fps=np.float64(track.fps),
            weights=track.weights.astype(np.float16),
            weight_names=np.array(track.weight_names),
            head=track.head.astype(np.float32),
            words=np.array([word.label for word in track.words], dtype=str),
            word_start=np.array([word.start_seconds for word in track.words], np.float32),
            word_end=np.array([word.end_seconds for word in track.words], np.float32),
        )


def _words(arrays: dict[str, np.ndarray]) -> tuple[TimedWord, ...]:
    if "words" not in arrays:
        return ()
    columns = (arrays["words"], arrays["word_start"], arrays["word_end"])
    rows = zip(*columns, strict=True)
    return tuple(TimedWord(str(label), float(start), float(end)) for label, start, end in rows)
