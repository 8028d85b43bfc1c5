"""The faces that are found in the frames of a film, in blocks that can be stored."""

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, count, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from codetalker_cli.arrays import read_arrays
from codetalker_cli.capture.chains import without_copies
from codetalker_cli.capture.film import Film
from codetalker_cli.capture.landmarker import LANDMARK_IDS, Face, borrow, give_back
from codetalker_cli.capture.worker import WEIGHT_NAMES
from codetalker_cli.errors import DataError
from codetalker_cli.files import atomic_path
from codetalker_cli.progress import Progress

BLOCK_FRAMES = 9000
"""The frames of a film that are searched and stored at a time: five minutes at 30 fps."""
WARM_UP_FRAMES = 25
"""The frames before a block that are searched again, so that a face is followed into the block."""
_N_VALUES = len(LANDMARK_IDS) * 3 + len(WEIGHT_NAMES) + 16

TimedPictures = Iterator[tuple[float, np.ndarray]]


class Block(NamedTuple):
    """The faces in successive frames.

    Attributes:
        times: (n,) float64 seconds of the frames.
        counts: (n,) the number of faces in each frame.
        values: (sum of counts, 569) float32 landmarks, weights and head of each face.
    """

    times: np.ndarray
    counts: np.ndarray
    values: np.ndarray

    def frames(self) -> Iterator[tuple[float, list[Face]]]:
        """Yield the time of each frame and the faces in it."""
        first, n = 0, len(LANDMARK_IDS) * 3
        for time, n_faces in zip(self.times, self.counts, strict=True):
            rows = self.values[first : first + n_faces]
            first += int(n_faces)
            faces = [Face(r[:n].reshape(-1, 3), r[n:-16], r[-16:].reshape(4, 4)) for r in rows]
            yield float(time), faces


class BlockFolder:
    """A folder that keeps the blocks of one film, so that an interrupted run can be resumed.

    Args:
        folder: The folder; None: nothing is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def read(self, number: int) -> Block | None:
        """Return a block, or None if it is missing or damaged."""
        if self._folder is None or not self._path(number).is_file():
            return None
        try:
            arrays = read_arrays(self._path(number))
            block = Block(arrays["times"], arrays["counts"], arrays["values"])
        except (DataError, KeyError):
            return None
        whole = block.values.shape == (block.counts.sum(), _N_VALUES)
        return block if whole and len(block.times) == len(block.counts) else None

    def write(self, number: int, block: Block) -> None:
        """Keep a block."""
        if self._folder is None:
            return
        with atomic_path(self._path(number)) as temporary, temporary.open("wb") as file:
            np.savez(file, **block._asdict())

    def _path(self, number: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{number:05d}.npz"


def find_faces(film: Film, model: Path, kept: BlockFolder, progress: Progress) -> Iterator[Block]:
    """Yield the faces in all frames of a film, block by block.

    Each block is searched by itself, after some frames of warm-up. So a resumed run returns the
    same as an uninterrupted one.

    Args:
        film: The film.
        model: The model file of the face landmarker.
        kept: The blocks of an earlier run; new ones are added.
        progress: Called with the seconds done and the length of the film.

    Raises:
        CodeTalkerError: The film cannot be decoded, or MediaPipe fails.
    """
    recent: deque[tuple[float, np.ndarray]] = deque(maxlen=WARM_UP_FRAMES)

    def reported(frames: TimedPictures) -> TimedPictures:
        for time, picture in frames:
            progress(time, max(time, film.seconds or 0.0))
            recent.append((time, picture))
            yield time, picture

    with closing(film.frames()) as decoded:
        frames = reported(decoded)
        for number in count():
            warm_up = list(recent)
            first = next(frames, None)
            if first is None:
                return
            block = kept.read(number)
            if block is None:
                ahead = chain(warm_up, [first], islice(frames, BLOCK_FRAMES - 1))
                block = _search(film.size, ahead, len(warm_up), model)
                if len(block.times) == BLOCK_FRAMES:  # the last block is not worth a file
                    kept.write(number, block)
            else:
                for _ in islice(frames, BLOCK_FRAMES - 1):
                    pass
            yield block


def _search(size: tuple[int, int], frames: TimedPictures, n_warm_up: int, model: Path) -> Block:
    """Return the faces in frames, without those in the first ``n_warm_up`` ones."""
    times: list[float] = []
    counts: list[int] = []
    rows: list[np.ndarray] = []

    def in_milliseconds() -> Iterator[tuple[int, np.ndarray]]:
        last = -1
        for time, picture in frames:
            times.append(time)
            last = max(last + 1, round((time - times[0]) * 1000))
            yield last, picture

    landmarker = borrow(model)
    try:
        for k, found in enumerate(landmarker.faces(size, in_milliseconds())):
            if k >= n_warm_up:
                faces = without_copies(found)
                counts.append(len(faces))
                rows += [np.concatenate([one.ravel() for one in face]) for face in faces]
    except BaseException:
        landmarker.close()
        raise
    give_back(landmarker, model)
    values = np.stack(rows) if rows else np.empty((0, _N_VALUES), np.float32)
    return Block(np.array(times[n_warm_up:], np.float64), np.array(counts, np.intp), values)
