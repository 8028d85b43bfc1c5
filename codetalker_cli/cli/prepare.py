"""``codetalker prepare-data``: raw data in, a prepared data set out."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codetalker_cli.cli import console
from codetalker_cli.cli.options import (
    AsJson,
    Assignments,
    Config,
    Overwrite,
    Preset,
    ShowSettings,
    resolved_settings,
    show_rows,
)

if TYPE_CHECKING:
    from codetalker_cli.datasets.raw_clips import RawDataSet
    from codetalker_cli.settings import Settings

Reader = Callable[[Path, "Settings", Path | None], "RawDataSet"]

app = typer.Typer(
    name="prepare-data", help="Make a prepared data set for training.", no_args_is_help=True
)

PROBLEMS = ("missing", "broken", "hole", "length", "audio", "unit")
MAX_TOLD = 10
"""Broken clips that are told one by one; report.txt has them all."""

Faces = Annotated[
    Path | None, typer.Option("--faces", help="Mesh file (.ply, .obj) with the triangles.")
]
RegionFiles = Annotated[
    str | None,
    typer.Option("--regions", help="Folder or file of vertex regions; or auto, infer, none."),
]


def _read_vocaset(raw: Path, settings: "Settings", faces: Path | None) -> "RawDataSet":
    from codetalker_cli.datasets.readers.vocaset import read_vocaset

    return read_vocaset(raw, settings.data, faces)


def _read_biwi(raw: Path, settings: "Settings", faces: Path | None) -> "RawDataSet":
    from codetalker_cli.datasets.readers.biwi import read_biwi

    return read_biwi(raw, settings.data, faces, neutral=settings.prepare.neutral)


def _add_public(name: str, folder: str, contents: str, about: str, read: Reader) -> None:
    """The command of a public data set: they differ in their reader alone."""

    def command(
        raw: Annotated[Path, typer.Argument(help=contents)] = Path(folder),
        out: Annotated[Path, typer.Argument(help="The prepared folder.")] = Path("data") / name,
        faces: Faces = None,
        regions: RegionFiles = None,
        preset: Preset = name,
        config: Config = None,
        assignments: Assignments = None,
        show_settings: ShowSettings = False,
        overwrite: Overwrite = False,
        as_json: AsJson = False,
    ) -> None:
        settings = resolved_settings(
            show_settings,
            preset=preset,
            config=config,
            assignments=assignments,
            flags={"prepare.regions": regions},
        )
        opened = read(raw, settings, faces)
        _prepare(opened, raw, out, settings.data, settings.prepare, overwrite, as_json)

    app.command(name, help=about)(command)


_add_public(
    "vocaset",
    "vocaset",
    "The downloaded files, or vertices_npy/ and wav/.",
    "VOCASET, as it is downloaded or as the reference's scripts leave it.",
    _read_vocaset,
)
_add_public(
    "biwi",
    "BIWI",
    "faces/, rigid_scans/ and videos/; or vertices_npy/ and wav/.",
    "BIWI (B3D(AC)^2), from its archives or folders, or as the reference's scripts leave it.",
    _read_biwi,
)


@app.command("own", hidden=True)
@app.command("custom")
def prepare_custom(
    source: Annotated[
        Path, typer.Argument(help="YAML file with the section `custom`, or the folder of the data.")
    ],
    out: Annotated[
        Path | None, typer.Argument(help="The prepared folder; default data/NAME.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the data set.")] = None,
    fps: Annotated[float | None, typer.Option(help="Recorded frames a second.")] = None,
    unit: Annotated[str | None, typer.Option(help="Recorded length unit: m, cm or mm.")] = None,
    axes: Annotated[str | None, typer.Option(help="Recorded axes: left, up, forward.")] = None,
    motion: Annotated[
        str | None, typer.Option(help="Pattern of clips, e.g. 'meshes/*.npy'.")
    ] = None,
    audio: Annotated[str | None, typer.Option(help="Folder or pattern of the speech.")] = None,
    pattern: Annotated[
        str | None, typer.Option(help="How paths tell subject and sentence.")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="The one subject.")] = None,
    templates: Annotated[str | None, typer.Option(help="Neutral faces, or first-frame.")] = None,
    faces: Annotated[str | None, typer.Option(help="Mesh file with the triangles.")] = None,
    regions: RegionFiles = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Data of your own: .npy, .pc2, .obj or .ply sequences of any topology, with their speech."""
    given = {"name": name, "fps": fps, "unit": unit, "axes": axes, "motion": motion}
    given |= {"audio": audio, "pattern": pattern, "subject": subject, "templates": templates}
    flags = {f"custom.{key}": value for key, value in {**given, "triangles": faces}.items()}
    from codetalker_cli.presets import resolve_sections

    config = None if source.is_dir() else source
    flags["prepare.regions"] = regions
    resolved = resolve_sections(["custom", "prepare"], config, assignments or (), flags)
    if show_settings:
        show_rows(resolved)
    from codetalker_cli.datasets.readers.custom import base_of, data_of, read_custom

    custom, root = resolved.sections["custom"], source if config is None else source.parent
    opened = read_custom(custom, root)
    data = data_of(opened, custom)
    target = Path("data") / data.name if out is None else out
    where = base_of(custom, root)
    _prepare(opened, where, target, data, resolved.sections["prepare"], overwrite, as_json)


