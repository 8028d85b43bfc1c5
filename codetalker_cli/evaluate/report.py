"""Write the report of an evaluation: a self-contained HTML page that can also be printed."""

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codetalker_cli.errors import CodeTalkerError
from codetalker_cli.evaluate import charts
from codetalker_cli.evaluate.folder import Evaluation
from codetalker_cli.evaluate.score import MEAN, MODEL, ORACLE, TEMPLATE, Scores
from codetalker_cli.evaluate.truth import Truth
from codetalker_cli.files import atomic_path
from codetalker_cli.formats.predictions import file_name
from codetalker_cli.metrics import METRICS, ClipScores, unit_of
from codetalker_cli.progress import Progress
from codetalker_cli.settings import EvaluateSettings, RenderSettings

Values = Mapping[str, Mapping[str, Any]]
"""Model → metric → value, interval and unit."""

_TEMPLATE_FILE = Path(__file__).with_name("report.html.jinja")
_LEAD_METRICS = ("lve_mm", "lve", "mve")
"""Metrics for the summary, in order of preference; the first one with a value is used."""
_MODELS = {
    MODEL: "the evaluated checkpoint",
    ORACLE: "the true motion, encoded and decoded by stage 1; the best that the codes allow",
    MEAN: (
        "the neutral face plus the mean offset of the training clips, without motion; the best "
        "speech-independent prediction"
    ),
    TEMPLATE: "the neutral face, without motion",
}
_BETTER = {
    "low": ("↓", "lower is better"),
    "high": ("↑", "higher is better"),
    "zero": ("→ 0", "closer to 0 is better"),
    "none": ("", "neither lower nor higher is better"),
}
_LABELS = {
    "data": "data folder",
    "data_id": "hash of the data set",
    "fps": "frame rate",
    "n_clips": "clips",
    "n_frames": "frames in all clips",
    "n_vertices": "vertices",
    "package_version": "version of codetalker-cli",
    "regions": "regions (number of vertices)",
    "step": "training step",
    "trained_on": "trained on",
    "unit": "length unit",
    "weights": "hash of the weights",
}
"""Protocol keys → labels, for keys that are not readable themselves."""
# The fraction of true frames without a prediction above which the report contains a warning.
# Below it, the speech is only slightly shorter than the motion; the protocol has the number.
_CUT_WARNING_SHARE = 0.01
# The best value of these metrics is not marked, because neither is meaningful without the other:
# lips that never open have a recall of 1.
_UNMARKED = ("lip_closure_precision", "lip_closure_recall")
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_AREA_NOTE = "unit: each template is scaled to a surface area of 1; its size in meters is not known"

logger = logging.getLogger(__name__)


def write_report(
    evaluation: Evaluation,
    scores: Mapping[str, Scores],
    truth: Truth,
    settings: EvaluateSettings,
    render: RenderSettings,
    progress: Progress,
) -> None:
    """Write the HTML report atomically.

    Pictures and videos that cannot be drawn are omitted, and the report contains the reason.

    Args:
        evaluation: The values, the protocol and the folder of the evaluation.
        scores: Model → its results.
        truth: The ground-truth clips.
        settings: The evaluation settings, such as the number of clips to show.
        render: The render settings.
        progress: Called with the number of pictures and videos done and the total.

    Raises:
        OutputError: The report cannot be written.
    """
    best, worst = charts.rank_results(scores[MODEL], settings.shown_clips)
    illustrations = _Illustrations(evaluation, scores, truth, settings, render, progress)
    illustrations.total = charts.n_heat_pictures(scores) + len(best) + len(worst)
    names = [name for name in METRICS if name in evaluation.values[MODEL]]
    lead = next(
        n for n in _LEAD_METRICS if evaluation.values[MODEL][n]["value"] is not None or n == "mve"
    )
    content = {
        "title": f"{'/'.join(Path(evaluation.protocol['checkpoint']).parts[-2:])} on {truth.name}",
        "protocol": evaluation.protocol,
        "summary": summary(evaluation, lead),
        "warnings": warnings(evaluation, lead),
        "failed": evaluation.failed,
        "models": [{"name": name, "about": _MODELS.get(name, "")} for name in evaluation.values],
        "rows": [metric_row(name, evaluation.values) for name in names],
        "confidence": f"{100 * settings.confidence:g}%",
        "evaluate": settings,
        "curves": charts.error_chart(scores, truth, charts.fps_of(truth)),
        "curve_colors": {name: charts.COLORS[name] for name in scores if scores[name].errors},
        "heat": illustrations.heat_maps(),
        "shown": [("Best", illustrations.clips(best)), ("Worst", illustrations.clips(worst))],
        "definitions": {name: METRICS[name].definition for name in names},
        "units": {name: unit_of(name, truth.mesh.topology) for name in names},
        "unit_note": _AREA_NOTE if truth.mesh.topology.meters_per_unit is None else "",
        "clip_names": [name for name in names if name != "diversity"],
        "clips": [clip_row(score, names) for score in scores[MODEL].results()],
        "problems": illustrations.problems,
    }
    page = _environment().from_string(_TEMPLATE_FILE.read_text("utf-8")).render(content)
    with atomic_path(evaluation.folder.report) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _environment() -> Any:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "label": label, "shape": shape}
    # This filter turns off escaping. Use it only for the SVG of charts.py, which contains no
    # names of clips, styles or folders.
    environment.filters["drawing"] = Markup
    return environment


