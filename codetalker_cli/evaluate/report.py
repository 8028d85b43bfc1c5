"""The page of an evaluation: one file that needs no other, for a browser or for paper."""

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
"""Model → metric → value, interval, unit."""

_TEMPLATE_FILE = Path(__file__).with_name("report.html.jinja")
_LEAD_METRICS = ("lve_mm", "lve", "mve")
"""The first that is known is told in the summary."""
_MODELS = {
    MODEL: "what is evaluated",
    ORACLE: "the truth through stage 1 and back: the best that its codes can say",
    MEAN: "the mean offset of the training clips, still: the best face that does not listen",
    TEMPLATE: "the neutral face, still",
}
_BETTER = {
    "low": ("↓", "lower is better"),
    "high": ("↑", "higher is better"),
    "zero": ("→ 0", "nearer to 0 is better"),
    "none": ("", "neither more nor less is better"),
}
_LABELS = {
    "data": "data folder",
    "data_id": "data set's hash",
    "fps": "frames a second",
    "n_clips": "clips",
    "n_frames": "frames of the clips",
    "n_vertices": "vertices a frame",
    "package_version": "version of codetalker-cli",
    "regions": "regions, with their vertices",
    "step": "training step",
    "trained_on": "trained on",
    "unit": "unit of length",
    "weights": "weights' hash",
}
"""Names in the protocol that do not read well as they are."""
_CUT_WARNING_SHARE = 0.01
"""Share of frames: speech that ends a frame early is no reason to warn; the protocol tells it."""
_UNMARKED = ("lip_closure_precision", "lip_closure_recall")
"""Lips that never open recall every closure: neither of the two says anything alone."""
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_AREA_NOTE = "unit: each template scaled to surface area 1; its size in meters is not known"

logger = logging.getLogger(__name__)


