"""Small voices that animate at once, and a second of something like speech."""

from pathlib import Path

import numpy as np
import tiny

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.models import checkpoint
from codetalker_cli.topology import Mesh

EYES = {"eyeBlinkLeft": 4, "eyeBlinkRight": 6, "eyeLookUpLeft": 9}
"""Idle unit → the one vertex that it moves."""


def mesh(*subjects: str, closure: float = 0.5) -> Mesh:
    """Templates of subjects, with units of blinks and gaze."""
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


def save(folder: Path, *subjects: str, with_speech: bool = True, family: str = "wav2vec2") -> Path:
    """A checkpoint with random weights; styles A, B, C and the faces of ``subjects``.

    A fresh process loads one with Whisper's encoder in half the time: it needs no transformers.
    """
    encoder = {"family": family, "config": tiny.ENCODER_CONFIGS[family]}
    model = tiny.codetalker(with_speech=with_speech, speech={"encoder": encoder})
    return checkpoint.save(folder, model, mesh=mesh(*subjects))


def speech(seconds: float = 1.0, rate: int = SAMPLE_RATE, seed: int = 0) -> np.ndarray:
    """(n,) float32: a buzz that swells in syllables, and some noise."""
    time = np.arange(round(seconds * rate)) / rate
    rng = np.random.default_rng(seed)
    buzz = np.sin(2 * np.pi * 140 * time) + 0.5 * np.sin(2 * np.pi * 700 * time)
    loudness = 0.3 * np.sin(np.pi * 4 * time) ** 2
    return (buzz * loudness + 0.01 * rng.standard_normal(len(time))).astype(np.float32)
