"""Convert the official checkpoint files to a checkpoint folder."""

import hashlib
import logging
from pathlib import Path

from codetalker_cli.errors import InputError
from codetalker_cli.formats.templates import read_mesh
from codetalker_cli.models import checkpoint, official
from codetalker_cli.settings import Settings

logger = logging.getLogger(__name__)


def import_official(
    stage1: Path,
    stage2: Path,
    out: Path,
    settings: Settings,
    *,
    templates: Path | None = None,
    mesh_file: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Convert the two official files to a checkpoint folder.

    Args:
        stage1: The ``.pth.tar`` file of stage 1.
        stage2: The ``.pth.tar`` file of stage 2.
        out: The checkpoint folder to write.
        settings: The settings of the data set's preset.
        templates: The data set's ``templates.pkl``. Animating requires both this file and
            ``mesh_file``.
        mesh_file: A mesh file with the triangles.
        overwrite: Replace an existing folder.

    Returns:
        The path of the checkpoint folder.

    Raises:
        CheckpointError: A file is not a checkpoint, or a key is missing, unknown or has the wrong
            shape.
        DataError: The templates or the triangles do not match the settings.
        InputError: A file is missing, only one of ``templates`` and ``mesh_file`` is given, or
            ``out`` exists.
    """
    checkpoint.check_folder(out, overwrite=overwrite)
    if (templates is None) != (mesh_file is None):
        raise InputError("`templates` and `mesh_file` must be given together; give both or neither")
    mesh = None
    if templates is not None and mesh_file is not None:
        mesh = read_mesh(templates, mesh_file, settings.data)
    model = checkpoint.from_official(
        official.read_state(stage1), official.read_state(stage2), settings
    )
    meta = {
        "origin": "official",
        "files": {
            name: {"name": path.name, "sha256": _sha256(path)}
            for name, path in (("stage1", stage1), ("stage2", stage2))
        },
    }
    return checkpoint.save(out, model, meta=meta, mesh=mesh, overwrite=overwrite)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
