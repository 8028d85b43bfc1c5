"""Stage 2 against a plain recomputation with PyTorch's own decoder layers, and its causality."""

from typing import Any

import pytest
import tiny
import torch
from torch import nn

from codetalker_cli.models.speech_to_codes import (
    CausalAttention,
    FrameAttention,
    SpeechToCodes,
    attention_slopes,
    periodic_causal_bias,
)
from codetalker_cli.models.vq_autoencoder import MotionVQ

N_STYLES = 3
CASES: dict[str, dict[str, Any]] = {
    "one feature a frame": {},
    "two features a frame": {"features_per_frame": 2},
    "longer than three periods": {"period_frames": 3, "n_heads": 2},
}


def build(case: str = "one feature a frame", seed: int = 0) -> tuple[SpeechToCodes, MotionVQ]:
    """A float64 speech model in evaluation mode, with a stage 1."""
    settings = tiny.settings(speech=CASES[case])
    vq = tiny.vq(seed)
    speech = SpeechToCodes(
        settings.speech,
        fps=settings.data.fps,
        n_styles=N_STYLES,
        feature_size=vq.feature_size,
        latent_size=settings.vq.latent_size,
    )
    speech = speech.double().eval()
    tiny.randomize(speech, seed + 1)
    speech.head.weight.data *= 3
    return speech, vq


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def hidden_features(speech: SpeechToCodes, n_frames: int, n_clips: int = 2) -> torch.Tensor:
    n_features = n_frames * speech.settings.features_per_frame
    return noise(n_clips, n_features, speech.encoder.size, seed=5)


# The reference ---------------------------------------------------------------------------------


def torch_layer(layer: nn.Module, speech: SpeechToCodes) -> nn.TransformerDecoderLayer:
    """PyTorch's decoder layer with the weights of ours."""
    s = speech.settings
    made = nn.TransformerDecoderLayer(s.hidden_size, s.n_heads, s.mlp_size, batch_first=True)
    ours = layer.state_dict()
    state = {}
    for kind in ("weight", "bias"):
        state |= {
            f"self_attn.in_proj_{kind}": ours[f"self_attention.qkv.{kind}"],
            f"self_attn.out_proj.{kind}": ours[f"self_attention.output.{kind}"],
            f"multihead_attn.in_proj_{kind}": torch.cat(
                [ours[f"cross_attention.{part}.{kind}"] for part in ("query", "key_value")]
            ),
            f"multihead_attn.out_proj.{kind}": ours[f"cross_attention.output.{kind}"],
            f"linear1.{kind}": ours[f"mlp_in.{kind}"],
            f"linear2.{kind}": ours[f"mlp_out.{kind}"],
            f"norm1.{kind}": ours[f"self_norm.{kind}"],
            f"norm2.{kind}": ours[f"cross_norm.{kind}"],
            f"norm3.{kind}": ours[f"mlp_norm.{kind}"],
        }
    made = made.double().eval()
    made.load_state_dict(state)
    return made


