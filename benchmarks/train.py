"""Measure the speed and memory of training both stages at full VOCASET size.

    python benchmarks/train.py [--stage vq speech] [--device auto] [--threads N] [--steps N]
                               [--compile] [--json]

These variants are measured:

plain      a batch-1 float32 loop that computes everything in each step, as the official code does;
           in stage 2 this includes the speech encoder and stage 1's latents of the true motion
batch 1    `codetalker train-vq` and `train-speech` with the preset vocaset, the paper's recipe
fast       the same commands with the preset vocaset-fast; on a CPU it is also measured in float32,
           and with --compile also compiled

All variants run the same model code with random weights of the original size (wav2vec 2.0 base), on
synthetic clips as long as those of VOCASET (90 to 150 frames at 30 fps). Each runs in its own
process with N threads. A step is timed from its batch to the updated weights, without validation
and checkpoints. In stage 2, the results that are computed once per clip are cached before the first
step, and their time is reported separately.

frames/s is the median over the steps, and clips/s is frames/s divided by the mean length of the
clips. The peak memory is the resident memory of the process on a CPU, and the memory allocated by
PyTorch on a GPU.
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
"""The number of epochs and seconds that disables validation and saving."""
FAST = {"batch_size": 8, "precision": "bf16", "schedule": "cosine"}
"""The changes for ``fast`` if a preset has no -fast variant."""
CPU_STEPS, GPU_STEPS = 6, 60
"""The timed steps of ``plain`` and ``batch 1``; the other variants run half as many."""
CPU_WARMUP, GPU_WARMUP = 1, 10


class Enough(Exception):
    """Raised when all steps are timed."""


# Data and settings --------------------------------------------------------------------------------


def generate(folder: Path, settings: Settings, n_clips: int, frames: tuple[int, int]) -> None:
    """Write a prepared data set with smooth random motion, and noise as speech."""
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
    """Return the settings of a preset with a random speech encoder.

    Args:
        preset: The name of a bundled preset, or a YAML file.
        changes: The changes to the training settings of both stages.
    """
    values = read_preset(preset)
    encoder = values["speech"]["encoder"]
    encoder["source"] = ""
    encoder.setdefault("config", {"hidden_size": 768})  # all defaults are those of the base model
    for section in SECTIONS.values():
        values[section].update(changes)
    return settings_from_dict(values, preset)


def recipes(preset: str, device: str, compiled: bool) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the preset of each variant, and the changes to it."""
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
    """Records the time after each step, and ends the run after the last one.

    Args:
        job: The job, of which ``device``, ``warmup`` and ``steps`` are used.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self._job, self._step = job, 0
        self.times: list[float] = []
        self.filled: list[float] = []

    def report(self, progress: TrainingProgress) -> None:
        """Handle the progress of the training loop, which repeats the last step of an epoch."""
        if progress.step != self._step:
            self._step = progress.step
            self.tick()

    def tick(self) -> None:
        """Record the end of a step."""
        if self._job["device"] == "cuda":
            torch.cuda.synchronize()
            if not self.times:  # the memory for filling the caches does not count
                torch.cuda.reset_peak_memory_stats()
        self.times.append(time.perf_counter())
        if len(self.times) >= self._job["warmup"] + self._job["steps"]:
            raise Enough

    def encoding(self, done: int, count: int) -> None:
        """Record that the cache of a clip is filled."""
        self.filled.append(time.perf_counter())


def plain_vq(model: CodeTalker, device: torch.device) -> tuple[torch.optim.Optimizer, Callable]:
    """Return the optimizer of stage 1, and a function that computes the loss of one clip."""
    vq = model.vq.train()

    def loss(vertices: Tensor, template: Tensor, style: Tensor, audio: Tensor) -> Tensor:
        vertices, template = vertices.to(device), template.to(device)
        made = vq(vertices, template)
        return clip_means((made.vertices - vertices).abs(), None) + made.quantized.loss

    return torch.optim.AdamW(vq.parameters(), lr=1e-4), loss


def plain_speech(model: CodeTalker, device: torch.device) -> tuple[torch.optim.Optimizer, Callable]:
    """Return the optimizer of stage 2, and a function that computes the loss of one clip."""
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
    """Train with a plain loop that uses only the model and the data loading of the package."""
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
            loss.item()  # the published loop also prints the loss, which synchronizes
            clock.tick()


def run_ours(job: dict[str, Any], data: PreparedDataSet, settings: Settings, clock: Clock) -> None:
    """Train in the same way as the commands."""
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
    """Return the number of frames in each of the first ``n`` steps."""
    s = getattr(settings, section)
    seen = [min(length, s.crop_frames or length) for length in lengths]
    plan = Plan(seen, s.batch_size, s.accumulation, seed=s.seed)
    epochs = range(1, 2 + n // plan.steps_per_epoch)
    return [sum(seen[k] for k in clips) for e in epochs for clips in plan.epoch(e)][:n]


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Measure one variant in this process."""
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
    """Return the peak memory of this process in bytes."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# All variants -------------------------------------------------------------------------------------


def in_own_process(job: dict[str, Any]) -> dict[str, Any]:
    """Run ``measure`` in a new process with a fixed number of threads and a separate cache."""
    threads = {k: str(job["threads"]) for k in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    environment = {**os.environ, **threads, resources.CACHE_VARIABLE: f"{job['folder']}/cache"}
    command = [sys.executable, __file__, "--job", json.dumps(job)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def machine(device: str, threads: int) -> str:
    """Return a one-line description of the machine."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), name)
    gpu = f"{torch.cuda.get_device_name()}, " if device == "cuda" else ""
    cores = f"{name}, {os.cpu_count()} cores, {threads} threads"
    return f"{gpu}{cores}, {platform.system()}, PyTorch {torch.__version__}"


def table(rows: list[dict[str, Any]]) -> str:
    """Format all figures in Markdown; ``× plain`` is relative to the plain loop of the stage."""
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
    lines += [f"\nfilling the caches: {r['cache_seconds_per_clip']:.3f} s per clip" for r in fill]
    return "\n".join(lines)


def jobs(given: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Return the jobs in order; in stage 2 the first one after the plain loop fills the caches."""
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
    """Measure all jobs, and return a row with stage, variant and figures for each."""
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
    add = parser.add_argument
    add("--stage", nargs="+", choices=[*SECTIONS], default=[*SECTIONS], help="stages to measure")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="device (default: auto)")
    add("--threads", type=int, default=os.cpu_count(), help="CPU threads (default: all cores)")
    add("--steps", type=int, help="timed steps at batch size 1; larger batches run half as many")
    add("--warmup", type=int, help="steps before the timed ones, at least 1")
    add("--compile", action="store_true", help="also measure fast with torch.compile")
    add("--preset", default="vocaset", help="bundled preset or YAML file (default: vocaset)")
    add("--clips", type=int, default=64, help="number of clips (default: 64)")
    add("--frames", type=int, nargs=2, default=[90, 150], help="shortest and longest clip")
    add("--folder", type=Path, help="folder for 1 GB of temporary files (default: working folder)")
    add("--json", action="store_true", help="print JSON")
    add("--job", help=argparse.SUPPRESS)
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
    print(f"{name}\n\n{table(rows)}\n\ntotal time: {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
