"""Decode recordings to codes: encode the speech, cut it, decode in batches, join the segments.

Short recordings and the segments of long ones wait in one queue. Each batch contains segments of
similar length that use the same method; the segments of a recording stay in order, so that its
beginning is known first. A recording is returned as soon as all of its segments are decoded.
"""

import math
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from codetalker_cli.animate.segments import Segment, plan_segments
from codetalker_cli.audio import MIN_SECONDS, SAMPLE_RATE, whole_frames
from codetalker_cli.errors import counted
from codetalker_cli.failures import doing
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.decoding import Decoder, Method
from codetalker_cli.models.speech_encoders.encoder import AudioEncoder
from codetalker_cli.progress import Progress
from codetalker_cli.settings import DecodeSettings
from codetalker_cli.synthetic.speech.phones import Phone

LOOKAHEAD = 4
"""The number of batches in the queue, so that segments of similar length can be combined."""


@dataclass(frozen=True, eq=False)
class Joined:
    """The joined segments of a recording, without the silence before its sound.

    Attributes:
        hidden: (T, H) hidden states of stage 1's decoder before its last projection.
        codes: (T, q) codes.
        n_known: The number of frames from the start that have their final values.
    """

    hidden: Tensor
    codes: Tensor
    n_known: int


@dataclass(eq=False)
class Recording:
    """A recording, with its intermediate results during decoding.

    Attributes:
        key: A number that identifies the recording for the caller.
        samples: (n,) float32 samples at 16 kHz for the speech encoder; short ones are padded, and
            there can be silence before the sound.
        sound: (n,) float32 samples at 16 kHz as recorded; only the level may differ.
        path: The file of the samples, or None.
        subject: The subject whose face is animated.
        style: (n_styles,) float32 weights of the styles.
        phones: The phones of the transcript, or None.
        n_silent: The number of frames of silence before the sound.
        n_silent_samples: The number of its samples.
        segments: The segments, which are decoded separately; none if there is nothing to decode.
        encode: Returns the (n·F, size) encoder features of a segment, by its index, with F
            features per frame.
        outputs: (n, H) hidden states and (n, q) codes of each decoded segment, by its index.
        error: The exception because of which the recording could not be decoded, or None.
    """

    key: int
    samples: np.ndarray
    sound: np.ndarray
    path: Path | None
    subject: str
    style: np.ndarray
    phones: list[Phone] | None = None
    n_silent: int = 0
    n_silent_samples: int = 0
    segments: list[Segment] = field(default_factory=list)
    encode: Callable[[int], Tensor] | None = None
    outputs: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    error: Exception | None = None
    _joined: tuple[Tensor, Tensor] | None = field(default=None, init=False, repr=False)
    _n_joined: int = field(default=0, init=False, repr=False)

    @property
    def n_frames(self) -> int:
        """The number of motion frames T."""
        return self.segments[-1].end

    @property
    def is_done(self) -> bool:
        """Whether all segments are decoded, or one of them cannot be."""
        n_decoded = self._n_joined + len(self.outputs)
        return self.error is not None or n_decoded == len(self.segments)

    def set_speech(self, samples: np.ndarray, silence_seconds: float, fps: float) -> None:
        """Set the samples for the speech encoder, after silence of whole frames."""
        self.n_silent = round(silence_seconds * fps)
        self.n_silent_samples = math.ceil(self.n_silent / fps * SAMPLE_RATE)
        # Encoders and the instance norm of stage 1 need several frames.
        missing = round(MIN_SECONDS * SAMPLE_RATE) - len(samples)
        self.samples = np.pad(samples, (self.n_silent_samples, max(0, missing)))

    def join(self) -> Joined:
        """Join the segments that are decoded so far, with cross-fades.

        Only segments without a gap before them are joined. The arrays of a recording with several
        segments have their final size from the beginning, and are filled in place.
        """
        # The last projection is linear, so blending hidden states also blends the vertices.
        if len(self.segments) == 1:
            hidden, codes = self.outputs[0]
            return Joined(hidden[self.n_silent :], codes[self.n_silent :], len(hidden))
        if self._joined is None:
            hidden, codes = next(iter(self.outputs.values()))
            whole = hidden.new_zeros(self.n_frames, hidden.shape[1])
            self._joined = whole, codes.new_zeros(self.n_frames, codes.shape[1])
        whole, chosen = self._joined
        while self._n_joined in self.outputs:
            segment = self.segments[self._n_joined]
            hidden, codes = self.outputs.pop(self._n_joined)  # frees the memory of the segment
            weights = torch.from_numpy(segment.weights())[:, None]
            whole[segment.start : segment.stop] += weights * hidden
            segment_codes = codes[segment.first - segment.start : segment.end - segment.start]
            chosen[segment.first : segment.end] = segment_codes
            self._n_joined += 1
        k = self._n_joined
        n_known = self.n_frames
        if k < len(self.segments):  # the next segment changes the frames of the cross-fade
            n_known = self.segments[k].first - self.segments[k].fade if k else 0
        return Joined(
            whole[self.n_silent :], chosen[self.n_silent :], max(0, n_known - self.n_silent)
        )


