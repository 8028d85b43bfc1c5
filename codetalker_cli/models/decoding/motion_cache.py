"""Stage 1's decoder fed one frame after the other: what the speech decoder is told of its past.

At step i the speech decoder is told the newest frame of the decode of the prefix 0 … i. What is
computed of that decode, and what is not:

- The convolution is local: only its newest ``kernel // 2 + 1`` rows change, the others are kept.
- Instance norm sees the whole prefix; its sums run along, in float64 where the device has it.
- The transformer blocks see all frames through the new statistics. ``exact`` computes all rows
  anew; ``window`` the newest rows and, in turn, some older ones, the keys and values of all others
  staying as they were when last computed.
- Of the last block one row is wanted. Its scores are q·(W x) = (Wᵀq)·x, and its values
  Σ a (W x) = W (Σ a x), so no other row is projected.
- The newest row goes through two projections without anything between them: stage 1's to motion
  features, stage 2's back to its own width. :mod:`speech_steps` has their product.
"""

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from codetalker_cli.models.decoding.packed_linear import PackedLinear, normaliser
from codetalker_cli.models.layers import LEAKY_SLOPE, Block
from codetalker_cli.models.vq_autoencoder import MotionDecoder


@dataclass(frozen=True)
class Window:
    """Rows that a step computes: the newest ones, and some of the older ones in turn."""

    newest: int
    refreshed: int


@dataclass
class MotionState:
    """What is kept of the frames so far; the first axis is the clip (the third of ``kv_cache``).

    Attributes:
        inputs: (B, C, H) what the convolution sees.
        rows: (B, C, H) what it gives.
        total, squares: (B, H) sums of the rows that no frame to come changes.
        kv_cache: (L − 1, 2, B, heads, C, H/heads) keys and values of the blocks but the last
            (window).
        last: (B, C, H) what the last block's attention sees (window).
        turn: (1,) int64, the older frame whose turn it is to be computed anew (window).
    """

    inputs: Tensor
    rows: Tensor
    total: Tensor
    squares: Tensor
    kv_cache: Tensor
    last: Tensor
    turn: Tensor

    def of(self, n: int) -> "MotionState":
        """Views of the first ``n`` clips."""
        views = {f.name: getattr(self, f.name)[:n] for f in fields(self)}
        return MotionState(**views | {"kv_cache": self.kv_cache[:, :, :n], "turn": self.turn})

    def clear(self) -> None:
        """As it was before the first frame."""
        for field in fields(self):
            getattr(self, field.name).zero_()


