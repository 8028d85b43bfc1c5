"""The codebook: nearest entries, straight-through gradient, losses, perplexity."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codetalker_cli.models.quantizer import Quantizer, perplexity

ENTRIES, DIM = 9, 4


def quantizer(weight: float = 0.25, seed: int = 0) -> Quantizer:
    made = Quantizer(ENTRIES, DIM, weight).double()
    with torch.no_grad():
        made.codebook.copy_(noise(ENTRIES, DIM, seed=seed))
    return made


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(seed=st.integers(0, 10_000), n=st.integers(1, 12))
def test_nearest_equals_brute_force(seed: int, n: int) -> None:
    q, z = quantizer(seed=seed), noise(2, n, DIM, seed=seed + 1)
    distances = (z[:, :, None] - q.codebook).square().sum(-1)
    assert torch.equal(q.nearest(z), distances.argmin(-1))
    assert torch.equal(q.dequantize(q.nearest(z)), q.codebook[distances.argmin(-1)])


def test_every_entry_is_its_own_nearest() -> None:
    q = quantizer()
    assert torch.equal(q.nearest(q.codebook), torch.arange(ENTRIES))


def test_ties_go_to_the_first_entry() -> None:
    q = quantizer()
    with torch.no_grad():
        q.codebook[5] = q.codebook[8] = q.codebook[2]
    assert q.nearest(q.codebook[8]).item() == 2
    with torch.no_grad():
        q.codebook.zero_()
    assert q.nearest(noise(3, DIM)).tolist() == [0, 0, 0]


@pytest.mark.parametrize("way", ["forward", "quantize"])
def test_straight_through_gradient_is_the_identity(way: str) -> None:
    q = quantizer()
    z = noise(2, 5, DIM).requires_grad_()
    latents = q(z).latents if way == "forward" else q.quantize(z)[0]
    torch.testing.assert_close(latents, q.dequantize(q.nearest(z)))
    upstream = noise(2, 5, DIM, seed=2)
    latents.backward(upstream)
    assert z.grad is not None and torch.equal(z.grad, upstream)
    assert q.codebook.grad is None


@pytest.mark.parametrize("weight", [0.0, 0.25, 1.5])
def test_losses_and_their_gradients(weight: float) -> None:
    q = quantizer(weight)
    z = noise(2, 5, DIM).requires_grad_()
    result = q(z)
    entries = q.codebook[result.codes]
    mean = (entries - z).square().mean((1, 2))
    torch.testing.assert_close(result.loss, (1 + weight) * mean)
    result.loss.mean().backward()
    # The commitment loss pulls the latents to the entries, and the codebook loss pulls the entries
    # to the latents.
    torch.testing.assert_close(z.grad, weight * 2 * (z - entries).detach() / z.numel())
    pull = torch.zeros_like(q.codebook)
    pull.index_add_(0, result.codes.flatten(), (entries - z).detach().flatten(0, 1))
    torch.testing.assert_close(q.codebook.grad, 2 * pull / z.numel())


@given(codes=st.lists(st.integers(0, ENTRIES - 1), min_size=1, max_size=60))
def test_perplexity_is_between_1_and_the_number_of_used_entries(codes: list[int]) -> None:
    value = perplexity(torch.bincount(torch.tensor(codes), minlength=ENTRIES))
    assert 1 - 1e-6 <= value <= len(set(codes)) + 1e-6


def test_perplexity_at_its_bounds() -> None:
    assert perplexity(torch.tensor([0, 7, 0])) == pytest.approx(1)
    assert perplexity(torch.full((ENTRIES,), 4)) == pytest.approx(ENTRIES)
    expected = math.exp(-0.25 * math.log(0.25) - 0.75 * math.log(0.75))
    assert perplexity(torch.tensor([1, 3, 0])) == pytest.approx(expected)


def test_codebook_is_initialized_uniformly() -> None:
    codebook = Quantizer(200, 50, 0.25).codebook.detach()
    assert codebook.abs().max().item() <= 1 / 200
    assert codebook.std().item() == pytest.approx(1 / 200 / math.sqrt(3), rel=0.05)
