"""``codetalker eval``: a checkpoint and a split in, numbers and a report out."""

from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from codetalker_cli.cli import console
from codetalker_cli.cli.metrics import interval, number
from codetalker_cli.cli.options import AsJson, Assignments, Config, Device, Overwrite
from codetalker_cli.errors import InputError


def evaluate(
    checkpoint: Annotated[
        str | None,
        typer.Argument(help="Checkpoint, stage 1 or 2; default the last training run's best."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Prepared data set; default the one it was trained on.")
    ] = None,
    split: Annotated[
        str, typer.Option(help="Split: val, test, test-a …; test is all tests.")
    ] = "test",
    style: Annotated[
        str | None,
        typer.Option(help="Whose styles: auto (a training subject's own, else all), all, S01,S02."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder; default runs/DATA_SET/CHECKPOINT-eval/SPLIT."),
    ] = None,
    device: Device = "auto",
    config: Config = None,
    assignments: Assignments = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate a checkpoint: predictions, metrics beside baselines, and an HTML report.

    Given again, the command goes on where it was stopped.
    """
    from codetalker_cli.presets import resolve_sections

    flags = {"evaluate.style": style}
    names = ["evaluate", "decode", "render"]
    sections = resolve_sections(names, config, assignments or (), flags).sections
    name, opened = _inputs(checkpoint, data)
    from codetalker_cli.devices import is_main_process, join_processes
    from codetalker_cli.evaluate.truth import of_data_set

    of_data_set(opened, split)  # a split without clips is told before a model is loaded
    device = join_processes(device)
    asked = _Asked(split, out, device, overwrite, sections)
    is_main = is_main_process()
    with console.bars(shown=is_main) as stage:
        made = _evaluate(name, opened, asked, stage)
    if is_main:
        _show(made, sections["evaluate"].confidence, as_json)
    if made.failed:
        raise typer.Exit(1)


class _Asked(NamedTuple):
    """How a checkpoint is evaluated."""

    split: str
    out: Path | None
    device: str
    overwrite: bool
    sections: dict[str, Any]


def _evaluate(name: str, opened: Any, asked: _Asked, stage: Any) -> Any:
    from codetalker_cli.devices import pick_device
    from codetalker_cli.evaluate.folder import default_folder
    from codetalker_cli.evaluate.run import evaluate as run
    from codetalker_cli.models import checkpoint as checkpoints

    loaded = checkpoints.load(name)
    assert loaded.path is not None
    decode, sections = asked.sections["decode"], asked.sections
    return run(
        loaded,
        opened,
        asked.split,
        asked.out or default_folder(opened.manifest.name, loaded.path, asked.split),
        sections["evaluate"],
        sections["render"],
        device=pick_device(asked.device),
        decode=decode.model_dump(include=decode.model_fields_set),
        overwrite=asked.overwrite,
        stages=stage,
    )


def _show(made: Any, confidence: float, as_json: bool) -> None:
    protocol, report = made.protocol, made.folder.report
    if as_json:
        facts = {"report": str(report), "out": str(made.folder.path), "failed": made.failed}
        result = {**facts, "protocol": protocol, "values": made.values}
        console.give(result, as_json=True, line="")
        return
    title = (
        f"{protocol['checkpoint']} on {protocol['data']}, {protocol['split']}: "
        f"{protocol['n_clips']} clips, {protocol['n_frames']} frames"
    )
    ours, *others = made.values
    columns = ["metric", "unit", ours, f"{100 * confidence:g} % interval", *others]
    rows = [
        (
            *(name, one["unit"], number(one), interval(one)),
            *(number(made.values[model][name]) for model in others),
        )
        for name, one in made.values[ours].items()
    ]
    console.table(title, columns, rows)
    if made.failed:
        names = ", ".join(one["clip"] for one in made.failed)
        console.say(f"{len(made.failed)} failed: {names}")
    console.say(f"report: {report}")


def _inputs(checkpoint: str | None, data: Path | None) -> tuple[str, Any]:
    """The checkpoint's name and the opened data set; what was not given is said."""
    from codetalker_cli.datasets.prepared import PreparedDataSet
    from codetalker_cli.train.run_folder import RunFolder
    from codetalker_cli.workspace import newest_data_set, newest_run

    newest = newest_run() if checkpoint is None else Path(checkpoint)
    if newest is None:
        raise InputError(
            "no checkpoint given, and no training run under runs/; name one, such as demo"
        )
    run = RunFolder(newest)
    if checkpoint is None:
        console.say(f"checkpoint: {run.out} (the last training run)")
    if data is None:
        begun = run.describe() if run.description.is_file() else None
        data = Path(begun["data"]) if begun else newest_data_set()
        console.say(f"data set: {data}")
    return checkpoint or str(run.out), PreparedDataSet(data)
