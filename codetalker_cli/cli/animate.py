"""The ``codetalker animate`` command."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from codetalker_cli.cli import completion, console
from codetalker_cli.cli.export import names_of, sound_of
from codetalker_cli.cli.options import (
    AsJson,
    Assignments,
    AvatarMapOption,
    AvatarNodeOption,
    AvatarOption,
    Config,
    Device,
    Overwrite,
    Show,
    ShowSettings,
    StrengthOption,
    TargetsOption,
    UnitsOption,
    export_keys,
    exporters_of,
    given_keys,
    resolved_sections,
)
from codetalker_cli.devices import is_main_process
from codetalker_cli.errors import InputError, counted
from codetalker_cli.progress import Stages

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from codetalker_cli.animate import Voice
    from codetalker_cli.animate.batch import BatchReport
    from codetalker_cli.animate.jobs import AnimationPlan, Job
    from codetalker_cli.export import Exporter
    from codetalker_cli.motion import Motion
    from codetalker_cli.outputs import Formats
    from codetalker_cli.presets import ResolvedSections

SpeechArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Recordings (wav, flac, ogg, mp3, m4a, mp4 …) or folders of recordings. If the last "
        "of several is a folder without recordings, it is the output folder; end its name with a "
        "slash if it does not exist yet.",
        show_default=False,
    ),
]
OutOption = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        help="Output video (.mp4, .mov, .mkv, .webm), page with a viewer (.html), motion (.npz, "
        ".npy), or a file for another program (.glb, .csv, .usdz …); for several recordings, the "
        "output folder.",
    ),
]
ManifestOption = Annotated[
    Path | None,
    typer.Option(
        help="CSV file of recordings with the columns audio and, if wanted, out, subject, style, "
        "seed and fps."
    ),
]
FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Format, if the suffix of --out does not determine it: mp4 (default), mov, mkv, webm, "
        + ", ".join((*completion.PAGES, *completion.EXPORTS))
        + ".",
        autocompletion=completion.one_of(
            (*completion.VIDEOS, *completion.PAGES, *completion.EXPORTS)
        ),
    ),
]
SubjectOption = Annotated[
    str | None,
    typer.Option(
        help="Subject to animate (default: the first).", autocompletion=completion.subjects
    ),
]
StyleOption = Annotated[
    str | None,
    typer.Option(
        help="Speaking style, e.g. S01, or a blend such as S01:0.3,S02:0.7.",
        autocompletion=completion.styles,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        help="Checkpoint folder or name, e.g. demo (default order: see the README).",
        autocompletion=completion.models,
    ),
]
FpsOption = Annotated[float | None, typer.Option(help="Output frame rate (default: the model's).")]
IdleOption = Annotated[bool, typer.Option(help="Add blinks and gaze, if the face supports them.")]
HeadOption = Annotated[
    bool | None,
    typer.Option(
        "--head/--no-head",
        help="Turn the head and raise the brows in the rhythm of the speech (default: as --idle).",
        show_default=False,
    ),
]
SeedOption = Annotated[
    int, typer.Option(min=0, help="Random seed for blinks, gaze and head motion.")
]
TranscriptOption = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT|FILE",
        help="English words of the recording, with which the lips close in every p, b, m, f and v "
        "(default: NAME.txt next to NAME.wav, if it exists).",
    ),
]
NoTranscriptOption = Annotated[
    bool, typer.Option("--no-transcript", help="Do not use NAME.txt next to NAME.wav.")
]


def animate(
    speech: SpeechArgument = None,
    out: OutOption = None,
    manifest: ManifestOption = None,
    format: FormatOption = None,
    targets: TargetsOption = None,
    units: UnitsOption = None,
    avatar: AvatarOption = None,
    avatar_map: AvatarMapOption = None,
    avatar_node: AvatarNodeOption = None,
    strength: StrengthOption = None,
    subject: SubjectOption = None,
    style: StyleOption = None,
    model: ModelOption = None,
    seed: SeedOption = 0,
    idle: IdleOption = True,
    head: HeadOption = None,
    fps: FpsOption = None,
    transcript: TranscriptOption = None,
    no_transcript: NoTranscriptOption = False,
    device: Device = "auto",
    config: Config = None,
    assignments: Assignments = None,
    show_settings: ShowSettings = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Animate a face from one or several recordings: speech.wav → speech.mp4."""
    from codetalker_cli.animate.jobs import Request, plan

    show, flags = Show(show_settings, as_json), {"export.targets": targets}
    names = ["render", "decode", "export", "solve"]
    resolved = resolved_sections(show, names, config, assignments, flags)
    sections = resolved.sections
    exporters, format = exporters_of(avatar, avatar_map, avatar_node, strength, out, format)
    planned = plan(
        speech or [],
        Request(Path(), subject, style, seed, idle, fps, head),
        formats=_formats(exporters, with_videos=avatar is None),
        out=out,
        manifest=manifest,
        format=format,
        overwrite=overwrite,
    )
    _check_exports(planned, resolved, exporters, [units, avatar], overwrite=overwrite)
    from codetalker_cli.animate import batch
    from codetalker_cli.animate.transcripts import attach

    if transcript is not None and no_transcript:
        raise InputError("`transcript` contradicts --no-transcript; give only one of the two")
    planned = attach(planned, transcript, automatic=not no_transcript)
    decode = sections["decode"].model_dump(include=sections["decode"].model_fields_set)
    with console.bars(shown=is_main_process()) as stages:
        write = _Writer(exporters, sections, units, overwrite, stages)
        options: dict[str, Any] = {"model": model, "device": device, "decode": decode}
        report = batch.run(planned, write, overwrite=overwrite, stages=stages, **options)
    if is_main_process():
        _print(report, planned.is_single, as_json)
    if report.failed:
        raise typer.Exit(1)


