"""``codetalker train-vq`` and ``train-speech``: a prepared data set in, a checkpoint out."""

import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from codetalker_cli.cli import console
from codetalker_cli.cli.options import (
    AsJson,
    Assignments,
    Config,
    Device,
    Overwrite,
    Preset,
    ShowSettings,
    resolved_settings,
)
from codetalker_cli.devices import is_main_process
from codetalker_cli.errors import InputError
from codetalker_cli.workspace import is_checkpoint

Data = Annotated[
    Path | None,
    typer.Argument(help="Prepared data set; default the last one prepared under data/."),
]
Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Checkpoint; default runs/DATA_SET/STAGE.")
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on with the run at --out, with its data and settings."),
]


def train_vq_command(
    data: Data = None,
    out: Out = None,
    preset: Preset = None,
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    device: Device = "auto",
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Stage 1: learn the codebook of facial motion."""
    layers = _Layers(preset, config, assignments)
    run = _begin("vq", data, out, layers, show_settings, resume, overwrite)
    from codetalker_cli.devices import pick_device
    from codetalker_cli.train.vq import train_vq

    with console.bars() as stage:
        done = train_vq(
            run.data,
            run.settings,
            run.out,
            device=str(pick_device(device)),
            resume=resume,
            report=_training(stage("train-vq")),
        )
    _trained(run.out, done, as_json)


def train_speech_command(
    data: Data = None,
    vq: Annotated[
        str | None, typer.Option(help="Stage-1 checkpoint; default: vq beside --out.")
    ] = None,
    out: Out = None,
    preset: Preset = None,
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    device: Device = "auto",
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Stage 2: learn to speak in those codes."""
    layers = _Layers(preset, config, assignments)
    run = _begin("speech", data, out, layers, show_settings, resume, overwrite)
    from codetalker_cli.devices import pick_device
    from codetalker_cli.models import checkpoint
    from codetalker_cli.train.speech import train_speech

    wanted = vq or run.stage1 or str(run.out.with_name("vq"))
    if vq is None and not is_checkpoint(Path(wanted)):
        raise InputError(
            f"{wanted}: no stage 1 there; train it first with `codetalker train-vq "
            f"{run.data.folder}`, or name one with --vq"
        )
    stage1 = checkpoint.load(wanted)
    if vq is None and is_main_process():
        console.say(f"stage 1: {stage1.path}")
    with console.bars() as stage:
        done = train_speech(
            run.data,
            run.settings,
            stage1,
            run.out,
            device=str(pick_device(device)),
            resume=resume,
            report=_training(stage("train-speech")),
            encoding_progress=stage("speech features"),
        )
    _trained(run.out, done, as_json)


class _Layers(NamedTuple):
    """Where settings come from."""

    preset: str | None
    config: Path | None
    assignments: list[str] | None


class _Run(NamedTuple):
    """What is trained on what, and where to."""

    data: Any
    settings: Any
    out: Path
    stage1: str


def _begin(
    stage: str,
    data: Path | None,
    out: Path | None,
    layers: _Layers,
    show: bool,
    resume: bool,
    overwrite: bool,
) -> _Run:
    """Data set, settings and target of a run, checked; those of a run to resume are its own."""
    from codetalker_cli.datasets.prepared import PreparedDataSet
    from codetalker_cli.train.run_folder import RunFolder
    from codetalker_cli.workspace import MANIFEST, newest_data_set

    if show and layers.preset and (data is None or not (data / MANIFEST).exists()):
        resolved_settings(show, **layers._asdict())  # which ends the command
    if out is not None and not out.name:
        raise InputError(f"--out {out}: the checkpoint's folder needs a name of its own")
    if resume and overwrite:
        raise InputError("--resume goes on with a run, --overwrite begins it anew: give one")
    begun = RunFolder(out).describe() if resume and out is not None else None
    if data is None:
        data = Path(begun["data"]) if begun else newest_data_set()
        if is_main_process():
            console.say(f"data set: {data}")
    opened = PreparedDataSet(data)
    if show:
        _settings(opened, layers, True, None, stage)  # which ends the command
    target = out or Path("runs") / opened.manifest.name / stage
    folder = RunFolder(target)
    if resume:
        begun = folder.describe()
        if begun is None and is_main_process():
            console.say(f"{target}: no run was begun here; this begins one")
    elif is_main_process():
        folder.check(overwrite=overwrite)
    settings = _settings(opened, layers, False, begun, stage)
    return _Run(opened, settings, target, begun["stage1"] if begun else "")


def _settings(
    opened: Any, layers: _Layers, show: bool, begun: dict[str, Any] | None, stage: str
) -> Any:
    """Settings of a run; of one to be resumed those it was begun with, which must not change.

    The facts of a data set come from its folder; the rest from the preset of its name, or, where
    there is none, from the preset for data of one's own.
    """
    from codetalker_cli.resources import config_names
    from codetalker_cli.train.run_folder import resumed_settings

    if begun is not None and layers.preset is None:
        own = resolved_settings(False, begun=begun["settings"], **layers._asdict())
        return resumed_settings(begun, own, stage)
    name = opened.manifest.name
    preset = layers.preset or (name if name in config_names() else "custom")
    given = {**layers._asdict(), "preset": preset}
    settings = resolved_settings(show, facts=opened.facts, **given)
    return settings if begun is None else resumed_settings(begun, settings, stage)


def _training(report: console.Report) -> Any:
    """Steps in the bar, with epoch, loss, codes in use, steps a second."""
    began: list[tuple[int, float]] = []

    def show(progress: Any) -> None:
        now = (progress.step, time.monotonic())
        began.append(now)
        del began[:-50]  # the speed of the last steps
        (first, then), (step, at) = began[0], now
        values = progress.values
        parts = [f"epoch {progress.epoch} loss {values.get('loss', float('nan')):.3g}"]
        if "codes_used" in values:
            parts.append(f"codes {values['codes_used']:.0f}")
        if step > first:
            parts.append(f"{(step - first) / (at - then):.2g}/s")
        report(progress.step, progress.n_steps, " ".join(parts))

    return show


def _trained(target: Path, done: Any, as_json: bool) -> None:
    if not is_main_process():
        return
    shown = {key: round(value, 8) for key, value in done.values.items()}
    run = target.with_name(f"{target.name}-run")
    line = (
        f"{target}: {done.step} steps, best score {done.best:.4g} in epoch {done.best_epoch}; "
        f"curves{' and a sample video' * bool(done.sample)} in {run}"
    )
    result = {
        "out": str(target),
        "run": str(run),
        "steps": done.step,
        "best": done.best,
        "best_epoch": done.best_epoch,
        "last": shown,
    }
    console.give(result, as_json=as_json, line=line)
