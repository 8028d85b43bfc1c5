"""Training of stage 2: speech to motion codes."""

import logging
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
from codetalker_cli.models.speech_encoders.encoder import AudioEncoder
from codetalker_cli.models.speech_encoders.pretrained import load_pretrained, with_pretrained_config
from codetalker_cli.progress import Progress
from codetalker_cli.settings import AudioEncoderSettings, Settings
from codetalker_cli.train.batches import Batch, ClipSource, clip_rng, step_rng
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
from codetalker_cli.train.task import Task, Values
from codetalker_cli.train.trackers import check_trackers
from codetalker_cli.train.validation import ClipResult, Validation
from codetalker_cli.workspace import is_checkpoint

logger = logging.getLogger(__name__)


class SpeechReports(NamedTuple):
    """What is called with the progress of a training of stage 2.

    Attributes:
        steps: Called after each step.
        encoding: Called with (clips done, clips) while the fixed part of the speech encoder is
            computed.
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
    """Train stage 2 on a prepared data set with a trained stage 1; the best goes to ``out``.

    Args:
        data: Prepared data set.
        settings: ``vq`` is replaced by the stage-1 checkpoint's.
        stage1: Trained stage 1 (or a whole model, whose stage 1 is used).
        out: Checkpoint folder; ``train.run_folder`` tells what stands beside it.
        device: Torch device of a single process.
        resume: Go on with the run that was begun there.
        reports: What is called with the progress; None: nothing.

    Raises:
        DataError: The data does not fit the settings.
        CheckpointError: Stage 1 was trained on another topology, or is another one than the run's.
        MissingDependencyError: The pretrained speech encoder cannot be had.
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
    model = _build_model(settings, stage1)
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


def _build_model(settings: Settings, stage1: Checkpoint) -> CodeTalker:
    encoder = settings.speech.encoder
    checkpoint_encoder = _encoder_from_checkpoint(encoder)
    if checkpoint_encoder is not None:
        encoder = encoder.model_copy(update={"config": checkpoint_encoder.settings.config})
    elif not encoder.config:
        encoder = with_pretrained_config(encoder)
    speech = settings.speech.model_copy(update={"encoder": encoder})
    settings = settings.model_copy(update={"vq": stage1.settings.vq, "speech": speech})
    torch.manual_seed(settings.train_speech.seed)
    np.random.seed(settings.train_speech.seed)  # transformers' SpecAugment draws from it
    model = CodeTalker(settings)
    assert model.speech is not None
    if settings.train_speech.start_from:
        _initialize_from(settings.train_speech.start_from, model, stage1)
    elif checkpoint_encoder is not None:
        model.speech.encoder.load_state_dict(checkpoint_encoder.state_dict())
    elif encoder.source:
        load_pretrained(model.speech.encoder)
    else:
        logger.warning("speech.encoder.source is empty: the encoder's weights are random")
    model.vq = stage1.model.vq.requires_grad_(False)  # no second copy of it
    return model


def _initialize_from(source: str, model: CodeTalker, stage1: Checkpoint) -> None:
    """Give the model the stage 2 of a checkpoint that learned with the same stage 1."""
    start = checkpoint.load(source)
    speech, start_speech = model.speech, start.model.speech
    assert speech is not None
    if start_speech is None:
        raise CheckpointError(f"train_speech.start_from: {source} holds stage 1 only")
    expected_shapes = {key: value.shape for key, value in speech.state_dict().items()}
    start_shapes = {key: value.shape for key, value in start_speech.state_dict().items()}
    mismatched = sorted(
        key
        for key in expected_shapes | start_shapes
        if expected_shapes.get(key) != start_shapes.get(key)
    )
    if mismatched or start.settings.data.train_subjects != model.settings.data.train_subjects:
        raise CheckpointError(
            f"train_speech.start_from: {source} has another architecture or other styles than the "
            f"settings ask for ({', '.join(mismatched[:3]) or 'the training subjects differ'})"
        )
    start_vq, stage1_vq = start.model.vq.state_dict(), stage1.model.vq.state_dict()
    if start_vq.keys() != stage1_vq.keys() or not all(
        torch.equal(start_vq[key], stage1_vq[key]) for key in stage1_vq
    ):
        raise CheckpointError(
            f"train_speech.start_from: {source} learned the codes of another stage 1 than "
            f"{stage1.path}; give `vq` {source}"
        )
    speech.load_state_dict(start_speech.state_dict())


def _encoder_from_checkpoint(settings: AudioEncoderSettings) -> AudioEncoder | None:
    """The encoder of one of our checkpoints, when the source names one by folder or name."""
    source = settings.source
    if not source or not (is_checkpoint(Path(source)) or source in checkpoint.available()):
        return None
    speech = checkpoint.load(source).model.speech
    if speech is None:
        raise CheckpointError(
            f"speech.encoder.source: {source} holds stage 1 only, no speech encoder"
        )
    if speech.encoder.settings.family != settings.family:
        raise CheckpointError(
            f"speech.encoder.family is {settings.family}, but the checkpoint {source} holds a "
            f"{speech.encoder.settings.family} encoder"
        )
    return speech.encoder