def _formats(exporters: "dict[str, Exporter]", *, with_videos: bool) -> "Formats":
    """Return the formats that recordings can be animated to."""
    from codetalker_cli.outputs import Formats
    from codetalker_cli.render.targets import PAGE
    from codetalker_cli.render.video import SUFFIXES as VIDEO_SUFFIXES

    drawn = (*VIDEO_SUFFIXES, PAGE) if with_videos else ()
    videos = {suffix.removeprefix("."): suffix for suffix in drawn}
    return Formats(videos | {name: exporter.suffix for name, exporter in exporters.items()})


def _check_exports(
    planned: "AnimationPlan",
    resolved: "ResolvedSections",
    exporters: "dict[str, Exporter]",
    inputs: "list[Path | None]",
    *,
    overwrite: bool,
) -> None:
    """Refuse settings without effect and unusable outputs before the model is loaded."""
    from codetalker_cli.animate.names import check_numbers
    from codetalker_cli.export.formats import check_effective
    from codetalker_cli.export.write import check_outputs, check_sound
    from codetalker_cli.outputs import check_inputs_kept
    from codetalker_cli.render.targets import check_settings, is_page
    from codetalker_cli.rigs.unit_files import check_path

    check_numbers(planned.request)
    if inputs[0] is not None:
        check_path(inputs[0])
    if all(is_page(job.out) for job in planned.jobs):
        check_settings(planned.jobs[0].out, given_keys(resolved, "render"))
    exports = [job for job in planned.jobs if job.format in exporters]
    check_effective([exporters[job.format] for job in exports], export_keys(resolved, inputs[0]))
    for job in exports:
        for suffix in (job.out.suffix, *exporters[job.format].beside):
            check_inputs_kept(job.out.with_suffix(suffix), inputs)
    if planned.is_single and exports:
        job, exporter = exports[0], exporters[exports[0].format]
        check_outputs(job.out, exporter, overwrite=overwrite)
        settings = resolved.sections["export"]
        check_sound(job.out, exporter, settings, job.speech, job.request.samples)


@dataclass(frozen=True)
class _Writer:
    """Writes motions as videos, as pages or for other programs.

    Attributes:
        exporters: The export formats by name.
        sections: The settings.
        units: The units of the face, or None.
        overwrite: Replace existing files.
        stages: Receives the progress of videos and pages.
    """

    exporters: "dict[str, Exporter]"
    sections: dict[str, Any]
    units: Path | None
    overwrite: bool
    stages: Stages

    def __call__(self, voice: "Voice", motion: "Motion", job: "Job") -> dict[str, Any]:
        """Write a motion, and return the facts to report."""
        from codetalker_cli.export.take import make_take
        from codetalker_cli.export.write import write
        from codetalker_cli.render.targets import is_page
        from codetalker_cli.render.video import render_video

        facts = {
            "out": str(job.out),
            "model": str(voice.checkpoint.path),
            "subject": motion.subject,
            "frames": motion.n_frames,
            "fps": motion.fps,
            "seconds": round(motion.seconds, 3),
        }
        sections, overwrite = self.sections, self.overwrite
        if job.format in self.exporters:
            take = make_take(motion, self.units, sections["solve"])
            exporter, settings = self.exporters[job.format], sections["export"]
            return facts | write(take, job.out, exporter, settings, overwrite=overwrite).to_dict()
        progress = self.stages("render")
        if is_page(job.out):
            from codetalker_cli.render.viewer import write_motion

            page = write_motion(motion, job.out, sections["render"], progress, overwrite=overwrite)
            return facts | {"sound": page.has_sound, "bytes": page.n_bytes}
        video = render_video(motion, job.out, sections["render"], progress, overwrite=overwrite)
        size, sound = list(video.size), video.has_sound
        return facts | {"renderer": video.renderer, "size": size, "sound": sound}


def _print(report: "BatchReport", is_single: bool, as_json: bool) -> None:
    if not is_single:
        console.give(report.to_dict(), as_json=as_json, line=report.summary())
        openings = dict.fromkeys(row["opening"] for row in report.done if row.get("opening"))
        if openings and not as_json:
            logger.info("%s", console.with_flags(next(iter(openings))))
        return
    result = {key: value for key, value in report.done[0].items() if key != "speech"}
    frames, seconds = counted(result["frames"], "frame"), result["seconds"]
    line = f"{names_of(result)}: {result['subject']}, {frames}, {seconds:.1f} s"
    line += sound_of(result)
    console.give(result, as_json=as_json, line=line)
    if result.get("opening") and not as_json:
        logger.info("%s", console.with_flags(result["opening"]))
