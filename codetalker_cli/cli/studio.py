"""The ``codetalker studio`` command."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codetalker_cli.cli import console
from codetalker_cli.cli.animate import ModelOption
from codetalker_cli.cli.options import (
    AsJson,
    Assignments,
    Config,
    Device,
    Show,
    ShowSettings,
    UnitsOption,
    resolved_sections,
)
from codetalker_cli.cli.same_command import command_of

if TYPE_CHECKING:
    from codetalker_cli.animate import Voice
    from codetalker_cli.presets import ResolvedSections
    from codetalker_cli.studio.options import Origin

PortOption = Annotated[
    int | None,
    typer.Option(min=0, max=65535, help="Port on 127.0.0.1 (default: 8770; 0: a free one)."),
]
TokenOption = Annotated[
    str | None,
    typer.Option(help="Token in the address of the page (default: a random one)."),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="Folder that keeps the takes (default: a temporary one, removed at the end).",
    ),
]
BrowserOption = Annotated[
    bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
]
_SECTIONS = ("studio", "render", "decode", "export", "solve")


def studio(
    port: PortOption = None,
    out: OutOption = None,
    browser: BrowserOption = True,
    token: TokenOption = None,
    model: ModelOption = None,
    units: UnitsOption = None,
    device: Device = "auto",
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    as_json: AsJson = False,
) -> None:
    """Open a local page in the browser: record or drop speech, watch it, download it."""
    show = Show(show_settings, as_json)
    resolved = resolved_sections(show, _SECTIONS, config, assignments)
    from codetalker_cli.live.server import check_packages
    from codetalker_cli.outputs import check_path
    from codetalker_cli.rigs.unit_files import check_path as check_units
    from codetalker_cli.studio import DEFAULT_PORT, Address, check_place, serve

    check_packages()
    if out is not None:
        check_path(out, "`out`")
    if units is not None:
        check_units(units)
    address = Address(DEFAULT_PORT if port is None else port, token)
    check_place(address, out)
    voice, origin = _load(model, device, resolved, config, assignments)
    given = None if units is None else (units, _read_units(voice, units))

    def opened(url: str) -> None:
        console.give({"url": url}, as_json=as_json, line=f"The studio is open at {url}")
        console.inform("Press Ctrl-C to end it.")
        if browser:
            typer.launch(url)

    with suppress(KeyboardInterrupt):  # the usual end, so the exit code is 0
        serve(
            voice,
            origin,
            resolved.sections,
            address,
            folder=out,
            units=given,
            opened=opened,
        )


def _load(
    model: str | None,
    device: str,
    resolved: "ResolvedSections",
    config: Path | None,
    assignments: list[str] | None,
) -> "tuple[Voice, Origin]":
    """Load the voice, and describe how the commands load it."""
    from codetalker_cli.animate import load_voice
    from codetalker_cli.models.checkpoint import bundled
    from codetalker_cli.studio.options import Origin

    section = resolved.sections["decode"]
    decode: dict[str, Any] = section.model_dump(include=section.model_fields_set)
    voice = load_voice(model, device=device, decode=decode)
    folder = voice.checkpoint.path
    names = {path: name for name, path in bundled().items()}
    name = names.get(folder, str(folder)) if model is None and folder is not None else str(model)
    flags = [] if device == "auto" else ["--device", device]
    if decode and config is not None:
        flags += ["--config", str(config)]
    for assignment in assignments or ():
        if assignment.startswith("decode."):
            flags += ["--set", assignment]
    return voice, Origin(name, decode, lambda file, take: command_of(file, take, name, flags))


def _read_units(voice: "Voice", units: Path) -> Any:
    """Return the units of the face of the first subject, which live streams need."""
    import numpy as np

    from codetalker_cli.motion import Motion
    from codetalker_cli.rigs.unit_files import read_units

    mesh, fps = voice.checkpoint.mesh, voice.checkpoint.settings.data.fps
    assert mesh is not None
    subject = voice.subjects[0]
    template = mesh.templates[subject]
    return read_units(
        units, Motion(np.asarray(template)[None], fps, mesh.topology, subject, template)
    )
