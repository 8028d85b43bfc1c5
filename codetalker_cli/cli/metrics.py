"""``codetalker metrics``: predictions and truth in, a table out."""

from pathlib import Path
from typing import Annotated, Any

import typer

from codetalker_cli.cli import console
from codetalker_cli.cli.options import AsJson, Assignments, Config
from codetalker_cli.errors import InputError

Names = Annotated[
    list[str] | None,
    typer.Argument(help="lve, lve_mm, fdd, fdd_abs, mve, lip_closure, diversity; default all."),
]
Folder = Path | None


def metrics(
    names: Names = None,
    pred: Annotated[
        Folder, typer.Option(help="Folder of predictions; default the last evaluation's.")
    ] = None,
    gt: Annotated[
        Folder, typer.Option(help="Folder of true clips; default those of --data.")
    ] = None,
    data: Annotated[Folder, typer.Option(help="Prepared data set.")] = None,
    split: Annotated[str | None, typer.Option(help="Of --data; default all clips.")] = None,
    regions: Annotated[
        Folder, typer.Option(help="Without --data: folder with lve.txt and fdd.txt.")
    ] = None,
    templates: Annotated[Folder, typer.Option(help="Without --data: templates.pkl.")] = None,
    unit: Annotated[
        str | None, typer.Option(help="Without --data: m, mm or area1; default not known.")
    ] = None,
    style: Annotated[
        str | None, typer.Option(help="Predictions that count: auto, all, or names as S01,S02.")
    ] = None,
    csv: Annotated[Folder, typer.Option(help="Write a line a clip to this file.")] = None,
    config: Config = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Compare predictions with the truth: a value and its 95 % interval a metric."""
    from codetalker_cli.metrics import expand
    from codetalker_cli.presets import resolve_sections

    flags = {"evaluate.style": style}
    settings = resolve_sections(["evaluate"], config, assignments or (), flags).sections["evaluate"]
    wanted = expand(names or [])
    folder, truth = _inputs(pred, gt, data, split, regions, templates, unit)
    from codetalker_cli.evaluate.folder import write_csv
    from codetalker_cli.evaluate.pairs import find_pairs
    from codetalker_cli.evaluate.score import csv_rows, describe, score_pairs

    pairs = find_pairs(folder, truth)
    with console.bars() as stage:
        scores = score_pairs(pairs, truth, settings, wanted, stage("measure"))
    topology = truth.mesh.topology
    values = {n: describe(scores.value(n, settings), n, topology) for n in wanted}
    if csv is not None:
        write_csv(csv, *csv_rows({"model": scores}, wanted))
    results = scores.results()
    facts = {
        "pred": str(folder),
        "truth": truth.name,
        "clips": len({row.clip for row in results}),
        "results": len(results),
        "frames": scores.n_frames,
        "style_rule": settings.style,
    }
    title = (
        f"{folder}: {facts['clips']} clips, {len(results)} results, {scores.n_frames} frames, "
        f"truth {truth.name}"
    )
    give(facts, values, title, settings.confidence, as_json)


def _inputs(
    pred: Folder,
    gt: Folder,
    data: Folder,
    split: str | None,
    regions: Folder,
    templates: Folder,
    unit: str | None,
) -> tuple[Path, Any]:
    """The folder of predictions, and the truth."""
    from codetalker_cli.datasets.prepared import PreparedDataSet
    from codetalker_cli.evaluate import truth as truths
    from codetalker_cli.evaluate.folder import EvaluationFolder
    from codetalker_cli.workspace import newest_evaluation

    if data is not None and (regions or templates or unit):
        raise InputError("--data has templates, regions and unit of its own: give it, or the files")
    if pred is None:
        if any((gt, regions, templates, unit)):
            raise InputError("--pred: name the folder of predictions")
        found = EvaluationFolder(newest_evaluation())
        begun = found.read()
        console.say(f"evaluation: {found.path} ({begun['checkpoint']} on {begun['split']})")
        pred, split = found.predictions, split or begun["split"]
        data = data or Path(begun["data"])
    if data is not None:
        known = truths.of_data_set(PreparedDataSet(data), split)
        return pred, known if gt is None else truths.with_files(known, gt)
    lacking = [
        flag
        for flag, given in (("--gt", gt), ("--templates", templates), ("--regions", regions))
        if given is None
    ]
    if lacking:
        raise InputError(
            f"{', '.join(lacking)}: needed where no prepared data set is given; give --data "
            "PREPARED, or --gt DIR --regions DIR --templates templates.pkl"
        )
    assert gt is not None and templates is not None and regions is not None
    return pred, truths.of_files(gt, templates=templates, regions=regions, unit=unit)


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
    """A value for people."""
    return "–" if one["value"] is None else f"{one['value']:.4g}"


def interval(one: dict[str, Any]) -> str:
    """Its interval, or why there is no value."""
    if one["value"] is None:
        return str(one["lacking"])
    ends = one["interval"]
    return "–" if ends is None else f"{ends[0]:.4g} … {ends[1]:.4g}"
