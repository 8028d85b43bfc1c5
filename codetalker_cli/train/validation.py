"""What a model gives on the validation clips, in numbers that mean something.

Errors of the lips beside those of two faces that do not listen: the template, and the mean of the
training motion. Without a region ``lips`` they are of all vertices.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from codetalker_cli import metrics
from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.data.mean_motion import mean_offset
from codetalker_cli.data.prepared import PreparedDataSet
from codetalker_cli.errors import DataError
from codetalker_cli.models.quantizer import perplexity
from codetalker_cli.motion import Motion
from codetalker_cli.settings import RenderSettings
from codetalker_cli.train.batches import Batch, ClipSource
from codetalker_cli.train.sample import write_sample
from codetalker_cli.train.task import Values

BATCH_CLIPS = 8
"""Clips that are validated side by side."""


class ClipResult(NamedTuple):
    """What a model makes of a clip.

    Attributes:
        vertices: (T, V, 3) as it will run.
        codes: Its codes, in any shape.
        forced: (T, V, 3) with the true past before it, where that is something else.
        loss: Its training loss, where there is one.
    """

    vertices: np.ndarray
    codes: np.ndarray
    forced: np.ndarray | None = None
    loss: float | None = None


@dataclass(frozen=True)
class _Row:
    """A clip's part of the sums; arrays are (T,) squared lip errors."""

    clip: int
    codes: np.ndarray
    error: np.ndarray
    template: np.ndarray
    mean: np.ndarray
    forced: np.ndarray | None
    loss: float | None
    mve: float
    energy: tuple[float, float]


class Validation:
    """The validation clips of a data set.

    Args:
        data: Prepared data set.
        training: Gives the mean motion.
        n_clips: So many of them, spread over the split; None: all.
        n_frames: First frames of each; None: all.
    """

    def __init__(
        self,
        data: PreparedDataSet,
        training: ClipSource,
        n_clips: int | None = None,
        n_frames: int | None = None,
    ) -> None:
        self.source = ClipSource(data, "val", may_be_empty=True)
        self._training = training
        self._data = data
        self._n_frames = n_frames
        count = len(self.source)
        self.chosen = np.linspace(0, max(count - 1, 0), min(count, n_clips or count))
        topology = data.mesh.topology
        self._metres = topology.metres_per_unit
        self._lips = topology.regions.get("lips", np.arange(topology.n_vertices))

    @cached_property
    def _mean(self) -> np.ndarray:
        """(V, 3) mean offset of the training frames."""
        return mean_offset(self._training.clips, self._data.mesh.templates)

    def measure(
        self,
        run: Callable[[Batch], list[ClipResult]],
        accelerator: Accelerator,
        load: Callable[[list[int], int | None], Batch] | None = None,
    ) -> Values:
        """Run a model on all clips, shared out over the processes.

        Args:
            run: From a batch on the device, a result a clip.
            accelerator: Of the run.
            load: Gives a batch of clip numbers and longest frames; default vertices alone.

        Returns:
            Named values, the same in every process; none when there are no clips.
        """
        if not len(self.source):
            return {}
        load = load or self.source.batch
        clips = sorted(
            {int(i) for i in self.chosen.round()}, key=lambda i: (self.source.lengths[i], i)
        )
        mine = clips[accelerator.process_index :: accelerator.num_processes]
        rows: list[_Row] = []
        for at in range(0, len(mine), BATCH_CLIPS):
            batch = load(mine[at : at + BATCH_CLIPS], self._n_frames)
            for k, result in enumerate(run(batch.to(accelerator.device))):
                rows.append(self._row(batch, k, result))
        return self._values(sorted(gather_object(rows), key=lambda row: row.clip))

    def sample(
        self,
        path: Path,
        run: Callable[[Batch], list[ClipResult]],
        n_frames: int,
        settings: RenderSettings,
        device: torch.device,
        load: Callable[[list[int], int | None], Batch] | None = None,
    ) -> Path | None:
        """Write a video of the first clip beside the truth; gives its path, None without clips."""
        if not len(self.source):
            return None
        batch = (load or self.source.batch)([0], n_frames)
        made = run(batch.to(device))[0].vertices
        clip, mesh = self.source.clip(0), self._data.mesh
        subject, fps = clip.entry.subject, self._data.manifest.fps
        true = Motion(
            vertices=batch.vertices[0].numpy(),
            fps=fps,
            topology=mesh.topology,
            subject=subject,
            template=mesh.templates[subject],
            colours=mesh.colours.get(subject),
            audio=clip.samples()[: round(batch.n_frames[0] / fps * SAMPLE_RATE)],
        )
        write_sample(path, true, replace(true, vertices=made), settings)
        return path

    def _row(self, batch: Batch, k: int, made: ClipResult) -> _Row:
        lips, n = self._lips, min(len(made.vertices), batch.n_frames[k])
        true = batch.vertices[k, :n].numpy()
        if not np.isfinite(true).all():
            raise DataError(
                f"{self.source.clip(batch.clips[k]).entry.name}: its motion holds values that are "
                "not finite; look at it with `codetalker prepare-data check`"
            )
        template = batch.template[k].numpy()
        still = np.broadcast_to(template, true.shape)

        def errors(vertices: np.ndarray) -> np.ndarray:
            return metrics.lip_errors(vertices, true, lips)

        def energy(vertices: np.ndarray) -> float:
            return float(np.square(np.diff(vertices[:n, lips], axis=0), dtype=np.float64).sum())

        return _Row(
            clip=batch.clips[k],
            codes=made.codes.reshape(-1),
            error=errors(made.vertices),
            template=errors(still),
            mean=errors(still + self._mean),
            forced=None if made.forced is None else errors(made.forced),
            loss=made.loss,
            mve=metrics.mve(made.vertices, true),
            energy=(energy(made.vertices), energy(true)),
        )

    def _values(self, rows: list[_Row]) -> Values:
        errors = [row.error for row in rows]
        made, true = (sum(row.energy[k] for row in rows) for k in (0, 1))
        values = {
            "val_lve": metrics.lve(errors),
            "val_lve_template": metrics.lve([row.template for row in rows]),
            "val_lve_mean": metrics.lve([row.mean for row in rows]),
            "val_mve": float(np.mean([row.mve for row in rows])),
            "val_motion_energy": made / max(true, 1e-12),
            "val_perplexity": perplexity(
                torch.bincount(torch.from_numpy(np.concatenate([row.codes for row in rows])))
            ),
        }
        if self._metres is not None:
            values["val_lve_mm"] = metrics.lve_mm(errors, self._metres)
        forced = [row.forced for row in rows if row.forced is not None]
        if forced:
            values["val_lve_forced"] = metrics.lve(forced)
        losses = [row.loss for row in rows if row.loss is not None]
        if losses:
            values["val_loss"] = float(np.mean(losses))
        return values