class _Illustrations:
    """The pictures and videos of the report, with the problems in drawing them."""

    def __init__(
        self,
        evaluation: Evaluation,
        scores: Mapping[str, Scores],
        truth: Truth,
        settings: EvaluateSettings,
        render: RenderSettings,
        progress: Progress,
    ) -> None:
        self._evaluation, self._scores, self._truth = evaluation, scores, truth
        self._settings, self._render, self._progress = settings, render, progress
        self._done, self.total = 0, 0
        self.problems: list[str] = []

    def heat_maps(self) -> charts.HeatMaps | None:
        """Draw the heat maps; return None if they cannot be drawn."""
        start = self._done
        try:
            return charts.heat_maps(self._scores, self._truth, self._render, self._advance)
        except CodeTalkerError as error:
            self._add_problem("heat maps", error)
            return None
        finally:
            self._advance(start + charts.n_heat_pictures(self._scores) - self._done)

    def clips(self, results: Sequence[ClipScores]) -> list[dict[str, Any]]:
        """Return the data of the clips to show, each with its video and its error curve."""
        scale, unit = charts.length_unit(self._truth.mesh.topology)
        curves = charts.lip_error_curves(self._scores[MODEL], scale)
        n_frames = sum(len(curve) for curve in curves.values())
        mean = sum(float(curve.sum()) for curve in curves.values()) / max(n_frames, 1)
        fps, cards = charts.fps_of(self._truth), []
        for score in results:
            clip = charts.clip_of(self._truth, score.clip)
            curve = curves.get((score.clip, score.style))
            cards.append(
                {
                    "score": score,
                    "text": "" if clip is None else clip.entry.text,
                    "video": self._video(score),
                    "seconds": score.n_frames / fps,
                    "lead_value": _describe_lead_value(score, self._truth),
                    "curve": curve is not None
                    and charts.clip_error_chart(
                        curve, fps, unit, mean, self._settings.shown_seconds
                    ),
                }
            )
        return cards

    def _video(self, score: ClipScores) -> str:
        path = self._evaluation.folder.predictions / f"{file_name(score.clip, score.style)}.npy"
        try:
            return charts.video(score, path, self._truth, self._settings, self._render)
        except CodeTalkerError as error:
            self._add_problem(f"video of {score.clip}", error)
            return ""
        finally:
            self._advance()

    def _advance(self, n: int = 1) -> None:
        if n > 0:
            self._done += n
            self._progress(self._done, self.total)

    def _add_problem(self, what: str, error: CodeTalkerError) -> None:
        logger.warning("report: cannot draw the %s: %s", what, error)
        self.problems.append(f"{what}: {error}")


# words


def summary(evaluation: Evaluation, lead: str) -> str:
    """Return the main result in one or two sentences.

    Args:
        evaluation: The evaluation.
        lead: Name of the metric to summarize.
    """
    result, protocol = evaluation.values[MODEL][lead], evaluation.protocol
    if result["value"] is None:
        return "Nothing could be measured."
    is_stage1 = str(protocol["stage"]).startswith(ORACLE)
    error = {"mve": "vertex error", "lve": "squared lip error"}.get(lead, "lip error")
    text = f"The mean {error} of {'the stage 1 reconstruction' if is_stage1 else 'the model'} "
    text += f"over {_quantity(result['clips'], 'clip')} from "
    text += f"{_quantity(len(protocol['subjects']), 'subject')} "
    text += f"is {number(result['value'])} {result['unit']}"
    if result["interval"] is not None:
        low, high = result["interval"]
        percent = f"{100 * evaluation.protocol['evaluate']['confidence']:g}"
        text += f" ({percent}% interval {number(low)} to {number(high)})"
    parts = [
        f"{compare_values(result['value'], other)} that of {words}"
        for name, words in (
            (MEAN, "the mean motion, the best speech-independent prediction"),
            (TEMPLATE, "the template, a face without motion"),
            (ORACLE, "the stage 1 reconstruction, the best that the codes allow"),
        )
        if name in evaluation.values
        and (other := evaluation.values[name][lead]["value"]) is not None
    ]
    return f"{text}. It is {'; '.join(parts)}." if parts else f"{text}."


