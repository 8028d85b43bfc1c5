"""Close the lips of a motion where a transcript has a p, b, m, f or v.

``enforce_contacts`` compares a decoded motion with the phones of its speech. Contacts that the
motion reaches by itself stay as they are. Otherwise, only the remaining gap is removed, with smooth
transitions. Frames away from such contacts do not change.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from codetalker_cli.animate.lip_field import LipField, millimeters_per_unit
from codetalker_cli.easing import smoothstep
from codetalker_cli.metrics.lips import (
    CLOSED_MM,
    EXCUSED_FRAMES,
    EXCUSES,
    INCISORS_MM,
    TEETH_MM,
    IncisorEdge,
    runs,
)
from codetalker_cli.motion import Motion, VertexFrames, materialize, vertex_blocks
from codetalker_cli.synthetic.contacts import CLOSING_SECONDS, OPENING_SECONDS, LipContacts
from codetalker_cli.synthetic.speech.phones import Phone

SHUT_MM = 0.3
"""The largest distance of a lip pair after closing it; that of shut lips at rest if it is less."""
APART_MM = 1.25
"""The lip gap to which a contact without a phone is opened, and that f and v keep at least."""
TOUCHING_MM = 1.5
"""The distance from the incisors to which the lower lip is moved in f and v."""
LOWER_SHARE = 0.65
"""The share of the lower lip when both lips move."""
_PARTING_FRAMES = 2
"""The frames over which opened lips return to the motion on each side."""
_LIP_CORNER_MM = 22.0
"""The distance from the middle at which the lower lip no longer moves in f and v."""
_MAX_STEPS = 8
"""The most steps in which lips approach each other or the incisors, which are not flat."""


def enforce_contacts(motion: Motion, phones: Sequence[Phone]) -> Motion:
    """Return a motion whose lips touch in every p, b, m, f and v.

    - In p, b, m without a frame of shut lips, both lips move together. The lower one moves more.
    - In f and v that miss the upper incisors, the lower lip moves to their edge. A mesh without
      upper teeth keeps its f and v.
    - Lips that touch far from such phones and from silence are parted by about 1 mm.

    Args:
        motion: The motion; its mesh has paired inner lips.
        phones: The contiguous phones of the whole recording.

    Raises:
        DataError: The mesh has no paired inner lips, or an unknown length unit.
    """
    lips = _Lips(motion, phones)
    lips.touch_teeth()
    lips.shut()
    lips.part()
    return lips.motion()


class _Lips:
    """The inner lips of a motion while they are moved.

    All lengths are in millimeters. ``positions`` are (T, C, 3) positions of the controls of the
    ``LipField``.
    """

    def __init__(self, motion: Motion, phones: Sequence[Phone]) -> None:
        self._original = motion
        self._scale = millimeters_per_unit(motion.topology)
        self._field = LipField.of(motion.topology, motion.template)
        self._phones = phones
        self._contacts = LipContacts(phones, motion.n_frames, motion.fps)
        controls = self._field.controls
        blocks = [block[:, controls] for block in vertex_blocks(motion.vertices)]
        self._before = np.concatenate(blocks).astype(np.float64) * self._scale
        self.positions = self._before.copy()
        self._rest = motion.template[controls].astype(np.float64) * self._scale
        offsets = self._offsets()
        widest = offsets[np.linalg.norm(offsets, axis=-1).mean(-1).argmax()].mean(0)
        self._up = widest / max(float(np.linalg.norm(widest)), 1e-9)

    def shut(self) -> None:
        """Close the lips in each p, b, m without a shut frame."""
        for _ in range(_MAX_STEPS):  # one step, unless a vertex belongs to several pairs
            if not self._approach():
                return

    def _approach(self) -> bool:
        """Move the lips together; return whether there was anything to move."""
        gap = self._gap()
        limits = np.minimum(np.linalg.norm(self._offsets(self._rest), axis=-1), SHUT_MM)
        offsets = self._offsets()
        excess = np.maximum(np.linalg.norm(offsets, axis=-1) - limits, 0.0)
        closing = np.zeros_like(excess)
        for first, stop, ramp in self._ramps("PP"):
            if gap[first:stop].min() < CLOSED_MM:
                continue
            frames = np.flatnonzero(ramp)
            nearest = np.clip(frames, first, stop - 1)
            wanted = ramp[frames, None] * excess[nearest]
            closing[frames] = np.maximum(closing[frames], np.minimum(wanted, excess[frames]))
        lengths = np.maximum(np.linalg.norm(offsets, axis=-1), 1e-9)
        self._separate(-closing[..., None] * offsets / lengths[..., None])
        return bool(closing.any())

    def part(self) -> None:
        """Open the contacts that no phone and no silence explains."""
        gap, fps = self._gap(), self._original.fps
        excused = np.zeros(len(gap), dtype=bool)
        for phone in self._phones:
            if phone.label in EXCUSES:
                first, last = phone.start_seconds * fps, phone.end_seconds * fps
                excused[max(0, int(first) - EXCUSED_FRAMES) : int(last) + EXCUSED_FRAMES + 2] = True
        n_pairs = len(self._field.upper)
        rank = (np.arange(n_pairs) + 0.5) / n_pairs
        share = np.clip(4 * np.minimum(rank, 1 - rank), 0.0, 1.0)  # less at the corners
        height = self._heights()
        opening = np.zeros(len(gap))
        frames = np.arange(len(gap))
        for first, stop in runs(gap < CLOSED_MM):
            if excused[first:stop].any():
                continue
            missing = APART_MM - height[first:stop]
            outside = np.maximum(first - frames, frames - stop + 1).clip(0)
            ramp = smoothstep(1.0 - outside / (_PARTING_FRAMES + 1))
            wanted = ramp * missing[np.clip(frames, first, stop - 1) - first]
            opening = np.maximum(opening, wanted)
        self._separate(opening[:, None, None] * share[:, None] * self._up)

    def touch_teeth(self) -> None:
        """Move the lower lip to the upper incisors in each f, v that misses them."""
        motion = self._original
        if "teeth_upper" not in motion.topology.parts:
            return
        teeth = IncisorEdge.of(motion.topology, motion.template)
        if not (len(teeth.edge) and len(teeth.lip)):
            return
        side = np.abs(self._rest[:, 0])
        share = smoothstep((_LIP_CORNER_MM - side) / (_LIP_CORNER_MM - INCISORS_MM))
        share[np.setdiff1d(np.arange(len(share)), self._field.lower)] = 0.0
        moves = np.zeros((len(self.positions), 3))
        keeps_shut = self._contacts.amount("PP")
        reached = np.zeros(len(moves))
        for first, stop, ramp in self._ramps("FF"):
            vertices = np.asarray(motion.vertices[first:stop])
            distances = [teeth.distance(teeth.offsets(v)) * self._scale for v in vertices]
            if min(distances) <= TEETH_MM:
                continue
            found = np.stack([self._move_to_teeth(teeth, v, share) for v in vertices])
            ramp = ramp.copy()
            ramp[:first] *= 1.0 - keeps_shut[:first]
            ramp[stop:] *= 1.0 - keeps_shut[stop:]
            frames = np.flatnonzero(ramp > reached)
            moves[frames] = ramp[frames, None] * found[np.clip(frames, first, stop - 1) - first]
            reached[frames] = ramp[frames]
        self.positions += moves[:, None] * share[:, None]
        missing = reached[:, None] * np.maximum(APART_MM - self._pair_heights(), 0.0)
        upper = missing[..., None] * (share[self._field.lower][:, None] * self._up)
        self._add(self._field.upper, upper)

    def motion(self) -> Motion:
        """Return the motion with the moved lips."""
        original, field = self._original, self._field
        moves = ((self.positions - self._before) / self._scale).astype(np.float32)
        moved: np.ndarray = np.abs(moves).max(axis=(1, 2)) > 0
        if not moved.any():
            return original

        def make(frames: np.ndarray) -> np.ndarray:
            vertices = np.array(original.vertices[frames], dtype=np.float32)
            chosen = moved[frames]
            vertices[chosen] = field.add(vertices[chosen], moves[frames[chosen]])
            return vertices

        shape = original.vertices.shape
        return replace(original, vertices=materialize(VertexFrames(shape[0], shape[1], make)))

    # Geometry of the pairs ------------------------------------------------------------------------

    def _offsets(self, positions: np.ndarray | None = None) -> np.ndarray:
        """Return the (..., P, 3) offsets of the upper from the lower lip."""
        positions = self.positions if positions is None else positions
        offsets: np.ndarray = (
            positions[..., self._field.upper, :] - positions[..., self._field.lower, :]
        )
        return offsets

    def _central(self, values: np.ndarray) -> np.ndarray:
        """Return the (T,) mean of (T, P) values over the pairs of ``Topology.inner_lip_gap``."""
        skip = values.shape[1] // 4
        mean: np.ndarray = values[:, skip : values.shape[1] - skip].mean(1)
        return mean

    def _gap(self) -> np.ndarray:
        return self._central(np.linalg.norm(self._offsets(), axis=-1))

    def _pair_heights(self) -> np.ndarray:
        """Return how far each pair is apart in the direction in which the mouth opens, (T, P)."""
        heights: np.ndarray = self._offsets() @ self._up
        return heights

    def _heights(self) -> np.ndarray:
        return self._central(self._pair_heights())

    def _separate(self, distance: np.ndarray) -> None:
        """Add (T, P, 3) to the offsets of the pairs; each lip moves by its share."""
        self._add(self._field.upper, (1.0 - LOWER_SHARE) * distance)
        self._add(self._field.lower, -LOWER_SHARE * distance)

    def _add(self, controls: np.ndarray, moves: np.ndarray) -> None:
        """Move controls by (T, P, 3); one that belongs to several pairs moves by their mean."""
        counts = np.bincount(controls, minlength=self.positions.shape[1])
        for k, control in enumerate(controls):
            self.positions[:, control] += moves[:, k] / counts[control]

    def _move_to_teeth(
        self, teeth: IncisorEdge, vertices: np.ndarray, share: np.ndarray
    ) -> np.ndarray:
        """Return the (3,) displacement of the lower lip that brings it to the incisors."""
        move, best, nearest = np.zeros(3), np.zeros(3), np.inf
        for _ in range(_MAX_STEPS):
            moved = self._field.add(vertices[None], (share[:, None] * move / self._scale)[None])[0]
            offsets = teeth.offsets(moved).astype(np.float64) * self._scale
            distance = float(teeth.distance(offsets))
            if distance >= nearest:
                break
            best, nearest = move, distance
            if distance <= TOUCHING_MM:
                break
            move = move + offsets.mean(0) * (1.0 - 0.9 * TOUCHING_MM / distance)
        return best

    def _ramps(self, contact: str) -> Iterator[tuple[int, int, np.ndarray]]:
        """Yield the frames [first, stop) of each contact, and the (T,) amount of the lips in it."""
        n_frames, fps = len(self.positions), self._original.fps
        amount, frames = self._contacts.amount(contact), np.arange(n_frames)
        for first, stop in self._contacts.frames(contact):
            before = (first - frames) / (CLOSING_SECONDS * fps)
            after = (frames - stop + 1) / (OPENING_SECONDS * fps)
            ramp = np.minimum(smoothstep(1.0 - np.maximum(before, after)), amount)
            first, stop = max(first, 0), min(stop, n_frames)
            if first < stop:
                yield first, stop, ramp
