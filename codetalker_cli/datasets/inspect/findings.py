"""The findings of an inspection, and their presentation."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from codetalker_cli.errors import counted

Level = Literal["problem", "note"]


@dataclass(frozen=True)
class Finding:
    """One fault or peculiarity of a data set.

    Attributes:
        level: ``problem``: training would fail or learn something wrong; ``note``: unusual, but
            possibly intended.
        kind: The category: ``missing``, ``length``, ``unit``, ``axes``, …
        where: The clip, subject or file.
        message: A one-line message: what was found, what was expected, and what to do.
    """

    level: Level
    kind: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class Findings(list[Finding]):
    """A list of findings, in the order in which they were added."""

    def problem(self, kind: str, where: str, message: str) -> None:
        """Add a finding of level ``problem``."""
        self.append(Finding("problem", kind, where, message))

    def note(self, kind: str, where: str, message: str) -> None:
        """Add a finding of level ``note``."""
        self.append(Finding("note", kind, where, message))


@dataclass(frozen=True)
class InspectionReport:
    """The result of an inspection.

    Attributes:
        folder: The prepared folder.
        name: The name of the data set.
        n_clips: The number of clips in the clip table.
        n_frames: The number of frames that could be read.
        seconds: The length of the motion that could be read.
        n_bytes: The size of the motion that was read.
        findings: The problems, then the notes, each in the order of the checks.
        sheet: The path of the contact sheet, or None.
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
        """The findings that would harm training."""
        return tuple(f for f in self.findings if f.level == "problem")

    @property
    def notes(self) -> tuple[Finding, ...]:
        """The findings that are unusual but possibly intended."""
        return tuple(f for f in self.findings if f.level == "note")

    def lines(self, most: int = 3) -> list[str]:
        """Return the findings as lines of text, shortened as in ``summary``."""
        return summary(self.findings, most)

    def verdict(self) -> str:
        """Return a one-line summary."""
        counts = f"{counted(len(self.problems), 'problem')}, {counted(len(self.notes), 'note')}"
        found = counts if self.findings else "no problems"
        return (
            f"{self.folder}: {counted(self.n_clips, 'clip')}, {self.seconds:.1f} s: {found}; see "
            f"{self.sheet}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain data for JSON."""
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
    """Return findings as lines of text.

    At most ``most`` findings of each level and kind are listed, followed by the number of others.
    """
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.level, finding.kind), []).append(finding)
    lines = []
    for (level, kind), group in groups.items():
        lines += [f"{level}: {finding}" for finding in group[:most]]
        if len(group) > most:
            lines.append(f"{level}: {len(group) - most} more of this kind ({kind})")
    return lines


def join_names(names: list[str], most: int = 4) -> str:
    """Join names like ``a, b, c, d and 3 more``."""
    n_more = len(names) - most
    return ", ".join(names[:most]) + (f" and {n_more} more" if n_more > 0 else "")
