"""Solve the weights of a rig's units for the vertices of a motion.

Each frame is a least-squares problem with bounds: the weights x from 0 to 1 that minimize
‖A x − b‖² plus penalties, where the columns of A are the units and b is the offset from the neutral
face. Only AᵀA and Aᵀb are needed, so the vertices are read once, and each frame becomes a problem
of U numbers.
"""

import logging

import numpy as np

from codetalker_cli.errors import DataError, InputError
from codetalker_cli.motion import Motion, check_finite, vertex_blocks
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.bounded import minimize
from codetalker_cli.rigs.units import UnitSet, units_of
from codetalker_cli.settings import SolveSettings
from codetalker_cli.topology import Topology

logger = logging.getLogger(__name__)

_BLOCK_BYTES = 16 << 20
"""The size of the float32 vertices that are converted to float64 at once."""
_TINY = 1e-9  # keeps the problem solvable without a penalty, and if a unit moves nothing
_MAX_SWEEPS = 100
_LEAST_EXPLAINED = 0.9
"""The share of the squared movement below which units do not fit; ARKit's 52 units explain 99 % of
the speech of the bundled voice, jawOpen and mouthFunnel alone 80 to 90 %."""
_CONVERGED = 1e-5
"""The change of a weight below which the sweeps over the frames end."""
_GAZE = {"eyeLookInLeft": "eyeLookOutRight", "eyeLookOutLeft": "eyeLookInRight"}
"""The units that move both eyes to the same side."""
_DIRECTIONS = ("jawLeft", "mouthLeft")
"""Units that move a part to the left; the unit with Right is not their mirror image on the face."""


def solve(motion: Motion, units: UnitSet, settings: SolveSettings | None = None) -> RigCurves:
    """Return the unit weights of each frame of a motion.

    Args:
        motion: The motion.
        units: The units of its face, in its length unit.
        settings: The penalties; None: the defaults.

    Raises:
        DataError: The units have another number of vertices.
    """
    settings = SolveSettings.model_validate({}) if settings is None else settings
    if units.deltas.shape[1] != motion.topology.n_vertices:
        raise DataError(
            f"`units` has {units.deltas.shape[1]} vertices, expected "
            f"{motion.topology.n_vertices} as in the motion"
        )
    gram, sides, energy = _reduce(motion, units, settings)
    # The penalties are relative to the size of each unit, so that small units are not suppressed.
    sizes = np.diag(gram)
    least = _TINY * np.mean(sizes) + np.finfo(float).tiny
    hessian = gram + np.diag(settings.l2 * sizes + least)
    hessian += settings.symmetry * _asymmetry(units.names, np.sqrt(sizes))
    problem = _Problem(hessian, sides, np.diag(settings.smoothness * sizes))
    bounds = np.ones_like(sides)
    weights = problem.minimize(bounds)
    pairs = [pair for pair in settings.exclusive if all(name in units.names for name in pair)]
    if pairs:
        for pair in pairs:
            one, other = (units.names.index(name) for name in pair)
            weaker = weights[:, one] < weights[:, other]
            bounds[weaker, one] = 0
            bounds[~weaker, other] = 0
        weights = problem.minimize(bounds, weights)
    _report_misfit(gram, sides, energy, weights)
    return RigCurves(
        units.names,
        motion.fps,
        weights.astype(np.float32),
        motion.subject,
        head=motion.head,
        audio=motion.audio,
        audio_path=motion.audio_path,
    )


def solve_curves(
    motion: Motion, units: UnitSet | None = None, settings: SolveSettings | None = None
) -> RigCurves:
    """Return the unit weights of each frame of a motion.

    Args:
        motion: The motion.
        units: The units of its face in meters; None: the 58 units of the bundled head, the first 52
            of which are ARKit's.
        settings: The penalties; None: the defaults.

    Raises:
        InputError: The face is not the bundled head, so its units must be given; or an argument has
            the wrong type.
        DataError: The units have another number of vertices.
    """
    for name, value, kind in (
        ("motion", motion, Motion),
        ("units", units, UnitSet | None),
        ("settings", settings, SolveSettings | None),
    ):
        if not isinstance(value, kind):
            raise InputError(f"{name}: an argument of type {type(value).__name__} is not valid")
    if units is None:
        return solve(motion, units_of(motion), settings)
    scale = np.float32(motion.topology.meters_per_unit or 1)
    return solve(motion, UnitSet(units.names, units.deltas / scale), settings)


