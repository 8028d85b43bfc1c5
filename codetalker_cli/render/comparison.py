"""Arrange motions and filmed videos side by side and render them to a file."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.errors import CodeTalkerError, InputError, printable
from codetalker_cli.files import atomic_path
from codetalker_cli.media import has_stream
from codetalker_cli.motion import Motion
from codetalker_cli.progress import Progress, silent
from codetalker_cli.render.footage import Footage, is_footage
from codetalker_cli.render.lip_charts import (
    LipChart,
    LipCurve,
    curve_of_motion,
    curve_of_track,
)
from codetalker_cli.render.panels import Panel, as_panels, n_frames
from codetalker_cli.render.stills import contact_sheet
from codetalker_cli.render.targets import PICTURES, check_file, check_settings, is_page
from codetalker_cli.render.video import render_video
from codetalker_cli.render.viewer.page import Exhibit, write_page
from codetalker_cli.settings import RenderSettings
from codetalker_cli.text_files import check_file as check_content

N_TILES = 8
"""The number of frames in a contact sheet."""

MAX_LABEL = 500
"""The most characters of a label."""


@dataclass(frozen=True)
class Written:
    """A summary of a written video, page or contact sheet.

    Attributes:
        n_panels: Number of panels side by side.
        n_frames: Number of frames, or for a contact sheet of the frames that it samples.
        fps: Frame rate of the motions.
        facts: Further entries: renderer, size, sound and seconds of a video; bytes, sound and
            seconds of a page; size and tiles of a contact sheet.
    """

    n_panels: int
    n_frames: int
    fps: float
    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as data that JSON can store."""
        return {
            "panels": self.n_panels,
            "fps": self.fps,
            **self.facts,
            "frames": self.n_frames,
        }


@dataclass(frozen=True)
class Comparison:
    """Motions and filmed videos to show side by side.

    Attributes:
        panels: The panels of the motions, from left to right.
        footage: The filmed videos, each with its column.
        curves: The lip curves to draw below, from left to right.
    """

    panels: list[Panel]
    footage: list[Footage]
    curves: list[LipCurve] = field(default_factory=list)

    @property
    def n_columns(self) -> int:
        """The number of panels and filmed videos side by side."""
        return len(self.panels) + len(self.footage)


def _check_labels(labels: Sequence[str] | None, count: int, what: str) -> None:
    if labels is not None and len(labels) != count:
        raise InputError(f"`labels`: expected one label per {what} ({count}), found {len(labels)}")
    for label in labels or ():
        if len(label) > MAX_LABEL:
            raise InputError(
                f"`labels` {printable(label, 40)}: {len(label)} characters, at most {MAX_LABEL} "
                "can be drawn"
            )


