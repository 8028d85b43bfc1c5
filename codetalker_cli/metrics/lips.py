"""Measure how well a motion can be lip-read, given the times of the phones.

Phones are ARPABET symbols. The lip gap is the mean distance between the lips, as computed by
``Topology.inner_lip_gap``. All curves are (T,) arrays in millimeters with one value per frame.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from codetalker_cli.surface import edge_graph
from codetalker_cli.topology import Topology

CLOSED_MM, OPEN_MM, TEETH_MM = 1.0, 6.0, 2.0
"""The largest lip gap of closed lips, the smallest lip gap of an open mouth, and the largest
distance of the lip from the teeth in f and v."""
NEAR_FRAMES, EXCUSED_FRAMES, MEETING_FRAMES = 1, 2, 4
"""Tolerances in frames. A closure may be ``NEAR_FRAMES`` outside its phone. A contact is expected
up to ``EXCUSED_FRAMES`` from a phone that may close the lips. A phone is matched with a contact up
to ``MEETING_FRAMES`` away."""
BILABIALS, LABIODENTALS = {"P", "B", "M"}, {"F", "V"}
STRESSED, OPEN_VOWELS = {"AA", "AE", "AW", "AY"}, {"AA", "AE", "AW", "AY", "AH"}
ROUNDED, SPREAD = {"W", "UW", "OW"}, {"IY", "IH", "S"}
EXCUSES = BILABIALS | LABIODENTALS | {"SIL", ""}
SHARES = ("closure", "false", "labiodental", "opening", "stressed")
"""The measures that are fractions: their values are 0 or 1."""
INCISORS_MM, LIP_MM = 10.0, 12.0
"""Half widths of the parts of the upper teeth and of the lower lip that touch in f and v."""

Verdicts = dict[str, list[float]]
"""The values of each measure, one per phone or contact."""


class TimedPhone(NamedTuple):
    """A phone and its time interval.

    Attributes:
        label: The ARPABET symbol in upper or lower case, with or without a stress digit; ``SIL`` or
            empty for silence.
        start_seconds, end_seconds: The interval in seconds.
    """

    label: str
    start_seconds: float
    end_seconds: float


class LipCurves(NamedTuple):
    """The curves that a motion is scored by.

    Attributes:
        gap_mm: The distance between the inner lips.
        width_mm: The width of the mouth, or None.
        teeth_mm: The distance of the lower lip from the upper incisors, or None.
    """

    gap_mm: Float[np.ndarray, " frames"]
    width_mm: Float[np.ndarray, " frames"] | None = None
    teeth_mm: Float[np.ndarray, " frames"] | None = None


def runs(mask: Bool[np.ndarray, " frames"]) -> list[tuple[int, int]]:
    """Return the range [first, stop) of each run of true frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def score(curves: LipCurves, fps: float, phones: Sequence[TimedPhone]) -> Verdicts:
    """Score every phone of a motion. Phones with a middle after its end are ignored.

    Args:
        curves: The lip curves of the motion.
        fps: The frame rate in frames per second.
        phones: The phones of the speech.

    Returns:
        The values of each measure:

        - ``closure``: For each p, b, m: 1 if the gap is below 1 mm in its interval ± 1 frame.
        - ``false``: For each lip contact: 1 if no p, b, m, f, v or silence is within 2 frames.
        - ``labiodental``: For each f, v: 1 if lip and teeth are within 2 mm, ± 1 frame.
        - ``opening``: For each aa, ae, aw, ay, ah: 1 if the gap is above 6 mm in the middle frame.
        - ``stressed``: The same as ``opening``, but without ah.
        - ``rounded``: The width of the mouth in the middle frame of each w, uw, ow, in mm.
        - ``spread``: The width of the mouth in the middle frame of each iy, ih, s, in mm.
        - ``lag``: Frames from the middle of each p, b, m to the middle of the nearest lip contact,
          if one is close enough.
    """
    gap_mm, width_mm, teeth_mm = curves
    last = len(gap_mm) - 1
    found: Verdicts = {key: [] for key in (*SHARES, "rounded", "spread", "lag")}
    contacts = runs(gap_mm < CLOSED_MM)
    excused = np.zeros(len(gap_mm), dtype=bool)
    for phone in phones:
        label = phone.label.upper().rstrip("012")
        first, final = phone.start_seconds * fps, phone.end_seconds * fps
        middle = (first + final) / 2
        near = _around(first, final, NEAR_FRAMES)
        if label in EXCUSES:
            excused[_around(first, final, EXCUSED_FRAMES)] = True
        if middle > last + 0.5:
            continue
        middle_frame = min(last, round(middle))
        if label in BILABIALS:
            found["closure"].append(float(gap_mm[near].min(initial=np.inf) < CLOSED_MM))
            found["lag"] += _lag(contacts, middle)
        if label in LABIODENTALS and teeth_mm is not None:
            found["labiodental"].append(float(teeth_mm[near].min(initial=np.inf) <= TEETH_MM))
        if label in OPEN_VOWELS:
            is_open = float(gap_mm[middle_frame] > OPEN_MM)
            for key in ("opening", "stressed") if label in STRESSED else ("opening",):
                found[key].append(is_open)
        for key, labels in (("rounded", ROUNDED), ("spread", SPREAD)):
            if label in labels and width_mm is not None:
                found[key].append(float(width_mm[middle_frame]))
    found["false"] = [float(not excused[a:b].any()) for a, b in contacts]
    return found


