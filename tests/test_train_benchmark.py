"""The benchmark of training runs, at tiny size."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import tiny
import yaml

import scripts
from codetalker_cli.resources import CACHE_VARIABLE


@pytest.fixture
def benchmark() -> ModuleType:
    return scripts.benchmark("train")


def test_every_variant_of_both_stages_is_measured(
    benchmark: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    preset = tmp_path / "tiny.yaml"
    preset.write_text(yaml.safe_dump(tiny.settings().model_dump(mode="json")))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    # A process of its own each would take seconds to import torch.
    run = lambda job: json.loads(json.dumps(benchmark.measure(json.loads(json.dumps(job)))))  # noqa: E731
    monkeypatch.setattr(benchmark, "in_own_process", run)
    size = ["--clips", "10", "--frames", "20", "30", "--steps", "3", "--threads", "1"]
    where = ["--device", "cpu", "--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["train.py", "--preset", str(preset), *size, *where, "--json"])
    benchmark.main()
    made = json.loads(capsys.readouterr().out)
    variants = ["plain", "batch 1", "fast", "fast, float32"]
    found = [(row["stage"], row["variant"]) for row in made["rows"]]
    assert found == [(stage, variant) for stage in ("vq", "speech") for variant in variants]
    for row in made["rows"]:
        assert row["frames_per_second"] > 20 * row["clips_per_second"] > 0
        assert row["peak_memory_gb"] > 0.01
    assert not list(tmp_path.glob("train-benchmark-*"))
    text = benchmark.table(made["rows"])
    assert "| vq | plain |" in text and "filling the caches" in text
