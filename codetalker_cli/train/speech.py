"""Training of stage 2: speech to motion codes."""

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codetalker_cli import metrics
from codetalker_cli.data.augment import augment
from codetalker_cli.data.prepared import PreparedDataSet
from codetalker_cli.errors import CheckpointError, DataError
from codetalker_cli.models import checkpoint
from codetalker_cli.models.audio_encoder import (
    AudioEncoder,
    load_pretrained,
    with_pretrained_config,
)
from codetalker_cli.models.checkpoint import Checkpoint
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.settings import AudioEncoderSettings, Settings
from codetalker_cli.train.batches import Batch, ClipSource
from codetalker_cli.train.loop import Progress, Values, fit
from codetalker_cli.train.losses import MotionLoss, speech_losses
from codetalker_cli.train.vq import check_data

logger = logging.getLogger(__name__)


def train_speech(
    data: PreparedDataSet,
    settings: Settings,
    stage1: Checkpoint,
    out: Path,
    *,
    device: str = "cpu",
    report: Callable[[Progress], None] | None = None,
    encoding: Callable[[int, int], None] | None = None,
) -> Progress:
    """Train stage 2 on a prepared data set with a trained stage 1; the checkpoint goes to ``out``.

    Args:
        data: Prepared data set.
        settings: ``vq`` is replaced by the stage-1 checkpoint's.
        stage1: Trained stage 1 (or a whole model, whose stage 1 is used).
        out: Checkpoint folder.
        device: Torch device.
        report: Called after each step.
        encoding: Called with (clips done, clips) while a frozen encoder's features are computed.

    Raises:
        DataError: The data does not fit the settings.
        CheckpointError: Stage 1 was trained on another topology.
        MissingDependencyError: The pretrained speech encoder cannot be had.
    """
    check_data(data, settings)
    model = _model(settings, stage1).to(device)
    task = SpeechTask(data, model, stage1, torch.device(device), encoding)
    return fit(task, settings.train_speech, out, report)


def _model(settings: Settings, stage1: Checkpoint) -> CodeTalker:
    for fact in ("n_vertices", "fps", "unit"):
        theirs, ours = getattr(stage1.settings.data, fact), getattr(settings.data, fact)
        if theirs != ours:
            raise CheckpointError(
                f"{stage1.path}: stage 1 of {stage1.settings.data.name} has {fact} {theirs}, "
                f"the data set {settings.data.name} has {ours}; "
                "train stage 1 on this data set first"
            )
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
    if donor is not None:
        model.speech.encoder.load_state_dict(donor.state_dict())
    elif encoder.source:
        load_pretrained(model.speech.encoder)
    else:
        logger.warning("speech.encoder.source is empty: the encoder's weights are random")
    model.vq.load_state_dict(stage1.model.vq.state_dict())
    model.vq.requires_grad_(False)
    return model


def _donor(settings: AudioEncoderSettings) -> AudioEncoder | None:
    """The encoder of one of our checkpoints, when the source names one by folder or name."""
    source = settings.source
    if not source or not (
        checkpoint.is_checkpoint(Path(source)) or source in checkpoint.available()
    ):
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


