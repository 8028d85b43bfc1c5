"""Fit the units of the bundled head to a tracked face.

Each frame is a least-squares problem with bounds: the weights from 0 to 1 with which the landmarks
of the head move like those of the person, in millimeters of the head and without the pose of the
head. The opening and the width of the lips count most, because speech is read by them. Where the
person's lips touch, those of the head are held together.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from codetalker_cli.capture.alignment import align, face_frames, head_axes, opening_of
from codetalker_cli.capture.contacts import contact_frames
from codetalker_cli.capture.rest import PersonRest, rest_of
from codetalker_cli.capture.timeline import Timeline, make_timeline
from codetalker_cli.errors import DataError
from codetalker_cli.face_track import INNER_LIP_PAIRS, MOUTH_CORNERS, FaceTrack
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.bounded import minimize
from codetalker_cli.rigs.landmarks import LIPS, RIGID, bundled_landmarks, bundled_lip_rows
from codetalker_cli.rigs.units import bundled_rig

__all__ = ["FittedTrack", "PersonRest", "fit_track", "rest_of"]

_BLOCK_FRAMES = 2048
"""Frames that are in memory at once."""
_WARM_UP_STEP = 4
"""Every such frame is solved first, as the start of the ones after it; this saves a third of the
time."""
LIPS_FACTOR, OTHERS_FACTOR, DEPTH_FACTOR = 1.0, 0.35, 0.1
"""The factors of landmarks of the lips, of all others, and of their depth, which the tracker only
estimates."""
OPENING_FACTOR, WIDTH_FACTOR = 6.0, 20.0
"""The factors of the opening and of the width of the lips. The width of the inner lips moves by a
third of the millimeters of the opening."""
_WIDTH_GAIN = 1.25
"""How much more the inner lips of the head change their width than its mouth corners, relative to
their widths at rest: 1.2 in mouthPucker, 1.3 in speech."""
_CONTACT = 10.0
"""The factor of the distance between lips that touch."""
_L2, _L2_MM = 1e-3, 1.0
"""The penalties of a weight: relative to the squared size of its unit, and in square millimeters,
for units that hardly move a landmark."""
_OFF = ("tongue", "jawForward", "cheekPuff", "lipSeal", "lipTuckFV")
"""Units that the landmarks do not show: they move the tongue, move parts toward the camera, or move
the lips by less than the noise."""
_RARE = (
    "mouthShrug", "mouthPress", "mouthFrown", "mouthLeft", "mouthRight", "mouthDimple", "jawLeft",
    "jawRight", "cheekSquint", "noseSneer", "brow", "eyeSquint", "eyeWide",
)  # fmt: skip
"""Units that speech hardly needs. A fit without ``_RARE_FACTOR`` would use them for little."""
_RARE_FACTOR = 10.0
"""The factor of their penalties."""
_OPPOSED = (
    ("jawLeft", "jawRight"),
    ("mouthLeft", "mouthRight"),
    *((f"mouthSmile{side}", f"mouthFrown{side}") for side in ("Left", "Right")),
    *((f"mouthStretch{side}", "mouthPucker") for side in ("Left", "Right")),
    *((f"eyeLookUp{side}", f"eyeLookDown{side}") for side in ("Left", "Right")),
    *((f"eyeLookIn{side}", f"eyeLookOut{side}") for side in ("Left", "Right")),
    *((f"eyeBlink{side}", f"eyeWide{side}") for side in ("Left", "Right")),
)
"""Pairs of units of which only the stronger one is used."""


@dataclass(frozen=True, eq=False)
class FittedTrack:
    """The units of the bundled head in the N frames of a fitted track.

    Attributes:
        curves: The weights; frame k is at k / fps seconds, from 0 to the last frame of the film.
            Frames without a face have the weights of the nearest frame with one.
        valid: (N,) bool: the frames in which there is a face.
        contact: (N,) bool: the frames in which the person's lips touch.
    """

    curves: RigCurves
    valid: np.ndarray
    contact: np.ndarray


def fit_track(track: FaceTrack, rest: PersonRest, fps: float) -> FittedTrack:
    """Return the weights of the bundled head's units that move it like the face of a track.

    Args:
        track: A tracked film.
        rest: The person's face at rest, from ``rest_of``.
        fps: The frame rate of the weights.

    Raises:
        DataError: The track has no frames, or lacks landmarks that ``rest`` has.
    """
    if not track.n_frames:
        raise DataError(f"{track.path or 'face track'}: the track has no frames")
    found = face_frames(track, rest.rigid)
    opening = opening_of(track, found)
    touching = contact_frames(opening, track.times, rest.shut_opening)
    timeline = make_timeline(track.times, found, touching, fps)
    problem = _Problem(rest)
    weights = np.zeros((len(timeline.times), bundled_rig().n_units))
    for start in range(0, len(weights), _BLOCK_FRAMES):
        frames = slice(start, min(start + _BLOCK_FRAMES, len(weights)))
        moved = _movements(track, rest, found, timeline, frames)
        weights[frames] = problem.solve(moved, timeline.contact[frames])
    weights = _hold(weights, timeline.valid)
    curves = RigCurves(bundled_rig().unit_names, fps, weights.astype(np.float32))
    return FittedTrack(curves, timeline.valid, timeline.contact)


def _movements(
    track: FaceTrack, rest: PersonRest, found: np.ndarray, timeline: Timeline, frames: slice
) -> np.ndarray:
    """Return the (n, L, 3) movements from rest in some frames of the motion."""
    film = timeline.film_around(frames)
    with_face = np.flatnonzero(found[film]) + film.start
    points = head_axes(track, rest.numbers, with_face)
    alignment = align(points[:, rest.columns(RIGID)], rest.rigid)
    moved = np.zeros((film.stop - film.start, len(rest.numbers), 3))
    moved[with_face - film.start] = alignment.apply(points) - rest.neutral
    resampled = timeline.resample(moved.reshape(len(moved), -1), film, frames)
    return resampled.reshape(len(resampled), -1, 3)


def _hold(weights: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return the weights with those of the nearest valid frame in all others."""
    known = np.flatnonzero(valid)
    if not len(known):
        return np.zeros_like(weights)
    position = np.interp(np.arange(len(valid)), known, np.arange(len(known)))
    return weights[known[np.round(position).astype(int)]]


