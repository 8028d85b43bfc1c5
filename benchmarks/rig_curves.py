"""Measure how well a rig's units reproduce motions, and what their solved weights are like.

    python benchmarks/rig_curves.py RECORDINGS... [--model demo] [--json]
    python benchmarks/rig_curves.py MOTIONS.npz... --set l2=1e-4 --set smoothness=0.01

RECORDINGS are as in lips.py: audio files, or folders of them, with a NAME.json of phones next to
each. A voice animates them. MOTIONS are .npz files of the bundled head, with a NAME.json too.
The faces are the bundled head with all its units and with ARKit's 52, and a foreign topology: the
skin of the head, subdivided, renumbered and in millimeters, with units of its own. Its units are
the true ones, or smoothed over the mesh, or each one is scaled by 0.8 to 1.2.

lips, face   distance between reconstructed and original vertices: mean, 95th percentile, maximum
             in mm, of the region lips and of the whole face (of the skin, for the foreign topology)
closure      share of p, b, m with shut lips, as in lips.py, original and reconstructed
false        share of contacts of the lips without such a phone, as in lips.py
labiodental  share of f, v whose lower lip comes to the teeth, original and reconstructed
template     largest weight for the template itself
silence      largest weight in the first frame of each recording, if it is silent
jitter       mean |Δw| from frame to frame in silence, in 1/1000
speech       the same in all frames
size         mean sum of the weights of a frame
speed        frames a second of the solve, including the read of the vertices

Blinks and gaze, which are random, are not counted in silence, jitter, speech and size.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from lips import recordings

import codetalker_cli as ct
from codetalker_cli import audio
from codetalker_cli.metrics import lips
from codetalker_cli.motion import Motion
from codetalker_cli.rigs.idle import IDLE_UNITS
from codetalker_cli.rigs.solve import solve
from codetalker_cli.rigs.units import UnitSet, bundled_units, is_bundled_head
from codetalker_cli.settings import SolveSettings
from codetalker_cli.topology import Topology

BIN_MM, LARGEST_MM = 0.001, 50.0
SCALES = (0.8, 1.2)
SMOOTHING_STEPS = 5
MEASURES = ("closure", "false", "labiodental")


# Errors -------------------------------------------------------------------------------------------


@dataclass
class Distances:
    """A histogram of distances in millimeters, because all distances do not fit in memory."""

    counts: np.ndarray = field(default_factory=lambda: np.zeros(int(LARGEST_MM / BIN_MM), int))
    total: float = 0.0
    largest: float = 0.0

    def add(self, distances: np.ndarray) -> None:
        bins = np.minimum(distances / BIN_MM, len(self.counts) - 1).astype(int)
        self.counts += np.bincount(bins.ravel(), minlength=len(self.counts))
        self.total += float(distances.sum(dtype=np.float64))
        self.largest = max(self.largest, float(distances.max(initial=0)))

    def summary(self) -> list[float]:
        """Return the mean, the 95th percentile and the maximum."""
        n = max(1, int(self.counts.sum()))
        percentile = BIN_MM * (int(np.searchsorted(np.cumsum(self.counts), 0.95 * n)) + 1)
        return [self.total / n, min(percentile, self.largest), self.largest]


# Faces --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Face:
    """A face with units, and its relation to the bundled head.

    Attributes:
        convert: Converts a motion of the bundled head to this face.
        units: The units of a subject, in the unit of the converted motion.
        skin: The vertices of the face that are those of the head's skin, or None: all are.
    """

    convert: Callable[[Motion], Motion]
    units: Callable[[str], UnitSet]
    skin: np.ndarray | None = None

    def head_vertices(self, original: Motion, reconstructed: np.ndarray) -> np.ndarray:
        """Return the (T, V, 3) vertices of the bundled head with a reconstructed face."""
        if self.skin is None:
            return reconstructed
        vertices = np.array(original.vertices)
        vertices[:, : len(self.skin)] = reconstructed[:, self.skin] / 1000
        return vertices


class Subdivided:
    """The skin of a head with a vertex on each edge, renumbered and in millimeters.

    Args:
        head: The topology of the head.
    """

    def __init__(self, head: Topology) -> None:
        n_skin = head.parts["skin"][1]
        assert head.parts["skin"][0] == 0
        triangles = head.triangles[(head.triangles < n_skin).all(1)]
        sides = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 3, 2), axis=2)
        edges, numbers = np.unique(sides.reshape(-1, 2), axis=0, return_inverse=True)
        ab, bc, ca = (numbers.reshape(-1, 3) + n_skin).T
        a, b, c = triangles.T
        finer = np.concatenate(
            [np.stack(t, axis=1) for t in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]
        )
        self.skin = np.random.default_rng(0).permutation(n_skin + len(edges))
        self._edges, self._n_skin = edges, n_skin
        self.skin_of_head = self.skin[:n_skin]
        lip = np.zeros(n_skin, bool)
        lip[head.regions["lips"]] = True
        is_lip = np.concatenate([lip, lip[edges].all(1)])
        self.topology = Topology(
            "subdivided skin",
            self.skin[finer].astype(np.int32),
            len(self.skin),
            "mm",
            regions={"lips": np.sort(self.skin[is_lip]).astype(np.int32)},
        )

    def refine(self, vertices: np.ndarray) -> np.ndarray:
        """Return (..., V, 3) vertices in millimeters for vertices or offsets of the head."""
        skin = np.asarray(vertices[..., : self._n_skin, :])
        middles = (skin[..., self._edges[:, 0], :] + skin[..., self._edges[:, 1], :]) / 2
        refined = np.empty((*skin.shape[:-2], len(self.skin), 3), np.float32)
        refined[..., self.skin, :] = np.concatenate([skin, middles], axis=-2) * 1000
        return refined

    def motion(self, motion: Motion) -> Motion:
        return replace(
            motion,
            vertices=self.refine(motion.vertices),
            topology=self.topology,
            template=self.refine(motion.template),
            colors=None,
        )

    def units(self, subject: str) -> UnitSet:
        """Return the units that move the skin."""
        head = bundled_units(subject)
        deltas = self.refine(head.deltas)
        moving = np.flatnonzero(np.abs(deltas).max((1, 2)) > 1e-3)
        return UnitSet(tuple(head.names[k] for k in moving), deltas[moving])

    def smoothed(self, subject: str) -> UnitSet:
        """Return the units, each vertex moved like the mean of its neighbors, several times."""
        from scipy.sparse import coo_array, diags_array

        units = self.units(subject)
        a, b = self.topology.triangles[:, [0, 1, 2]].ravel(), self.topology.triangles[:, [1, 2, 0]]
        shape = (len(self.skin), len(self.skin))
        links = coo_array((np.ones(a.size), (a, b.ravel())), shape).tocsr()
        links = ((links + links.T) > 0).astype(np.float32)
        mean = diags_array(1 / np.asarray(links.sum(1)).ravel()) @ links
        columns = units.deltas.transpose(1, 0, 2).reshape(len(self.skin), -1)
        for _ in range(SMOOTHING_STEPS):
            columns = (columns + mean @ columns) / 2
        deltas = columns.reshape(len(self.skin), -1, 3).transpose(1, 0, 2)
        return UnitSet(units.names, np.ascontiguousarray(deltas, np.float32))

    def scaled(self, subject: str) -> UnitSet:
        """Return the units, each one scaled by a random factor."""
        units = self.units(subject)
        factors = np.random.default_rng(1).uniform(*SCALES, len(units.names))
        return UnitSet(units.names, units.deltas * factors[:, None, None].astype(np.float32))


def faces(head: Topology) -> dict[str, Face]:
    """Return all faces to measure, by name."""
    foreign = Subdivided(head)
    skin = foreign.skin_of_head

    def unchanged(motion: Motion) -> Motion:
        return motion

    return {
        "head, 58 units": Face(unchanged, bundled_units),
        "head, ARKit's 52": Face(unchanged, lambda s: bundled_units(s).arkit()),
        "foreign, own units": Face(foreign.motion, foreign.units, skin),
        "foreign, ARKit's": Face(foreign.motion, lambda s: foreign.units(s).arkit(), skin),
        "foreign, units smoothed": Face(foreign.motion, foreign.smoothed, skin),
        "foreign, units scaled": Face(foreign.motion, foreign.scaled, skin),
    }


# Measures -----------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What is accumulated over the recordings for one face."""

    lips: Distances = field(default_factory=Distances)
    face: Distances = field(default_factory=Distances)
    verdicts: dict[str, list[float]] = field(default_factory=dict)
    template: float = 0.0
    silence: float = 0.0
    jitter: list[float] = field(default_factory=list)
    speech: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    n_frames: int = 0
    seconds: float = 0.0

    def row(self) -> dict[str, Any]:
        shares = {key: float(np.mean(values)) for key, values in self.verdicts.items() if values}
        return {
            "lips_mm": self.lips.summary(),
            "face_mm": self.face.summary(),
            **shares,
            "n_closure": len(self.verdicts.get("closure", [])),
            "n_labiodental": len(self.verdicts.get("labiodental", [])),
            "template": self.template,
            "silence": self.silence,
            "jitter": _mean(self.jitter),
            "speech": _mean(self.speech),
            "size": _mean(self.sizes),
            "frames_per_second": self.n_frames / max(self.seconds, 1e-9),
        }


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def silent_frames(phones: list[dict], n_frames: int, fps: float) -> np.ndarray:
    """Return which frames are inside of a silence."""
    times = np.arange(n_frames) / fps
    silent = np.zeros(n_frames, bool)
    for phone in phones:
        if phone["phone"].upper() in ("SIL", ""):
            silent |= (times >= phone["start"]) & (times < phone["end"])
    return silent


