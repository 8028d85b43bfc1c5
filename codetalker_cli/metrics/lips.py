"""Whether lips can be read: closures, contacts and openings of a motion against phone times.

Phones are ARPABET. ``gap`` is the mean distance of the central pairs of inner-lip vertices
(``Topology.inner_lip_gap``). All curves are (T,) arrays in millimeters, one value a frame.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from codetalker_cli.topology import Topology

CLOSED_MM, OPEN_MM, TEETH_MM = 1.0, 6.0, 2.0
"""Gap below which lips touch, gap above which a mouth is open, distance of lip and teeth in f."""
NEAR_FRAMES, EXCUSED_FRAMES, MEETING_FRAMES = 1, 2, 4
"""Frames around an interval in which a closure counts, a contact is excused, a contact is met."""
BILABIALS, LABIODENTALS = {"P", "B", "M"}, {"F", "V"}
STRESSED, OPEN_VOWELS = {"AA", "AE", "AW", "AY"}, {"AA", "AE", "AW", "AY", "AH"}
ROUNDED, SPREAD = {"W", "UW", "OW"}, {"IY", "IH", "S"}
EXCUSES = BILABIALS | LABIODENTALS | {"SIL", ""}
SHARES = ("closure", "false", "labiodental", "opening", "stressed")
"""The verdicts whose mean is a share."""
INCISORS_MM, LIP_MM = 10.0, 12.0
"""Half widths of the upper teeth and of the lower lip that f and v bring together."""

Verdicts = dict[str, list[float]]
"""Name of a measure → one value for each phone, or contact, that it judges."""


class TimedPhone(NamedTuple):
    """A phone and its interval.

    Attributes:
        label: ARPABET, in any case, with or without a stress digit; ``SIL`` or empty for silence.
        start_seconds, end_seconds: The interval.
    """

    label: str
    start_seconds: float
    end_seconds: float


class LipCurves(NamedTuple):
    """What the verdicts are read off.

    Attributes:
        gap_mm: Distance of the inner lips.
        width_mm: Extent of the lips along x, or None.
        teeth_mm: Distance of the lower lip from the upper incisors, or None.
    """

    gap_mm: Float[np.ndarray, " frames"]
    width_mm: Float[np.ndarray, " frames"] | None = None
    teeth_mm: Float[np.ndarray, " frames"] | None = None


def runs(mask: Bool[np.ndarray, " frames"]) -> list[tuple[int, int]]:
    """Return [first, stop) of each run of true frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def score(curves: LipCurves, fps: float, phones: Sequence[TimedPhone]) -> Verdicts:
    """Judge every phone of a motion. Phones with their middle after its end do not count.

    Args:
        curves: The motion's lips.
        fps: Frames a second.
        phones: What is said.

    Returns:
        ``closure``: 1 for each p, b, m whose gap falls below 1 mm in its interval, ± 1 frame.
        ``false``: 1 for each contact with no p, b, m, f, v or silence within 2 frames.
        ``labiodental``: 1 for each f, v where lip and teeth come within 2 mm, ± 1 frame.
        ``opening``: 1 for each aa, ae, aw, ay, ah with a gap above 6 mm at its middle frame;
        ``stressed``: the same without ah. ``rounded``, ``spread``: millimeters of width at the
        middle frame of each w, uw, ow and of each iy, ih, s. ``lag``: frames from the middle of
        each p, b, m to the middle of the contact that meets it.
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
    """The frames of an interval and ``n`` on each side."""
    return slice(max(0, int(first) - n), max(0, int(np.ceil(final)) + n + 1))


def _lag(contacts: list[tuple[int, int]], middle: float) -> list[float]:
    """Frames from ``middle`` to the middle of the nearest contact that meets it; may be empty."""
    lags = [
        (a + b - 1) / 2 - middle
        for a, b in contacts
        if a - MEETING_FRAMES <= middle <= b - 1 + MEETING_FRAMES
    ]
    return [min(lags, key=abs)] if lags else []


def area_under_curve(lower: Sequence[float], higher: Sequence[float]) -> float:
    """Chance that a value of ``higher`` is above one of ``lower`` (Mann and Whitney 1947)."""
    a, b = np.array(lower)[:, None], np.array(higher)[None]
    return float(((a < b) + 0.5 * (a == b)).mean())


def teeth_distance(
    topology: Topology,
    template: Float[np.ndarray, "vertices 3"],
    vertices: Float[np.ndarray, "frames vertices 3"],
) -> Float[np.ndarray, " frames"]:
    """Return the distance of the lower lip from the edge of the upper incisors, in length units.

    It is the median along that edge.

    Args:
        topology: Has the part ``teeth_upper`` and the regions ``lips`` and ``inner_lip_lower``.
        template: Neutral face, +y up and +z forward.
        vertices: The motion.
    """
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
    inner = topology.region("inner_lip_lower")
    central = np.abs(template[lips, 0] * scale) < LIP_MM
    below = template[lips, 1] <= template[inner, 1].max() + 0.5 / scale
    lower = lips[central & below]
    triangles = topology.triangles[np.isin(topology.triangles, lower).all(1)]
    medians = []
    for frame in vertices:
        points = np.concatenate([frame[lower], frame[triangles].mean(1)])
        distances = np.linalg.norm(frame[edge][:, None] - points[None], axis=-1)
        medians.append(np.median(distances.min(1)))
    return np.array(medians)


def lip_curves(
    topology: Topology,
    template: Float[np.ndarray, "vertices 3"],
    vertices: Float[np.ndarray, "frames vertices 3"],
) -> LipCurves:
    """Return the curves of a motion; those of the teeth where the topology has upper ones.

    Args:
        topology: Has the region ``lips`` and pairs of inner-lip vertices.
        template: Neutral face.
        vertices: The motion.
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
    """Measure → (value, how many phones or contacts it rests on).

    Shares are means. ``width`` is how surely the width of the mouth separates rounded from spread
    phones (``area_under_curve``). ``lag`` is the median. A measure without values is left out.
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
