"""Could somebody read these lips? A voice's lips against phone times of recordings.

    python benchmarks/lips.py RECORDINGS... [--model demo] [--subject S01] [--babble 10] [--json]
    python benchmarks/lips.py RECORDINGS... --teacher [--stage1 demo]

RECORDINGS are folders (or files) of audio with NAME.json beside it: {"phones": [{"phone", "start",
"end"}, ...]}, ARPABET, seconds. The gap is the mean distance of the central paired inner-lip
vertices (regions inner_lip_upper, inner_lip_lower). Intervals are those of the phones, in frames.

closure   share of p, b, m whose gap comes under 1 mm in their interval, ± 1 frame
false     share of all contacts (runs of frames under 1 mm) with no p, b, m, f, v or silence within
          2 frames of any of their frames
labiodental  share of f, v where the lower lip comes within 2 mm of the upper incisors' edge (median
          along the edge) in the interval, ± 1 frame; on S02 lips at rest are as near, so it tells
          nothing there
opening   share of aa, ae, aw, ay, ah with a gap over 6 mm at the centre frame
stressed  the same without ah, which most often is a schwa
width     how surely the width of the mouth tells w, uw, ow from iy, ih, s at the centre frame (AUC)
lag       median frames from a bilabial's middle to the middle of the contact that meets it

--teacher measures the rules that the bundled voice learnt from, given the true phones; with
--stage1 also after that model's stage 1, which tells what each part loses. --babble mixes other
recordings of the same call into each, at a signal-to-noise ratio in dB.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

import codetalker_cli as ct
from codetalker_cli import audio
from codetalker_cli.motion import Motion
from codetalker_cli.topology import Topology

CLOSED_MM, OPEN_MM, TEETH_MM = 1.0, 6.0, 2.0
NEAR_FRAMES, EXCUSED_FRAMES, MEETING_FRAMES = 1, 2, 4
BILABIALS, LABIODENTALS = {"P", "B", "M"}, {"F", "V"}
STRESSED, OPEN_VOWELS = {"AA", "AE", "AW", "AY"}, {"AA", "AE", "AW", "AY", "AH"}
ROUNDED, SPREAD = {"W", "UW", "OW"}, {"IY", "IH", "S"}
EXCUSES = BILABIALS | LABIODENTALS | {"SIL", ""}
AUDIO = {".wav", ".flac", ".ogg", ".mp3"}
SHARES = ("closure", "false", "labiodental", "opening", "stressed")
INCISORS_MM, LIP_MM = 10.0, 12.0
"""Half widths of the upper teeth and of the lower lip that f and v bring together."""

Measures = dict[str, list[float]]


def recordings(given: list[Path]) -> list[Path]:
    """Audio files that have their phones beside them."""
    files = [f for g in given for f in (sorted(g.iterdir()) if g.is_dir() else [g])]
    return [f for f in files if f.suffix in AUDIO and f.with_suffix(".json").is_file()]


def runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """[first, stop) of each run of true frames."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


