"""Measure speed and memory of preparing a full-size VOCASET, compared with copying the file.

    python benchmarks/prepare.py [--clips 480] [--folder DIR] [--json]

A synthetic VOCASET of the original size (480 clips, 104 000 frames, 6.3 GB of random numbers) is
written to the disk. Then three steps are measured, each with a cold file cache: copying the large
array, preparing the data set in a new process, and preparing it again, which should be a no-op.
Copying and preparing are timed until all data is on the disk. The script needs about 13 GB of disk
space and removes its files at the end.
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
    """Write the five raw files, and return the size of the large one in bytes."""
    rng = np.random.default_rng(0)
    n_frames = n_clips * FRAMES_PER_CLIP
    face = 0.1 * rng.standard_normal((N_VERTICES, 3))
    row = (face + 0.01 * rng.standard_normal((FRAMES_PER_CLIP, N_VERTICES, 3))).astype(np.float32)
    with (folder / "data_verts.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (n_frames, N_VERTICES, 3)}
        np.lib.format.write_array_header_1_0(file, header)
        for k in range(n_clips):
            file.write((row + np.float32(k * 1e-4)).data)  # makes all clips different
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
    """Flush all files to the disk, and drop them from the file cache."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def copy(source: Path, target: Path) -> float:
    """Copy a file, and return the seconds until it is on the disk."""
    started = time.perf_counter()
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(BLOCK):
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
    return time.perf_counter() - started


def prepare(raw: Path, out: Path) -> tuple[float, float]:
    """Run the command; return the seconds until all data is on disk, and the peak memory in GB."""
    command = [sys.executable, "-m", "codetalker_cli", "prepare-data", "vocaset", raw, out]
    started = time.perf_counter()
    subprocess.run([*map(str, command), "--json"], check=True, stdout=subprocess.DEVNULL)
    os.sync()
    seconds = time.perf_counter() - started
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9


def measure(folder: Path, n_clips: int) -> dict[str, float]:
    """Return all figures of one run."""
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
    parser.add_argument("--clips", type=int, default=480, help="number of clips (default: 480)")
    parser.add_argument(
        "--folder", type=Path, help="folder for temporary files (default: the working folder)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
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
