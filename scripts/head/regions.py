"""Define the vertex regions of the skin for losses and metrics."""

from __future__ import annotations

import lips
import numpy as np
from head import Head

MOUTH_SUPPORT_MM = 3.0
UPPER_SUPPORT_MM = 0.3
UPPER_UNITS = ("brow", "eyeBlink", "eyeSquint", "eyeWide", "cheekSquint")


def _support(head: Head, prefixes: tuple[str, ...], least: float) -> np.ndarray:
    """Return an (n,) mask of the skin vertices that units with a prefix move by over `least` mm."""
    out = np.zeros(len(head.skin.support), bool)
    for name, delta in head.units.items():
        if name.startswith(prefixes):
            out |= np.linalg.norm(delta[head.ranges["skin"]], axis=1) > least
    return out


def regions(head: Head, origin: np.ndarray) -> dict[str, np.ndarray]:
    """Return the vertex indices of each region; inner-lip vertices are paired, right to left."""
    p = head.neutral[head.ranges["skin"]] - origin
    inside = head.skin.field(head.source.mask("inside-mouth")) > 0.5
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    rim = inside & (z > 21) & (x < 26) & (y > -81) & (y < -56)
    on_lips = (head.skin.field(head.source.mask("lips")) > 0.5) | rim
    mouth = (_support(head, ("mouth",), MOUTH_SUPPORT_MM) & ~inside) | on_lips
    moves = _support(head, UPPER_UNITS, UPPER_SUPPORT_MM) & (y > -30)
    forehead = (y > -23) & (y < 70) & (z > -58) & (x < 72)
    upper = (moves | forehead) & ~inside & ~_support(head, ("mouth",), 1.0) & ~mouth
    inner_upper, inner_lower = lips.pairs(head.skin.lips)
    return {
        "lips": np.flatnonzero(on_lips),
        "mouth": np.flatnonzero(mouth),
        "upper_face": np.flatnonzero(upper),
        "inner_lip_upper": inner_upper,
        "inner_lip_lower": inner_lower,
    }
