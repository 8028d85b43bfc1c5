"""Official checkpoint files → one of our checkpoint folders."""

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
    """Write ``out`` from the two official files.

    Args:
        stage1: ``.pth.tar`` of stage 1.
        stage2: ``.pth.tar`` of stage 2.
        out: Checkpoint folder.
        settings: Of the data set's preset.
        templates: The data set's ``templates.pkl``; with ``mesh_file`` the folder can animate.
        mesh_file: A mesh file of the topology.
        overwrite: Replace an older folder.

    Raises:
        CheckpointError: A file is no checkpoint, or a key is missing, extra or misshapen.
        DataError: Templates or faces do not fit.
        InputError: Missing file; only one of templates and faces; ``out`` exists.
    """
    checkpoint.check_folder(out, overwrite=overwrite)
    if (templates is None) != (mesh_file is None):
        raise InputError("`templates` and `mesh_file` belong together: give both, or neither")
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
