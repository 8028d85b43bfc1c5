"""Run every GPU code path once, compare it with the CPU, and measure its speed.

    python scripts/gpu_check.py [--only PART ...] [--out DIR]           # on a GPU, under 5 minutes
    python scripts/gpu_check.py --device cpu --small                    # dry run, no GPU needed

Each part runs in its own process with its own time limit, so a crash or a hang affects only that
part. Correctness parts share the GPU; parts that measure speed run alone. The results are written
to DIR as ``gpu_check.json`` and ``gpu_check.md``, whose tables are copied to docs/performance.md.
The exit code is 0 if all checks passed, 1 if one failed, and 2 without CUDA.

The package does not have to be installed. Python needs torch 2.11, torchaudio, transformers,
accelerate, safetensors, scipy, PyYAML, rich, jinja2, matplotlib, tensorboard, pillow and the
packages of WHEELS. For a GPU machine without network access, download the latter as wheels (12 MB)
and copy them:

    pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \\
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \\
        --platform manylinux2014_x86_64 --dest wheels $(python scripts/gpu_check.py --wheels)
    # on the GPU machine
    pip install --no-index --no-deps --target /tmp/site wheels/*.whl
    PYTHONPATH=/tmp/site python scripts/gpu_check.py --out results

OpenGL through EGL also needs libEGL and libOpenGL from GLVND. On Debian, download the packages
libegl1, libopengl0, libgl1 and libglvnd0 with ``apt-get download``, and unpack them with
``dpkg -x FILE /``.
"""

import argparse
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SEARCH_PATH = [str(ROOT / name) for name in ("", "tests", "benchmarks", "scripts")]

WHEELS = (
    "pydantic",
    "pydantic-core",
    "annotated-types",
    "typing-inspection",
    "soundfile",
    "cffi",
    "pycparser",
    "PyOpenGL",
    "pyrender-maintained",
    "pyglet",
    "freetype-py",
    "imageio",
    "trimesh",
)
"""Packages that machine-learning images often lack; constraints.txt pins their versions."""
TOTAL_SECONDS = 300.0
SHARING = 3
"""The number of correctness parts that run in parallel."""
LOG_CHARACTERS = 3000
"""The number of characters of a part's output, from its end, that the JSON file contains."""


@dataclass(frozen=True)
class Part:
    """A part of the check.

    Attributes:
        module: The module in scripts/gpu_parts.
        function: The function in that module.
        seconds: The time limit.
        alone: Whether the part must have the GPU for itself.
    """

    module: str
    function: str
    seconds: float
    alone: bool = False


PARTS = {
    "compiled": Part("training", "compiled", 110),
    "decoding": Part("decoding", "decoding", 90),
    "precision": Part("training", "precision", 100),
    "gradients": Part("training", "gradients", 90),
    "resume": Part("training", "resume", 90),
    "golden": Part("decoding", "golden", 60),
    "evaluation": Part("decoding", "evaluation", 60),
    "rendering": Part("rendering", "rendering", 60, alone=True),
    "voice": Part("voice", "voice", 45, alone=True),
    "decoding-speed": Part("speed", "decoding_speed", 90, alone=True),
    "training-speed": Part("speed", "training_speed", 100, alone=True),
}


# Running -----------------------------------------------------------------------------------------


def run_in_this_process(name: str, device: str, small: bool, folder: Path, entries: Path) -> None:
    """Run a part in this process, and write its entries as lines of JSON."""
    sys.path[:0] = [path for path in SEARCH_PATH if path not in sys.path]
    from gpu_parts.report import Report, Setup

    from codetalker_cli.devices import pick_device

    pick_device(device)  # also disables TF32, as in the commands
    part = PARTS[name]
    function = getattr(importlib.import_module(f"gpu_parts.{part.module}"), part.function)
    with entries.open("a", encoding="utf-8") as file:
        function(Report(file), Setup(device, small, folder))


