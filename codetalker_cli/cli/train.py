"""``codetalker train-vq`` and ``train-speech``: a prepared data set in, a checkpoint out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from codetalker_cli import console
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
    """Settings and the opened data set.

    Its facts come from its folder; the rest from the preset of its name, or, where there is none,
    from the preset for data of one's own.
    """
    from codetalker_cli.data.prepared import MANIFEST, PreparedDataSet
    from codetalker_cli.resources import config_names

    layers: dict[str, Any] = {"config": config, "assignments": assignments}
    if show and preset and not (data / MANIFEST).exists():
        resolved_settings(show, preset=preset, **layers)  # which ends the command
    opened = PreparedDataSet(data)
    name = opened.manifest.name
    chosen = preset or (name if name in config_names() else "own")
    settings = resolved_settings(show, preset=chosen, facts=opened.facts, **layers)
    return settings, opened


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
