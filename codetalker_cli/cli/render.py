"""``codetalker render``: motions in, a video of them side by side out."""

from pathlib import Path
from typing import Annotated

import typer

from codetalker_cli.cli import console
from codetalker_cli.cli.options import AsJson, Assignments, Config, Overwrite

MotionsArgument = Annotated[
    list[Path],
    typer.Argument(
        help="Motion (.npz, or .npy of (frames, vertices, 3) or (frames, 3 vertices)) or filmed "
        "video of the same speech; several are shown side by side.",
        show_default=False,
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Video (.mp4, .mov, .mkv, .webm), or a contact sheet (.png, .jpg); default beside "
        "the first motion.",
    ),
]
AudioOption = Annotated[
    Path | None,
    typer.Option(help="Recording or video to be heard; default the first motion's own."),
]
LabelsOption = Annotated[
    list[str] | None,
    typer.Option("--label", help="Above each motion, in order; default file names."),
]
HeatOption = Annotated[
    bool, typer.Option("--heat", help="Also show how far each motion is from the first.")
]
ViewOption = Annotated[str | None, typer.Option(help="front, three-quarter, profile, mouth.")]
BackgroundOption = Annotated[
    str | None, typer.Option(help="black, white, transparent (.mov, .webm, .png), #rrggbb.")
]
SizeOption = Annotated[int | None, typer.Option(help="Width and height of a panel in pixels.")]
FpsOption = Annotated[
    float | None, typer.Option(help="Frames a second of all; also of .npy that tells none.")
]
RendererName = Annotated[str | None, typer.Option(help="auto, software, pyrender.")]
DataOption = Annotated[Path | None, typer.Option(help="Of .npy: prepared data set.")]
MeshOption = Annotated[
    str | None,
    typer.Option(
        "--mesh", help="Of .npy: a checkpoint, or a neutral face (.obj, .ply, .glb, .off)."
    ),
]
TemplatesOption = Annotated[
    Path | None, typer.Option(help="Of .npy, beside --mesh: templates.pkl.")
]
SubjectOption = Annotated[
    str | None, typer.Option(help="Of .npy: whose face; default as the name begins.")
]


def render(
    motions: MotionsArgument,
    out: OutOption = None,
    audio: AudioOption = None,
    labels: LabelsOption = None,
    heat: HeatOption = False,
    view: ViewOption = None,
    background: BackgroundOption = None,
    size: SizeOption = None,
    fps: FpsOption = None,
    renderer: RendererName = None,
    data: DataOption = None,
    mesh: MeshOption = None,
    templates: TemplatesOption = None,
    subject: SubjectOption = None,
    config: Config = None,
    assignments: Assignments = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Show motions side by side: in a video or on a sheet."""
    from codetalker_cli.datasets.motion_files import FaceOptions, read_motions
    from codetalker_cli.presets import resolve_sections
    from codetalker_cli.render.comparison import choose_target, compare, write
    from codetalker_cli.render.footage import is_footage

    flags = {"view": view, "background": background, "size": size, "renderer": renderer}
    flags = {f"render.{key}": value for key, value in flags.items()}
    settings = resolve_sections(["render"], config, assignments or (), flags).sections["render"]
    target = choose_target(out, motions, settings, overwrite=overwrite)
    files = [path for path in motions if not is_footage(path)]
    read = read_motions(files, FaceOptions(data, mesh, templates, subject), fps)
    shown = compare(read, motions, labels=labels, heat=heat, audio=audio)
    with console.bars() as stages:
        written = write(shown, target, settings, stages("render"), overwrite=overwrite)
    result = {"out": str(target), "motions": [str(path) for path in motions], **written.to_dict()}
    several = f"{written.n_panels} side by side, " * (written.n_panels > 1)
    seconds = written.n_frames / written.fps
    line = f"{target}: {several}{written.n_frames} frames, {seconds:.1f} s"
    console.give(result, as_json=as_json, line=line)
