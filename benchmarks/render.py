"""How fast are videos drawn and encoded, and what memory does that take?

    python benchmarks/render.py [--frames 600] [--size 512] [--renderers software pyrender] [--json]

Two tables. The first, renderer × mesh: frames a second of ``render_video`` from its call to the
finished file (drawing, encoding, starting processes), the ratio to the first row of the same run,
peak memory of the main process and of the largest other process (those that draw, and ffmpeg). The
second: the same memory for a short clip and for one ten times as long, read from a motion file.
Every row has a process of its own.

Meshes: ``head`` is the bundled head (5370 vertices); ``dense`` is a closed egg with a nose, of the
size of a head and 23370 vertices, as many as BIWI's faces have. Both swing around their mouths.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli import resources
from codetalker_cli.motion import Motion, VertexFrames
from codetalker_cli.render import RenderSettings, render_video
from codetalker_cli.topology import Mesh, Topology

RINGS, SEGMENTS = 127, 184
MESHES = ("head", "dense")


def head() -> tuple[Topology, np.ndarray, np.ndarray | None]:
    """Topology, template and colors of the bundled head."""
    mesh = Mesh.load(resources.asset("voice") / "mesh.npz")
    subject = next(iter(mesh.templates))
    return mesh.topology, mesh.templates[subject], mesh.colors[subject]


def dense() -> tuple[Topology, np.ndarray, np.ndarray | None]:
    """An egg of 127 rings and two poles, 23370 vertices, in meters."""
    theta = np.linspace(0, np.pi, RINGS + 2)[1:-1, None]
    phi = np.linspace(0, 2 * np.pi, SEGMENTS, endpoint=False)[None]
    ring = np.stack(
        np.broadcast_arrays(
            0.075 * np.sin(theta) * np.sin(phi),
            0.115 * np.cos(theta),
            0.095 * np.sin(theta) * np.cos(phi),
        ),
        axis=-1,
    ).reshape(-1, 3)
    nose = np.exp(-np.square((ring - [0, -0.005, 0.095]) / [0.012, 0.022, 0.03]).sum(1))
    ring[:, 2] += 0.025 * nose
    template = np.concatenate([ring, [[0, 0.115, 0], [0, -0.115, 0]]]).astype(np.float32)
    number = np.arange(RINGS * SEGMENTS).reshape(RINGS, SEGMENTS)
    beside = np.roll(number, -1, axis=1)
    a, b, c, d = (x.ravel() for x in (number[:-1], beside[:-1], number[1:], beside[1:]))
    top, bottom = len(ring), len(ring) + 1
    caps = [(top, number[0, j], beside[0, j]) for j in range(SEGMENTS)]
    caps += [(bottom, beside[-1, j], number[-1, j]) for j in range(SEGMENTS)]
    triangles = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1), caps])
    return Topology("egg", triangles.astype(np.int32), len(template)), template, None


def write_motion(path: Path, mesh: str, n_frames: int) -> None:
    """A motion file of a face whose mouth swings."""
    topology, template, colors = {"head": head, "dense": dense}[mesh]()
    low, high = template.min(0), template.max(0)
    mouth = np.array([(low[0] + high[0]) / 2, low[1] + 0.3 * (high[1] - low[1]), high[2]])
    near = np.exp(-np.square((template - mouth) / (0.2 * (high[1] - low[1]))).sum(1))
    swing = np.float32(0.01) * near[:, None].astype(np.float32) * np.float32([0, -1, 0.3])

    def make(frames: np.ndarray) -> np.ndarray:
        return template + swing * np.sin(0.4 * frames)[:, None, None].astype(np.float32)

    vertices = VertexFrames(n_frames, len(template), make)
    Motion(vertices, 30.0, topology, "S01", template, colors).save(path)


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """One row, in this process."""
    settings = RenderSettings(size=job["size"], renderer=job["renderer"])
    with tempfile.TemporaryDirectory(prefix="codetalker-") as folder:
        path = Path(folder) / "motion.npz"
        write_motion(path, job["mesh"], job["frames"])
        code = "import sys; sys.path[:0] = [sys.argv[1]]; import render; render.draw(*sys.argv[2:])"
        here = str(Path(__file__).parent)
        # in one more process: this one has made the motion, and its peak would count that
        done = subprocess.run(
            [sys.executable, "-c", code, here, str(path), settings.model_dump_json()],
            stdout=subprocess.PIPE,
            check=True,
        )
    return {**job, **json.loads(done.stdout)}


def draw(path: str, settings: str) -> None:
    """Draw a motion file; the figures go to stdout."""
    motion = Motion.load(path)
    out = Path(path).with_suffix(".mp4")
    report = render_video(motion, out, RenderSettings.model_validate_json(settings))
    others = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    figures = {
        "drawn_by": report.renderer,
        "vertices": motion.topology.n_vertices,
        "frames_per_second": report.drawing_fps,
        "main_mb": own_peak(),
        "largest_other_mb": others,
        "video_mb": out.stat().st_size / 1e6,
    }
    sys.stdout.write(json.dumps(figures))


def own_peak() -> float:
    """Largest resident size of this process in MB; getrusage would count its starter's too."""
    status = Path("/proc/self/status").read_text("utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def speed_rows(given: argparse.Namespace) -> list[dict[str, Any]]:
    """The best of the repeats of every cell; another program may only slow one down."""
    rows: list[dict[str, Any]] = []
    for mesh in given.meshes:
        for renderer in given.renderers:
            job = {
                "renderer": renderer,
                "mesh": mesh,
                "size": given.size,
                "frames": given.frames if mesh == "head" else max(1, given.frames // 2),
            }
            runs = [measure(job) for _ in range(given.repeats)]
            best = max(runs, key=lambda run: run["frames_per_second"])
            first = rows[0] if rows else best
            best["ratio"] = best["frames_per_second"] / first["frames_per_second"]
            best["all_runs"] = [round(run["frames_per_second"], 1) for run in runs]
            rows.append(best)
    return rows


def memory_rows(given: argparse.Namespace) -> list[dict[str, Any]]:
    """A clip, and one ten times as long; small pictures, which change nothing in this."""
    job = {"renderer": given.renderers[0], "mesh": "head", "size": 64}
    lengths = (given.memory_frames, 10 * given.memory_frames)
    return [measure({**job, "frames": n_frames}) for n_frames in lengths]


def show(rows: list[dict[str, Any]], columns: dict[str, str]) -> None:
    """A table of some columns."""
    print("  ".join(f"{title:>16}" for title in columns.values()))
    for row in rows:
        cells = (row[key] for key in columns)
        print("  ".join(f"{c:16.1f}" if isinstance(c, float) else f"{c!s:>16}" for c in cells))
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=600, help="of the head; dense has half")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--renderers", nargs="+", default=["software", "pyrender"])
    parser.add_argument("--meshes", nargs="+", choices=MESHES, default=list(MESHES))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--memory-frames", type=int, default=300)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    result = {
        "cores": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg()[0],
        "speed": speed_rows(given),
        "memory": memory_rows(given),
    }
    if given.json:
        print(json.dumps(result))
        return
    print(f"{result['cores']} cores, load {result['load_before']:.1f}\n")
    memory = {"main_mb": "main MB", "largest_other_mb": "largest other MB"}
    cell = {"drawn_by": "renderer", "vertices": "vertices", "size": "size", "frames": "frames"}
    speed = {"frames_per_second": "frames/s", "ratio": "ratio"}
    show(result["speed"], cell | speed | memory)
    show(result["memory"], cell | memory)


if __name__ == "__main__":
    main()
