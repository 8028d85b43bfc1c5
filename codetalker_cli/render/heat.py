"""The color map of heat maps, and the distance shown in its hottest color."""

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
"""sRGB colors at equal steps from 0 to 1: from cool skin through yellow to red."""
_STEPS = 256


def _interpolate_stops() -> np.ndarray:
    positions = np.linspace(0, len(_STOPS) - 1, _STEPS)
    stop_positions = np.arange(len(_STOPS))
    return np.stack([np.interp(positions, stop_positions, channel) for channel in _STOPS.T], axis=1)


_TABLE = np.rint(_interpolate_stops()).astype(np.uint8)


def heat_colors(values: np.ndarray) -> np.ndarray:
    """Return (..., 3) uint8 sRGB colors for values (...) from 0 (cool) to 1 (hot), clipped."""
    return _TABLE[heat_steps(values)]


def heat_steps(values: np.ndarray) -> np.ndarray:
    """Return (...) indices into ``heat_table`` for values (...) from 0 to 1, clipped."""
    return np.rint(np.clip(values, 0, 1) * (_STEPS - 1)).astype(np.intp)


def heat_table() -> np.ndarray:
    """Return a (256, 3) uint8 table of sRGB colors, from cool to hot."""
    return _TABLE.copy()


def heat_range(topology: Topology, template: np.ndarray, settings: RenderSettings) -> float:
    """Return the distance shown in the hottest color, in the topology's unit.

    Args:
        topology: Its unit is used with ``heat_max_mm``. If the unit has no length in meters, the
            distance is ``heat_max_share`` of the height of the face.
        template: (V, 3) neutral face.
        settings: ``heat_max_mm`` and ``heat_max_share``.

    Raises:
        RenderError: The height of the face is zero or not finite.
    """
    meters = topology.meters_per_unit
    if meters is not None:
        return settings.heat_max_mm / 1000 / meters
    height = float(np.ptp(template[np.unique(topology.triangles), 1]))
    if not (np.isfinite(height) and height > 0):
        raise RenderError(
            f"topology {topology.name}: the height of the template is {height:g}; the color scale "
            "of a heat map needs a height above 0"
        )
    return settings.heat_max_share * height


def heat_label(maximum: float, topology: Topology) -> str:
    """Return the text at the hot end of a color bar, in millimeters if the unit is known."""
    meters = topology.meters_per_unit
    return f"{maximum:.2g} units" if meters is None else f"{maximum * meters * 1000:.3g} mm"
