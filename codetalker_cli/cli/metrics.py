"""The ``codetalker metrics`` command."""

from pathlib import Path
from typing import Annotated, Any

import typer

from codetalker_cli.cli import completion, console
from codetalker_cli.cli.options import (
    AsJson,
    Assignments,
    Config,
    Overwrite,
    Show,
    ShowSettings,
    resolved_sections,
)

Names = Annotated[
    list[str] | None,
    typer.Argument(
        help="Metrics: lve, lve_mm, fdd, fdd_abs, mve, lip_closure, diversity (default: all).",
        autocompletion=completion.one_of(completion.METRICS),
    ),
]
Folder = Path | None
Predictions = Annotated[
    Folder,
    typer.Option(
        help="Folder of predictions: .npy, .npz, or rig curves (.csv of Live Link Face, .json of "
        "Audio2Face) (default: those of the latest evaluation)."
    ),
]
TrueMotion = Annotated[
    Folder, typer.Option(help="Folder of ground-truth clips (default: the clips of --data).")
]
DataOption = Annotated[
    Folder, typer.Option(help="Prepared data set (default: that of the latest evaluation).")
]
SplitOption = Annotated[
    str | None,
    typer.Option(help="Split of --data (default: all clips).", autocompletion=completion.splits),
]
RegionsOption = Annotated[
    Folder, typer.Option(help="Folder with lve.txt and fdd.txt, for use without --data.")
]
TemplatesOption = Annotated[Folder, typer.Option(help="templates.pkl, for use without --data.")]
UnitOption = Annotated[
    str | None,
    typer.Option(
        help="Length unit, for use without --data: m, mm or area1 (default: unknown).",
        autocompletion=completion.one_of(completion.UNITS),
    ),
]
StyleOption = Annotated[
    str | None,
    typer.Option(
        help="Styles to include: auto, all, or names such as S01,S02.",
        autocompletion=completion.evaluated_styles,
    ),
]
CsvOption = Annotated[Folder, typer.Option(help="CSV file to write, with one line per clip.")]


def metrics(
    names: Names = None,
    pred: Predictions = None,
    gt: TrueMotion = None,
    data: DataOption = None,
    split: SplitOption = None,
    regions: RegionsOption = None,
    templates: TemplatesOption = None,
    unit: UnitOption = None,
    style: StyleOption = None,
    csv: CsvOption = None,
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Measure predictions against the ground truth, with confidence intervals."""
    from codetalker_cli.evaluate.inputs import predictions_and_truth
    from codetalker_cli.files import check_output
    from codetalker_cli.metrics import expand

    show, flags = Show(show_settings, as_json), {"evaluate.style": style}
    sections = resolved_sections(show, ["evaluate"], config, assignments, flags).sections
    settings = sections["evaluate"]
    wanted = expand(names or [])
    if csv is not None:
        check_output(csv, overwrite=overwrite, name="csv")
    folder, truth = predictions_and_truth(
        pred, gt=gt, data=data, split=split, regions=regions, templates=templates, unit=unit
    )
    from codetalker_cli.evaluate.measure import measure_folder

    with console.bars() as stages:
        measured = measure_folder(folder, truth, settings, wanted, stages("measure"), csv=csv)
    give(measured.facts, measured.values, measured.title, settings.confidence, as_json)
    if measured.failed:
        raise typer.Exit(1)


def give(
    facts: dict[str, Any],
    values: dict[str, Any],
    title: str,
    confidence: float,
    as_json: bool,
) -> None:
    """Print values as a table, or facts and values as JSON."""
    if as_json:
        console.give({**facts, "values": values}, as_json=True, line="")
        return
    columns = ["metric", "value", f"{100 * confidence:g} % interval", "unit", "clips"]
    rows: list[tuple[str, ...]] = [
        (name, number(one), interval(one), one["unit"], str(one["clips"]))
        for name, one in values.items()
    ]
    console.table(title, columns, rows)


def number(one: dict[str, Any]) -> str:
    """Format the value of a metric."""
    return "–" if one["value"] is None else f"{one['value']:.4g}"


def interval(one: dict[str, Any]) -> str:
    """Format the interval of a metric, or return the reason why there is no value."""
    if one["value"] is None:
        return str(one["lacking"])
    ends = one["interval"]
    return "–" if ends is None else f"{ends[0]:.4g} … {ends[1]:.4g}"
