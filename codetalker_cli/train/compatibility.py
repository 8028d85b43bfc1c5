"""Whether data, settings and stage 1 belong together; said before anything is computed."""

import numpy as np

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.errors import CheckpointError, DataError
from codetalker_cli.models.checkpoint import Checkpoint
from codetalker_cli.settings import Settings


def check_data(data: PreparedDataSet, settings: Settings) -> None:
    """Refuse data of another topology, frame rate or list of subjects than the settings'.

    Raises:
        DataError: Names both sides.
    """
    data.mesh.check(settings.data.n_vertices, str(data.folder))
    manifest = data.manifest
    unit = data.mesh.topology.unit
    if unit != settings.data.unit:
        raise DataError(
            f"{data.folder}: its unit is {unit}, the settings say {settings.data.unit}; "
            "use the preset of this data set"
        )
    if manifest.fps != settings.data.fps:
        raise DataError(
            f"{data.folder}: {manifest.fps:g} fps, the settings say {settings.data.fps:g}; "
            "use the preset of this data set"
        )
    if manifest.train_subjects != settings.data.train_subjects:
        raise DataError(
            f"{data.folder}: its training subjects {', '.join(manifest.train_subjects)} are not "
            f"those of the settings, {', '.join(settings.data.train_subjects)}"
        )


def check_stage1(stage1: Checkpoint, settings: Settings, data: PreparedDataSet) -> None:
    """Refuse a stage 1 of other faces than the data set's.

    Raises:
        CheckpointError: Names both.
    """
    source, target = stage1.settings.data, settings.data
    differences = [
        f"{field} {getattr(source, field)} against {getattr(target, field)}"
        for field in ("n_vertices", "fps", "unit")
        if getattr(source, field) != getattr(target, field)
    ]
    name, mesh = source.name, data.mesh.topology
    if stage1.mesh is not None:
        name = stage1.mesh.topology.name
        if not differences and not np.array_equal(stage1.mesh.topology.triangles, mesh.triangles):
            differences.append("as many vertices, but other triangles")
    if differences:
        raise CheckpointError(
            f"{stage1.path}: stage 1 was trained on the topology {name} of {source.name}, the data "
            f"set {data.folder} has {mesh.name} ({'; '.join(differences)}); train stage 1 on this "
            "data set first, or name another with `vq`"
        )
