"""Read the vertices of stored motions: .npy, .npz, and rig curves posed on the bundled head."""

from functools import lru_cache
from pathlib import Path

from codetalker_cli.errors import DataError, printable
from codetalker_cli.formats import predictions, rig_files
from codetalker_cli.formats.predictions import StoredMotion
from codetalker_cli.rigs.posing import motion_of, subject_of
from codetalker_cli.rigs.units import bundled_rig
from codetalker_cli.text_files import check_file

SUFFIXES = (*predictions.SUFFIXES, *rig_files.SUFFIXES)


def read_stored(
    path: Path, n_vertices: int | None = None, subject: str | None = None
) -> StoredMotion:
    """Return the vertices of a stored motion, with the frame rate and the unit if they are known.

    Rig curves are posed without head rotation.

    Args:
        path: A file with one of ``SUFFIXES``.
        n_vertices: The expected vertex count V, or None to accept any.
        subject: The bundled subject that rig curves move; None: the subject that the file name
            begins with.

    Raises:
        InputError: The file is missing, or is not a motion, or the subject is unknown.
        DataError: The file is damaged, contains no frames, or has the wrong vertex count.
    """
    if path.suffix.lower() not in rig_files.SUFFIXES:
        return predictions.read_stored(path, n_vertices)
    n_head = bundled_rig().topology.n_vertices
    if n_vertices is not None and n_head != n_vertices:
        raise DataError(
            f"{printable(path)}: rig curves move the bundled head of {n_head} vertices, expected "
            f"{n_vertices}"
        )
    subject = subject_of(path.stem) if subject is None else subject
    check_file(path)
    status = path.stat()
    return _posed(path, subject, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=2)
def _posed(path: Path, subject: str, modified: int, size: int) -> StoredMotion:
    """Return posed rig curves; the last ones are kept, because a clip is read several times."""
    motion = motion_of(rig_files.read_curves(path), subject, rotate_head=False)
    return StoredMotion(motion.vertices, motion.fps, motion.topology.unit)
