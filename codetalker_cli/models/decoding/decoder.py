"""Speech features → codes, free-running: each frame is told the model's own past.

Both halves of a step stand beside this module: :mod:`speech_steps` and :mod:`motion_steps`. A step
reads nothing back from the device and has shapes that depend on ``n`` alone; see :mod:`graphs`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from codetalker_cli.models.decoding.cuda_graphs import STRIDE, Graphs, rounded
from codetalker_cli.models.decoding.motion_cache import MotionDecoderCache, MotionState, Window
from codetalker_cli.models.decoding.speech_cache import SpeechDecoderCache, SpeechState
from codetalker_cli.models.speech_to_codes import SpeechToCodes
from codetalker_cli.models.vq_autoencoder import MotionVQ
from codetalker_cli.progress import Progress
from codetalker_cli.settings import DecodeSettings

Method = Literal["exact", "window"]
_CPU_STRIDE = 8
"""oneDNN makes a kernel for every new number of rows, which takes longer than some rows more."""


@dataclass
class _DecodingState:
    """A batch that is being decoded.

    Attributes:
        speech, motion: The caches of stage 2 and of stage 1.
        codes: (B, C, q) int64, the codes predicted so far.
        frame: (1,) int64, the number of the next frame.
        past: (B, C, q) int64 codes that replace the predicted ones as the motion history; None
            when decoding runs freely.
    """

    speech: SpeechState
    motion: MotionState
    codes: Tensor
    frame: Tensor
    past: Tensor | None

    def of(self, n: int) -> "_DecodingState":
        """Views of the first ``n`` clips."""
        past = None if self.past is None else self.past[:n]
        return _DecodingState(
            self.speech.of(n), self.motion.of(n), self.codes[:n], self.frame, past
        )

    def clear(self) -> None:
        """Back before the first frame; the speech stays. (Keys and values are overwritten.)"""
        self.speech.previous.zero_()
        self.motion.clear()
        self.frame.zero_()


class Decoder:
    """Both stages made ready for decoding: weights laid out, projections joined.

    It holds copies: a model that is trained on needs a new one.

    Args:
        speech: Stage 2.
        vq: Stage 1.
        settings: Window, precision, graphs; the method is chosen with each call.

    Attributes:
        uses_graphs: Whether each step is replayed as a CUDA graph.
        stride: A step looks at a multiple of so many frames, those to come masked.
    """

    def __init__(
        self, speech: SpeechToCodes, vq: MotionVQ, settings: DecodeSettings | None = None
    ) -> None:
        self.settings = settings or DecodeSettings()
        self.vq = vq
        on_cuda = speech.head.weight.device.type == "cuda"
        self.uses_graphs = on_cuda and self.settings.cuda_graphs
        self.stride = STRIDE if self.uses_graphs else _CPU_STRIDE
        self._dtype = torch.bfloat16 if self.settings.precision == "bf16" else None
        self._steps: dict[Method, MotionDecoderCache] = {}
        with torch.no_grad():
            self.speech = SpeechDecoderCache(speech, vq, self._dtype)

    def motion(self, method: Method) -> MotionDecoderCache:
        """Stage 1's half of a step."""
        if method not in self._steps:
            window = Window(self.settings.window_frames, self.settings.refresh_frames)
            self._steps[method] = MotionDecoderCache(
                self.vq.decoder, window if method == "window" else None, self._dtype
            )
        return self._steps[method]

    def decode(
        self,
        hidden: Tensor,
        style: Tensor,
        *,
        method: Method = "exact",
        lengths: Sequence[int] | None = None,
        past_codes: Tensor | None = None,
        progress: Progress | None = None,
    ) -> Tensor:
        """Codes (B, T, q) int64 of a batch of clips.

        Args:
            hidden: (B, T·F, size) encoder features.
            style: (B, D) style vectors.
            method: ``exact`` gives what recomputing everything gives; ``window`` comes near it in
                constant time a frame.
            lengths: Frames of each clip when they differ, each at least 1; codes beyond a clip's
                end are 0.
            past_codes: (B, T, q) int64. Each frame is predicted from these codes of the frames
                before it (teacher forcing) instead of from the predicted ones.
            progress: Called with (frames done, frames of the longest clip).
        """
        n_frames = hidden.shape[1] // self.speech.settings.features_per_frame
        given = [n_frames] * len(hidden) if lengths is None else list(lengths)
        # Clips that have ended fall off the end of the batch.
        order = sorted(range(len(given)), key=lambda k: -given[k])
        sizes = sorted(given, reverse=True)
        at = torch.tensor(order, device=hidden.device)
        with torch.inference_mode():
            past = None if past_codes is None else past_codes[at]
            codes = self._decode(hidden[at], style[at], past, sizes, n_frames, method, progress)
        made = torch.empty_like(codes)  # outside: a tensor that training may use
        made[at] = codes
        return made

    def _decode(
        self,
        hidden: Tensor,
        style: Tensor,
        past: Tensor | None,
        sizes: list[int],
        n_frames: int,
        method: Method,
        progress: Progress | None,
    ) -> Tensor:
        steps = self.motion(method)
        run = self._begin(hidden, style, rounded(n_frames, self.stride), steps, past)
        graphs = None
        if self.uses_graphs:
            step = partial(self._step, run, steps)
            graphs = Graphs(step, run.clear, sizes[0], hidden.device)
        active, view = len(sizes), run
        for i in range(sizes[0]):
            n = rounded(i + 1, self.stride)
            if graphs is not None:
                graphs.replay(n)
            else:
                while sizes[active - 1] <= i:
                    active -= 1
                    view = run.of(active)
                self._step(view, steps, n)
            if progress is not None:
                progress(i + 1, sizes[0])
        ends = torch.tensor(sizes, device=hidden.device)[:, None, None]
        beyond = torch.arange(n_frames, device=hidden.device)[None, :, None] >= ends
        return run.codes[:, :n_frames].masked_fill(beyond, 0)

    def _begin(
        self,
        hidden: Tensor,
        style: Tensor,
        capacity: int,
        steps: MotionDecoderCache,
        past: Tensor | None = None,
    ) -> _DecodingState:
        q = self.vq.settings.codes_per_frame
        codes = torch.zeros(len(hidden), capacity, q, dtype=torch.int64, device=hidden.device)
        if past is not None:
            # A graph looks at the whole capacity, so the history has to be as long.
            past = torch.cat([past, codes[:, past.shape[1] :]], dim=1)
        return _DecodingState(
            speech=self.speech.state(hidden, style, capacity),
            motion=steps.state(len(hidden), capacity, style),
            codes=codes,
            frame=torch.zeros(1, dtype=torch.int64, device=hidden.device),
            past=past,
        )

    def _step(self, run: _DecodingState, steps: MotionDecoderCache, n: int) -> None:
        """One frame on; ``n`` is the number of frames to look at, the new one included or more."""
        latents = self.speech.step(run.speech, run.frame, n)
        codes = self.vq.nearest(latents)
        run.codes.index_copy_(1, run.frame, codes)
        mask = _mask(run.frame, n, latents) if self.stride > 1 else None
        if run.past is not None:
            codes = run.past.index_select(1, run.frame)
        row = steps.step(run.motion, self.vq.dequantize(codes), run.frame, n, mask)
        self.speech.set_previous(run.speech, row)
        run.frame.add_(1)


def _mask(frame: Tensor, n: int, like: Tensor) -> Tensor:
    """(1, n) zero for frames up to ``frame``, −∞ beyond."""
    later = torch.arange(n, device=frame.device)[None] > frame
    return like.new_zeros(1, n).masked_fill(later, float("-inf"))
