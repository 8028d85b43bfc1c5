"""Vector quantiser: the codebook of facial motion (van den Oord et al. 2017)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Quantized(NamedTuple):
    """What the quantiser gives.

    Attributes:
        latents: (B, N, Z) codebook entries; gradients pass straight through to the input.
        codes: (B, N) int64 indices.
        loss: Scalar, codebook loss + commitment_weight × commitment loss.
        perplexity: Scalar, exp(entropy) of the use of the codebook; 1 … codebook_size.
        before: (B, N, Z) latents as they came in.
    """

    latents: Tensor
    codes: Tensor
    loss: Tensor
    perplexity: Tensor
    before: Tensor


class Quantizer(nn.Module):
    """Nearest codebook entry by squared Euclidean distance; the first of equals."""

    def __init__(self, codebook_size: int, code_dim: int, commitment_weight: float) -> None:
        super().__init__()
        self.commitment_weight = commitment_weight
        bound = 1.0 / codebook_size
        self.codebook = nn.Parameter(torch.empty(codebook_size, code_dim).uniform_(-bound, bound))

    def nearest(self, z: Tensor) -> Tensor:
        """(…, Z) → (…) int64 indices."""
        flat = z.reshape(-1, z.shape[-1])
        distance = (
            flat.square().sum(1, keepdim=True)
            + self.codebook.square().sum(1)
            - 2.0 * flat @ self.codebook.T
        )
        return distance.argmin(1).view(z.shape[:-1])

    def lookup(self, codes: Tensor) -> Tensor:
        """(…) indices → (…, Z) entries."""
        return F.embedding(codes, self.codebook)

    def snap(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(…, Z) → the nearest entries with straight-through gradient, and their codes."""
        codes = self.nearest(z)
        return z + (self.lookup(codes) - z).detach(), codes

    def forward(self, z: Tensor) -> Quantized:
        """Quantise (B, N, Z) latents, with the losses of stage 1."""
        codes = self.nearest(z)
        entries = self.lookup(codes)
        commitment_loss = (entries.detach() - z).square().mean()
        codebook_loss = (entries - z.detach()).square().mean()
        return Quantized(
            latents=z + (entries - z).detach(),
            codes=codes,
            loss=self.commitment_weight * commitment_loss + codebook_loss,
            perplexity=self.perplexity(codes),
            before=z,
        )

    def perplexity(self, codes: Tensor) -> Tensor:
        """exp(entropy) of how often each entry is used."""
        share = torch.bincount(codes.reshape(-1), minlength=len(self.codebook)) / codes.numel()
        return torch.exp(-(share * torch.log(share + 1e-10)).sum())
