"""The option ``--serve`` of ``codetalker live``: the address, the token, and contradictions."""

import json
import os
import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import voices
from command import refuse, run

from codetalker_cli.live import server


@pytest.fixture(autouse=True)
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CODETALKER_TOKEN", raising=False)
    voices.save(Path("voice"), "A", family="whisper", motion_history=False)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_server_answers_and_a_signal_ends_it() -> None:
    port, seen = free_port(), []

    def ask() -> None:
        for _ in range(200):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
                    seen.append(json.loads(answer.read())["status"])
                break
            except OSError:
                time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    asking = threading.Thread(target=ask)
    asking.start()
    ended = run("live", "--serve", f"127.0.0.1:{port}", "--model", "voice", "--device", "cpu")
    asking.join()
    assert seen == ["ok"]
    assert ended.code == 0, ended.err


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_other_machines_need_a_token(host: str) -> None:
    error = refuse("live", "--serve", f"[{host}]:{free_port()}", "--model", "voice")
    assert "a --token is needed" in error


def test_settings_and_token_reach_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(server, "serve", lambda *given: calls.append(given))
    monkeypatch.setenv("CODETALKER_TOKEN", "from-the-environment")
    ended = run("live", "--serve", ":1234", "--model", "voice", "--set", "serve.streams=3")
    assert ended.code == 0, ended.err
    (given,) = calls
    assert given[1].streams == 3
    assert given[2:5] == ("127.0.0.1", 1234, "from-the-environment")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stdin"], "--stdin has no effect with --serve"),
        (["--mic"], "--mic has no effect with --serve"),
        (["--file", "a.wav"], "--file has no effect"),
        (["--osc", "127.0.0.1"], "--osc has no effect"),
        (["-o", "a.csv"], "--out has no effect"),
        (["--style", "A"], "--style has no effect"),
        (["--json-lines"], "--json-lines has no effect"),
        (["--lookahead", "0.1"], "--lookahead"),
        (["--set", "live.n_threads=2"], "live.n_threads"),
        (["--token", "short"], "at least 16"),
    ],
)
def test_options_of_one_stream_are_refused(arguments: list[str], message: str) -> None:
    error = refuse("live", "--serve", "127.0.0.1:8765", "--model", "voice", *arguments)
    assert message in error


@pytest.mark.parametrize("address", ["", "a b:1", "host:99999", "127.0.0.1:x"])
def test_wrong_address_is_refused(address: str) -> None:
    assert "--serve" in refuse("live", "--serve", address, "--model", "voice")
