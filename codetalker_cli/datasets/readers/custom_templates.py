"""The faces of anybody's own recordings: triangles, and what each subject looks like at rest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from codetalker_cli.datasets.readers.custom_motion import MotionFile, what_is_in
from codetalker_cli.errors import CodeTalkerError, DataError, InputError
from codetalker_cli.formats.frames import AxisMap, meshes_in
from codetalker_cli.formats.meshes import SUFFIXES as MESH_SUFFIXES
from codetalker_cli.formats.meshes import read_mesh_file
from codetalker_cli.formats.templates import read_templates
from codetalker_cli.settings import CustomSettings
from codetalker_cli.topology import Mesh, Topology

FIRST_FRAME, NEUTRAL = "first-frame", "neutral:"
PICKLE, FOLDER, FIELD = "templates.pkl", "templates", "{subject}"
_SUFFIXES = (*MESH_SUFFIXES, ".npy")
_INWARD = -0.2


class _Neutral(NamedTuple):
    """A neutral face as it was found."""

    vertices: np.ndarray
    colours: np.ndarray | None = None


_Reader = Callable[[str], _Neutral]
"""Gives the neutral face of a subject, or raises a CodeTalkerError that tells why there is none."""


@dataclass(frozen=True)
class CustomTemplates:
    """The faces of all subjects.

    Attributes:
        mesh: Topology and templates, in metres and our axes.
        unusable: Subject → why there is no template.
        file: What the triangles were read from.
        notes: For the manifest.
    """

    mesh: Mesh
    unusable: dict[str, str]
    file: Path
    notes: dict[str, str]


def read_custom_templates(
    base: Path, settings: CustomSettings, takes: Sequence[MotionFile], name: str, change: AxisMap
) -> CustomTemplates:
    """Triangles and templates, from wherever the settings say.

    Args:
        base: What relative paths start from.
        settings: Where things are.
        takes: The motion of all clips.
        name: Of the topology.
        change: From recorded vectors to ours.

    Raises:
        InputError: There are no triangles or no templates.
        DataError: A file is damaged or hostile.
    """
    subjects = list(dict.fromkeys(take.subject for take in takes))
    source = _source(base, settings.templates)
    own_files = _files(source, subjects) if isinstance(source, Path) else {}
    file = _face_file(base, settings, own_files, takes)
    triangles, n_vertices = _triangles(file)
    read = _reader(source, own_files, takes, n_vertices)
    templates: dict[str, np.ndarray] = {}
    colours: dict[str, np.ndarray] = {}
    unusable: dict[str, str] = {}
    for subject in subjects:
        try:
            found = read(subject)
            _check(found.vertices, subject, n_vertices, file)
        except CodeTalkerError as error:
            unusable[subject] = str(error)
            continue
        templates[subject] = change.apply(found.vertices).astype(np.float32)
        if found.colours is not None:
            colours[subject] = found.colours
    if not templates:
        raise InputError(f"no subject has a template: {next(iter(unusable.values()))}")
    outside, turned = outward(triangles, next(iter(templates.values())))
    notes = {
        "faces": file.name + (", triangles turned to face outward" if turned else ""),
        "templates": source.name if isinstance(source, Path) else source,
    }
    topology = Topology(name, outside, n_vertices, "m")
    return CustomTemplates(Mesh(topology, templates, colours), unusable, file, notes)


def outward(triangles: np.ndarray, vertices: np.ndarray) -> tuple[np.ndarray, bool]:
    """Triangles that are counter-clockwise seen from outside, and whether they had to be turned.

    Recordings of left-handed programs become mirrored when their axes are named; a head, even one
    that is open below, shows by its sense of rotation around its middle.
    """
    corners = vertices[triangles].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    middle = (vertices.max(axis=0) + vertices.min(axis=0)) / 2
    flux = ((corners.mean(axis=1) - middle) * normals).sum(axis=1)
    if flux.sum() >= _INWARD * np.abs(flux).sum():
        return triangles, False
    return np.ascontiguousarray(triangles[:, ::-1]), True


def _source(base: Path, told: str | None) -> Path | str:
    """A file, a folder, a path with {subject}; or the words that mean a frame."""
    if told is None:
        for path in (base / PICKLE, base / FOLDER / PICKLE, base / FOLDER):
            if path.exists():
                return path
        raise InputError(
            f"{base}: no neutral faces: neither {PICKLE} nor a folder {FOLDER} is there; give "
            f"custom.templates: a .pkl, a folder, a path with {FIELD}, one .obj, .ply or .npy "
            f"file, {FIRST_FRAME}, or {NEUTRAL}CLIP:FRAME"
        )
    if told == FIRST_FRAME or told.startswith(NEUTRAL):
        return told
    path = base / Path(told).expanduser()
    if FIELD not in told and not path.exists():
        raise InputError(f"{path}: custom.templates leads to nothing; {what_is_in(base, told)}")
    if path.is_dir() and (path / PICKLE).is_file():
        return path / PICKLE
    return path


def _files(source: Path, subjects: Sequence[str]) -> dict[str, Path]:
    """Subject → its own file, of those that are there."""
    if source.suffix.lower() == ".pkl":
        return {}
    if FIELD not in str(source) and source.is_file():
        if len(subjects) > 1:
            raise InputError(
                f"{source}: custom.templates is one face, but there are {len(subjects)} subjects "
                f"({', '.join(subjects[:4])}, …); give a folder or a path with {FIELD}"
            )
        return {subjects[0]: source}
    wanted = str(source if FIELD in str(source) else source / FIELD)
    found: dict[str, Path] = {}
    for subject in subjects:
        path = Path(wanted.replace(FIELD, subject))
        given = path.suffix.lower() in _SUFFIXES
        paths = [path] if given else [path.with_name(path.name + suffix) for suffix in _SUFFIXES]
        there = [candidate for candidate in paths if candidate.is_file()]
        if len(there) > 1:
            raise InputError(f"{there[0]} and {there[1]} are both the template of {subject}")
        if there:
            found[subject] = there[0]
    return found


def _face_file(
    base: Path, settings: CustomSettings, own_files: Mapping[str, Path], takes: Sequence[MotionFile]
) -> Path:
    """The mesh that the triangles are read from."""
    if settings.triangles is not None:
        return base / Path(settings.triangles).expanduser()
    here = meshes_in(base)
    if len(here) == 1:
        return here[0]
    templates = [path for path in own_files.values() if path.suffix.lower() in MESH_SUFFIXES]
    if templates:
        return templates[0]
    beside = meshes_in(base / FOLDER) if (base / FOLDER).is_dir() else []
    if len(beside) == 1:
        return beside[0]
    frames = next((take.files for take in takes if take.path.is_dir()), [])
    if frames and not here:
        return frames[0]
    several = f"{len(here)} of them are there: {', '.join(p.name for p in here[:4])}"
    raise InputError(
        f"{base}: which mesh file (.obj, .ply) the triangles are in is not told "
        f"({several if here else 'none is there'}); give custom.triangles"
    )


def _triangles(file: Path) -> tuple[np.ndarray, int]:
    mesh = read_mesh_file(file)
    if not len(mesh.triangles):
        raise DataError(
            f"{file}: holds no triangles; name a mesh with triangles as custom.triangles"
        )
    return mesh.triangles, len(mesh.vertices)


def _reader(
    source: Path | str, own_files: Mapping[str, Path], takes: Sequence[MotionFile], n_vertices: int
) -> _Reader:
    if source == FIRST_FRAME:
        return partial(_first_frame, takes, n_vertices)
    if isinstance(source, str):
        return partial(_neutral_frame, source, takes, n_vertices)
    if source.suffix.lower() == ".pkl":
        return partial(_of_pickle, source, read_templates(source))
    return partial(_of_file, source, own_files)


def _of_pickle(source: Path, templates: Mapping[str, np.ndarray], subject: str) -> _Neutral:
    if subject not in templates:
        known = ", ".join(list(templates)[:8])
        raise DataError(f"{source}: no template of {subject}; it has: {known}")
    return _Neutral(templates[subject])


def _of_file(source: Path, own_files: Mapping[str, Path], subject: str) -> _Neutral:
    if subject not in own_files:
        where = str(source).replace(FIELD, subject)
        name = "" if FIELD in str(source) else f" named {subject}"
        raise InputError(f"{where}: no template ({', '.join(_SUFFIXES)}){name}")
    path = own_files[subject]
    if path.suffix.lower() != ".npy":
        mesh = read_mesh_file(path)
        return _Neutral(mesh.vertices, mesh.colours)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return _Neutral(np.array(array, dtype=np.float64).reshape(-1, 3))
    except Exception as error:  # a damaged header, which is a Python expression, raises any
        reason = str(error).splitlines()[0][:200] if str(error) else "damaged"
        raise DataError(f"{path}: not an array of (V, 3) vertices ({reason})") from error


def _first_frame(takes: Sequence[MotionFile], n_vertices: int, subject: str) -> _Neutral:
    """Of the subject's first clip that can be read."""
    reasons = []
    for take in takes:
        if take.subject == subject:
            try:
                with take.open(n_vertices) as frames:
                    return _Neutral(frames.read(np.array([0]))[0])
            except CodeTalkerError as error:
                reasons.append(str(error))
    raise DataError(f"no clip of {subject} has a first frame: {reasons[0]}")


