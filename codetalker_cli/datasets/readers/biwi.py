"""Read BIWI (the B3D(AC)² corpus) as it is downloaded: archives of frames, templates, recordings.

This module normalizes the meshes as the official code does; ``biwi_files`` locates the files.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from codetalker_cli import audio
from codetalker_cli.datasets.raw_clips import Problem, RawAudio, RawClip, RawDataSet, stamp_of
from codetalker_cli.datasets.readers.biwi_files import (
    SENTENCES,
    BiwiClip,
    BiwiFiles,
    Key,
    find_files,
)
from codetalker_cli.datasets.readers.layout import is_layout, read_layout, refuse_missing
from codetalker_cli.errors import CodeTalkerError, DataError, InputError
from codetalker_cli.formats import vl
from codetalker_cli.formats.archives import FoundFile, as_file, on_disk
from codetalker_cli.formats.meshes import MeshFile, read_mesh_file
from codetalker_cli.settings import DataSettings
from codetalker_cli.topology import Mesh, Topology

FPS = 25.0
SOURCE = (
    "https://data.vision.ee.ethz.ch/cvl/datasets/b3dac2.en.html, since withdrawn by ETH Zurich; "
    "ask a group that has a copy"
)
MESH = "BIWI.ply"
CODE = "https://github.com/Doubiiu/CodeTalker, folder BIWI; or give the file as `mesh_file`"
_REQUIRED = {
    "clips": "frames (faces/F1/e01.tar or faces/F1/e01/frame_001.vl, …)",
    "templates": "templates (rigid_scans/F1.obj, …)",
    "recordings": "recordings (videos/F1_e01.flv or audio/F1_e01_cut.wav, …)",
}
# Largest accepted size of a frame file, as a multiple of its expected size.
_MAX_FRAME_RATIO = 64
_MAX_FILE_BYTES = 1 << 30  # limit for one template or recording inside an archive
_N_PEEKED = 3  # clips that suffice to decide whether frames are numbered from 0 or from 1


def read_biwi(
    root: Path,
    data: DataSettings,
    mesh_file: Path | None = None,
    *,
    neutral: bool = False,
    scratch: Path | None = None,
) -> RawDataSet:
    """Open the download, or the output of the reference's preparation scripts.

    No frame is read yet.

    Args:
        root: The folder with ``faces``, ``rigid_scans`` and ``audio`` or ``videos``, unpacked or
            as archives; or the folder with ``vertices_npy`` and ``wav``.
        data: The settings of the data set.
        mesh_file: The mesh file with the triangles, only for ``vertices_npy`` (the templates of
            the download contain the triangles). None searches ``root`` and its parent folder.
        neutral: Whether to include the neutral sentences, 01 to 40.
        scratch: The folder for files that are temporarily unpacked from compressed archives. None
            uses the system's temporary folder.

    Returns:
        The clips, the templates and a list of what is missing or broken.

    Raises:
        InputError: There are no frames, no templates or no recordings at all. The message lists
            everything that is missing.
        DataError: The templates have different topologies, or an archive that several subjects
            share is damaged or unsafe.
    """
    if is_layout(root):
        return read_layout(root, data, FPS, [MESH], mesh_file, CODE)
    if mesh_file is not None:
        raise InputError(
            f"{mesh_file}: no mesh file is needed, because the templates in {root} contain the "
            "triangles; omit `mesh_file`"
        )
    return _read_download(root, data, neutral, scratch)


def _read_download(
    root: Path, data: DataSettings, neutral: bool, scratch: Path | None
) -> RawDataSet:
    expected = {s for rule in data.splits.values() for s in rule.subjects} | {*data.train_subjects}
    files = find_files(root, expected) if root.is_dir() else BiwiFiles()
    refuse_missing(root, {what: (bool(getattr(files, k)), SOURCE) for k, what in _REQUIRED.items()})
    biwi_clips = {
        k: c for k, c in sorted(files.clips.items()) if neutral or k.sentence in SENTENCES
    }
    subjects = sorted({key.subject for key in biwi_clips} or files.templates)
    triangles, templates, unusable = _read_templates(
        root, files, subjects, data.n_vertices, scratch
    )
    corners = _corner_indices(triangles)
    problems = _missing_sentences(root, files, biwi_clips, expected)
    clips = []
    for key, candidates in biwi_clips.items():
        if key.subject in unusable:
            problems.append(Problem(key.clip, "broken", unusable[key.subject]))
        elif key not in files.recordings:
            reason = f"no recording ({key.clip}.wav, {key.clip}.flv, …) in {root}"
            problems.append(Problem(key.clip, "missing", reason))
        else:
            clips.append(_make_clip(key, candidates, files, corners, data.n_vertices, scratch))
    notes = {
        "layout": "BIWI as downloaded",
        "arithmetic": "each frame: y and z negated, its own mean subtracted, divided by the "
        "square root of its own surface area",
        "neutral_sentences_not_taken": len(files.clips) - len(biwi_clips),
        "frame_files_of_no_sentence": files.n_unplaced,
    }
    mesh = Mesh(Topology("biwi", triangles, data.n_vertices, unit="area1"), templates)
    problems.sort(key=lambda problem: problem.clip)
    first = _first_number(list(biwi_clips.values()))
    return RawDataSet(FPS, mesh, tuple(clips), tuple(problems), notes, first)


def normalize(vertices: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Normalize one raw frame or template as the official code does.

    The function negates y and z (a half turn about x), subtracts the mesh's mean vertex, and
    divides by the square root of the mesh's surface area. Every mesh then has mean 0 and area 1.

    Args:
        vertices: (V, 3) vertices of one mesh, in any unit.
        corners: (3, F) vertex indices of the first, second and third corners of the triangles.

    Returns:
        (V, 3) float64 vertices.

    Raises:
        DataError: The surface area is zero, infinite or NaN.
    """
    # Store each axis contiguously, so that the gathers below stay in the CPU cache.
    axes = np.array(vertices.T, dtype=np.float64, order="C")
    axes[1:] *= -1.0
    axes -= axes.mean(axis=1, keepdims=True)
    x, y, z = axes.take(corners, axis=1)
    x1, y1, z1 = x[1] - x[0], y[1] - y[0], z[1] - z[0]
    x2, y2, z2 = x[2] - x[0], y[2] - y[0], z[2] - z[0]
    squared = (y1 * z2 - z1 * y2) ** 2 + (z1 * x2 - x1 * z2) ** 2 + (x1 * y2 - y1 * x2) ** 2
    area = 0.5 * np.sqrt(squared).sum()
    if not 0.0 < area < np.inf:
        raise DataError(f"the surface area of the mesh is {area:g}; it cannot be scaled to 1")
    axes /= np.sqrt(area)
    return axes.T


