"""Measure a folder of predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetalker_cli.errors import DataError, InputError, counted, printable
from codetalker_cli.evaluate.folder import write_csv
from codetalker_cli.evaluate.pairs import ALL, AUTO, Pair, find_pairs, parse_styles
from codetalker_cli.evaluate.score import csv_rows, describe, score_pairs
from codetalker_cli.evaluate.truth import Truth
from codetalker_cli.progress import Progress
from codetalker_cli.settings import EvaluateSettings


@dataclass(frozen=True)
class FolderMeasurement:
    """The measured values of a folder of predictions.

    Attributes:
        facts: The predictions, the truth, the style rule, and the numbers of clips, results and
            frames.
        values: Metric name → value, interval and unit.
        failed: The predictions that could not be measured, each with the reason.
    """

    facts: dict[str, Any]
    values: dict[str, dict[str, Any]]
    failed: list[dict[str, str]]

    @property
    def title(self) -> str:
        """A summary of what was measured, in one line."""
        counts = (counted(self.facts[f"{name}s"], name) for name in ("clip", "result", "frame"))
        return f"{self.facts['pred']}: {', '.join(counts)}, truth {self.facts['truth']}"


def measure_folder(
    folder: Path,
    truth: Truth,
    settings: EvaluateSettings,
    metrics: Sequence[str],
    progress: Progress | None = None,
    *,
    csv: Path | None = None,
) -> FolderMeasurement:
    """Measure the predictions of a folder; one that cannot be measured is reported and skipped.

    Args:
        folder: The predictions, named as ``find_pairs`` expects.
        truth: The ground-truth clips.
        settings: The evaluation settings.
        metrics: Metric names.
        progress: Called with the number of clips done and the total.
        csv: CSV file to write, with one line per clip and style.

    Raises:
        InputError: There are no predictions, one does not belong to a ground-truth clip, a style
            has no prediction, or ``csv`` is an input.
        DataError: No prediction can be measured.
    """
    failed: list[dict[str, str]] = []
    pairs = find_pairs(folder, truth)
    _check_styles(settings.style, pairs)
    if csv is not None:
        _refuse_inputs(csv, [*truth.clips.values(), *(pair.path for pair in pairs)])
    scores = score_pairs(pairs, truth, settings, metrics, progress, failed=failed)
    if failed and not scores.results():
        first = failed[0]
        raise DataError(f"no prediction could be measured; {first['clip']}: {first['reason']}")
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
        "failed": failed,
    }
    return FolderMeasurement(facts, values, failed)


def _check_styles(rule: str, pairs: Sequence[Pair]) -> None:
    """Refuse the name of a style that no prediction has."""
    styles = {pair.style for pair in pairs} - {None}
    unknown = [] if rule in (AUTO, ALL) else [n for n in parse_styles(rule) if n not in styles]
    if unknown and styles:
        raise InputError(
            f"`style` {printable(unknown[0])!r}: no prediction has this style; the predictions "
            f"have {', '.join(sorted(map(str, styles)))}"
        )


def _refuse_inputs(out: Path, inputs: Sequence[Path]) -> None:
    if out.exists() and any(path.exists() and out.samefile(path) for path in inputs):
        raise InputError(f"`csv` {out} is one of the input files; give another name")