def encode_separately(encoder: AudioEncoder, audio: Tensor, n_frames: int) -> Tensor:
    """Return (B, n·F, size) features of (B, n) samples that end with the last frame."""
    hidden = encoder(audio, n_frames)
    # The last features would need samples beyond the end, so the last one is repeated.
    missing = n_frames * encoder.features_per_frame - hidden.shape[1]
    return torch.cat([hidden, hidden[:, -1:].expand(-1, missing, -1)], dim=1)


@dataclass(frozen=True)
class _SegmentJob:
    recording: Recording
    k: int
    method: Method
    longest: int  # frames of the longest segment of the recording

    @property
    def segment(self) -> Segment:
        return self.recording.segments[self.k]

    def n_shown(self, n_decoded: int) -> int:
        """Return how many frames of the recording are done when ``n_decoded`` frames are decoded.

        Silence before the sound and warm-up do not count.
        """
        segment = self.segment
        n_own = max(0, segment.end - max(segment.first, self.recording.n_silent))
        return round(n_own * min(1.0, n_decoded / segment.n_frames))

    def features(self) -> Tensor:
        """Return the (n·F, size) encoder features."""
        assert self.recording.encode is not None
        return self.recording.encode(self.k)


class BatchDecoder:
    """A decoder that processes several recordings or segments in each batch.

    Threads can share a decoder; their batches are decoded one after the other.

    Args:
        model: The model with both stages.
        settings: The decoding settings.
    """

    def __init__(self, model: CodeTalker, settings: DecodeSettings) -> None:
        assert model.speech is not None
        self.vq, self.speech, self.settings = model.vq, model.speech, settings
        self.fps = model.settings.data.fps
        self._decoder: Decoder | None = None
        # The decoder and its caches are created on first use, and CUDA graphs cannot be captured by
        # two threads at a time. `progress` may animate, too.
        self._lock = threading.RLock()

    @torch.no_grad()
    def prepare(self, recording: Recording) -> None:
        """Cut a recording into segments, and encode its speech where the encoder gets all of it."""
        encoder, settings = self.speech.encoder, self.settings
        per_frame = encoder.features_per_frame
        device = self.speech.head.weight.device
        audio = encoder.prepare(torch.from_numpy(recording.samples)[None].to(device))
        if settings.encoder_context == "segments":
            n_frames = whole_frames(len(recording.samples), SAMPLE_RATE, self.fps)
            recording.segments = plan_segments(recording.samples, n_frames, self.fps, settings)
            if len(recording.segments) > 1:
                # Each segment is encoded with its batch, so that the first frames come soon.
                recording.encode = lambda k: self._encode(audio, recording.segments[k])
                return
        hidden = encoder(audio)[0]
        n_frames = len(hidden) // per_frame
        segments = plan_segments(recording.samples, n_frames, self.fps, settings)
        recording.segments = segments
        recording.encode = lambda k: hidden[
            segments[k].start * per_frame : segments[k].stop * per_frame
        ]

    @torch.no_grad()
    def _encode(self, audio: Tensor, segment: Segment) -> Tensor:
        """Return (n·F, size) features of a segment that is encoded separately."""
        first, last = (round(k / self.fps * SAMPLE_RATE) for k in (segment.start, segment.stop))
        return encode_separately(self.speech.encoder, audio[:, first:last], segment.n_frames)[0]

    def run(
        self,
        recordings: Iterable[Recording],
        progress: Progress | None = None,
        *,
        with_parts: bool = False,
    ) -> Iterator[Recording]:
        """Decode prepared recordings.

        Args:
            recordings: The recordings. The iterable is consumed only as far as needed.
            progress: Called with (frames decoded, frames of all recordings read so far).
            with_parts: Also yield a recording after each batch that contains a part of it.

        Yields:
            Each recording when all of its segments are decoded, not necessarily in input order. If
            that fails, its field ``error`` contains the exception.
        """
        waiting: list[_SegmentJob] = []
        done, known = 0, 0

        def report(now: int) -> None:
            if progress is not None:
                progress(done + now, known)

        def batch() -> Iterator[Recording]:
            nonlocal done
            jobs = self._take(waiting)
            with self._lock:
                self._decode_or_mark(jobs, report)
            waiting[:] = [job for job in waiting if job.recording.error is None]
            done += sum(job.n_shown(job.segment.n_frames) for job in jobs)
            for recording in dict.fromkeys(job.recording for job in jobs):
                if recording.is_done or with_parts:
                    yield recording

        for recording in recordings:
            if recording.is_done:  # it has no segments
                yield recording
            lengths = [segment.n_frames for segment in recording.segments]
            for k, n_frames in enumerate(lengths):
                job = _SegmentJob(recording, k, self._method(recording), max(lengths))
                waiting.append(job)
                known += job.n_shown(n_frames)
            while len(waiting) >= LOOKAHEAD * self.settings.batch_size:
                yield from batch()
        while waiting:
            yield from batch()

    def _decode_or_mark(self, jobs: list[_SegmentJob], report: Callable[[int], None]) -> None:
        """Decode a batch; after an error decode each job alone, so that it costs one recording."""
        try:
            longest = max(job.segment.n_frames for job in jobs)
            with doing(
                f"decoding {counted(len(jobs), 'segment')} of up to {counted(longest, 'frame')}"
            ):
                self._decode(jobs, report)
        except Exception as error:
            # The error keeps the tensors of the batch alive, so it is kept only for a single job.
            if len(jobs) == 1:
                jobs[0].recording.error = error
                return
        else:
            return
        for job in jobs:
            if job.recording.error is None:
                self._decode_or_mark([job], report)

    def _method(self, recording: Recording) -> Method:
        if not self.speech.settings.motion_history:
            return "exact"  # the method has no effect, so all segments can share batches
        if self.settings.method != "auto":
            return self.settings.method
        return "exact" if recording.n_frames <= self.settings.whole_frames else "window"

    def _take(self, waiting: list[_SegmentJob]) -> list[_SegmentJob]:
        """Remove and return a batch: the longest waiting job, and the next ones of its method."""
        # Clips of similar length waste little computation on padding. Segments stay in order.
        waiting.sort(key=lambda job: -job.longest)
        jobs = [job for job in waiting if job.method == waiting[0].method]
        jobs = jobs[: self.settings.batch_size]
        waiting[:] = [job for job in waiting if job not in jobs]
        return jobs

    @torch.no_grad()
    def _decode(self, jobs: list[_SegmentJob], report: Callable[[int], None]) -> None:
        if self._decoder is None:
            self._decoder = Decoder(self.speech, self.vq, self.settings)
        lengths = [job.segment.n_frames for job in jobs]
        features = [job.features() for job in jobs]
        hidden = nn.utils.rnn.pad_sequence(features, batch_first=True)
        weights = np.stack([job.recording.style for job in jobs])
        style = self.speech.style(torch.from_numpy(weights).to(hidden.device))
        codes = self._decoder.decode(
            hidden,
            style,
            method=jobs[0].method,
            lengths=lengths,
            progress=lambda step, _: report(sum(job.n_shown(int(step)) for job in jobs)),
        )
        even = len(set(lengths)) == 1
        hidden_states = self.vq.decode_hidden(
            codes, None if even else torch.tensor(lengths, device=codes.device)
        )
        for k, (job, n) in enumerate(zip(jobs, lengths, strict=True)):
            job.recording.outputs[job.k] = (hidden_states[k, :n].cpu(), codes[k, :n].cpu())
