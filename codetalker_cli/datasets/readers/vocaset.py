"""Read VOCASET's training data as it is downloaded: one array of all frames, and pickles.

- ``data_verts.npy``          (N, 5023, 3) in meters, one row per frame at 60 fps
- ``subj_seq_to_idx.pkl``     [subject][sentence][frame number] → row
- ``raw_audio_fixed.pkl``     [subject][sentence] → {"audio": 1-D array, "sample_rate": int}
- ``templates.pkl``           [subject] → (5023, 3)
- ``FLAME_sample.ply``        the triangles, from the repository of VOCA
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.datasets.raw_clips import Problem, RawAudio, RawClip, RawDataSet, stamp_of
from codetalker_cli.datasets.readers.layout import find_file, is_layout, read_layout, refuse_missing
from codetalker_cli.errors import DataError
from codetalker_cli.formats.frames import open_array
from codetalker_cli.formats.pickles import read_pickle
from codetalker_cli.formats.templates import read_mesh
from codetalker_cli.settings import DataSettings
from codetalker_cli.topology import Mesh

FPS = 60.0
VERTICES, ROWS, SPEECH = "data_verts.npy", "subj_seq_to_idx.pkl", "raw_audio_fixed.pkl"
TEMPLATES, MESH = "templates.pkl", "FLAME_sample.ply"
DOWNLOAD = "https://voca.is.tue.mpg.de, Training Data"
CODE = "https://github.com/TimoBolkart/voca, folder template; or give the file as `mesh_file`"

Nested = Mapping[str, Mapping[str, Any]]


def read_vocaset(root: Path, data: DataSettings, mesh_file: Path | None = None) -> RawDataSet:
    """Open the downloaded files, or the output of the reference's preparation scripts.

    No frame is read yet.

    Args:
        root: The folder with the five files, or with ``vertices_npy`` and ``wav``.
        data: The settings of the data set.
        mesh_file: The mesh file with the triangles. None searches ``root`` and its parent folder.

    Returns:
        The clips, the templates and a list of what is missing or broken.

    Raises:
        InputError: Files are missing. The message lists all of them and where to get them.
        DataError: A file is damaged or unsafe, or has a different topology.
    """
    is_whole = all((root / name).exists() for name in (VERTICES, ROWS, SPEECH))
    if is_layout(root) and not is_whole:
        return read_layout(root, data, FPS, [MESH], mesh_file, CODE)
    mesh_path = find_file(root, [MESH], mesh_file)
    wanted = {
        name: ((root / name).exists(), DOWNLOAD) for name in (VERTICES, ROWS, SPEECH, TEMPLATES)
    }
    wanted[str(mesh_file or MESH)] = (mesh_path is not None, CODE)
    refuse_missing(root, wanted)
    assert mesh_path is not None
    mesh = read_mesh(root / TEMPLATES, mesh_path, data)
    array = root / VERTICES
    shape = open_array(array, data.n_vertices).shape
    rows = _read_nested(root / ROWS)
    speech = _read_nested(root / SPEECH)
    stamp = stamp_of([array, root / ROWS, root / SPEECH])
    clips, problems, first = [], [], 1
    for subject, sentence in _pairs(rows, speech):
        name = f"{subject}_{sentence}"
        problem = _missing_part(subject, sentence, rows, speech, mesh)
        if problem is not None:
            problems.append(problem)
            continue
        try:
            numbers, row_indices = _sort_frames(rows[subject][sentence], f"{root / ROWS}: {name}")
        except DataError as error:
            problems.append(Problem(name, "broken", str(error)))
            continue
        first = min(first, int(numbers[0]))
        clips.append(
            RawClip(
                name,
                subject,
                sentence,
                len(numbers),
                stamp,
                partial(_open, array, shape, numbers, row_indices, data.n_vertices),
                partial(_read_audio, speech[subject][sentence], f"{root / SPEECH}: {name}"),
            )
        )
    notes = {"layout": "VOCASET as downloaded", "captured": f"{FPS:g} frames per second"}
    return RawDataSet(FPS, mesh, tuple(clips), tuple(problems), notes, max(first, 0))


def _read_nested(path: Path) -> Nested:
    """Return the content of a pickle with one mapping of sentences per subject."""
    content = read_pickle(path)
    if not isinstance(content, Mapping) or not all(
        isinstance(inner, Mapping) for inner in content.values()
    ):
        raise DataError(
            f"{path}: expected nested mappings [subject][sentence], found {type(content).__name__}"
        )
    return content


def _pairs(rows: Nested, speech: Nested) -> list[tuple[str, str]]:
    """Return the sorted (subject, sentence) pairs that have motion or speech."""
    return sorted({(str(s), str(q)) for part in (rows, speech) for s in part for q in part[s]})


def _missing_part(
    subject: str, sentence: str, rows: Nested, speech: Nested, mesh: Mesh
) -> Problem | None:
    name = f"{subject}_{sentence}"
    has_motion = bool(rows.get(subject, {}).get(sentence))
    has_speech = sentence in speech.get(subject, {})
    if not has_motion:
        return Problem(name, "missing", f"no frames in {ROWS}")
    if not has_speech:
        return Problem(name, "missing", f"no speech in {SPEECH}")
    if subject not in mesh.templates:
        return Problem(name, "broken", f"{TEMPLATES} contains no template for {subject}")
    return None


def _sort_frames(frames: Any, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the frame numbers in ascending order, and their rows in the vertex array."""
    try:
        table = np.array([(int(number), int(row)) for number, row in frames.items()], np.int64)
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: expected a mapping frame number → row ({error})") from error
    table = table[np.argsort(table[:, 0], kind="stable")]
    duplicates = np.flatnonzero(np.diff(table[:, 0]) == 0)
    if len(duplicates):
        raise DataError(f"{where}: frame {table[duplicates[0], 0]} is listed twice")
    return table[:, 0], table[:, 1]


