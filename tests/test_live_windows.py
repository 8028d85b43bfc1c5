"""Test the windows of sound from which live streams are decoded."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
import voices

from codetalker_cli.animate import Voice, load_voice
from codetalker_cli.animate.live_windows import HopState, LiveWindows, Window, WindowDecoder
from codetalker_cli.errors import InputError
from codetalker_cli.models import checkpoint
from codetalker_cli.models.decoding import Decoder

WHISPER = {"encoder": {"family": "whisper", "config": tiny.ENCODER_CONFIGS["whisper"]}}
SPEECH: dict[str, dict[str, Any]] = {
    "wav2vec2 with history": {},
    "whisper without history": {**WHISPER, "motion_history": False},
    "two features": {"motion_history": False, "features_per_frame": 2},
}
FPS, SAMPLES = 25, 640  # samples of a frame


def voice_of(folder: Path, kind: str, **decode: Any) -> Voice:
    saved = checkpoint.save(folder, tiny.codetalker(speech=SPEECH[kind]), mesh=voices.mesh("A"))
    return load_voice(saved, device="cpu", decode=decode)


@torch.no_grad()
def decoded(voice: Voice, samples: np.ndarray, n_frames: int) -> np.ndarray:
    """Return the vertices of all frames of a window that is decoded by itself."""
    model = voice.checkpoint.model
    speech = model.speech
    assert speech is not None and voice.checkpoint.mesh is not None
    audio = speech.encoder.prepare(torch.from_numpy(samples)[None])
    hidden = speech.encoder(audio, n_frames)
    missing = n_frames * speech.settings.features_per_frame - hidden.shape[1]
    hidden = torch.cat([hidden, hidden[:, -1:].expand(-1, missing, -1)], dim=1)
    weights = torch.zeros(1, len(voice.styles))
    weights[0, 0] = 1
    codes = Decoder(speech, model.vq).decode(hidden, speech.style(weights))
    template = torch.from_numpy(voice.checkpoint.mesh.templates["A"].astype(np.float32))
    return model.vq.decode(codes, template[None])[0].numpy()


def live(voice: Voice, samples: np.ndarray, lookahead: float) -> np.ndarray:
    """Return the (T, V, 3) vertices of a stream."""
    stream = voice.stream("A", lookahead_seconds=lookahead, idle=False)
    return np.stack([frame.vertices for frame in stream.feed(samples) + stream.finish()])


@pytest.mark.parametrize("kind", SPEECH)
def test_each_hop_is_decoded_from_its_own_sound(tmp_path: Path, kind: str) -> None:
    """With 0.4 s before a hop of 2 frames, and a look-ahead of 0.2 s that begins with the hop."""
    decode = {"live_left_seconds": 0.4, "initial_silence_seconds": 0.2}
    if "whisper" in kind:
        decode["live_refresh_seconds"] = 0
    voice = voice_of(tmp_path / "voice", kind, **decode)
    samples, n_frames, silent, first_eased = voices.speech(1.6), 40, 5, 4
    faces = live(voice, samples, 0.2)
    assert len(faces) == n_frames
    padded = np.pad(samples, (silent * SAMPLES, SAMPLES * 5))
    for hop in range(first_eased, n_frames, 2):
        start = max(hop - 10, -silent)
        cut = padded[(start + silent) * SAMPLES : (hop + 5 + silent) * SAMPLES]
        alone = decoded(voice, cut, hop + 5 - start)[hop - start : hop - start + 2]
        np.testing.assert_allclose(faces[hop : hop + 2], alone, rtol=1e-4, atol=1e-4)


def test_windows_are_decoded_the_same_after_hours(tmp_path: Path) -> None:
    voice = voice_of(tmp_path / "voice", "whisper without history")
    decoder = WindowDecoder(voice.checkpoint.model, voice.decode)
    style = decoder.style(np.array([1, 0, 0], np.float32))
    sound = voices.speech(2.2)

    def decode(first: int) -> list[torch.Tensor]:
        hidden, state = [], None
        for shift in range(0, 4, 2):
            samples = sound[shift * SAMPLES : shift * SAMPLES + 32_000]
            window = Window(samples, first + shift, 45, 50, style, state)
            decoded = decoder.decode([window])[0]
            hidden.append(decoded.hidden)
            state = decoded.state
        return hidden

    for early, late in zip(decode(0), decode(1000 * 3600 * FPS), strict=True):
        torch.testing.assert_close(late, early, rtol=0, atol=1e-6)


def test_a_window_can_be_longer_than_the_position_table(tmp_path: Path) -> None:
    config = tiny.ENCODER_CONFIGS["whisper"] | {"max_source_positions": 500}  # 10 s
    model = tiny.codetalker(
        speech={"encoder": {"family": "whisper", "config": config}, "motion_history": False}
    )
    saved = checkpoint.save(tmp_path / "voice", model, mesh=voices.mesh("A"))
    voice = load_voice(saved, device="cpu", decode={"live_left_seconds": 9})
    assert len(live(voice, voices.speech(10.0), 2.0)) == 250


def test_speech_after_a_pause_is_animated_as_at_the_start(tmp_path: Path) -> None:
    kind = "whisper without history"
    voice = voice_of(tmp_path / "voice", kind, initial_silence_seconds=0.2)
    speech, pause = voices.speech(0.8), np.zeros(80 * SAMPLES, np.float32)  # 4 × 10 hops
    expected = live(voice, speech, 0.2)
    later = live(voice, np.concatenate([pause, speech]), 0.2)
    # The face begins to move before the speech, because the look-ahead contains it.
    np.testing.assert_allclose(later[80 + 4 :], expected[4:], atol=1e-6)


@pytest.mark.parametrize("lookahead", [0.08, 0.32, 0.8, 1.0, 2.0])
def test_any_look_ahead_reaches_from_silence_into_speech(tmp_path: Path, lookahead: float) -> None:
    """The silence before speech is shortened to 5 frames, but never beyond the hop."""
    kind, pause, ahead = "whisper without history", 75, round(lookahead * FPS)
    decode = {"live_left_seconds": 0.4, "live_refresh_seconds": 0, "initial_silence_seconds": 0.2}
    voice = voice_of(tmp_path / "voice", kind, **decode)
    sound = np.concatenate([np.zeros(pause * SAMPLES, np.float32), voices.speech(0.8)])
    faces = live(voice, sound, lookahead)
    assert len(faces) == pause + 20
    padded = np.pad(sound, (0, ahead * SAMPLES))
    hop = min(2, ahead // 2)
    first = next(h for h in range(0, len(faces), hop) if h + ahead > pause)
    for at in range(first + 4, len(faces) - hop, hop):
        start = max(at - 10, min(at, pause - 5))
        cut = padded[start * SAMPLES : (at + ahead) * SAMPLES]
        alone = decoded(voice, cut, at + ahead - start)[at - start : at - start + hop]
        np.testing.assert_allclose(faces[at : at + hop], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("wrong", [(-1.0, 0.1, 0.1), (1.0, 0.0, 0.1), (1.0, 0.1, -0.1)])
def test_invalid_lengths_are_refused(wrong: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="the hop must be above 0 s"):
        LiveWindows(*wrong)


def test_kept_frames_change_no_code(tmp_path: Path) -> None:
    """Windows that start with the same frame have the same positions with and without them."""
    voice = voice_of(tmp_path / "voice", "whisper without history")
    decoder = WindowDecoder(voice.checkpoint.model, voice.decode)
    style, sound = decoder.style(np.array([1, 0, 0], np.float32)), voices.speech(3.0)
    state, n_kept = None, []
    for n_frames in range(30, 70, 5):
        window = Window(sound[: n_frames * SAMPLES], 0, n_frames - 5, n_frames, style, state)
        result = decoder.decode([window])[0]
        if state is not None:
            assert state.frames is not None
            n_kept.append(len(state.frames.codes))
            without = replace(window, state=HopState(state.encoder))
            expected = decoder.decode([without])[0]
            torch.testing.assert_close(result.hidden, expected.hidden, rtol=0, atol=1e-5)
        state = result.state
    # The newest 0.4 s of features change, so that 11 or 12 of the frames do.
    assert all(0 < n - kept <= 12 for n, kept in zip(range(30, 65, 5), n_kept, strict=True))
