"""Compare the mouth of a motion with that of a filmed person who speaks the same words.

``compare`` measures one clip, and ``summarize`` averages clips. docs/evaluation.md defines every
figure. Positive lags mean that the tool is later than the person.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from codetalker_cli.face_track import TimedWord
from codetalker_cli.metrics.clip import ClipScores, Ratio, Value
from codetalker_cli.metrics.clip import summarize as bootstrap
from codetalker_cli.metrics.lips import runs
from codetalker_cli.metrics.mouth_curves import MouthCurves

FPS = 25.0
"""The frame rate at which curves are compared: that of most talking-face data sets."""
MAX_LAG, NEAR_LAG = 10, 1
"""The lags that are searched and the lag that is allowed, in frames of ``FPS``."""
MIN_FRAMES = 10
"""The smallest number of frames in which two curves are correlated."""
MIN_COVERAGE = 0.9
"""The share of the person's frames that a tool needs for a figure."""
CLOSED_SHARE, CLOSED_PERCENTILE = 0.12, 95.0
"""The lips of a person are shut if the opening is at most this share of this percentile."""
CLOSING_SECONDS, MATCH_SECONDS = 0.5, 0.1
"""The longest closing, and the largest distance between the centers of two closings that match."""
REST_SECONDS = 0.3
"""A mouth is at rest if it is at least this far from speech."""
MIN_REST_FRAMES = 5
"""The smallest number of frames at rest."""
LEAD_SECONDS = 1.0
"""The time before the first word in which lips that open count as opening for it."""
ONSET_SECONDS = 0.12
"""The distance from the beginning of a word in which its p, b or m shuts the lips."""
SILENCE = ("sil", "sp", "")
"""Labels of silence."""
_BILABIAL = re.compile(r"b|p(?![hnst])|m.", re.IGNORECASE)
_ROUNDING = 1e-3
"""A time this close to a frame, in frames, is the time of the frame."""

FIGURES = {
    "opening_r": "r of opening",
    "opening_r_words": "r of opening inside words",
    "opening_r_control": "r of opening with the wrong clip",
    "opening_r_near": "r of opening at the best lag of at most one frame",
    "opening_lag": "best lag of opening in frames",
    "opening_r_best": "r of opening at the best lag",
    "width_r": "r of width",
    "width_r_words": "r of width inside words",
    "width_r_control": "r of width with the wrong clip",
    "width_r_near": "r of width at the best lag of at most one frame",
    "width_lag": "best lag of width in frames",
    "width_r_best": "r of width at the best lag",
    "closings_f1": "F1 of closings",
    "closings_f1_control": "F1 of closings with the wrong clip",
    "closings_f1_anywhere": "F1 of closings, including those in silence",
    "bilabials_shut": "share of words with p, b or m at the beginning whose lips shut there",
    "opening_p50_ratio": "median opening relative to the person",
    "opening_p95_ratio": "95th percentile of opening relative to the person",
    "width_range_ratio": "range of width relative to the person",
    "speed_p95_ratio": "95th percentile of speed relative to the person",
    "opening_p50": "median opening in eye distances",
    "opening_p95": "95th percentile of opening in eye distances",
    "speed_p95": "95th percentile of the speed of opening in eye distances per second",
    "rest_opening": "opening at rest in eye distances",
    "rest_noise": "noise of opening at rest in eye distances",
    "lead_seconds": "seconds from the opening of the lips to the first word",
}
"""The figures and their short descriptions, in the order of reports."""
_CURVES = ("opening", "width")


class Clip(NamedTuple):
    """A filmed clip.

    Attributes:
        curves: The mouth of the person.
        words: The words that are spoken.
    """

    curves: MouthCurves
    words: Sequence[TimedWord]


# One clip -----------------------------------------------------------------------------------------


