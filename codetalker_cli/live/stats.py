"""What is known about a running stream."""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from codetalker_cli.errors import counted

_N_DELAYS = 2000
"""The number of latest frames over which the delay is described."""
_LEAST_DB = -99.0


@dataclass
class Stats:
    """The numbers of a stream.

    Attributes:
        level_db: The level of the latest sound, in dBFS.
        n_frames: The number of frames that were sent.
        n_dropped: The number of frames that were left out because the stream was behind.
        lost_seconds: How much sound was dropped before it reached the stream.
        delays: The delays of the latest frames, in seconds.
    """

    level_db: float = _LEAST_DB
    n_frames: int = 0
    n_dropped: int = 0
    lost_seconds: float = 0.0
    delays: deque[float] = field(default_factory=lambda: deque(maxlen=_N_DELAYS))

    def add_level(self, samples: np.ndarray) -> None:
        """Take the level of samples."""
        if samples.size:
            power = float(np.mean(np.square(samples, dtype=np.float64)))
            self.level_db = max(_LEAST_DB, 10 * np.log10(power + 1e-12))

    @property
    def delay_quantiles(self) -> tuple[float, float] | None:
        """The median and the 95th percentile of the delay in seconds; None without a frame."""
        if not self.delays:
            return None
        p50, p95 = np.quantile(np.array(self.delays), (0.5, 0.95))
        return float(p50), float(p95)

    def line(self) -> str:
        """Return the numbers as one line."""
        parts = [f"{self.level_db:.0f} dB", self.summary()]
        return ", ".join(parts)

    def summary(self) -> str:
        """Return the numbers of the whole stream as one line."""
        parts = [counted(self.n_frames, "frame")]
        if self.delay_quantiles is not None:
            p50, p95 = (round(1000 * delay) for delay in self.delay_quantiles)
            parts.append(f"delay {p50} ms (p95 {p95} ms)")
        parts.append(f"{self.n_dropped} dropped")
        if self.lost_seconds:
            parts.append(f"{self.lost_seconds:.1f} s of sound lost")
        return ", ".join(parts)
