"""The metrics: formulas in float64, and the name, unit and needs of each.

Motion is vertices − template; longer predictions are cut.

Definitions follow the official evaluation where it has one.
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
    """Largest squared distance over the lip vertices, for each frame, in squared length units.

    Args:
        predicted: At least as many frames as ``true`` has; longer ones are cut.
        true: True vertices.
        lips: Lip vertex indices.
    """
    difference = np.subtract(predicted[: len(true), lips], true[:, lips], dtype=np.float64)
    return np.square(difference).sum(-1).max(-1)


def lve(errors: Sequence[Float[np.ndarray, " _"]]) -> float:
    """Lip vertex error: mean of ``lip_errors`` over all frames of all clips. Unit: length²."""
    return float(np.concatenate(errors).mean(dtype=np.float64))


def lve_mm(errors: Sequence[Float[np.ndarray, " _"]], meters_per_unit: float) -> float:
    """Mean over all frames of the root of ``lip_errors``, in millimeters."""
    roots = np.sqrt(np.concatenate(errors), dtype=np.float64)
    return float(roots.mean() * meters_per_unit * 1000.0)


def mve(
    predicted: Float[np.ndarray, "predicted_frames vertices 3"],
    true: Float[np.ndarray, "frames vertices 3"],
) -> float:
    """Mean over frames and all vertices of the Euclidean distance. Unit: length."""
    return float(distances(predicted[: len(true)], true).mean())


def distances(
    predicted: Float[np.ndarray, "frames vertices 3"], true: Float[np.ndarray, "frames vertices 3"]
) -> Float64[np.ndarray, "frames vertices"]:
    """Euclidean distance of each vertex."""
    return np.linalg.norm(np.subtract(predicted, true, dtype=np.float64), axis=-1)


def squared_motion(
    vertices: Float[np.ndarray, "frames vertices 3"],
    template: Float[np.ndarray, "vertices 3"],
    upper: Int[np.ndarray, " upper"],
) -> Float64[np.ndarray, "frames upper"]:
    """Squared norm of the motion of the upper-face vertices."""
    motion = np.subtract(vertices[:, upper], template[upper], dtype=np.float64)
    return np.square(motion).sum(-1)


def motion_dynamics(
    vertices: Float[np.ndarray, "frames vertices 3"],
    template: Float[np.ndarray, "vertices 3"],
    upper: Int[np.ndarray, " upper"],
) -> float:
    """How much the upper face moves: half of the upper-face dynamics deviation (fdd).

    Per vertex the standard deviation over time (ddof 0) of the squared norm of its motion; mean
    over the vertices. ``fdd`` of a clip is that of the truth minus that of the prediction.

    Args:
        vertices: Vertices of each frame.
        template: Neutral face of the subject.
        upper: Upper-face vertex indices.

    Returns:
        Squared length units.
    """
    return float(squared_motion(vertices, template, upper).std(0).mean())


def closures(
    topology: Topology, vertices: Float[np.ndarray, "frames vertices 3"], closed_mm: float
) -> Bool[np.ndarray, " frames"]:
    """Whether the inner lips are closer than ``closed_mm`` millimeters.

    Raises:
        DataError: The topology has no pairs of inner-lip vertices.
        ValueError: Its unit has no known size.
    """
    if topology.meters_per_unit is None:
        raise ValueError(f"topology {topology.name}: the size of its unit is not known")
    gap = topology.inner_lip_gap(vertices.astype(np.float64))
    return gap * topology.meters_per_unit * 1000.0 < closed_mm


def diversity(motions: Sequence[Float[Vertices, "_ vertices 3"]], block: int = 64) -> float:
    """Mean pairwise distance between results for different styles of the same speech.

    For each pair the mean over frames and all vertices of the Euclidean distance; mean over pairs.

    Args:
        motions: Vertices of one face, one a style, at least two; longer ones are cut.
        block: Frames held at once.

    Returns:
        Length units.
    """
    if len(motions) < 2:
        raise ValueError(f"diversity is of at least two motions, not {len(motions)}")
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
    """A metric.

    Attributes:
        name: Its one name.
        definition: In words, for reports.
        dimension: Power of length, or 0 for a share.
        regions: Vertex regions that it needs.
        needs_meters: Whether the unit of length must be known.
        is_mm: Whether it is told in millimeters whatever the topology's unit.
        better: ``low``, ``high``, ``zero`` or ``none``.
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
        "lip vertex error: for each frame the largest squared distance over the lip vertices; mean "
        "over all frames of all clips, as the published figures",
        2,
        ("lips",),
    ),
    Metric(
        "lve_mm",
        "root of each frame's largest squared distance over the lip vertices; mean over all frames",
        1,
        ("lips",),
        needs_meters=True,
        is_mm=True,
    ),
    Metric(
        "fdd",
        "upper-face dynamics deviation, signed, as the published figures: per vertex the standard "
        "deviation over time of the squared norm of its motion, mean over the upper face; truth "
        "minus prediction, mean over clips (positive: the prediction moves too little)",
        2,
        ("upper_face",),
        better="zero",
    ),
    Metric(
        "fdd_abs",
        "the same with the absolute difference of each clip",
        2,
        ("upper_face",),
    ),
    Metric("mve", "mean over all frames and all vertices of the distance", 1),
    Metric(
        "lip_closure_precision",
        "of the frames in which the prediction's inner lips are closed, the share in which the "
        "truth's are closed too",
        0,
        INNER_LIPS,
        needs_meters=True,
        better="high",
    ),
    Metric(
        "lip_closure_recall",
        "of the frames in which the truth's inner lips are closed, the share in which the "
        "prediction's are closed too",
        0,
        INNER_LIPS,
        needs_meters=True,
        better="high",
    ),
    Metric(
        "diversity",
        "mean distance, over all frames and vertices, between results for different styles of the "
        "same speech; mean over pairs, then over clips",
        1,
        better="none",
    ),
]
METRICS = {metric.name: metric for metric in _ALL}
GROUPS = {"lip_closure": ("lip_closure_precision", "lip_closure_recall")}
"""Names that mean several."""


def expand(names: Sequence[str]) -> list[str]:
    """Metric names as the command takes them → names of ``METRICS``; none: all.

    Raises:
        InputError: An unknown name; lists the known ones.
    """
    selected: list[str] = []
    for name in names or METRICS:
        for member in GROUPS.get(name, (name,)):
            if member not in METRICS:
                known = ", ".join([*METRICS, *GROUPS])
                raise InputError(f"metric {name!r} is unknown; there are: {known}")
            selected.append(member)
    return list(dict.fromkeys(selected))


def lacking(name: str, topology: Topology) -> str:
    """Why a metric cannot be given on a topology, in a few words; empty if it can."""
    metric = METRICS[name]
    missing = [region for region in metric.regions if region not in topology.regions]
    if missing:
        return f"no region {' or '.join(missing)}"
    if metric.needs_meters and topology.meters_per_unit is None:
        return "the size of the unit is not known"
    return ""


def unit_of(name: str, topology: Topology) -> str:
    """The unit a metric is told in."""
    metric = METRICS[name]
    if metric.dimension == 0:
        return "share"
    if metric.is_mm:
        return "mm"
    length = topology.unit if topology.meters_per_unit is not None else "unit"
    return length if metric.dimension == 1 else f"{length}²"
