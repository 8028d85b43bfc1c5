"""Measure the studio: the time until a take plays, and the memory of its server.

    python benchmarks/studio.py RECORDING [--takes 50] [--minutes 30] [--export csv] [--json]

The server runs in a process of its own. It gets the recording first, then as many takes of it as
--takes says, each with another seed, and then the recording repeated up to --minutes. The last take
is written in the format of --export. The table contains, for the recording and for the long one,
the time until the first frames arrive (after which a page plays them), the time until all of them
have arrived, and the time of the export; and the largest memory of the server after each step.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import soundfile

from codetalker_cli import audio


class Client:
    """A client of a studio.

    Args:
        url: The address of its page, with the token.
    """

    def __init__(self, url: str) -> None:
        self._base, _, self._token = url.partition("/#token=")

    def open(self, method: str, path: str, body: bytes | None = None) -> Any:
        """Return the response to a request."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self._base + path, body, headers, method=method)
        return urllib.request.urlopen(request)

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """Return the JSON of a response."""
        with self.open(method, path, body) as response:
            return json.load(response)

    def add(self, content: bytes, seed: int = 0) -> str:
        """Send a recording, and return the id of its take."""
        options = quote(json.dumps({"seed": seed}))
        return self.ask("POST", f"/api/takes?name=speech.flac&options={options}", content)["id"]

    def take(self, id: str) -> dict[str, Any]:
        """Return a take as it is now."""
        return next(one for one in self.ask("GET", "/api/takes")["takes"] if one["id"] == id)

    def play(self, content: bytes) -> dict[str, float]:
        """Send a recording and read its frames, and return the times in seconds."""
        start = time.perf_counter()
        id = self.add(content)
        with self.open("GET", f"/api/takes/{id}/frames") as response:
            n_bytes = len(response.read(200_000))  # the sound and the first frames
            first = time.perf_counter() - start
            while chunk := response.read(1 << 20):
                n_bytes += len(chunk)
        whole = time.perf_counter() - start
        take = self.take(id)
        assert take["state"] == "done", take
        seconds = take["n_frames"] / take["fps"]
        return {"seconds": seconds, "first_frames": first, "all_frames": whole, "mb": n_bytes / 1e6}

    def wait(self, found: Any) -> None:
        """Wait until a take or an export is done."""
        while (state := found()["state"]) in ("waiting", "computing"):
            time.sleep(0.2)
        assert state == "done", found()

    def export(self, id: str, format: str) -> float:
        """Write a take in a format, and return the time in seconds."""
        start = time.perf_counter()
        body = json.dumps({"format": format}).encode()
        made = self.ask("POST", f"/api/takes/{id}/exports", body)["id"]
        self.wait(lambda: next(e for e in self.take(id)["exports"] if e["id"] == made))
        return time.perf_counter() - start


def peak_gb(pid: int) -> float:
    """Return the largest resident memory of a process so far, in GB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e9


def flac(samples: np.ndarray, path: Path) -> bytes:
    """Return a recording as the content of a FLAC file."""
    soundfile.write(path, samples, audio.SAMPLE_RATE)
    return path.read_bytes()


def measure(client: Client, pid: int, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return all figures."""
    samples = audio.load(given.recording)
    short = flac(samples, folder / "short.flac")
    result: dict[str, Any] = {"recording": client.play(short), "peak_gb": {}}
    result["peak_gb"]["recording"] = peak_gb(pid)
    ids = [client.add(short, seed) for seed in range(1, given.takes)]
    for id in ids:
        client.wait(lambda id=id: client.take(id))
    result["peak_gb"]["takes"] = peak_gb(pid)
    n = round(given.minutes * 60 * audio.SAMPLE_RATE)
    long = flac(np.resize(samples, n), folder / "long.flac")
    result["long"] = client.play(long)
    result["peak_gb"]["long"] = peak_gb(pid)
    last = client.ask("GET", "/api/takes")["takes"][-1]["id"]
    result["export_seconds"] = client.export(last, given.export)
    result["peak_gb"]["export"] = peak_gb(pid)
    return result


def main(arguments: list[str] | None = None) -> None:
    """Start a server, measure it, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("recording", type=Path)
    parser.add_argument("--takes", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--export", default="csv")
    parser.add_argument("--model", default="demo")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    command = [sys.executable, "-m", "codetalker_cli", "studio", "--no-browser", "--json"]
    command += ["--port", "0", "--model", given.model]
    with (
        tempfile.TemporaryDirectory(prefix="studio-benchmark-") as folder,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server,
    ):
        try:
            assert server.stdout is not None
            client = Client(json.loads(server.stdout.readline())["url"])
            result = measure(client, server.pid, given, Path(folder))
        finally:
            server.send_signal(signal.SIGINT)
    assert server.returncode == 0, server.returncode
    if given.json:
        print(json.dumps(result))
        return
    for name in ("recording", "long"):
        row = result[name]
        print(
            f"{row['seconds']:.1f} s: first frames after {row['first_frames']:.2f} s, all after "
            f"{row['all_frames']:.2f} s, {row['mb']:.1f} MB"
        )
    print(f"{given.export} of the last take: {result['export_seconds']:.1f} s")
    for name, value in result["peak_gb"].items():
        print(f"peak memory after {name}: {value:.2f} GB")


if __name__ == "__main__":
    main()
