"""Measure how well characters with other morph targets show the mouth of a motion.

    python benchmarks/avatars.py RECORDINGS... [--model demo] [--json]
    python benchmarks/avatars.py MOTIONS.npz... [--json]

RECORDINGS are audio files or folders of them, which a voice animates. MOTIONS are .npz files of the
bundled head. Each motion is reduced to the weights of ARKit's 52 units, and these drive characters
that have the mesh of the bundled head and one of the usual sets of morph targets, or only a jaw
bone. The poses of the characters are not those that the mapping is fitted to, except for ARKit's
units and the visemes. In the second row of each naming, the shapes differ more: each one is scaled
by 0.8 to 1.2 and smoothed over the mesh.

closed   share of the frames with shut lips (a gap below 1 mm) in which the character's are shut too
false    share of the other frames in which the character's lips are shut
r        correlation of the lip gaps: mean over the motions, and the smallest one
opening  slope of the character's lip gap over that of the motion
U, I     width of the mouth in mm for the visemes U and I of the bundled head
width r  correlation of the widths of the mouth, mean over the motions; none for a jaw bone
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import codetalker_cli as ct
from codetalker_cli import audio
from codetalker_cli.motion import Motion
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.avatars import Drive, drive
from codetalker_cli.rigs.solve import solve
from codetalker_cli.rigs.units import bundled_rig, bundled_units

CLOSED_MM = 1.0
SCALES = (0.8, 1.2)
SMOOTHING_STEPS = 3
VOWELS = {
    "A": {"jawOpen": 0.6, "mouthLowerDown": 0.3},
    "I": {
        "jawOpen": 0.08, "mouthStretch": 0.7, "mouthSmile": 0.4, "mouthLowerDown": 0.5,
        "mouthUpperUp": 0.4,
    },
    "U": {"jawOpen": 0.12, "mouthPucker": 1.0, "mouthFunnel": 0.2},
    "E": {"jawOpen": 0.3, "mouthStretch": 0.4, "mouthLowerDown": 0.3, "mouthUpperUp": 0.2},
    "O": {"jawOpen": 0.4, "mouthFunnel": 0.7, "mouthPucker": 0.3},
}  # fmt: skip
CLOSED = {"mouthPress": 0.4, "mouthFrown": 0.1}
REALLUSION = {
    "V_Open": {"jawOpen": 0.4, "mouthLowerDown": 0.3},
    "V_Explosive": {"mouthPress": 0.6},
    "V_Dental_Lip": {"mouthUpperUp": 0.25, "mouthRollLower": 0.5},
    "V_Tight_O": {"mouthPucker": 0.9, "mouthFunnel": 0.5},
    "V_Tight": {"mouthPucker": 0.4},
    "V_Wide": {"mouthStretch": 0.7, "mouthSmile": 0.2},
    "V_Affricate": {"mouthFunnel": 0.8, "mouthLowerDown": 0.3},
    "V_Lip_Open": {"mouthUpperUp": 0.3, "mouthLowerDown": 0.7},
}
FEW = (
    "jawOpen", "mouthSmileLeft", "mouthSmileRight", "mouthPucker", "eyeBlinkLeft",
    "eyeBlinkRight", "browInnerUp",
)  # fmt: skip


# Characters ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Character:
    """A character with the mesh of the bundled head.

    Attributes:
        shapes: The (V, 3) offsets of each morph target in meters.
        expressions: The expressions of a VRM file, or None.
    """

    shapes: dict[str, np.ndarray]
    expressions: dict[str, dict[str, float]] | None = None

    def drive(self, curves: RigCurves, **options: Any) -> Drive:
        return drive(curves, list(self.shapes), expressions=self.expressions, **options)

    def deform(self, driven: Drive) -> np.ndarray:
        """Return the (T, V, 3) vertices with the curves; a jaw bone turns the lower face."""
        rig = bundled_rig()
        n_frames = len(next(iter(driven.morphs.values()), driven.jaw))
        vertices = np.repeat(rig.neutral[None], n_frames, axis=0)
        for name, weights in driven.morphs.items():
            vertices += weights[:, None, None] * self.shapes[name]
        return vertices if driven.jaw is None else open_jaw(vertices, driven.jaw)


def open_jaw(vertices: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Return vertices with the jaw turned about its hinge by linear blend skinning."""
    rig = bundled_rig()
    hinge = np.array([0.0, -0.039, -0.047], np.float32)
    lever = rig.neutral - hinge
    offsets = rig.unit_deltas[rig.unit_names.index("jawOpen")]
    turn = np.stack([np.zeros(len(lever)), -lever[:, 2], lever[:, 1]], axis=1) * 0.42
    skin = np.clip((turn * offsets).sum(1) / np.maximum((turn**2).sum(1), 1e-9), 0, 1)
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]
    _, y, z = np.moveaxis(vertices - hinge, -1, 0)
    moved = np.stack([0 * y, cos * y - sin * z - y, sin * y + cos * z - z], axis=-1)
    return vertices + skin[:, None].astype(np.float32) * moved.astype(np.float32)


