"""Follow one person through the faces that are found in the frames of a film."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from codetalker_cli.capture.landmarker import Face

REACH = 0.5
"""How far a face moves from one frame to the next at most, as a share of its size."""
GROWTH = 1.5
"""How much larger or smaller a face gets from one sight to the next at most."""
GAP_SECONDS = 0.5
"""The longest time that a face may be lost and still be followed."""
SHORTEST_SECONDS = 0.5
"""The shortest time that a face must be followed to be the same person after it was lost."""
SECOND_FACE_SIZE = 1 / 3
"""The size of a second face, as a share of the first one, from which it counts."""
_SAME_FACE = 0.3
"""The distance, as a share of the size, below which two faces are the same one, found twice."""


@dataclass
class Chain:
    """A face in successive frames.

    Attributes:
        frames: The numbers of the frames, increasing.
        columns: The number of the face among those in each frame.
        weight: The sum of its sizes over all frames.
    """

    frames: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    weight: float = 0.0


@dataclass(frozen=True)
class Seen:
    """The place and the size of a face.

    Attributes:
        center: (2,) center of its landmarks in pixels.
        size: The diagonal of the rectangle around its landmarks.
    """

    center: np.ndarray
    size: float

    @classmethod
    def of(cls, face: Face) -> "Seen":
        """Return the place of a face in its picture."""
        points = face.landmarks[:, :2]
        low, high = points.min(0), points.max(0)
        return cls((low + high) / 2, float(np.hypot(*(high - low))))

    def far(self, other: "Seen") -> float:
        """Return the distance of the centers, as a share of the mean size."""
        mean = (self.size + other.size) / 2
        return float(np.hypot(*(self.center - other.center))) / max(mean, 1e-9)


def without_copies(faces: Sequence[Face]) -> list[Face]:
    """Return the faces without those that MediaPipe found a second time in the same place."""
    kept: list[Face] = []
    for face in faces:
        seen = Seen.of(face)
        if all(seen.far(Seen.of(other)) >= _SAME_FACE for other in kept):
            kept.append(face)
    return kept


class Follower:
    """Sorts the faces of successive frames into chains."""

    def __init__(self) -> None:
        self.chains: list[Chain] = []
        self._open: list[tuple[Chain, Seen, float]] = []
        self._last = 0.0

    def add(self, frame: int, time: float, faces: Sequence[Face]) -> None:
        """Add the faces of the next frame.

        Args:
            frame: Its number.
            time: Its time in seconds.
            faces: The faces in it, without copies.
        """
        step = max(time - self._last, 1e-6)
        self._last = time
        self._open = [one for one in self._open if time - one[2] <= GAP_SECONDS + step]
        seen = [Seen.of(face) for face in faces]
        pairs = sorted(
            (there.far(here), k, column)
            for k, (_, there, _) in enumerate(self._open)
            for column, here in enumerate(seen)
        )
        following: dict[int, int] = {}
        for distance, k, column in pairs:
            _, there, last = self._open[k]
            growth = max(there.size, seen[column].size) / max(min(there.size, seen[column].size), 1)
            reach = REACH * min(2.0, (time - last) / step)
            if (
                k not in following.values()
                and column not in following
                and distance <= reach
                and growth <= GROWTH
            ):
                following[column] = k
        for column, here in enumerate(seen):
            if column in following:
                chain = self._open[following[column]][0]
                self._open[following[column]] = (chain, here, time)
            else:
                chain = Chain()
                self.chains.append(chain)
                self._open.append((chain, here, time))
            chain.frames.append(frame)
            chain.columns.append(column)
            chain.weight += here.size

    def person(self, times: np.ndarray) -> list[Chain]:
        """Return the chains of the largest and longest visible person, in order of time.

        A chain belongs to this person if it is long enough and no other chain of the person covers
        the same time. So a short jump to another face does not count.

        Args:
            times: (T,) seconds of all frames.
        """
        chosen: list[Chain] = []
        for chain in sorted(self.chains, key=lambda one: -one.weight):
            first, last = chain.frames[0], chain.frames[-1]
            is_long = times[last] - times[first] >= SHORTEST_SECONDS
            apart = all(last < one.frames[0] or one.frames[-1] < first for one in chosen)
            similar = not chosen or _ratio(chain, chosen[0]) <= GROWTH
            if not chosen or (is_long and apart and similar):
                chosen.append(chain)
        return sorted(chosen, key=lambda one: one.frames[0])


def _ratio(first: Chain, second: Chain) -> float:
    """Return how much larger the larger one of two faces is on average."""
    sizes = sorted(one.weight / len(one.frames) for one in (first, second))
    return sizes[1] / max(sizes[0], 1e-9)
