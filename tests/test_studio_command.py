"""The command ``codetalker studio``: its address, its end, and unusable arguments."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import voices
from command import refuse, run

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    voices.save(Path("voice"), "A", family="whisper", motion_history=False)


@contextmanager
def started(*arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a studio, and yield its process and the address that it prints."""
    command = [sys.executable, "-m", "codetalker_cli", "studio", "--model", "voice", "--json"]
    process = subprocess.Popen(
        [*command, "--port", "0", "--no-browser", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        yield process, json.loads(line)["url"]
    finally:
        process.kill()
        process.communicate()


def ask(url: str, path: str, method: str = "GET") -> Any:
    base, _, token = url.partition("/#token=")
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(base + path, headers=headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def end(process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[int, str]:
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    return process.returncode, err


def test_ctrl_c_ends_it_and_removes_temporary_takes(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    with started(TMPDIR=str(tmp_path / "tmp")) as (process, url):
        assert url.startswith("http://127.0.0.1:") and len(url.partition("#token=")[2]) >= 32
        assert ask(url, "/api/studio")["subjects"] == ["A"]
        ask(url, "/api/sample", "POST")
        assert list((tmp_path / "tmp").glob("codetalker-studio-*/*/take.json"))
        code, err = end(process)
    assert code == 0, err
    assert "Traceback" not in err
    assert not list((tmp_path / "tmp").glob("codetalker-studio-*"))


def test_folder_keeps_takes_and_can_be_used_once() -> None:
    with started("--out", "takes", "--token", "a-token-of-16-chars") as (process, url):
        assert url.endswith("#token=a-token-of-16-chars")
        ask(url, "/api/sample", "POST")
        busy = run("studio", "--model", "voice", "--no-browser", "--port", "0", "-o", "takes")
        assert busy.code == 2
        assert "takes: another studio is using this folder; end it, or give another" in busy.err
        assert "takes/studio" not in busy.err
        assert end(process, signal.SIGTERM)[0] == 143
    assert len(list(Path("takes").glob("*/take.json"))) == 1


def test_unusable_arguments_are_refused() -> None:
    common = ["studio", "--model", "voice", "--no-browser"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        error = refuse(*common, "--port", port)
        assert "cannot listen, because another program uses this port" in error
        assert error.count(port) == 1
    assert "at least 16" in refuse(*common, "--port", "0", "--token", "short")
    assert "65535" in refuse(*common, "--port", "70000")
    Path("file").touch()
    assert "file" in refuse(*common, "--port", "0", "-o", "file")
    assert "nothing" in refuse("studio", "--no-browser", "--port", "0", "--model", "nothing")
