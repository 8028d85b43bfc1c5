"""Remove position, rotation and scale of a head from its tracked landmarks.

The landmarks that do not move with speech are turned and moved to reference positions with the
least squared error (Umeyama, IEEE PAMI 13, 1991). The scale is that of the corners of the eyes: if
the head turns, the tracker sees them and the corners of the mouth equally wrong, and their ratio
remains.
"""

from dataclasses import dataclass

import numpy as np

from codetalker_cli.face_track import EYE_CORNERS, FaceTrack
from codetalker_cli.rigs.landmarks import RIGID

MAX_TURN_DEGREES = 45.0
"""The angle between the face and the camera up to which landmarks are used."""
MAX_MISFIT = 0.1
"""The RMS distance of the rigid landmarks from their reference, relative to their spread, from
which they are not a face. It is 0.01 to 0.04 for filmed people."""
DEPTH_SCALE = 1.4
"""The tracker underestimates the depth of the mouth. On rendered heads that turn by 20 degrees,
this factor raises the correlation of the width with the truth from 0.91 to 0.93 (docs/capture.md).
"""
_EYES = (EYE_CORNERS, (133, 362))
"""The outer and the inner corners of the eyes, right and left."""
_TO_HEAD_AXES = np.array([1.0, -1.0, -1.0])
"""Film: y down and z away from the camera. Head: y up and z forward."""
_TINY = 1e-9


@dataclass(frozen=True)
class Alignment:
    """The transformation of each frame to the reference: ``scale · rotation · (p − center) + to``.

    Attributes:
        scale: (T,) millimeters per pixel.
        rotation: (T, 3, 3) rotations from the axes of the film to those of the head.
        center: (T, 3) mean position of the rigid landmarks.
        to: (3,) mean position of the reference.
        misfit: (T,) RMS distance from the reference, relative to its spread.
    """

    scale: np.ndarray
    rotation: np.ndarray
    center: np.ndarray
    to: np.ndarray
    misfit: np.ndarray

    @property
    def is_face(self) -> np.ndarray:
        """(T,) bool: the frames in which a face looks roughly toward the camera."""
        facing = self.rotation[:, 2, 2] >= np.cos(np.radians(MAX_TURN_DEGREES))
        return facing & (self.misfit <= MAX_MISFIT)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Return the (T, n, 3) points of ``head_axes`` in the reference's place and scale."""
        deeper = (points - self.center[:, None]) * [1.0, 1.0, DEPTH_SCALE]
        turned = np.einsum("tij,tnj->tni", self.rotation, deeper)
        return self.scale[:, None, None] * turned + self.to


def head_axes(track: FaceTrack, numbers: tuple[int, ...], frames: np.ndarray) -> np.ndarray:
    """Return the (T, n, 3) float64 landmarks of some frames with x left, y up and z forward."""
    return track.points(numbers)[frames].astype(np.float64) * _TO_HEAD_AXES


def align(rigid: np.ndarray, reference: np.ndarray) -> Alignment:
    """Return the transformation of each frame that lays the rigid landmarks over the reference.

    Args:
        rigid: (T, n, 3) landmarks ``RIGID`` in the axes of the head.
        reference: (n, 3) positions.
    """
    center, to = rigid.mean(1), reference.mean(0)
    points, target = rigid - center[:, None], reference - to
    u, values, vt = np.linalg.svd(np.einsum("tni,nj->tij", points, target))
    signs = np.ones_like(values)
    signs[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = np.einsum("tji,tj,tkj->tik", vt, signs, u)
    size, spread = np.square(points).sum((1, 2)), np.square(target).sum()
    overlap = (values * signs).sum(1)
    scale = _eye_distance(reference[None]) / np.maximum(_eye_distance(rigid), _TINY)
    explained = overlap**2 / np.maximum(size * spread, _TINY)
    misfit = np.sqrt(np.clip(1 - explained, 0, 1))
    return Alignment(scale, rotation, center, to, np.where(size > _TINY, misfit, 1.0))


def _eye_distance(rigid: np.ndarray) -> np.ndarray:
    """Return the (T,) mean distance between the outer and between the inner corners of the eyes."""
    right, left = ([RIGID.index(pair[side]) for pair in _EYES] for side in (0, 1))
    return np.linalg.norm(rigid[:, left] - rigid[:, right], axis=-1).mean(1)


def face_frames(track: FaceTrack, reference: np.ndarray) -> np.ndarray:
    """Return (T,) bool: the frames with a face that looks roughly toward the camera.

    Args:
        track: The track.
        reference: (n, 3) positions of the landmarks ``RIGID``.
    """
    found = track.found
    frames = np.flatnonzero(found)
    if len(frames):
        found[frames] = align(head_axes(track, RIGID, frames), reference).is_face
    return found


def opening_of(track: FaceTrack, frames: np.ndarray) -> np.ndarray:
    """Return the (T,) ``FaceTrack.opening`` in some frames, (T,) bool, and NaN in all others."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(frames, track.opening(), np.nan)
