"""The ``templates.pkl`` of a public data set: the neutral face of each subject."""

from pathlib import Path

import numpy as np

from codetalker_cli.errors import DataError
from codetalker_cli.formats.meshes import read_mesh_file
from codetalker_cli.formats.pickles import read_pickle
from codetalker_cli.settings import DataSettings
from codetalker_cli.topology import Mesh, Topology


def read_templates(path: Path | str) -> dict[str, np.ndarray]:
    """Return the (V, 3) float32 neutral face of each subject in a ``templates.pkl``.

    Raises:
        InputError: The file is missing.
        DataError: The file is not a pickle of templates by subject.
    """
    content = read_pickle(path)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: expected a dictionary of templates by subject")
    try:
        return {str(k): np.asarray(v, np.float32).reshape(-1, 3) for k, v in content.items()}
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: a template is not an array of vertices ({error})") from error


def read_mesh(templates: Path, mesh_file: Path, data: DataSettings) -> Mesh:
    """Combine the neutral faces of a ``templates.pkl`` with the triangles of a mesh file.

    Raises:
        InputError: A file is missing.
        DataError: A file is damaged, or its vertex count differs from that of the data set.
    """
    neutral_faces, mesh = read_templates(templates), read_mesh_file(mesh_file)
    if len(mesh.vertices) != data.n_vertices:
        raise DataError(
            f"{mesh_file}: the mesh has {len(mesh.vertices)} vertices, but {data.name} has "
            f"{data.n_vertices}; give a mesh with the topology of this data set"
        )
    if not len(mesh.triangles):
        raise DataError(f"{mesh_file}: the mesh contains no triangles")
    result = Mesh(Topology(data.name, mesh.triangles, data.n_vertices, data.unit), neutral_faces)
    result.check(data.n_vertices, str(templates))
    return result
