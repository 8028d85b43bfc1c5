"""Motion files → Motion: a .npz contains its face, the face of a .npy is looked up."""

import logging
from dataclasses import dataclass
from pathlib import Path

from codetalker_cli.datasets import face_lookup
from codetalker_cli.datasets.face_lookup import FaceCandidate, FaceSource
from codetalker_cli.errors import CodeTalkerError, InputError
from codetalker_cli.formats import meshes
from codetalker_cli.formats.predictions import SUFFIXES, read_vertices
from codetalker_cli.motion import Motion
from codetalker_cli.topology import Mesh

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FaceOptions:
    """What is specified about the faces of .npy files.

    Attributes:
        data: Prepared data set that they belong to.
        mesh: A checkpoint, or a neutral face (a mesh file).
        templates: A ``templates.pkl`` for the triangles of ``mesh``.
        subject: Whose face it is; None: the subject that the name of the file begins with.
    """

    data: Path | None = None
    mesh: str | None = None
    templates: Path | None = None
    subject: str | None = None

    @property
    def are_given(self) -> bool:
        """Whether anything is specified."""
        options = (self.data, self.mesh, self.templates, self.subject)
        return any(option is not None for option in options)

    def find(self, path: Path, n_vertices: int) -> FaceSource:
        """The faces of a file: as specified, or the best match of all that are known here.

        Raises:
            InputError: The options contradict each other, or nothing fits.
            CheckpointError: ``mesh`` is not a checkpoint with faces.
            DataError: A file is damaged, or has another vertex count.
        """
        if self.data is not None and self.mesh is not None:
            raise InputError("`data` and `mesh` both give the faces; give one of them")
        if self.templates is not None and self.mesh is None:
            raise InputError(f"`templates` {self.templates}: also give the triangles, `mesh`")
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
        logger.info("%s: faces of %s", path, faces.origin)
        return faces

    def _specified(self, mesh: str) -> FaceSource:
        if Path(mesh).suffix.lower() in (*meshes.SUFFIXES, meshes.GLTF):
            faces = face_lookup.of_mesh_file(Path(mesh))
        else:
            faces = _candidate(mesh).load()
        if self.templates is None:
            return faces
        return face_lookup.with_templates(faces, self.templates)


def read_motions(paths: list[Path], options: FaceOptions, fps: float | None) -> list[Motion]:
    """Read motion files; their vertices stay on the disk until they are used.

    Args:
        paths: .npz motions, or .npy arrays (T, V, 3) or (T, 3V).
        options: The faces of .npy files.
        fps: Frame rate to convert all motions to; that of .npy files whose faces give none.

    Raises:
        InputError: Another kind of file, an invalid frame rate, options without a .npy file, or a
            face that cannot be found.
        DataError: A file is damaged.
    """
    if fps is not None and not 1 <= fps <= 240:
        raise InputError(f"`fps` {fps:g}: expected 1 to 240 frames a second")
    if options.are_given and not any(path.suffix.lower() == ".npy" for path in paths):
        raise InputError("`data`, `mesh`, `templates`, `subject` are for .npy: .npz has its face")
    return [_read(path, options, fps) for path in paths]


def _read(path: Path, options: FaceOptions, fps: float | None) -> Motion:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        motion = Motion.load(path)
    elif suffix == ".npy":
        vertices = read_vertices(path)
        faces = options.find(path, vertices.shape[1])
        motion = face_lookup.motion_of(path, vertices, faces, options.subject, fps)
    else:
        raise InputError(f"{path}: a motion is {' or '.join(SUFFIXES)}, not {path.suffix!r}")
    return motion if fps is None else motion.at_fps(fps)


def _checkpoints(*, bundled: bool) -> list[FaceCandidate]:
    """Faces of the bundled voice, or of all other checkpoints under runs/."""
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
    """The faces of a checkpoint, which are read when they are needed."""
    from codetalker_cli.models import checkpoint  # imports torch, which a .npz does not need

    facts = checkpoint.describe(name)
    origin, path = f"checkpoint {name}", facts.mesh

    def load() -> FaceSource:
        return FaceSource(Mesh.load(path), facts.fps, origin)

    return FaceCandidate(origin, facts.n_vertices, facts.subjects, load)
