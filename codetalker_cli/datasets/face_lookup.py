"""Whose face a bare .npy of vertices is: found by its vertex count and by its file's name.

Models leave vertices alone; their faces, unit and frame rate stand in prepared data sets, in
checkpoints, or in a mesh file that the user names.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from codetalker_cli.datasets.manifest import Manifest, read_manifest
from codetalker_cli.datasets.prepared import PreparedDataSet, audio_path
from codetalker_cli.errors import CodeTalkerError, DataError, InputError
from codetalker_cli.formats.meshes import read_mesh_file
from codetalker_cli.formats.predictions import split_name, subject_in
from codetalker_cli.formats.templates import read_templates
from codetalker_cli.motion import Motion, Vertices
from codetalker_cli.topology import Mesh, Topology
from codetalker_cli.workspace import DATA, MANIFEST, data_sets

_HEADS = {"m": (0.12, 0.45), "mm": (120.0, 450.0)}
"""Heights of heads in units that a mesh file may be in; others have no known scale."""
_NO_SCALE = "area1"
_N_NAMED = 8


@dataclass(frozen=True)
class FaceSource:
    """Faces that motion may belong to.

    Attributes:
        mesh: Topology, templates, colors.
        fps: Frames a second of motion that comes with them, or None.
        origin: Where they come from, for people.
        folder: The prepared data set they are of, or None.
    """

    mesh: Mesh
    fps: float | None
    origin: str
    folder: Path | None = None

    def audio_of(self, clip: str) -> Path | None:
        """The recording of one of the data set's clips, or None."""
        if self.folder is None:
            return None
        path = audio_path(self.folder, clip)
        return path if path.is_file() else None


@dataclass(frozen=True)
class FaceCandidate:
    """Faces that are not read yet.

    Attributes:
        origin: Where they are, for people.
        n_vertices: V.
        subjects: Whose templates are there.
        load: Reads them.
        clips: Names of the clips of a data set.
    """

    origin: str
    n_vertices: int
    subjects: tuple[str, ...]
    load: Callable[[], FaceSource]
    clips: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.origin} ({self.n_vertices} vertices)"


def data_set_candidates(root: Path = DATA) -> list[FaceCandidate]:
    """The prepared data sets under a folder, the latest first; damaged ones are left out."""
    candidates = []
    for folder in data_sets(root):
        try:
            candidates.append(data_set_candidate(folder))
        except CodeTalkerError:
            continue
    return candidates


def data_set_candidate(folder: Path) -> FaceCandidate:
    """A prepared data set.

    Raises:
        InputError: There is none in the folder.
        DataError: It is damaged.
    """
    manifest = read_manifest(folder)

    def load() -> FaceSource:
        return FaceSource(PreparedDataSet(folder).mesh, manifest.fps, str(folder), folder)

    n_vertices, subjects = _size(manifest, load)
    clips = frozenset(clip.name for clip in manifest.clips)
    return FaceCandidate(str(folder), n_vertices, subjects, load, clips)


def _size(manifest: Manifest, load: Callable[[], FaceSource]) -> tuple[int, tuple[str, ...]]:
    if "n_vertices" in manifest.topology:
        return int(manifest.topology["n_vertices"]), manifest.subjects
    mesh = load().mesh  # the first version's manifest does not tell
    return mesh.topology.n_vertices, tuple(mesh.templates)


def of_mesh_file(path: Path) -> FaceSource:
    """Return the face of a mesh file; its unit is inferred from its height.

    Raises:
        InputError: Missing.
        DataError: Not such a file, or without triangles.
    """
    mesh_file = read_mesh_file(path)
    if not len(mesh_file.triangles):
        raise DataError(f"{path}: holds no triangles; give a mesh with faces")
    height = float(np.ptp(mesh_file.vertices[:, 1]))
    unit = next((u for u, (low, high) in _HEADS.items() if low <= height <= high), _NO_SCALE)
    topology = Topology(path.stem, mesh_file.triangles, len(mesh_file.vertices), unit)
    colors = {} if mesh_file.colors is None else {path.stem: mesh_file.colors}
    templates = {path.stem: mesh_file.vertices.astype(np.float32)}
    return FaceSource(Mesh(topology, templates, colors), None, str(path))


