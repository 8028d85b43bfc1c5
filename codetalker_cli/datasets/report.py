"""What a preparation did: the report next to the data, and the summary of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from codetalker_cli.datasets.manifest import Manifest
from codetalker_cli.datasets.raw_clips import Problem

_PROBLEM_TITLES = {
    "missing": "missing: not in the raw data (public data sets lack some clips)",
    "broken": "broken: in the raw data, but unusable; mend them and run the command again",
    "hole": "holes: frames missing within a clip",
    "length": "length: sound and motion last differently by more than a frame",
    "audio": "audio: mended while it was read",
    "unit": "unit: faces of an unlikely size",
}


@dataclass(frozen=True)
class Prepared:
    """What a run did.

    Attributes:
        folder: The prepared folder.
        manifest: The manifest of the data set as it is now.
        n_written: Raw clips that this run wrote; 0: the folder is as it was.
    """

    folder: Path
    manifest: Manifest
    n_written: int

    def problems(self, kind: str) -> list[dict[str, str]]:
        """The problems of a kind; see ``Problem``."""
        return [problem for problem in self.manifest.problems if problem["kind"] == kind]

    def summary(self) -> str:
        """One line for people."""
        counts = self.manifest.splits.items()
        splits = ", ".join(f"{split['clips']} {name}" for name, split in counts)
        by_kind = {kind: len(self.problems(kind)) for kind in _PROBLEM_TITLES}
        problems = "".join(f", {n} {kind}" for kind, n in by_kind.items() if n)
        state = "" if self.n_written else " (all was done already, nothing changed)"
        return (
            f"{self.folder}: {len(self.manifest.clips)} clips ({splits}){problems}; "
            f"see {self.folder}/report.txt{state}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data for JSON."""
        return {
            "out": str(self.folder),
            "clips": len(self.manifest.clips),
            "splits": self.manifest.splits,
            "problems": list(self.manifest.problems),
            "written": self.n_written,
            "data_id": self.manifest.data_id,
        }


def report_text(manifest: Manifest, problems: Sequence[Problem]) -> str:
    """The report, in lines."""
    topology = manifest.topology
    lines = [
        f"{manifest.name}: {len(manifest.clips)} clips, {manifest.fps:g} frames a second, unit "
        f"{manifest.unit}, {topology['n_vertices']} vertices, {topology['n_faces']} triangles",
        "",
        *(f"{key}: {_format_value(value)}" for key, value in manifest.notes.items() if value),
        "",
        "splits:",
    ]
    for name, summary in manifest.splits.items():
        subjects = summary["subjects"]
        lines.append(
            f"  {name}: {summary['clips']} clips, {summary['frames']} frames, "
            f"{len(subjects)} subjects ({', '.join(subjects)})"
        )
    for kind, heading in _PROBLEM_TITLES.items():
        group = [p for p in problems if p.kind == kind]
        if group:
            lines += ["", f"{heading} ({len(group)})", *(f"  {p.clip}: {p.reason}" for p in group)]
    if not problems:
        lines += ["", "nothing was missing or broken"]
    return "\n".join(lines) + "\n"


def _format_value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
