"""Test ``benchmarks/live.py`` with a stand-in for the model and a clock that only sleep moves."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import soundfile
import voices
from live_fakes import HeadVoice

import codetalker_cli as ct
import scripts


class Clock:
    """A clock that stands still until the program sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds + 1e-6


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    loaded, clock, voice = scripts.benchmark("live"), Clock(), HeadVoice()
    monkeypatch.setattr(
        loaded, "time", SimpleNamespace(perf_counter=clock.perf_counter, sleep=clock.sleep)
    )
    monkeypatch.setattr(ct, "load", lambda *_, **__: voice)
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", voices.speech(3.3), 16_000)
    return loaded


def result(
    program: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *arguments: str,
) -> dict:
    given = ["live.py", "a.wav", "--core", "-1", "--json", *arguments]
    monkeypatch.setattr(sys, "argv", given)
    program.main()
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("streams", [1, 3])
def test_delay_is_the_wait_for_the_chunk_if_decoding_takes_no_time(
    program: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    streams: int,
) -> None:
    row = result(program, monkeypatch, capsys, "--seconds", "4", "--streams", str(streams))
    assert row["streams"] == streams
    assert row["missing"] == 0
    assert row["load"] == 0.0
    # The first frame of a hop waits for the look-ahead, and later ones for less.
    assert -110 <= row["p50_ms"] <= row["p95_ms"] <= row["max_ms"] <= 21
    assert row["first_frame_ms"] == pytest.approx(row["lookahead_ms"], abs=21)


def test_long_stream_has_all_frames_and_does_not_drift(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = result(program, monkeypatch, capsys, "--long", "12")
    assert row["seconds"] == 12
    assert row["missing"] == 0
    assert row["drift"] == 0.0
    assert np.isfinite(row["growth_mb"])
