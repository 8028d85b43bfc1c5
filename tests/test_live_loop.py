"""The loop of live animation: which frames are sent, when, and what happens if it is late."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import voices
from live_fakes import UNITS, Clock, Recorder, chunks_of, stream

from codetalker_cli.animate.stream import Stream, advance
from codetalker_cli.animate.stream_frames import StreamFrame
from codetalker_cli.errors import CodeTalkerError, InputError
from codetalker_cli.live.chunks import Chunk, ChunkQueue
from codetalker_cli.live.loop import LiveLoop
from codetalker_cli.live.sinks import Sinks
from codetalker_cli.live.sources import ReadSource
from codetalker_cli.settings import LiveSettings

SETTINGS = LiveSettings.model_validate({})
RATE = 16_000


class Live:
    """A loop whose clock the test moves."""

    def __init__(self, *, tick: float = 0.0, **changes: object) -> None:
        self.clock = Clock(tick)
        self.sink = Recorder(self.clock)
        self.settings = SETTINGS.model_copy(update=changes)
        self.queue = ChunkQueue(1.0, RATE, self.clock)
        self.stream = stream()
        self.loop = LiveLoop(
            self.stream, self.queue, Sinks([self.sink]), self.settings, clock=self.clock
        )

    def wait(self, seconds: float) -> None:
        """Let time pass without sound."""
        for _ in range(round(seconds / 0.005)):
            self.clock.now += 0.005
            self.loop.turn(self.queue.take(0))

    def hear(self, samples: np.ndarray) -> None:
        """Let sound arrive at its own pace."""
        for chunk in chunks_of(samples):
            self.wait(0.02)
            self.queue.put(chunk)
            self.loop.turn(self.queue.take(0))


def test_frames_are_those_of_the_stream() -> None:
    speech = voices.speech(1.0)
    live = Live()
    live.hear(speech)
    live.loop.finish()
    alone = stream()
    expected = alone.feed(speech) + alone.finish() + alone.interrupt()
    assert len(live.sink.frames) == len(expected) == 30
    for sent, frame in zip(live.sink.frames, expected, strict=True):
        assert sent.index == frame.index and sent.names == UNITS.names
        np.testing.assert_array_equal(sent.weights, frame.weights)
        np.testing.assert_array_equal(sent.frame.sound, frame.sound)
    assert live.loop.stats.n_frames == 30 and live.loop.stats.n_dropped == 0


def test_frames_are_sent_evenly_with_a_constant_delay() -> None:
    live = Live()
    live.hear(voices.speech(2.0))
    steps = np.diff(live.sink.times)[4:]
    assert steps.min() > 0.5 / live.stream.fps and steps.max() < 1.7 / live.stream.fps
    delays = [frame.delay_seconds for frame in live.sink.frames]
    assert all(d is not None and 0.1 < d < 0.3 for d in delays)
    p50, p95 = live.loop.stats.delay_quantiles or (0, 0)
    assert abs(p50 - live.stream.lookahead_seconds) < 0.05 and p50 <= p95 < 0.3


def test_frames_can_be_sent_as_soon_as_they_are_known() -> None:
    live = Live(spread_frames=False)
    live.hear(voices.speech(1.0))
    assert len(set(live.sink.times)) < len(live.sink.times) * 0.7


def test_ten_seconds_at_once_drop_frames() -> None:
    live = Live()
    live.loop.turn([Chunk(voices.speech(10.0), live.clock.now)])
    dropped = live.loop.stats.n_dropped
    assert live.stream.backlog_seconds <= SETTINGS.backlog_seconds
    live.wait(0.6)
    fps = live.stream.fps
    assert dropped / fps == pytest.approx(10 - 0.5 - live.stream.lookahead_seconds, abs=0.2)
    indices = [frame.index for frame in live.sink.frames]
    assert indices == sorted(set(indices)) and min(indices) == dropped
    assert len(indices) + dropped >= 10 * fps  # the rest of the sound and the rest of the face


def test_stall_of_ten_seconds_loses_sound_and_the_queue_does_not_grow() -> None:
    live = Live()
    live.hear(voices.speech(0.5))
    for chunk in chunks_of(voices.speech(10.0)):
        live.clock.now += 0.02
        live.queue.offer(chunk)
    live.loop.turn(live.queue.take(0))
    assert live.loop.stats.lost_seconds == pytest.approx(9.0, abs=0.03)
    assert live.stream.backlog_seconds <= SETTINGS.backlog_seconds
    n = len(live.sink.frames)
    live.hear(voices.speech(1.0))
    assert len(live.sink.frames) > n + 0.8 * live.stream.fps
    last = live.sink.frames[-1].delay_seconds
    assert last is not None and last < 0.3


def test_face_rests_in_a_pause_and_nothing_is_sent() -> None:
    live = Live()
    live.hear(voices.speech(0.6))
    live.wait(1.0)
    n = len(live.sink.frames)
    fps = live.stream.fps
    assert n == round(0.6 * fps) + round(0.2 * fps)
    assert [f.delay_seconds is None for f in live.sink.frames[-6:]] == [False, *[True] * 5]
    neutral = stream().interrupt()
    assert np.abs(live.sink.frames[-1].weights - neutral[-1].weights).max() < 0.5
    live.wait(5.0)
    assert len(live.sink.frames) == n
    live.hear(voices.speech(0.6))
    live.wait(1.0)
    assert [f.index for f in live.sink.frames] == list(range(2 * n))
    delays = [f.delay_seconds for f in live.sink.frames[n : n + round(0.6 * fps)]]
    assert all(d is not None and d < 1 for d in delays)


def test_sound_that_returns_before_the_rest_continues() -> None:
    live = Live(pause_seconds=0.1)
    live.hear(voices.speech(0.5))
    live.wait(0.12)
    live.hear(voices.speech(0.5))
    live.loop.finish()
    indices = [f.index for f in live.sink.frames]
    assert indices == list(range(len(indices))) and len(indices) >= live.stream.fps


def run(live: Live, samples: np.ndarray, error: Exception | None = None) -> None:
    """Run the loop with a source that gives all samples at once."""
    live.queue = ChunkQueue(100.0, RATE, live.clock)
    live.loop = LiveLoop(
        live.stream, live.queue, Sinks([live.sink]), live.settings, clock=live.clock
    )
    for chunk in chunks_of(samples):
        live.queue.put(chunk)
    live.queue.end(error)
    live.loop.run()


def test_run_ends_with_the_sound() -> None:
    live = Live(tick=0.002, backlog_seconds=60.0)
    run(live, voices.speech(1.0))
    assert [f.index for f in live.sink.frames] == list(range(30))
    assert live.sink.is_closed
    assert not live.queue.put(np.zeros(3))  # the source is refused


def test_error_of_a_source_comes_after_its_frames() -> None:
    live = Live(tick=0.002, backlog_seconds=60.0)
    with pytest.raises(InputError, match="NaN"):
        run(live, voices.speech(1.0), InputError("a sample is NaN"))
    assert len(live.sink.frames) == 30 and live.sink.is_closed


def test_fault_of_a_device_ends_the_stream() -> None:
    live = Live(tick=0.002)
    live.queue.put(voices.speech(0.5))

    def check() -> None:
        raise CodeTalkerError("removed")

    with pytest.raises(CodeTalkerError, match="removed"):
        live.loop.run(check)
    assert len(live.sink.frames) >= 0.5 * live.stream.fps and live.sink.is_closed


def test_stop_sends_what_was_taken() -> None:
    live = Live(tick=0.002)
    live.queue.put(voices.speech(0.5))
    live.loop.run(live.loop.stop)
    assert len(live.sink.frames) >= 0.5 * live.stream.fps and live.sink.is_closed


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_very_slow_model_ends_soon_after_the_sound(
    is_stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, n_hops = Live(tick=0.002), 0

    def slow(streams: Sequence[Stream]) -> list[list[StreamFrame]]:
        nonlocal n_hops
        n_hops += 1
        live.clock.now += 10
        return advance(streams)

    monkeypatch.setattr("codetalker_cli.live.loop.advance", slow)
    live.queue.put(voices.speech(0.9))
    if not is_stopped:
        live.queue.end()
    live.loop.run(live.loop.stop if is_stopped else lambda: None)
    # The first hop, and the frames for which the look-ahead is missing.
    assert n_hops <= 4
    assert live.loop.stats.n_frames + live.loop.stats.n_dropped >= 0.9 * live.stream.fps
    assert live.sink.is_closed


def test_failing_sink_ends_the_stream_and_closes_the_others() -> None:
    live = Live(tick=0.002)
    full = Recorder(error=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    loop = LiveLoop(
        live.stream, live.queue, Sinks([full, live.sink]), live.settings, clock=live.clock
    )
    live.queue.put(voices.speech(0.9))
    live.queue.end()
    with pytest.raises(OSError, match="No space"):
        loop.run()
    assert full.is_closed and live.sink.is_closed


class Player:
    """A player that has some sound left to play."""

    queued_seconds = 0.15

    def __init__(self) -> None:
        self.sound: list[np.ndarray] = []

    def push(self, sound: np.ndarray) -> None:
        self.sound.append(sound)


def test_face_waits_for_the_sound_that_is_played() -> None:
    live = Live()
    player = Player()
    live.loop = LiveLoop(
        live.stream, live.queue, Sinks([live.sink]), live.settings, player, live.clock
    )
    live.hear(voices.speech(1.0))
    live.wait(1.0)
    delays = [f.delay_seconds for f in live.sink.frames if f.delay_seconds is not None]
    assert min(delays) > live.stream.lookahead_seconds + 0.15 - 0.06
    played, sent = np.concatenate(player.sound), [f.frame.sound for f in live.sink.frames]
    np.testing.assert_array_equal(played, np.concatenate(sent))


def test_reading_thread_waits_for_room() -> None:
    queue = ChunkQueue(0.1, RATE)
    given: list[int] = []

    def chunks():
        for k in range(50):
            given.append(k)
            yield np.zeros(320, np.float32)

    ReadSource("x", RATE, chunks()).start(queue)
    taken = 0
    while not queue.has_ended:
        assert sum(len(c.samples) for c in queue.take(1.0)) <= 0.1 * RATE + 320
        taken += 1
    assert len(given) == 50 and taken > 5


def test_closed_queue_ends_the_reading_thread(tmp_path: Path) -> None:
    queue = ChunkQueue(0.1, RATE)
    queue.close()
    queue.end()
    assert not queue.put(np.zeros(320, np.float32)) and queue.take(0) == []
