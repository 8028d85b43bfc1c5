"""Fit a linear model from the encoder features of a voice to the curves of filmed mouths.

It is the row `probe` of ``people.py``: what a voice could learn from this encoder at least.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli import audio
from codetalker_cli.metrics import people
from codetalker_cli.metrics.mouth_curves import MouthCurves

OFFSETS = (-4, -2, -1, 0, 1, 2, 4)
"""The frames whose encoder features the probe uses, at 25 fps."""
RIDGE = 3000.0
"""The penalty of the ridge regression, for standardized inputs."""


def probe_inputs(voice: Any, recording: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the (T,) times and the (T, 7·size) encoder features of a recording at 25 fps."""
    import torch

    encoder = voice.checkpoint.model.speech.encoder
    samples = audio.raise_quiet_speech(audio.load(recording)).samples
    with torch.no_grad():
        prepared = encoder.prepare(torch.from_numpy(samples)[None].to(voice.device))
        features = encoder(prepared)[0].float().cpu().numpy()
    features = features.reshape(-1, encoder.features_per_frame * features.shape[1])
    own = np.arange(len(features)) / encoder.fps
    times = np.arange(0.0, own[-1] + 1e-6, 1 / people.FPS)
    at = np.interp(times, own, np.arange(len(own)))
    left = np.minimum(at.astype(int), len(own) - 2)
    share = (at - left)[:, None].astype(np.float32)
    features = (1 - share) * features[left] + share * features[left + 1]
    frames = np.arange(len(times))[:, None] + OFFSETS
    inputs = features[np.clip(frames, 0, len(times) - 1)].reshape(len(times), -1)
    return times, inputs.astype(np.float64)


class Moments:
    """The sums of inputs, targets and their products over the frames that were added."""

    def __init__(self, n_inputs: int, n_targets: int) -> None:
        self.n, self.x, self.y = 0, np.zeros(n_inputs), np.zeros(n_targets)
        self.xx, self.xy = np.zeros((n_inputs, n_inputs)), np.zeros((n_inputs, n_targets))

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """Add (n, D) inputs and (n, K) targets."""
        self.n += len(x)
        self.x += x.sum(0)
        self.y += y.sum(0)
        self.xx += x.T @ x
        self.xy += x.T @ y

    def ridge(self, penalty: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the (D, K) weights and (K,) offsets of ridge regression on standardized inputs."""
        mean, target = self.x / self.n, self.y / self.n
        gram = self.xx / self.n - np.outer(mean, mean)
        spread = np.sqrt(np.diag(gram)) + 1e-6
        gram = gram / np.outer(spread, spread) + penalty / self.n * np.eye(len(mean))
        moment = (self.xy / self.n - np.outer(mean, target)) / spread[:, None]
        weights = np.linalg.solve(gram, moment) / spread[:, None]
        return weights, target - mean @ weights


def probe(
    voice: Any, fitted: Sequence[tuple[Path, MouthCurves]], measured: Mapping[str, Path]
) -> dict[str, MouthCurves]:
    """Fit the probe on recordings with known curves, and return its curves for others by name."""
    encoder = voice.checkpoint.model.speech.encoder
    moments = Moments(len(OFFSETS) * encoder.features_per_frame * encoder.size, 2)
    for recording, own in fitted:
        times, x = probe_inputs(voice, recording)
        y = np.stack([people.resample(own.times, c, times) for c in (own.opening, own.width)], 1)
        known = np.isfinite(y).all(1)
        moments.add(x[known], y[known])
    weights, offset = moments.ridge(RIDGE)
    found = {}
    for name, recording in measured.items():
        times, x = probe_inputs(voice, recording)
        opening, width = (x @ weights + offset).T
        found[name] = MouthCurves(times, opening, width)
    return found
