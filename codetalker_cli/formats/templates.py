"""Neutral faces of subjects as the public data sets give them, and the mesh they make."""

from pathlib import Path

import numpy as np

from codetalker_cli.errors import DataError
from codetalker_cli.formats.meshes import read_mesh_file
from codetalker_cli.formats.pickles import read_pickle
from codetalker_cli.settings import DataSettings
from codetalker_cli.topology import Mesh, Topology


def read_templates(path: Path | str) -> dict[str, np.ndarray]:
    """Subject → (V, 3) float32 neutral face, of a ``templates.pkl``.

    Raises:
        InputError: Missing file.
        DataError: Not such a pickle.
    """
    content = read_pickle(path)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: expected a dictionary of templates by subject")
    try:
        return {str(k): np.asarray(v, np.float32).reshape(-1, 3) for k, v in content.items()}
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: a template is no array of vertices ({error})") from error


def read_mesh(templates: Path, mesh_file: Path, data: DataSettings) -> Mesh:
    """Templates of a ``templates.pkl`` on the triangles of a mesh file.

    Raises:
        InputError: A file is missing.
        DataError: One of them is damaged, or of another vertex count than the data set.
    """
    neutral_faces, mesh = read_templates(templates), read_mesh_file(mesh_file)
    if len(mesh.vertices) != data.n_vertices:
        raise DataError(
            f"{mesh_file}: has {len(mesh.vertices)} vertices, {data.name} has {data.n_vertices}; "
            "give the mesh of this data set's topology"
        )
    if not len(mesh.triangles):
        raise DataError(f"{mesh_file}: holds no triangles")
    result = Mesh(Topology(data.name, mesh.triangles, data.n_vertices, data.unit), neutral_faces)
    result.check(data.n_vertices, str(templates))
    return result
