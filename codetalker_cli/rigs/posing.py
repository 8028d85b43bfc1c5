"""Pose the bundled head with rig curves, e.g. those of a recording."""

import numpy as np

from codetalker_cli.formats.predictions import subject_in
from codetalker_cli.motion import Motion, VertexFrames, materialize
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.units import bundled_rig

DEFAULT_SUBJECT = "S01"
"""The subject that is posed if none is known."""
NECK_PIVOT = (0.0, -0.075, -0.085)
"""The point about which the bundled head turns, in meters: in the neck, below the skull."""
YAW_OF_GAZE, PITCH_OF_GAZE = np.radians(14.0), np.radians(10.0)
"""The rotation of the bundled head's eyes for a weight of 1 of eyeLook*, in radians."""


def subject_of(name: str) -> str:
    """Return the bundled subject that a file name begins with, or the default subject."""
    return subject_in(name, bundled_rig().subject_names) or DEFAULT_SUBJECT


def motion_of(
    curves: RigCurves, subject: str = DEFAULT_SUBJECT, rotate_head: bool = True
) -> Motion:
    """Return the motion of the bundled head with the weights of its units.

    Units that the head lacks have no effect. A blink of 1 closes the lids of every subject.

    Args:
        curves: The weights.
        subject: One of the bundled subjects.
        rotate_head: Whether to apply the head rotation of the curves.

    Raises:
        InputError: The subject is unknown. The message lists the choices.
    """
    rig = bundled_rig()
    template = rig.template(subject)
    weights = curves.select(rig.unit_names).weights
    head = curves.head if rotate_head else None
    rotations = None if head is None else rotation_matrices(head)

    def pose(frames: np.ndarray) -> np.ndarray:
        vertices = rig.pose(subject, weights[frames])
        return vertices if rotations is None else rotate(vertices, rotations[frames])

    return Motion(
        vertices=materialize(VertexFrames(curves.n_frames, len(template), pose)),
        fps=curves.fps,
        topology=rig.topology,
        subject=subject,
        template=template,
        colors=rig.colors(subject),
        audio=curves.audio,
        audio_path=curves.audio_path,
    )


def rotation_matrices(head: np.ndarray) -> np.ndarray:
    """Return (T, 3, 3) float64 matrices that turn column vectors, for ``RigCurves.head``."""
    yaw, pitch, roll = np.asarray(head, np.float64).T
    # Positive roll lowers +x, the subject's left, so it is a negative turn about +z.
    return _about(1, yaw) @ _about(0, pitch) @ _about(2, -roll)


def rotate(vertices: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Return the (T, V, 3) float32 vertices of the bundled head, turned about its neck.

    Args:
        vertices: (T, V, 3) vertices in meters.
        rotations: (T, 3, 3) matrices.
    """
    pivot = np.array(NECK_PIVOT, np.float32)
    turned = (vertices - pivot) @ rotations.astype(np.float32).transpose(0, 2, 1)
    return turned + pivot


def _about(axis: int, angles: np.ndarray) -> np.ndarray:
    """Return the (T, 3, 3) right-handed rotations about a coordinate axis."""
    matrices = np.zeros((len(angles), 3, 3))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrices[:, axis, axis] = 1.0
    matrices[:, first, first] = matrices[:, second, second] = np.cos(angles)
    matrices[:, second, first] = np.sin(angles)
    matrices[:, first, second] = -np.sin(angles)
    return matrices
