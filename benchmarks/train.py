"""How fast both stages train at full VOCASET size, and in how much memory.

    python benchmarks/train.py [--stage vq speech] [--device auto] [--threads N] [--steps N]
                               [--compile] [--json]

plain          a batch-1 float32 loop that computes everything in every step, as the published
               training code does: in stage 2 the whole speech encoder with its convolutions, and
               stage 1's latents of the true motion
batch 1        `codetalker train-vq` and `train-speech` with the preset vocaset, the paper's recipe
fast           with the preset vocaset-fast; on a CPU in float32 too; with --compile compiled too

All of them run the same model code, from random weights of the real sizes (wav2vec 2.0 base), on
synthetic clips as long as VOCASET's (90 to 150 frames at 30 fps), each in a process of its own with
N threads. A step is timed from its batch to the moved weights: no validation, no checkpoint. What
is computed once a clip (stage 2) is there before the first step; the time it took is told apart.

frames/s is the median over the steps; clips/s is that by the clips' mean length; memory is the
largest resident set of the process on a CPU, the most that PyTorch held on a GPU.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codetalker_cli import resources
from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.datasets.prepared_writer import DataSetFacts, NewClip, PreparedWriter
from codetalker_cli.models.checkpoint import Checkpoint
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.presets import read_preset, settings_from_dict
from codetalker_cli.settings import Settings
from codetalker_cli.topology import Mesh, Topology
from codetalker_cli.train.batches import ClipSource, Plan
from codetalker_cli.train.losses import EncodedClips, clip_means, speech_losses
from codetalker_cli.train.progress import TrainingProgress
from codetalker_cli.train.speech import SpeechReports, train_speech
from codetalker_cli.train.vq import train_vq

SECTIONS = {"vq": "train_vq", "speech": "train_speech"}
NO_END = 1_000_000_000
"""Epochs until a validation, seconds until a state is saved: a run that only takes steps."""
FAST = {"batch_size": 8, "precision": "bf16", "schedule": "cosine"}
"""Where a preset has no fast one beside it."""
CPU_STEPS, GPU_STEPS = 6, 60
"""Timed steps of batch 1; half as many of the larger batches."""
CPU_WARMUP, GPU_WARMUP = 1, 10


class Enough(Exception):
    """All steps are timed."""


# What is trained on -------------------------------------------------------------------------------


def generate(folder: Path, settings: Settings, n_clips: int, frames: tuple[int, int]) -> None:
    """A prepared data set of smooth random motion and noise for speech."""
    rng = np.random.default_rng(0)
    shape = (settings.data.n_vertices, 3)
    subjects = settings.data.train_subjects
    direction = rng.standard_normal(shape)
    ball = 0.1 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    templates = {s: (ball * rng.uniform(0.9, 1.1, 3)).astype(np.float32) for s in subjects}
    triangles = rng.integers(0, shape[0], (2 * shape[0], 3)).astype(np.int32)
    lips = {"lips": np.arange(max(1, shape[0] // 20), dtype=np.int32)}
    topology = Topology("random", triangles, shape[0], settings.data.unit, lips)
    ways = rng.standard_normal((20, *shape)).astype(np.float32) * 5e-4
    writer = PreparedWriter(folder, overwrite=False)
    for k in range(n_clips):
        n = round(rng.triangular(frames[0], frames[0], frames[1]))
        seconds = np.arange(n)[:, None] / settings.data.fps
        swing = np.sin(2 * np.pi * (rng.uniform(0.5, 5, 20) * seconds + rng.random(20)))
        motion = np.tensordot(swing.astype(np.float32), ways, 1)
        samples = rng.normal(0, 0.1, round(n / settings.data.fps * SAMPLE_RATE))
        subject = subjects[k % len(subjects)]
        vertices = templates[subject] + motion
        writer.add(NewClip(f"clip{k:03d}", subject, "train", vertices, samples.astype(np.float32)))
    mesh = Mesh(topology, templates)
    writer.finish(DataSetFacts(settings.data.name, settings.data.fps, subjects), mesh, {})


def settings_of(preset: str, changes: dict[str, Any]) -> Settings:
    """A preset's, with a random speech encoder, and ``changes`` to how both stages are trained."""
    values = read_preset(preset)
    encoder = values["speech"]["encoder"]
    encoder["source"] = ""
    encoder.setdefault("config", {"hidden_size": 768})  # all else of it is the base model's already
    for section in SECTIONS.values():
        values[section].update(changes)
    return settings_from_dict(values, preset)


def recipes(preset: str, device: str, compiled: bool) -> dict[str, tuple[str, dict[str, Any]]]:
    """Variant → its preset and what is changed in it."""
    fast, changes = f"{preset}-fast", {}
    if fast not in resources.config_names():
        fast, changes = preset, FAST
    made = {"plain": (preset, {}), "batch 1": (preset, {}), "fast": (fast, changes)}
    if device == "cpu":
        made["fast, float32"] = (fast, {**changes, "precision": "float32"})
    if compiled:
        made["fast, compiled"] = (fast, {**changes, "compile": True})
    return made


