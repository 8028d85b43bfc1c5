"""Test the decoding benchmark at a tiny size."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import soundfile
import tiny
import voices
import yaml

import scripts


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(scripts.BENCHMARKS))
    module = scripts.benchmark("decode")
    # A new process for each row would take seconds to import torch.
    run = lambda job: json.loads(json.dumps(module.measure(json.loads(json.dumps(job)))))  # noqa: E731
    monkeypatch.setattr(module, "in_own_process", run)
    return module


@pytest.fixture
def preset(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny.settings().model_dump(mode="json")))
    return str(path)


def test_all_methods_are_compared_with_plain(
    benchmark: ModuleType,
    preset: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    methods = ["plain", "exact", "window:2+1", "exactx3", "window/bf16"]
    arguments = ["--seconds", "0.4", "0.6", "--methods", *methods, "--threads", "1"]
    arguments += ["--preset", preset, "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["decode.py", *arguments, "--json"])
    benchmark.main()
    rows = json.loads(capsys.readouterr().out)
    assert [(r["clip_seconds"], r["method"]) for r in rows] == [
        (seconds, method) for seconds in (0.4, 0.6) for method in methods
    ]
    assert all(r["seconds"] > 0 and r["memory_gb"] > 0 and r["times_plain"] > 0 for r in rows)
    by_method = {r["method"]: r for r in rows}
    assert by_method["plain"]["times_plain"] == by_method["plain"]["codes_equal"] == 1
    assert by_method["exact"]["codes_equal"] == 1
    assert by_method["exact"]["codes_sha256"] == by_method["plain"]["codes_sha256"]

    monkeypatch.setattr(sys, "argv", ["decode.py", *arguments])
    benchmark.main()
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 2 + 10 and len({line.count("|") for line in table}) == 1


def test_unknown_method_is_refused(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["decode.py", "--methods", "quick"])
    with pytest.raises(SystemExit):
        benchmark.main()
    assert "--methods quick: unknown method; use plain, exact" in capsys.readouterr().err


def test_windows_are_compared_with_exact_decoding(
    benchmark: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = voices.save(tmp_path / "voice", "A")
    for k in range(2):
        soundfile.write(tmp_path / f"{k}.wav", voices.speech(1.2, seed=k), 16000)
    monkeypatch.setattr(benchmark, "WINDOWS", [(1, 0), (100, 0)])
    arguments = ["--deviation", str(tmp_path), "--model", str(model), "--threads", "1", "--json"]
    monkeypatch.setattr(sys, "argv", ["decode.py", *arguments])
    benchmark.main()
    exact, narrow, wide = json.loads(capsys.readouterr().out)
    assert exact["lip_motion_mm"] > 0
    assert narrow["codes_equal"] < 1 and narrow["lip_error_mm"] > 0
    assert wide["codes_equal"] == 1 and wide["lip_error_mm"] < 1e-3
