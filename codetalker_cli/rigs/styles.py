"""The speaking styles of the bundled head's subjects."""

import hashlib
import random
from dataclasses import dataclass


@dataclass(frozen=True)
class SpeakingStyle:
    """The way in which one person moves the face when speaking. The defaults are the mean style.

    Attributes:
        amplitude: Scale of the mouth opening.
        jaw_lip_balance: Whether the mouth opens with the lips (-1) or with the jaw (1).
        tempo: Scale of the coarticulation times; values above 1 give smoother, lazier motion.
        rounding: Scale of lip rounding and protrusion.
        spread: Scale of lip spreading.
        smile: Weight of a constant smile; negative values lower the corners of the mouth.
        asymmetry: How much more the left side moves than the right, as a fraction from -1 to 1.
        blink_rate_hz: Blinks per second.
        brow_activity: Scale of the brow movements.
        brow_asymmetry: How much more the left brow moves, as a fraction from -1 to 1.
        gaze_activity: Scale of the gaze movements.
    """

    amplitude: float = 1.0
    jaw_lip_balance: float = 0.0
    tempo: float = 1.0
    rounding: float = 1.0
    spread: float = 1.0
    smile: float = 0.0
    asymmetry: float = 0.0
    blink_rate_hz: float = 0.3
    brow_activity: float = 1.0
    brow_asymmetry: float = 0.0
    gaze_activity: float = 1.0

    @classmethod
    def for_subject(cls, subject: str | int, seed: int = 0) -> "SpeakingStyle":
        """Return the style of a subject.

        Args:
            subject: A name ("S01") or an index (0 is "S01"). Any name outside the table has a
                random style, which depends only on the name and ``seed``.
            seed: The random seed for names outside the table.
        """
        name = f"S{subject + 1:02d}" if isinstance(subject, int) else subject
        if name in _STYLES:
            return cls(*_STYLES[name])
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        draw = random.Random(int.from_bytes(digest[:8], "little"))
        return cls(*(round(draw.uniform(low, high), 3) for low, high in _STYLE_RANGES))


# Columns: amplitude, jaw/lip balance, tempo, rounding, spread, smile, asymmetry, blink rate,
# brow activity, brow asymmetry, gaze activity.
_STYLES: dict[str, tuple[float, ...]] = {
    "S01": (1.00, 0.00, 1.00, 1.00, 1.00, 0.00, 0.00, 0.28, 1.0, 0.00, 1.0),  # neutral
    "S02": (1.20, -0.30, 0.90, 1.05, 1.15, 0.06, 0.05, 0.36, 1.5, 0.10, 1.2),  # lively, lip-driven
    "S03": (1.10, 0.60, 0.95, 0.90, 0.85, 0.00, -0.08, 0.22, 0.7, 0.00, 0.8),  # jaw-driven
    "S04": (0.85, -0.20, 1.15, 1.10, 0.80, -0.02, 0.04, 0.26, 0.5, -0.20, 0.7),  # reserved
    "S05": (0.78, 0.20, 1.25, 0.85, 0.75, 0.00, 0.10, 0.34, 0.4, 0.00, 1.0),  # slightly mumbling
    "S06": (
        1.05,
        -0.60,
        0.95,
        1.25,
        1.05,
        0.03,
        -0.05,
        0.30,
        1.2,
        0.05,
        1.1,
    ),  # rounded, lip-driven
    "S07": (0.95, 0.40, 1.15, 0.95, 0.90, -0.03, 0.14, 0.20, 0.9, 0.30, 0.6),  # slow, asymmetric
    "S08": (1.12, 0.10, 1.05, 1.15, 1.10, 0.08, -0.10, 0.38, 1.3, -0.10, 0.9),  # smiling
    "S09": (1.25, 0.30, 0.85, 1.00, 1.00, 0.02, 0.00, 0.32, 1.1, 0.00, 1.4),  # emphatic
    "S10": (0.90, -0.40, 0.90, 1.00, 1.20, 0.04, 0.08, 0.40, 1.0, 0.15, 1.3),  # quick, spread lips
    "S11": (
        0.82,
        0.50,
        1.20,
        1.05,
        0.85,
        -0.04,
        -0.14,
        0.24,
        0.6,
        -0.25,
        0.5,
    ),  # elderly, jaw-driven, calm
    "S12": (1.15, -0.10, 1.00, 0.85, 1.25, 0.05, 0.06, 0.30, 1.4, 0.20, 1.2),  # wide, lively
}
_STYLE_RANGES: tuple[tuple[float, float], ...] = (
    (0.78, 1.25), (-0.6, 0.6), (0.85, 1.25), (0.85, 1.25), (0.75, 1.25), (-0.04, 0.08),
    (-0.14, 0.14), (0.2, 0.4), (0.4, 1.5), (-0.3, 0.3), (0.5, 1.4),
)  # fmt: skip