def shapes(poses: dict[str, dict[str, float]]) -> dict[str, np.ndarray]:
    """Return the (V, 3) offsets of poses given by the bundled head's units."""
    rig = bundled_rig()
    return {
        name: np.einsum("u,uvc->vc", rig.unit_weights(pose), rig.unit_deltas)
        for name, pose in poses.items()
    }


def characters() -> dict[str, Callable[[], Character]]:
    """Return what makes the character of each naming."""
    rig = bundled_rig()
    units = {unit: {unit: 1.0} for unit in ARKIT_UNITS}
    visemes = {
        f"viseme_{name}": np.einsum("u,uvc->vc", weights, rig.unit_deltas)
        for name, weights in rig.visemes.items()
    }

    def named(pattern: str, closed: str = "") -> dict[str, dict[str, float]]:
        poses = {pattern.format(vowel): pose for vowel, pose in VOWELS.items()}
        return poses | ({closed: CLOSED} if closed else {})

    kana = dict(zip("AIUEO", "あいうえお", strict=True))
    mmd = {kana[vowel]: pose for vowel, pose in VOWELS.items()} | {"ん": CLOSED}
    binds = {vowel: {f"mouth.{vowel}": 1.0} for vowel in VOWELS}
    return {
        "ARKit": lambda: Character(shapes(units)),
        "ARKit, few": lambda: Character(shapes({unit: units[unit] for unit in FEW})),
        "Oculus": lambda: Character(visemes),
        "VRM": lambda: Character(shapes(named("mouth.{}")), binds),
        "VRoid": lambda: Character(shapes(named("Face.M_Fcl_MTH_{}", "Face.M_Fcl_MTH_Close"))),
        "MMD": lambda: Character(shapes(mmd)),
        "Reallusion": lambda: Character(shapes(REALLUSION)),
        "jaw bone": lambda: Character({}),
    }


def different(character: Character) -> Character:
    """Return a character whose shapes are scaled and smoothed."""
    from scipy.sparse import coo_array, diags_array

    head = bundled_rig().topology
    a, b = head.triangles.ravel(), head.triangles[:, [1, 2, 0]].ravel()
    links = coo_array((np.ones(a.size), (a, b)), (head.n_vertices,) * 2).tocsr()
    links = ((links + links.T) > 0).astype(np.float32)
    mean = diags_array(1 / np.maximum(np.asarray(links.sum(1)).ravel(), 1)) @ links
    rng = np.random.default_rng(1)
    changed = {}
    for name, offsets in character.shapes.items():
        smooth = offsets * np.float32(rng.uniform(*SCALES))
        for _ in range(SMOOTHING_STEPS):
            smooth = (smooth + mean @ smooth) / 2
        changed[name] = smooth.astype(np.float32)
    return replace(character, shapes=changed)


# Measures -----------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What is accumulated over the motions for one character."""

    closed: list[bool] = field(default_factory=list)
    false: list[bool] = field(default_factory=list)
    r: list[float] = field(default_factory=list)
    slope: list[float] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    u_mm: float = 0.0
    i_mm: float = 0.0

    def row(self) -> dict[str, Any]:
        return {
            "closed": float(np.mean(self.closed)) if self.closed else None,
            "false": float(np.mean(self.false)) if self.false else None,
            "r": float(np.mean(self.r)),
            "r_min": float(np.min(self.r)),
            "opening": float(np.mean(self.slope)),
            "u_mm": self.u_mm,
            "i_mm": self.i_mm,
            "width_r": float(np.mean(self.widths)) if self.widths else None,
        }


def gap_mm(vertices: np.ndarray) -> np.ndarray:
    """Return the (T,) distance between the lips of the bundled head's mesh."""
    return bundled_rig().topology.inner_lip_gap(vertices) * 1000


