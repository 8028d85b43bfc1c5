"""Encode speech that is too long for one pass of an encoder.

A convolution has a finite receptive field, so it is computed in blocks with the same result.
Attention has no such limit. It is computed in overlapping windows, and in each overlap the first
half comes from the earlier window and the second half from the later one.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

WINDOW_SECONDS = 30
"""The length of an attention window in seconds, which is the length Whisper was trained on."""
OVERLAP_SECONDS = 4
"""The overlap of adjacent windows in seconds; each window contributes half of it."""
BLOCK_FEATURES = 1500
"""The number of features in a block of convolutions (30 s)."""


def apply_in_windows(
    function: Callable[
        [Float[Tensor, "batch inputs channels"]], Float[Tensor, "batch outputs size"]
    ],
    x: Float[Tensor, "batch inputs channels"],
    *,
    window: int,
    overlap: int,
    factor: int = 1,
) -> Float[Tensor, "batch outputs size"]:
    """Apply ``function`` to overlapping windows of ``x`` and concatenate the results.

    Args:
        function: A function that returns one output for every ``factor`` inputs.
        x: The inputs. Inputs that fit into one window are processed in one pass.
        window, overlap: The length and the overlap of the windows, in inputs. Both must be
            multiples of ``2 · factor``.
        factor: The number of inputs per output.
    """
    if x.shape[1] <= window:
        return function(x)
    segments: list[Tensor] = []
    start, half_overlap = 0, overlap // factor // 2
    while True:
        output = function(x[:, start : start + window])
        is_last = start + window >= x.shape[1]
        segments.append(
            output[:, half_overlap if start else 0 : output.shape[1] if is_last else -half_overlap]
        )
        if is_last:
            return torch.cat(segments, dim=1)
        start += window - overlap


def convolve(
    extractor: Any, audio: Float[Tensor, "batch samples"]
) -> Float[Tensor, "batch channels features"]:
    """Run a convolutional feature extractor of transformers, in blocks if the audio is long.

    Each block contains the complete receptive fields of its features, so the result is the same as
    in one pass. If the first layer has a norm over time (wav2vec 2.0 base), its statistics are
    computed over the whole audio.
    """
    layers = list(extractor.conv_layers)
    stride, receptive_field = _receptive_field(layers)
    n_features = (audio.shape[1] - receptive_field) // stride + 1
    if n_features <= BLOCK_FEATURES:
        return extractor(audio)
    norm = getattr(layers[0], "layer_norm", None)
    scale = shift = None
    if isinstance(norm, torch.nn.GroupNorm):
        scale, shift = _group_norm_affine(layers[0].conv, norm, audio)
    blocks: list[Tensor] = []
    for start in range(0, n_features, BLOCK_FEATURES):
        stop = min(start + BLOCK_FEATURES, n_features)
        x = audio[:, None, start * stride : (stop - 1) * stride + receptive_field]
        for k, layer in enumerate(layers):
            if k == 0 and scale is not None and shift is not None:
                x = layer.activation(layer.conv(x) * scale + shift)
            else:
                x = layer(x)
        blocks.append(x)
    return torch.cat(blocks, dim=2)


def _receptive_field(layers: list[Any]) -> tuple[int, int]:
    """Return the stride and the receptive field of the last layer, in samples."""
    stride, receptive_field = 1, 1
    for layer in layers:
        receptive_field += (layer.conv.kernel_size[0] - 1) * stride
        stride *= layer.conv.stride[0]
    return stride, receptive_field


def _group_norm_affine(
    conv: torch.nn.Conv1d, norm: torch.nn.GroupNorm, audio: Float[Tensor, "batch samples"]
) -> tuple[Float[Tensor, "batch channels 1"], Float[Tensor, "batch channels 1"]]:
    """Return the scale and shift per channel that are equivalent to the norm over all audio."""
    total: Any = 0.0
    squares: Any = 0.0
    count = 0
    for block in _first_conv_blocks(conv, audio):
        block_double = block.double()  # float32 sums would be inaccurate for long recordings
        total, squares = total + block_double.sum(2), squares + block_double.square().sum(2)
        count += block.shape[2]
    mean = total / count
    variance = squares / count - mean.square()
    scale = norm.weight.double() * torch.rsqrt(variance.clamp(min=0) + norm.eps)
    shift = norm.bias.double() - mean * scale
    return scale[..., None].to(audio.dtype), shift[..., None].to(audio.dtype)


def _first_conv_blocks(conv: torch.nn.Conv1d, audio: Tensor) -> Iterator[Tensor]:
    """Yield the output of the first convolution in consecutive blocks."""
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    n_outputs = (audio.shape[1] - kernel) // stride + 1
    step = 64 * BLOCK_FEATURES
    for start in range(0, n_outputs, step):
        stop = min(start + step, n_outputs)
        yield conv(audio[:, None, start * stride : (stop - 1) * stride + kernel])
