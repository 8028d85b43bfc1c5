"""The report of a preparation that is saved with the data, and the summary of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetalker_cli.datasets.manifest import Manifest
from codetalker_cli.datasets.raw_clips import Problem
from codetalker_cli.errors import counted

_PROBLEM_TITLES = {
    "missing": "missing: not in the raw data (public data sets lack some clips)",
    "broken": "broken: in the raw data, but unusable; repair them and run the command again",
    "hole": "holes: frames missing within a clip",
    "length": "length: the lengths of audio and motion differ by more than a frame",
    "audio": "audio: repaired while it was read",
    "unit": "unit: templates of an implausible size",
    "face": "face: films with no face, several faces, or a small face",
    "sync": "sync: motion and audio seem to be shifted",
}


@dataclass(frozen=True)
class Prepared:
    """The result of a preparation.

    Attributes:
        folder: The prepared folder.
        manifest: The manifest of the prepared data set.
        n_written: The number of raw clips written by this run; 0: nothing has changed.
    """

    folder: Path
    manifest: Manifest
    n_written: int

    def problems(self, kind: str) -> list[dict[str, str]]:
        """Return the problems of a kind; see ``Problem``."""
        return [problem for problem in self.manifest.problems if problem["kind"] == kind]

    def summary(self) -> str:
        """Return a one-line summary."""
        counts = self.manifest.splits.items()
        splits = ", ".join(f"{split['clips']} {name}" for name, split in counts)
        by_kind = {kind: len(self.problems(kind)) for kind in _PROBLEM_TITLES}
        problems = "".join(f", {n} {kind}" for kind, n in by_kind.items() if n)
        state = "" if self.n_written else " (already up to date)"
        return (
            f"{self.folder}: {counted(len(self.manifest.clips), 'clip')} ({splits}){problems}; "
            f"see {self.folder}/report.txt{state}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain data for JSON."""
        return {
            "out": str(self.folder),
            "clips": len(self.manifest.clips),
            "splits": self.manifest.splits,
            "problems": list(self.manifest.problems),
            "written": self.n_written,
            "data_id": self.manifest.data_id,
        }


def report_text(manifest: Manifest, problems: Sequence[Problem]) -> str:
    """Return the text of report.txt."""
    topology = manifest.topology
    lines = [
        f"{manifest.name}: {counted(len(manifest.clips), 'clip')}, {manifest.fps:g} frames per "
        f"second, unit {manifest.unit}, {topology['n_vertices']} vertices, "
        f"{counted(topology['n_faces'], 'triangle')}",
        "",
        *(f"{key}: {_format_value(value)}" for key, value in manifest.notes.items() if value),
        "",
        "splits:",
    ]
    for name, summary in manifest.splits.items():
        subjects = summary["subjects"]
        lines.append(
            f"  {name}: {counted(summary['clips'], 'clip')}, "
            f"{counted(summary['frames'], 'frame')}, "
            f"{counted(len(subjects), 'subject')} ({', '.join(subjects)})"
        )
    for kind, heading in _PROBLEM_TITLES.items():
        group = [p for p in problems if p.kind == kind]
        if group:
            lines += ["", f"{heading} ({len(group)})", *(f"  {p.clip}: {p.reason}" for p in group)]
    if not problems:
        lines += ["", "no problems were found"]
    return "\n".join(lines) + "\n"


def _format_value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
