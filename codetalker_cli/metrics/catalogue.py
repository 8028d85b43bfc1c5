"""What each metric is called, what it means, what it needs, and in which unit it is told."""

from collections.abc import Sequence
from dataclasses import dataclass

from codetalker_cli.errors import InputError
from codetalker_cli.topology import Topology

INNER_LIPS = ("inner_lip_upper", "inner_lip_lower")


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        name: Its one name.
        definition: In words, for reports.
        dimension: Power of length, or 0 for a share.
        regions: Vertex regions that it needs.
        needs_metres: Whether the unit of length must be known.
        is_mm: Whether it is told in millimetres whatever the topology's unit.
        better: ``low``, ``high``, ``zero`` or ``none``.
    """

    name: str
    definition: str
    dimension: int
    regions: tuple[str, ...] = ()
    needs_metres: bool = False
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
        needs_metres=True,
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
        needs_metres=True,
        better="high",
    ),
    Metric(
        "lip_closure_recall",
        "of the frames in which the truth's inner lips are closed, the share in which the "
        "prediction's are closed too",
        0,
        INNER_LIPS,
        needs_metres=True,
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
    """Metric names as the command takes them → names of :data:`METRICS`; none: all.

    Raises:
        InputError: An unknown name; lists the known ones.
    """
    chosen: list[str] = []
    for name in names or METRICS:
        for one in GROUPS.get(name, (name,)):
            if one not in METRICS:
                known = ", ".join([*METRICS, *GROUPS])
                raise InputError(f"metric {name!r} is unknown; there are: {known}")
            chosen.append(one)
    return list(dict.fromkeys(chosen))


def lacking(name: str, topology: Topology) -> str:
    """Why a metric cannot be given on a topology, in a few words; empty if it can."""
    metric = METRICS[name]
    missing = [region for region in metric.regions if region not in topology.regions]
    if missing:
        return f"no region {' or '.join(missing)}"
    if metric.needs_metres and topology.metres_per_unit is None:
        return "the size of the unit is not known"
    return ""


def unit_of(name: str, topology: Topology) -> str:
    """The unit a metric is told in."""
    metric = METRICS[name]
    if metric.dimension == 0:
        return "share"
    if metric.is_mm:
        return "mm"
    length = topology.unit if topology.metres_per_unit is not None else "unit"
    return length if metric.dimension == 1 else f"{length}²"
