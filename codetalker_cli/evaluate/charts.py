"""Draw the report's illustrations: curves as SVG, and heat maps as data URLs.

Curves take their colors from the page's style sheet, so that they fit the light and dark themes.
"""

import base64
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from codetalker_cli.datasets.prepared import Clip
from codetalker_cli.evaluate.score import MEAN, MODEL, ORACLE, TEMPLATE, Scores
from codetalker_cli.evaluate.truth import Truth
from codetalker_cli.evaluate.words import LEAD_METRICS, shown, unit_words
from codetalker_cli.metrics import ClipScores
from codetalker_cli.settings import RenderSettings
from codetalker_cli.settings.render import TRANSPARENT
from codetalker_cli.topology import Topology

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = {MODEL: "--model", ORACLE: "--oracle", MEAN: "--mean", TEMPLATE: "--template"}
"""Model → CSS variable with the color of its curve."""
# matplotlib does not know CSS variables, so curves are drawn in these colors, which are then
# replaced in the SVG text.
_INK = "#010101"
_PLACEHOLDERS = {model: f"#0101{number:02x}" for number, model in enumerate(COLORS, 2)}
_PER_INCH = 72.0
_RUNNING = 0.25
"""The mean curve ends where less than this fraction of the results is left."""
_BAND = (10.0, 90.0)
# Each curve is drawn in two widths, in pixels, so that its text is legible on a phone as well.
_NARROW, _WIDE = 380, 1000
_HEAT_SIZE, _HEAT_VIEWS = 320, ("front", "three-quarter")
_HEAT_PERCENTILE, _HEAT_STOPS = 99.5, 9
_ROUND = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)

Key = tuple[str, str | None]
"""Clip and style of a result."""


def length_unit(topology: Topology) -> tuple[float, str]:
    """Return the factor that converts lengths to the report's unit, and the name of that unit."""
    meters = topology.meters_per_unit
    return (1.0, unit_words("unit")) if meters is None else (1000.0 * meters, "mm")


def lip_error_curves(scores: Scores, scale: float) -> dict[Key, np.ndarray]:
    """Return (clip, style) → (T,) √(lip error) · ``scale``; empty if there is no lip region."""
    return {key: np.sqrt(errors) * scale for key, errors in scores.errors.items() if len(errors)}


# curves


def error_chart(scores: Mapping[str, Scores], truth: Truth, fps: float) -> dict[str, str]:
    """Plot the lip error against time, averaged over the results at each time.

    Args:
        scores: Model → its results.
        truth: The ground-truth clips; their topology determines the unit.
        fps: Frame rate.

    Returns:
        The plot as SVG in two widths, ``wide`` and ``narrow``; empty without a lip region.
    """
    scale, unit = length_unit(truth.mesh.topology)
    tables = {
        model: pad_curves(list(lip_error_curves(model_scores, scale).values()))
        for model, model_scores in scores.items()
    }
    tables = {model: table for model, table in tables.items() if table.size}
    if not tables:
        return {}

    def draw(width: int) -> str:
        figure, axes = _axes(width, 300 if width == _WIDE else 250)
        maximum = 0.0
        for model, table in reversed(tables.items()):  # draw the model last, on top
            time = np.arange(table.shape[1]) / fps
            mean = np.nanmean(table, 0)
            maximum = max(maximum, float(mean.max()))
            if model == MODEL and len(table) > 1:
                low, high = np.nanpercentile(table, _BAND, axis=0)
                maximum = max(maximum, float(high.max()))
                band = np.append(time, time[::-1]), np.append(low, high[::-1])
                axes.fill(*band, color=_PLACEHOLDERS[MODEL], alpha=0.16, lw=0)
            axes.plot(time, mean, color=_PLACEHOLDERS[model], lw=2.0 if model == MODEL else 1.3)
        longest = max(table.shape[1] for table in tables.values())
        axes.set_xlim(0, max(longest - 1, 1) / fps)
        axes.set_ylim(0, 1.05 * maximum or 1.0)
        axes.set_xlabel("seconds from the start of the clip")
        axes.set_ylabel(f"lip error, {unit}")
        return _svg(figure, "Lip error over time")

    return {"wide": draw(_WIDE), "narrow": draw(_NARROW)}


