"""Predictions in a folder → the values of metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetalker_cli.evaluate.folder import write_csv
from codetalker_cli.evaluate.pairs import find_pairs
from codetalker_cli.evaluate.score import csv_rows, describe, score_pairs
from codetalker_cli.evaluate.truth import Truth
from codetalker_cli.progress import Progress
from codetalker_cli.settings import EvaluateSettings


@dataclass(frozen=True)
class FolderMeasurement:
    """The values of metrics over a folder of predictions.

    Attributes:
        facts: What was measured against what: counts of clips, results and frames.
        values: Metric name → value, interval, unit.
    """

    facts: dict[str, Any]
    values: dict[str, dict[str, Any]]

    @property
    def title(self) -> str:
        """One line that says what was measured."""
        return "{pred}: {clips} clips, {results} results, {frames} frames, truth {truth}".format(
            **self.facts
        )


def measure_folder(
    folder: Path,
    truth: Truth,
    settings: EvaluateSettings,
    metrics: Sequence[str],
    progress: Progress | None = None,
    *,
    csv: Path | None = None,
) -> FolderMeasurement:
    """Measure the predictions of a folder.

    Args:
        folder: Predictions, named as ``find_pairs`` expects.
        truth: True clips.
        settings: How to measure.
        metrics: Metric names.
        progress: Called with (clips done, clips).
        csv: File that receives one line for each clip.

    Raises:
        InputError: No prediction fits a true clip.
        DataError: A prediction cannot be measured.
    """
    scores = score_pairs(find_pairs(folder, truth), truth, settings, metrics, progress)
    topology = truth.mesh.topology
    values = {name: describe(scores.value(name, settings), name, topology) for name in metrics}
    if csv is not None:
        write_csv(csv, *csv_rows({"model": scores}, metrics))
    results = scores.results()
    facts = {
        "pred": str(folder),
        "truth": truth.name,
        "clips": len({result.clip for result in results}),
        "results": len(results),
        "frames": scores.n_frames,
        "style_rule": settings.style,
    }
    return FolderMeasurement(facts, values)
