"""The ``templates.pkl`` of a public data set: the neutral face of each subject."""

from pathlib import Path

import numpy as np

from codetalker_cli.errors import DataError, printable
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
    where = f"{path}: the template of"
    with np.errstate(over="ignore"):  # callers refuse infinite vertices
        return {
            str(name): as_vertices(template, f"{where} {printable(name)}").astype(np.float32)
            for name, template in content.items()
        }


def as_vertices(content: object, where: str) -> np.ndarray:
    """Return the (V, 3) vertices of a template that is stored as (V, 3) or flat as (3V,).

    Args:
        content: An array or a list of numbers.
        where: The file and the template, for the message.

    Raises:
        DataError: The content is not an array of vertices.
    """
    try:
        array = np.asarray(content)
    except ValueError as error:  # lists of different lengths
        raise DataError(f"{where}: not an array of vertices ({error})") from error
    shape = array.shape
    if array.dtype.kind not in "fiu":
        raise DataError(f"{where}: contains {array.dtype}, expected numbers of shape (V, 3)")
    if array.ndim == 1 and len(array) and len(array) % 3 == 0:
        return array.reshape(-1, 3)
    if array.ndim != 2 or shape[1] != 3 or not len(array):
        hint = "; transpose it to (V, 3)" if array.ndim == 2 and shape[0] == 3 else ""
        raise DataError(
            f"{where}: has shape {shape}, expected (V, 3) or flat (3 * V,) vertices{hint}"
        )
    return array


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
