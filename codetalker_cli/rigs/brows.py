"""Raise the brows of a speaking face on strong accents and at the start of phrases.

The raise is added to the motion of a model, whose brows follow the speech too. It is limited so
that both together do not exceed ``MAX_RAISE``.
"""

from dataclasses import dataclass

import numpy as np

from codetalker_cli.easing import bump
from codetalker_cli.rigs.rhythm import Rhythm
from codetalker_cli.rigs.styles import SpeakingStyle
from codetalker_cli.rigs.units import bundled_rig, is_bundled_head
from codetalker_cli.topology import Mesh

MAX_RAISE = 0.6
"""The largest raise of the brows, as a weight of ``_SHAPE``."""
_SHAPE = {"browInnerUp": 0.8, "browOuterUpLeft": 0.55, "browOuterUpRight": 0.55, "eyeWideLeft": 0.1,
          "eyeWideRight": 0.1}  # fmt: skip
"""The units of a raise of 1."""
_STRONG = 0.5
"""The least strength of an accent that raises the brows."""
_ACCENT_RAISE, _PHRASE_RAISE = (0.1, 0.3), (0.08, 0.22)
"""The smallest and the largest raise."""
_ACCENT_SHARE, _PHRASE_SHARE = 0.6, 0.5
"""The share of strong accents and of phrases that raise the brows."""
_LEAD_SECONDS = 0.08
"""The brows begin to rise this long before an accent."""
_RISE_SECONDS, _ACCENT_FALL_SECONDS, _PHRASE_FALL_SECONDS = 0.16, 0.4, 0.7


@dataclass(frozen=True)
class BrowMotion:
    """The raise of the brows in one clip.

    Attributes:
        raises: (T,) float32 weights.
        moved: The indices of the vertices that move, (n,) int64.
        deltas: The offsets of those vertices at weight 1, (n, 3) float32.
        neutral: Those vertices of the neutral face, (n, 3) float32.
    """

    raises: np.ndarray
    moved: np.ndarray
    deltas: np.ndarray
    neutral: np.ndarray

    @classmethod
    def of(
        cls, mesh: Mesh, subject: str, rhythm: Rhythm, n_frames: int, fps: float, seed: int
    ) -> "BrowMotion | None":
        """Generate the raise of the brows, or return None for a face whose units are unknown."""
        if not is_bundled_head(mesh.topology):
            return None
        style = SpeakingStyle.for_subject(subject)
        rig = bundled_rig()
        offsets = np.zeros_like(rig.neutral)
        for name, weight in _SHAPE.items():
            side = {"Left": 1.0, "Right": -1.0}.get(name.removeprefix("browOuterUp"), 0.0)
            tilt = 1.0 + side * style.brow_asymmetry
            offsets += np.float32(weight * tilt) * rig.unit_deltas[rig.unit_names.index(name)]
        offsets /= np.float32(mesh.topology.meters_per_unit or 1)
        moved = np.flatnonzero(np.abs(offsets).max(1))
        raises = brow_raises(rhythm, n_frames, fps, seed) * style.brow_activity
        neutral = mesh.templates[subject][moved].astype(np.float32)
        return cls(raises.astype(np.float32), moved, offsets[moved], neutral)

    def add_to(self, vertices: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Add the raise to vertices in place.

        Args:
            vertices: (n, V, 3) vertices of n frames, without other additions.
            frames: (n,) indices of these frames in the clip.

        Returns:
            ``vertices``.
        """
        offsets = vertices[:, self.moved] - self.neutral
        shape = self.deltas / np.square(self.deltas).sum()
        raised = np.maximum(np.einsum("nvc,vc->n", offsets, shape), 0.0)
        added = np.clip(MAX_RAISE - raised, 0.0, self.raises[frames])
        vertices[:, self.moved] += added[:, None, None].astype(np.float32) * self.deltas
        return vertices


def brow_raises(rhythm: Rhythm, n_frames: int, fps: float, seed: int) -> np.ndarray:
    """Return the (T,) float64 raise of the brows, from 0 to 0.3.

    Args:
        rhythm: The rhythm of the speech.
        n_frames: The number of frames, T.
        fps: The frame rate in frames per second.
        seed: The random seed.
    """
    curve = np.zeros(n_frames)

    def rise(start: float, fall_seconds: float, height: float) -> None:
        stop = start + _RISE_SECONDS + fall_seconds
        frames = np.arange(max(0, int(start * fps)), min(n_frames, int(stop * fps) + 1))
        raised = height * bump(frames / fps - start, _RISE_SECONDS, fall_seconds)
        curve[frames] = np.maximum(curve[frames], raised)

    accents, phrases = (np.random.default_rng([seed, 10 + k]) for k in range(2))
    for time, strength in zip(rhythm.accents, rhythm.strengths, strict=True):
        chance, size = accents.random(2)
        if strength >= _STRONG and chance < _ACCENT_SHARE:
            height = float(np.interp(size * strength, (0, 1), _ACCENT_RAISE))
            rise(time - _LEAD_SECONDS, _ACCENT_FALL_SECONDS, height)
    for time in rhythm.phrases:
        chance, size = phrases.random(2)
        if chance < _PHRASE_SHARE:
            rise(time, _PHRASE_FALL_SECONDS, float(np.interp(size, (0, 1), _PHRASE_RAISE)))
    return curve
