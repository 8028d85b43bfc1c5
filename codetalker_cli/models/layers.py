"""Layers shared by both stages.

Clips of different lengths are padded at the end to form a batch. With ``lengths``, the result for
each clip equals the result for that clip alone, whatever the padding contains
(tests/test_padding.py).
"""

import math

import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor, nn
from torch.nn import functional as F

LEAKY_SLOPE = 0.2

Cache = tuple[Float[Tensor, "batch heads _ head_size"], Float[Tensor, "batch heads _ head_size"]]
"""The keys and values of an attention layer."""


def sinusoidal_table(n_positions: int, size: int) -> Float32[Tensor, "{n_positions} {size}"]:
    """Return the sinusoidal position table of Vaswani et al. 2017, section 3.5.

    Even columns are sines, and odd columns are cosines.
    """
    if torch.get_default_device().type == "meta":
        # Only the shape matters, and arange would import sympy there, which takes seconds.
        return torch.empty(n_positions, size)
    position = torch.arange(n_positions, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, size, 2).float() * (-math.log(10000.0) / size))
    table = torch.zeros(n_positions, size)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)
    return table


def valid_frames(lengths: Int[Tensor, " batch"], n_frames: int) -> Bool[Tensor, "batch {n_frames}"]:
    """Return a mask that is true for the frames of each clip and false for its padding."""
    return torch.arange(n_frames, device=lengths.device) < lengths[:, None]


def repeat_last_frame(
    x: Float[Tensor, "batch frames size"],
    lengths: Int[Tensor, " batch"],
    valid: Bool[Tensor, "batch frames"],
) -> Float[Tensor, "batch frames size"]:
    """Replace the padding of each clip by the clip's last frame."""
    last = x.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, x.shape[-1]))
    return torch.where(valid[..., None], x, last)


def masked_instance_norm(
    x: Float[Tensor, "batch frames size"], valid: Bool[Tensor, "batch frames"], eps: float
) -> Float[Tensor, "batch frames size"]:
    """Normalize each clip and channel over its valid frames, and set the padding to zero.

    The result for a single valid frame is zero, as for two equal frames.
    """
    x_float = x.to(torch.promote_types(x.dtype, torch.float32))  # half precision is too coarse here
    mask = valid[..., None]
    count = mask.sum(1, keepdim=True)
    mean = torch.where(mask, x_float, 0.0).sum(1, keepdim=True) / count
    centered = torch.where(mask, x_float - mean, 0.0)
    variance = centered.square().sum(1, keepdim=True) / count
    return (centered * torch.rsqrt(variance + eps)).to(x.dtype)


class SelfAttention(nn.Module):
    """Full self-attention over time."""

    def __init__(self, hidden_size: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.scale = hidden_size**-0.5  # not head_size^-0.5; this matches the official code
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.output = nn.Linear(hidden_size, hidden_size)

    def forward(
        self,
        x: Float[Tensor, "batch frames size"],
        key_mask: Bool[Tensor, "batch 1 1 frames"] | None = None,
    ) -> Float[Tensor, "batch frames size"]:
        """Attend to the frames where ``key_mask`` is true, or to all frames if it is None."""
        batch, frames, width = x.shape
        q, k, v = self.qkv(x).view(batch, frames, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=key_mask, scale=self.scale)
        return self.output(attended.transpose(1, 2).reshape(batch, frames, width))


class Block(nn.Module):
    """A pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, hidden_size: int, n_heads: int, mlp_size: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden_size)
        self.attention = SelfAttention(hidden_size, n_heads)
        self.mlp_norm = nn.LayerNorm(hidden_size)
        self.mlp_in = nn.Linear(hidden_size, mlp_size)
        self.mlp_out = nn.Linear(mlp_size, hidden_size)

    def forward(
        self,
        x: Float[Tensor, "batch frames size"],
        key_mask: Bool[Tensor, "batch 1 1 frames"] | None = None,
    ) -> Float[Tensor, "batch frames size"]:
        """Apply the block; ``key_mask`` is passed to ``SelfAttention``."""
        x = x + self.attention(self.attention_norm(x), key_mask)
        hidden = F.gelu(self.mlp_in(self.mlp_norm(x)), approximate="tanh")
        return x + self.mlp_out(hidden)


class TemporalTransformer(nn.Module):
    """A convolution over time, an instance norm and transformer blocks.

    Stage 1 uses it in its encoder and in its decoder.
    """

    def __init__(
        self, hidden_size: int, n_layers: int, n_heads: int, mlp_size: int, kernel_size: int
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(
            hidden_size,
            hidden_size,
            kernel_size,
            padding=kernel_size // 2,
            padding_mode="replicate",
        )
        self.norm = nn.InstanceNorm1d(hidden_size)
        self.linear = nn.Linear(hidden_size, hidden_size)
        self.blocks = nn.ModuleList(Block(hidden_size, n_heads, mlp_size) for _ in range(n_layers))
        # All frames share row 0 of the position table, because the official code indexes its table
        # by the batch axis. Temporal order therefore comes only from the convolution.
        self.register_buffer("position", sinusoidal_table(1, hidden_size), persistent=False)
        self.position: Tensor

    def forward(
        self,
        x: Float[Tensor, "batch frames size"],
        lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch frames size"]:
        """Transform the frames of each clip.

        Args:
            x: The clips, padded to at least two frames, because the instance norm needs a variance.
            lengths: The number of frames of each clip, at least 1; None if there is no padding. A
                clip of one frame is treated as two equal frames. Results for the padding are
                finite but meaningless.
        """
        if lengths is None:
            x = F.leaky_relu(self.conv(x.transpose(1, 2)), LEAKY_SLOPE)
            x = self.norm(x).transpose(1, 2)
            key_mask = None
        else:
            valid = valid_frames(lengths, x.shape[1])
            # The convolution pads with the edge frame, which must be the clip's own last frame.
            x = repeat_last_frame(x, lengths, valid).transpose(1, 2)
            x = F.leaky_relu(self.conv(x), LEAKY_SLOPE).transpose(1, 2)
            x = masked_instance_norm(x, valid, self.norm.eps)
            key_mask = valid[:, None, None]
        x = self.linear(x) + self.position
        for block in self.blocks:
            x = block(x, key_mask)
        return x
