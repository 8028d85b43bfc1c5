"""The rhythm of speech, and the motion of the head, the brows and the eyes that follows it."""

import dataclasses
import pickle
from collections.abc import Iterable
from functools import cache

import numpy as np
import pytest
import takes
import voices
from hypothesis import given, settings
from hypothesis import strategies as st

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.rigs import head_motion
from codetalker_cli.rigs.brows import MAX_RAISE, BrowMotion, brow_raises
from codetalker_cli.rigs.head_motion import HeadMotion, at_times, head_rotation
from codetalker_cli.rigs.idle import IdleMotion, against, idle_weights, subject_mesh
from codetalker_cli.rigs.rhythm import LOOK_AHEAD_SECONDS, RATE, Rhythm, RhythmFinder
from codetalker_cli.rigs.styles import SpeakingStyle
from codetalker_cli.rigs.units import bundled_rig
from codetalker_cli.topology import Mesh

FPS = 50.0
SYLLABLE_SECONDS, PHRASE_SYLLABLES, PAUSE_SECONDS = 0.22, 9, 0.6


def syllables(levels: np.ndarray) -> np.ndarray:
    """Return samples of syllables with these amplitudes; an amplitude of 0 is silence."""
    n = round(SYLLABLE_SECONDS * SAMPLE_RATE)
    time = np.arange(n) / SAMPLE_RATE
    one = np.sin(2 * np.pi * 150 * time) * np.sin(np.pi * time / SYLLABLE_SECONDS) ** 2
    return np.concatenate([one * level for level in levels]).astype(np.float32)


@cache
def speech(seconds: float) -> np.ndarray:
    """Return phrases of syllables with random loudness and pauses between them."""
    rng = np.random.default_rng(0)
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE), np.float32)
    parts, length = [], 0
    while length < seconds * SAMPLE_RATE:
        parts += [syllables(0.1 * 10 ** rng.uniform(-0.5, 0.5, PHRASE_SYLLABLES)), pause]
        length += len(parts[-2]) + len(pause)
    return np.concatenate(parts)[: round(seconds * SAMPLE_RATE)]


def degrees(samples: np.ndarray, seed: int = 0, fps: float = FPS) -> np.ndarray:
    n_frames = round(len(samples) / SAMPLE_RATE * fps)
    return np.degrees(head_rotation(Rhythm.of(samples), n_frames, fps, seed))


# Rhythm -------------------------------------------------------------------------------------------


def test_accents_are_the_loud_syllables() -> None:
    levels = np.full(24, 0.05)
    loud = [6, 11, 19]
    levels[loud] = 0.2
    rhythm = Rhythm.of(syllables(levels))
    found = [
        time
        for time, strength in zip(rhythm.accents, rhythm.strengths, strict=True)
        if strength > 0.5
    ]
    np.testing.assert_allclose(found, (np.array(loud) + 0.5) * SYLLABLE_SECONDS, atol=0.03)


def test_phrases_and_pauses_are_where_speech_starts_and_stops() -> None:
    silence = np.zeros(SAMPLE_RATE, np.float32)
    talk = syllables(np.full(5, 0.1))
    rhythm = Rhythm.of(np.concatenate([silence, talk, silence, talk, silence]))
    starts = np.array([1, 2 + 5 * SYLLABLE_SECONDS])
    np.testing.assert_allclose(rhythm.phrases, starts, atol=0.1)
    np.testing.assert_allclose(rhythm.pauses, starts + 5 * SYLLABLE_SECONDS, atol=0.1)


@pytest.mark.parametrize("gain", [0.3, 1.0, 3.0])
def test_rhythm_hardly_depends_on_the_level(gain: float) -> None:
    expected = Rhythm.of(speech(30))
    found = Rhythm.of(speech(30) * np.float32(gain))
    assert abs(len(found.phrases) - len(expected.phrases)) <= 1
    distances = np.abs(np.subtract.outer(expected.accents, found.accents)).min(axis=1)
    assert len(found.accents) == pytest.approx(len(expected.accents), rel=0.1)
    assert (distances < 0.03).mean() > 0.9


