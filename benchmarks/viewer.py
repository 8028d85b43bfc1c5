"""Measure the size, the accuracy and the speed of pages with a viewer.

    python benchmarks/viewer.py MOTION [MOTION ...] [--browser] [--json]

MOTION is a file (.npz), or one of two synthetic motions of 10 s at 25 frames per second: ``dense``
moves an egg of 23,370 vertices (as many as BIWI's) in 60 smooth shapes, and ``noise`` adds noise of
0.05 mm to the same motion of 4,902 vertices.

Prints a row for each motion: its frames and vertices, the seconds that writing the page takes, the
size of the page and of its parts in megabytes (1,000,000 bytes; the parts as base64), the number of
basis vectors, and the largest error of a vertex after decoding, in millimeters (in mesh units if
their length is unknown).

With --browser, Chromium opens the page (without a graphics card; needs the extra `dev`). The row
then also contains the milliseconds of script for a frame, without the drawing itself: the median
and the 95th percentile.
"""

import argparse
import base64
import gzip
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.motion import Motion, vertex_blocks
from codetalker_cli.render.viewer import write_motion
from codetalker_cli.render.viewer.basis import FrameDecoder
from codetalker_cli.render.viewer.packets import unpack
from codetalker_cli.settings import RenderSettings
from codetalker_cli.topology import Topology

MESHES = {"dense": (127, 184, 0.0), "noise": (50, 98, 5e-5)}
"""Name → the rings and the vertices of a ring of a mesh, and the noise of its motion in meters."""
TESTS = Path(__file__).resolve().parents[1] / "tests"
_PART = re.compile(r'<script type="text/plain" data-part="(\w+)"[^>]*>([^<]*)</script>')
_SCRIPT_TIMES = """() => {
  const viewer = document.querySelector('.codetalker-viewer').viewer;
  for (let i = 0; i < 300; i++) viewer.playback.seekFrame((7 * i) % viewer.page.n_frames);
  return viewer.scriptTimes.slice(-250);
}"""


def synthetic(name: str) -> Motion:
    """Return one of the motions ``MESHES``."""
    n_rings, n_around, noise = MESHES[name]
    theta = np.linspace(0, np.pi, n_rings + 2)[1:-1, None]
    phi = np.linspace(0, 2 * np.pi, n_around, endpoint=False)[None]
    axes = np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)
    ring = np.stack(np.broadcast_arrays(*axes), axis=-1).reshape(-1, 3)
    template = np.concatenate([ring, [[0, 1, 0], [0, -1, 0]]]) * (0.075, 0.115, 0.095)
    number = np.arange(len(ring)).reshape(n_rings, n_around)
    a, b = number[:-1], number[1:]
    c, d = np.roll(a, -1, axis=1), np.roll(b, -1, axis=1)
    triangles = np.concatenate([np.stack([a, b, c], -1), np.stack([c, b, d], -1)]).reshape(-1, 3)
    generator, time = np.random.default_rng(0), np.arange(250)[:, None] / 25
    waves = np.einsum("kij,vj->kvi", 20 * generator.standard_normal((60, 3, 3)), template)
    shapes = np.sin(waves + generator.uniform(0, 6, (60, 1, 3)))
    shapes *= (0.004 * 0.93 ** np.arange(60))[:, None, None]
    weights = np.sin(time * generator.uniform(2, 30, 60) + generator.uniform(0, 6, 60))
    vertices = template + np.einsum("tk,kvc->tvc", weights, shapes)
    vertices += noise * generator.standard_normal(vertices.shape)
    topology = Topology(name, triangles.astype(np.int32), len(template))
    return Motion(vertices.astype(np.float32), 25.0, topology, "egg", template.astype(np.float32))


def parts_of(page: Path) -> dict[str, str]:
    """Return the base64 parts of a page by name."""
    return dict(_PART.findall(page.read_text("utf-8")))


def largest_error(packets: bytes, motion: Motion) -> tuple[int, float]:
    """Return the number of basis vectors, and the largest error in the unit of the mesh."""
    decoder, errors, n_vectors = FrameDecoder(motion.template), [], 0
    start = 0
    while packets:
        size = 8 + int(np.frombuffer(packets, "<u4", 2).sum())
        header, arrays = unpack(packets[:size])
        packets = packets[size:]
        if header["kind"] == "basis":
            n_vectors += len(arrays["vectors"])
            decoder.add(arrays["vectors"], arrays["scale"], restarts=header["restarts"])
        elif header["kind"] == "frames":
            decoded = decoder.decode(arrays["coefficients"].T).astype(np.float64)
            true = np.asarray(motion.vertices[start : start + len(decoded)])
            errors.append(float(np.linalg.norm(decoded - true, axis=-1).max()))
            start += len(decoded)
    assert start == motion.n_frames == sum(map(len, vertex_blocks(motion.vertices)))
    return n_vectors, max(errors)


def script_times(page: Path) -> dict[str, float]:
    """Return the milliseconds of script for a frame."""
    sys.path.insert(0, str(TESTS))
    from browser import visiting

    size = {"width": 600, "height": 700}
    with visiting(page.as_uri(), viewport=size, device_scale_factor=1) as visit:
        visit.page.wait_for_selector(".codetalker-viewer[data-ready]", timeout=60_000)
        times = visit.page.evaluate(_SCRIPT_TIMES)
    median, most = np.percentile(times, [50, 95])
    return {"script_ms": round(float(median), 2), "script_ms_95": round(float(most), 2)}


def measure(name: str, browser: bool) -> dict[str, Any]:
    """Return the row of a motion."""
    motion = synthetic(name) if name in MESHES else Motion.load(name)
    with tempfile.TemporaryDirectory(prefix="viewer-benchmark-") as folder:
        page = Path(folder) / "page.html"
        started = time.perf_counter()
        report = write_motion(motion, page, RenderSettings.model_validate({}))
        seconds = time.perf_counter() - started
        parts = parts_of(page)
        n_vectors, error = largest_error(
            gzip.decompress(base64.b64decode(parts["packets"])), motion
        )
        row = {
            "motion": Path(name).name,
            "frames": report.n_frames,
            "seconds": round(motion.seconds, 2),
            "vertices": motion.topology.n_vertices,
            "write_seconds": round(seconds, 2),
            "page_mb": round(report.n_bytes / 1e6, 3),
            "motion_mb": round(len(parts["packets"]) / 1e6, 3),
            "sound_mb": round(len(parts.get("sound", "")) / 1e6, 3),
            "vectors": n_vectors,
            "error_mm": round(error * 1000 * (motion.topology.meters_per_unit or 0.001), 4),
        }
        return row | (script_times(page) if browser else {})


def table(rows: list[dict[str, Any]]) -> str:
    """Return rows as a Markdown table."""
    names = list(rows[0])
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, r.values()))} |" for r in rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("motions", nargs="+", help="motions (.npz), dense or noise")
    parser.add_argument("--browser", action="store_true", help="also measure the page in Chromium")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    rows = [measure(name, arguments.browser) for name in arguments.motions]
    print(json.dumps({"rows": rows}) if arguments.json else table(rows))


if __name__ == "__main__":
    main()
