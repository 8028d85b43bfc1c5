"""Raw samples, the pace of recordings, and microphones."""

import errno
import os
import sys
import wave
from pathlib import Path

import miniaudio
import numpy as np
import pytest
import voices
from live_fakes import Clock, Device

from codetalker_cli.errors import CodeTalkerError, DataError, InputError, MissingDependencyError
from codetalker_cli.live import devices
from codetalker_cli.live.choices import SinkChoice, SourceChoice
from codetalker_cli.live.chunks import ChunkQueue
from codetalker_cli.live.devices import Microphone, Player
from codetalker_cli.live.sources import FORMATS, RawFormat, paced, raw_samples
from codetalker_cli.settings import LiveSettings

SETTINGS = LiveSettings.model_validate({})


def reader(content: bytes, size: int):
    """Return a function that reads a few bytes at a time, as a pipe does."""
    parts = iter([content[k : k + size] for k in range(0, len(content), size)])
    return lambda n: next(parts, b"")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("size", [1, 7, 4096])
def test_raw_samples_are_the_same_in_any_portions(format: str, channels: int, size: int) -> None:
    samples = voices.speech(0.1).reshape(-1, channels)
    dtype = np.dtype(FORMATS[format])
    stored = samples if dtype.kind == "f" else np.round(samples * 32767)
    given = RawFormat(16_000, format, channels)
    parts = list(raw_samples(reader(stored.astype(dtype).tobytes(), size), given))
    joined = np.concatenate(parts)
    assert joined.shape == samples.shape and joined.dtype == np.float32
    np.testing.assert_allclose(joined, samples, atol=1e-4)


def test_incomplete_last_sample_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    parts = list(raw_samples(reader(bytes(9), 100), RawFormat()))
    assert len(parts[0]) == 4
    assert "stdin: the last 1 byte of an incomplete sample was skipped" in caplog.text


