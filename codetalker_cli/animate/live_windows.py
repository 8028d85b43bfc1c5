"""Decode speech as a live stream does: in short windows, with little sound after each frame.

The sound of each hop of frames is encoded and decoded with some sound before and after it, and only
the frames of the hop are kept:

    left context │ hop │ look-ahead
    ─────────────┴─────┴───────────  window of sound
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from codetalker_cli.animate.batch_decoding import encode_separately
from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.errors import InputError
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.decoding import Decoder
from codetalker_cli.settings import DecodeSettings

LOOKAHEAD_SECONDS = 0.2
"""The default time by which live frames are delayed."""
MAX_LOOKAHEAD_SECONDS = 2.0
_HOP_SECONDS = 0.1


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
class Window:
    """The frames of one hop: ``start`` to ``stop`` are decoded, ``first`` to ``end`` are kept."""

    start: int
    first: int
    end: int
    stop: int


def plan_windows(n_frames: int, fps: float, lengths: LiveWindows) -> Iterator[Window]:
    """Yield the windows of a stream; those at both ends are shorter."""
    left, hop, ahead = (
        round(seconds * fps)
        for seconds in (lengths.left_seconds, lengths.hop_seconds, lengths.ahead_seconds)
    )
    hop = max(1, hop)
    for first in range(0, n_frames, hop):
        end = min(first + hop, n_frames)
        yield Window(max(0, first - left), first, end, min(n_frames, end + ahead))


class WindowDecoder:
    """A decoder for windows, which it decodes from their own sound alone, in batches.

    Args:
        model: The model with both stages.
        settings: The decoding settings; the precision and the batch size are used.
        lengths: The lengths of the windows.
    """

    def __init__(
        self, model: CodeTalker, settings: DecodeSettings, lengths: LiveWindows | None = None
    ) -> None:
        assert model.speech is not None
        self.vq, self.speech, self.lengths = model.vq, model.speech, lengths or LiveWindows()
        self.fps, self.batch_size = model.settings.data.fps, settings.batch_size
        self.device = model.speech.head.weight.device
        self._is_bf16 = settings.precision == "bf16"
        self._decoder = Decoder(model.speech, model.vq, settings)

    def decode(self, samples: np.ndarray, style: np.ndarray) -> Tensor:
        """Return (T, H) hidden states of stage 1's decoder before its last projection.

        Args:
            samples: (n,) float32 samples at 16 kHz.
            style: (n_styles,) float32 weights of the styles.
        """
        n_frames = int(len(samples) / SAMPLE_RATE * self.fps)
        audio = torch.from_numpy(samples).to(self.device)
        vector = self.style(style)
        # Only windows of the same length share a batch, because encoders may not support padding.
        by_length: dict[int, list[Window]] = defaultdict(list)
        for window in plan_windows(n_frames, self.fps, self.lengths):
            by_length[window.stop - window.start].append(window)
        frames: dict[int, Tensor] = {}
        for windows in by_length.values():
            for k in range(0, len(windows), self.batch_size):
                batch = windows[k : k + self.batch_size]
                for window, hidden in zip(batch, self._decode(audio, batch, vector), strict=True):
                    frames[window.first] = hidden[
                        window.first - window.start : window.end - window.start
                    ]
        return torch.cat([frames[first] for first in sorted(frames)])

    def _decode(self, audio: Tensor, windows: list[Window], style: Tensor) -> Tensor:
        """Return the (B, T, H) hidden states of windows of the same length."""
        n_frames = windows[0].stop - windows[0].start
        n_samples = round(n_frames / self.fps * SAMPLE_RATE)
        starts = [round(window.start / self.fps * SAMPLE_RATE) for window in windows]
        cuts = torch.stack([audio[start : start + n_samples] for start in starts])
        return self.decode_windows(cuts, n_frames, style.expand(len(windows), -1))

    @torch.no_grad()
    def decode_windows(self, cuts: Tensor, n_frames: int, style: Tensor) -> Tensor:
        """Return the (B, n_frames, H) hidden states of windows of sound.

        Args:
            cuts: (B, n) samples at 16 kHz.
            n_frames: The number of frames of each window.
            style: (B, size) style vectors.
        """
        encoder = self.speech.encoder
        with torch.autocast(self.device.type, torch.bfloat16, self._is_bf16):
            features = encode_separately(encoder, encoder.prepare(cuts), n_frames)
        features = features.to(self.speech.head.weight.dtype)
        return self.vq.decode_hidden(self._decoder.decode(features, style))

    @torch.no_grad()
    def style(self, weights: np.ndarray) -> Tensor:
        """Return the (1, size) style vector of (n_styles,) weights."""
        return self.speech.style(torch.from_numpy(weights)[None].to(self.device))

    @torch.no_grad()
    def to_vertices(self, hidden: Tensor, neutral: np.ndarray) -> np.ndarray:
        """Return the (T, V, 3) float32 vertices of (T, H) hidden states."""
        template = torch.from_numpy(neutral)[None].to(self.device)
        return self.vq.to_vertices(hidden[None], template)[0].cpu().numpy()
