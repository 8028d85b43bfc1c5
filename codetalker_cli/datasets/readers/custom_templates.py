"""Read the triangles and the template of each subject of a custom data set."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from codetalker_cli.arrays import map_array
from codetalker_cli.datasets.readers.custom_motion import MotionFile, describe_contents
from codetalker_cli.errors import CodeTalkerError, DataError, InputError
from codetalker_cli.formats.frames import AxisMap, meshes_in
from codetalker_cli.formats.meshes import SUFFIXES as MESH_SUFFIXES
from codetalker_cli.formats.meshes import read_mesh_file
from codetalker_cli.formats.templates import as_vertices, read_templates
from codetalker_cli.settings import CustomSettings
from codetalker_cli.topology import Mesh, Topology

FIRST_FRAME, NEUTRAL = "first-frame", "neutral:"
PICKLE, FOLDER, FIELD = "templates.pkl", "templates", "{subject}"
_SUFFIXES = (*MESH_SUFFIXES, ".npy")
# Relative flux of the normals below which triangles are reversed. It is not 0, so that a mesh
# without a clear orientation keeps its own.
_INWARD = -0.2


class _Neutral(NamedTuple):
    """A neutral face in the unit and axes of its file."""

    vertices: np.ndarray
    colors: np.ndarray | None = None


_Reader = Callable[[str], _Neutral]
"""A function that returns the neutral face of a subject, or raises a CodeTalkerError."""


@dataclass(frozen=True)
class CustomTemplates:
    """The templates of all subjects.

    Attributes:
        mesh: The topology and the templates, converted to meters and the axes left, up, forward.
        unusable: The reason for each subject without a usable template.
        file: The mesh file that the triangles were read from.
        notes: The names of the files that were used, for the manifest.
    """

    mesh: Mesh
    unusable: dict[str, str]
    file: Path
    notes: dict[str, str]


def read_custom_templates(
    base: Path,
    settings: CustomSettings,
    motion_files: Sequence[MotionFile],
    name: str,
    change: AxisMap,
) -> CustomTemplates:
    """Read the triangles and the templates from the sources that the settings name.

    Args:
        base: The folder that relative paths start from.
        settings: The settings of the data set.
        motion_files: The motion of all clips.
        name: The name of the topology.
        change: The conversion from recorded vectors to meters and the axes left, up, forward.

    Returns:
        The topology and the templates, and the reasons why subjects have none.

    Raises:
        InputError: There is no mesh with triangles, or no subject has a template.
        DataError: A file is damaged or unsafe.
    """
    subjects = list(dict.fromkeys(motion_file.subject for motion_file in motion_files))
    source = _find_source(base, settings.templates)
    template_files = _find_template_files(source, subjects) if isinstance(source, Path) else {}
    file = _find_mesh_file(base, settings, template_files, motion_files)
    triangles, n_vertices = _read_triangles(file)
    read_neutral = _choose_reader(source, template_files, motion_files, n_vertices)
    templates: dict[str, np.ndarray] = {}
    colors: dict[str, np.ndarray] = {}
    unusable: dict[str, str] = {}
    for subject in subjects:
        try:
            neutral = read_neutral(subject)
            _check_vertices(neutral.vertices, subject, n_vertices, file)
        except CodeTalkerError as error:
            unusable[subject] = str(error)
            continue
        templates[subject] = change.apply(neutral.vertices).astype(np.float32)
        if neutral.colors is not None:
            colors[subject] = neutral.colors
    if not templates:
        raise InputError(f"{base}: no subject has a template; {next(iter(unusable.values()))}")
    oriented, is_flipped = outward(triangles, next(iter(templates.values())))
    notes = {
        "faces": file.name + (", triangles reversed to face outward" if is_flipped else ""),
        "templates": source.name if isinstance(source, Path) else source,
    }
    topology = Topology(name, oriented, n_vertices, "m")
    return CustomTemplates(Mesh(topology, templates, colors), unusable, file, notes)


def outward(triangles: np.ndarray, vertices: np.ndarray) -> tuple[np.ndarray, bool]:
    """Orient triangles counter-clockwise as seen from outside.

    Left-handed axes mirror the mesh, so that its triangles face inward. The sign of the flux of
    the normals away from the center detects this, even for a head that is open at the neck.

    Args:
        triangles: (F, 3) vertex indices.
        vertices: (V, 3) vertices of one template.

    Returns:
        The triangles, and whether they were reversed.
    """
    corners = vertices[triangles].astype(np.float64)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    middle = (vertices.max(axis=0) + vertices.min(axis=0)) / 2
    flux = ((corners.mean(axis=1) - middle) * normals).sum(axis=1)
    if flux.sum() >= _INWARD * np.abs(flux).sum():
        return triangles, False
    return np.ascontiguousarray(triangles[:, ::-1]), True


def _find_source(base: Path, setting: str | None) -> Path | str:
    """Return the path of the templates, or the setting itself if it names a frame of a clip."""
    if setting is None:
        for path in (base / PICKLE, base / FOLDER / PICKLE, base / FOLDER):
            if path.exists():
                return path
        raise InputError(
            f"{base}: no neutral faces; add {PICKLE} or a folder {FOLDER}, or set custom.templates "
            f"to a .pkl file, a folder, a path with {FIELD}, a mesh or .npy file, {FIRST_FRAME}, "
            f"or {NEUTRAL}CLIP:FRAME"
        )
    if setting == FIRST_FRAME or setting.startswith(NEUTRAL):
        return setting
    path = base / Path(setting).expanduser()
    if FIELD not in setting and not path.exists():
        raise InputError(
            f"{path}: no such file or folder (custom.templates); {describe_contents(base, setting)}"
        )
    if path.is_dir() and (path / PICKLE).is_file():
        return path / PICKLE
    return path


def _find_template_files(source: Path, subjects: Sequence[str]) -> dict[str, Path]:
    """Return the template file of each subject that has one."""
    if source.suffix.lower() == ".pkl":
        return {}
    if FIELD not in str(source) and source.is_file():
        if len(subjects) > 1:
            raise InputError(
                f"{source}: custom.templates is a single file, but there are {len(subjects)} "
                f"subjects ({', '.join(subjects[:4])}, …); give a folder or a path with {FIELD}"
            )
        return {subjects[0]: source}
    pattern = str(source if FIELD in str(source) else source / FIELD)
    files: dict[str, Path] = {}
    for subject in subjects:
        path = Path(pattern.replace(FIELD, subject))
        has_suffix = path.suffix.lower() in _SUFFIXES
        paths = (
            [path] if has_suffix else [path.with_name(path.name + suffix) for suffix in _SUFFIXES]
        )
        existing = [candidate for candidate in paths if candidate.exists()]
        if len(existing) > 1:
            raise InputError(
                f"{existing[0]} and {existing[1]} are both templates of {subject}; remove one"
            )
        if existing:
            files[subject] = existing[0]
    return files


def _find_mesh_file(
    base: Path,
    settings: CustomSettings,
    template_files: Mapping[str, Path],
    motion_files: Sequence[MotionFile],
) -> Path:
    """Return the mesh file to read the triangles from."""
    if settings.triangles is not None:
        return base / Path(settings.triangles).expanduser()
    meshes = meshes_in(base)
    if len(meshes) == 1:
        return meshes[0]
    templates = [path for path in template_files.values() if path.suffix.lower() in MESH_SUFFIXES]
    if templates:
        return templates[0]
    template_meshes = meshes_in(base / FOLDER) if (base / FOLDER).is_dir() else []
    if len(template_meshes) == 1:
        return template_meshes[0]
    frames = next(
        (motion_file.files for motion_file in motion_files if motion_file.path.is_dir()), []
    )
    if frames and not meshes:
        return frames[0]
    names = ", ".join(path.name for path in meshes[:4])
    found = f"{len(meshes)} mesh files, such as {names}" if meshes else "no mesh file"
    raise InputError(
        f"{base}: cannot determine which mesh file ({', '.join(MESH_SUFFIXES)}) contains the "
        f"triangles: the folder contains {found}; set custom.triangles"
    )


def _read_triangles(file: Path) -> tuple[np.ndarray, int]:
    mesh = read_mesh_file(file)
    if not len(mesh.triangles):
        raise DataError(
            f"{file}: the mesh has no triangles; set custom.triangles to another mesh file"
        )
    return mesh.triangles, len(mesh.vertices)


def _choose_reader(
    source: Path | str,
    template_files: Mapping[str, Path],
    motion_files: Sequence[MotionFile],
    n_vertices: int,
) -> _Reader:
    if source == FIRST_FRAME:
        return partial(_read_first_frame, motion_files, n_vertices)
    if isinstance(source, str):
        return partial(_read_neutral_frame, source, motion_files, n_vertices)
    if source.suffix.lower() == ".pkl":
        return partial(_from_pickle, source, read_templates(source))
    return partial(_from_file, source, template_files)


def _from_pickle(source: Path, templates: Mapping[str, np.ndarray], subject: str) -> _Neutral:
    if subject not in templates:
        known = ", ".join(list(templates)[:8])
        raise DataError(f"{source}: no template of {subject}; the file contains {known}")
    return _Neutral(templates[subject])


def _from_file(source: Path, template_files: Mapping[str, Path], subject: str) -> _Neutral:
    if subject not in template_files:
        where = str(source).replace(FIELD, subject)
        name = "" if FIELD in str(source) else f" named {subject}"
        raise InputError(f"{where}: no template file{name} ({', '.join(_SUFFIXES)})")
    path = template_files[subject]
    if path.suffix.lower() != ".npy":
        mesh = read_mesh_file(path)
        return _Neutral(mesh.vertices, mesh.colors)
    try:
        return _Neutral(as_vertices(map_array(path), str(path)).astype(np.float64))
    except DataError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise DataError(f"{path}: expected an array of (V, 3) vertices ({reason})") from error


def _read_first_frame(
    motion_files: Sequence[MotionFile], n_vertices: int, subject: str
) -> _Neutral:
    """Return the first frame of the subject's first readable clip."""
    reasons = []
    for motion_file in motion_files:
        if motion_file.subject == subject:
            try:
                with motion_file.open(n_vertices) as frames:
                    return _Neutral(frames.read(np.array([0]))[0])
            except CodeTalkerError as error:
                reasons.append(str(error))
    raise DataError(f"no clip of {subject} has a readable first frame; {reasons[0]}")


