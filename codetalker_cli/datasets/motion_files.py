"""Read motion files.

A .npz contains its face, the face of a .npy is looked up, and rig curves (.csv, .json) move the
bundled head.
"""

import logging
from dataclasses import dataclass, fields
from pathlib import Path

from codetalker_cli.datasets import face_lookup
from codetalker_cli.datasets.face_lookup import FaceCandidate, FaceSource
from codetalker_cli.errors import CodeTalkerError, InputError
from codetalker_cli.formats import meshes, predictions, rig_files
from codetalker_cli.formats.rig_files import read_curves
from codetalker_cli.motion import Motion
from codetalker_cli.rigs.posing import motion_of, subject_of
from codetalker_cli.topology import Mesh

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FaceOptions:
    """The options that specify the faces of .npy files, and the subject of rig curves.

    Attributes:
        data: The prepared data set that the motion belongs to.
        mesh: A checkpoint, or a mesh file with a neutral face.
        templates: A ``templates.pkl`` with the neutral faces for the triangles of ``mesh``.
        subject: The subject that moves; None: the subject that the file name begins with.
    """

    data: Path | None = None
    mesh: str | None = None
    templates: Path | None = None
    subject: str | None = None

    @property
    def names(self) -> str:
        """The names of the options that are set, for messages."""
        given = [f"`{one.name}`" for one in fields(self) if getattr(self, one.name) is not None]
        return " and ".join(given)

    @property
    def are_given(self) -> bool:
        """Whether any option is set."""
        options = (self.data, self.mesh, self.templates, self.subject)
        return any(option is not None for option in options)

    def find(self, path: Path, n_vertices: int) -> FaceSource:
        """Return the faces of a file: the specified ones, or the best match of all known faces.

        Raises:
            InputError: The options contradict each other, or no known faces fit.
            CheckpointError: ``mesh`` is not a checkpoint with faces.
            DataError: A file is damaged, or its vertex count differs.
        """
        if self.data is not None and self.mesh is not None:
            raise InputError("`data` and `mesh` both specify the faces; give only one of them")
        if self.templates is not None and self.mesh is None:
            raise InputError(
                f"`templates` {self.templates}: the triangles are missing; also give `mesh`"
            )
        if self.data is not None:
            return face_lookup.data_set_candidate(self.data).load()
        if self.mesh is not None:
            return self._specified(self.mesh)
        around = face_lookup.data_set_around(path)
        candidates = [] if around is None else [around]
        candidates += [*_checkpoints(bundled=True), *face_lookup.data_set_candidates()]
        if not any(candidate.n_vertices == n_vertices for candidate in candidates):
            candidates += _checkpoints(bundled=False)
        faces = face_lookup.choose(candidates, path, n_vertices, self.subject)
        logger.info("%s: using the faces from %s", path, faces.origin)
        return faces

    def _specified(self, mesh: str) -> FaceSource:
        if Path(mesh).suffix.lower() in (*meshes.SUFFIXES, meshes.GLTF):
            faces = face_lookup.of_mesh_file(Path(mesh))
        else:
            faces = _candidate(mesh).load()
        if self.templates is None:
            return faces
        return face_lookup.with_templates(faces, self.templates)


def check_fps(fps: float) -> None:
    """Refuse a frame rate that no motion has.

    Raises:
        InputError: It is not from 1 to 240.
    """
    if not 1 <= fps <= 240:
        raise InputError(f"`fps` {fps:g}: expected 1 to 240 frames per second")


def read_motions(paths: list[Path], options: FaceOptions, fps: float | None) -> list[Motion]:
    """Read motion files; their vertices stay on disk until they are used.

    Args:
        paths: Motions (.npz), arrays (T, V, 3) or (T, 3V) (.npy), or rig curves (.csv, .json).
        options: The faces of .npy files, and the subject of rig curves.
        fps: The frame rate that all motions are converted to; also the frame rate of .npy files
            whose faces have none and of .csv files without times. None: each motion keeps its
            frame rate.

    Raises:
        InputError: A file has an unknown type, the frame rate is invalid, there are options but
            no .npy file, or a face cannot be found.
        DataError: A file is damaged.
    """
    if fps is not None:
        check_fps(fps)
    suffixes = {path.suffix.lower() for path in paths}
    has_curves = not suffixes.isdisjoint(rig_files.SUFFIXES)
    if options.are_given and ".npy" not in suffixes:
        if not has_curves:
            raise InputError(
                f"{options.names} applies only to .npy files, because a .npz contains its face; "
                "drop this option"
            )
        if options != FaceOptions(subject=options.subject):
            raise InputError(
                "`data`, `mesh` and `templates` apply only to .npy files, because .csv and .json "
                "files move the bundled head; drop these options"
            )
    return [_read(path, options, fps) for path in paths]


def _read(path: Path, options: FaceOptions, fps: float | None) -> Motion:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        motion = Motion.load(path)
    elif suffix == ".npy":
        vertices = predictions.read_vertices(path)
        faces = options.find(path, vertices.shape[1])
        motion = face_lookup.motion_of(path, vertices, faces, options.subject, fps)
    elif suffix in rig_files.SUFFIXES:
        curves = read_curves(path, fps)
        curves = curves if fps is None else curves.at_fps(fps)
        return motion_of(curves, options.subject or subject_of(path.stem))
    else:
        known = ", ".join((*predictions.SUFFIXES, *rig_files.SUFFIXES))
        raise InputError(f"{path}: expected a motion ({known}), found {path.suffix!r}")
    return motion if fps is None else motion.at_fps(fps)


def _checkpoints(*, bundled: bool) -> list[FaceCandidate]:
    """Return the faces of the bundled voice, or of all other checkpoints in runs/."""
    from codetalker_cli.models import checkpoint

    shipped = checkpoint.bundled()
    known = checkpoint.available()
    names = list(shipped) if bundled else [name for name in known if name not in shipped]
    candidates = []
    for name in names:
        try:
            candidates.append(_candidate(name))
        except CodeTalkerError:
            continue
    return candidates


def _candidate(name: str) -> FaceCandidate:
    """Return the faces of a checkpoint, to be read when needed."""
    from codetalker_cli.models import checkpoint  # imports torch, which is not needed for .npz

    facts = checkpoint.describe(name)
    origin, path = f"checkpoint {name}", facts.mesh

    def load() -> FaceSource:
        return FaceSource(Mesh.load(path), facts.fps, origin)

    return FaceCandidate(origin, facts.n_vertices, facts.subjects, load)