def test_a_longer_recording_has_the_same_rhythm() -> None:
    whole, part = Rhythm.of(speech(40)), Rhythm.of(speech(20))
    known = 20 - LOOK_AHEAD_SECONDS
    for long, short in ((whole.accents, part.accents), (whole.phrases, part.phrases)):
        assert [t for t in long if t < known] == [t for t in short if t < known]
    assert part.accents


@pytest.mark.parametrize("level", [0.0, 1e-4, 1e-2])
def test_constant_noise_is_no_speech(level: float) -> None:
    noise = np.random.default_rng(0).normal(0, level, 20 * SAMPLE_RATE).astype(np.float32)
    rhythm = Rhythm.of(noise)
    assert not rhythm.speaking.any()
    assert rhythm.accents == rhythm.phrases == rhythm.pauses == ()
    assert not degrees(noise).any()


@pytest.mark.parametrize("n", [0, 1, 100, 161])
def test_short_recordings_are_still(n: int) -> None:
    rhythm = Rhythm.of(np.full(n, 0.5, np.float32))
    assert head_rotation(rhythm, 1, 30.0, 0).shape == (1, 3)


# Rotation -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_ten_minutes_are_bounded_without_drift(seed: int) -> None:
    angles = degrees(speech(600), seed)
    speed = np.abs(np.diff(angles, axis=0)) * FPS
    yaw, pitch, roll = angles.std(axis=0)
    assert 0.9 < yaw < 2.1
    assert 0.9 < pitch < 2.1
    assert 0.45 < roll < 1.1
    assert np.abs(angles).max() < head_motion.MAX_DEGREES
    assert speed.max() < 40
    np.testing.assert_allclose(angles.mean(axis=0), 0, atol=0.3)
    halves = angles.reshape(2, -1, 3).mean(axis=1)
    np.testing.assert_allclose(halves[0], halves[1], atol=0.6)


def test_the_limit_holds_for_exaggerated_motion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_motion, "MAX_DEGREES", 5.5)
    angles = degrees(speech(600))
    assert 4 < np.abs(angles).max() < 5.5


