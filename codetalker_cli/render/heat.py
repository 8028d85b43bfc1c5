"""Distances as colors: the color map of heat panels, and how hot a distance is."""

import numpy as np

from codetalker_cli.errors import RenderError
from codetalker_cli.settings import RenderSettings
from codetalker_cli.topology import Topology

_STOPS = np.array(
    [
        (0x8E, 0xA4, 0xBC),
        (0xB6, 0xBF, 0xAE),
        (0xF3, 0xDA, 0x5E),
        (0xF2, 0x9E, 0x38),
        (0xDF, 0x4F, 0x27),
        (0xA8, 0x0F, 0x24),
    ],
    np.float64,
)
"""sRGB from cool skin over yellow to red, at equal steps from 0 to 1."""
_STEPS = 256


def _interpolate_stops() -> np.ndarray:
    positions = np.linspace(0, len(_STOPS) - 1, _STEPS)
    stop_positions = np.arange(len(_STOPS))
    return np.stack([np.interp(positions, stop_positions, channel) for channel in _STOPS.T], axis=1)


_TABLE = np.rint(_interpolate_stops()).astype(np.uint8)


def heat_colors(values: np.ndarray) -> np.ndarray:
    """(..., 3) uint8 sRGB colors of values (...): 0 is cool, 1 the hottest; beyond is cut."""
    return _TABLE[heat_steps(values)]


def heat_steps(values: np.ndarray) -> np.ndarray:
    """(...) indices into a table of 256 colors, of values from 0 to 1."""
    return np.rint(np.clip(values, 0, 1) * (_STEPS - 1)).astype(np.intp)


def heat_table() -> np.ndarray:
    """(256, 3) uint8 sRGB, from cool to hot."""
    return _TABLE.copy()


def heat_range(topology: Topology, template: np.ndarray, settings: RenderSettings) -> float:
    """The distance that is shown as the hottest color, in the topology's unit.

    Args:
        topology: Tells the unit; without one the height of the face is the measure.
        template: (V, 3) neutral face.
        settings: ``heat_max_mm`` and ``heat_max_share``.

    Raises:
        RenderError: The face has no height.
    """
    meters = topology.meters_per_unit
    if meters is not None:
        return settings.heat_max_mm / 1000 / meters
    height = float(np.ptp(template[np.unique(topology.triangles), 1]))
    if not (np.isfinite(height) and height > 0):
        raise RenderError(f"topology {topology.name}: the template has no height to show heat by")
    return settings.heat_max_share * height


def heat_label(maximum: float, topology: Topology) -> str:
    """What stands at the hot end of the color bar: millimeters, or units where none is known."""
    meters = topology.meters_per_unit
    return f"{maximum:.2g} units" if meters is None else f"{maximum * meters * 1000:.3g} mm"
