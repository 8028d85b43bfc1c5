"""Read the motion of a clip once, in small blocks, and measure it."""

import hashlib
import math
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codetalker_cli.arrays import NpyHeader

_BLOCK_BYTES = 2 << 20
"""The size of a block; it fits into the cache of the processor."""
_SAMPLED_FRAMES = 60
"""The maximum number of evenly spaced frames in the mean face of a clip."""


@dataclass
class ClipMotion:
    """The measured motion of a clip; frames with NaN are not part of ``total`` and ``sample``.

    Attributes:
        energy: (T,) root mean square distance of the vertices from the base (the template).
        steps: (T - 1,) root mean square distance of the vertices between successive frames.
        leaps: (T - 1,) largest coordinate change of any vertex between successive frames.
        total: (V, 3) sum of the offsets from the base over ``n_sampled`` frames.
        sample: (k, V, 3) offsets from the base, of the frames requested for the sample.
        bad: The frame and the vertex of the first NaN or infinite number, or None.
        n_bad: The number of frames with NaN or infinite numbers.
        n_bytes: The number of bytes read.
        digest: The SHA-256 of the bytes of the vertices.
        n_sampled: The number of frames in ``total``.
    """

    energy: np.ndarray
    steps: np.ndarray
    leaps: np.ndarray
    total: np.ndarray
    sample: np.ndarray
    bad: tuple[int, int] | None = None
    n_bad: int = 0
    n_bytes: int = 0
    digest: str = ""
    n_sampled: int = 0

    @property
    def n_frames(self) -> int:
        """The number of frames of the clip."""
        return len(self.energy)


def frame_blocks(path: Path, header: NpyHeader) -> Iterator[tuple[int, np.ndarray, memoryview]]:
    """Yield a whole clip in blocks of frames.

    Each block after the first one starts with the last frame of the previous block, so that steps
    between blocks can be measured. The arrays are reused: a block is valid only until the next one
    is yielded.

    Yields:
        The number of the first frame, the (b, V, 3) float32 frames, and the bytes of the new
        frames.
    """
    n_frames, size = header.shape[0], math.prod(header.shape[1:]) * header.dtype.itemsize
    length = max(1, min(n_frames, _BLOCK_BYTES // max(size, 1)))
    buffer = bytearray((length + 1) * size)
    frames = np.frombuffer(buffer, header.dtype).reshape(length + 1, *header.shape[1:])
    with path.open("rb", buffering=0) as file:
        file.seek(header.offset)
        for start in range(0, n_frames, length):
            n = min(length, n_frames - start)
            data = memoryview(buffer)[size : (n + 1) * size]
            if file.readinto(data) != len(data):
                raise OSError(f"{path}: the file was truncated while it was read")
            first = 1 if start == 0 else 0
            with np.errstate(over="ignore"):
                yield start + first - 1, frames[first : n + 1].astype(np.float32, copy=False), data
            frames[0] = frames[n]


def measure_motion(
    path: Path,
    header: NpyHeader,
    base: np.ndarray | None,
    sampled: np.ndarray,
    hashing: Executor,
) -> tuple[ClipMotion, np.ndarray]:
    """Read a clip once and measure its motion.

    Args:
        path: The file of the clip.
        header: The header of the file.
        base: (V, 3) template of the subject; None: the first frame of the clip.
        sampled: The positions of the frames for ``ClipMotion.sample``.
        hashing: A pool of one thread, which computes the hash in parallel.

    Returns:
        The measured motion, and the (V, 3) base.
    """
    n_frames, n_vertices = header.shape[:2]
    in_mean = _mask(n_frames, np.linspace(0, n_frames - 1, min(n_frames, _SAMPLED_FRAMES)))
    in_sample = _mask(n_frames, sampled)
    motion = ClipMotion(
        energy=np.empty(n_frames, np.float32),
        steps=np.empty(n_frames - 1, np.float32),
        leaps=np.empty(n_frames - 1, np.float32),
        total=np.zeros((n_vertices, 3)),
        sample=np.empty((0, n_vertices, 3), np.float32),
    )
    digest, samples = hashlib.sha256(), []
    for number, block, data in frame_blocks(path, header):
        hash_future = hashing.submit(digest.update, data)
        motion.n_bytes += len(data)
        if base is None:
            base = np.nan_to_num(block[0])
        with np.errstate(invalid="ignore", over="ignore"):
            _measure_steps(motion, number, block)
            frames = block if number == 0 else block[1:]
            offsets = frames - base
            start = number if number == 0 else number + 1
            energy = np.sqrt(np.einsum("tvx,tvx->t", offsets, offsets) / n_vertices)
        motion.energy[start : start + len(frames)] = energy
        finite = np.isfinite(energy)
        if not finite.all():
            _note_bad(motion, start, frames, finite)
        span = slice(start, start + len(frames))
        samples.append(_accumulate(motion, offsets, finite, in_mean[span], in_sample[span]))
        hash_future.result()
    motion.digest = digest.hexdigest()
    motion.sample = np.concatenate(samples) if samples else motion.sample
    return motion, np.zeros((n_vertices, 3), np.float32) if base is None else base


def _mask(n_frames: int, positions: np.ndarray) -> np.ndarray:
    mask = np.zeros(n_frames, bool)
    positions = np.asarray(positions).astype(int)
    mask[positions[positions < n_frames]] = True
    return mask


def _measure_steps(motion: ClipMotion, number: int, block: np.ndarray) -> None:
    if len(block) < 2:
        return
    span = slice(number, number + len(block) - 1)
    step_offsets = block[1:] - block[:-1]
    motion.steps[span] = np.sqrt(
        np.einsum("tvx,tvx->t", step_offsets, step_offsets) / step_offsets.shape[1]
    )
    motion.leaps[span] = np.maximum(step_offsets.max((1, 2)), -step_offsets.min((1, 2)))


def _note_bad(motion: ClipMotion, start: int, block: np.ndarray, finite: np.ndarray) -> None:
    bad = np.flatnonzero(~finite)
    motion.n_bad += len(bad)
    if motion.bad is None:
        vertices = ~np.isfinite(block[bad[0]]).all(1)
        motion.bad = (start + int(bad[0]), int(vertices.argmax()))


def _accumulate(
    motion: ClipMotion,
    offsets: np.ndarray,
    finite: np.ndarray,
    in_mean: np.ndarray,
    in_sample: np.ndarray,
) -> np.ndarray:
    """Add the offsets in ``in_mean`` to the total; return those in ``in_sample``."""
    selected = offsets[in_mean & finite]
    motion.n_sampled += len(selected)
    motion.total += selected.sum(0)
    return offsets[in_sample & finite]
