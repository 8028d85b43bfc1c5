"""Which clips a step sees, and which of them a process.

An epoch's order follows from (seed, epoch) alone, so a resumed run finds its place without
replaying anything, and every process finds its share without asking another.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

POOL_STEPS = 50
"""Steps whose clips are sorted by length together: little padding, still a random order."""


@dataclass(frozen=True)
class Share:
    """What one process does in one step.

    Attributes:
        parts: Clips of each of its batches; the gradients of the parts are added up.
        idle: Of each part whether its clip is another's: where there are too few clips for all, a
            process takes part with a weight of zero.
        n_clips: Clips of the step over all processes.
    """

    parts: tuple[tuple[int, ...], ...]
    idle: tuple[bool, ...]
    n_clips: int


@dataclass(frozen=True)
class Plan:
    """The order of the training clips.

    Attributes:
        lengths: Frames that a step sees of each clip.
        batch_size: Clips in a batch of one process.
        accumulation: Batches whose gradients one step adds up.
        n_processes: That share a step.
        seed: Of the order.
    """

    lengths: Sequence[int]
    batch_size: int
    accumulation: int = 1
    n_processes: int = 1
    seed: int = 0

    @property
    def clips_per_step(self) -> int:
        """Over all processes."""
        return self.batch_size * self.accumulation * self.n_processes

    @property
    def steps_per_epoch(self) -> int:
        """The last one may have fewer clips."""
        return -(-len(self.lengths) // self.clips_per_step)

    def epoch(self, epoch: int) -> list[list[int]]:
        """The clips of each step: every clip once; those of a step have like lengths."""
        rng = np.random.default_rng([self.seed, 0, epoch])
        order = rng.permutation(len(self.lengths))
        size = self.clips_per_step
        if size == 1:
            return [[int(clip)] for clip in order]
        length = np.asarray(self.lengths)
        steps: list[list[int]] = []
        for at in range(0, len(order), POOL_STEPS * size):
            pool = order[at : at + POOL_STEPS * size]
            pool = pool[np.argsort(length[pool], kind="stable")]
            steps += [pool[k : k + size].tolist() for k in range(0, len(pool), size)]
        # The step with fewer clips must not always hold the longest ones, nor come first or last.
        return [steps[k] for k in rng.permutation(len(steps))]

    def share(self, clips: Sequence[int], process: int) -> Share:
        """What ``process`` does in the step of ``clips``: neighbours in length together."""
        pieces = np.array_split(np.asarray(clips), self.n_processes)
        n_parts = -(-len(pieces[0]) // self.batch_size)  # as many in each: they are exchanged
        parts = [part.tolist() for part in np.array_split(pieces[process], n_parts)]
        return Share(
            parts=tuple(tuple(part) or (clips[0],) for part in parts),
            idle=tuple(not part for part in parts),
            n_clips=len(clips),
        )
