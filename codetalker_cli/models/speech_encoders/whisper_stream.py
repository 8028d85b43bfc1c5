"""Encode live speech with Whisper, and reuse what earlier hops of a stream computed.

Whisper attends in both directions, so each new sound would change all features of a window. Here,
only the newest features are computed at each hop. They attend to the keys and values that earlier
hops computed, which no longer change:

    kept keys and values         │ computed
    ─────────────────────────────┴───────────────── features
                                        │ RECOMPUTED, which are computed again at the next hop

A stream starts over from time to time with a window without kept features: Whisper's positions are
absolute, and the bundled voice is less accurate at positions that are far from the start.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from codetalker_cli.models.speech_encoders.whisper import (
    WhisperEncoder,
    WhisperLayer,
    limit_range,
    log_power,
)

SAMPLES_PER_FEATURE = 320
RECOMPUTED = 20
"""The number of features (0.4 s) that are computed again at the next hop, with more sound after
them."""
_MARGIN = 2
"""The number of features before the new ones whose spectra the convolutions need."""
_OVERHANG = 40
"""The number of samples after a feature that its last spectrum needs: half a window of 400 samples,
whose center is 160 samples before the end of the feature."""


@dataclass(frozen=True)
class WhisperState:
    """What a stream keeps of earlier hops.

    Attributes:
        origin: The sample of the stream at which the first position begins.
        n_done: The number of features from there on that no longer change; the newest are kept.
        keys, values: Those of each layer.
        features: The kept features.
        loudest: The maximum of the log power during each of them.
    """

    origin: int
    n_done: int
    keys: tuple[Float[Tensor, "heads kept head_size"], ...]
    values: tuple[Float[Tensor, "heads kept head_size"], ...]
    features: Float[Tensor, "kept size"]
    loudest: Float[Tensor, " kept"]


@dataclass(frozen=True)
class SoundWindow:
    """A window of sound of a stream.

    Attributes:
        samples: Samples at 16 kHz.
        start: The sample of the stream with which the window starts.
        state: What the hop before kept; None: start over.
    """

    samples: Float[Tensor, " samples"]
    start: int
    state: WhisperState | None = None


@dataclass(frozen=True)
class Encoded:
    """The features of a window.

    Attributes:
        features: Features at 50 Hz.
        start: The sample of the stream with which the first feature begins.
        state: What the next hop uses.
    """

    features: Float[Tensor, "features size"]
    start: int
    state: WhisperState


@torch.no_grad()
def encode_windows(model: WhisperEncoder, windows: Sequence[SoundWindow]) -> list[Encoded]:
    """Encode a window of each of several streams, in batches of equal shapes.

    A stream starts over if its state is None, if there is a gap after its state, or if the features
    since its origin exceed the position table. A window must fit into the table.
    """
    jobs = [_Job.of(window, model.config.max_source_positions) for window in windows]
    results: list[Encoded | None] = [None] * len(jobs)
    for shape in {job.shape for job in jobs}:
        numbers = [k for k, job in enumerate(jobs) if job.shape == shape]
        encoded = _encode(model, [jobs[k] for k in numbers])
        for k, result in zip(numbers, encoded, strict=True):
            results[k] = result
    return [result for result in results if result is not None]


@dataclass(frozen=True)
class _Job:
    """The sound of the features that are computed, after a margin, and the state before them."""

    samples: Tensor
    state: WhisperState | None
    origin: int
    n_done: int
    n_new: int
    n_kept: int

    @property
    def margin(self) -> int:
        return min(_MARGIN, self.n_done)

    @property
    def shape(self) -> tuple[int, ...]:
        """Jobs of the same shape can be batched."""
        return len(self.samples), self.n_new, self.n_kept, self.margin

    @classmethod
    def of(cls, window: SoundWindow, n_positions: int) -> "_Job":
        stop, state = window.start + len(window.samples), window.state
        n_window = len(window.samples) // SAMPLES_PER_FEATURE
        if state is not None:
            n_features = (stop - state.origin) // SAMPLES_PER_FEATURE
            n_new = n_features - state.n_done
            first = state.origin + (state.n_done - _MARGIN) * SAMPLES_PER_FEATURE - window.start
            n_kept = min(len(state.features), n_window - n_new)
            is_next = state.n_done >= _MARGIN and first >= 0 and n_kept > 0 and n_new > 0
            if is_next and n_features <= n_positions:
                samples = _used(window.samples[first:], _MARGIN + n_new)
                return cls(samples, state, state.origin, state.n_done, n_new, n_kept)
        return cls(_used(window.samples, n_window), None, window.start, 0, n_window, 0)


def _used(samples: Tensor, n_features: int) -> Tensor:
    """Return the samples that features depend on, whose number hardly depends on the frame rate."""
    return samples[: n_features * SAMPLES_PER_FEATURE + _OVERHANG]


def _encode(model: WhisperEncoder, jobs: Sequence[_Job]) -> list[Encoded]:
    """Encode windows of the same shape."""
    n_new, n_kept, margin = jobs[0].n_new, jobs[0].n_kept, jobs[0].margin
    states = [job.state for job in jobs if job.state is not None]
    power = log_power(torch.stack([job.samples for job in jobs]), model.config.num_mel_bins)
    power = power[:, : 2 * (margin + n_new)]
    loudest = power.amax(2).unflatten(1, (-1, 2)).amax(2)
    if states:
        kept_loudest = torch.stack([state.loudest[-n_kept:] for state in states])
        loudest = torch.cat([kept_loudest, loudest[:, margin:]], dim=1)
    mel = limit_range(power, loudest.amax(1)[:, None, None])
    x = model.convolve(mel)[:, margin:]
    positions = torch.tensor([job.n_done for job in jobs], device=x.device)[:, None]
    x = x + model.embed_positions(positions + torch.arange(n_new, device=x.device))
    caches: list[tuple[Tensor, Tensor]] = []
    for k, layer in enumerate(model.layers):
        kept = None
        if states:
            kept = (
                torch.stack([state.keys[k][:, -n_kept:] for state in states]),
                torch.stack([state.values[k][:, -n_kept:] for state in states]),
            )
        assert isinstance(layer, WhisperLayer)
        x, cache = layer.extend(x, kept)
        caches.append(cache)
    features = model.layer_norm(x)
    if states:
        kept_features = torch.stack([state.features[-n_kept:] for state in states])
        features = torch.cat([kept_features, features], dim=1)
    # A clone does not keep the whole batch in memory.
    n_next = max(0, n_new - RECOMPUTED)
    stop = n_kept + n_next
    return [
        Encoded(
            features[b],
            job.origin + (job.n_done - n_kept) * SAMPLES_PER_FEATURE,
            WhisperState(
                job.origin,
                job.n_done + n_next,
                tuple(keys[b, :, :stop].clone() for keys, _ in caches),
                tuple(values[b, :, :stop].clone() for _, values in caches),
                features[b, :stop].clone(),
                loudest[b, :stop].clone(),
            ),
        )
        for b, job in enumerate(jobs)
    ]
