"""Stage 2 in training: teacher forcing, causality, gradients, dropout."""

from typing import Any

import pytest
import tiny
import torch

from benchmarks.plain_decoding import PlainDecoding
from codetalker_cli.models.speech_to_codes import (
    CausalAttention,
    FrameAttention,
    SpeechToCodes,
    periodic_causal_bias,
)
from codetalker_cli.models.vq_autoencoder import MotionVQ

CASES: dict[str, dict[str, Any]] = {
    "one feature per frame": {},
    "two features per frame": {"features_per_frame": 2},
    "longer than three periods": {"period_frames": 3, "n_heads": 2},
}


def build(case: str = "one feature per frame", seed: int = 0) -> tuple[SpeechToCodes, MotionVQ]:
    """Return float64 models of both stages in evaluation mode."""
    return tiny.stages(seed, speech=CASES[case])


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hidden_features(speech: SpeechToCodes, n_frames: int, n_clips: int = 2) -> torch.Tensor:
    n_features = n_frames * speech.settings.features_per_frame
    return noise(n_clips, n_features, speech.encoder.size, seed=5)


# Teacher forcing -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_teacher_forcing_equals_plain_recomputation(case: str) -> None:
    speech, vq = build(case)
    hidden, style = hidden_features(speech, 9), noise(2, 16, seed=3)
    features = noise(2, 9, vq.feature_size, seed=4)
    # The input of the first frame is the projection of zero motion, including its bias.
    before = torch.cat([torch.zeros_like(features[:, :1]), features[:, :-1]], dim=1)
    memory = speech.audio_projection(hidden)
    past = speech.motion_projection(before)
    expected = PlainDecoding(speech, vq).latents(memory, style, past)
    made = speech(vq, hidden, features, style)
    torch.testing.assert_close(made.latents, expected)
    torch.testing.assert_close(made.features, vq.decode_features(vq.quantize(expected)[0]))


@pytest.mark.parametrize("case", CASES)
def test_latents_do_not_depend_on_future_motion(case: str) -> None:
    speech, vq = build(case)
    hidden, style = hidden_features(speech, 9), noise(2, 16, seed=3)
    features = noise(2, 9, vq.feature_size, seed=4)
    other = features.clone()
    other[:, 5:] = noise(*other[:, 5:].shape, seed=6)
    a, b = (speech(vq, hidden, given, style).latents for given in (features, other))
    assert torch.equal(a[:, :6], b[:, :6])
    assert not torch.isclose(a[:, 6:], b[:, 6:]).all(-1).any()


def test_hidden_history_affects_only_its_clip() -> None:
    speech, vq = build()
    hidden, style = hidden_features(speech, 6), noise(2, 16, seed=3)
    motions = [noise(2, 6, vq.feature_size, seed=seed) for seed in (4, 5)]
    keep = torch.tensor([0.0, 1.0], dtype=torch.float64)
    a, b = (speech(vq, hidden, motion, style, keep).latents for motion in motions)
    assert torch.equal(a[0], b[0])
    assert not torch.isclose(a[1, 1:], b[1, 1:]).all(-1).any()
    torch.testing.assert_close(a[1], speech(vq, hidden, motions[0], style).latents[1])


def test_gradients_reach_stage_2_through_stage_1() -> None:
    speech, vq = build()
    vq.requires_grad_(False)
    hidden, style = hidden_features(speech, 6), noise(2, 16, seed=3)
    features = noise(2, 6, vq.feature_size, seed=4)
    speech(vq, hidden, features, style).features.square().mean().backward()
    for name in ("head", "motion_projection", "audio_projection"):
        gradient = getattr(speech, name).weight.grad
        assert gradient is not None and bool(gradient.any()), name


# Parts -----------------------------------------------------------------------------------------


def test_styles_blend_linearly() -> None:
    speech, _ = build()
    weights = torch.tensor([[0.3, 0.0, 0.7]], dtype=torch.float64)
    table = speech.style_embedding.weight
    torch.testing.assert_close(speech.style(weights)[0], 0.3 * table[0] + 0.7 * table[2])


def test_head_is_initialized_to_zero() -> None:
    settings = tiny.settings()
    speech = SpeechToCodes(settings.speech, fps=25.0, n_styles=1, feature_size=36, latent_size=16)
    assert not speech.head.weight.any() and speech.head.bias is None


@pytest.mark.parametrize("n_features", [1, 2])
def test_attention_dropout_is_active_only_in_training(n_features: int) -> None:
    """As in torch's decoder layer, one feature per frame is either dropped or doubled by a head."""
    torch.manual_seed(0)
    size, n_heads = 8, 4
    attention = FrameAttention(size, n_heads, dropout=0.5).double()
    memory = attention.memory(torch.randn(1, 3, n_features, size).double())
    x = torch.randn(1, 3, size).double()
    whole = attention.eval()(x, memory)
    attention.train()
    drawn = torch.stack([attention(x, memory) for _ in range(6000)])
    torch.testing.assert_close(drawn.mean(0), whole, atol=0.05, rtol=0)
    if n_features == 1:
        heads = drawn.sub(attention.output.bias) @ torch.linalg.inv(attention.output.weight).T
        share = heads / memory[1][:, :, 0].flatten(-2)
        share = share.unflatten(-1, (n_heads, -1))
        torch.testing.assert_close(share, share.round(), atol=1e-6, rtol=0)
        assert set(share.round().flatten().tolist()) == {0.0, 2.0}
        assert torch.equal(share.round()[..., 0], share.round()[..., 1])  # a head drops completely
    own = CausalAttention(size, n_heads, dropout=0.5).double()
    bias = periodic_causal_bias(n_heads, 2, torch.arange(3), torch.arange(3))
    drawn = torch.stack([own(x, bias) for _ in range(6000)])
    torch.testing.assert_close(drawn.mean(0), own.eval()(x, bias), atol=0.05, rtol=0)
    assert drawn.std(0).min() > 0.01
