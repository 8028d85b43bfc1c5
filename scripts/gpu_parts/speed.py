"""Measure the speed of decoding and training, relative to a baseline in the same run."""

import gc
import os
import shutil
import statistics
import time
from pathlib import Path
from typing import Any

import decode as decode_benchmark
import tiny
import torch
import train as train_benchmark
import yaml

from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.settings import DecodeSettings
from gpu_parts.decoding import build, inputs
from gpu_parts.report import Report, Setup

EXACT_RATIO, EXACT_REAL_TIME = 4.0, 0.05
WINDOW_REAL_TIME = 0.02
FAST_RATIO = 8.0
"""The targets for decoding 10 s, and for vocaset-fast relative to the published training loop."""
BATCHES = (1, 8, 32)


# Decoding ----------------------------------------------------------------------------------------


def decoding_speed(report: Report, setup: Setup) -> None:
    """Measure decoding from features to vertices with all methods, CUDA graphs and batch sizes."""
    model = build(setup.small).to(setup.device)
    fps = model.settings.data.fps
    for seconds in (0.4,) if setup.small else (10.0, 20.0):
        n_frames = round(seconds * fps)
        plain = _time(model, "plain", DecodeSettings(), 1, n_frames, repeats=1)
        best = {"exact": plain, "window": plain}
        report.row("decoding", **_cells(seconds, "plain", "", "float32", 1, plain, plain))
        for method in best:
            for graphs in (False, True) if setup.on_gpu else (False,):
                for n_clips in BATCHES if seconds == 10.0 else BATCHES[:2]:
                    label = f"{method}, {seconds:g} s, {n_clips} clips{', graphs' * graphs}"
                    with report.guarded(label):
                        settings = DecodeSettings(cuda_graphs=graphs)
                        took = _time(model, method, settings, n_clips, n_frames)
                        if n_clips == 1:
                            best[method] = min(best[method], took)
                        how = "graphs" if graphs else "launches"
                        cells = _cells(seconds, method, how, "float32", n_clips, took, plain)
                        report.row("decoding", **cells)
            with report.guarded(f"{method}, {seconds:g} s, bf16"):
                took = _time(model, method, DecodeSettings(precision="bf16"), 1, n_frames)
                cells = _cells(seconds, method, "launches", "bf16", 1, took, plain)
                report.row("decoding", **cells)
        if seconds == 10.0 and setup.on_gpu:
            exact, window = best["exact"], best["window"]
            report.target_at_least(
                "exact relative to plain, 10 s", plain / exact, EXACT_RATIO, " ×"
            )
            real_time = exact / seconds
            report.target_at_most("exact, real-time factor at 10 s", real_time, EXACT_REAL_TIME)
            real_time = window / seconds
            report.target_at_most("window, real-time factor at 10 s", real_time, WINDOW_REAL_TIME)


def _time(
    model: CodeTalker,
    method: str,
    settings: DecodeSettings,
    n_clips: int,
    n_frames: int,
    repeats: int = 3,
) -> float:
    """Return the median seconds per clip after a warm-up; batches of several clips run once."""
    repeats = repeats if n_clips == 1 else 1
    device = model.vq.quantizer.codebook.device
    hidden, style = (x.to(device) for x in inputs(model, n_clips, n_frames))
    template = torch.zeros(1, model.settings.data.n_vertices, 3, device=device)
    run = decode_benchmark.decoding(method, model, settings)
    times = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        codes = run(hidden, style)
        for k in range(n_clips):  # all vertices of a batch would need gigabytes
            with torch.no_grad():
                model.vq.decode(codes[k : k + 1], template).cpu()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]) / n_clips


def _cells(
    seconds: float, method: str, how: str, precision: str, n: int, took: float, plain: float
) -> dict[str, Any]:
    return {
        "clip, s": seconds,
        "method": method,
        "steps": how,
        "precision": precision,
        "clips": n,
        "s/clip": float(f"{took:.3g}"),
        "× plain": round(plain / took, 1),
        "real-time factor": float(f"{took / seconds:.3g}"),
    }


# Training ----------------------------------------------------------------------------------------


def training_speed(report: Report, setup: Setup) -> None:
    """Measure training of both stages: the published loop, ``vocaset`` and ``vocaset-fast``."""
    preset = "vocaset"
    if setup.small:
        preset = str(setup.folder / "tiny.yaml")
        values = tiny.settings().model_dump(mode="json")
        (setup.folder / "tiny.yaml").write_text(yaml.safe_dump(values), "utf-8")
    os.environ["CODETALKER_CACHE"] = str(setup.folder / "cache")
    # There are more clips than can be loaded in advance, so steps wait as they do in a long run.
    n_clips, frames = (10, (20, 30)) if setup.small else (96, (90, 150))
    settings = train_benchmark.settings_of(preset, {})
    train_benchmark.generate(setup.folder / "data", settings, n_clips, frames)
    recipes = train_benchmark.recipes(preset, setup.device, False)
    fast, changes = recipes["fast"]
    recipes["fast, batch 1"] = fast, {**changes, "batch_size": 1}
    warmup, steps = (1, 2) if setup.small else (8, 30)
    # Workers pass batches through shared memory, which is often small in containers.
    memory = Path("/dev/shm")
    few = memory.exists() and shutil.disk_usage(memory).free < 1e9
    workers = {"workers": 0} if few else {}
    for stage in train_benchmark.SECTIONS:
        plain = 0.0
        for variant, (name, changed) in recipes.items():
            with report.guarded(f"training {stage}, {variant}"):
                job = {"stage": stage, "variant": variant, "preset": name}
                job["changes"] = changed | workers
                job |= {"device": setup.device, "threads": torch.get_num_threads()}
                job |= {"folder": str(setup.folder), "warmup": warmup, "steps": steps}
                made = train_benchmark.measure(job)
                speed = made["frames_per_second"]
                plain = plain or speed
                report.row(
                    "training",
                    stage=stage,
                    variant="published loop" if variant == "plain" else variant,
                    **{
                        "clips/s": float(f"{made['clips_per_second']:.3g}"),
                        "frames/s": float(f"{speed:.4g}"),
                        "× published loop": round(speed / plain, 2),
                        "memory, GB": round(made["peak_memory_gb"], 2),
                    },
                )
                if variant == "fast" and setup.on_gpu:
                    name = f"{stage}, vocaset-fast relative to the published loop"
                    report.target_at_least(name, speed / plain, FAST_RATIO, " ×")
            gc.collect()
            if setup.on_gpu:
                torch.cuda.empty_cache()
