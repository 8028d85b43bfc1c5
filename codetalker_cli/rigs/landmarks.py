"""How the landmarks of a face tracker move with the units of the bundled head.

scripts/head/landmarks.py renders the head of every subject in many poses, tracks the pictures with
MediaPipe's face landmarker, and stores which vertex each landmark follows and how far the tracker
sees it move. Lengths are in millimeters, in the axes of the head: +x points to the subject's left,
+y up and +z forward.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from codetalker_cli import resources
from codetalker_cli.arrays import read_arrays
from codetalker_cli.errors import DataError
from codetalker_cli.face_track import EYE_CORNERS, INNER_LIP_PAIRS, MOUTH_CORNERS
from codetalker_cli.rigs.units import bundled_rig

RIGID = (
    10, 67, 103, 109, 297, 332, 338, 168, 6, 195, 197, 5, 4, 33, 133, 362, 263, 127, 356, 162, 389,
    21, 251, 234, 454,
)  # fmt: skip
"""Landmarks that hardly move with speech: forehead, nose, corners of the eyes, temples."""
LIPS = (
    0, 13, 14, 17, 37, 39, 40, 61, 78, 80, 81, 82, 84, 87, 88, 91, 95, 146, 178, 181, 185, 191, 267,
    269, 270, 291, 308, 310, 311, 312, 314, 317, 318, 321, 324, 375, 402, 405, 409, 415,
)  # fmt: skip
"""Landmarks of the lips: the outer and the inner contour."""
REQUIRED = tuple(
    dict.fromkeys((*RIGID, *(n for pair in INNER_LIP_PAIRS for n in pair), *MOUTH_CORNERS))
)
"""Landmarks that every track must have."""
_MOUTH_TOP = -45.0
"""The height below which landmarks belong to mouth and jaw."""
_ARRAYS = ("numbers", "vertices", "neutral", "deltas", "unit_names")


@dataclass(frozen=True, eq=False)
class HeadLandmarks:
    """The landmarks of the bundled head.

    Attributes:
        numbers: The (L,) numbers of the landmarks.
        vertices: (L,) the vertex of the head that each landmark follows.
        neutral: (L, 3) float64 positions that the tracker sees on the neutral head.
        seen: (U, L, 3) float64 movements that the tracker sees for each unit at weight 1.
    """

    numbers: tuple[int, ...]
    vertices: np.ndarray
    neutral: np.ndarray
    seen: np.ndarray

    @classmethod
    def load(cls, path: Path | None = None) -> "HeadLandmarks":
        """Read the landmarks from a file; None: those of the bundled head.

        Raises:
            DataError: The file is damaged or does not fit the bundled head.
        """
        path = resources.asset("landmarks.npz") if path is None else path
        arrays = read_arrays(path)
        missing = [name for name in _ARRAYS if name not in arrays]
        if missing:
            raise DataError(f"{path}: not a file of landmarks; {missing[0]!r} is missing")
        if tuple(map(str, arrays["unit_names"])) != bundled_rig().unit_names:
            raise DataError(f"{path}: the units differ from those of the bundled head")
        return cls(
            tuple(int(number) for number in arrays["numbers"]),
            arrays["vertices"].astype(np.intp),
            arrays["neutral"].astype(np.float64),
            arrays["deltas"].astype(np.float64),
        )

    def columns(self, numbers: tuple[int, ...]) -> list[int]:
        """Return where the landmarks with these numbers are stored."""
        return [self.numbers.index(number) for number in numbers]

    @cached_property
    def eye_distance(self) -> float:
        """The distance between the outer corners of the eyes, as the tracker sees it."""
        ends = self.neutral[self.columns(EYE_CORNERS)]
        return float(np.linalg.norm(ends[0] - ends[1]))

    @cached_property
    def deltas(self) -> np.ndarray:
        """The (U, L, 3) movements that a fit assumes for each unit at weight 1.

        They are what the tracker sees, except that mouth and jaw move sideways like the head's
        vertices: the tracker sees a narrow mouth too wide and an open one too narrow, which would
        make the fit spread the lips (docs/capture.md has the measurements).
        """
        deltas = self.seen.copy()
        below = self.neutral[:, 1] < _MOUTH_TOP
        moved = bundled_rig().unit_deltas[:, self.vertices[below], 0].astype(np.float64)
        deltas[:, below, 0] = moved * 1000
        return deltas


class LipRows:
    """The opening and the width of the head's lips as linear functions of the unit weights.

    Attributes:
        pairs: (U, P, 3) change of the offset from the lower to the upper lip, at all pairs of
            inner-lip vertices.
        openings: (U, 5) change of the height of the opening at the tracker's inner-lip pairs.
        width: (U,) change of the width of the inner lips.
        neutral_width: The width of the inner lips of the neutral head.
    """

    def __init__(self, head: HeadLandmarks) -> None:
        rig = bundled_rig()
        upper = rig.topology.region("inner_lip_upper")
        lower = rig.topology.region("inner_lip_lower")
        deltas = rig.unit_deltas.astype(np.float64) * 1000
        across = rig.neutral[upper, 0]
        on_head = head.vertices[head.columns(tuple(pair[0] for pair in INNER_LIP_PAIRS))]
        nearest = np.abs(rig.neutral[on_head, 0][:, None] - across).argmin(1)
        self.pairs = deltas[:, upper] - deltas[:, lower]
        self.openings = self.pairs[:, nearest, 1]
        middle = (deltas[:, upper, 0] + deltas[:, lower, 0]) / 2
        self.width = middle[:, -1] - middle[:, 0]
        self.neutral_width = float(np.ptp(rig.neutral[upper, 0])) * 1000


@lru_cache(maxsize=1)
def bundled_landmarks() -> HeadLandmarks:
    """Return the landmarks of the bundled head, which are read once."""
    return HeadLandmarks.load()


@lru_cache(maxsize=1)
def bundled_lip_rows() -> LipRows:
    """Return the lips of the bundled head."""
    return LipRows(bundled_landmarks())
