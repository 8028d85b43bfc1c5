"""UDP packets of the app Live Link Face, which Unreal Engine receives at port 11111.

A packet contains one frame. All numbers are big-endian:

    u8 6 │ i32 36 │ id of the device │ i32 n │ name of the subject │
    i32 frame │ f32 part of a frame │ i32 rate │ i32 denominator of the rate │ u8 61 │ 61 × f32

The 61 numbers are those of a recording (``live_link``), but the two units of each sideways pair are
in the other order. No packet of this module has been tried with Unreal Engine.
"""

import struct
import uuid
from fractions import Fraction

import numpy as np

from codetalker_cli.formats.arkit_names import UNITS
from codetalker_cli.formats.live_link import EYES, HEAD, HEAD_SIGNS, eye_angles
from codetalker_cli.rig_curves import RigCurves

PORT = 11111
"""The port at which Unreal Engine listens."""
_SIDEWAYS = {
    "jawRight": "jawLeft",
    "jawLeft": "jawRight",
    "mouthRight": "mouthLeft",
    "mouthLeft": "mouthRight",
}
PACKET_UNITS = tuple(_SIDEWAYS.get(unit, unit) for unit in UNITS)
"""The units in the order of a packet."""
_VERSION = 6
_N_VALUES = len(PACKET_UNITS) + len(HEAD) + len(EYES)
_MAX_DENOMINATOR = 1001


class LiveLinkPackets:
    """The packets of one subject.

    Args:
        subject: The name of the subject, in ASCII.
        fps: The frame rate.
        device: The id of the device; None: a new one.
    """

    def __init__(self, subject: str, fps: float, device: uuid.UUID | None = None) -> None:
        name, rate = subject.encode("ascii"), Fraction(fps).limit_denominator(_MAX_DENOMINATOR)
        sender = str(device or uuid.uuid4()).upper().encode("ascii")
        self._start = struct.pack(
            f">Bi{len(sender)}si{len(name)}s", _VERSION, len(sender), sender, len(name), name
        )
        self._fps = fps
        self._rate = (rate.numerator, rate.denominator)

    def packet(
        self,
        frame: int,
        names: tuple[str, ...],
        weights: np.ndarray,
        head: np.ndarray | None = None,
    ) -> bytes:
        """Return the packet of a frame.

        Args:
            frame: The number of the frame.
            names: The names of the U units; others than ARKit's are left out.
            weights: (U,) weights.
            head: (3,) rotation of the head as in ``RigCurves.head``; None: it is still.
        """
        curves = RigCurves(names, self._fps, weights[None]).select(UNITS)
        turn = np.zeros(len(HEAD)) if head is None else head * HEAD_SIGNS
        values = np.concatenate(
            [curves.select(PACKET_UNITS).weights[0], turn, eye_angles(curves)[0]]
        )
        rest = struct.pack(
            f">ifiiB{_N_VALUES}f", frame & 0x7FFFFFFF, 0.0, *self._rate, _N_VALUES, *values
        )
        return self._start + rest
