"""Test decoding in windows of sound, as a live stream does."""

from typing import Any

import numpy as np
import pytest
import tiny
import torch
import voices

from codetalker_cli.animate.live_windows import LiveWindows, WindowDecoder, plan_windows
from codetalker_cli.errors import InputError
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.decoding import Decoder
from codetalker_cli.settings import DecodeSettings

WHISPER = {"encoder": {"family": "whisper", "config": tiny.ENCODER_CONFIGS["whisper"]}}
SPEECH: dict[str, dict[str, Any]] = {
    "wav2vec2 with history": {},
    "whisper without history": {**WHISPER, "motion_history": False},
    "two features": {"motion_history": False, "features_per_frame": 2},
}
STYLE = np.array([0.2, 0.8, 0.0], np.float32)


@torch.no_grad()
def decoded(model: CodeTalker, samples: np.ndarray, n_frames: int) -> torch.Tensor:
    """Return the hidden states of all frames of a recording that is decoded as a whole."""
    speech = model.speech
    assert speech is not None
    audio = speech.encoder.prepare(torch.from_numpy(samples)[None])
    hidden = speech.encoder(audio, n_frames)
    missing = n_frames * speech.settings.features_per_frame - hidden.shape[1]
    hidden = torch.cat([hidden, hidden[:, -1:].expand(-1, missing, -1)], dim=1)
    codes = Decoder(speech, model.vq).decode(hidden, speech.style(torch.from_numpy(STYLE)[None]))
    return model.vq.decode_hidden(codes)[0]


@pytest.mark.parametrize("n_frames", [1, 2, 7, 30, 31, 100])
@pytest.mark.parametrize("lengths", [LiveWindows(), LiveWindows(0, 0.01, 0), LiveWindows(9, 9, 9)])
def test_windows_keep_each_frame_once(n_frames: int, lengths: LiveWindows) -> None:
    windows = list(plan_windows(n_frames, 30.0, lengths))
    kept = [frame for window in windows for frame in range(window.first, window.end)]
    assert kept == list(range(n_frames))
    for window in windows:
        assert 0 <= window.start <= window.first < window.end <= window.stop <= n_frames


def test_windows_have_the_given_lengths() -> None:
    windows = list(plan_windows(300, 30.0, LiveWindows(1.0, 0.1, 0.13)))
    middle = windows[50]
    assert (middle.first, middle.start, middle.end, middle.stop) == (150, 120, 153, 157)


@pytest.mark.parametrize("kind", SPEECH)
def test_each_hop_is_decoded_from_its_own_sound(kind: str) -> None:
    model, n_frames = tiny.codetalker(speech=SPEECH[kind]), 40
    samples = voices.speech(n_frames / 25)
    lengths = LiveWindows(0.4, 0.12, 0.2)
    hidden = WindowDecoder(model, DecodeSettings(batch_size=3), lengths).decode(samples, STYLE)
    assert hidden.shape[0] == n_frames
    windows = list(plan_windows(n_frames, 25.0, lengths))
    assert len({window.stop - window.start for window in windows}) > 3
    for window in windows:
        cut = samples[window.start * 640 : window.stop * 640]
        alone = decoded(model, cut, window.stop - window.start)
        kept = alone[window.first - window.start : window.end - window.start]
        torch.testing.assert_close(hidden[window.first : window.end], kept, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", SPEECH)
def test_a_window_with_all_sound_equals_decoding_the_whole(kind: str) -> None:
    model, samples = tiny.codetalker(speech=SPEECH[kind]), voices.speech(1.6)
    hidden = WindowDecoder(model, DecodeSettings(), LiveWindows(9, 0.2, 9)).decode(samples, STYLE)
    torch.testing.assert_close(hidden, decoded(model, samples, 40), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("wrong", [(-1.0, 0.1, 0.1), (1.0, 0.0, 0.1), (1.0, 0.1, -0.1)])
def test_invalid_lengths_are_refused(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="the hop must be above 0 s"):
        LiveWindows(*wrong)
