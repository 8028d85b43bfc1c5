"""Decode the windows of sound of live streams."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from codetalker_cli.animate.batch_decoding import encode_separately
from codetalker_cli.audio import MIN_SECONDS, SAMPLE_RATE
from codetalker_cli.errors import InputError
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.decoding import Decoder
from codetalker_cli.models.decoding.kept_frames import KeptFrames, NewFrames, decode_frames
from codetalker_cli.models.decoding.packed_linear import with_packed_linears
from codetalker_cli.models.speech_encoders.encoder import FEATURE_RATE
from codetalker_cli.models.speech_encoders.whisper_stream import (
    SAMPLES_PER_FEATURE,
    Encoded,
    SoundWindow,
    WhisperState,
    encode_windows,
)
from codetalker_cli.settings import DecodeSettings

LOOKAHEAD_SECONDS = 0.2
"""The default time by which live frames are delayed."""
MAX_LOOKAHEAD_SECONDS = 2.0
_HOP_SECONDS = 0.1
_FEATURE_OFFSET = 0.5
"""How much later than a frame its feature begins, in features.

In training, the first and the last feature of a crop belong to its first and its last frame. The
last one begins a feature later than its frame, which is half a feature on average.
"""


@dataclass(frozen=True)
class LiveWindows:
    """The lengths of the parts of a window in seconds, which are rounded to frames.

    Raises:
        InputError: A length is negative, or the hop is not positive.
    """

    left_seconds: float = 2.0
    hop_seconds: float = 0.1
    ahead_seconds: float = 0.13

    def __post_init__(self) -> None:
        """Check the lengths."""
        if min(self.left_seconds, self.ahead_seconds) < 0 or self.hop_seconds <= 0:
            raise InputError(
                f"a window with {self.left_seconds:g} s before a hop of {self.hop_seconds:g} s and "
                f"{self.ahead_seconds:g} s after it is invalid; the hop must be above 0 s, and the "
                "others at least 0 s"
            )

    @classmethod
    def of(cls, lookahead_seconds: float, left_seconds: float) -> "LiveWindows":
        """Return the windows of a stream whose look-ahead includes the hop.

        Raises:
            InputError: The look-ahead is not a number from 0 to ``MAX_LOOKAHEAD_SECONDS``.
        """
        is_number = isinstance(lookahead_seconds, Real) and not isinstance(lookahead_seconds, bool)
        if not is_number or not 0 <= lookahead_seconds <= MAX_LOOKAHEAD_SECONDS:
            raise InputError(
                f"`lookahead_seconds` {lookahead_seconds!r}: expected a number from 0 to "
                f"{MAX_LOOKAHEAD_SECONDS:g}"
            )
        hop = min(_HOP_SECONDS, lookahead_seconds / 2)
        return cls(left_seconds, max(hop, 1e-3), lookahead_seconds - hop)


@dataclass(frozen=True)
class HopState:
    """What a stream keeps for its next hop.

    Attributes:
        encoder: What the encoder keeps.
        frames: The decoded frames that no longer change; None: the decoder starts over.
    """

    encoder: WhisperState
    frames: KeptFrames | None = None


@dataclass(frozen=True)
class Window:
    """The sound from which a hop is decoded.

    Attributes:
        samples: (n,) samples at 16 kHz.
        first: The frame of the stream with which the window starts; it may be negative.
        left: The number of frames before the hop.
        n_frames: The number of all frames.
        style: The (1, size) style vector.
        state: What the hop before kept; None: start over.
    """

    samples: np.ndarray
    first: int
    left: int
    n_frames: int
    style: Tensor
    state: HopState | None = None


@dataclass(frozen=True)
class Decoded:
    """A decoded window.

    Attributes:
        hidden: (n_frames, H) hidden states of stage 1's decoder before its last projection.
        state: What the next hop uses, or None.
    """

    hidden: Tensor
    state: HopState | None


class WindowDecoder:
    """A decoder for windows of sound, in batches.

    Args:
        model: The model with both stages.
        settings: The decoding settings.

    Attributes:
        fps: The frame rate.
        device: The device of the model.
        n_silent: The number of frames of silence that a window may start with.
        refresh_seconds: The time after which the encoder starts over; 0: it never continues.
    """

    def __init__(self, model: CodeTalker, settings: DecodeSettings) -> None:
        assert model.speech is not None
        self.vq, self.speech = model.vq, model.speech
        self.fps = model.settings.data.fps
        self.device = model.speech.head.weight.device
        seconds = max(settings.initial_silence_seconds, MIN_SECONDS)
        self.n_silent = math.ceil(seconds * self.fps)
        encoder = self.speech.encoder
        # Only Whisper's encoder can continue from an earlier hop.
        can_continue = (
            encoder.settings.family == "whisper"
            and encoder.features_per_frame == 1
            and (settings.live_left_seconds + MAX_LOOKAHEAD_SECONDS) * FEATURE_RATE
            <= encoder.model.config.max_source_positions
        )
        self.refresh_seconds = settings.live_refresh_seconds if can_continue else 0.0
        self._is_bf16 = settings.precision == "bf16"
        self._has_history = self.speech.settings.motion_history
        if self.refresh_seconds and not self._has_history:
            # The products of a hop have few rows, which packed weights make twice as fast.
            dtype = torch.bfloat16 if self._is_bf16 else None
            self.speech = with_packed_linears(self.speech, dtype)
            self.vq = with_packed_linears(self.vq)
        self._decoder = Decoder(model.speech, model.vq, settings)

    @torch.no_grad()
    def decode(self, windows: Sequence[Window]) -> list[Decoded]:
        """Decode windows of any lengths."""
        decode = self._continue if self.refresh_seconds else self._start
        coded = decode(windows)
        results: dict[int, Decoded] = {}
        for numbers in _equal_lengths(windows):
            hidden = self.vq.decode_hidden(torch.stack([coded[k][0] for k in numbers]))
            for k, rows in zip(numbers, hidden, strict=True):
                results[k] = Decoded(rows, coded[k][1])
        return [results[k] for k in range(len(windows))]

    def _start(self, windows: Sequence[Window]) -> list[tuple[Tensor, None]]:
        """Return the (n_frames, Q) codes of windows that are decoded by themselves."""
        features: dict[int, Tensor] = {}
        encoder = self.speech.encoder
        for numbers in _equal_lengths(windows):
            cuts = torch.from_numpy(np.stack([windows[k].samples for k in numbers]))
            with self._autocast():
                audio = encoder.prepare(cuts.to(self.device))
                encoded = encode_separately(encoder, audio, windows[numbers[0]].n_frames)
            features.update(zip(numbers, encoded, strict=True))
        codes = self._codes(windows, [features[k] for k in range(len(windows))])
        return [(rows, None) for rows in codes]

    def _continue(self, windows: Sequence[Window]) -> list[tuple[Tensor, HopState]]:
        """Return the (n_frames, Q) codes of windows that continue the hop before."""
        sounds = []
        for window in windows:
            samples = torch.from_numpy(window.samples).to(self.device)
            start = round(window.first / self.fps * SAMPLE_RATE)
            state = None if window.state is None else window.state.encoder
            sounds.append(SoundWindow(samples, start, state))
        with self._autocast():
            encoded = encode_windows(self.speech.encoder.model, sounds)
        if self._has_history:
            features = [
                self._features(window, of_window, range(window.n_frames))
                for window, of_window in zip(windows, encoded, strict=True)
            ]
            codes = self._codes(windows, features)
            return [
                (rows, HopState(of_window.state))
                for rows, of_window in zip(codes, encoded, strict=True)
            ]
        new = [self._new_frames(*pair) for pair in zip(windows, encoded, strict=True)]
        decoded = decode_frames(self.speech, self.vq, new, is_bf16=self._is_bf16)
        return [
            (rows, HopState(of_window.state, kept))
            for (rows, kept), of_window in zip(decoded, encoded, strict=True)
        ]

    def _new_frames(self, window: Window, encoded: Encoded) -> NewFrames:
        """Return the frames of a window that are not known from the hop before."""
        n_new, kept = window.n_frames, None
        before = window.state
        if before is not None and before.frames is not None:
            n_rest = window.first + window.n_frames - before.frames.stop
            n_kept = window.n_frames - n_rest
            # An encoder that has started over gives other features.
            has_continued = before.encoder.origin == encoded.state.origin
            if has_continued and n_rest > 0 and 0 < n_kept <= len(before.frames.codes):
                n_new, kept = n_rest, before.frames.newest(n_kept)
        numbers = range(window.n_frames - n_new, window.n_frames)
        features = self._features(window, encoded, numbers)
        n_final = self._n_final(window, encoded) - numbers.start
        style = window.style
        return NewFrames(features, window.first + numbers.start, max(0, n_final), style, kept)

    def _codes(self, windows: Sequence[Window], features: Sequence[Tensor]) -> list[Tensor]:
        """Return the (n_frames, Q) codes of windows, given all features of each."""
        results: dict[int, Tensor] = {}
        for numbers in _equal_lengths(windows):
            batch = torch.stack([features[k] for k in numbers])
            style = torch.cat([windows[k].style for k in numbers])
            codes = self._decoder.decode(batch.to(self._dtype), style)
            results.update(zip(numbers, codes, strict=True))
        return [results[k] for k in range(len(windows))]

    def _features(self, window: Window, encoded: Encoded, numbers: range) -> Tensor:
        """Return the (n, size) features of consecutive frames of a window."""
        exact = self._positions(window, encoded.start)[numbers.start : numbers.stop]
        at = torch.from_numpy(exact.astype(np.float32)).to(self.device)
        return interpolate(encoded.features, at).to(self._dtype)

    def _n_final(self, window: Window, encoded: Encoded) -> int:
        """Return the number of frames of a window whose features no longer change."""
        at = self._positions(window, encoded.state.origin)
        # The feature of a frame is interpolated between two features of the encoder.
        return int((at < encoded.state.n_done - 1).sum())

    def _positions(self, window: Window, start: int) -> np.ndarray:
        """Return (n_frames,) float64 positions of the frames among features from a sample on."""
        # In float64, because float32 would be inexact after some minutes.
        samples = (window.first + np.arange(window.n_frames)) * (SAMPLE_RATE / self.fps)
        return (samples - start) / SAMPLES_PER_FEATURE + _FEATURE_OFFSET

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, self._is_bf16)

    @property
    def _dtype(self) -> torch.dtype:
        return self.speech.head.weight.dtype

    @torch.no_grad()
    def style(self, weights: np.ndarray) -> Tensor:
        """Return the (1, size) style vector of (n_styles,) weights."""
        return self.speech.style(torch.from_numpy(weights)[None].to(self.device))

    @torch.no_grad()
    def to_vertices(self, hidden: Tensor, neutral: np.ndarray) -> np.ndarray:
        """Return the (T, V, 3) float32 vertices of (T, H) hidden states."""
        template = torch.from_numpy(neutral)[None].to(self.device)
        return self.vq.to_vertices(hidden[None], template)[0].cpu().numpy()


def _equal_lengths(windows: Sequence[Window]) -> list[list[int]]:
    """Return the numbers of windows in groups of equal lengths."""
    lengths = [window.n_frames for window in windows]
    return [[k for k, n in enumerate(lengths) if n == length] for length in set(lengths)]


def interpolate(features: Tensor, at: Tensor) -> Tensor:
    """Return the (n, size) features at (n,) positions between (m, size) features."""
    at = at.clamp(0, len(features) - 1)
    left = at.floor().long().clamp(max=max(0, len(features) - 2))
    right = (left + 1).clamp(max=len(features) - 1)
    return torch.lerp(features[left], features[right], (at - left)[:, None].to(features.dtype))
