"""Recordings are loaded as mono at 16 kHz, and unusable ones are refused in one line."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from codetalker_cli import audio
from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.errors import InputError

HZ = 440.0
AMPLITUDE = 0.4


def sine(seconds: float, rate: int, hz: float = HZ) -> np.ndarray:
    return (AMPLITUDE * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(
        np.float32
    )


def measured(samples: np.ndarray, rate: int) -> tuple[float, float]:
    """Return the frequency and amplitude of the strongest tone in (n,) windowed samples."""
    n = len(samples)
    window = np.hanning(n)
    spectrum = np.abs(np.fft.rfft(samples * window, 8 * n))
    peak = int(spectrum.argmax())
    return peak * rate / (8 * n), 2 * spectrum[peak] / window.sum()


def write(path: Path, samples: np.ndarray, rate: int = SAMPLE_RATE, **more: str) -> Path:
    soundfile.write(path, samples, rate, **more)
    return path


# Unusable recordings ---------------------------------------------------------------------------


def with_bad_samples(value: float) -> np.ndarray:
    samples = sine(1, SAMPLE_RATE)
    samples[777] = value
    return samples


BAD_WAVS = {
    "no samples": (np.zeros(0, np.float32), "contains no audio samples"),
    "silent": (np.zeros(SAMPLE_RATE, np.float32), r"is silent \(all samples are 0\)"),
    "almost silent": (
        np.full(SAMPLE_RATE, 5e-5, np.float32),
        r"is silent \(its peak is -86 dBFS, at least -80 dBFS is needed\)",
    ),
    "0.1 s": (sine(0.1, SAMPLE_RATE), r"is 0\.10 s long; at least 0\.2 s"),
    "NaN": (with_bad_samples(np.nan), "1 sample is NaN or infinite .first at sample 777"),
    "infinite": (with_bad_samples(np.inf), "NaN or infinite"),
}


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        audio.load(path)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    assert caught.value.exit_code == 2
    return message


@pytest.mark.parametrize("kind", BAD_WAVS)
def test_unusable_recordings_are_refused(tmp_path: Path, kind: str) -> None:
    samples, message = BAD_WAVS[kind]
    path = write(tmp_path / "speech.wav", samples, subtype="FLOAT")
    with pytest.raises(InputError, match=message):
        audio.load(path)
    refusal(path)


def test_a_nan_in_one_channel_at_another_rate_is_refused(tmp_path: Path) -> None:
    samples = np.stack([sine(1, 48_000)] * 8, axis=1)
    samples[5, 3] = np.nan
    assert "first at sample 5" in refusal(
        write(tmp_path / "a.wav", samples, 48_000, subtype="FLOAT")
    )


def test_files_other_than_audio_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.wav"
    text.write_text("This is not a recording.\n")
    empty = tmp_path / "empty.wav"
    empty.touch()
    folder = tmp_path / "folder.wav"
    folder.mkdir()
    assert "convert it to wav, flac, ogg or mp3" in refusal(text)
    assert "0 bytes" in refusal(empty)
    assert "is a folder" in refusal(folder)
    assert "no such audio file" in refusal(tmp_path / "missing.wav")


def test_a_picture_is_refused(tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "picture.png"
    Image.new("RGB", (8, 8)).save(path)
    refusal(path)


# Usable recordings -----------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 96_000])
@pytest.mark.parametrize("n_channels", [1, 2, 8])
def test_all_rates_and_channels_become_mono_16_khz(
    tmp_path: Path, rate: int, n_channels: int
) -> None:
    path = write(tmp_path / "speech.wav", np.stack([sine(1, rate)] * n_channels, axis=1), rate)
    samples = audio.load(path)
    assert samples.shape == (SAMPLE_RATE,) and samples.dtype == np.float32
    hz, amplitude = measured(samples, SAMPLE_RATE)
    assert hz == pytest.approx(HZ, abs=0.5)
    assert amplitude == pytest.approx(AMPLITUDE, rel=0.01)


def test_channels_are_averaged() -> None:
    stereo = np.array([[1.0, 0.0], [0.5, -0.5], [0.25, 0.75]])
    assert np.allclose(audio.to_mono(stereo), [0.5, 0.0, 0.5])
    assert np.allclose(audio.to_mono(stereo[:, 0]), stereo[:, 0])


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".mp3", ".aiff"])
def test_formats_that_soundfile_reads(tmp_path: Path, suffix: str) -> None:
    samples = audio.load(write(tmp_path / f"speech{suffix}", sine(1, 44_100), 44_100))
    assert len(samples) == pytest.approx(SAMPLE_RATE, abs=0.1 * SAMPLE_RATE)
    hz, amplitude = measured(samples, SAMPLE_RATE)
    assert hz == pytest.approx(HZ, abs=1)
    assert amplitude == pytest.approx(AMPLITUDE, rel=0.1)


def test_the_format_is_detected_from_the_content(tmp_path: Path) -> None:
    path = write(tmp_path / "speech.flac", sine(1, SAMPLE_RATE)).rename(tmp_path / "speech.wav")
    assert len(audio.load(path)) == SAMPLE_RATE


def ffmpeg(*words: str) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *words]
    subprocess.run(command, check=True)


@pytest.mark.parametrize("suffix", [".m4a", ".mp4", ".mkv"])
def test_containers_that_only_ffmpeg_reads(tmp_path: Path, suffix: str) -> None:
    wav = write(tmp_path / "speech.wav", sine(1, 44_100), 44_100)
    path = tmp_path / f"a name with spaces{suffix}"
    picture = (
        ["-f", "lavfi", "-i", "color=size=64x64:rate=5:duration=1"] if suffix == ".mp4" else []
    )
    ffmpeg("-i", str(wav), *picture, str(path))
    samples = audio.load(path)
    assert len(samples) == pytest.approx(SAMPLE_RATE, abs=0.1 * SAMPLE_RATE)
    hz, amplitude = measured(samples, SAMPLE_RATE)
    assert hz == pytest.approx(HZ, abs=1)
    assert amplitude == pytest.approx(AMPLITUDE, rel=0.1)


def test_a_video_without_sound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mute.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=size=64x64:rate=5:duration=1", str(path))
    refusal(path)


# Resampling ------------------------------------------------------------------------------------


@given(
    hz=st.floats(60, 3_000),
    rates=st.permutations([8_000, 11_025, 16_000, 24_000, 44_100, 48_000, 96_000]),
)
def test_resampling_keeps_tones(hz: float, rates: list[int]) -> None:
    rate_in, rate_out = rates[:2]
    tone = sine(0.5, rate_in, hz)
    samples = audio.resample(tone, rate_in, rate_out)
    assert len(samples) == pytest.approx(len(tone) * rate_out / rate_in, abs=1)
    got_hz, amplitude = measured(samples, rate_out)
    assert got_hz == pytest.approx(hz, abs=1)
    assert amplitude == pytest.approx(AMPLITUDE, rel=0.02)


def test_resampling_removes_tones_above_the_new_nyquist_frequency() -> None:
    samples = audio.resample(sine(0.5, 48_000, 11_000), 48_000, 16_000)
    assert np.abs(samples[200:-200]).max() < 0.01 * AMPLITUDE


@pytest.mark.parametrize("rate", [22_051, 47_999, 7_993])
def test_unusual_rates_are_resampled_like_nearby_common_rates(rate: int) -> None:
    whole = rate // 100 * 100  # a nearby rate with a small filter
    odd, near = (audio.resample(sine(0.7, r, 440), r, SAMPLE_RATE) for r in (rate, whole))
    assert abs(len(odd) - 0.7 * SAMPLE_RATE) <= 2
    n = min(len(odd), len(near)) - 300
    np.testing.assert_allclose(odd[300:n], near[300:n], atol=0.01 * AMPLITUDE)
    if rate > SAMPLE_RATE:
        above = audio.resample(sine(0.5, rate, 10_000), rate, SAMPLE_RATE)
        assert np.abs(above[400:-400]).max() < 0.01 * AMPLITUDE


@given(n=st.integers(0, 10**9), fps=st.sampled_from([24, 25, 30, 50, 60, 120]))
def test_whole_frames_are_counted_exactly(n: int, fps: int) -> None:
    assert audio.whole_frames(n, SAMPLE_RATE, float(fps)) == n * fps // SAMPLE_RATE
    assert audio.whole_frames(n, 50, float(fps)) == n * fps // 50


def test_the_same_rate_changes_nothing() -> None:
    samples = sine(0.3, SAMPLE_RATE)
    assert np.array_equal(audio.resample(samples, SAMPLE_RATE, SAMPLE_RATE), samples)
    assert len(audio.resample(np.zeros(0, np.float32), 8_000, SAMPLE_RATE)) == 0


def test_a_file_name_with_a_colon_is_not_a_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tone = np.sin(np.arange(16000) * 0.1).astype(np.float32) * 0.5
    soundfile.write("plain.wav", tone, 16000)
    ffmpeg("-i", "plain.wav", "plain.m4a")  # a format that only ffmpeg reads
    Path("plain.m4a").rename("10:30.m4a")
    assert len(audio.load("10:30.m4a")) == pytest.approx(16000, abs=2100)


def test_headerless_audio_is_refused(tmp_path: Path) -> None:
    raw = tmp_path / "speech.raw"
    raw.write_bytes(bytes(32000))
    with pytest.raises(InputError, match=r"speech\.raw: not an audio file"):
        audio.load(raw)


@pytest.mark.parametrize("opposite", [-1.0, -0.9, -1.1])
def test_of_channels_that_cancel_each_other_the_loudest_is_used(
    tmp_path: Path, opposite: float, caplog: pytest.LogCaptureFixture
) -> None:
    tone = np.sin(np.arange(16000) * 0.1).astype(np.float32) * 0.5
    stereo = np.stack([tone, opposite * tone], axis=1)
    soundfile.write(tmp_path / "anti.wav", stereo, 16000, subtype="FLOAT")
    samples = audio.load(tmp_path / "anti.wav")
    np.testing.assert_allclose(np.abs(samples).max(), 0.5 * max(1, -opposite), rtol=1e-3)
    assert "2 channels cancel each other" in caplog.text
    np.testing.assert_array_equal(audio.to_mono(stereo), samples)
