"""Draw the contact sheet of a data set: one row for each subject, and the findings below."""

import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codetalker_cli.datasets.inspect.findings import Finding, summary
from codetalker_cli.datasets.inspect.statistics import Statistics
from codetalker_cli.datasets.inspect.sync import common_lag
from codetalker_cli.datasets.inspect.views import Curves, Picture, SheetView, view
from codetalker_cli.datasets.lag import Lag
from codetalker_cli.errors import InputError, counted
from codetalker_cli.files import atomic_path, check_output

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

MOST_SUBJECTS = 16
_MOST_LINES = 40
_DPI = 100
_WIDTH, _ROW, _LINE = 15.0, 2.35, 0.185
"""The width of the sheet and the heights of a subject's row and a line of text, in inches."""
_CHARACTERS = 190
"""The maximum number of characters in a line of text at the bottom."""
_SMALLEST_FONT = 7.0
"""The smallest size of a caption, in points; a longer one is shortened."""
_RED, _GRAY, _GREEN, _BLUE, _ORANGE = "#c0392b", "#5d6570", "#2e7d4f", "#1f5fa8", "#d9822b"


def check_sheet_path(path: Path) -> None:
    """Check before the data is read that the sheet can be written.

    Raises:
        InputError: The path is not a .png file, or its folder is not writable.
    """
    if path.suffix.lower() != ".png":
        raise InputError(
            f"{path}: the sheet is written as .png; give a file name that ends in .png"
        )
    try:
        check_output(path, overwrite=True)
    except InputError as error:
        raise InputError(str(error).replace("`out`", "`sheet`")) from error


def draw_sheet(statistics: Statistics, findings: Sequence[Finding], path: Path) -> None:
    """Draw the contact sheet of a data set.

    Each row shows the template, the frame with the widest mouth in the subject's longest clip, and
    the motion and loudness of that clip over time. If there are too many subjects, those with
    problems are preferred.

    Args:
        statistics: The measurements of the data set.
        findings: The findings, which are listed at the bottom.
        path: The .png file; an existing one is replaced.

    Raises:
        InputError: The path is not a .png file, or it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    check_sheet_path(path)
    names, n_all = _subjects_to_show(statistics, findings)
    lines = _footer_lines(findings)
    head, foot = 0.75, 0.35 + _LINE * len(lines)
    height = head + _ROW * max(len(names), 1) + foot
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # they are drawn as boxes
        _draw_head(figure, statistics, (names, n_all), height)
        for k, name in enumerate(names):
            top = 1 - (head + _ROW * k) / height
            _draw_row(figure, view(statistics, name), top, _ROW / height)
        y = (foot - 0.2) / height
        for text, color in lines:
            line = figure.text(0.02, y, text, fontsize=8.5, color=color, va="top", parse_math=False)
            fit_caption(line, 0.97 * figure.bbox.width)
            y -= _LINE / height
        figure.savefig(temporary, format="png")


def _subjects_to_show(statistics: Statistics, findings: Sequence[Finding]) -> tuple[list[str], int]:
    """Return the subjects to show, and the total number of subjects."""
    subjects = list(dict.fromkeys(clip.subject for clip in statistics.manifest.clips))
    owner = {clip.name: clip.subject for clip in statistics.manifest.clips}
    with_problems = {owner.get(f.where, f.where) for f in findings if f.level == "problem"}
    if len(subjects) > MOST_SUBJECTS:
        first = [s for s in subjects if s in with_problems] + [
            s for s in subjects if s not in with_problems
        ]
        selected = set(first[:MOST_SUBJECTS])
        return [s for s in subjects if s in selected], len(subjects)
    return subjects, len(subjects)


def _footer_lines(findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """Return the lines of text at the bottom, each with its color."""
    if not findings:
        return [("No problems were found.", _GREEN)]
    lines = []
    for message in summary(findings, 2):
        color = _RED if message.startswith("problem") else _GRAY
        lines += [
            (line, color) for line in textwrap.wrap(message, _CHARACTERS, subsequent_indent="    ")
        ]
    if len(lines) > _MOST_LINES:
        lines = [*lines[: _MOST_LINES - 1], ("… (the report lists all findings)", _GRAY)]
    return lines


def _draw_head(
    figure: "Figure", statistics: Statistics, subjects: tuple[list[str], int], height: float
) -> None:
    manifest, topology = statistics.manifest, statistics.topology
    n_frames = sum(len(clip.energy) for clip in statistics.clips)
    facts = [counted(len(manifest.clips), "clip"), f"{manifest.fps:g} fps"]
    if manifest.fps > 0:
        facts.insert(1, f"{n_frames / manifest.fps / 60:.1f} min")
    if topology is not None:
        facts += [f"{topology.n_vertices} vertices", counted(len(topology.triangles), "triangle")]
        facts.append(f"unit {topology.unit}")
    names, n_all = subjects
    facts.append(
        f"{len(names)} of {n_all} subjects" if len(names) < n_all else counted(n_all, "subject")
    )
    lag = common_lag(statistics.clips, manifest.fps)
    if lag is not None:
        facts.append(f"lag of the motion: {_lag_text(lag, manifest.fps)} (all clips together)")
    text_style: dict[str, Any] = {"va": "top", "parse_math": False}
    name = figure.text(
        0.02, 1 - 0.14 / height, manifest.name, fontsize=15, weight="bold", **text_style
    )
    fit_caption(name, 0.96 * figure.bbox.width)
    for x, curve, color in ((0.82, "motion of the lips", _BLUE), (0.93, "loudness", _ORANGE)):
        figure.text(x, 1 - 0.46 / height, curve, fontsize=10, color=color, **text_style)
    line = figure.text(
        0.02, 1 - 0.46 / height, "   ".join(facts), fontsize=10, color=_GRAY, **text_style
    )
    fit_caption(line, 0.79 * figure.bbox.width)


def _lag_text(lag: Lag, fps: float) -> str:
    return f"{lag.frames / fps:+.2f} s" if lag.is_clear else "unclear"


def _draw_row(figure: "Figure", sheet_view: SheetView, top: float, height: float) -> None:
    """Draw one subject; ``top`` and ``height`` are fractions of the figure's height."""
    side = 0.86 * height * figure.get_figheight() / figure.get_figwidth()  # square pictures
    bottom, tall = top - 0.97 * height, 0.86 * height
    left = 0.02
    for picture, label in (
        (sheet_view.template, f"{sheet_view.subject}: template"),
        (sheet_view.widest, _widest_label(sheet_view.curves)),
    ):
        axes = figure.add_axes((left, bottom, side, tall))
        _draw_picture(axes, picture)
        title = axes.set_title(label, fontsize=8.5, loc="left", pad=3, parse_math=False)
        fit_caption(title, side * figure.bbox.width)
        left += side + 0.006
    for place, picture in ((0.5, sheet_view.template), (0.0, sheet_view.widest)):
        axes = figure.add_axes((left, bottom + place * tall, side / 2, 0.49 * tall))
        axes.set_axis_off()
        if isinstance(picture, Picture) and picture.mouth is not None:
            axes.imshow(picture.mouth, interpolation="bilinear", aspect="auto")
    left += side / 2 + 0.025
    axes = figure.add_axes((left, bottom + 0.16 * height, 0.98 - left, 0.63 * height))
    if isinstance(sheet_view.curves, str):
        _draw_text(axes, sheet_view.curves)
    else:
        _draw_curves(axes, sheet_view.curves)