def _neutral_frame(
    told: str, takes: Sequence[MotionFile], n_vertices: int, subject: str
) -> _Neutral:
    clip, _, number = told.removeprefix(NEUTRAL).rpartition(":")
    if not clip or not number.isdecimal():
        raise InputError(f"custom.templates {told!r}: expected {NEUTRAL}CLIP:FRAME")
    clip = clip.replace(FIELD, subject)
    take = next((take for take in takes if clip in (take.name, take.key)), None)
    if take is None:
        raise InputError(f"custom.templates {told!r}: there is no clip {clip}")
    if take.subject != subject:
        raise InputError(f"custom.templates {told!r}: a frame of {take.subject}, none of {subject}")
    with take.open(n_vertices) as frames:
        position = int(np.searchsorted(frames.numbers, int(number)))
        if position == len(frames.numbers) or frames.numbers[position] != int(number):
            first, last = frames.numbers[0], frames.numbers[-1]
            raise InputError(f"{take.path}: no frame {number}; it has frames {first} to {last}")
        return _Neutral(frames.read(np.array([position]))[0])


def _check(vertices: np.ndarray, subject: str, n_vertices: int, file: Path) -> None:
    if vertices.shape != (n_vertices, 3):
        raise DataError(
            f"the template of {subject} has {len(vertices)} vertices, expected {n_vertices} as in "
            f"{file}"
        )
    if not np.isfinite(vertices).all():
        raise DataError(f"the template of {subject} has NaN or infinite vertices")
