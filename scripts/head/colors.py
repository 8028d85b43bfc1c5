"""Paint the vertices of the twelve subjects: skin, lips, hair, mouth, teeth, eyes and brows.

Colors are sRGB albedo from 0 to 255. Positions are those of the mean head in millimeters, relative
to the point between the eyes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from head import Head, smoothstep

Color = tuple[int, int, int]


@dataclass(frozen=True)
class Look:
    """The colors of a subject.

    Attributes:
        skin, lip, hair, iris: The sRGB colors.
        hairline: The upward shift of the hairline, in millimeters.
        stubble: The opacity of the beard stubble, 0 to 1.
        brow: The factor of the density of the brows.
    """

    skin: Color
    lip: Color
    hair: Color
    iris: Color
    hairline: float = 0.0
    stubble: float = 0.0
    brow: float = 1.0


LOOKS = {
    "S01": Look((214, 165, 140), (186, 116, 104), (70, 50, 36), (92, 116, 128), 2, 0.20),
    "S02": Look((232, 188, 166), (204, 122, 114), (140, 98, 58), (108, 126, 96), 0),
    "S03": Look((116, 76, 55), (122, 68, 60), (24, 20, 18), (52, 34, 24), 3, 0.16),
    "S04": Look((142, 95, 70), (146, 78, 70), (30, 23, 20), (58, 38, 26), 0),
    "S05": Look((216, 172, 138), (182, 116, 102), (28, 24, 22), (60, 42, 30), 1, 0.10),
    "S06": Look((230, 190, 158), (202, 118, 108), (36, 28, 25), (64, 44, 32), 0),
    "S07": Look((158, 110, 84), (150, 88, 78), (58, 52, 48), (66, 46, 32), 6, 0.18),
    "S08": Look((224, 178, 154), (190, 114, 106), (104, 76, 58), (96, 88, 62), 0),
    "S09": Look((180, 130, 100), (166, 98, 86), (38, 29, 24), (74, 50, 34), 0, 0.18),
    "S10": Look((128, 85, 62), (138, 74, 68), (26, 21, 19), (54, 36, 26), 0),
    "S11": Look((218, 170, 148), (180, 118, 108), (150, 146, 142), (104, 122, 134), 13, 0.06),
    "S12": Look((194, 144, 114), (184, 104, 96), (52, 36, 27), (86, 62, 40), 0),
}

# The hairline: azimuth in degrees (0 forehead, 180 nape) and height above the eyes in millimeters.
HAIRLINE = (
    (0, 66), (16, 67), (32, 69), (44, 62), (52, 46), (58, 26), (64, 2), (70, -16), (80, -16),
    (90, 6), (104, 4), (114, -26), (130, -54), (150, -66), (180, -70),
)  # fmt: skip
SKULL_CENTER_Z = -95.0

# Reddish areas as (x, y, z, radius, strength, color), mirrored in x.
WARM = (
    (42, -36, 0, 19, 0.26, (214, 92, 82)),
    (0, -33, 42, 9, 0.20, (214, 96, 84)),
    (82, -18, -80, 24, 0.22, (214, 92, 80)),
    (20, -10, 5, 9, 0.14, (120, 70, 84)),
    (0, -98, 25, 14, 0.10, (210, 100, 88)),
)


def hair_mask(head: Head, position: np.ndarray, shift: float) -> np.ndarray:
    """Return the (n,) hair density (0 to 1) of the skin vertices at `position`."""
    azimuth = np.degrees(np.arctan2(np.abs(position[:, 0]), position[:, 2] - SKULL_CENTER_Z))
    line = np.array(HAIRLINE, float)
    height = np.interp(azimuth, line[:, 0], line[:, 1])
    height = height + shift * smoothstep(-azimuth, -70, -40)
    ear = head.skin.field(head.source.mask("ears"))
    return smoothstep(position[:, 1] - height, -7.0, 8.0) * (1 - smoothstep(ear, 0.05, 0.4))


def _mix(base: np.ndarray, color: np.ndarray | Color, amount: np.ndarray) -> np.ndarray:
    a = amount.reshape(-1, 1)
    return base * (1 - a) + np.asarray(color, float) * a


def _lashes(head: Head, position: np.ndarray) -> np.ndarray:
    """Return the (n,) eyelash density (0 to 1), which is higher on the upper lids."""
    p = position[head.ranges["skin"]]
    out = np.zeros(len(p))
    for side in ("left", "right"):
        ball = position[head.ranges[f"eye_{side}"]]
        radius = np.ptp(ball[:, 0]) / 2
        center = ball[0] - [0.0, 0.0, radius]
        off = np.linalg.norm(p - center, axis=1) - radius
        rim = (off < 1.3) & (p[:, 2] - center[2] > 4.0)
        out = np.maximum(out, rim * np.where(p[:, 1] > center[1] - 1.5, 0.75, 0.3))
    return out


def _crease(head: Head) -> np.ndarray:
    """Return an (n,) factor that darkens the line between the lips and the corners of the mouth."""
    out = np.ones(len(head.skin.support))
    grid = head.skin.lips
    for loops, shades in (
        (grid.upper, (1, 1, 1, 0.97, 0.80, 0.60, 0.50, 0.45, 0.45)),
        (grid.lower, (1, 1, 1, 1, 0.97, 0.82, 0.62, 0.50, 0.45)),
    ):
        column = np.abs(np.arange(loops.shape[1]) - loops.shape[1] // 2)
        corner = smoothstep(column, 7, 10)
        for loop, shade in enumerate(shades):
            edge = np.minimum(shade, 1.0 - 0.2 * corner)
            out[loops[loop]] = np.minimum(out[loops[loop]], edge)
    return out


def _skin(head: Head, position: np.ndarray, look: Look) -> np.ndarray:
    p = position[head.ranges["skin"]]
    tone = np.array(look.skin, float)
    color = np.tile(tone, (len(p), 1))
    for x, y, z, radius, strength, warm in WARM:
        d2 = (np.abs(p[:, 0]) - x) ** 2 + (p[:, 1] - y) ** 2 + (p[:, 2] - z) ** 2
        warm_tone = tone * (np.array(warm, float) / np.array([214, 165, 140]))
        color = _mix(color, np.clip(warm_tone, 0, 255), strength * np.exp(-d2 / (2 * radius**2)))
    mask = {n: head.skin.field(head.source.mask(n)) for n in ("lips", "inside-mouth", "eyelids")}
    color = _mix(color, tone * [0.80, 0.70, 0.70], 0.45 * np.clip(mask["eyelids"], 0, 1))
    color = _mix(color, np.array(look.hair) * 0.5 + 8, _lashes(head, position))
    beard = smoothstep(-p[:, 1], 44, 62) * smoothstep(p[:, 2], -70, -30)
    beard *= smoothstep(-np.abs(p[:, 0]), -72, -50) * smoothstep(p[:, 1], -150, -118)
    color = _mix(color, np.array(look.hair) * 0.9 + 12, look.stubble * beard)
    color = _mix(color, look.lip, np.clip(mask["lips"], 0, 1))
    color *= _crease(head)[:, None]
    hair = hair_mask(head, p, look.hairline)
    grain = np.random.default_rng(7).uniform(0.88, 1.12, len(p))[:, None]
    color = color * (1 - hair[:, None]) + hair[:, None] * grain * look.hair
    # The inner mouth fades to dark, because little light reaches it.
    inside = np.clip(mask["inside-mouth"], 0, 1)
    depth = smoothstep(-p[:, 2], -26, 14)[:, None]
    dark = (1 - depth) * np.array([128.0, 56, 54]) + depth * np.array([38.0, 15, 15])
    return color * (1 - inside[:, None]) + inside[:, None] * dark


def paint(head: Head, origin: np.ndarray, look: Look) -> np.ndarray:
    """Return the (V, 3) uint8 albedo of a subject."""
    p = head.neutral - origin
    out = np.zeros_like(p)
    out[head.ranges["skin"]] = _skin(head, p, look)
    tongue = p[head.ranges["tongue"]]
    out[head.ranges["tongue"]] = np.array([178, 88, 86]) * (
        0.10 + 0.90 * smoothstep(tongue[:, 2], -32, 4)[:, None]
    )
    for name in ("teeth_upper", "teeth_lower"):
        q, shade = p[head.ranges[name]], head.own[name].shade
        enamel = np.array([234, 226, 208.0]) * (1 - 0.20 * shade[:, 1:2])
        gum = np.array([168, 84, 82.0])
        light = 0.08 + 0.92 * smoothstep(q[:, 2], -20, 16)[:, None]
        out[head.ranges[name]] = (gum * (1 - shade[:, :1]) + enamel * shade[:, :1]) * light
    for name in ("eye_left", "eye_right"):
        kind, angle = head.own[name].shade.T
        iris = np.array(look.iris, float)
        ring = np.array([[16, 14, 14], iris, iris * 0.35 + 8, [232, 227, 222]], float)
        color = ring[kind.astype(int)]
        rim = (kind == 1) * smoothstep(angle, 9, 22)
        color *= 1 - 0.25 * rim[:, None]
        color = _mix(color, (206, 150, 140), (kind == 3) * 0.5 * smoothstep(angle, 34, 60))
        out[head.ranges[name]] = color
    for name in ("brow_left", "brow_right"):
        density = head.own[name].shade[:, 0] * 0.92 * look.brow
        hair = np.array(look.hair, float) * 0.85
        out[head.ranges[name]] = _mix(np.tile(np.array(look.skin, float), (len(density), 1)), hair,
                                      density)  # fmt: skip
    return np.clip(np.round(out), 0, 255).astype(np.uint8)
