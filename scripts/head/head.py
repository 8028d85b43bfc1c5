"""Assemble the parts of the head, and transfer base-mesh displacements to them.

This module defines the order and vertex ranges of the parts, the tongue's rest pose, the neutral
with a closed mouth, the 52 ARKit units and the additional correctives. Lengths are millimeters in
base-mesh coordinates; the origin is moved between the eyes only when the asset is written.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import lips
import numpy as np
import parts
import skin as skin_module
from source import Source

PART_NAMES = (
    "skin", "tongue", "teeth_upper", "teeth_lower", "eye_left", "eye_right", "brow_left",
    "brow_right",
)  # fmt: skip
LINE_BOW = 0.22
"""The depth of the lip line's bow in the neutral face, in millimeters."""

SHUT_UNITS = (
    "mouthPucker", "mouthSmile", "mouthFrown", "mouthDimple", "mouthStretch", "mouthLeft",
    "mouthRight", "mouthPress", "cheekPuff", "noseSneer",
)  # fmt: skip
"""Units that must keep closed lips closed; in the source the lips cross or part by up to 1 mm."""

JAW_ROUNDING = 0.6
"""The share of the V shape of the lower lip that is removed from jawOpen."""
ROUND_SHARES = (0.85, 0.62)
"""The share of the middle opening that lipRound retains, for the upper and the lower lip."""


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Interpolate smoothly from 0 at `low` to 1 at `high`."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