def _prepare(
    opened: Any, root: Path, out: Path, data: Any, options: Any, overwrite: bool, as_json: bool
) -> None:
    """Prepare an opened raw data set, and tell what became of it; broken clips are exit code 1."""
    from codetalker_cli.datasets.prepare import prepare
    from codetalker_cli.datasets.regions import find_regions

    regions = find_regions(options.regions, root, data.n_vertices)
    with console.bars() as stage:
        done = prepare(
            opened,
            out,
            data,
            options,
            regions,
            overwrite=overwrite,
            stages=stage,
        )
    told = {kind: [p for p in done.manifest.problems if p["kind"] == kind] for kind in PROBLEMS}
    for problem in [*told["broken"], *told["unit"]][:MAX_TOLD]:
        console.say(f"{problem['kind']}: {problem['clip']}: {problem['reason']}")
    splits = ", ".join(f"{row['clips']} {name}" for name, row in done.manifest.splits.items())
    problems = "".join(f", {len(rows)} {kind}" for kind, rows in told.items() if rows)
    state = "" if done.n_written else " (all was done already, nothing changed)"
    line = (
        f"{out}: {len(done.manifest.clips)} clips ({splits}){problems}; see {out}/report.txt{state}"
    )
    result = {
        "out": str(out),
        "clips": len(done.manifest.clips),
        "splits": done.manifest.splits,
        "problems": list(done.manifest.problems),
        "written": done.n_written,
        "data_id": done.manifest.data_id,
    }
    console.give(result, as_json=as_json, line=line)
    if told["broken"]:
        raise typer.Exit(1)


@app.command("check")
def check_command(
    folder: Annotated[Path, typer.Argument(help="A prepared folder.")],
    sheet: Annotated[
        Path | None, typer.Option(help="Contact sheet to draw (.png); default FOLDER/check.png.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with a prepared data set, and draw it on one sheet."""
    from codetalker_cli.datasets.inspect import check

    with console.bars() as stage:
        report = check(
            folder,
            folder / "check.png" if sheet is None else sheet,
            progress=stage("check"),
        )
    if not as_json:
        for line in report.lines():
            console.stdout.print(line, markup=False, highlight=False)
    n_problems, n_notes = len(report.problems), len(report.notes)
    verdict = f"{n_problems} problems, {n_notes} notes" if report.findings else "nothing is wrong"
    line = (
        f"{folder}: {report.n_clips} clips, {report.seconds:.1f} s: {verdict}; see {report.sheet}"
    )
    console.give(report.to_dict(), as_json=as_json, line=line)
    if report.problems:
        raise typer.Exit(1)


@app.command("demo")
def prepare_demo(
    out: Annotated[Path, typer.Argument(help="The prepared folder.")] = Path("data/demo"),
    speech: Annotated[
        Path | None,
        typer.Option(help="Folder of recordings with transcripts, instead of an engine."),
    ] = None,
    engine: Annotated[str | None, typer.Option(help="Speech engine: espeak or kokoro.")] = None,
    voices_dir: Annotated[
        Path | None, typer.Option(help="kokoro's voices: a folder or the kokoro-js .tgz.")
    ] = None,
    minutes: Annotated[float | None, typer.Option(help="Minutes of speech to make.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same data.")] = None,
    preset: Preset = "demo",
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Synthetic talking heads: no recordings of people, nothing to ask for."""
    flags = {"demo.engine": engine, "demo.minutes": minutes, "demo.seed": seed}
    settings = resolved_settings(
        show_settings, preset=preset, config=config, assignments=assignments, flags=flags
    )
    from codetalker_cli.synthetic import dataset

    options = {} if voices_dir is None else {"voices_dir": voices_dir}
    with console.bars() as stage:
        manifest = dataset.prepare_synthetic(
            out,
            settings,
            speech,
            engine_options=options,
            overwrite=overwrite,
            stages=stage,
        )
    minutes_made = sum(clip.n_frames for clip in manifest.clips) / manifest.fps / 60
    left_out = len(manifest.notes["left_out"])
    line = f"{out}: {len(manifest.clips)} clips, {minutes_made:.1f} min, {left_out} left out"
    result = {"out": str(out), "clips": len(manifest.clips), "minutes": minutes_made}
    console.give({**result, "data_id": manifest.data_id}, as_json=as_json, line=line)
