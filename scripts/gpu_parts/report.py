"""Record the results of a part of the GPU check: checks with limits, and tables of figures.

Each entry is one line of JSON that is written immediately. A part that crashes or times out
therefore loses no earlier results.
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
    """The configuration of a part.

    Attributes:
        device: The device, ``cuda`` or ``cpu``.
        small: Whether to use tiny models and few repeats, for a dry run.
        folder: The scratch folder of the part.
    """

    device: str
    small: bool
    folder: Path

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"


class Report:
    """The report of one part.

    Args:
        file: An open text file for one line of JSON per entry.
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
        """Report whether ``value`` reaches a target speed; missing it does not fail the check."""
        self._check(f"target: {name}", value, f"≤ {limit:g}", value <= limit, "", target=True)

    def target_at_least(self, name: str, value: float, limit: float, unit: str = "") -> None:
        """Report whether ``value`` reaches a target speed; missing it does not fail the check."""
        met = value >= limit
        self._check(f"target: {name}", value, f"≥ {limit:g}{unit}", met, unit, target=True)

    def fail(self, name: str, reason: str) -> None:
        """Report a check that could not be measured as failed."""
        self._write({"check": name, "passed": False, "required": "", "value": reason})

    def skip(self, name: str, reason: str) -> None:
        """Report a check that does not apply to this device as skipped."""
        self._write({"check": name, "passed": None, "required": "", "value": reason})

    def row(self, table: str, **cells: Any) -> None:
        """Add a row to a table of figures; all rows of a table have the same columns."""
        self._write({"table": table, "row": cells})

    @contextmanager
    def guarded(self, name: str) -> Iterator[None]:
        """Turn an exception within the block into a failed check, so the part can continue."""
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
        # JSON does not support NaN.
        shown = value if math.isfinite(value) else str(value)
        entry = {"check": name, "passed": bool(passed), "required": required, "value": shown}
        self._write(entry | ({"unit": unit} if unit else {}) | ({"target": True} if target else {}))

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or the name of its type."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
