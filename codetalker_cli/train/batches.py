"""Clips of a prepared data set as tensors: cropped, stacked, on the device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from codetalker_cli.data.prepared import Clip, PreparedDataSet
from codetalker_cli.errors import DataError


@dataclass(frozen=True)
class Batch:
    """Clips of equal length.

    Attributes:
        vertices: (B, T, V, 3).
        template: (B, V, 3).
        style_ids: (B,) int64 training-subject numbers (0 for other subjects).
        clips: (B,) numbers within the source.
        starts: (B,) first frame of each crop.
    """

    vertices: Tensor
    template: Tensor
    style_ids: Tensor
    clips: list[int]
    starts: list[int]

    @property
    def n_frames(self) -> int:
        """T."""
        return int(self.vertices.shape[1])


class ClipSource:
    """The clips of one split.

    Args:
        data: Prepared data set.
        split: Its name.
        device: Where batches go.
        may_be_empty: Whether a split without clips will do.

    Raises:
        DataError: The split has no clip.
    """

    def __init__(
        self,
        data: PreparedDataSet,
        split: str,
        device: torch.device,
        *,
        may_be_empty: bool = False,
    ) -> None:
        self.clips = data.clips(split)
        if not self.clips and not may_be_empty:
            raise DataError(
                f"{data.folder}: no clip in the split {split!r}; prepare more clips, or with "
                "other splits"
            )
        self.device = device
        self._templates = {
            name: torch.from_numpy(np.asarray(template, dtype=np.float32))
            for name, template in data.mesh.templates.items()
        }
        order = {name: k for k, name in enumerate(data.manifest.train_subjects)}
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
        rng: np.random.Generator | None = None,
    ) -> Batch:
        """Stack clips, cut to the shortest of them and of ``crop_frames``.

        Args:
            indices: Clip numbers.
            crop_frames: Longest crop, or None.
            rng: Draws where crops start; None: all start at frame 0.
        """
        lengths = [self.clips[i].entry.n_frames for i in indices]
        n_frames = min([*lengths, crop_frames or max(lengths)])
        starts = [
            int(rng.integers(length - n_frames + 1)) if rng is not None else 0 for length in lengths
        ]
        vertices = np.stack(
            [
                self.clips[i].vertices[start : start + n_frames]
                for i, start in zip(indices, starts, strict=True)
            ]
        )
        template = torch.stack([self._templates[self.clips[i].entry.subject] for i in indices])
        return Batch(
            vertices=torch.from_numpy(vertices).to(self.device),
            template=template.to(self.device),
            style_ids=torch.tensor([self._styles[i] for i in indices], device=self.device),
            clips=list(indices),
            starts=starts,
        )