def compare(
    person: MouthCurves,
    tool: MouthCurves,
    words: Sequence[TimedWord] = (),
    control: MouthCurves | None = None,
) -> dict[str, Ratio]:
    """Measure the mouth of a tool against the person who speaks.

    Args:
        person: The filmed mouth.
        tool: The mouth to measure; the person's own curves give the figures of the person.
        words: The words of the clip. Without them, only figures of whole clips are measured.
        control: The mouth of the tool in another clip, or None.

    Returns:
        The sum and the count of each of ``FIGURES`` that the clip has, except for those that
        depend on the lag. For these, ``opening_r@+3`` is r if the tool is three frames late.
    """
    times = _grid(person)
    said = [word for word in words if word.label not in SILENCE]
    inside = inside_words(times, said)
    found: dict[str, Ratio] = {}
    for name in _CURVES:
        true, ours = (resample(c.times, getattr(c, name), times) for c in (person, tool))
        _add(found, f"{name}_r", correlate(true, ours))
        _add(found, f"{name}_r_words", correlate(true[inside], ours[inside]))
        found |= {f"{name}_r@{lag:+d}": (r, 1.0) for lag, r in _profile(true, ours).items()}
        if control is not None:
            other = resample(control.times, getattr(control, name), times)
            _add(found, f"{name}_r_control", correlate(true, other))
    if tool.is_length:
        found |= _closing_figures(person, tool, said, control)
        found |= _amplitudes(person, tool, times, inside)
        if said:
            found |= _rest(tool, said)
    return found


def resample(
    times: Float[np.ndarray, " frames"],
    values: Float[np.ndarray, " frames"],
    at: Float[np.ndarray, " n"],
) -> Float[np.ndarray, " n"]:
    """Interpolate a curve linearly; NaN outside of it, and between frames one of which is NaN."""
    if not len(times):
        return np.full(len(at), np.nan)
    position = np.interp(at, times, np.arange(len(times)))
    nearest = np.rint(position)
    position = np.where(np.abs(position - nearest) < _ROUNDING, nearest, position)
    left = np.floor(position).astype(int)
    right, share = np.ceil(position).astype(int), position - left
    result = np.where(share == 0, values[left], (1 - share) * values[left] + share * values[right])
    slack = _ROUNDING * (np.median(np.diff(times)) if len(times) > 1 else 0.0)
    result[(at < times[0] - slack) | (at > times[-1] + slack)] = np.nan
    return result


def correlate(
    person: Float[np.ndarray, " frames"], tool: Float[np.ndarray, " frames"]
) -> float | None:
    """Return Pearson's r over the frames in which both are known.

    Returns:
        0 for a tool that does not move. None if the person does not move, for fewer than
        ``MIN_FRAMES``, or if the tool lacks more than a tenth of the person's frames.
    """
    known = np.isfinite(person)
    both = known & np.isfinite(tool)
    if both.sum() < max(MIN_FRAMES, MIN_COVERAGE * known.sum()):
        return None
    x, y = (curve[both] - curve[both].mean() for curve in (person, tool))
    spread = [float(np.linalg.norm(v)) for v in (x, y)]
    tiny = 1e-9 * len(x) ** 0.5
    if spread[0] <= tiny:
        return None
    return 0.0 if spread[1] <= tiny else float(x @ y / spread[0] / spread[1])


def inside_words(
    times: Float[np.ndarray, " frames"], words: Sequence[TimedWord]
) -> Bool[np.ndarray, " frames"]:
    """Return which frames are in a word, including its start and excluding its end."""
    inside = np.zeros(len(times), dtype=bool)
    for word in words:
        inside |= (times >= word.start_seconds) & (times < word.end_seconds)
    return inside


def closing_runs(curves: MouthCurves) -> list[tuple[int, int]]:
    """Return the frames [first, stop) of each closing.

    A closing is a run of frames with shut lips that takes at most ``CLOSING_SECONDS``.
    """
    longest = CLOSING_SECONDS - curves.frame_seconds + 1e-6
    times = curves.times
    return [(a, b) for a, b in runs(_is_shut(curves)) if times[b - 1] - times[a] <= longest]


def closings(
    curves: MouthCurves, start_seconds: float = -np.inf, end_seconds: float = np.inf
) -> Float[np.ndarray, " n"]:
    """Return the centers of the closings between two times, in seconds."""
    centers = [(curves.times[a] + curves.times[b - 1]) / 2 for a, b in closing_runs(curves)]
    return np.array([c for c in centers if start_seconds <= c <= end_seconds], dtype=np.float64)


