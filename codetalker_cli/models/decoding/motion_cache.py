"""The decoder of stage 1 with cached results, which produces the motion history for stage 2.

The feedback for step i + 1 of stage 2 is frame i of the decoded prefix 0 … i. The decoder is not
causal, so a new frame changes all earlier ones. A step recomputes only what is needed:

- The convolution is local: a new frame changes only the last ``kernel // 2 + 1`` frames.
- The instance norm depends on the whole prefix. Its sums are updated at each step, in float64 where
  the device supports it.
- Through the instance norm, a new frame changes the input of the transformer blocks at every frame.
  The method ``exact`` recomputes all frames. The method ``window`` recomputes the newest frames and
  a few older ones in rotation; all other frames keep their earlier keys and values.
- Only the newest frame of the last block's output is needed. Other frames are not projected
  there, because the scores are q·(W x) = (Wᵀq)·x and the output is Σ a (W x) = W (Σ a x).
- The output passes through two linear projections in sequence: to motion features in stage 1, and
  back to the hidden size in stage 2. ``speech_cache`` applies their product instead.
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from codetalker_cli.models.decoding.packed_linear import PackedLinear, layer_norm_function
from codetalker_cli.models.layers import LEAKY_SLOPE, Block
from codetalker_cli.models.vq_autoencoder import MotionDecoder


@dataclass(frozen=True)
class Window:
    """The numbers of newest frames and of older frames that a step recomputes."""

    newest: int
    refreshed: int


@dataclass
class MotionState:
    """The cached results for the frames so far. Some are used by the method ``window`` only.

    Attributes:
        inputs: The inputs of the convolution.
        hidden: The outputs of the convolution, after the activation.
        total, squares: The sums of ``hidden`` and of its squares over the frames that no later
            frame can change.
        kv_cache: The keys and values of all blocks but the last (window).
        last_block_inputs: The inputs of the last block's attention (window).
        next_refresh: The next older frame to recompute (window).
    """

    inputs: Float[Tensor, "batch capacity size"]
    hidden: Float[Tensor, "batch capacity size"]
    total: Float[Tensor, "batch size"]
    squares: Float[Tensor, "batch size"]
    kv_cache: Float[Tensor, "layers 2 batch heads window_capacity head_size"]
    last_block_inputs: Float[Tensor, "batch window_capacity size"]
    next_refresh: Int[Tensor, "1"]

    def first(self, n: int) -> "MotionState":
        """Return views of the first ``n`` clips."""
        views = {f.name: getattr(self, f.name)[:n] for f in fields(self)}
        return MotionState(
            **views | {"kv_cache": self.kv_cache[:, :, :n], "next_refresh": self.next_refresh}
        )

    def clear(self) -> None:
        """Reset to the state before the first frame."""
        for field in fields(self):
            getattr(self, field.name).zero_()


class _Block:
    """A transformer block with packed weights; the last block computes only a single query."""

    def __init__(self, block: Block, dtype: torch.dtype | None, *, single_query: bool) -> None:
        attention = block.attention
        self.n_heads, self.scale = attention.n_heads, attention.scale
        self.attention_norm = layer_norm_function(block.attention_norm)
        self.mlp_norm = layer_norm_function(block.mlp_norm)
        self.output = PackedLinear(attention.output.weight, attention.output.bias, dtype=dtype)
        self.mlp_in = PackedLinear(block.mlp_in.weight, block.mlp_in.bias, "gelu", dtype)
        self.mlp_out = PackedLinear(block.mlp_out.weight, block.mlp_out.bias, dtype=dtype)
        if single_query:
            # The key matrix is applied to the query and the value matrix to the weighted sum, so
            # that neither is applied to all frames.
            query, key, value = attention.qkv.weight.detach().chunk(3)
            self.query = PackedLinear(query * self.scale, dtype=dtype)
            self.key = key.unflatten(0, (self.n_heads, -1))  # (heads, H/heads, H)
            self.value = value.unflatten(0, (self.n_heads, -1)).transpose(1, 2).contiguous()
        else:
            self.qkv = PackedLinear(attention.qkv.weight, dtype=dtype)

    def forward_frames(
        self,
        x: Float[Tensor, "batch rows size"],
        n: int,
        mask: Float[Tensor, "1 {n}"] | None,
        kv_cache: Float[Tensor, "2 batch heads capacity head_size"] | None,
        frames: Int[Tensor, " frames"],
    ) -> Float[Tensor, "batch rows size"]:
        """Apply the block to the given frames.

        Without a cache, the frames attend to each other. With a cache, their keys and values are
        written to it, and they attend to its first ``n`` frames.

        Args:
            x: The inputs.
            n: The number of frames to attend to.
            mask: The mask that is added to the scores, or None.
            kv_cache: The keys and values of all frames so far, or None.
            frames: The frame numbers of ``x``.
        """
        n_clips, n_frames, size = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(n_clips, n_frames, 3, self.n_heads, -1)
        qkv = qkv.permute(2, 0, 3, 1, 4)
        k, v = qkv[1:] if kv_cache is None else _write(kv_cache, frames, qkv[1:])[:, :, :, :n]
        attended = F.scaled_dot_product_attention(qkv[0], k, v, mask, scale=self.scale)
        return self._output_and_mlp(x, attended.transpose(1, 2).reshape(n_clips, n_frames, size))

    def forward_newest(
        self,
        x: Float[Tensor, "batch 1 size"],
        memory: Float[Tensor, "batch n size"],
        query_input: Float[Tensor, "batch 1 size"],
        mask: Float[Tensor, "1 n"] | None,
    ) -> Float[Tensor, "batch 1 size"]:
        """Apply the block to the newest frame.

        Args:
            x: The input at the newest frame.
            memory: The normalized inputs of all frames to attend to.
            query_input: The normalized input at the newest frame.
            mask: The mask that is added to the scores, or None.
        """
        query = self.query(query_input).view(len(x), self.n_heads, -1).transpose(0, 1)
        key_query = torch.bmm(query, self.key).transpose(0, 1)  # (B, heads, H)
        scores = torch.bmm(key_query, memory.transpose(1, 2))
        if mask is not None:
            scores = scores + mask
        weighted_memory = torch.bmm(scores.softmax(-1), memory)
        attended = torch.bmm(weighted_memory.transpose(0, 1), self.value)  # (heads, B, H/heads)
        return self._output_and_mlp(x, attended.transpose(0, 1).reshape(x.shape))

    def _output_and_mlp(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.output(attended)
        return x + self.mlp_out(self.mlp_in(self.mlp_norm(x)))


class MotionDecoderCache:
    """The decoder of stage 1, step by step.

    Args:
        decoder: The decoder of stage 1, in evaluation mode.
        window: The numbers of frames to recompute at each step; None: all frames, which is exact.
        dtype: The data type of the matrix products; None: that of the weights.
    """

    def __init__(
        self, decoder: MotionDecoder, window: Window | None, dtype: torch.dtype | None = None
    ) -> None:
        temporal = decoder.temporal
        self.window = window
        self.hidden_size = temporal.linear.in_features
        latent_projection = decoder.latent_projection
        self.latent_projection = (
            PackedLinear(latent_projection.weight, latent_projection.bias, dtype=dtype)
            if isinstance(latent_projection, torch.nn.Linear)
            else None
        )
        kernel = temporal.conv.weight.detach().permute(0, 2, 1)  # (out, taps, in)
        self.conv = PackedLinear(kernel.flatten(1), temporal.conv.bias, dtype=dtype)
        device = kernel.device
        padding = kernel.shape[1] // 2
        self._changed_offsets = torch.arange(-padding, 1, device=device)
        self._tap_offsets = torch.arange(-padding, padding + 1, device=device)
        self.eps = temporal.norm.eps
        # The position encoding is the same for all frames, so it is added to the bias.
        bias = temporal.linear.bias + temporal.position[0]
        self.linear = PackedLinear(temporal.linear.weight, bias, dtype=dtype)
        last_index = len(temporal.blocks) - 1
        self.blocks = [
            _Block(block, dtype, single_query=k == last_index)
            for k, block in enumerate(temporal.blocks)
            if isinstance(block, Block)
        ]
        if window is not None:
            self._newest_offsets = torch.arange(window.newest, device=device)
            self._refresh_offsets = torch.arange(window.refreshed, device=device)

    def state(self, n_clips: int, capacity: int, like: Float[Tensor, "..."]) -> MotionState:
        """Return the initial state, with capacity for ``capacity`` frames per clip.

        Args:
            n_clips: The number of clips.
            capacity: The maximum number of frames.
            like: A tensor with the data type and device of the state.
        """
        hidden_size, n_heads = self.hidden_size, self.blocks[-1].n_heads
        window_capacity = capacity if self.window is not None else 0  # `exact` has no such caches
        # MPS has no float64.
        sum_dtype = torch.float32 if like.device.type == "mps" else torch.float64
        return MotionState(
            inputs=like.new_zeros(n_clips, capacity, hidden_size),
            hidden=like.new_zeros(n_clips, capacity, hidden_size),
            total=like.new_zeros(n_clips, hidden_size, dtype=sum_dtype),
            squares=like.new_zeros(n_clips, hidden_size, dtype=sum_dtype),
            kv_cache=like.new_zeros(
                len(self.blocks) - 1, 2, n_clips, n_heads, window_capacity, hidden_size // n_heads
            ),
            last_block_inputs=like.new_zeros(n_clips, window_capacity, hidden_size),
            next_refresh=like.new_zeros(1, dtype=torch.int64),
        )

    def step(
        self,
        state: MotionState,
        latents: Float[Tensor, "batch 1 latent"],
        frame: Int[Tensor, "1"],
        n: int,
        mask: Float[Tensor, "1 {n}"] | None,
    ) -> Float[Tensor, "batch 1 size"]:
        """Decode the next frame to its hidden state, i.e. without the last projection.

        Args:
            state: The state after the previous frame; it is updated.
            latents: The quantized latents of the frame.
            frame: The number i of the frame. It is on the device, which avoids synchronization.
            n: The number of frames to attend to, at least i + 1.
            mask: 0 for frames up to i and −∞ for later ones; None if n is i + 1.
        """
        self._convolve(state, latents, frame)
        normalize = self._statistics(state, frame)
        if self.window is None:
            frames, newest = frame, frame
            x = normalize(state.hidden[:, :n])
        else:
            frames = self._frames_to_compute(state, frame)
            newest = torch.zeros_like(frame)
            x = normalize(state.hidden.index_select(1, frames))
        x = self.linear(x)
        for k, block in enumerate(self.blocks[:-1]):
            x = block.forward_frames(
                x, n, mask, None if self.window is None else state.kv_cache[k], frames
            )
        last_block = self.blocks[-1]
        normalized = last_block.attention_norm(x)
        memory = (
            normalized
            if self.window is None
            else _write(state.last_block_inputs, frames, normalized)[:, :n]
        )
        return last_block.forward_newest(
            x.index_select(1, newest), memory, normalized.index_select(1, newest), mask
        )

    def _convolve(self, state: MotionState, latents: Tensor, frame: Tensor) -> None:
        """Update the outputs of the convolution that depend on the new frame."""
        inputs = latents if self.latent_projection is None else self.latent_projection(latents)
        state.inputs.index_copy_(1, frame, inputs)
        changed = (frame + self._changed_offsets).clamp(min=0)
        # Clamping repeats the first and the last frame, like the padding mode of the convolution.
        taps = torch.minimum((changed[:, None] + self._tap_offsets).clamp(min=0), frame)
        windows = state.inputs.index_select(1, taps.flatten()).unflatten(1, taps.shape)
        hidden = F.leaky_relu(self.conv(windows.flatten(2)), LEAKY_SLOPE)
        state.hidden.index_copy_(1, changed, hidden)

    def _statistics(self, state: MotionState, frame: Tensor) -> "_InstanceNorm":
        """Return the instance norm over the prefix.

        Frames that no later frame can change are added to the running sums.
        """
        changed = frame + self._changed_offsets
        valid = (changed >= 0)[:, None]
        hidden = state.hidden.index_select(1, changed.clamp(min=0)).to(state.total.dtype) * valid
        squared = hidden.square()
        # No later frame changes the first of these frames, so it moves to the running sums.
        state.total.add_(hidden[:, 0])
        state.squares.add_(squared[:, 0])
        count = frame + 1
        mean = (state.total + hidden[:, 1:].sum(1)) / count
        variance = (state.squares + squared[:, 1:].sum(1)) / count - mean.square()
        inverse_std = torch.rsqrt(variance.clamp(min=0) + self.eps)
        return _InstanceNorm(mean[:, None], inverse_std[:, None])

    def _frames_to_compute(
        self, state: MotionState, frame: Int[Tensor, "1"]
    ) -> Int[Tensor, " rows"]:
        """Return the frames to recompute, newest first; some are repeated if there are few."""
        assert self.window is not None
        newest = (frame - self._newest_offsets).clamp(min=0)
        if not self.window.refreshed:
            return newest
        n_older = (frame + 1 - self.window.newest).clamp(min=1)
        older = (state.next_refresh + self._refresh_offsets) % n_older
        state.next_refresh.copy_((state.next_refresh + self.window.refreshed) % n_older)
        return torch.cat([newest, older])


@dataclass(frozen=True)
class _InstanceNorm:
    mean: Float[Tensor, "batch 1 size"]
    inverse_std: Float[Tensor, "batch 1 size"]

    def __call__(
        self, hidden: Float[Tensor, "batch rows size"]
    ) -> Float[Tensor, "batch rows size"]:
        return (hidden - self.mean.to(hidden.dtype)).mul_(self.inverse_std.to(hidden.dtype))


def _write(cache: Tensor, frames: Tensor, values: Tensor) -> Tensor:
    """Write ``values`` to the cache at ``frames`` (its second-to-last axis), and return it."""
    return cache.index_copy_(cache.dim() - 2, frames, values)
