"""Compare the codes that the quantizer chooses on two devices."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from unittest import mock

import torch
from torch import Tensor

from codetalker_cli.models.vq_autoencoder import MotionVQ

TIE = 1e-5
"""The relative difference of squared distances up to which two codebook entries count as tied."""


@dataclass
class Choices:
    """The inputs and outputs of a quantizer's calls, in order.

    Attributes:
        latents: (…, Z) latents of each call.
        codes: (…) codes that were chosen for them.
    """

    latents: list[Tensor] = field(default_factory=list)
    codes: list[Tensor] = field(default_factory=list)


@contextmanager
def recorded(vq: MotionVQ) -> Iterator[Choices]:
    """Record the latents and codes of the quantizer within the block, as CPU tensors."""
    choices, choose = Choices(), vq.quantizer.nearest

    def nearest(z: Tensor) -> Tensor:
        codes = choose(z)
        choices.latents.append(z.detach().cpu())
        choices.codes.append(codes.cpu())
        return codes

    with mock.patch.object(vq.quantizer, "nearest", nearest):
        yield choices


@contextmanager
def replayed(vq: MotionVQ, choices: Choices) -> Iterator[Choices]:
    """Make the quantizer return recorded codes, and yield the codes it would have chosen.

    This makes gradients comparable, because a tie that is resolved differently would change them by
    far more than rounding does.
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
    """Compare the codes that two devices chose for nearly the same latents.

    Args:
        codebook: (K, Z) codebook.
        latents: (…, Z) latents of the reference device.
        expected: (…) codes of the reference device.
        codes: (…) codes of the other device.

    Returns:
        The number of different codes that are not tied, and the number of those that are tied.
    """
    differ = (expected != codes).nonzero(as_tuple=True)
    z, table = latents[differ].double(), codebook.double()
    distance, other = ((z - table[chosen[differ]]).square().sum(-1) for chosen in (expected, codes))
    tied = (distance - other).abs() <= TIE * torch.minimum(distance, other)
    return int((~tied).sum()), int(tied.sum())