def match(
    first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"]
) -> list[tuple[float, float]]:
    """Match as many sorted centers as possible, one to one, within ``MATCH_SECONDS``."""
    # All windows have the same width, so taking the earliest partner is optimal.
    pairs, k = [], 0
    for center in first:
        while k < len(second) and second[k] < center - MATCH_SECONDS - 1e-6:
            k += 1
        if k < len(second) and second[k] <= center + MATCH_SECONDS + 1e-6:
            pairs.append((float(center), float(second[k])))
            k += 1
    return pairs


def _add(found: dict[str, Ratio], name: str, value: float | None) -> None:
    if value is not None:
        found[name] = (value, 1.0)


def _grid(curves: MouthCurves) -> np.ndarray:
    if not len(curves.times):
        return np.zeros(0)
    first, last = np.ceil(curves.times[0] * FPS - 1e-3), np.floor(curves.times[-1] * FPS + 1e-3)
    return np.arange(first, last + 1) / FPS


def _profile(person: np.ndarray, tool: np.ndarray) -> dict[int, float]:
    """Return r at each lag, or nothing if the clip is too short for one of them."""
    n, profile = len(person), {}
    for lag in range(-MAX_LAG, MAX_LAG + 1):
        first, last = max(0, -lag), n - max(0, lag)
        r = correlate(person[first:last], tool[first + lag : last + lag]) if last > first else None
        if r is None:
            return {}
        profile[lag] = r
    return profile


def _is_shut(curves: MouthCurves) -> np.ndarray:
    known = curves.opening[np.isfinite(curves.opening)]
    if not len(known):
        return np.zeros(len(curves.opening), dtype=bool)
    limit = curves.closed_below
    if limit is None:
        limit = CLOSED_SHARE * float(np.percentile(known, CLOSED_PERCENTILE))
    return curves.opening <= limit


def _closing_figures(
    person: MouthCurves,
    tool: MouthCurves,
    said: Sequence[TimedWord],
    control: MouthCurves | None,
) -> dict[str, Ratio]:
    start = said[0].start_seconds if said else -np.inf
    end = said[-1].end_seconds if said else np.inf
    true = closings(person, start, end)
    found: dict[str, Ratio] = {}
    for name, curves in (("closings_f1", tool), ("closings_f1_control", control)):
        if curves is None:
            continue
        # A closing just outside of speech may match one inside, but is not an error otherwise.
        near = closings(curves, start - MATCH_SECONDS, end + MATCH_SECONDS)
        pairs = match(true, near)
        outside = {ours for _, ours in pairs if not start <= ours <= end}
        n_ours = len(closings(curves, start, end)) + len(outside)
        _add_f1(found, name, len(pairs), len(true) + n_ours)
    anywhere = closings(tool)
    n_all = len(true) + len(anywhere)
    _add_f1(found, "closings_f1_anywhere", len(match(true, anywhere)), n_all)
    bilabial = [word.start_seconds for word in said if _BILABIAL.match(word.label)]
    shut = _is_shut(tool)
    near_onset = [np.abs(tool.times - t) <= ONSET_SECONDS + 1e-6 for t in bilabial]
    near_onset = [near for near in near_onset if np.isfinite(tool.opening[near]).any()]
    if near_onset:
        n_shut = sum(bool(shut[near].any()) for near in near_onset)
        found["bilabials_shut"] = (float(n_shut), float(len(near_onset)))
    return found


def _add_f1(found: dict[str, Ratio], name: str, n_pairs: int, n_closings: int) -> None:
    if n_closings:
        found[name] = (2.0 * n_pairs, float(n_closings))


