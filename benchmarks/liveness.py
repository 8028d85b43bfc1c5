"""Is a voice's motion as lively as its teacher's, no shakier, and still where nobody speaks?

    python benchmarks/liveness.py data/demo [--model demo] [--clips 24] [--sounds FILES] [--json]

On the test split of the data set that the voice learned from, clip by clip in its subject's style:

energy    squared velocity of the lip region, against the data's (1: as lively)
jitter    the part of it above 8 Hz, against the data's (1: as smooth)
styles    mean distance of the lips between the clip said in two styles by one face, in mm
own       share of the clips whose lips, said in the style of their speaker, are nearer to the data
          than said in another

On sounds that are no speech (10 s of near silence, room, noise and music, and recordings given as
--sounds; the noise is like that of the training data), with four faces: the widest gap of the lips
in mm ("gap"), the share of frames with one over 1 mm ("open"), and the energy as a share of that of
the data's speech ("energy"). The measures are codetalker_cli.metrics.liveness.
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
    """Name → (n,) float32 at 16 kHz: silence, room noise, loud noise, music without voices."""
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
        "silence": (0.0002 * noise).astype(np.float32),  # digital silence is refused
        "room": (0.003 * noise).astype(np.float32),
        "noise": (0.3 * noise).astype(np.float32),
        "music": (0.5 * music / np.abs(music).max()).astype(np.float32),
    }


def against_data(
    data: PreparedDataSet, voice: Voice, n_clips: int
) -> tuple[dict[str, float], float]:
    """Energy, jitter, styles and own; and the energy of the data's speech."""
    topology, fps = data.mesh.topology, data.manifest.fps
    lips = topology.region("lips")
    clips = []
    for k, clip in enumerate(data.clips("test")[:n_clips]):
        subject, samples = clip.entry.subject, clip.samples()
        styles = [s for s in voice.styles if s != subject] or [subject]
        own, other = (
            np.asarray(voice.animate(samples, subject, style, idle=False).vertices[:, lips])
            for style in (subject, styles[k % len(styles)])
        )
        clips.append(liveness.compare(np.array(clip.vertices[:, lips]), own, other, fps))
    found = liveness.summarize(clips, (topology.meters_per_unit or 1.0) * 1000.0)
    return found, float(np.mean([clip.truth.whole for clip in clips]))


def without_speech(voice: Voice, name: str, samples: np.ndarray, energy: float) -> dict[str, float]:
    """Gap, open and energy (as a share of ``energy``) of a sound, over four faces."""
    gaps, moved = [], []
    for subject in voice.subjects[:: max(1, len(voice.subjects) // 4)]:
        motion = voice.animate(samples, subject, idle=False)
        vertices, topology = np.asarray(motion.vertices), motion.topology
        mm = (topology.meters_per_unit or 1.0) * 1000.0
        gaps.append(topology.inner_lip_gap(vertices) * mm)
        lips = vertices[:, topology.region("lips")]
        moved.append(liveness.energies(lips, motion.fps).whole)
    found = liveness.stillness(gaps, moved, energy)
    return {f"{name} {key}": value for key, value in found.items()}


def main() -> None:
    """Print what the header says."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=None)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--sounds", type=Path, nargs="*", default=[])
    parser.add_argument("--json", action="store_true")
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
