"""The ``codetalker`` command: settings in, one call, report out. Heavy imports stay inside."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from codetalker_cli import console
from codetalker_cli.errors import CodeTalkerError, InputError

app = typer.Typer(
    name="codetalker",
    help="Speech-driven 3D facial animation: a recording in, a talking head out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
prepare_app = typer.Typer(
    name="prepare-data", help="Make a prepared data set for training.", no_args_is_help=True
)
app.add_typer(prepare_app)

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


def _version(wanted: bool) -> None:
    if wanted:
        from codetalker_cli.resources import package_version

        console.stdout.print(f"codetalker-cli {package_version()}", highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show debug messages.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    console.set_up(verbose)


def _settings(show: bool, **layers: Any) -> Any:
    """Resolved settings; with ``show`` they are printed and the command ends."""
    from codetalker_cli.presets import resolve

    assignments = layers.pop("assignments") or ()
    resolved = resolve(assignments=assignments, **layers)
    if show:
        console.table("", ["setting", "value", "origin"], list(resolved.rows()))
        raise typer.Exit
    return resolved.settings


@app.command()
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
    from codetalker_cli.presets import resolve_section

    return resolve_section("render", config=config, assignments=assignments or ())


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


@prepare_app.command("demo")
def prepare_demo(
    out: Annotated[Path, typer.Argument(help="The prepared folder.")] = Path("data/demo"),
    speech: Annotated[
        Path | None,
        typer.Option(help="Folder of recordings with transcripts, instead of an engine."),
    ] = None,
    engine: Annotated[str | None, typer.Option(help="Speech engine: espeak or kokoro.")] = None,
    voices_dir: Annotated[
        Path | None, typer.Option(help="kokoro's voices: a folder or the kokoro-js .tgz.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes of speech to make.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same data.")] = None,
    preset: Preset = "demo",
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Synthetic talking heads: no recordings of people, nothing to ask for."""
    flags = {"demo.engine": engine, "demo.minutes": minutes, "demo.seed": seed}
    settings = _settings(
        show_settings, preset=preset, config=config, assignments=assignments, flags=flags
    )
    from codetalker_cli.data import demo

    options = {} if voices_dir is None else {"voices_dir": voices_dir}
    with console.bars() as stage:
        manifest = demo.prepare(
            out,
            settings,
            speech,
            engine_options=options,
            overwrite=overwrite,
            progress=lambda name, done, total: stage(name)(done, total),
        )
    minutes_made = sum(clip.n_frames for clip in manifest.clips) / manifest.fps / 60
    left_out = len(manifest.notes["left_out"])
    line = f"{out}: {len(manifest.clips)} clips, {minutes_made:.1f} min, {left_out} left out"
    result = {"out": str(out), "clips": len(manifest.clips), "minutes": minutes_made}
    console.give({**result, "data_id": manifest.data_id}, as_json=as_json, line=line)


@app.command("train-vq")
def train_vq_command(
    data: Annotated[Path, typer.Argument(help="Prepared data set.")] = Path("data/demo"),
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Checkpoint; default runs/NAME/vq.")
    ] = None,
    preset: Preset = None,
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Stage 1: learn the codebook of facial motion."""
    settings, opened = _training_data(data, show_settings, preset, config, assignments)
    target = _run_folder(out, opened.manifest.name, "vq", overwrite)
    from codetalker_cli.animate import pick_device
    from codetalker_cli.train.vq import train_vq

    with console.bars() as stage:
        done = train_vq(
            opened,
            settings,
            target,
            device=str(pick_device(device)),
            report=_training(stage("train-vq")),
        )
    _trained(target, done, as_json)


@app.command("train-speech")
def train_speech_command(
    data: Annotated[Path, typer.Argument(help="Prepared data set.")] = Path("data/demo"),
    vq: Annotated[
        str | None, typer.Option(help="Stage-1 checkpoint; default: vq beside --out.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Checkpoint; default runs/NAME/speech.")
    ] = None,
    preset: Preset = None,
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    device: Device = "auto",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Stage 2: learn to speak in those codes."""
    settings, opened = _training_data(data, show_settings, preset, config, assignments)
    target = _run_folder(out, opened.manifest.name, "speech", overwrite)
    from codetalker_cli.animate import pick_device
    from codetalker_cli.models import checkpoint
    from codetalker_cli.train.speech import train_speech

    stage1 = checkpoint.load(vq or target.with_name("vq"))
    with console.bars() as stage:
        done = train_speech(
            opened,
            settings,
            stage1,
            target,
            device=str(pick_device(device)),
            report=_training(stage("train-speech")),
            encoding=stage("speech features"),
        )
    _trained(target, done, as_json)


