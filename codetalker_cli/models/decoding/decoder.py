"""Free-running decoding of encoder features to codes.

Each step combines ``speech_cache`` and ``motion_cache``. A step copies nothing to the host, and its
shapes depend only on ``n``, the number of frames to attend to. ``cuda_graphs`` relies on these two
properties.

A model without a motion history needs no steps: it decodes all frames in one parallel pass.
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
# oneDNN compiles a kernel for each new number of frames, which takes longer than computing a few
# extra frames that are masked.
_CPU_STRIDE = 8


@dataclass
class _DecodingState:
    """The state of a batch during decoding.

    Attributes:
        speech_cache, motion_cache: The caches of stage 2 and of stage 1.
        codes: The codes predicted so far.
        frame: The number of the next frame.
        past: The codes that replace the predicted ones in the motion history (teacher forcing), or
            None in free-running decoding.
    """

    speech_cache: SpeechState
    motion_cache: MotionState
    codes: Int64[Tensor, "batch capacity codes_per_frame"]
    frame: Int64[Tensor, "1"]
    past: Int64[Tensor, "batch capacity codes_per_frame"] | None

    def first(self, n: int) -> "_DecodingState":
        """Return views of the first ``n`` clips."""
        past = None if self.past is None else self.past[:n]
        return _DecodingState(
            self.speech_cache.first(n), self.motion_cache.first(n), self.codes[:n], self.frame, past
        )

    def clear(self) -> None:
        """Reset to before the first frame, but keep the encoder features."""
        # The keys and values need no reset: they are overwritten before they are read.
        self.speech_cache.previous.zero_()
        self.motion_cache.clear()
        self.frame.zero_()


class Decoder:
    """The decoder for encoder features, with both stages prepared for fast inference.

    With a motion history, it contains optimized copies of the weights. After further training of
    the model, create a new decoder.

    Args:
        speech: Stage 2, in evaluation mode.
        vq: Stage 1.
        settings: The window, the precision and the use of CUDA graphs. The method is an argument of
            ``decode``. Without a motion history, only the precision has an effect.

    Attributes:
        uses_graphs: Whether each step is replayed as a CUDA graph.
        stride: The number of frames that a step attends to is a multiple of this number.
    """

    def __init__(
        self, speech: SpeechToCodes, vq: MotionVQ, settings: DecodeSettings | None = None
    ) -> None:
        self.settings = settings or DecodeSettings()
        self.vq = vq
        on_cuda = speech.head.weight.device.type == "cuda"
        self.uses_graphs = on_cuda and self.settings.cuda_graphs and speech.settings.motion_history
        self.stride = STRIDE if self.uses_graphs else _CPU_STRIDE
        self._dtype = torch.bfloat16 if self.settings.precision == "bf16" else None
        self._motion_caches: dict[Method, MotionDecoderCache] = {}
        self._speech = speech
        self._speech_cache: SpeechDecoderCache | None = None
        if speech.settings.motion_history:
            with torch.no_grad():
                self._speech_cache = SpeechDecoderCache(speech, vq, self._dtype)

    @property
    def speech_cache(self) -> SpeechDecoderCache:
        """The stage-2 part of a step; only models with a motion history have one."""
        assert self._speech_cache is not None
        return self._speech_cache

    def motion_cache(self, method: Method) -> MotionDecoderCache:
        """Return the stage-1 part of a step for ``method``, creating it on first use."""
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
            hidden: The encoder features.
            style: The style vectors.
            method: ``exact`` gives the same result as recomputing all frames at each step.
                ``window`` approximates it in constant time per frame. Without a motion history,
                both give the result of the model's forward pass.
            lengths: The number of frames of each clip, at least 1; None if there is no padding.
                The codes of the padding are 0.
            past_codes: Codes that replace the predicted ones in the motion history (teacher
                forcing). They have no effect without a motion history.
            progress: Called with (frames done, frames of the longest clip).
        """
        n_frames = hidden.shape[1] // self._speech.settings.features_per_frame
        clip_lengths = [n_frames] * len(hidden) if lengths is None else list(lengths)
        if self._speech_cache is None:
            codes = self._decode_at_once(hidden, style, clip_lengths)
            if progress is not None:
                progress(max(clip_lengths), max(clip_lengths))
            return codes
        # Sort by length, so that the clips still running are always the first ones of the batch.
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
        # This is outside inference mode, because training cannot use inference tensors.
        output = torch.empty_like(codes)
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
        if self.uses_graphs:  # graphs have fixed shapes, so they always process the whole batch
            step = partial(self._step, state, motion_cache)
            graphs = StepGraphs(step, state.clear, lengths[0], hidden.device)
        n_active, view = len(lengths), state
        for i in range(lengths[0]):
            n = round_up(i + 1, self.stride)
            if graphs is not None:
                graphs.replay(n)
            else:
                while lengths[n_active - 1] <= i:  # drop the clips that have ended
                    n_active -= 1
                    view = state.first(n_active)
                self._step(view, motion_cache, n)
            if progress is not None:
                progress(i + 1, lengths[0])
        return _without_padding(state.codes[:, :n_frames], lengths)

    @torch.no_grad()
    def _decode_at_once(self, hidden: Tensor, style: Tensor, lengths: Sequence[int]) -> Tensor:
        """Decode all frames in one pass; padding is at the end, and the layers are causal."""
        bf16 = torch.autocast(hidden.device.type, torch.bfloat16, self._dtype is not None)
        with bf16:
            latents = self._speech.latents(hidden, style)
        return _without_padding(self.vq.nearest(latents.to(hidden.dtype)), lengths)

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
            # A graph also reads frames beyond the end of the clips.
            past = torch.cat([past, codes[:, past.shape[1] :]], dim=1)
        return _DecodingState(
            speech_cache=self.speech_cache.state(hidden, style, capacity),
            motion_cache=motion_cache.state(len(hidden), capacity, style),
            codes=codes,
            frame=torch.zeros(1, dtype=torch.int64, device=hidden.device),
            past=past,
        )

    def _step(self, state: _DecodingState, motion_cache: MotionDecoderCache, n: int) -> None:
        """Decode the next frame; attend to the first ``n`` frames, which must include it."""
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


def _without_padding(
    codes: Int64[Tensor, "batch frames codes_per_frame"], lengths: Sequence[int]
) -> Int64[Tensor, "batch frames codes_per_frame"]:
    """Set the codes after the end of each clip to 0."""
    ends = torch.tensor(lengths, device=codes.device)[:, None, None]
    padding = torch.arange(codes.shape[1], device=codes.device)[None, :, None] >= ends
    return codes.masked_fill(padding, 0)


def _future_mask(frame: Tensor, n: int, like: Tensor) -> Tensor:
    """Return a (1, n) mask that is 0 up to ``frame`` and −∞ for later frames."""
    future = torch.arange(n, device=frame.device)[None] > frame
    return like.new_zeros(1, n).masked_fill(future, float("-inf"))
