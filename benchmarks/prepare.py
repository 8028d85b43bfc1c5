"""How fast and in how much memory a full-size VOCASET is prepared, beside the disk's copy speed.

    python benchmarks/prepare.py [--clips 480] [--folder DIR] [--json]

A synthetic VOCASET of true size (480 clips, 104 000 frames, 6.3 GB of random numbers) is streamed
to the disk. Then, from cold files each time, in one run: the large array is copied; the data set is
prepared by a process of its own; and prepared once more, which should find nothing to do. Both
times end when all is on the disk. Needs about 13 GB in the folder, and removes what it made.
"""

import argparse
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

N_VERTICES, N_FACES, FPS, RATE = 5023, 9976, 60, 22000
FRAMES_PER_CLIP = 217  # 104 000 in 480 clips
SUBJECTS = 12
BLOCK = 8 << 20


def generate(folder: Path, n_clips: int) -> int:
    """Write the five raw files; bytes of the large one."""
    rng = np.random.default_rng(0)
    n_frames = n_clips * FRAMES_PER_CLIP
    row = rng.standard_normal((FRAMES_PER_CLIP, N_VERTICES, 3)).astype(np.float32) * 0.01
    with (folder / "data_verts.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (n_frames, N_VERTICES, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        for k in range(n_clips):
            file.write((row + np.float32(k * 1e-4)).data)  # no two clips alike
    subjects = [f"FaceTalk_{k:06d}_TA" for k in range(SUBJECTS)]
    rows: dict = {subject: {} for subject in subjects}
    speech: dict = {subject: {} for subject in subjects}
    n_samples = FRAMES_PER_CLIP * RATE // FPS
    for k in range(n_clips):
        subject, sentence = subjects[k % SUBJECTS], f"sentence{k // SUBJECTS + 1:02d}"
        first = k * FRAMES_PER_CLIP
        rows[subject][sentence] = {i: first + i for i in range(FRAMES_PER_CLIP)}
        samples = rng.integers(-9000, 9000, n_samples).astype(np.int16)
        speech[subject][sentence] = {"audio": samples, "sample_rate": RATE}
    templates = {subject: row[0].astype(np.float64) for subject in subjects}
    contents = {"subj_seq_to_idx": rows, "raw_audio_fixed": speech, "templates": templates}
    for name, content in contents.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(content, protocol=2))
    triangles = np.random.default_rng(1).integers(0, N_VERTICES, (N_FACES, 3))
    with (folder / "FLAME_sample.ply").open("w") as file:
        file.write(f"ply\nformat ascii 1.0\nelement vertex {N_VERTICES}\n")
        file.write("property float x\nproperty float y\nproperty float z\n")
        file.write(f"element face {N_FACES}\nproperty list uchar int vertex_indices\nend_header\n")
        np.savetxt(file, row[0], "%.6f")
        np.savetxt(file, np.concatenate([np.full((N_FACES, 1), 3), triangles], 1), "%d")
    return (folder / "data_verts.npy").stat().st_size


def cool(folder: Path) -> None:
    """Write everything to the disk and forget it in memory, so that files are cold."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def copy(source: Path, target: Path) -> float:
    """Seconds of a plain copy until it is on the disk."""
    started = time.perf_counter()
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(BLOCK):
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
    return time.perf_counter() - started


def prepare(raw: Path, out: Path) -> tuple[float, float]:
    """Seconds of the command until all is on the disk; largest memory of a child so far, GB."""
    command = [sys.executable, "-m", "codetalker_cli", "prepare-data", "vocaset", raw, out]
    started = time.perf_counter()
    subprocess.run([*map(str, command), "--json"], check=True, stdout=subprocess.DEVNULL)
    os.sync()
    seconds = time.perf_counter() - started
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9


def measure(folder: Path, n_clips: int) -> dict[str, float]:
    """All figures of one run."""
    raw, out = folder / "raw", folder / "prepared"
    raw.mkdir()
    n_bytes = generate(raw, n_clips)
    cool(raw)
    copied = copy(raw / "data_verts.npy", folder / "copy.npy")
    (folder / "copy.npy").unlink()
    cool(raw)
    first, peak = prepare(raw, out)
    written = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    cool(folder)
    again, _ = prepare(raw, out)
    return {
        "clips": n_clips,
        "raw_gb": n_bytes / 1e9,
        "prepared_gb": written / 1e9,
        "copy_seconds": copied,
        "copy_mb_per_second": n_bytes / 1e6 / copied,
        "prepare_seconds": first,
        "prepare_mb_per_second": n_bytes / 1e6 / first,
        "share_of_copy_speed": copied / first,
        "again_seconds": again,
        "peak_memory_gb": peak,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=480)
    parser.add_argument("--folder", type=Path, help="where to work; default: here")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    made = Path(tempfile.mkdtemp(prefix="prepare-benchmark-", dir=given.folder or Path.cwd()))
    try:
        figures = measure(made, given.clips)
    finally:
        shutil.rmtree(made)
    if given.json:
        print(json.dumps(figures))
        return
    for key, value in figures.items():
        print(f"{key:24}{value:10.2f}")


if __name__ == "__main__":
    main()
