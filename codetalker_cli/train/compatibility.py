"""Check that data set, settings and stage 1 fit together, before anything is computed."""

import numpy as np

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.errors import CheckpointError, DataError
from codetalker_cli.face_fit import difference_in_size
from codetalker_cli.models.checkpoint import Checkpoint
from codetalker_cli.settings import Settings


def check_data(data: PreparedDataSet, settings: Settings) -> None:
    """Check that the data set has the vertex count, unit, frame rate and subjects of the settings.

    Raises:
        DataError: They differ; the message contains both values.
    """
    data.mesh.check(settings.data.n_vertices, str(data.folder))
    manifest = data.manifest
    unit = data.mesh.topology.unit
    if unit != settings.data.unit:
        raise DataError(
            f"{data.folder}: the unit is {unit}, but the settings require {settings.data.unit}; "
            "use the preset of this data set"
        )
    if manifest.fps != settings.data.fps:
        raise DataError(
            f"{data.folder}: the frame rate is {manifest.fps:g} fps, but the settings require "
            f"{settings.data.fps:g} fps; use the preset of this data set"
        )
    if manifest.train_subjects != settings.data.train_subjects:
        raise DataError(
            f"{data.folder}: the training subjects are {', '.join(manifest.train_subjects)}, but "
            f"the settings require {', '.join(settings.data.train_subjects)}; use the preset of "
            "this data set"
        )


def check_stage1(stage1: Checkpoint, settings: Settings, data: PreparedDataSet) -> None:
    """Check that stage 1 was trained on the topology, frame rate and unit of the data set.

    Raises:
        CheckpointError: They differ; the message names both topologies and the differences.
    """
    source, target = stage1.settings.data, settings.data
    differences = [
        f"{field} {getattr(source, field)} instead of {getattr(target, field)}"
        for field in ("n_vertices", "fps", "unit")
        if getattr(source, field) != getattr(target, field)
    ]
    name, mesh = source.name, data.mesh.topology
    if stage1.mesh is not None:
        name = stage1.mesh.topology.name
        if not differences and not np.array_equal(stage1.mesh.topology.triangles, mesh.triangles):
            differences.append("same number of vertices, but different triangles")
        if size := difference_in_size(stage1.mesh.templates, data.mesh.templates):
            differences.append(f"templates {size}")
    if differences:
        raise CheckpointError(
            f"{stage1.path}: stage 1 was trained on the topology {name} of {source.name}, but the "
            f"data set {data.folder} has {mesh.name} ({'; '.join(differences)}); train stage 1 on "
            "this data set first, or give another stage-1 checkpoint with `vq`"
        )
