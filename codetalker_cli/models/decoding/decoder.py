"""Speech features → codes, free-running: each frame is told the model's own past.

Both halves of a step stand beside this module: ``speech_cache`` and ``motion_cache``. A step
reads nothing back from the device and has shapes that depend on ``n`` alone; see
``cuda_graphs``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from codetalker_cli.models.decoding.cuda_graphs import STRIDE, StepGraphs, round_up
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
        speech_cache, motion_cache: The caches of stage 2 and of stage 1.
        codes: The codes predicted so far.
        frame: The number of the next frame.
        past: Codes that replace the predicted ones as the motion history; None when decoding runs
            freely.
    """

    speech_cache: SpeechState
    motion_cache: MotionState
    codes: Int64[Tensor, "batch capacity codes_per_frame"]
    frame: Int64[Tensor, "1"]
    past: Int64[Tensor, "batch capacity codes_per_frame"] | None

    def first(self, n: int) -> "_DecodingState":
        """Views of the first ``n`` clips."""
        past = None if self.past is None else self.past[:n]
        return _DecodingState(
            self.speech_cache.first(n), self.motion_cache.first(n), self.codes[:n], self.frame, past
        )

    def clear(self) -> None:
        """Back before the first frame; the speech stays. (Keys and values are overwritten.)"""
        self.speech_cache.previous.zero_()
        self.motion_cache.clear()
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
        self._motion_caches: dict[Method, MotionDecoderCache] = {}
        with torch.no_grad():
            self.speech_cache = SpeechDecoderCache(speech, vq, self._dtype)

    def motion_cache(self, method: Method) -> MotionDecoderCache:
        """Stage 1's half of a step."""
        if method not in self._motion_caches:
            window = Window(self.settings.window_frames, self.settings.refresh_frames)
            self._motion_caches[method] = MotionDecoderCache(
                self.vq.decoder, window if method == "window" else None, self._dtype
            )
        return self._motion_caches[method]

    def decode(
        self,
        hidden: Float[Tensor, "batch features encoder_size"],
        style: Float[Tensor, "batch size"],
        *,
        method: Method = "exact",
        lengths: Sequence[int] | None = None,
        past_codes: Int64[Tensor, "batch frames codes_per_frame"] | None = None,
        progress: Progress | None = None,
    ) -> Int64[Tensor, "batch frames codes_per_frame"]:
        """Decode a batch of clips to codes.

        Args:
            hidden: Encoder features.
            style: Style vectors.
            method: ``exact`` gives what recomputing everything gives; ``window`` comes near it in
                constant time a frame.
            lengths: Frames of each clip when they differ, each at least 1; codes beyond a clip's
                end are 0.
            past_codes: Each frame is predicted from these codes of the frames
                before it (teacher forcing) instead of from the predicted ones.
            progress: Called with (frames done, frames of the longest clip).
        """
        n_frames = hidden.shape[1] // self.speech_cache.settings.features_per_frame
        clip_lengths = [n_frames] * len(hidden) if lengths is None else list(lengths)
        # Clips that have ended fall off the end of the batch.
        sorted_clips = sorted(range(len(clip_lengths)), key=lambda k: -clip_lengths[k])
        sorted_lengths = sorted(clip_lengths, reverse=True)
        permutation = torch.tensor(sorted_clips, device=hidden.device)
        with torch.inference_mode():
            past = None if past_codes is None else past_codes[permutation]
            codes = self._decode(
                hidden[permutation],
                style[permutation],
                past,
                sorted_lengths,
                n_frames,
                method,
                progress,
            )
        output = torch.empty_like(codes)  # outside: a tensor that training may use
        output[permutation] = codes
        return output

    def _decode(
        self,
        hidden: Tensor,
        style: Tensor,
        past: Tensor | None,
        lengths: list[int],
        n_frames: int,
        method: Method,
        progress: Progress | None,
    ) -> Tensor:
        motion_cache = self.motion_cache(method)
        state = self._initial_state(
            hidden, style, round_up(n_frames, self.stride), motion_cache, past
        )
        graphs = None
        if self.uses_graphs:
            step = partial(self._step, state, motion_cache)
            graphs = StepGraphs(step, state.clear, lengths[0], hidden.device)
        n_active, view = len(lengths), state
        for i in range(lengths[0]):
            n = round_up(i + 1, self.stride)
            if graphs is not None:
                graphs.replay(n)
            else:
                while lengths[n_active - 1] <= i:
                    n_active -= 1
                    view = state.first(n_active)
                self._step(view, motion_cache, n)
            if progress is not None:
                progress(i + 1, lengths[0])
        ends = torch.tensor(lengths, device=hidden.device)[:, None, None]
        padding = torch.arange(n_frames, device=hidden.device)[None, :, None] >= ends
        return state.codes[:, :n_frames].masked_fill(padding, 0)

    def _initial_state(
        self,
        hidden: Tensor,
        style: Tensor,
        capacity: int,
        motion_cache: MotionDecoderCache,
        past: Tensor | None = None,
    ) -> _DecodingState:
        q = self.vq.settings.codes_per_frame
        codes = torch.zeros(len(hidden), capacity, q, dtype=torch.int64, device=hidden.device)
        if past is not None:
            # A graph looks at the whole capacity, so the history has to be as long.
            past = torch.cat([past, codes[:, past.shape[1] :]], dim=1)
        return _DecodingState(
            speech_cache=self.speech_cache.state(hidden, style, capacity),
            motion_cache=motion_cache.state(len(hidden), capacity, style),
            codes=codes,
            frame=torch.zeros(1, dtype=torch.int64, device=hidden.device),
            past=past,
        )

    def _step(self, state: _DecodingState, motion_cache: MotionDecoderCache, n: int) -> None:
        """One frame on; ``n`` is the number of frames to look at, the new one included or more."""
        latents = self.speech_cache.step(state.speech_cache, state.frame, n)
        codes = self.vq.nearest(latents)
        state.codes.index_copy_(1, state.frame, codes)
        mask = _future_mask(state.frame, n, latents) if self.stride > 1 else None
        if state.past is not None:
            codes = state.past.index_select(1, state.frame)
        hidden = motion_cache.step(
            state.motion_cache, self.vq.dequantize(codes), state.frame, n, mask
        )
        self.speech_cache.set_previous(state.speech_cache, hidden)
        state.frame.add_(1)


def _future_mask(frame: Tensor, n: int, like: Tensor) -> Tensor:
    """(1, n) zero for frames up to ``frame``, −∞ beyond."""
    future = torch.arange(n, device=frame.device)[None] > frame
    return like.new_zeros(1, n).masked_fill(future, float("-inf"))
