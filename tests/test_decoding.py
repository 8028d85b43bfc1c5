"""Free-running decoding: equality with recomputation, the window, batches, CUDA graphs."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from benchmarks.plain_decoding import PlainDecoding
from codetalker_cli.models import checkpoint
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.decoding import Decoder, Method
from codetalker_cli.models.decoding.motion_cache import MotionDecoderCache, Window
from codetalker_cli.models.decoding.packed_linear import PackedLinear, packing_works
from codetalker_cli.models.speech_to_codes import SpeechToCodes
from codetalker_cli.models.vq_autoencoder import MotionVQ
from codetalker_cli.settings import DecodeSettings

N_STYLES = 3
METHODS: tuple[Method, ...] = ("exact", "window")
SHAPES: dict[str, dict[str, dict[str, Any]]] = {
    "vocaset": {},
    "biwi": {
        "speech": {"features_per_frame": 2},
        "vq": {"latent_projection": True, "hidden_size": 24, "output_bias": False},
    },
    "two features, eight heads": {"speech": {"features_per_frame": 2, "n_heads": 8}},
    "kernel size 1": {"vq": {"kernel_size": 1}},
    "kernel size 9, one block": {"vq": {"kernel_size": 9, "n_layers": 1}},
    "basis, short period": {"vq": {"basis_rank": 6}, "speech": {"period_frames": 1}},
}
FULL_WINDOW = DecodeSettings(window_frames=64)
"""A window that covers the complete clip."""


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def encoder_features(
    speech: SpeechToCodes, n_frames: int, n_clips: int = 2, seed: int = 5
) -> Tensor:
    n_features = n_frames * speech.settings.features_per_frame
    dtype = speech.head.weight.dtype
    return noise(n_clips, n_features, speech.encoder.size, seed=seed, dtype=dtype)


def styles(speech: SpeechToCodes, n: int = 2) -> Tensor:
    return speech.style(torch.eye(N_STYLES).to(speech.head.weight)[:n]).detach()


def features(vq: MotionVQ, codes: Tensor) -> Tensor:
    with torch.no_grad():
        return vq.decode_features(vq.dequantize(codes))


# Exact -----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    shape=st.sampled_from(list(SHAPES)),
    seed=st.integers(0, 10_000),
    n_frames=st.integers(3, 18),
    n_clips=st.integers(1, 3),
    stride=st.sampled_from([1, 4, 8]),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    window=st.booleans(),
)
def test_decoding_equals_full_recomputation(
    shape: str,
    seed: int,
    n_frames: int,
    n_clips: int,
    stride: int,
    dtype: torch.dtype,
    window: bool,
) -> None:
    """The codes and features are equal, also for a window that covers the complete clip."""
    speech, vq = (model.to(dtype) for model in tiny.stages(seed, **SHAPES[shape]))
    hidden, style = encoder_features(speech, n_frames, n_clips, seed), styles(speech, n_clips)
    expected, codes = PlainDecoding(speech, vq).decode(hidden, style)
    decoder = Decoder(speech, vq, FULL_WINDOW)
    decoder.stride = stride
    made = decoder.decode(hidden, style, method="window" if window else "exact")
    assert torch.equal(made, codes)
    # The plain version rounds the codebook entries (z + (e − z)), and an instance norm over a few
    # nearly equal frames amplifies the difference.
    single = 1e-5 if n_frames >= 12 else 2e-4
    atol = 1e-12 if dtype == torch.float64 else single * float(expected.abs().max())
    torch.testing.assert_close(features(vq, made), expected, atol=atol, rtol=0)


@pytest.mark.parametrize("n_frames", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_clips_of_one_and_two_frames(shape: str, n_frames: int) -> None:
    speech, vq = tiny.stages(3, **SHAPES[shape])
    hidden = encoder_features(speech, n_frames)
    expected, codes = PlainDecoding(speech, vq).decode(hidden, styles(speech))
    made = Decoder(speech, vq).decode(hidden, styles(speech))
    assert torch.equal(made, codes)
    torch.testing.assert_close(features(vq, made), expected)


def test_models_of_these_tests_depend_on_the_motion_history() -> None:
    """Without this, the other tests could not detect a wrong motion history."""
    for shape in SHAPES.values():
        speech, vq = tiny.stages(0, **shape)
        hidden = encoder_features(speech, 20)
        codes = Decoder(speech, vq).decode(hidden, styles(speech))
        assert len(codes.unique()) > 3
        speech.motion_projection.weight.data.zero_()
        assert not torch.equal(Decoder(speech, vq).decode(hidden, styles(speech)), codes)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_codes_do_not_depend_on_future_speech(shape: str, method: Method) -> None:
    speech, vq = tiny.stages(0, **SHAPES[shape])
    hidden, n = encoder_features(speech, 12), 6 * speech.settings.features_per_frame
    other = torch.cat([hidden[:, :n], encoder_features(speech, 6, seed=8)], dim=1)
    decoder = Decoder(speech, vq, DecodeSettings(window_frames=2, refresh_frames=1))
    a, b = (decoder.decode(given, styles(speech), method=method) for given in (hidden, other))
    assert torch.equal(a[:, :6], b[:, :6])
    assert not torch.equal(a[:, 6:], b[:, 6:])


@pytest.mark.parametrize("method", METHODS)
def test_batch_equals_single_clips(method: Method) -> None:
    speech, vq = tiny.stages(0, **SHAPES["biwi"])
    lengths = [5, 11, 1, 11, 8]
    hidden, style = encoder_features(speech, 11, 5), styles(speech, 3)[[0, 1, 2, 0, 1]]
    decoder = Decoder(speech, vq, DecodeSettings(window_frames=3, refresh_frames=2))
    codes = decoder.decode(hidden, style, method=method, lengths=lengths)
    for k, n in enumerate(lengths):
        alone = decoder.decode(hidden[k : k + 1, : 2 * n], style[k : k + 1], method=method)
        assert torch.equal(codes[k : k + 1, :n], alone)
        assert not codes[k, n:].any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_past_codes_replace_the_predicted_history(shape: str, method: Method) -> None:
    """Its own codes as the history change nothing; other codes change only later frames."""
    speech, vq = tiny.stages(0, **SHAPES[shape])
    lengths, style = [9, 12], styles(speech)
    hidden = encoder_features(speech, 12)
    decoder = Decoder(speech, vq, DecodeSettings(window_frames=2, refresh_frames=1))
    free = decoder.decode(hidden, style, method=method, lengths=lengths)
    forced = decoder.decode(hidden, style, method=method, lengths=lengths, past_codes=free)
    assert torch.equal(forced, free)
    other = free.clone()
    other[:, 5:] = (other[:, 5:] + 1) % vq.settings.codebook_size
    forced = decoder.decode(hidden, style, method=method, lengths=lengths, past_codes=other)
    assert torch.equal(forced[:, :6], free[:, :6])
    assert not torch.equal(forced[:, 6:], free[:, 6:])


def test_progress_is_reported_after_each_frame() -> None:
    speech, vq = tiny.stages()
    previous: list[tuple[int, int]] = []
    Decoder(speech, vq).decode(
        encoder_features(speech, 4), styles(speech), progress=lambda *now: previous.append(now)
    )
    assert previous == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_codes_can_be_used_in_training() -> None:
    speech, vq = tiny.stages()
    codes = Decoder(speech, vq).decode(encoder_features(speech, 4), styles(speech))
    vq.decode_features(vq.dequantize(codes)).sum().backward()
    assert vq.quantizer.codebook.grad is not None


# The window ------------------------------------------------------------------------------------


def feedback(
    vq: MotionVQ, latents: Tensor, window: Window | None, every: int = 1
) -> tuple[Tensor, Tensor]:
    """Return (B, T, H) cached feedback, and the same from a plain decode of each prefix.

    With ``every``, only the frames whose numbers are its multiples are returned.
    """
    steps = MotionDecoderCache(vq.decoder, window)
    state = steps.state(len(latents), latents.shape[1], latents)
    previous, plain = [], []
    with torch.no_grad():
        for i in range(latents.shape[1]):
            frame = torch.tensor([i])
            made = steps.step(state, latents[:, i : i + 1], frame, i + 1, None)
            if i % every:
                continue
            previous.append(made)
            prefix = latents[:, : i + 1] if i else latents[:, :1].expand(-1, 2, -1)
            plain.append(vq.decoder.hidden(prefix)[:, -1:])
    return torch.cat(previous, 1), torch.cat(plain, 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_feedback_is_the_newest_frame_of_the_decoded_prefix(shape: str) -> None:
    _, vq = tiny.stages(1, **SHAPES[shape])
    latents = noise(2, 15, vq.settings.latent_size)
    for window in (None, Window(15, 0), Window(8, 7)):
        previous, plain = feedback(vq, latents, window)
        seen = slice(None) if window is None or window.newest == 15 else slice(0, 15)
        torch.testing.assert_close(previous[:, seen], plain[:, seen])


def test_instance_norm_is_accurate_for_long_clips_with_a_large_mean() -> None:
    """Sums of squares in float32 would lose the variance."""
    _, vq = tiny.stages(2)
    vq.decoder.temporal.conv.bias.data += 50
    latents = noise(1, 400, vq.settings.latent_size)
    _, true = feedback(vq, latents, None, every=7)
    previous, plain = feedback(vq.float(), latents.float(), None, every=7)
    ours, theirs = (float((made - true).abs().max()) for made in (previous, plain))
    assert ours < 1.2 * theirs < 0.01, (ours, theirs)


def test_wider_window_is_more_accurate() -> None:
    _, vq = tiny.stages(4, vq={"n_layers": 3})
    latents = noise(4, 60, vq.settings.latent_size)

    def error(newest: int, refreshed: int) -> float:
        previous, plain = feedback(vq, latents, Window(newest, refreshed))
        return float((previous - plain).square().mean() / plain.var())

    errors = [error(1, 0), error(4, 4), error(16, 16)]
    assert errors[0] > errors[1] > errors[2] and errors[1] < 0.05, errors
    assert error(8, 8) < error(16, 0), "refreshing older frames helps more than newer ones"


def test_all_older_frames_are_refreshed_in_rotation() -> None:
    _, vq = tiny.stages(4)
    steps = MotionDecoderCache(vq.decoder, Window(2, 3))
    latents = noise(1, 60, vq.settings.latent_size)
    state = steps.state(1, 60, latents)
    computed: dict[int, list[int]] = {}
    for i in range(60):
        before = state.last_block_inputs.clone()
        with torch.no_grad():
            steps.step(state, latents[:, i : i + 1], torch.tensor([i]), i + 1, None)
        for row in (before != state.last_block_inputs)[0].any(-1).nonzero().flatten().tolist():
            computed.setdefault(row, []).append(i)
    assert sorted(computed) == list(range(60))
    for row, times in computed.items():
        waits = [b - a for a, b in zip(times, [*times[1:], 60], strict=True)]
        assert max(waits) <= 60 / 3 + 2, (row, times)


def test_window_is_exact_while_it_covers_the_prefix() -> None:
    speech, vq = tiny.stages(5)
    hidden, style = encoder_features(speech, 30), styles(speech)
    decoder = Decoder(speech, vq, DecodeSettings(window_frames=6, refresh_frames=3))
    exact, near = (decoder.decode(hidden, style, method=m) for m in ("exact", "window"))
    assert torch.equal(exact[:, :7], near[:, :7])
    assert 0.5 < float((exact == near).float().mean()) < 1


# Matrix products -------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
@pytest.mark.parametrize("rows", [1, 3, 70])
def test_packed_linear_equals_plain_linear(rows: int, activation: Any) -> None:
    x, weight, bias = (noise(*s, dtype=torch.float32) for s in ((2, rows, 20), (40, 20), (40,)))
    expected = torch.nn.functional.linear(x.double(), weight.double(), bias.double())
    if activation == "relu":
        expected = expected.relu()
    if activation == "gelu":
        expected = torch.nn.functional.gelu(expected, approximate="tanh")
    made = PackedLinear(weight, bias, activation)(x)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, expected.float(), atol=1e-5, rtol=1e-5)
    half = PackedLinear(weight, bias, activation, torch.bfloat16)(x)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, expected.float(), atol=0.15, rtol=0.03)


@pytest.mark.parametrize("what", ["no oneDNN", "no such operator"])
def test_codes_are_the_same_without_packed_weights(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    speech, vq = (model.float() for model in tiny.stages(6))
    hidden, style = encoder_features(speech, 12), styles(speech)
    packed = Decoder(speech, vq).decode(hidden, style)

    packing_works.cache_clear()
    if what == "no oneDNN":
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    else:
        monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace())
    try:
        assert not packing_works(torch.float32)
        assert torch.equal(Decoder(speech, vq).decode(hidden, style), packed)
    finally:
        packing_works.cache_clear()


def test_cuda_graphs_are_off_by_default() -> None:
    """They stay off until scripts/gpu_check.py has passed on a GPU."""
    assert not DecodeSettings().cuda_graphs
    assert not checkpoint.load("demo").settings.decode.cuda_graphs


def test_bf16_is_close_and_off_by_default() -> None:
    speech, vq = (model.float() for model in tiny.stages(7))
    hidden, style = encoder_features(speech, 20), styles(speech)
    half = Decoder(speech, vq, DecodeSettings(precision="bf16")).decode(hidden, style)
    full = Decoder(speech, vq).decode(hidden, style)
    assert DecodeSettings().precision == "float32"
    assert float((half[:, :5] == full[:, :5]).float().mean()) > 0.7


# Graphs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", SHAPES)
def test_decoding_step_on_cuda_never_synchronizes(shape: str, method: Method) -> None:
    """A step that synchronizes could not be captured as a graph.

    Fake tensors have a device but no content. Reading a value, or using a tensor on another device,
    is an error.
    """
    sections = tiny.settings(**SHAPES[shape])
    with FakeTensorMode():
        with torch.device("cuda"):
            model = CodeTalker(sections).eval()
            assert model.speech is not None
            per_frame = sections.speech.features_per_frame
            hidden = torch.randn(2, 12 * per_frame, model.speech.encoder.size)
            style = torch.randn(2, sections.speech.hidden_size)
            decoder = Decoder(model.speech, model.vq)
            past = torch.zeros(2, 12, sections.vq.codes_per_frame, dtype=torch.int64)
        decoder.stride = 8
        codes = decoder.decode(hidden, style, method=method, lengths=[12, 10], past_codes=past)
        assert codes.shape == past.shape and codes.device.type == "cuda"
        with pytest.raises(DataDependentOutputException):
            codes.sum().item()


@pytest.mark.parametrize("graphs", [False, True])
def test_graphs_are_captured_only_if_enabled(graphs: bool) -> None:
    """Without a GPU, only the capture fails; all other operations work with fake tensors."""
    sections, n_frames = tiny.settings(), 20
    with FakeTensorMode(), torch.device("cuda"):
        model = CodeTalker(sections).eval()
        assert model.speech is not None
        hidden = torch.randn(2, n_frames, model.speech.encoder.size)
        style = torch.randn(2, sections.speech.hidden_size)
        decoder = Decoder(model.speech, model.vq, DecodeSettings(cuda_graphs=graphs))
        assert decoder.uses_graphs == graphs
        if graphs:
            with pytest.raises((RuntimeError, AssertionError), match=r"CUDA|NVIDIA"):
                decoder.decode(hidden, style)
        else:
            made = decoder.decode(hidden, style, lengths=[n_frames, 14])
            assert made.shape == (2, n_frames, 2)


class FakeStepGraphs:
    """A replacement for the graphs on machines without a GPU.

    Like a capture, it first runs a few steps, which modify the state. Replaying calls the step.
    """

    def __init__(
        self,
        step: Callable[[int], None],
        clear: Callable[[], None],
        n_frames: int,
        device: torch.device,
    ) -> None:
        for n in (4, 12, 8):
            step(n)
        clear()
        self.replay = step


def test_capturing_graphs_does_not_change_the_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codetalker_cli.models.decoding.decoder.StepGraphs", FakeStepGraphs)
    speech, vq = tiny.stages(8)
    hidden, style = encoder_features(speech, 10), styles(speech)
    for method in METHODS:
        decoder = Decoder(speech, vq, DecodeSettings(window_frames=3, refresh_frames=2))
        decoder.stride = 4
        expected = decoder.decode(hidden, style, method=method)
        decoder.uses_graphs = True
        assert torch.equal(decoder.decode(hidden, style, method=method), expected)
