"""Compute the motions of takes, one at a time, and store them as the page plays them."""

import logging
import math
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from codetalker_cli.animate.assembly import MotionPart
from codetalker_cli.animate.voice import Voice
from codetalker_cli.audio import SAMPLE_RATE, write_playback
from codetalker_cli.errors import CodeTalkerError, printable
from codetalker_cli.failures import to_error
from codetalker_cli.live.server.recordings import lower_priority
from codetalker_cli.motion import Motion, write_sound
from codetalker_cli.render.viewer.basis import BasisCoder, tolerance_of
from codetalker_cli.render.viewer.packets import pack
from codetalker_cli.settings import StudioSettings
from codetalker_cli.studio.memory import keep_loaded, release_memory
from codetalker_cli.studio.takes import Take, Takes

PEAKS_PER_SECOND = 50
"""The number of values of the waveform per second."""
_PLAYBACK_SECONDS = 600.0
"""Up to this length, the page plays the sound with its own sampling rate and channels."""
_BLOCK_BYTES = 8 << 20
# The page plays the first block while the others are encoded.
_FIRST_SECONDS = 1.0
_REPORT_SECONDS = 0.2
# Below live streams, but not so low that other programs on the machine delay a take by much.
_NICENESS = 3

logger = logging.getLogger(__name__)


class CanceledError(Exception):
    """The take is deleted, or the server stops."""


class Worker:
    """A thread that computes takes, with a lower priority than live streams.

    Args:
        voice: The voice.
        takes: All takes.
        settings: The longest recording.
    """

    def __init__(self, voice: Voice, takes: Takes, settings: StudioSettings) -> None:
        self._voice, self._takes, self._settings = voice, takes, settings
        self._waiting: queue.SimpleQueue[Take | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._reported = 0.0
        self._thread = threading.Thread(target=self._run, name="takes", daemon=True)

    def start(self) -> None:
        """Start the thread, with the takes that wait from an earlier server."""
        for take in self._takes.all():
            if take.state == "waiting":
                self.put(take)
        self._thread.start()

    def stop(self) -> None:
        """End the thread soon."""
        self._stop.set()
        self._waiting.put(None)
        self._thread.join(10)

    def put(self, take: Take) -> None:
        """Compute a take after those that wait."""
        self._waiting.put(take)

    def _run(self) -> None:
        lower_priority(_NICENESS)
        self._warm_up()
        keep_loaded()
        while (take := self._waiting.get()) is not None and not self._stop.is_set():
            if not take.is_deleted:
                self._compute_or_fail(take)
                release_memory()

    def _warm_up(self) -> None:
        """Load what the first take needs, so that it is not late."""
        noise = np.random.default_rng(0).standard_normal(SAMPLE_RATE // 2).astype(np.float32) / 10
        motion = self._voice.animate(noise)
        tolerance = tolerance_of(motion.topology, motion.template)
        BasisCoder(motion.template, tolerance).encode(motion.vertices[:2])

    def _compute_or_fail(self, take: Take) -> None:
        take.state = "computing"
        self._takes.changes.add()
        try:
            self._compute(take)
            take.state, take.progress = "done", 1.0
        except CanceledError:
            return
        except Exception as error:
            if take.is_deleted:
                return
            take.state, take.error = "failed", sentence_of(error, take, self._settings)
        self._save(take)
        self._takes.changes.add()

    def _save(self, take: Take) -> None:
        try:
            take.save()
        except CodeTalkerError as error:  # such as a full disk, or a take that was just deleted
            logger.warning("%s: the take cannot be stored (%s)", printable(take.name), error)

    def _compute(self, take: Take) -> None:
        def progress(done: float, total: float) -> None:
            self._check(take)
            take.progress = 0.99 * done / max(total, 1)
            self._report()

        with take.frames.open("wb") as file:
            coder = None
            request = take.options.request(take.recording, take.transcript())
            for part in self._voice.animate_in_parts(request, progress):
                if coder is None:
                    coder = self._begin(take, part, file)
                self._write(take, part, coder, file)

    def _begin(self, take: Take, part: MotionPart, file: BinaryIO) -> BasisCoder:
        motion = part.motion
        if motion.seconds <= _PLAYBACK_SECONDS:
            write_playback(take.recording, take.sound, report=False)
        else:  # its speech at 16 kHz, which is much smaller
            write_sound(replace(motion, audio_path=None), take.sound)
        take.fps, take.n_frames = motion.fps, motion.n_frames
        header = {
            "peaks_per_second": PEAKS_PER_SECOND,
            "fps": motion.fps,
            "n_frames": motion.n_frames,
        }
        file.write(pack("sound", header, {"peaks": peaks_of(motion.audio)}))
        return BasisCoder(motion.template, tolerance_of(motion.topology, motion.template))

    def _write(self, take: Take, part: MotionPart, coder: BasisCoder, file: BinaryIO) -> None:
        """Write the frames of a part that are not written yet, in blocks."""
        for start, stop in blocks(part.motion, take.n_known, part.n_known):
            self._check(take)
            encoded = coder.encode(part.motion.vertices[start:stop])
            head = part.motion.head
            for packet in (
                encoded.basis_packet(),
                encoded.frames_packet(None if head is None else head[start:stop]),
            ):
                file.write(packet or b"")
            file.flush()
            take.n_known, take.n_bytes = stop, file.tell()
            self._takes.changes.add()

    def _report(self) -> None:
        if time.monotonic() - self._reported > _REPORT_SECONDS:
            self._reported = time.monotonic()
            self._takes.changes.add()

    def _check(self, take: Take) -> None:
        if take.is_deleted or self._stop.is_set():
            raise CanceledError


def blocks(motion: Motion, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of frames whose vertices take up to 8 MB; the first one has one second."""
    frame_bytes = 12 * motion.topology.n_vertices
    size = max(1, _BLOCK_BYTES // frame_bytes)
    while start < stop:
        n = size if start else min(size, math.ceil(_FIRST_SECONDS * motion.fps))
        yield start, min(start + n, stop)
        start += n


def peaks_of(samples: np.ndarray | None) -> np.ndarray:
    """Return (n,) uint8 largest absolute values of (n,) samples at 16 kHz; 255 is full scale."""
    if samples is None or not len(samples):
        return np.zeros(1, np.uint8)
    starts = np.arange(0, len(samples), SAMPLE_RATE // PEAKS_PER_SECOND)
    peaks = np.maximum.reduceat(np.abs(samples), starts)
    return np.rint(255 * np.clip(peaks, 0, 1)).astype(np.uint8)


def sentence_of(error: Exception, take: Take, settings: StudioSettings) -> str:
    """Return the reason why a take cannot be computed or exported, as a sentence."""
    known = to_error(error)
    if not isinstance(error, CodeTalkerError):
        logger.error("a take failed: %s", known)
    text = str(known)
    if "limits.audio_hours" in text:  # the setting that the studio lowers
        return (
            f"the recording is longer than {settings.recording_minutes:g} min, the limit "
            "(setting studio.recording_minutes)"
        )
    for path in (take.recording, take.folder):
        text = text.replace(str(path), take.name)
    return printable(text.replace("`", ""), 500)
