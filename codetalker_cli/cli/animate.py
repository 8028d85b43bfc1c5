"""``codetalker animate``: a recording in, a talking head out."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from codetalker_cli import console
from codetalker_cli.cli.options import AsJson, Assignments, Config, Device, Overwrite
from codetalker_cli.errors import InputError


def animate(
    speech: Annotated[Path, typer.Argument(help="A recording: wav, flac, ogg, mp3, m4a, mp4 …")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Video (.mp4, .mov, .mkv) or motion (.npz, .npy)."),
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Whose face; default the first.")] = None,
    style: Annotated[
        str | None, typer.Option(help="Whose way of speaking: S01, or S01:0.3,S02:0.7.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Checkpoint folder or name; default: see the README."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of blinks and gaze.")] = 0,
    idle: Annotated[bool, typer.Option(help="Add blinks and gaze where the face has them.")] = True,
    fps: Annotated[float | None, typer.Option(help="Frames a second; default the model's.")] = None,
    device: Device = "auto",
    config: Config = None,
    assignments: Assignments = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Make a face say a recording: speech.wav → speech.mp4."""
    from codetalker_cli import audio
    from codetalker_cli.resources import check_output

    # What cannot be used is told before the seconds that a model takes to load.
    samples = audio.load(speech)
    target = speech.with_suffix(".mp4") if out is None else out
    _check_target(target, speech)
    check_output(target, overwrite=overwrite)
    render = _render_settings(config, assignments)
    with console.bars() as stage:
        from codetalker_cli.animate import load_voice

        voice = load_voice(model, subject=subject, device=device)
        motion = voice.animate(
            samples, subject, style, seed=seed, idle=idle, fps=fps, progress=stage("animate")
        )
        motion = replace(motion, audio_path=speech)
        shown = _deliver(motion, target, render, overwrite, stage("render"))
    result = {
        "out": str(target),
        "model": str(voice.checkpoint.path),
        "subject": motion.subject,
        "frames": motion.n_frames,
        "fps": motion.fps,
        "seconds": round(motion.seconds, 3),
        **shown,
    }
    line = f"{target}: {motion.subject}, {motion.n_frames} frames, {motion.seconds:.1f} s"
    console.give(result, as_json=as_json, line=line)


def _check_target(target: Path, speech: Path) -> None:
    from codetalker_cli.motion import SUFFIXES as MOTION_SUFFIXES
    from codetalker_cli.render.video import SUFFIXES as VIDEO_SUFFIXES

    if target.suffix.lower() not in VIDEO_SUFFIXES and target.suffix not in MOTION_SUFFIXES:
        known = ", ".join((*VIDEO_SUFFIXES, *MOTION_SUFFIXES))
        raise InputError(f"--out {target}: the ending must be one of {known}")
    if target.exists() and target.samefile(speech):
        raise InputError(f"{target} is the recording itself; give another --out")
    if target.is_dir():
        raise InputError(f"--out {target} is a folder; give the name of a file")


def _render_settings(config: Path | None, assignments: list[str] | None) -> Any:
    """The render section alone: facts of a data set come from the checkpoint, not from here."""
    from codetalker_cli.presets import resolve_sections

    return resolve_sections(["render"], config, assignments or ()).sections["render"]


def _deliver(
    motion: Any, target: Path, render: Any, overwrite: bool, report: console.Report
) -> dict[str, Any]:
    """Write the motion as a video or as data; what was made, for the report."""
    from codetalker_cli.motion import SUFFIXES

    if target.suffix in SUFFIXES:
        motion.save(target, overwrite=overwrite)
        return {}
    from codetalker_cli.render import render_video

    made = render_video(motion, target, render, report, overwrite=overwrite)
    return {"renderer": made.renderer, "size": list(made.size), "sound": made.has_sound}
