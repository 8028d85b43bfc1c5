"""Measure whether a voice moves as much as its training data, without jitter or idle lip motion.

    python benchmarks/liveness.py data/demo [--model demo] [--clips 24] [--sounds FILES] [--json]

These measures use the test split of the voice's data set. Each clip is animated in the style of its
subject:

energy    squared velocity of the lip region, relative to the data (1 means equally lively)
jitter    the part of that energy above 8 Hz, relative to the data (1 means equally smooth)
styles    mean distance between the lips of one subject in two styles, in mm
own       share of clips whose lips are closer to the data in the subject's style than in another

These measures use four subjects and non-speech sounds: 10 s of near silence, room noise, loud noise
and music, and the recordings given as --sounds. The noise is like that of the training data.

gap       largest gap between the lips, in mm
open      share of frames with a gap above 1 mm
energy    squared velocity of the lip region, relative to the data's speech

The measures are implemented in codetalker_cli.metrics.liveness.
"""

import argparse
import json
from pathlib import Path

import numpy as np

import codetalker_cli as ct
from codetalker_cli import Voice, audio
from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.metrics import liveness
from codetalker_cli.synthetic.noise import colored_noise

QUIET_SECONDS = 10.0


def sounds_without_speech(seconds: float = QUIET_SECONDS) -> dict[str, np.ndarray]:
    """Return (n,) float32 sounds at 16 kHz by name: near silence, room noise, loud noise, music."""
    n = int(seconds * SAMPLE_RATE)
    rng = np.random.default_rng(0)
    time = np.arange(n) / SAMPLE_RATE
    music = np.zeros(n)
    for start in np.arange(0.0, seconds, 0.5):
        chord = 220.0 * 2 ** (rng.choice([0, 2, 4, 5, 7, 9]) / 12) * np.array([1, 1.26, 1.5, 2])
        ringing = np.where(time >= start, np.exp(-3.0 * np.clip(time - start, 0, None)), 0.0)
        for tone in chord:
            for overtone in (1, 2, 3):
                music += ringing * np.sin(2 * np.pi * tone * overtone * time) / overtone
    noise = colored_noise(n, rng)
    noise /= np.abs(noise).max()
    return {
        "silence": (0.0002 * noise).astype(np.float32),  # not 0, which would be refused
        "room": (0.003 * noise).astype(np.float32),
        "noise": (0.3 * noise).astype(np.float32),
        "music": (0.5 * music / np.abs(music).max()).astype(np.float32),
    }


def against_data(
    data: PreparedDataSet, voice: Voice, n_clips: int
) -> tuple[dict[str, float], float]:
    """Measure energy, jitter, styles and own; also return the energy of the data's speech."""
    topology, fps = data.mesh.topology, data.manifest.fps
    lips = topology.region("lips")
    clips = []
    for k, clip in enumerate(data.clips("test")[:n_clips]):
        subject, samples = clip.entry.subject, clip.samples()
        styles = [s for s in voice.styles if s != subject] or [subject]
        own, other = (
            np.asarray(
                voice.animate(samples, subject, style, idle=False, head=False).vertices[:, lips]
            )
            for style in (subject, styles[k % len(styles)])
        )
        clips.append(liveness.compare(np.array(clip.vertices[:, lips]), own, other, fps))
    found = liveness.summarize(clips, (topology.meters_per_unit or 1.0) * 1000.0)
    return found, float(np.mean([clip.truth.whole for clip in clips]))


def without_speech(voice: Voice, name: str, samples: np.ndarray, energy: float) -> dict[str, float]:
    """Measure the gap, open and energy (relative to ``energy``) of a sound, with four subjects."""
    gaps, moved = [], []
    for subject in voice.subjects[:: max(1, len(voice.subjects) // 4)]:
        motion = voice.animate(samples, subject, idle=False, head=False)
        vertices, topology = np.asarray(motion.vertices), motion.topology
        mm = (topology.meters_per_unit or 1.0) * 1000.0
        gaps.append(topology.inner_lip_gap(vertices) * mm)
        lips = vertices[:, topology.region("lips")]
        moved.append(liveness.energies(lips, motion.fps).whole)
    found = liveness.stillness(gaps, moved, energy)
    return {f"{name} {key}": value for key, value in found.items()}


def main() -> None:
    """Print all measures."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="prepared data set of the voice")
    parser.add_argument("--model", default=None, help="voice (default: as in animate)")
    parser.add_argument("--clips", type=int, default=24, help="test clips to use (default: 24)")
    parser.add_argument("--sounds", type=Path, nargs="*", default=[], help="non-speech recordings")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args()
    voice = ct.load(given.model)
    found, energy = against_data(PreparedDataSet(given.data), voice, given.clips)
    sounds = sounds_without_speech()
    sounds |= {str(file): audio.load(file) for file in given.sounds}
    for name, samples in sounds.items():
        found |= without_speech(voice, name, samples, energy)
    lines = [f"{name:20s} {value:.3f}" for name, value in found.items()]
    print(json.dumps(found) if given.json else "\n".join(lines))


if __name__ == "__main__":
    main()
