"""Clips of a prepared data set as padded batches, and the order in which steps see them.

What a step draws at random for a clip follows from (seed, step, clip) alone: not from what was
drawn before, nor from the process that draws it. So a resumed run draws the same, and so do
several processes that share a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from codetalker_cli.datasets.prepared import Clip, PreparedDataSet
from codetalker_cli.errors import DataError


def clip_rng(seed: int, step: int, clip: int) -> np.random.Generator:
    """What a step draws for one clip."""
    return np.random.default_rng([seed, 1, step, clip])


def step_rng(seed: int, step: int) -> np.random.Generator:
    """What a step draws for all its clips together."""
    return np.random.default_rng([seed, 2, step])


@dataclass(frozen=True)
class Batch:
    """Clips, or crops of them, padded at their ends.

    Attributes:
        vertices: (B, T, V, 3); zero beyond a clip's end.
        template: (B, V, 3).
        style_ids: (B,) int64 training-subject numbers (0 for other subjects).
        n_frames: Frames of each.
        clips: Numbers within the source.
        starts: First frame of each crop.
        step: The step it is for.
        speech: Stage 2: of each clip the part of the speech encoder that is never trained.
        codes: Stage 2: (B, T, q) int64 codes of the true motion.
        keep_history: Stage 2: (B,) 1 or 0, whether the past motion is shown.
        own_history: Stage 2: (B,) bool, whether the past is the model's own.
        noise: Stage 2: (B, T, feature_size) standard normal, for the past.
        repeated: Whether the clips are another process's and count nothing here.
    """

    vertices: Tensor
    template: Tensor
    style_ids: Tensor
    n_frames: tuple[int, ...]
    clips: tuple[int, ...]
    starts: tuple[int, ...]
    step: int = 0
    speech: tuple[Tensor, ...] = ()
    codes: Tensor | None = None
    keep_history: Tensor | None = None
    own_history: Tensor | None = None
    noise: Tensor | None = None
    repeated: bool = False

    @property
    def lengths(self) -> Tensor | None:
        """(B,) int64 frames of each clip; None when none is padded."""
        n_frames = self.vertices.shape[1]
        if min(self.n_frames) == n_frames > 1:  # one frame has statistics only where it is masked
            return None
        return torch.tensor(self.n_frames, device=self.vertices.device)

    @property
    def offsets(self) -> Tensor:
        """(B, T, V, 3) motion: vertices − template."""
        return self.vertices - self.template[:, None]

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return self._map_tensors(lambda x: x.to(device, non_blocking=device.type == "cuda"))

    def pin_memory(self) -> "Batch":
        """The same in memory that a GPU copies from by itself; torch's loader calls it."""
        return self._map_tensors(lambda x: x.pin_memory())

    def _map_tensors(self, function: Any) -> "Batch":
        changes: dict[str, Any] = {"speech": tuple(function(x) for x in self.speech)}
        for attribute in fields(self):
            value = getattr(self, attribute.name)
            if isinstance(value, Tensor):
                changes[attribute.name] = function(value)
        return replace(self, **changes)


class ClipSource:
    """The clips of one split.

    Args:
        data: Prepared data set.
        split: Its name.
        may_be_empty: Whether a split without clips will do.

    Raises:
        DataError: The split has no clip.
    """

    def __init__(self, data: PreparedDataSet, split: str, *, may_be_empty: bool = False) -> None:
        self.clips = data.clips(split)
        if not self.clips and not may_be_empty:
            raise DataError(
                f"{data.folder}: no clip in the split {split!r}; prepare more clips, or with "
                "other splits"
            )
        self._templates = {
            name: torch.from_numpy(np.asarray(template, dtype=np.float32))
            for name, template in data.mesh.templates.items()
        }
        order = {name: k for k, name in enumerate(data.manifest.train_subjects)}
        self.lengths = [clip.entry.n_frames for clip in self.clips]
        """Frames of each clip that batches may take, from its first one."""
        self._styles = [order.get(clip.entry.subject, 0) for clip in self.clips]

    def __len__(self) -> int:
        return len(self.clips)

    def clip(self, index: int) -> Clip:
        """The clip of that number."""
        return self.clips[index]

    def batch(
        self,
        indices: Sequence[int],
        crop_frames: int | None,
        rngs: Sequence[np.random.Generator] | None = None,
        step: int = 0,
    ) -> Batch:
        """Clips side by side, on the CPU.

        Args:
            indices: Clip numbers.
            crop_frames: Longest crop, or None for whole clips.
            rngs: Draw where the crop of each starts; None: all start at frame 0.
            step: The step it is for.
        """
        crops: list[Tensor] = []
        starts: list[int] = []
        for k, index in enumerate(indices):
            vertices = self.clips[index].vertices
            available = self.lengths[index]
            length = min(available, crop_frames or available)
            start = int(rngs[k].integers(available - length + 1)) if rngs is not None else 0
            starts.append(start)
            crops.append(torch.from_numpy(np.array(vertices[start : start + length])))
        subjects = [self.clips[i].entry.subject for i in indices]
        return Batch(
            vertices=pad_sequence(crops, batch_first=True),
            template=torch.stack([self._templates[subject] for subject in subjects]),
            style_ids=torch.tensor([self._styles[i] for i in indices]),
            n_frames=tuple(len(crop) for crop in crops),
            clips=tuple(indices),
            starts=tuple(starts),
            step=step,
        )


# The order of the clips ---------------------------------------------------------------------------


POOL_STEPS = 50
"""Steps whose clips are sorted by length together: little padding, still a random order."""


@dataclass(frozen=True)
class Shard:
    """What one process does in one step.

    Attributes:
        parts: Clips of each of its batches; the gradients of the parts are added up.
        repeated: Of each part whether its clip is another's: where there are too few clips for all,
            a process takes part with a weight of zero.
        n_clips: Clips of the step over all processes.
    """

    parts: tuple[tuple[int, ...], ...]
    repeated: tuple[bool, ...]
    n_clips: int


@dataclass(frozen=True)
class Plan:
    """The order of the training clips.

    Attributes:
        lengths: Frames that a step sees of each clip.
        batch_size: Clips in a batch of one process.
        accumulation: Batches whose gradients one step adds up.
        world_size: That share a step.
        seed: Of the order.
    """

    lengths: Sequence[int]
    batch_size: int
    accumulation: int = 1
    world_size: int = 1
    seed: int = 0

    @property
    def clips_per_step(self) -> int:
        """Over all processes."""
        return self.batch_size * self.accumulation * self.world_size

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
        lengths = np.asarray(self.lengths)
        steps: list[list[int]] = []
        for start in range(0, len(order), POOL_STEPS * size):
            pool = order[start : start + POOL_STEPS * size]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            steps += [pool[k : k + size].tolist() for k in range(0, len(pool), size)]
        # The step with fewer clips must not always hold the longest ones, nor come first or last.
        return [steps[k] for k in rng.permutation(len(steps))]

    def shard(self, clips: Sequence[int], rank: int) -> Shard:
        """What ``rank`` does in the step of ``clips``: neighbors in length together."""
        shards = np.array_split(np.asarray(clips), self.world_size)
        n_parts = -(-len(shards[0]) // self.batch_size)  # as many in each: they are exchanged
        parts = [part.tolist() for part in np.array_split(shards[rank], n_parts)]
        return Shard(
            parts=tuple(tuple(part) or (clips[0],) for part in parts),
            repeated=tuple(not part for part in parts),
            n_clips=len(clips),
        )
