"""Raw samples in pieces of any size: bytes in, floating-point samples out."""

import numpy as np

FORMATS = {"s16le": "<i2", "f32le": "<f4"}
"""Format of raw samples → its NumPy type."""


class PcmReader:
    """Raw samples whose bytes arrive in pieces.

    Args:
        format: A key of ``FORMATS``.
        channels: The number of interleaved channels.

    Attributes:
        sample_bytes: The number of bytes of a sample of all channels.
    """

    def __init__(self, format: str, channels: int = 1) -> None:
        self._type, self._channels = np.dtype(FORMATS[format]), channels
        self.sample_bytes = self._type.itemsize * channels
        self.reset()

    def reset(self) -> None:
        """Forget an incomplete sample."""
        self._rest = b""

    @property
    def n_rest(self) -> int:
        """The number of bytes of an incomplete sample."""
        return len(self._rest)

    def add(self, content: bytes) -> np.ndarray:
        """Return the (n, channels) float32 samples that are complete now; integers become ±1."""
        content = self._rest + content
        n_bytes = len(content) // self.sample_bytes * self.sample_bytes
        self._rest = content[n_bytes:]
        samples = np.frombuffer(content[:n_bytes], self._type).reshape(-1, self._channels)
        scaled = samples.astype(np.float32)
        if self._type.kind == "i":  # a product with NaN would be a warning
            scaled *= np.float32(2.0**-15)
        return scaled
