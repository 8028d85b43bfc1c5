"""Measure whether the lips of a voice can be read, using recordings with phone times.

    python benchmarks/lips.py RECORDINGS... [--model demo] [--subject S01] [--babble 10]
        [--transcript] [--json]
    python benchmarks/lips.py RECORDINGS... --live [--lookahead 0.2] [--left 3.0] [--bf16]
    python benchmarks/lips.py RECORDINGS... --teacher [--stage1 demo]

RECORDINGS are audio files, or folders of them, with a NAME.json next to each: {"phones": [{"phone",
"start", "end"}, ...]}, with ARPABET labels and seconds. The gap is the mean distance between the
central paired inner-lip vertices (regions inner_lip_upper and inner_lip_lower). The interval of a
phone is its time range in frames.

closure      share of p, b, m with a gap below 1 mm in their interval, ± 1 frame
false        share of contacts (runs of frames with a gap below 1 mm) without p, b, m, f, v or
             silence within 2 frames of the contact
labiodental  share of f, v in which the lower lip comes within 2 mm of the edge of the upper
             incisors (median along the edge) in the interval, ± 1 frame; not meaningful for S02,
             whose lips are that close at rest
opening      share of aa, ae, aw, ay, ah with a gap above 6 mm at the center frame
stressed     the same without ah, which is usually a schwa
width        how well the width of the mouth at the center frame separates w, uw, ow from iy, ih, s
             (AUC)
lag          median number of frames from the middle of a bilabial to the middle of its contact

The measures are implemented in codetalker_cli.metrics.lips.

--teacher measures the rules that generated the training data of the bundled voice, with the true
phones. With --stage1, their motion is also encoded and decoded by stage 1 of that model, to show
how much each stage loses. --babble mixes the other given recordings into each one, at a
signal-to-noise ratio in dB.

--live feeds each recording to a live stream with this look-ahead, and with --left seconds of sound
before the frames of each hop.

--transcript gives the text in NAME.json ("text" or "transcript") to the voice, which aligns it.
The phones in NAME.json usually come from the same aligner, so the figures then show whether the
contacts are made, not whether the aligner is right.
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
    """Return the audio files that have a .json file next to them."""
    files = [f for g in given for f in (sorted(g.iterdir()) if g.is_dir() else [g])]
    return [
        f
        for f in files
        if f.suffix.lower() in audio.AUDIO_SUFFIXES and f.with_suffix(".json").is_file()
    ]


def measure(motion: Motion, phones: list[dict]) -> lips.Verdicts:
    """Compute all measures of a motion whose topology has paired inner-lip vertices."""
    vertices = np.asarray(motion.vertices)
    template = vertices[0] if motion.template is None else np.asarray(motion.template)
    curves = lips.lip_curves(motion.topology, template, vertices)
    spoken = [lips.TimedPhone(p["phone"], p["start"], p["end"]) for p in phones]
    return lips.score(curves, motion.fps, spoken)


class Rules:
    """The rule-based motion of the synthetic talking heads.

    Args:
        subject: The subject; None uses S01.
        stage1: A model whose stage 1 encodes and decodes the motion, or None.
    """

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


class Live:
    """A voice that animates recordings as live streams.

    Args:
        voice: The voice.
        lookahead_seconds: The look-ahead.
    """

    def __init__(self, voice: ct.Voice, lookahead_seconds: float) -> None:
        self._voice, self._lookahead = voice, lookahead_seconds

    def animate(
        self, samples: np.ndarray, subject: str | None = None, head: bool = False
    ) -> Motion:
        subject = subject or self._voice.subjects[0]
        stream = self._voice.stream(subject, lookahead_seconds=self._lookahead, idle=False)
        frames = [frame.vertices for frame in stream.feed(samples) + stream.finish()]
        mesh = self._voice.checkpoint.mesh
        template = mesh.templates[subject].astype(np.float32)
        return Motion(np.stack(frames), stream.fps, mesh.topology, subject, template)


def animate(voice: ct.Voice, samples: np.ndarray, subject: str | None, text: str | None) -> Motion:
    """Animate a recording with its transcript, or without it if there is none that matches."""
    if text:
        try:
            return voice.animate(samples, subject=subject, head=False, transcript=text)
        except ct.DataError as error:
            print(f"animated without its transcript: {error}", file=sys.stderr)
    return voice.animate(samples, subject=subject, head=False)


def with_babble(samples: list[np.ndarray], k: int, snr_db: float) -> np.ndarray:
    """Mix up to four other recordings into recording k, at a signal-to-noise ratio in dB."""
    from codetalker_cli.train.augment import mixed

    steps = [step for step in (1, 3, 5, 7) if step % len(samples)]
    others = [samples[(k + step) % len(samples)] for step in steps]
    babble = sum(np.resize(other, len(samples[k])) / (other.std() + 1e-9) for other in others)
    mix = mixed(samples[k], np.asarray(babble), snr_db)
    return (mix / max(1.0, np.abs(mix).max())).astype(np.float32)


def main() -> None:
    """Print a line for each folder, and one for all recordings."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add(
        "recordings", nargs="+", type=Path, help="folders or audio files with .json files of phones"
    )
    add("--model", default=None, help="voice to measure (default: as in animate)")
    add("--subject", default=None, help="subject to animate (default: the voice's first subject)")
    add("--babble", type=float, default=None, metavar="DB", help="mix in the other recordings")
    add("--teacher", action="store_true", help="measure the rules instead of a voice")
    add("--stage1", default=None, metavar="MODEL", help="with --teacher: apply this stage 1")
    add("--live", action="store_true", help="animate as live streams")
    add("--lookahead", type=float, default=0.2, help="with --live: the look-ahead in seconds")
    add("--left", type=float, default=None, help="with --live: decode.live_left_seconds")
    add("--bf16", action="store_true", help="decode.precision=bf16")
    add("--transcript", action="store_true", help="animate with the text in the .json files")
    add("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    if given.live and (given.teacher or given.transcript):
        parser.error("--live applies to voices without --transcript, not to --teacher")
    if given.transcript and given.teacher:
        parser.error("--transcript applies to voices, not to --teacher")
    files = recordings(given.recordings)
    if not files:
        sys.exit("no recordings with phones were found; each needs a .json file next to it")
    if given.babble is not None and len(files) < 2:
        sys.exit("--babble mixes in other recordings; give at least two recordings")
    samples = [audio.load(file) for file in files]
    rules = Rules(given.subject, given.stage1) if given.teacher else None
    decode = {"live_left_seconds": given.left} if given.left is not None else {}
    decode |= {"precision": "bf16"} if given.bf16 else {}
    voice = None if rules else ct.load(given.model, decode=decode)
    if given.live:
        voice = Live(voice, given.lookahead)
    table: dict[str, lips.Verdicts] = {}
    for k, file in enumerate(files):
        description = json.loads(file.with_suffix(".json").read_text())
        phones = description["phones"]
        text = description.get("text") or description.get("transcript")
        speech = samples[k] if given.babble is None else with_babble(samples, k, given.babble)
        if rules is not None:
            motion = rules.animate(speech, phones)
        else:
            motion = animate(voice, speech, given.subject, text if given.transcript else None)
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
