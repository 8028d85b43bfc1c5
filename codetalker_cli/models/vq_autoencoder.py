"""Stage 1: facial motion ↔ codes (CodeTalker, section 3.1).

Stage 2 sees of it the contract of a tokenizer: encode, decode, and the motion features in which
the past is fed back. Where ``lengths`` are taken, a batch may hold clips of different length,
padded at their ends: the frames of each, None when all are full. Each clip gives what it
gives alone; what comes back beyond its end means nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from codetalker_cli.models.layers import LEAKY_SLOPE, TemporalTransformer, valid_frames
from codetalker_cli.models.quantizer import Quantized, Quantizer
from codetalker_cli.settings import VQSettings


class MotionBasis(nn.Module):
    """A fixed linear map between vertex offsets and motion features.

    With rank 0 the features are the 3V offsets themselves. With rank R they are the coefficients
    of an orthonormal basis, each divided by its scale, which keeps the model small and decoding
    fast: all learned projections then meet R numbers, not 3V.
    """

    def __init__(self, n_vertices: int, rank: int) -> None:
        super().__init__()
        self.n_vertices = n_vertices
        self.rank = rank
        self.feature_size = rank or 3 * n_vertices
        if rank:
            self.register_buffer("vectors", torch.zeros(3 * n_vertices, rank))
            self.register_buffer("scale", torch.ones(rank))
        self.vectors: Tensor
        self.scale: Tensor

    @torch.no_grad()
    def set(
        self, vectors: Float[Tensor, "coordinates rank"], scale: Float[Tensor, " rank"]
    ) -> None:
        """Fill in orthonormal vectors over the 3V coordinates, and positive scales."""
        self.vectors.copy_(vectors)
        self.scale.copy_(scale)

    def to_features(
        self, offsets: Float[Tensor, "batch frames vertices 3"]
    ) -> Float[Tensor, "batch frames {self.feature_size}"]:
        """Return the motion features of offsets from the template."""
        flat = offsets.flatten(-2)
        return flat @ (self.vectors / self.scale) if self.rank else flat

    def to_offsets(
        self,
        features: Float[Tensor, "batch frames {self.feature_size}"],
        vertex_indices: Int[Tensor, " vertices"] | None = None,
    ) -> Float[Tensor, "batch frames vertices 3"]:
        """Return the offsets of all vertices, or those of the chosen ones."""
        if not self.rank:
            offsets = features.unflatten(-1, (self.n_vertices, 3))
            return offsets if vertex_indices is None else offsets[..., vertex_indices, :]
        vectors = self.vectors.unflatten(0, (self.n_vertices, 3))
        if vertex_indices is not None:
            vectors = vectors[vertex_indices]
        flat = features @ (vectors.flatten(0, 1) * self.scale).T
        return flat.unflatten(-1, (-1, 3))


class Reconstruction(NamedTuple):
    """What stage 1 gives: vertices and the quantizer's result."""

    vertices: Float[Tensor, "batch frames vertices 3"]
    quantized: Quantized


