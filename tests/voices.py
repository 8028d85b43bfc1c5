"""Tiny voices for fast tests, and synthetic speech."""

from pathlib import Path

import numpy as np
import tiny

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.models import checkpoint
from codetalker_cli.topology import Mesh

EYES = {"eyeBlinkLeft": 4, "eyeBlinkRight": 6, "eyeLookUpLeft": 9}
"""The vertex that each idle unit moves."""


def mesh(*subjects: str, closure: float = 0.5) -> Mesh:
    """Return random templates of the subjects, with units for blinks and gaze."""
    rng = np.random.default_rng(0)
    shape = (tiny.N_VERTICES, 3)
    units = {}
    for name, vertex in EYES.items():
        units[name] = np.zeros(shape, np.float32)
        units[name][vertex] = (0.0, -1.0, 0.5)
    return Mesh(
        topology=tiny.topology(),
        templates={name: rng.standard_normal(shape).astype(np.float32) for name in subjects},
        idle_units=units,
        lid_closure=dict.fromkeys(subjects, closure),
    )


def save(
    folder: Path,
    *subjects: str,
    with_speech: bool = True,
    family: str = "wav2vec2",
    motion_history: bool = True,
) -> Path:
    """Save a checkpoint with random weights, the styles A, B and C, and templates of ``subjects``.

    A new process loads a Whisper encoder in half the time, because it does not import transformers.
    Without a motion history, decoding is much faster.
    """
    encoder = {"family": family, "config": tiny.ENCODER_CONFIGS[family]}
    speech = {"encoder": encoder, "motion_history": motion_history}
    model = tiny.codetalker(with_speech=with_speech, speech=speech)
    return checkpoint.save(folder, model, mesh=mesh(*subjects))


def speech(seconds: float = 1.0, rate: int = SAMPLE_RATE, seed: int = 0) -> np.ndarray:
    """Return (n,) float32 samples of a buzz with four syllables per second, and some noise."""
    time = np.arange(round(seconds * rate)) / rate
    rng = np.random.default_rng(seed)
    buzz = np.sin(2 * np.pi * 140 * time) + 0.5 * np.sin(2 * np.pi * 700 * time)
    loudness = 0.3 * np.sin(np.pi * 4 * time) ** 2
    return (buzz * loudness + 0.01 * rng.standard_normal(len(time))).astype(np.float32)
