"""The command ``codetalker live``: its options, its messages, and how it ends."""

import contextlib
import errno
import json
import os
import signal
import socket
import sys
import threading
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import miniaudio
import numpy as np
import pytest
import soundfile
import voices
from command import listing, refuse, run, succeed
from live_fakes import UNITS, HeadVoice
from test_live_sources import NoDevices, TwoDevices

from codetalker_cli import animate, audio, files
from codetalker_cli.animate import live_windows
from codetalker_cli.failures import to_error
from codetalker_cli.formats import live_link
from codetalker_cli.live import take
from codetalker_cli.live.frames import LiveFrame
from codetalker_cli.live.sinks import JsonLines
from codetalker_cli.motion import Motion
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.settings import LiveSettings


@pytest.fixture(scope="module")
def head_voice() -> HeadVoice:
    return HeadVoice()


@pytest.fixture(autouse=True)
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def voice(head_voice: HeadVoice, monkeypatch: pytest.MonkeyPatch) -> HeadVoice:
    """A stand-in for the model that the command loads."""
    monkeypatch.setattr(animate, "load_voice", lambda *_, **__: head_voice)
    return head_voice


def write_wav(name: str, seconds: float) -> np.ndarray:
    samples = np.round(voices.speech(seconds) * 32767).astype("<i2")
    with wave.open(name, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return samples


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind(("127.0.0.1", 0))
        made.settimeout(60)
        yield made


SLOW = ("--set", "live.backlog_seconds=60")
"""A busy test machine may be slower than live sound."""


def test_recording_becomes_lines_and_a_file(voice: HeadVoice) -> None:
    samples = write_wav("a.wav", 0.8)
    ended = run("live", "--file", "a.wav", "--json-lines", "-o", "take.csv", "--seed", 5, *SLOW)
    assert ended.code == 0, ended.err
    rows = [json.loads(line) for line in ended.out.splitlines()]
    stream = voice.stream(seed=5)
    expected = stream.feed(samples) + stream.finish() + stream.interrupt()
    assert [row["index"] for row in rows] == list(range(len(expected)))
    for row, frame in zip(rows, expected, strict=True):
        assert list(row["weights"]) == list(ARKIT_UNITS)
        np.testing.assert_allclose([*row["weights"].values()], frame.weights, atol=1e-5)
        np.testing.assert_allclose(row["head"], frame.head, atol=1e-5)
    assert np.abs([row["head"] for row in rows]).max() > 1e-3 and rows[-1]["head"] == [0, 0, 0]
    assert 0.1 < rows[0]["delay"] < 60
    assert "30 frames, delay" in ended.err and "0 dropped" in ended.err
    curves = live_link.read(Path("take.csv"))
    assert curves.n_frames == 24
    np.testing.assert_allclose(curves.head, [frame.head for frame in expected[:24]], atol=1e-6)
    taken, _ = audio.read(Path("take.wav"))
    np.testing.assert_allclose(taken, samples / 32768, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "moves"),
    [([], True), (["--no-head"], False), (["--no-idle"], False), (["--no-idle", "--head"], True)],
)
def test_head_is_an_option(voice: HeadVoice, options: list[str], moves: bool) -> None:
    write_wav("a.wav", 0.5)
    ended = run("live", "--file", "a.wav", "--json-lines", "-o", "take.csv", *options, *SLOW)
    assert ended.code == 0, ended.err
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert rows and all((row["head"] is not None) == moves for row in rows)
    assert (live_link.read(Path("take.csv")).head is not None) == moves


