"""Stage 2: speech → motion codes, one frame after the other (CodeTalker, section 3.2).

The decoder regresses latents and snaps them to the codebook. Its self-attention is causal with a
bias that falls with the distance in periods; frame i looks at the speech features of frame i
alone. Here is the model and its teacher-forced pass; ``models.decoding`` runs it
freely.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from codetalker_cli.models.layers import sinusoidal_table
from codetalker_cli.models.speech_encoders.encoder import AudioEncoder
from codetalker_cli.settings import SpeechSettings


@runtime_checkable
class Tokenizer(Protocol):
    """What stage 2 needs of stage 1."""

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
    """Teacher-forced result: motion features, and the latents before quantization."""

    features: Float[Tensor, "batch frames features"]
    latents: Float[Tensor, "batch frames latent"]


def attention_slopes(
    n_heads: int, device: torch.device | None = None
) -> Float[Tensor, " {n_heads}"]:
    """ALiBi slopes (Press et al. 2022) for ``n_heads``, e.g. 1/4, 1/16, 1/64, 1/256 for 4."""
    first = 2.0 ** -(2.0 ** -(math.log2(n_heads) - 3))
    return first ** torch.arange(1, n_heads + 1, device=device)


def periodic_causal_bias(
    n_heads: int, period: int, queries: Int[Tensor, " queries"], keys: Int[Tensor, " keys"]
) -> Float[Tensor, "{n_heads} queries keys"]:
    """Bias −slope · ⌊(i−j)/period⌋ for j ≤ i, −∞ for the future.

    Args:
        queries: Frame numbers i.
        keys: Frame numbers j.
    """
    distance = queries[:, None] - keys[None, :]
    steps = torch.div(distance, period, rounding_mode="floor")
    bias = -attention_slopes(n_heads, queries.device)[:, None, None] * steps
    return bias.masked_fill(distance < 0, float("-inf"))


def init_attention(*projections: nn.Linear, output: nn.Linear) -> None:
    """Begin as torch's MultiheadAttention does: q, k and v as one Xavier matrix, no biases."""
    size = output.in_features
    bound = math.sqrt(6 / (size + 3 * size))
    for projection in projections:
        nn.init.uniform_(projection.weight, -bound, bound)
    for layer in (*projections, output):
        nn.init.zeros_(layer.bias)


class CausalAttention(nn.Module):
    """Biased self-attention over the past; ``dropout`` is of the attention's weights."""

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
        """Attend to the frames with the bias added to their scores."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(q, k, v, bias.to(q.dtype), dropout)
        return self.output(attended.transpose(1, 2).flatten(2))


class FrameAttention(nn.Module):
    """Cross-attention of each frame to its own few speech features.

    ``dropout`` is of the attention's weights: with one feature a frame, a head now and then hears
    nothing.
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
        """Attend from each frame to the memory of the same frame."""
        k, v = memory
        if v.shape[2] == 1:  # a softmax over one key is 1: the query does not matter
            dropout_mask = self.dropout(v.new_ones(v.shape[0], v.shape[1], self.n_heads, 1))
            return self.output((v[:, :, 0] * dropout_mask).flatten(-2))
        q = self.query(x).unflatten(-1, (self.n_heads, -1))
        score = torch.einsum("bthd,btfhd->bthf", q, k) / math.sqrt(q.shape[-1])
        attended = torch.einsum("bthf,btfhd->bthd", self.dropout(score.softmax(-1)), v)
        return self.output(attended.flatten(-2))


class SpeechDecoderLayer(nn.Module):
    """Post-norm decoder layer with ReLU: self-attention, cross-attention, MLP."""

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
        """Apply the layer, with the cross-attention's memory and the self-attention's bias."""
        x = self.self_norm(x + self.dropout(self.self_attention(x, bias)))
        x = self.cross_norm(x + self.dropout(self.cross_attention(x, memory)))
        hidden = self.mlp_out(self.dropout(F.relu(self.mlp_in(x))))
        return self.mlp_norm(x + self.dropout(hidden))


class SpeechToCodes(nn.Module):
    """The speech model.

    Args:
        settings: Its own section.
        fps: Motion frames a second.
        n_styles: Training subjects.
        feature_size: Width of stage 1's motion features.
        latent_size: Width of stage 1's latents.
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
        self.motion_projection = nn.Linear(feature_size, size)
        self.style_embedding = nn.Embedding(n_styles, size)
        self.layers = nn.ModuleList(SpeechDecoderLayer(settings) for _ in range(settings.n_layers))
        self.dropout = nn.Dropout(settings.dropout)
        self.head = nn.Linear(size, latent_size, bias=False)
        nn.init.zeros_(self.head.weight)
        table = sinusoidal_table(settings.period_frames, size)
        self.register_buffer("position", table, persistent=False)
        self.position: Tensor

    def style(self, weights: Float[Tensor, "batch styles"]) -> Float[Tensor, "batch size"]:
        """Return style vectors from weights of the training subjects' styles."""
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
        """Teacher-forced: frame i is predicted from the true frames before it.

        Args:
            tokenizer: Stage 1.
            hidden: Encoder features of exactly the frames of ``features``.
            features: True motion features.
            style: Style vectors.
            keep_history: 1 or 0; at 0 that clip's past motion is hidden. None: all kept.
            lengths: Frames of each clip when they differ; what comes back beyond a clip's end
                means nothing.

        Note:
            The first frame's input is the projection of a zero offset, its bias included; at
            inference the first input has no such bias. The reference has this difference too.
        """
        s = self.settings
        past = F.pad(features[:, :-1], (0, 0, 1, 0))
        x = self.motion_projection(past)
        if keep_history is not None:
            x = x * keep_history[:, None, None]
        frames = torch.arange(x.shape[1], device=x.device)
        x = x + style[:, None] + self.position[frames % s.period_frames]
        x = self.dropout(x)
        memory = self.audio_projection(hidden).unflatten(1, (-1, s.features_per_frame))
        bias = periodic_causal_bias(s.n_heads, s.period_frames, frames, frames)
        for layer in cast(Iterable[SpeechDecoderLayer], self.layers):
            x = layer(x, layer.cross_attention.memory(memory), bias)
        latents = self.head(x)
        quantized_latents, _ = tokenizer.quantize(latents)
        # The layers above need no lengths: they are causal, and each frame hears its own features
        # alone, so padding behind a clip's end cannot reach it. Stage 1 sees the whole clip.
        return Prediction(tokenizer.decode_features(quantized_latents, lengths=lengths), latents)
