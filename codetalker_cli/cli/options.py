"""What the commands share: options with one name and one help text, and settings out of them."""

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from codetalker_cli.cli import console

Preset = Annotated[
    str | None, typer.Option("--preset", help="Name of a bundled preset, or a YAML file.")
]
Config = Annotated[
    Path | None, typer.Option("--config", help="Your own YAML file of settings, over the preset.")
]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting, e.g. train_vq.epochs=50."),
]
ShowSettings = Annotated[
    bool, typer.Option("--show-settings", help="Print all settings with their origins and stop.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]


def resolved_settings(show: bool, **layers: Any) -> Any:
    """Resolved settings; with ``show`` they are printed and the command ends."""
    from codetalker_cli.presets import resolve

    assignments = layers.pop("assignments") or ()
    resolved = resolve(assignments=assignments, **layers)
    if show:
        show_rows(resolved)
    return resolved.settings


def show_rows(resolved: Any) -> NoReturn:
    """Print settings with their origins, and end the command."""
    console.table("", ["setting", "value", "origin"], list(resolved.rows()))
    raise typer.Exit