def write_report(
    evaluation: Evaluation,
    scores: Mapping[str, Scores],
    truth: Truth,
    settings: EvaluateSettings,
    render: RenderSettings,
    progress: Progress,
) -> None:
    """Write the page, whole or not at all.

    Pictures that cannot be drawn are left out, and the page says why: the numbers are there.

    Args:
        evaluation: Values and protocol, and where the page and the predictions are.
        scores: Model → results.
        truth: What was compared with.
        settings: What is shown.
        render: How faces are drawn.
        progress: Called with (pictures and videos done, all).

    Raises:
        OutputError: The page cannot be written.
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
        "confidence": f"{100 * settings.confidence:g} %",
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
    # only for what charts.py makes; no name of a clip, style or folder is in it
    environment.filters["drawing"] = Markup
    return environment


class _Illustrations:
    """Pictures and videos, and what became of them."""

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
        """Where the error is on the face, or None if it cannot be drawn."""
        start = self._done
        try:
            return charts.heat_maps(self._scores, self._truth, self._render, self._advance)
        except CodeTalkerError as error:
            self._add_problem("faces", error)
            return None
        finally:
            self._advance(start + charts.n_heat_pictures(self._scores) - self._done)

    def clips(self, results: Sequence[ClipScores]) -> list[dict[str, Any]]:
        """Results as the page shows them, each with its video and its curve."""
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
        logger.warning("report: no %s: %s", what, error)
        self.problems.append(f"{what}: {error}")


# words


def summary(evaluation: Evaluation, lead: str) -> str:
    """What came of it, in a sentence or two."""
    result, protocol = evaluation.values[MODEL][lead], evaluation.protocol
    if result["value"] is None:
        return "Nothing could be measured."
    is_stage1 = str(protocol["stage"]).startswith(ORACLE)
    what = "the face" if lead == "mve" else "the lips"
    squared = " (squared)" if lead == "lve" else ""
    text = f"{'Given back by stage 1' if is_stage1 else 'Spoken by the model'}, {what} of "
    text += f"{_quantity(result['clips'], 'clip')} from "
    text += f"{_quantity(len(protocol['subjects']), 'subject')} "
    text += f"{'is' if lead == 'mve' else 'are'} off by {number(result['value'])} {result['unit']}"
    text += f"{squared} on average"
    if result["interval"] is not None:
        low, high = result["interval"]
        percent = f"{100 * evaluation.protocol['evaluate']['confidence']:g}"
        text += f" ({percent} % interval {number(low)} to {number(high)})"
    parts = [
        f"{compare_values(result['value'], other)} {words}"
        for name, words in (
            (MEAN, "the mean motion, the best face that does not listen"),
            (TEMPLATE, "the still template"),
            (ORACLE, "stage 1's reconstruction, the best that its codes can say"),
        )
        if name in evaluation.values
        and (other := evaluation.values[name][lead]["value"]) is not None
    ]
    sentence = f"{text}: {'; '.join(parts)}." if parts else f"{text}."
    return sentence.replace(" %", "\u00a0%")  # no line begins with it


def compare_values(value: float, other: float) -> str:
    """``12 % less than``, ``3.1 times``, …"""
    if value == other:
        return "the same as"
    if other <= 0:
        return "more than"
    share = value / other - 1
    if share >= 2:
        return f"{value / other:.3g} times"
    percent = f"{100 * abs(share):.0f} %" if abs(share) >= 0.0095 else f"{100 * abs(share):.1g} %"
    return f"{percent} {'less than' if share < 0 else 'more than'}"


def warnings(evaluation: Evaluation, lead: str) -> list[str]:
    """What a reader must know before the values."""
    messages = []
    value, protocol = evaluation.values[MODEL][lead]["value"], evaluation.protocol
    for name, words in ((MEAN, "the mean motion"), (TEMPLATE, "the template")):
        other = evaluation.values.get(name, {}).get(lead, {}).get("value")
        if value is not None and other is not None and value >= other:
            messages.append(
                f"By {lead} the model is not better than {words}, a face that does not move: "
                f"{number(value)} against {number(other)} {evaluation.values[MODEL][lead]['unit']}."
            )
    n_cut = int(protocol.get("frames_cut", 0))
    if n_cut > _CUT_WARNING_SHARE * (n_cut + int(protocol["frames_compared"])):
        messages.append(
            f"{_quantity(n_cut, 'true frame')} of {n_cut + int(protocol['frames_compared'])} "
            f"{'is' if n_cut == 1 else 'are'} not compared: the predictions end before."
        )
    if evaluation.failed:
        n = len(evaluation.failed)
        messages.append(
            f"{_quantity(n, 'prediction or clip', 'predictions or clips')} could not be evaluated "
            f"and {'is' if n == 1 else 'are'} in no value below:"
        )
    return messages


def metric_row(name: str, values: Values) -> dict[str, Any]:
    """A metric's line of the table: a cell each model, the best one marked."""
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
    # the reconstruction has heard the truth: it is out of the contest
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
    """A result's line of the long table."""
    return {
        "score": score,
        "values": [number(score.value(name)) for name in names if name != "diversity"],
    }


def _describe_lead_value(score: ClipScores, truth: Truth) -> str:
    """The value that stands below a video."""
    name = next((name for name in _LEAD_METRICS if score.value(name) is not None), "mve")
    return f"{name} {number(score.value(name))} {unit_of(name, truth.mesh.topology)}"


def number(value: float | None) -> str:
    """Four significant digits; very small and very large ones as ``1.234 × 10⁻⁵``."""
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
    """A name of the protocol in words."""
    return _LABELS.get(name, name.replace("_", " "))


def shape(value: Any) -> str:
    """How the page shows a part of the protocol: ``table`` of rows, ``names``, ``list``, …"""
    if isinstance(value, Mapping):
        inner = list(value.values())
        return "table" if inner and all(isinstance(item, Mapping) for item in inner) else "names"
    if isinstance(value, list | tuple):
        return "rows" if value and all(isinstance(item, Mapping) for item in value) else "list"
    return "flag" if isinstance(value, bool) else "plain"
