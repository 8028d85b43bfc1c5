"""Animate live speech: sound goes in as chunks, and frames come out as soon as they are known.

The frames of a hop are decoded together, from a window of sound:

    left context │ hop │ further look-ahead
    ─────────────┴─────┴───────────────────   window of sound

The look-ahead begins with the hop: its first frame is decoded when the sound up to
``lookahead_seconds`` after it has arrived. All windows of a stream have the same length, except
that silence at their start is shortened to that before a recording: after two seconds of it, the
bundled voice misses lip closures. After the last sound, windows contain silence. A motion history
starts empty in each window, so its length is bounded too.
"""

import logging
import time
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from codetalker_cli.animate.live_windows import (
    Decoded,
    HopState,
    LiveWindows,
    Window,
    WindowDecoder,
)
from codetalker_cli.animate.stream_frames import Hop, StreamFace, StreamFrame
from codetalker_cli.animate.stream_head import StreamHead
from codetalker_cli.audio import SAMPLE_RATE, SILENCE_PEAK, whole_frames
from codetalker_cli.audio.inputs import Samples, live_samples
from codetalker_cli.audio.live import LiveSound
from codetalker_cli.easing import smoothstep

REST_SECONDS = 0.2
"""The time in which an interrupted face comes to rest."""
_EASE_FRAMES = 4
"""The number of frames in which a face starts to move after silence, and comes to rest in it."""
_LOAD_MEMORY = 0.1
_LEAST_HOPS = 10
"""The number of hops before a slow model is reported."""

logger = logging.getLogger(__name__)


