"""Training of stage 1: the codebook of facial motion."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from codetalker_cli import metrics
from codetalker_cli.data.prepared import PreparedDataSet
from codetalker_cli.errors import DataError
from codetalker_cli.models import checkpoint
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.quantizer import Quantized
from codetalker_cli.settings import Settings
from codetalker_cli.train.batches import ClipSource
from codetalker_cli.train.loop import Progress, Values, fit
from codetalker_cli.train.losses import MotionLoss

logger = logging.getLogger(__name__)

BASIS_FRAMES = 4000
"""Frames that the motion basis is computed from."""
SCALE_FLOOR = 0.02
"""Smallest scale of a basis vector against the largest: keeps noise from being blown up."""


def train_vq(
    data: PreparedDataSet,
    settings: Settings,
    out: Path,
    *,
    device: str = "cpu",
    report: Callable[[Progress], None] | None = None,
) -> Progress:
    """Train stage 1 on a prepared data set; the checkpoint goes to ``out``.

    Raises:
        DataError: The data does not fit the settings.
    """
    check_data(data, settings)
    torch.manual_seed(settings.train_vq.seed)
    source = ClipSource(data, "train", torch.device(device))
    settings = _with_possible_rank(settings, source)
    model = CodeTalker(settings, with_speech=False).to(device)
    if settings.vq.basis_rank:
        vectors, scale = motion_basis(source, settings.vq.basis_rank, settings.train_vq.seed)
        model.vq.basis.set(vectors, scale)
    return fit(VQTask(data, model, source), settings.train_vq, out, report)


def check_data(data: PreparedDataSet, settings: Settings) -> None:
    """Refuse data of another topology, frame rate or list of subjects than the settings'.

    Raises:
        DataError: Names both sides.
    """
    data.mesh.check(settings.data.n_vertices, str(data.folder))
    manifest = data.manifest
    unit = data.mesh.topology.unit
    if unit != settings.data.unit:
        raise DataError(
            f"{data.folder}: its unit is {unit}, the settings say {settings.data.unit}; "
            "use the preset of this data set"
        )
    if manifest.fps != settings.data.fps:
        raise DataError(
            f"{data.folder}: {manifest.fps:g} fps, the settings say {settings.data.fps:g}; "
            "use the preset of this data set"
        )
    if manifest.train_subjects != settings.data.train_subjects:
        raise DataError(
            f"{data.folder}: its training subjects {', '.join(manifest.train_subjects)} are not "
            f"those of the settings, {', '.join(settings.data.train_subjects)}"
        )


def _with_possible_rank(settings: Settings, source: ClipSource) -> Settings:
    """A motion basis cannot have more vectors than there are frames to find it from."""
    n_frames, wanted = sum(_frames_of(source)), settings.vq.basis_rank
    possible = min(wanted, n_frames, 3 * settings.data.n_vertices)
    if wanted == possible:
        return settings
    logger.warning(
        "vq.basis_rank: %d, but there are %d training frames of %d vertices; %d are taken",
        wanted,
        n_frames,
        settings.data.n_vertices,
        possible,
    )
    vq = settings.vq.model_copy(update={"basis_rank": possible})
    return settings.model_copy(update={"vq": vq})


def _frames_of(source: ClipSource) -> list[int]:
    """How many frames of each training clip the motion basis is computed from."""
    per_clip = max(1, BASIS_FRAMES // len(source))
    lengths = [min(per_clip, source.clip(i).entry.n_frames) for i in range(len(source))]
    return lengths[: math.ceil(BASIS_FRAMES / per_clip)]


def motion_basis(source: ClipSource, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """Principal directions of the training motion (offsets from the template, not centred).

    Returns:
        (3V, R) orthonormal vectors, strongest first; (R,) scales of their coefficients.
    """
    rng = np.random.default_rng([seed, 3])
    frames: list[Tensor] = []
    for index, n in enumerate(_frames_of(source)):
        chosen = np.sort(rng.choice(source.clip(index).entry.n_frames, n, replace=False))
        whole = source.batch([index], None)
        frames.append((whole.vertices[0, chosen] - whole.template).flatten(1).cpu())
    offsets = torch.cat(frames)
    if rank > min(offsets.shape):
        raise DataError(
            f"vq.basis_rank: {rank}, but there are {len(offsets)} frames of "
            f"{offsets.shape[1]} coordinates to find it from"
        )
    _, strengths, vectors = torch.svd_lowrank(offsets, q=min(rank + 8, *offsets.shape), niter=4)
    scale = strengths[:rank] / len(offsets) ** 0.5
    return vectors[:, :rank], scale.clamp(min=float(scale[0]) * SCALE_FLOOR)


class VQTask:
    """Stage 1 in the training loop."""

    def __init__(self, data: PreparedDataSet, model: CodeTalker, source: ClipSource) -> None:
        self.data = data
        self.model = model
        self.source = source
        self.n_clips = len(source)
        self._settings = model.settings.train_vq
        self._validation = ClipSource(data, "val", source.device, may_be_empty=True)
        self._motion_loss = MotionLoss("l1", data.mesh.topology, self._settings)
        self._unused_steps = torch.zeros(model.settings.vq.codebook_size, device=source.device)

    @property
    def module(self) -> nn.Module:
        """Stage 1."""
        return self.model.vq

    def step(self, clips: list[int], rng: np.random.Generator) -> tuple[Tensor, Values]:
        """L1 of the reconstruction plus the quantiser's loss (equation 4)."""
        batch = self.source.batch(clips, self._settings.crop_frames, rng)
        vq = self.model.vq
        offsets = batch.vertices - batch.template[:, None]
        made, quantized = vq.reconstruct(vq.basis.to_features(offsets))
        if self._settings.revive_after_steps:
            self._revive(quantized, rng)
        motion = self._motion_loss(vq.basis, made, offsets, rng)
        loss = self._settings.motion_weight * motion + quantized.loss
        return loss, {
            "motion_loss": float(motion.detach()),
            "perplexity": float(quantized.perplexity),
        }

    @torch.no_grad()
    def _revive(self, quantized: Quantized, rng: np.random.Generator) -> None:
        """Move entries that were not chosen for long to latents of this batch (Dhariwal 2020)."""
        self._unused_steps += 1
        self._unused_steps[quantized.codes.unique()] = 0
        dead = torch.nonzero(self._unused_steps >= self._settings.revive_after_steps).flatten()
        if not len(dead):
            return
        latents = quantized.before.reshape(-1, quantized.before.shape[-1])
        chosen = torch.from_numpy(rng.integers(len(latents), size=len(dead)))
        self.model.vq.quantizer.codebook[dead] = latents[chosen.to(latents.device)]
        self._unused_steps[dead] = 0

    def validate(self) -> Values:
        """Errors of reconstructed validation clips; the score is the lip vertex error.

        Without a region ``lips`` it is of all vertices; without clips there are none.
        """
        if not len(self._validation):
            return {}
        errors: list[np.ndarray] = []
        mean_errors: list[float] = []
        codes: list[Tensor] = []
        topology = self.data.mesh.topology
        lips = (
            topology.region("lips")
            if "lips" in topology.regions
            else np.arange(topology.n_vertices)
        )
        for index in range(len(self._validation)):
            batch = self._validation.batch([index], None)
            made = self.model.vq(batch.vertices, batch.template)
            predicted, true = made.vertices[0].cpu().numpy(), batch.vertices[0].cpu().numpy()
            errors.append(metrics.lip_errors(predicted, true, lips))
            mean_errors.append(metrics.mve(predicted, true))
            codes.append(made.quantized.codes.flatten())
        return {
            "val_lve": metrics.lve(errors),
            "val_mve": float(np.mean(mean_errors)),
            "val_perplexity": float(self.model.vq.quantizer.perplexity(torch.cat(codes))),
            "score": metrics.lve(errors),
        }

    def save(self, folder: Path, meta: dict[str, Any]) -> None:
        """Write the checkpoint."""
        meta = {**meta, "data_id": self.data.manifest.data_id}
        checkpoint.save(folder, self.model, meta=meta, mesh=self.data.mesh)
