"""Options that several commands share, and how settings are resolved from them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from codetalker_cli.cli import completion, console

if TYPE_CHECKING:
    from codetalker_cli.export import Exporter
    from codetalker_cli.presets import Entry, ResolvedSections

Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        help="Name of a bundled preset, or a YAML file.",
        autocompletion=completion.presets,
    ),
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
    bool,
    typer.Option(
        "--show-settings",
        help="Print all settings with their origins and descriptions and exit; needs no argument.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing output.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        help="Device: auto, cpu, cuda, cuda:1 or mps.",
        autocompletion=completion.one_of(completion.DEVICES),
    ),
]
# Of motion files.
FpsOfMotions = Annotated[
    float | None,
    typer.Option(
        "--fps",
        help="Frame rate of all motions; required for .npy files unless --data or --mesh has one, "
        "and for .csv files without times.",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", help="Prepared data set that provides the mesh for .npy files."),
]
MeshOption = Annotated[
    str | None,
    typer.Option(
        "--mesh",
        help="Mesh for .npy files: a checkpoint, or a neutral face (.obj, .ply, .glb, .off).",
        autocompletion=completion.models,
    ),
]
TemplatesOption = Annotated[
    Path | None,
    typer.Option(
        "--templates",
        help="templates.pkl with the neutral faces of .npy files, for use with --mesh.",
    ),
]
MotionSubject = Annotated[
    str | None,
    typer.Option(
        "--subject",
        help="Subject of .npy files and rig curves (default: inferred from the file name).",
        autocompletion=completion.subjects,
    ),
]
# Of exports.
TargetsOption = Annotated[
    str | None,
    typer.Option(
        "--targets",
        help="Morph targets of .glb and USD files: units (default), arkit, basis or frames.",
        autocompletion=completion.one_of(completion.TARGETS),
    ),
]
UnitsOption = Annotated[
    Path | None,
    typer.Option(
        "--units",
        help="Units of a face other than the bundled head: a .glb with morph targets, a folder of "
        ".obj or .ply files, or an .npz of deltas.",
    ),
]
# Of characters.
AvatarOption = Annotated[
    Path | None,
    typer.Option(
        "--avatar",
        help="Your character (.glb, .vrm, .gltf); the result is its file with one more animation, "
        "or a .vrma for a .vrm.",
    ),
]
AvatarMapOption = Annotated[
    Path | None,
    typer.Option(
        "--avatar-map",
        help="YAML or JSON file that maps morph targets of --avatar to units or visemes, and names "
        "its bones.",
    ),
]
AvatarNodeOption = Annotated[
    str | None,
    typer.Option("--avatar-node", help="Node of the character, if --avatar contains several."),
]
StrengthOption = Annotated[
    str | None,
    typer.Option(
        "--strength",
        help="Factors for parts of --avatar, e.g. jaw=0.8,mouth=1.1 (also tongue, eyes, brows).",
    ),
]


LEAST_DESCRIPTION = 40
"""The least width of the column of descriptions; if there is less, they are printed below."""


@dataclass(frozen=True)
class Show:
    """Whether to print the settings and exit, instead of running the command."""

    wanted: bool = False
    as_json: bool = False

    def print(self, entries: Sequence["Entry"]) -> NoReturn:
        """Print settings with their origins and descriptions, and exit."""
        if self.as_json:
            console.give_json([asdict(entry) for entry in entries])
            raise typer.Exit
        columns = ["setting", "value", "origin", "description"]
        rows: list[tuple[str, ...]] = [
            (one.key, one.text, one.origin, one.description) for one in entries
        ]
        if not console.try_table(columns, rows, LEAST_DESCRIPTION):
            headings = [f"{one.key} = {one.text}  ({one.origin})" for one in entries]
            console.described(list(zip(headings, (row[-1] for row in rows), strict=True)))
        raise typer.Exit


def resolved_settings(show: Show, **layers: Any) -> Any:
    """Return the resolved settings; print them and exit instead if ``show`` wants this."""
    from codetalker_cli.presets import preview, resolve
    from codetalker_cli.settings.limits import activate

    assignments = layers.pop("assignments") or ()
    if show.wanted and layers["preset"] is None:
        sections = layers.pop("sections", None)
        show.print(preview(None, assignments=assignments, allowed=sections, **layers))
    resolved = resolve(assignments=assignments, **layers)
    activate(resolved.settings.limits)
    if show.wanted:
        show.print(resolved.entries())
    return resolved.settings


def resolved_sections(
    show: Show,
    names: Sequence[str],
    config: Path | None,
    assignments: Sequence[str] | None,
    flags: Mapping[str, Any] | None = None,
) -> "ResolvedSections":
    """Return some resolved sections, and put the limits on input files in force.

    Print the settings and exit instead if ``show`` wants this.
    """
    from codetalker_cli.presets import preview, resolve_sections
    from codetalker_cli.settings.limits import activate

    names = [*names, "limits"]
    if show.wanted:
        show.print(preview(names, None, config, assignments or (), flags))
    resolved = resolve_sections(names, config, assignments or (), flags)
    activate(resolved.sections["limits"])
    return resolved


def given_keys(resolved: "ResolvedSections", *sections: str) -> list[str]:
    """Return the settings of some sections on the command line.

    Settings from a file are not listed, because a file may be meant for several commands.
    """
    return [
        key
        for key, origin in resolved.origins.items()
        if origin in ("--set", "flag") and key.partition(".")[0] in sections
    ]


def export_keys(resolved: "ResolvedSections", units: Path | None) -> list[str]:
    """Return the settings of exports on the command line, and ``units`` if it was given."""
    return given_keys(resolved, "export", "solve") + ["units"] * (units is not None)


def exporters_of(
    avatar: Path | None,
    avatar_map: Path | None,
    avatar_node: str | None,
    strength: str | None,
    out: str | None,
    format: str | None,
) -> "tuple[dict[str, Exporter], str | None]":
    """Return the export formats by name, those of a character or all, and the chosen format.

    A character has a usual format. Otherwise, the format is the given one.
    """
    from codetalker_cli.errors import InputError
    from codetalker_cli.export.avatar_formats import (
        Avatar,
        AvatarMap,
        check_vrma,
        parse_strength,
        read_map,
        refuse_video,
    )
    from codetalker_cli.export.formats import BY_NAME

    if avatar is None:
        needing = {"avatar_map": avatar_map, "avatar_node": avatar_node, "strength": strength}
        name = next((name for name, value in needing.items() if value is not None), None)
        if name is not None:
            raise InputError(f"`{name}` applies only to a character; also give `avatar`")
        return BY_NAME, format
    refuse_video(out)
    given = AvatarMap({}, {}) if avatar_map is None else read_map(avatar_map)
    factors = None if strength is None else parse_strength(strength)
    exporters = Avatar(avatar, avatar_node, given.overrides, factors, given.bones).exporters()
    check_vrma(out, avatar, exporters)
    return exporters, format or (None if out and Path(out).suffix else next(iter(exporters)))
