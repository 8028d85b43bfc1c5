"""Plot the metrics of a training run as one image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codetalker_cli.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MetricsRow = dict[str, Any]
Line = tuple[list[int], list[float]]
"""The epochs of a curve and the value at each."""

_DPI, _WIDTH, _COLUMNS = 100, 16.0, 3
_HEADER_HEIGHT, _PANEL_HEIGHT = 0.7, 3.5
"""The heights in inches of the header and of a row of panels."""
_WIDE_RANGE = 20
"""The ratio of the largest to the smallest lip error above which the axis is logarithmic."""
_MAX_MARKERS = 40
"""Lines with at most this many points have markers; without one, a single point is invisible."""
_RED, _GRAY, _GREEN = "#c0392b", "#5d6570", "#2e7d4f"
_BLUE, _ORANGE, _PURPLE = "#1f5fa8", "#d9822b", "#7b4ea3"


@dataclass(frozen=True)
class Chart:
    """One panel of the plot.

    Attributes:
        title: The title of the panel.
        unit: The label of the vertical axis.
        lines: The curves by their key in the metrics.
        levels: The values of horizontal lines, by label.
        log: Whether the vertical axis is logarithmic.
        best: The epoch, value and label of the best checkpoint.
    """

    title: str
    unit: str
    lines: dict[str, Line]
    levels: dict[str, float]
    log: bool
    best: tuple[int, float, str] | None = None


_LOSS_PARTS = ("motion_loss", "latent_loss")
"""The parts of the loss. Their lines are dashed, so that they do not hide the line of the loss."""
_LEVEL_LABELS = {"val_lve_template": "the template", "val_lve_mean": "the mean motion"}
_LINE_STYLES = {
    "loss": ("training", _BLUE),
    "motion_loss": ("training: motion", _GREEN),
    "latent_loss": ("training: latents", _PURPLE),
    "val_loss": ("validation", _ORANGE),
    "val_lve": ("free-running", _BLUE),
    "val_lve_forced": ("teacher-forced", _ORANGE),
    "perplexity": ("perplexity, training", _BLUE),
    "val_perplexity": ("perplexity, validation", _ORANGE),
    "codes_used": ("codes used", _GREEN),
}
"""The label and color of each line. Other lines are alone in their panel and need no label."""


def draw_curves(rows: Sequence[MetricsRow], out: Path, title: str) -> None:
    """Draw the metrics of a training run, with one panel for each kind of value.

    Args:
        rows: The metrics, one row per epoch, in order. If there is nothing to draw, no file is
            written.
        out: The .png file; an older one is replaced.
        title: The title of the plot.

    Raises:
        OutputError: ``out`` cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    charts = panels(rows)
    if not charts:
        return
    n_columns = min(_COLUMNS, len(charts))
    n_rows = math.ceil(len(charts) / n_columns)
    height = _HEADER_HEIGHT + _PANEL_HEIGHT * n_rows
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor="white")
    FigureCanvasAgg(figure)
    text_style: dict[str, Any] = {"va": "top", "parse_math": False}
    figure.text(0.02, 1 - 0.14 / height, title, fontsize=15, weight="bold", **text_style)
    figure.text(0.02, 1 - 0.46 / height, _summary(rows), fontsize=10, color=_GRAY, **text_style)
    last_epoch = rows[-1]["epoch"]
    for k, chart in enumerate(charts):
        row, column = divmod(k, n_columns)
        column_width = 0.98 / n_columns
        bottom = 1 - (_HEADER_HEIGHT + _PANEL_HEIGHT * (row + 0.86)) / height
        position = (
            0.02 + column * column_width + 0.044,
            bottom,
            column_width - 0.066,
            0.74 * _PANEL_HEIGHT / height,
        )
        _draw_panel(figure.add_axes(position), chart, last_epoch)
    with atomic_path(out) as temporary:
        figure.savefig(temporary, format="png")


def panels(rows: Sequence[MetricsRow]) -> list[Chart]:
    """Return the panels to draw, without missing, NaN or infinite values."""
    losses = _lines(rows, "loss", "motion_loss", "latent_loss", "val_loss", log=True)
    errors = _lines(rows, "val_lve_forced", "val_lve")
    baselines = _lines(rows, "val_lve_template", "val_lve_mean")
    levels = {_LEVEL_LABELS[key]: values[-1] for key, (_, values) in baselines.items()}
    heights = [*levels.values(), *(value for _, values in errors.values() for value in values)]
    is_wide = bool(heights) and 0 < _WIDE_RANGE * min(heights) < max(heights)
    unit = "validation, squared length unit"
    codes = _lines(rows, "perplexity", "val_perplexity", "codes_used")
    energy = _lines(rows, "val_motion_energy")
    gradient = _lines(rows, "gradient_norm", log=True)
    charts = [
        Chart("losses", "loss", losses, {}, True),
        Chart("lip vertex error", unit, errors, levels, is_wide, _best_epoch(rows)),
        Chart("codebook", "codes", codes, {}, False),
        Chart("motion energy", "validation, predicted / true", energy, {"true": 1.0}, False),
        Chart("gradient", "norm", gradient, {}, True),
        Chart("learning rate", "learning rate", _lines(rows, "learning_rate"), {}, False),
    ]
    return [chart for chart in charts if chart.lines]


