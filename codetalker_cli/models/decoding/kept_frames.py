"""Decode the newest frames of live streams, and reuse what earlier hops of a stream computed.

Without a motion history, a frame depends on its own speech features and, through causal
self-attention, on those of earlier frames. If these no longer change, the codes of the frame no
longer change either, and later frames attend to the keys and values that were computed for it:

    kept codes, keys and values │ computed
    ────────────────────────────┴───────────────── frames
                 no longer change │ computed again at the next hop
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from codetalker_cli.models.layers import Cache
from codetalker_cli.models.speech_to_codes import SpeechToCodes
from codetalker_cli.models.vq_autoencoder import MotionVQ


@dataclass(frozen=True)
class KeptFrames:
    """The newest frames of a stream that no longer change.

    Attributes:
        origin: The frame of the stream at the first position of the decoder.
        stop: The first frame of the stream after the kept ones.
        codes: Their codes.
        keys, values: Those of each layer.
    """

    origin: int
    stop: int
    codes: Int64[Tensor, "kept codes_per_frame"]
    keys: tuple[Float[Tensor, "heads kept head_size"], ...]
    values: tuple[Float[Tensor, "heads kept head_size"], ...]

    def newest(self, n_frames: int) -> "KeptFrames":
        """Return the newest frames, as views."""
        start = len(self.codes) - n_frames
        keys, values = (tuple(x[:, start:] for x in layers) for layers in (self.keys, self.values))
        return KeptFrames(self.origin, self.stop, self.codes[start:], keys, values)


@dataclass(frozen=True)
class NewFrames:
    """The frames of a stream that are computed.

    Attributes:
        features: Their speech features.
        first: The first of them, as a frame of the stream.
        n_final: The number of them whose features no longer change.
        style: The style vector.
        kept: The frames before them that they attend to; None: the decoder starts here.
    """

    features: Float[Tensor, "frames encoder_size"]
    first: int
    n_final: int
    style: Float[Tensor, "1 size"]
    kept: KeptFrames | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Frames of streams with the same shape can be batched."""
        return len(self.features), 0 if self.kept is None else len(self.kept.codes)


@torch.no_grad()
def decode_frames(
    speech: SpeechToCodes, vq: MotionVQ, streams: Sequence[NewFrames], *, is_bf16: bool = False
) -> list[tuple[Int64[Tensor, "all_frames codes_per_frame"], KeptFrames]]:
    """Decode the new frames of each of several streams, in batches of equal shapes.

    Args:
        speech: Stage 2, without a motion history and with one feature per frame.
        vq: Stage 1.
        streams: The new frames.
        is_bf16: Whether matrix products are computed in bf16.

    Returns:
        For each stream the codes of the kept and of the new frames, and what it keeps of both.
    """
    results: dict[int, tuple[Tensor, KeptFrames]] = {}
    for shape in {stream.shape for stream in streams}:
        numbers = [k for k, stream in enumerate(streams) if stream.shape == shape]
        decoded = _decode(speech, vq, [streams[k] for k in numbers], is_bf16)
        results.update(zip(numbers, decoded, strict=True))
    return [results[k] for k in range(len(streams))]


def _decode(
    speech: SpeechToCodes, vq: MotionVQ, streams: Sequence[NewFrames], is_bf16: bool
) -> list[tuple[Tensor, KeptFrames]]:
    """Decode new frames of the same shape."""
    features = torch.stack([stream.features for stream in streams])
    style = torch.cat([stream.style for stream in streams])
    kept = [stream.kept for stream in streams if stream.kept is not None]
    origins = [stream.first if stream.kept is None else stream.kept.origin for stream in streams]
    # Positions are periodic, so they stay small after hours.
    period = speech.settings.period_frames
    first = [
        (stream.first - origin) % period for stream, origin in zip(streams, origins, strict=True)
    ]
    earlier: list[Cache] | None = None
    if kept:
        earlier = [
            (
                torch.stack([frames.keys[layer] for frames in kept]),
                torch.stack([frames.values[layer] for frames in kept]),
            )
            for layer in range(len(speech.layers))
        ]
    with torch.autocast(features.device.type, torch.bfloat16, is_bf16):
        latents, caches = speech.extend(
            features, style, torch.tensor(first, device=features.device), earlier
        )
    codes = vq.nearest(latents.to(features.dtype))
    if kept:
        codes = torch.cat([torch.stack([frames.codes for frames in kept]), codes], dim=1)
    n_before = streams[0].shape[1]
    results = []
    for k, (stream, origin) in enumerate(zip(streams, origins, strict=True)):
        stop = n_before + stream.n_final
        # A clone does not keep the whole batch in memory.
        keys, values = (
            tuple(cache[part][k, :, :stop].clone() for cache in caches) for part in (0, 1)
        )
        state = KeptFrames(
            origin, stream.first + stream.n_final, codes[k, :stop].clone(), keys, values
        )
        results.append((codes[k], state))
    return results
