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
from codetalker_cli.settings.limits import active

NO_FACE = np.iinfo(np.int16).min
MAX_PICTURES = 100.0
"""The largest coordinate of a landmark, as a multiple of the larger side of the picture."""
MIN_FPS, MAX_FPS = 1.0, 1000.0
"""The range of plausible frame rates."""
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
        stored, scale = np.asarray(arrays["landmarks"]), float(arrays["landmark_scale"])
        if stored.dtype.kind not in "fiu" or not 0 < scale < np.inf:
            raise DataError(
                "landmarks are not real numbers"
                if 0 < scale < np.inf
                else f"landmark_scale is {scale:g}, expected a positive number"
            )
        landmarks = stored.astype(np.float32) * np.float32(scale)
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
        track = FaceTrack(
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
        _check(track)
    except (TypeError, ValueError, IndexError, OverflowError, DataError) as error:
        raise DataError(f"{printable(path)}: not a valid face track ({error})") from error
    return track


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


def _check(track: FaceTrack) -> None:
    """Refuse times and places that no film has."""
    if min(track.size) < 1:
        raise DataError(f"size is {track.size}, expected the width and height of the picture")
    largest = float(np.abs(track.landmarks[track.found]).max(initial=0.0))
    if largest > MAX_PICTURES * max(track.size):
        width, height = track.size
        raise DataError(
            f"a landmark is {largest:.3g} pixels from the corner of a picture of {width} × {height}"
        )
    hours = active().audio_hours
    seconds = float(np.abs(track.times).max(initial=0.0))
    if seconds > hours * 3600:
        raise DataError(
            f"times reach {seconds:.6g} s, which is more than {hours:g} h; cut the take, or raise "
            "the setting limits.audio_hours"
        )
    if track.n_frames > 1 and not MIN_FPS <= track.fps <= MAX_FPS:
        raise DataError(
            f"its frame rate is {track.fps:.3g}, expected {MIN_FPS:g} to {MAX_FPS:g} frames per "
            "second"
        )


def _words(arrays: dict[str, np.ndarray]) -> tuple[TimedWord, ...]:
    if "words" not in arrays:
        return ()
    names = ("words", "word_start", "word_end")
    if {arrays[name].shape if name in arrays else () for name in names} != {arrays["words"].shape}:
        raise DataError("words, word_start and word_end do not have the same length")
    rows = zip(*(arrays[name] for name in names), strict=True)
    words = tuple(TimedWord(str(label), float(start), float(end)) for label, start, end in rows)
    if not all(np.isfinite([word.start_seconds, word.end_seconds]).all() for word in words):
        raise DataError("a time in word_start or word_end is not a finite number")
    return words