def _around(first: float, final: float, n: int) -> slice:
    """Return the slice of the frames of an interval and ``n`` more on each side."""
    return slice(max(0, int(first) - n), max(0, int(np.ceil(final)) + n + 1))


def _lag(contacts: list[tuple[int, int]], middle: float) -> list[float]:
    """Return the lag of the nearest contact in frames, or an empty list if none is close enough."""
    lags = [
        (a + b - 1) / 2 - middle
        for a, b in contacts
        if a - MEETING_FRAMES <= middle <= b - 1 + MEETING_FRAMES
    ]
    return [min(lags, key=abs)] if lags else []


def area_under_curve(lower: Sequence[float], higher: Sequence[float]) -> float:
    """Return the probability that a value of ``higher`` exceeds a value of ``lower``.

    Ties count half (Mann and Whitney 1947).
    """
    a, b = np.array(lower)[:, None], np.array(higher)[None]
    return float(((a < b) + 0.5 * (a == b)).mean())


def teeth_distance(
    topology: Topology,
    template: Float[np.ndarray, "vertices 3"],
    vertices: Float[np.ndarray, "frames vertices 3"],
) -> Float[np.ndarray, " frames"]:
    """Return the distance of the lower lip from the edge of the upper incisors in each frame.

    Args:
        topology: A topology with the part ``teeth_upper`` and the regions ``lips``,
            ``inner_lip_upper`` and ``inner_lip_lower``.
        template: The neutral face, with +y up and +z forward.
        vertices: The vertices of the motion.

    Returns:
        The median distance along the edge for each frame, in length units.
    """
    teeth = IncisorEdge.of(topology, template)
    return np.array([teeth.distance(teeth.offsets(frame)) for frame in vertices])


