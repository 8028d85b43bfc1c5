"""Vector quantizer: the codebook of facial motion (van den Oord et al. 2017)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Int64, Real
from torch import Tensor, nn
from torch.nn import functional as F


class Quantized(NamedTuple):
    """What the quantizer gives.

    Attributes:
        latents: Codebook entries; gradients pass straight through to the input.
        codes: Indices of the entries.
        loss: Codebook loss + commitment_weight × commitment loss, each clip's own mean.
        pre_quantization: The latents as they came in.
    """

    latents: Float[Tensor, "batch codes code_dim"]
    codes: Int64[Tensor, "batch codes"]
    loss: Float[Tensor, " batch"]
    pre_quantization: Float[Tensor, "batch codes code_dim"]


class Quantizer(nn.Module):
    """Nearest codebook entry by squared Euclidean distance; the first of equals.

    Distances and losses are computed in float32 at least, in mixed precision too: half types
    would choose other entries.
    """

    def __init__(self, codebook_size: int, code_dim: int, commitment_weight: float) -> None:
        super().__init__()
        self.commitment_weight = commitment_weight
        bound = 1.0 / codebook_size
        self.codebook = nn.Parameter(torch.empty(codebook_size, code_dim).uniform_(-bound, bound))

    def nearest(self, z: Float[Tensor, "*places code_dim"]) -> Int64[Tensor, "*places"]:
        """Return the index of the nearest entry at each place."""
        with torch.autocast(z.device.type, enabled=False):
            flat, codebook = _to_float32(z.reshape(-1, z.shape[-1])), _to_float32(self.codebook)
            distance = (
                flat.square().sum(1, keepdim=True)
                + codebook.square().sum(1)
                - 2.0 * flat @ codebook.T
            )
            return distance.argmin(1).view(z.shape[:-1])

    def dequantize(self, codes: Int[Tensor, "*places"]) -> Float[Tensor, "*places code_dim"]:
        """Return the entries of the indices."""
        return F.embedding(codes, self.codebook)

    def quantize(
        self, z: Float[Tensor, "*places code_dim"]
    ) -> tuple[Float[Tensor, "*places code_dim"], Int64[Tensor, "*places"]]:
        """Return the nearest entries with straight-through gradient, and their codes."""
        codes = self.nearest(z)
        return z + (self.dequantize(codes) - z).detach(), codes

    def forward(
        self,
        z: Float[Tensor, "batch codes code_dim"],
        valid: Bool[Tensor, "batch codes"] | None = None,
    ) -> Quantized:
        """Quantize latents, with the losses of stage 1.

        Args:
            z: Latents before quantization.
            valid: The latents that the losses count; None: all.
        """
        codes = self.nearest(z)
        entries = self.dequantize(codes)
        commitment_loss = _mean_squared_error(entries.detach(), z, valid)
        codebook_loss = _mean_squared_error(entries, z.detach(), valid)
        return Quantized(
            latents=z + (entries - z).detach(),
            codes=codes,
            loss=self.commitment_weight * commitment_loss + codebook_loss,
            pre_quantization=z,
        )


def perplexity(counts: Real[Tensor, " entries"]) -> float:
    """exp(entropy) of how often each entry was chosen; 1 … the number of entries."""
    probability = counts.double()
    probability = probability[probability > 0] / probability.sum()
    return float(torch.exp(-(probability * torch.log(probability)).sum()))


def _to_float32(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Half types raised to float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _mean_squared_error(
    entries: Float[Tensor, "batch codes code_dim"],
    latents: Float[Tensor, "batch codes code_dim"],
    valid: Bool[Tensor, "batch codes"] | None,
) -> Float[Tensor, " batch"]:
    """Mean squared difference over each clip's valid places."""
    with torch.autocast(entries.device.type, enabled=False):
        error = (_to_float32(entries) - _to_float32(latents)).square()
        if valid is None:
            return error.mean((1, 2))
        return torch.where(valid[..., None], error, 0.0).mean(-1).sum(1) / valid.sum(1)
