"""Solve the weights of the 15 Oculus visemes for a motion, and divide it into cues."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np

from codetalker_cli.motion import Motion
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.mouth_fit import TONGUE_UNITS
from codetalker_cli.rigs.solve import solve
from codetalker_cli.rigs.units import UnitSet, bundled_rig
from codetalker_cli.settings import SolveSettings

REST = "sil"
"""The viseme of a mouth at rest."""
MIN_CUE_SECONDS = 0.05
"""Shorter cues belong to the one before, except for ``_BRIEF``."""
_BRIEF = ("PP", "FF")  # a missing contact of the lips is noticed
_L2 = 1e-3
"""The penalty of the solve. Some visemes are similar, so a small one gives large differences."""


@dataclass(frozen=True)
class Cue:
    """A viseme that is shown for some time.

    Attributes:
        viseme: Its name.
        start: The first frame.
        stop: The frame after the last one.
    """

    viseme: str
    start: int
    stop: int


def solve_visemes(motion: Motion, unit_names: Collection[str] | None = None) -> RigCurves:
    """Return the weights of the visemes in each frame.

    The poses of the visemes are fitted to the mouth as if they were units. The weight of ``REST``
    is what the others leave of 1.

    Args:
        motion: A motion of the bundled head, without head rotation.
        unit_names: The units that the motion was posed with. The poses use only these, and the
            tongue distinguishes visemes only if it has units. None: all.
    """
    rig = bundled_rig()
    names = tuple(rig.visemes)
    posed = [name for name in names if name != REST]
    region = rig.topology.region("mouth")
    used = np.array([unit_names is None or name in unit_names for name in rig.unit_names])
    if any(rig.unit_names[k] in TONGUE_UNITS for k in np.flatnonzero(used)):
        region = np.concatenate([region, np.arange(*rig.topology.parts["tongue"])])
    units = np.stack([rig.visemes[name] * used for name in posed])
    deltas = np.zeros((len(posed), *rig.neutral.shape), np.float32)
    # The other vertices have no offset in any viseme, so they have no influence on the weights.
    deltas[:, region] = np.einsum("pu,uvc->pvc", units, rig.unit_deltas[:, region])
    scale = motion.topology.meters_per_unit or 1.0
    settings = SolveSettings.model_validate({"l2": _L2})
    solved = solve(motion, UnitSet(tuple(posed), deltas / np.float32(scale)), settings)
    weights = solved.select(names).weights
    weights[:, names.index(REST)] = np.clip(1 - weights.sum(axis=1), 0, 1)
    return replace(solved, names=names, weights=weights)


def cues_of(curves: RigCurves) -> list[Cue]:
    """Divide a motion into cues, each with the viseme that has the largest weight.

    Args:
        curves: The result of ``solve_visemes``.
    """
    strongest = curves.weights.argmax(axis=1)
    starts = np.flatnonzero(np.diff(strongest, prepend=-1))
    shortest = MIN_CUE_SECONDS * curves.fps - 1e-6
    cues: list[Cue] = []
    for start, stop in zip(starts, [*starts[1:], len(strongest)], strict=True):
        viseme = curves.names[strongest[start]]
        if cues and stop - start < shortest and viseme not in _BRIEF:
            viseme = cues[-1].viseme
        if cues and viseme == cues[-1].viseme:
            cues[-1] = replace(cues[-1], stop=int(stop))
        else:
            cues.append(Cue(viseme, int(start), int(stop)))
    return cues
