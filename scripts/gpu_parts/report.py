"""What a part of the GPU check measures: checks with limits, and tables of figures.

Every entry is one line of JSON, written as soon as it is measured. A part that crashes or runs out
of time therefore loses nothing that it had measured before.
"""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any


@dataclass(frozen=True)
class Setup:
    """How a part runs.

    Attributes:
        device: ``cuda`` or ``cpu``.
        small: Tiny models and few repeats, for a dry run.
        folder: A scratch folder of the part's own.
    """

    device: str
    small: bool
    folder: Path

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"


class Report:
    """Collects the entries of one part.

    Args:
        file: Open text file that takes one line of JSON for each entry.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def at_most(self, name: str, value: float, limit: float, unit: str = "") -> None:
        """Check that ``value`` is at most ``limit``; NaN fails."""
        self._check(name, value, f"≤ {limit:g}{unit}", value <= limit, unit)

    def at_least(self, name: str, value: float, limit: float, unit: str = "") -> None:
        """Check that ``value`` is at least ``limit``; NaN fails."""
        self._check(name, value, f"≥ {limit:g}{unit}", value >= limit, unit)

    def target_at_most(self, name: str, value: float, limit: float) -> None:
        """A wanted speed: missing it is reported, and is no failure of the check."""
        self._check(f"target: {name}", value, f"≤ {limit:g}", value <= limit, "", target=True)

    def target_at_least(self, name: str, value: float, limit: float, unit: str = "") -> None:
        """A wanted speed: missing it is reported, and is no failure of the check."""
        met = value >= limit
        self._check(f"target: {name}", value, f"≥ {limit:g}{unit}", met, unit, target=True)

    def fail(self, name: str, reason: str) -> None:
        """A check that could not be measured."""
        self._write({"check": name, "passed": False, "required": "", "value": reason})

    def skip(self, name: str, reason: str) -> None:
        """A check that means nothing on this device."""
        self._write({"check": name, "passed": None, "required": "", "value": reason})

    def row(self, table: str, **cells: Any) -> None:
        """A row of a table of figures; a table's rows have the same columns."""
        self._write({"table": table, "row": cells})

    @contextmanager
    def guarded(self, name: str) -> Iterator[None]:
        """Turn an exception of the block into a failed check, so that the part goes on."""
        try:
            yield
        except Exception as error:
            self.fail(name, f"{type(error).__name__}: {first_line(error)}")

    def _check(
        self,
        name: str,
        value: float,
        required: str,
        passed: bool,
        unit: str,
        target: bool = False,
    ) -> None:
        # JSON has no NaN.
        shown = value if math.isfinite(value) else str(value)
        entry = {"check": name, "passed": bool(passed), "required": required, "value": shown}
        self._write(entry | ({"unit": unit} if unit else {}) | ({"target": True} if target else {}))

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, or the name of its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
