"""Measure the speed of free-running decoding, and the deviation of window from exact decoding.

    python benchmarks/decode.py [--seconds 2 5 10 20] [--methods plain exact window] [--json]
    python benchmarks/decode.py --deviation RECORDINGS... [--model demo]

The first command prints a table with a row for each clip length and method: the seconds from speech
features to vertices at the full size of a preset (with fixed random weights), the speed relative to
plain recomputation in the same run (``plain_decoding.py``), the share of codes equal to those of
plain recomputation, and the peak memory. Each row is measured in its own process. A method is
``plain``, ``exact``, ``window`` (the default window) or ``window:NEWEST+REFRESHED``. The suffix
``x8`` decodes a batch of 8 clips, and ``/bf16`` sets the precision.

The second command animates recordings with a trained voice, exactly and with windows of several
sizes. It reports the share of equal codes and the lip error, which is the largest error of a lip
vertex in each frame, in millimeters.
"""

import argparse
import hashlib
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.decoding import Decoder
from codetalker_cli.presets import resolve
from codetalker_cli.settings import DecodeSettings

METHOD = re.compile(r"(plain|exact|window)(?::(\d+)\+(\d+))?(?:x(\d+))?(/bf16)?")
METHODS = ["plain", "exact", "window", "window:8+8", "windowx8"]
WINDOWS = [(1, 0), (16, 0), (1, 3), (1, 7), (4, 4), (1, 15), (8, 8), (1, 31)]
MAX_REPEATED_SECONDS = 20.0
"""The duration above which a measurement is not repeated."""


# One cell ----------------------------------------------------------------------------------------


def build(preset: str) -> CodeTalker:
    """Return both stages at full size with random weights, without a full speech encoder."""
    sections = resolve(preset).settings.model_dump()
    sections["speech"]["encoder"] = {
        "family": "whisper",
        "config": {"d_model": 768, "encoder_layers": 0, "encoder_attention_heads": 12},
    }
    from codetalker_cli.presets import settings_from_dict

    torch.manual_seed(0)
    model = CodeTalker(settings_from_dict(sections, preset)).eval().requires_grad_(False)
    assert model.speech is not None
    # A head initialized with zeros would always choose the same code, so it is randomized. The
    # output is scaled to motion of millimeters.
    torch.nn.init.normal_(model.speech.head.weight, std=0.05)
    model.vq.decoder.output_projection.weight.mul_(0.01)
    torch.nn.init.normal_(model.vq.quantizer.codebook)
    return model


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Measure the seconds, memory and codes of one row."""
    found = METHOD.fullmatch(job["method"])
    assert found is not None
    name, newest, refreshed, n_clips, half = found.groups()
    torch.set_num_threads(job["threads"])
    device = torch.device(job["device"])
    model = build(job["preset"]).to(device)
    speech, vq = model.speech, model.vq
    assert speech is not None
    n_frames = round(job["seconds"] * model.settings.data.fps)
    generator = torch.Generator().manual_seed(1)
    shape = (int(n_clips or 1), n_frames * speech.settings.features_per_frame, speech.encoder.size)
    hidden = torch.randn(shape, generator=generator)
    # Real features change slowly. With independent noise, previous motion would have no influence.
    hidden = (hidden.cumsum(1) / torch.arange(1, shape[1] + 1)[:, None].sqrt()).to(device)
    style = speech.style_embedding.weight[:1].expand(shape[0], -1)
    template = torch.zeros(shape[0], model.settings.data.n_vertices, 3, device=device)
    changes = {} if newest is None else {"window_frames": newest, "refresh_frames": refreshed}
    changes["precision"] = "bf16" if half else "float32"
    run = decoding(name, model, DecodeSettings.model_validate(changes))

    def once() -> tuple[float, torch.Tensor]:
        start = time.perf_counter()
        codes = run(hidden, style)
        for k in range(len(codes)):  # all vertices of a batch would need gigabytes
            vq.decode(codes[k : k + 1], template[k : k + 1]).cpu()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start, codes

    if device.type == "cuda":
        once()
    times = [once()]
    while times[0][0] < MAX_REPEATED_SECONDS and len(times) < job["repeats"]:
        times.append(once())
    on_cuda = device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_cuda else peak_memory()
    codes = times[-1][1][0].cpu().numpy()
    return {
        "seconds": statistics.median(t for t, _ in times) / shape[0],
        "frames": n_frames,
        "memory_gb": peak / 1e9,
        "codes": codes.astype(int).tolist(),
        "device": torch.cuda.get_device_name() if on_cuda else "cpu",
    }


def decoding(name: str, model: CodeTalker, settings: DecodeSettings) -> Any:
    """Return a function from encoder features and styles to codes."""
    assert model.speech is not None
    if name == "plain":
        from plain_decoding import PlainDecoding

        plain = PlainDecoding(model.speech, model.vq)
        return lambda hidden, style: plain.decode(hidden, style)[1]
    decoder = Decoder(model.speech, model.vq, settings)
    return lambda hidden, style: decoder.decode(hidden, style, method=name)


def peak_memory() -> int:
    """Return the peak resident memory of this process, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def in_own_process(job: dict[str, Any]) -> dict[str, Any]:
    """Run ``measure`` in a new process."""
    done = subprocess.run(
        [sys.executable, __file__, "--cell", json.dumps(job)],
        stdout=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": str(job["threads"])},
        check=True,
    )
    return json.loads(done.stdout)