def run_part(name: str, given: argparse.Namespace, seconds: float, threads: int) -> dict[str, Any]:
    """Run a part in a new process, and return its result even if it crashes or times out."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gpu-check-", dir=given.scratch) as scratch:
        folder, log = Path(scratch), Path(scratch) / "log.txt"
        entries = folder / "entries.jsonl"
        entries.touch()
        command = [sys.executable, str(Path(__file__).resolve()), "--part", name, str(entries)]
        command += ["--device", given.device, *(["--small"] if given.small else [])]
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
            "PYTHONPATH": os.pathsep.join([*SEARCH_PATH, os.environ.get("PYTHONPATH", "")]),
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env=environment, stdout=output, stderr=output, start_new_session=True
            )
            try:
                code = process.wait(timeout=max(seconds, 0.0))
                status = "ended" if code == 0 else f"crashed (exit code {code})"
            except subprocess.TimeoutExpired:
                status = f"stopped after {seconds:.0f} s"
            finally:
                # This also ends the processes that the part started.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        lines = [json.loads(line) for line in entries.read_text("utf-8").splitlines()]
        tail = log.read_text("utf-8", errors="replace")[-LOG_CHARACTERS:]
    if status != "ended":
        last = (tail.strip().splitlines() or [""])[-1]
        lines.append({"check": name, "passed": False, "required": "", "value": f"{status}: {last}"})
    took = round(time.monotonic() - started, 1)
    return {"part": name, "status": status, "seconds": took, "entries": lines, "log": tail}


def run_all(names: Sequence[str], given: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the parts that share the GPU in parallel, and then the others one by one."""
    started, n_cores = time.monotonic(), len(os.sched_getaffinity(0))

    def run(name: str, threads: int) -> dict[str, Any]:
        left = given.seconds - (time.monotonic() - started)
        done = run_part(name, given, min(PARTS[name].seconds, left), threads)
        print(f"{name}: {done['status']}, {done['seconds']:.0f} s", file=sys.stderr, flush=True)
        return done

    shared = [name for name in names if not PARTS[name].alone]
    at_once = min(SHARING, n_cores)
    with ThreadPoolExecutor(at_once) as pool:
        results = list(pool.map(lambda name: run(name, max(1, n_cores // at_once)), shared))
    return results + [run(name, n_cores) for name in names if PARTS[name].alone]


# Output ------------------------------------------------------------------------------------------


def machine(device: str) -> dict[str, Any]:
    """Return a description of the machine and the software versions."""
    import torch

    made = {"torch": torch.__version__, "python": platform.python_version()}
    made["cores"] = str(len(os.sched_getaffinity(0)))
    if device == "cuda":
        capability = ".".join(map(str, torch.cuda.get_device_capability()))
        made |= {"card": torch.cuda.get_device_name(), "cuda": str(torch.version.cuda)}
        made["compute capability"] = capability
    else:
        made["card"] = "no GPU (dry run on the CPU)"
    return made


def markdown(result: dict[str, Any]) -> str:
    """Format the results in Markdown, with a table of checks and the tables of figures."""
    about = result["machine"]
    name = f"{about['card']}, PyTorch {about['torch']}, {about['cores']} CPU cores"
    lines = [f"`make gpu-check` on {name}; {result['seconds']:.0f} s.", ""]
    lines += ["| check | measured | required | result |", "|---|---|---|---|"]
    tables: dict[str, list[dict[str, Any]]] = {}
    for entry in (entry for part in result["parts"] for entry in part["entries"]):
        if "table" in entry:
            tables.setdefault(entry["table"], []).append(entry["row"])
            continue
        value = entry["value"]
        shown = f"{value:.4g}{entry.get('unit', '')}" if not isinstance(value, str) else value
        missed = "**missed**" if entry.get("target") else "**failed**"
        verdict = {True: "passed", False: missed, None: "skipped"}[entry["passed"]]
        shown = shown.replace("|", "\\|")
        lines.append(f"| {entry['check']} | {shown} | {entry['required']} | {verdict} |")
    for title, rows in tables.items():
        columns = list(rows[0])
        lines += ["", f"{title}:", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
        lines += [f"| {' | '.join(str(row.get(c, '')) for c in columns)} |" for row in rows]
    return "\n".join(lines) + "\n"


def failures(parts: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of the failed checks; missed speed targets do not count as failures."""
    entries = (entry for part in parts for entry in part["entries"] if "target" not in entry)
    return [entry["check"] for entry in entries if entry.get("passed") is False]


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    assert __doc__ is not None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", choices=list(PARTS), help="parts to run (default: all)"
    )
    parser.add_argument(
        "--device", choices=["cuda", "cpu"], default="cuda", help="device (default: cuda)"
    )
    parser.add_argument("--small", action="store_true", help="use tiny models, for a dry run")
    parser.add_argument(
        "--out", type=Path, default=Path("gpu-check"), help="output folder (default: gpu-check)"
    )
    parser.add_argument(
        "--seconds", type=float, default=TOTAL_SECONDS, help="total time limit (default: 300)"
    )
    parser.add_argument("--scratch", type=Path, help="folder for 1 GB of temporary files")
    parser.add_argument("--wheels", action="store_true", help="print the pinned WHEELS and exit")
    parser.add_argument("--part", nargs=2, metavar=("NAME", "ENTRIES"), help=argparse.SUPPRESS)
    return parser.parse_args(given)


def pinned_wheels() -> list[str]:
    """Return the packages of WHEELS as ``name==version``, with the pins of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    versions = dict(line.lower().replace("_", "-").split("==") for line in lines if "==" in line)
    return [f"{name}=={versions[name.lower()]}" for name in WHEELS]


def main(given: argparse.Namespace) -> int:
    """Run the parts, write the results, and return the exit code."""
    if given.wheels:
        print(*pinned_wheels())
        return 0
    if given.part:
        name, entries = given.part[0], Path(given.part[1])
        run_in_this_process(name, given.device, given.small, entries.parent, entries)
        return 0
    import torch

    if given.device == "cuda" and not torch.cuda.is_available():
        advice = "use a machine with an NVIDIA GPU, or give --device cpu --small for a dry run"
        print(f"gpu_check: no CUDA device was found; {advice}", file=sys.stderr)
        return 2
    started = time.monotonic()
    parts = run_all(given.only or list(PARTS), given)
    seconds = round(time.monotonic() - started, 1)
    result = {"machine": machine(given.device), "small": given.small, "seconds": seconds}
    result["parts"] = parts
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "gpu_check.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    (given.out / "gpu_check.md").write_text(markdown(result), "utf-8")
    print(markdown(result))
    failed = failures(parts)
    print(f"{len(failed)} checks failed" if failed else "all checks passed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(arguments()))
