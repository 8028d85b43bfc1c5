"""The head of live streams: it follows the rhythm, for all chunks alike, and never jumps."""

from pathlib import Path

import numpy as np
import pytest
import voices
from hypothesis import given, settings
from hypothesis import strategies as st
from live_fakes import FPS, stream
from test_head_motion import speech

from codetalker_cli.animate import Voice, load_voice
from codetalker_cli.animate.stream import REST_SECONDS, Stream, advance
from codetalker_cli.animate.stream_frames import StreamFrame
from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.audio.live import LiveSound
from codetalker_cli.rigs.head_motion import LOOK_AHEAD_SECONDS, HeadMotion, at_times
from codetalker_cli.rigs.idle import against, idle_curves
from codetalker_cli.rigs.live_idle import LiveIdle
from codetalker_cli.rigs.rhythm import Rhythm

SPEECH = speech(6)
SEED = 3
LARGEST_STEP = np.radians(2.5)
"""More than a head moves in a frame, also on its way to rest."""


def head_stream(lookahead: float = 0.2) -> Stream:
    return stream(lookahead_seconds=lookahead, head_seed=SEED)


def run(live: Stream, samples: np.ndarray, cuts: list[int]) -> list[StreamFrame]:
    frames = [f for part in np.split(samples, sorted(cuts)) for f in live.feed(part)]
    return frames + live.finish()


def heads(frames: list[StreamFrame]) -> np.ndarray:
    return np.stack([frame.head for frame in frames])


def expected_heads(samples: np.ndarray, n_frames: int, delay: float) -> np.ndarray:
    """Return the rotation of a recording, which a stream follows later."""
    _, leveled = LiveSound().add(samples, is_last=True)
    ticks = HeadMotion(SEED).add(Rhythm.of(leveled), is_last=True)
    return at_times(ticks, np.arange(n_frames) / FPS - delay)


def assert_no_jump(*parts: list[StreamFrame]) -> None:
    angles = heads([frame for part in parts for frame in part])
    assert np.abs(np.diff(angles, axis=0)).max() < LARGEST_STEP


@settings(deadline=None, max_examples=15)
@given(
    cuts=st.lists(st.integers(0, len(SPEECH)), max_size=12),
    lookahead=st.sampled_from([0.0, 0.05, 0.2, 0.3, 2.0]),
)
def test_the_head_does_not_depend_on_the_chunks(cuts: list[int], lookahead: float) -> None:
    whole = heads(run(head_stream(lookahead), SPEECH, []))
    assert np.abs(whole).max() > np.radians(1)
    np.testing.assert_array_equal(heads(run(head_stream(lookahead), SPEECH, cuts)), whole)


@pytest.mark.parametrize("lookahead", [0.0, 0.01, 0.1, 0.2, 0.3, 1.0])
@pytest.mark.parametrize("n", [len(SPEECH), 5000, 100])
def test_the_head_is_that_of_the_recording_with_one_delay(lookahead: float, n: int) -> None:
    live = head_stream(lookahead)
    frames = run(live, SPEECH[:n], list(range(0, n, 320)))
    assert 0 <= live.head_delay_seconds <= LOOK_AHEAD_SECONDS
    expected = expected_heads(SPEECH[:n], len(frames), live.head_delay_seconds)
    assert len(frames) == n * 25 // SAMPLE_RATE
    if frames:
        np.testing.assert_array_equal(heads(frames), expected)


def test_a_long_look_ahead_needs_no_delay() -> None:
    delays = [head_stream(seconds).head_delay_seconds for seconds in (0, 0.1, 0.2, 0.4, 2.0)]
    assert delays == sorted(delays, reverse=True)
    # Three frames of 40 ms follow the last frame of a hop.
    assert delays[2] == pytest.approx(LOOK_AHEAD_SECONDS - 3 * 0.04 - 0.04)
    assert delays[-2:] == [0, 0] and delays[0] < LOOK_AHEAD_SECONDS


def test_an_interrupted_head_comes_to_rest() -> None:
    live = head_stream()
    before = live.feed(SPEECH)
    rest = live.interrupt()
    assert len(rest) == round(REST_SECONDS * FPS)
    sizes = np.abs(heads([before[-1], *rest])).max(axis=1)
    assert sizes[0] > np.radians(0.3) and sizes[-1] == 0
    assert (np.diff(sizes) < 0).all()
    after = live.feed(SPEECH)
    assert_no_jump(before, rest, after)
    assert np.abs(heads(after)).max() > np.radians(1)


