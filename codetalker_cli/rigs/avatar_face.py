"""The curves of a face as a character shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.avatar_limits import GROUPS, group_of, keep_closed, limit, strengthen
from codetalker_cli.rigs.avatar_meaning import moves_mouth
from codetalker_cli.rigs.avatar_names import Units
from codetalker_cli.rigs.mouth_fit import (
    NOT_IN_CLOSURES,
    fit_poses,
    movement,
    openness,
    unit_poses,
)
from codetalker_cli.rigs.posing import PITCH_OF_GAZE, YAW_OF_GAZE, motion_of
from codetalker_cli.rigs.solve import solve
from codetalker_cli.rigs.units import bundled_rig, bundled_units

JAW_RADIANS = 0.42
"""The rotation of the bundled head's lower teeth for jawOpen 1, in radians; linear to 2 %."""
MOVES = 0.01
"""The weight from which a unit counts as moving."""


class Face:
    """The curves as a character shows them: strengthened, limited, and shut where they should be.

    Attributes:
        head: (T, U) strengthened weights of the units of the bundled head.
    """

    def __init__(self, curves: RigCurves, strength: Mapping[str, float]) -> None:
        rig = bundled_rig()
        given = curves.select(rig.unit_names)
        given = replace(given, weights=np.clip(np.nan_to_num(given.weights), 0, 1))
        self._given = given.weights
        self._opened = openness(given.weights)
        self._strength = strength
        self._curves = strengthen(given, strength)
        self.head = self._curves.weights

    @cached_property
    def _plain(self) -> RigCurves:
        """The weights of ARKit's units, of which those of the mouth lack the other units."""
        return limit(self._curves.select(ARKIT_UNITS))

    @cached_property
    def _arkit(self) -> RigCurves:
        """The weights of ARKit's units."""
        return keep_closed(limit(_without_extras(self._curves)), self._opened)

    @cached_property
    def _mix(self) -> np.ndarray:
        """(T,) factors of poses: the strengths of the groups, weighted by their movement.

        A pose moves the jaw and the lips together. If the poses were fitted to strengthened
        weights, another strength would give other poses: an I without a jaw is nearly a P. In shut
        lips, what parts them does not count, so the strength of the jaw leaves them as they are.
        """
        unit_names = bundled_rig().unit_names
        parting = np.isin(unit_names, NOT_IN_CLOSURES)
        weights = np.where(parting, self._given * self._opened[:, None], self._given)
        total, strong = np.zeros(len(weights)), np.zeros(len(weights))
        for group in GROUPS:
            size = movement(weights, [name for name in unit_names if group_of(name) == group])
            total += size
            strong += self._strength.get(group, 1.0) * size
        return np.where(total > 0, strong / np.maximum(total, np.finfo(float).tiny), 1.0)

    def sum(self, units: Units) -> np.ndarray:
        """Return the (T,) sum of units of ARKit with factors."""
        curves = self._arkit if any(map(moves_mouth, units)) else self._plain
        total = np.zeros(curves.n_frames, np.float32)
        for unit, factor in units.items():
            total += np.float32(factor) * curves.weights[:, curves.names.index(unit)]
        return total

    def jaw(self) -> np.ndarray:
        """Return the (T,) opening of the jaw in radians."""
        weights = self._plain.weights[:, self._plain.names.index("jawOpen")]
        angles: np.ndarray = weights * (JAW_RADIANS * self._opened).astype(np.float32)
        return angles

    def fit(
        self, poses: Mapping[str, Units], exclusive: bool = False, uncertain: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """Return the (T,) weights of mouth poses; see ``fit_poses``.

        The mixture of the poses does not depend on the strength.
        """
        if not poses:
            return {}
        fitted = self._fit(poses, exclusive, uncertain)
        if self._strength:
            fitted = fitted * self._mix[:, None]
            largest = fitted.sum(1) if exclusive else fitted.max(1)
            fitted /= np.maximum(largest, 1)[:, None]
        return dict(zip(poses, fitted.T.astype(np.float32), strict=True))

    def fit_units(self, shapes: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
        """Return the (T,) weights of shapes that show units, each with the strength of its group.

        Args:
            shapes: The units that each shape shows, in full.
        """
        if not shapes:
            return {}
        poses = {name: dict.fromkeys(units, 1.0) for name, units in shapes.items()}
        fitted = self._fit(poses, exclusive=False, uncertain=())
        if self._strength:
            groups = [group_of(next(iter(units))) for units in shapes.values()]
            factors = [self._strength.get(group, 1.0) for group in groups]
            fitted = np.minimum(fitted * np.array(factors), 1.0)
        return dict(zip(poses, fitted.T.astype(np.float32), strict=True))

    def _fit(
        self, poses: Mapping[str, Units], exclusive: bool, uncertain: Sequence[str]
    ) -> np.ndarray:
        varied = np.array([pose in uncertain for pose in poses])
        return fit_poses(self._given, unit_poses(poses), self._opened, exclusive, varied)

    def gaze(self) -> np.ndarray | None:
        """Return the (T, 2) gaze to the left and up in radians, the mean of both eyes, or None."""
        left = {"eyeLookOutLeft": 0.5, "eyeLookInRight": 0.5}
        left |= {"eyeLookInLeft": -0.5, "eyeLookOutRight": -0.5}
        up = {"eyeLookUpLeft": 0.5, "eyeLookUpRight": 0.5}
        up |= {"eyeLookDownLeft": -0.5, "eyeLookDownRight": -0.5}
        columns = [YAW_OF_GAZE * self.sum(left), PITCH_OF_GAZE * self.sum(up)]
        angles = np.stack(columns, axis=1).astype(np.float32)
        return angles if angles.any() else None

    def moving(self, has_poses: bool) -> list[str]:
        """Return the units of ARKit that move, without those that poses or eye bones show."""
        curves = self._plain if has_poses else self._arkit
        moves = curves.weights.max(axis=0, initial=0) >= MOVES
        return [
            unit
            for unit, is_moving in zip(curves.names, moves, strict=True)
            if is_moving
            and not (has_poses and moves_mouth(unit))
            and not unit.startswith("eyeLook")
        ]


def _without_extras(curves: RigCurves) -> RigCurves:
    """Return the weights of ARKit's units, which replace the other units of the bundled head."""
    extras = [k for k, name in enumerate(curves.names) if name not in ARKIT_UNITS]
    arkit = curves.select(ARKIT_UNITS)
    if not curves.weights[:, extras].any():
        return arkit
    subject = bundled_rig().subject_names[0]
    motion = motion_of(curves, subject, rotate_head=False)
    solved = solve(motion, bundled_units(subject).arkit()).select(ARKIT_UNITS)
    mouth = np.array([moves_mouth(name) for name in ARKIT_UNITS])
    return replace(arkit, weights=np.where(mouth, solved.weights, arkit.weights))
