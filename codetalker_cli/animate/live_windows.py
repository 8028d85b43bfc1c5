"""Decode the windows of sound of live streams."""

import math
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from torch import Tensor

from codetalker_cli.animate.batch_decoding import encode_separately
from codetalker_cli.audio import MIN_SECONDS
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


class WindowDecoder:
    """A decoder for windows, which it decodes from their own sound alone, in batches.

    Args:
        model: The model with both stages.
        settings: The decoding settings; the precision and the initial silence are used.

    Attributes:
        fps: The frame rate.
        device: The device of the model.
        n_silent: The number of frames of silence that a window may start with.
    """

    def __init__(self, model: CodeTalker, settings: DecodeSettings) -> None:
        assert model.speech is not None
        self.vq, self.speech = model.vq, model.speech
        self.fps = model.settings.data.fps
        self.device = model.speech.head.weight.device
        seconds = max(settings.initial_silence_seconds, MIN_SECONDS)
        self.n_silent = math.ceil(seconds * self.fps)
        self._is_bf16 = settings.precision == "bf16"
        self._decoder = Decoder(model.speech, model.vq, settings)

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