def measure(
    motion: Motion, phones: list[dict], units: UnitSet, settings: SolveSettings, tally: Tally
) -> np.ndarray:
    """Solve the weights of a motion, add the measures, and return the reconstructed vertices."""
    started = time.perf_counter()
    weights = solve(motion, units, settings).weights
    tally.seconds += time.perf_counter() - started
    tally.n_frames += len(weights)
    still = replace(motion, vertices=motion.template[None])
    tally.template = max(tally.template, float(solve(still, units, settings).weights.max()))
    counted = [k for k, name in enumerate(units.names) if not name.startswith(IDLE_UNITS)]
    silent = silent_frames(phones, len(weights), motion.fps)
    if silent[:1].any():
        tally.silence = max(tally.silence, float(weights[0, counted].max()))
    changes = np.abs(np.diff(weights[:, counted], axis=0)).mean(1)
    tally.jitter += changes[silent[1:] & silent[:-1]].tolist()
    tally.speech += changes.tolist()
    tally.sizes += weights[:, counted].sum(1).tolist()
    offsets = weights @ units.deltas.reshape(len(units.names), -1)
    reconstructed = motion.template + offsets.reshape(motion.vertices.shape)
    mm = 1000 * (motion.topology.meters_per_unit or 1.0)
    lip = motion.topology.region("lips")
    for part, vertices in zip(reconstructed, motion.vertices, strict=True):
        distances = np.linalg.norm(part - vertices, axis=1) * mm
        tally.face.add(distances)
        tally.lips.add(distances[lip])
    return reconstructed


