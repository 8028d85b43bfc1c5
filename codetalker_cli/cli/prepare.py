"""The ``codetalker prepare-data`` commands."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codetalker_cli.cli import completion, console, prepare_capture
from codetalker_cli.cli.commands import Command, Group
from codetalker_cli.cli.options import (
    AsJson,
    Assignments,
    Config,
    Overwrite,
    Preset,
    Show,
    ShowSettings,
    resolved_sections,
    resolved_settings,
)
from codetalker_cli.cli.preparation import (
    RegionFiles,
    refuse_neutral,
    report,
    run_preparation,
)
from codetalker_cli.errors import InputError, counted
from codetalker_cli.files import check_output
from codetalker_cli.workspace import DATA, is_checkpoint

if TYPE_CHECKING:
    from codetalker_cli.datasets.raw_clips import RawDataSet
    from codetalker_cli.settings import DataSettings, PrepareSettings, Settings

Reader = Callable[[Path, "Settings", Path | None], "RawDataSet"]

app = typer.Typer(
    name="prepare-data",
    cls=Group,
    help="Prepare a data set for training.",
    no_args_is_help=True,
)

FacesOption = Annotated[
    Path | None,
    typer.Option("--faces", help="Mesh file (.obj, .ply, .glb, .off) with the triangles."),
]


def _read_vocaset(raw: Path, settings: "Settings", faces: Path | None) -> "RawDataSet":
    from codetalker_cli.datasets.readers.vocaset import read_vocaset

    refuse_neutral(settings.prepare)
    return read_vocaset(raw, settings.data, faces)


def _read_biwi(raw: Path, settings: "Settings", faces: Path | None) -> "RawDataSet":
    from codetalker_cli.datasets.readers.biwi import read_biwi

    return read_biwi(raw, settings.data, faces, neutral=settings.prepare.neutral)


def _add_public(name: str, folder: str, contents: str, about: str, read: Reader) -> None:
    """Add the command for a public data set. These commands differ only in their readers."""

    def command(
        raw: Annotated[Path, typer.Argument(help=contents)] = Path(folder),
        out: Annotated[Path, typer.Argument(help="Output folder.")] = DATA / name,
        faces: FacesOption = None,
        regions: RegionFiles = None,
        preset: Preset = name,
        config: Config = None,
        assignments: Assignments = None,
        show_settings: ShowSettings = False,
        overwrite: Overwrite = False,
        as_json: AsJson = False,
    ) -> None:
        settings = resolved_settings(
            Show(show_settings, as_json),
            preset=preset,
            config=config,
            assignments=assignments,
            flags={"prepare.regions": regions},
            sections=["prepare", "data"],
        )
        opened = read(raw, settings, faces)
        _prepare(opened, raw, out, settings.data, settings.prepare, overwrite, as_json)

    app.command(name, help=about, cls=Command)(command)


_add_public(
    "vocaset",
    "vocaset",
    "Folder with the downloaded files, or with vertices_npy/ and wav/.",
    "Prepare VOCASET, as downloaded or as converted by the official code.",
    _read_vocaset,
)
_add_public(
    "biwi",
    "BIWI",
    "Folder with faces/, rigid_scans/ and videos/, or with vertices_npy/ and wav/.",
    "Prepare BIWI (B3D(AC)^2), as downloaded or as converted by the official code.",
    _read_biwi,
)


@app.command("own", hidden=True, cls=Command)
@app.command("custom", cls=Command)
def prepare_custom(
    source: Annotated[
        Path,
        typer.Argument(help="YAML file with a `custom` section, or the folder of the raw data."),
    ],
    out: Annotated[Path | None, typer.Argument(help="Output folder (default: data/NAME).")] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the data set (default: the folder name).")
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(help="Frame rate of the recordings; required unless the YAML file has it."),
    ] = None,
    unit: Annotated[
        str | None,
        typer.Option(
            help="Length unit of the recordings: m, cm or mm; required unless in the YAML file.",
            autocompletion=completion.one_of(completion.RAW_UNITS),
        ),
    ] = None,
    axes: Annotated[
        str | None, typer.Option(help="Recorded axes for left, up and forward, e.g. 'x z -y'.")
    ] = None,
    motion: Annotated[
        str | None, typer.Option(help="Path pattern of the clips, e.g. 'meshes/*.npy'.")
    ] = None,
    audio: Annotated[str | None, typer.Option(help="Folder or path pattern of the speech.")] = None,
    pattern: Annotated[
        str | None, typer.Option(help="Pattern that extracts subject and sentence from a path.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="Subject of all clips (default: from the paths).")
    ] = None,
    templates: Annotated[
        str | None, typer.Option(help="File or folder of neutral faces, or first-frame.")
    ] = None,
    faces: Annotated[str | None, typer.Option(help="Mesh file with the triangles.")] = None,
    regions: RegionFiles = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Prepare your own data: .npy, .pc2 or mesh sequences of any topology, with speech."""
    flags = {"name": name, "fps": fps, "unit": unit, "axes": axes, "motion": motion}
    flags |= {"audio": audio, "pattern": pattern, "subject": subject, "templates": templates}
    flags = {f"custom.{key}": value for key, value in {**flags, "triangles": faces}.items()}
    config = None if source is None or source.is_dir() else source
    flags["prepare.regions"] = regions
    show, names = Show(show_settings, as_json), ["custom", "prepare"]
    resolved = resolved_sections(show, names, config, assignments, flags)
    from codetalker_cli.datasets.readers.custom import base_of, data_of, read_custom

    custom, root = resolved.sections["custom"], source if config is None else source.parent
    raw = read_custom(custom, root)
    data, options = data_of(raw, custom), resolved.sections["prepare"]
    refuse_neutral(options)
    _prepare(raw, base_of(custom, root), out or DATA / data.name, data, options, overwrite, as_json)


