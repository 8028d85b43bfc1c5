"""Test the programs of ``benchmarks/`` at their smallest size.

They must print the documented fields, with figures that are consistent with each other and with
independent measurements.
"""

import itertools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import tiny
import yaml
from viewer_pages import speaking

import scripts
from codetalker_cli.resources import CACHE_VARIABLE

ELSEWHERE = {
    "avatars": "test_avatar_benchmark.py",
    "decode": "test_decode_benchmark.py",
    "encoder_probe": "test_people_script.py",
    "languages": "test_languages.py",
    "lips": "test_lips_script.py",
    "live": "test_live_benchmark.py",
    "liveness": "test_liveness_script.py",
    "people": "test_people_script.py",
    "plain_decoding": "test_decode_benchmark.py",
    "serve": "test_serve_docs.py",
    "rig_curves": "test_rig_benchmark.py",
    "studio": "test_studio_benchmark.py",
}
"""The programs and modules that are tested in other files."""


def peak_gb(who: int) -> float:
    """Return the peak resident memory of this process or of its children, in GB."""
    return resource.getrusage(who).ru_maxrss * 1024 / 1e9


def numpy_gb() -> float:
    """Return the peak resident memory of a process that only imports NumPy, in GB.

    `getrusage` is not used, because it includes the memory of the parent process.
    """
    code = "import numpy; print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    return int(subprocess.check_output([sys.executable, "-c", code])) * 1024 / 1e9


class TrainCase:
    """``train.py`` with a fake clock that advances by 0.5 s each time it is read."""

    fields = (
        *("stage", "variant", "frames_per_second", "clips_per_second", "seconds_per_step"),
        *("peak_memory_gb", "cache_seconds_per_clip"),
    )

    def __init__(self, program: ModuleType, folder: Path, patch: pytest.MonkeyPatch) -> None:
        preset = folder / "tiny.yaml"
        preset.write_text(yaml.safe_dump(tiny.settings().model_dump(mode="json")))
        self.arguments = [
            *("--preset", str(preset), "--clips", "10", "--frames", "20", "30", "--steps", "3"),
            *("--threads", "1", "--device", "cpu", "--folder", str(folder)),
        ]
        readings = itertools.count()
        patch.setattr(program, "time", SimpleNamespace(perf_counter=lambda: next(readings) / 2))
        patch.setenv(CACHE_VARIABLE, str(folder / "cache"))

        def run(job: dict[str, Any]) -> dict[str, Any]:
            # A new process for each variant would take seconds to import torch.
            return json.loads(json.dumps(program.measure(json.loads(json.dumps(job)))))

        patch.setattr(program, "in_own_process", run)
        self.program, self.before = program, peak_gb(resource.RUSAGE_SELF)

    def rows(self, result: dict[str, Any]) -> list[dict[str, Any]]:
        return result["rows"]

    def check(self, result: dict[str, Any], wall_seconds: float) -> None:
        variants = ["plain", "batch 1", "fast", "fast, float32"]
        rows = {(row["stage"], row["variant"]): row for row in result["rows"]}
        assert list(rows) == list(itertools.product(("vq", "speech"), variants))
        lengths = set()
        for (stage, variant), row in rows.items():
            n_clips = row["clips_per_second"] * row["seconds_per_step"]
            assert row["seconds_per_step"] == 0.5
            if variant in ("plain", "batch 1"):
                assert 40 <= row["frames_per_second"] <= 60
                assert 20 / 30 <= n_clips <= 30 / 20
            else:
                assert 1.5 < n_clips <= 8 * 30 / 20
            assert self.before <= row["peak_memory_gb"] <= peak_gb(resource.RUSAGE_SELF)
            cached = stage == "speech" and variant != "plain"
            assert row["cache_seconds_per_clip"] == (0.5 if cached else None)
            lengths.add(round(row["frames_per_second"] / row["clips_per_second"], 6))
        assert len(lengths) == 1 and 20 < lengths.pop() < 30  # the mean length of a clip
        text = self.program.table(result["rows"])
        assert "| vq | plain |" in text and "filling the caches: 0.500 s per clip" in text


