"""The ``codetalker render`` command."""

from pathlib import Path
from typing import Annotated

import typer

from codetalker_cli.cli import completion, console
from codetalker_cli.cli.options import (
    AsJson,
    Assignments,
    Config,
    DataOption,
    FpsOfMotions,
    MeshOption,
    MotionSubject,
    Overwrite,
    Show,
    ShowSettings,
    TemplatesOption,
    given_keys,
    resolved_sections,
)
from codetalker_cli.errors import counted
from codetalker_cli.progress import silent

MotionsArgument = Annotated[
    list[Path],
    typer.Argument(
        help="Motions (.npz, or .npy of shape (T, V, 3) or (T, 3V)), rig curves (.csv of Live Link "
        "Face, .json of Audio2Face) and filmed videos of the same speech; several are shown side "
        "by side.",
        show_default=False,
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Output video (.mp4, .mov, .mkv, .webm), page with a viewer (.html) or contact sheet "
        "(.png, .jpg); default: a video next to the first motion.",
    ),
]
AudioOption = Annotated[
    Path | None,
    typer.Option(
        help="Recording or video for the soundtrack (default: the sound of the first motion that "
        "has any, else of the filmed video)."
    ),
]
LabelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        help="Label of a motion; repeat the option for each, in order (default: the file names).",
    ),
]
HeatOption = Annotated[
    bool,
    typer.Option(
        "--heat", help="Also show the distance of each motion from the first as a heat map."
    ),
]
CurvesOption = Annotated[
    bool,
    typer.Option(
        "--curves",
        help="Also draw lip opening and mouth width over time; faces in filmed videos are tracked.",
    ),
]
ViewOption = Annotated[
    str | None,
    typer.Option(
        help="Camera view: front (default), three-quarter, profile or mouth.",
        autocompletion=completion.one_of(completion.VIEWS),
    ),
]
BackgroundOption = Annotated[
    str | None,
    typer.Option(
        help="Background: black, white, transparent (.mov, .webm, .png) or #rrggbb.",
        autocompletion=completion.one_of(completion.BACKGROUNDS),
    ),
]
SizeOption = Annotated[
    int | None, typer.Option(help="Width and height of a panel, in pixels (default: 720).")
]
RendererName = Annotated[
    str | None,
    typer.Option(
        help="Renderer: auto (default), software or pyrender.",
        autocompletion=completion.one_of(completion.RENDERERS),
    ),
]


def render(
    motions: MotionsArgument,
    out: OutOption = None,
    audio: AudioOption = None,
    labels: LabelsOption = None,
    heat: HeatOption = False,
    curves: CurvesOption = False,
    view: ViewOption = None,
    background: BackgroundOption = None,
    size: SizeOption = None,
    fps: FpsOfMotions = None,
    renderer: RendererName = None,
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
    """Render motions side by side, as a video, a page with a viewer or a contact sheet."""
    from codetalker_cli.datasets.motion_files import FaceOptions, read_motions
    from codetalker_cli.render.comparison import compare, write
    from codetalker_cli.render.footage import is_footage
    from codetalker_cli.render.targets import check_curves, check_settings, choose_target

    flags = {"view": view, "background": background, "size": size, "renderer": renderer}
    flags = {f"render.{key}": value for key, value in flags.items()}
    show = Show(show_settings, as_json)
    resolved = resolved_sections(show, ["render"], config, assignments, flags)
    settings = resolved.sections["render"]
    target = choose_target(out, motions, settings, overwrite=overwrite, audio=audio)
    check_settings(target, given_keys(resolved, "render"))
    if curves:
        check_curves(target, motions)
    files = [path for path in motions if not is_footage(path)]
    read = read_motions(files, FaceOptions(data, mesh, templates, subject), fps)
    with console.bars() as stages:
        shown = compare(
            read,
            motions,
            labels=labels,
            heat=heat,
            curves=curves,
            audio=audio,
            progress=stages("track") if curves else silent,
        )
        written = write(shown, target, settings, stages("render"), overwrite=overwrite)
    result = {"out": str(target), "motions": [str(path) for path in motions], **written.to_dict()}
    several = f"{written.n_panels} side by side, " * (written.n_panels > 1)
    seconds = written.n_frames / written.fps
    line = f"{target}: {several}{counted(written.n_frames, 'frame')}, {seconds:.1f} s"
    console.give(result, as_json=as_json, line=line)
