"""Layers compared with PyTorch's layers and with formulas."""

import math

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from codetalker_cli.models.layers import Block, SelfAttention, TemporalTransformer, sinusoidal_table
from codetalker_cli.models.speech_to_codes import (
    CausalAttention,
    FrameAttention,
    attention_slopes,
    periodic_causal_bias,
)

SIZE, HEADS, FRAMES, BATCH = 24, 3, 7, 2


def tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def torch_attention(qkv: nn.Linear, output: nn.Linear, scale: float = 1.0) -> nn.MultiheadAttention:
    """Return PyTorch's attention with the same weights and with queries multiplied by ``scale``."""
    reference = nn.MultiheadAttention(SIZE, HEADS, batch_first=True).double()
    with torch.no_grad():
        reference.in_proj_weight.copy_(qkv.weight)
        reference.in_proj_bias.copy_(qkv.bias if qkv.bias is not None else torch.zeros(3 * SIZE))
        reference.in_proj_weight[:SIZE] *= scale
        reference.in_proj_bias[:SIZE] *= scale
        reference.out_proj.load_state_dict(output.state_dict())
    return reference


def test_self_attention_equals_torch_scaled_by_the_full_width() -> None:
    own = SelfAttention(SIZE, HEADS).double()
    tiny.randomize(own, 1)
    x = tensor(BATCH, FRAMES, SIZE)
    # PyTorch divides by the square root of the head size, the official code by that of the width.
    reference = torch_attention(own.qkv, own.output, scale=HEADS**-0.5)
    expected, _ = reference(x, x, x, need_weights=False)
    torch.testing.assert_close(own(x), expected)


def test_block_has_two_residual_branches() -> None:
    block = Block(SIZE, HEADS, 32).double()
    tiny.randomize(block, 2)
    x = tensor(BATCH, FRAMES, SIZE)
    mlp = nn.Sequential(block.mlp_norm, block.mlp_in, nn.GELU("tanh"), block.mlp_out)
    middle = x + block.attention(block.attention_norm(x))
    torch.testing.assert_close(block(x), middle + mlp(middle))


def test_temporal_order_comes_only_from_the_convolution() -> None:
    """All frames have the same position, so the blocks commute with a permutation of the frames."""
    model = TemporalTransformer(SIZE, 2, HEADS, 32, kernel_size=1).double()
    tiny.randomize(model, 3)
    x = tensor(BATCH, FRAMES, SIZE)
    order = torch.randperm(FRAMES, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x[:, order]), model(x)[:, order])
    wide = TemporalTransformer(SIZE, 2, HEADS, 32, kernel_size=5).double()
    tiny.randomize(wide, 3)
    assert not torch.allclose(wide(x[:, order]), wide(x)[:, order], rtol=0.1)


def test_position_is_row_0_of_the_table() -> None:
    position = TemporalTransformer(SIZE, 1, HEADS, 32, 5).position
    assert torch.equal(position, torch.tensor([[0.0, 1.0] * (SIZE // 2)]))


@given(
    position=st.integers(0, 599),
    column=st.integers(0, SIZE - 1),
)
def test_sinusoidal_table(position: int, column: int) -> None:
    table = sinusoidal_table(600, SIZE)
    angle = position / 10_000 ** (2 * (column // 2) / SIZE)
    expected = math.cos(angle) if column % 2 else math.sin(angle)
    assert table[position, column].item() == pytest.approx(expected, abs=1e-4)


# Attention of the speech decoder -----------------------------------------------------------------


def test_slopes_of_four_heads() -> None:
    assert attention_slopes(4).tolist() == [1 / 4, 1 / 16, 1 / 64, 1 / 256]


@pytest.mark.parametrize("n_heads", [1, 2, 8, 16])
def test_slopes_are_geometric_and_end_at_2_to_the_minus_8(n_heads: int) -> None:
    slopes = attention_slopes(n_heads).double()
    assert slopes[-1].item() == pytest.approx(2**-8, rel=1e-5)
    ratios = slopes[1:] / slopes[:-1]
    torch.testing.assert_close(ratios, slopes[0].expand_as(ratios), rtol=1e-5, atol=0)


@given(
    n_frames=st.integers(1, 70),
    period=st.integers(1, 40),
    head=st.integers(0, 3),
    data=st.data(),
)
def test_bias_decreases_by_the_slope_with_each_period(
    n_frames: int, period: int, head: int, data: st.DataObject
) -> None:
    i = data.draw(st.integers(0, n_frames - 1))
    j = data.draw(st.integers(0, n_frames - 1))
    frames = torch.arange(n_frames)
    bias = periodic_causal_bias(4, period, frames, frames)
    assert bias.shape == (4, n_frames, n_frames)
    expected = -((1 / 4) ** (head + 1)) * ((i - j) // period) if j <= i else -math.inf
    assert bias[head, i, j].item() == expected


def test_bias_of_one_query_equals_the_row_of_the_full_bias() -> None:
    frames = torch.arange(50)
    whole = periodic_causal_bias(4, 30, frames, frames)
    for i in (0, 29, 30, 49):
        row = periodic_causal_bias(4, 30, frames[i : i + 1], frames[: i + 1])
        assert torch.equal(row[:, 0], whole[:, i, : i + 1])


def test_causal_attention_equals_torch_with_the_bias_as_mask() -> None:
    own = CausalAttention(SIZE, HEADS).double()
    tiny.randomize(own, 4)
    x = tensor(BATCH, FRAMES, SIZE)
    frames = torch.arange(FRAMES)
    bias = periodic_causal_bias(HEADS, 2, frames, frames)
    mask = bias.double().repeat(BATCH, 1, 1)
    expected, _ = torch_attention(own.qkv, own.output)(x, x, x, attn_mask=mask, need_weights=False)
    torch.testing.assert_close(own(x, bias), expected)


@pytest.mark.parametrize("per_frame", [1, 2, 3])
def test_frame_attention_equals_torch_with_a_block_mask(per_frame: int) -> None:
    own = FrameAttention(SIZE, HEADS).double()
    tiny.randomize(own, 5)
    x = tensor(BATCH, FRAMES, SIZE)
    features = tensor(BATCH, FRAMES * per_frame, SIZE, seed=1)
    both = nn.Linear(SIZE, 3 * SIZE).double()
    with torch.no_grad():
        both.weight.copy_(torch.cat([own.query.weight, own.key_value.weight]))
        both.bias.copy_(torch.cat([own.query.bias, own.key_value.bias]))
    other_frames = ~torch.eye(FRAMES, dtype=torch.bool).repeat_interleave(per_frame, dim=1)
    expected, _ = torch_attention(both, own.output)(
        x, features, features, attn_mask=other_frames, need_weights=False
    )
    memory = own.memory(features.unflatten(1, (FRAMES, per_frame)))
    torch.testing.assert_close(own(x, memory), expected)