def test_the_next_utterance_begins_without_a_jump_and_moves_otherwise() -> None:
    live = head_stream()
    first = run(live, SPEECH, [])
    second = run(live, SPEECH, [])
    third = run(live, SPEECH, [])
    assert np.abs(first[-1].head).max() > np.radians(0.3)
    assert_no_jump(first, second, third)
    assert np.abs(heads(first) - heads(second)).max() > np.radians(1)
    assert np.abs(heads(second) - heads(third)).max() > np.radians(1)


def test_the_head_repeats_itself_after_reset() -> None:
    live = head_stream()
    first = heads(run(live, SPEECH, []))
    live.feed(SPEECH[:50_000])
    live.reset()
    np.testing.assert_array_equal(heads(run(live, SPEECH, [])), first)


def test_the_head_follows_sound_that_is_dropped() -> None:
    live, expected = head_stream(), run(head_stream(), SPEECH, [])
    live.push(SPEECH)
    (first,) = advance([live])
    n = live.drop(1.0)
    assert n > 50
    frames = first
    while live.is_due:
        frames += advance([live])[0]
    frames += live.finish()
    assert len(frames) == len(expected) - n
    for frame in frames:
        np.testing.assert_array_equal(frame.head, expected[frame.index].head)


def test_streams_in_a_batch_have_the_heads_of_each_alone() -> None:
    sounds = [SPEECH, SPEECH[::-1].copy(), voices.speech(6)]
    lives = [head_stream() for _ in sounds]
    for live, sound in zip(lives, sounds, strict=True):
        live.push(sound, is_last=True)
    frames: list[list[StreamFrame]] = [[], [], []]
    while any(live.is_due for live in lives):
        for all_frames, new in zip(frames, advance(lives), strict=True):
            all_frames += new
    for found, sound in zip(frames, sounds, strict=True):
        np.testing.assert_array_equal(heads(found), heads(run(head_stream(), sound, [])))


def test_the_head_is_still_in_silence_and_moves_after_it() -> None:
    silence = np.zeros(2 * SAMPLE_RATE, np.float32)
    frames = run(head_stream(), np.concatenate([silence, SPEECH]), [5000])
    assert not heads(frames)[:45].any()
    assert np.abs(heads(frames)[50:]).max() > np.radians(1)


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    folder: Path = tmp_path_factory.mktemp("voice") / "voice"
    voices.save(folder, "A", family="whisper", motion_history=False)
    return load_voice(folder, device="cpu")


@pytest.mark.parametrize(
    ("options", "moves"),
    [
        ({}, True),
        ({"idle": False}, False),
        ({"idle": False, "head": True}, True),
        ({"head": False}, False),
    ],
)
def test_the_head_is_an_option_like_that_of_animate(
    voice: Voice, options: dict, moves: bool
) -> None:
    live = voice.stream(**options)
    frames = run(live, SPEECH[:40_000], [])
    assert live.moves_head == moves
    assert heads(frames).shape == (62, 3) and heads(frames).dtype == np.float32
    assert heads(frames).any() == moves
    if not moves:
        assert live.head_delay_seconds == 0


def test_the_first_utterance_moves_as_the_recording_does(voice: Voice) -> None:
    sound = SPEECH[:40_000]
    live = voice.stream(seed=5, lookahead_seconds=1.0)
    motion = voice.animate(sound, seed=5)
    assert motion.head is not None and live.head_delay_seconds == 0
    np.testing.assert_allclose(heads(run(live, sound, [])), motion.head, atol=1e-6)


def test_the_eyes_of_a_stream_turn_against_the_head() -> None:
    mesh, n = voices.mesh("A"), 60
    idle = LiveIdle(mesh, "A", 25.0, seed=1)
    head = np.zeros((n, 3), np.float32)
    head[:, 1] = np.linspace(0, 0.1, n)  # the head goes down
    zeros = np.zeros((n, len(mesh.templates["A"]), 3), np.float32)
    moved = idle.add_to(zeros.copy(), 100, head)
    gaze = idle_curves("A", 1500, 25.0, (1, 0))[0][100:160, 1]
    expected = np.maximum(gaze + against(head)[:, 1], 0)
    np.testing.assert_allclose(-moved[:, voices.EYES["eyeLookUpLeft"], 1], expected, atol=1e-6)
    still = idle.add_to(zeros.copy(), 100)
    blink = voices.EYES["eyeBlinkLeft"]
    np.testing.assert_array_equal(moved[:, blink], still[:, blink])
    assert against(head)[-1, 1] > 0.1
