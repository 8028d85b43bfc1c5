"""Metrics of facial motion, each with one name, one definition and one unit.

Motion = vertices − template. Definitions follow the official evaluation where it has one.
"""

import numpy as np


def lip_errors(predicted: np.ndarray, true: np.ndarray, lips: np.ndarray) -> np.ndarray:
    """Largest squared distance over the lip vertices, for each frame.

    Args:
        predicted: (T', V, 3) vertices, T' ≥ T; longer ones are cut.
        true: (T, V, 3) vertices.
        lips: (n,) lip vertex indices.

    Returns:
        (T,) squared length units.
    """
    difference = predicted[: len(true), lips] - true[:, lips]
    return np.square(difference).sum(-1).max(-1)


def lve(errors: list[np.ndarray]) -> float:
    """Lip vertex error: mean of :func:`lip_errors` over all frames of all clips. Unit: length²."""
    return float(np.concatenate(errors).mean())


def lve_mm(errors: list[np.ndarray], metres_per_unit: float) -> float:
    """Mean over all frames of the root of :func:`lip_errors`, in millimetres."""
    return float(np.sqrt(np.concatenate(errors)).mean() * metres_per_unit * 1000.0)


def mve(predicted: np.ndarray, true: np.ndarray) -> float:
    """Mean over frames and all vertices of the Euclidean distance. Unit: length."""
    return float(np.linalg.norm(predicted[: len(true)] - true, axis=-1).mean())
