"""A z-buffered triangle rasterizer in NumPy with multisampling and interpolated colors.

Every pixel has ``samples`` sub-rows with one sample point each. No two sample points of a pixel
share a column, so that nearly vertical and nearly horizontal edges both get ``samples`` steps.

A triangle is cut along the sub-rows into spans. The ends of a span are computed directly from the
edges of the triangle, so that no work is done outside the triangle, and adjacent triangles meet
without gaps or overlaps. 1/depth is linear in screen space, and the nearest sample wins. Colors
are perspective-correct at both ends of a span and interpolated linearly in between.

Limits: triangles that extend behind the camera are skipped, and transparency is not supported.
"""

import sys
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

# Batch sizes that keep NumPy's intermediate arrays in the CPU cache.
_SPANS_AT_ONCE = 1 << 15
_SAMPLES_AT_ONCE = 1 << 16
_TILE = 8
"""Side of the tiles used for occlusion culling, in pixels."""
# Three color channels are packed into one int64 as fixed-point numbers of this many bits. One
# multiplication and one addition then interpolate all of them, and sums are exact.
_CHANNEL_BITS = 21
# Indices of the low and high 32 bits of a uint64 viewed as two uint32.
_LOW, _HIGH = (0, 1) if sys.byteorder == "little" else (1, 0)


def sample_columns(samples: int) -> np.ndarray:
    """Return (samples,) positions in [0, 1) within a pixel row, in van der Corput order."""
    fractions = np.zeros(samples)
    for index in range(samples):
        step, rest = 0.5, index
        while rest:
            fractions[index] += step * (rest & 1)
            step, rest = step / 2, rest >> 1
    return (np.argsort(np.argsort(fractions)) + 0.5) / samples


@dataclass(frozen=True)
class _Spans:
    """Runs of samples on one sub-row inside one triangle; some of the runs are empty.

    Attributes:
        n_spans: (2m,) span counts of m triangles: first of all upper parts, then of all lower
            parts.
        first: (n,) buffer index of the first sample.
        count: (n,) number of samples.
        x: (n,) x coordinate of the first sample, in pixels.
        y: (n,) y coordinate of the samples, in pixels.
    """

    n_spans: np.ndarray
    first: np.ndarray
    count: np.ndarray
    x: np.ndarray
    y: np.ndarray


