"""Any exception becomes one line: what went wrong, and where the details are."""

import errno
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import command
import numpy as np
import pytest
import soundfile
import torch
import voices

from codetalker_cli import audio, cli
from codetalker_cli.errors import DataError, OutOfMemoryError, UnexpectedError
from codetalker_cli.failures import doing, to_error


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the log files into a folder of the test."""
    folder = tmp_path / "logs"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_expected_error_is_returned_unchanged(logs: Path) -> None:
    error = DataError("clip.npy: cut short")
    assert to_error(error) is error
    assert list(logs.iterdir()) == []


def test_unexpected_error_names_a_log_file_with_the_traceback(logs: Path) -> None:
    def broken() -> None:
        raise KeyError("codes\n\x1b[31m")

    with pytest.raises(KeyError) as caught, doing("reading\nspeech.wav"):
        broken()
    error = to_error(caught.value)
    (log,) = logs.iterdir()
    assert isinstance(error, UnexpectedError) and error.exit_code == 70
    assert str(error) == (
        r"unexpected error while reading\nspeech.wav (KeyError: 'codes\n\x1b[31m'); this is a "
        f"fault of codetalker; the details are in {log}"
    )
    text = log.read_text()
    assert "def broken" not in text and "in broken" in text and "Python 3" in text


def test_log_that_cannot_be_written_does_not_hide_the_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    message = str(to_error(ValueError("odd")))
    assert re.search(r"ValueError: odd.*details could not be written \(No such file", message)


def allocate_numpy() -> None:
    np.zeros((1 << 40, 1 << 10), dtype=np.float64)


def allocate_torch() -> None:
    torch.empty(1 << 50)


def allocate_python() -> None:
    raise MemoryError


@pytest.mark.parametrize(
    "allocate, size",
    [
        (allocate_numpy, "8.00 PiB for an array with shape (1099511627776, 1024)"),
        (allocate_torch, "you tried to allocate 4503599627370496 bytes"),
        (allocate_python, ""),
    ],
)
def test_lack_of_memory_says_what_was_too_large(
    allocate: Callable[[], None], size: str, logs: Path
) -> None:
    with pytest.raises((MemoryError, RuntimeError)) as caught, doing("decoding 5 h of speech"):
        allocate()
    error = to_error(caught.value)
    assert isinstance(error, OutOfMemoryError) and error.exit_code == 1
    assert "not enough memory while decoding 5 h of speech" in str(error)
    assert size in str(error)
    assert list(logs.iterdir()) == []


@pytest.mark.parametrize(
    "number, part",
    [
        (errno.ENOSPC, "No space left on device; free some space and run the command again"),
        (errno.EACCES, "Permission denied"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_error_of_the_system_names_the_file_and_the_reason(number: int, part: str) -> None:
    error = to_error(OSError(number, os.strerror(number), "clips/a.npy"))
    assert str(error) == f"clips/a.npy: {part}"
    assert error.exit_code == 1


def test_full_disk_names_the_activity_before_the_advice() -> None:
    with pytest.raises(OSError, match="No space") as caught, doing("tracking a.mp4"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert str(to_error(caught.value)) == (
        "No space left on device while tracking a.mp4; free some space and run the command again"
    )


def test_recording_that_is_too_large_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*arguments: object, **options: object) -> None:
        raise MemoryError("Unable to allocate 9 TiB")

    soundfile.write(tmp_path / "long.wav", voices.speech(), 16000)
    monkeypatch.setattr(soundfile.SoundFile, "read", too_large)
    monkeypatch.setattr(soundfile, "read", too_large)
    with pytest.raises(MemoryError) as caught:
        audio.read(tmp_path / "long.wav")
    message = str(to_error(caught.value))
    assert message.startswith(f"not enough memory while reading {tmp_path / 'long.wav'} (Unable")


# The command line --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error, code, line",
    [
        (ZeroDivisionError("division by zero"), 70, "unexpected error (ZeroDivisionError: "),
        (MemoryError("Unable to allocate 9 TiB"), 1, "not enough memory (Unable to allocate"),
        (OSError(errno.EIO, "Input/output error", "x.npy"), 1, "x.npy: Input/output error"),
        (DataError("x.npy: cut short"), 1, "x.npy: cut short"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_every_error_of_a_command_is_one_line(
    error: Exception, code: int, line: str, monkeypatch: pytest.MonkeyPatch, logs: Path
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    ended = command.run("animate")
    assert ended.code == code
    assert ended.err.startswith(f"error: {line}")
    assert ended.err.count("\n") == 1 and ended.out == ""
    assert len(list(logs.iterdir())) == (code == 70)
    if code == 70:
        assert str(next(logs.iterdir())) in ended.err


def process(
    *arguments: object,
    cwd: Path,
    shell_end: str = "",
    program: Sequence[str] = ("-m", "codetalker_cli"),
) -> subprocess.Popen[str]:
    """Start the command as a user would, in its own process."""
    words = shlex.join(map(str, (sys.executable, *program, *arguments)))
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    return subprocess.Popen(
        f"exec {words} {shell_end}",
        shell=True,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """The words of a command that animates a short recording with the bundled voice."""
    folder = tmp_path_factory.mktemp("given")
    soundfile.write(folder / "speech.wav", voices.speech(), 16000)
    return ["animate", folder / "speech.wav"]


@pytest.mark.parametrize("closed", ["", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_stream_does_not_fail_a_report(tmp_path: Path, closed: str) -> None:
    ended = process("render", "--show-settings", "--json", cwd=tmp_path, shell_end=closed)
    out, err = ended.communicate()
    assert ended.returncode == 0 and err == ""
    assert out.startswith("[{") == (">&-" not in closed.replace("2>&-", ""))


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-"])
def test_closed_stream_does_not_fail_a_command(
    tmp_path: Path, given: list[object], closed: str
) -> None:
    ended = process(*given, "-o", "a.npz", "--json", cwd=tmp_path, shell_end=closed)
    out, err = ended.communicate()
    assert ended.returncode == 0, err
    assert "Traceback" not in err
    assert (tmp_path / "a.npz").is_file()
    assert out.startswith("{") == (">&-" not in closed.replace("2>&-", ""))


WRITER = """
import sys, time, typer
from pathlib import Path
from codetalker_cli import audio, cli
from codetalker_cli.files import atomic_path

