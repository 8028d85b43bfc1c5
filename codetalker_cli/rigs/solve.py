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
from codetalker_cli.rigs.units import UnitSet, bundled_units, is_bundled_head, units_of
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
    _check_size(units, motion.topology)
    solver = FrameSolver(motion.topology, units, settings)
    sides, energy = _reduce(motion, solver)
    weights = solver.minimize(sides)
    _report_misfit(solver.gram, sides, energy, weights)
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


class FrameSolver:
    """The problem of one face, which is solved for any frames.

    Args:
        topology: The mesh of the face.
        units: The units of the face.
        settings: The penalties; None: the defaults.

    Attributes:
        names: The names of the U units.
        gram: AᵀA, (U, U).
        factors: How much the squared error of each vertex counts, (V,).
    """

    def __init__(
        self, topology: Topology, units: UnitSet, settings: SolveSettings | None = None
    ) -> None:
        settings = SolveSettings.model_validate({}) if settings is None else settings
        self.names = units.names
        columns = units.deltas.astype(np.float64)
        self.factors = _vertex_factors(topology, settings)
        self._weighted = (columns * self.factors[:, None]).reshape(len(units.names), -1)
        self.gram = columns.reshape(len(units.names), -1) @ self._weighted.T
        # The penalties are relative to the size of each unit, so that small units are not
        # suppressed.
        sizes = np.diag(self.gram)
        least = _TINY * np.mean(sizes) + np.finfo(float).tiny
        self._hessian = self.gram + np.diag(settings.l2 * sizes + least)
        self._hessian += settings.symmetry * _asymmetry(units.names, np.sqrt(sizes))
        self._smoothness = np.diag(settings.smoothness * sizes)
        self._pairs = [
            (units.names.index(one), units.names.index(other))
            for one, other in settings.exclusive
            if one in units.names and other in units.names
        ]

    def weights(self, vertices: np.ndarray, neutral: np.ndarray) -> np.ndarray:
        """Return the (n, U) float32 weights of (n, V, 3) vertices, given the neutral face."""
        offsets = vertices.astype(np.float64) - neutral
        return self.minimize(self.sides(offsets.reshape(len(vertices), -1))).astype(np.float32)

    def sides(self, offsets: np.ndarray) -> np.ndarray:
        """Return the (n, U) Aᵀb of frames with (n, 3V) float64 offsets."""
        return offsets @ self._weighted.T

    def minimize(self, sides: np.ndarray) -> np.ndarray:
        """Return the (n, U) weights of consecutive frames with these Aᵀb."""
        problem = _Problem(self._hessian, sides, self._smoothness)
        bounds = np.ones_like(sides)
        weights = problem.minimize(bounds)
        for one, other in self._pairs:
            weaker = weights[:, one] < weights[:, other]
            bounds[weaker, one] = 0
            bounds[~weaker, other] = 0
        return problem.minimize(bounds, weights) if self._pairs else weights


def frame_solver(
    topology: Topology, subject: str, units: UnitSet | None = None
) -> FrameSolver | None:
    """Return the solver of a face, with ARKit's units if it is the bundled head.

    Args:
        topology: The mesh of the face.
        subject: The subject.
        units: The units of the face in meters; None: those of the bundled head.

    Returns:
        The solver, or None if the units of the face are unknown.

    Raises:
        InputError: ``units`` is not a ``UnitSet``.
        DataError: The units have another number of vertices.
    """
    if units is None:
        if not is_bundled_head(topology):
            return None
        return FrameSolver(topology, bundled_units(subject).arkit())
    if not isinstance(units, UnitSet):
        raise InputError(f"units: an argument of type {type(units).__name__} is not valid")
    _check_size(units, topology)
    scale = np.float32(topology.meters_per_unit or 1)
    return FrameSolver(topology, UnitSet(units.names, units.deltas / scale))


def _check_size(units: UnitSet, topology: Topology) -> None:
    if units.deltas.shape[1] != topology.n_vertices:
        raise DataError(
            f"`units` has {units.deltas.shape[1]} vertices, expected {topology.n_vertices} as in "
            "the motion"
        )


def _reduce(motion: Motion, solver: FrameSolver) -> tuple[np.ndarray, float]:
    """Return the (T, U) Aᵀb of all frames, and the sum of their ‖b‖²."""
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
            sides.append(solver.sides(offsets))
            energy += float(np.einsum("ti,ti,i", offsets, offsets, np.repeat(solver.factors, 3)))
    return np.concatenate(sides), energy


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
