"""Training of stage 1: the codebook of facial motion."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.devices import make_accelerator
from codetalker_cli.errors import DataError
from codetalker_cli.models import checkpoint
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.quantizer import Quantizer, perplexity
from codetalker_cli.settings import Settings, VQTrainSettings
from codetalker_cli.train.batches import Batch, ClipSource, clip_rng, step_rng
from codetalker_cli.train.compatibility import check_data
from codetalker_cli.train.loop import fit
from codetalker_cli.train.losses import MotionLoss
from codetalker_cli.train.progress import ProgressReport, TrainingProgress
from codetalker_cli.train.run_folder import RunFolder
from codetalker_cli.train.task import Task, Values
from codetalker_cli.train.trackers import check_trackers
from codetalker_cli.train.validation import ClipResult, Validation

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
    resume: bool = False,
    report: ProgressReport | None = None,
) -> TrainingProgress:
    """Train stage 1 on a prepared data set; the best checkpoint goes to ``out``.

    Args:
        data: Prepared data set.
        settings: How.
        out: Checkpoint folder; ``train.run_folder`` tells what stands beside it.
        device: Torch device of a single process.
        resume: Go on with the run that was begun there.
        report: Called after each step.

    Raises:
        DataError: The data does not fit the settings.
        CodeTalkerError: See ``codetalker_cli.train.loop.fit``.
    """
    check_data(data, settings)
    accelerator = make_accelerator(settings.train_vq.precision, device)
    check_trackers(settings.train_vq.trackers)
    torch.manual_seed(settings.train_vq.seed)
    source = ClipSource(data, "train")
    settings = _limit_basis_rank(settings, source)
    model = CodeTalker(settings, with_speech=False)
    if settings.vq.basis_rank:
        vectors, scale = motion_basis(source, settings.vq.basis_rank, settings.train_vq.seed)
        model.vq.basis.set(vectors, scale)
    task = VQTask(data, model, source)
    folder, train_settings = RunFolder(out), settings.train_vq
    with folder.lock(accelerator):
        folder.enter("vq", settings, data, accelerator, resume=resume)
        return fit(
            task, train_settings, folder, accelerator=accelerator, resume=resume, report=report
        )


def _limit_basis_rank(settings: Settings, source: ClipSource) -> Settings:
    """A motion basis cannot have more vectors than there are frames to find it from."""
    n_frames, requested = sum(_basis_frame_counts(source)), settings.vq.basis_rank
    rank = min(requested, n_frames, 3 * settings.data.n_vertices)
    if requested == rank:
        return settings
    logger.warning(
        "vq.basis_rank: %d, but there are %d training frames of %d vertices; %d are taken",
        requested,
        n_frames,
        settings.data.n_vertices,
        rank,
    )
    vq = settings.vq.model_copy(update={"basis_rank": rank})
    return settings.model_copy(update={"vq": vq})


def _basis_frame_counts(source: ClipSource) -> list[int]:
    """How many frames of each training clip the motion basis is computed from."""
    per_clip = max(1, BASIS_FRAMES // len(source))
    lengths = [min(per_clip, source.clip(i).entry.n_frames) for i in range(len(source))]
    return lengths[: math.ceil(BASIS_FRAMES / per_clip)]


def motion_basis(source: ClipSource, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """Principal directions of the training motion (offsets from the template, not centered).

    Returns:
        (3V, R) orthonormal vectors, strongest first; (R,) scales of their coefficients.
    """
    rng = np.random.default_rng([seed, 3])
    frames: list[Tensor] = []
    for index, n in enumerate(_basis_frame_counts(source)):
        frame_indices = np.sort(rng.choice(source.clip(index).entry.n_frames, n, replace=False))
        clip = source.batch([index], None)
        if not torch.isfinite(clip.vertices).all():
            raise DataError(
                f"{source.clip(index).entry.name}: its motion holds values that are not finite; "
                "look at it with `codetalker prepare-data check`"
            )
        frames.append((clip.vertices[0, frame_indices] - clip.template).flatten(1).cpu())
    offsets = torch.cat(frames)
    if rank > min(offsets.shape):
        raise DataError(
            f"vq.basis_rank: {rank}, but there are {len(offsets)} frames of "
            f"{offsets.shape[1]} coordinates to find it from"
        )
    _, strengths, vectors = torch.svd_lowrank(offsets, q=min(rank + 8, *offsets.shape), niter=4)
    scale = strengths[:rank] / len(offsets) ** 0.5
    return vectors[:, :rank], scale.clamp(min=float(scale[0]) * SCALE_FLOOR)


class VQTraining(nn.Module):
    """Stage 1 with its losses, as one module that processes share.

    Attributes:
        quantized: (N, Z) latents and (N,) codes of each batch of the step, padding left out.
    """

    def __init__(self, model: CodeTalker, motion_loss: MotionLoss) -> None:
        super().__init__()
        self.vq = model.vq
        self._settings = model.settings.train_vq
        self._motion_loss = motion_loss
        self.quantized: list[tuple[Tensor, Tensor]] = []

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """L1 of the reconstruction plus the quantizer's loss (equation 4), each (B,)."""
        vq, lengths, offsets = self.vq, batch.lengths, batch.offsets
        reconstruction, quantized = vq.reconstruct(vq.basis.to_features(offsets), lengths)
        rng = step_rng(self._settings.seed, batch.step)
        motion = self._motion_loss(vq.basis, reconstruction, offsets, rng, lengths)
        latents, codes = vq.flat_codes(quantized, lengths)
        self.quantized.append((latents, codes[:0] if batch.repeated else codes))
        return {
            "loss": self._settings.motion_weight * motion + quantized.loss,
            "motion_loss": motion,
            "codebook_loss": quantized.loss,
        }


