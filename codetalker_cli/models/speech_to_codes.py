"""Stage 2: predict motion codes from speech, frame by frame (CodeTalker, section 3.2).

The decoder predicts latents, which are quantized with the codebook of stage 1. Its self-attention
is causal, with a bias that decreases with the distance in periods. In the cross-attention, frame i
attends only to the speech features of frame i. This module contains the model and its
teacher-forced forward pass; ``models.decoding`` does free-running decoding.

Without ``settings.motion_history``, no frame depends on earlier motion. The forward pass is then
the same as free-running decoding, and it computes all frames at once.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from codetalker_cli.models.layers import Cache, sinusoidal_table
from codetalker_cli.models.speech_encoders.encoder import AudioEncoder
from codetalker_cli.settings import SpeechSettings


@runtime_checkable
class Tokenizer(Protocol):
    """The methods of stage 1 that stage 2 uses."""

    def quantize(
        self, latents: Float[Tensor, "batch frames latent"]
    ) -> tuple[
        Float[Tensor, "batch frames latent"], Int64[Tensor, "batch frames codes_per_frame"]
    ]: ...

    def decode_features(
        self,
        latents: Float[Tensor, "batch frames latent"],
        *,
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch frames features"]: ...


class Prediction(NamedTuple):
    """The result of teacher forcing.

    Attributes:
        features: The motion features.
        latents: The latents before quantization.
        codes: The codes of the latents.
    """

    features: Float[Tensor, "batch frames features"]
    latents: Float[Tensor, "batch frames latent"]
    codes: Int64[Tensor, "batch frames codes_per_frame"]


def attention_slopes(
    n_heads: int, device: torch.device | None = None
) -> Float[Tensor, " {n_heads}"]:
    """Return the ALiBi slopes (Press et al. 2022), e.g. 1/4, 1/16, 1/64, 1/256 for four heads."""
    first = 2.0 ** -(2.0 ** -(math.log2(n_heads) - 3))
    return first ** torch.arange(1, n_heads + 1, device=device)


def periodic_causal_bias(
    n_heads: int, period: int, queries: Int[Tensor, " queries"], keys: Int[Tensor, " keys"]
) -> Float[Tensor, "{n_heads} queries keys"]:
    """Return the attention bias: −slope · ⌊(i−j)/period⌋ for j ≤ i, and −∞ for j > i.

    Args:
        n_heads: The number of attention heads.
        period: The period in frames.
        queries: The frame numbers i.
        keys: The frame numbers j.
    """
    distance = queries[:, None] - keys[None, :]
    steps = torch.div(distance, period, rounding_mode="floor")
    bias = -attention_slopes(n_heads, queries.device)[:, None, None] * steps
    return bias.masked_fill(distance < 0, float("-inf"))


def init_attention(*projections: nn.Linear, output: nn.Linear) -> None:
    """Initialize attention weights as torch's MultiheadAttention does, with zero biases."""
    # MultiheadAttention initializes q, k and v as one Xavier matrix, so the fan-out is 3 · size.
    size = output.in_features
    bound = math.sqrt(6 / (size + 3 * size))
    for projection in projections:
        nn.init.uniform_(projection.weight, -bound, bound)
    for layer in (*projections, output):
        nn.init.zeros_(layer.bias)


