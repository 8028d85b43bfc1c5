"""Measure live streams: delay, speed, and memory over a long time.

    python benchmarks/live.py RECORDING [--model demo] [--lookahead 0.2] [--seconds 60] [--json]
    python benchmarks/live.py RECORDING --long 3600
    python benchmarks/live.py RECORDING --streams 6

The sound is the recording, repeated as often as needed. The process runs on one core (--core, or
all with --core -1) with one thread.

The first command feeds the sound at its own pace in chunks of 20 ms, and computes the weights of
each frame. The delay of a frame is the time of its emission minus the arrival of the sample at the
frame's time. The table contains the delay above the look-ahead, the seconds of computation per
second of sound (load), the time from the first sample to the first frame, and the frames that are
missing.

--long feeds this many seconds of sound as fast as possible. It reports the growth of the memory
after the first minute, the missing frames, and the largest change of a weight, except for the eyes,
between an early and a late repetition of the recording (drift).

--streams feeds several streams at the pace of their sound, which are decoded in batches, each with
its own starting time.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import codetalker_cli as ct
from codetalker_cli import audio
from codetalker_cli.animate.stream import advance

CHUNK_SECONDS = 0.02
MINUTE = 60.0


def resident_mb() -> float:
    """Return the memory of this process in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def repeated(samples: np.ndarray, start: int, n: int) -> np.ndarray:
    """Return ``n`` samples of the repeated recording from ``start`` on."""
    return samples[(start + np.arange(n)) % len(samples)]


def delays(samples: np.ndarray, streams: list[Any], seconds: float) -> dict[str, Any]:
    """Feed streams at the pace of their sound, and measure the delay of each frame."""
    size = round(CHUNK_SECONDS * audio.SAMPLE_RATE)
    offsets = [CHUNK_SECONDS * k / len(streams) for k in range(len(streams))]
    start = time.perf_counter() + 0.05
    fed = [0] * len(streams)
    measured: list[list[float]] = [[] for _ in streams]
    firsts: list[float] = []
    n_chunks = round(seconds / CHUNK_SECONDS)
    busy = 0.0
    while min(fed) < n_chunks:
        # A chunk arrives when its last sample has been recorded.
        arrivals = [start + offsets[k] + (fed[k] + 1) * CHUNK_SECONDS for k in range(len(streams))]
        now = time.perf_counter()
        if now < min(arrivals):
            time.sleep(min(arrivals) - now)
        for k, stream in enumerate(streams):
            while fed[k] < n_chunks and (
                start + offsets[k] + (fed[k] + 1) * CHUNK_SECONDS <= time.perf_counter()
            ):
                stream.push(repeated(samples, fed[k] * size, size))
                fed[k] += 1
        began = time.perf_counter()
        for k, frames in enumerate(advance(streams)):
            for frame in frames:
                _ = frame.weights
                emitted = time.perf_counter() - start - offsets[k]
                measured[k].append(emitted - frame.seconds - streams[k].lookahead_seconds)
                if frame.index == 0:
                    firsts.append(emitted)
        busy += time.perf_counter() - began
    values = np.concatenate(measured)
    expected = sum(int((seconds - s.lookahead_seconds) * s.fps) for s in streams)
    return {
        "streams": len(streams),
        "lookahead_ms": round(1000 * streams[0].lookahead_seconds),
        **{f"p{q}_ms": round(1000 * float(np.percentile(values, q))) for q in (50, 95, 99)},
        "max_ms": round(1000 * float(values.max())),
        "first_frame_ms": round(1000 * max(firsts)),
        "load": round(busy / seconds, 3),
        "missing": max(0, expected - len(values)),
    }


def long_run(samples: np.ndarray, stream: Any, seconds: float) -> dict[str, Any]:
    """Feed a long sound, and measure the memory, the missing frames and the drift."""
    fps = stream.fps
    # One repetition is a whole number of refreshes of the encoder (every 0.8 s by default),
    # so that each one has the same windows.
    period = max(4, len(samples) // (4 * audio.SAMPLE_RATE) * 4)
    samples = np.resize(samples, period * audio.SAMPLE_RATE)
    n_periods = max(2, round(seconds / period))
    # The eyes turn against the head, which moves differently in each repetition.
    steady = [k for k, name in enumerate(stream.units) if not name.startswith("eye")]
    early: list[np.ndarray] = []
    late: list[np.ndarray] = []
    count, memory = 0, 0.0
    began = time.perf_counter()
    for k in range(n_periods):
        frames = [
            f for s in range(period) for f in stream.feed(samples[s * 16000 : (s + 1) * 16000])
        ]
        if count <= MINUTE * fps < count + len(frames) or k == 1:
            memory = resident_mb()
        if k in (1, n_periods - 1):
            (early if k == 1 else late).extend(f.weights[steady] for f in frames)
        count += len(frames)
    growth = resident_mb() - memory
    elapsed = time.perf_counter() - began
    count += len(stream.finish())
    return {
        "seconds": n_periods * period,
        "growth_mb": round(growth, 1),
        "missing": n_periods * period * round(fps) - count,
        "drift": float(np.abs(np.array(early) - np.array(late)).max()) if late else None,
        "load": round(elapsed / (n_periods * period), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recording", type=Path)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--lookahead", type=float, default=0.2)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--long", type=float)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--left", type=float, help="decode.live_left_seconds")
    parser.add_argument("--precision", choices=("float32", "bf16"))
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.core >= 0:
        os.sched_setaffinity(0, {args.core})
        torch.set_num_threads(1)
    given = {"precision": args.precision, "live_left_seconds": args.left}
    decode = {key: value for key, value in given.items() if value is not None}
    voice = ct.load(args.model, device="cpu", decode=decode)
    samples = audio.load(args.recording)

    def stream(seed: int = 0, idle: bool = True) -> Any:
        return voice.stream(lookahead_seconds=args.lookahead, seed=seed, idle=idle, head=True)

    warm = stream()
    for frame in warm.feed(samples[: 2 * audio.SAMPLE_RATE]):
        _ = frame.weights
    if args.long:
        result = long_run(samples, stream(idle=False), args.long)
    else:
        result = delays(samples, [stream(k) for k in range(args.streams)], args.seconds)
    if args.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:16} {value}")


if __name__ == "__main__":
    sys.exit(main())