def with_templates(faces: FaceSource, path: Path) -> FaceSource:
    """The same triangles with the neutral faces of a ``templates.pkl``.

    Raises:
        InputError: Missing.
        DataError: Damaged, or of another vertex count.
    """
    mesh = Mesh(faces.mesh.topology, read_templates(path))
    mesh.check(mesh.topology.n_vertices, f"{faces.origin} with {path}")
    return replace(faces, mesh=mesh, origin=f"{faces.origin} with {path}")


def data_set_around(path: Path) -> FaceCandidate | None:
    """The prepared data set that a file is a clip of, or None."""
    folder = path.absolute().parent.parent
    if path.absolute().parent.name != "clips" or not (folder / MANIFEST).is_file():
        return None
    return data_set_candidate(path.parent.parent)


def choose(
    known: Sequence[FaceCandidate], path: Path, n_vertices: int, subject: str | None
) -> FaceSource:
    """The faces that fit a motion best: those that know its clip, then those that know its subject.

    Args:
        known: Candidates, the likeliest first.
        path: The motion's file, which may be named CLIP or CLIP_condition_STYLE.
        n_vertices: V.
        subject: Whose face it is, or None.

    Raises:
        InputError: None has so many vertices, or none knows the subject.
    """
    matching = [candidate for candidate in known if candidate.n_vertices == n_vertices]
    if not matching:
        names = ", ".join(str(candidate) for candidate in known[:_N_NAMED]) or "none"
        raise InputError(
            f"{path}: has {n_vertices} vertices, which fits no known face: {names}; give `data` "
            "PREPARED, or `mesh` with a neutral face (a mesh file) or a checkpoint"
        )
    clip = split_name(path.stem)[0]

    def rank(candidate: FaceCandidate) -> tuple[bool, bool]:
        has_subject = (
            subject in candidate.subjects if subject else subject_in(path.stem, candidate.subjects)
        )
        return (clip not in candidate.clips, not has_subject)

    return min(matching, key=rank).load()


def motion_of(
    path: Path, vertices: Vertices, faces: FaceSource, subject: str | None, fps: float | None
) -> Motion:
    """A motion out of bare vertices.

    Args:
        path: Their file; its name begins with the subject's.
        vertices: (T, V, 3).
        faces: What they belong to.
        subject: Whose face it is; None: as the name says, or the only one there is.
        fps: Frames a second where the faces tell none.

    Raises:
        InputError: The subject is not known or not told, or no frame rate is.
        DataError: Another vertex count.
    """
    mesh = faces.mesh
    if vertices.shape[1] != mesh.topology.n_vertices:
        raise DataError(
            f"{path}: has {vertices.shape[1]} vertices, {faces.origin} has "
            f"{mesh.topology.n_vertices}; give the faces of this motion"
        )
    known = list(mesh.templates)
    choices = ", ".join(known[:_N_NAMED]) + ", …" * (len(known) > _N_NAMED)
    if subject is not None and subject not in mesh.templates and len(known) != 1:
        raise InputError(f"`subject` {subject!r} is unknown to {faces.origin}; it has: {choices}")
    owner = subject if subject in mesh.templates else subject_in(path.stem, known)
    owner = known[0] if owner is None and len(known) == 1 else owner
    if owner is None:
        raise InputError(
            f"{path}: its name begins with no subject of {faces.origin} ({choices}); give `subject`"
        )
    rate = faces.fps or fps
    if rate is None:
        raise InputError(f"{path}: no frame rate is stored; pass `fps`")
    return Motion(
        vertices=vertices,
        fps=rate,
        topology=mesh.topology,
        subject=owner,
        template=mesh.templates[owner],
        colors=mesh.colors.get(owner),
        audio_path=faces.audio_of(split_name(path.stem)[0]),
    )
