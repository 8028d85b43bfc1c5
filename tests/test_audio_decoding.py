"""Decoding: each container gives the same samples at the same time and reports missing ones."""

import struct
import subprocess
import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile

from codetalker_cli import audio, media, resources
from codetalker_cli.audio import SAMPLE_RATE, decoding, resampling
from codetalker_cli.errors import InputError
from codetalker_cli.settings import limits

SECONDS = 2.0
SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]

# Codec options by file name. The rates are those that the codecs are usually used with.
SOUND_FILES = {
    "s16.wav": "-c:a pcm_s16le",
    "u8.wav": "-c:a pcm_u8",
    "ulaw.wav": "-c:a pcm_mulaw",
    "adpcm.wav": "-c:a adpcm_ima_wav",
    "s16.w64": "",
    "s16.aiff": "",
    "s16.caf": "",
    "s16.au": "",
    "a.flac": "",
    "vorbis.ogg": "-c:a libvorbis -ar 44100",
    "a.opus": "-c:a libopus",
    "a.mp3": "-ar 44100",
    "low.mp3": "-ar 16000 -b:a 24k",
    "a.mp2": "-ar 44100",
    "a.m4a": "-c:a aac -ar 44100",
    "alac.m4a": "-c:a alac",
    "a.aac": "-ar 44100",
    "a.ac3": "-ar 48000",
    "a.eac3": "-ar 48000",
    "a.wma": "-c:a wmav2 -ar 44100",
    "v1.wma": "-c:a wmav1 -ar 16000",
    "opus.mka": "-c:a libopus",
    "a.wv": "",
    "a.tta": "",
    "a.amr": "-ar 8000 -ac 1",
}
VIDEO_FILES = {
    "aac.mp4": "-c:a aac -ar 48000",
    "mp3.mp4": "-c:a libmp3lame -ar 44100",
    "pcm.mov": "-c:a pcm_s16le",
    "opus.mkv": "-c:a libopus",
    "opus.webm": "-c:v libvpx -c:a libopus",
    "vorbis.webm": "-c:v libvpx -c:a libvorbis -ar 44100",
    "v.avi": "-c:v mpeg4 -c:a libmp3lame -ar 44100",
    "v.flv": "-c:v flv -c:a aac -ar 44100",
    "v.wmv": "-c:v wmv2 -c:a wmav2 -ar 44100",
    "v.mpg": "-c:v mpeg1video -c:a mp2 -ar 44100",
    "v.ts": "-c:a aac -ar 48000",
    "v.mts": "-c:a ac3 -ar 48000 -f mpegts -mpegts_m2ts_mode 1",
    "v.ogv": "-c:v libtheora -c:a libvorbis -ar 44100",
}
# AVI and MXF store no start time; our encoder writes none for Windows Media.
LATE_FILES = {name: VIDEO_FILES[name] for name in VIDEO_FILES if name not in ("v.avi", "v.wmv")}


def ffmpeg(*words: str) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *words]
    subprocess.run(command, check=True)


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return audio.load(resources.asset("sample.wav"))[: round(SECONDS * SAMPLE_RATE)]


