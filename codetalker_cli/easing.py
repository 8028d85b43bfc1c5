"""Smooth transitions between two values."""

import numpy as np


def smoothstep(x: np.ndarray) -> np.ndarray:
    """Return 3x² − 2x³: 0 up to 0, 1 from 1 on, with a level start and end."""
    t = np.clip(x, 0.0, 1.0)
    result: np.ndarray = t * t * (3.0 - 2.0 * t)
    return result


def bump(times: np.ndarray, rise: float, fall: float) -> np.ndarray:
    """Return a smooth curve from 0 at time 0 to 1 within ``rise`` and back within ``fall``."""
    return smoothstep(np.minimum(times / rise, (rise + fall - times) / fall))
