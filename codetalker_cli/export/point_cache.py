"""Point caches (.pc2 and .mdd) that move the vertices of a mesh, and that mesh as an .obj."""

import numpy as np

from codetalker_cli.export.table import Exporter, Target
from codetalker_cli.export.take import Take
from codetalker_cli.formats.meshes import write_mesh_file
from codetalker_cli.formats.point_caches import write_mdd, write_pc2
from codetalker_cli.settings import ExportSettings


def _write_pc2(take: Take, target: Target, settings: ExportSettings) -> None:
    _write_neutral(take, target)
    write_pc2(target.path, take.n_frames, len(take.template), take.blocks())


def _write_mdd(take: Take, target: Target, settings: ExportSettings) -> None:
    _write_neutral(take, target)
    times = np.arange(take.n_frames) / take.fps
    write_mdd(target.path, times, len(take.template), take.blocks())


def _write_neutral(take: Take, target: Target) -> None:
    write_mesh_file(target.beside[".obj"], take.template, take.triangles, take.colors)


_OPENING = (
    "In Blender, set the frame rate of the scene, import the .obj file, and add the modifier Mesh "
    "Cache to it with {name} and its default axes; the first frame is 0."
)
EXPORTERS = (
    Exporter(
        "pc2",
        ".pc2",
        _write_pc2,
        "the vertices of every frame, for the neutral face in the .obj file next to it",
        _OPENING,
        beside=(".obj",),
        has_weights=False,
    ),
    Exporter(
        "mdd",
        ".mdd",
        _write_mdd,
        "the vertices of every frame, for the neutral face in the .obj file next to it",
        _OPENING,
        beside=(".obj",),
        has_weights=False,
    ),
)
