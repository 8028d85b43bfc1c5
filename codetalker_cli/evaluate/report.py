"""Write the report of an evaluation: a self-contained HTML page that can also be printed."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codetalker_cli.errors import CodeTalkerError, counted, verb
from codetalker_cli.evaluate import charts, examples
from codetalker_cli.evaluate.diagnostics import describe_energy
from codetalker_cli.evaluate.folder import Evaluation
from codetalker_cli.evaluate.score import MEAN, MODEL, ORACLE, TEMPLATE, Scores
from codetalker_cli.evaluate.truth import Truth
from codetalker_cli.evaluate.words import (
    LEAD_METRICS,
    Values,
    best_model,
    lead_metric,
    number,
    summary,
    unit_words,
)
from codetalker_cli.files import atomic_path
from codetalker_cli.formats.predictions import file_name
from codetalker_cli.metrics import METRICS, ClipScores, unit_of
from codetalker_cli.progress import Progress
from codetalker_cli.render.viewer import viewer_parts
from codetalker_cli.settings import EvaluateSettings, RenderSettings

_TEMPLATE_FILE = Path(__file__).with_name("report.html.jinja")
_MODELS = {
    MODEL: "the evaluated checkpoint",
    ORACLE: (
        "the true motion, encoded and decoded by stage 1; a measure of what its codes can express, "
        "but not a strict limit"
    ),
    MEAN: "the neutral face plus the mean offset of the training clips, without motion",
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
# The best value of these metrics is not marked, because neither is meaningful without the other:
# lips that never open have a recall of 1.
_UNMARKED = ("lip_closure_precision", "lip_closure_recall")
_AREA_NOTE = (
    "Units of the data set: each template is scaled to a surface area of 1; its size in meters is "
    "not known"
)
_ENERGY_DEFINITION = (
    "Motion energy: the squared distance that vertices move from frame to frame, summed over the "
    "lip region (or the whole face) and all frames, divided by the same sum of the truth."
)

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
    illustrations.total += len(best) + len(worst)
    names = [name for name in METRICS if name in evaluation.values[MODEL]]
    lead = lead_metric(evaluation.values[MODEL])
    rows = [metric_row(name, evaluation.values) for name in names]
    results, protocol = scores[MODEL].results(), evaluation.protocol
    content = {
        "title": f"{'/'.join(Path(protocol['checkpoint']).parts[-2:])} on {truth.name}",
        "protocol": protocol | ({"fps": f"{protocol['fps']:g} fps"} if "fps" in protocol else {}),
        "summary": summary(evaluation.values, protocol, len({s.subject for s in results})),
        "energy": describe_energy(evaluation.motion_energy, settings.confidence),
        "energy_definition": _ENERGY_DEFINITION,
        "warnings": _warnings(evaluation),
        "failed": evaluation.failed,
        "models": [{"name": name, "about": _MODELS.get(name, "")} for name in evaluation.values],
        "rows": rows,
        "has_intervals": any(cell["interval"] for row in rows for cell in row["cells"]),
        "has_marks": any(cell["best"] for row in rows for cell in row["cells"]),
        "confidence": f"{100 * settings.confidence:g}%",
        "evaluate": settings,
        "curves": charts.error_chart(scores, truth, charts.fps_of(truth)),
        "curve_colors": {name: charts.COLORS[name] for name in scores if scores[name].errors},
        "heat": illustrations.heat_maps(),
        "shown": [("Best", illustrations.clips(best)), ("Worst", illustrations.clips(worst))],
        "lead": LEAD_METRICS[lead],
        "definitions": {name: METRICS[name].definition for name in names},
        "units": {name: unit_words(unit_of(name, truth.mesh.topology)) for name in names},
        "unit_note": _AREA_NOTE if truth.mesh.topology.meters_per_unit is None else "",
        "clip_names": [name for name in names if name != "diversity"],
        "clips": [clip_row(score, names) for score in results],
        "viewers": viewer_parts() if illustrations.has_viewers else None,
        "problems": illustrations.problems,
    }
    page = _environment().from_string(_TEMPLATE_FILE.read_text("utf-8")).render(content)
    with atomic_path(evaluation.folder.report) as temporary:
        temporary.write_text(page, "utf-8", "backslashreplace")  # paths may not be UTF-8


def _environment() -> Any:
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": number, "label": label, "shape": shape, "counted": counted}
    # This filter turns off escaping. Use it only for the SVG of charts.py and for viewers, which
    # contain no names of clips, styles or folders.
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
        self._done, self.total = 0, charts.n_heat_pictures(scores)
        self.problems: list[str] = []
        self.has_viewers = False

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
        """Return the data of the clips to show: video, viewer and error curve."""
        scale, unit = charts.length_unit(self._truth.mesh.topology)
        curves = charts.lip_error_curves(self._scores[MODEL], scale)
        n_frames = sum(len(curve) for curve in curves.values())
        mean = sum(float(curve.sum()) for curve in curves.values()) / max(n_frames, 1)
        fps, cards = charts.fps_of(self._truth), []
        lead = lead_metric(self._evaluation.values[MODEL])
        lead_unit = unit_words(unit_of(lead, self._truth.mesh.topology))
        for score in results:
            clip = charts.clip_of(self._truth, score.clip)
            curve = curves.get((score.clip, score.style))
            cards.append(
                {
                    "score": score,
                    "text": "" if clip is None else clip.entry.text,
                    **self._example(score),
                    "seconds": score.n_frames / fps,
                    "lead_value": f"{lead} {number(score.value(lead))} {lead_unit}",
                    "curve": curve is not None
                    and charts.clip_error_chart(
                        curve, fps, unit, mean, self._settings.shown_seconds
                    ),
                }
            )
        return cards

    def _example(self, score: ClipScores) -> dict[str, str]:
        """Return the video and the viewer of a clip; empty texts where they cannot be made."""
        path = self._evaluation.folder.predictions / f"{file_name(score.clip, score.style)}.npy"
        made = {"video": "", "viewer": ""}
        try:
            panels = examples.panels(score, path, self._truth, self._settings)
            made["video"] = examples.video(panels, self._render)
            made["viewer"] = examples.viewer(panels, self._render)
            self.has_viewers = True
        except CodeTalkerError as error:
            self._add_problem(f"{'viewer' if made['video'] else 'video'} of {score.clip}", error)
        self._advance()
        return made

    def _advance(self, n: int = 1) -> None:
        if n > 0:
            self._done += n
            self._progress(self._done, self.total)

    def _add_problem(self, what: str, error: CodeTalkerError) -> None:
        logger.warning("report: cannot draw the %s: %s", what, error)
        self.problems.append(f"{what}: {error}")


# tables


def metric_row(name: str, values: Values) -> dict[str, Any]:
    """Return a row of the metrics table: one cell per model, with the best one marked."""
    better, words = _BETTER[METRICS[name].better]
    # The reconstruction is computed from the truth, so it cannot be the best.
    compared = [model for model in values if model != ORACLE]
    best = best_model(name, values, compared) if better and name not in _UNMARKED else None
    cells: list[dict[str, Any]] = []
    lacking: dict[str, list[str]] = {}
    for model, metrics in values.items():
        result = metrics[name]
        low, high = result["interval"] or (None, None)
        cells.append(
            {
                "model": model,
                "value": number(result["value"]),
                "interval": "" if low is None else f"{number(low)} – {number(high)}",
                "lacking": result.get("lacking", ""),
                "best": model == best,
            }
        )
        if result.get("lacking"):
            lacking.setdefault(str(result["lacking"]), []).append(model)
    return {
        "name": name,
        "unit": unit_words(values[MODEL][name]["unit"]),
        "better": better,
        "better_words": words,
        "cells": cells,
        "reasons": [
            reason if len(models) == len(cells) else f"{reason} ({', '.join(models)})"
            for reason, models in lacking.items()
        ],
    }


def clip_row(score: ClipScores, names: Sequence[str]) -> dict[str, Any]:
    """Return a row of the table of all clips."""
    return {
        "score": score,
        "values": [number(score.value(name)) for name in names if name != "diversity"],
    }


def _warnings(evaluation: Evaluation) -> list[str]:
    """Return the warnings to show above the values; the failed clips follow them."""
    messages = [text for texts in evaluation.diagnostics.values() for text in texts]
    if evaluation.failed:
        n = len(evaluation.failed)
        messages.append(
            f"{counted(n, 'prediction or clip', 'predictions or clips')} could not be evaluated "
            f"and {verb(n, 'is', 'are')} not included in the values below:"
        )
    return messages


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
