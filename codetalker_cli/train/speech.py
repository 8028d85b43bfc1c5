"""Training of stage 2: speech to motion codes."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

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
from codetalker_cli.train.loop import ProgressReport, TrainingProgress, fit
from codetalker_cli.train.losses import ContactWeights, MotionLoss, clip_means, speech_losses
from codetalker_cli.train.precomputed import Precomputed
from codetalker_cli.train.run_folder import RunFolder
from codetalker_cli.train.task import Task, Values
from codetalker_cli.train.validation import ClipResult, Validation
from codetalker_cli.workspace import is_checkpoint

logger = logging.getLogger(__name__)


def train_speech(
    data: PreparedDataSet,
    settings: Settings,
    stage1: Checkpoint,
    out: Path,
    *,
    device: str = "cpu",
    resume: bool = False,
    report: ProgressReport | None = None,
    encoding_progress: Progress | None = None,
) -> TrainingProgress:
    """Train stage 2 on a prepared data set with a trained stage 1; the best goes to ``out``.

    Args:
        data: Prepared data set.
        settings: ``vq`` is replaced by the stage-1 checkpoint's.
        stage1: Trained stage 1 (or a whole model, whose stage 1 is used).
        out: Checkpoint folder; :mod:`codetalker_cli.train.run_folder` tells what stands beside it.
        device: Torch device of a single process.
        resume: Go on with the run that was begun there.
        report: Called after each step.
        encoding_progress: Called with (clips done, clips) while the fixed part of the speech
            encoder is computed.

    Raises:
        DataError: The data does not fit the settings.
        CheckpointError: Stage 1 was trained on another topology, or is another one than the run's.
        MissingDependencyError: The pretrained speech encoder cannot be had.
        CodeTalkerError: See :func:`codetalker_cli.train.loop.fit`.
    """
    check_data(data, settings)
    check_stage1(stage1, settings, data)
    folder = RunFolder(out)
    if resume:
        folder.begun("speech", data, stage1)
    accelerator = make_accelerator(settings.train_speech.precision, device, unused_parameters=True)
    model = _model(settings, stage1)
    task = SpeechTask(data, model, stage1, accelerator, encoding_progress)
    how = settings.train_speech
    with folder.held(accelerator):
        folder.enter("speech", settings, data, accelerator, resume=resume, stage1=stage1)
        return fit(task, how, folder, accelerator=accelerator, resume=resume, report=report)


def _model(settings: Settings, stage1: Checkpoint) -> CodeTalker:
    encoder = settings.speech.encoder
    donor = _donor(encoder)
    if donor is not None:
        encoder = encoder.model_copy(update={"config": donor.settings.config})
    elif not encoder.config:
        encoder = with_pretrained_config(encoder)
    speech = settings.speech.model_copy(update={"encoder": encoder})
    settings = settings.model_copy(update={"vq": stage1.settings.vq, "speech": speech})
    torch.manual_seed(settings.train_speech.seed)
    np.random.seed(settings.train_speech.seed)  # transformers' SpecAugment draws from it
    model = CodeTalker(settings)
    assert model.speech is not None
    if settings.train_speech.start_from:
        _start_from(settings.train_speech.start_from, model, stage1)
    elif donor is not None:
        model.speech.encoder.load_state_dict(donor.state_dict())
    elif encoder.source:
        load_pretrained(model.speech.encoder)
    else:
        logger.warning("speech.encoder.source is empty: the encoder's weights are random")
    model.vq = stage1.model.vq.requires_grad_(False)  # no second copy of it
    return model


def _start_from(source: str, model: CodeTalker, stage1: Checkpoint) -> None:
    """Give the model the stage 2 of a checkpoint that learnt with the same stage 1."""
    found = checkpoint.load(source)
    ours, theirs = model.speech, found.model.speech
    assert ours is not None
    if theirs is None:
        raise CheckpointError(f"train_speech.start_from: {source} holds stage 1 only")
    wanted = {key: value.shape for key, value in ours.state_dict().items()}
    given = {key: value.shape for key, value in theirs.state_dict().items()}
    odd = sorted(key for key in wanted | given if wanted.get(key) != given.get(key))
    if odd or found.settings.data.train_subjects != model.settings.data.train_subjects:
        raise CheckpointError(
            f"train_speech.start_from: {source} has another architecture or other styles than the "
            f"settings ask for ({', '.join(odd[:3]) or 'the training subjects differ'})"
        )
    theirs_vq, ours_vq = found.model.vq.state_dict(), stage1.model.vq.state_dict()
    if theirs_vq.keys() != ours_vq.keys() or not all(
        torch.equal(theirs_vq[key], ours_vq[key]) for key in ours_vq
    ):
        raise CheckpointError(
            f"train_speech.start_from: {source} learnt the codes of another stage 1 than "
            f"{stage1.path}; give --vq {source}"
        )
    ours.load_state_dict(theirs.state_dict())


def _donor(settings: AudioEncoderSettings) -> AudioEncoder | None:
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
        hidden, _ = self.speech.encoder.rest(batch.speech, batch.n_frames)
        rng = step_rng(s.seed, batch.step)
        losses = speech_losses(
            self._model[0],
            hidden,
            batch.vertices,
            batch.template,
            batch.style_ids,
            lengths=lengths,
            codes=batch.codes,
            history=partial(self.history, batch=batch),
            keep_history=batch.keep_history,
            motion_loss=lambda basis, made, true, n, w: self._motion_loss(
                basis, made, true, rng, n, w
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
        shown, own, lengths = features, batch.own_history, batch.lengths
        if own is not None:
            mode = self.speech.training
            self.speech.eval()
            made, keep = features, torch.zeros(len(features), device=features.device)
            for _ in range(self._settings.own_history_passes):
                made = self.speech(self.vq, hidden, made, style, keep, lengths).features
                keep = torch.ones_like(keep)
            self.speech.train(mode)
            shown = torch.where(own[:, None, None], made.to(features.dtype), features)
        if batch.noise is not None:
            size = clip_means(features.square(), lengths).sqrt()[:, None, None]
            shown = shown + self._settings.history_noise * size * batch.noise
        return shown


def _noise(rngs: Sequence[np.random.Generator], shapes: list[tuple[int, int]]) -> Tensor:
    """(B, T, feature_size) standard normal numbers, padded."""
    drawn = [
        torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
        for rng, shape in zip(rngs, shapes, strict=True)
    ]
    return nn.utils.rnn.pad_sequence(drawn, batch_first=True)


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
        self.encoder = model.speech.encoder
        self._settings = model.settings.train_speech
        self.source = ClipSource(data, "train")
        loss = MotionLoss("l2", data.mesh.topology, self._settings)
        fps, weight = model.settings.data.fps, self._settings.contact_weight
        contact_weights = ContactWeights(data.mesh.topology, fps, weight)
        self.module: SpeechTraining = SpeechTraining(model, loss, contact_weights)
        clips, frames = self._settings.validation_clips, self._settings.validation_frames
        self.validation = Validation(data, self.source, clips, frames)
        self.kept = Precomputed(data, self.model)
        self.kept.prepare(self.source, self.validation.source, accelerator, encoding_progress)
        crop = self._settings.crop_frames
        self.lengths = [min(n, crop or n) for n in self.source.lengths]

    def load(self, clips: Sequence[int], step: int) -> Batch:
        """Crops of those clips, with their speech and codes."""
        s = self._settings
        rngs = [clip_rng(s.seed, step, clip) for clip in clips]
        batch = self.source.batch(clips, s.crop_frames, rngs, step)
        versions = [int(rng.integers(1 + s.n_augmentations)) for rng in rngs]
        kept = torch.tensor([float(rng.random() >= s.history_dropout) for rng in rngs])
        own = torch.tensor([bool(rng.random() < s.own_history) for rng in rngs])
        shapes = [(n, self.model.vq.feature_size) for n in batch.n_frames]
        return replace(
            batch,
            speech=self.kept.speech(self.source, batch, versions),
            codes=self.kept.codes(self.source, batch),
            noise=_noise(rngs, shapes) if s.history_noise > 0 else None,
            keep_history=kept if s.history_dropout > 0 else None,
            own_history=own if s.own_history > 0 else None,
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
        values = self.validation.measure(self._run, accelerator, self._load_validation)
        return {**values, "score": values["val_lve"]} if values else {}

    def sample(self, path: Path, n_frames: int) -> Path | None:
        """A clip beside what the model makes of its speech."""
        device, render = self.speech.head.weight.device, self.model.settings.render
        return self.validation.sample(
            path, self._run, n_frames, render, device, self._load_validation
        )

    def _load_validation(self, clips: list[int], n_frames: int | None) -> Batch:
        source = self.validation.source
        batch = source.batch(clips, n_frames)
        return replace(batch, speech=self.kept.speech(source, batch, [0] * len(clips)))

    @torch.no_grad()
    def _run(self, batch: Batch) -> list[ClipResult]:
        vq, speech = self.model.vq, self.speech
        hidden, _ = speech.encoder.rest(batch.speech, batch.n_frames)
        lengths = batch.lengths
        forced = speech_losses(
            self.model, hidden, batch.vertices, batch.template, batch.style_ids, lengths=lengths
        )
        style = speech.style_embedding(batch.style_ids)
        # The weights are still changing, and other threads work on the device: no graphs.
        decode = self.model.settings.decode.model_copy(update={"cuda_graphs": False})
        made = Decoder(speech, vq, decode).decode(hidden, style, lengths=batch.n_frames)
        template = batch.template
        free = vq.decode(made, template, lengths).cpu().numpy()
        taught = (vq.basis.to_offsets(forced.features) + template[:, None]).cpu().numpy()
        codes, losses = made.cpu().numpy(), forced.total.tolist()
        return [
            ClipResult(free[k, :n], codes[k, :n], taught[k, :n], losses[k])
            for k, n in enumerate(batch.n_frames)
        ]

    def state_dict(self) -> dict[str, Any]:
        """What the kept features came from."""
        return {"encoder": self.kept.encoder}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Refuse another pretrained encoder than the run was begun with."""
        if state["encoder"] != self.kept.encoder:
            raise CheckpointError(
                f"speech.encoder.source: {self.model.settings.speech.encoder.source!r} has other "
                "weights now than when the run was begun; begin anew with --overwrite"
            )

    def save(self, folder: Path, meta: dict[str, Any]) -> None:
        """Write both stages as one checkpoint."""
        kept = {key: self.stage1.meta.get(key) for key in ("step", "data_id", "weights")}
        meta = {**meta, "data_id": self.data.manifest.data_id, "stage1": kept}
        checkpoint.save(folder, self.model, meta=meta, mesh=self.data.mesh)
