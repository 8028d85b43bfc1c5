"""Is a voice's motion as lively as its teacher's, no shakier, and still where nobody speaks?

    python benchmarks/liveness.py data/demo [--model demo] [--clips 24] [--json]

On the test split of the data set that the voice learnt from, clip by clip in its subject's style:

energy    squared velocity of the lip region, against the data's (1: as lively)
jitter    the part of it above 8 Hz, against the data's (1: as smooth)
styles    mean distance of the lips between the clip said in two styles by one face, in mm

On sounds that are no speech, 10 s each, with four faces: the widest gap of the lips in mm ("gap")
and the energy as a share of that of the data's speech ("energy").
"""

import argparse
import json
from pathlib import Path

import numpy as np

import codetalker_cli as ct
from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.data.prepared import PreparedDataSet
from codetalker_cli.data.sounds import coloured_noise

SHAKY_HZ = 8.0
QUIET_SECONDS = 10.0


def energies(lips: np.ndarray, fps: float) -> tuple[float, float]:
    """Mean squared velocity of (T, n, 3) positions in units a second, whole and above 8 Hz."""
    velocity = np.diff(lips.reshape(len(lips), -1), axis=0) * fps
    spectrum = np.square(np.abs(np.fft.rfft(velocity, axis=0))) / len(velocity) ** 2
    spectrum[1:] *= 2.0  # both signs of the frequency
    if len(velocity) % 2 == 0:
        spectrum[-1] /= 2.0
    frequency = np.fft.rfftfreq(len(velocity), 1.0 / fps)
    scale = 3.0 / velocity.shape[1]
    whole, shaky = spectrum.sum(), spectrum[frequency > SHAKY_HZ].sum()
    return float(whole * scale), float(shaky * scale)


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
    noise = coloured_noise(n, rng)
    noise /= np.abs(noise).max()
    return {
        "silence": (0.0002 * noise).astype(np.float32),  # digital silence is refused
        "room": (0.003 * noise).astype(np.float32),
        "noise": (0.3 * noise).astype(np.float32),
        "music": (0.5 * music / np.abs(music).max()).astype(np.float32),
    }


def main() -> None:
    """Print what the header says."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default=None)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    data, voice = PreparedDataSet(given.data), ct.load(given.model)
    topology, fps = data.mesh.topology, data.manifest.fps
    lips = topology.region("lips")
    mm = (topology.metres_per_unit or 1.0) * 1000.0
    ours, theirs, spread = [], [], []
    for clip in data.clips("test")[: given.clips]:
        true = np.array(clip.vertices[:, lips])
        subject, samples = clip.entry.subject, clip.samples()
        made = np.asarray(voice.animate(samples, subject, idle=False).vertices[:, lips])
        n = min(len(true), len(made))
        ours.append(energies(made[:n], fps))
        theirs.append(energies(true[:n], fps))
        names = [s for s in voice.styles if s != subject]
        style = names[len(ours) % len(names)]
        other = np.asarray(voice.animate(samples, subject, style, idle=False).vertices[:, lips])
        spread.append(float(np.linalg.norm(other - made, axis=-1).mean()) * mm)
    (energy, jitter), (true_energy, true_jitter) = np.mean(ours, 0), np.mean(theirs, 0)
    found: dict[str, float] = {
        "energy": energy / true_energy,
        "jitter": jitter / true_jitter,
        "styles": float(np.mean(spread)),
    }
    for name, samples in sounds_without_speech().items():
        gaps, moved = [], []
        for subject in voice.subjects[:: max(1, len(voice.subjects) // 4)]:
            vertices = np.asarray(voice.animate(samples, subject, idle=False).vertices)
            gaps.append(float(topology.inner_lip_gap(vertices).max()) * mm)
            moved.append(energies(vertices[:, lips], fps)[0])
        found[f"{name} gap"] = max(gaps)
        found[f"{name} energy"] = float(np.mean(moved)) / true_energy
    lines = [f"{name:14s} {value:.3f}" for name, value in found.items()]
    print(json.dumps(found) if given.json else "\n".join(lines))


if __name__ == "__main__":
    main()