class Head:
    """The assembled head.

    Attributes:
        raw: (V, 3) mean head before the mouth is closed, with the tongue at rest.
        neutral: (V, 3) mean head with closed lips.
        triangles: (F, 3) vertex indices.
        uv: (N, 2) texture coordinates.
        uv_triangles: (F, 3) texture-coordinate indices.
        ranges: The vertex slice of each part.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        base = source.vertices + source.macro()
        self.base = base
        self.skin = skin_module.build(source, base)
        skin_positions = self.skin.field(base)
        tongue = source.group("helper-tongue")
        self._tongue = tongue
        self.helpers = {
            "teeth_upper": source.group("helper-upper-teeth"),
            "teeth_lower": source.group("helper-lower-teeth"),
            "eye_left": source.group("helper-l-eye"),
            "eye_right": source.group("helper-r-eye"),
        }
        self.own: dict[str, parts.Part] = {
            "teeth_upper": parts.teeth(upper=True),
            "teeth_lower": parts.teeth(upper=False),
            "eye_left": parts.eyeball(base[self.helpers["eye_left"]]),
            "eye_right": parts.eyeball(base[self.helpers["eye_right"]]),
            "brow_left": parts.brow(skin_positions, self.skin.triangles, 1.0),
            "brow_right": parts.brow(skin_positions, self.skin.triangles, -1.0),
        }
        blocks = [skin_positions, base[tongue], *(p.vertices for p in self.own.values())]
        ends = np.cumsum([0, *map(len, blocks)])
        self.ranges = {
            name: slice(int(a), int(b))
            for name, a, b in zip(PART_NAMES, ends[:-1], ends[1:], strict=True)
        }
        self.raw = np.concatenate(blocks)
        self.raw[self.ranges["tongue"]] += self._tongue_rest(base[tongue])
        self.neutral = self.raw.copy()
        self.neutral[self.ranges["skin"]] += lips.seal(self.skin, skin_positions, LINE_BOW)
        self.triangles, self.uv, self.uv_triangles = self._topology()

    def _topology(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the triangles, texture coordinates and texture triangles of all parts.

        The parts other than the skin use small tiles in free texture space.
        """
        quads = self.source.quads[self.source.quad_groups == "helper-tongue"]
        index = np.searchsorted(self._tongue, quads)
        tongue = np.concatenate([index[:, :3], index[:, [0, 2, 3]]])
        y, z, x = (self.base[self._tongue][:, k] for k in (1, 2, 0))
        flat = np.c_[(x - x.min()) / np.ptp(x), (z - z.min()) / np.ptp(z)]
        flat[:, 0] = np.where(y > np.median(y), flat[:, 0] / 2, 1 - flat[:, 0] / 2)
        triangles, uv = [self.skin.triangles], [self.skin.uv]
        uv_triangles = [self.skin.uv_triangles]
        n_uv = len(self.skin.uv)
        tiles = [(tongue, flat), *((p.triangles, p.uv) for p in self.own.values())]
        for k, (name, (part_faces, part_uv)) in enumerate(zip(PART_NAMES[1:], tiles, strict=True)):
            triangles.append(part_faces + self.ranges[name].start)
            uv_triangles.append(part_faces + n_uv)
            uv.append(part_uv * 0.045 + [0.01 + 0.05 * k, 0.005])
            n_uv += len(part_uv)
        return np.concatenate(triangles), np.concatenate(uv), np.concatenate(uv_triangles)

    @staticmethod
    def _tongue_rest(p: np.ndarray) -> np.ndarray:
        """Lower and widen the tongue, because MakeHuman's tongue fills the mouth."""
        out = np.zeros_like(p)
        out[:, 0] = 0.32 * p[:, 0]
        out[:, 1] = -7.0 * smoothstep(p[:, 2], 58, 92) + 1.5 * smoothstep(p[:, 2], 95, 125)
        out[:, 2] = 1.5 * smoothstep(p[:, 2], 80, 125)
        return out

    def extend(self, delta: np.ndarray) -> np.ndarray:
        """Return the (V, 3) displacement of all parts for a (19158, 3) base-mesh displacement."""
        out = np.zeros_like(self.raw)
        out[self.ranges["skin"]] = self.skin.field(delta)
        out[self.ranges["tongue"]] = delta[self._tongue]
        for name, helper in self.helpers.items():
            if np.abs(delta[helper]).max() > 1e-3:
                out[self.ranges[name]] = parts.affine_field(
                    self.base[helper], delta[helper], self.own[name].vertices
                )
        for name in ("brow_left", "brow_right"):
            strip = self.own[name]
            assert isinstance(strip, parts.Brow)
            moved = out[self.ranges["skin"]][strip.corners]
            out[self.ranges[name]] = (moved * strip.barycentric[..., None]).sum(1)
        return out

    @cached_property
    def units(self) -> dict[str, np.ndarray]:
        """The (V, 3) displacements of the ARKit units, tongue shapes and lip correctives."""
        out = {name: self.extend(delta) for name, delta in self.source.face_units.items()}
        skin = self.ranges["skin"]
        for name in out:
            if name.startswith(SHUT_UNITS):
                out[name][skin] += lips.keep_shut(self.skin, out[name][skin])
        close, jaw = out["mouthClose"], out["jawOpen"]
        half_open = self.neutral[skin] + 0.5 * jaw[skin]
        jaw[skin] += JAW_ROUNDING / 0.5 * lips.round_opening(self.skin, half_open, 0.0, 1.0)
        close[skin] += lips.keep_shut(self.skin, close[skin], jaw[skin])
        out["tongueTipUp"] = self._tongue_shape(self._tip_up)
        out["tongueTipOut"] = self._tongue_shape(self._tip_out)
        out["tongueBackUp"] = self._tongue_shape(self._back_up)
        return out

    def _tongue_shape(self, shape: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        out = np.zeros_like(self.raw)
        out[self.ranges["tongue"]] = shape(self.raw[self.ranges["tongue"]])
        return out

    @staticmethod
    def _tip_up(p: np.ndarray) -> np.ndarray:
        """Raise the tip behind the upper incisors (t, d, n, l)."""
        w = smoothstep(p[:, 2], 94, 124)
        return np.c_[0 * w, 14.0 * w**1.3, 5.5 * w]

    @staticmethod
    def _tip_out(p: np.ndarray) -> np.ndarray:
        """Move the tip between the teeth (th): forward and up, thinner and narrower."""
        w = smoothstep(p[:, 2], 78, 124)
        tip = smoothstep(p[:, 2], 98, 124)
        middle = np.interp(p[:, 2], [62, 90, 110, 126], [662, 665, 666, 661])
        rise = 8.0 * tip**1.2 - 0.45 * tip * (p[:, 1] - middle)
        return np.c_[-0.10 * tip * p[:, 0], rise, 16.0 * w]

    @staticmethod
    def _back_up(p: np.ndarray) -> np.ndarray:
        """Raise the back against the soft palate (k, g)."""
        w = np.exp(-(((p[:, 2] - 86) / 16) ** 2)) * smoothstep(p[:, 1], 655, 672)
        return np.c_[0 * w, 13.0 * w, -4.0 * smoothstep(p[:, 2], 90, 125)]

    def posed(self, weights: dict[str, float]) -> np.ndarray:
        """Return the (V, 3) mean head under unit weights.

        A unit name without a side applies to both sides.
        """
        shape = self.neutral.copy()
        for name, weight in weights.items():
            names = [name] if name in self.units else [name + "Left", name + "Right"]
            for unit in names:
                shape += weight * self.units[unit]
        return shape

    def add_seal(self, weights: dict[str, float], bow: float) -> None:
        """Add the unit `lipSeal`, which closes the lips exactly in the pose `weights`."""
        shape = self.posed({k: w for k, w in weights.items() if k != "lipSeal"})
        out = np.zeros_like(self.raw)
        out[self.ranges["skin"]] = lips.seal(self.skin, shape[self.ranges["skin"]], bow)
        self.units["lipSeal"] = out / weights["lipSeal"]

    def add_round(self, weights: dict[str, float]) -> None:
        """Add the unit `lipRound`, which makes the mouth opening round in the pose `weights`."""
        shape = self.posed({k: w for k, w in weights.items() if k != "lipRound"})
        out = np.zeros_like(self.raw)
        out[self.ranges["skin"]] = lips.round_opening(
            self.skin, shape[self.ranges["skin"]], *ROUND_SHARES
        )
        self.units["lipRound"] = out / weights["lipRound"]

    def add_tuck(self, weights: dict[str, float]) -> None:
        """Add the unit `lipTuckFV`, which moves the lower lip to the edges of the upper incisors.

        In the pose `weights` the contact row of the lower lip meets the edges. The rest of the
        lower lip follows, with a falloff down to the chin.
        """
        shape = self.posed({k: w for k, w in weights.items() if k != "lipTuckFV"})
        edge = self.upper_edge(shape)
        face = shape[self.ranges["skin"]]
        field = lips.tuck(self.skin, face, edge)
        out = np.zeros_like(self.raw)
        out[self.ranges["skin"]] = field
        self.units["lipTuckFV"] = out / weights["lipTuckFV"]

    def tongue_tip(self, shape: np.ndarray) -> np.ndarray:
        """Return the (2,) y and z offset of the tongue tip from the center of the upper edge."""
        tip = self.ranges["tongue"].start + self.neutral[self.ranges["tongue"], 2].argmax()
        edge = self.upper_edge(shape)
        return shape[tip, 1:] - edge[np.abs(edge[:, 0]).argmin(), 1:]

    def upper_edge(self, shape: np.ndarray) -> np.ndarray:
        """Return the (n, 3) edge of the upper teeth of a (V, 3) shape, from right to left."""
        teeth = shape[self.ranges["teeth_upper"]]
        n_columns = len(teeth) // parts.N_TOOTH_ROWS
        front, ridge = (teeth[k * n_columns : (k + 1) * n_columns] for k in parts.EDGE_ROWS)
        return 0.25 * front + 0.75 * ridge