def score(
    gap_mm: np.ndarray,
    fps: float,
    phones: list[dict],
    teeth_mm: np.ndarray | None = None,
    width_mm: np.ndarray | None = None,
) -> Measures:
    """Every phone's verdict (0 or 1), lag in frames, and widths; (T,) curves in millimetres."""
    last = len(gap_mm) - 1
    found: Measures = {key: [] for key in (*SHARES, "rounded", "spread", "lag")}
    contacts = runs(gap_mm < CLOSED_MM)
    excused = np.zeros(len(gap_mm), dtype=bool)
    for entry in phones:
        label = entry["phone"].upper().rstrip("012")
        first, final = entry["start"] * fps, entry["end"] * fps
        middle = (first + final) / 2
        middle_frame = min(last, round(middle)) if middle <= last + 0.5 else None

        def around(n: int, first: float = first, final: float = final) -> slice:
            return slice(max(0, int(first) - n), max(0, int(np.ceil(final)) + n + 1))

        if label in EXCUSES:
            excused[around(EXCUSED_FRAMES)] = True
        if middle_frame is None:
            continue
        if label in BILABIALS:
            found["closure"].append(
                float(gap_mm[around(NEAR_FRAMES)].min(initial=np.inf) < CLOSED_MM)
            )
            met = [
                (a + b - 1) / 2 - middle
                for a, b in contacts
                if a - MEETING_FRAMES <= middle <= b - 1 + MEETING_FRAMES
            ]
            if met:
                found["lag"].append(min(met, key=abs))
        if label in LABIODENTALS and teeth_mm is not None:
            near = teeth_mm[around(NEAR_FRAMES)]
            found["labiodental"].append(float(near.min(initial=np.inf) <= TEETH_MM))
        if label in OPEN_VOWELS:
            found["opening"].append(float(gap_mm[middle_frame] > OPEN_MM))
            if label in STRESSED:
                found["stressed"].append(found["opening"][-1])
        if width_mm is not None:
            for key, labels in (("rounded", ROUNDED), ("spread", SPREAD)):
                if label in labels:
                    found[key].append(float(width_mm[middle_frame]))
    found["false"] = [float(not excused[a:b].any()) for a, b in contacts]
    return found


def area_under_curve(lower: list[float], higher: list[float]) -> float:
    """Chance that a value of ``higher`` is above one of ``lower`` (Mann and Whitney 1947)."""
    a, b = np.array(lower)[:, None], np.array(higher)[None]
    return float(((a < b) + 0.5 * (a == b)).mean())


