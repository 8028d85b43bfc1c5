"""The ``codetalker animate`` command."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codetalker_cli.cli import completion, console
from codetalker_cli.cli.options import (
    AsJson,
    Assignments,
    Config,
    Device,
    Overwrite,
    Show,
    ShowSettings,
    resolved_sections,
)
from codetalker_cli.devices import is_main_process
from codetalker_cli.errors import counted
from codetalker_cli.progress import Stages

if TYPE_CHECKING:
    from codetalker_cli.animate import Voice
    from codetalker_cli.animate.batch import BatchReport
    from codetalker_cli.animate.jobs import Job
    from codetalker_cli.motion import Motion
    from codetalker_cli.settings import RenderSettings

SpeechArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Recordings (wav, flac, ogg, mp3, m4a, mp4 …) or folders of recordings. If the last "
        "of several is a folder without recordings, it is the output folder; end its name with a "
        "slash if it does not exist yet.",
        show_default=False,
    ),
]
OutOption = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        help="Output video (.mp4, .mov, .mkv) or motion (.npz, .npy); for several recordings, "
        "the output folder.",
    ),
]
ManifestOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV file of recordings with the columns audio and, if wanted, out, subject, style, "
        "seed and fps."
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Format for several recordings: mp4 (default), mov, mkv, npz or npy.",
        autocompletion=completion.one_of(completion.FORMATS),
    ),
]
SubjectOption = Annotated[
    str | None,
    typer.Option(
        help="Subject to animate (default: the first).", autocompletion=completion.subjects
    ),
]
StyleOption = Annotated[
    str | None,
    typer.Option(
        help="Speaking style, e.g. S01, or a blend such as S01:0.3,S02:0.7.",
        autocompletion=completion.styles,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        help="Checkpoint folder or name, e.g. demo (default order: see the README).",
        autocompletion=completion.models,
    ),
]
FpsOption = Annotated[float | None, typer.Option(help="Output frame rate (default: the model's).")]
IdleOption = Annotated[bool, typer.Option(help="Add blinks and gaze, if the face supports them.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Random seed for blinks and gaze.")]


def animate(
    speech: SpeechArgument = None,
    out: OutOption = None,
    manifest: ManifestOption = None,
    suffix: FormatOption = None,
    subject: SubjectOption = None,
    style: StyleOption = None,
    model: ModelOption = None,
    seed: SeedOption = 0,
    idle: IdleOption = True,
    fps: FpsOption = None,
    device: Device = "auto",
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Animate a face from one or several recordings: speech.wav → speech.mp4."""
    from codetalker_cli.animate.jobs import Request, plan
    from codetalker_cli.motion import SUFFIXES as MOTION_SUFFIXES
    from codetalker_cli.render.video import SUFFIXES as VIDEO_SUFFIXES

    show = Show(show_settings, as_json)
    sections = resolved_sections(show, ["render", "decode"], config, assignments).sections
    planned = plan(
        speech or [],
        Request(Path(), subject, style, seed, idle, fps),
        endings=(*VIDEO_SUFFIXES, *MOTION_SUFFIXES),
        out=out,
        manifest=manifest,
        suffix=suffix,
        overwrite=overwrite,
    )
    from codetalker_cli.animate import batch

    decode = sections["decode"].model_dump(include=sections["decode"].model_fields_set)
    with console.bars(shown=is_main_process()) as stages:
        write = partial(_write, render=sections["render"], overwrite=overwrite, stages=stages)
        options: dict[str, Any] = {
            "model": model,
            "device": device,
            "decode": decode,
            "overwrite": overwrite,
        }
        report = batch.run(planned, write, stages=stages, **options)
    if is_main_process():
        _print(report, planned.is_single, as_json)
    if report.failed:
        raise typer.Exit(1)


def _write(
    voice: "Voice",
    motion: "Motion",
    job: "Job",
    *,
    render: "RenderSettings",
    overwrite: bool,
    stages: Stages,
) -> dict[str, Any]:
    """Write a motion as a video or as data, and return the facts to report."""
    from codetalker_cli.motion import SUFFIXES
    from codetalker_cli.render import render_video

    video: dict[str, Any] = {}
    if job.out.suffix.lower() in SUFFIXES:
        motion.save(job.out, overwrite=overwrite)
    else:
        written = render_video(motion, job.out, render, stages("render"), overwrite=overwrite)
        size, sound = list(written.size), written.has_sound
        video = {"renderer": written.renderer, "size": size, "sound": sound}
    return {
        "out": str(job.out),
        "model": str(voice.checkpoint.path),
        "subject": motion.subject,
        "frames": motion.n_frames,
        "fps": motion.fps,
        "seconds": round(motion.seconds, 3),
        **video,
    }


def _print(report: "BatchReport", is_single: bool, as_json: bool) -> None:
    if not is_single:
        console.give(report.to_dict(), as_json=as_json, line=report.summary())
        return
    result = {key: value for key, value in report.done[0].items() if key != "speech"}
    line = "{out}: {subject}, {frames}, {seconds:.1f} s".format(
        **{**result, "frames": counted(result["frames"], "frame")}
    )
    console.give(result, as_json=as_json, line=line)