def _corner_indices(triangles: np.ndarray) -> np.ndarray:
    """Return (F, 3) triangles as the contiguous (3, F) array that ``normalize`` expects."""
    return np.ascontiguousarray(triangles.T, dtype=np.intp)


def _read_templates(
    root: Path, files: BiwiFiles, subjects: Sequence[str], n_vertices: int, scratch: Path | None
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, str]]:
    """Return the shared triangles, the templates, and a reason per subject without a template."""
    templates: dict[str, np.ndarray] = {}
    unusable: dict[str, str] = {}
    first: tuple[str, np.ndarray] | None = None
    for subject in subjects:
        if subject not in files.templates:
            unusable[subject] = f"{root / 'rigid_scans' / subject}.obj: the template is missing"
            continue
        file = files.templates[subject]
        try:
            mesh = _read_template(file, n_vertices, scratch)
            first = first or (file.label, mesh.triangles)
            if np.array_equal(mesh.triangles, first[1]):
                normalized = normalize(mesh.vertices, _corner_indices(mesh.triangles))
                templates[subject] = normalized.astype(np.float32)
                continue
        except CodeTalkerError as error:
            message = str(error)
            unusable[subject] = message if file.label in message else f"{file.label}: {message}"
            continue
        raise DataError(
            f"{first[0]} and {file.label} have different triangles ({len(first[1])} and "
            f"{len(mesh.triangles)}), but all templates must share them; take both files from the "
            "same copy of the data set"
        )
    if first is None or not templates:
        raise DataError(f"{root}: no template is usable; {next(iter(unusable.values()))}")
    return first[1], templates, unusable


def _read_template(file: FoundFile, n_vertices: int, scratch: Path | None) -> MeshFile:
    with as_file(file, scratch, _MAX_FILE_BYTES) as path:
        try:
            mesh = read_mesh_file(path)
        except CodeTalkerError as error:
            # For a file in an archive, the message names a temporary copy.
            raise DataError(str(error).replace(str(path), file.label)) from error
    if len(mesh.vertices) != n_vertices:
        raise DataError(
            f"{file.label}: the mesh has {len(mesh.vertices)} vertices, expected {n_vertices}"
        )
    return mesh


