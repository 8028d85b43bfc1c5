"""Convert samples between rates, as a whole or block by block."""

import math
from collections.abc import Iterable, Iterator

import numpy as np

SAMPLE_RATE = 16_000
"""The sample rate that every speech encoder expects, in hertz."""
MAX_FILTER_PHASES = 1000
"""The maximum number of phases of the resampling filter; more would take gigabytes."""
BLOCK_SECONDS = 30
_CONTEXT_SECONDS = 1


def whole_frames(n: int, rate: float, fps: float) -> int:
    """Return the number of whole frames at ``fps`` in ``n`` samples at ``rate`` hertz.

    A rounding error never costs a frame: ``int(163_200 / 16_000 * 25)`` is 254, not 255.
    """
    return math.floor(n * fps / rate + 1e-6)


def resample(samples: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Convert (n,) samples from one rate in hertz to another, band-limited."""
    if rate_in == rate_out or len(samples) == 0:
        return np.ascontiguousarray(samples, dtype=np.float32)
    if rate_in // math.gcd(rate_in, rate_out) > MAX_FILTER_PHASES:
        return _resample_by_fft(samples, rate_in, rate_out)
    import torch
    from torchaudio.functional import resample as sinc_resample

    tensor = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
    return sinc_resample(tensor, rate_in, rate_out).numpy()


def resample_blocks(
    blocks: Iterable[np.ndarray], rate_in: int, rate_out: int
) -> Iterator[np.ndarray]:
    """Convert blocks of (n,) samples; the memory does not depend on the length.

    Joined, the blocks equal ``resample`` of the joined input up to rounding: each is converted with
    a second of context on either side, and a whole second has a whole number of samples at both
    rates.
    """
    if rate_in == rate_out:
        yield from blocks
        return
    size, context = BLOCK_SECONDS * rate_in, _CONTEXT_SECONDS * rate_in
    waiting: list[np.ndarray] = []
    n_waiting, n_before = 0, 0
    for block in blocks:
        waiting.append(block)
        n_waiting += len(block)
        while n_waiting >= n_before + size + context:
            joined = np.concatenate(waiting)
            converted = resample(joined[: n_before + size + context], rate_in, rate_out)
            start = n_before // rate_in * rate_out
            yield converted[start : start + BLOCK_SECONDS * rate_out]
            rest = joined[n_before + size - context :].copy()
            waiting, n_waiting, n_before = [rest], len(rest), context
    if n_waiting > n_before:
        converted = resample(np.concatenate(waiting), rate_in, rate_out)
        yield converted[n_before // rate_in * rate_out :]


def _resample_by_fft(samples: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Resample in the frequency domain, for rates that would need a very large filter."""
    n_seconds = -(-(len(samples) + rate_in // 10) // rate_in)  # whole seconds; the rest is silence
    spectrum = np.fft.rfft(samples, n_seconds * rate_in)
    n_out = -(-len(samples) * rate_out // rate_in)
    resampled = np.zeros(n_seconds * rate_out // 2 + 1, dtype=spectrum.dtype)
    n = min(len(resampled), len(spectrum)) - 1  # drop the Nyquist bin
    resampled[:n] = spectrum[:n]
    output = np.fft.irfft(resampled, n_seconds * rate_out) * (rate_out / rate_in)
    return np.ascontiguousarray(output[:n_out], dtype=np.float32)
