"""Recordings of the app Live Link Face (.csv), and tables that other programs write like them.

The app writes 61 numbers for each frame: the weights of ARKit's 52 units, and the rotations of the
head and of both eyes in radians. A frame without a face is a short row. Other programs write other
columns, orders and spellings, so columns are found by name. The tables of the Audio2Face client
(``timeCode``, ``blendShapes.NAME``) are read as well.

Rotations have the signs of the app: yaw turns to the subject's right, pitch goes down, and roll
tilts toward the subject's left shoulder. The eyes were compared with the eyeLook weights in public
takes. Those takes contain no head rotation. The signs of the head are those of the function in
Unreal Engine that converts head and eyes alike.
"""

import csv
import io
import logging
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codetalker_cli.errors import DataError, InputError, counted, printable, verb
from codetalker_cli.formats import timecodes
from codetalker_cli.formats.arkit_names import UNITS, folded, unit_of
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.text_files import TABLE_BYTES, check_file, read_text

SUFFIX = ".csv"
HEAD = ("HeadYaw", "HeadPitch", "HeadRoll")
EYES = (
    "LeftEyeYaw", "LeftEyePitch", "LeftEyeRoll", "RightEyeYaw", "RightEyePitch", "RightEyeRoll"
)  # fmt: skip
COLUMNS = (
    "Timecode", "BlendshapeCount", *(unit[0].upper() + unit[1:] for unit in UNITS), *HEAD, *EYES
)  # fmt: skip
"""The columns in the order of the app."""
HEAD_SIGNS = np.array([-1.0, 1.0, 1.0])
"""Signs from the columns ``HEAD`` to ``RigCurves.head``."""
EYE_RADIANS = {
    "eyeLookIn": 0.257, "eyeLookOut": 0.248, "eyeLookUp": 0.169, "eyeLookDown": 0.193
}  # fmt: skip
"""The rotation of the bundled head's eyes at weight 1, in radians."""
MIN_FPS, MAX_FPS = 1.0, 250.0
"""The range of frame rates of a recording."""
MAX_GAP_FACTOR = 20
"""A recording may have this many times as many frames as rows; more is a fault of its times."""
_TIMES = ("timecode", "time", "timestamp")
_COUNTS = ("blendshapecount",)
_FOUND_FRAMES = 0.75
"""A frame whose nearest row with a face is farther away than this is missing."""
_NAMED = 5
"""The number of columns that are named in a message."""

logger = logging.getLogger(__name__)


# Write -------------------------------------------------------------------------------------------


def write(path: Path, curves: RigCurves) -> None:
    """Write curves as the app does: 61 columns, ten decimals, and timecodes that count to 60."""
    head = np.zeros((curves.n_frames, 3)) if curves.head is None else curves.head * HEAD_SIGNS
    numbers = np.concatenate([curves.select(UNITS).weights, head, eye_angles(curves)], axis=1)
    numbers = np.round(numbers.astype(np.float64), 10) + 0.0  # + 0.0 turns −0 into 0
    stamps = timecodes.write(np.arange(curves.n_frames) / curves.fps)
    row = ",".join(["%.10f"] * numbers.shape[1])
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(",".join(COLUMNS) + "\n")
        for stamp, values in zip(stamps, numbers, strict=True):
            file.write(f"{stamp},{numbers.shape[1]},{row % tuple(values)}\n")


def eye_angles(curves: RigCurves) -> np.ndarray:
    """Return the (T, 6) columns ``EYES`` for the eyeLook weights; roll is 0."""
    names = [f"{look}{side}" for side in ("Left", "Right") for look in EYE_RADIANS]
    radians = np.array([*EYE_RADIANS.values()] * 2)
    looks = (curves.select(tuple(names)).weights * radians).reshape(-1, 2, len(EYE_RADIANS))
    inward, outward, up, down = np.moveaxis(looks, 2, 0)
    yaw = (inward - outward) * [1.0, -1.0]  # the left eye looks in to the subject's right
    return np.stack([yaw, down - up, np.zeros_like(yaw)], axis=2).reshape(-1, 6)


# Read --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Recording:
    """The curves of a recording, and what is known about its frames.

    Attributes:
        curves: The curves as uniform frames; frames without a face are interpolated.
        found: (T,) bool: the frames that are in the file, with a face.
        start_seconds: The time of day of the first frame, or None if the file has no timecodes.
    """

    curves: RigCurves
    found: np.ndarray
    start_seconds: float | None


def read(path: Path, fps: float | None = None) -> RigCurves:
    """Return the curves of a recording, as uniform frames; see ``read_recording``."""
    return read_recording(path, fps).curves


