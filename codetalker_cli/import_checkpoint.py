"""Official checkpoint files → one of our checkpoint folders."""

import hashlib
import logging
from pathlib import Path

import numpy as np

from codetalker_cli.data.pickles import read_pickle
from codetalker_cli.errors import DataError, InputError
from codetalker_cli.mesh import Mesh
from codetalker_cli.models import checkpoint, official
from codetalker_cli.settings import Settings
from codetalker_cli.topology import Topology

logger = logging.getLogger(__name__)


def import_official(
    stage1: Path,
    stage2: Path,
    out: Path,
    settings: Settings,
    *,
    templates: Path | None = None,
    faces: Path | None = None,
    overwrite: bool = False,
) -> Path:
    """Write ``out`` from the two official files.

    Args:
        stage1: ``.pth.tar`` of stage 1.
        stage2: ``.pth.tar`` of stage 2.
        out: Checkpoint folder.
        settings: Of the data set's preset.
        templates: The data set's ``templates.pkl``; with ``faces`` the folder can animate.
        faces: A mesh file (.ply, .obj) of the topology.
        overwrite: Replace an older folder.

    Raises:
        CheckpointError: A file is no checkpoint, or a key is missing, extra or misshapen.
        DataError: Templates or faces do not fit.
        InputError: Missing file; only one of templates and faces; ``out`` exists.
    """
    checkpoint.check_folder(out, overwrite=overwrite)
    if (templates is None) != (faces is None):
        raise InputError("--templates and --faces belong together: give both, or neither")
    mesh = None
    if templates is not None and faces is not None:
        mesh = read_mesh(templates, faces, settings)
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


def read_mesh(templates: Path, faces: Path, settings: Settings) -> Mesh:
    """Templates of a ``templates.pkl`` on the triangles of a mesh file.

    Raises:
        DataError: Not such files, or of another vertex count than ``settings.data.n_vertices``.
    """
    content = read_pickle(templates)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{templates}: expected a dictionary of templates by subject")
    try:
        arrays = {str(k): np.asarray(v, np.float32).reshape(-1, 3) for k, v in content.items()}
    except (TypeError, ValueError) as error:
        raise DataError(f"{templates}: a template is no array of vertices ({error})") from error
    data = settings.data
    triangles, n_vertices = read_faces(faces)
    if n_vertices != data.n_vertices:
        raise DataError(
            f"{faces}: has {n_vertices} vertices, {data.name} has {data.n_vertices}; "
            "give the mesh of this data set's topology"
        )
    topology = Topology(data.name, triangles, data.n_vertices, data.unit)
    mesh = Mesh(topology, arrays)
    mesh.check(data.n_vertices, str(templates))
    return mesh


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_faces(path: Path) -> tuple[np.ndarray, int]:
    """(F, 3) int32 triangles of a mesh file, in its own vertex order, and its vertex count.

    Raises:
        InputError: Missing file.
        DataError: Not a mesh with triangles.
    """
    import trimesh

    if not path.is_file():
        raise InputError(f"{path}: no such mesh file")
    try:
        loaded = trimesh.load(path, process=False, force="mesh", maintain_order=True)
    except Exception as error:  # trimesh raises nearly anything on a damaged file
        raise DataError(f"{path}: not a mesh file ({error})") from error
    triangles = np.asarray(getattr(loaded, "faces", ()), dtype=np.int32)
    if triangles.ndim != 2 or not len(triangles):
        raise DataError(f"{path}: holds no triangles")
    return triangles, len(getattr(loaded, "vertices", ()))