class _Block:
    """A transformer block with packed weights; for the last one, those of a single query."""

    def __init__(self, block: Block, dtype: torch.dtype | None, *, single: bool) -> None:
        attention = block.attention
        self.n_heads, self.scale = attention.n_heads, attention.scale
        self.attention_norm = normaliser(block.attention_norm)
        self.mlp_norm = normaliser(block.mlp_norm)
        self.output = PackedLinear(attention.output.weight, attention.output.bias, dtype=dtype)
        self.mlp_in = PackedLinear(block.mlp_in.weight, block.mlp_in.bias, "gelu", dtype)
        self.mlp_out = PackedLinear(block.mlp_out.weight, block.mlp_out.bias, dtype=dtype)
        if single:
            query, key, value = attention.qkv.weight.detach().chunk(3)
            self.query = PackedLinear(query * self.scale, dtype=dtype)
            self.key = key.unflatten(0, (self.n_heads, -1))  # (heads, H/heads, H)
            self.value = value.unflatten(0, (self.n_heads, -1)).transpose(1, 2).contiguous()
        else:
            self.qkv = PackedLinear(attention.qkv.weight, dtype=dtype)

    def rows(
        self, x: Tensor, n: int, mask: Tensor | None, kv_cache: Tensor | None, at: Tensor
    ) -> Tensor:
        """(B, R, H) → (B, R, H); keys and values are of the rows, or of the first n frames kept."""
        n_clips, n_rows, size = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(n_clips, n_rows, 3, self.n_heads, -1)
        qkv = qkv.permute(2, 0, 3, 1, 4)
        k, v = qkv[1:] if kv_cache is None else _update(kv_cache, at, qkv[1:])[:, :, :, :n]
        mixed = F.scaled_dot_product_attention(qkv[0], k, v, mask, scale=self.scale)
        return self._rest(x, mixed.transpose(1, 2).reshape(n_clips, n_rows, size))

    def newest(self, x: Tensor, seen: Tensor, normed: Tensor, mask: Tensor | None) -> Tensor:
        """(B, 1, H) newest row, (B, n, H) what is seen, (B, 1, H) of it the newest → (B, 1, H)."""
        query = self.query(normed).view(len(x), self.n_heads, -1).transpose(0, 1)
        probe = torch.bmm(query, self.key).transpose(0, 1)  # (B, heads, H)
        score = torch.bmm(probe, seen.transpose(1, 2))
        if mask is not None:
            score = score + mask
        context = torch.bmm(score.softmax(-1), seen)
        mixed = torch.bmm(context.transpose(0, 1), self.value)  # (heads, B, H/heads)
        return self._rest(x, mixed.transpose(0, 1).reshape(x.shape))

    def _rest(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.output(mixed)
        return x + self.mlp_out(self.mlp_in(self.mlp_norm(x)))


class MotionDecoderCache:
    """The decoder of stage 1, step by step.

    Args:
        decoder: Its decoder, in evaluation mode.
        window: Rows to compute at each step; None: all, which is exact.
        dtype: Of the matrix products; None: the weights'.
    """

    def __init__(
        self, decoder: MotionDecoder, window: Window | None, dtype: torch.dtype | None = None
    ) -> None:
        temporal = decoder.temporal
        self.window = window
        self.hidden_size = temporal.linear.in_features
        entry = decoder.latent_projection
        self.entry = (
            PackedLinear(entry.weight, entry.bias, dtype=dtype)
            if isinstance(entry, torch.nn.Linear)
            else None
        )
        kernel = temporal.conv.weight.detach().permute(0, 2, 1)  # (out, taps, in)
        self.conv = PackedLinear(kernel.flatten(1), temporal.conv.bias, dtype=dtype)
        device = kernel.device
        reach = kernel.shape[1] // 2
        self._changed = torch.arange(-reach, 1, device=device)
        self._taps = torch.arange(-reach, reach + 1, device=device)
        self.eps = temporal.norm.eps
        bias = temporal.linear.bias + temporal.position[0]
        self.linear = PackedLinear(temporal.linear.weight, bias, dtype=dtype)
        last = len(temporal.blocks) - 1
        self.blocks = [
            _Block(block, dtype, single=k == last)
            for k, block in enumerate(temporal.blocks)
            if isinstance(block, Block)
        ]
        if window is not None:
            self._newest = torch.arange(window.newest, device=device)
            self._turn = torch.arange(window.refreshed, device=device)

    def state(self, n_clips: int, capacity: int, like: Tensor) -> MotionState:
        """Room for ``capacity`` frames of each clip."""
        size, heads = self.hidden_size, self.blocks[-1].n_heads
        cached = capacity if self.window is not None else 0
        # MPS has no float64.
        wide = torch.float32 if like.device.type == "mps" else torch.float64
        return MotionState(
            inputs=like.new_zeros(n_clips, capacity, size),
            rows=like.new_zeros(n_clips, capacity, size),
            total=like.new_zeros(n_clips, size, dtype=wide),
            squares=like.new_zeros(n_clips, size, dtype=wide),
            kv_cache=like.new_zeros(len(self.blocks) - 1, 2, n_clips, heads, cached, size // heads),
            last=like.new_zeros(n_clips, cached, size),
            turn=like.new_zeros(1, dtype=torch.int64),
        )

    def step(
        self, state: MotionState, latents: Tensor, frame: Tensor, n: int, mask: Tensor | None
    ) -> Tensor:
        """Take a frame's (B, 1, latent_size) latents; give its (B, 1, H) row behind the blocks.

        Args:
            state: Of the frames before; changed.
            latents: Quantised.
            frame: (1,) int64, the frame's number i; on the device, so that nothing waits for it.
            n: Frames to look at, i + 1 or more.
            mask: (1, n) 0 for frames up to i, −∞ beyond; None where n is i + 1.
        """
        self._convolve(state, latents, frame)
        normalise = self._statistics(state, frame)
        if self.window is None:
            at, newest = frame, frame
            x = normalise(state.rows[:, :n])
        else:
            at = self._rows_in_turn(state, frame)
            newest = torch.zeros_like(frame)
            x = normalise(state.rows.index_select(1, at))
        x = self.linear(x)
        for k, block in enumerate(self.blocks[:-1]):
            x = block.rows(x, n, mask, None if self.window is None else state.kv_cache[k], at)
        last = self.blocks[-1]
        normed = last.attention_norm(x)
        seen = normed if self.window is None else _update(state.last, at, normed)[:, :n]
        return last.newest(x.index_select(1, newest), seen, normed.index_select(1, newest), mask)

    def _convolve(self, state: MotionState, latents: Tensor, frame: Tensor) -> None:
        """The rows that the new frame changes; the edges of the prefix are repeated beyond it."""
        entered = latents if self.entry is None else self.entry(latents)
        state.inputs.index_copy_(1, frame, entered)
        changed = (frame + self._changed).clamp(min=0)
        taps = torch.minimum((changed[:, None] + self._taps).clamp(min=0), frame)
        seen = state.inputs.index_select(1, taps.flatten()).unflatten(1, taps.shape)
        rows = F.leaky_relu(self.conv(seen.flatten(2)), LEAKY_SLOPE)
        state.rows.index_copy_(1, changed, rows)

    def _statistics(self, state: MotionState, frame: Tensor) -> "_Normalise":
        """Instance norm over the prefix, of settled rows and those still to change."""
        changed = frame + self._changed
        exists = (changed >= 0)[:, None]
        rows = state.rows.index_select(1, changed.clamp(min=0)).to(state.total.dtype) * exists
        squared = rows.square()
        state.total.add_(rows[:, 0])
        state.squares.add_(squared[:, 0])
        count = frame + 1
        mean = (state.total + rows[:, 1:].sum(1)) / count
        variance = (state.squares + squared[:, 1:].sum(1)) / count - mean.square()
        spread = torch.rsqrt(variance.clamp(min=0) + self.eps)
        return _Normalise(mean[:, None], spread[:, None])

    def _rows_in_turn(self, state: MotionState, frame: Tensor) -> Tensor:
        """(R,) frames to compute, the newest first; before there are enough, some stand twice."""
        assert self.window is not None
        newest = (frame - self._newest).clamp(min=0)
        if not self.window.refreshed:
            return newest
        n_older = (frame + 1 - self.window.newest).clamp(min=1)
        older = (state.turn + self._turn) % n_older
        state.turn.copy_((state.turn + self.window.refreshed) % n_older)
        return torch.cat([newest, older])


@dataclass(frozen=True)
class _Normalise:
    mean: Tensor
    spread: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        return (rows - self.mean.to(rows.dtype)).mul_(self.spread.to(rows.dtype))


def _update(store: Tensor, at: Tensor, new: Tensor) -> Tensor:
    """Put ``new`` at the frames ``at`` of the store (frames second to last) and give the store."""
    return store.index_copy_(store.dim() - 2, at, new)
