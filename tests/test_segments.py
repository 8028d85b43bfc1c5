"""Segments of long recordings: where they are cut, and how they are joined."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

import codetalker_cli as ct
from codetalker_cli import audio, resources
from codetalker_cli.animate.batch_decoding import BatchDecoder, Recording
from codetalker_cli.animate.segments import Segment, plan_segments
from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.models.speech_encoders.encoder import AudioEncoder
from codetalker_cli.settings import DecodeSettings

FPS = 25.0


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)


def segments(samples: np.ndarray, fps: float = FPS, **changes: Any) -> list[Segment]:
    n_frames = int(len(samples) * fps // SAMPLE_RATE)
    return plan_segments(samples, n_frames, fps, DecodeSettings(**{"whole_frames": 50, **changes}))


# The plan --------------------------------------------------------------------------------------


@given(
    seconds=st.floats(2.1, 90),
    fps=st.sampled_from([24.0, 25.0, 30.0, 60.0]),
    segment=st.floats(2, 20),
    overlap=st.floats(0, 3),
    join=st.floats(0, 0.5),
    seed=st.integers(0, 99),
)
def test_segments_cover_the_recording_with_weights_that_sum_to_1(
    seconds: float, fps: float, segment: float, overlap: float, join: float, seed: int
) -> None:
    made = segments(
        noise(seconds, seed),
        fps,
        segment_seconds=segment,
        warmup_seconds=overlap,
        crossfade_seconds=join,
    )
    n_frames = int(round(seconds * SAMPLE_RATE) * fps // SAMPLE_RATE)
    longest = round(segment * fps)
    assert made[0].start == made[0].first == 0 and made[-1].stop == made[-1].end == n_frames
    assert [p.end for p in made[:-1]] == [p.first for p in made[1:]]
    total = np.zeros(n_frames)
    for k, p in enumerate(made):
        assert 0 <= p.start <= p.first < p.end <= p.stop <= n_frames
        assert p.end - p.first <= longest or len(made) == 1
        assert p.end - p.first >= longest // 2 or k >= len(made) - 2
        weights = p.weights()
        assert weights.shape == (p.n_frames,) and weights.min() >= 0
        total[p.start : p.stop] += weights
        middle = slice(p.first + p.fade - p.start, max(0, p.end - p.fade - p.start))
        np.testing.assert_array_equal(weights[middle], 1)
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_short_recording_is_one_segment() -> None:
    samples = noise(2.0)
    assert segments(samples) == [Segment(0, 50, 0, 50, 0)]
    np.testing.assert_array_equal(segments(samples)[0].weights(), 1)
    assert len(segments(noise(2.1), segment_seconds=1.2)) > 1


@pytest.mark.parametrize("pause", [5.7, 7.0, 9.1])
def test_cut_is_in_the_pause(pause: float) -> None:
    samples = noise(16.0)
    samples[round((pause - 0.25) * SAMPLE_RATE) : round((pause + 0.25) * SAMPLE_RATE)] *= 0.01
    first, second = (p.first / FPS for p in segments(samples, segment_seconds=10)[:2])
    assert first == 0 and abs(second - pause) < 0.2


def test_cut_is_in_the_longer_of_two_pauses() -> None:
    samples = noise(16.0)
    for at, width in ((6.0, 0.1), (8.0, 0.6)):
        samples[round((at - width / 2) * SAMPLE_RATE) : round((at + width / 2) * SAMPLE_RATE)] = 0
    assert abs(segments(samples, segment_seconds=10)[1].first / FPS - 8) < 0.3


def test_number_of_decoded_frames_is_linear_in_the_length() -> None:
    def frames(seconds: float) -> int:
        return sum(p.n_frames for p in segments(noise(seconds), segment_seconds=5))

    assert frames(160) < 2.1 * frames(80) and frames(80) < 1.6 * 80 * FPS


# Encoding --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "fps", "per_frame"), [("whisper", 30.0, 1), ("wav2vec2", 25.0, 2)]
)
def test_segments_can_be_encoded_separately(family: str, fps: float, per_frame: int) -> None:
    encoder = AudioEncoder(tiny.encoder_settings(family), fps, per_frame).eval()
    tiny.randomize(encoder, 3)
    model = SimpleNamespace(
        speech=SimpleNamespace(encoder=encoder, head=torch.nn.Linear(1, 1)),
        vq=None,
        settings=SimpleNamespace(data=SimpleNamespace(fps=fps)),
    )
    features = {}
    for context in ("whole", "segments"):
        settings = DecodeSettings(encoder_context=context, whole_frames=50, segment_seconds=2)
        recording = Recording(0, noise(9.0), noise(9.0), None, "A", np.ones(1, np.float32))
        BatchDecoder(model, settings).prepare(recording)  # type: ignore[arg-type]
        features[context] = [recording.encode(k) for k in range(len(recording.segments))]
        assert [len(x) for x in features[context]] == [
            p.n_frames * per_frame for p in recording.segments
        ]
    prepared = encoder.prepare(torch.from_numpy(noise(9.0)))[None]
    for own, segment in zip(features["segments"], recording.segments, strict=True):
        first, last = (round(k / fps * SAMPLE_RATE) for k in (segment.start, segment.stop))
        with torch.no_grad():
            alone = encoder(prepared[:, first:last], segment.n_frames)[0]
        torch.testing.assert_close(own[: len(alone)], alone)
    # A short recording is a single segment, with the same features in both settings.
    short = []
    for context in ("whole", "segments"):
        recording = Recording(0, noise(1.5), noise(1.5), None, "A", np.ones(1, np.float32))
        BatchDecoder(model, DecodeSettings(encoder_context=context, whole_frames=50)).prepare(
            recording
        )  # type: ignore[arg-type]
        short.append(recording.encode(0))
    assert torch.equal(*short)


# Joining ---------------------------------------------------------------------------------------


def test_joining_consistent_segments_is_exact() -> None:
    samples = noise(20.0)
    made = Recording(
        0,
        samples,
        samples,
        None,
        "A",
        np.ones(1, np.float32),
        segments=segments(samples, segment_seconds=4),
    )
    rows = torch.randn(made.n_frames, 3, generator=torch.Generator().manual_seed(0))
    codes = torch.arange(2 * made.n_frames).view(-1, 2)
    for k, p in enumerate(made.segments):
        assert not made.is_done
        made.outputs[k] = (rows[p.start : p.stop], codes[p.start : p.stop])
    assert made.is_done
    joined = made.join()
    assert joined.n_known == made.n_frames
    torch.testing.assert_close(joined.hidden, rows)
    np.testing.assert_array_equal(joined.codes, codes)


def test_frames_before_the_first_missing_segment_are_known() -> None:
    samples = noise(20.0)
    made = segments(samples, segment_seconds=4)
    recording = Recording(0, samples, samples, None, "A", np.ones(1, np.float32), segments=made)
    rows = torch.randn(recording.n_frames, 3, generator=torch.Generator().manual_seed(0))
    known = []
    for k in (1, 0, 2, *range(3, len(made))):  # the second one is decoded first
        p = made[k]
        recording.outputs[k] = (rows[p.start : p.stop], torch.zeros(p.n_frames, 1))
        joined = recording.join()
        known.append(joined.n_known)
        torch.testing.assert_close(joined.hidden[: known[-1]], rows[: known[-1]])
        assert recording.is_done == (k == len(made) - 1)
    cuts = [p.first - p.fade for p in made[2:]]
    assert known == [0, *cuts, recording.n_frames]


def test_cross_fade_has_the_given_length() -> None:
    samples = noise(20.0)
    made = segments(samples, segment_seconds=10, crossfade_seconds=0.4)
    recording = Recording(0, samples, samples, None, "A", np.ones(1, np.float32), segments=made)
    for k, p in enumerate(made):
        recording.outputs[k] = (
            torch.full((p.n_frames, 1), float(k)),
            torch.full((p.n_frames, 1), k),
        )
    joined = recording.join()
    rows, codes = joined.hidden, joined.codes
    cut = made[1].first
    between = np.flatnonzero((rows[:, 0] > 0) & (rows[:, 0] < 1))
    assert cut - 5 <= between.min() and between.max() < cut + 5 and len(between) >= 8
    assert (
        rows[cut - 6] == 0 and rows[cut + 5] == 1 and bool((rows.diff(dim=0)[: cut + 5] >= 0).all())
    )
    assert list(codes[cut - 1 : cut + 1, 0]) == [0, 1]


@pytest.mark.parametrize("seconds", [1.5, 2.5])
def test_cuts_are_invisible_with_the_bundled_voice(seconds: float) -> None:
    """With segments this short, some cuts are in the middle of a word."""
    samples = audio.load(resources.asset("sample.wav"))
    cut = {"whole_frames": 40, "segment_seconds": seconds}
    joined = ct.load("demo", decode=cut).animate(samples, idle=False)
    whole = ct.load("demo", decode={"whole_frames": 1000}).animate(samples, idle=False)
    made = plan_segments(samples, joined.n_frames, joined.fps, DecodeSettings(**cut))
    assert len(made) >= 4
    lips = joined.topology.region("lips")
    speed = np.linalg.norm(np.diff(joined.vertices[:, lips], axis=0), axis=-1).max(1)
    near = np.zeros(len(speed), bool)
    for p in made[1:]:
        near[p.first - p.fade - 1 : p.first + p.fade + 1] = True
    assert speed[near].max() <= speed[~near].max()
    moved = np.linalg.norm(whole.vertices[:, lips] - whole.template[lips], axis=-1).max(1)
    error = np.linalg.norm(joined.vertices[:, lips] - whole.vertices[:, lips], axis=-1).max(1)
    assert error.mean() < 0.2 * moved.mean()