class MotionEncoder(nn.Module):
    """Motion features → latents before quantization."""

    def __init__(self, feature_size: int, s: VQSettings) -> None:
        super().__init__()
        self.input_projection = nn.Linear(feature_size, s.hidden_size)
        self.temporal = TemporalTransformer(
            s.hidden_size, s.n_layers, s.n_heads, s.mlp_size, s.kernel_size
        )
        self.latent_projection = (
            nn.Linear(s.hidden_size, s.latent_size) if s.latent_projection else nn.Identity()
        )

    def forward(
        self,
        features: Float[Tensor, "batch frames features"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch frames latent"]:
        """Return the latents of each frame."""
        x = F.leaky_relu(self.input_projection(features), LEAKY_SLOPE)
        return self.latent_projection(self.temporal(x, lengths))


class MotionDecoder(nn.Module):
    """Quantized latents → motion features."""

    def __init__(self, feature_size: int, s: VQSettings) -> None:
        super().__init__()
        self.latent_projection = (
            nn.Linear(s.latent_size, s.hidden_size) if s.latent_projection else nn.Identity()
        )
        self.temporal = TemporalTransformer(
            s.hidden_size, s.n_layers, s.n_heads, s.mlp_size, s.kernel_size
        )
        self.output_projection = nn.Linear(s.hidden_size, feature_size, bias=s.output_bias)

    def hidden(
        self,
        latents: Float[Tensor, "batch frames latent"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch frames hidden"]:
        """Decode without the last projection."""
        return self.temporal(self.latent_projection(latents), lengths)

    def forward(
        self,
        latents: Float[Tensor, "batch frames latent"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch frames features"]:
        """Return the motion features of each frame."""
        return self.output_projection(self.hidden(latents, lengths))


class MotionVQ(nn.Module):
    """The VQ autoencoder over mesh vertices.

    Args:
        settings: Its own section.
        n_vertices: V of the topology.
    """

    def __init__(self, settings: VQSettings, n_vertices: int) -> None:
        super().__init__()
        self.settings = settings
        self.n_vertices = n_vertices
        self.basis = MotionBasis(n_vertices, settings.basis_rank)
        self.encoder = MotionEncoder(self.basis.feature_size, settings)
        self.quantizer = Quantizer(
            settings.codebook_size, settings.code_dim, settings.commitment_weight
        )
        self.decoder = MotionDecoder(self.basis.feature_size, settings)

    @property
    def feature_size(self) -> int:
        """Numbers in the motion features of a frame (3V, or the rank of the basis)."""
        return self.basis.feature_size

    def encode(
        self,
        vertices: Float[Tensor, "batch frames vertices 3"],
        template: Float[Tensor, "batch vertices 3"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Int64[Tensor, "batch frames codes_per_frame"]:
        """Return the codes of the motion of faces with these templates."""
        features = self.basis.to_features(vertices - template[:, None])
        return self.quantize(self.encoder(features, lengths))[1]

    def reconstruct(
        self,
        features: Float[Tensor, "batch frames {self.feature_size}"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch frames {self.feature_size}"], Quantized]:
        """Return the features after quantization, and the quantizer's result; T ≥ 2."""
        q = self.settings.codes_per_frame
        valid = None
        if lengths is not None:
            valid = valid_frames(lengths, features.shape[1]).repeat_interleave(q, 1)
        quantized = self.quantizer(self._split(self.encoder(features, lengths)), valid)
        latents = quantized.latents.unflatten(1, (-1, q)).flatten(-2)
        return self.decode_features(latents, lengths=lengths), quantized

    def quantize(
        self, latents: Float[Tensor, "batch frames latent"]
    ) -> tuple[Float[Tensor, "batch frames latent"], Int64[Tensor, "batch frames codes_per_frame"]]:
        """Return the nearest codebook latents (straight-through) and their codes."""
        quantized_latents, codes = self.quantizer.quantize(self._split(latents))
        q = self.settings.codes_per_frame
        return quantized_latents.view_as(latents), codes.unflatten(1, (-1, q))

    def nearest(
        self, latents: Float[Tensor, "batch frames latent"]
    ) -> Int64[Tensor, "batch frames codes_per_frame"]:
        """Return the codes of the nearest entries."""
        codes = self.quantizer.nearest(self._split(latents))
        return codes.unflatten(1, (-1, self.settings.codes_per_frame))

    def flat_codes(
        self, quantized: Quantized, lengths: Int[Tensor, " batch"] | None
    ) -> tuple[Float[Tensor, "codes code_dim"], Int64[Tensor, " codes"]]:
        """Return the latents as they came in and their codes, without those of padding."""
        latents, codes = quantized.pre_quantization.detach(), quantized.codes
        if lengths is None:
            return latents.flatten(0, 1), codes.flatten()
        q = self.settings.codes_per_frame
        valid = valid_frames(lengths, codes.shape[1] // q).repeat_interleave(q, 1)
        return latents[valid], codes[valid]

    def dequantize(
        self, codes: Int[Tensor, "batch frames codes_per_frame"]
    ) -> Float[Tensor, "batch frames latent"]:
        """Return the quantized latents of the codes."""
        return self.quantizer.dequantize(codes).flatten(-2)

    def decode_features(
        self,
        latents: Float[Tensor, "batch frames latent"],
        *,
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch frames {self.feature_size}"]:
        """Decode quantized latents to motion features.

        A single frame has no instance statistics; it is decoded as two equal ones.

        Args:
            latents: Those of the whole clip: every frame depends on all of them.
            lengths: Frames of each clip; None: all.
        """
        return _decode_at_least_two_frames(self.decoder, latents, lengths)

    def decode_hidden(
        self,
        codes: Int[Tensor, "batch frames codes_per_frame"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch frames hidden"]:
        """Decode codes without the last projection.

        That one is linear and wide: what is blended before it is blended behind it, in less memory.
        """
        return _decode_at_least_two_frames(self.decoder.hidden, self.dequantize(codes), lengths)

    def decode(
        self,
        codes: Int[Tensor, "batch frames codes_per_frame"],
        template: Float[Tensor, "batch vertices 3"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch frames vertices 3"]:
        """Return the vertices of the codes, on these templates."""
        features = self.decode_features(self.dequantize(codes), lengths=lengths)
        return self.basis.to_offsets(features) + template[:, None]

    def to_vertices(
        self,
        hidden: Float[Tensor, "batch frames hidden"],
        template: Float[Tensor, "batch vertices 3"],
    ) -> Float[Tensor, "batch frames vertices 3"]:
        """Return the vertices of what ``decode_hidden`` gives, on these templates."""
        features = self.decoder.output_projection(hidden)
        return self.basis.to_offsets(features) + template[:, None]

    def forward(
        self,
        vertices: Float[Tensor, "batch frames vertices 3"],
        template: Float[Tensor, "batch vertices 3"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Reconstruction:
        """Reconstruct the motion of faces with these templates; T ≥ 2."""
        features = self.basis.to_features(vertices - template[:, None])
        reconstruction, quantized = self.reconstruct(features, lengths)
        return Reconstruction(self.basis.to_offsets(reconstruction) + template[:, None], quantized)

    def _split(
        self, latents: Float[Tensor, "batch frames latent"]
    ) -> Float[Tensor, "batch codes code_dim"]:
        return latents.reshape(latents.shape[0], -1, self.settings.code_dim)


def _decode_at_least_two_frames(
    decode: Callable[[Tensor, Tensor | None], Tensor],
    latents: Float[Tensor, "batch frames latent"],
    lengths: Int[Tensor, " batch"] | None,
) -> Float[Tensor, "batch frames size"]:
    """Decode; a single frame as two equal ones."""
    if latents.shape[1] == 1:
        return decode(latents.expand(-1, 2, -1), None)[:, :1]
    return decode(latents, lengths)
