"""Layers that both stages are made of."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEAKY_SLOPE = 0.2


def sinusoidal_table(n_positions: int, size: int) -> Tensor:
    """Sine and cosine position table of Vaswani et al. 2017, section 3.5.

    Returns:
        (n_positions, size) float32; even columns sine, odd columns cosine.
    """
    position = torch.arange(n_positions, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, size, 2).float() * (-math.log(10000.0) / size))
    table = torch.zeros(n_positions, size)
    table[:, 0::2] = torch.sin(position * rate)
    table[:, 1::2] = torch.cos(position * rate)
    return table


class SelfAttention(nn.Module):
    """Full self-attention over time.

    Note:
        The softmax is scaled by hidden_size^-0.5, not by the head width: so the reference has it.
    """

    def __init__(self, hidden_size: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.scale = hidden_size**-0.5
        self.qkv = nn.Linear(hidden_size, 3 * hidden_size, bias=False)
        self.output = nn.Linear(hidden_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) → (B, T, H)."""
        batch, frames, width = x.shape
        q, k, v = self.qkv(x).view(batch, frames, 3, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return self.output(mixed.transpose(1, 2).reshape(batch, frames, width))


class Block(nn.Module):
    """Pre-norm transformer block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, hidden_size: int, n_heads: int, mlp_size: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(hidden_size)
        self.attention = SelfAttention(hidden_size, n_heads)
        self.mlp_norm = nn.LayerNorm(hidden_size)
        self.mlp_in = nn.Linear(hidden_size, mlp_size)
        self.mlp_out = nn.Linear(mlp_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) → (B, T, H)."""
        x = x + self.attention(self.attention_norm(x))
        hidden = F.gelu(self.mlp_in(self.mlp_norm(x)), approximate="tanh")
        return x + self.mlp_out(hidden)


class TemporalTransformer(nn.Module):
    """Convolution over time, instance norm, then transformer blocks; in both halves of stage 1.

    Note:
        The position code is one row for all frames, row 0 of the sinusoidal table (0, 1, 0, 1, …):
        the reference indexes its table by the batch axis. Order in time comes from the
        convolution alone.
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
        self.register_buffer("position", sinusoidal_table(1, hidden_size), persistent=False)
        self.position: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H) → (B, T, H); T ≥ 2, for one frame has no instance statistics."""
        x = F.leaky_relu(self.conv(x.transpose(1, 2)), LEAKY_SLOPE)
        x = self.linear(self.norm(x).transpose(1, 2)) + self.position
        for block in self.blocks:
            x = block(x)
        return x
