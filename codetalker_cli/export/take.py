"""What an exporter receives: a motion in meters, the units of its face, and their weights."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from codetalker_cli.errors import DataError, InputError, printable
from codetalker_cli.motion import Motion, check_finite, vertex_blocks
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.posing import (
    DEFAULT_SUBJECT,
    NECK_PIVOT,
    motion_of,
    neck_pivot,
    turned,
)
from codetalker_cli.rigs.solve import solve
from codetalker_cli.rigs.unit_files import read_units
from codetalker_cli.rigs.units import UnitSet, units_of
from codetalker_cli.settings import SolveSettings


@dataclass(frozen=True)
class Take:
    """A motion to export. Lengths are in meters; +y points up and +z forward.

    Attributes:
        motion: The motion, in the unit of its topology; exporters use the other attributes.
        native: The curves that the motion was made from, or None if they must be solved.
        given_units: The units of the face, in meters, or None for those that are known.
        settings: How the curves are solved.
    """

    motion: Motion
    native: RigCurves | None = None
    given_units: UnitSet | None = None
    settings: SolveSettings = field(default_factory=lambda: SolveSettings.model_validate({}))

    @property
    def fps(self) -> float:
        """The frame rate."""
        return self.motion.fps

    @property
    def n_frames(self) -> int:
        """The number of frames T."""
        return self.motion.n_frames

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return self.motion.seconds

    @property
    def scale(self) -> float:
        """Meters per unit of the motion; 1 if the scale is unknown."""
        return self.motion.topology.meters_per_unit or 1.0

    @property
    def triangles(self) -> np.ndarray:
        """(F, 3) int32 vertex indices, counter-clockwise seen from outside.

        Raises:
            DataError: The face has no triangles.
        """
        triangles = self.motion.topology.triangles
        if not len(triangles):
            raise DataError(
                f"the face {printable(self.motion.topology.name)!r} has no triangles, which this "
                "format needs"
            )
        return triangles

    @property
    def colors(self) -> np.ndarray | None:
        """(V, 3) uint8 sRGB albedo, or None."""
        return self.motion.colors

    @property
    def head(self) -> np.ndarray | None:
        """(T, 3) rotation of the head as in ``RigCurves.head``, or None if the head is still."""
        return self.motion.head if self.native is None else self.native.head

    @cached_property
    def neck_pivot(self) -> np.ndarray:
        """(3,) float64 point about which the head turns."""
        if self.head is None:
            return np.array(NECK_PIVOT)  # a skeleton has a joint even if nothing turns it
        return neck_pivot(self.motion.topology, self.motion.template) * self.scale

    @property
    def without_head(self) -> "Take":
        """The take without the rotation of its motion."""
        return replace(self, motion=replace(self.motion, head=None))

    @cached_property
    def template(self) -> np.ndarray:
        """(V, 3) float32 neutral face."""
        if not np.isfinite(self.motion.template).all():
            raise DataError("the neutral face contains NaN or infinite values")
        return (self.motion.template * np.float32(self.scale)).astype(np.float32)

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the (n, V, 3) float32 vertices of all frames in order, in blocks of up to 32 MB.

        The vertices contain the rotation of the head.

        Raises:
            DataError: A coordinate is NaN or infinite.
        """
        number = 0
        for block in vertex_blocks(turned(self.motion).vertices):
            size = max(1, (32 << 20) // max(1, block[:1].nbytes))
            for start in range(0, len(block), size):
                part = block[start : start + size]
                check_finite(part, number)
                number += len(part)
                yield (part * np.float32(self.scale)).astype(np.float32, copy=False)

    @property
    def has_units(self) -> bool:
        """Whether the units of the face are known."""
        from codetalker_cli.rigs.units import is_bundled_head

        return self.given_units is not None or is_bundled_head(self.motion.topology)

    @cached_property
    def units(self) -> UnitSet:
        """The units of the face.

        Raises:
            InputError: The units are unknown. The message describes what to give.
        """
        if self.given_units is not None:
            return self.given_units
        units = units_of(self.motion)
        return UnitSet(units.names, units.deltas * np.float32(self.scale))

    @cached_property
    def curves(self) -> RigCurves:
        """The weights of all units."""
        return self._curves_of(self.units)

    @cached_property
    def arkit_units(self) -> UnitSet:
        """Those of ARKit's 52 units that the face has."""
        return self.units.arkit()

    @cached_property
    def arkit_curves(self) -> RigCurves:
        """The weights of ARKit's 52 units, solved without the others; 0 for missing units."""
        return self._curves_of(self.arkit_units).select(ARKIT_UNITS)

    def _curves_of(self, units: UnitSet) -> RigCurves:
        if self.native is not None:
            return self.native.select(units.names)
        scaled = UnitSet(units.names, units.deltas / np.float32(self.scale))
        return solve(self.motion, scaled, self.settings)


def make_take(
    motion: Motion | RigCurves,
    units: UnitSet | Path | str | None = None,
    settings: SolveSettings | None = None,
) -> Take:
    """Return a take.

    Args:
        motion: The motion, or rig curves, which are posed on the bundled head.
        units: The units of the face in meters, or the file or folder that contains them; None: the
            units of the bundled head.
        settings: How the curves are solved; None: the defaults.

    Raises:
        InputError: The units cannot be read, or are given for rig curves.
        DataError: The units do not fit the face.
    """
    solving = SolveSettings.model_validate({}) if settings is None else settings
    if isinstance(motion, RigCurves):
        if units is not None:
            raise InputError("`units`: rig curves are posed on the bundled head, which has units")
        posed = motion_of(motion, motion.subject or DEFAULT_SUBJECT)
        return Take(posed, motion, settings=solving)
    if isinstance(units, Path | str):
        units = read_units(units, motion)
    return Take(motion, given_units=units, settings=solving)