def compare_values(value: float, other: float) -> str:
    """Compare two values in words, such as ``12% less than`` or ``3.1 times``."""
    if value == other:
        return "the same as"
    if other <= 0:
        return "more than"
    share = value / other - 1
    if share >= 2:
        return f"{value / other:.3g} times"
    percent = f"{100 * abs(share):.0f}%" if abs(share) >= 0.0095 else f"{100 * abs(share):.1g}%"
    return f"{percent} {'less than' if share < 0 else 'more than'}"


def warnings(evaluation: Evaluation, lead: str) -> list[str]:
    """Return the warnings to show above the values.

    Args:
        evaluation: The evaluation.
        lead: Name of the metric that compares the model with the baselines.
    """
    messages = []
    value, protocol = evaluation.values[MODEL][lead]["value"], evaluation.protocol
    for name, words in ((MEAN, "the mean motion"), (TEMPLATE, "the template")):
        other = evaluation.values.get(name, {}).get(lead, {}).get("value")
        if value is not None and other is not None and value >= other:
            messages.append(
                f"In {lead}, the model is not better than {words}, a face without motion: "
                f"{number(value)} compared with {number(other)} "
                f"{evaluation.values[MODEL][lead]['unit']}."
            )
    n_cut = int(protocol.get("frames_cut", 0))
    if n_cut > _CUT_WARNING_SHARE * (n_cut + int(protocol["frames_compared"])):
        messages.append(
            f"{n_cut} of {n_cut + int(protocol['frames_compared'])} true frames "
            f"{'is' if n_cut == 1 else 'are'} not compared, because predictions are shorter than "
            "their clips."
        )
    if evaluation.failed:
        n = len(evaluation.failed)
        messages.append(
            f"{_quantity(n, 'prediction or clip', 'predictions or clips')} could not be evaluated "
            f"and {'is' if n == 1 else 'are'} not included in the values below:"
        )
    return messages


def metric_row(name: str, values: Values) -> dict[str, Any]:
    """Return a row of the metrics table: one cell per model, with the best one marked."""
    better, words = _BETTER[METRICS[name].better]
    cells = []
    for model, metrics in values.items():
        result = metrics[name]
        low, high = result["interval"] or (None, None)
        cells.append(
            {
                "model": model,
                "value": number(result["value"]),
                "interval": "" if low is None else f"{number(low)} – {number(high)}",
                "lacking": result.get("lacking", ""),
                "best": False,
            }
        )
    # The reconstruction is computed from the truth, so it cannot be the best.
    costs = {
        index: _cost(metrics[name]["value"], METRICS[name].better)
        for index, (model, metrics) in enumerate(values.items())
        if model != ORACLE and metrics[name]["value"] is not None
    }
    if len(costs) > 1 and better and name not in _UNMARKED:
        lowest = min(costs.values())
        for index, cost in costs.items():
            cells[index]["best"] = cost == lowest
    reasons = dict.fromkeys(str(cell["lacking"]) for cell in cells if cell["lacking"])
    return {
        "name": name,
        "unit": values[MODEL][name]["unit"],
        "better": better,
        "better_words": words,
        "cells": cells,
        "reasons": list(reasons),
    }


def _cost(value: float, better: str) -> float:
    return {"high": -value, "zero": abs(value)}.get(better, value)


def clip_row(score: ClipScores, names: Sequence[str]) -> dict[str, Any]:
    """Return a row of the table of all clips."""
    return {
        "score": score,
        "values": [number(score.value(name)) for name in names if name != "diversity"],
    }


def _describe_lead_value(score: ClipScores, truth: Truth) -> str:
    """Return the text of the main value, shown next to a video."""
    name = next((name for name in _LEAD_METRICS if score.value(name) is not None), "mve")
    return f"{name} {number(score.value(name))} {unit_of(name, truth.mesh.topology)}"


def number(value: float | None) -> str:
    """Format a number with four significant digits, e.g. 12.34 or ``1.234 × 10⁻⁵``."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}".replace("-", "−")
    digits, power = f"{value:.3e}".split("e")
    mantissa = digits.rstrip("0").rstrip(".").replace("-", "−")
    return f"{mantissa} × 10{str(int(power)).translate(_SUPERSCRIPT)}"


def _quantity(n: int, one: str, several: str = "") -> str:
    return f"{n} {one if n == 1 else several or one + 's'}"


def label(name: str) -> str:
    """Return the label of a protocol key."""
    return _LABELS.get(name, name.replace("_", " "))


def shape(value: Any) -> str:
    """Return how a protocol value is shown: as ``table``, ``rows``, ``names``, ``list``, …"""
    if isinstance(value, Mapping):
        inner = list(value.values())
        return "table" if inner and all(isinstance(item, Mapping) for item in inner) else "names"
    if isinstance(value, list | tuple):
        return "rows" if value and all(isinstance(item, Mapping) for item in value) else "list"
    return "flag" if isinstance(value, bool) else "plain"
