"""Fit the mouth poses of a character, such as visemes or vowels, to the mouth of a motion.

A character has few poses, and the motion has the weights of the bundled head's units. Each frame is
a least-squares problem with bounds: the weights x from 0 to 1 that minimize

    ‖A x − b‖² + λ (g·x − h)²    with Σ x ≤ 1 if the poses exclude each other.

The columns of A are the offsets of the mouth's vertices in each pose, and b is the offset of the
motion. g and h are the opening of the lips, which speech is read by: without that term, the lips of
a character with few poses open too little. All of it is linear in the weights of the units, so no
frame is posed.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from codetalker_cli.rigs.bounded import minimize
from codetalker_cli.rigs.head import Rig
from codetalker_cli.rigs.units import bundled_rig

CLOSED_MM, OPEN_MM = 1.2, 2.2
"""The lip gaps of the bundled head up to which a character's lips are shut, and from which they
open as far as in the motion. ARKit's units reproduce shut lips (a gap below 1 mm) with up to
1.2 mm."""
OPENERS = (
    "jawOpen", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft",
    "mouthUpperUpRight", "mouthFunnel",
)  # fmt: skip
"""The units that part the lips."""
NOT_IN_CLOSURES = (*OPENERS, "mouthClose")
"""The units that are at rest in shut lips: those that part them, and the one that shuts the lips of
an open jaw."""
TONGUE_UNITS = ("tongueTipUp", "tongueTipOut", "tongueBackUp")
"""The units of the bundled head that move the tongue inside the mouth; ARKit has none."""
_OPENS = 0.05
"""The weight of such a unit in a pose from which the pose counts as open."""
_GAP_FACTOR = 3.0
"""λ, relative to the mean squared offset of the poses divided by their mean squared gap. From 1 to
10, the correlation of the openings differs by less than 0.02 (benchmarks/avatars.py)."""
_L2, _L2_UNCERTAIN = 1e-3, 0.03
"""The penalties of the weights, relative to the size of each pose: some poses are similar. The
larger one is for poses that differ from character to character, so the others are preferred."""
_SUM_FACTOR = 1e3
"""The factor that holds Σ x at 1, relative to the mean size of a pose."""


def lip_gap(weights: np.ndarray) -> np.ndarray:
    """Return the (T,) distance between the lips of the bundled head in millimeters.

    Args:
        weights: (T, U) weights of the units of the bundled head.
    """
    rest, deltas = _lip_pairs()
    offsets = rest + (weights @ deltas).reshape(len(weights), -1, 3)
    return np.linalg.norm(offsets, axis=-1).mean(-1) * 1000


def openness(weights: np.ndarray) -> np.ndarray:
    """Return (T,) factors from 0, where the lips are shut, to 1, where they are clearly apart.

    Args:
        weights: (T, U) weights of the units of the bundled head.
    """
    return np.clip((lip_gap(weights) - CLOSED_MM) / (OPEN_MM - CLOSED_MM), 0.0, 1.0)


def unit_poses(poses: Mapping[str, Mapping[str, float]]) -> np.ndarray:
    """Return the (P, U) weights of the bundled head's units for poses by unit name."""
    return np.stack([bundled_rig().unit_weights(pose) for pose in poses.values()])


def fit_poses(
    weights: np.ndarray,
    poses: np.ndarray,
    opened: np.ndarray,
    exclusive: bool,
    uncertain: np.ndarray | None = None,
) -> np.ndarray:
    """Return the (T, P) weights of the poses that come closest to the mouth of a motion.

    Args:
        weights: (T, U) weights of the units of the bundled head.
        poses: (P, U) weights of the units in each pose.
        opened: (T,) factors of the poses with open lips, see ``openness``.
        exclusive: Whether the sum of the weights is at most 1.
        uncertain: (P,) whether each pose differs from character to character; None: none does.
    """
    used, moving = poses.astype(np.float64), weights.astype(np.float64)
    deltas = _mouth_deltas(bool(moving[:, _columns(TONGUE_UNITS)].any()))
    columns = used @ deltas
    hessian = columns @ columns.T
    linear = moving @ (deltas @ columns.T)
    rest = lip_gap(np.zeros((1, used.shape[1])))
    gaps = lip_gap(used) - rest
    factor = _GAP_FACTOR * np.trace(hessian) / max(float(gaps @ gaps), 1e-12)
    hessian += factor * np.outer(gaps, gaps)
    linear += factor * np.outer(lip_gap(moving) - rest, gaps)
    penalties = _L2 if uncertain is None else np.where(uncertain, _L2_UNCERTAIN, _L2)
    hessian += np.diag(penalties * np.diag(hessian) + np.finfo(float).tiny)
    fitted = minimize(hessian, linear, np.ones_like(linear))
    above = fitted.sum(1) > 1
    if exclusive and above.any():
        size = _SUM_FACTOR * np.mean(np.diag(hessian))
        bound = np.ones_like(linear[above])
        fitted[above] = minimize(hessian + size, linear[above] + size, bound, fitted[above])
        fitted[above] /= np.maximum(fitted[above].sum(1, keepdims=True), 1)
    is_open = used[:, _columns(NOT_IN_CLOSURES)].max(1) >= _OPENS
    return fitted * np.where(is_open, opened[:, None], 1.0)


def movement(weights: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return the (T,) size of the movement of the mouth by some units, without the inner tongue.

    Args:
        weights: (T, U) weights of the units of the bundled head.
        names: The units.
    """
    columns = _columns([name for name in names if name not in TONGUE_UNITS])
    deltas = _mouth_deltas(False)[columns]
    moving = weights[:, columns].astype(np.float64)
    squares = np.einsum("tu,uv,tv->t", moving, deltas @ deltas.T, moving)
    return np.sqrt(np.maximum(squares, 0.0))


@lru_cache(maxsize=1)
def _lip_pairs() -> tuple[np.ndarray, np.ndarray]:
    """Return the (n, 3) offset between paired lip vertices, and its (U, n * 3) change by units."""
    rig = bundled_rig()
    upper, lower = rig.topology.central_lip_pairs()
    rest = (rig.neutral[upper] - rig.neutral[lower]).astype(np.float64)
    deltas = (rig.unit_deltas[:, upper] - rig.unit_deltas[:, lower]).astype(np.float64)
    return rest, deltas.reshape(rig.n_units, -1)


@lru_cache(maxsize=2)
def _mouth_deltas(tongue: bool) -> np.ndarray:
    """Return the (U, n * 3) offsets of the vertices of the mouth, with or without the tongue."""
    rig = bundled_rig()
    region = rig.topology.region("mouth")
    if tongue:
        region = np.concatenate([region, np.arange(*rig.topology.parts["tongue"])])
    deltas = rig.unit_deltas[:, region].astype(np.float64)
    return deltas.reshape(rig.n_units, -1)


def _columns(names: Sequence[str]) -> list[int]:
    rig: Rig = bundled_rig()
    return [rig.unit_names.index(name) for name in names]