def test_pipe_becomes_frames(voice: HeadVoice, monkeypatch: pytest.MonkeyPatch) -> None:
    stereo = np.repeat(voices.speech(0.5, 8000)[:, None], 2, axis=1).astype("<f4")
    reading, writing = os.pipe()
    os.write(writing, stereo.tobytes())
    os.close(writing)
    with open(reading) as file:
        monkeypatch.setattr(sys, "stdin", file)
        out = succeed(
            "live", "--stdin", "--rate", 8000, "--format", "f32le", "--channels", 2, "--json",
            "-o", "take.json", *SLOW,
        )  # fmt: skip
    report = json.loads(out)
    assert report["frames"] == 15 + 6 and report["dropped"] == 0
    assert report["file"]["frames"] == 15 and Path("take.json").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)]
)
def test_signal_ends_the_stream_and_the_file_is_complete(
    voice: HeadVoice, receiver: socket.socket, number: int, code: int
) -> None:
    write_wav("a.wav", 30.0)
    before = signal.getsignal(signal.SIGINT)

    def interrupt() -> None:
        receiver.recv(65_536)  # the first frame
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=interrupt)
    thread.start()
    address = f"127.0.0.1:{receiver.getsockname()[1]}"
    ended = run("live", "--file", "a.wav", "--livelink", address, "-o", "take.csv", *SLOW)
    thread.join()
    assert ended.code == code, ended.err
    assert "error" not in ended.err and "take.csv: " in ended.out
    curves = live_link.read(Path("take.csv"))
    assert 3 <= curves.n_frames < 600
    assert sorted(path.name for path in Path().iterdir()) == ["a.wav", "take.csv", "take.wav"]
    assert signal.getsignal(signal.SIGINT) == before


