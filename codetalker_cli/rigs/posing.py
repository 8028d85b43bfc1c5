"""Pose the bundled head with rig curves, e.g. of a recording, and turn the heads of motions."""

from dataclasses import replace

import numpy as np

from codetalker_cli.arrays import release_pages
from codetalker_cli.formats.predictions import subject_in
from codetalker_cli.motion import Motion, VertexFrames, materialize
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.units import bundled_rig, is_bundled_head
from codetalker_cli.topology import Topology

DEFAULT_SUBJECT = "S01"
"""The subject that is posed if none is known."""
NECK_PIVOT = (0.0, -0.075, -0.085)
"""The point about which the bundled head turns, in meters: in the neck, below the skull."""
_PIVOT_BEHIND_LIPS, _PIVOT_BELOW_LIPS = 1.93, 0.14
"""The position of that point relative to the lips, in half widths of the head at their height."""
_PIVOT_BEHIND_FACE, _PIVOT_ABOVE_CHIN = 0.76, 0.32
"""The same for a mesh without lips, in widths behind its front and heights above its lower end."""
_BAND = 0.03
"""The width of the head is measured within this share of its height above and below the lips."""
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
    pivot = np.array(NECK_PIVOT)

    def pose(frames: np.ndarray) -> np.ndarray:
        vertices = rig.pose(subject, weights[frames])
        return vertices if rotations is None else rotate(vertices, rotations[frames], pivot)

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


def turned(motion: Motion) -> Motion:
    """Return a motion whose vertices contain the rotation of the head, about the neck.

    A motion whose head is still is returned as it is.
    """
    if motion.head is None:
        return motion
    source, rotations = motion.vertices, rotation_matrices(motion.head)
    pivot = neck_pivot(motion.topology, motion.template)

    def turn(frames: np.ndarray) -> np.ndarray:
        vertices = rotate(np.asarray(source[frames], np.float32), rotations[frames], pivot)
        release_pages(source)
        return vertices

    vertices = VertexFrames(motion.n_frames, source.shape[1], turn)
    return replace(motion, vertices=vertices, head=None)


def neck_pivot(topology: Topology, template: np.ndarray) -> np.ndarray:
    """Return the (3,) float64 point about which a head turns: in the neck, below the skull.

    The point of the bundled head is known. In other meshes, it is behind the lips at their height,
    at a distance that the width of the head determines, or relative to the whole mesh if the lips
    are unknown. +y must point up, and +z forward.

    Args:
        topology: The mesh.
        template: (V, 3) neutral face.
    """
    if is_bundled_head(topology):
        return np.array(NECK_PIVOT) / (topology.meters_per_unit or 1.0)
    used = np.unique(topology.triangles) if len(topology.triangles) else np.arange(len(template))
    points = np.asarray(template, np.float64)[used]
    low, high = points.min(0), points.max(0)
    size, middle = high - low, (high + low) / 2
    lips = next((topology.regions[n] for n in ("lips", "mouth") if n in topology.regions), None)
    if lips is not None and len(lips):
        center = np.asarray(template, np.float64)[lips].mean(0)
        beside = points[np.abs(points[:, 1] - center[1]) <= _BAND * size[1]]
        half = np.ptp(beside[:, 0]) / 2 if len(beside) else 0.0
        if half > 0:
            down, back = _PIVOT_BELOW_LIPS * half, _PIVOT_BEHIND_LIPS * half
            return np.array([middle[0], center[1] - down, center[2] - back])
    height = low[1] + _PIVOT_ABOVE_CHIN * size[1]
    return np.array([middle[0], height, high[2] - _PIVOT_BEHIND_FACE * size[0]])


def rotate(vertices: np.ndarray, rotations: np.ndarray, pivot: np.ndarray) -> np.ndarray:
    """Return the (T, V, 3) float32 vertices, turned about a point.

    Args:
        vertices: (T, V, 3) vertices.
        rotations: (T, 3, 3) matrices.
        pivot: (3,) the point, in the unit of the vertices.
    """
    pivot = pivot.astype(np.float32)
    relative = (vertices - pivot) @ rotations.astype(np.float32).transpose(0, 2, 1)
    return relative + pivot


def _about(axis: int, angles: np.ndarray) -> np.ndarray:
    """Return the (T, 3, 3) right-handed rotations about a coordinate axis."""
    matrices = np.zeros((len(angles), 3, 3))
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrices[:, axis, axis] = 1.0
    matrices[:, first, first] = matrices[:, second, second] = np.cos(angles)
    matrices[:, second, first] = np.sin(angles)
    matrices[:, first, second] = -np.sin(angles)
    return matrices