def fit_caption(text: "Text", width: float) -> None:
    """Make a caption fit into ``width`` pixels: with a smaller font, then without its middle.

    The ends of a name distinguish it from others: they contain the subject and the sentence.
    """
    whole = text.get_text()
    size, needed = float(text.get_fontsize()), _width(text)
    if needed <= width:
        return
    text.set_fontsize(max(_SMALLEST_FONT, size * width / needed))
    n_kept = len(whole)
    while _width(text) > width and n_kept > 2:
        n_kept -= 1
        text.set_text(f"{whole[: (n_kept + 1) // 2]}…{whole[len(whole) - n_kept // 2 :]}")


def _width(text: "Text") -> float:
    """Return the width of a text in pixels."""
    canvas: Any = text.figure.canvas if text.figure is not None else None
    return text.get_window_extent(canvas.get_renderer()).width


def _widest_label(curves: Curves | str) -> str:
    if isinstance(curves, str) or curves.fps <= 0:
        return "widest mouth"
    return f"widest mouth: {curves.widest / curves.fps:.2f} s"


def _draw_text(axes: "Axes", text: str) -> None:
    axes.set_axis_off()
    wrapped = textwrap.fill(text, 34)
    axes.text(
        0.5,
        0.5,
        wrapped,
        ha="center",
        va="center",
        fontsize=8.5,
        color=_RED,
        transform=axes.transAxes,
        parse_math=False,
    )


def _draw_picture(axes: "Axes", picture: Picture | str) -> None:
    if isinstance(picture, str):
        _draw_text(axes, picture)
        return
    axes.set_axis_off()
    axes.imshow(picture.face, interpolation="antialiased")


def _draw_curves(axes: "Axes", curves: Curves) -> None:
    import numpy as np

    rate = curves.fps if curves.fps > 0 else 1.0
    time = np.arange(len(curves.energy)) / rate
    axes.fill_between(time, 0, np.minimum(curves.energy, 1.2), color=_BLUE, alpha=0.35, lw=0)
    axes.plot(time, np.minimum(curves.energy, 1.2), color=_BLUE, lw=1.0)
    axes.axvline(curves.widest / rate, color=_BLUE, lw=0.8, ls=":")
    if curves.loudness is not None:
        axes.plot(time, curves.loudness, color=_ORANGE, lw=1.2)
    motion_ends = len(curves.energy) / rate
    axes.set_xlim(0, 1.015 * max(motion_ends, curves.audio_seconds))
    axes.set_ylim(0, 1.22)
    axes.set_yticks([])
    axes.tick_params(labelsize=8, pad=2)
    axes.set_xlabel("s" if curves.fps > 0 else "frames", fontsize=8, labelpad=-9, loc="right")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    facts = f"lag of the motion: {_lags_text(curves)}"
    excess = curves.audio_seconds - motion_ends
    if curves.loudness is None:
        facts = "no readable speech"
    elif abs(excess) * rate > 1 + 1e-6:
        axes.axvspan(*sorted((motion_ends, curves.audio_seconds)), color=_RED, alpha=0.18, lw=0)
        facts += (
            f"    audio {abs(excess):.2f} s {'longer' if excess > 0 else 'shorter'} than the motion"
        )
    style: dict[str, Any] = {"loc": "left", "parse_math": False}
    captions = axes.set_title(curves.name, fontsize=9, pad=15, **style)
    fit_caption(captions, axes.bbox.width)
    place: dict[str, Any] = {
        "xy": (0, 1),
        "xycoords": "axes fraction",
        "textcoords": "offset points",
    }
    line = axes.annotate(facts, xytext=(0, 4), fontsize=8.5, color=_GRAY, parse_math=False, **place)
    fit_caption(line, axes.bbox.width)


def _lags_text(curves: Curves) -> str:
    if curves.lags is None:
        return "unknown"
    whole, first, second = (_lag_text(lag, curves.fps) for lag in curves.lags)
    return f"{whole} (first half {first}, second {second})"
