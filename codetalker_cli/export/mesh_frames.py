"""A folder with one mesh file per frame, as .obj or .ply."""

from codetalker_cli.export.table import Exporter, Target
from codetalker_cli.export.take import Take
from codetalker_cli.formats.meshes import write_mesh_file
from codetalker_cli.settings import ExportSettings

MIN_DIGITS = 5
"""The digits in the names of files; longer takes have more."""


def _write_obj(take: Take, target: Target, settings: ExportSettings) -> None:
    _write_frames(take, target, ".obj", colored=False)


def _write_ply(take: Take, target: Target, settings: ExportSettings) -> None:
    _write_frames(take, target, ".ply", colored=True)


def _write_frames(take: Take, target: Target, suffix: str, *, colored: bool) -> None:
    """Write 00001.obj and so on; all numbers have as many digits as the last one."""
    n_digits = max(MIN_DIGITS, len(str(take.n_frames)))
    colors = take.colors if colored else None
    target.path.mkdir()
    number = 0
    for block in take.blocks():
        for vertices in block:
            number += 1
            path = target.path / f"{number:0{n_digits}}{suffix}"
            write_mesh_file(path, vertices, take.triangles, colors)


EXPORTERS = (
    Exporter(
        "obj",
        "",
        _write_obj,
        "one .obj file per frame",
        "Any 3D program opens the files of the folder {name}; they are numbered from 1.",
        has_weights=False,
    ),
    Exporter(
        "ply",
        "",
        _write_ply,
        "one .ply file per frame, with vertex colors",
        "Any 3D program opens the files of the folder {name}; they are numbered from 1.",
        has_weights=False,
    ),
)
