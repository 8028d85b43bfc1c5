"""Measure the speed and memory of rendering and encoding videos.

    python benchmarks/render.py [--frames 600] [--size 512] [--renderers software pyrender] [--json]

The script prints two tables. The first has a row for each renderer and mesh: the frames per second
of ``render_video`` from its call to the finished file (including encoding and starting processes),
the speed relative to the first row, and the peak memory of the main process and of the largest
other process (a renderer or ffmpeg). The second table shows the peak memory for a short clip and
for one that is ten times as long, both read from a motion file. Each row is measured in its own
process.

The mesh ``head`` is the bundled head (5370 vertices). ``dense`` is a closed egg with a nose, with
the size of a head and the 23370 vertices of BIWI. The area around the mouth moves in both.
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
    """Return the topology, template and colors of the bundled head."""
    mesh = Mesh.load(resources.asset("voice") / "mesh.npz")
    subject = next(iter(mesh.templates))
    return mesh.topology, mesh.templates[subject], mesh.colors[subject]


def dense() -> tuple[Topology, np.ndarray, np.ndarray | None]:
    """Return an egg with 127 rings and two poles (23370 vertices), in meters."""
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
    """Write a motion file of a mesh whose mouth area oscillates."""
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
    """Measure one row."""
    settings = RenderSettings(size=job["size"], renderer=job["renderer"])
    with tempfile.TemporaryDirectory(prefix="codetalker-") as folder:
        path = Path(folder) / "motion.npz"
        write_motion(path, job["mesh"], job["frames"])
        code = "import sys; sys.path[:0] = [sys.argv[1]]; import render; render.draw(*sys.argv[2:])"
        here = str(Path(__file__).parent)
        # A new process is needed, because the peak memory of this one includes the motion.
        done = subprocess.run(
            [sys.executable, "-c", code, here, str(path), settings.model_dump_json()],
            stdout=subprocess.PIPE,
            check=True,
        )
    return {**job, **json.loads(done.stdout)}


def draw(path: str, settings: str) -> None:
    """Render a motion file, and print the figures as JSON."""
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
    """Return the peak resident memory of this process in MB.

    `getrusage` is not used, because it includes the memory of the parent process before exec.
    """
    status = Path("/proc/self/status").read_text("utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def speed_rows(given: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure each renderer and mesh, and return the fastest of the repeats."""
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
    """Measure a clip and one that is ten times as long, with small pictures to save time."""
    job = {"renderer": given.renderers[0], "mesh": "head", "size": 64}
    lengths = (given.memory_frames, 10 * given.memory_frames)
    return [measure({**job, "frames": n_frames}) for n_frames in lengths]


def show(rows: list[dict[str, Any]], columns: dict[str, str]) -> None:
    """Print a table of some columns."""
    print("  ".join(f"{title:>16}" for title in columns.values()))
    for row in rows:
        cells = (row[key] for key in columns)
        print("  ".join(f"{c:16.1f}" if isinstance(c, float) else f"{c!s:>16}" for c in cells))
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--frames", type=int, default=600, help="frames of head; dense has half as many")
    add("--size", type=int, default=512, help="width and height in pixels (default: 512)")
    add("--renderers", nargs="+", default=["software", "pyrender"], help="renderers to measure")
    add("--meshes", nargs="+", choices=MESHES, default=list(MESHES), help="meshes to measure")
    add("--repeats", type=int, default=2, help="repeats of each row (default: 2)")
    add("--memory-frames", type=int, default=300, help="frames of the short clip (default: 300)")
    add("--json", action="store_true", help="print JSON")
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