def test_bad_sample_ends_the_stream_and_the_file_is_complete(
    voice: HeadVoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = voices.speech(0.6)
    samples[9500] = np.nan
    reading, writing = os.pipe()
    os.write(writing, samples[:9000].tobytes())
    os.write(writing, samples[9000:].tobytes())
    os.close(writing)
    parts = iter([samples[:9000].tobytes(), samples[9000:].tobytes()])
    monkeypatch.setattr(os, "read", lambda *_: next(parts, b""))
    with open(reading) as file:
        monkeypatch.setattr(sys, "stdin", file)
        ended = run("live", "--stdin", "--format", "f32le", "-o", "take.csv", *SLOW)
    assert ended.code == 2
    last = ended.err.strip().splitlines()[-1]
    assert last.startswith("error: stdin: sample 9500 is NaN or infinite; check that the samples")
    assert "--format, --channels" in last
    assert live_link.read(Path("take.csv")).n_frames == round(9000 / 16_000 * 30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json-lines"], "no source of sound is given; give one of --mic, --file and --stdin"),
        (["--stdin", "--mic", "--json-lines"], "several sources are given"),
        (["--stdin"], "give at least one of --osc, --livelink, --json-lines and --out"),
        (["--stdin", "--osc", "host:x"], "--osc host:x: expected HOST:PORT"),
        (["--stdin", "--livelink", ":0"], "--livelink :0: expected HOST:PORT"),
        (["--stdin", "--rate", "5", "--json-lines"], "sampling_rate is 5; expected a whole"),
        (["--stdin", "--format", "mp3", "--json-lines"], "--format 'mp3': expected s16le or f32le"),
        (["--mic", "--rate", "8000", "--json-lines"], "--rate applies only to raw samples"),
        (["--mic", "--paced", "--json-lines"], "--paced applies only to raw samples"),
        (["--file", "x.wav", "--json-lines"], "x.wav"),
        (["--file", "x.wav", "-o", "x.wav"], "x.wav"),
        (["--file", "x.wav", "-o", "x.mp4"], "x.mp4"),
        (["--file", "x.wav", "-o", "no/such/x.csv"], "x.wav"),
        (["--stdin", "--lookahead", "3", "--json-lines"], "live.lookahead_seconds"),
        (["--stdin", "--json-lines", "--json"], "--json-lines contradicts --json"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str) -> None:
    before = listing()
    ended = run("live", *arguments)
    assert ended.code == 2 and ended.out == "" and listing() == before
    assert message in ended.err.strip().splitlines()[-1]


def test_missing_microphone_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(miniaudio, "Devices", NoDevices)
    for arguments in (["--mic", "--json-lines"], ["--json-lines", "--mic"], ["--list-devices"]):
        line = refuse("live", *arguments)
        assert "no capture device" in line and "--file" in line and "--stdin" in line


def test_devices_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(miniaudio, "Devices", TwoDevices)
    assert succeed("live", "--list-devices") == "0: Built-in Audio\n1: USB Audio\n"
    names = json.loads(succeed("live", "--list-devices", "--json"))
    assert names == ["Built-in Audio", "USB Audio"]


def test_limit_of_the_lookahead_is_that_of_streams() -> None:
    field = LiveSettings.model_fields["lookahead_seconds"]
    assert field.default == live_windows.LOOKAHEAD_SECONDS
    assert [one.le for one in field.metadata if hasattr(one, "le")] == [
        live_windows.MAX_LOOKAHEAD_SECONDS
    ]


def test_trained_voice_with_units_of_its_own() -> None:
    voices.save(Path("runs/mine"), "A", "X")
    write_wav("a.wav", 0.4)
    np.savez("units.npz", names=np.array(UNITS.names), deltas=UNITS.deltas)
    given = ["live", "--model", "mine", "--subject", "X", "--file", "a.wav", *SLOW]
    assert "--units" in refuse(*given, "--json-lines")
    ended = run(*given, "--json-lines", "--units", "units.npz", "-o", "take.npz")
    assert ended.code == 0, ended.err
    rows = [json.loads(line) for line in ended.out.splitlines()]
    assert len(rows) == 15 and list(rows[0]["weights"]) == list(UNITS.names)
    motion = Motion.load(Path("take.npz"))
    assert motion.n_frames == 10 and motion.subject == "X"


@pytest.mark.parametrize(
    ("numbers", "code", "is_written"),
    [
        ([signal.SIGTERM], 128 + signal.SIGTERM, True),
        ([signal.SIGINT, signal.SIGINT], 130, False),
        ([signal.SIGINT, signal.SIGTERM], 128 + signal.SIGTERM, False),
    ],
)
def test_signals_while_the_file_is_written(
    voice: HeadVoice,
    monkeypatch: pytest.MonkeyPatch,
    numbers: list[int],
    code: int,
    is_written: bool,
) -> None:
    write_wav("a.wav", 0.5)
    write = take.write

    def interrupted(*given: Any, **options: Any) -> Any:
        with files.atomic_path(Path("take.wav")) as path:  # a file that is half written
            path.write_bytes(b"RIFF")
            for number in numbers:
                os.kill(os.getpid(), number)
        Path("take.wav").unlink()
        return write(*given, **options)

    monkeypatch.setattr(take, "write", interrupted)
    ended = run("live", "--file", "a.wav", "-o", "take.csv", *SLOW)
    assert ended.code == code, ended.err
    assert set(listing()) == ({"a.wav", "take.csv", "take.wav"} if is_written else {"a.wav"})
    assert "Traceback" not in ended.err


def test_full_disk_names_what_was_written(
    voice: HeadVoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_wav("a.wav", 0.5)
    monkeypatch.setattr(take, "write", fail)
    error = refuse("live", "--file", "a.wav", "-o", "take.csv", *SLOW)
    assert error.startswith("No space left on device while writing take.csv; free some space")
    with open("/dev/full", "w") as full:
        sink = JsonLines(full)
        stream = voice.stream()
        (frame, *_) = stream.feed(voices.speech(0.5))
        with pytest.raises(OSError) as caught:
            sink.send(LiveFrame(frame, stream.units, None))
        with contextlib.suppress(OSError):
            full.close()
    assert "while writing lines of JSON" in str(to_error(caught.value))


@pytest.mark.parametrize(
    "arguments",
    [
        ["live", "--file", "a.wav", "--json-lines"],
        ["live", "--serve", ":0"],
        ["studio", "--no-browser"],
        ["animate", "a.wav", "-o", "a.glb"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_missing_units_are_reported_before_a_model_is_loaded(arguments: list[str]) -> None:
    soundfile.write("a.wav", voices.speech(), 16_000)
    error = refuse(*arguments, "--model", "no-such-model", "--units", "none.glb")
    assert "none.glb: no such file or folder of units" in error