def width_mm(vertices: np.ndarray) -> np.ndarray:
    """Return the (T,) width of the mouth of the bundled head's mesh."""
    lips = bundled_rig().topology.region("lips")
    return np.ptp(vertices[:, lips, 0], axis=1) * 1000


def arkit_curves(motion: Motion) -> RigCurves:
    """Return the weights of ARKit's units for a motion of the bundled head."""
    return solve(motion, bundled_units(motion.subject).arkit()).select(ARKIT_UNITS)


def viseme_widths(character: Character) -> tuple[float, float]:
    """Return the width of the mouth in mm for the visemes U and I of the bundled head."""
    rig = bundled_rig()
    weights = np.stack([rig.visemes["U"], rig.visemes["I"]])
    driven = character.drive(RigCurves(rig.unit_names, 30.0, weights, "S01"))
    u_mm, i_mm = width_mm(character.deform(driven))
    return float(u_mm), float(i_mm)


def measure(motion: Motion, curves: RigCurves, character: Character, tally: Tally) -> None:
    """Add the measures of a motion."""
    shown = character.deform(character.drive(curves))
    vertices = np.asarray(motion.vertices)
    original, gap = gap_mm(vertices), gap_mm(shown)
    shut = original < CLOSED_MM
    tally.closed += (gap[shut] < CLOSED_MM).tolist()
    tally.false += (gap[~shut] < CLOSED_MM).tolist()
    tally.r.append(float(np.corrcoef(original, gap)[0, 1]))
    tally.slope.append(float(np.polyfit(original, gap, 1)[0]))
    width = width_mm(shown)
    if np.ptp(width) > 1:
        tally.widths.append(float(np.corrcoef(width_mm(vertices), width)[0, 1]))


def run(motions: Iterator[Motion], names: list[str]) -> dict[str, dict[str, Any]]:
    """Return the measures of each character."""
    made = {name: make() for name, make in characters().items() if name in (names or [name])}
    variants = {}
    for name, character in made.items():
        variants[name] = character
        if character.shapes:
            variants[f"{name}, different"] = different(character)
    tallies = {name: Tally() for name in variants}
    for name, tally in tallies.items():
        tally.u_mm, tally.i_mm = viseme_widths(variants[name])
    for motion in motions:
        curves = arkit_curves(motion)
        for name, character in variants.items():
            measure(motion, curves, character, tallies[name])
    return {name: tally.row() for name, tally in tallies.items()}


def read_motions(given: list[Path], model: str | None) -> Iterator[Motion]:
    """Yield the given motions, and those of the given recordings."""
    files = [f for g in given for f in (sorted(g.iterdir()) if g.is_dir() else [g])]
    saved = [path for path in files if path.suffix == ".npz"]
    speech = [path for path in files if path.suffix.lower() in audio.AUDIO_SUFFIXES]
    if not saved and not speech:
        sys.exit("no motions or recordings were found")
    for path in saved:
        yield Motion.load(path)
    voice = ct.load(model) if speech else None
    for path in speech:
        yield voice.animate(audio.load(path), head=False)


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    """Return a table with a line for each character."""
    head = ("character", "closed", "false", "r", "r min", "opening", "U, mm", "I, mm", "width r")
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name, row in rows.items():
        shares = ["–" if row[k] is None else f"{100 * row[k]:.1f} %" for k in ("closed", "false")]
        figures = [f"{row[key]:.3f}" for key in ("r", "r_min", "opening")]
        widths = [f"{row[key]:.1f}" for key in ("u_mm", "i_mm")]
        last = "–" if row["width_r"] is None else f"{row['width_r']:.3f}"
        cells = [name, *shares, *figures, *widths, last]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, or JSON."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("given", nargs="+", type=Path, help="recordings or motions, or folders of them")
    add("--model", default=None, help="voice that animates recordings (default: as in animate)")
    add("--characters", nargs="*", default=[], help="namings to measure (default: all)")
    add("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    unknown = sorted(set(given.characters) - set(characters()))
    if unknown:
        sys.exit(f"unknown characters {', '.join(unknown)}; choose from {', '.join(characters())}")
    rows = run(read_motions(given.given, given.model), given.characters)
    print(json.dumps(rows) if given.json else markdown(rows))


if __name__ == "__main__":
    main()