def add_verdicts(tally: Tally, head: Motion, vertices: np.ndarray, phones: list[dict]) -> None:
    """Score the vertices of the bundled head with the phones."""
    curves = lips.lip_curves(head.topology, head.template, vertices)
    spoken = [lips.TimedPhone(p["phone"], p["start"], p["end"]) for p in phones]
    found = lips.score(curves, head.fps, spoken)
    for key in MEASURES:
        tally.verdicts.setdefault(key, []).extend(found[key])


# Input and output ---------------------------------------------------------------------------------


def motions(
    given: list[Path], model: str | None, subject: str | None
) -> Iterator[tuple[Motion, list[dict]]]:
    """Yield motions and their phones."""
    saved = [path for path in given if path.suffix == ".npz"]
    files = recordings([path for path in given if path not in saved])
    if not saved and not files:
        sys.exit("no motions or recordings with phones were found; each needs a .json file")
    for path in saved:
        yield Motion.load(path), _phones(path)
    voice = ct.load(model) if files else None
    for path in files:
        yield voice.animate(audio.load(path), subject, head=False), _phones(path)


def _phones(path: Path) -> list[dict]:
    return json.loads(path.with_suffix(".json").read_text())["phones"]


def run(
    spoken: Iterator[tuple[Motion, list[dict]]], settings: SolveSettings, names: list[str]
) -> dict[str, dict[str, Any]]:
    """Return the measures of each face, and those of the original motions."""
    chosen: dict[str, Face] = {}
    tallies: dict[str, Tally] = {}
    original = Tally()
    units: dict[tuple[str, str], UnitSet] = {}
    for motion, phones in spoken:
        if not is_bundled_head(motion.topology):
            sys.exit("the motions must be those of the bundled head")
        if not chosen:
            known = faces(motion.topology)
            chosen = {name: known[name] for name in names or known}
            tallies = {name: Tally() for name in chosen}
        motion = replace(motion, vertices=np.asarray(motion.vertices))
        add_verdicts(original, motion, motion.vertices, phones)
        converted = {face.convert: face.convert(motion) for face in chosen.values()}
        for name, face in chosen.items():
            key = name, motion.subject
            if key not in units:
                units[key] = face.units(motion.subject)
            found = measure(converted[face.convert], phones, units[key], settings, tallies[name])
            add_verdicts(tallies[name], motion, face.head_vertices(motion, found), phones)
    first = {key: value for key, value in original.row().items() if key in MEASURES}
    return {"original": first} | {name: tally.row() for name, tally in tallies.items()}


