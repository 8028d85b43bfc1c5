"""Encoding of long speech: convolutions in exact blocks, and attention in windows."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.models.speech_encoders import long_audio, whisper
from codetalker_cli.models.speech_encoders.encoder import AudioEncoder
from codetalker_cli.models.speech_encoders.long_audio import apply_in_windows, convolve

CONVOLUTIONAL = ("wav2vec2", "hubert", "wavlm")


def encoder(family: str, fps: float = 25, per_frame: int = 1, **config: Any) -> AudioEncoder:
    settings = tiny.encoder_settings(family)
    settings = settings.model_copy(update={"config": settings.config | config})
    made = AudioEncoder(settings, float(fps), per_frame).double().eval()
    tiny.randomize(made, 3)
    return made


def speech(seconds: float, n_clips: int = 1) -> Tensor:
    """Return noise that gets louder, so that a part has other statistics than the whole."""
    generator = torch.Generator().manual_seed(0)
    n = round(seconds * SAMPLE_RATE)
    samples = torch.randn(n_clips, n, generator=generator, dtype=torch.float64)
    return samples * torch.linspace(0.02, 0.4, n, dtype=torch.float64)


# Convolutions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_convolutions_in_blocks_equal_one_pass(
    family: str, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = encoder(family, feat_extract_norm=norm)
    audio = speech(2.0, 2)
    with torch.no_grad():
        whole = convolve(made.model.feature_extractor, audio)
        assert torch.equal(whole, made.model.feature_extractor(audio))
        for block in (7, 50, 98):
            monkeypatch.setattr(long_audio, "BLOCK_FEATURES", block)
            torch.testing.assert_close(convolve(made.model.feature_extractor, audio), whole)


@pytest.mark.parametrize("block", [7, 64, 130])
def test_spectrogram_in_blocks_equals_one_pass(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    audio = speech(1.3, 2)
    whole = whisper.log_mel(audio, 80)
    monkeypatch.setattr(whisper, "BLOCK_SPECTRA", block)
    torch.testing.assert_close(whisper.log_mel(audio, 80), whole)


# Windows ---------------------------------------------------------------------------------------


@given(
    n=st.integers(1, 90), half=st.integers(1, 4), rest=st.integers(1, 5), factor=st.integers(1, 2)
)
def test_windows_are_joined_without_shifts(n: int, half: int, rest: int, factor: int) -> None:
    """A function of each position alone has the same result as in one pass."""
    overlap, window = 2 * factor * half, 2 * factor * (half + rest)
    x = torch.arange(n, dtype=torch.float64)[None, :, None]
    seen: list[int] = []

    def run(part: Tensor) -> Tensor:
        seen.append(part.shape[1])
        return part[:, ::factor]

    made = apply_in_windows(run, x, window=window, overlap=overlap, factor=factor)
    assert torch.equal(made, x[:, ::factor])
    assert max(seen) <= window and (len(seen) == 1) == (n <= window)


@pytest.mark.parametrize(
    ("family", "fps", "per_frame"),
    [("wav2vec2", 30, 1), ("hubert", 25, 2), ("wavlm", 25, 1), ("whisper", 30, 1)],
)
def test_windows_equal_one_pass_except_for_attention(
    family: str, fps: float, per_frame: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without attention, the receptive field is smaller than the overlap of 4 s."""
    made = encoder(family, fps, per_frame)
    for name, parameter in made.model.named_parameters():
        if "out_proj" in name:  # the output projection of the attention
            parameter.data.zero_()
    audio = made.prepare(speech(14.0))

    def encode(seconds: int) -> Tensor:
        if family == "whisper":
            made.model.config = replace(made.model.config, max_source_positions=50 * seconds)
            # The position table must be zero, because positions start at 0 in each window.
            made.model.embed_positions.weight.data.zero_()
            made.model.embed_positions.weight.data.resize_(3000, made.size).zero_()
        monkeypatch.setattr("codetalker_cli.models.speech_encoders.encoder.WINDOW_SECONDS", seconds)
        with torch.no_grad():
            return made(audio)

    windows, whole = encode(6), encode(60)
    assert windows.shape == whole.shape
    torch.testing.assert_close(windows, whole)
    assert float(whole.std(1).min()) > 0


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_each_half_of_an_overlap_comes_from_its_window(family: str) -> None:
    made = encoder(family, 25, 2)  # two features per frame are not interpolated
    audio = made.prepare(speech(33.0))

    def transformer(fixed: Tensor) -> Tensor:
        projected = made.model.feature_projection(fixed)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        return made.model.encoder(hidden).last_hidden_state

    with torch.no_grad():
        fixed = convolve(made.model.feature_extractor, audio).transpose(1, 2)
        got = made(audio)
        assert 1600 < got.shape[1] <= fixed.shape[1]
        fixed = fixed[:, : got.shape[1]]  # drop a feature that does not fill a frame
        first, second = transformer(fixed[:, :1500]), transformer(fixed[:, 1300:])
    torch.testing.assert_close(got[:, :1400], first[:, :1400])
    torch.testing.assert_close(got[:, 1400:], second[:, 100:])


def test_number_of_frames_of_long_speech() -> None:
    made = encoder("whisper", 30)
    for seconds in (29.9, 30.0, 30.1, 61.3):
        with torch.no_grad():
            frames = made(speech(seconds)).shape[1]
        assert abs(frames - 30 * seconds) <= 1 and np.isfinite(frames)
