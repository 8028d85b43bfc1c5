"""Options that several commands share, and how settings are resolved from them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from codetalker_cli.cli import console

if TYPE_CHECKING:
    from codetalker_cli.presets import ResolvedSections

Preset = Annotated[
    str | None, typer.Option("--preset", help="Name of a bundled preset, or a YAML file.")
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", help="YAML file of settings; only --set and other options override it."
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one setting; repeatable. docs/settings.md lists the keys.",
    ),
]
ShowSettings = Annotated[
    bool, typer.Option("--show-settings", help="Print all settings with their origins and exit.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Device = Annotated[str, typer.Option("--device", help="Device: auto, cpu, cuda, cuda:1 or mps.")]


def resolved_settings(show: bool, **layers: Any) -> Any:
    """Return the resolved settings; if ``show``, print them and exit instead."""
    from codetalker_cli.presets import resolve
    from codetalker_cli.settings.limits import activate

    assignments = layers.pop("assignments") or ()
    resolved = resolve(assignments=assignments, **layers)
    activate(resolved.settings.limits)
    if show:
        show_rows(resolved)
    return resolved.settings


def resolved_sections(
    names: Sequence[str],
    config: Path | None,
    assignments: Sequence[str] | None,
    flags: Mapping[str, Any] | None = None,
) -> "ResolvedSections":
    """Return some resolved sections, and put the limits on input files in force."""
    from codetalker_cli.presets import resolve_sections
    from codetalker_cli.settings.limits import activate

    resolved = resolve_sections([*names, "limits"], config, assignments or (), flags)
    activate(resolved.sections["limits"])
    return resolved


def show_rows(resolved: Any) -> NoReturn:
    """Print settings with their origins, and exit."""
    console.table("", ["setting", "value", "origin"], list(resolved.rows()))
    raise typer.Exit
