"""Train stage 1, the codebook of facial motion."""

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
from codetalker_cli.errors import DataError, counted
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
"""The maximum number of frames from which the motion basis is computed."""
SCALE_FLOOR = 0.02
"""The minimum scale of a basis vector relative to the largest, so that noise is not amplified."""


def train_vq(
    data: PreparedDataSet,
    settings: Settings,
    out: Path,
    *,
    device: str = "cpu",
    resume: bool = False,
    report: ProgressReport | None = None,
) -> TrainingProgress:
    """Train stage 1 on a prepared data set and write the best checkpoint to ``out``.

    Args:
        data: The prepared data set.
        settings: The settings; ``vq``, ``train_vq``, ``data`` and ``render`` are used.
        out: The checkpoint folder; ``train.run_folder`` lists the files next to it.
        device: The torch device, for a single process.
        resume: Whether to continue the run at ``out``.
        report: Called after each step.

    Returns:
        The progress at the end of the run.

    Raises:
        DataError: The data set does not fit the settings.
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
    """Limit the rank of the motion basis to the number of frames and of coordinates."""
    n_frames, requested = sum(_basis_frame_counts(source)), settings.vq.basis_rank
    rank = min(requested, n_frames, 3 * settings.data.n_vertices)
    if requested == rank:
        return settings
    logger.warning(
        "vq.basis_rank: %d is too large for %s of %d vertices; using %d",
        requested,
        counted(n_frames, "training frame"),
        settings.data.n_vertices,
        rank,
    )
    vq = settings.vq.model_copy(update={"basis_rank": rank})
    return settings.model_copy(update={"vq": vq})


def _basis_frame_counts(source: ClipSource) -> list[int]:
    """Return the number of frames of each training clip that the motion basis uses."""
    per_clip = max(1, BASIS_FRAMES // len(source))
    lengths = [min(per_clip, source.clip(i).entry.n_frames) for i in range(len(source))]
    return lengths[: math.ceil(BASIS_FRAMES / per_clip)]


def motion_basis(source: ClipSource, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """Compute the principal directions of the training motion (offsets from the template).

    The offsets are not centered.

    Returns:
        (3V, R) orthonormal vectors, strongest first, and the (R,) scales of their coefficients.

    Raises:
        DataError: The motion contains values that are not finite, or ``rank`` exceeds the number
            of frames or coordinates.
    """
    rng = np.random.default_rng([seed, 3])
    frames: list[Tensor] = []
    for index, n in enumerate(_basis_frame_counts(source)):
        frame_indices = np.sort(rng.choice(source.clip(index).entry.n_frames, n, replace=False))
        clip = source.batch([index], None)
        if not torch.isfinite(clip.vertices).all():
            raise DataError(
                f"{source.clip(index).entry.name}: the motion contains values that are not finite; "
                "inspect the data with `codetalker prepare-data check`"
            )
        frames.append((clip.vertices[0, frame_indices] - clip.template).flatten(1).cpu())
    offsets = torch.cat(frames)
    if rank > min(offsets.shape):
        raise DataError(
            f"vq.basis_rank: {rank} is too large for {counted(len(offsets), 'frame')} of "
            f"{offsets.shape[1]} coordinates"
        )
    _, strengths, vectors = torch.svd_lowrank(offsets, q=min(rank + 8, *offsets.shape), niter=4)
    scale = strengths[:rank] / len(offsets) ** 0.5
    return vectors[:, :rank], scale.clamp(min=float(scale[0]) * SCALE_FLOOR)


class VQTraining(nn.Module):
    """Stage 1 and its losses in one module, as distributed training requires.

    Attributes:
        quantized: The (N, Z) latents and (N,) codes of each batch of the step, without padding.
    """

    def __init__(self, model: CodeTalker, motion_loss: MotionLoss) -> None:
        super().__init__()
        self.vq = model.vq
        self._settings = model.settings.train_vq
        self._motion_loss = motion_loss
        self.quantized: list[tuple[Tensor, Tensor]] = []

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return the (B,) L1 motion loss, codebook loss and their weighted sum (equation 4)."""
        vq, lengths, offsets = self.vq, batch.lengths, batch.offsets
        reconstruction, quantized = vq.reconstruct(vq.basis.to_features(offsets), lengths)
        rng = step_rng(self._settings.seed, batch.step)
        motion = self._motion_loss(vq.basis, reconstruction, offsets, rng, lengths)
        latents, codes = vq.flat_codes(quantized, lengths)
        # Another process counts the codes of a repeated clip; the latents can still revive entries.
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
        """Load a crop of each clip."""
        rngs = [clip_rng(self._settings.seed, step, clip) for clip in clips]
        return self.source.batch(clips, self._settings.crop_frames, rngs, step)

    def clip_name(self, clip: int) -> str:
        """Return the name of the clip in the data set."""
        return self.source.clip(clip).entry.name

    def after_step(self, accelerator: Accelerator, step: int) -> Values:
        """Count the codes of the step, and revive codebook entries that have long been unused."""
        quantized, self.module.quantized = self.module.quantized, []
        return self._usage.update(quantized, accelerator, step)

    def after_epoch(self, accelerator: Accelerator) -> Values:
        """Return the codebook usage of the epoch."""
        return self._usage.end_epoch()

    def compile(self) -> None:
        """Compile the transformers of the encoder and the decoder."""
        self.model.vq.encoder.compile(dynamic=True)
        self.model.vq.decoder.compile(dynamic=True)

    def validate(self, accelerator: Accelerator) -> Values:
        """Return the errors of reconstructed validation clips; the score is ``val_lve``."""
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
        """Render a validation clip next to its reconstruction."""
        render, device = self.model.settings.render, self.model.vq.quantizer.codebook.device
        return self.validation.sample(path, self._reconstruct, n_frames, render, device)

    def state_dict(self) -> dict[str, Any]:
        """Return the codebook usage."""
        return {"counts": self._usage.counts, "unused_steps": self._usage.unused_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the codebook usage."""
        self._usage.counts, self._usage.unused_steps = state["counts"], state["unused_steps"]

    def save(self, folder: Path, meta: dict[str, Any]) -> None:
        """Write stage 1 as a checkpoint."""
        meta = {**meta, "data_id": self.data.manifest.data_id}
        checkpoint.save(folder, self.model, meta=meta, mesh=self.data.mesh)


# Codebook usage -----------------------------------------------------------------------------------


class CodebookUsage:
    """Counts how often each codebook entry is used, over all processes.

    With ``revive_after_steps``, an entry that was unused for this number of steps is replaced by a
    random latent of the batch (Dhariwal et al. 2020, appendix B), the same one in every process.

    Attributes:
        counts: (K,) how often each entry was used in the current epoch.
        unused_steps: (K,) the number of steps since each entry was last used or replaced.
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
        """Count the codes of a step and revive unused entries.

        Args:
            quantized: The (N, Z) pre-quantization latents and (N,) codes of each batch of the step.
            accelerator: The processes of the run.
            step: The number of the step.

        Returns:
            The perplexity of the step, and the number of entries used so far in the epoch.
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
        """Return the numbers of used and unused entries in the epoch, and reset the counts."""
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
        # Each process offers a latent for every entry; the entries take them from the processes
        # in turn.
        entry = torch.arange(len(dead))
        candidate_indices = (entry % accelerator.num_processes) * len(dead) + entry
        codebook = self._quantizer.codebook
        codebook[dead.to(codebook.device)] = candidates[candidate_indices.to(candidates.device)].to(
            codebook.dtype
        )
        self.unused_steps[dead] = 0
