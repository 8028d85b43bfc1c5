"""Limits on how much a client may ask for: rates with bursts, and counts per address."""

import ipaddress
import time
from collections import Counter
from collections.abc import Callable

from codetalker_cli.live.server.protocol import Refusal
from codetalker_cli.settings import ServeSettings

Clock = Callable[[], float]
_MAX_ADDRESSES = 4096
"""The most addresses whose rates are remembered."""
_IPV6_PREFIX = 64  # a site has at least so many addresses, so it counts as one


class Bucket:
    """A limit on an average rate that allows bursts.

    Args:
        rate: The amount per second.
        burst: The amount that is allowed at once.
        clock: Returns the time in seconds.
    """

    def __init__(self, rate: float, burst: float, clock: Clock = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._level, self._time = burst, clock()

    def take(self, amount: float = 1.0) -> bool:
        """Take an amount, and return whether it was available; if not, nothing is taken."""
        self._refill()
        if amount > self._level + 1e-9:
            return False
        self._level -= amount
        return True

    @property
    def is_full(self) -> bool:
        """Whether the whole burst is available."""
        self._refill()
        return self._level >= self._burst

    def _refill(self) -> None:
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._time) * self._rate)
        self._time = now


class Addresses:
    """The connections of each address."""

    def __init__(self, settings: ServeSettings, clock: Clock = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._buckets: dict[str, Bucket] = {}
        self._streams: Counter[str] = Counter()

    def connect(self, address: str) -> None:
        """Count a connection or a request.

        Raises:
            Refusal: The address makes too many of them.
        """
        site = _site(address)
        if site not in self._buckets:
            self._forget()
            rate, burst = self._settings.connections_per_second, self._settings.connection_burst
            self._buckets[site] = Bucket(rate, burst, self._clock)
        if not self._buckets[site].take():
            raise Refusal(
                "too_many_connections",
                f"the address makes more than {self._settings.connections_per_second:g} "
                "connections or requests per second; try again later",
            )

    def open_stream(self, address: str) -> None:
        """Count a stream that begins.

        Raises:
            Refusal: There are too many streams.
        """
        site, settings = _site(address), self._settings
        if self._streams.total() >= settings.streams:
            raise Refusal(
                "too_many_streams",
                f"the server has {settings.streams} streams, its limit; try again later",
            )
        if self._streams[site] >= settings.streams_per_address:
            raise Refusal(
                "too_many_streams",
                f"the address has {settings.streams_per_address} streams, its limit; close one "
                "of them",
            )
        self._streams[site] += 1

    def close_stream(self, address: str) -> None:
        """Count a stream that ends."""
        site = _site(address)
        self._streams[site] -= 1
        if self._streams[site] <= 0:
            del self._streams[site]

    def _forget(self) -> None:
        """Forget addresses that have not connected lately; if there are too many, the oldest."""
        if len(self._buckets) < _MAX_ADDRESSES:
            return
        self._buckets = {site: one for site, one in self._buckets.items() if not one.is_full}
        # Half of them, so that this happens rarely.
        while len(self._buckets) > _MAX_ADDRESSES // 2:
            del self._buckets[next(iter(self._buckets))]


def _site(address: str) -> str:
    """Return what counts as one address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if parsed.version == 6:
        return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))
    return str(parsed)
