"""Find the face that a bare .npy of vertices belongs to, by its vertex count and file name.

A .npy motion stores only vertices. The triangles, neutral faces, unit and frame rate come from a
prepared data set, a checkpoint, or a mesh file that the user specifies.
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
"""Range of head heights in each unit; a mesh outside of all ranges has an unknown scale."""
_NO_SCALE = "area1"
_N_NAMED = 8
"""Maximum number of names listed in an error message."""


@dataclass(frozen=True)
class FaceSource:
    """The faces that a motion can belong to.

    Attributes:
        mesh: The topology, templates and colors.
        fps: The frame rate stored with the faces, or None.
        origin: Where the faces come from, for messages.
        folder: The prepared data set that contains the faces, or None.
    """

    mesh: Mesh
    fps: float | None
    origin: str
    folder: Path | None = None

    def audio_of(self, clip: str) -> Path | None:
        """Return the path of a clip's speech in the data set, or None if there is none."""
        if self.folder is None:
            return None
        path = audio_path(self.folder, clip)
        return path if path.is_file() else None


@dataclass(frozen=True)
class FaceCandidate:
    """Faces that have not been read yet.

    Attributes:
        origin: Where the faces come from, for messages.
        n_vertices: V.
        subjects: The subjects that have a template.
        load: A function that reads the faces.
        clips: The names of the clips, if the faces belong to a data set.
    """

    origin: str
    n_vertices: int
    subjects: tuple[str, ...]
    load: Callable[[], FaceSource]
    clips: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.origin} ({self.n_vertices} vertices)"


def data_set_candidates(root: Path = DATA) -> list[FaceCandidate]:
    """Return the prepared data sets under a folder, newest first, without damaged ones."""
    candidates = []
    for folder in data_sets(root):
        try:
            candidates.append(data_set_candidate(folder))
        except CodeTalkerError:
            continue
    return candidates


def data_set_candidate(folder: Path) -> FaceCandidate:
    """Return the faces of a prepared data set.

    Raises:
        InputError: The folder contains no prepared data set.
        DataError: The data set is damaged.
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
    mesh = load().mesh  # a manifest of format 1 has no topology
    return mesh.topology.n_vertices, tuple(mesh.templates)


def of_mesh_file(path: Path) -> FaceSource:
    """Return the face of a mesh file; its unit is inferred from its height.

    Raises:
        InputError: The file is missing.
        DataError: The file is not a mesh file, or it contains no triangles.
    """
    mesh_file = read_mesh_file(path)
    if not len(mesh_file.triangles):
        raise DataError(f"{path}: the mesh has no triangles; give a mesh file with triangles")
    height = float(np.ptp(mesh_file.vertices[:, 1]))
    unit = next((u for u, (low, high) in _HEADS.items() if low <= height <= high), _NO_SCALE)
    topology = Topology(path.stem, mesh_file.triangles, len(mesh_file.vertices), unit)
    colors = {} if mesh_file.colors is None else {path.stem: mesh_file.colors}
    templates = {path.stem: mesh_file.vertices.astype(np.float32)}
    return FaceSource(Mesh(topology, templates, colors), None, str(path))


def with_templates(faces: FaceSource, path: Path) -> FaceSource:
    """Return the same triangles with the neutral faces of a ``templates.pkl``.

    Raises:
        InputError: The file is missing.
        DataError: The file is damaged, or its vertex count differs.
    """
    mesh = Mesh(faces.mesh.topology, read_templates(path))
    mesh.check(mesh.topology.n_vertices, f"{faces.origin} with {path}")
    return replace(faces, mesh=mesh, origin=f"{faces.origin} with {path}")


def data_set_around(path: Path) -> FaceCandidate | None:
    """Return the prepared data set that a file is a clip of, or None."""
    folder = path.absolute().parent.parent
    if path.absolute().parent.name != "clips" or not (folder / MANIFEST).is_file():
        return None
    return data_set_candidate(path.parent.parent)


def choose(
    known: Sequence[FaceCandidate], path: Path, n_vertices: int, subject: str | None
) -> FaceSource:
    """Return the faces that fit a motion best.

    Candidates that contain the clip of the motion are preferred, then candidates that contain its
    subject. The given order decides between equal candidates.

    Args:
        known: The candidates, most likely first.
        path: The file of the motion, named like CLIP or CLIP_condition_STYLE.
        n_vertices: V of the motion.
        subject: The subject that moves, or None to infer it from the file name.

    Raises:
        InputError: No candidate has this number of vertices.
    """
    matching = [candidate for candidate in known if candidate.n_vertices == n_vertices]
    if not matching:
        names = ", ".join(str(candidate) for candidate in known[:_N_NAMED]) or "none"
        raise InputError(
            f"{path}: the motion has {n_vertices} vertices, but no known face has that number "
            f"(searched: {names}); give the data set of the motion as `data`, or a mesh file or "
            "a checkpoint as `mesh`"
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
    """Make a motion from bare vertices.

    Args:
        path: The file of the vertices.
        vertices: (T, V, 3).
        faces: The faces that the vertices belong to.
        subject: The subject that moves. None: the subject that the file name begins with, or the
            only subject of the faces.
        fps: The frame rate, used if the faces have none.

    Raises:
        InputError: The subject is unknown or cannot be inferred, or there is no frame rate.
        DataError: The vertex counts of the motion and the faces differ.
    """
    mesh = faces.mesh
    if vertices.shape[1] != mesh.topology.n_vertices:
        raise DataError(
            f"{path}: the motion has {vertices.shape[1]} vertices, but {faces.origin} has "
            f"{mesh.topology.n_vertices}; give the data set or mesh that belongs to this motion"
        )
    known = list(mesh.templates)
    choices = ", ".join(known[:_N_NAMED]) + ", …" * (len(known) > _N_NAMED)
    if subject is not None and subject not in mesh.templates and len(known) != 1:
        raise InputError(f"`subject` {subject!r} is not in {faces.origin}; it has: {choices}")
    owner = subject if subject in mesh.templates else subject_in(path.stem, known)
    owner = known[0] if owner is None and len(known) == 1 else owner
    if owner is None:
        raise InputError(
            f"{path}: the file name does not begin with a subject of {faces.origin} ({choices}); "
            "give `subject`"
        )
    rate = faces.fps or fps
    if rate is None:
        raise InputError(f"{path}: no frame rate is stored; give `fps`")
    return Motion(
        vertices=vertices,
        fps=rate,
        topology=mesh.topology,
        subject=owner,
        template=mesh.templates[owner],
        colors=mesh.colors.get(owner),
        audio_path=faces.audio_of(split_name(path.stem)[0]),
    )
