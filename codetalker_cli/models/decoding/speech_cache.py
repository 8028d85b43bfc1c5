"""The decoder of stage 2 with a KV cache, step by step.

The decoder is causal, so the cache is exact. Each frame attends only to its own speech features.
With one feature per frame, cross-attention does not depend on the query and is computed for all
frames in advance. With several features, only its keys and values are computed in advance.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from codetalker_cli.models.decoding.packed_linear import PackedLinear, layer_norm_function
from codetalker_cli.models.speech_to_codes import (
    SpeechDecoderLayer,
    SpeechToCodes,
    attention_slopes,
)
from codetalker_cli.models.vq_autoencoder import MotionVQ


@dataclass
class SpeechState:
    """The inputs and the cache for a batch of clips.

    Attributes:
        previous: The projection of the previous frame's motion; zero before the first frame.
        style: The style vectors.
        cross_cache: The output of the cross-attention, or its keys and values if there are several
            features per frame.
        kv_cache: The keys and values of the frames so far.
        bias: The attention bias by distance d in frames, at index capacity − 1 − d.
    """

    previous: Float[Tensor, "batch 1 size"]
    style: Float[Tensor, "batch 1 size"]
    cross_cache: (
        Float[Tensor, "layers batch frames size"]
        | Float[Tensor, "layers 2 batch frames per_frame heads head_size"]
    )
    kv_cache: Float[Tensor, "layers 2 batch heads capacity head_size"]
    bias: Float[Tensor, "heads 2*capacity"]

    def first(self, n: int) -> "SpeechState":
        """Return views of the first ``n`` clips."""
        clip_axis = 1 if self.cross_cache.dim() == 4 else 2
        return SpeechState(
            self.previous[:n],
            self.style[:n],
            self.cross_cache.narrow(clip_axis, 0, n),
            self.kv_cache[:, :, :n],
            self.bias,
        )


class _Layer:
    """A decoder layer with packed weights."""

    def __init__(self, layer: SpeechDecoderLayer, dtype: torch.dtype | None) -> None:
        self_attention, cross_attention = layer.self_attention, layer.cross_attention
        self.n_heads = self_attention.n_heads
        self.norms = tuple(
            layer_norm_function(norm)
            for norm in (layer.self_norm, layer.cross_norm, layer.mlp_norm)
        )
        self.qkv = PackedLinear(self_attention.qkv.weight, self_attention.qkv.bias, dtype=dtype)
        self.output = PackedLinear(
            self_attention.output.weight, self_attention.output.bias, dtype=dtype
        )
        self.query = PackedLinear(
            cross_attention.query.weight, cross_attention.query.bias, dtype=dtype
        )
        self.key_value = PackedLinear(
            cross_attention.key_value.weight, cross_attention.key_value.bias, dtype=dtype
        )
        self.cross_output = PackedLinear(
            cross_attention.output.weight, cross_attention.output.bias, dtype=dtype
        )
        self.mlp_in = PackedLinear(layer.mlp_in.weight, layer.mlp_in.bias, "relu", dtype)
        self.mlp_out = PackedLinear(layer.mlp_out.weight, layer.mlp_out.bias, dtype=dtype)

    def cross_features(
        self, memory: Float[Tensor, "batch frames per_frame size"]
    ) -> (
        Float[Tensor, "batch frames size"]
        | Float[Tensor, "2 batch frames per_frame heads head_size"]
    ):
        """Return this layer's part of ``SpeechState.cross_cache``."""
        keys_values = self.key_value(memory).unflatten(-1, (2, self.n_heads, -1)).movedim(-3, 0)
        return (
            self.cross_output(keys_values[1, :, :, 0].flatten(-2))
            if memory.shape[2] == 1
            else keys_values
        )

    def step(
        self,
        x: Float[Tensor, "batch 1 size"],
        cross_cache: Tensor,
        kv_cache: Float[Tensor, "2 batch heads capacity head_size"],
        bias: Float[Tensor, "1 heads 1 n"],
        frame: Int[Tensor, "1"],
    ) -> Float[Tensor, "batch 1 size"]:
        """Apply the layer to one frame, which attends to the n frames that ``bias`` covers."""
        n_clips, _, size = x.shape
        qkv = self.qkv(x).view(n_clips, 3, self.n_heads, 1, -1)
        q, new_keys_values = qkv[:, 0], qkv[:, 1:].transpose(0, 1)
        k, v = kv_cache.index_copy_(3, frame, new_keys_values)[:, :, :, : bias.shape[-1]]
        attended = F.scaled_dot_product_attention(q, k, v, bias)
        x = self.norms[0](x + self.output(attended.view(n_clips, 1, size)))
        x = self.norms[1](x + self._cross_attention(x, cross_cache, frame))
        return self.norms[2](x + self.mlp_out(self.mlp_in(x)))

    def _cross_attention(self, x: Tensor, cross_cache: Tensor, frame: Tensor) -> Tensor:
        if cross_cache.dim() == 3:
            return cross_cache.index_select(1, frame)
        k, v = cross_cache.index_select(2, frame)[:, :, 0]  # (B, F, heads, D/heads) each
        q = self.query(x).unflatten(-1, (self.n_heads, -1))
        scores = (q * k).sum(-1, keepdim=True) / math.sqrt(q.shape[-1])
        attended = (scores.softmax(1) * v).sum(1)
        return self.cross_output(attended.flatten(1)[:, None])


