"""Train stage 2, which predicts motion codes from speech."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.devices import make_accelerator
from codetalker_cli.errors import CheckpointError
from codetalker_cli.models import checkpoint
from codetalker_cli.models.checkpoint import Checkpoint
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.decoding import Decoder
from codetalker_cli.progress import Progress
from codetalker_cli.settings import Settings
from codetalker_cli.train.batches import Batch, ClipSource, clip_rng, draw_crops, step_rng
from codetalker_cli.train.compatibility import check_data, check_stage1
from codetalker_cli.train.loop import fit
from codetalker_cli.train.losses import (
    ContactWeights,
    EncodedClips,
    MotionLoss,
    clip_means,
    speech_losses,
)
from codetalker_cli.train.precomputed import Precomputed
from codetalker_cli.train.progress import ProgressReport, TrainingProgress
from codetalker_cli.train.run_folder import RunFolder
from codetalker_cli.train.speech_model import build_speech_model
from codetalker_cli.train.task import Task, Values
from codetalker_cli.train.trackers import check_trackers
from codetalker_cli.train.validation import ClipResult, Validation


class SpeechReports(NamedTuple):
    """The progress callbacks of stage-2 training.

    Attributes:
        steps: Called after each step.
        encoding: Called with (done, total) clips while speech features and codes are precomputed.
    """

    steps: ProgressReport | None = None
    encoding: Progress | None = None


def train_speech(
    data: PreparedDataSet,
    settings: Settings,
    stage1: Checkpoint,
    out: Path,
    *,
    device: str = "cpu",
    resume: bool = False,
    reports: SpeechReports | None = None,
) -> TrainingProgress:
    """Train stage 2 on a prepared data set and write the best checkpoint to ``out``.

    Args:
        data: The prepared data set.
        settings: The settings; the section ``vq`` is replaced by that of ``stage1``.
        stage1: The trained stage 1, or a complete model, of which only stage 1 is used.
        out: The checkpoint folder; ``train.run_folder`` lists the files next to it.
        device: The torch device, for a single process.
        resume: Whether to continue the run at ``out``.
        reports: The progress callbacks.

    Returns:
        The progress at the end of the run.

    Raises:
        DataError: The data set does not fit the settings.
        CheckpointError: Stage 1 was trained on a different topology, or the resumed run used a
            different stage 1.
        MissingDependencyError: The pretrained speech encoder is not available.
        CodeTalkerError: See ``codetalker_cli.train.loop.fit``.
    """
    reports = reports or SpeechReports()
    check_data(data, settings)
    check_stage1(stage1, settings, data)
    folder = RunFolder(out)
    if resume:
        folder.find_resumable("speech", data, stage1)
    accelerator = make_accelerator(settings.train_speech.precision, device, unused_parameters=True)
    check_trackers(settings.train_speech.trackers)
    model = build_speech_model(settings, stage1)
    task = SpeechTask(data, model, stage1, accelerator, reports.encoding)
    train_settings = settings.train_speech
    with folder.lock(accelerator):
        folder.enter("speech", settings, data, accelerator, resume=resume, stage1=stage1)
        return fit(
            task,
            train_settings,
            folder,
            accelerator=accelerator,
            resume=resume,
            report=reports.steps,
        )


class SpeechTraining(nn.Module):
    """Stage 2 and its losses in one module, as distributed training requires; stage 1 is fixed."""

    def __init__(
        self, model: CodeTalker, motion_loss: MotionLoss, contact_weights: ContactWeights
    ) -> None:
        super().__init__()
        assert model.speech is not None
        self.speech = model.speech
        self.vq = model.vq
        # In a list, so that the model is not registered as a child: its parts already are.
        self._model = [model]
        self._settings = model.settings.train_speech
        self._motion_loss, self._contact_weights = motion_loss, contact_weights

    def train(self, mode: bool = True) -> "SpeechTraining":
        """Set the training mode of stage 2; stage 1 stays in evaluation mode."""
        super().train(mode)
        self.vq.eval()
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the teacher-forced motion and latent losses of each clip and their sum (eq. 6)."""
        s = self._settings
        lengths = batch.lengths
        hidden, _ = self.speech.encoder.encode_trainable(batch.speech, batch.n_frames)
        rng = step_rng(s.seed, batch.step)
        losses = speech_losses(
            self._model[0],
            EncodedClips(
                hidden, batch.vertices, batch.template, batch.style_ids, lengths, batch.codes
            ),
            history=partial(self.history, batch=batch),
            keep_history=batch.keep_history,
            motion_loss=lambda basis, predicted, target, clip_lengths, weights: self._motion_loss(
                basis, predicted, target, rng, clip_lengths, weights
            ),
            motion_weight=s.motion_weight,
            frame_weights=self._contact_weights(batch.vertices),
        )
        values = {"loss": losses.total, "motion_loss": losses.motion, "latent_loss": losses.latents}
        if batch.crops_per_clip == 1:
            return values
        return {
            key: x.unflatten(0, (-1, batch.crops_per_clip)).mean(1) for key, x in values.items()
        }

    @torch.no_grad()
    def history(
        self,
        hidden: Tensor,
        features: Tensor,
        style: Tensor,
        *,
        batch: Batch,
    ) -> Tensor:
        """Return the (B, T, F) motion history that the decoder sees: true or predicted, with noise.

        The predicted history is computed for all frames in parallel (parallel scheduled sampling,
        Duckworth et al. 2019). The first pass sees only the speech. Each further pass sees the
        prediction of the pass before it, so its errors accumulate over more frames, as they do in
        free-running decoding.
        """
        past, use_own, lengths = features, batch.own_history, batch.lengths
        if use_own is not None:
            was_training = self.speech.training
            self.speech.eval()
            prediction, keep_history = features, torch.zeros(len(features), device=features.device)
            for _ in range(self._settings.own_history_passes):
                prediction = self.speech(
                    self.vq, hidden, prediction, style, keep_history, lengths
                ).features
                keep_history = torch.ones_like(keep_history)
            self.speech.train(was_training)
            past = torch.where(use_own[:, None, None], prediction.to(features.dtype), features)
        if batch.noise is not None:
            scale = clip_means(features.square(), lengths).sqrt()[:, None, None]
            past = past + self._settings.history_noise * scale * batch.noise
        return past