class Rasterizer:
    """A buffer of samples that triangles are drawn into and that is averaged to pixels.

    Args:
        background: (height, width, 3) color where nothing is drawn, 0 to 255.
        samples: Number of sample points per pixel: 1, 2, 4, 8 or 16.
    """

    def __init__(self, background: np.ndarray, samples: int) -> None:
        self.height, self.width = background.shape[:2]
        self.samples = samples
        self._columns = sample_columns(samples)
        # The integer part of a channel's sum over a pixel takes 8 + log2(samples) bits.
        self._fraction_bits = _CHANNEL_BITS - 8 - (samples - 1).bit_length()
        self._background = self._pack(np.moveaxis(background.astype(np.float64), -1, 0) + 0.5)
        # One 64-bit key per sample: 1/depth in the high half (the bits of positive floats sort
        # like integers) and the index of the covering span in the low half. The largest key
        # belongs to the nearest surface.
        self._keys = np.zeros(self.height * samples * self.width, np.uint64)
        self.clear()

    def clear(self) -> None:
        """Remove everything drawn so far."""
        self._keys.fill(0)
        self._colors = [(np.zeros(1, np.int64), np.zeros(1, np.int64))]  # span 0: background
        self._n_spans = 1

    def draw(self, points: np.ndarray, triangles: np.ndarray, colors: np.ndarray) -> None:
        """Add triangles to the picture; at equal depth the triangle drawn later wins.

        Args:
            points: (V, 3) x (right) and y (down) in pixels, and 1/depth, which is positive in
                front of the camera.
            triangles: (n, 3) vertex indices; both windings are drawn.
            colors: (V, 3) colors, 0 to 255.
        """
        triangles = triangles[(points[:, 2] > 0)[triangles].all(1)]
        if not len(triangles):
            return
        corners = np.ascontiguousarray(points[triangles].transpose(2, 1, 0), dtype=np.float64)
        shades = np.ascontiguousarray(colors[triangles].transpose(2, 1, 0), dtype=np.float64)
        heights = np.ptp(np.clip(corners[1], 0, self.height), axis=0) * self.samples
        for batch in _batches(np.cumsum(heights), _SPANS_AT_ONCE):
            spans = self._spans(*corners[:2, :, batch])
            depth, depth_step, value, step = self._shade(
                corners[..., batch], shades[..., batch], spans
            )
            self._fill(spans, depth, depth_step)
            self._colors.append((value, step))
            self._n_spans += len(spans.count)

    def _spans(self, x: np.ndarray, y: np.ndarray) -> _Spans:
        """Cut triangles with corners ``x`` and ``y``, (3, m) each, into spans of sample points."""
        order = np.argsort(y, axis=0, kind="stable")
        (xa, xb, xc), (ya, yb, yc) = (np.take_along_axis(v, order, axis=0) for v in (x, y))
        n_rows = self.height * self.samples
        row_a, row_b, row_c = (
            np.clip(np.ceil(v * self.samples - 0.5), 0, n_rows).astype(np.int64)
            for v in (ya, yb, yc)
        )
        # Every triangle has an upper part between edges ab and ac, and a lower part between bc
        # and ac. An edge is always computed from its upper to its lower end, so that both
        # triangles that share it get identical results.
        top = np.concatenate([row_a, row_b])
        n_spans = np.concatenate([row_b, row_c]) - top
        row = _ranges(top, n_spans)
        row_y = (row + 0.5) / self.samples
        offset = self._columns.take(row & (self.samples - 1), mode="clip")
        long_edge = _line(xa, ya, xc, yc)
        upper_edge, lower_edge = _line(xa, ya, xb, yb), _line(xb, yb, xc, yc)
        knee_left = xb < long_edge[0] + long_edge[1] * yb
        ends = []
        for side in (knee_left, ~knee_left):
            at_zero, slope = (
                np.concatenate([np.where(side, u, m), np.where(side, w, m)])
                for u, w, m in zip(upper_edge, lower_edge, long_edge, strict=True)
            )
            end = np.repeat(at_zero, n_spans) + np.repeat(slope, n_spans) * row_y - offset
            ends.append(_round_to_int(np.clip(np.ceil(end), 0, self.width)))
        left, right = ends
        return _Spans(
            n_spans=n_spans,
            first=row * self.width + left,
            count=np.maximum(right - left, 0),
            x=left + offset,
            y=row_y,
        )

    def _shade(self, corners: np.ndarray, colors: np.ndarray, spans: _Spans) -> tuple:
        """Compute the depth and color of spans.

        Args:
            corners: (3, 3, m) x, y and 1/depth of the three corners of m triangles.
            colors: (3, 3, m) red, green and blue of the three corners.
            spans: The spans of these triangles.

        Returns:
            1/depth at the first sample and its step per sample, both (n,) float32; then the
            intercept and slope of the packed color as a linear function of the buffer index, both
            (n,) int64.
        """

        def spread(plane: np.ndarray) -> np.ndarray:
            return np.repeat(np.concatenate([plane, plane]), spans.n_spans)

        at_zero, by_x, by_y = _planes(corners, colors)
        last = np.maximum(spans.count - 1, 0).astype(np.float64)
        steps = [spread(plane) for plane in by_x]
        firsts = [
            spread(plane) + spread(up) * spans.y + step * spans.x
            for plane, up, step in zip(at_zero, by_y, steps, strict=True)
        ]
        depth, depth_step = firsts[0], steps[0]
        # Empty spans can divide by zero; no sample uses their values.
        with np.errstate(divide="ignore", invalid="ignore"):
            scale, last_scale = 1 / depth, 1 / (depth + depth_step * last)
            starts = [first * scale for first in firsts[1:]]
            stops = [
                (first + step * last) * last_scale
                for first, step in zip(firsts[1:], steps[1:], strict=True)
            ]
            per_step = 1 / np.maximum(last, 1)
            slopes = [(stop - start) * per_step for start, stop in zip(starts, stops, strict=True)]
        value, step = self._pack([start + 0.5 for start in starts]), self._pack(slopes)
        value -= step * spans.first
        return depth.astype(np.float32), depth_step.astype(np.float32), value, step

    def _pack(self, channels: list[np.ndarray] | np.ndarray) -> np.ndarray:
        """Pack three channels into one int64 each; packed colors can be added and scaled."""
        packed = np.zeros(channels[0].shape, np.int64)
        for index, channel in enumerate(channels):
            packed += _round_to_int(channel * (1 << self._fraction_bits)) << (_CHANNEL_BITS * index)
        return packed

    def _fill(self, spans: _Spans, depth: np.ndarray, depth_step: np.ndarray) -> None:
        """Replace the keys of all samples where a span is nearer than the present key."""
        numbers = np.arange(self._n_spans, self._n_spans + len(depth), dtype=np.uint32)
        for batch in _batches(np.cumsum(spans.count), _SAMPLES_AT_ONCE):
            count = spans.count[batch]
            step = _ranges(np.zeros_like(count), count)
            inverse_depth = np.repeat(depth_step[batch], count) * step.astype(np.float32)
            inverse_depth += np.repeat(depth[batch], count)
            keys = np.empty(len(step), np.uint64)
            halves = keys.view(np.uint32).reshape(-1, 2)
            halves[:, _HIGH] = inverse_depth.view(np.uint32)
            halves[:, _LOW] = np.repeat(numbers[batch], count)
            np.maximum.at(self._keys, np.repeat(spans.first[batch], count) + step, keys)

    def _farthest_by_tile(self) -> np.ndarray:
        """Return the smallest 1/depth in each tile, (rows, columns) float32.

        Incomplete tiles at the right and lower borders are 0.
        """
        tile_rows, rows, columns = _TILE * self.samples, self.height // _TILE, self.width // _TILE
        keys = self._keys.reshape(-1, self.width)[: rows * tile_rows]
        minimum = keys.reshape(rows, tile_rows, self.width).min(1)[:, : columns * _TILE]
        depth = (minimum.reshape(rows, columns, _TILE).min(2) >> np.uint64(32)).astype(np.uint32)
        farthest = np.zeros((-(-self.height // _TILE), -(-self.width // _TILE)), np.float32)
        farthest[:rows, :columns] = depth.view(np.float32)
        return farthest

    def inverse_depth(self) -> np.ndarray:
        """Return (height, samples, width) float32 1/depth of the samples, 0 for background."""
        depth = self._keys.view(np.uint32)[_HIGH::2].view(np.float32)
        return depth.reshape(self.height, self.samples, self.width)

    def hidden(self, points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
        """Return (n,) bool: whether each triangle is certainly hidden behind what is drawn.

        The test is conservative: it compares whole tiles and may miss hidden triangles.
        """
        if not len(triangles):
            return np.zeros(0, bool)
        farthest = self._farthest_by_tile()
        corners = points[triangles]
        limit = np.array([self.width, self.height]) - 1
        low = np.clip(corners[:, :, :2].min(1) - 1, 0, limit).astype(int) // _TILE
        high = np.clip(corners[:, :, :2].max(1) + 1, 0, limit).astype(int) // _TILE
        level = np.ceil(np.log2((high - low).max(1) + 1)).astype(int)
        nearest = corners[:, :, 2].max(1)
        hidden = np.zeros(len(triangles), bool)
        for exponent in range(level.max() + 1):
            selected = np.flatnonzero(level == exponent)
            hidden[selected] = nearest[selected] < farthest[low[selected, 1], low[selected, 0]]
            # Double the side of the windows over which the minimum is taken.
            for axis in (0, 1):
                shifted = np.full_like(farthest, np.inf)
                step = 1 << exponent
                if axis == 0:
                    shifted[:-step] = farthest[step:]
                else:
                    shifted[:, :-step] = farthest[:, step:]
                farthest = np.minimum(farthest, shifted)
        return hidden

    def resolve(self, *, transparent: bool = False) -> np.ndarray:
        """Return the (height, width, 3) uint8 picture: the mean of each pixel's samples.

        With ``transparent``, a fourth channel contains straight alpha, and the color of a partly
        covered pixel is the mean of its covered samples only.
        """
        value, step = (np.concatenate(lines) for lines in zip(*self._colors, strict=True))
        image = np.empty((self.height, self.width, 4 if transparent else 3), np.uint8)
        stride = self.samples * self.width
        n_rows = max(1, _SAMPLES_AT_ONCE // stride)
        for top in range(0, self.height, n_rows):
            rows = slice(top, min(top + n_rows, self.height))
            start, stop = rows.start * stride, rows.stop * stride
            span = (self._keys[start:stop] & np.uint64(0xFFFFFFFF)).view(np.int64)
            packed = step.take(span, mode="clip")
            packed *= np.arange(start, stop)
            packed += value.take(span, mode="clip")
            grid = (-1, self.samples, self.width)
            empty = (span == 0).reshape(grid).sum(1, dtype=np.int64)
            drawn = packed.reshape(grid).sum(1)
            total = drawn + self._background[rows] * empty
            for channel in range(3):
                shift = _CHANNEL_BITS * (channel + 1) - 8
                image[rows, :, channel] = (total >> shift).astype(np.uint8)
            if transparent:
                covered = self.samples - empty
                image[rows, :, 3] = (255 * covered + self.samples // 2) // self.samples
                edge = (empty > 0) & (covered > 0)
                image[rows][edge, :3] = self._unpack(drawn[edge], covered[edge])
        return image

    def _unpack(self, packed: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Divide sums of packed colors by ``counts`` and unpack them to (n, 3) uint8 colors."""
        mask = (1 << _CHANNEL_BITS) - 1
        channels = [(packed >> (_CHANNEL_BITS * channel)) & mask for channel in range(3)]
        return (np.stack(channels, axis=1) // (counts[:, None] << self._fraction_bits)).astype(
            np.uint8
        )


def _batches(totals: np.ndarray, size: int) -> list[slice]:
    """Divide a list into slices of about ``size``, given the running total of its item sizes."""
    if not len(totals):
        return []
    cuts = np.searchsorted(totals, np.arange(size, totals[-1], size))
    edges = np.unique([0, *cuts, len(totals)])
    return [slice(low, high) for low, high in pairwise(edges)]


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Concatenate the ranges starts[i], ..., starts[i] + counts[i] - 1 for all i."""
    ends = np.cumsum(counts)
    return np.arange(ends[-1]) + np.repeat(starts - (ends - counts), counts)


def _round_to_int(numbers: np.ndarray) -> np.ndarray:
    """Round float64 with magnitude below 2**51 to the nearest int64.

    This is several times faster than rint and astype.
    """
    # Adding 1.5 * 2**52 leaves the rounded number in the low bits of the mantissa.
    return (numbers + 6755399441055744.0).view(np.int64) - 0x4338000000000000


def _line(x0: np.ndarray, y0: np.ndarray, x1: np.ndarray, y1: np.ndarray) -> tuple:
    """Return x at y = 0 and dx/dy of lines through two points."""
    rise = y1 - y0
    # Horizontal edges get slope 0; no sub-row intersects them.
    slope = np.divide(x1 - x0, rise, out=np.zeros_like(rise), where=rise != 0)
    return x0 - slope * y0, slope


def _planes(corners: np.ndarray, colors: np.ndarray) -> tuple:
    """Return 1/depth and color/depth as planes: value at (0, 0), d/dx and d/dy, (4, m) each."""
    x, y, inverse = corners
    values = np.concatenate([inverse[None], colors * inverse])
    x1, x2, y1, y2 = x[1] - x[0], x[2] - x[0], y[1] - y[0], y[2] - y[0]
    area = x1 * y2 - x2 * y1
    area[area == 0] = 1
    d1, d2 = values[:, 1] - values[:, 0], values[:, 2] - values[:, 0]
    by_x, by_y = (d1 * y2 - d2 * y1) / area, (d2 * x1 - d1 * x2) / area
    return values[:, 0] - by_x * x[0] - by_y * y[0], by_x, by_y