# The tables --------------------------------------------------------------------------------------


def table(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all rows; the speedup is relative to plain for one clip of the same length."""
    rows: list[dict[str, Any]] = []
    for seconds in given.seconds:
        plain: dict[str, Any] | None = None
        for method in given.methods:
            job = {"seconds": seconds, "method": method, "preset": given.preset}
            job |= {"threads": given.threads, "repeats": given.repeats, "device": given.device}
            made = in_own_process(job)
            if method == "plain":
                plain = made
            codes = np.array(made.pop("codes"))
            row = {"clip_seconds": seconds, "method": method, **made}
            row["codes_sha256"] = hashlib.sha256(codes.tobytes()).hexdigest()[:12]
            if method == "plain":
                plain_codes = codes
            if plain is not None:
                row["times_plain"] = plain["seconds"] / row["seconds"]
                row["codes_equal"] = float((codes == plain_codes).mean())
            rows.append(row)
            if not given.json:
                print(line(row), flush=True)
    return rows


HEAD = (
    "| clip, s | method | seconds | × plain | real-time factor | codes equal | peak memory, GB |\n"
    "|---|---|---|---|---|---|---|"
)


def line(row: dict[str, Any]) -> str:
    """Format a row of the table."""
    ratio = f"{row['times_plain']:.1f}" if "times_plain" in row else ""
    equal = f"{100 * row['codes_equal']:.1f} %" if "codes_equal" in row else ""
    pace = row["seconds"] / row["clip_seconds"]
    return (
        f"| {row['clip_seconds']:g} | {row['method']} | {row['seconds']:.3g} | {ratio} | "
        f"{pace:.3g} | {equal} | {row['memory_gb']:.2f} |"
    )


def deviation(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Compare the codes and lips of each window with the exact ones, on unsegmented recordings."""
    import codetalker_cli as ct
    from codetalker_cli.animate.jobs import Request, recordings
    from codetalker_cli.audio import AUDIO_SUFFIXES

    files = [f for g in given.deviation for f in (recordings(g) if g.is_dir() else [g])]
    files = [f for f in files if f.suffix.lower() in AUDIO_SUFFIXES]
    torch.set_num_threads(given.threads)

    def animate(method: str, window: tuple[int, int] = (1, 0)) -> tuple[list[Any], float]:
        decode = {"method": method, "whole_frames": 10**6}
        decode |= {"window_frames": window[0], "refresh_frames": window[1]}
        voice = ct.load(given.model, decode=decode)
        lips = voice.checkpoint.mesh.topology.region("lips")  # type: ignore[union-attr]
        start, made = time.perf_counter(), [None] * len(files)
        for k, motion in voice.animate_many(Request(f, idle=False, head=False) for f in files):
            if isinstance(motion, Exception):
                sys.exit(f"{files[k]}: {motion}")
            made[k] = (motion.codes, motion.vertices[:, lips] * motion.topology.meters_per_unit)
        return made, time.perf_counter() - start

    exact, took = animate("exact")
    still = [vertices - vertices.mean(0) for _, vertices in exact]
    size = np.concatenate([np.linalg.norm(v, axis=-1).max(1) for v in still]) * 1000
    rows = [{"window": "exact", "codes_equal": 1.0, "seconds": took}]
    rows[0]["lip_motion_mm"] = float(size.mean())
    for window in WINDOWS:
        made, took = animate("window", window)
        pairs = list(zip(made, exact, strict=True))
        equal = np.concatenate([(a[0] == b[0]).ravel() for a, b in pairs])
        error = np.concatenate([np.linalg.norm(a[1] - b[1], axis=-1).max(1) for a, b in pairs])
        row = {"window": f"{window[0]}+{window[1]}", "codes_equal": float(equal.mean())}
        row |= {"seconds": took, "lip_error_mm": float(error.mean() * 1000)}
        row |= {"lip_error_p95_mm": float(np.percentile(error, 95) * 1000)}
        rows.append(row)
        if not given.json:
            print(row, flush=True)
    return rows


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--seconds", nargs="+", type=float, default=[2, 5, 10, 20], help="lengths of the clips")
    add("--methods", nargs="+", default=METHODS, help="decoding methods")
    add("--preset", default="vocaset", help="preset that defines the sizes (default: vocaset)")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)), help="CPU threads")
    add("--repeats", type=int, default=3, help="repeats of fast measurements (default: 3)")
    add("--device", default="cpu", help="device (default: cpu)")
    add("--deviation", nargs="+", type=Path, metavar="RECORDINGS", help="measure the deviation")
    add("--model", default="demo", help="voice for --deviation (default: demo)")
    add("--json", action="store_true", help="print JSON")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.cell:
        print(json.dumps(measure(json.loads(given.cell))))
        return
    unknown = [method for method in given.methods if not METHOD.fullmatch(method)]
    if unknown:
        parser.error(
            f"--methods {unknown[0]}: unknown method; use plain, exact, window, window:8+8, "
            "exactx8 or window/bf16"
        )
    if not given.json and not given.deviation:
        print(HEAD)
    rows = deviation(given) if given.deviation else table(given)
    if given.json:
        print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
