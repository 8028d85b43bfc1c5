"""What a check of a data set found, and how it is told."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Level = Literal["problem", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing about a data set that is not as it should be.

    Attributes:
        level: ``problem``: training on it would fail or learn something wrong; ``note``: worth
            knowing, and may be meant.
        kind: What it is about, the same word for all findings of a sort: ``missing``, ``length``,
            ``unit``, ``axes``, …
        where: Clip, subject or file.
        message: One line: what is found, what was expected, what to do.
    """

    level: Level
    kind: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class Findings(list[Finding]):
    """Findings in the order in which they were made."""

    def problem(self, kind: str, where: str, message: str) -> None:
        """Add one of level ``problem``."""
        self.append(Finding("problem", kind, where, message))

    def note(self, kind: str, where: str, message: str) -> None:
        """Add one of level ``note``."""
        self.append(Finding("note", kind, where, message))


@dataclass(frozen=True)
class InspectionReport:
    """What a check found.

    Attributes:
        folder: The prepared folder.
        name: Of the data set.
        n_clips: In the clip table.
        n_frames: Frames that could be read.
        seconds: Of motion that could be read.
        n_bytes: Of motion that was read.
        findings: Problems first; else in the order of the checks.
        sheet: The contact sheet, if one was drawn.
    """

    folder: Path
    name: str
    n_clips: int
    n_frames: int
    seconds: float
    n_bytes: int
    findings: tuple[Finding, ...]
    sheet: Path | None = None

    @property
    def problems(self) -> tuple[Finding, ...]:
        """Findings that keep the data set from being trained on as it should."""
        return tuple(f for f in self.findings if f.level == "problem")

    @property
    def notes(self) -> tuple[Finding, ...]:
        """Findings that may be meant."""
        return tuple(f for f in self.findings if f.level == "note")

    def lines(self, most: int = 3) -> list[str]:
        """The findings as text; of each kind no more than ``most``, then how many more."""
        return summary(self.findings, most)

    def verdict(self) -> str:
        """One line for people."""
        counts = f"{len(self.problems)} problems, {len(self.notes)} notes"
        found = counts if self.findings else "nothing is wrong"
        return (
            f"{self.folder}: {self.n_clips} clips, {self.seconds:.1f} s: {found}; see {self.sheet}"
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {
            "folder": str(self.folder),
            "name": self.name,
            "clips": self.n_clips,
            "frames": self.n_frames,
            "seconds": self.seconds,
            "problems": len(self.problems),
            "notes": len(self.notes),
            "findings": [asdict(finding) for finding in self.findings],
            "sheet": None if self.sheet is None else str(self.sheet),
        }


def summary(findings: Sequence[Finding], most: int = 3) -> list[str]:
    """Findings as lines; of each kind and level no more than ``most``, then how many more."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.level, finding.kind), []).append(finding)
    lines = []
    for (level, kind), group in groups.items():
        lines += [f"{level}: {finding}" for finding in group[:most]]
        if len(group) > most:
            lines.append(f"{level}: {len(group) - most} more of this sort ({kind})")
    return lines


def join_names(names: list[str], most: int = 4) -> str:
    """``a, b, c, d and 3 more``."""
    n_more = len(names) - most
    return ", ".join(names[:most]) + (f" and {n_more} more" if n_more > 0 else "")