def pad_curves(curves: Sequence[np.ndarray]) -> np.ndarray:
    """Stack curves to (results, T), padded with NaN and cut where few results are left."""
    if not curves:
        return np.empty((0, 0))
    lengths = sorted((len(curve) for curve in curves), reverse=True)
    n_frames = lengths[math.ceil(_RUNNING * len(lengths)) - 1]
    table = np.full((len(curves), n_frames), np.nan)
    for row, curve in zip(table, curves, strict=True):
        row[: len(curve)] = curve[:n_frames]
    return table


def clip_error_chart(
    curve: np.ndarray, fps: float, unit: str, mean: float, shown_seconds: float
) -> str:
    """Return a small SVG plot of one result's lip error against time.

    Args:
        curve: (T,) square root of the lip error in ``unit``.
        fps: Frame rate.
        unit: Unit of the vertical axis.
        mean: Mean over all results, drawn as a horizontal line.
        shown_seconds: Length of the video; this part of the plot is shaded.
    """
    figure, axes = _axes(_NARROW, 130)
    seconds = max(len(curve) - 1, 1) / fps
    if shown_seconds < seconds:
        axes.axvspan(0, shown_seconds, color=_INK, alpha=0.06, lw=0)
    axes.axhline(mean, color=_INK, lw=0.9, ls=(0, (2, 2)), alpha=0.6)
    axes.plot(np.arange(len(curve)) / fps, curve, color=_PLACEHOLDERS[MODEL], lw=1.3)
    axes.set_xlim(0, seconds)
    axes.set_ylim(0, 1.08 * max(float(curve.max()), mean) or 1.0)
    axes.set_xlabel("seconds")
    axes.set_ylabel(unit.replace(" of ", "\nof "))
    return _svg(figure, "Lip error of this clip over time")


