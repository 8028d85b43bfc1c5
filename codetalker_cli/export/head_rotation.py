"""The rotation of the head as quaternions."""

import numpy as np

_X, _Y, _Z = range(3)


def quaternions(head: np.ndarray) -> np.ndarray:
    """Convert the ``head`` of ``RigCurves`` to rotations of +y up, +z forward, +x left.

    Args:
        head: (T, 3) yaw, pitch and roll in radians.

    Returns:
        (T, 4) float32 unit quaternions (x, y, z, w), each in the half-space of the one before it,
        so that they can be interpolated.
    """
    yaw, pitch, roll = np.asarray(head, np.float64).T
    # A positive roll moves the top of the head from +y to +x, which is a negative turn around z.
    turns = about(_X, pitch), about(_Z, -roll)
    rotation = product(about(_Y, yaw), product(*turns))
    rotation /= np.linalg.norm(rotation, axis=1, keepdims=True)
    flips = np.sign((rotation[1:] * rotation[:-1]).sum(1))
    rotation[1:] *= np.cumprod(np.where(flips < 0, -1, 1))[:, None]
    return rotation.astype(np.float32)


def about(axis: int, angles: np.ndarray) -> np.ndarray:
    """Return the (T, 4) quaternions of right-handed turns about a coordinate axis."""
    turned = np.zeros((len(angles), 4))
    turned[:, axis] = np.sin(angles / 2)
    turned[:, 3] = np.cos(angles / 2)
    return turned


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the rotations that apply ``b`` first and then ``a``."""
    scalar_a, scalar_b = a[:, 3:], b[:, 3:]
    vector = scalar_a * b[:, :3] + scalar_b * a[:, :3] + np.cross(a[:, :3], b[:, :3])
    scalar = scalar_a * scalar_b - (a[:, :3] * b[:, :3]).sum(1, keepdims=True)
    return np.concatenate([vector, scalar], axis=1)
