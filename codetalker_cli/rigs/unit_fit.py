"""Fit the neutral face of a file of units to that of a motion.

The file can have another length unit or position, and its vertices can be split at texture seams,
as in most .glb files, or be in another order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from codetalker_cli.errors import DataError, counted
from codetalker_cli.face_fit import SAME_SIZE, difference_in_pose, rms_distance, spread
from codetalker_cli.motion import Motion
from codetalker_cli.topology import MAX_COORDINATE

TOLERANCE = 2e-3
"""The largest distance between matching vertices, as a fraction of the spread of the face: 0.2 mm
for a head."""
_LOOSE = 0.25
"""Two people's faces with the same vertices are within this RMS distance, as a fraction."""
_STRETCHED = 1.5
"""Edges between vertices in a wrong order are longer than by this factor."""
_N_NEIGHBORS = 32
_N_SAMPLES = 500
_FILE_UNITS = (1.0, 1e-3, 1e-2)
"""The length units that a file can have, in meters."""


@dataclass(frozen=True)
class Neutral:
    """The neutral face of a file.

    Attributes:
        vertices: (N, 3) float64 positions in the unit of the file.
        triangles: (F, 3) vertex indices, or None if they are unknown.
        pieces: The ranges [start, stop) of vertices that can be a face by themselves.
        movement: (N, K) numbers that are equal for vertices that move equally, or None.
    """

    vertices: np.ndarray
    triangles: np.ndarray | None = None
    pieces: Sequence[tuple[int, int]] = ()
    movement: np.ndarray | None = None

    def normals(self) -> np.ndarray:
        """Return the (N, 3) normals, smooth across seams at which vertices are split."""
        assert self.triangles is not None
        if self.movement is None:
            return vertex_normals(self.vertices, self.triangles)
        rows = np.concatenate([self.vertices, self.movement], axis=1)
        first, whole = np.unique(rows, axis=0, return_index=True, return_inverse=True)[1:]
        whole = whole.reshape(-1)
        return vertex_normals(self.vertices[first], whole[self.triangles])[whole]


@dataclass(frozen=True)
class Fit:
    """How the vertices of a file correspond to those of a motion.

    Attributes:
        vertices: (V,) the vertex of the file for each vertex of the motion.
        scale: The factor from the length unit of the file to that of the motion.
    """

    vertices: np.ndarray
    scale: float


def fit(neutral: Neutral, motion: Motion, where: str) -> Fit:
    """Return the vertices of a file that correspond to those of a motion.

    Args:
        neutral: The neutral face of the file.
        motion: The motion.
        where: The file, for messages.

    Raises:
        DataError: The faces do not fit.
    """
    in_order = _fit_in_order(neutral, motion, loosely=False)
    if in_order is not None:
        return in_order
    by_position = None
    if neutral.triangles is not None and len(neutral.triangles):
        by_position = _fit_by_position(neutral, motion)
        if isinstance(by_position, Fit):
            return by_position
    in_order = _fit_in_order(neutral, motion, loosely=True)
    if in_order is not None:
        return in_order
    raise DataError(f"{where}: {_describe_misfit(neutral, motion, by_position)}")


# In the order of the file -------------------------------------------------------------------------


def unit_scales(motion: Motion) -> list[float]:
    """Return the factors from meters, millimeters and centimeters to the unit of a motion."""
    meters = motion.topology.meters_per_unit
    return [] if meters is None else [unit / meters for unit in _FILE_UNITS]


def _fit_in_order(neutral: Neutral, motion: Motion, *, loosely: bool) -> Fit | None:
    """Return the fit of a face or of a piece with as many vertices as the motion, or None."""
    template = motion.template.astype(np.float64)
    for start, stop in dict.fromkeys([(0, len(neutral.vertices)), *neutral.pieces]):
        part = neutral.vertices[start:stop]
        if len(part) != len(template) or not 0 < spread(part) < MAX_COORDINATE:
            continue
        scale = spread(template) / spread(part)
        nearest = min(unit_scales(motion), key=lambda s: abs(np.log(s / scale)), default=scale)
        if SAME_SIZE[0] < nearest / scale < SAME_SIZE[1] and (
            loosely or abs(nearest / scale - 1) < TOLERANCE
        ):
            scale = nearest
        elif loosely and motion.topology.meters_per_unit is not None:
            continue
        a, b = (part - part.mean(0)) * scale, template - template.mean(0)
        fits = rms_distance(a, b) < (_LOOSE if loosely else TOLERANCE) * spread(b)
        if fits and (not loosely or _has_short_edges(a, b, motion.topology.triangles)):
            return Fit(np.arange(start, stop), scale)
    return None


def _has_short_edges(face: np.ndarray, template: np.ndarray, triangles: np.ndarray) -> bool:
    """Return whether the vertices of a face (V, 3) are in the order of the triangles."""
    a, b = triangles[:, [0, 1, 2]].ravel(), triangles[:, [1, 2, 0]].ravel()
    lengths = [float(np.linalg.norm(v[a] - v[b], axis=1).mean()) for v in (face, template)]
    return lengths[0] <= _STRETCHED * lengths[1]