def compare(
    motions: Sequence[Motion],
    paths: Sequence[Path],
    *,
    labels: Sequence[str] | None = None,
    heat: bool = False,
    curves: bool = False,
    audio: Path | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Arrange motions and filmed videos side by side, in the order of their files.

    Args:
        motions: At least one motion.
        paths: The files of the motions and of the filmed videos, in the order of display.
        labels: Text above each motion and video; None: the file names if there are several files,
            else no label. They include suffixes or folders only where the files differ in them.
        heat: Whether to add a heat map of each motion's distance from the first.
        curves: Whether to draw the lip curves of the motions and of the filmed people, who are
            tracked.
        audio: Recording or video for the sound track; None: that of the first motion that has
            one, else that of the first filmed video that has one.
        progress: Called with the number of tracked videos and the total.

    Raises:
        InputError: The number of labels does not match the number of files, a label is longer
            than ``MAX_LABEL``, a heat map is requested for a single motion, the recording does
            not exist, a video cannot be read, or ``curves`` is set and a motion has no inner lips.
        MissingDependencyError: ``curves`` is set and the tracker for videos is not installed.
    """
    _check_labels(labels or None, len(paths), "file")
    if heat and len(motions) < 2:
        raise InputError("`heat` compares motions with the first one; give at least two motions")
    if audio is not None:
        _check_audio(audio)
    if audio is not None and is_footage(audio) and not has_stream(audio, "a"):
        raise InputError(f"`audio` {audio}: the video has no sound")
    names = labels or (_file_labels(paths) if len(paths) > 1 else [""])
    panels, footage, left = [], [], iter(motions)
    for column, (path, name) in enumerate(zip(paths, names, strict=True)):
        if is_footage(path):
            footage.append(Footage.open(path, name, column))
        else:
            panels.append(Panel(next(left), name, origin=str(path)))
    names = [name or path.stem for path, name in zip(paths, names, strict=True)]
    lip_curves = _lip_curves(panels, footage, names, progress) if curves else []
    if heat:
        panels += _heat_maps(panels)
    filmed = next((one.path for one in footage if one.has_sound), None)
    if audio is None and not any(m.audio_path or m.audio is not None for m in motions):
        audio = filmed
    if audio is not None:
        panels[0] = replace(panels[0], motion=replace(panels[0].motion, audio_path=audio))
    return Comparison(panels, footage, lip_curves)


def _lip_curves(
    panels: Sequence[Panel], footage: Sequence[Footage], names: Sequence[str], progress: Progress
) -> list[LipCurve]:
    """Return the lip curves of everything that is shown, from left to right."""
    if footage:  # MediaPipe is an optional dependency
        from codetalker_cli.capture.tracking import track_film
    tracked: dict[int, LipCurve] = {}
    for number, one in enumerate(footage):

        def within(done: float, total: float, number: int = number) -> None:
            progress(number + min(done / max(total, 1e-9), 0.999), len(footage))

        track = track_film(one.path, progress=within)
        tracked[one.column] = curve_of_track(track, names[one.column])
        progress(number + 1, len(footage))
    left = iter(panels)
    return [
        tracked[column] if column in tracked else curve_of_motion(next(left).motion, name)
        for column, name in enumerate(names)
    ]


def _heat_maps(panels: Sequence[Panel]) -> list[Panel]:
    """Return a heat map of the distance of each motion from the first."""
    several = len(panels) > 2
    return [
        replace(
            panel,
            label=f"{panel.label}: distance" if several else f"distance to {panels[0].label}",
            against=panels[0].motion,
        )
        for panel in panels[1:]
    ]


def _check_audio(path: Path) -> None:
    try:
        check_content(path)
    except CodeTalkerError as error:
        raise InputError(f"`audio` {error}") from error


def write(
    shown: Comparison,
    target: Path,
    settings: RenderSettings,
    progress: Progress | None = None,
    *,
    overwrite: bool = False,
) -> Written:
    """Render a comparison to a video, a page or a contact sheet, which the target decides.

    Args:
        shown: The motions and videos.
        target: The output file.
        settings: The render settings.
        progress: Called with the number of frames done and the total.
        overwrite: Whether an existing file may be replaced.

    Raises:
        RenderError: The motions cannot be drawn.
        InputError: The target exists or cannot be written.
    """
    panels, footage = shown.panels, shown.footage
    fps = panels[0].motion.fps
    facts: dict[str, Any]
    if is_page(target):
        exhibit = Exhibit(tuple(panels), tuple(footage), tuple(shown.curves), target.stem)
        page = write_page(exhibit, target, settings, progress, overwrite=overwrite)
        facts = {"sound": page.has_sound, "bytes": page.n_bytes}
        facts["seconds"] = round(page.n_frames / fps, 3)
        return Written(shown.n_columns, page.n_frames, fps, facts)
    if target.suffix.lower() not in PICTURES:
        video = render_video(
            panels,
            target,
            settings,
            progress,
            footage=footage,
            chart=_chart(shown, settings.size * shown.n_columns, settings),
            overwrite=overwrite,
        )
        facts = {"renderer": video.renderer, "size": list(video.size), "sound": video.has_sound}
        facts["seconds"] = round(video.seconds, 3)
        return Written(shown.n_columns, video.n_frames, fps, facts)
    return _write_sheet(shown, target, settings, overwrite=overwrite)


def _write_sheet(
    shown: Comparison, target: Path, settings: RenderSettings, *, overwrite: bool
) -> Written:
    from PIL import Image

    panels, fps = shown.panels, shown.panels[0].motion.fps
    count = n_frames(as_panels(panels))
    n_tiles = min(N_TILES, count)
    tiles = [round(k * (count - 1) / max(1, n_tiles - 1)) for k in range(n_tiles)]
    with atomic_path(target, overwrite) as temporary:
        sheet = contact_sheet(panels, settings, tiles, footage=shown.footage)
        chart = _chart(shown, sheet.shape[1], settings)
        if chart is not None:
            below = chart.draw([tile / fps for tile in tiles], sheet.shape[2])
            sheet = np.concatenate([sheet, below])
        Image.fromarray(sheet).save(temporary)
    facts = {"size": [sheet.shape[1], sheet.shape[0]], "tiles": tiles}
    return Written(shown.n_columns, count, fps, facts)


def _chart(shown: Comparison, width: int, settings: RenderSettings) -> LipChart | None:
    if not shown.curves:
        return None
    seconds = n_frames(as_panels(shown.panels)) / shown.panels[0].motion.fps
    return LipChart(shown.curves, width, settings.size, seconds)


def render(
    motions: Motion | Sequence[Motion],
    path: Path | str,
    *,
    labels: Sequence[str] | None = None,
    heat: bool = False,
    overwrite: bool = True,
    progress: Progress | None = None,
    **settings: Any,
) -> Path:
    """Render a motion, or several side by side, to a video, a page or a contact sheet.

    The sound is that of the first motion that has any.

    Args:
        motions: A motion, or motions of the same recording from left to right.
        path: The video (.mp4, .m4v, .mov, .mkv, .webm), the page with a viewer (.html), or the
            contact sheet (.png, .jpg).
        labels: Text above each motion; default: the subjects if there are several motions, or
            numbers if several motions have the same subject.
        heat: Also show the distance of each motion from the first as a heat map.
        overwrite: Whether an existing file may be replaced.
        progress: Called with the number of frames done and the total.
        **settings: Settings of the section ``render``, such as ``size=512``, ``view="mouth"`` or
            ``background="white"``; docs/settings.md lists them.

    Returns:
        The path.

    Raises:
        SettingsError: A setting is unknown, has an invalid value, or has no effect in a page.
        RenderError: The motions cannot be drawn together, or the suffix is unknown.
        InputError: The labels do not match the motions, or the file cannot be written.
    """
    from codetalker_cli.presets import changed  # not at the top: it would slow down every worker

    shown, target = [motions] if isinstance(motions, Motion) else list(motions), Path(path)
    wrong = next((one for one in shown if not isinstance(one, Motion)), None)
    if wrong is not None:
        raise InputError(
            f"render expects motions, got a {type(wrong).__name__}; read a file with Motion.load"
        )
    chosen = changed("render", RenderSettings.model_validate({}), settings)
    check_settings(target, [f"render.{name}" for name in settings])
    _check_labels(labels, len(shown), "motion")
    if heat and len(shown) < 2:
        raise InputError("`heat` compares motions with the first one; give at least two motions")
    recordings = [motion.audio_path for motion in shown if motion.audio_path is not None]
    check_file(target, recordings, chosen, overwrite=overwrite)
    panels = [
        Panel(motion, label)
        for motion, label in zip(shown, labels or _default_labels(shown), strict=True)
    ]
    if heat:
        panels += _heat_maps(panels)
    as_panels(panels)  # report motions that cannot be drawn together first
    write(Comparison(panels, []), target, chosen, progress, overwrite=overwrite)
    return target


def _file_labels(paths: Sequence[Path]) -> list[str]:
    """Return the names of files: with suffixes, and with folders, only if they differ otherwise."""
    for part in (lambda path: path.stem, lambda path: path.name):
        names = [part(path) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{path.parent.name}/{path.name}".lstrip("/") for path in paths]


def _default_labels(motions: Sequence[Motion]) -> list[str]:
    if len(motions) == 1:
        return [""]
    subjects = [motion.subject for motion in motions]
    is_distinct = all(subjects) and len(set(subjects)) == len(subjects)
    return subjects if is_distinct else [str(k) for k in range(1, len(motions) + 1)]
