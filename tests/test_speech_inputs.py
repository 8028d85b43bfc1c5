"""Speech in every form that the Python API accepts: files, their content, samples."""

import array
import io
import logging
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny
import torch
import voices

import codetalker_cli as ct
from codetalker_cli import audio
from codetalker_cli.animate import Request, Voice
from codetalker_cli.audio import inputs
from codetalker_cli.audio.inputs import KINDS, read_speech
from codetalker_cli.audio.resampling import resample, resample_blocks
from codetalker_cli.errors import CodeTalkerError, InputError
from codetalker_cli.motion import Motion
from codetalker_cli.settings.limits import LimitSettings, activate

PCM = np.round(voices.speech() * 32767).astype(np.int16)
SPEECH = PCM.astype(np.float32) / 32768
OTHER = voices.speech(seed=1)
STEREO = np.stack([SPEECH, OTHER])


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    return ct.load(voices.save(tmp_path_factory.mktemp("inputs") / "voice", "A"))


def content(samples: np.ndarray = PCM, rate: int = 16000, suffix: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=suffix)
    return buffer.getvalue()


class Unseekable(io.RawIOBase):
    """A file that can only be read once, such as a socket."""

    def __init__(self, data: bytes) -> None:
        self._buffer = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._buffer.read(size)


def at_its_end(data: bytes) -> io.BytesIO:
    buffer = io.BytesIO(data)
    buffer.seek(0, os.SEEK_END)
    return buffer