def test_rotation_depends_on_the_seed_alone() -> None:
    first, again, other = (degrees(speech(20), seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1


def test_a_longer_recording_begins_with_the_same_rotation() -> None:
    whole, part = degrees(speech(40)), degrees(speech(20))
    known = round((20 - head_motion.LOOK_AHEAD_SECONDS) * FPS)
    np.testing.assert_allclose(whole[:known], part[:known], atol=1e-6)
    assert np.abs(whole[:known]).max() > 1


def test_the_frame_rate_only_samples_the_rotation() -> None:
    np.testing.assert_allclose(degrees(speech(20), fps=50)[::2], degrees(speech(20), fps=25))


def test_the_head_moves_most_after_loud_syllables() -> None:
    samples = speech(300)
    accents = np.array(Rhythm.of(samples).accents)
    after = np.round((accents + 0.1) * FPS).astype(int)
    down = np.mean([np.gradient(degrees(samples, seed)[:, 1]) * FPS for seed in range(3)], axis=0)
    later = np.clip(after + round(0.4 * FPS), 0, len(down) - 1)
    assert down[after].mean() > 3
    assert down[later].mean() < 0


def test_the_head_comes_to_rest_in_silence() -> None:
    samples = np.concatenate([speech(20), np.zeros(8 * SAMPLE_RATE, np.float32)])
    angles = np.abs(degrees(samples))
    assert angles[: 20 * 50].max() > 1
    assert angles[round(24 * FPS) :].max() < 0.3
    assert angles[-1].max() < 0.02


# Pieces of sound ----------------------------------------------------------------------------------


def in_pieces(samples: np.ndarray, cuts: Iterable[int]) -> tuple[Rhythm, np.ndarray]:
    """Return the rhythm and the degrees of sound that comes in pieces."""
    finder, motion = RhythmFinder(), HeadMotion(3)
    pieces = np.split(samples, sorted(cuts))
    parts = [finder.add(piece) for piece in pieces]
    parts.append(finder.add(samples[:0], is_last=True))
    n = len(parts)
    angles = [motion.add(part, is_last=k + 1 == n) for k, part in enumerate(parts)]
    return Rhythm.joined(parts), np.concatenate(angles)


def assert_same_rhythm(found: Rhythm, expected: Rhythm) -> None:
    np.testing.assert_array_equal(found.speaking, expected.speaking)
    for name in ("accents", "strengths", "phrases", "pauses"):
        assert getattr(found, name) == getattr(expected, name)


LONGEST = 8 * SAMPLE_RATE


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(0, LONGEST),
    silence=st.integers(0, SAMPLE_RATE),
    cuts=st.lists(st.integers(0, LONGEST), max_size=30),
)
def test_pieces_give_the_motion_of_the_whole(n: int, silence: int, cuts: list[int]) -> None:
    samples = np.concatenate([np.zeros(silence, np.float32), speech(8)])[:n]
    rhythm, angles = in_pieces(samples, [min(cut, n) for cut in cuts])
    whole = Rhythm.of(samples)
    assert_same_rhythm(rhythm, whole)
    np.testing.assert_array_equal(angles, HeadMotion(3).add(whole, is_last=True))
    n_frames = round(n / SAMPLE_RATE * FPS)
    rotation = at_times(angles, np.arange(n_frames) / FPS)
    np.testing.assert_array_equal(rotation, head_rotation(whole, n_frames, FPS, 3))


def test_single_samples_give_the_motion_of_the_whole() -> None:
    samples = speech(0.2)
    rhythm, angles = in_pieces(samples, range(len(samples)))
    assert_same_rhythm(rhythm, Rhythm.of(samples))
    np.testing.assert_array_equal(angles, HeadMotion(3).add(rhythm, is_last=True))


def test_an_hour_in_pieces_does_not_drift() -> None:
    samples = np.tile(speech(600), 6)
    rhythm, angles = in_pieces(samples, range(0, len(samples), 7777))
    assert_same_rhythm(rhythm, Rhythm.of(samples))
    np.testing.assert_array_equal(angles, HeadMotion(3).add(rhythm, is_last=True))
    np.testing.assert_allclose(angles[-60_000:].mean(axis=0), 0, atol=0.3)
    assert 0.9 < angles[-60_000:, 0].std() < 2.1


def test_pieces_need_constant_memory() -> None:
    finder, motion, sizes = RhythmFinder(), HeadMotion(3), []
    for _ in range(20):
        for piece in np.split(speech(60), 300):
            motion.add(finder.add(piece))
        sizes.append(len(pickle.dumps((finder, motion))))
    assert max(sizes[10:]) < 1.5 * max(sizes[:2])


def test_a_tick_is_known_after_the_look_ahead() -> None:
    samples, n = speech(5), 4 * SAMPLE_RATE
    known = HeadMotion(3).add(RhythmFinder().add(samples[:n]))
    assert (len(known) + 0.5) / RATE >= 4 - head_motion.LOOK_AHEAD_SECONDS
    _, whole = in_pieces(samples, [])
    np.testing.assert_array_equal(known, whole[: len(known)])


def test_another_utterance_moves_otherwise() -> None:
    rhythm = Rhythm.of(speech(8))
    first, again, second = (HeadMotion(3, k).add(rhythm, is_last=True) for k in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - second).max() > 1


# Brows and eyes -----------------------------------------------------------------------------------


def rhythm_of_accents(*times: float, strength: float = 1.0) -> Rhythm:
    speaking = np.ones(round(100 * (max(times) + 2)), bool)
    return Rhythm(speaking, times, (strength,) * len(times), (), ())


def test_brows_rise_on_strong_accents_only() -> None:
    times = tuple(np.arange(1.0, 60.0, 2.0))
    strong = brow_raises(rhythm_of_accents(*times), 3000, FPS, 0)
    weak = brow_raises(rhythm_of_accents(*times, strength=0.2), 3000, FPS, 0)
    at = np.round((np.array(times) + 0.08) * FPS).astype(int)
    assert 0.3 < (strong[at] > 0.05).mean() < 0.9
    assert strong[at - round(0.4 * FPS)].max() == 0
    assert 0.1 < strong.max() <= 0.3
    assert not weak.any()


@cache
def head_mesh() -> Mesh:
    rig = bundled_rig()
    return Mesh(rig.topology, {"S02": rig.template("S02")})


def test_brows_move_only_the_upper_face() -> None:
    mesh, rhythm = head_mesh(), Rhythm.of(speech(20))
    brows = BrowMotion.of(mesh, "S02", rhythm, 600, 30.0, 0)
    assert brows is not None
    still = np.repeat(mesh.templates["S02"][None], 600, axis=0)
    moved = brows.add_to(still.copy(), np.arange(600)) - still
    assert 1e-3 < np.abs(moved).max() < 5e-3
    assert not moved[:, mesh.topology.region("mouth")].any()
    assert not moved[:, mesh.topology.region("lips")].any()


@pytest.mark.parametrize("own", [0.0, 0.4, 0.9])
def test_brows_of_model_and_layer_stay_within_the_limit(own: float) -> None:
    brows = BrowMotion.of(head_mesh(), "S02", rhythm_of_accents(1.0), 90, 30.0, 0)
    assert brows is not None
    brows = dataclasses.replace(brows, raises=np.full(90, 0.3, np.float32))
    frames = np.repeat(head_mesh().templates["S02"][None], 90, axis=0)
    frames[:, brows.moved] += np.float32(own) * brows.deltas
    before = frames.copy()
    brows.add_to(frames, np.arange(90))
    added = (frames - before)[:, brows.moved] / np.abs(brows.deltas).max()
    expected = max(0.0, min(0.3, MAX_RAISE - own))
    assert np.abs(added).max() == pytest.approx(expected, abs=1e-4)


def test_other_faces_have_no_brows() -> None:
    motion = takes.small_take().motion
    mesh = Mesh(motion.topology, {"P1": motion.template})
    assert BrowMotion.of(mesh, "P1", rhythm_of_accents(1.0), 90, 30.0, 0) is None


def test_the_eyes_turn_against_the_head() -> None:
    head = np.radians([[4.0, 0, 0], [0, 3.0, 0], [0, 0, 5.0], [90, 90, 0]])
    turn = against(head)
    assert turn[0, 0] < -0.1  # the nose turns to the left, so the eyes turn to the right
    assert turn[1, 1] > 0.1  # the nose goes down, so the eyes go up
    assert not turn[2].any()
    assert np.abs(turn).max() < 0.5

    style, rng = SpeakingStyle(), np.random.default_rng
    still = idle_weights(4, FPS, style, rng(0))
    turned = idle_weights(4, FPS, style, rng(0), turn_of_eyes=turn)
    assert turned["eyeLookInLeft"][0] > still["eyeLookInLeft"][0] + 0.1
    assert turned["eyeLookUpRight"][1] > still["eyeLookUpRight"][1] + 0.1
    np.testing.assert_array_equal(turned["eyeBlinkLeft"], still["eyeBlinkLeft"])


def test_the_rhythm_of_synthetic_syllables_is_found() -> None:
    rhythm = Rhythm.of(voices.speech(10.0))  # four syllables per second
    assert rhythm.speaking.mean() > 0.5
    assert len(rhythm.phrases) == 1


def test_blinks_follow_strong_accents_and_pauses() -> None:
    rig = bundled_rig()
    mesh = subject_mesh(rig, {"S10": "S10"}, idle=True)
    accents, pauses = tuple(np.arange(2.0, 60.0, 6.0)), tuple(np.arange(5.0, 60.0, 6.0))
    rhythm = dataclasses.replace(rhythm_of_accents(*accents), pauses=pauses)
    spoken = rhythm, np.zeros((1800, 3), np.float32)
    units = list(mesh.idle_units)
    column = units.index("eyeBlinkLeft")
    near = []
    for known in (spoken, None):
        n_near = n_all = 0
        for seed in range(8):
            lids = IdleMotion.of(mesh, "S10", 1800, 30.0, seed, known).weights[:, column]
            inside = lids[1:-1]
            peaks = (inside >= lids[:-2]) & (inside > lids[2:]) & (inside > 0.5 * lids.max())
            times = (np.flatnonzero(peaks) + 1) / 30.0
            events = np.concatenate([np.add(accents, 0.3), np.add(pauses, 0.12)])
            n_near += int((np.abs(np.subtract.outer(times, events)).min(axis=1) < 0.05).sum())
            n_all += len(times)
        near.append(n_near / n_all)
    assert near[0] > 2 * near[1]