class IncisorEdge(NamedTuple):
    """The edge of the upper incisors, and the part of the lower lip that touches it in f and v.

    Attributes:
        edge: The vertices along the edge.
        lip: The vertices of the lower lip.
        triangles: The triangles between them.
    """

    edge: Int[np.ndarray, " edge"]
    lip: Int[np.ndarray, " lip"]
    triangles: Int[np.ndarray, "triangles 3"]

    @classmethod
    def of(cls, topology: Topology, template: Float[np.ndarray, "vertices 3"]) -> "IncisorEdge":
        """Find the edge and the lip on a neutral face, as described in ``teeth_distance``."""
        scale = _mm_per_unit(topology)
        start, stop = topology.parts["teeth_upper"]
        teeth = template[start:stop] * scale
        front = teeth[:, 2] > teeth[:, 2].max() - 9.0
        edge = []
        for x in np.arange(-INCISORS_MM, INCISORS_MM + 0.1, 2.0):
            inside = np.flatnonzero(front & (np.abs(teeth[:, 0] - x) < 1.2))
            if len(inside):
                edge.append(start + inside[teeth[inside, 1].argmin()])
        lips = topology.region("lips")
        central = np.abs(template[lips, 0] * scale) < LIP_MM
        lower = lips[central & _is_lower(topology, template)[lips]]
        triangles = topology.triangles[np.isin(topology.triangles, lower).all(1)]
        return cls(np.array(edge, np.int64), lower, triangles)

    def offsets(self, frame: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "edge 3"]:
        """Return the offset of each vertex of the edge from the nearest point of the lip."""
        points = np.concatenate([frame[self.lip], frame[self.triangles].mean(1)])
        offsets = frame[self.edge][:, None] - points[None]
        nearest = np.linalg.norm(offsets, axis=-1).argmin(1)
        return offsets[np.arange(len(nearest)), nearest]

    @staticmethod
    def distance(offsets: Float[np.ndarray, "edge 3"]) -> np.floating:
        """Return the distance of the lip from the edge, given ``offsets``."""
        distance: np.floating = np.median(np.linalg.norm(offsets, axis=-1))
        return distance


def _is_lower(topology: Topology, template: np.ndarray) -> np.ndarray:
    """Return which vertices are nearer to the lower inner lip along the edges of the mesh.

    Positions do not separate the lips: at rest, both touch, and often overlap in height.
    """
    from scipy.sparse.csgraph import dijkstra

    graph = edge_graph(template.astype(np.float64), topology.triangles)
    upper, lower = (
        dijkstra(graph, indices=topology.region(f"inner_lip_{side}"), min_only=True)
        for side in ("upper", "lower")
    )
    nearer: np.ndarray = lower < upper
    return nearer


def lip_curves(
    topology: Topology,
    template: Float[np.ndarray, "vertices 3"],
    vertices: Float[np.ndarray, "frames vertices 3"],
) -> LipCurves:
    """Return the lip curves of a motion; ``teeth_mm`` is None if the topology has no upper teeth.

    Args:
        topology: A topology with the regions ``lips``, ``inner_lip_upper`` and ``inner_lip_lower``.
        template: The neutral face.
        vertices: The vertices of the motion.
    """
    scale = _mm_per_unit(topology)
    teeth_mm = None
    if "teeth_upper" in topology.parts:
        teeth_mm = teeth_distance(topology, template, vertices) * scale
    width_mm = np.ptp(vertices[:, topology.region("lips"), 0], axis=1) * scale
    return LipCurves(topology.inner_lip_gap(vertices) * scale, width_mm, teeth_mm)


def _mm_per_unit(topology: Topology) -> float:
    return (topology.meters_per_unit or 1.0) * 1000.0


def summarize(verdicts: Verdicts) -> dict[str, tuple[float, int]]:
    """Summarize the values of each measure.

    Returns:
        The value of each measure and the number of phones or contacts that it is based on. The
        measures in ``SHARES`` are means, and ``lag`` is the median. ``width`` is the
        ``area_under_curve`` of the width of the mouth in spread and in rounded phones.
        Measures without values are omitted.
    """
    table = {
        key: (float(np.mean(verdicts[key])), len(verdicts[key]))
        for key in SHARES
        if verdicts.get(key)
    }
    if verdicts.get("rounded") and verdicts.get("spread"):
        n = len(verdicts["rounded"]) + len(verdicts["spread"])
        table["width"] = (area_under_curve(verdicts["rounded"], verdicts["spread"]), n)
    if verdicts.get("lag"):
        table["lag"] = (float(np.median(verdicts["lag"])), len(verdicts["lag"]))
    return table
