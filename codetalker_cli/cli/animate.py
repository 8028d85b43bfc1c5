"""``codetalker animate``: recordings in, talking heads out."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from codetalker_cli.cli import console
from codetalker_cli.cli.options import AsJson, Assignments, Config, Device, Overwrite
from codetalker_cli.errors import InputError

if TYPE_CHECKING:
    from codetalker_cli.animate import Voice


Speech = Annotated[
    list[str] | None,
    typer.Argument(
        help="A recording (wav, flac, ogg, mp3, m4a, mp4 …), or several, or folders of them; "
        "a last folder without recordings (new: with a slash) is where results go.",
        show_default=False,
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        help="Video (.mp4, .mov, .mkv) or motion (.npz, .npy); of several the folder.",
    ),
]
Manifest = Annotated[
    Path | None, typer.Option(help="CSV file with the columns audio[,out,subject,style,seed,fps].")
]
Format = Annotated[
    str | None,
    typer.Option("--format", help="Of several results: mp4 (default), mov, mkv, npz, npy."),
]


def animate(
    speech: Speech = None,
    out: Out = None,
    manifest: Manifest = None,
    suffix: Format = None,
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
    """Make a face say a recording, or many: speech.wav → speech.mp4."""
    # What cannot be used is told before the seconds that a model takes to load.
    from codetalker_cli.animate.jobs import is_one
    from codetalker_cli.presets import resolve_sections

    sections = resolve_sections(["render", "decode"], config, assignments or ()).sections
    decode = sections["decode"].model_dump(include=sections["decode"].model_fields_set)
    asked = _Asked(
        voice={"model": model, "subject": subject, "device": device, "decode": decode},
        spoken={"subject": subject, "style": style, "seed": seed, "idle": idle, "fps": fps},
        render=sections["render"],
        overwrite=overwrite,
        as_json=as_json,
    )
    given = speech or []
    if not given and manifest is None:
        raise InputError("no recording: give one, several, a folder of them, or --manifest FILE")
    if given and manifest is not None:
        raise InputError(f"--manifest {manifest}: names the recordings; give no others beside it")
    ending = ".mp4" if suffix is None else f".{suffix.lower().removeprefix('.')}"
    if manifest is not None or not is_one(given, out):
        _animate_many(given, manifest, out, ending, asked)
        return
    if out is not None and suffix is not None:
        raise InputError(f"--format {suffix}: the ending of --out {out} says it; give one of both")
    one = Path(given[0])
    _animate_one(one, one.with_suffix(ending) if out is None else Path(out), asked)


class _Asked(NamedTuple):
    """What one recording and many have in common."""

    voice: dict[str, Any]
    spoken: dict[str, Any]
    render: Any
    overwrite: bool
    as_json: bool


def _animate_one(speech: Path, target: Path, asked: _Asked) -> None:
    from codetalker_cli import audio
    from codetalker_cli.files import check_output

    samples = audio.load(speech)
    _check_target(target, speech)
    check_output(target, overwrite=asked.overwrite)
    with console.bars() as stage:
        from codetalker_cli.animate import load_voice

        voice = load_voice(**asked.voice)
        motion = voice.animate(samples, progress=stage("animate"), **asked.spoken)
        motion = replace(motion, audio_path=speech)
        made = _deliver(motion, target, voice, asked, stage("render"))
    line = f"{target}: {motion.subject}, {motion.n_frames} frames, {motion.seconds:.1f} s"
    console.give(made, as_json=asked.as_json, line=line)


def _animate_many(
    speech: list[str], manifest: Path | None, out: str | None, ending: str, asked: _Asked
) -> None:
    from codetalker_cli.animate.jobs import Request, from_arguments, from_manifest
    from codetalker_cli.files import check_output

    request = Request(Path(), **asked.spoken)
    if manifest is None:
        jobs = from_arguments(speech, out, ending, request)
    else:
        jobs = from_manifest(manifest, out, ending, request)
    for job in jobs:
        _check_target(job.out, job.speech)
    for one in {job.out.parent: job.out for job in jobs}.values():
        check_output(one, overwrite=True)  # what exists is done; can it be written there?
    from codetalker_cli.animate import batch, load_voice
    from codetalker_cli.devices import is_main_process, join_processes

    device = join_processes(asked.voice["device"])
    is_main = is_main_process()
    with console.bars(shown=is_main) as stage:
        voice = load_voice(**asked.voice | {"device": device})
        voice.check(request)
        report = batch.run(
            voice,
            batch.share(jobs),
            lambda motion, job: _deliver(motion, job.out, voice, asked, stage("render")),
            overwrite=asked.overwrite,
            progress=stage("animate"),
            finished=stage("recordings"),
        )
        report = batch.gathered(report)
    if is_main:
        console.give(report.to_dict(), as_json=asked.as_json, line=report.summary())
    if report.failed:
        raise typer.Exit(1)


def _check_target(target: Path, speech: Path) -> None:
    from codetalker_cli.motion import SUFFIXES as MOTION_SUFFIXES
    from codetalker_cli.render.video import SUFFIXES as VIDEO_SUFFIXES

    if target.suffix.lower() not in VIDEO_SUFFIXES and target.suffix not in MOTION_SUFFIXES:
        known = ", ".join((*VIDEO_SUFFIXES, *MOTION_SUFFIXES))
        raise InputError(f"--out {target}: the ending must be one of {known}")
    if target.exists() and speech.exists() and target.samefile(speech):
        raise InputError(f"{target} is the recording itself; give another --out")
    if target.is_dir():
        raise InputError(f"--out {target} is a folder; give the name of a file")


def _deliver(
    motion: Any,
    target: Path,
    voice: "Voice",
    asked: _Asked,
    report: console.Report,
) -> dict[str, Any]:
    """Write the motion as a video or as data; what was made, for the report."""
    from codetalker_cli.motion import SUFFIXES

    shown: dict[str, Any] = {}
    if target.suffix in SUFFIXES:
        motion.save(target, overwrite=asked.overwrite)
    else:
        from codetalker_cli.render import render_video

        made = render_video(motion, target, asked.render, report, overwrite=asked.overwrite)
        shown = {"renderer": made.renderer, "size": list(made.size), "sound": made.has_sound}
    return {
        "out": str(target),
        "model": str(voice.checkpoint.path),
        "subject": motion.subject,
        "frames": motion.n_frames,
        "fps": motion.fps,
        "seconds": round(motion.seconds, 3),
        **shown,
    }