class SpeechTraining(nn.Module):
    """Stage 2 with its losses, as one module that processes share; stage 1 is not trained."""

    def __init__(
        self, model: CodeTalker, motion_loss: MotionLoss, contact_weights: ContactWeights
    ) -> None:
        super().__init__()
        assert model.speech is not None
        self.speech = model.speech
        self.vq = model.vq
        # Outside the module's own children: both are in there already.
        self._model = [model]
        self._settings = model.settings.train_speech
        self._motion_loss, self._contact_weights = motion_loss, contact_weights

    def train(self, mode: bool = True) -> "SpeechTraining":
        """Stage 1 stays in evaluation mode."""
        super().train(mode)
        self.vq.eval()
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Motion loss plus latent loss, teacher-forced (equation 6), each (B,)."""
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
        return {"loss": losses.total, "motion_loss": losses.motion, "latent_loss": losses.latents}

    @torch.no_grad()
    def history(
        self,
        hidden: Tensor,
        features: Tensor,
        style: Tensor,
        *,
        batch: Batch,
    ) -> Tensor:
        """The past motion shown in training: true or the model's own, with noise.

        The own past comes from a pass that hears the speech alone, all frames at once (parallel
        scheduled sampling, Duckworth et al. 2019), and from further ones that are shown what the
        one before made: each brings in errors from further back, as running freely does.
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
    """(B, T, feature_size) standard normal numbers, padded."""
    noise = [
        torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
        for rng, shape in zip(rngs, shapes, strict=True)
    ]
    return nn.utils.rnn.pad_sequence(noise, batch_first=True)


class SpeechTask(Task):
    """Stage 2 in the training loop."""

    unused_parameters = True  # layers that LayerDrop skips, the query of a single speech feature

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
        """Crops of those clips, with their speech and codes."""
        s = self._settings
        rngs = [clip_rng(s.seed, step, clip) for clip in clips]
        batch = self.source.batch(clips, s.crop_frames, rngs, step)
        versions = [int(rng.integers(1 + s.n_augmentations)) for rng in rngs]
        keep_history = torch.tensor([float(rng.random() >= s.history_dropout) for rng in rngs])
        own_history = torch.tensor([bool(rng.random() < s.own_history) for rng in rngs])
        shapes = [(n, self.model.vq.feature_size) for n in batch.n_frames]
        return replace(
            batch,
            speech=self.precomputed.speech(self.source, batch, versions),
            codes=self.precomputed.codes(self.source, batch),
            noise=_draw_noise(rngs, shapes) if s.history_noise > 0 else None,
            keep_history=keep_history if s.history_dropout > 0 else None,
            own_history=own_history if s.own_history > 0 else None,
        )

    def clip_name(self, clip: int) -> str:
        """Its name in the data set."""
        return self.source.clip(clip).entry.name

    def compile(self) -> None:
        """The layers of the decoder, of the speech encoder, and of stage 1's decoder."""
        for layer in self.speech.layers:
            layer.compile(dynamic=True)
        self.model.vq.decoder.compile(dynamic=True)
        if not self.speech.encoder.settings.frozen:
            for layer in self.speech.encoder.transformer_layers:
                layer.compile(dynamic=True)

    def validate(self, accelerator: Accelerator) -> Values:
        """Free-running and teacher-forced errors; the score is free-running."""
        values = self.validation.measure(self._evaluate, accelerator, self._load_validation)
        return {**values, "score": values["val_lve"]} if values else {}

    def sample(self, path: Path, n_frames: int) -> Path | None:
        """A clip beside what the model makes of its speech."""
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
        style = speech.style_embedding(batch.style_ids)
        # The weights are still changing, and other threads work on the device: no graphs.
        decode = self.model.settings.decode.model_copy(update={"cuda_graphs": False})
        codes = Decoder(speech, vq, decode).decode(hidden, style, lengths=batch.n_frames)
        template = batch.template
        free_running = vq.decode(codes, template, lengths).cpu().numpy()
        teacher_forced = (vq.basis.to_offsets(forced.features) + template[:, None]).cpu().numpy()
        code_arrays, losses = codes.cpu().numpy(), forced.total.tolist()
        return [
            ClipResult(free_running[k, :n], code_arrays[k, :n], teacher_forced[k, :n], losses[k])
            for k, n in enumerate(batch.n_frames)
        ]

    def state_dict(self) -> dict[str, Any]:
        """What the precomputed features came from."""
        return {"encoder": self.precomputed.encoder}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Refuse another pretrained encoder than the run was begun with."""
        if state["encoder"] != self.precomputed.encoder:
            raise CheckpointError(
                f"speech.encoder.source: {self.model.settings.speech.encoder.source!r} has other "
                "weights now than when the run was begun; begin anew with `overwrite`"
            )

    def save(self, folder: Path, meta: dict[str, Any]) -> None:
        """Write both stages as one checkpoint."""
        stage1_meta = {key: self.stage1.meta.get(key) for key in ("step", "data_id", "weights")}
        meta = {**meta, "data_id": self.data.manifest.data_id, "stage1": stage1_meta}
        checkpoint.save(folder, self.model, meta=meta, mesh=self.data.mesh)
