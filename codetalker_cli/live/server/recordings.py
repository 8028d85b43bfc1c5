"""Animate posted recordings, one at a time, next to the live streams."""

import asyncio
import json
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from codetalker_cli.animate.voice import Voice
from codetalker_cli.errors import InputError
from codetalker_cli.failures import to_error
from codetalker_cli.live.server.protocol import PROTOCOL_VERSION, Refusal
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.solve import solve_curves
from codetalker_cli.rigs.units import UnitSet, bundled_units, is_bundled_head
from codetalker_cli.settings import ServeSettings, limits

_DIGITS = 5
_NICENESS = 10
_POLL_SECONDS = 0.5

logger = logging.getLogger(__name__)


class _CanceledError(Exception):
    """The client has gone, or the server stops."""


class Recordings:
    """Animates whole recordings in a thread of its own, which has a lower priority than streams.

    Args:
        voice: The voice.
        settings: The limits.
        units: The units of the face, or None for those of the bundled head.
    """

    def __init__(self, voice: Voice, settings: ServeSettings, units: UnitSet | None) -> None:
        self._voice, self._settings, self._units = voice, settings, units
        self._pool = ThreadPoolExecutor(1, "recordings", initializer=lower_priority)
        self._stop = threading.Event()
        self._n = 0

    def stop(self) -> None:
        """Cancel the current recording and those that wait."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def animate(
        self,
        receive: Callable[[], Awaitable[bytes]],
        is_gone: Callable[[], Awaitable[bool]],
        options: dict[str, Any],
    ) -> bytes:
        """Return the JSON text of the frames of a recording.

        Args:
            receive: Receives the content of the file.
            is_gone: Returns whether the client has disconnected.
            options: Options of ``Voice.animate``.

        Raises:
            Refusal: The recording cannot be animated.
        """
        if self._n >= self._settings.recordings:
            raise Refusal(
                "overloaded",
                f"{self._n} recordings are received or wait, the limit; try again later",
            )
        self._n += 1
        gone = threading.Event()
        try:
            content = await self._received(receive)
            loop = asyncio.get_running_loop()
            result = loop.run_in_executor(self._pool, self._work, content, options, gone)
            while not (await asyncio.wait({result}, timeout=_POLL_SECONDS))[0]:
                if await is_gone():
                    gone.set()
            return await result
        except (_CanceledError, asyncio.CancelledError) as error:
            raise Refusal("shutting_down", "the server stops") from error
        finally:
            gone.set()
            self._n -= 1

    async def _received(self, receive: Callable[[], Awaitable[bytes]]) -> bytes:
        seconds = self._settings.upload_seconds
        try:
            async with asyncio.timeout(seconds):
                return await receive()
        except TimeoutError as error:
            raise Refusal(
                "upload_timeout", f"the recording did not arrive within {seconds:g} s"
            ) from error

    def _work(self, content: bytes, options: dict[str, Any], gone: threading.Event) -> bytes:
        def progress(done: float, total: float) -> None:
            if gone.is_set() or self._stop.is_set():
                raise _CanceledError

        progress(0, 0)
        try:
            # Only this thread of a server reads recordings.
            with limits.at_most_hours(self._settings.recording_minutes / 60):
                motion = self._voice.animate(content, progress=progress, **options)
            units = self._units
            if units is None and is_bundled_head(motion.topology):
                units = bundled_units(motion.subject).arkit()
            if units is None:
                raise Refusal("no_units", "the units of the face are unknown, so it has no weights")
            curves = solve_curves(motion, units)
        except (_CanceledError, Refusal):
            raise
        except InputError as error:
            raise self._refusal(error) from error
        except Exception as error:
            logger.error("a recording failed: %s", to_error(error))
            raise Refusal("internal", "the server failed to animate the recording") from error
        return _encoded(motion.subject, curves)

    def _refusal(self, error: InputError) -> Refusal:
        text = str(error)
        if "limits.audio_hours" in text:  # the setting that ``at_most_hours`` lowers
            minutes = self._settings.recording_minutes
            return Refusal(
                "recording_too_long", f"the recording is longer than {minutes:g} min, the limit"
            )
        return Refusal("bad_option" if text.startswith("`") else "bad_recording", text)


def _encoded(subject: str, curves: RigCurves) -> bytes:
    """Return the JSON text of the curves of a recording."""
    start = {
        "version": PROTOCOL_VERSION,
        "subject": subject,
        "fps": curves.fps,
        "names": list(curves.names),
    }
    head = "null" if curves.head is None else _rows(curves.head)
    text = f'{_compact(start)[:-1]},"weights":{_rows(curves.weights)},"head":{head}}}'
    return text.encode()


def _rows(array: np.ndarray) -> str:
    # Row by row, because one call for all numbers would stop the other threads for its whole time.
    return f"[{','.join(_compact(np.round(row.astype(float), _DIGITS).tolist()) for row in array)}]"


def _compact(content: object) -> str:
    return json.dumps(content, separators=(",", ":"), allow_nan=False)


def lower_priority(niceness: int = _NICENESS) -> None:
    """Give this thread a lower priority; only Linux has a priority for each thread.

    Args:
        niceness: From 0 for the usual priority to 19.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
