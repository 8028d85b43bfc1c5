"""The ``codetalker live`` command."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codetalker_cli.cli import completion, console
from codetalker_cli.cli.animate import IdleOption, ModelOption, StyleOption, SubjectOption
from codetalker_cli.cli.commands import Command
from codetalker_cli.cli.export import line_of
from codetalker_cli.cli.options import (
    AsJson,
    Assignments,
    Config,
    Device,
    Overwrite,
    Show,
    ShowSettings,
    UnitsOption,
    export_keys,
    resolved_sections,
)
from codetalker_cli.cli.serve import ServeOption, TokenOption, refuse_others, serve_streams
from codetalker_cli.errors import InputError, printable

if TYPE_CHECKING:
    from codetalker_cli.animate import Voice
    from codetalker_cli.animate.stream import Stream
    from codetalker_cli.live.choices import SinkChoice, SourceChoice
    from codetalker_cli.live.sources import RawFormat
    from codetalker_cli.live.stats import Stats
    from codetalker_cli.live.take import TakeFace, TakeFile, TakeSink
    from codetalker_cli.presets import ResolvedSections
    from codetalker_cli.settings import LiveSettings

MicOption = Annotated[
    str | None,
    typer.Option(
        "--mic",
        metavar="[DEVICE]",
        help="Microphone: the default one, or one by its number or a part of its name.",
    ),
]
ListDevicesOption = Annotated[
    bool, typer.Option("--list-devices", help="Print the microphones and exit.")
]
StdinOption = Annotated[
    bool, typer.Option("--stdin", help="Raw samples on stdin, e.g. of a text-to-speech program.")
]
FileOption = Annotated[
    Path | None, typer.Option("--file", help="A recording, at the pace of its own time.")
]
RateOption = Annotated[
    int | None, typer.Option(help="Sampling rate of --stdin in hertz (default: 16000).")
]
RawFormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Samples of --stdin: s16le (default) or f32le.",
        autocompletion=completion.one_of(completion.RAW_FORMATS),
    ),
]
ChannelsOption = Annotated[
    int | None, typer.Option(help="Number of interleaved channels of --stdin (default: 1).")
]
PacedOption = Annotated[
    bool,
    typer.Option(
        "--paced", help="Read --stdin no faster than its own time, if the program writes faster."
    ),
]
OscOption = Annotated[
    str | None,
    typer.Option(
        "--osc",
        metavar="HOST:PORT",
        help="Send the weights by OSC to a VTuber program (VMC protocol, port 39539).",
    ),
]
LiveLinkOption = Annotated[
    str | None,
    typer.Option(
        "--livelink",
        metavar="HOST:PORT",
        help="Send the weights to Unreal Engine as Live Link Face does (port 11111).",
    ),
]
JsonLinesOption = Annotated[
    bool, typer.Option("--json-lines", help="Print each frame as one line of JSON.")
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="File that is written at the end, in a format of the export command, e.g. take.csv.",
    ),
]
PlayOption = Annotated[
    bool, typer.Option("--play", help="Play the sound, delayed as much as the face.")
]
SeedOption = Annotated[
    int, typer.Option(min=0, help="Random seed for blinks, gaze and head motion.")
]
HeadOption = Annotated[
    bool | None,
    typer.Option(
        "--head/--no-head",
        help="Turn the head in the rhythm of the speech (default: as --idle).",
        show_default=False,
    ),
]
LookaheadOption = Annotated[
    float | None,
    typer.Option(
        "--lookahead",
        help="Seconds of sound after a frame that are used for it (default: 0.2).",
    ),
]
_STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")


class LiveCommand(Command):
    """A command whose option ``--mic`` needs no value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; ``--mic`` alone is the default microphone."""
        given = list(args)
        for k, word in enumerate(given):
            if word == "--mic" and (k + 1 == len(given) or given[k + 1].startswith("-")):
                given[k] = "--mic="
        return super().parse_args(ctx, given)


def live(
    mic: MicOption = None,
    list_devices: ListDevicesOption = False,
    stdin: StdinOption = False,
    file: FileOption = None,
    rate: RateOption = None,
    format: RawFormatOption = None,
    channels: ChannelsOption = None,
    paced: PacedOption = False,
    osc: OscOption = None,
    livelink: LiveLinkOption = None,
    json_lines: JsonLinesOption = False,
    out: OutOption = None,
    play: PlayOption = False,
    serve: ServeOption = None,
    token: TokenOption = None,
    units: UnitsOption = None,
    subject: SubjectOption = None,
    style: StyleOption = None,
    model: ModelOption = None,
    seed: SeedOption = 0,
    idle: IdleOption = True,
    head: HeadOption = None,
    lookahead: LookaheadOption = None,
    device: Device = "auto",
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Animate a face while someone speaks: microphone or stream → face weights."""
    show, flags = Show(show_settings, as_json), {"live.lookahead_seconds": lookahead}
    names = ["live", "decode", "export"] if serve is None else ["serve", "decode"]
    resolved = resolved_sections(show, names, config, assignments, flags)
    if list_devices:
        _print_devices(as_json)
        return
    from codetalker_cli.live.choices import SinkChoice, SourceChoice

    speaker = _Speaker(model, subject, style, seed, idle, head, units, device)
    if serve is not None:
        refuse_others(
            {"mic": mic, "stdin": stdin, "file": file, "osc": osc, "livelink": livelink}
            | {"json_lines": json_lines, "out": out, "play": play, "style": style}
            | {"lookahead_seconds": lookahead, "head": head is not None}
        )
        serve_streams(serve, token, speaker.load, resolved.sections)
        return
    raw = _raw_format(stdin, rate, format, channels, paced)
    source = SourceChoice(mic, file, raw, paced)
    target = None if out is None else _take_file(out, resolved, units, overwrite, file)
    if json_lines and as_json:
        raise InputError("`json_lines` contradicts --json; give only one of the two")
    sinks = SinkChoice(osc, livelink, sys.stdout if json_lines else None, target)
    sinks.check()
    stats, take, number = _animate(source, sinks, speaker, resolved.sections, play=play)
    _print(stats, take, json_lines=json_lines, as_json=as_json)
    if number is not None and number != signal.SIGINT:
        raise typer.Exit(128 + number)