def _training_data(
    data: Path, show: bool, preset: str | None, config: Path | None, assignments: list[str] | None
) -> tuple[Any, Any]:
    """Settings and the opened data set, whose name is the preset unless one is given."""
    from codetalker_cli.data.prepared import PreparedDataSet

    name = preset or PreparedDataSet(data).manifest.name
    settings = _settings(show, preset=name, config=config, assignments=assignments)
    return settings, PreparedDataSet(data)


def _run_folder(out: Path | None, name: str, stage: str, overwrite: bool) -> Path:
    from codetalker_cli.models.checkpoint import LAST, check_folder

    target = Path("runs") / name / stage if out is None else out
    check_folder(target, overwrite=overwrite)
    check_folder(target.with_name(f"{target.name}{LAST}"), overwrite=overwrite)
    return target


def _training(report: console.Report) -> Any:
    """Steps in the bar, with the epoch, the loss and the best validation score so far."""

    def show(progress: Any) -> None:
        loss = progress.values.get("loss", float("nan"))
        note = f"epoch {progress.epoch} loss {loss:.4g} best {progress.best:.4g}"
        report(progress.step, progress.n_steps, note)

    return show


def _trained(target: Path, done: Any, as_json: bool) -> None:
    shown = {key: round(value, 8) for key, value in done.values.items()}
    line = f"{target}: {done.step} steps, best score {done.best:.4g}"
    result = {"out": str(target), "steps": done.step, "best": done.best, "last": shown}
    console.give(result, as_json=as_json, line=line)


@app.command("import-checkpoint")
def import_checkpoint(
    stage1: Annotated[Path, typer.Argument(help="Official stage-1 file (.pth.tar).")],
    stage2: Annotated[Path, typer.Argument(help="Official stage-2 file (.pth.tar).")],
    out: Annotated[Path, typer.Argument(help="Checkpoint folder to write.")],
    preset: Annotated[str, typer.Option(help="The data set's preset: vocaset or biwi.")],
    templates: Annotated[
        Path | None, typer.Option(help="The data set's templates.pkl: needed to animate.")
    ] = None,
    faces: Annotated[
        Path | None, typer.Option(help="Mesh of the topology, e.g. FLAME_sample.ply, BIWI.ply.")
    ] = None,
    config: Config = None,
    assignments: Assignments = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Bring the official weights into one self-describing folder."""
    settings = _settings(False, preset=preset, config=config, assignments=assignments)
    from codetalker_cli.import_checkpoint import import_official

    folder = import_official(
        stage1, stage2, out, settings, templates=templates, faces=faces, overwrite=overwrite
    )
    if templates is None:
        console.say("no --templates and --faces: the folder holds no face to animate yet")
    result = {"out": str(folder), "preset": preset}
    console.give(result, as_json=as_json, line=f"{folder}: imported")


def main() -> None:
    """Run the command; an error of the person's making is one line, exit code 1 or 2."""
    try:
        app()
    except CodeTalkerError as error:
        console.fail(str(error))
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a name that is too long: not the program's doing
        console.fail(str(error))
        sys.exit(1)
