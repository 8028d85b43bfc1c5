"""Report changes from worker threads to requests that wait for them."""

import asyncio
import contextlib


class Changes:
    """A number that grows with every change. Requests wait in the event loop of the server."""

    def __init__(self) -> None:
        self.number = 0
        self.is_stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()

    def start(self) -> None:
        """Use the event loop that is running."""
        self._loop = asyncio.get_running_loop()

    def add(self) -> None:
        """Report a change; any thread can call this."""
        # RuntimeError: the event loop has ended.
        with contextlib.suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._wake)

    def stop(self) -> None:
        """End all requests that wait; none waits from now on."""
        self.is_stopped = True
        self._wake()

    def _wake(self) -> None:
        self.number += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait(self, after: int, seconds: float) -> int:
        """Return the number when it differs from ``after``, or when the time is over."""
        if self.number == after and not self.is_stopped:
            changed = self._changed
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await changed.wait()
        return self.number