def read_recording(path: Path, fps: float | None = None) -> Recording:
    """Return a recording as uniform frames.

    Missing columns are 0, frames without a face are interpolated, and weights are clipped to
    [0, 1].

    Args:
        path: The file.
        fps: The frame rate of a file that contains no times; ignored for others.

    Raises:
        InputError: The file is missing, or contains no times and ``fps`` is None.
        DataError: The file is not a recording, or is damaged.
    """
    path = Path(path)
    rows = _rows(path)
    try:
        columns = _Columns.of(path, next(rows, []))
        table = _Table.of(path, columns, rows)
    except csv.Error as error:
        raise DataError(f"{printable(path)}: not a .csv file ({printable(error)})") from error
    rate, values, found = _uniform_frames(path, table, fps)
    weights = values[:, : len(columns.units)]
    n_clipped = int(np.any((weights < 0) | (weights > 1), axis=1).sum())
    if n_clipped:
        logger.warning(
            "%s: weights outside of [0, 1] were clipped in %s",
            printable(path),
            counted(n_clipped, "frame"),
        )
    names = tuple(columns.units)
    curves = RigCurves(
        names, rate, np.clip(weights, 0, 1).astype(np.float32), head=_head(path, columns, values)
    )
    return Recording(curves.select(UNITS), found, table.start_seconds)


def _rows(path: Path) -> Iterator[list[str]]:
    check_file(path)
    try:
        text = read_text(path, TABLE_BYTES, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"{printable(path)}: cannot be read ({printable(error)})") from error
    return csv.reader(io.StringIO(text, newline=""))


@dataclass(frozen=True)
class _Columns:
    """Where a table contains what: the units and rotations with their columns."""

    header: list[str]
    time: int | None
    count: int | None
    units: dict[str, int]
    head: dict[str, int]

    @classmethod
    def of(cls, path: Path, header: Sequence[str]) -> "_Columns":
        names = [folded(name) for name in header]
        for name in names:
            if name and names.count(name) > 1:
                raise DataError(f"{printable(path)}: column {printable(name)!r} is listed twice")
        units = {unit: k for k, name in enumerate(header) if (unit := unit_of(name)) is not None}
        if not units and len(names) == 1 and ";" in header[0]:
            raise DataError(
                f"{printable(path)}: the columns are separated by semicolons, expected commas; "
                "save the file with commas"
            )
        if not units:
            raise DataError(
                f"{printable(path)}: the first line names no ARKit unit such as JawOpen; expected "
                "a recording of Live Link Face"
            )
        head = {name: names.index(folded(name)) for name in HEAD if folded(name) in names}
        time = next((names.index(name) for name in _TIMES if name in names), None)
        count = next((names.index(name) for name in _COUNTS if name in names), None)
        known = {*units.values(), *head.values(), time, count}
        known |= {k for k, name in enumerate(names) if name in map(folded, EYES)}
        if unknown := [name for k, name in enumerate(header) if k not in known and name.strip()]:
            logger.warning(
                "%s: %s skipped, which is not known: %s",
                printable(path),
                counted(len(unknown), "column"),
                ", ".join(printable(name, 40) for name in unknown[:_NAMED]),
            )
        return cls(list(header), time, count, units, head)

    @property
    def numbers(self) -> list[int]:
        """The columns that are read, the units first."""
        return [*self.units.values(), *self.head.values()]


@dataclass(frozen=True)
class _Table:
    """The numbers of a recording.

    Attributes:
        values: (N, C) float64, NaN in rows without a face.
        times: (N,) seconds, or None.
        start_seconds: The first time if it is a timecode, or None.
    """

    values: np.ndarray
    times: np.ndarray | None
    start_seconds: float | None = None

    @classmethod
    def of(cls, path: Path, columns: _Columns, rows: Iterator[list[str]]) -> "_Table":
        wanted, last = columns.numbers, max(columns.numbers)
        empty = [np.nan] * len(wanted)
        numbers, whole, frames = array("d"), array("d"), array("d")
        for line, row in enumerate(rows, 2):
            if not any(cell.strip() for cell in row):
                continue
            where = f"{printable(path)}, line {line}"
            if columns.time is not None:
                try:
                    seconds, frame = timecodes.parse("".join(row[columns.time : columns.time + 1]))
                except ValueError as error:
                    raise DataError(f"{where}: the time is not valid; {error}") from error
                whole.append(seconds)
                frames.append(frame)
            others = (columns.time, columns.count)
            has_face = any(cell.strip() for k, cell in enumerate(row) if k not in others)
            if has_face and len(row) <= last:
                raise DataError(
                    f"{where}: the row has {counted(len(row), 'cell')}, expected "
                    f"{len(columns.header)}; the file may be cut short, so copy it again"
                )
            numbers.extend(_floats(row, wanted, columns.header, where) if has_face else empty)
        values = np.frombuffer(numbers).reshape(-1, len(wanted))
        if columns.time is None:
            return cls(values, None)
        mixed = np.isnan(frames)
        if len(frames) and mixed.any() != mixed.all():
            raise DataError(f"{printable(path)}: some times are timecodes and others are seconds")
        times = timecodes.to_seconds(np.array(whole), np.array(frames))
        has_timecodes = len(frames) > 0 and not mixed.any()
        return cls(values, times, float(times[0]) if has_timecodes else None)