class CausalAttention(nn.Module):
    """Causal self-attention with a bias; ``dropout`` applies to the attention weights."""

    def __init__(self, size: int, n_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.dropout = dropout
        self.qkv = nn.Linear(size, 3 * size)
        self.output = nn.Linear(size, size)
        init_attention(self.qkv, output=self.output)

    def forward(
        self, x: Float[Tensor, "batch frames size"], bias: Float[Tensor, "heads frames frames"]
    ) -> Float[Tensor, "batch frames size"]:
        """Attend to all frames, with ``bias`` added to the attention scores."""
        return self.extend(x, bias, None)[0]

    def extend(
        self,
        x: Float[Tensor, "batch frames size"],
        bias: Float[Tensor, "heads frames keys"],
        earlier: Cache | None,
    ) -> tuple[Float[Tensor, "batch frames size"], Cache]:
        """Attend to earlier frames and to the frames themselves.

        Args:
            x: The frames.
            bias: Added to the attention scores.
            earlier: The keys and values of the earlier frames; None: there are none.

        Returns:
            The attended values, and the keys and values of all frames.
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        if earlier is not None:
            k, v = torch.cat([earlier[0], k], dim=2), torch.cat([earlier[1], v], dim=2)
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, bias.to(q.dtype), dropout)
        return self.output(attended.transpose(1, 2).flatten(2)), (k, v)


class FrameAttention(nn.Module):
    """Cross-attention from each frame to its own speech features.

    ``dropout`` applies to the attention weights. With one feature per frame it therefore drops the
    entire output of a head for that frame.
    """

    def __init__(self, size: int, n_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.dropout = nn.Dropout(dropout)
        self.query = nn.Linear(size, size)
        self.key_value = nn.Linear(size, 2 * size)
        self.output = nn.Linear(size, size)
        init_attention(self.query, self.key_value, output=self.output)

    def memory(
        self, features: Float[Tensor, "batch frames per_frame size"]
    ) -> Float[Tensor, "2 batch frames per_frame heads head_size"]:
        """Return the keys and values of the speech features."""
        return self.key_value(features).unflatten(-1, (2, self.n_heads, -1)).movedim(-3, 0)

    def forward(
        self,
        x: Float[Tensor, "batch frames size"],
        memory: Float[Tensor, "2 batch frames per_frame heads head_size"],
    ) -> Float[Tensor, "batch frames size"]:
        """Attend from each frame to the keys and values of the same frame."""
        k, v = memory
        if v.shape[2] == 1:  # the softmax over a single key is 1, so the query has no effect
            dropout_mask = self.dropout(v.new_ones(v.shape[0], v.shape[1], self.n_heads, 1))
            return self.output((v[:, :, 0] * dropout_mask).flatten(-2))
        q = self.query(x).unflatten(-1, (self.n_heads, -1))
        score = torch.einsum("bthd,btfhd->bthf", q, k) / math.sqrt(q.shape[-1])
        attended = torch.einsum("bthf,btfhd->bthd", self.dropout(score.softmax(-1)), v)
        return self.output(attended.flatten(-2))


class SpeechDecoderLayer(nn.Module):
    """A post-norm decoder layer: self-attention, cross-attention, and an MLP with ReLU."""

    def __init__(self, s: SpeechSettings) -> None:
        super().__init__()
        size = s.hidden_size
        self.self_attention = CausalAttention(size, s.n_heads, s.dropout)
        self.self_norm = nn.LayerNorm(size)
        self.cross_attention = FrameAttention(size, s.n_heads, s.dropout)
        self.cross_norm = nn.LayerNorm(size)
        self.mlp_in = nn.Linear(size, s.mlp_size)
        self.mlp_out = nn.Linear(s.mlp_size, size)
        self.mlp_norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(s.dropout)

    def forward(
        self,
        x: Float[Tensor, "batch frames size"],
        memory: Float[Tensor, "2 batch frames per_frame heads head_size"],
        bias: Float[Tensor, "heads frames frames"],
    ) -> Float[Tensor, "batch frames size"]:
        """Apply the layer.

        Args:
            x: The hidden states.
            memory: The keys and values for the cross-attention.
            bias: The bias for the self-attention.
        """
        return self.extend(x, memory, bias, None)[0]

    def extend(
        self,
        x: Float[Tensor, "batch frames size"],
        memory: Float[Tensor, "2 batch frames per_frame heads head_size"],
        bias: Float[Tensor, "heads frames keys"],
        earlier: Cache | None,
    ) -> tuple[Float[Tensor, "batch frames size"], Cache]:
        """Apply the layer to frames that follow others; see ``CausalAttention.extend``."""
        attended, cache = self.self_attention.extend(x, bias, earlier)
        x = self.self_norm(x + self.dropout(attended))
        x = self.cross_norm(x + self.dropout(self.cross_attention(x, memory)))
        hidden = self.mlp_out(self.dropout(F.relu(self.mlp_in(x))))
        return self.mlp_norm(x + self.dropout(hidden)), cache


class SpeechToCodes(nn.Module):
    """Stage 2: the speech encoder and the decoder, which is autoregressive with a motion history.

    Args:
        settings: The section ``speech`` of the settings.
        fps: The frame rate of the motion.
        n_styles: The number of training subjects.
        feature_size: The width of stage 1's motion features.
        latent_size: The width of stage 1's latents.
    """

    def __init__(
        self,
        settings: SpeechSettings,
        *,
        fps: float,
        n_styles: int,
        feature_size: int,
        latent_size: int,
    ) -> None:
        super().__init__()
        self.settings = settings
        size = settings.hidden_size
        self.encoder = AudioEncoder(settings.encoder, fps, settings.features_per_frame)
        self.audio_projection = nn.Linear(self.encoder.size, size)
        self.motion_projection: nn.Linear | None = None
        if settings.motion_history:
            self.motion_projection = nn.Linear(feature_size, size)
        self.style_embedding = nn.Embedding(n_styles, size)
        self.layers = nn.ModuleList(SpeechDecoderLayer(settings) for _ in range(settings.n_layers))
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(size, latent_size, bias=False)
        nn.init.zeros_(self.head.weight)
        # The position encoding is periodic, so the table covers a single period.
        table = sinusoidal_table(settings.period_frames, size)
        self.register_buffer("position", table, persistent=False)
        self.position: Tensor

    def style(self, weights: Float[Tensor, "batch styles"]) -> Float[Tensor, "batch size"]:
        """Return the weighted sum of the training subjects' style vectors for each clip."""
        return weights @ self.style_embedding.weight

    def forward(
        self,
        tokenizer: Tokenizer,
        hidden: Float[Tensor, "batch encoder_features encoder_size"],
        features: Float[Tensor, "batch frames features"],
        style: Float[Tensor, "batch size"],
        keep_history: Float[Tensor, " batch"] | None = None,
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Prediction:
        """Predict each frame from the ground-truth frames before it (teacher forcing).

        Args:
            tokenizer: Stage 1.
            hidden: The encoder features of the same frames as ``features``.
            features: The ground-truth motion features. Without a motion history, they have no
                effect.
            style: The style vectors.
            keep_history: For each clip 1, or 0 to hide its motion history; None keeps all.
            lengths: The number of frames of each clip; None if there is no padding. Results for
                the padding are meaningless.
        """
        history: Tensor | None = None
        if self.motion_projection is not None:
            # The first input is the projection of zero motion, which includes the bias. At
            # inference the first input is zero, without the bias. The official code has the same
            # difference.
            past = F.pad(features[:, :-1], (0, 0, 1, 0))  # shifted by one frame
            history = self.motion_projection(past)
            if keep_history is not None:
                history = history * keep_history[:, None, None]
        latents = self.latents(hidden, style, history)
        quantized_latents, codes = tokenizer.quantize(latents)
        # The layers above do not need `lengths`: they are causal, and each frame attends only to
        # its own speech features, so the padding cannot affect a clip. Stage 1 is not causal.
        features = tokenizer.decode_features(quantized_latents, lengths=lengths)
        return Prediction(features, latents, codes)

    def latents(
        self,
        hidden: Float[Tensor, "batch encoder_features encoder_size"],
        style: Float[Tensor, "batch size"],
        history: Float[Tensor, "batch frames size"] | None = None,
    ) -> Float[Tensor, "batch frames latent"]:
        """Return the latents of all frames before quantization, computed in parallel.

        Args:
            hidden: The encoder features.
            style: The style vectors.
            history: The projection of the motion before each frame; None: no motion history.
        """
        n_frames = hidden.shape[1] // self.settings.features_per_frame
        frames = torch.arange(n_frames, device=hidden.device)
        return self._latents(hidden, style, frames, history, None)[0]

    def extend(
        self,
        hidden: Float[Tensor, "batch encoder_features encoder_size"],
        style: Float[Tensor, "batch size"],
        first: Int[Tensor, " batch"],
        earlier: Sequence[Cache] | None,
    ) -> tuple[Float[Tensor, "batch frames latent"], list[Cache]]:
        """Return the latents of frames that follow others, without a motion history.

        Args:
            hidden: The encoder features of the frames.
            style: The style vectors.
            first: The number of the first frame, which determines its position encoding.
            earlier: The keys and values of the frames before them, of each layer; None: there are
                none.

        Returns:
            The latents before quantization, and the keys and values of all frames.
        """
        n_frames = hidden.shape[1] // self.settings.features_per_frame
        frames = first[:, None] + torch.arange(n_frames, device=hidden.device)
        return self._latents(hidden, style, frames, None, earlier)

    def _latents(
        self,
        hidden: Tensor,
        style: Tensor,
        frames: Tensor,
        history: Tensor | None,
        earlier: Sequence[Cache] | None,
    ) -> tuple[Tensor, list[Cache]]:
        s = self.settings
        memory = self.audio_projection(hidden).unflatten(1, (-1, s.features_per_frame))
        x = style[:, None] if history is None else history + style[:, None]
        x = self.dropout(x + self.position[frames % s.period_frames])
        n_earlier = 0 if earlier is None else earlier[0][0].shape[2]
        keys = torch.arange(n_earlier + memory.shape[1], device=memory.device)
        bias = periodic_causal_bias(s.n_heads, s.period_frames, keys[n_earlier:], keys)
        caches: list[Cache] = []
        for k, layer in enumerate(cast(Iterable[SpeechDecoderLayer], self.layers)):
            kept = None if earlier is None else earlier[k]
            x, cache = layer.extend(x, layer.cross_attention.memory(memory), bias, kept)
            caches.append(cache)
        return self.head(x), caches