def _reduce(
    motion: Motion, units: UnitSet, settings: SolveSettings
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return AᵀA, the (T, U) Aᵀb of all frames, and the sum of their ‖b‖²."""
    columns = units.deltas.astype(np.float64)
    factors = _vertex_factors(motion.topology, settings)
    weighted = (columns * factors[:, None]).reshape(len(units.names), -1)
    gram = columns.reshape(len(units.names), -1) @ weighted.T
    rest = motion.template.reshape(1, -1)
    if not np.isfinite(rest).all():
        raise DataError("the neutral face contains NaN or infinite values")
    sides: list[np.ndarray] = []
    energy, number = 0.0, 0
    for block in vertex_blocks(motion.vertices):
        for part in np.array_split(block, -(-block.nbytes // _BLOCK_BYTES)):
            check_finite(part, number)
            number += len(part)
            offsets = part.reshape(len(part), -1).astype(np.float64) - rest
            sides.append(offsets @ weighted.T)
            energy += float(np.einsum("ti,ti,i", offsets, offsets, np.repeat(factors, 3)))
    return gram, np.concatenate(sides), energy


def _report_misfit(gram: np.ndarray, sides: np.ndarray, energy: float, weights: np.ndarray) -> None:
    """Warn if the units cannot show the movement."""
    explained = 2 * np.sum(weights * sides) - np.sum((weights @ gram) * weights)
    share = float(explained) / energy if energy else 1.0
    if share < _LEAST_EXPLAINED:
        logger.warning(
            "the units reproduce only %.0f %% of the movement of the vertices; do they belong to "
            "this face, and are any missing?",
            100 * max(0.0, share),
        )


def _vertex_factors(topology: Topology, settings: SolveSettings) -> np.ndarray:
    """Return how much the squared error of each of the V vertices counts."""
    factors = np.ones(topology.n_vertices)
    factors[topology.regions.get("lips", [])] = settings.lips
    # ARKit's units cannot follow a tongue inside the mouth. Its error would move the jaw.
    factors[slice(*topology.parts.get("tongue", (0, 0)))] = settings.tongue
    return factors


def _asymmetry(names: tuple[str, ...], lengths: np.ndarray) -> np.ndarray:
    """Return S such that xᵀSx is the sum of (x_left − x_right)², weighted by the units' lengths."""
    matrix = np.zeros((len(names), len(names)))
    for name in names:
        other = _GAZE.get(name, name.removesuffix("Left") + "Right")
        if not name.endswith("Left") or name in _DIRECTIONS or other not in names:
            continue
        k, m = names.index(name), names.index(other)
        pair = np.ix_([k, m], [k, m])
        matrix[pair] += lengths[k] * lengths[m] * np.array([[1, -1], [-1, 1]])
    return matrix


class _Problem:
    """Minimize ½ xᵀHx − gᵀx of all frames plus ½ dᵀSd for all d = x(t) − x(t − 1), with bounds.

    Args:
        hessian: H, (U, U).
        linear: g, (T, U).
        smoothness: S, (U, U).
    """

    def __init__(self, hessian: np.ndarray, linear: np.ndarray, smoothness: np.ndarray) -> None:
        self._hessian, self._linear, self._smoothness = hessian, linear, smoothness

    def minimize(self, upper: np.ndarray, start: np.ndarray | None = None) -> np.ndarray:
        """Return the (T, U) minimizers with 0 ≤ x ≤ upper."""
        x = minimize(self._hessian, self._linear, upper, start)
        if not self._smoothness.any() or len(x) < 2:
            return x
        # Given the even frames, the odd ones are independent of each other, and vice versa.
        inner = np.arange(1, len(x) - 1)
        groups = [(inner[first::2], 2) for first in (0, 1)]
        groups += [(np.array([0]), 1), (np.array([len(x) - 1]), 1)]
        for _ in range(_MAX_SWEEPS):
            before = x.copy()
            for frames, n_neighbors in groups:
                neighbors = np.zeros_like(x[frames])
                if n_neighbors == 2 or frames[0] > 0:
                    neighbors += x[frames - 1]
                if n_neighbors == 2 or frames[0] == 0:
                    neighbors += x[frames + 1]
                hessian = self._hessian + n_neighbors * self._smoothness
                linear = self._linear[frames] + neighbors @ self._smoothness
                x[frames] = minimize(hessian, linear, upper[frames], x[frames])
            if np.abs(x - before).max() < _CONVERGED:
                break
        return x
