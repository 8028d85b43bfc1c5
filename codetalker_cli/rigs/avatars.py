"""What moves a character: curves of its morph targets, and rotations of its bones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from codetalker_cli.formats.arkit_names import unit_of
from codetalker_cli.rig_curves import RigCurves

_JAW_RADIANS = 0.3


@dataclass(frozen=True)
class Drive:
    """What moves a character: curves of its morph targets, and rotations of its jaw, head and eyes.

    Attributes:
        morphs: The (T,) float32 weights of morph targets, by their names in the file.
        jaw: (T,) float32 opening of the jaw in radians, or None if morph targets open it.
        head: (T, 3) rotation as ``RigCurves.head``, or None.
        eyes: (T, 2) gaze to the subject's left and up in radians, or None if morph targets turn
            the eyes.
        matched: The morph targets that each unit, viseme or vowel drives.
        unmatched: The units that nothing shows.
        unused: The morph targets that nothing drives.
        naming: The recognized naming, e.g. ``ARKit``.
    """

    morphs: dict[str, np.ndarray]
    jaw: np.ndarray | None
    head: np.ndarray | None
    eyes: np.ndarray | None
    matched: dict[str, list[str]]
    unmatched: list[str]
    unused: list[str]
    naming: str


def drive(
    curves: RigCurves,
    names: Sequence[str],
    overrides: Mapping[str, Mapping[str, float]] | None = None,
    strength: Mapping[str, float] | None = None,
    expressions: Mapping[str, Mapping[str, float]] | None = None,
) -> Drive:
    """Return the curves of the morph targets that have the names of ARKit's units."""
    found = {name: unit for name in names if (unit := unit_of(name)) in curves.names}
    weights = dict(zip(curves.names, curves.weights.T, strict=True))
    matched: dict[str, list[str]] = {}
    for name, unit in found.items():
        matched.setdefault(str(unit), []).append(name)

    def angle(positive: str, negative: str) -> np.ndarray:
        return 0.2 * (weights[positive] - weights[negative])

    look = [name for name in matched if name.startswith("eyeLook")]
    eyes = None
    if not look and "eyeLookUpLeft" in weights:
        left = angle("eyeLookOutLeft", "eyeLookInLeft")
        eyes = np.stack([left, angle("eyeLookUpLeft", "eyeLookDownLeft")], axis=1)
    return Drive(
        morphs={name: weights[str(unit)] for name, unit in found.items()},
        jaw=None if "jawOpen" in matched else weights["jawOpen"] * np.float32(_JAW_RADIANS),
        head=curves.head,
        eyes=eyes,
        matched=matched,
        unmatched=[name for name in curves.names if name not in matched],
        unused=[name for name in names if name not in found],
        naming="ARKit" if found else "",
    )
