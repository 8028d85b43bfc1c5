"""The formulas of the metrics in float64, and the name, unit and requirements of each metric.

Motion means vertices minus template. A prediction is cut to the length of the truth. The metrics
that the official evaluation code computes are defined as there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from codetalker_cli.errors import InputError
from codetalker_cli.motion import Vertices
from codetalker_cli.topology import Topology


def lip_errors(
    predicted: Float[np.ndarray, "predicted_frames vertices 3"],
    true: Float[np.ndarray, "frames vertices 3"],
    lips: Int[np.ndarray, " lips"],
) -> Float64[np.ndarray, " frames"]:
    """Return the largest squared distance over the lip vertices for each frame.

    Args:
        predicted: The predicted vertices, with at least as many frames as ``true``; further
            frames are ignored.
        true: The true vertices.
        lips: The indices of the lip vertices.

    Returns:
        One value per frame in squared length units.
    """
    difference = np.subtract(predicted[: len(true), lips], true[:, lips], dtype=np.float64)
    return np.square(difference).sum(-1).max(-1)


def lve(errors: Sequence[Float[np.ndarray, " _"]]) -> float:
    """Return the lip vertex error: the mean of ``lip_errors`` over all frames of all clips."""
    return float(np.concatenate(errors).mean(dtype=np.float64))


def lve_mm(errors: Sequence[Float[np.ndarray, " _"]], meters_per_unit: float) -> float:
    """Return the mean square root of ``lip_errors`` over all frames, in millimeters."""
    roots = np.sqrt(np.concatenate(errors), dtype=np.float64)
    return float(roots.mean() * meters_per_unit * 1000.0)


def mve(
    predicted: Float[np.ndarray, "predicted_frames vertices 3"],
    true: Float[np.ndarray, "frames vertices 3"],
) -> float:
    """Return the mean vertex error: the mean distance over all frames and vertices."""
    return float(distances(predicted[: len(true)], true).mean())


def distances(
    predicted: Float[np.ndarray, "frames vertices 3"], true: Float[np.ndarray, "frames vertices 3"]
) -> Float64[np.ndarray, "frames vertices"]:
    """Return the Euclidean distance of each vertex in each frame."""
    return np.linalg.norm(np.subtract(predicted, true, dtype=np.float64), axis=-1)


def squared_motion(
    vertices: Float[np.ndarray, "frames vertices 3"],
    template: Float[np.ndarray, "vertices 3"],
    upper: Int[np.ndarray, " upper"],
) -> Float64[np.ndarray, "frames upper"]:
    """Return the squared norm of the motion of the upper-face vertices."""
    motion = np.subtract(vertices[:, upper], template[upper], dtype=np.float64)
    return np.square(motion).sum(-1)


def motion_dynamics(
    vertices: Float[np.ndarray, "frames vertices 3"],
    template: Float[np.ndarray, "vertices 3"],
    upper: Int[np.ndarray, " upper"],
) -> float:
    """Return how strongly the upper face moves.

    This is the standard deviation over time (ddof 0) of the squared norm of a vertex's motion,
    averaged over the upper-face vertices. The upper-face dynamics deviation (``fdd``) of a clip is
    this value for the truth minus this value for the prediction.

    Args:
        vertices: The vertices of each frame.
        template: The neutral face of the subject.
        upper: The indices of the upper-face vertices.

    Returns:
        The mean standard deviation in squared length units.
    """
    return float(squared_motion(vertices, template, upper).std(0).mean())


def closures(
    topology: Topology, vertices: Float[np.ndarray, "frames vertices 3"], closed_mm: float
) -> Bool[np.ndarray, " frames"]:
    """Return for each frame whether the inner lips are closer than ``closed_mm`` millimeters.

    Raises:
        DataError: The topology has no inner-lip regions.
        ValueError: The length of a unit in meters is unknown.
    """
    if topology.meters_per_unit is None:
        raise ValueError(
            f"topology {topology.name}: lip_closure needs meters or millimeters as the length "
            f"unit, found {topology.unit}"
        )
    gap = topology.inner_lip_gap(vertices.astype(np.float64))
    return gap * topology.meters_per_unit * 1000.0 < closed_mm


def diversity(motions: Sequence[Float[Vertices, "_ vertices 3"]], block: int = 64) -> float:
    """Return the mean pairwise distance between predictions of the same speech.

    For each pair of styles, the Euclidean distance is averaged over all frames and vertices. The
    result is the mean over the pairs.

    Args:
        motions: The vertices of one face in two or more styles, cut to the shortest motion.
        block: The number of frames in memory at a time.

    Returns:
        The mean distance in length units.
    """
    if len(motions) < 2:
        raise ValueError(f"diversity needs at least two motions, found {len(motions)}")
    n_frames = min(len(motion) for motion in motions)
    pairs = list(combinations(range(len(motions)), 2))
    total = 0.0
    for start in range(0, n_frames, block):
        stop = min(start + block, n_frames)
        parts = [np.asarray(motion[start:stop]) for motion in motions]
        total += sum(float(distances(parts[a], parts[b]).sum()) for a, b in pairs)
    return total / (len(pairs) * n_frames * motions[0].shape[1])


# The catalog ------------------------------------------------------------------------------------


INNER_LIPS = ("inner_lip_upper", "inner_lip_lower")


@dataclass(frozen=True)
class Metric:
    """The description of a metric.

    Attributes:
        name: The name in commands, reports and files.
        definition: The definition in words, for reports.
        dimension: The power of the length unit, or 0 for a fraction.
        regions: The vertex regions that the metric requires.
        needs_meters: Whether the metric requires a topology with a known length unit.
        is_mm: Whether the metric is in millimeters regardless of the unit of the topology.
        better: Which values are better: ``low``, ``high``, ``zero`` or ``none`` (no preference).
    """

    name: str
    definition: str
    dimension: int
    regions: tuple[str, ...] = ()
    needs_meters: bool = False
    is_mm: bool = False
    better: str = "low"


_ALL = [
    Metric(
        "lve",
        "lip vertex error: the largest squared distance between a predicted and a true lip vertex "
        "in each frame, averaged over all frames of all clips, as in published figures",
        2,
        ("lips",),
    ),
    Metric(
        "lve_mm",
        "the largest distance between a predicted and a true lip vertex in each frame, averaged "
        "over all frames of all clips",
        1,
        ("lips",),
        needs_meters=True,
        is_mm=True,
    ),
    Metric(
        "fdd",
        "upper-face dynamics deviation, as in published figures: the dynamics of the truth minus "
        "those of the prediction, averaged over clips (positive: the prediction moves too "
        "little); dynamics are the standard deviation over time of the squared norm of a "
        "vertex's motion, averaged over the upper face",
        2,
        ("upper_face",),
        better="zero",
    ),
    Metric(
        "fdd_abs",
        "the same as fdd, but with the absolute value of the difference of each clip",
        2,
        ("upper_face",),
    ),
    Metric(
        "mve",
        "mean vertex error: the distance between predicted and true vertices, averaged over all "
        "frames and vertices",
        1,
    ),
    Metric(
        "lip_closure_precision",
        "among the frames in which the lips of the prediction are closed, the fraction in which "
        "those of the truth are also closed",
        0,
        INNER_LIPS,
        needs_meters=True,
        better="high",
    ),
    Metric(
        "lip_closure_recall",
        "among the frames in which the lips of the truth are closed, the fraction in which those "
        "of the prediction are also closed",
        0,
        INNER_LIPS,
        needs_meters=True,
        better="high",
    ),
    Metric(
        "diversity",
        "distance between predictions of the same speech in different styles, averaged over all "
        "frames and vertices, pairs of styles, and clips",
        1,
        better="none",
    ),
]
METRICS = {metric.name: metric for metric in _ALL}
GROUPS = {"lip_closure": ("lip_closure_precision", "lip_closure_recall")}
"""Names that select several metrics."""


def expand(names: Sequence[str]) -> list[str]:
    """Replace group names by their metrics; without names, return all metrics.

    Raises:
        InputError: A name is unknown. The message lists the choices.
    """
    selected: list[str] = []
    for name in names or METRICS:
        for member in GROUPS.get(name, (name,)):
            if member not in METRICS:
                known = ", ".join([*METRICS, *GROUPS])
                raise InputError(f"metric {name!r} is unknown; the choices are {known}")
            selected.append(member)
    return list(dict.fromkeys(selected))


def lacking(name: str, topology: Topology) -> str:
    """Return why a topology does not support a metric, or an empty string if it does."""
    metric = METRICS[name]
    missing = [region for region in metric.regions if region not in topology.regions]
    if missing:
        return f"no region {' or '.join(missing)}"
    if metric.needs_meters and topology.meters_per_unit is None:
        return "the length unit is unknown"
    return ""


def unit_of(name: str, topology: Topology) -> str:
    """Return the unit of a metric on a topology, such as ``mm`` or ``m²``."""
    metric = METRICS[name]
    if metric.dimension == 0:
        return "share"
    if metric.is_mm:
        return "mm"
    length = topology.unit if topology.meters_per_unit is not None else "unit"
    return length if metric.dimension == 1 else f"{length}²"
