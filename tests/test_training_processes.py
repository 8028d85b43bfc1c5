"""Test that several processes train like one process with a batch of the total size."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import killed_runs
import pytest
import two_processes

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.errors import CheckpointError
from codetalker_cli.train.run_folder import RunFolder

STAGES = ("vq", "speech")
HERE = Path(__file__).parent


class Launched(NamedTuple):
    """The result of a launch of two processes."""

    folder: Path
    data: PreparedDataSet
    code: int
    out: str
    err: str
    processes: list[dict[str, Any]]

    def rows(self, name: str) -> list[dict[str, float]]:
        """Return the metrics of a run."""
        return RunFolder(self.folder / "runs" / name).rows()


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Launched:
    folder = tmp_path_factory.mktemp("processes")
    data = two_processes.data(folder / "data")
    two_processes.write_settings(folder)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    paths = os.pathsep.join([str(HERE.parent), str(HERE)])
    ended = subprocess.run(
        [*launcher, "--nproc-per-node", "2", str(HERE / "two_processes.py"), str(folder)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    files = [folder / f"{rank}.json" for rank in (0, 1)]
    assert all(file.is_file() for file in files), ended.stderr
    processes = [json.loads(file.read_text("utf-8")) for file in files]
    return Launched(folder, data, ended.returncode, ended.stdout, ended.stderr, processes)


def assert_same(a: list[dict[str, float]], b: list[dict[str, float]]) -> None:
    """Assert that all metrics are equal, except the time."""
    assert a
    for one, other in zip(a, b, strict=True):
        assert one.keys() == other.keys() > {"seconds"}
        for key in one.keys() - {"seconds"}:
            assert one[key] == pytest.approx(other[key], rel=1e-9, abs=1e-9), key


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("case", two_processes.CASES)
def test_two_processes_equal_one_with_twice_the_batch(
    launched: Launched, tmp_path: Path, stage: str, case: str
) -> None:
    made = two_processes.settings(**two_processes.SINGLE[case])
    with two_processes.in_float64():
        killed_runs.train(stage, launched.data, made, tmp_path / "out")
    rows = launched.rows(f"{stage}-{case}")
    assert len(rows) == 2 and rows[0]["loss"] != rows[1]["loss"]
    assert_same(rows, RunFolder(tmp_path / "out").rows())


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_equal_accumulated_batches(
    launched: Launched, tmp_path: Path, stage: str
) -> None:
    made = two_processes.settings(batch_size=2, accumulation=2)
    with two_processes.in_float64():
        killed_runs.train(stage, launched.data, made, tmp_path / "out")
    assert_same(launched.rows(f"{stage}-two"), RunFolder(tmp_path / "out").rows())


def test_all_processes_end_with_the_same_weights(launched: Launched) -> None:
    first, second = launched.processes
    assert first["weights"] == second["weights"]
    cases = [*two_processes.CASES, "whole", "resumed"]
    assert first["weights"].keys() == {f"{stage}-{case}" for stage in STAGES for case in cases}


def test_only_the_main_process_writes_and_prints(launched: Launched) -> None:
    first, second = launched.processes
    assert first["written"] and second["written"] == []
    assert second["printed"] == ""


@pytest.mark.parametrize("stage", STAGES)
def test_two_processes_resume_exactly(launched: Launched, stage: str) -> None:
    whole, resumed = (
        killed_runs.outcome(launched.folder / "runs" / f"{stage}-{name}")
        for name in ("whole", "resumed")
    )
    assert len(whole["metrics"]) == 2
    assert killed_runs.differences(whole, resumed) == []


def test_resuming_with_another_number_of_processes_is_refused(launched: Launched) -> None:
    made = killed_runs.everything(**two_processes.RESUMED)
    out = launched.folder / "runs" / "vq-whole"
    before = killed_runs.outcome(out)
    with pytest.raises(CheckpointError, match="with n_processes = 2, but this run has 1; resume"):
        killed_runs.train("vq", launched.data, made, out, resume=True)
    assert killed_runs.outcome(out) == before


def test_error_in_one_process_ends_all_with_one_line(launched: Launched) -> None:
    assert launched.code == 1
    (line,) = [line for line in launched.err.splitlines() if line.startswith("error: ")]
    named = f"the loss of {two_processes.POISONED} is not finite"
    assert line.startswith("error: epoch 2, step ") and named in line
    assert launched.out == ""
    kept = killed_runs.outcome(launched.folder / "runs" / "poisoned")
    assert len(kept["metrics"]) == 1 and kept["unfinished"] == []
