"""Takes to export: random expressions of the bundled head, and of a small face with own units."""

from functools import cache

import numpy as np

from codetalker_cli.export.take import Take
from codetalker_cli.motion import Motion
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.units import UnitSet, bundled_rig, bundled_units
from codetalker_cli.topology import Topology


def smooth_weights(n_frames: int, n_units: int, seed: int = 0) -> np.ndarray:
    """Return (T, U) float32 weights from 0 to 1 that change slowly; most are near 0."""
    rng = np.random.default_rng(seed)
    knots = rng.uniform(size=(n_frames // 4 + 3, n_units)) ** 4
    position = np.arange(n_frames) / 4
    left = position.astype(int)
    part = (position - left)[:, None]
    return (knots[left] * (1 - part) + knots[left + 1] * part).astype(np.float32)


def head_take(
    n_frames: int = 12, fps: float = 30.0, weights: np.ndarray | None = None, **motion: object
) -> Take:
    """Return a take of subject S01 of the bundled head, whose curves must be solved.

    Args:
        n_frames: The number of frames, unless there are weights.
        fps: The frame rate.
        weights: (T, 58) unit weights; None: random ones.
        **motion: Other attributes of the motion, e.g. ``audio``.
    """
    rig = bundled_rig()
    if weights is None:
        weights = smooth_weights(n_frames, rig.n_units)
    made = Motion(
        rig.pose("S01", weights),
        fps,
        rig.topology,
        "S01",
        rig.template("S01"),
        rig.colors("S01"),
        **motion,  # type: ignore[arg-type]
    )
    return Take(made)


def curves_take(weights: np.ndarray, fps: float = 30.0) -> Take:
    """Return a take of the bundled head whose (T, 58) curves are known exactly."""
    take = head_take(fps=fps, weights=weights)
    return Take(take.motion, RigCurves(bundled_units("S01").names, fps, weights, "S01"))


@cache
def small_take(n_frames: int = 7, fps: float = 25.0, unit: str = "mm") -> Take:
    """Return a take of a face of 5 vertices in millimeters with two units of its own."""
    template = np.array([[0, 0, 0], [90, 0, 0], [90, 80, 0], [0, 80, 0], [45, 40, 30]], np.float32)
    triangles = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]], np.int32)
    deltas = np.zeros((2, 5, 3), np.float32)
    deltas[0, 4] = 0, 0, 20
    deltas[1, :2] = 0, -10, 5
    weights = smooth_weights(n_frames, 2, seed=1)
    vertices = template + np.einsum("tu,uvc->tvc", weights, deltas)
    topology = Topology("pyramid", triangles, 5, unit)
    motion = Motion(vertices.astype(np.float32), fps, topology, "P1", template)
    units = UnitSet(("jawOpen", "mouth Löwer"), deltas * np.float32(1e-3 if unit == "mm" else 1))
    return Take(motion, given_units=units)
