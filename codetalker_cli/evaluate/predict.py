"""Predict the clips of a prepared data set with a checkpoint and write the predictions to disk.

Predictions are written atomically, so every file that exists is complete.
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
from codetalker_cli.face_fit import difference_in_size
from codetalker_cli.failures import error_of_item
from codetalker_cli.files import atomic_path
from codetalker_cli.formats.predictions import file_name
from codetalker_cli.models.checkpoint import Checkpoint
from codetalker_cli.motion import Motion, vertex_blocks
from codetalker_cli.progress import Progress


@dataclass(frozen=True)
class PredictionJob:
    """A prediction to compute.

    Attributes:
        clip: The clip.
        style: The style, or None for a reconstruction.
    """

    clip: Clip
    style: str | None

    @property
    def name(self) -> str:
        """The name of the prediction's file without the suffix."""
        return file_name(self.clip.entry.name, self.style)


class Predictor:
    """A checkpoint that predicts the clips of a data set.

    Args:
        checkpoint: A checkpoint of stage 1, or of both stages.
        data: The prepared data set.
        device: The device that the model runs on.
        decode: Settings of the section ``decode`` that replace those of the checkpoint.

    Raises:
        CheckpointError: The checkpoint and the data set differ in vertex count, frame rate, unit or
            size.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        data: PreparedDataSet,
        device: torch.device,
        decode: dict[str, Any] | None = None,
    ) -> None:
        facts, mesh = checkpoint.settings.data, data.mesh
        if facts.n_vertices != mesh.topology.n_vertices:
            raise CheckpointError(
                f"{checkpoint.path}: the model has {facts.n_vertices} vertices, {data.folder} has "
                f"{mesh.topology.n_vertices}; give a data set with the mesh of the checkpoint"
            )
        if facts.fps != data.manifest.fps:
            raise CheckpointError(
                f"{checkpoint.path}: the frame rate of the model is {facts.fps:g}, but that of "
                f"{data.folder} is {data.manifest.fps:g}; prepare the data at the rate of the model"
            )
        _check_scale(checkpoint, data)
        self.data, self.device = data, device
        self.model = checkpoint.model.to(device)
        self.styles = list(facts.train_subjects) if checkpoint.model.speech is not None else []
        self.voice: Voice | None = None
        if checkpoint.model.speech is not None:
            self.voice = Voice(replace(checkpoint, mesh=mesh), device, decode)

    @torch.no_grad()
    def reconstruct(self, clip: Clip) -> np.ndarray:
        """Encode a clip to codes with stage 1 and decode it again, (T, V, 3) float32.

        Raises:
            DataError: The motion contains NaN or infinite values.
        """
        template = torch.from_numpy(np.array(self.data.mesh.templates[clip.entry.subject]))
        vertices = torch.from_numpy(np.array(clip.vertices))
        if not torch.isfinite(vertices).all():
            raise DataError(f"{clip.entry.name}: the motion contains NaN or infinite values")
        n_frames = len(vertices)
        if n_frames == 1:  # instance norm needs at least two frames
            vertices = vertices.expand(2, -1, -1)
        output = self.model.vq(vertices[None].to(self.device), template[None].to(self.device))
        return output.vertices[0, :n_frames].cpu().numpy()

    def write(
        self, jobs: Sequence[PredictionJob], folder: Path, progress: Progress | None = None
    ) -> Iterator[tuple[PredictionJob, CodeTalkerError]]:
        """Compute and write predictions; yield each job that failed, with its error.

        Args:
            jobs: The predictions to compute.
            folder: Folder for the files ``NAME.npy``, (T, V, 3) float32 each.
            progress: Called with the number of predictions done and the total.
        """
        for done, (job, prediction) in enumerate(self._predict(jobs), 1):
            if isinstance(prediction, CodeTalkerError):
                yield job, prediction
            else:
                with atomic_path(folder / f"{job.name}.npy") as temporary:
                    write_array(temporary, prediction.shape, vertex_blocks(prediction))
            if progress is not None:
                progress(done, len(jobs))

    def _predict(self, jobs: Sequence[PredictionJob]) -> Iterator[tuple[PredictionJob, Any]]:
        if self.voice is None:
            for job in jobs:
                yield job, self._try_reconstruct(job.clip)
            return
        for number, motion in self.voice.animate_many(self._requests(jobs)):
            yield jobs[number], motion.vertices if isinstance(motion, Motion) else motion

    def _try_reconstruct(self, clip: Clip) -> np.ndarray | CodeTalkerError:
        try:
            return self.reconstruct(clip)
        except Exception as error:
            return error_of_item(error)

    def _requests(self, jobs: Iterable[PredictionJob]) -> Iterator[Request]:
        for job in jobs:
            entry = job.clip.entry
            speech = audio_path(self.data.folder, entry.name)
            yield Request(
                speech, entry.subject, job.style, idle=False, head=False, needs_speech=True
            )


def _check_scale(checkpoint: Checkpoint, data: PreparedDataSet) -> None:
    """Refuse a data set in another unit or of another size than the checkpoint.

    Raises:
        CheckpointError: The unit or the size differs.
    """
    unit, data_unit = checkpoint.settings.data.unit, data.mesh.topology.unit
    if unit != data_unit:
        raise CheckpointError(
            f"{checkpoint.path}: the unit of the model is {unit}, but that of {data.folder} is "
            f"{data_unit}; prepare the data in the unit of the model"
        )
    templates = {} if checkpoint.mesh is None else checkpoint.mesh.templates
    if difference := difference_in_size(data.mesh.templates, templates):
        raise CheckpointError(
            f"{checkpoint.path}: the templates of {data.folder} are {difference} as those of the "
            "model; prepare the data in the unit of the model"
        )
