"""Define the twelve subjects: their shapes, the position of their teeth and their lid closure.

The recipes of the identities are defined here, together with the per-subject calibration that is
included in their displacements.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import lips
import numpy as np
from colors import LOOKS, hair_mask
from head import LINE_BOW, Head
from source import Source

FOLDERS = ("head", "forehead", "chin", "cheek", "nose", "mouth", "eyes", "eyebrows", "ears")
# Excluded are shifts of whole parts, ages, and shapes that easily look like a caricature.
EXCLUDED = re.compile(
    r"trans|head-age|head-angle|septum|ear-shape|ear-wing|ear-lobe|corner|dimples|laugh|"
    r"epicanthus|eyefold|push|bag|compression|brows-angle|cupidsbow|cleft|-ext|-middle|hump|"
    r"nose-base|nostrils-angle|head-diamond|head-inverted|head-triangular|head-fat|philtrum"
)
NEGATIVE = ("decr", "down", "in", "backward", "concave")
POSITIVE = ("incr", "up", "out", "forward", "convex")
SPREAD, LIMIT = 0.28, 0.55
"""The standard deviation and the limit of an identity amount."""
N_DIMENSIONS = 30


@dataclass(frozen=True)
class Recipe:
    """The recipe of a subject.

    Attributes:
        seed: The random seed of the local shapes.
        gender, race, old: The macro parameters, as in `Source.macro`.
        hair: The thickness of the hair in millimeters.
    """

    seed: int
    gender: float
    race: tuple[float, float, float]
    old: float = 0.0
    hair: float = 4.0


RECIPES = {
    "S01": Recipe(203, 0.95, (0.0, 0.1, 0.9), 0.05, 5.0),
    "S02": Recipe(102, 0.0, (0.0, 0.1, 0.9), 0.05, 6.0),
    "S03": Recipe(103, 0.95, (0.9, 0.0, 0.1), 0.05, 3.0),
    "S04": Recipe(104, 0.05, (0.85, 0.0, 0.15), 0.05, 4.0),
    "S05": Recipe(105, 0.95, (0.0, 0.85, 0.15), 0.05, 6.0),
    "S06": Recipe(106, 0.05, (0.0, 0.85, 0.15), 0.05, 6.0),
    "S07": Recipe(107, 0.85, (0.5, 0.1, 0.4), 0.4, 3.0),
    "S08": Recipe(108, 0.1, (0.0, 0.35, 0.65), 0.35, 6.0),
    "S09": Recipe(109, 0.8, (0.3, 0.4, 0.3), 0.0, 5.0),
    "S10": Recipe(110, 0.15, (0.6, 0.3, 0.1), 0.15, 5.0),
    "S11": Recipe(202, 0.95, (0.0, 0.2, 0.8), 0.65, 3.0),
    "S12": Recipe(112, 0.05, (0.3, 0.3, 0.4), 0.0, 6.0),
}


def dimensions(source: Source) -> dict[str, dict[str, list[str]]]:
    """Return the target names of each symmetric identity dimension, by sign ("-" or "+")."""
    out: dict[str, dict[str, list[str]]] = {}
    for folder in FOLDERS:
        for path in source.names(f"mpfb2/targets/{folder}/"):
            if not path.endswith(".target.gz") or EXCLUDED.search(path):
                continue
            name = path[len("mpfb2/targets/") : -len(".target.gz")]
            stem = re.sub(r"/[lr]-", "/", name)
            head, _, last = stem.rpartition("-")
            sign = "-" if last in NEGATIVE else "+"
            key = head if last in NEGATIVE + POSITIVE else stem
            out.setdefault(key, {}).setdefault(sign, []).append(name)
    return dict(sorted(out.items()))


def identity(source: Source, recipe: Recipe) -> np.ndarray:
    """Return the (19158, 3) displacement of a subject from the mean head, in millimeters."""
    delta = source.macro(recipe.gender, recipe.race, recipe.old) - source.macro()
    table = dimensions(source)
    random = np.random.default_rng(recipe.seed)
    for key in random.choice(list(table), N_DIMENSIONS, replace=False):
        amount = float(np.clip(random.normal(0.0, SPREAD), -LIMIT, LIMIT))
        signs = table[str(key)]
        if set(signs) == {"+"}:  # a shape without an opposite, such as round or oval
            amount = abs(amount)
        amount *= 0.7 if key.startswith(("mouth", "eyes")) else 1.0
        for target in signs.get("+" if amount >= 0 else "-", []):
            delta = delta + abs(amount) * source.target(target)
    return delta


def _normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    t = vertices[triangles]
    face = np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0])
    out = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(out, triangles[:, corner], face)
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def template(head: Head, name: str, origin: np.ndarray) -> np.ndarray:
    """Return the (V, 3) template of a subject, with closed lips and the teeth behind them."""
    recipe = RECIPES[name]
    delta = head.extend(identity(head.source, recipe))
    skin = head.ranges["skin"]
    mean = head.raw[skin] - origin
    skull = (mean[:, 1] > 0) & (mean[:, 2] < -60)
    delta -= delta[skin][skull].mean(0)  # aligns the skulls instead of the feet
    shape = head.raw + delta

    hair = hair_mask(head, head.neutral[skin] - origin, LOOKS[name].hairline)
    shape[skin] += recipe.hair * hair[:, None] * _normals(shape[skin], head.skin.triangles)
    shape[skin] += lips.seal(head.skin, shape[skin], LINE_BOW)

    _place_teeth(head, shape)
    return shape


def _lip_above_edge(head: Head, shape: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return the (n, 2) y and z offset of the lower lip from the edge of the upper teeth, at x."""
    row = shape[lips.pairs(head.skin.lips, 8)[1]]
    edge = head.upper_edge(shape)
    return np.stack(
        [np.interp(x, row[:, 0], row[:, k]) - np.interp(x, edge[:, 0], edge[:, k]) for k in (1, 2)],
        1,
    )


