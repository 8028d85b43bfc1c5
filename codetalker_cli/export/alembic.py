"""Alembic mesh caches (.abc): the triangles once, and the vertices of every frame."""

from typing import Any

import numpy as np

from codetalker_cli.errors import MissingDependencyError
from codetalker_cli.export.space import check_space
from codetalker_cli.export.table import Exporter, Target
from codetalker_cli.export.take import Take
from codetalker_cli.resources import install_command
from codetalker_cli.settings import ExportSettings

_COLORS = "Cf"
"""The name under which programs look for vertex colors."""


def _write(take: Take, target: Target, settings: ExportSettings) -> None:
    alembic = _alembic()
    check_space(target.path, _n_bytes(take))
    archive = alembic.Abc.OArchive(str(target.path))
    # A frame is at k / fps seconds.
    sampling = alembic.AbcCoreAbstract.TimeSampling(1 / take.fps, 0.0)
    name = _object_name(take.motion.subject)
    transform = alembic.AbcGeom.OXform(archive.getTop(), name)
    mesh = alembic.AbcGeom.OPolyMesh(transform, f"{name}_mesh")
    schema = mesh.getSchema()
    schema.setTimeSampling(archive.addTimeSampling(sampling))
    first = True
    for block in take.blocks():
        for vertices in block:
            sample = _first_sample(take) if first else alembic.AbcGeom.OPolyMeshSchemaSample()
            sample.setPositions(_vectors(vertices))
            schema.set(sample)
            first = False
    if take.colors is not None:
        _write_colors(take.colors, schema)


def _n_bytes(take: Take) -> int:
    """Return slightly more than the size of the file."""
    n_vertices, n_corners = len(take.template), 3 * len(take.triangles)
    return take.n_frames * (n_vertices * 12 + 500) + n_corners * 20 + n_vertices * 12 + 100_000


def _first_sample(take: Take) -> Any:
    """Return a sample that contains the triangles and the texture coordinates."""
    import imath

    geometry = _alembic().AbcGeom
    triangles = take.triangles[:, ::-1]  # Alembic lists corners clockwise
    sample = geometry.OPolyMeshSchemaSample()
    sample.setFaceIndices(_integers(triangles))
    sample.setFaceCounts(_integers(np.full(len(triangles), 3)))
    topology = take.motion.topology
    if topology.uv is not None and topology.uv_triangles is not None:
        corners = topology.uv_triangles[:, ::-1].ravel()
        indices = imath.UnsignedIntArray(len(corners))
        for k, corner in enumerate(corners.tolist()):
            indices[k] = corner
        uv = imath.V2fArrayFromBuffer(np.ascontiguousarray(topology.uv, np.float32))
        scope = geometry.GeometryScope.kFacevaryingScope
        sample.setUVs(geometry.OV2fGeomParamSample(uv, indices, scope))
    return sample


def _write_colors(colors: np.ndarray, schema: Any) -> None:
    import imath

    geometry = _alembic().AbcGeom
    values = imath.C3fArray(len(colors))
    for k, color in enumerate((colors / 255).tolist()):
        values[k] = imath.Color3f(*color)
    scope = geometry.GeometryScope.kVertexScope
    parameter = geometry.OC3fGeomParam(schema.getArbGeomParams(), _COLORS, False, scope, 1)
    parameter.set(geometry.OC3fGeomParamSample(values, scope))


def _vectors(vertices: np.ndarray) -> Any:
    import imath

    return imath.V3fArrayFromBuffer(np.ascontiguousarray(vertices, np.float32))


def _integers(values: np.ndarray) -> Any:
    import imath

    return imath.IntArrayFromBuffer(np.ascontiguousarray(values, np.int32).ravel())


def _object_name(subject: str) -> str:
    """Return the name of a subject without the separator of paths."""
    return subject.replace("/", "_") or "face"


def _alembic() -> Any:
    try:
        import alembic3d
    except ImportError as error:
        raise MissingDependencyError(
            "writing Alembic files needs alembic3d, which is not installed; run "
            f"`{install_command('alembic')}`"
        ) from error
    return alembic3d


EXPORTERS = (
    Exporter(
        "abc",
        ".abc",
        _write,
        "the vertices of every frame, with vertex colors and texture coordinates",
        "In Blender, set the frame rate of the scene and use File > Import > Alembic; in Maya, "
        "use Cache > Alembic Cache > Import, and scale by 100 where the unit is centimeters.",
        has_weights=False,
    ),
)
