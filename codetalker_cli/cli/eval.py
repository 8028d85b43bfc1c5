"""The ``codetalker eval`` command."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codetalker_cli.cli import completion, console
from codetalker_cli.cli.metrics import interval, number
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

if TYPE_CHECKING:
    from codetalker_cli.evaluate.folder import Evaluation


def evaluate(
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            help="Stage-1 or stage-2 checkpoint (default: the best one of the latest run).",
            autocompletion=completion.models,
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Prepared data set (default: the one it was trained on).")
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            help="Split to evaluate: val, test, test-a …; test covers all test splits.",
            autocompletion=completion.splits,
        ),
    ] = "test",
    style: Annotated[
        str | None,
        typer.Option(
            help="Styles: auto (a training subject's own, otherwise all), all, or S01,S02.",
            autocompletion=completion.evaluated_styles,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Output folder (default: runs/DATA_SET/CHECKPOINT-eval/SPLIT)."
        ),
    ] = None,
    device: Device = "auto",
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate a checkpoint: predictions, metrics with baselines, and an HTML report.

    An interrupted evaluation resumes when the command is run again.
    """
    from codetalker_cli.evaluate.inputs import checkpoint_and_data
    from codetalker_cli.evaluate.truth import of_data_set

    names, flags = ["evaluate", "decode", "render"], {"evaluate.style": style}
    show = Show(show_settings, as_json)
    sections = resolved_sections(show, names, config, assignments, flags).sections
    name, opened = checkpoint_and_data(checkpoint, data)
    of_data_set(opened, split)  # a split without clips is reported before a model is loaded
    from codetalker_cli.evaluate.run import EvaluationRequest, evaluate_checkpoint

    request = EvaluationRequest.from_sections(opened, split, sections)
    options: dict[str, Any] = {"out": out, "device": device, "overwrite": overwrite}
    with console.bars(shown=is_main_process()) as stages:
        evaluation = evaluate_checkpoint(name, request, stages=stages, **options)
    if is_main_process():
        _show(evaluation, sections["evaluate"].confidence, as_json)
    if evaluation.failed:
        raise typer.Exit(1)


def _show(evaluation: "Evaluation", confidence: float, as_json: bool) -> None:
    if as_json:
        console.give(evaluation.to_dict(), as_json=True, line="")
        return
    from codetalker_cli.evaluate.words import unit_words

    values = evaluation.values
    model, *others = values
    columns = ["metric", "unit", model, f"{100 * confidence:g} % interval", *others]
    rows = [
        (
            name,
            unit_words(value["unit"]),
            number(value),
            interval(value),
            *(number(values[m][name]) for m in others),
        )
        for name, value in values[model].items()
    ]
    console.table(evaluation.title, columns, rows)
    if evaluation.failed:
        names = ", ".join(failure["clip"] for failure in evaluation.failed)
        console.say(f"{len(evaluation.failed)} failed: {names}")
    for message in (text for texts in evaluation.diagnostics.values() for text in texts):
        console.say(f"warning: {message}")
    console.inform(f"report: {evaluation.folder.report}")
