"""Face tracks of the bundled head, made from unit weights without a film."""

from dataclasses import replace

import numpy as np

from codetalker_cli.capture.alignment import DEPTH_SCALE
from codetalker_cli.face_track import FaceTrack
from codetalker_cli.rigs.landmarks import bundled_landmarks
from codetalker_cli.rigs.posing import rotation_matrices
from codetalker_cli.rigs.units import bundled_rig

FPS = 25.0
SIZE = (640, 480)


def pose(**units: float) -> np.ndarray:
    """Return the (U,) weights of some units; a name without a side sets both sides."""
    return bundled_rig().unit_weights(units)


def frames(*poses: np.ndarray, n: int = 10) -> np.ndarray:
    """Return the weights of poses that last ``n`` frames each and blend over the last four."""
    rows: list[np.ndarray] = []
    for k, one in enumerate(poses):
        following = poses[min(k + 1, len(poses) - 1)]
        blend = np.concatenate([np.zeros(n - 4), np.linspace(0, 1, 5)[1:]])[:, None]
        rows.append(one + blend * (following - one))
    return np.concatenate(rows)


def tracked(
    weights: np.ndarray,
    times: np.ndarray | None = None,
    *,
    degrees: tuple[float, float, float] = (0.0, 0.0, 0.0),
    pixels_per_mm: float = 1.0,
    center: tuple[float, float] = (320.0, 240.0),
) -> FaceTrack:
    """Return what a tracker sees of the bundled head.

    Args:
        weights: (T, U) unit weights.
        times: (T,) seconds; None: ``FPS`` frames per second.
        degrees: Yaw, pitch and roll of the head.
        pixels_per_mm: The size of the face.
        center: The place of the face in the picture.
    """
    head = bundled_landmarks()
    moved = np.einsum("tu,ulk->tlk", weights, head.deltas) / [1.0, 1.0, DEPTH_SCALE]
    turn = rotation_matrices(np.radians([degrees]))[0]
    points = (head.neutral + moved) @ turn.T * pixels_per_mm * [1.0, -1.0, -1.0]
    n = len(weights)
    return FaceTrack(
        np.array(head.numbers),
        (points + np.array([*center, 0.0])).astype(np.float32),
        np.arange(n) / FPS if times is None else times,
        SIZE,
        (),
        np.zeros((n, 0), np.float32),
        np.tile(np.eye(4, dtype=np.float32), (n, 1, 1)),
    )


def with_face(track: FaceTrack, found: np.ndarray) -> FaceTrack:
    """Return a track without the face in some frames."""
    landmarks = track.landmarks.copy()
    landmarks[~found] = np.nan
    return replace(track, landmarks=landmarks)


def lip_gap(weights: np.ndarray) -> np.ndarray:
    """Return the (T,) distance between the lips of the bundled head in millimeters."""
    rig = bundled_rig()
    return rig.topology.inner_lip_gap(rig.pose("S01", weights)) * 1000
