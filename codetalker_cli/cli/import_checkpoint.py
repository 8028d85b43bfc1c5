"""``codetalker import-checkpoint``: the official weights into one folder of ours."""

from pathlib import Path
from typing import Annotated

import typer

from codetalker_cli.cli import console
from codetalker_cli.cli.options import AsJson, Assignments, Config, Overwrite, resolved_settings


def import_checkpoint(
    stage1: Annotated[Path, typer.Argument(help="Official stage-1 file (.pth.tar).")],
    stage2: Annotated[Path, typer.Argument(help="Official stage-2 file (.pth.tar).")],
    out: Annotated[Path, typer.Argument(help="Checkpoint folder to write.")],
    preset: Annotated[str, typer.Option(help="The data set's preset: vocaset or biwi.")],
    templates: Annotated[
        Path | None, typer.Option(help="The data set's templates.pkl: needed to animate.")
    ] = None,
    faces: Annotated[
        Path | None,
        typer.Option(
            help="Mesh file (.obj, .ply, .glb, .off) of the topology, e.g. FLAME_sample.ply."
        ),
    ] = None,
    config: Config = None,
    assignments: Assignments = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Bring the official weights into one self-describing folder."""
    settings = resolved_settings(False, preset=preset, config=config, assignments=assignments)
    from codetalker_cli.models.import_official import import_official

    folder = import_official(
        stage1, stage2, out, settings, templates=templates, mesh_file=faces, overwrite=overwrite
    )
    if templates is None:
        console.say("no --templates and --faces: the folder holds no face to animate yet")
    result = {"out": str(folder), "preset": preset}
    console.give(result, as_json=as_json, line=f"{folder}: imported")