def markdown(rows: dict[str, dict[str, Any]]) -> str:
    """Return a table with a line for each face."""
    head = (
        "face", "lips, mm", "face, mm", "p b m shut", "false", "f v at teeth", "template",
        "silence", "jitter", "speech", "size", "frames/s",
    )  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for name, row in rows.items():
        cells = [name]
        for key in ("lips_mm", "face_mm"):
            cells.append(" / ".join(f"{value:.3f}" for value in row.get(key, [])))
        cells += [f"{100 * row[key]:.1f} %" if key in row else "" for key in MEASURES]
        for key, digits, factor in (
            ("template", 4, 1), ("silence", 3, 1), ("jitter", 2, 1000), ("speech", 2, 1000),
            ("size", 2, 1), ("frames_per_second", 0, 1),
        ):  # fmt: skip
            value = row.get(key)
            cells.append("" if value is None else f"{value * factor:.{digits}f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def solve_settings(assignments: list[str]) -> SolveSettings:
    """Return the settings with the given ``name=value`` changes; values are JSON."""
    pairs = [assignment.partition("=") for assignment in assignments]
    return SolveSettings.model_validate({name: json.loads(value) for name, _, value in pairs})


def main() -> None:
    """Print a line for each face."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("inputs", nargs="+", type=Path, help="folders, audio files or .npz motions with phones")
    add("--model", default=None, help="voice that animates recordings (default: as in animate)")
    add("--subject", default=None, help="subject to animate (default: the voice's first subject)")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="setting of the solve")
    add("--faces", nargs="*", default=[], metavar="NAME", help="faces to measure (default: all)")
    add("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    spoken = motions(given.inputs, given.model, given.subject)
    rows = run(spoken, solve_settings(given.set), given.faces)
    print(json.dumps(rows) if given.json else markdown(rows))


if __name__ == "__main__":
    main()