def _missing_sentences(
    root: Path, files: BiwiFiles, biwi_clips: Mapping[Key, list[BiwiClip]], expected: set[str]
) -> list[Problem]:
    """Return the sentences without frames.

    A subject without any frames is skipped, unless its archive is unreadable: the caller knows
    whether a split needs that subject.
    """
    problems = []
    for subject in sorted(expected | {key.subject for key in biwi_clips}):
        names = [sentence for sentence in SENTENCES if Key(subject, sentence) not in biwi_clips]
        error = files.failed.get(subject)
        if error is not None:
            reason = str(error)
            problems += [Problem(f"{subject}_{name}", "broken", reason) for name in names]
        elif len(names) < len(SENTENCES):
            for name in names:
                reason = f"no frames (faces/{subject}/{name}.tar, …) in {root}"
                problems.append(Problem(f"{subject}_{name}", "missing", reason))
    return problems


def _make_clip(
    key: Key,
    candidates: list[BiwiClip],
    biwi_files: BiwiFiles,
    corners: np.ndarray,
    n_vertices: int,
    scratch: Path | None,
) -> RawClip:
    sources = [biwi_files.recordings[key], biwi_files.templates[key.subject]]
    sources += [file for candidate in candidates for file in candidate.files]
    return RawClip(
        key.clip,
        key.subject,
        key.sentence,
        candidates[0].n_frames(n_vertices),
        stamp_of(sorted({file.disk for file in sources})),
        partial(_open_frames, candidates, corners, n_vertices, scratch),
        partial(_read_audio, biwi_files.recordings[key], scratch),
    )


class _Frames:
    """The frames of a clip, each normalized to mean 0 and area 1."""

    def __init__(self, lists: vl.VertexLists, corners: np.ndarray, n_vertices: int) -> None:
        self.numbers = lists.numbers
        self._lists, self._corners, self._n_vertices = lists, corners, n_vertices

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Return the frames at k positions as (k, V, 3) float64 vertices."""
        vertices = np.empty((len(positions), self._n_vertices, 3))
        for index, position in enumerate(positions):
            raw = self._lists.read_one(int(position))
            try:
                vertices[index] = normalize(raw, self._corners)
            except DataError as error:
                raise DataError(f"{self._lists.name(int(position))}: {error}") from error
        return vertices


@contextmanager
def _open_frames(
    candidates: list[BiwiClip], corners: np.ndarray, n_vertices: int, scratch: Path | None
) -> Iterator[_Frames]:
    numbers, files = _number_frames(candidates)
    limit = _MAX_FRAME_RATIO * vl.n_bytes(n_vertices)
    with (
        on_disk(files, scratch, limit) as spans,
        vl.vertex_lists(numbers, spans, n_vertices) as lists,
    ):
        yield _Frames(lists, corners, n_vertices)


def _number_frames(candidates: list[BiwiClip]) -> tuple[np.ndarray, list[FoundFile]]:
    """Return the frame numbers and files of the first candidate that contains frames."""
    for candidate in candidates:
        if files := candidate.frames():
            return vl.sort_by_number(files)
    raise DataError(
        f"{candidates[0].files[0].label}: the archive contains no frames ({vl.SUFFIX} files)"
    )


def _first_number(clips: list[list[BiwiClip]]) -> int:
    """Return 0 or 1: the number of the first frame in the majority of the clips."""
    firsts: list[int] = []
    # Archives that would have to be opened come last, and only a few of them are needed.
    for candidates in sorted(clips, key=lambda candidates: candidates[0].is_closed):
        if candidates[0].is_closed and len(firsts) >= _N_PEEKED:
            break
        try:
            firsts.append(int(_number_frames(candidates)[0][0]))
        except DataError:  # reported when the clip is read
            continue
    return 0 if firsts.count(0) > firsts.count(1) else 1


def _read_audio(file: FoundFile, scratch: Path | None) -> RawAudio:
    with as_file(file, scratch, _MAX_FILE_BYTES) as path:
        try:
            return RawAudio(*audio.read(path))
        except CodeTalkerError as error:
            raise InputError(str(error).replace(str(path), file.label)) from error
