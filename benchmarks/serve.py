"""Measure how many live streams several server processes carry.

    python benchmarks/serve.py RECORDING [--per-core 3] [--cores 2] [--seconds 20] [--set KEY=VALUE]

Each core runs one server with one thread, and a process with the clients of its streams. A client
sends the recording, repeated as often as needed, at its own pace in chunks of 20 ms. The delay of a
frame is the time of its arrival at the client minus the time at which the client sent the sample at
the frame's time; the table contains the delay above the look-ahead. Linux only.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli import audio

CHUNK_SECONDS = 0.02
READY = "listening on"
"""A part of the line that a server logs when it accepts connections."""


async def stream(url: str, samples: np.ndarray, seconds: float) -> dict[str, Any]:
    """Send sound at its own pace; return the delays in seconds, and the numbers of frames."""
    from websockets.asyncio.client import connect

    delays: list[float] = []
    size = round(CHUNK_SECONDS * audio.SAMPLE_RATE)
    n_chunks = round(seconds / CHUNK_SECONDS)
    sound = (np.resize(samples, n_chunks * size) * 32767).astype("<i2")
    async with connect(url, compression=None, max_size=None) as socket:
        await socket.send(json.dumps({"type": "config"}))
        ready = json.loads(await socket.recv())
        await socket.send('{"type": "start"}')
        start = time.perf_counter()

        async def send() -> None:
            for k in range(n_chunks):
                await asyncio.sleep(start + (k + 1) * CHUNK_SECONDS - time.perf_counter())
                await socket.send(sound[k * size : (k + 1) * size].tobytes())
            await socket.send('{"type": "end"}')

        sending = asyncio.create_task(send())
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "error":
                raise RuntimeError(message["message"])
            if message["type"] == "ended":
                break
            if message["type"] == "frame":
                late = time.perf_counter() - start - message["seconds"]
                delays.append(late - ready["lookahead_seconds"])
        await sending
    return {"delays": delays, "expected": int(seconds * ready["fps"])}


async def streams(url: str, samples: np.ndarray, n: int, seconds: float) -> list[dict[str, Any]]:
    """Run several clients, which start one after another within a second."""

    async def delayed(k: int) -> dict[str, Any]:
        await asyncio.sleep(k / n)
        return await stream(url, np.roll(samples, -30_000 * k), seconds)

    return await asyncio.gather(*(delayed(k) for k in range(n)))


def start_server(core: int, address: str, assignments: list[str], log: Path) -> subprocess.Popen:
    """Start a server on a core, and wait until it accepts connections."""
    command = [sys.executable, "-m", "codetalker_cli", "live", "--serve", address]
    for assignment in ["serve.n_threads=1", *assignments]:
        command += ["--set", assignment]
    with log.open("w") as file:
        server = subprocess.Popen(["taskset", "-c", str(core), *command], stderr=file)
    while READY not in log.read_text():
        if server.poll() is not None:
            sys.exit(f"the server ended with exit code {server.returncode}:\n{log.read_text()}")
        time.sleep(0.2)
    return server


def run(args: argparse.Namespace, folder: Path) -> list[list[dict[str, Any]]]:
    """Return the results of the clients of each core."""
    addresses = [f"127.0.0.1:{args.port + core}" for core in range(args.cores)]
    started: list[subprocess.Popen] = []
    clients = []
    try:
        for core, address in enumerate(addresses):
            log = folder / f"{core}.log"
            started.append(start_server(core, address, args.assignments, log))
        for core, address in enumerate(addresses):
            command = [sys.executable, __file__, str(args.recording), "--client", address]
            command += ["--per-core", str(args.per_core), "--seconds", str(args.seconds)]
            command = ["taskset", "-c", str(core), *command]
            clients.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        started += clients
        outputs = [client.communicate()[0] for client in clients]
        if any(client.returncode for client in clients):
            sys.exit("a client failed")
        return [json.loads(output) for output in outputs]
    finally:
        for process in started:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recording", type=Path)
    parser.add_argument("--per-core", type=int, default=3)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--port", type=int, default=8861, help="port of the first server")
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    parser.add_argument("--client", help=argparse.SUPPRESS)
    args = parser.parse_args()
    samples = audio.load(args.recording)
    if args.client:
        url = f"ws://{args.client}/v1/stream"
        print(json.dumps(asyncio.run(streams(url, samples, args.per_core, args.seconds))))
        return
    with tempfile.TemporaryDirectory() as folder:
        results = run(args, Path(folder))
    for core, rows in enumerate(results):
        delays = 1000 * np.concatenate([row["delays"] for row in rows])
        p50, p95, p99, most = np.percentile(delays, [50, 95, 99, 100])
        missing = sum(row["expected"] - len(row["delays"]) for row in rows)
        print(
            f"core {core}: {len(rows)} streams, p50 {p50:.0f}, p95 {p95:.0f}, p99 {p99:.0f}, "
            f"largest {most:.0f} ms, {missing} frames missing"
        )


if __name__ == "__main__":
    main()