def teeth_distance(topology: Topology, template: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """How to measure (T, V, 3) vertices: (T,) distance, in units, from the edge of the upper
    incisors to the nearest of the lower lip, the median along that edge.
    """
    scale = (topology.metres_per_unit or 1.0) * 1000.0
    start, stop = topology.parts["teeth_upper"]
    teeth = template[start:stop] * scale
    front = teeth[:, 2] > teeth[:, 2].max() - 9.0
    edge = []
    for x in np.arange(-INCISORS_MM, INCISORS_MM + 0.1, 2.0):
        inside = np.flatnonzero(front & (np.abs(teeth[:, 0] - x) < 1.2))
        if len(inside):
            edge.append(start + inside[teeth[inside, 1].argmin()])
    lips = topology.region("lips")
    inner = topology.region("inner_lip_lower")
    centre = np.abs(template[lips, 0] * scale) < LIP_MM
    below = template[lips, 1] <= template[inner, 1].max() + 0.5 / scale
    lower = lips[centre & below]
    triangles = topology.triangles[np.isin(topology.triangles, lower).all(1)]

    def measure(vertices: np.ndarray) -> np.ndarray:
        made = []
        for frame in vertices:
            corners = frame[triangles]
            points = np.concatenate([frame[lower], corners.mean(1)])
            apart = np.linalg.norm(frame[edge][:, None] - points[None], axis=-1)
            made.append(np.median(apart.min(1)))
        return np.array(made)

    return measure


def measure(motion: Motion, phones: list[dict]) -> Measures:
    """All measures of a motion whose topology has pairs of inner-lip vertices."""
    topology, vertices = motion.topology, np.asarray(motion.vertices)
    scale = (topology.metres_per_unit or 1.0) * 1000.0
    template = vertices[0] if motion.template is None else np.asarray(motion.template)
    teeth = None
    if "teeth_upper" in topology.parts:
        teeth = teeth_distance(topology, template)(vertices) * scale
    lips = vertices[:, topology.region("lips"), 0]
    gap_mm = topology.inner_lip_gap(vertices) * scale
    return score(gap_mm, motion.fps, phones, teeth, np.ptp(lips, axis=1) * scale)


class Rules:
    """The synthetic talking heads' own motion, given the phones."""

    def __init__(self, subject: str | None, stage1: str | None) -> None:
        from codetalker_cli.rigs.head import Rig

        self._rig, self._subject = Rig.load(), subject or "S01"
        self._vq = ct.load(stage1).checkpoint.model.vq if stage1 else None

    def animate(self, samples: np.ndarray, phones: list[dict]) -> Motion:
        import torch

        from codetalker_cli.synthetic.dataset import Passage, mesh_of, speak
        from codetalker_cli.synthetic.speech.phones import Phone

        spoken = [Phone(p["phone"], p["start"], p["end"]) for p in phones if p["end"] > p["start"]]
        passage = Passage("", "", samples, spoken)
        rng = np.random.default_rng(0)
        vertices = speak(self._rig, passage, self._subject, 30.0, rng, blinks=False)
        template = self._rig.template(self._subject)
        if self._vq is not None:
            with torch.no_grad():
                still = torch.from_numpy(template)[None]
                codes = self._vq.encode(torch.from_numpy(vertices)[None], still)
                vertices = self._vq.decode(codes, still)[0].numpy()
        mesh = mesh_of(self._rig, [self._subject])
        return Motion(vertices, 30.0, mesh.topology, self._subject, template)


def with_babble(samples: list[np.ndarray], k: int, snr_db: float) -> np.ndarray:
    """Recording k with four others behind it."""
    from codetalker_cli.train.augment import mixed

    steps = [step for step in (1, 3, 5, 7) if step % len(samples)]
    others = [samples[(k + step) % len(samples)] for step in steps]
    heard = sum(np.resize(other, len(samples[k])) / (other.std() + 1e-9) for other in others)
    mix = mixed(samples[k], np.asarray(heard), snr_db)
    return (mix / max(1.0, np.abs(mix).max())).astype(np.float32)


def summary(found: Measures) -> dict[str, tuple[float, int]]:
    """Measure → (value, of how many)."""
    made = {key: (float(np.mean(found[key])), len(found[key])) for key in SHARES if found.get(key)}
    if found.get("rounded") and found.get("spread"):
        n = len(found["rounded"]) + len(found["spread"])
        made["width"] = (area_under_curve(found["rounded"], found["spread"]), n)
    if found.get("lag"):
        made["lag"] = (float(np.median(found["lag"])), len(found["lag"]))
    return made


def main() -> None:
    """Print a table, a line for each folder and one for all."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--model", default=None)
    parser.add_argument("--subject", default=None)
    parser.add_argument("--babble", type=float, default=None, metavar="DB")
    parser.add_argument("--teacher", action="store_true")
    parser.add_argument("--stage1", default=None, metavar="MODEL")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    files = recordings(given.recordings)
    if not files:
        sys.exit("no recording with a .json of phones beside it")
    if given.babble is not None and len(files) < 2:
        sys.exit("--babble needs other recordings to mix in: give at least two")
    samples = [audio.load(file) for file in files]
    rules = Rules(given.subject, given.stage1) if given.teacher else None
    voice = None if rules else ct.load(given.model)
    table: dict[str, Measures] = {}
    for k, file in enumerate(files):
        phones = json.loads(file.with_suffix(".json").read_text())["phones"]
        heard = samples[k] if given.babble is None else with_babble(samples, k, given.babble)
        if rules is not None:
            motion = rules.animate(heard, phones)
        else:
            motion = voice.animate(heard, subject=given.subject)
        for key, values in measure(motion, phones).items():
            for row in (file.parent.name, "all"):
                table.setdefault(row, {}).setdefault(key, []).extend(values)
    rows = {row: summary(found) for row, found in table.items()}
    if given.json:
        print(json.dumps(rows))
        return
    for row, values in rows.items():
        cells = [
            f"{key} {100 * value:5.1f} % of {n}" if key in SHARES else f"{key} {value:.3f} of {n}"
            for key, (value, n) in values.items()
        ]
        print(f"{row:10s} " + " | ".join(cells))


if __name__ == "__main__":
    main()
