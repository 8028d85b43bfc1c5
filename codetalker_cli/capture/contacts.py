"""Find the frames in which a person's lips touch."""

import numpy as np

from codetalker_cli.metrics.mouth_curves import MouthCurves
from codetalker_cli.metrics.people import closing_runs

SHUT_MARGIN = 0.004
"""Lips are shut in any case if their opening exceeds that of shut lips, at rest or in the closings
of the clip, by at most this: the noise of the tracker, about 0.3 mm on the head.

Only this decides in runs that are too long for a closing of speech, because the lips of a silent
person can be slightly apart."""


def contact_frames(opening: np.ndarray, times: np.ndarray, shut_opening: float) -> np.ndarray:
    """Return (T,) bool: the frames in which the lips touch.

    Args:
        opening: (T,) ``FaceTrack.opening``; NaN in frames without a face.
        times: (T,) seconds.
        shut_opening: The person's opening at rest.
    """
    found = closing_runs(MouthCurves(times, opening, np.full_like(opening, np.nan)))
    lowest = [float(opening[first:stop].min()) for first, stop in found]
    # The tracker sees shut lips slightly apart, by an amount that differs from take to take.
    shut = max(shut_opening, float(np.median(lowest)) if lowest else 0.0)
    touching = opening <= shut + SHUT_MARGIN
    for first, stop in found:
        touching[first:stop] = True
    return touching