class Stream:
    """A live animation: a face that follows sound which has not ended.

    The frames are the same for all divisions of the sound into chunks, bit for bit. Their number
    per second of sound, the memory and the time for a frame are constant. A stream can be used by
    one thread at a time. ``Voice.stream`` creates streams.

    Attributes:
        units: The names of the units whose weights the frames contain; empty if unknown.
        fps: The frame rate.
        lookahead_seconds: How much sound after a frame is needed before the frame is known.
        load: The seconds of computation per second of sound, averaged over about ten hops. Above 1,
            the stream cannot keep up with live sound.
        n_dropped: The number of frames that ``drop`` left out.
        moves_head: Whether the head moves.
        head_delay_seconds: How much later than the lips the head follows the sound, because its
            motion needs more sound after a frame; 0 if the head is still.
    """

    def __init__(
        self,
        decoder: WindowDecoder,
        face: StreamFace,
        style: np.ndarray,
        lengths: LiveWindows,
        sampling_rate: int,
    ) -> None:
        self._decoder, self._face = decoder, face
        self._style = decoder.style(style)
        self.fps = decoder.fps
        self._left, self._hop = (
            round(s * self.fps) for s in (lengths.left_seconds, lengths.hop_seconds)
        )
        self._hop = max(1, self._hop)
        self._refresh_hops = max(1, round(decoder.refresh_seconds * self.fps / self._hop))
        lookahead = lengths.hop_seconds + lengths.ahead_seconds
        self._ahead = max(self._hop, round(lookahead * self.fps))
        self.lookahead_seconds = self._ahead / self.fps
        self.units = () if face.solver is None else face.solver.names
        self._n_samples = self._at(self._left + self._ahead)
        self._rate = sampling_rate
        self._head: StreamHead | None = None
        if face.head_seed is not None:
            # The last frame of a hop has the least sound after it.
            known_seconds = (self._ahead - self._hop + 1) / self.fps
            self._head = StreamHead(face.head_seed, self.fps, known_seconds)
        self.moves_head = self._head is not None
        self.head_delay_seconds = 0.0 if self._head is None else self._head.delay_seconds
        self.reset()

    def __repr__(self) -> str:
        """Return the position and the look-ahead."""
        return (
            f"<Stream at {self._origin + self._next} frames, {self.fps:g} fps, look-ahead "
            f"{self.lookahead_seconds:.3f} s>"
        )

    def reset(self) -> None:
        """Return to the state of a new stream; sound that is not animated yet is dropped."""
        self.load, self.n_dropped, self._n_hops, self._is_reported = 0.0, 0, 0, False
        self._origin = 0
        if self._head is not None:
            self._head.reset()
        self._last: tuple[torch.Tensor | None, float] = (None, 0.0)
        self._begin()

    def _begin(self) -> None:
        """Begin a new utterance at frame ``_origin``."""
        self._input = LiveSound(self._rate)
        self._next = 0  # the next frame of the utterance
        self._is_last = False
        self._state: HopState | None = None
        # The sound from sample ``_kept`` of the utterance on; before it, there is silence.
        self._kept = -self._at(self._left)
        self._sound = np.zeros(-self._kept, np.float32)
        self._leveled = self._sound

    def _at(self, frame: int) -> int:
        return round(frame / self.fps * SAMPLE_RATE)

    def feed(self, samples: Samples) -> list[StreamFrame]:
        """Take the next samples, and return the frames that are known now.

        Args:
            samples: (n,) or (n, channels) samples of any length, of any type that
                ``Voice.animate`` accepts, at the rate of the stream.

        Raises:
            InputError: The samples have another form, or contain NaN or infinite values. The stream
                does not change and can be used further.
        """
        self.push(samples)
        return self._run()

    def finish(self) -> list[StreamFrame]:
        """End the sound, and return the remaining frames.

        Further samples begin a new utterance, whose frames follow those of this one.
        """
        self.push(np.zeros(0, np.float32), is_last=True)
        return self._run()

    def interrupt(self) -> list[StreamFrame]:
        """Drop the sound that is not animated yet, and return frames that bring the face to rest.

        Further samples begin a new utterance after these frames, ``REST_SECONDS`` later.
        """
        n = max(1, round(REST_SECONDS * self.fps))
        hidden, scale = self._last
        falling = scale * (1 - smoothstep(np.arange(1, n + 1) / n))
        first = self._origin + self._next
        rows = None if hidden is None else hidden.expand(n, -1)
        sound = [np.zeros(self._at(k + 1) - self._at(k), np.float32) for k in range(n)]
        head = None if self._head is None else self._head.rest(n)
        frames = self._frames(first, rows, falling, sound, head)
        self._origin = first + n
        self._begin_next()
        return frames

    def _run(self) -> list[StreamFrame]:
        frames: list[StreamFrame] = []
        while self.is_due:
            frames += advance([self])[0]
        return frames

    # For several streams ---------------------------------------------------------------------

    def push(self, samples: Samples, *, is_last: bool = False) -> None:
        """Take the next samples, but decode nothing yet; see ``advance``.

        Args:
            samples: As for ``feed``.
            is_last: Whether the sound ends with these samples.

        Raises:
            InputError: As for ``feed``.
        """
        sound, leveled = self._input.add(live_samples(samples), is_last=is_last)
        self._sound = np.concatenate([self._sound, sound])
        self._leveled = np.concatenate([self._leveled, leveled])
        if self._head is not None:
            self._head.add(leveled, is_last=is_last)
        self._is_last = is_last
        if is_last and not self._n_left:
            self._end()

    @property
    def is_due(self) -> bool:
        """Whether a hop can be decoded."""
        return self._n_left > 0 if self._is_last else self.backlog_seconds >= 0

    @property
    def backlog_seconds(self) -> float:
        """The seconds of sound beyond what the next hop needs; negative if it is not known yet."""
        stop = self._at(self._next - self._left) + self._n_samples
        return (self._kept + len(self._sound) - stop) / SAMPLE_RATE

    @property
    def _n_left(self) -> int:
        """The number of frames until the end of the sound so far."""
        return whole_frames(self._kept + len(self._sound), SAMPLE_RATE, self.fps) - self._next

    def drop(self, max_seconds: float) -> int:
        """Skip whole hops until the backlog is at most ``max_seconds``.

        Returns:
            The number of frames that are left out. The indices of further frames do not change.
        """
        excess = (self.backlog_seconds - max_seconds) * self.fps
        n = max(0, -int(-excess // self._hop)) * self._hop if excess > 0 else 0
        if n:
            self._skip(n)
            self._state = None
        self.n_dropped += n
        return n

    def _skip(self, n_frames: int) -> None:
        """Move on, and forget the sound that no later window contains."""
        self._next += n_frames
        start = self._at(self._next - self._left)
        passed = min(max(0, start - self._kept), len(self._sound))
        self._sound, self._leveled = self._sound[passed:], self._leveled[passed:]
        self._kept += passed

    def _end(self) -> None:
        self._origin += self._next
        self._begin_next()

    def _begin_next(self) -> None:
        self._begin()
        if self._head is not None:
            self._head.begin()

    def _window(self) -> Window | None:
        """Return the window of the next hop, or None if it is silent."""
        start = self._at(self._next - self._left) - self._kept
        window = self._leveled[start : start + self._n_samples]
        loud = np.abs(window) >= SILENCE_PEAK
        if not loud.any():
            return None
        first = whole_frames(int(np.argmax(loud)), SAMPLE_RATE, self.fps) - self._decoder.n_silent
        left = max(0, min(self._left, self._left - first))
        n_frames = left + self._ahead
        n_samples = self._at(n_frames)
        window = np.pad(window, (0, self._n_samples - len(window)))[self._n_samples - n_samples :]
        starts_over = self._next // self._hop % self._refresh_hops == 0
        state = None if starts_over else self._state
        return Window(window, self._next - left, left, n_frames, self._style, state)

    def _accept(self, decoded: Decoded | None, left: int = 0) -> list[StreamFrame]:
        """Return the frames of the next hop.

        Args:
            decoded: Its decoded window; None: the window is silent.
            left: The number of frames of the window before the hop.
        """
        n = min(self._hop, self._n_left) if self._is_last else self._hop
        before, steps = self._last[1], np.arange(1, n + 1) / _EASE_FRAMES
        self._state = None if decoded is None else decoded.state
        if decoded is not None:
            # A clone does not keep the window and its batch in memory.
            rows: torch.Tensor | None = decoded.hidden[left : left + n].clone()
            scale = np.minimum(1.0, before + steps)
        else:
            rows = None if self._last[0] is None else self._last[0].expand(n, -1)
            scale = np.maximum(0.0, before - steps)
        edges = [self._at(self._next + k) - self._kept for k in range(n + 1)]
        sound = [self._sound[a:b].copy() for a, b in pairwise(edges)]
        head = None if self._head is None else self._head.rotation(self._next, n)
        frames = self._frames(self._origin + self._next, rows, scale, sound, head)
        self._skip(n)
        if self._is_last and not self._n_left:
            self._end()
        return frames

    def _frames(
        self,
        first: int,
        hidden: torch.Tensor | None,
        scale: np.ndarray,
        sound: Sequence[np.ndarray],
        head: np.ndarray | None,
    ) -> list[StreamFrame]:
        if head is None:
            head = np.zeros((len(sound), 3), np.float32)
        hop = Hop(self._decoder, self._face, first, hidden, scale.astype(np.float32), head)
        self._last = (None, 0.0)
        if hidden is not None and scale[-1] > 0:
            self._last = (hidden[-1:].clone(), float(scale[-1]))
        return [
            StreamFrame(first + k, (first + k) / self.fps, samples, hop, k)
            for k, samples in enumerate(sound)
        ]

    def _count(self, seconds: float) -> None:
        """Take the time of a hop into account."""
        load = seconds * self.fps / self._hop
        self._n_hops += 1
        self.load += max(_LOAD_MEMORY, 1 / self._n_hops) * (load - self.load)
        if self.load > 1 and self._n_hops == _LEAST_HOPS and not self._is_reported:
            self._is_reported = True
            logger.warning(
                "the model needs %.1f s for a second of sound on this device, so a live stream "
                "falls behind and drops frames",
                self.load,
            )


def advance(streams: Sequence[Stream]) -> list[list[StreamFrame]]:
    """Decode the next hop of each stream that has one, in batches.

    Args:
        streams: Streams of the same voice.

    Returns:
        The frames of each stream; none for a stream that is not due.
    """
    results: list[list[StreamFrame]] = [[] for _ in streams]
    windows: dict[int, Window] = {}
    for k, stream in enumerate(streams):
        if not stream.is_due:
            continue
        window = stream._window()
        if window is None:
            results[k] = stream._accept(None)
        else:
            windows[k] = window
    if not windows:
        return results
    start = time.perf_counter()
    decoded = streams[0]._decoder.decode(list(windows.values()))
    seconds = (time.perf_counter() - start) / len(windows)
    for (k, window), result in zip(windows.items(), decoded, strict=True):
        results[k] = streams[k]._accept(result, window.left)
        streams[k]._count(seconds)
    return results
