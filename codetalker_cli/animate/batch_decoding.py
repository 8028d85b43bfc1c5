"""Recordings → codes with a trained model: encode, cut, decode in batches, join.

Recordings and segments of long ones share one queue. They are decoded in batches of similar
lengths, each with its own method. A recording is returned as soon as all its segments are done.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from codetalker_cli.animate.segments import Segment, plan_segments
from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.models.decoding import Decoder, Method
from codetalker_cli.progress import Progress
from codetalker_cli.settings import DecodeSettings

LOOKAHEAD = 4
"""Batches that wait, so that clips of like length find each other."""


@dataclass(eq=False)
class Recording:
    """Speech on its way to codes.

    Attributes:
        key: Whatever the caller knows it by.
        samples: (n,) float32 at 16 kHz for the encoder.
        sound: (n,) float32 at 16 kHz as recorded; differs in level from ``samples``.
        path: Where they came from, or None.
        subject: Whose face.
        style: (n_styles,) float32 weights.
        segments: The parts that are decoded one by one.
        features: (n·F, size) encoder features of each segment.
        outputs: (n, H) hidden states and (n, q) codes of each segment that is done.
    """

    key: int
    samples: np.ndarray
    sound: np.ndarray
    path: Path | None
    subject: str
    style: np.ndarray
    segments: list[Segment] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    outputs: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    @property
    def n_frames(self) -> int:
        """T."""
        return self.segments[-1].end

    @property
    def is_done(self) -> bool:
        """Whether all segments are decoded."""
        return len(self.outputs) == len(self.segments)

    def join(self) -> tuple[Tensor, np.ndarray]:
        """(T, H) hidden states of stage 1's decoder before its last projection, (T, q) int32 codes.

        That projection is linear, so a cross-fade of hidden states is one of vertices.
        """
        hidden, codes = self.outputs[0]
        if len(self.segments) > 1:
            whole = hidden.new_zeros(self.n_frames, hidden.shape[1])
            chosen = codes.new_zeros(self.n_frames, codes.shape[1])
            for k, segment in enumerate(self.segments):
                hidden, codes = self.outputs.pop(k)
                weights = torch.from_numpy(segment.weights())[:, None]
                whole[segment.start : segment.stop] += weights * hidden
                segment_codes = codes[segment.first - segment.start : segment.end - segment.start]
                chosen[segment.first : segment.end] = segment_codes
            hidden, codes = whole, chosen
        return hidden, codes.int().numpy()


@dataclass(frozen=True)
class _SegmentJob:
    recording: Recording
    k: int
    method: Method

    @property
    def segment(self) -> Segment:
        return self.recording.segments[self.k]


class BatchDecoder:
    """Decodes many recordings with one model.

    Args:
        model: Both stages, on their device.
        settings: How to decode.
    """

    def __init__(self, model: CodeTalker, settings: DecodeSettings) -> None:
        assert model.speech is not None
        self.vq, self.speech, self.settings = model.vq, model.speech, settings
        self.fps = model.settings.data.fps
        self._decoder: Decoder | None = None

    @torch.no_grad()
    def prepare(self, recording: Recording) -> None:
        """Encode the speech of a recording and cut it into segments."""
        encoder, settings = self.speech.encoder, self.settings
        per_frame = encoder.features_per_frame
        device = self.speech.head.weight.device
        audio = encoder.prepare(torch.from_numpy(recording.samples)[None].to(device))
        if settings.encoder_context == "segments":
            n_frames = int(len(recording.samples) / SAMPLE_RATE * self.fps)
            recording.segments = plan_segments(recording.samples, n_frames, self.fps, settings)
            if len(recording.segments) > 1:
                recording.features = [
                    self._encode(audio, segment) for segment in recording.segments
                ]
                return
        hidden = encoder(audio)[0]
        n_frames = len(hidden) // per_frame
        recording.segments = plan_segments(recording.samples, n_frames, self.fps, settings)
        recording.features = [
            hidden[p.start * per_frame : p.stop * per_frame] for p in recording.segments
        ]

    def _encode(self, audio: Tensor, segment: Segment) -> Tensor:
        """(n·F, size) encoder features of a segment that is encoded by itself."""
        first, last = (round(k / self.fps * SAMPLE_RATE) for k in (segment.start, segment.stop))
        encoder = self.speech.encoder
        hidden = encoder(audio[:, first:last], segment.n_frames)[0]
        # Of several features a frame the last few would need samples beyond the segment.
        missing = segment.n_frames * encoder.features_per_frame - len(hidden)
        return torch.cat([hidden, hidden[-1:].expand(missing, -1)])

    def run(
        self, recordings: Iterable[Recording], progress: Progress | None = None
    ) -> Iterator[Recording]:
        """Decode prepared recordings; each comes back when it is done, not always in their order.

        Args:
            recordings: Taken as they are needed.
            progress: Called with (frames decoded, frames known so far).
        """
        waiting: list[_SegmentJob] = []
        done, known = 0, 0

        def report(now: int) -> None:
            if progress is not None:
                progress(done + now, known)

        def batch() -> Iterator[Recording]:
            nonlocal done
            jobs = self._take(waiting)
            self._decode(jobs, report)
            done += sum(job.segment.n_frames for job in jobs)
            for recording in dict.fromkeys(job.recording for job in jobs):
                if recording.is_done:
                    yield recording

        for recording in recordings:
            for k, segment in enumerate(recording.segments):
                waiting.append(_SegmentJob(recording, k, self._method(recording)))
                known += segment.n_frames
            while len(waiting) >= LOOKAHEAD * self.settings.batch_size:
                yield from batch()
        while waiting:
            yield from batch()

    def _method(self, recording: Recording) -> Method:
        if self.settings.method != "auto":
            return self.settings.method
        return "exact" if recording.n_frames <= self.settings.whole_frames else "window"

    def _take(self, waiting: list[_SegmentJob]) -> list[_SegmentJob]:
        """The longest job that waits and those like it, at most a batch."""
        waiting.sort(key=lambda job: -job.segment.n_frames)
        jobs = [job for job in waiting if job.method == waiting[0].method]
        jobs = jobs[: self.settings.batch_size]
        waiting[:] = [job for job in waiting if job not in jobs]
        return jobs

    @torch.no_grad()
    def _decode(self, jobs: list[_SegmentJob], report: Callable[[int], None]) -> None:
        if self._decoder is None:
            self._decoder = Decoder(self.speech, self.vq, self.settings)
        lengths = [job.segment.n_frames for job in jobs]
        features = [job.recording.features[job.k] for job in jobs]
        hidden = nn.utils.rnn.pad_sequence(features, batch_first=True)
        weights = np.stack([job.recording.style for job in jobs])
        style = self.speech.style(torch.from_numpy(weights).to(hidden.device))
        codes = self._decoder.decode(
            hidden,
            style,
            method=jobs[0].method,
            lengths=lengths,
            progress=lambda step, _: report(sum(min(n, int(step)) for n in lengths)),
        )
        even = len(set(lengths)) == 1
        hidden_states = self.vq.decode_hidden(
            codes, None if even else torch.tensor(lengths, device=codes.device)
        )
        for k, (job, n) in enumerate(zip(jobs, lengths, strict=True)):
            job.recording.outputs[job.k] = (hidden_states[k, :n].cpu(), codes[k, :n].cpu())