@pytest.fixture(scope="module")
def wav(speech: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    soundfile.write(path, speech, SAMPLE_RATE)
    return path


def lag_ms(samples: np.ndarray, speech: np.ndarray) -> float:
    """Return by how much samples are later than speech."""
    size = 1 << 18
    spectrum = np.fft.rfft(samples, size) * np.conj(np.fft.rfft(speech, size))
    lag = int(np.fft.irfft(spectrum, size).argmax())
    return (lag if lag < size // 2 else lag - size) / SAMPLE_RATE * 1000


def playback(path: Path, folder: Path) -> np.ndarray:
    audio.write_playback(path, folder / "playback.wav")
    samples, rate = soundfile.read(folder / "playback.wav", dtype="float32", always_2d=True)
    return audio.resample(samples.mean(axis=1), rate, SAMPLE_RATE)


def with_video(wav: Path, path: Path, options: str, late: float = 0.0) -> Path:
    color = f"color=size=32x32:rate=25:duration={SECONDS + late}"
    offset = ["-itsoffset", str(late)] if late else []
    ffmpeg(
        *("-f", "lavfi", "-i", color, *offset, "-i", str(wav), "-map", "0", "-map", "1"),
        *(*options.split(), str(path)),
    )
    return path


@pytest.mark.parametrize("name", SOUND_FILES)
def test_sound_files_start_at_the_same_moment(
    tmp_path: Path, wav: Path, speech: np.ndarray, name: str
) -> None:
    path = tmp_path / name
    ffmpeg("-i", str(wav), *SOUND_FILES[name].split(), str(path))
    samples = audio.load(path)
    assert abs(lag_ms(samples, speech)) < 25
    assert len(samples) == pytest.approx(len(speech), abs=0.12 * SAMPLE_RATE)
    assert abs(lag_ms(playback(path, tmp_path), samples)) < 1


@pytest.mark.parametrize("name", VIDEO_FILES)
def test_videos_start_at_the_same_moment(
    tmp_path: Path, wav: Path, speech: np.ndarray, name: str
) -> None:
    path = with_video(wav, tmp_path / name, VIDEO_FILES[name])
    samples = audio.load(path)
    assert abs(lag_ms(samples, speech)) < 30
    assert abs(lag_ms(playback(path, tmp_path), samples)) < 1


@pytest.mark.parametrize("name", LATE_FILES)
def test_a_sound_track_that_starts_later_than_the_pictures_is_later(
    tmp_path: Path, wav: Path, speech: np.ndarray, name: str
) -> None:
    path = with_video(wav, tmp_path / name, LATE_FILES[name], late=0.8)
    samples = audio.load(path)
    assert lag_ms(samples, speech) == pytest.approx(800, abs=25)
    assert abs(lag_ms(playback(path, tmp_path), samples)) < 1


def test_the_default_sound_track_is_used_and_reported(
    tmp_path: Path, wav: Path, speech: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    noise = tmp_path / "noise.wav"
    soundfile.write(noise, np.random.default_rng(0).normal(0, 0.1, len(speech)), SAMPLE_RATE)
    path = tmp_path / "two.mka"
    tracks = ["-i", str(noise), "-i", str(wav), "-map", "0", "-map", "1", "-c:a", "flac"]
    ffmpeg(*tracks, "-disposition:a:0", "0", "-disposition:a:1", "default", str(path))
    np.testing.assert_allclose(audio.load(path), speech, atol=2e-4)
    assert "has 2 sound tracks; track 2 (the default) is used" in caplog.text


# Damage -------------------------------------------------------------------------------------------


def wav_bytes(samples: np.ndarray, size: int) -> bytes:
    content = np.rint(samples * 32767).astype("<i2").tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", size, b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000,
                       2, 16)  # fmt: skip
    return head + struct.pack("<4sI", b"data", size) + content


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_file_that_was_never_closed_is_read_to_its_end(
    tmp_path: Path, speech: np.ndarray, size: int
) -> None:
    path = tmp_path / "open.wav"
    path.write_bytes(wav_bytes(speech, size))
    np.testing.assert_allclose(audio.load(path), speech, atol=1e-4)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff"])
def test_a_recording_cut_short_is_read_and_reported(
    tmp_path: Path, speech: np.ndarray, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"cut{suffix}"
    soundfile.write(path, speech, SAMPLE_RATE)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    seconds = len(audio.load(path)) / SAMPLE_RATE
    assert 0.3 * SECONDS < seconds < 0.7 * SECONDS
    if suffix != ".aiff":  # libsndfile corrects the length in its header
        assert f"ends after {seconds:.2f} s of the {SECONDS:.2f} s" in caplog.text


def test_damaged_parts_of_an_mp3_are_skipped_and_reported(
    tmp_path: Path, wav: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "damaged.mp3"
    ffmpeg("-i", str(wav), "-ar", "44100", "-b:a", "64k", str(path))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 900] = np.random.default_rng(1).bytes(900)
    path.write_bytes(bytes(content))
    assert len(audio.load(path)) > 0.8 * SECONDS * SAMPLE_RATE
    assert "damaged.mp3: " in caplog.text


def test_a_video_without_sound_is_refused_with_the_reason(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "color=size=32x32:rate=5:duration=1", str(tmp_path / "mute.mp4"))
    with pytest.raises(InputError, match=r"mute\.mp4: .*it has no sound track"):
        audio.load(tmp_path / "mute.mp4")


def test_file_names_that_are_not_unicode_are_read(tmp_path: Path, speech: np.ndarray) -> None:
    path = tmp_path / "plain.wav"
    soundfile.write(path, speech, SAMPLE_RATE)
    odd = tmp_path / b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    path.rename(odd)
    assert len(audio.load(odd)) == len(speech)


# Limits -------------------------------------------------------------------------------------------


def test_a_header_that_promises_years_allocates_nothing(
    tmp_path: Path, speech: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "lie.flac"
    soundfile.write(path, speech, SAMPLE_RATE)
    content = bytearray(path.read_bytes())
    facts = int.from_bytes(content[18:26], "big") | ((1 << 36) - 1)
    content[18:26] = facts.to_bytes(8, "big")
    path.write_bytes(bytes(content))
    assert len(audio.load(path)) == len(speech)
    assert "ends after 2.00 s" in caplog.text


def test_a_recording_above_the_limit_names_the_setting(tmp_path: Path, speech: np.ndarray) -> None:
    soundfile.write(tmp_path / "a.wav", speech, SAMPLE_RATE)
    limits.activate(limits.LimitSettings(audio_hours=1 / 3600))
    with pytest.raises(InputError, match=r"longer than .* h; .*setting limits\.audio_hours"):
        audio.load(tmp_path / "a.wav")


@pytest.mark.parametrize("rate", [1, 999, 768_001, 2**31 - 1])
def test_absurd_sample_rates_are_refused(tmp_path: Path, rate: int) -> None:
    content = bytearray(wav_bytes(np.zeros(16000), 32000))
    content[24:32] = struct.pack("<II", rate, rate * 2 & 0xFFFFFFFF)
    (tmp_path / "a.wav").write_bytes(bytes(content))
    with pytest.raises(InputError, match=f"the sample rate is {rate} Hz"):
        audio.load(tmp_path / "a.wav")


def test_too_many_channels_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((1000, 65)), SAMPLE_RATE)
    with pytest.raises(InputError, match=r"has 65 channels, .*limits\.audio_channels"):
        audio.load(tmp_path / "a.wav")


def test_a_decoder_that_hangs_is_stopped(
    tmp_path: Path, wav: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp3"
    ffmpeg("-i", str(wav), str(path))
    monkeypatch.setattr(decoding, "FFMPEG_PATIENCE", (0.0, 0.0))
    monkeypatch.setattr(media, "ffmpeg_command", lambda: SLEEP)
    monkeypatch.setattr(decoding.media, "ffmpeg_input", lambda _: [])
    facts = media.Facts((media.Track(0, "mp3", 16000, "", True),), False, 0.0, None, "")
    monkeypatch.setattr(media, "probe", lambda _: facts)
    with pytest.raises(InputError, match="decoding takes too long"):
        audio.load(path)


@pytest.mark.parametrize("rate", [8_000, 44_100, 48_000, 22_051])
def test_resampling_in_blocks_equals_resampling_the_whole(
    rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resampling, "BLOCK_SECONDS", 2)
    n = round(9.37 * rate)
    tone = np.sin(np.cumsum(np.linspace(0.01, 0.5, n))).astype(np.float32)
    cuts = np.sort(np.random.default_rng(0).integers(0, n, 7))
    joined = np.concatenate(list(resampling.resample_blocks(np.split(tone, cuts), rate, 16_000)))
    whole = audio.resample(tone, rate, 16_000)
    assert len(joined) == len(whole)
    np.testing.assert_allclose(joined[200:-200], whole[200:-200], atol=2e-3)


def test_long_recordings_are_converted_while_they_are_read(
    tmp_path: Path, speech: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / "a.wav", audio.resample(speech, 16_000, 44_100), 44_100)
    whole = audio.load(tmp_path / "a.wav")
    monkeypatch.setattr("codetalker_cli.audio.mixing.WHOLE_SAMPLES", 1000)
    samples, rate = audio.read(tmp_path / "a.wav")
    assert rate == SAMPLE_RATE
    np.testing.assert_allclose(samples, whole, atol=1e-5)


def test_damage_is_reported_once_for_a_video_of_a_recording(
    tmp_path: Path, speech: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "cut.wav"
    path.write_bytes(wav_bytes(speech, 2 * len(speech) * 2))
    audio.load(path)
    audio.write_playback(path, tmp_path / "playback.wav", report=False)
    assert caplog.text.count("the rest is missing") == 1


def test_playback_of_many_channels_that_cancel_is_not_silent(
    tmp_path: Path, speech: np.ndarray
) -> None:
    path = tmp_path / "four.wav"
    channels = np.stack([speech, -speech, speech, -speech], axis=1)
    soundfile.write(path, channels, SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_allclose(playback(path, tmp_path), audio.load(path), atol=1e-6)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "it is a picture, not a recording"),
        (b"%PDF-1.7 \xff" + bytes(100), "it is a PDF document, not a recording"),
        (b"PK\x03\x04" + bytes(100), "it is a zip archive, not a recording"),
        (b"\x93NUMPY\x01" + bytes(100), "it is a NumPy array, not a recording"),
        (b"dear diary\n", "it is text, not a recording"),
        (b"<!DOCTYPE html><html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "it is a Git LFS pointer"),
    ],
)
def test_another_kind_of_file_is_named(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "speech.wav").write_bytes(content)
    with pytest.raises(InputError, match=kind):
        audio.load(tmp_path / "speech.wav")
