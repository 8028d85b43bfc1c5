"""Measure the size, the accuracy and the speed of pages with a viewer.

    python benchmarks/viewer.py MOTION [MOTION ...] [--browser] [--json]

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

TESTS = Path(__file__).resolve().parents[1] / "tests"
_PART = re.compile(r'<script type="text/plain" data-part="(\w+)"[^>]*>([^<]*)</script>')
_SCRIPT_TIMES = """() => {
  const viewer = document.querySelector('.codetalker-viewer').viewer;
  for (let i = 0; i < 300; i++) viewer.playback.seekFrame((7 * i) % viewer.page.n_frames);
  return viewer.scriptTimes.slice(-250);
}"""


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
            decoder.add(arrays["vectors"], arrays["scale"])
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

    with visiting(page.as_uri(), viewport={"width": 600, "height": 700}) as visit:
        visit.page.wait_for_selector(".codetalker-viewer[data-ready]", timeout=60_000)
        times = visit.page.evaluate(_SCRIPT_TIMES)
    median, most = np.percentile(times, [50, 95])
    return {"script_ms": round(float(median), 2), "script_ms_95": round(float(most), 2)}


def measure(path: Path, browser: bool) -> dict[str, Any]:
    """Return the row of a motion."""
    motion = Motion.load(path)
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
            "motion": path.name,
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
    parser.add_argument("motions", nargs="+", type=Path, help="motions (.npz)")
    parser.add_argument("--browser", action="store_true", help="also measure the page in Chromium")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    rows = [measure(path, arguments.browser) for path in arguments.motions]
    print(json.dumps({"rows": rows}) if arguments.json else table(rows))


if __name__ == "__main__":
    main()