class OtherArray:
    """An array of another library."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return SPEECH


MONO: dict[str, Callable[[], Any]] = {
    "float32": lambda: SPEECH,
    "float64": lambda: SPEECH.astype(np.float64),
    "big-endian": lambda: SPEECH.astype(">f4"),
    "int16": lambda: PCM,
    "int32": lambda: PCM.astype(np.int32) << 16,
    "tensor": lambda: torch.from_numpy(SPEECH),
    "tensor with gradient": lambda: torch.from_numpy(SPEECH).requires_grad_(),
    "int16 tensor": lambda: torch.from_numpy(PCM),
    "list": lambda: SPEECH.tolist(),
    "tuple": lambda: tuple(SPEECH.tolist()),
    "array.array": lambda: array.array("f", SPEECH.tolist()),
    "other array": OtherArray,
    "one channel first": lambda: SPEECH[None],
    "one channel last": lambda: SPEECH[:, None],
    "pair": lambda: (16000, PCM),
    "pair with a NumPy rate": lambda: (np.int64(16000), SPEECH),
    "pair of a tensor": lambda: (torch.from_numpy(SPEECH)[None], 16000),
    "dict": lambda: {"array": SPEECH, "sampling_rate": 16000, "path": "none.wav"},
    "bytes": content,
    "bytearray": lambda: bytearray(content()),
    "memoryview": lambda: memoryview(content()),
    "flac bytes": lambda: content(suffix="FLAC"),
    "BytesIO": lambda: io.BytesIO(content()),
    "BytesIO at its end": lambda: at_its_end(content()),
    "file that cannot seek": lambda: Unseekable(content()),
}


@pytest.mark.parametrize("kind", MONO)
def test_every_form_gives_the_same_samples(kind: str, temporary: Path) -> None:
    samples, path = read_speech(MONO[kind]())
    np.testing.assert_array_equal(samples, SPEECH)
    assert samples.dtype == np.float32 and path is None
    assert list(temporary.iterdir()) == []


def test_samples_are_copied() -> None:
    given = SPEECH.copy()
    samples, _ = read_speech(given)
    given[:] = 0
    assert np.array_equal(samples, SPEECH)


def test_files_are_read_as_paths_and_as_open_files(tmp_path: Path) -> None:
    file = tmp_path / "speech.wav"
    file.write_bytes(content())
    for given in (file, str(file)):
        samples, path = read_speech(given)
        assert path == file and np.array_equal(samples, SPEECH)
    with file.open("rb") as opened:
        samples, path = read_speech(opened)
    assert path is None and np.array_equal(samples, SPEECH)


def test_8_bit_and_16_bit_floating_point_samples_are_scaled() -> None:
    unsigned = np.round(SPEECH * 127 + 128).astype(np.uint8)
    np.testing.assert_allclose(read_speech(unsigned)[0], SPEECH, atol=0.01)
    for half in (SPEECH.astype(np.float16), torch.from_numpy(SPEECH).bfloat16()):
        np.testing.assert_allclose(read_speech(half)[0], SPEECH, atol=0.005)


@pytest.mark.parametrize("rate", [8000, 44100, 48000, 22051])
def test_other_rates_are_resampled_like_files(rate: int) -> None:
    samples = voices.speech(0.5, rate)
    pcm = np.round(samples * 32767).astype(np.int16)
    expected = resample(pcm.astype(np.float32) / 32768, rate, 16000)
    assert len(expected) == pytest.approx(8000, abs=1)
    for given in ((rate, pcm), {"array": pcm, "sampling_rate": rate}, content(pcm, rate)):
        np.testing.assert_array_equal(read_speech(given)[0], expected)
    np.testing.assert_array_equal(read_speech(pcm, rate)[0], expected)
    np.testing.assert_array_equal(read_speech(pcm, float(rate))[0], expected)


def test_long_samples_are_resampled_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def convert(blocks: Iterable[np.ndarray], rate_in: int, rate_out: int) -> Any:
        listed = list(blocks)
        sizes.extend(len(block) for block in listed)
        return resample_blocks(listed, rate_in, rate_out)

    samples = voices.speech(70, 24000)
    whole, _ = read_speech(samples, 24000)
    monkeypatch.setattr(inputs, "WHOLE_SAMPLES", 1_000_000)
    monkeypatch.setattr(inputs, "resample_blocks", convert)
    in_blocks, _ = read_speech(samples, 24000)
    assert len(whole) == len(in_blocks) == 70 * 16000
    assert len(sizes) > 1 and sum(sizes) == len(samples)
    np.testing.assert_allclose(in_blocks, whole, atol=1e-6)


@pytest.mark.parametrize("given", [STEREO, STEREO.T, torch.from_numpy(STEREO), STEREO.tolist()])
def test_channels_come_first_or_last_and_are_averaged(given: Any) -> None:
    np.testing.assert_allclose(read_speech(given)[0], STEREO.mean(0), atol=1e-7)


def test_channels_that_cancel_each_other_are_not_averaged(caplog: Any) -> None:
    samples, _ = read_speech(np.stack([SPEECH, -SPEECH]))
    np.testing.assert_array_equal(samples, SPEECH)
    assert "speech: its 2 channels cancel each other out" in caplog.text


def test_floating_point_samples_on_the_scale_of_integers_are_divided(caplog: Any) -> None:
    samples, _ = read_speech(PCM.astype(np.float64))
    np.testing.assert_array_equal(samples, SPEECH)
    assert "speech: its floating-point samples are on the scale of 16-bit integers" in caplog.text


def with_value(value: float) -> np.ndarray:
    samples = SPEECH.copy()
    samples[777] = value
    return samples


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "None": (lambda: None, r"got a NoneType; give the path of a recording, its content as bytes"),
    "number": (lambda: 3, "got a int; give the path of a recording"),
    "set": (lambda: {0.1, 0.2}, "got a set; give the path"),
    "ragged list": (lambda: [[0.1], [0.2, 0.3]], "got a list that is not a plain list of numbers"),
    "list of text": (lambda: ["a", "b"], r"the samples are of type <U1; give floating-point"),
    "empty path": (lambda: "", "the path is empty; give the path of a recording"),
    "empty array": (lambda: SPEECH[:0], "contains no audio samples"),
    "empty list": (list, "contains no audio samples"),
    "empty bytes": (lambda: b"", r"^speech: the file is empty \(0 bytes\)"),
    "no recording": (lambda: b"RIFF", r"^speech: not an audio file that can be read \(it is text"),
    "damaged file": (lambda: content()[:30], r"^speech: not an audio file that can be read"),
    "file without samples": (lambda: content(PCM[:0]), "^speech: contains no audio samples"),
    "text file": (lambda: io.StringIO("x"), "reading the StringIO gives no bytes; open .* mode"),
    "closed file": (lambda: closed(), r"the file cannot be read \(I/O operation on closed file"),
    "NaN": (lambda: with_value(np.nan), "1 sample is NaN or infinite .first at sample 777"),
    "infinite": (lambda: with_value(-np.inf).tolist(), "NaN or infinite"),
    "beyond float32": (lambda: SPEECH.astype(np.float64) * 1e300, "NaN or infinite"),
    "NaN in a channel": (lambda: np.stack([SPEECH, with_value(np.nan)]), "NaN or infinite"),
    "int64": (lambda: PCM.astype(np.int64), "the samples are of type int64; give floating-point"),
    "list of integers": (lambda: PCM.tolist(), "the samples are of type int64"),
    "bool": (lambda: SPEECH > 0, "the samples are of type bool"),
    "complex": (lambda: SPEECH * 1j, "the samples are of type complex64"),
    "objects": (lambda: [None, 0.1], "the samples are of type object"),
    "scalar": (lambda: np.float32(0.1), r"the samples have shape \(\); expected \(n,\)"),
    "batch": (lambda: STEREO[None], r"the samples have shape \(1, 2, 16000\); expected \(n,\)"),
    "square": (lambda: SPEECH[:10000].reshape(100, 100), r"shape \(100, 100\) are ambiguous"),
    "few samples": (lambda: STEREO[:, :10], r"shape \(2, 10\) are ambiguous; give one channel"),
    "many channels": (lambda: SPEECH[:14400].reshape(9, 1600), "up to 8 channels"),
    "dict without a rate": (lambda: {"array": SPEECH}, "a dict needs the keys .* got 'array'"),
    "dict of bytes": (lambda: {"bytes": b"", "path": None}, "got 'bytes', 'path'"),
    "dict of text": (lambda: {"array": "x", "sampling_rate": 16000}, "got a str"),
    "pair of rates": (lambda: (16000, 16000), "the samples are of type int64"),
    "rate 0": (lambda: (0, SPEECH), "sampling_rate is 0; expected a whole number from 1000 to"),
    "rate 2 G": (lambda: (2_000_000_000, SPEECH), "sampling_rate is 2000000000; expected"),
    "odd rate": (lambda: (16000.5, SPEECH), "sampling_rate is 16000.5; expected"),
    "rate NaN": (lambda: (float("nan"), SPEECH), "sampling_rate is nan; expected"),
    "rate of text": (lambda: {"array": SPEECH, "sampling_rate": "16k"}, "sampling_rate is '16k'"),
}


def closed() -> io.BytesIO:
    file = io.BytesIO(content())
    file.close()
    return file


@pytest.mark.parametrize("kind", BAD)
def test_everything_else_is_an_error(kind: str, temporary: Path) -> None:
    make, message = BAD[kind]
    with pytest.raises(InputError, match=message) as caught:
        read_speech(make())
    text = str(caught.value)
    assert text.startswith("speech: ") and "\n" not in text and str(temporary) not in text
    assert list(temporary.iterdir()) == []


def test_rate_that_contradicts_the_speech_is_an_error() -> None:
    np.testing.assert_array_equal(read_speech((16000, SPEECH), 16000)[0], SPEECH)
    with pytest.raises(InputError, match="is 8000, but the speech itself states 16000"):
        read_speech((16000, SPEECH), 8000)
    for given in (content(), "speech.wav", io.BytesIO(content())):
        with pytest.raises(InputError, match="a recording states its own rate; leave"):
            read_speech(given, 16000)


def test_content_of_files_is_limited_like_files(temporary: Path) -> None:
    before = LimitSettings()
    activate(LimitSettings(audio_hours=0.5 / 3600))
    try:
        with pytest.raises(InputError, match=r"^speech: lasts longer than .* limits\.audio_hours"):
            read_speech(content())
    finally:
        activate(before)
    assert list(temporary.iterdir()) == []


def test_damaged_content_is_reported_without_a_path(caplog: Any, temporary: Path) -> None:
    samples, _ = read_speech(content(PCM)[:20000])
    assert 0 < len(samples) < len(SPEECH)
    assert "speech: ends after 0.62 s of the 1.00 s that its header states" in caplog.text
    assert str(temporary) not in caplog.text


# Voices -------------------------------------------------------------------------------------------


def test_voice_animates_every_form(voice: Voice) -> None:
    expected = voice.animate(SPEECH)
    for kind in ("pair", "bytes", "BytesIO", "list", "dict", "int16 tensor"):
        motion = voice.animate(MONO[kind]())
        np.testing.assert_array_equal(motion.vertices, expected.vertices)
        np.testing.assert_array_equal(motion.audio, SPEECH)
        assert motion.audio_path is None
    double = voice.animate(voices.speech(1.0, 32000), sampling_rate=32000)
    assert double.n_frames == expected.n_frames and len(double.audio) == 16000  # type: ignore[arg-type]


def test_animate_many_accepts_every_form(voice: Voice, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(content())
    given: list[Any] = [
        tmp_path / "a.wav",
        str(tmp_path / "a.wav"),
        content(),
        PCM,
        (16000, SPEECH),
        Request(SPEECH[::2], sampling_rate=8000),
        None,
        Request(SPEECH, seed=3),
    ]
    made = dict(voice.animate_many(given))
    assert sorted(made) == list(range(len(given)))
    error = made.pop(6)
    assert isinstance(error, CodeTalkerError) and KINDS in str(error)
    assert {m.n_frames for m in made.values() if isinstance(m, Motion)} == {24}
    for one in ("a.wav", Path("a.wav"), content(), Request("a.wav"), {"array": SPEECH}):
        with pytest.raises(InputError, match="expects a list of recordings, but got a single one"):
            next(voice.animate_many(one))  # type: ignore[arg-type]


# Silence and short recordings ---------------------------------------------------------------------


@pytest.mark.parametrize("noise", [0.0, 0.5 * audio.SILENCE_PEAK])
@pytest.mark.parametrize("seconds", [1 / 16000, 0.02, 0.1, 1.0, 6.0])
def test_silence_is_the_neutral_face(voice: Voice, seconds: float, noise: float) -> None:
    samples = np.full(round(seconds * 16000), noise)
    still = voice.animate(samples, idle=False)
    assert still.n_frames == max(1, int(seconds * 25)) and still.codes is None
    np.testing.assert_array_equal(still.vertices, np.stack([still.template] * still.n_frames))
    np.testing.assert_array_equal(still.audio, samples.astype(np.float32))
    moving = voice.animate(samples)
    others = [v for v in range(tiny.N_VERTICES) if v not in voices.EYES.values()]
    np.testing.assert_array_equal(moving.vertices[:, others], still.vertices[:, others])
    assert (seconds < 6) or np.abs(moving.vertices - still.vertices).max() > 0.1


def test_rounding_costs_no_frame(tmp_path: Path) -> None:
    speaker = ct.load(voices.save(tmp_path / "voice", "A", family="whisper"))
    # 29 frames, although 18560 / 16000 * 25 is below 29 in floating point.
    samples = np.tile(voices.speech(), 2)[:18_560]
    assert speaker.animate(samples).n_frames == 29
    stream = speaker.stream()
    assert len([*stream.feed(samples), *stream.finish()]) == 29


@pytest.mark.parametrize("family", ["wav2vec2", "whisper"])
@pytest.mark.parametrize("n", [1, 7, 320, 800, 3199, 3200])
def test_short_speech_is_animated(tmp_path: Path, family: str, n: int) -> None:
    speaker = ct.load(voices.save(tmp_path / "voice", "A", family=family))
    motion = speaker.animate(voices.speech()[2000 : 2000 + n])
    if n < 3200:  # longer recordings have the frames that the encoder gives
        assert motion.n_frames == max(1, n * 25 // 16000)
    assert np.isfinite(motion.vertices).all() and motion.codes is not None
    assert len(motion.codes) == motion.n_frames and len(motion.audio) == n  # type: ignore[arg-type]
    double = speaker.animate(voices.speech()[2000 : 2000 + n], fps=50)
    assert double.fps == 50 and double.n_frames >= 1


def test_file_of_silence_is_animated(voice: Voice, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(48000), 48000)
    assert voice.animate(tmp_path / "silence.wav").n_frames == 25
    request = Request(tmp_path / "silence.wav", needs_speech=True)
    with pytest.raises(InputError, match=r"silence\.wav: the recording is silent"):
        raise dict(voice.animate_many([request]))[0]  # type: ignore[misc]
    with pytest.raises(InputError, match=r"^speech: the recording is 0.05 s long"):
        raise dict(voice.animate_many([Request(SPEECH[:800], needs_speech=True)]))[0]  # type: ignore[misc]


def test_silent_requests_are_animated_one_at_a_time(voice: Voice) -> None:
    taken = 0

    def requests() -> Any:
        nonlocal taken
        for _ in range(20):
            taken += 1
            yield np.zeros(3200)

    given = 0
    for number, motion in voice.animate_many(requests()):
        assert isinstance(motion, Motion) and number == given and taken == given + 1
        given += 1
    assert given == 20


def test_bundled_voice_keeps_its_mouth_shut_and_blinks_in_silence(caplog: Any) -> None:
    caplog.set_level(logging.WARNING)
    voice = ct.load("demo")
    for subject in ("S01", "S06", "S12"):
        motion = voice.animate(np.zeros(160000), subject)
        assert motion.n_frames == 300
        gaps = motion.topology.inner_lip_gap(motion.vertices) * 1000
        assert gaps.max() < 1.0  # millimeters
        upper = motion.topology.region("upper_face")
        moved = np.abs(motion.vertices - motion.template)[:, upper].max((0, 2))
        assert moved.max() > 0.003  # meters: the lids close
        assert (
            np.abs(motion.vertices - motion.template)[:, motion.topology.region("lips")].max()
            < 1e-3
        )
    assert caplog.text == ""
