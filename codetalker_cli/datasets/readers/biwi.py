"""BIWI's B3D(AC)² corpus as it is downloaded: archives of frames, templates, recordings.

The reference's arithmetic is here; where the files are, ``.biwi_files`` tells.
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
    "https://data.vision.ee.ethz.ch/cvl/datasets/b3dac2.en.html, since withdrawn by ETH Zurich: "
    "ask whoever holds a copy"
)
MESH = "BIWI.ply"
CODE = "https://github.com/Doubiiu/CodeTalker, folder BIWI; or `mesh_file` FILE"
_REQUIRED = {
    "clips": "frames (faces/F1/e01.tar or faces/F1/e01/frame_001.vl, …)",
    "templates": "templates (rigid_scans/F1.obj, …)",
    "recordings": "recordings (videos/F1_e01.flv or audio/F1_e01_cut.wav, …)",
}
_MAX_FRAME_RATIO = 64
_MAX_FILE_BYTES = 1 << 30  # of a template or a recording within an archive
_N_PEEKED = 3


def read_biwi(
    root: Path,
    data: DataSettings,
    mesh_file: Path | None = None,
    *,
    neutral: bool = False,
    scratch: Path | None = None,
) -> RawDataSet:
    """Open the download, or what the reference's scripts made of it; no frame is read yet.

    Args:
        root: Folder of faces, rigid_scans and audio or videos, or of the archives they came in; or
            of vertices_npy and wav.
        data: Facts of the data set.
        mesh_file: Mesh file of the topology, for vertices_npy alone: the download has its own;
            None: looked for in and beside ``root``.
        neutral: Also take the neutral sentences, 01 to 40.
        scratch: Folder for what is unpacked from compressed archives while it is read; None: the
            system's folder for such.

    Raises:
        InputError: Frames, templates or recordings are missing; all that is missing is told.
        DataError: Templates of another topology, or a damaged or hostile archive of many subjects.
    """
    if is_layout(root):
        return read_layout(root, data, FPS, [MESH], mesh_file, CODE)
    if mesh_file is not None:
        raise InputError(
            f"{mesh_file}: a mesh file is not needed, the templates in {root} hold the triangles; "
            "leave `mesh_file` out"
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
            reason = f"no audio: no {key.clip}.wav, {key.clip}.flv or the like in {root}"
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
    """What the reference makes of each raw frame and template.

    y and z are negated (half a turn about x), the mesh's own mean vertex is subtracted, and the
    mesh is divided by the square root of its own surface area: every mesh has mean 0 and area 1.

    Args:
        vertices: (V, 3) of one mesh, in any unit.
        corners: (3, F) vertex indices: all first, all second, all third corners of the triangles.

    Returns:
        (V, 3) float64.

    Raises:
        DataError: The mesh has no area, or none that is finite.
    """
    # Axis by axis: what is gathered stays in the cache.
    axes = np.array(vertices.T, dtype=np.float64, order="C")
    axes[1:] *= -1.0
    axes -= axes.mean(axis=1, keepdims=True)
    x, y, z = axes.take(corners, axis=1)
    x1, y1, z1 = x[1] - x[0], y[1] - y[0], z[1] - z[0]
    x2, y2, z2 = x[2] - x[0], y[2] - y[0], z[2] - z[0]
    squared = (y1 * z2 - z1 * y2) ** 2 + (z1 * x2 - x1 * z2) ** 2 + (x1 * y2 - y1 * x2) ** 2
    area = 0.5 * np.sqrt(squared).sum()
    if not 0.0 < area < np.inf:
        raise DataError(f"its surface area is {area:g}, which cannot be scaled to 1")
    axes /= np.sqrt(area)
    return axes.T


def _corner_indices(triangles: np.ndarray) -> np.ndarray:
    """(3, F) of (F, 3) triangles, ready to index with."""
    return np.ascontiguousarray(triangles.T, dtype=np.intp)


def _read_templates(
    root: Path, files: BiwiFiles, subjects: Sequence[str], n_vertices: int, scratch: Path | None
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, str]]:
    """The triangles, the templates, and why subjects have none that can be used."""
    templates: dict[str, np.ndarray] = {}
    unusable: dict[str, str] = {}
    first: tuple[str, np.ndarray] | None = None
    for subject in subjects:
        if subject not in files.templates:
            unusable[subject] = f"no template {root / 'rigid_scans' / subject}.obj"
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
            f"{first[0]} and {file.label} are of different triangles ({len(first[1])} and "
            f"{len(mesh.triangles)}); all templates must share them: take both from one source"
        )
    if first is None or not templates:
        raise DataError(f"no template can be used: {next(iter(unusable.values()))}")
    return first[1], templates, unusable


def _read_template(file: FoundFile, n_vertices: int, scratch: Path | None) -> MeshFile:
    with as_file(file, scratch, _MAX_FILE_BYTES) as path:
        try:
            mesh = read_mesh_file(path)
        except CodeTalkerError as error:  # names the path, which is not the user's for an archive
            raise DataError(str(error).replace(str(path), file.label)) from error
    if len(mesh.vertices) != n_vertices:
        raise DataError(f"{file.label}: {len(mesh.vertices)} vertices, expected {n_vertices}")
    return mesh


def _missing_sentences(
    root: Path, files: BiwiFiles, biwi_clips: Mapping[Key, list[BiwiClip]], expected: set[str]
) -> list[Problem]:
    """Sentences without frames, of subjects that have some or whose archive cannot be used.

    A subject of which nothing is there is left to whoever knows which splits name it.
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
                reason = f"no frames: no faces/{subject}/{name}.tar or the like in {root}"
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
    """Frames of a clip, each with mean 0 and area 1."""

    def __init__(self, lists: vl.VertexLists, corners: np.ndarray, n_vertices: int) -> None:
        self.numbers = lists.numbers
        self._lists, self._corners, self._n_vertices = lists, corners, n_vertices

    def read(self, positions: np.ndarray) -> np.ndarray:
        """(k, V, 3) float64."""
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
    """The frames of the first of some takes that has any, by their numbers."""
    for candidate in candidates:
        if files := candidate.frames():
            return vl.sort_by_number(files)
    raise DataError(f"{candidates[0].files[0].label}: holds no frame, no {vl.SUFFIX} file")


def _first_number(clips: list[list[BiwiClip]]) -> int:
    """Whether most clips are counted from 0 or from 1.

    Those tell whose frames are known; where these are few, some of the closed archives too.
    """
    firsts: list[int] = []
    for candidates in sorted(clips, key=lambda candidates: candidates[0].is_closed):
        if candidates[0].is_closed and len(firsts) >= _N_PEEKED:
            break
        try:
            firsts.append(int(_number_frames(candidates)[0][0]))
        except DataError:  # told when the clip itself is opened
            continue
    return 0 if firsts.count(0) > firsts.count(1) else 1


def _read_audio(file: FoundFile, scratch: Path | None) -> RawAudio:
    with as_file(file, scratch, _MAX_FILE_BYTES) as path:
        try:
            return RawAudio(*audio.read(path))
        except CodeTalkerError as error:
            raise InputError(str(error).replace(str(path), file.label)) from error
