"""Find a person's face at rest: the lips shut and relaxed, the lids open."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codetalker_cli.capture.alignment import align, face_frames, head_axes, opening_of
from codetalker_cli.capture.contacts import SHUT_MARGIN
from codetalker_cli.errors import DataError
from codetalker_cli.face_track import EYE_CORNERS, FaceTrack
from codetalker_cli.rigs.landmarks import REQUIRED, RIGID, bundled_landmarks

MAX_FRAMES = 20_000
"""The most frames of a person that are used, spread evenly over all takes."""
_SHUT_PERCENTILE = 5
"""The percentile of the opening that shut lips reach in every take that contains speech."""
_SLOW_PERCENTILE = 50
"""The percentile of the lips' speed up to which shut lips are at rest."""
_ROUNDS = 3
_UNKNOWN_SPEED = 1e9


@dataclass(frozen=True, eq=False)
class PersonRest:
    """A person's face at rest.

    Attributes:
        numbers: The numbers of the L landmarks that all takes have and the head knows.
        neutral: (L, 3) float64 positions at rest, in the axes of the head. They are scaled so that
            the outer corners of the eyes are as far apart as on the bundled head, in millimeters.
        rigid: (n, 3) positions of the landmarks ``RIGID``, to which frames are aligned. Their depth
            is that of the tracker, unlike in ``neutral`` (see ``alignment.DEPTH_SCALE``).
        shut_opening: ``FaceTrack.opening`` at rest.
    """

    numbers: tuple[int, ...]
    neutral: np.ndarray
    rigid: np.ndarray
    shut_opening: float

    def columns(self, numbers: tuple[int, ...]) -> list[int]:
        """Return where the landmarks with these numbers are stored."""
        return [self.numbers.index(number) for number in numbers]


def rest_of(tracks: Sequence[FaceTrack]) -> PersonRest:
    """Return a person's face at rest: the median over frames with shut lips that hardly move.

    Args:
        tracks: All takes of the person; one is enough.

    Raises:
        DataError: No take shows a face, or a track lacks landmarks.
    """
    head = bundled_landmarks()
    common = set(head.numbers).intersection(*(map(int, track.landmark_ids) for track in tracks))
    numbers = tuple(number for number in head.numbers if number in common or number in REQUIRED)
    reference = head.neutral[head.columns(RIGID)]
    points, openings, speeds = _frames(tracks, numbers, reference)
    if not len(points):
        where = tracks[0].path if len(tracks) == 1 else f"{len(tracks)} takes"
        raise DataError(f"{where}: no frame shows a face that looks toward the camera")
    rigid = [numbers.index(number) for number in RIGID]
    shape = _rigid_shape(points[:, rigid], reference, head.eye_distance)
    shut = openings <= np.percentile(openings, _SHUT_PERCENTILE) + SHUT_MARGIN
    at_rest = shut & (speeds <= np.percentile(speeds[shut], _SLOW_PERCENTILE))
    neutral = align(points[at_rest][:, rigid], shape).apply(points[at_rest])
    shut_opening = float(np.median(openings[at_rest]))
    return PersonRest(numbers, np.median(neutral, axis=0), shape, shut_opening)


def _rigid_shape(points: np.ndarray, reference: np.ndarray, eye_distance: float) -> np.ndarray:
    """Return the (n, 3) median of the rigid landmarks without pose, looking ahead like a reference.

    Args:
        points: (T, n, 3) landmarks ``RIGID`` in the axes of the head.
        reference: (n, 3) positions on the bundled head.
        eye_distance: The distance between the outer corners of the eyes in the result.
    """
    right, left = (RIGID.index(number) for number in EYE_CORNERS)
    shape = reference
    for _ in range(_ROUNDS):
        alignment = align(points, shape)
        moved = points - alignment.center[:, None]
        turned = np.einsum("tij,tnj->tni", alignment.rotation, moved)
        mean = np.median(turned * alignment.scale[:, None, None], axis=0)
        shape = mean * (eye_distance / np.linalg.norm(mean[left] - mean[right]))
    return shape @ align(shape[None], reference).rotation[0].T + reference.mean(0)


def _frames(
    tracks: Sequence[FaceTrack], numbers: tuple[int, ...], reference: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the (n, L, 3) landmarks, the openings and their speeds in the frames with a face."""
    masks = [face_frames(track, reference) for track in tracks]
    step = max(1, -(-sum(int(mask.sum()) for mask in masks) // MAX_FRAMES))
    points, openings, speeds = [], [], []
    for track, mask in zip(tracks, masks, strict=True):
        frames = np.flatnonzero(mask)[::step]
        opening = opening_of(track, mask)
        points.append(head_axes(track, numbers, frames))
        openings.append(opening[frames])
        speeds.append(_speed(opening, track.times)[frames])
    return np.concatenate(points), np.concatenate(openings), np.concatenate(speeds)


def _speed(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the (T,) speed between the frames before and after; huge next to a gap."""
    if len(values) < 2:
        return np.zeros(len(values))
    changes = np.nan_to_num(np.abs(np.diff(values)) / np.diff(times), nan=_UNKNOWN_SPEED)
    return (np.append(changes[:1], changes) + np.append(changes, changes[-1:])) / 2
