"""Counts and delays of the server, in the text format of Prometheus."""

import threading
from collections import Counter, deque

import numpy as np

_DELAYS = 2048
"""The number of frames over which the quantiles of the delay are computed."""
_QUANTILES = (0.5, 0.95, 0.99)


class Statistics:
    """What the server has done; threads can share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._refusals: Counter[str] = Counter()
        self._delays: deque[float] = deque(maxlen=_DELAYS)
        self._delay_sum, self._n_delays = 0.0, 0
        self.load = 0.0

    def count(self, name: str, n: int = 1) -> None:
        """Add to a count: ``streams``, ``recordings``, ``frames`` or ``dropped_frames``."""
        with self._lock:
            self._counts[name] += n

    def count_refusal(self, code: str) -> None:
        """Count a refusal."""
        with self._lock:
            self._refusals[code] += 1

    def add_delays(self, delays: list[float]) -> None:
        """Take the delays of frames into account, in seconds."""
        with self._lock:
            self._delays.extend(delays)
            self._delay_sum += sum(delays)
            self._n_delays += len(delays)

    def text(self, n_streams: int) -> str:
        """Return all metrics.

        Args:
            n_streams: The number of streams that are open now.
        """
        with self._lock:
            delays = np.array(self._delays) if self._delays else np.zeros(1)
            rows = _metric("open_streams", "gauge", "Streams that are open now.", n_streams)
            for name, what in (
                ("streams", "Streams that were opened."),
                ("recordings", "Recordings that were animated."),
                ("frames", "Frames that were sent."),
                ("dropped_frames", "Frames that were dropped because a stream fell behind."),
            ):
                rows += _metric(f"{name}_total", "counter", what, self._counts[name])
            what = "Seconds of computation per second of sound of all streams; the limit is 1."
            rows += _metric("load", "gauge", what, f"{self.load:.6g}")
            name = "codetalker_frame_delay_seconds"
            rows += [
                f"# HELP {name} Time from the arrival of a frame's sound to sending the frame.",
                f"# TYPE {name} summary",
            ]
            for quantile in _QUANTILES:
                value = float(np.quantile(delays, quantile))
                rows.append(f'{name}{{quantile="{quantile:g}"}} {value:.6g}')
            rows += [f"{name}_sum {self._delay_sum:.6g}", f"{name}_count {self._n_delays}"]
            name = "codetalker_refusals_total"
            rows += [
                f"# HELP {name} Connections, streams and requests that were refused.",
                f"# TYPE {name} counter",
            ]
            rows += [f'{name}{{code="{c}"}} {n}' for c, n in sorted(self._refusals.items())]
        return "\n".join(rows) + "\n"


def _metric(name: str, kind: str, what: str, value: object) -> list[str]:
    name = f"codetalker_{name}"
    return [f"# HELP {name} {what}", f"# TYPE {name} {kind}", f"{name} {value}"]
