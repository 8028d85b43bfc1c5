"""Prepare a raw data set and report the result, for all ``codetalker prepare-data`` commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codetalker_cli.cli import completion, console
from codetalker_cli.errors import SettingsError

if TYPE_CHECKING:
    from codetalker_cli.datasets.raw_clips import RawDataSet
    from codetalker_cli.datasets.regions import Regions
    from codetalker_cli.datasets.report import Prepared
    from codetalker_cli.settings import DataSettings, PrepareSettings

MAX_LISTED = 10
"""The maximum number of problems to print; report.txt lists all of them."""
_PRINTED = ("broken", "unit", "face", "sync")
"""The kinds of problems that are printed."""

RegionFiles = Annotated[
    str | None,
    typer.Option(
        "--regions",
        help="Folder or file of vertex regions, or auto, infer or none (default: auto).",
        autocompletion=completion.one_of(completion.REGIONS),
    ),
]


def refuse_neutral(options: "PrepareSettings") -> None:
    """Refuse ``prepare.neutral``; only the BIWI reader supports it."""
    if options.neutral:
        raise SettingsError("prepare.neutral: only BIWI has neutral sentences; remove this setting")


def run_preparation(
    raw: "RawDataSet",
    out: Path,
    data: "DataSettings",
    options: "PrepareSettings",
    regions: "Regions",
    overwrite: bool,
) -> "Prepared":
    """Prepare a raw data set, with progress on the terminal."""
    from codetalker_cli.datasets.prepare import prepare

    with console.bars() as stages:
        return prepare(raw, out, data, options, regions, overwrite=overwrite, stages=stages)


def report(done: "Prepared", as_json: bool) -> None:
    """Print the result of a preparation; exit with code 1 if clips are broken."""
    for problem in [p for kind in _PRINTED for p in done.problems(kind)][:MAX_LISTED]:
        console.say(f"{problem['kind']}: {problem['clip']}: {problem['reason']}")
    console.give(done.to_dict(), as_json=as_json, line=done.summary())
    if done.problems("broken"):
        raise typer.Exit(1)
