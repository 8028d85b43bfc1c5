"""Resample what was tracked at the times of film frames to a constant frame rate.

Each value is that of a parabola fitted to the film frames around it (local quadratic regression;
Cleveland, JASA 74, 1979). It removes noise without delay and accepts irregular times. Frames of
different stretches are never mixed: a stretch is a lip contact, or what is between two contacts or
between two gaps.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

SMOOTHING_SECONDS = 0.06
"""Half the width of the kernel. It is wider for films with few frames per second, see
``_MIN_FRAMES``."""
MAX_GAP_SECONDS = 0.2
"""The time between two film frames from which nothing is known about the frames between."""
_MIN_FRAMES = 1.5
"""The least half width of the kernel, in film frames."""
_RIDGE = np.diag([0.0, 1e-3, 1e-2])
"""Prefers a constant to a line and a line to a parabola where a stretch has too few frames."""
_TINY = 1e-6


@dataclass(frozen=True, eq=False)
class Timeline:
    """The frames of a motion and the film frames that they come from.

    Attributes:
        film_times: (T,) seconds of the film frames.
        times: (N,) seconds of the motion's frames.
        film_stretch: (T,) number of the stretch of each film frame; negative without a face.
        stretch: (N,) the same for the motion's frames.
        contact: (N,) bool: the frames in which the lips touch.
    """

    film_times: np.ndarray
    times: np.ndarray
    film_stretch: np.ndarray
    stretch: np.ndarray
    contact: np.ndarray

    @property
    def valid(self) -> np.ndarray:
        """(N,) bool: the frames in which there is a face."""
        return self.stretch >= 0

    def resample(self, values: np.ndarray, film: slice, frames: slice) -> np.ndarray:
        """Return the (n, K) values in some frames of the motion; 0 where there is no face.

        Args:
            values: (t, K) values in the film frames ``film``.
            film: The film frames, including all within ``reach`` of the motion's frames.
            frames: The frames of the motion.
        """
        weights, columns = self._kernel(film, frames)
        result = np.zeros((len(weights), values.shape[1]))
        for k in range(weights.shape[1]):
            result += weights[:, k, None] * values[columns[:, k]]
        return result

    @property
    def reach(self) -> float:
        """The half width of the kernel in seconds."""
        spacing = np.median(np.diff(self.film_times)) if len(self.film_times) > 1 else 0.0
        return max(SMOOTHING_SECONDS, _MIN_FRAMES * float(spacing))

    def film_around(self, frames: slice) -> slice:
        """Return the film frames that the frames of a motion depend on."""
        span = self.times[frames]
        margin = self.reach + MAX_GAP_SECONDS
        ends = np.searchsorted(self.film_times, [span[0] - margin, span[-1] + margin])
        return slice(int(ends[0]), int(ends[1]))

    def _kernel(self, film: slice, frames: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return (n, k) factors and the film frames that they belong to, counted from ``film``."""
        times, film_times = self.times[frames], self.film_times[film]
        first = np.searchsorted(film_times, times - self.reach)
        n_near = int((np.searchsorted(film_times, times + self.reach) - first).max(initial=0))
        nearest = _nearest(film_times, times)
        # The nearest film frame counts even if it is beyond the kernel.
        columns = np.column_stack([nearest, first[:, None] + np.arange(n_near)])
        inside = columns < len(film_times)
        inside[:, 1:] &= columns[:, 1:] != nearest[:, None]
        columns = np.minimum(columns, len(film_times) - 1)
        distance = (film_times[columns] - times[:, None]) / self.reach
        weight = np.clip(1 - np.abs(distance) ** 3, 0, None) ** 3 * inside
        weight[:, 0] = np.maximum(weight[:, 0], _TINY)
        weight *= self.film_stretch[film][columns] == self.stretch[frames][:, None]
        basis = np.stack([np.ones_like(distance), distance, distance**2], -1)
        system = (
            np.einsum("nka,nk,nkb->nab", basis, weight, basis)
            + _TINY**2 * np.eye(3)
            + (_RIDGE * weight.sum(1)[:, None, None])
        )
        first_row = np.linalg.solve(
            system, np.broadcast_to(np.eye(3)[0], (len(system), 3))[..., None]
        )
        return np.einsum("nb,nkb,nk->nk", first_row[..., 0], basis, weight), columns


def make_timeline(
    film_times: np.ndarray, found: np.ndarray, touching: np.ndarray, fps: float
) -> Timeline:
    """Return the frames k / fps from time 0 to the last film frame.

    A frame has a face if the nearest film frame has one and is at most ``MAX_GAP_SECONDS`` away. A
    contact covers the frames whose nearest film frame belongs to it, and at least the one closest
    to its middle, so that contacts shorter than a frame survive.

    Args:
        film_times: (T,) seconds of the film frames.
        found: (T,) bool: whether a film frame has a face.
        touching: (T,) bool: whether the lips touch.
        fps: The frame rate.
    """
    times = np.arange(int(max(film_times[-1], 0.0) * fps + _TINY) + 1) / fps
    state = np.where(found, touching.astype(int), -1)
    new = np.append(True, (np.diff(state) != 0) | (np.diff(film_times) > MAX_GAP_SECONDS))
    film_stretch = np.where(found, np.cumsum(new), -1)
    nearest = _nearest(film_times, times)
    far = np.abs(film_times[nearest] - times) > MAX_GAP_SECONDS
    stretch = np.where(far, -1, film_stretch[nearest])
    contact = touching[nearest] & (stretch >= 0)
    starts = np.append(np.flatnonzero(new), len(new))
    for first, stop in pairwise(starts):
        if not (found[first] and touching[first]):
            continue
        middle = (film_times[first] + film_times[stop - 1]) / 2
        frame = min(round(middle * fps), len(times) - 1)
        if frame >= 0 and not contact[frame]:
            contact[frame], stretch[frame] = True, film_stretch[first]
    return Timeline(film_times, times, film_stretch, stretch, contact)


def _nearest(sorted_values: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the index of the nearest of the sorted values for each value."""
    after = np.clip(np.searchsorted(sorted_values, values), 1, max(len(sorted_values) - 1, 1))
    after = np.minimum(after, len(sorted_values) - 1)
    before = np.maximum(after - 1, 0)
    is_before = values - sorted_values[before] <= sorted_values[after] - values
    return np.where(is_before, before, after)
