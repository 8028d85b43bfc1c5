"""The vector quantizer of stage 1 (van den Oord et al. 2017)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Int64, Real
from torch import Tensor, nn
from torch.nn import functional as F


class Quantized(NamedTuple):
    """The output of the quantizer.

    Attributes:
        latents: The codebook entries, with a straight-through gradient to the input.
        codes: The indices of the entries.
        loss: The codebook loss + commitment_weight × the commitment loss, averaged per clip.
        pre_quantization: The input latents.
    """

    latents: Float[Tensor, "batch codes code_dim"]
    codes: Int64[Tensor, "batch codes"]
    loss: Float[Tensor, " batch"]
    pre_quantization: Float[Tensor, "batch codes code_dim"]


class Quantizer(nn.Module):
    """A quantizer that replaces each latent by the nearest codebook entry.

    The distance is Euclidean; ties go to the lower index. Distances and losses are computed in
    float32 or better, even under mixed precision, because half precision would select
    different entries.
    """

    def __init__(self, codebook_size: int, code_dim: int, commitment_weight: float) -> None:
        super().__init__()
        self.commitment_weight = commitment_weight
        bound = 1.0 / codebook_size
        self.codebook = nn.Parameter(torch.empty(codebook_size, code_dim).uniform_(-bound, bound))

    def nearest(self, z: Float[Tensor, "*places code_dim"]) -> Int64[Tensor, "*places"]:
        """Return the index of the nearest entry for each latent."""
        with torch.autocast(z.device.type, enabled=False):
            flat, codebook = _to_float32(z.reshape(-1, z.shape[-1])), _to_float32(self.codebook)
            # |z − e|² is expanded, because all differences z − e would need much more memory.
            distance = (
                flat.square().sum(1, keepdim=True)
                + codebook.square().sum(1)
                - 2.0 * flat @ codebook.T
            )
            return distance.argmin(1).view(z.shape[:-1])

    def dequantize(self, codes: Int[Tensor, "*places"]) -> Float[Tensor, "*places code_dim"]:
        """Return the codebook entries with the given indices."""
        return F.embedding(codes, self.codebook)

    def quantize(
        self, z: Float[Tensor, "*places code_dim"]
    ) -> tuple[Float[Tensor, "*places code_dim"], Int64[Tensor, "*places"]]:
        """Return the nearest entries, with a straight-through gradient, and their codes."""
        codes = self.nearest(z)
        return z + (self.dequantize(codes) - z).detach(), codes

    def forward(
        self,
        z: Float[Tensor, "batch codes code_dim"],
        valid: Bool[Tensor, "batch codes"] | None = None,
    ) -> Quantized:
        """Quantize latents and compute the quantization losses of stage 1.

        Args:
            z: The latents.
            valid: True for the latents that count in the losses; None if all do.
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
    """Return the perplexity exp(entropy) of the code distribution.

    Args:
        counts: How often each codebook entry was selected.

    Returns:
        A number from 1 to the number of entries.
    """
    probability = counts.double()
    probability = probability[probability > 0] / probability.sum()
    return float(torch.exp(-(probability * torch.log(probability)).sum()))


def _to_float32(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _mean_squared_error(
    entries: Float[Tensor, "batch codes code_dim"],
    latents: Float[Tensor, "batch codes code_dim"],
    valid: Bool[Tensor, "batch codes"] | None,
) -> Float[Tensor, " batch"]:
    """Return the mean squared difference over the valid latents of each clip."""
    with torch.autocast(entries.device.type, enabled=False):
        error = (_to_float32(entries) - _to_float32(latents)).square()
        if valid is None:
            return error.mean((1, 2))
        # `where` also removes infinity and NaN in the padding, which a product with 0 would keep.
        return torch.where(valid[..., None], error, 0.0).mean(-1).sum(1) / valid.sum(1)