class _Problem:
    """The least-squares problem of a frame.

    In it, jawOpen's partner mouthClose is replaced by both together: a jaw that is lowered behind
    shut lips. So mouthClose never exceeds jawOpen, beyond which the lips would intersect.

    Args:
        rest: The person's face at rest.
    """

    def __init__(self, rest: PersonRest) -> None:
        head, lips, every = bundled_landmarks(), bundled_lip_rows(), bundled_rig().unit_names
        self._rest = rest
        self._names = [name for name in every if not name.startswith(_OFF)]
        to_units = np.eye(len(every))
        to_units[every.index("mouthClose"), every.index("jawOpen")] = 1.0
        self._to_units = to_units[[every.index(name) for name in self._names]]
        is_lip = np.isin(rest.numbers, LIPS)
        axes = np.array([1.0, 1.0, DEPTH_FACTOR])
        self._factors = np.where(is_lip, LIPS_FACTOR, OTHERS_FACTOR)[:, None] * axes
        known = head.columns(rest.numbers)
        rows = [(head.deltas[:, known] * self._factors).reshape(len(every), -1)]
        rows += [OPENING_FACTOR * _with_mean(lips.openings), WIDTH_FACTOR * lips.width[:, None]]
        self._rows = self._to_units @ np.concatenate(rows, axis=1)
        penalties = _L2 * np.square(self._rows).sum(1) + _L2_MM
        penalties *= [_RARE_FACTOR if name.startswith(_RARE) else 1.0 for name in self._names]
        self._hessian = self._rows @ self._rows.T + np.diag(penalties)
        pairs = self._to_units @ lips.pairs.reshape(len(every), -1)
        self._in_contact = self._hessian + _CONTACT**2 * pairs @ pairs.T

    def solve(self, moved: np.ndarray, contact: np.ndarray) -> np.ndarray:
        """Return the (n, U) weights for (n, L, 3) movements of the landmarks.

        Args:
            moved: The movements in millimeters of the head.
            contact: (n,) bool: the frames in which the lips touch.
        """
        linear = self._targets(moved) @ self._rows.T
        upper = np.ones_like(linear)
        # A few frames first: their neighbors are solved faster from a similar start.
        few = slice(None, None, _WARM_UP_STEP)
        first = self._minimize(linear[few], upper[few], contact[few], None)
        start = np.repeat(first, _WARM_UP_STEP, axis=0)[: len(linear)]
        weights = self._minimize(linear, upper, contact, start)
        for pair in _OPPOSED:
            one, other = (self._names.index(name) for name in pair)
            weaker = weights[:, one] < weights[:, other]
            upper[weaker, one] = 0
            upper[~weaker, other] = 0
        weights = self._minimize(linear, upper, contact, weights)
        return np.clip(weights @ self._to_units, 0.0, 1.0)

    def _targets(self, moved: np.ndarray) -> np.ndarray:
        """Return what ``_rows`` should reach, (n, R)."""
        upper, lower = (self._rest.columns(side) for side in zip(*INNER_LIP_PAIRS, strict=True))
        openings = np.maximum(moved[:, upper, 1] - moved[:, lower, 1], 0.0)
        right, left = self._rest.columns(MOUTH_CORNERS)
        wider = (moved[:, left, 0] - moved[:, right, 0])[:, None] / self._corner_distance
        return np.concatenate(
            [
                (moved * self._factors).reshape(len(moved), -1),
                OPENING_FACTOR * _with_mean(openings),
                WIDTH_FACTOR * _WIDTH_GAIN * bundled_lip_rows().neutral_width * wider,
            ],
            axis=1,
        )

    @cached_property
    def _corner_distance(self) -> float:
        right, left = self._rest.neutral[self._rest.columns(MOUTH_CORNERS)]
        return float(left[0] - right[0])

    def _minimize(
        self, linear: np.ndarray, upper: np.ndarray, contact: np.ndarray, start: np.ndarray | None
    ) -> np.ndarray:
        result = np.zeros_like(linear)
        for hessian, frames in ((self._hessian, ~contact), (self._in_contact, contact)):
            if frames.any():
                near = None if start is None else start[frames]
                result[frames] = minimize(hessian, linear[frames], upper[frames], near)
        return result


def _with_mean(values: np.ndarray) -> np.ndarray:
    """Return (n, P) values so that all of them together count as much as their mean, and it."""
    share = values.shape[1] ** -0.5
    return np.concatenate([values * share, values.mean(1, keepdims=True)], axis=1)
