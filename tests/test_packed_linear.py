"""Test copies of modules whose linear layers have packed weights."""

import pytest
import tiny
import torch
from torch import nn

from codetalker_cli.models.decoding import packed_linear
from codetalker_cli.models.decoding.packed_linear import with_packed_linears


def stage() -> nn.Module:
    return tiny.stages(0, speech={"motion_history": False})[0].float()


def result(speech: nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(2, 9, speech.encoder.size, generator=generator)
    with torch.no_grad():
        return speech.latents(hidden, speech.style_embedding.weight[:2])


@pytest.mark.parametrize("is_packed", [True, False])
def test_copy_gives_the_same_result_and_the_module_stays(
    is_packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_packed:
        monkeypatch.setattr(packed_linear, "packing_works", lambda dtype: False)
    speech = stage()
    expected, names = result(speech), list(speech.state_dict())
    copied = with_packed_linears(speech)
    torch.testing.assert_close(result(copied), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(result(speech), expected)
    assert list(speech.state_dict()) == names
    assert not any(isinstance(module, nn.Linear) for module in copied.modules())


def test_copy_shares_all_other_weights() -> None:
    speech = stage()
    copied = with_packed_linears(speech)
    for (name, weight), other in zip(speech.named_parameters(), copied.parameters(), strict=True):
        assert weight is other, name


def test_copy_computes_in_bf16() -> None:
    speech = stage()
    expected = result(speech)
    coarse = result(with_packed_linears(speech, torch.bfloat16))
    assert coarse.dtype == torch.float32
    difference = float((coarse - expected).abs().max() / expected.abs().max())
    assert 1e-5 < difference < 0.1