def reference_latents(
    speech: SpeechToCodes, hidden: torch.Tensor, style: torch.Tensor, past: torch.Tensor
) -> torch.Tensor:
    """Latents of all frames at once, from what each frame is told of the frame before it.

    Args:
        past: (B, T, D) projected motion of the frame before.
    """
    s = speech.settings
    batch, n_frames, _ = past.shape
    steps = torch.arange(n_frames)
    x = past + style[:, None] + torch.stack([speech.position[i % s.period_frames] for i in steps])
    distance = steps[:, None] - steps
    bias = -attention_slopes(s.n_heads)[:, None, None] * (distance // s.period_frames)
    causal = bias.double().masked_fill(distance < 0, float("-inf"))
    others = ~torch.eye(n_frames, dtype=torch.bool).repeat_interleave(s.features_per_frame, 1)
    memory = speech.audio_projection(hidden)[:, : n_frames * s.features_per_frame]
    for layer in speech.layers:
        x = torch_layer(layer, speech)(
            x, memory, tgt_mask=causal.repeat(batch, 1, 1), memory_mask=others
        )
    return speech.head(x)


@torch.no_grad()
def reference_generate(
    speech: SpeechToCodes, vq: MotionVQ, hidden: torch.Tensor, style: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """At each step everything is computed anew, as the reference does."""
    n_frames = hidden.shape[1] // speech.settings.features_per_frame
    # Nothing is known of a frame before the first, not even the projection's bias.
    past = torch.zeros(len(hidden), 1, speech.settings.hidden_size, dtype=hidden.dtype)
    for _ in range(n_frames):
        snapped, codes = vq.snap(reference_latents(speech, hidden, style, past))
        features = vq.decode_features(snapped)
        past = torch.cat([past, speech.motion_projection(features[:, -1:])], dim=1)
    return features, codes


# Free running ----------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_decoding_frame_by_frame_equals_recomputing_everything(case: str) -> None:
    for seed in range(3):
        speech, vq = build(case, seed)
        hidden, style = hidden_features(speech, 11), speech.style(torch.eye(N_STYLES).double()[:2])
        made = speech.generate(vq, hidden, style)
        features, codes = reference_generate(speech, vq, hidden, style)
        assert torch.equal(made.codes, codes)
        torch.testing.assert_close(made.features, features)
        assert len(codes.unique()) > 3


def test_the_model_listens_to_its_own_past() -> None:
    """Else the test above would not tell a wrong past from a right one."""
    speech, vq = build()
    hidden, style = hidden_features(speech, 11), speech.style(torch.eye(N_STYLES).double()[:2])
    codes = speech.generate(vq, hidden, style).codes
    speech.motion_projection.weight.data.zero_()
    assert not torch.equal(speech.generate(vq, hidden, style).codes, codes)


@pytest.mark.parametrize("case", CASES)
def test_speech_to_come_does_not_alter_earlier_codes(case: str) -> None:
    speech, vq = build(case)
    hidden, style = hidden_features(speech, 10), speech.style(torch.eye(N_STYLES).double()[:2])
    other = hidden.clone()
    per_frame = speech.settings.features_per_frame
    other[:, 6 * per_frame :] = noise(*other[:, 6 * per_frame :].shape, seed=8)
    a, b = (speech.generate(vq, given, style).codes for given in (hidden, other))
    assert torch.equal(a[:, :6], b[:, :6])
    assert not torch.equal(a[:, 6:], b[:, 6:])


def test_a_batch_gives_what_its_clips_give_alone() -> None:
    speech, vq = build("two features a frame")
    hidden = hidden_features(speech, 7, n_clips=3)
    style = speech.style(torch.eye(N_STYLES).double())
    whole = speech.generate(vq, hidden, style)
    for k in range(3):
        alone = speech.generate(vq, hidden[k : k + 1], style[k : k + 1])
        assert torch.equal(alone.codes[0], whole.codes[k])
        torch.testing.assert_close(alone.features[0], whole.features[k])


def test_one_frame() -> None:
    speech, vq = build()
    made = speech.generate(vq, hidden_features(speech, 1), noise(2, 16))
    assert made.features.shape == (2, 1, vq.feature_size)
    assert made.codes.shape == (2, 1, 2) and bool(made.features.isfinite().all())


def test_progress_is_told_after_each_frame() -> None:
    speech, vq = build()
    told: list[tuple[int, int]] = []
    speech.generate(vq, hidden_features(speech, 4), noise(2, 16), lambda *now: told.append(now))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


# Teacher forcing -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_teacher_forcing_equals_the_reference(case: str) -> None:
    speech, vq = build(case)
    hidden, style = hidden_features(speech, 9), noise(2, 16, seed=3)
    features = noise(2, 9, vq.feature_size, seed=4)
    # Here the first frame is told of a zero offset, and so of the projection's bias.
    before = torch.cat([torch.zeros_like(features[:, :1]), features[:, :-1]], dim=1)
    expected = reference_latents(speech, hidden, style, speech.motion_projection(before))
    made = speech(vq, hidden, features, style)
    torch.testing.assert_close(made.latents, expected)
    torch.testing.assert_close(made.features, vq.decode_features(vq.snap(expected)[0]))


@pytest.mark.parametrize("case", CASES)
def test_motion_to_come_does_not_alter_the_past(case: str) -> None:
    speech, vq = build(case)
    hidden, style = hidden_features(speech, 9), noise(2, 16, seed=3)
    features = noise(2, 9, vq.feature_size, seed=4)
    other = features.clone()
    other[:, 5:] = noise(*other[:, 5:].shape, seed=6)
    a, b = (speech(vq, hidden, given, style).latents for given in (features, other))
    assert torch.equal(a[:, :6], b[:, :6])
    assert not torch.isclose(a[:, 6:], b[:, 6:]).all(-1).any()


def test_a_hidden_past_has_no_effect_on_that_clip_alone() -> None:
    speech, vq = build()
    hidden, style = hidden_features(speech, 6), noise(2, 16, seed=3)
    motions = [noise(2, 6, vq.feature_size, seed=seed) for seed in (4, 5)]
    keep = torch.tensor([0.0, 1.0], dtype=torch.float64)
    a, b = (speech(vq, hidden, motion, style, keep).latents for motion in motions)
    assert torch.equal(a[0], b[0])
    assert not torch.isclose(a[1, 1:], b[1, 1:]).all(-1).any()
    torch.testing.assert_close(a[1], speech(vq, hidden, motions[0], style).latents[1])


def test_gradients_pass_through_stage_1_to_the_speech_model() -> None:
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


def test_an_untrained_head_gives_the_same_code_everywhere() -> None:
    settings = tiny.settings()
    speech = SpeechToCodes(settings.speech, fps=25, n_styles=1, feature_size=36, latent_size=16)
    assert not speech.head.weight.any() and speech.head.bias is None


@pytest.mark.parametrize("n_features", [1, 2])
def test_weights_of_the_attention_are_dropped_in_training_alone(n_features: int) -> None:
    """As in torch's decoder layer: with one feature a head hears it or nothing, twice as loud."""
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
        assert torch.equal(share.round()[..., 0], share.round()[..., 1])  # heads as a whole
    past = CausalAttention(size, n_heads, dropout=0.5).double()
    bias = periodic_causal_bias(n_heads, 2, torch.arange(3), torch.arange(3))
    drawn = torch.stack([past(x, bias)[0] for _ in range(6000)])
    torch.testing.assert_close(drawn.mean(0), past.eval()(x, bias)[0], atol=0.05, rtol=0)
    assert drawn.std(0).min() > 0.01
