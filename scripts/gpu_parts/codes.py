"""Comparing the quantizer's choices on two devices."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest import mock

import torch
from torch import Tensor

from codetalker_cli.models.vq_autoencoder import MotionVQ

TIE = 1e-5
"""Two entries are tied when their squared distances differ by less than this, relatively."""


@dataclass
class Choices:
    """The calls of a quantizer, in order: latents (…, Z) and the codes (…) chosen for them."""

    latents: list[Tensor] = field(default_factory=list)
    codes: list[Tensor] = field(default_factory=list)


@contextmanager
def recorded(vq: MotionVQ) -> Iterator[Choices]:
    """Record what the quantizer chooses inside the block, on the CPU."""
    made, choose = Choices(), vq.quantizer.nearest

    def nearest(z: Tensor) -> Tensor:
        codes = choose(z)
        made.latents.append(z.detach().cpu())
        made.codes.append(codes.cpu())
        return codes

    with mock.patch.object(vq.quantizer, "nearest", nearest):
        yield made


@contextmanager
def replayed(vq: MotionVQ, choices: Choices) -> Iterator[Choices]:
    """Make the quantizer choose what was recorded; gives its own choices.

    Gradients can then be compared: a tie that falls the other way would change them by far more
    than rounding does.
    """
    made, choose, expected = Choices(), vq.quantizer.nearest, iter(choices.codes)

    def nearest(z: Tensor) -> Tensor:
        made.latents.append(z.detach().cpu())
        made.codes.append(choose(z).cpu())
        return next(expected).to(z.device)

    with mock.patch.object(vq.quantizer, "nearest", nearest):
        yield made


def count_differences(
    codebook: Tensor, latents: Tensor, expected: Tensor, codes: Tensor
) -> tuple[int, int]:
    """Compare codes with those that another device chose for nearly the same latents.

    Args:
        codebook: (K, Z).
        latents: (…, Z) of the device whose codes are expected.
        expected: (…) codes.
        codes: (…) codes of the other device.

    Returns:
        How many differ although they are not tied, and how many differ and are tied.
    """
    differ = (expected != codes).nonzero(as_tuple=True)
    z, table = latents[differ].double(), codebook.double()
    distance, other = ((z - table[chosen[differ]]).square().sum(-1) for chosen in (expected, codes))
    tied = (distance - other).abs() <= TIE * torch.minimum(distance, other)
    return int((~tied).sum()), int(tied.sum())
