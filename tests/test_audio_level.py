"""Levels: quiet speech is raised for the encoder, noise and near silence are not."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from codetalker_cli import audio, resources
from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.audio.level import SpeechLevel, integer_scale, raise_quiet_speech

SPEECH = audio.load(resources.asset("sample.wav"))[: 4 * SAMPLE_RATE]
TIMES = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
RNG = np.random.default_rng(0)
NOISES = {
    "white noise": RNG.normal(0, 1e-3, len(TIMES)),
    "loud white noise": RNG.normal(0, 1e-2, len(TIMES)),
    "rumble": 1e-4 * np.cumsum(RNG.normal(0, 1, len(TIMES))),
    "hum": 3e-3 * np.sin(2 * np.pi * 100 * TIMES) + RNG.normal(0, 1e-4, len(TIMES)),
    "clicks": 0.05 * (RNG.random(len(TIMES)) < 3e-4),
    "gusts": RNG.normal(0, 3e-3, len(TIMES)) * (np.sin(2 * np.pi * TIMES) > 0),
    "silence": np.zeros(len(TIMES)),
}


def rms_db(samples: np.ndarray) -> float:
    return 10 * float(np.log10(np.mean(np.square(samples, dtype=np.float64))))


def test_speech_of_a_normal_level_is_unchanged() -> None:
    leveled = raise_quiet_speech(SPEECH)
    assert leveled.samples is SPEECH and leveled.gain_db == 0


@pytest.mark.parametrize("attenuation", [20, 30, 40, 50])
def test_quiet_speech_is_raised_to_one_level(attenuation: int) -> None:
    quiet = (SPEECH * 10 ** (-attenuation / 20)).astype(np.float32)
    leveled = raise_quiet_speech(quiet)
    assert rms_db(leveled.samples) == pytest.approx(rms_db(SPEECH) - 4, abs=2)
    assert leveled.gain_db == pytest.approx(attenuation - 3, abs=3)


@pytest.mark.parametrize("name", NOISES)
def test_sound_without_speech_keeps_its_level(name: str) -> None:
    noise = NOISES[name].astype(np.float32)
    assert raise_quiet_speech(noise).samples is noise


def test_noise_around_quiet_speech_does_not_hide_it() -> None:
    quiet = (SPEECH * 0.01 + RNG.normal(0, 1e-4, len(SPEECH))).astype(np.float32)
    assert raise_quiet_speech(quiet).gain_db > 25


@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(0, len(SPEECH)), max_size=6))
def test_a_live_stream_gets_the_gains_of_the_whole(cuts: list[int]) -> None:
    quiet = (SPEECH * 0.01).astype(np.float32)
    stream, whole = SpeechLevel(), SpeechLevel().update(quiet)
    gains = np.concatenate([stream.update(part) for part in np.split(quiet, sorted(cuts))])
    np.testing.assert_array_equal(gains, whole)


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_floating_point_samples_on_the_scale_of_integers_are_divided(
    tmp_path: Path, bits: int, caplog: pytest.LogCaptureFixture
) -> None:
    scale = 2.0 ** (bits - 1)
    path = tmp_path / "big.wav"
    soundfile.write(path, SPEECH * scale, SAMPLE_RATE, subtype="DOUBLE")
    np.testing.assert_allclose(audio.load(path), SPEECH, atol=1e-6)
    assert f"scale of {bits}-bit integers" in caplog.text
    audio.write_playback(path, tmp_path / "playback.wav")
    played, _ = soundfile.read(tmp_path / "playback.wav", dtype="float32")
    np.testing.assert_allclose(played, SPEECH, atol=1e-6)


@pytest.mark.parametrize(("peak", "scale"), [(1.0, 1.0), (3.9, 1.0), (300, 2**15), (1e5, 2**23)])
def test_scale_follows_from_the_peak(peak: float, scale: float) -> None:
    assert integer_scale(peak) == scale
