"""Draw the lip curves of motions and filmed people below a picture.

Up to ``WINDOW_SECONDS`` are shown at once. A longer recording scrolls past a fixed line.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from codetalker_cli.errors import DataError, InputError
from codetalker_cli.face_track import FaceTrack
from codetalker_cli.metrics import mouth_curves
from codetalker_cli.motion import Motion
from codetalker_cli.render.captions import font_for

WINDOW_SECONDS = 8.0
MM = "mm"
_HEIGHT_SHARE = 0.4
"""The height of the charts as a fraction of the panel height."""
_PAPER, _FRAME, _INK, _NOW = "#20242a", "#4a505a", "#e8eaee", "#ffffff"
_COLORS = ("#ffb454", "#59c2ff", "#aad94c", "#f07178", "#d2a6ff", "#95e6cb")
_TITLES = {"opening": ("opening", ""), "width": ("width", " from its median")}
_MIN_RANGE_MM = {"opening": 10.0, "width": 12.0}
"""The smallest ranges of the vertical axes, so that noise is not enlarged."""


@dataclass(frozen=True)
class LipCurve:
    """The lip opening and the mouth width of one motion or filmed person.

    Attributes:
        label: Its name in the legend.
        times: (T,) seconds, increasing.
        opening: (T,) distance between the lips in ``unit``; NaN where it is unknown.
        width: (T,) width of the mouth in ``unit``; NaN where it is unknown.
        unit: ``mm``, or ``units`` if the length of a unit of the mesh is unknown. Curves of the
            same unit share a scale.
    """

    label: str
    times: np.ndarray
    opening: np.ndarray
    width: np.ndarray
    unit: str = MM


def curve_of_motion(motion: Motion, label: str) -> LipCurve:
    """Return the lip curve of a motion, as ``metrics.mouth_curves`` defines it.

    It is in millimeters, or in units of the mesh if their length is unknown.

    Raises:
        InputError: The topology does not have inner-lip vertices.
    """
    meters = motion.topology.meters_per_unit
    unit, length = ("units", 1.0) if meters is None else (MM, 0.001 / meters)
    try:
        curves = mouth_curves.of_motion(motion, eye_distance=length)  # lengths in ``unit``
    except DataError as error:
        raise InputError(
            f"`curves`: {label} has no regions of the inner lips, which its lip curve is measured "
            "from; show it without curves"
        ) from error
    return LipCurve(label, curves.times, curves.opening, curves.width, unit)


def curve_of_track(track: FaceTrack, label: str) -> LipCurve:
    """Return the lip curve of a filmed person, with ``mouth_curves.EYE_DISTANCE_MM`` as scale."""
    curves, scale = mouth_curves.of_track(track), mouth_curves.EYE_DISTANCE_MM
    return LipCurve(label, curves.times, curves.opening * scale, curves.width * scale)


class LipChart:
    """Two charts, of the lip opening and of the mouth width, below a picture.

    Args:
        curves: The curves to draw.
        width: The width of the picture in pixels.
        size: The height of a panel in pixels.
        seconds: The length of the recording.
    """

    def __init__(self, curves: Sequence[LipCurve], width: int, size: int, seconds: float) -> None:
        # Inner lips and tracked mouth corners have other widths, so only the changes are shown.
        self.curves = [replace(c, width=c.width - _median(c.width)) for c in curves]
        self.width, self.seconds = width, seconds
        self.height = 2 * round(size * _HEIGHT_SHARE / 2)  # encoders need an even height
        self._font_size = max(9, size // 36)
        self._left = 3 * self._font_size
        legend = 2 * self._font_size
        each = (self.height - legend) // 2
        margin = self._font_size // 2
        self._rows = [(legend + k * each, legend + (k + 1) * each - margin) for k in range(2)]
        self._ranges = [self._ranges_of(kind) for kind in ("opening", "width")]
        self._drawn: tuple[float, np.ndarray] | None = None

    def draw(self, marks: Sequence[float], channels: int = 3) -> np.ndarray:
        """Return the (height, width, channels) uint8 charts.

        Args:
            marks: Times in seconds that are marked with a line. The visible part is centered on
                the first one.
            channels: 3, or 4 for a picture with alpha.
        """
        from PIL import Image, ImageDraw

        start, stop = self._visible(marks[0] if len(marks) == 1 else None)
        if self._drawn is None or self._drawn[0] != start:
            self._drawn = start, self._draw_curves(start, stop)
        image = Image.fromarray(self._drawn[1])
        draw = ImageDraw.Draw(image)
        for mark in marks:
            x = self._x(np.array([mark]), start, stop)[0]
            draw.line([(x, self._rows[0][0]), (x, self._rows[1][1])], fill=_NOW, width=1)
        pixels = np.asarray(image)
        if channels == 3:
            return pixels
        return np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])

    def _visible(self, now: float | None) -> tuple[float, float]:
        """Return the visible interval in seconds; ``now`` None shows the whole recording."""
        if now is None or self.seconds <= WINDOW_SECONDS:
            return 0.0, max(self.seconds, 1e-3)
        start = min(max(0.0, now - WINDOW_SECONDS / 2), self.seconds - WINDOW_SECONDS)
        return start, start + WINDOW_SECONDS

    def _ranges_of(self, kind: str) -> dict[str, tuple[float, float]]:
        """Return the lowest and the highest value of each unit; all zeros are at one height."""
        units = dict.fromkeys(curve.unit for curve in self.curves)
        ranges = {unit: self._range_of(kind, unit) for unit in units}
        if len(ranges) == 1:
            return ranges
        share = max(-low / (high - low) for low, high in ranges.values())
        aligned = {}
        for unit, (low, high) in ranges.items():
            size = max(high / (1 - share), -low / share if share > 0 else 0.0)
            aligned[unit] = (-share * size, (1 - share) * size)
        return aligned

    def _range_of(self, kind: str, unit: str) -> tuple[float, float]:
        values = np.concatenate([getattr(c, kind) for c in self.curves if c.unit == unit])
        values = values[np.isfinite(values)]
        low, high = (values.min(), values.max()) if len(values) else (0.0, 0.0)
        least = _MIN_RANGE_MM[kind] if unit == MM else 0.0 if high > low else 1.0
        missing = max(0.0, least - (high - low))
        if kind == "opening":
            margin = 0.5 if unit == MM else 0.05 * (high - low)
            return min(0.0, low), high + missing + margin
        return low - missing / 2, high + missing / 2

    def _x(self, times: np.ndarray, start: float, stop: float) -> np.ndarray:
        return self._left + (times - start) / (stop - start) * (self.width - self._left - 4)

    def _draw_curves(self, start: float, stop: float) -> np.ndarray:
        from PIL import Image, ImageDraw, ImageFont

        image = Image.new("RGB", (self.width, self.height), _PAPER)
        draw, font = ImageDraw.Draw(image), ImageFont.load_default(self._font_size)
        self._draw_legend(draw)
        for name, (top, bottom), ranges in zip(
            ("opening", "width"), self._rows, self._ranges, strict=True
        ):
            box = [self._left, top, self.width - 4, bottom]
            draw.rectangle(box, outline=_FRAME)
            if len(ranges) == 1:
                ((unit, (low, high)),) = ranges.items()
                for value, anchor, y in ((high, "rt", top), (low, "rb", bottom)):
                    text = _number(value, unit)
                    draw.text((self._left - 4, y), text, fill=_INK, font=font, anchor=anchor)
            for number, curve in enumerate(self.curves):
                inside = (curve.times >= start - 0.1) & (curve.times <= stop + 0.1)
                x = np.clip(self._x(curve.times[inside], start, stop), self._left, self.width - 4)
                values, (low, high) = getattr(curve, name)[inside], ranges[curve.unit]
                y = bottom - (values - low) / (high - low) * (bottom - top)
                color = _COLORS[number % len(_COLORS)]
                _draw_runs(draw, x, y, color, max(1, self._font_size // 6))
            draw.text(
                (self._left + 4, top + 3), _title(name, ranges), fill=_INK, font=font, anchor="lt"
            )
        return np.asarray(image)

    def _draw_legend(self, draw: Any) -> None:
        x, y = self._left, self._font_size
        font = font_for("".join(curve.label for curve in self.curves), self._font_size)
        for number, curve in enumerate(self.curves):
            color = _COLORS[number % len(_COLORS)]
            draw.line([(x, y), (x + 2 * self._font_size, y)], fill=color, width=3)
            x += int(2.5 * self._font_size)
            draw.text((x, y), curve.label, fill=_INK, font=font, anchor="lm")
            x += int(font.getlength(curve.label)) + 2 * self._font_size


def with_chart(
    pictures: Iterable[np.ndarray], chart: LipChart | None, times: Sequence[float]
) -> Iterator[np.ndarray]:
    """Yield pictures, one per time, with the chart below them if there is one."""
    if chart is None:
        yield from pictures
        return
    for picture, time in zip(pictures, times, strict=True):
        yield np.concatenate([picture, chart.draw([time], picture.shape[2])])


def _title(name: str, ranges: Mapping[str, tuple[float, float]]) -> str:
    """Return the title of a chart: its unit, or the upper ends of several scales."""
    word, origin = _TITLES[name]
    if len(ranges) == 1:
        return f"{word}, {next(iter(ranges))}{origin}"
    ends = [f"{_number(high, unit)} {unit}" for unit, (_, high) in ranges.items()]
    return f"{word}, up to {' or '.join(ends)}{origin}"


def _number(value: float, unit: str) -> str:
    return str(round(value)) if unit == MM else f"{value:.2g}"


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0


def _draw_runs(draw: Any, x: np.ndarray, y: np.ndarray, color: str, width: int) -> None:
    """Draw a line that is interrupted where values are unknown."""
    known = np.isfinite(y)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], known.astype(int), [0]])))
    for first, stop in edges.reshape(-1, 2):
        points = list(zip(x[first:stop].tolist(), y[first:stop].tolist(), strict=True))
        if len(points) > 1:
            draw.line(points, fill=color, width=width, joint="curve")