# The loops ----------------------------------------------------------------------------------------


class Clock:
    """Takes the time after each step; ends the run when there are enough.

    Args:
        job: ``device``, ``warmup``, ``steps``.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self._job, self._step = job, 0
        self.times: list[float] = []
        self.filled: list[float] = []

    def report(self, progress: TrainingProgress) -> None:
        """After a step of the training loop, or once more at the end of an epoch."""
        if progress.step != self._step:
            self._step = progress.step
            self.tick()

    def tick(self) -> None:
        """A step is done."""
        if self._job["device"] == "cuda":
            torch.cuda.synchronize()
            if not self.times:  # what filling the caches took is no part of a step
                torch.cuda.reset_peak_memory_stats()
        self.times.append(time.perf_counter())
        if len(self.times) >= self._job["warmup"] + self._job["steps"]:
            raise Enough

    def encoding(self, done: int, count: int) -> None:
        """A clip's part of the cache is filled."""
        self.filled.append(time.perf_counter())


def plain_vq(model: CodeTalker, device: torch.device) -> tuple[torch.optim.Optimizer, Callable]:
    """Stage 1: optimizer, and from one clip to its loss."""
    vq = model.vq.train()

    def loss(vertices: Tensor, template: Tensor, style: Tensor, audio: Tensor) -> Tensor:
        vertices, template = vertices.to(device), template.to(device)
        made = vq(vertices, template)
        return clip_means((made.vertices - vertices).abs(), None) + made.quantized.loss

    return torch.optim.AdamW(vq.parameters(), lr=1e-4), loss


def plain_speech(model: CodeTalker, device: torch.device) -> tuple[torch.optim.Optimizer, Callable]:
    """Stage 2: optimizer, and from one clip to its loss."""
    speech = model.speech
    assert speech is not None
    model.vq.eval().requires_grad_(False)
    speech.train()

    def loss(vertices: Tensor, template: Tensor, style: Tensor, audio: Tensor) -> Tensor:
        hidden = speech.encoder(audio[None].to(device), vertices.shape[1])
        inputs = (x.to(device) for x in (vertices, template, style))
        return speech_losses(model, EncodedClips(hidden, *inputs)).total

    trained = [p for p in speech.parameters() if p.requires_grad]
    return torch.optim.Adam(trained, lr=1e-4), loss


def run_plain(job: dict[str, Any], data: PreparedDataSet, settings: Settings, clock: Clock) -> None:
    """The loop without anything of ours but the model."""
    torch.manual_seed(0)
    source, device = ClipSource(data, "train"), torch.device(job["device"])
    model = CodeTalker(settings, with_speech=job["stage"] == "speech").to(device)
    audio: dict[int, Tensor] = {}
    if model.speech is not None:
        prepare = model.speech.encoder.prepare
        audio = {k: prepare(torch.from_numpy(c.samples())) for k, c in enumerate(source.clips)}
    optimizer, loss_of = (plain_vq if job["stage"] == "vq" else plain_speech)(model, device)
    plan = Plan(source.lengths, 1)
    for epoch in range(1, NO_END):
        for (clip,) in plan.epoch(epoch):
            batch = source.batch([clip], None)
            given = (batch.vertices, batch.template, batch.style_ids, audio.get(clip))
            loss = loss_of(*given)
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
            loss.item()  # it is shown
            clock.tick()


def run_ours(job: dict[str, Any], data: PreparedDataSet, settings: Settings, clock: Clock) -> None:
    """The commands' own way."""
    with tempfile.TemporaryDirectory(dir=job["folder"]) as folder:
        out = Path(folder) / job["stage"]
        if job["stage"] == "vq":
            train_vq(data, settings, out, device=job["device"], report=clock.report)
            return
        torch.manual_seed(0)
        model = CodeTalker(settings, with_speech=False).eval()
        stage1 = Checkpoint(model, settings, {"step": 0}, data.mesh, out)
        reports = SpeechReports(clock.report, clock.encoding)
        train_speech(data, settings, stage1, out, device=job["device"], reports=reports)