def test_pipe_that_cannot_be_read_is_an_error_after_its_sound() -> None:
    contents = iter([b"\0\0\1\0"])

    def read(n_bytes: int) -> bytes:
        if content := next(contents, b""):
            return content
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    chunks = raw_samples(read, RawFormat())
    assert len(next(chunks)) == 2
    with pytest.raises(DataError, match=r"stdin: the sound cannot be read \(Input/output error\)"):
        next(chunks)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_sample_that_is_no_number_is_an_error(value: float) -> None:
    samples = np.zeros(1000, np.float32)
    samples[700] = value
    parts = raw_samples(reader(samples.tobytes(), 400), RawFormat(format="f32le"))
    with pytest.raises(InputError, match="stdin: sample 700 is NaN or infinite; check that"):
        list(parts)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": 0}, "sampling_rate is 0; expected a whole number from 1000"),
        ({"rate": 10**9}, "expected a whole number"),
        ({"format": "s24le"}, "`format` 's24le': expected s16le or f32le"),
        ({"channels": 0}, "`channels` 0: expected 1 to 8"),
        ({"channels": 9}, "`channels` 9: expected 1 to 8"),
    ],
)
def test_invalid_form_of_samples_is_refused(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        RawFormat(**values)


# Pace ---------------------------------------------------------------------------------------------


def test_recording_arrives_at_its_own_pace() -> None:
    clock = Clock()
    start, n = clock.now, 0
    for chunk in paced(iter([np.zeros(44_100)]), 44_100, clock, clock.sleep):
        n += len(chunk)
        assert clock.now - start == pytest.approx(n / 44_100)
        assert len(chunk) <= 882
    assert n == 44_100


def test_pace_catches_up_after_a_delay() -> None:
    clock = Clock()
    chunks = paced(iter([np.zeros(16_000)]), 16_000, clock, clock.sleep)
    next(chunks)
    clock.now += 0.5
    n_slept = len(clock.slept)
    assert sum(len(next(chunks)) for _ in range(20)) == 6400 and len(clock.slept) == n_slept
    assert sum(map(len, chunks)) == 16_000 - 21 * 320


def test_pace_of_a_pipe_does_not_count_its_pauses() -> None:
    clock = Clock()

    def pipe():
        yield np.zeros(3200)
        clock.now += 5.0  # nothing to say
        yield np.zeros(3200)

    times = []
    for _ in paced(pipe(), 16_000, clock, clock.sleep):
        times.append(clock.now)
    assert np.diff(times).max() == pytest.approx(5.02)
    assert times[-1] - times[10] == pytest.approx(0.18)  # the second one is as slow as the first


# Microphones --------------------------------------------------------------------------------------


def test_blocks_of_a_microphone_arrive_and_the_oldest_are_dropped() -> None:
    device, clock = Device(), Clock()
    queue = ChunkQueue(0.1, 16_000, clock)
    microphone = Microphone(device, "mic", 3.0, clock)
    microphone.start(queue)
    for k in range(10):
        device.generator.send(bytearray(np.full(320, k, np.float32).tobytes()))
    chunks = queue.take(0)
    assert [chunk.samples[0] for chunk in chunks] == [5, 6, 7, 8, 9]
    assert queue.n_lost == 5 * 320
    microphone.close()
    assert device.is_closed


@pytest.mark.parametrize("is_announced", [True, False])
def test_removed_microphone_is_an_error(is_announced: bool) -> None:
    device, clock = Device(), Clock()
    microphone = Microphone(device, "USB mic", 3.0, clock)
    microphone.start(ChunkQueue(1.0, 16_000, clock))
    clock.now += 2.9
    microphone.check()
    if is_announced:  # systems do not always announce it
        device.stop_callback()
    else:
        clock.now += 0.2
    with pytest.raises(CodeTalkerError, match="USB mic: the microphone gives no more sound"):
        microphone.check()


def test_miniaudio_gives_sound_through_the_same_seam() -> None:
    device = miniaudio.CaptureDevice(
        miniaudio.SampleFormat.FLOAT32, 1, 16_000, 20, backends=[miniaudio.Backend.NULL]
    )
    queue = ChunkQueue(1.0, 16_000)
    microphone = Microphone(device, "null", 3.0)
    microphone.start(queue)
    chunks = queue.take(5.0)
    microphone.check()
    microphone.close()
    assert len(chunks[0].samples) > 0 and chunks[0].samples.dtype == np.float32


class NoDevices:
    backend = "Null"

    def get_captures(self) -> list[dict]:
        return [{"name": "NULL Capture Device", "id": None}]


class OnlyAlsaNull:
    backend = "ALSA"

    def get_captures(self) -> list[dict]:
        name = "Discard all samples (playback) or generate zero samples (capture)"
        return [{"name": name, "id": 0}]


class TwoDevices:
    backend = "ALSA"

    def get_captures(self) -> list[dict]:
        return [{"name": "Built-in Audio", "id": 0}, {"name": "USB Audio", "id": 1}]


@pytest.mark.parametrize("found", [NoDevices, OnlyAlsaNull])
def test_missing_microphone_names_the_other_sources(
    monkeypatch: pytest.MonkeyPatch, found: type
) -> None:
    monkeypatch.setattr(miniaudio, "Devices", found)
    with pytest.raises(InputError, match=r"no capture device .* `file` .* or `stdin`"):
        SourceChoice(mic="").open(SETTINGS)
    with pytest.raises(InputError, match="no capture device"):
        devices.list_microphones()


@pytest.mark.parametrize(("name", "chosen"), [("usb", 1), ("0", 0), ("USB Audio", 1)])
def test_microphone_is_chosen_by_number_or_name(
    name: str, chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def open_device(*_: object, device_id: int, **__: object) -> Device:
        opened.append(device_id)
        return Device()

    monkeypatch.setattr(miniaudio, "Devices", TwoDevices)
    monkeypatch.setattr(miniaudio, "CaptureDevice", open_device)
    assert SourceChoice(mic=name).open(SETTINGS).rate == 16_000
    assert opened == [chosen]


@pytest.mark.parametrize(("name", "problem"), [("Audio", "several"), ("x", "not a"), ("2", "not")])
def test_unknown_microphone_lists_the_choices(
    name: str, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(miniaudio, "Devices", TwoDevices)
    with pytest.raises(InputError, match=f"{problem}.*0: Built-in Audio, 1: USB Audio"):
        devices.open_microphone(name, 3.0)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "miniaudio", None)
    monkeypatch.setitem(sys.modules, "pythonosc", None)
    with pytest.raises(MissingDependencyError, match=r"need the package miniaudio.*pip install"):
        SourceChoice(mic="").open(SETTINGS)
    with pytest.raises(MissingDependencyError, match=r"OSC needs the package python-osc.*install"):
        SinkChoice(osc="127.0.0.1:39539").check()


# Playback -----------------------------------------------------------------------------------------


def test_player_plays_what_is_pushed_and_then_silence() -> None:
    device = Device()
    player = Player(device, 1.0)
    player.push(np.full(500, 0.25, np.float32))
    player.push(np.full(500, 0.5, np.float32))
    assert player.queued_seconds == pytest.approx(1000 / 16_000)
    blocks = [np.frombuffer(device.generator.send(320), np.float32) for _ in range(4)]
    played = np.concatenate(blocks)
    assert len(played) == 1280 and player.queued_seconds == 0
    np.testing.assert_array_equal(played[:1000], np.repeat([0.25, 0.5], 500))
    assert not played[1000:].any()


def test_player_leaves_out_the_oldest_sound_if_there_is_too_much() -> None:
    player = Player(Device(), 0.1)
    for _ in range(100):
        player.push(np.zeros(533, np.float32))
    assert 0.05 < player.queued_seconds <= 0.1


# Choice -------------------------------------------------------------------------------------------


def test_exactly_one_source_is_needed() -> None:
    with pytest.raises(InputError, match="no source of sound is given; give one of `mic`"):
        SourceChoice()
    with pytest.raises(InputError, match="several sources"):
        SourceChoice(mic="", raw=RawFormat())


def test_file_keeps_its_rate(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 22_050, 0, "NONE", ""))
        file.writeframes(np.zeros(2205, "<i2").tobytes())
    source = SourceChoice(file=tmp_path / "a.wav").open(SETTINGS)
    queue = ChunkQueue(1.0, source.rate)
    source.start(queue)
    n = 0
    while not queue.has_ended:
        n += sum(len(chunk.samples) for chunk in queue.take(1.0))
    assert source.rate == 22_050 and n == 2205