cli.app = typer.Typer()

@cli.app.command()
def write():
    with atomic_path(Path("i.mp4")) as temporary:
        temporary.write_text("half")
        time.sleep(300)

cli.main()
"""


@pytest.mark.parametrize(
    ("number", "is_rendering"),
    [
        (signal.SIGTERM, True),
        (signal.SIGTERM, False),
        (signal.SIGHUP, False),
        (signal.SIGINT, False),
    ],
)
def test_stopped_command_leaves_nothing(
    tmp_path: Path, given: list[object], number: signal.Signals, is_rendering: bool
) -> None:
    if is_rendering:
        # The signal arrives long before the last of the 240 frames is drawn.
        fast = ("--set", "render.renderer=software")
        started = process(*given, "-o", "i.mp4", "--fps", "240", *fast, cwd=tmp_path)
    else:
        started = process("-c", WRITER, cwd=tmp_path, program=())
    deadline = time.monotonic() + 300
    while not any(p.suffix == ".mp4" for p in tmp_path.glob(".i.*")):
        assert time.monotonic() < deadline and started.poll() is None
        time.sleep(0.02)
    started.send_signal(number)
    out, err = started.communicate(timeout=300)
    assert started.returncode == 128 + number, err
    assert "Traceback" not in err and out == ""
    assert [p.name for p in tmp_path.iterdir()] == ["logs"]


def test_ignored_signal_stays_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(cli, "app", lambda: os.kill(os.getpid(), signal.SIGHUP))
        assert command.run("animate").code == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
