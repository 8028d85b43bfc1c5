"""``codetalker prepare-data``: raw data in, a prepared data set out."""

from pathlib import Path
from typing import Annotated

import typer

from codetalker_cli import console
from codetalker_cli.cli.options import (
    AsJson,
    Assignments,
    Config,
    Overwrite,
    Preset,
    ShowSettings,
    resolved_settings,
)

app = typer.Typer(
    name="prepare-data", help="Make a prepared data set for training.", no_args_is_help=True
)


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
    from codetalker_cli.data.synthetic import demo

    options = {} if voices_dir is None else {"voices_dir": voices_dir}
    with console.bars() as stage:
        manifest = demo.prepare(
            out,
            settings,
            speech,
            engine_options=options,
            overwrite=overwrite,
            progress=lambda name, done, total: stage(name)(done, total),
        )
    minutes_made = sum(clip.n_frames for clip in manifest.clips) / manifest.fps / 60
    left_out = len(manifest.notes["left_out"])
    line = f"{out}: {len(manifest.clips)} clips, {minutes_made:.1f} min, {left_out} left out"
    result = {"out": str(out), "clips": len(manifest.clips), "minutes": minutes_made}
    console.give({**result, "data_id": manifest.data_id}, as_json=as_json, line=line)