def _axes(width: int, height: int) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(width / _PER_INCH, height / _PER_INCH), layout="constrained")
    axes = figure.add_subplot()
    axes.patch.set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(min(width, 900) // 60, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(max(3, height // 50), steps=[1, 2, 2.5, 5, 10]))
    axes.grid(color=_INK, alpha=0.12, lw=0.7)
    axes.tick_params(colors=_INK, labelsize=12, length=0, pad=5)
    axes.xaxis.label.set(color=_INK, fontsize=12)
    axes.yaxis.label.set(color=_INK, fontsize=12)
    for side, spine in axes.spines.items():
        spine.set(visible=side == "bottom", color=_INK, alpha=0.4)
    return figure, axes


def _svg(figure: "Figure", title: str) -> str:
    """Return a figure as an SVG element without URLs and ids, with the style sheet's colors."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "codetalker"}):
        no_metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=no_metadata)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    # Ids would clash between the drawings of a page. Nothing is drawn outside the axes, so the
    # clip paths that need ids can be removed.
    text = re.sub(r"<metadata>.*?</metadata>|<defs>.*?</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r' (?:id|clip-path)="[^"]*"| font-family: [^;]*;|(?<=\.\d\d)\d+', "", text)
    text = re.sub(r"\s+", " ", text).replace(_INK, "currentColor")
    for model, placeholder in _PLACEHOLDERS.items():
        text = text.replace(placeholder, f"var({COLORS[model]})")
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None
    head = f'<svg {box[0]} role="img" aria-label="{title}">'
    return head + text[text.index(">") + 1 :].strip()


# faces


@dataclass(frozen=True)
class HeatMaps:
    """Heat maps of the mean error of each vertex.

    Attributes:
        pictures: Model → data URLs, one per view.
        maximum: Error that is shown in the hottest color.
        unit: Unit of ``maximum``.
        gradient: The color map as a CSS gradient, from 0 to ``maximum``.
    """

    pictures: dict[str, list[str]]
    maximum: float
    unit: str
    gradient: str


def heat_models(scores: Mapping[str, Scores]) -> list[str]:
    """Return the models to draw heat maps of: the model and the best measured baseline."""
    measured = [
        name
        for name, model_scores in scores.items()
        if model_scores.vertex_errors is not None and model_scores.n_frames
    ]
    baselines = [name for name in (MEAN, TEMPLATE) if name in measured]
    return [MODEL, *baselines[:1]]


def n_heat_pictures(scores: Mapping[str, Scores]) -> int:
    """Return the number of pictures that ``heat_maps`` draws."""
    return len(heat_models(scores)) * len(_HEAT_VIEWS)


def heat_maps(
    scores: Mapping[str, Scores], truth: Truth, render: RenderSettings, on_drawn: Callable[[], None]
) -> HeatMaps:
    """Draw the mean error of each vertex on the neutral face of the first clip's subject.

    Args:
        scores: Model → its results.
        truth: The ground-truth clips and their neutral faces.
        render: The render settings.
        on_drawn: Called after each picture.

    Raises:
        RenderError: The face cannot be drawn.
    """
    from codetalker_cli.render import heat_colors, heat_picture

    scale, unit = length_unit(truth.mesh.topology)
    values: dict[str, np.ndarray] = {}
    for model in heat_models(scores):
        model_scores = scores[model]
        assert model_scores.vertex_errors is not None
        values[model] = model_scores.vertex_errors / model_scores.n_frames
    high = float(np.percentile(np.concatenate([*values.values()]), _HEAT_PERCENTILE))
    maximum = round_up(high * scale)
    clip = next(iter(truth.clips))
    mesh = truth.mesh.topology, truth.template(clip)
    pictures: dict[str, list[str]] = {model: [] for model in values}
    for model, errors in values.items():
        for view in _HEAT_VIEWS:
            view_settings = adapt_settings(
                render, size=_HEAT_SIZE, view=view, yaw=None, pitch=None, framing=None
            )
            picture = heat_picture(*mesh, errors, view_settings, maximum / scale)
            pictures[model].append(_jpeg(picture))
            on_drawn()
    stops = np.linspace(0, 1, _HEAT_STOPS)
    colors = np.asarray(heat_colors(stops)).tolist()
    parts = [
        f"rgb({red},{green},{blue}) {100 * stop:.1f}%"
        for stop, (red, green, blue) in zip(stops, colors, strict=True)
    ]
    return HeatMaps(pictures, maximum, unit, f"linear-gradient(to right, {', '.join(parts)})")


def round_up(value: float) -> float:
    """Return the smallest round number that is not below ``value``, and 1 for 0."""
    if value <= 0:
        return 1.0
    base = 10.0 ** math.floor(math.log10(value))
    return next((base * step for step in _ROUND if base * step >= value * (1 - 1e-9)), 10 * base)


def _jpeg(picture: np.ndarray) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, "JPEG", quality=90, optimize=True)
    return data_url("image/jpeg", file.getvalue())


def data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


# videos


def rank_results(scores: Scores, n_shown: int) -> tuple[list[ClipScores], list[ClipScores]]:
    """Return the results with the lowest and the highest error in the first of ``LEAD_METRICS``.

    No clip occurs twice, and the second list has only results that are worse than all of the first.

    Args:
        scores: The results of the model.
        n_shown: Largest number of results in each list.
    """
    lead = next(
        n for n in [*LEAD_METRICS, "mve"] if all(n in s.fractions for s in scores.results())
    )

    def error(score: ClipScores) -> float:
        return shown(score.value(lead) or 0.0)

    results = sorted(scores.results(), key=lambda one: (error(one), one.clip, one.style or ""))
    n_clips = len({score.clip for score in results})
    best: dict[str, ClipScores] = {}
    worst: dict[str, ClipScores] = {}
    for score in results:
        if len(best) < min(n_shown, math.ceil(n_clips / 2)):
            best.setdefault(score.clip, score)
    limit = max(map(error, best.values()), default=0.0)
    for score in reversed([score for score in results if error(score) > limit]):
        if len(worst) < min(n_shown, n_clips - len(best)) and score.clip not in best:
            worst.setdefault(score.clip, score)
    return list(best.values()), list(worst.values())


def fps_of(truth: Truth) -> float:
    """Return the frame rate of the ground-truth clips."""
    assert truth.data is not None
    return truth.data.manifest.fps


def clip_of(truth: Truth, name: str) -> Clip | None:
    """Return a clip with its text and speech, or None if there is no prepared data set."""
    if truth.data is None:
        return None
    entries = truth.data.manifest.clips
    return next((Clip(e, truth.data.folder) for e in entries if e.name == name), None)


def adapt_settings(render: RenderSettings, **changes: Any) -> RenderSettings:
    """Return the render settings of a user with some changes that the page needs."""
    # .mp4 videos cannot be transparent, and the page has a light and a dark theme.
    if render.background == TRANSPARENT:
        changes["background"] = RenderSettings().background
    return render.model_copy(update=changes)