class SpeechTask:
    """Stage 2 in the training loop."""

    def __init__(
        self,
        data: PreparedDataSet,
        model: CodeTalker,
        stage1: Checkpoint,
        device: torch.device,
        encoding: Callable[[int, int], None] | None,
    ) -> None:
        assert model.speech is not None
        self.data = data
        self.model = model.eval()
        self.speech = model.speech
        self.source = ClipSource(data, "train", device)
        self.n_clips = len(self.source)
        self._stage1 = stage1
        self._settings = model.settings.train_speech
        self._validation = ClipSource(data, "val", device, may_be_empty=True)
        self._motion_loss = MotionLoss("l2", data.mesh.topology, self._settings)
        self._features: list[list[Tensor]] | None = None
        if model.settings.speech.encoder.frozen:
            self._features = self._encode_all(encoding)

    @property
    def module(self) -> nn.Module:
        """Stage 2; stage 1 is not trained and stays in evaluation mode."""
        return self.speech

    def step(self, clips: list[int], rng: np.random.Generator) -> tuple[Tensor, Values]:
        """Motion loss plus latent loss, teacher-forced (equation 6)."""
        s = self._settings
        batch = self.source.batch(clips, s.crop_frames, rng)
        features = [self._hidden(self.source, batch, k, rng) for k in range(len(clips))]
        # With several features a frame, speech may be shorter than its motion.
        shortest = min(len(x) for x in features)
        if shortest == 0:
            raise DataError(f"clips {clips}: the speech of a crop is shorter than one frame")
        hidden = torch.stack([x[:shortest] for x in features])
        keep = None
        if s.history_dropout > 0:
            kept = rng.random(len(clips)) >= s.history_dropout
            keep = torch.from_numpy(kept.astype(np.float32)).to(hidden.device)
        losses = speech_losses(
            self.model,
            hidden,
            batch.vertices,
            batch.template,
            batch.style_ids,
            history=partial(self._history, rng=rng),
            keep_history=keep,
            motion_loss=partial(self._motion_loss, rng=rng),
            motion_weight=s.motion_weight,
        )
        return losses.total, {
            "motion_loss": float(losses.motion.detach()),
            "latent_loss": float(losses.latents.detach()),
        }

    @torch.no_grad()
    def _history(
        self, hidden: Tensor, features: Tensor, style: Tensor, *, rng: np.random.Generator
    ) -> Tensor:
        """The past motion shown in training: true or the model's own, with noise.

        The own past comes from a pass that hears the speech alone, all frames at once (parallel
        scheduled sampling, Duckworth et al. 2019).
        """
        s = self._settings
        shown = features
        if s.own_history > 0:
            self.speech.eval()
            hidden_past = torch.zeros(len(features), device=features.device)
            own = self.speech(self.model.vq, hidden, features, style, hidden_past).features
            self.speech.train()
            chosen = torch.from_numpy(rng.random(len(features)) < s.own_history)
            shown = torch.where(chosen.to(features.device)[:, None, None], own, features)
        if s.history_noise > 0:
            scale = s.history_noise * features.square().mean().sqrt()
            shown = shown + scale * torch.randn_like(shown)
        return shown

    def validate(self) -> Values:
        """Teacher-forced losses and free-running lip errors; the score is free-running.

        Without a region ``lips`` the errors are of all vertices; without clips there are none.
        """
        if not len(self._validation):
            return {}
        topology = self.data.mesh.topology
        lips = topology.regions.get("lips", np.arange(topology.n_vertices))
        errors: list[np.ndarray] = []
        forced: list[float] = []
        energy = [0.0, 0.0]
        count, asked = len(self._validation), self._settings.validation_clips
        for index in np.linspace(0, count - 1, min(count, asked)).round().astype(int).tolist():
            batch = self._validation.batch([index], self._settings.validation_frames)
            hidden = self._hidden(self._validation, batch, 0, None)[None]
            losses = speech_losses(
                self.model, hidden, batch.vertices, batch.template, batch.style_ids
            )
            forced.append(float(losses.total))
            style = self.speech.style(
                nn.functional.one_hot(
                    batch.style_ids, self.speech.style_embedding.num_embeddings
                ).float()
            )
            made = self.speech.generate(self.model.vq, hidden, style)
            offsets = self.model.vq.basis.to_offsets(made.features)
            predicted = (offsets + batch.template[:, None])[0].cpu().numpy()
            true = batch.vertices[0].cpu().numpy()
            errors.append(metrics.lip_errors(predicted, true[: len(predicted)], lips))
            for k, x in enumerate((predicted, true)):
                energy[k] += float(np.square(np.diff(x[:, lips], axis=0)).sum())
        lve = metrics.lve(errors)
        metres = topology.metres_per_unit
        return {
            **({} if metres is None else {"val_lve_mm": metrics.lve_mm(errors, metres)}),
            "val_loss": float(np.mean(forced)),
            "val_lve": lve,
            "val_motion_energy": energy[0] / max(energy[1], 1e-12),
            "score": lve,
        }

    def save(self, folder: Path, meta: dict[str, Any]) -> None:
        """Write both stages as one checkpoint."""
        meta = {
            **meta,
            "data_id": self.data.manifest.data_id,
            "stage1": {key: self._stage1.meta.get(key) for key in ("step", "data_id", "weights")},
        }
        checkpoint.save(folder, self.model, meta=meta, mesh=self.data.mesh)

    def _hidden(
        self, source: ClipSource, batch: Batch, k: int, rng: np.random.Generator | None
    ) -> Tensor:
        """(T · features_per_frame, size) encoder features of the k-th crop of a batch."""
        index, per_frame = batch.clips[k], self.model.settings.speech.features_per_frame
        if self._features is not None and source is self.source:
            versions = self._features[index]
            whole = versions[int(rng.integers(len(versions))) if rng is not None else 0]
            whole = whole.to(batch.vertices.device).float()
        else:
            whole = self._encode(source, index, source.clip(index).samples())
        start = batch.starts[k] * per_frame
        return whole[start : start + batch.n_frames * per_frame]

    def _encode(self, source: ClipSource, index: int, samples: np.ndarray) -> Tensor:
        encoder = self.speech.encoder
        audio = torch.from_numpy(samples)[None].to(source.device)
        return encoder(encoder.prepare(audio), source.clip(index).entry.n_frames)[0]

    @torch.no_grad()
    def _encode_all(self, encoding: Callable[[int, int], None] | None) -> list[list[Tensor]]:
        """Features of each training clip: clean first, then its augmented versions."""
        rng = np.random.default_rng([self._settings.seed, 4])
        kept: list[list[Tensor]] = []
        others = [self.source.clip(i).samples() for i in range(min(60, len(self.source)))]
        for index in range(len(self.source)):
            clean = self.source.clip(index).samples()
            versions = [clean]
            versions += [augment(clean, rng, others) for _ in range(self._settings.n_augmentations)]
            kept.append([self._encode(self.source, index, v).half().cpu() for v in versions])
            if encoding:
                encoding(index + 1, len(self.source))
        return kept