def _animate(
    choice: "SourceChoice",
    sinks: "SinkChoice",
    speaker: "_Speaker",
    sections: dict[str, Any],
    *,
    play: bool,
) -> "tuple[Stats, TakeSink | None, int | None]":
    """Animate until the sound ends; return also the signal that ended it."""
    from codetalker_cli.live.chunks import ChunkQueue
    from codetalker_cli.live.devices import open_player
    from codetalker_cli.live.loop import LiveLoop

    settings = sections["live"]
    longest = 2 * settings.backlog_seconds
    with ExitStack() as stack:
        source = stack.enter_context(closing(choice.open(settings)))
        player = stack.enter_context(closing(open_player(longest))) if play else None
        voice, face = speaker.load(sections)
        stream = speaker.stream(voice, face, source.rate, settings)
        opened, take = sinks.open(stream, face, settings)
        queue = ChunkQueue(longest, source.rate)
        loop = LiveLoop(stream, queue, opened, settings, player)
        source.start(queue)
        with console.status() as status, _stopped_by_signals(loop.stop) as signals:
            loop.run(source.check, lambda stats: status(stats.line()))
    return loop.stats, take, signals[0] if signals else None


def _print_devices(as_json: bool) -> None:
    from codetalker_cli.live.devices import list_microphones

    names = list_microphones()
    if as_json:
        console.give_json(names)
        return
    for k, name in enumerate(names):
        console.give({}, as_json=False, line=f"{k}: {printable(name)}")


def _raw_format(
    stdin: bool, rate: int | None, format: str | None, channels: int | None, paced: bool
) -> "RawFormat | None":
    """Return the form of the samples on stdin, or None if they come from elsewhere."""
    from codetalker_cli.live.sources import RawFormat

    values: dict[str, Any] = {"rate": rate, "format": format, "channels": channels}
    given = {name: value for name, value in values.items() if value is not None}
    if stdin:
        return RawFormat(**given)
    names = [*given, *(["paced"] if paced else [])]
    if names:
        raise InputError(f"`{names[0]}` applies only to raw samples; also give `stdin`")
    return None


