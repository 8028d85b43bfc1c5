"""Padded batches: outputs, losses and gradients equal those of the single clips."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.models.decoding import Decoder
from codetalker_cli.models.layers import masked_instance_norm, valid_frames
from codetalker_cli.models.quantizer import Quantizer
from codetalker_cli.models.speech_encoders.encoder import AudioEncoder
from codetalker_cli.models.speech_to_codes import SpeechToCodes
from codetalker_cli.models.vq_autoencoder import MotionVQ

LENGTHS = (9, 5, 2, 1)
V = tiny.N_VERTICES
GARBAGE = 1e30
"""A huge value for the padding, which would be visible in any result that depended on it."""
STAGE1: dict[str, dict[str, Any]] = {
    "plain": {},
    "projection": {"latent_projection": True, "output_bias": False, "code_dim": 6},
    "basis": {"basis_rank": 5},
    "basis and projection": {"basis_rank": 5, "latent_projection": True, "code_dim": 6},
}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def padded(shape: tuple[int, ...], lengths: tuple[int, ...], filling: float, seed: int) -> Tensor:
    """Return (B, max(lengths), *shape) noise, with ``filling`` as the padding."""
    made = noise(len(lengths), max(lengths), *shape, seed=seed)
    for clip, n in zip(made, lengths, strict=True):
        clip[n:] = filling
    return made


def stage1(variant: str, seed: int = 0) -> MotionVQ:
    vq = tiny.vq(seed, **STAGE1[variant])
    if vq.basis.rank:
        vectors = torch.linalg.qr(noise(3 * V, vq.basis.rank)).Q
        vq.basis.set(vectors, torch.linspace(0.5, 2, vq.basis.rank))
    return vq


def mean_of_valid(error: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the (B,) mean of a (B, T, …) error over the valid frames of each clip."""
    error = error.flatten(2).mean(-1)
    if lengths is None:
        return error.mean(1)
    return torch.where(valid_frames(lengths, error.shape[1]), error, 0.0).sum(1) / lengths


