"""Padded batches of clips, and the order of the clips in training.

The random numbers of a step for a clip depend only on (seed, step, clip), not on earlier draws or
on the process. They are therefore the same in a resumed run, and when several processes share a
step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from codetalker_cli.datasets.prepared import Clip, PreparedDataSet
from codetalker_cli.errors import DataError
from codetalker_cli.settings import SpeechTrainSettings


def clip_rng(seed: int, step: int, clip: int) -> np.random.Generator:
    """Return the random generator of a step for one clip."""
    return np.random.default_rng([seed, 1, step, clip])


def step_rng(seed: int, step: int) -> np.random.Generator:
    """Return the random generator of a step for draws that all its clips share."""
    return np.random.default_rng([seed, 2, step])


class Crops(NamedTuple):
    """The crops of a step: their maximum length in frames (None: whole clips), and their number."""

    n_frames: int | None
    per_clip: int = 1


def draw_crops(settings: SpeechTrainSettings, step: int) -> Crops:
    """Return the crops of a step, which is the same for all clips and processes.

    The length is uniform from ``min_crop_frames`` to ``crop_frames``. A step with short crops takes
    several crops from each clip, so that steps take about the same time.
    """
    shortest, longest = settings.min_crop_frames, settings.crop_frames
    if shortest is None or longest is None:
        return Crops(longest)
    n_frames = int(np.random.default_rng([settings.seed, 5, step]).integers(shortest, longest + 1))
    return Crops(n_frames, round(longest / n_frames))


@dataclass(frozen=True)
class Batch:
    """Clips, or crops of clips, padded at the end.

    Attributes:
        vertices: (B, T, V, 3) true motion; zero after the end of a clip.
        template: (B, V, 3) neutral faces.
        style_ids: (B,) int64 indices of the training subjects (0 for other subjects).
        n_frames: The number of frames of each clip or crop.
        clips: The index of each clip in its source.
        starts: The first frame of each crop.
        step: The number of the training step.
        crops_per_clip: The number of crops of each clip, which are next to each other.
        speech: Stage 2: the output of the frozen part of the speech encoder for each clip.
        codes: Stage 2: (B, T, q) int64 codes of the true motion.
        keep_history: Stage 2: (B,) 1 if the motion history is visible, 0 if it is hidden.
        own_history: Stage 2: (B,) bool, true if the history is the model's own prediction.
        noise: Stage 2: (B, T, feature_size) standard normal noise for the history.
        repeated: Whether these clips repeat those of another process and have weight 0.
    """

    vertices: Tensor
    template: Tensor
    style_ids: Tensor
    n_frames: tuple[int, ...]
    clips: tuple[int, ...]
    starts: tuple[int, ...]
    step: int = 0
    crops_per_clip: int = 1
    speech: tuple[Tensor, ...] = ()
    codes: Tensor | None = None
    keep_history: Tensor | None = None
    own_history: Tensor | None = None
    noise: Tensor | None = None
    repeated: bool = False

    @property
    def lengths(self) -> Tensor | None:
        """(B,) int64 number of frames of each clip; None if no clip is padded."""
        n_frames = self.vertices.shape[1]
        # A single frame has no instance statistics; the layers handle it only with a mask.
        if min(self.n_frames) == n_frames > 1:
            return None
        return torch.tensor(self.n_frames, device=self.vertices.device)

    @property
    def offsets(self) -> Tensor:
        """(B, T, V, 3) motion relative to the template."""
        return self.vertices - self.template[:, None]

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return self._map_tensors(lambda x: x.to(device, non_blocking=device.type == "cuda"))

    def pin_memory(self) -> "Batch":
        """Return the batch in pinned memory; called by torch's ``DataLoader``."""
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
        data: The prepared data set.
        split: The name of the split.
        may_be_empty: Whether the split may have no clips.

    Attributes:
        clips: The clips of the split.
        lengths: The number of usable frames of each clip, counted from its first frame.

    Raises:
        DataError: The split has no clips.
    """

    def __init__(self, data: PreparedDataSet, split: str, *, may_be_empty: bool = False) -> None:
        self.clips = data.clips(split)
        if not self.clips and not may_be_empty:
            raise DataError(
                f"{data.folder}: the split {split!r} has no clips; prepare more clips or change "
                "the splits"
            )
        self._templates = {
            name: torch.from_numpy(np.asarray(template, dtype=np.float32))
            for name, template in data.mesh.templates.items()
        }
        order = {name: k for k, name in enumerate(data.manifest.train_subjects)}
        self.lengths = [clip.entry.n_frames for clip in self.clips]
        self._styles = [order.get(clip.entry.subject, 0) for clip in self.clips]

    def __len__(self) -> int:
        return len(self.clips)

    def clip(self, index: int) -> Clip:
        """Return the clip with this index."""
        return self.clips[index]

    def batch(
        self,
        indices: Sequence[int],
        crop_frames: int | None,
        rngs: Sequence[np.random.Generator] | None = None,
        step: int = 0,
    ) -> Batch:
        """Load a batch of clips on the CPU.

        Args:
            indices: The indices of the clips.
            crop_frames: The maximum length of a crop in frames; None: whole clips.
            rngs: The generator that draws the start of each crop; None: all start at frame 0.
            step: The number of the training step.
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
"""The number of steps whose clips are sorted by length together.

This gives little padding but still a random order.
"""


@dataclass(frozen=True)
class Shard:
    """The part of a step that one process computes.

    Attributes:
        parts: The clips of each batch; the gradients of all batches are summed.
        repeated: True for a part that repeats another process's clip with weight 0, because every
            process must run the same number of backward passes.
        n_clips: The number of clips of the step over all processes.
    """

    parts: tuple[tuple[int, ...], ...]
    repeated: tuple[bool, ...]
    n_clips: int


@dataclass(frozen=True)
class Plan:
    """The order of the training clips.

    Attributes:
        lengths: The number of frames of each clip that a step uses.
        batch_size: The number of clips per batch and process.
        accumulation: The number of batches per step and process.
        world_size: The number of processes.
        seed: The random seed of the order.
    """

    lengths: Sequence[int]
    batch_size: int
    accumulation: int = 1
    world_size: int = 1
    seed: int = 0

    @property
    def clips_per_step(self) -> int:
        """The maximum number of clips in a step over all processes."""
        return self.batch_size * self.accumulation * self.world_size

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps per epoch; one of them can have fewer clips."""
        return -(-len(self.lengths) // self.clips_per_step)

    def epoch(self, epoch: int) -> list[list[int]]:
        """Return the clips of each step: every clip once, similar lengths in the same step."""
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
        # Shuffled, so that the step with fewer clips is at a random position, and lengths are mixed
        # over the epoch.
        return [steps[k] for k in rng.permutation(len(steps))]

    def shard(self, clips: Sequence[int], rank: int) -> Shard:
        """Return the shard of ``rank`` in the step with ``clips``, sorted by length."""
        shards = np.array_split(np.asarray(clips), self.world_size)
        # The same for every rank, because the ranks exchange gradients after each part.
        n_parts = -(-len(shards[0]) // self.batch_size)
        parts = [part.tolist() for part in np.array_split(shards[rank], n_parts)]
        return Shard(
            parts=tuple(tuple(part) or (clips[0],) for part in parts),
            repeated=tuple(not part for part in parts),
            n_clips=len(clips),
        )
