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
opening   share of aa, ae, aw, ay, ah with a gap over 6 mm at the center frame
stressed  the same without ah, which most often is a schwa
width     how surely the width of the mouth tells w, uw, ow from iy, ih, s at the center frame (AUC)
lag       median frames from a bilabial's middle to the middle of the contact that meets it

The measures are codetalker_cli.metrics.lips.

--teacher measures the rules that the bundled voice learned from, given the true phones; with
--stage1 also after that model's stage 1, which tells what each part loses. --babble mixes other
recordings of the same call into each, at a signal-to-noise ratio in dB.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

import codetalker_cli as ct
from codetalker_cli import audio
from codetalker_cli.metrics import lips
from codetalker_cli.motion import Motion


def recordings(given: list[Path]) -> list[Path]:
    """Audio files that have their phones beside them."""
    files = [f for g in given for f in (sorted(g.iterdir()) if g.is_dir() else [g])]
    return [
        f
        for f in files
        if f.suffix.lower() in audio.AUDIO_SUFFIXES and f.with_suffix(".json").is_file()
    ]


def measure(motion: Motion, phones: list[dict]) -> lips.Verdicts:
    """All measures of a motion whose topology has pairs of inner-lip vertices."""
    vertices = np.asarray(motion.vertices)
    template = vertices[0] if motion.template is None else np.asarray(motion.template)
    curves = lips.lip_curves(motion.topology, template, vertices)
    spoken = [lips.TimedPhone(p["phone"], p["start"], p["end"]) for p in phones]
    return lips.score(curves, motion.fps, spoken)


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
    table: dict[str, lips.Verdicts] = {}
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
    rows = {row: lips.summarize(found) for row, found in table.items()}
    if given.json:
        print(json.dumps(rows))
        return
    for row, values in rows.items():
        cells = [
            f"{key} {f'{100 * value:5.1f} %' if key in lips.SHARES else f'{value:.3f}'} of {n}"
            for key, (value, n) in values.items()
        ]
        print(f"{row:10s} " + " | ".join(cells))


if __name__ == "__main__":
    main()
