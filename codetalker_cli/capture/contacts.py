"""Find the frames in which a person's lips touch."""

import numpy as np

CLOSED_SHARE = 0.12
"""The opening below which the lips are shut, as a share of its 95th percentile in the clip."""
MAX_CLOSING_SECONDS = 0.5
"""The longest such run that counts as a closing of speech. In longer ones, the lips of a silent
person can be slightly apart, so only ``SHUT_MARGIN`` decides."""
SHUT_MARGIN = 0.004
"""Lips are shut in any case if their opening exceeds that of shut lips, at rest or in the closings
of the clip, by at most this: the noise of the tracker, about 0.3 mm on the head."""


def contact_frames(opening: np.ndarray, times: np.ndarray, shut_opening: float) -> np.ndarray:
    """Return (T,) bool: the frames in which the lips touch.

    Args:
        opening: (T,) ``FaceTrack.opening``; NaN in frames without a face.
        times: (T,) seconds.
        shut_opening: The person's opening at rest.
    """
    found = closings(opening, times)
    lowest = [float(opening[first:stop].min()) for first, stop in found]
    # The tracker sees shut lips slightly apart, by an amount that differs from take to take.
    shut = max(shut_opening, float(np.median(lowest)) if lowest else 0.0)
    touching = opening <= shut + SHUT_MARGIN
    for first, stop in found:
        touching[first:stop] = True
    return touching


def closings(opening: np.ndarray, times: np.ndarray) -> list[tuple[int, int]]:
    """Return the frames [first, stop) of each closing of the lips.

    Args:
        opening: (T,) opening of the lips in any unit; NaN in frames without a face.
        times: (T,) seconds.
    """
    known = np.isfinite(opening)
    if known.sum() < 2:
        return []
    limit = CLOSED_SHARE * np.percentile(opening[known], 95)
    frame_seconds = float(np.median(np.diff(times)))
    return [
        (first, stop)
        for first, stop in runs(known & (opening < limit))
        if times[stop - 1] - times[first] + frame_seconds <= MAX_CLOSING_SECONDS
    ]


def runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """Return the ranges [first, stop) of consecutive true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(int)))
    return [(int(first), int(stop)) for first, stop in edges.reshape(-1, 2)]
