"""A checkpoint on clips of a prepared data set → predictions on the disk.

What exists is done: a prediction is written whole or not at all.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codetalker_cli.animate import Voice
from codetalker_cli.animate.jobs import Request
from codetalker_cli.arrays import write_array
from codetalker_cli.datasets.prepared import Clip, PreparedDataSet, audio_path
from codetalker_cli.errors import CheckpointError, CodeTalkerError, DataError
from codetalker_cli.files import atomic_path
from codetalker_cli.formats.predictions import file_name
from codetalker_cli.models.checkpoint import Checkpoint
from codetalker_cli.motion import Motion, vertex_blocks
from codetalker_cli.progress import Progress


@dataclass(frozen=True)
class PredictionJob:
    """A prediction that is wanted."""

    clip: Clip
    style: str | None

    @property
    def name(self) -> str:
        """Of its file, without the ending."""
        return file_name(self.clip.entry.name, self.style)


class Predictor:
    """A checkpoint with the faces of a data set.

    Args:
        loaded: Stage 1, or both stages.
        data: Prepared data set.
        device: Where it runs.
        decode: Settings of the section ``decode`` in the place of the checkpoint's.

    Raises:
        CheckpointError: It is of another vertex count or frame rate than the data set.
    """

    def __init__(
        self,
        loaded: Checkpoint,
        data: PreparedDataSet,
        device: torch.device,
        decode: dict[str, Any] | None = None,
    ) -> None:
        facts, mesh = loaded.settings.data, data.mesh
        if facts.n_vertices != mesh.topology.n_vertices:
            raise CheckpointError(
                f"{loaded.path}: animates {facts.n_vertices} vertices, {data.folder} has "
                f"{mesh.topology.n_vertices}; give the data set it was trained for"
            )
        if facts.fps != data.manifest.fps:
            raise CheckpointError(
                f"{loaded.path}: animates at {facts.fps:g} frames a second, {data.folder} has "
                f"{data.manifest.fps:g}; prepare the data at the checkpoint's rate"
            )
        self.data, self.device = data, device
        self.model = loaded.model.to(device)
        self.styles = list(facts.train_subjects) if loaded.model.speech is not None else []
        self.voice: Voice | None = None
        if loaded.model.speech is not None:
            self.voice = Voice(replace(loaded, mesh=mesh), device, decode)

    @torch.no_grad()
    def reconstruct(self, clip: Clip) -> np.ndarray:
        """(T, V, 3) float32: the clip through stage 1's codes and back."""
        template = torch.from_numpy(np.array(self.data.mesh.templates[clip.entry.subject]))
        vertices = torch.from_numpy(np.array(clip.vertices))
        if not torch.isfinite(vertices).all():
            raise DataError(f"{clip.entry.name}: its motion holds values that are not finite")
        n_frames = len(vertices)
        if n_frames == 1:  # one frame has no statistics
            vertices = vertices.expand(2, -1, -1)
        made = self.model.vq(vertices[None].to(self.device), template[None].to(self.device))
        return made.vertices[0, :n_frames].cpu().numpy()

    def write(
        self, wishes: Sequence[PredictionJob], folder: Path, progress: Progress | None = None
    ) -> Iterator[tuple[PredictionJob, CodeTalkerError]]:
        """Make predictions; comes back with those that could not be made, and why.

        Args:
            wishes: What is wanted.
            folder: Where they go, ``NAME.npy`` (T, V, 3) float32 each.
            progress: Called with (predictions done, predictions).
        """
        for done, (wish, made) in enumerate(self._made(wishes), 1):
            if isinstance(made, CodeTalkerError):
                yield wish, made
            else:
                with atomic_path(folder / f"{wish.name}.npy") as temporary:
                    write_array(temporary, made.shape, vertex_blocks(made))
            if progress is not None:
                progress(done, len(wishes))

    def _made(self, wishes: Sequence[PredictionJob]) -> Iterator[tuple[PredictionJob, Any]]:
        if self.voice is None:
            for wish in wishes:
                yield wish, self._attempt(wish.clip)
            return
        for number, motion in self.voice.animate_many(self._requests(wishes)):
            yield wishes[number], motion.vertices if isinstance(motion, Motion) else motion

    def _attempt(self, clip: Clip) -> np.ndarray | CodeTalkerError:
        try:
            return self.reconstruct(clip)
        except CodeTalkerError as error:
            return error

    def _requests(self, wishes: Iterable[PredictionJob]) -> Iterator[Request]:
        for wish in wishes:
            entry = wish.clip.entry
            speech = audio_path(self.data.folder, entry.name)
            yield Request(speech, entry.subject, wish.style, idle=False)
