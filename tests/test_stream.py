"""Test live streams: the same frames for all chunks, in constant memory, and a soft stop."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import voices
from hypothesis import given, settings
from hypothesis import strategies as st

from codetalker_cli import audio
from codetalker_cli.animate import Voice, load_voice
from codetalker_cli.animate.live_windows import Window, WindowDecoder
from codetalker_cli.animate.stream import REST_SECONDS, Stream, StreamFrame, advance
from codetalker_cli.audio.live import LiveSound
from codetalker_cli.errors import InputError
from codetalker_cli.motion import Motion
from codetalker_cli.rigs.live_idle import BLOCK_SECONDS, LiveIdle
from codetalker_cli.rigs.solve import solve_curves
from codetalker_cli.rigs.units import UnitSet

SPEECH = voices.speech(2.3)
SHORT = SPEECH[:16_000]
RATES = [8000, 11025, 16000, 22050, 44100, 44056, 48000]


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    folder = tmp_path_factory.mktemp("voice") / "voice"
    voices.save(folder, "A", "B", family="whisper", motion_history=False)
    return load_voice(folder, device="cpu")


def run(stream: Stream, samples: np.ndarray, cuts: list[int]) -> list[StreamFrame]:
    frames = [f for part in np.split(samples, sorted(cuts)) for f in stream.feed(part)]
    return frames + stream.finish()


def faces(frames: list[StreamFrame]) -> np.ndarray:
    return np.stack([frame.vertices for frame in frames])


def assert_same(frames: list[StreamFrame], expected: list[StreamFrame]) -> None:
    assert [f.index for f in frames] == [f.index for f in expected]
    np.testing.assert_array_equal(faces(frames), faces(expected))
    for frame, other in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame.sound, other.sound)


@pytest.fixture(scope="module")
def whole(voice: Voice) -> list[StreamFrame]:
    """The frames of the speech in one chunk."""
    return run(voice.stream(), SPEECH, [])


@pytest.fixture(scope="module")
def short(voice: Voice) -> list[StreamFrame]:
    """The frames of the short speech in one chunk."""
    return run(voice.stream(), SHORT, [])


@settings(deadline=None, max_examples=8)
@given(cuts=st.lists(st.integers(0, len(SPEECH)), max_size=9))
def test_frames_do_not_depend_on_the_chunks(
    voice: Voice, whole: list[StreamFrame], cuts: list[int]
) -> None:
    assert len(whole) == int(2.3 * 25)
    assert [f.index for f in whole] == list(range(len(whole)))
    assert [f.seconds for f in whole] == [k / 25 for k in range(len(whole))]
    assert_same(run(voice.stream(), SPEECH, cuts), whole)


def test_a_voice_with_a_motion_history_streams_too(tmp_path: Path) -> None:
    voice = load_voice(voices.save(tmp_path / "voice", "A"), device="cpu")
    sound = SPEECH[:9600]
    whole = run(voice.stream(), sound, [])
    assert len(whole) == 15
    assert_same(run(voice.stream(), sound, [1, 4000, 7777]), whole)


@settings(deadline=None, max_examples=10)
@given(rate=st.sampled_from(RATES), cuts=st.lists(st.integers(0, 40_000), max_size=9))
def test_live_sound_is_converted_the_same_whatever_the_chunks(rate: int, cuts: list[int]) -> None:
    samples = voices.speech(0.9, rate) * np.float32(0.02)  # quiet, so that the level is raised
    expected, leveled = LiveSound(rate).add(samples, is_last=True)
    sound = LiveSound(rate)
    parts = [sound.add(part) for part in np.split(samples, sorted(cuts))]
    parts.append(sound.add(np.zeros(0, np.float32), is_last=True))
    np.testing.assert_array_equal(np.concatenate([p[0] for p in parts]), expected)
    np.testing.assert_array_equal(np.concatenate([p[1] for p in parts]), leveled)
    offline = audio.resample(samples, rate, audio.SAMPLE_RATE)
    assert len(expected) == len(offline)
    np.testing.assert_allclose(expected, offline, atol=1e-4)
    assert np.abs(leveled).max() > 2 * np.abs(expected).max()


def test_silence_needs_no_gain_and_stays_silent() -> None:
    sound, leveled = LiveSound(16_000).add(np.zeros(16_000, np.float32), is_last=True)
    assert len(sound) == len(leveled) == 16_000
    assert not leveled.any()


def test_a_frame_is_known_after_the_look_ahead(voice: Voice) -> None:
    stream = voice.stream(lookahead_seconds=0.32)
    assert stream.lookahead_seconds == 0.32
    arrived = 0
    for start in range(0, len(SPEECH), 160):
        arrived = start + 160
        for frame in stream.feed(SPEECH[start:arrived]):
            waited = arrived / audio.SAMPLE_RATE - frame.seconds
            assert 0.32 - 0.12 < waited <= 0.32 + 0.011


def test_a_long_look_ahead_and_left_context_give_the_whole_recording(voice: Voice) -> None:
    """The windows decide the result, not the stream: the first window is the recording itself."""
    stream = voice.stream(lookahead_seconds=2.0, idle=False)
    decoder = WindowDecoder(voice.checkpoint.model, voice.decode)
    n = decoder.n_silent
    window = np.concatenate([np.zeros(n * 640, np.float32), SPEECH[:32_000]])
    style = decoder.style(np.array([1, 0, 0], np.float32))
    hidden = decoder.decode([Window(window, -n, n, n + 50, style)])[0].hidden
    neutral = voice.checkpoint.mesh.templates["A"].astype(np.float32)
    expected = decoder.to_vertices(hidden, neutral)[n : n + 2]
    frames = faces(stream.feed(SPEECH)[:2])
    scale = np.array([0.25, 0.5], np.float32)[:, None, None]
    np.testing.assert_allclose(frames, neutral + scale * (expected - neutral), atol=1e-5)


def test_memory_is_constant_over_a_long_stream(voice: Voice) -> None:
    stream, sizes = voice.stream(), []
    for _ in range(20):
        for frame in stream.feed(SPEECH[:16_000]):
            assert len(frame.sound) == 640
        sizes.append(sum(v.nbytes for v in vars(stream).values() if isinstance(v, np.ndarray)))
    assert max(sizes[10:]) <= max(sizes[5:10]) < 600_000


def test_a_stream_repeats_itself_after_reset(voice: Voice) -> None:
    stream = voice.stream(seed=3)
    first = run(stream, SPEECH, [])
    stream.feed(SPEECH[:9000])
    stream.reset()
    assert_same(run(stream, SPEECH, []), first)


def test_frames_of_the_next_utterance_follow(voice: Voice) -> None:
    stream = voice.stream(idle=False)
    first, second = run(stream, SPEECH, []), run(stream, SPEECH, [])
    assert [f.index for f in second] == list(range(len(first), 2 * len(first)))
    np.testing.assert_array_equal(faces(first)[4:], faces(second)[4:])


def test_an_interrupted_face_comes_to_rest(voice: Voice) -> None:
    stream = voice.stream(idle=False)
    before = stream.feed(SPEECH[:20_000])
    rest = stream.interrupt()
    neutral = voice.checkpoint.mesh.templates["A"].astype(np.float32)
    assert len(rest) == round(REST_SECONDS * 25)
    assert [f.index for f in rest] == [before[-1].index + 1 + k for k in range(len(rest))]
    distances = np.abs(faces([before[-1], *rest]) - neutral).max((1, 2))
    assert (np.diff(distances) < 0).all()
    assert distances[-1] == 0
    # The dropped sound does not come back.
    after = stream.feed(np.zeros(16_000, np.float32))
    assert after[0].index == rest[-1].index + 1
    np.testing.assert_array_equal(faces(after), np.repeat(neutral[None], len(after), 0))


def test_an_interrupt_before_any_sound_gives_the_neutral_face(voice: Voice) -> None:
    rest = voice.stream(idle=False).interrupt()
    neutral = voice.checkpoint.mesh.templates["A"].astype(np.float32)
    np.testing.assert_array_equal(faces(rest), np.repeat(neutral[None], len(rest), 0))


def test_the_face_rests_in_digital_silence(voice: Voice) -> None:
    stream = voice.stream(idle=False)
    stream.feed(SPEECH)
    frames = stream.feed(np.zeros(96_000, np.float32))
    neutral = voice.checkpoint.mesh.templates["A"].astype(np.float32)
    moved = np.abs(faces(frames) - neutral).max((1, 2))
    assert (moved[-30:] == 0).all()
    stop = int(np.flatnonzero(moved)[-1]) + 1
    # The last movement shrinks in equal steps.
    np.testing.assert_allclose(moved[stop - 3 : stop] / moved[stop - 1], [3, 2, 1], rtol=1e-3)


def test_streams_in_a_batch_equal_each_alone(voice: Voice) -> None:
    sounds = [voices.speech(1.5, seed=k) for k in range(3)]
    styles = ["A", "B", "A:0.5,C:0.5"]
    alone = [run(voice.stream(style=s), x, []) for s, x in zip(styles, sounds, strict=True)]
    streams = [voice.stream(style=style) for style in styles]
    together: list[list[StreamFrame]] = [[], [], []]
    for start in range(0, 24_000, 640):
        for stream, sound in zip(streams, sounds, strict=True):
            stream.push(sound[start : start + 640])
        while any(stream.is_due for stream in streams):
            for frames, new in zip(together, advance(streams), strict=True):
                frames += new
    for frames, expected in zip(together, alone, strict=True):
        close = np.isclose(faces(frames), faces(expected[: len(frames)]), atol=1e-5)
        # Rounding can choose another code of the same distance, which is rare.
        assert close.mean() > 0.99


def test_a_slow_stream_drops_frames_and_not_the_newest_ones(voice: Voice) -> None:
    stream, expected = voice.stream(idle=False), run(voice.stream(idle=False), SPEECH, [])
    stream.push(SPEECH)
    assert stream.backlog_seconds > 1.9
    n = stream.drop(1.0)
    assert n == stream.n_dropped > 0
    assert 0.8 < stream.backlog_seconds <= 1.0
    assert stream.drop(1.0) == 0
    frames = stream.feed([]) + stream.finish()
    assert [f.index for f in frames] == [f.index for f in expected[n:]]
    # The encoder starts over after the gap, and in each stream after every ten hops of two frames.
    same = next(k for k in range(4, len(frames)) if frames[k].index % 20 == 0)
    np.testing.assert_array_equal(faces(frames)[same:], faces(expected[n:])[same:])


def test_dropping_may_skip_more_sound_than_a_window(voice: Voice) -> None:
    stream = voice.stream()
    stream.push(np.tile(SPEECH, 5))
    stream.drop(0.0)
    assert next(f.index for f in stream.feed(SPEECH)) == stream.n_dropped


def test_a_model_that_cannot_keep_up_is_reported_once(
    voice: Voice, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter(np.arange(0.0, 1e6, 0.5))
    monkeypatch.setattr("codetalker_cli.animate.stream.time.perf_counter", lambda: next(clock))
    stream = voice.stream()
    with caplog.at_level(logging.WARNING):
        stream.feed(np.tile(SPEECH, 2))
    assert stream.load == pytest.approx(0.5 * 25 / 2)
    assert caplog.text.count("falls behind and drops frames") == 1


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint8", "float64"])
def test_samples_of_all_types_are_accepted(
    voice: Voice, short: list[StreamFrame], dtype: str
) -> None:
    scale = {"int16": 2**15, "int32": 2**31, "uint8": 2**7}.get(dtype, 1)
    offset = 128 if dtype == "uint8" else 0
    samples = (SHORT.astype(np.float64) * 0.9 * scale + offset).astype(dtype)
    stereo = np.stack([samples, samples], axis=1)
    stream = voice.stream(idle=False)
    frames = stream.feed(stereo)
    assert 0 < len(frames) < len(frames + stream.finish()) == len(short)


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        ([0.1, np.nan], "NaN or infinite"),
        (np.full(160, np.inf), "NaN or infinite"),
        (np.zeros((2, 3, 4)), "expected \\(n,\\), or \\(n, channels\\)"),
        (np.zeros((2, 160)), "up to 8 channels"),
        (np.zeros(4, np.int64), "samples are of type int64"),
        ("abc", "got a str"),
        (np.zeros(4, complex), "samples are of type complex"),
    ],
)
def test_a_refused_chunk_leaves_the_stream_as_it_was(
    voice: Voice, short: list[StreamFrame], chunk: Any, message: str
) -> None:
    stream = voice.stream()
    frames = stream.feed(SHORT[:10_000])
    assert frames
    with pytest.raises(InputError, match=message):
        stream.feed(chunk)
    assert_same(frames + run(stream, SHORT[10_000:], []), short)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subject": "X"}, "this model has: A, B"),
        ({"style": "X"}, "is unknown"),
        ({"sampling_rate": 0}, "whole number from"),
        ({"sampling_rate": 16000.5}, "whole number from"),
        ({"lookahead_seconds": -0.1}, "number from 0 to 2"),
        ({"lookahead_seconds": 3}, "number from 0 to 2"),
        ({"lookahead_seconds": float("nan")}, "number from 0 to 2"),
        ({"seed": -1}, "`seed`"),
        ({"units": "arkit"}, "type str"),
    ],
)
def test_wrong_options_are_refused(voice: Voice, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        voice.stream(**options)


@pytest.mark.parametrize("lookahead", [0, 0.01, 0.05, 0.1, 0.5, 1.0])
def test_any_look_ahead_gives_all_frames(voice: Voice, lookahead: float) -> None:
    stream = voice.stream(lookahead_seconds=lookahead)
    assert len(stream.feed(SPEECH) + stream.finish()) == int(2.3 * 25)
    assert stream.lookahead_seconds <= max(lookahead, 0.04) + 0.021


def test_weights_are_those_of_the_vertices(voice: Voice) -> None:
    mesh = voice.checkpoint.mesh
    rng = np.random.default_rng(0)
    deltas = rng.normal(size=(4, mesh.topology.n_vertices, 3)).astype(np.float32)
    stream = voice.stream(units=UnitSet(("a", "b", "c", "d"), deltas), idle=False)
    assert stream.units == ("a", "b", "c", "d")
    frames = stream.feed(SPEECH)
    motion = Motion(faces(frames), 25.0, mesh.topology, "A", mesh.templates["A"])
    curves = solve_curves(motion, UnitSet(stream.units, deltas))
    weights = np.stack([frame.weights for frame in frames])
    np.testing.assert_allclose(weights, curves.weights, atol=1e-6)
    assert weights.any()


def test_a_face_without_known_units_has_vertices_but_no_weights(voice: Voice) -> None:
    stream = voice.stream()
    assert stream.units == ()
    frame = stream.feed(SPEECH)[0]
    assert frame.vertices.shape == voice.checkpoint.mesh.templates["A"].shape
    with pytest.raises(InputError, match="give `units` to the stream"):
        _ = frame.weights


def test_live_idle_motion_has_no_jumps_between_blocks() -> None:
    idle = LiveIdle(voices.mesh("A"), "A", 25.0, seed=1)
    n = 2 * BLOCK_SECONDS * 25 + 100
    zeros = np.zeros((n, voices.mesh("A").topology.n_vertices, 3), np.float32)
    offsets = idle.add_to(zeros.copy(), 0)
    edge = BLOCK_SECONDS * 25
    assert np.abs(offsets[edge - 1 : edge + 1]).max() < 1e-6
    assert np.abs(offsets).max() > 0.1  # there are blinks
    # Any part is the same, whatever was asked before.
    part = idle.add_to(zeros[:40].copy(), edge - 20)
    np.testing.assert_array_equal(part, offsets[edge - 20 : edge + 20])
    assert not np.array_equal(offsets[:edge], offsets[edge : 2 * edge])