def _draw_noise(rngs: Sequence[np.random.Generator], shapes: list[tuple[int, int]]) -> Tensor:
    """Return (B, T, feature_size) standard normal noise, padded."""
    noise = [
        torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
        for rng, shape in zip(rngs, shapes, strict=True)
    ]
    return nn.utils.rnn.pad_sequence(noise, batch_first=True)


class SpeechTask(Task):
    """Stage 2 in the training loop."""

    # LayerDrop skips layers, and cross-attention to a single speech feature does not need a query.
    unused_parameters = True

    def __init__(
        self,
        data: PreparedDataSet,
        model: CodeTalker,
        stage1: Checkpoint,
        accelerator: Accelerator,
        encoding_progress: Progress | None,
    ) -> None:
        assert model.speech is not None
        self.data, self.stage1 = data, stage1
        self.model = model.eval().to(accelerator.device)
        self.speech = model.speech
        self._settings = model.settings.train_speech
        self.encoder, self.encoder_rate = model.speech.encoder, self._settings.encoder_rate
        self.source = ClipSource(data, "train")
        loss = MotionLoss("l2", data.mesh.topology, self._settings)
        fps, weight = model.settings.data.fps, self._settings.contact_weight
        contact_weights = ContactWeights(data.mesh.topology, fps, weight)
        self.module: SpeechTraining = SpeechTraining(model, loss, contact_weights)
        clips, frames = self._settings.validation_clips, self._settings.validation_frames
        self.validation = Validation(data, self.source, clips, frames)
        self.precomputed = Precomputed(data, self.model)
        self.precomputed.prepare(
            self.source, self.validation.source, accelerator, encoding_progress
        )
        crop = self._settings.crop_frames
        self.lengths = [min(n, crop or n) for n in self.source.lengths]

    def load(self, clips: Sequence[int], step: int) -> Batch:
        """Load one or more crops of each clip, with their speech features and codes."""
        s = self._settings
        length, n = draw_crops(s, step)
        # The crops of a clip share a generator, so that they do not depend on the batch.
        rngs = [rng for clip in clips for rng in [clip_rng(s.seed, step, clip)] * n]
        crops = [clip for clip in clips for _ in range(n)]
        batch = self.source.batch(crops, length, rngs, step)
        versions = [int(rng.integers(1 + s.n_augmentations)) for rng in rngs]
        keep_history = torch.tensor([float(rng.random() >= s.history_dropout) for rng in rngs])
        own_history = torch.tensor([bool(rng.random() < s.own_history) for rng in rngs])
        shapes = [(n_frames, self.model.vq.feature_size) for n_frames in batch.n_frames]
        uses_history = self.speech.settings.motion_history
        return replace(
            batch,
            crops_per_clip=n,
            speech=self.precomputed.speech(self.source, batch, versions),
            codes=self.precomputed.codes(self.source, batch),
            noise=_draw_noise(rngs, shapes) if uses_history and s.history_noise > 0 else None,
            keep_history=keep_history if uses_history and s.history_dropout > 0 else None,
            own_history=own_history if uses_history and s.own_history > 0 else None,
        )

    def clip_name(self, clip: int) -> str:
        """Return the name of the clip in the data set."""
        return self.source.clip(clip).entry.name

    def compile(self) -> None:
        """Compile the layers of the decoders of both stages, and of a trained speech encoder."""
        for layer in self.speech.layers:
            layer.compile(dynamic=True)
        self.model.vq.decoder.compile(dynamic=True)
        if not self.speech.encoder.settings.frozen:
            for layer in self.speech.encoder.transformer_layers:
                layer.compile(dynamic=True)

    def validate(self, accelerator: Accelerator) -> Values:
        """Return the free-running and teacher-forced errors; the score is free-running."""
        values = self.validation.measure(self._evaluate, accelerator, self._load_validation)
        return {**values, "score": values["val_lve"]} if values else {}

    def sample(self, path: Path, n_frames: int) -> Path | None:
        """Render a validation clip next to the model's prediction from its speech."""
        device, render = self.speech.head.weight.device, self.model.settings.render
        return self.validation.sample(
            path, self._evaluate, n_frames, render, device, self._load_validation
        )

    def _load_validation(self, clips: list[int], n_frames: int | None) -> Batch:
        source = self.validation.source
        batch = source.batch(clips, n_frames)
        return replace(batch, speech=self.precomputed.speech(source, batch, [0] * len(clips)))

    @torch.no_grad()
    def _evaluate(self, batch: Batch) -> list[ClipResult]:
        vq, speech = self.model.vq, self.speech
        hidden, _ = speech.encoder.encode_trainable(batch.speech, batch.n_frames)
        lengths = batch.lengths
        clips = EncodedClips(hidden, batch.vertices, batch.template, batch.style_ids, lengths)
        forced = speech_losses(self.model, clips)
        template = batch.template
        teacher_forced = (vq.basis.to_offsets(forced.features) + template[:, None]).cpu().numpy()
        if speech.settings.motion_history:
            style = speech.style_embedding(batch.style_ids)
            # No CUDA graphs: the weights keep changing, and other threads use the device.
            decode = self.model.settings.decode.model_copy(update={"cuda_graphs": False})
            codes = Decoder(speech, vq, decode).decode(hidden, style, lengths=batch.n_frames)
            free_running = vq.decode(codes, template, lengths).cpu().numpy()
        else:  # no frame depends on earlier motion, so both are the same
            codes, free_running = forced.codes, teacher_forced
        code_arrays, losses = codes.cpu().numpy(), forced.total.tolist()
        return [
            ClipResult(free_running[k, :n], code_arrays[k, :n], teacher_forced[k, :n], losses[k])
            for k, n in enumerate(batch.n_frames)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return the hash of the weights that the precomputed features depend on."""
        return {"encoder": self.precomputed.encoder}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Check that the pretrained encoder is the one that the run was started with.

        Raises:
            CheckpointError: Its weights are different.
        """
        if state["encoder"] != self.precomputed.encoder:
            raise CheckpointError(
                f"speech.encoder.source: the weights of {self.model.settings.speech.encoder.source}"
                " have changed since the run was started; start again with `overwrite`"
            )

    def save(self, folder: Path, meta: dict[str, Any]) -> None:
        """Write both stages as one checkpoint."""
        stage1_meta = {key: self.stage1.meta.get(key) for key in ("step", "data_id", "weights")}
        meta = {**meta, "data_id": self.data.manifest.data_id, "stage1": stage1_meta}
        checkpoint.save(folder, self.model, meta=meta, mesh=self.data.mesh)