def _place_teeth(head: Head, shape: np.ndarray) -> None:
    """Move the teeth to the same position relative to the lower lip as in the mean head.

    The tuck of FF is the same displacement for all subjects, so the edge of the upper teeth has to
    follow the lip. Both rows are moved by the same even parabola along x. The tip of the tongue
    moves with the teeth, because it would touch the lip in TH otherwise.
    """
    x = np.linspace(-13.0, 13.0, 27)
    wanted = _lip_above_edge(head, shape, x) - _lip_above_edge(head, head.neutral, x)
    system = np.c_[np.ones_like(x), x**2]
    level, bend = np.linalg.lstsq(system, wanted, rcond=None)[0]
    for part in ("teeth_upper", "teeth_lower"):
        p = shape[head.ranges[part]]
        p[:, 1:] += level + bend * np.minimum(np.abs(p[:, :1]), 15.0) ** 2
    shape[head.ranges["tongue"]][:, 1:] += head.tongue_tip(head.neutral) - head.tongue_tip(shape)


def blink_weight(head: Head, shape: np.ndarray) -> float:
    """Return the smallest eyeBlink weight that hides both eyes from the front, plus 0.02."""
    blink = head.units["eyeBlinkLeft"] + head.units["eyeBlinkRight"]
    for weight in np.arange(0.55, 1.01, 0.01):
        if all(covered(head, shape + weight * blink, side) >= 0.999 for side in ("left", "right")):
            return round(float(weight) + 0.02, 2)
    return 1.0


def covered(head: Head, shape: np.ndarray, side: str) -> float:
    """Return the share of the eyeball's front that the skin hides when seen from the front."""
    ball = shape[head.ranges[f"eye_{side}"]]
    triangles = head.own[f"eye_{side}"].triangles
    front = triangles[(head.own[f"eye_{side}"].shade[triangles, 1] <= 52.0).all(1)]
    corners = ball[front]
    points = np.concatenate([corners[:, 0], corners.mean(1), corners[:, :2].mean(1)])
    return float(hidden(points, shape[head.ranges["skin"]], head.skin.triangles).mean())


def hidden(points: np.ndarray, skin: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return an (n,) mask of the points that are behind a skin triangle when seen from +z."""
    t = skin[triangles]
    low, high = points.min(0) - 1.0, points.max(0) + 1.0
    near = (t[:, :, :2].max(1) > low[:2]).all(1) & (t[:, :, :2].min(1) < high[:2]).all(1)
    near &= t[:, :, 2].max(1) > points[:, 2].min()
    a, b, c = (t[near, k] for k in range(3))
    area = (b[:, 1] - c[:, 1]) * (a[:, 0] - c[:, 0]) + (c[:, 0] - b[:, 0]) * (a[:, 1] - c[:, 1])
    area = np.where(np.abs(area) < 1e-9, 1e-9, area)
    dx = points[:, None, 0] - c[None, :, 0]
    dy = points[:, None, 1] - c[None, :, 1]
    first = ((b[:, 1] - c[:, 1]) * dx + (c[:, 0] - b[:, 0]) * dy) / area
    second = ((c[:, 1] - a[:, 1]) * dx + (a[:, 0] - c[:, 0]) * dy) / area
    third = 1.0 - first - second
    inside = (first >= 0) & (second >= 0) & (third >= 0)
    depth = first * a[:, 2] + second * b[:, 2] + third * c[:, 2]
    return (inside & (depth > points[:, None, 2] - 0.3)).any(1)