class SpeechDecoderCache:
    """The decoder of stage 2, step by step.

    Args:
        speech: Stage 2, in evaluation mode.
        vq: Stage 1. Its last projection is merged with the first one of stage 2.
        dtype: The data type of the matrix products; None: that of the weights.
    """

    def __init__(
        self, speech: SpeechToCodes, vq: MotionVQ, dtype: torch.dtype | None = None
    ) -> None:
        self.settings, self.position = speech.settings, speech.position
        self.audio_projection = PackedLinear(
            speech.audio_projection.weight, speech.audio_projection.bias, dtype=dtype
        )
        self.layers = [_Layer(cast(SpeechDecoderLayer, layer), dtype) for layer in speech.layers]
        self.head = PackedLinear(speech.head.weight, dtype=dtype)
        # The feedback is projected to motion features and back. Both projections are linear, so
        # they are merged into one matrix, which is much smaller.
        output_projection, motion_projection = (
            vq.decoder.output_projection,
            speech.motion_projection,
        )
        assert motion_projection is not None  # without a motion history, there are no steps
        bias = (
            motion_projection.bias
            if output_projection.bias is None
            else motion_projection.bias + motion_projection.weight @ output_projection.bias
        )
        self.feedback_projection = PackedLinear(
            motion_projection.weight @ output_projection.weight, bias, dtype=dtype
        )

    def state(
        self,
        hidden: Float[Tensor, "batch features encoder_size"],
        style: Float[Tensor, "batch size"],
        capacity: int,
    ) -> SpeechState:
        """Return the initial state.

        Args:
            hidden: The encoder features.
            style: The style vectors.
            capacity: The maximum number of frames.
        """
        s, n_clips = self.settings, len(hidden)
        memory = self.audio_projection(hidden).unflatten(1, (-1, s.features_per_frame))
        head_size = s.hidden_size // s.n_heads
        return SpeechState(
            previous=torch.zeros_like(style)[:, None],
            style=style[:, None],
            cross_cache=torch.stack([layer.cross_features(memory) for layer in self.layers]),
            kv_cache=hidden.new_zeros(len(self.layers), 2, n_clips, s.n_heads, capacity, head_size),
            bias=self._bias(capacity, hidden),
        )

    def _bias(
        self, capacity: int, like: Float[Tensor, "..."]
    ) -> Float[Tensor, "heads 2*{capacity}"]:
        """Return −slope · ⌊d/period⌋ for d = capacity − 1 … 0, followed by −∞ for the future."""
        distance = torch.arange(capacity - 1, -capacity - 1, -1, device=like.device)
        periods = torch.div(distance, self.settings.period_frames, rounding_mode="floor")
        bias = -attention_slopes(self.settings.n_heads, like.device)[:, None] * periods
        return bias.masked_fill(distance < 0, float("-inf")).to(like.dtype)

    def step(
        self, state: SpeechState, frame: Int[Tensor, "1"], n: int
    ) -> Float[Tensor, "batch 1 latent"]:
        """Return the latents of the next frame before quantization.

        Args:
            state: The state after the previous frame; its KV cache is updated.
            frame: The number i of the frame, on the device.
            n: The number of frames to attend to, at least i + 1.
        """
        capacity = state.bias.shape[1] // 2
        # `frame` is on the device, so the bias is selected by index: slicing would synchronize.
        distances = torch.arange(capacity - 1, capacity - 1 + n, device=frame.device) - frame
        bias = state.bias.index_select(1, distances)[None, :, None]
        x = state.previous + state.style
        x = x + self.position.index_select(0, frame % self.settings.period_frames)
        for layer, cross_cache, kv_cache in zip(
            self.layers, state.cross_cache, state.kv_cache, strict=True
        ):
            x = layer.step(x, cross_cache, kv_cache, bias, frame)
        return self.head(x)

    def set_previous(self, state: SpeechState, hidden: Float[Tensor, "batch 1 hidden"]) -> None:
        """Set the feedback for the next step: the newest hidden state of stage 1's decoder."""
        state.previous.copy_(self.feedback_projection(hidden))
