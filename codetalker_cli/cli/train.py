"""The ``codetalker train-vq`` and ``train-speech`` commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codetalker_cli.cli import completion, console
from codetalker_cli.cli.options import (
    AsJson,
    Assignments,
    Config,
    Device,
    Overwrite,
    Preset,
    Show,
    ShowSettings,
)
from codetalker_cli.devices import is_main_process

if TYPE_CHECKING:
    from codetalker_cli.train.progress import ProgressReport, TrainingProgress

DataArgument = Annotated[
    Path | None,
    typer.Argument(help="Prepared data set (default: the latest under data/)."),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="Checkpoint to write (default: runs/DATA_SET/STAGE)."),
]
ResumeOption = Annotated[
    bool,
    typer.Option("--resume", help="Resume the run at --out, with its data and settings."),
]


def train_vq_command(
    data: DataArgument = None,
    out: OutOption = None,
    preset: Preset = None,
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    device: Device = "auto",
    resume: ResumeOption = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Train stage 1, the codebook of facial motion."""
    from codetalker_cli.train.setup import Layers, set_up, settings_to_show

    layers = Layers(preset, config, assignments or ())
    if show_settings:
        show = Show(as_json=as_json)
        show.print(settings_to_show("vq", data, layers, out=out, resume=resume))
    run = set_up("vq", data, out, layers, resume=resume, overwrite=overwrite)
    from codetalker_cli.devices import pick_device
    from codetalker_cli.train.vq import train_vq

    device = str(pick_device(device))
    with console.bars() as stages:
        report = _training(stages("train-vq"))
        done = train_vq(
            run.data, run.settings, run.out, device=device, resume=resume, report=report
        )
    _trained(run.out, done, as_json)


def train_speech_command(
    data: DataArgument = None,
    vq: Annotated[
        str | None,
        typer.Option(
            help="Stage-1 checkpoint (default: vq next to --out).",
            autocompletion=completion.models,
        ),
    ] = None,
    out: OutOption = None,
    preset: Preset = None,
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    device: Device = "auto",
    resume: ResumeOption = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Train stage 2, which predicts the codes of stage 1 from speech."""
    from codetalker_cli.train.setup import Layers, set_up, settings_to_show

    layers = Layers(preset, config, assignments or ())
    if show_settings:
        show = Show(as_json=as_json)
        show.print(settings_to_show("speech", data, layers, out=out, resume=resume))
    run = set_up("speech", data, out, layers, resume=resume, overwrite=overwrite)
    from codetalker_cli.devices import pick_device
    from codetalker_cli.train.speech import SpeechReports, train_speech

    stage1, device = run.load_stage1(vq), str(pick_device(device))
    with console.bars() as stages:
        done = train_speech(
            run.data,
            run.settings,
            stage1,
            run.out,
            device=device,
            resume=resume,
            reports=SpeechReports(_training(stages("train-speech")), stages("speech features")),
        )
    _trained(run.out, done, as_json)


def _training(report: console.Report) -> "ProgressReport":
    """Return a report that shows the steps as a progress bar, with a note on the latest one."""
    from codetalker_cli.train.progress import ProgressNote

    note = ProgressNote()
    return lambda progress: report(progress.step, progress.n_steps, note(progress))


def _trained(target: Path, done: "TrainingProgress", as_json: bool) -> None:
    if is_main_process():
        console.give(done.to_dict(target), as_json=as_json, line=done.summary(target))