class _ArrayFrames:
    """The frames of one clip, which are rows of one large array."""

    def __init__(self, array: np.ndarray, numbers: np.ndarray, row_indices: np.ndarray) -> None:
        self.numbers = numbers
        self._array = array
        self._row_indices = row_indices

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Return the frames at k positions as (k, V, 3), in the floating-point type of the file."""
        return np.asarray(self._array[self._row_indices[positions]])


@contextmanager
def _open(
    path: Path,
    shape: tuple[int, ...],
    numbers: np.ndarray,
    row_indices: np.ndarray,
    n_vertices: int,
) -> Iterator[_ArrayFrames]:
    """Open the frames of one clip and check that their rows exist."""
    outside = row_indices[(row_indices < 0) | (row_indices >= shape[0])]
    if len(outside):
        number = numbers[np.flatnonzero(row_indices == outside[0])[0]]
        raise DataError(
            f"{path}: the array has {shape[0]} rows, but {ROWS} places frame {number} of the clip "
            f"in row {outside[0]}; the file is truncated or does not belong to this {ROWS}"
        )
    # Each clip maps the file again: pages that were read count as used memory until the map is
    # closed.
    yield _ArrayFrames(open_array(path, n_vertices), numbers, row_indices)


def _read_audio(content: Any, where: str) -> RawAudio:
    try:
        samples, rate = np.asarray(content["audio"]), int(content["sample_rate"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{where}: expected a mapping with audio and sample_rate ({error!r})"
        ) from error
    if samples.ndim != 1 or not len(samples) or samples.dtype.kind not in "iuf" or rate <= 0:
        raise DataError(
            f"{where}: expected a non-empty 1-D array of samples, found {samples.dtype} "
            f"{samples.shape} at {rate} Hz"
        )
    return RawAudio(_scale_to_unit(samples, where), rate)


def _scale_to_unit(samples: np.ndarray, where: str) -> np.ndarray:
    """Return the samples as float32, scaled to the range ±1."""
    if samples.dtype.kind == "u":
        half = (int(np.iinfo(samples.dtype).max) + 1) / 2
        return ((samples - half) / half).astype(np.float32)
    if not np.isfinite(samples).all():
        raise DataError(f"{where}: the audio contains NaN or infinite samples")
    loudest = float(np.abs(samples.astype(np.float64)).max())
    if samples.dtype.kind == "f" and loudest <= 2.0:
        return samples.astype(np.float32)
    # VOCASET stores 16-bit samples as wider numbers, so the range decides, not the type.
    bits = 8 if samples.dtype.itemsize == 1 else 16 if loudest <= 2.0**15 else 32
    return (samples / 2.0 ** (bits - 1)).astype(np.float32)
