"""How the codebook is used while stage 1 is trained, and new work for entries without any."""

from collections.abc import Sequence

import torch
from accelerate import Accelerator
from torch import Tensor

from codetalker_cli.models.quantizer import Quantizer, perplexity
from codetalker_cli.settings import TrainSettings
from codetalker_cli.train.batches import step_rng
from codetalker_cli.train.task import Values


class CodebookUse:
    """Counts the codes of every step, over all processes.

    With ``revive_after_steps`` an entry that no latent chose for so long moves to a latent of the
    batch (Dhariwal et al. 2020, appendix B), the same one in every process.
    """

    def __init__(self, quantizer: Quantizer, settings: TrainSettings) -> None:
        self._quantizer = quantizer
        self._revive_after, self._seed = settings.revive_after_steps, settings.seed
        self.counts = torch.zeros(len(quantizer.codebook), dtype=torch.long)
        self.unused_steps = torch.zeros(len(quantizer.codebook), dtype=torch.long)

    @torch.no_grad()
    def take(
        self, seen: Sequence[tuple[Tensor, Tensor]], accelerator: Accelerator, step: int
    ) -> Values:
        """Take a step in.

        Args:
            seen: (N, Z) latents before quantisation and (N,) codes of each of its batches.
            accelerator: Of the run.
            step: Its number.
        """
        latents, codes = (torch.cat(parts) for parts in zip(*seen, strict=True))
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
        drawn = step_rng(self._seed, step).integers(len(latents), size=len(dead))
        offered = accelerator.gather(latents[torch.from_numpy(drawn).to(latents.device)])
        # Each process offers one latent an entry; entries take from one process after the other.
        entry = torch.arange(len(dead))
        chosen = (entry % accelerator.num_processes) * len(dead) + entry
        codebook = self._quantizer.codebook
        codebook[dead.to(codebook.device)] = offered[chosen.to(offered.device)].to(codebook.dtype)
        self.unused_steps[dead] = 0
