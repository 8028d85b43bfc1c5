"""Energy, jitter, style distance and stillness of motion with known values."""

import numpy as np
import pytest

from codetalker_cli.metrics import liveness

FPS = 30.0


def swinging(hertz: float, n_frames: int, size: float = 1.0) -> np.ndarray:
    """Return (n_frames, 2, 3) motion in which one of two vertices swings along y."""
    lips = np.zeros((n_frames, 2, 3))
    lips[:, 0, 1] = size * np.sin(2 * np.pi * hertz * np.arange(n_frames) / FPS)
    return lips


def random_motion(n_frames: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n_frames, 4, 3))


@pytest.mark.parametrize("n_frames", [60, 61, 301])
def test_energy_is_the_mean_squared_velocity_of_a_vertex(n_frames: int) -> None:
    lips = random_motion(n_frames)
    whole, shaky = liveness.energies(lips, FPS)
    velocity = np.diff(lips, axis=0) * FPS
    assert whole == pytest.approx(np.square(velocity).sum(-1).mean())
    assert 0 < shaky < whole


def test_jitter_is_the_energy_above_8_hertz() -> None:
    for hertz, share in ((2.0, 0.0), (7.0, 0.0), (9.0, 1.0), (13.0, 1.0)):
        whole, shaky = liveness.energies(swinging(hertz, 301), FPS)
        assert shaky / whole == pytest.approx(share, abs=1e-6)
        bigger, _ = liveness.energies(swinging(hertz, 301, size=3.0), FPS)
        assert bigger == pytest.approx(9 * whole)


def test_half_the_amplitude_has_a_quarter_of_the_energy_and_jitter() -> None:
    template = random_motion(1, seed=1)
    true = template + random_motion()
    half = template + 0.5 * random_motion()
    clip = liveness.compare(true, half, half + np.array([3.0, 0.0, 4.0]), FPS)
    summary = liveness.summarize([clip], mm_per_unit=10.0)
    assert summary["energy"] == pytest.approx(0.25) and summary["jitter"] == pytest.approx(0.25)
    assert summary["styles"] == pytest.approx(50.0)  # every vertex is 5 units away
    assert summary["own"] == 1.0


def test_added_shaking_increases_jitter() -> None:
    true = swinging(2.0, 301) + swinging(10.0, 301, size=0.1)
    shaken = swinging(2.0, 301) + swinging(10.0, 301, size=0.3)
    summary = liveness.summarize([liveness.compare(true, shaken, true, FPS)], 1.0)
    assert summary["jitter"] == pytest.approx(9.0, rel=1e-3)
    assert 1.0 < summary["energy"] < 4.0 and summary["own"] == 0.0


def test_energy_is_averaged_over_clips_before_the_ratio() -> None:
    still, lively = swinging(2.0, 301, size=1.0), swinging(2.0, 301, size=3.0)
    clips = [
        liveness.compare(still, 2 * still, still, FPS),
        liveness.compare(lively, lively, 2 * lively, FPS),
    ]
    summary = liveness.summarize(clips, 1.0)
    assert summary["energy"] == pytest.approx((4 + 9) / (1 + 9))
    assert summary["own"] == 0.5


def test_longer_motion_is_cut() -> None:
    true = random_motion(60)
    clip = liveness.compare(true, true[:40], true[:40] + 1.0, FPS)
    assert clip.prediction == clip.truth == liveness.energies(true[:40], FPS)
    longer = liveness.compare(true[:40], true, true + 1.0, FPS)
    assert longer.prediction == longer.truth == clip.truth


def test_style_distance_does_not_depend_on_frames_beyond_the_truth() -> None:
    true = random_motion(40)
    own, other = random_motion(60, seed=1), random_motion(60, seed=2)
    expected = liveness.compare(true, own[:40], other[:40], FPS)
    assert liveness.compare(true, own, other, FPS) == expected
    other[40:] += 100.0  # such as the padding of the longer clip
    assert liveness.compare(true, own, other, FPS) == expected
    assert liveness.compare(true, own, other[:40], FPS) == expected


def test_stillness_covers_all_motions_and_frames() -> None:
    gaps = [np.array([0.0, 0.5, 1.0, 3.0]), np.array([0.0, 2.0, 0.1, 0.2])]
    summary = liveness.stillness(gaps, [1.0, 3.0], speech_energy=8.0)
    assert summary == {"gap": 3.0, "open": 0.25, "energy": 0.25}