def _take_file(
    out: Path, resolved: "ResolvedSections", units: Path | None, overwrite: bool, file: Path | None
) -> "TakeFile":
    """Return the file of a take, after checking its format and its settings."""
    from codetalker_cli.export.formats import check_effective, find
    from codetalker_cli.live.take import TakeFile
    from codetalker_cli.outputs import check_inputs_kept, check_path

    check_path(out, "`out`")
    exporter = find(out)
    check_effective([exporter], export_keys(resolved, None))
    check_inputs_kept(out, [file, units])
    return TakeFile(out, exporter, resolved.sections["export"], overwrite, file)


@dataclass(frozen=True)
class _Speaker:
    """The face that is animated, as the options describe it."""

    model: str | None
    subject: str | None
    style: str | None
    seed: int
    idle: bool
    head: bool | None
    units: Path | None
    device: str

    def __post_init__(self) -> None:
        """Check the path of the units, before the model is loaded."""
        if self.units is not None:
            from codetalker_cli.rigs.unit_files import check_path

            check_path(self.units)

    def load(self, sections: dict[str, Any]) -> "tuple[Voice, TakeFace]":
        """Load the voice, and describe the face."""
        import numpy as np
        import torch

        from codetalker_cli.animate import Request, load_voice
        from codetalker_cli.live.take import TakeFace
        from codetalker_cli.motion import Motion
        from codetalker_cli.rigs.unit_files import read_units

        section = sections["live"] if "live" in sections else sections["serve"]
        torch.set_num_threads(section.n_threads)
        request = Request(np.zeros(0), self.subject, self.style, self.seed, self.idle)
        decode = sections["decode"].model_dump(include=sections["decode"].model_fields_set)
        voice = load_voice(
            self.model, subject=self.subject, device=self.device, decode=decode, request=request
        )
        subject, _ = voice.check(request)
        mesh, fps = voice.checkpoint.mesh, voice.checkpoint.settings.data.fps
        assert mesh is not None  # a voice without templates has no subject
        given = None
        if self.units is not None:
            template = mesh.templates[subject]
            still = Motion(template[None], fps, mesh.topology, subject, template)
            given = read_units(self.units, still)
        return voice, TakeFace(mesh, subject, fps, given)

    def stream(
        self, voice: "Voice", face: "TakeFace", rate: int, settings: "LiveSettings"
    ) -> "Stream":
        """Return a stream that is ready to decode."""
        from codetalker_cli.live.choices import warm_up

        stream = voice.stream(
            face.subject,
            self.style,
            sampling_rate=rate,
            lookahead_seconds=settings.lookahead_seconds,
            seed=self.seed,
            idle=self.idle,
            head=self.head,
            units=face.units,
        )
        warm_up(stream)
        return stream


@contextmanager
def _stopped_by_signals(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Inside a ``with`` block, end the stream on Ctrl-C and SIGTERM. Yield the signals so far.

    A second signal has its former effect, which ends the program at once.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        restore()
        stop()

    numbers = [getattr(signal, name) for name in _STOPPING if hasattr(signal, name)]
    former = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}

    def restore() -> None:
        for number, action in former.items():
            signal.signal(number, action)

    for number in former:
        signal.signal(number, handle)
    try:
        yield received
    finally:
        restore()


def _print(stats: "Stats", take: "TakeSink | None", *, json_lines: bool, as_json: bool) -> None:
    """Print the numbers of the stream, and the file that was written."""
    written = None if take is None or take.exported is None else take.exported.to_dict()
    quantiles = stats.delay_quantiles or (None, None)
    result = {
        "frames": stats.n_frames,
        "dropped": stats.n_dropped,
        "sound_lost_seconds": round(stats.lost_seconds, 3),
        "delay_p50": quantiles[0],
        "delay_p95": quantiles[1],
        "file": written,
    }
    console.inform(stats.summary())
    if json_lines or (written is None and not as_json):  # stdout belongs to the frames
        if written is not None:
            console.inform(line_of(written))
        return
    console.give(result, as_json=as_json, line="" if written is None else line_of(written))