class PrepareCase:
    """``prepare.py`` with two clips."""

    fields = (
        *("clips", "raw_gb", "prepared_gb", "copy_seconds", "copy_mb_per_second"),
        *("prepare_seconds", "prepare_mb_per_second", "share_of_copy_speed", "again_seconds"),
        "peak_memory_gb",
    )

    def __init__(self, program: ModuleType, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.arguments = ["--clips", "2", "--folder", str(folder)]

    def rows(self, result: dict[str, Any]) -> list[dict[str, Any]]:
        return [result]

    def check(self, result: dict[str, Any], wall_seconds: float) -> None:
        n_bytes = 2 * 217 * 5023 * 3 * 4
        assert result["clips"] == 2
        assert result["raw_gb"] == pytest.approx(n_bytes / 1e9, rel=0.02)
        # The motion is prepared at half its frame rate. The audio adds to that.
        assert 0.5 < result["prepared_gb"] / result["raw_gb"] < 0.6
        for stage in ("copy", "prepare"):
            megabytes = result[f"{stage}_mb_per_second"] * result[f"{stage}_seconds"]
            assert megabytes == pytest.approx(1000 * result["raw_gb"])
        share = result["copy_seconds"] / result["prepare_seconds"]
        assert result["share_of_copy_speed"] == pytest.approx(share)
        seconds = [result[f"{key}_seconds"] for key in ("copy", "prepare", "again")]
        assert min(seconds) > 0 and sum(seconds) < wall_seconds
        assert numpy_gb() < result["peak_memory_gb"] <= peak_gb(resource.RUSAGE_CHILDREN)


class RenderCase:
    """``render.py`` with two frames."""

    fields = (
        *("drawn_by", "vertices", "size", "frames", "frames_per_second"),
        *("main_mb", "largest_other_mb", "video_mb"),
    )

    def __init__(self, program: ModuleType, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.arguments = [
            *("--frames", "2", "--size", "32", "--renderers", "software", "--meshes", "head"),
            *("--repeats", "1", "--memory-frames", "1"),
        ]

    def rows(self, result: dict[str, Any]) -> list[dict[str, Any]]:
        return [*result["speed"], *result["memory"]]

    def check(self, result: dict[str, Any], wall_seconds: float) -> None:
        (speed,) = result["speed"]
        short, long = result["memory"]
        assert (speed["frames"], short["frames"], long["frames"]) == (2, 1, 10)
        assert speed["ratio"] == 1 and speed["all_runs"] == [round(speed["frames_per_second"], 1)]
        floor, ceiling = numpy_gb(), peak_gb(resource.RUSAGE_CHILDREN)
        drawing = 0.0
        for row in self.rows(result):
            assert row["drawn_by"] == "software" and row["vertices"] == 5370
            drawing += row["frames"] / row["frames_per_second"]
            # Megabytes of 1024 × 1024 bytes.
            assert floor < row["main_mb"] * 1024**2 / 1e9 <= ceiling
            assert floor < row["largest_other_mb"] * 1024**2 / 1e9 <= ceiling
            assert 0 < row["video_mb"] < 0.1
        assert drawing < wall_seconds


class ViewerCase:
    """``viewer.py`` with a small motion, without a browser."""

    fields = (
        *("motion", "frames", "seconds", "vertices", "write_seconds", "page_mb", "motion_mb"),
        *("sound_mb", "vectors", "error_mm"),
    )

    def __init__(self, program: ModuleType, folder: Path, patch: pytest.MonkeyPatch) -> None:
        motion = speaking()
        motion.save(folder / "a.npz")
        self.arguments, self.program = [str(folder / "a.npz")], program

    def rows(self, result: dict[str, Any]) -> list[dict[str, Any]]:
        return result["rows"]

    def check(self, result: dict[str, Any], wall_seconds: float) -> None:
        assert self.program.synthetic("noise").vertices.shape == (250, 4902, 3)
        (row,) = result["rows"]
        assert (row["frames"], row["seconds"]) == (75, 3.0) and row["vectors"] >= 5
        assert 0 < row["error_mm"] <= 0.1
        assert 0 < row["write_seconds"] < wall_seconds + 0.005  # rounded to 0.01 s
        assert row["page_mb"] > row["motion_mb"] + row["sound_mb"] > row["sound_mb"] > 0


CASES: dict[str, Callable] = {
    "prepare": PrepareCase,
    "render": RenderCase,
    "train": TrainCase,
    "viewer": ViewerCase,
}


def test_every_program_is_tested() -> None:
    assert {path.stem for path in scripts.BENCHMARKS.glob("*.py")} == {*CASES, *ELSEWHERE}
    assert all((Path(__file__).parent / name).is_file() for name in ELSEWHERE.values())


@pytest.mark.parametrize("name", CASES)
def test_smallest_run_prints_consistent_figures(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = scripts.benchmark(name)
    case = CASES[name](program, tmp_path, monkeypatch)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *case.arguments, "--json"])
    started = time.perf_counter()
    program.main()
    wall_seconds = time.perf_counter() - started
    result = json.loads(capsys.readouterr().out)
    rows = case.rows(result)
    assert rows and all(row.keys() >= set(case.fields) for row in rows)
    case.check(result, wall_seconds)
    assert not list(tmp_path.glob(f"{name}-benchmark-*"))  # temporary files are removed


def test_dense_mesh_is_closed_and_has_the_documented_size() -> None:
    topology, template, _ = scripts.benchmark("render").dense()
    assert len(template) == 23370 == topology.n_vertices
    # Each edge belongs to two triangles, once in each direction.
    edges = topology.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).tolist()
    directed = {(a, b) for a, b in edges}
    assert len(directed) == len(edges) and {(b, a) for a, b in edges} == directed
