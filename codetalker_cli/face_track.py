"""A tracked face: landmarks, expression weights and head pose in every frame of a film.

Landmarks have the numbers of MediaPipe's face landmarker (0 to 477).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from codetalker_cli.errors import DataError, counted

INNER_LIP_PAIRS = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402))
"""Landmarks of the upper and the lower inner lip that touch when the lips are shut."""
MOUTH_CORNERS = (78, 308)
"""The inner corners of the mouth: right and left of the person."""
EYE_CORNERS = (33, 263)
"""The outer corners of the eyes: right and left of the person."""


class TimedWord(NamedTuple):
    """A word and its time interval.

    Attributes:
        label: The word; ``sil`` or ``sp`` for silence.
        start_seconds, end_seconds: The interval in seconds.
    """

    label: str
    start_seconds: float
    end_seconds: float


@dataclass(frozen=True, eq=False)
class FaceTrack:
    """The face in T frames of a film.

    Attributes:
        landmark_ids: The (L,) numbers of the landmarks.
        landmarks: (T, L, 3) float32 in pixels of the film: x to the right, y down, z away from
            the camera in the same scale. NaN in frames without a face.
        times: (T,) float64 seconds at which the frames are shown, strictly increasing; 0 is the
            start of the sound.
        size: The width and height of the picture in pixels.
        weight_names: The names of the W expression weights of the tracker.
        weights: (T, W) float32; NaN in frames without a face.
        head: (T, 4, 4) float32 transformation of the head in cm, from the tracker's canonical face
            to the camera; NaN in frames without a face.
        words: The words that are spoken, if they are known.
        path: The file that the track was read or made from, or None.
    """

    landmark_ids: np.ndarray
    landmarks: np.ndarray
    times: np.ndarray
    size: tuple[int, int]
    weight_names: tuple[str, ...]
    weights: np.ndarray
    head: np.ndarray
    words: tuple[TimedWord, ...] = ()
    path: Path | None = None

    def __post_init__(self) -> None:
        for name in ("times", "landmark_ids"):
            if getattr(self, name).ndim != 1:
                shape = getattr(self, name).shape
                raise DataError(f"face track: {name} have shape {shape}, expected one dimension")
        n, n_landmarks = len(self.times), len(self.landmark_ids)
        if len(np.unique(self.landmark_ids)) < n_landmarks:
            raise DataError("face track: a number in landmark_ids is listed twice")
        for name, shape in (
            ("landmarks", (n, n_landmarks, 3)),
            ("weights", (n, len(self.weight_names))),
            ("head", (n, 4, 4)),
        ):
            if getattr(self, name).shape != shape:
                raise DataError(
                    f"face track: {name} have shape {getattr(self, name).shape}, expected {shape}"
                )
        if not np.isfinite(self.times).all() or (np.diff(self.times) <= 0).any():
            raise DataError("face track: times are not strictly increasing")

    def __repr__(self) -> str:
        """Return the size, without arrays."""
        n_found = int(self.found.sum())
        return f"<FaceTrack: {counted(self.n_frames, 'frame')}, {n_found} with a face>"

    @property
    def n_frames(self) -> int:
        """The number of frames T."""
        return len(self.times)

    @property
    def fps(self) -> float:
        """The median frame rate; 0 for fewer than two frames."""
        return float(1 / np.median(np.diff(self.times))) if self.n_frames > 1 else 0.0

    @property
    def found(self) -> np.ndarray:
        """(T,) bool: the frames with a face."""
        return np.isfinite(self.landmarks).all((1, 2))

    def points(self, numbers: tuple[int, ...]) -> np.ndarray:
        """Return the (T, n, 3) positions of the landmarks with these numbers, in pixels.

        Raises:
            DataError: The track lacks a landmark.
        """
        columns = {int(number): column for column, number in enumerate(self.landmark_ids)}
        missing = [number for number in numbers if number not in columns]
        if missing:
            raise DataError(
                f"{self.path or 'face track'}: landmark {missing[0]} is missing; the file must "
                "contain the landmarks of lips and eyes"
            )
        return self.landmarks[:, [columns[number] for number in numbers]]

    def opening(self) -> np.ndarray:
        """Return the (T,) mean distance of the inner-lip pairs over that of the eye corners.

        Distances are measured in the picture (x and y).
        """
        upper, lower = zip(*INNER_LIP_PAIRS, strict=True)
        gaps = np.linalg.norm((self.points(upper) - self.points(lower))[..., :2], axis=-1)
        return gaps.mean(1) / self._eye_distance()

    def width(self) -> np.ndarray:
        """Return the (T,) distance of the mouth corners over that of the eye corners.

        Distances are measured in the picture (x and y).
        """
        ends = self.points(MOUTH_CORNERS)
        return np.linalg.norm((ends[:, 0] - ends[:, 1])[:, :2], axis=-1) / self._eye_distance()

    def _eye_distance(self) -> np.ndarray:
        ends = self.points(EYE_CORNERS)
        return np.linalg.norm((ends[:, 0] - ends[:, 1])[:, :2], axis=-1)