def _prepare(
    raw: "RawDataSet",
    root: Path,
    out: Path,
    data: "DataSettings",
    options: "PrepareSettings",
    overwrite: bool,
    as_json: bool,
) -> None:
    """Prepare a raw data set with the regions in its folder, and report the result."""
    from codetalker_cli.datasets.regions import find_regions

    regions = find_regions(options.regions, root, data.n_vertices)
    report(run_preparation(raw, out, data, options, regions, overwrite), as_json)


@app.command("combine", cls=Command)
def combine_command(
    out: Annotated[Path, typer.Argument(help="Output folder.")],
    sources: Annotated[
        list[Path], typer.Argument(help="Prepared data sets with the same mesh and frame rate.")
    ],
    show_settings: ShowSettings = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Combine prepared data sets, so that one model learns from all of them."""
    resolved_sections(Show(show_settings, as_json), [], None, None)
    from codetalker_cli.datasets.combine import combine

    with console.bars() as stages:
        manifest = combine(sources, out, overwrite=overwrite, progress=stages("combine"))
    n_clips, n_styles = len(manifest.clips), len(manifest.train_subjects)
    result = {"out": str(out), "clips": n_clips, "train_subjects": list(manifest.train_subjects)}
    line = f"{out}: {counted(n_clips, 'clip')}, {counted(n_styles, 'training subject')}"
    console.give({**result, "data_id": manifest.data_id}, as_json=as_json, line=line)


app.command("video", cls=Command)(prepare_capture.prepare_video)
app.command("arkit", cls=Command)(prepare_capture.prepare_arkit)


@app.command("check", cls=Command)
def check_command(
    folder: Annotated[Path, typer.Argument(help="Prepared data set, or checkpoint.")],
    sheet: Annotated[
        Path | None, typer.Option(help="Contact sheet to write (.png; default: FOLDER/check.png).")
    ] = None,
    show_settings: ShowSettings = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Check a prepared data set for problems, and draw a contact sheet of its clips.

    For a checkpoint, compare its files with the hashes that were written with it.
    """
    resolved_sections(Show(show_settings, as_json), [], None, None)
    if is_checkpoint(folder):
        _check_checkpoint(folder, sheet, as_json)
        return
    from codetalker_cli.datasets.inspect import check

    if sheet is None:
        sheet = folder / "check.png"  # belongs to the data set, so it may be replaced
    else:
        check_output(sheet, overwrite=overwrite, name="sheet")
    with console.bars() as stages:
        report = check(folder, sheet, progress=stages("check"))
    if not as_json:
        for line in report.lines():
            console.stdout.print(line, markup=False, highlight=False)
    console.give(report.to_dict(), as_json=as_json, line=report.verdict())
    if report.problems:
        raise typer.Exit(1)


def _check_checkpoint(folder: Path, sheet: Path | None, as_json: bool) -> None:
    from codetalker_cli.models import checkpoint, checkpoint_files

    if sheet is not None:
        raise InputError(f"`sheet` {sheet}: {folder} is a checkpoint, which has no contact sheet")
    loaded = checkpoint.load(folder)
    n_files = checkpoint_files.check_hashes(folder, loaded.meta)
    line = f"{counted(n_files, 'file')} as written" if n_files else "readable, without hashes"
    result = {"checkpoint": str(folder), "stage": loaded.meta["stage"], "compared_files": n_files}
    console.give(result, as_json=as_json, line=f"{folder}: {line}")


@app.command("demo", cls=Command)
def prepare_demo(
    out: Annotated[Path, typer.Argument(help="Output folder.")] = DATA / "demo",
    speech: Annotated[
        Path | None,
        typer.Option(
            help="Folder of recordings with transcripts, used instead of a speech engine."
        ),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help="Speech engine: espeak or kokoro (default: the preset's).",
            autocompletion=completion.one_of(completion.ENGINES),
        ),
    ] = None,
    voices_dir: Annotated[
        Path | None, typer.Option(help="Voices for kokoro: a folder, or the kokoro-js .tgz.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Minutes of speech to synthesize (default: the preset's).")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Random seed for sentences, voices, styles and blinks.")
    ] = None,
    preset: Preset = "demo",
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Generate a synthetic talking-head data set; needs no captured faces."""
    flags = {"demo.engine": engine, "demo.minutes": minutes, "demo.seed": seed}
    settings = resolved_settings(
        Show(show_settings, as_json),
        preset=preset,
        config=config,
        assignments=assignments,
        flags=flags,
        sections=["demo", "data"],
    )
    from codetalker_cli.synthetic import dataset

    options = {} if voices_dir is None else {"voices_dir": voices_dir}
    with console.bars() as stages:
        manifest = dataset.prepare_synthetic(
            out, settings, speech, engine_options=options, overwrite=overwrite, stages=stages
        )
    n_clips, left_out = len(manifest.clips), len(manifest.notes["left_out"])
    minutes_total = sum(clip.n_frames for clip in manifest.clips) / manifest.fps / 60
    line = f"{out}: {counted(n_clips, 'clip')}, {minutes_total:.1f} min, {left_out} left out"
    result = {"out": str(out), "clips": n_clips, "minutes": minutes_total}
    console.give({**result, "data_id": manifest.data_id}, as_json=as_json, line=line)