def frames_of_steps(settings: Settings, section: str, lengths: Sequence[int], n: int) -> list[int]:
    """Frames that each of the first ``n`` steps sees."""
    s = getattr(settings, section)
    seen = [min(length, s.crop_frames or length) for length in lengths]
    plan = Plan(seen, s.batch_size, s.accumulation, seed=s.seed)
    epochs = range(1, 2 + n // plan.steps_per_epoch)
    return [sum(seen[k] for k in clips) for e in epochs for clips in plan.epoch(e)][:n]


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """The figures of one variant, measured in this process."""
    section = SECTIONS[job["stage"]]
    no_end = {"epochs": NO_END, "validate_every": NO_END, "save_every_seconds": NO_END}
    settings = settings_of(job["preset"], {**job["changes"], **no_end})
    data = PreparedDataSet(Path(job["folder"]) / "data")
    clock = Clock(job)
    with suppress(Enough):
        (run_plain if job["variant"] == "plain" else run_ours)(job, data, settings, clock)
    lengths = ClipSource(data, "train").lengths
    frames = frames_of_steps(settings, section, lengths, len(clock.times))
    first = job["warmup"]
    seconds = np.diff(clock.times)[first - 1 :]
    speed = statistics.median(np.array(frames[first:]) / seconds)
    filled = clock.filled
    return {
        "frames_per_second": speed,
        "clips_per_second": speed / statistics.mean(lengths),
        "seconds_per_step": statistics.median(seconds),
        "peak_memory_gb": peak_memory(job["device"]) / 1e9,
        "cache_seconds_per_clip": (filled[-1] - filled[0]) / (len(filled) - 1) if filled else None,
    }


def peak_memory(device: str) -> int:
    """Bytes."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# All of them --------------------------------------------------------------------------------------


def in_own_process(job: dict[str, Any]) -> dict[str, Any]:
    """``measure`` in a new process, with its threads pinned and its own cache."""
    threads = {k: str(job["threads"]) for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = {**os.environ, **threads, resources.CACHE_VARIABLE: f"{job['folder']}/cache"}
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def machine(device: str, threads: int) -> str:
    """What the figures are of."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), name)
    gpu = f"{torch.cuda.get_device_name()}, " if device == "cuda" else ""
    cores = f"{name}, {os.cpu_count()} cores, {threads} threads"
    return f"{gpu}{cores}, {platform.system()}, PyTorch {torch.__version__}"


def table(rows: list[dict[str, Any]]) -> str:
    """All figures in Markdown; ``× plain`` is against the plain loop of the same stage."""
    lines = ["| stage | variant | clips/s | frames/s | × plain | step, s | peak memory, GB |"]
    lines.append("|---|---|---|---|---|---|---|")
    plain = {r["stage"]: r["frames_per_second"] for r in rows if r["variant"] == "plain"}
    for r in rows:
        speed, base = r["frames_per_second"], plain.get(r["stage"])
        ratio = f"{speed / base:.2f}" if base else ""
        cells = [r["stage"], r["variant"], f"{r['clips_per_second']:.3g}", f"{speed:.4g}", ratio]
        cells += [f"{r['seconds_per_step']:.3g}", f"{r['peak_memory_gb']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    fill = [r for r in rows if r["variant"] == "batch 1" and r["cache_seconds_per_clip"]]
    lines += [f"\nfilling the caches: {r['cache_seconds_per_clip']:.3f} s a clip" for r in fill]
    return "\n".join(lines)


def jobs(given: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """What is measured, in order; the first of ours in stage 2 fills the caches."""
    gpu = given.device == "cuda"
    steps = given.steps or (GPU_STEPS if gpu else CPU_STEPS)
    warmup = given.warmup or (GPU_WARMUP if gpu else CPU_WARMUP)
    made = []
    for stage in given.stage:
        for variant, recipe in recipes(given.preset, given.device, given.compile).items():
            preset, changes = recipe
            made.append(
                {
                    "stage": stage,
                    "variant": variant,
                    "preset": preset,
                    "changes": changes,
                    "device": given.device,
                    "threads": given.threads,
                    "folder": str(folder),
                    "warmup": 3 * warmup if changes.get("compile") else warmup,
                    "steps": steps if variant in ("plain", "batch 1") else -(-steps // 2),
                }
            )
    return made


def compare(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Stage, variant and figures of each."""
    folder = Path(tempfile.mkdtemp(prefix="train-benchmark-", dir=given.folder or Path.cwd()))
    try:
        generate(folder / "data", settings_of(given.preset, {}), given.clips, given.frames)
        rows = []
        for job in jobs(given, folder):
            print(f"{job['stage']}, {job['variant']} ...", file=sys.stderr, flush=True)
            rows.append({k: job[k] for k in ("stage", "variant")} | in_own_process(job))
        return rows
    finally:
        shutil.rmtree(folder)


def main() -> None:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stage", nargs="+", choices=[*SECTIONS], default=[*SECTIONS])
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--steps", type=int, help="timed steps of batch 1; of larger ones half")
    parser.add_argument("--warmup", type=int, help="steps before those that are timed, at least 1")
    parser.add_argument("--compile", action="store_true", help="measure it compiled too")
    parser.add_argument("--preset", default="vocaset", help="bundled preset, or a YAML file")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--frames", type=int, nargs=2, default=[90, 150], help="shortest, longest")
    parser.add_argument("--folder", type=Path, help="where to work (1 GB); default: here")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        job = json.loads(given.job)
        torch.set_num_threads(job["threads"])
        print(json.dumps(measure(job)))
        return
    if given.device == "auto":
        given.device = "cuda" if torch.cuda.is_available() else "cpu"
    started = time.perf_counter()
    rows, name = compare(given), machine(given.device, given.threads)
    if given.json:
        print(json.dumps({"machine": name, "rows": rows}))
        return
    print(f"{name}\n\n{table(rows)}\n\nthe whole took {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