def _amplitudes(
    person: MouthCurves, tool: MouthCurves, times: np.ndarray, inside: np.ndarray
) -> dict[str, Ratio]:
    """Return the figures of size and speed, from the frames in words."""
    opening = [resample(c.times, c.opening, times) for c in (person, tool)]
    width = [resample(c.times, c.width, times) for c in (person, tool)]
    known = inside & np.isfinite(opening).all(0)
    found: dict[str, Ratio] = {}
    if known.sum() < max(MIN_FRAMES, MIN_COVERAGE * (inside & np.isfinite(opening[0])).sum()):
        return found
    for percentile in (50, 95):
        true, ours = (float(np.percentile(curve[known], percentile)) for curve in opening)
        found[f"opening_p{percentile}_ratio"] = (ours, true)
        found[f"opening_p{percentile}"] = (ours, 1.0)
    steps = [np.abs(np.diff(curve)) * FPS for curve in opening]
    both = np.isfinite(steps).all(0) & (inside[1:] | inside[:-1])
    if both.any():
        true, ours = (float(np.percentile(step[both], 95)) for step in steps)
        found["speed_p95_ratio"], found["speed_p95"] = (ours, true), (ours, 1.0)
    known &= np.isfinite(width).all(0)
    if known.sum() >= MIN_FRAMES:
        true, ours = (float(np.ptp(np.percentile(curve[known], [5, 95]))) for curve in width)
        found["width_range_ratio"] = (ours, true)
    return found


def _rest(curves: MouthCurves, said: Sequence[TimedWord]) -> dict[str, Ratio]:
    """Return the figures of silence: the opening and its noise, and when the lips first open."""
    start, end = said[0].start_seconds, said[-1].end_seconds
    found: dict[str, Ratio] = {}
    times, opening = curves.times, curves.opening
    away = (times <= start - REST_SECONDS) | (times >= end + REST_SECONDS)
    still = away & np.isfinite(opening)
    if still.sum() >= MIN_REST_FRAMES:
        found["rest_opening"] = (float(np.median(opening[still])), 1.0)
        steps = np.diff(opening)[still[1:] & still[:-1]]
        if len(steps):
            # The difference of two frames has the noise of both.
            found["rest_noise"] = (float(np.sqrt(np.mean(steps**2) / 2)), 1.0)
    before = (times >= start - LEAD_SECONDS) & (times < end) & np.isfinite(opening)
    is_open = before & ~_is_shut(curves)
    if is_open.any() and times[before.argmax()] <= start - REST_SECONDS:
        found["lead_seconds"] = (float(start - times[is_open.argmax()]), 1.0)
    return found


# Several clips ------------------------------------------------------------------------------------


def summarize(scores: Sequence[ClipScores]) -> dict[str, Value]:
    """Average clips: the mean over people of the mean over the clips of each person.

    Args:
        scores: The results of ``compare`` as fractions; the subject is the person.

    Returns:
        The value of each of ``FIGURES`` with its 95 % interval; the interval of a figure that
        depends on the best lag is None. Figures without clips are omitted.
    """
    values: dict[str, Value] = {}
    names = {name for score in scores for name in score.fractions}
    for name in FIGURES:
        if name in names:
            values[name] = bootstrap(_weighted(scores, name), name)
    for name in _CURVES:
        profile = {
            lag: bootstrap(_weighted(scores, key), key, n_samples=1)
            for lag in range(-MAX_LAG, MAX_LAG + 1)
            if (key := f"{name}_r@{lag:+d}") in names
        }
        means = {lag: value.value for lag, value in profile.items() if value.value is not None}
        if not means:
            continue
        best = max(means, key=lambda lag: (means[lag], -abs(lag)))
        near = max(means[lag] for lag in range(-NEAR_LAG, NEAR_LAG + 1))
        plain = replace(profile[0], low=None, high=None)
        values[f"{name}_r_near"] = replace(plain, value=near)
        values[f"{name}_lag"] = replace(plain, value=float(best))
        values[f"{name}_r_best"] = replace(plain, value=means[best])
    return {name: values[name] for name in FIGURES if name in values}


def _weighted(scores: Sequence[ClipScores], name: str) -> list[ClipScores]:
    """Return the scores of one figure, weighted so that every person counts the same."""
    having = [score for score in scores if name in score.fractions]
    n_clips = Counter(score.subject for score in having)
    weighted = []
    for score in having:
        total, count = score.fractions[name]
        weight = len(having) / len(n_clips) / n_clips[score.subject]
        weighted.append(replace(score, fractions={name: (total * weight, count * weight)}))
    return weighted