def _finite_value(row: MetricsRow, key: str) -> float | None:
    value = row.get(key)
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def _lines(rows: Sequence[MetricsRow], *keys: str, log: bool = False) -> dict[str, Line]:
    lines: dict[str, Line] = {}
    for key in keys:
        values = [(row["epoch"], _finite_value(row, key)) for row in rows]
        points = [(e, v) for e, v in values if v is not None and (v > 0 or not log)]
        if points:
            lines[key] = ([epoch for epoch, _ in points], [value for _, value in points])
    return lines


def _best_epoch(rows: Sequence[MetricsRow]) -> tuple[int, float, str] | None:
    """Return the epoch, lip error and label of the best checkpoint."""
    candidates = [
        (
            score if (score := _finite_value(row, "score")) is not None else error,
            row["epoch"],
            error,
            row,
        )
        for row in rows
        if (error := _finite_value(row, "val_lve")) is not None
    ]
    if not candidates:
        return None
    _, epoch, error, row = min(candidates, key=lambda candidate: candidate[:2])
    error_mm = _finite_value(row, "val_lve_mm")
    suffix = "" if error_mm is None else f" ({error_mm:.3g} mm)"
    return epoch, error, f"★ best: epoch {epoch}, {error:.3g}{suffix}"


def _summary(rows: Sequence[MetricsRow]) -> str:
    facts = [f"epoch {rows[-1]['epoch']}"]
    step, seconds = _finite_value(rows[-1], "step"), _finite_value(rows[-1], "seconds")
    if step is not None:
        facts.append(f"step {step:.0f}")
    if seconds is not None:
        facts.append(f"{seconds / 3600:.1f} h" if seconds >= 5400 else f"{seconds / 60:.1f} min")
    return "   ".join(facts)


def _draw_panel(axes: "Axes", chart: Chart, last_epoch: int) -> None:
    from matplotlib.ticker import MaxNLocator

    for key, (epochs, values) in chart.lines.items():
        label, color = _LINE_STYLES.get(key, (None, _BLUE))
        marker, style = (
            "o" if len(epochs) <= _MAX_MARKERS else "",
            "--" if key in _LOSS_PARTS else "-",
        )
        axes.plot(epochs, values, style, color=color, lw=1.3, marker=marker, ms=3, label=label)
    for (label, level), x in zip(chart.levels.items(), (1.0, 0.75), strict=False):
        axes.axhline(level, color=_GRAY, lw=1.1, ls=":")
        text_style: dict[str, Any] = {
            "ha": "right",
            "va": "bottom",
            "fontsize": 8.5,
            "color": _GRAY,
        }
        axes.text(x, level, label, transform=axes.get_yaxis_transform(), **text_style)
    if chart.best is not None:
        epoch, value, label = chart.best
        axes.plot([epoch], [value], "*", color=_RED, ms=11, zorder=3)
        axes.set_title(label, fontsize=9, loc="right", color=_RED, pad=5)
    axes.set_xlim(0, max(last_epoch * 1.02, 1.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    _set_y_scale(axes, chart)
    axes.set_title(chart.title, fontsize=11, loc="left", pad=5)
    axes.set_xlabel("epoch", fontsize=9, labelpad=2)
    axes.set_ylabel(chart.unit, fontsize=9, labelpad=3)
    axes.tick_params(labelsize=8.5)
    axes.grid(color=_GRAY, alpha=0.2, lw=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    # Stage 1 has only one kind of lip error, for which the labels of stage 2 are wrong.
    if axes.get_legend_handles_labels()[1] and list(chart.lines) != ["val_lve"]:
        axes.legend(fontsize=8.5, framealpha=0.8, edgecolor="none", loc="best")


def _set_y_scale(axes: "Axes", chart: Chart) -> None:
    """Start the vertical axis at 0, or make it logarithmic with ticks at a few round numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    heights = [*chart.levels.values(), *(v for _, values in chart.lines.values() for v in values)]
    low, high = min(heights), max(heights)
    if chart.log:
        axes.set_yscale("log")
        margin = max(1.3, (high / low) ** 0.1)
        axes.set_ylim(low / margin, high * margin)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 50 * low else (1,)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(min(1.1 * low, 0), 1.1 * high if high > 0 else 1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