def _read_neutral_frame(
    setting: str, motion_files: Sequence[MotionFile], n_vertices: int, subject: str
) -> _Neutral:
    clip, _, number = setting.removeprefix(NEUTRAL).rpartition(":")
    if not clip or not number.isdecimal():
        raise InputError(f"custom.templates {setting!r}: expected {NEUTRAL}CLIP:FRAME")
    clip = clip.replace(FIELD, subject)
    motion_file = next(
        (
            motion_file
            for motion_file in motion_files
            if clip in (motion_file.name, motion_file.key)
        ),
        None,
    )
    if motion_file is None:
        raise InputError(
            f"custom.templates {setting!r}: there is no clip {clip}; clips have names such as "
            f"{motion_files[0].name}"
        )
    if motion_file.subject != subject:
        raise InputError(
            f"custom.templates {setting!r}: the clip shows {motion_file.subject}, not {subject}; "
            f"write {FIELD} in place of the subject"
        )
    with motion_file.open(n_vertices) as frames:
        position = int(np.searchsorted(frames.numbers, int(number)))
        if position == len(frames.numbers) or frames.numbers[position] != int(number):
            first, last = frames.numbers[0], frames.numbers[-1]
            raise InputError(
                f"{motion_file.path}: no frame {number}; the clip has frames {first} to {last}"
            )
        return _Neutral(frames.read(np.array([position]))[0])


def _check_vertices(vertices: np.ndarray, subject: str, n_vertices: int, file: Path) -> None:
    if vertices.shape != (n_vertices, 3):
        raise DataError(
            f"the template of {subject} has {len(vertices)} vertices, but {file} has {n_vertices}"
        )
    if not np.isfinite(vertices).all():
        raise DataError(f"the template of {subject} contains NaN or infinite vertices")
