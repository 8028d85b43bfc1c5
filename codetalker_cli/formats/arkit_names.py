"""The names of ARKit's 52 face units in files, in the order of Live Link Face recordings.

There is no binding order. Readers find units by name.
"""

_EYE = ("eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeSquint", "eyeWide")
UNITS = (
    *(f"{name}Left" for name in _EYE),
    *(f"{name}Right" for name in _EYE),
    "jawForward", "jawRight", "jawLeft", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker",
    "mouthRight", "mouthLeft", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft",
    "mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft",
    "mouthStretchRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower",
    "mouthShrugUpper", "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight", "browDownLeft",
    "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""The units in the order of the columns of a Live Link Face recording."""
_SIDES = {"_l": "left", "_r": "right"}


def folded(name: str) -> str:
    """Return a name as it is compared: ``blendShapes.EyeBlink_L`` becomes ``eyeblinkleft``."""
    name = name.strip().lower().removeprefix("blendshapes.")
    side = _SIDES.get(name[-2:])
    return (name if side is None else name[:-2] + side).replace("_", "")


_UNIT_OF = {folded(unit): unit for unit in UNITS}


def unit_of(name: str) -> str | None:
    """Return the unit that a name in a file means in any spelling, or None."""
    return _UNIT_OF.get(folded(name))
