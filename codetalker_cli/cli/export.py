"""The ``codetalker export`` command."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codetalker_cli.cli import completion, console
from codetalker_cli.cli.options import (
    AsJson,
    Assignments,
    AvatarMapOption,
    AvatarNodeOption,
    AvatarOption,
    Config,
    DataOption,
    FpsOfMotions,
    MeshOption,
    MotionSubject,
    Overwrite,
    Show,
    ShowSettings,
    StrengthOption,
    TargetsOption,
    TemplatesOption,
    UnitsOption,
    export_keys,
    exporters_of,
    resolved_sections,
)
from codetalker_cli.errors import counted

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from codetalker_cli.export.batch import ExportReport

MotionsArgument = Annotated[
    list[str],
    typer.Argument(
        help="Motions (.npz, .npy), rig curves (.csv, .json), or folders of them.",
        show_default=False,
    ),
]
OutOption = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        help="Output file, e.g. talk.glb; with --format obj or ply, the folder of the frames; for "
        "several motions, the output folder (default: next to each motion).",
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Format, if the suffix of --out does not determine it: "
        + ", ".join(completion.EXPORTS),
        autocompletion=completion.one_of(completion.EXPORTS),
    ),
]
AudioOption = Annotated[
    Path | None,
    typer.Option(
        help="Recording of a single motion (default: the sound that the motion contains)."
    ),
]


def export(
    motions: MotionsArgument,
    out: OutOption = None,
    format: FormatOption = None,
    targets: TargetsOption = None,
    units: UnitsOption = None,
    avatar: AvatarOption = None,
    avatar_map: AvatarMapOption = None,
    avatar_node: AvatarNodeOption = None,
    strength: StrengthOption = None,
    audio: AudioOption = None,
    fps: FpsOfMotions = None,
    data: DataOption = None,
    mesh: MeshOption = None,
    templates: TemplatesOption = None,
    subject: MotionSubject = None,
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Export motions to Blender, Unreal, Unity, Godot, Maya, the browser and others."""
    from codetalker_cli.datasets.motion_files import FaceOptions
    from codetalker_cli.export import batch
    from codetalker_cli.export.formats import check_effective
    from codetalker_cli.export.inputs import SUFFIXES, TakeOptions, read_take

    show, flags = Show(show_settings, as_json), {"export.targets": targets}
    resolved = resolved_sections(show, ["export", "solve"], config, assignments, flags)
    exporters, format = exporters_of(avatar, avatar_map, avatar_node, strength, out, format)
    planned = batch.plan(motions, out, format, SUFFIXES, overwrite=overwrite, exporters=exporters)
    check_effective({job.exporter for job in planned.jobs}, export_keys(resolved, units))
    faces = FaceOptions(data, mesh, templates, subject)
    options = TakeOptions(faces, fps, audio, units, resolved.sections["solve"])
    outputs = [job.out.with_suffix(s) for job in planned.jobs for s in job.exporter.beside]
    outputs += [job.out for job in planned.jobs]
    options.check([job.source for job in planned.jobs], outputs, [avatar, avatar_map])
    with console.bars() as stages:
        report = batch.run(
            planned,
            lambda path: read_take(path, options),
            resolved.sections["export"],
            overwrite=overwrite,
            progress=stages("export"),
        )
    _print(report, planned.is_single, as_json)
    if report.failed:
        raise typer.Exit(1)


def _print(report: "ExportReport", is_single: bool, as_json: bool) -> None:
    if not is_single:
        console.give(report.to_dict(), as_json=as_json, line=report.summary())
        opening = report.done[0]["opening"] if report.done else ""
    else:
        result = {key: value for key, value in report.done[0].items() if key != "motion"}
        opening = result["opening"]
        console.give(result, as_json=as_json, line=line_of(result))
    if opening and not as_json:
        logger.info("%s", console.with_flags(opening))


def line_of(result: dict[str, Any]) -> str:
    """Return the line that describes an export."""
    frames, seconds = counted(result["frames"], "frame"), result["seconds"]
    return f"{names_of(result)}: {result['content']}, {frames}, {seconds:.1f} s{sound_of(result)}"


def names_of(result: dict[str, Any]) -> str:
    """Return the path of an output, and the names of the files that belong to it."""
    return result["out"] + "".join(f" and {Path(p).name}" for p in result.get("beside", ()))


def sound_of(result: dict[str, Any]) -> str:
    """Return where the sound of an export is, if it is in another file."""
    sound = result.get("sound_file")
    return f"; sound: {Path(sound).name}" if sound else ""