# By position --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Alignment:
    """A placement of the motion's template in the file: ``(template − shift) / scale``."""

    scale: float
    shift: np.ndarray


@dataclass(frozen=True)
class _Misses:
    """The best placement that does not fit."""

    n_missing: int
    largest: float


def _fit_by_position(neutral: Neutral, motion: Motion) -> Fit | _Misses:
    from scipy.spatial import KDTree

    template = motion.template.astype(np.float64)
    tree = KDTree(neutral.vertices)
    tolerance = TOLERANCE * spread(template)
    sample = np.linspace(0, len(template) - 1, min(len(template), _N_SAMPLES)).round().astype(int)

    def distances(alignment: _Alignment, vertices: np.ndarray) -> np.ndarray:
        found: np.ndarray = tree.query((vertices - alignment.shift) / alignment.scale)[0]
        return found * alignment.scale

    best, fewest = None, np.inf
    for alignment in _alignments(neutral, motion):
        n_missing = int((distances(alignment, template[sample]) > tolerance).sum())
        if n_missing < fewest:
            best, fewest = alignment, n_missing
        if n_missing == 0 and (distances(alignment, template) <= tolerance).all():
            placed = (template - alignment.shift) / alignment.scale
            nearest, found = tree.query(placed, k=min(_N_NEIGHBORS, len(neutral.vertices)))
            shape = (len(placed), -1)
            nearest = nearest.reshape(shape) * alignment.scale
            return Fit(_choose(nearest, found.reshape(shape), neutral, motion), alignment.scale)
    if best is None:
        return _Misses(len(template), np.inf)
    missed = distances(best, template)
    return _Misses(int((missed > tolerance).sum()), float(missed.max()))


def _alignments(neutral: Neutral, motion: Motion) -> Iterator[_Alignment]:
    """Yield placements: in the same place in each length unit, then with equal bounding boxes."""
    for scale in unit_scales(motion):
        yield _Alignment(scale, np.zeros(3))
    template = motion.template.astype(np.float64)
    size, center = _box(template)
    for start, stop in dict.fromkeys([(0, len(neutral.vertices)), *neutral.pieces]):
        part_size, part_center = _box(neutral.vertices[start:stop])
        if part_size:
            scale = size / part_size
            yield _Alignment(scale, center - part_center * scale)


def _box(vertices: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the diagonal and the center of the bounding box of vertices (V, 3)."""
    low, high = vertices.min(0), vertices.max(0)
    return float(np.linalg.norm(high - low)), (low + high) / 2


def _choose(
    distances: np.ndarray, found: np.ndarray, neutral: Neutral, motion: Motion
) -> np.ndarray:
    """Return the (V,) vertices of the file, using normals where several are equally close.

    Touching lips are two sheets in the same place, which move apart. They face each other.

    Args:
        distances: (V, K) distances of the nearest vertices of the file, the nearest first.
        found: (V, K) their indices.
        neutral: The neutral face of the file.
        motion: The motion.
    """
    normals = vertex_normals(motion.template.astype(np.float64), motion.topology.triangles)
    others = neutral.normals()
    agreement = (normals[:, None] * others[found]).sum(-1)
    if agreement[:, 0].sum() < 0:  # the triangles of the file are inside out
        agreement = -agreement
    # The largest distance shows how much the positions are rounded.
    limit = distances[:, :1] + 2 * distances[:, 0].max()
    return found[np.arange(len(found)), np.where(distances <= limit, agreement, -2).argmax(1)]


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return (V, 3) unit normals; 0 for vertices without triangles."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    faces = np.cross(b - a, c - a)
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, triangles[:, k], faces)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)


# Messages -----------------------------------------------------------------------------------------


def _describe_misfit(neutral: Neutral, motion: Motion, misses: Fit | _Misses | None) -> str:
    template = motion.template.astype(np.float64)
    n_found, n_expected = len(neutral.vertices), len(template)
    unit = motion.topology.unit if motion.topology.meters_per_unit else "units"
    what = "the neutral face does not fit that of the motion"
    todo = "give units that were made for the face of the motion"
    if n_found == n_expected and spread(neutral.vertices):
        scale = spread(template) / spread(neutral.vertices)
        scales = unit_scales(motion)
        if scales and not any(SAME_SIZE[0] < s / scale < SAME_SIZE[1] for s in scales):
            return (
                f"{what}: the mean distance of its vertices from the center is "
                f"{spread(neutral.vertices):.4g}, expected {spread(template):.4g} {unit} or the "
                f"same in m, cm or mm; {todo}"
            )
        pose = difference_in_pose(neutral.vertices * scale, template)
        if pose:
            return f"{what}: it {pose} the template; {todo}"
    if isinstance(misses, _Misses) and np.isfinite(misses.largest):
        return (
            f"{what}: {misses.n_missing} of {counted(n_expected, 'vertex')} have no counterpart "
            f"within {TOLERANCE * spread(template):.3g} {unit} (the farthest is "
            f"{misses.largest:.3g} {unit} away); {todo}"
        )
    if n_found != n_expected:
        return (
            f"the neutral face has {counted(n_found, 'vertex')}, expected {n_expected} as in the "
            f"motion; {todo}"
        )
    return f"{what}: it has another shape; {todo}"