def _floats(row: list[str], wanted: list[int], header: list[str], where: str) -> list[float]:
    try:
        numbers = [float(row[k]) for k in wanted]
    except ValueError:
        numbers = [_float_or_nan(row[k]) for k in wanted]
    for k, number in zip(wanted, numbers, strict=True):
        if not abs(number) < np.inf:
            raise DataError(
                f"{where}, column {printable(header[k], 60)}: {printable(row[k], 40)!r} is not a "
                "number"
            )
    return numbers


def _float_or_nan(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _uniform_frames(
    path: Path, table: _Table, fps: float | None
) -> tuple[float, np.ndarray, np.ndarray]:
    """Return the frame rate, (T, C) values in which gaps are interpolated, and the known frames."""
    name, values = printable(path), table.values
    known = np.isfinite(values[:, 0])
    if not known.any():
        raise DataError(f"{name}: no frame contains a face")
    if table.times is None and fps is None:
        raise InputError(f"{name}: no frame rate is stored; give `fps`")
    times = np.arange(len(values)) / (fps or 1.0) if table.times is None else table.times
    later = np.concatenate([[True], times[1:] > np.maximum.accumulate(times)[:-1]])
    if not later.all():
        n = int(np.count_nonzero(~later))
        logger.warning(
            "%s: %s that %s not later than the one before %s skipped",
            name, counted(n, "row"), verb(n, "is", "are"), verb(n, "was", "were"),
        )  # fmt: skip
        times, values, known = times[later], values[later], known[later]
    if not known.any():
        raise DataError(f"{name}: no frame contains a face")
    if n_lost := int(np.count_nonzero(~known)):
        logger.warning(
            "%s: %s without a face %s interpolated",
            name, counted(n_lost, "frame"), verb(n_lost, "was", "were"),
        )  # fmt: skip
    if len(times) == 1:
        return fps or float(timecodes.APP_BASE), values, known
    timeline = timecodes.uniform(times)
    _check_timeline(name, timeline, len(times))
    rate = fps if table.times is None and fps else timeline.fps
    frames, source = np.arange(timeline.n_frames), timeline.positions[known]
    uniform = np.stack([np.interp(frames, source, c[known]) for c in values.T], axis=1)
    after = np.clip(np.searchsorted(source, frames), 1, max(len(source) - 1, 1))
    nearest = np.minimum(
        np.abs(frames - source[after - 1]), np.abs(frames - source[after % len(source)])
    )
    found = nearest < _FOUND_FRAMES
    return rate, uniform, found


def _check_timeline(name: str, timeline: timecodes.Timeline, n_rows: int) -> None:
    if not MIN_FPS <= timeline.fps <= MAX_FPS:
        raise DataError(
            f"{name}: its times give {timeline.fps:.4g} frames per second, expected "
            f"{MIN_FPS:g} to {MAX_FPS:g}"
        )
    n_frames, most = timeline.n_frames, MAX_GAP_FACTOR * n_rows
    if n_frames > most:
        raise DataError(
            f"{name}: its times span {n_frames} frames at {timeline.fps:g} fps, but there are only "
            f"{counted(n_rows, 'row')}; remove the gaps"
        )


def _head(path: Path, columns: _Columns, values: np.ndarray) -> np.ndarray | None:
    head = np.zeros((len(values), len(HEAD)))
    for k, name in enumerate(columns.head):
        head[:, HEAD.index(name)] = values[:, len(columns.units) + k]
    if not head.any():
        return None
    if np.abs(head).max() > np.pi:
        logger.warning("%s: rotations above π are read as degrees", printable(path))
        head = np.radians(head)
    return (head * HEAD_SIGNS).astype(np.float32)