class VQTask(Task):
    """Stage 1 in the training loop."""

    def __init__(self, data: PreparedDataSet, model: CodeTalker, source: ClipSource) -> None:
        self.data, self.model, self.source = data, model, source
        self._settings = model.settings.train_vq
        self.module: VQTraining = VQTraining(
            model, MotionLoss("l1", data.mesh.topology, self._settings)
        )
        crop = self._settings.crop_frames
        self.lengths = [min(n, crop or n) for n in source.lengths]
        self.validation = Validation(data, source)
        self._usage = CodebookUsage(model.vq.quantizer, self._settings)

    def load(self, clips: Sequence[int], step: int) -> Batch:
        """Crops of those clips."""
        rngs = [clip_rng(self._settings.seed, step, clip) for clip in clips]
        return self.source.batch(clips, self._settings.crop_frames, rngs, step)

    def clip_name(self, clip: int) -> str:
        """Its name in the data set."""
        return self.source.clip(clip).entry.name

    def after_step(self, accelerator: Accelerator, step: int) -> Values:
        """Counts codes, and moves those that nothing chooses."""
        quantized, self.module.quantized = self.module.quantized, []
        return self._usage.update(quantized, accelerator, step)

    def after_epoch(self, accelerator: Accelerator) -> Values:
        """Use of the codebook over the epoch."""
        return self._usage.end_epoch()

    def compile(self) -> None:
        """Both transformers."""
        self.model.vq.encoder.compile(dynamic=True)
        self.model.vq.decoder.compile(dynamic=True)

    def validate(self, accelerator: Accelerator) -> Values:
        """Errors of reconstructed validation clips; the score is the lip vertex error."""
        values = self.validation.measure(self._reconstruct, accelerator)
        return {**values, "score": values["val_lve"]} if values else {}

    @torch.no_grad()
    def _reconstruct(self, batch: Batch) -> list[ClipResult]:
        reconstruction = self.model.vq(batch.vertices, batch.template, batch.lengths)
        q = self.model.settings.vq.codes_per_frame
        vertices, codes = (
            x.cpu().numpy() for x in (reconstruction.vertices, reconstruction.quantized.codes)
        )
        return [
            ClipResult(vertices[k, :n], codes[k, : n * q]) for k, n in enumerate(batch.n_frames)
        ]

    def sample(self, path: Path, n_frames: int) -> Path | None:
        """A clip beside its reconstruction."""
        render, device = self.model.settings.render, self.model.vq.quantizer.codebook.device
        return self.validation.sample(path, self._reconstruct, n_frames, render, device)

    def state_dict(self) -> dict[str, Any]:
        """Use of the codebook."""
        return {"counts": self._usage.counts, "unused_steps": self._usage.unused_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the use of the codebook."""
        self._usage.counts, self._usage.unused_steps = state["counts"], state["unused_steps"]

    def save(self, folder: Path, meta: dict[str, Any]) -> None:
        """Write the checkpoint."""
        meta = {**meta, "data_id": self.data.manifest.data_id}
        checkpoint.save(folder, self.model, meta=meta, mesh=self.data.mesh)


# Use of the codebook ------------------------------------------------------------------------------


class CodebookUsage:
    """Counts the codes of every step, over all processes.

    With ``revive_after_steps`` an entry that no latent chose for so long moves to a latent of the
    batch (Dhariwal et al. 2020, appendix B), the same one in every process.
    """

    def __init__(self, quantizer: Quantizer, settings: VQTrainSettings) -> None:
        self._quantizer = quantizer
        self._revive_after, self._seed = settings.revive_after_steps, settings.seed
        self.counts = torch.zeros(len(quantizer.codebook), dtype=torch.long)
        self.unused_steps = torch.zeros(len(quantizer.codebook), dtype=torch.long)

    @torch.no_grad()
    def update(
        self, quantized: Sequence[tuple[Tensor, Tensor]], accelerator: Accelerator, step: int
    ) -> Values:
        """Take a step in.

        Args:
            quantized: (N, Z) latents before quantization and (N,) codes of each of its batches.
            accelerator: Of the run.
            step: Its number.
        """
        latents, codes = (torch.cat(parts) for parts in zip(*quantized, strict=True))
        counts = torch.bincount(codes, minlength=len(self.counts))
        counts = accelerator.reduce(counts, "sum").cpu()
        self.counts += counts
        if self._revive_after:
            self._revive(latents, counts, accelerator, step)
        used = float((self.counts > 0).sum())
        return {"perplexity": perplexity(counts), "codes_used": used}

    def end_epoch(self) -> Values:
        """Of the whole epoch: how many entries were chosen, how many never."""
        used = int((self.counts > 0).sum())
        values = {"codes_used": float(used), "dead_codes": float(len(self.counts) - used)}
        self.counts.zero_()
        return values

    def _revive(self, latents: Tensor, counts: Tensor, accelerator: Accelerator, step: int) -> None:
        self.unused_steps += 1
        self.unused_steps[counts > 0] = 0
        dead = torch.nonzero(self.unused_steps >= self._revive_after).flatten()
        if not len(dead):
            return
        indices = step_rng(self._seed, step).integers(len(latents), size=len(dead))
        candidates = accelerator.gather(latents[torch.from_numpy(indices).to(latents.device)])
        # Each process offers one latent an entry; entries take from one process after the other.
        entry = torch.arange(len(dead))
        candidate_indices = (entry % accelerator.num_processes) * len(dead) + entry
        codebook = self._quantizer.codebook
        codebook[dead.to(codebook.device)] = candidates[candidate_indices.to(candidates.device)].to(
            codebook.dtype
        )
        self.unused_steps[dead] = 0
