"""Test the GPU check: a dry run of every part on the CPU, and the runner."""

import argparse
import importlib
import io
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import scripts

ROOT = Path(__file__).parents[1]
PARTS = (
    "compiled",
    "decoding",
    "precision",
    "gradients",
    "resume",
    "golden",
    "evaluation",
    "rendering",
    "voice",
    "decoding-speed",
    "training-speed",
)
ABSENT = ("moviepy", "imageio_ffmpeg", "proglog")
"""The packages that neither the GPU machine nor the wheels of the check provide."""


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    module = scripts.load(ROOT / "scripts" / "gpu_check.py")
    for path in module.SEARCH_PATH:
        monkeypatch.syspath_prepend(path)
    # The parts set this variable, so it has to be restored after the test.
    monkeypatch.setenv("CODETALKER_CACHE", str(tmp_path / "cache"))
    return module


def options(check: ModuleType, *arguments: str) -> argparse.Namespace:
    return check.arguments(["--device", "cpu", "--small", *arguments])


def dry_run(check: ModuleType, name: str, folder: Path) -> list[dict[str, Any]]:
    """Run a part in this process, to avoid importing torch again, and return its entries."""
    entries = folder / "entries.jsonl"
    check.run_in_this_process(name, "cpu", True, folder, entries)
    return [json.loads(line) for line in entries.read_text().splitlines()]


@pytest.mark.parametrize("name", PARTS)
def test_dry_run_of_each_part_passes(
    check: ModuleType, name: str, tmp_path: Path, no_curves: None
) -> None:
    entries = dry_run(check, name, tmp_path)
    assert [e for e in entries if e.get("passed") is False] == []
    skipped = {e["check"] for e in entries if "check" in e and e["passed"] is None}
    assert skipped <= {"vq, fp16", "speech, fp16", "OpenGL"}
    assert any("table" in e or e["passed"] for e in entries)


def test_dry_runs_cover_every_part(check: ModuleType) -> None:
    assert set(PARTS) == set(check.PARTS)
    assert all(part.seconds < 120 for part in check.PARTS.values())


def test_parts_import_only_packages_of_a_gpu_machine(check: ModuleType) -> None:
    modules = sorted({f"gpu_parts.{part.module}" for part in check.PARTS.values()})
    code = (
        f"import importlib, sys; sys.path[:0] = {check.SEARCH_PATH!r}\n"
        f"sys.modules.update(dict.fromkeys({ABSENT!r}))\n"
        f"for name in {modules!r}: importlib.import_module(name)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_wrong_code_fails_the_check(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding = importlib.import_module("gpu_parts.decoding")
    right = decoding._forced

    def wrong(*given: Any) -> list[torch.Tensor]:
        codes = right(*given)
        codes[0][3, 0] = (codes[0][3, 0] + 1) % 12
        return codes

    monkeypatch.setattr(decoding, "_forced", wrong)
    failed = [e for e in dry_run(check, "decoding", tmp_path) if e.get("passed") is False]
    assert [e["value"] for e in failed] == [1, 1, 1, 1]


def test_tied_codes_do_not_count_as_wrong(check: ModuleType) -> None:
    codes = importlib.import_module("gpu_parts.codes")
    codebook = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [3.0, 0.0]])
    latents = torch.tensor([[1e-7, 2.0], [0.5, 0.0], [0.0, 0.0]])
    expected = torch.tensor([0, 0, 0])
    assert codes.count_differences(codebook, latents, expected, torch.tensor([1, 1, 0])) == (1, 1)
    assert codes.count_differences(codebook, latents, expected, expected) == (0, 0)


def test_nan_and_exceptions_fail_the_check(check: ModuleType) -> None:
    report = importlib.import_module("gpu_parts.report")
    file = io.StringIO()
    checks = report.Report(file)
    checks.at_most("a", float("nan"), 1.0)
    checks.at_least("b", float("nan"), 1.0)
    with checks.guarded("c"):
        raise RuntimeError("CUDA error\nmore lines")
    entries = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [e["passed"] for e in entries] == [False] * 3
    assert entries[2]["value"] == "RuntimeError: CUDA error"


# The runner --------------------------------------------------------------------------------------


def test_crash_or_timeout_of_a_part_is_reported(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``golden`` crashes without a CUDA device, and ``evaluation`` runs into its time limit."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    given = check.arguments(["--device", "cuda", "--scratch", str(tmp_path)])
    crashed = check.run_part("golden", given, 60, 1)
    assert crashed["status"] == "crashed (exit code 1)"
    assert "not usable here" in crashed["entries"][-1]["value"]
    given = options(check, "--scratch", str(tmp_path))
    stopped = check.run_part("evaluation", given, 0.1, 1)
    assert stopped["status"] == "stopped after 0 s"
    assert check.failures([crashed, stopped]) == ["golden", "evaluation"]
    assert list(tmp_path.iterdir()) == []


def test_results_are_written_and_failures_exit_with_code_1(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(name: str, *_: Any) -> dict[str, Any]:
        passed = name != "voice"
        entry = {"check": f"{name} | x", "passed": passed, "required": "≤ 1", "value": 0.5}
        entries = [entry, {"table": "speed", "row": {"part": name, "ratio": 2.0}}]
        return {"part": name, "status": "ended", "seconds": 1.0, "entries": entries, "log": ""}

    monkeypatch.setattr(check, "run_part", run)
    given = options(check, "--out", str(tmp_path / "out"), "--only", "golden", "voice")
    assert check.main(given) == 1
    result = json.loads((tmp_path / "out" / "gpu_check.json").read_text())
    assert [part["part"] for part in result["parts"]] == ["golden", "voice"]
    text = (tmp_path / "out" / "gpu_check.md").read_text()
    assert "| voice | x | 0.5 | ≤ 1 | **failed** |" in text
    assert "| golden | 2.0 |\n| voice | 2.0 |" in text
    assert check.main(options(check, "--out", str(tmp_path / "out"), "--only", "golden")) == 0


def test_missing_cuda_prints_one_line_and_exits_with_code_2(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert check.main(check.arguments([])) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1
    assert "no CUDA device was found" in output.err and "--device cpu --small" in output.err


def test_wheels_are_pinned(check: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.main(check.arguments(["--wheels"])) == 0
    names = capsys.readouterr().out.split()
    assert len(names) == len(check.WHEELS) and all("==" in name for name in names)
