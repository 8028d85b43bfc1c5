"""Measure a model on the validation clips, render a sample video, and diagnose problems.

Lip errors are compared with those of two speech-independent baselines: the template, and the mean
motion of the training clips. If the topology has no region ``lips``, all vertices are used.
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
from codetalker_cli.datasets.prepared import PreparedDataSet, mean_offset
from codetalker_cli.errors import DataError
from codetalker_cli.metrics.liveness import (
    MAX_MOTION_ENERGY,
    MIN_MOTION_ENERGY,
    squared_steps,
)
from codetalker_cli.models.quantizer import perplexity
from codetalker_cli.motion import Motion
from codetalker_cli.render import Panel, render_video
from codetalker_cli.settings import RenderSettings
from codetalker_cli.train.batches import Batch, ClipSource
from codetalker_cli.train.task import Values

BATCH_CLIPS = 8
"""The number of clips in a validation batch."""


class ClipResult(NamedTuple):
    """The prediction of a model for one clip.

    Attributes:
        vertices: (T, V, 3) the reconstruction (stage 1) or free-running prediction (stage 2).
        codes: The codes of the prediction, in any shape.
        forced: (T, V, 3) the teacher-forced prediction (stage 2), or None.
        loss: The training loss of the clip, if it is computed.
    """

    vertices: np.ndarray
    codes: np.ndarray
    forced: np.ndarray | None = None
    loss: float | None = None


@dataclass(frozen=True)
class _ClipErrors:
    """The errors of one clip.

    Attributes:
        clip: The index of the clip.
        codes: The codes of the prediction.
        error: (T,) squared lip errors of the prediction.
        template: (T,) squared lip errors of the template.
        mean: (T,) squared lip errors of the mean motion.
        forced: (T,) squared lip errors of the teacher-forced prediction, if there is one.
        loss: The training loss of the clip, if it is computed.
        mve: The mean vertex error.
        energy: The motion energy of the lips: predicted and true.
    """

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
        data: The prepared data set.
        training: The training clips, from which the mean motion is computed.
        n_clips: The number of clips, spread over the split; None: all.
        n_frames: The number of frames from the start of each clip; None: all.

    Attributes:
        source: The clips of the split ``val``.
        clip_numbers: The evenly spaced positions of the measured clips, before rounding to indices.
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
        self.clip_numbers = np.linspace(0, max(count - 1, 0), min(count, n_clips or count))
        topology = data.mesh.topology
        self._meters = topology.meters_per_unit
        self._lips = topology.regions.get("lips", np.arange(topology.n_vertices))

    @cached_property
    def _mean_offset(self) -> np.ndarray:
        """The (V, 3) mean offset of the training frames from the template."""
        return mean_offset(self._training.clips, self._data.mesh.templates)

    def measure(
        self,
        predict: Callable[[Batch], list[ClipResult]],
        accelerator: Accelerator,
        load: Callable[[list[int], int | None], Batch] | None = None,
    ) -> Values:
        """Measure a model on the validation clips, which are divided among the processes.

        Args:
            predict: Returns one result per clip for a batch on the device.
            accelerator: The device and the processes of the run.
            load: Loads a batch from clip indices and a maximum number of frames; default: the
                motion without speech.

        Returns:
            Named values, the same in every process; empty if there are no clips.
        """
        if not len(self.source):
            return {}
        load = load or self.source.batch
        clips = sorted(
            {int(i) for i in self.clip_numbers.round()}, key=lambda i: (self.source.lengths[i], i)
        )
        shard = clips[accelerator.process_index :: accelerator.num_processes]
        errors: list[_ClipErrors] = []
        for start in range(0, len(shard), BATCH_CLIPS):
            batch = load(shard[start : start + BATCH_CLIPS], self._n_frames)
            for k, result in enumerate(predict(batch.to(accelerator.device))):
                errors.append(self._clip_errors(batch, k, result))
        return self._summarize(sorted(gather_object(errors), key=lambda clip: clip.clip))

    def sample(
        self,
        path: Path,
        predict: Callable[[Batch], list[ClipResult]],
        n_frames: int,
        settings: RenderSettings,
        device: torch.device,
        load: Callable[[list[int], int | None], Batch] | None = None,
    ) -> Path | None:
        """Render the prediction of the first clip next to the ground truth.

        Args:
            path: The video to write.
            predict: Returns one result per clip for a batch on the device.
            n_frames: The maximum length of the video in frames.
            settings: The render settings.
            device: The device of the model.
            load: See ``measure``.

        Returns:
            ``path``, or None if there are no clips.
        """
        if not len(self.source):
            return None
        batch = (load or self.source.batch)([0], n_frames)
        predicted = predict(batch.to(device))[0].vertices
        clip, mesh = self.source.clip(0), self._data.mesh
        subject, fps = clip.entry.subject, self._data.manifest.fps
        true = Motion(
            vertices=batch.vertices[0].numpy(),
            fps=fps,
            topology=mesh.topology,
            subject=subject,
            template=mesh.templates[subject],
            colors=mesh.colors.get(subject),
            audio=clip.samples()[: round(batch.n_frames[0] / fps * SAMPLE_RATE)],
        )
        write_sample(path, true, replace(true, vertices=predicted), settings)
        return path

    def _clip_errors(self, batch: Batch, k: int, result: ClipResult) -> _ClipErrors:
        lips, n = self._lips, min(len(result.vertices), batch.n_frames[k])
        true = batch.vertices[k, :n].numpy()
        if not np.isfinite(true).all():
            raise DataError(
                f"{self.source.clip(batch.clips[k]).entry.name}: the motion contains values that "
                "are not finite; inspect the data with `codetalker prepare-data check`"
            )
        template = batch.template[k].numpy()
        static = np.broadcast_to(template, true.shape)

        def errors(vertices: np.ndarray) -> np.ndarray:
            return metrics.lip_errors(vertices, true, lips)

        return _ClipErrors(
            clip=batch.clips[k],
            codes=result.codes.reshape(-1),
            error=errors(result.vertices),
            template=errors(static),
            mean=errors(static + self._mean_offset),
            forced=None if result.forced is None else errors(result.forced),
            loss=result.loss,
            mve=metrics.mve(result.vertices, true),
            energy=(squared_steps(result.vertices[:n, lips]), squared_steps(true[:, lips])),
        )

    def _summarize(self, clips: list[_ClipErrors]) -> Values:
        errors = [clip.error for clip in clips]
        predicted_energy, true_energy = (sum(clip.energy[k] for clip in clips) for k in (0, 1))
        values = {
            "val_lve": metrics.lve(errors),
            "val_lve_template": metrics.lve([clip.template for clip in clips]),
            "val_lve_mean": metrics.lve([clip.mean for clip in clips]),
            "val_mve": float(np.mean([clip.mve for clip in clips])),
            "val_perplexity": perplexity(
                torch.bincount(torch.from_numpy(np.concatenate([clip.codes for clip in clips])))
            ),
        }
        if true_energy > 0:
            values["val_motion_energy"] = predicted_energy / true_energy
        if self._meters is not None:
            values["val_lve_mm"] = metrics.lve_mm(errors, self._meters)
        forced = [clip.forced for clip in clips if clip.forced is not None]
        if forced:
            values["val_lve_forced"] = metrics.lve(forced)
        losses = [clip.loss for clip in clips if clip.loss is not None]
        if losses:
            values["val_loss"] = float(np.mean(losses))
        return values


# The sample video ---------------------------------------------------------------------------------


LABELS = ("truth", "model")
"""The labels above the two halves of the video."""


def write_sample(out: Path, true: Motion, predicted: Motion, settings: RenderSettings) -> None:
    """Render two motions of the same face side by side, with the audio of the true motion.

    Args:
        out: The video, with a suffix that the renderer knows, such as .mp4; an older file is
            replaced. Its width is 2 · ``settings.size``.
        true: The true motion of the clip.
        predicted: The predicted motion at the same frame rate. The longer motion is cut.
        settings: The render settings.

    Raises:
        RenderError: A motion cannot be rendered, the suffix is unknown, or the encoder fails.
        InputError: The folder is not writable.
    """
    n_frames = min(true.n_frames, predicted.n_frames)
    left = replace(true, vertices=true.vertices[:n_frames])
    # The camera depends only on the template, which is the same, so both halves have one view.
    right = replace(left, vertices=predicted.vertices[:n_frames], fps=predicted.fps)
    panels = [Panel(motion, label) for motion, label in zip((left, right), LABELS, strict=True)]
    render_video(panels, out, settings)


# Diagnostics --------------------------------------------------------------------------------------


MAX_FREE_RUNNING_RATIO = 3.0
"""The maximum acceptable ratio of the free-running error to the teacher-forced one."""
MAX_DEAD_FRACTION = 0.5
"""The maximum acceptable fraction of unused codebook entries."""


def diagnose(values: Values) -> dict[str, str]:
    """Return a one-line warning for each problem that validation values show, by kind.

    The kinds are ``still``, ``restless``, ``no-speech-effect``, ``gap`` and ``dead``.
    """
    messages: dict[str, str] = {}
    stage2 = "val_lve_forced" in values
    section = "train_speech" if stage2 else "train_vq"
    energy = values.get("val_motion_energy", 1.0)
    if energy < MIN_MOTION_ENERGY:
        messages["still"] = (
            f"the face hardly moves: its lips have {energy:.0%} of the true motion's energy; "
            f"train longer, increase the weight of the lips and of the motion loss (`set` "
            f"{section}.region_weights='{{\"lips\": 10}}', {section}.motion_weight), or inspect "
            "the data with `codetalker prepare-data check`"
        )
    if energy > MAX_MOTION_ENERGY:
        messages["restless"] = (
            f"the face moves too much: its lips have {energy:.1f} times the true motion's energy; "
            f"increase the weight of the motion loss (`set` {section}.motion_weight), lower the "
            "learning rate, or inspect the data with `codetalker prepare-data check`"
        )
    if values.get("val_lve", 0.0) >= values.get("val_lve_mean", float("inf")):
        share = values["val_lve"] / max(values["val_lve_mean"], 1e-12)
        messages["no-speech-effect"] = (
            "the lip vertex error is not better than the mean motion of the training clips "
            f"({share:.0%} of its error): the model has not learned anything from the "
            f"{'speech' if stage2 else 'motion'} yet"
        )
    if stage2 and values["val_lve"] > MAX_FREE_RUNNING_RATIO * values["val_lve_forced"]:
        messages["gap"] = (
            f"the free-running lip error is {values['val_lve'] / values['val_lve_forced']:.1f} "
            "times the teacher-forced one: the model copies the past motion, and its errors add "
            "up; hide the past from more clips (`set` train_speech.history_dropout=0.95, "
            "train_speech.own_history=0), which costs little if there is little data"
        )
    n_codes = values.get("codes_used", 0.0) + values.get("dead_codes", 0.0)
    if n_codes and values["dead_codes"] > MAX_DEAD_FRACTION * n_codes:
        messages["dead"] = (
            f"{values['dead_codes']:.0f} of {n_codes:.0f} codebook entries were not used in this "
            "epoch; `set` train_vq.revive_after_steps=30 replaces unused entries"
        )
    return messages
