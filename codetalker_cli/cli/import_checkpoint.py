"""The ``codetalker import-checkpoint`` command."""

from pathlib import Path
from typing import Annotated

import typer

from codetalker_cli.cli import completion, console
from codetalker_cli.cli.options import (
    AsJson,
    Assignments,
    Config,
    Overwrite,
    Show,
    ShowSettings,
    resolved_settings,
)


def import_checkpoint(
    stage1: Annotated[Path, typer.Argument(help="Official stage-1 file (.pth.tar).")],
    stage2: Annotated[Path, typer.Argument(help="Official stage-2 file (.pth.tar).")],
    out: Annotated[Path, typer.Argument(help="Checkpoint folder to write.")],
    preset: Annotated[
        str,
        typer.Option(
            help="Preset of the data set: vocaset or biwi.", autocompletion=completion.presets
        ),
    ],
    templates: Annotated[
        Path | None,
        typer.Option(
            help="templates.pkl of the data set; needed to animate, together with --faces."
        ),
    ] = None,
    faces: Annotated[
        Path | None,
        typer.Option(
            help="Mesh file with the triangles, e.g. FLAME_sample.ply (.obj, .ply, .glb, .off)."
        ),
    ] = None,
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Convert the official weights into a checkpoint folder."""
    show = Show(show_settings, as_json)
    settings = resolved_settings(show, preset=preset, config=config, assignments=assignments)
    from codetalker_cli.models.import_official import import_official

    folder = import_official(
        stage1, stage2, out, settings, templates=templates, mesh_file=faces, overwrite=overwrite
    )
    if templates is None:
        console.say("the checkpoint contains no face to animate; --templates and --faces add one")
    result = {"out": str(folder), "preset": preset}
    console.give(result, as_json=as_json, line=f"{folder}: imported")
