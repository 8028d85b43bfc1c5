"""Speech beyond one pass of an encoder: exact blocks of convolutions, windows of attention."""

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
    """Louder toward the end, so that statistics of a part are not those of the whole."""
    generator = torch.Generator().manual_seed(0)
    n = round(seconds * SAMPLE_RATE)
    samples = torch.randn(n_clips, n, generator=generator, dtype=torch.float64)
    return samples * torch.linspace(0.02, 0.4, n, dtype=torch.float64)


# Convolutions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_blocks_of_convolutions_give_what_one_pass_gives(
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
def test_blocks_of_the_spectrogram_give_what_one_pass_gives(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = speech(1.3, 2)
    whole = whisper.log_mel(audio, 80)
    monkeypatch.setattr(whisper, "BLOCK_SPECTRA", block)
    torch.testing.assert_close(whisper.log_mel(audio, 80), whole)


# Windows ---------------------------------------------------------------------------------------


@given(
    n=st.integers(1, 90), half=st.integers(1, 4), rest=st.integers(1, 5), factor=st.integers(1, 2)
)
def test_windows_are_joined_at_the_right_places(n: int, half: int, rest: int, factor: int) -> None:
    """What depends on nothing but its own place comes out as in one pass."""
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
def test_all_but_attention_gives_in_windows_what_one_pass_gives(
    family: str, fps: float, per_frame: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Convolutions, positions, alignment with the frames: an overlap of 4 s is wider than they
    reach, so that nothing of a seam is left."""
    made = encoder(family, fps, per_frame)
    for name, parameter in made.model.named_parameters():
        if "out_proj" in name:  # of the attention
            parameter.data.zero_()
    audio = made.prepare(speech(14.0))

    def heard(seconds: int) -> Tensor:
        if family == "whisper":
            made.model.config = replace(made.model.config, max_source_positions=50 * seconds)
            # Positions count from each window's start.
            made.model.embed_positions.weight.data.zero_()
            made.model.embed_positions.weight.data.resize_(3000, made.size).zero_()
        monkeypatch.setattr("codetalker_cli.models.speech_encoders.encoder.WINDOW_SECONDS", seconds)
        with torch.no_grad():
            return made(audio)

    windows, whole = heard(6), heard(60)
    assert windows.shape == whole.shape
    torch.testing.assert_close(windows, whole)
    assert float(whole.std(1).min()) > 0


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_each_side_of_a_seam_is_what_its_own_window_gives(family: str) -> None:
    made = encoder(family, 25, 2)  # with two features a frame, none is interpolated
    audio = made.prepare(speech(33.0))

    def transformer(fixed: Tensor) -> Tensor:
        projected = made.model.feature_projection(fixed)
        hidden = projected[0] if isinstance(projected, tuple) else projected
        return made.model.encoder(hidden).last_hidden_state

    with torch.no_grad():
        fixed = convolve(made.model.feature_extractor, audio).transpose(1, 2)
        got = made(audio)
        assert 1600 < got.shape[1] <= fixed.shape[1]
        fixed = fixed[:, : got.shape[1]]  # as many as there are frames
        first, second = transformer(fixed[:, :1500]), transformer(fixed[:, 1300:])
    torch.testing.assert_close(got[:, :1400], first[:, :1400])
    torch.testing.assert_close(got[:, 1400:], second[:, 100:])


def test_speech_of_any_length_gives_its_frames() -> None:
    made = encoder("whisper", 30)
    for seconds in (29.9, 30.0, 30.1, 61.3):
        with torch.no_grad():
            frames = made(speech(seconds)).shape[1]
        assert abs(frames - 30 * seconds) <= 1 and np.isfinite(frames)
