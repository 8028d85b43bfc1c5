"""Compare the motion of the bundled voice with the CPU's, and measure its speed."""

import statistics
import time
from typing import Any

import numpy as np
import torch

import codetalker_cli as ct
from codetalker_cli import audio, resources
from codetalker_cli.animate.jobs import Request
from gpu_parts.report import Report, Setup

MODEL = "demo"


def voice(report: Report, setup: Setup) -> None:
    """Compare codes and lips with the CPU's, and report the real-time factor without loading."""
    samples = audio.load(resources.asset("sample.wav"))
    if setup.small:
        samples = samples[: 2 * audio.SAMPLE_RATE]
    seconds = len(samples) / audio.SAMPLE_RATE
    reference = ct.load(MODEL, device="cpu")
    subject = reference.subjects[0]
    expected = reference.animate(samples, subject)
    lips = expected.topology.region("lips")
    to_mm = 1000 * expected.topology.meters_per_unit
    for graphs in (False, True) if setup.on_gpu else (False,):
        name = "CUDA graphs" if graphs else "plain launches"
        with report.guarded(f"bundled voice, {name}"):
            model = ct.load(MODEL, device=setup.device, decode={"cuda_graphs": graphs})
            made = model.animate(samples, subject)
            equal = float(np.mean(np.asarray(made.codes) == np.asarray(expected.codes)))
            difference = np.asarray(made.vertices)[:, lips] - np.asarray(expected.vertices)[:, lips]
            error = float(np.linalg.norm(difference, axis=-1).max(1).mean() * to_mm)
            # The voice uses the window method, whose accuracy is 96 % and 0.2 mm.
            report.at_least(
                f"bundled voice, {name}: codes equal to the CPU's", 100 * equal, 96, " %"
            )
            report.at_most(f"bundled voice, {name}: mean lip error", error, 0.2, " mm")
            for n_clips in (1,) if setup.small else (1, 8):
                took = _seconds(model, samples, subject, n_clips, 1 if setup.small else 3)
                cells: dict[str, Any] = {"launches": name, "recordings at once": n_clips}
                cells["seconds a recording"] = round(took / n_clips, 4)
                cells["real-time factor"] = round(took / n_clips / seconds, 5)
                report.row("bundled voice, speech to motion", **cells)


def _seconds(
    model: ct.Voice, samples: np.ndarray, subject: str, n_clips: int, repeats: int
) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _, motion in model.animate_many([Request(samples, subject)] * n_clips):
            if isinstance(motion, Exception):
                raise motion
            np.asarray(motion.vertices)
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