def gradients(module: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    return {name: g for name, g in zip(trained, found, strict=True) if g is not None}


def check(module: nn.Module, together: Callable[[], Tensor], alone: Callable[[int], Tensor]) -> int:
    """Assert that losses (B,) and gradients of a batch equal those of its clips.

    Returns:
        The number of weights with a nonzero gradient.
    """
    losses = together()
    singles = torch.cat([alone(k) for k in range(len(losses))])
    close(losses, singles)
    got, expected = (gradients(module, x.mean()) for x in (losses, singles))
    assert got.keys() >= expected.keys()
    for name, value in got.items():
        assert bool(value.isfinite().all()), name
        close(value, expected.get(name, torch.zeros_like(value)))
    return sum(bool(value.any()) for value in got.values())


# Layers ----------------------------------------------------------------------------------------


def test_valid_frames() -> None:
    assert valid_frames(torch.tensor([3, 1]), 3).tolist() == [[True] * 3, [True, False, False]]


def test_masked_norm_equals_the_instance_norm_of_each_clip() -> None:
    x, lengths = padded((6,), LENGTHS, GARBAGE, 1), torch.tensor(LENGTHS)
    got = masked_instance_norm(x, valid_frames(lengths, 9), 1e-5)
    for clip, whole, n in zip(got, x, LENGTHS, strict=True):
        frames = whole[:n] if n > 1 else whole[:1].expand(2, -1)
        close(clip[:n], nn.InstanceNorm1d(6)(frames.T[None])[0].T[:n])
        assert not clip[n:].any()


def test_masked_norm_of_half_precision_is_computed_in_float32() -> None:
    """The square of 300 overflows float16."""
    x = 300 * noise(1, 40, 3).half()
    got = masked_instance_norm(x, torch.ones(1, 40, dtype=torch.bool), 1e-5)
    assert got.dtype == torch.float16
    expected = nn.InstanceNorm1d(3)(x.double().transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(got.double(), expected, rtol=2e-3, atol=2e-3)


# Stage 1 ---------------------------------------------------------------------------------------


def stage1_losses(vq: MotionVQ, motion: Tensor, template: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the (B,) sum of the L1 loss and the quantizer loss."""
    made = vq(motion, template, lengths)
    assert bool(made.vertices.isfinite().all())
    return mean_of_valid((made.vertices - motion).abs(), lengths) + made.quantized.loss


def clip_alone(motion: Tensor, n: int) -> Tensor:
    """Return the first ``n`` frames as a batch of one; a single frame is duplicated."""
    return motion[None, :n] if n > 1 else motion[None, :1].expand(-1, 2, -1, -1)


@pytest.mark.parametrize("filling", [0.0, GARBAGE])
@pytest.mark.parametrize("variant", STAGE1)
def test_stage_1_losses_and_gradients_ignore_padding(variant: str, filling: float) -> None:
    vq = stage1(variant)
    motion, template = padded((V, 3), LENGTHS, filling, 1), noise(4, V, 3, seed=2)

    def alone(k: int) -> Tensor:
        clip = clip_alone(motion[k], LENGTHS[k])
        return stage1_losses(vq, clip, template[k : k + 1], None)

    lengths = torch.tensor(LENGTHS)
    n = check(vq, lambda: stage1_losses(vq, motion, template, lengths), alone)
    assert n == len(list(vq.parameters()))


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4), seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_stage_1_losses_for_arbitrary_lengths(lengths: list[int], seed: int) -> None:
    vq = stage1("plain", seed)
    longest = (*lengths, 12)  # all other clips are padded to 12 frames
    motion, template = padded((V, 3), longest, GARBAGE, seed), noise(len(longest), V, 3, seed=seed)
    together = stage1_losses(vq, motion, template, torch.tensor(longest))
    for k, n in enumerate(longest):
        clip = clip_alone(motion[k], n)
        close(together[k : k + 1], stage1_losses(vq, clip, template[k : k + 1], None))


@pytest.mark.parametrize("variant", STAGE1)
def test_codes_and_latents_ignore_padding(variant: str) -> None:
    vq, lengths = stage1(variant), torch.tensor(LENGTHS)
    motion, template = padded((V, 3), LENGTHS, GARBAGE, 3), noise(4, V, 3, seed=2)
    codes = vq.encode(motion, template, lengths)
    decoded = vq.decode(codes, template, lengths)
    latents = vq.dequantize(codes)
    assert latents.shape == (4, 9, vq.settings.latent_size)
    for k, n in enumerate(LENGTHS):
        alone = vq.encode(clip_alone(motion[k], n), template[k : k + 1])[:, :n]
        assert torch.equal(codes[k : k + 1, :n], alone)
        close(decoded[k : k + 1, :n], vq.decode(alone, template[k : k + 1]))
        close(latents[k : k + 1, :n], vq.dequantize(alone))


@pytest.mark.parametrize("filling", [0.0, GARBAGE])
@pytest.mark.parametrize("variant", STAGE1)
def test_decoded_features_ignore_padding(variant: str, filling: float) -> None:
    vq, lengths = stage1(variant), torch.tensor(LENGTHS)
    latents = padded((vq.settings.latent_size,), LENGTHS, filling, 4)
    target = noise(4, 9, vq.feature_size, seed=5)

    def alone(k: int) -> Tensor:
        n = LENGTHS[k]
        made = vq.decode_features(latents[k : k + 1, :n])
        return mean_of_valid((made - target[k : k + 1, :n]).square(), None)

    def together() -> Tensor:
        made = vq.decode_features(latents, lengths=lengths)
        assert bool(made.isfinite().all())
        return mean_of_valid((made - target).square(), lengths)

    assert check(vq.decoder, together, alone) == len(list(vq.decoder.parameters()))


def test_full_lengths_equal_no_lengths() -> None:
    vq, motion, template = stage1("plain"), noise(2, 6, V, 3), noise(2, V, 3, seed=2)
    full = torch.tensor([6, 6])
    close(vq(motion, template, full).vertices, vq(motion, template).vertices)
    latents = noise(2, 1, vq.settings.latent_size)
    one = vq.decode_features(latents, lengths=torch.tensor([1, 1]))
    assert torch.equal(one, vq.decode_features(latents))


# Stage 2 ---------------------------------------------------------------------------------------


def stage2(per_frame: int, seed: int = 0) -> tuple[SpeechToCodes, MotionVQ]:
    vq = stage1("plain", seed)
    vq.requires_grad_(False)
    made = tiny.settings(speech={"features_per_frame": per_frame})
    speech = SpeechToCodes(
        made.speech,
        fps=made.data.fps,
        n_styles=3,
        feature_size=vq.feature_size,
        latent_size=made.vq.latent_size,
    )
    speech = speech.double().eval()
    tiny.randomize(speech, seed + 1)
    speech.head.weight.data *= 3
    return speech, vq


def hidden_features(speech: SpeechToCodes, filling: float) -> Tensor:
    per_frame = speech.settings.features_per_frame
    lengths = tuple(per_frame * n for n in LENGTHS)
    return padded((speech.encoder.size,), lengths, filling, 6)


@pytest.mark.parametrize("filling", [0.0, GARBAGE])
@pytest.mark.parametrize("per_frame", [1, 2])
def test_stage_2_losses_and_gradients_ignore_padding(per_frame: int, filling: float) -> None:
    speech, vq = stage2(per_frame)
    lengths, hidden = torch.tensor(LENGTHS), hidden_features(speech, filling)
    features = padded((vq.feature_size,), LENGTHS, filling, 7)
    latents = padded((speech.head.out_features,), LENGTHS, filling, 8)
    keep = torch.tensor([1.0, 1.0, 0.0, 1.0], dtype=torch.float64)

    def losses(clips: slice, n: int, given: Tensor | None) -> Tensor:
        style = speech.style(torch.eye(3).double()[[0, 1, 2, 0]][clips])
        made = speech(
            vq, hidden[clips, : n * per_frame], features[clips, :n], style, keep[clips], given
        )
        motion = (made.features - features[clips, :n]).square()
        latent = (made.latents - latents[clips, :n]).square()
        return mean_of_valid(motion, given) + mean_of_valid(latent, given)

    n = check(
        speech,
        lambda: losses(slice(4), 9, lengths),
        lambda k: losses(slice(k, k + 1), LENGTHS[k], None),
    )
    own = [name for name, _ in speech.named_parameters() if not name.startswith("encoder.")]
    # With one feature per frame, the softmax is 1, so the weight and bias of the query have no
    # gradient.
    assert n == len(own) - (2 * len(speech.layers) if per_frame == 1 else 0)


@pytest.mark.parametrize("filling", [0.0, GARBAGE])
@pytest.mark.parametrize("per_frame", [1, 2])
def test_free_running_decoding_ignores_padding(per_frame: int, filling: float) -> None:
    speech, vq = stage2(per_frame)
    hidden, style = hidden_features(speech, filling), noise(4, 16, seed=9)
    decoder = Decoder(speech, vq)
    codes = decoder.decode(hidden, style, lengths=LENGTHS)
    together = vq.decode_hidden(codes, torch.tensor(LENGTHS))
    assert len(codes[0].unique()) > 3
    for k, n in enumerate(LENGTHS):
        alone = decoder.decode(hidden[k : k + 1, : n * per_frame], style[k : k + 1])
        assert torch.equal(codes[k : k + 1, :n], alone) and not codes[k, n:].any()
        close(together[k : k + 1, :n], vq.decode_hidden(alone))


# Speech encoders -------------------------------------------------------------------------------


def encoder(family: str, per_frame: int = 1, *, frozen: bool = False, **more: Any) -> AudioEncoder:
    chosen = tiny.encoder_settings(family, frozen=frozen)
    chosen = chosen.model_copy(update={"config": chosen.config | more})
    made = AudioEncoder(chosen, 25.0, per_frame).double().eval()
    tiny.randomize(made, 3)
    return made


def recordings(made: AudioEncoder, n_frames: tuple[int, ...]) -> list[Tensor]:
    """Return slightly more speech than the frames, except only 3 frames for the second clip."""
    seconds = [n / 25 for n in n_frames]
    seconds[1] = 3 / 25
    samples = [noise(round(s * SAMPLE_RATE) + 400, seed=k) for k, s in enumerate(seconds)]
    return [made.prepare(0.1 * x) for x in samples]


ENCODERS: list[tuple[str, dict[str, Any]]] = [
    *((family, {}) for family in tiny.ENCODER_CONFIGS),
    ("wav2vec2", {"do_stable_layer_norm": True}),
    ("wavlm", {"num_hidden_layers": 2}),  # the second layer uses the position bias of the first
]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("per_frame", [1, 2])
@pytest.mark.parametrize(("family", "more"), ENCODERS)
def test_speech_encoders_ignore_padding(
    family: str, more: dict, per_frame: int, frozen: bool
) -> None:
    made = encoder(family, per_frame, frozen=frozen, **more)
    audio = recordings(made, LENGTHS)
    fixed = [made.encode_frozen(x[None], n)[0] for x, n in zip(audio, LENGTHS, strict=True)]
    assert not any(x.requires_grad for x in fixed)
    hidden, lengths = made.encode_trainable(fixed, LENGTHS)
    expected = torch.tensor([9, 5 if per_frame == 1 else 3, 2, 1]) * per_frame
    assert torch.equal(lengths, expected) and lengths.dtype == torch.int64
    assert hidden.shape == (4, 9 * per_frame, made.size)
    assert not hidden[~valid_frames(lengths, hidden.shape[1])].any()
    target = noise(*hidden.shape, seed=2)

    def alone(k: int) -> Tensor:
        got = made(audio[k][None], LENGTHS[k])
        return mean_of_valid((got - target[k : k + 1, : got.shape[1]]).square(), None)

    together = mean_of_valid((hidden - target).square(), lengths)
    if frozen:
        close(together, torch.cat([alone(k) for k in range(4)]))
        assert not hidden.requires_grad
    else:
        assert check(made, lambda: together, alone) > 10


@pytest.mark.parametrize("family", tiny.ENCODER_CONFIGS)
def test_both_encoder_parts_together_equal_forward(family: str) -> None:
    made = encoder(family)
    audio = made.prepare(noise(2, 4_000))
    hidden, lengths = made.encode_trainable(list(made.encode_frozen(audio, 6)), [6, 6])
    assert lengths.tolist() == [6, 6]
    close(hidden, made(audio, 6))
    assert hidden.requires_grad


def test_cached_features_can_be_half_precision() -> None:
    made = encoder("hubert")
    fixed = made.encode_frozen(made.prepare(noise(1, 4_000)), 6)
    rough, _ = made.encode_trainable([fixed[0].half(), fixed[0, :3].half()], [6, 3])
    exact, _ = made.encode_trainable([fixed[0], fixed[0, :3]], [6, 3])
    assert rough.dtype == torch.float64
    torch.testing.assert_close(rough, exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("family", ["wav2vec2", "hubert", "wavlm"])
def test_spec_augment_ignores_padding(family: str) -> None:
    """The batch contains clips that are shorter than a masked span, and longer ones."""
    made = encoder(family, mask_time_prob=0.5, layerdrop=0.0).train()
    np.random.seed(0)
    torch.manual_seed(0)
    fixed = [noise(n, 8, seed=n) for n in (40, 15, 4)]
    hidden, lengths = made.encode_trainable(fixed, [40, 15, 4])
    assert bool(hidden.isfinite().all())
    assert not hidden[~valid_frames(lengths, 40)].any()
    grad = gradients(made, hidden.square().mean())["model.masked_spec_embed"]
    assert bool(grad.any())


# Mixed precision -------------------------------------------------------------------------------


def test_mixed_precision_selects_the_same_codes() -> None:
    q = Quantizer(64, 8, 0.25)
    tiny.randomize(q, 0)
    z = noise(2, 2000, 8).float()
    valid = valid_frames(torch.tensor([2000, 700]), 2000)
    exact = q(z, valid)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed, quantized_latents = q(z, valid), q.quantize(z)[1]
        rounded = q.nearest(z.bfloat16())
        naive = (q.codebook.square().sum(1) - 2.0 * z @ q.codebook.T).argmin(-1)
    assert torch.equal(mixed.codes, exact.codes) and torch.equal(quantized_latents, exact.codes)
    assert mixed.loss.dtype == torch.float32 and torch.equal(mixed.loss, exact.loss)
    assert torch.equal(rounded, q.nearest(z.bfloat16().float()))
    assert not torch.equal(naive, exact.codes)


def test_mixed_precision_of_a_padded_batch_is_close() -> None:
    vq, lengths = stage1("plain").float(), torch.tensor(LENGTHS)
    latents = padded((vq.settings.latent_size,), LENGTHS, GARBAGE, 4).float()
    exact = vq.decode_features(latents, lengths=lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = vq.decode_features(latents, lengths=lengths)
        losses = vq(noise(4, 9, V, 3).float(), noise(4, V, 3).float(), lengths).quantized.loss
    valid = valid_frames(lengths, 9)
    error = (mixed - exact)[valid].square().mean() / exact[valid].square().mean()
    assert error.item() < 1e-2 and bool(mixed.isfinite().all())
    assert losses.dtype == torch.float32 and bool(losses.isfinite().all())
