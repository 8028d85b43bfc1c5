"""Stage 1: the VQ autoencoder between facial motion and codes (CodeTalker, section 3.1).

Clips of different lengths are padded at the end to form a batch. The argument ``lengths`` contains
the number of frames of each clip, or is None if there is no padding. The result for each clip
equals the result for that clip alone; results for the padding are meaningless.
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

    With rank 0, the features are the 3V offsets themselves. With rank R, they are the coefficients
    of an orthonormal basis, each divided by its scale. The first and last projections then act on R
    instead of 3V features, so the model is smaller and decoding is faster.

    Args:
        n_vertices: The number of vertices V.
        rank: The rank R of the basis, or 0 for no basis.
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
        """Set the orthonormal vectors over the 3V coordinates and their positive scales."""
        self.vectors.copy_(vectors)
        self.scale.copy_(scale)

    def to_features(
        self, offsets: Float[Tensor, "batch frames vertices 3"]
    ) -> Float[Tensor, "batch frames {self.feature_size}"]:
        """Convert vertex offsets from the template to motion features."""
        flat = offsets.flatten(-2)
        return flat @ (self.vectors / self.scale) if self.rank else flat

    def to_offsets(
        self,
        features: Float[Tensor, "batch frames {self.feature_size}"],
        vertex_indices: Int[Tensor, " vertices"] | None = None,
    ) -> Float[Tensor, "batch frames vertices 3"]:
        """Convert motion features to the offsets of all vertices, or of ``vertex_indices``."""
        if not self.rank:
            offsets = features.unflatten(-1, (self.n_vertices, 3))
            return offsets if vertex_indices is None else offsets[..., vertex_indices, :]
        vectors = self.vectors.unflatten(0, (self.n_vertices, 3))
        if vertex_indices is not None:
            vectors = vectors[vertex_indices]
        flat = features @ (vectors.flatten(0, 1) * self.scale).T
        return flat.unflatten(-1, (-1, 3))


class Reconstruction(NamedTuple):
    """The output of stage 1: vertices, and the output of the quantizer."""

    vertices: Float[Tensor, "batch frames vertices 3"]
    quantized: Quantized


class MotionEncoder(nn.Module):
    """The encoder of stage 1: motion features to latents before quantization."""

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
        """Encode motion features to latents."""
        x = F.leaky_relu(self.input_projection(features), LEAKY_SLOPE)
        return self.latent_projection(self.temporal(x, lengths))


class MotionDecoder(nn.Module):
    """The decoder of stage 1: quantized latents to motion features."""

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
        """Decode latents to hidden states, i.e. without the last projection."""
        return self.temporal(self.latent_projection(latents), lengths)

    def forward(
        self,
        latents: Float[Tensor, "batch frames latent"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch frames features"]:
        """Decode latents to motion features."""
        return self.output_projection(self.hidden(latents, lengths))


class MotionVQ(nn.Module):
    """The VQ autoencoder over mesh vertices.

    Args:
        settings: The section ``vq`` of the settings.
        n_vertices: The number of vertices V.
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
        """The width of the motion features: 3V, or the rank of the basis."""
        return self.basis.feature_size

    def encode(
        self,
        vertices: Float[Tensor, "batch frames vertices 3"],
        template: Float[Tensor, "batch vertices 3"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Int64[Tensor, "batch frames codes_per_frame"]:
        """Encode vertices to codes, given the template of each clip."""
        features = self.basis.to_features(vertices - template[:, None])
        return self.quantize(self.encoder(features, lengths))[1]

    def reconstruct(
        self,
        features: Float[Tensor, "batch frames {self.feature_size}"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> tuple[Float[Tensor, "batch frames {self.feature_size}"], Quantized]:
        """Encode, quantize and decode motion features of at least two frames.

        Returns:
            The reconstructed features, and the output of the quantizer.
        """
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
        """Return the quantized latents, with a straight-through gradient, and their codes."""
        quantized_latents, codes = self.quantizer.quantize(self._split(latents))
        q = self.settings.codes_per_frame
        return quantized_latents.view_as(latents), codes.unflatten(1, (-1, q))

    def nearest(
        self, latents: Float[Tensor, "batch frames latent"]
    ) -> Int64[Tensor, "batch frames codes_per_frame"]:
        """Return the codes of the nearest codebook entries."""
        codes = self.quantizer.nearest(self._split(latents))
        return codes.unflatten(1, (-1, self.settings.codes_per_frame))

    def flat_codes(
        self, quantized: Quantized, lengths: Int[Tensor, " batch"] | None
    ) -> tuple[Float[Tensor, "codes code_dim"], Int64[Tensor, " codes"]]:
        """Return the latents before quantization and their codes, without the padding."""
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

        Args:
            latents: The latents of whole clips. Each decoded frame depends on all of them.
            lengths: The number of frames of each clip; None if there is no padding.
        """
        return _decode_at_least_two_frames(self.decoder, latents, lengths)

    def decode_hidden(
        self,
        codes: Int[Tensor, "batch frames codes_per_frame"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch frames hidden"]:
        """Decode codes to hidden states, i.e. without the last projection.

        The last projection is linear. Blending hidden states is therefore equivalent to blending
        vertices, and needs less memory.
        """
        return _decode_at_least_two_frames(self.decoder.hidden, self.dequantize(codes), lengths)

    def decode(
        self,
        codes: Int[Tensor, "batch frames codes_per_frame"],
        template: Float[Tensor, "batch vertices 3"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch frames vertices 3"]:
        """Decode codes to vertices, given the template of each clip."""
        features = self.decode_features(self.dequantize(codes), lengths=lengths)
        return self.basis.to_offsets(features) + template[:, None]

    def to_vertices(
        self,
        hidden: Float[Tensor, "batch frames hidden"],
        template: Float[Tensor, "batch vertices 3"],
    ) -> Float[Tensor, "batch frames vertices 3"]:
        """Convert the output of ``decode_hidden`` to vertices, given the template of each clip."""
        features = self.decoder.output_projection(hidden)
        return self.basis.to_offsets(features) + template[:, None]

    def forward(
        self,
        vertices: Float[Tensor, "batch frames vertices 3"],
        template: Float[Tensor, "batch vertices 3"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Reconstruction:
        """Reconstruct vertices of at least two frames, given the template of each clip."""
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
    # The instance norm needs at least two frames, so a single frame is duplicated.
    if latents.shape[1] == 1:
        return decode(latents.expand(-1, 2, -1), None)[:, :1]
    return decode(latents, lengths)
