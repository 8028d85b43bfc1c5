"""Energy, jitter, styles and stillness against motion whose values are known."""

import numpy as np
import pytest

from codetalker_cli.metrics import liveness

FPS = 30.0


def swinging(hertz: float, n_frames: int, size: float = 1.0) -> np.ndarray:
    """(n_frames, 2, 3): one of two vertices swings along y."""
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


def test_only_what_is_faster_than_8_hertz_is_jitter() -> None:
    for hertz, share in ((2.0, 0.0), (7.0, 0.0), (9.0, 1.0), (13.0, 1.0)):
        whole, shaky = liveness.energies(swinging(hertz, 301), FPS)
        assert shaky / whole == pytest.approx(share, abs=1e-6)
        bigger, _ = liveness.energies(swinging(hertz, 301, size=3.0), FPS)
        assert bigger == pytest.approx(9 * whole)


def test_half_the_motion_has_a_quarter_of_the_energy_and_of_the_jitter() -> None:
    template = random_motion(1, seed=1)
    true = template + random_motion()
    half = template + 0.5 * random_motion()
    clip = liveness.compare(true, half, half + np.array([3.0, 0.0, 4.0]), FPS)
    found = liveness.summarize([clip], mm_per_unit=10.0)
    assert found["energy"] == pytest.approx(0.25) and found["jitter"] == pytest.approx(0.25)
    assert found["styles"] == pytest.approx(50.0)  # every vertex is 5 units away
    assert found["own"] == 1.0


def test_shaking_counts_as_jitter_beyond_the_data() -> None:
    true = swinging(2.0, 301) + swinging(10.0, 301, size=0.1)
    shaken = swinging(2.0, 301) + swinging(10.0, 301, size=0.3)
    found = liveness.summarize([liveness.compare(true, shaken, true, FPS)], 1.0)
    assert found["jitter"] == pytest.approx(9.0, rel=1e-3)
    assert 1.0 < found["energy"] < 4.0 and found["own"] == 0.0


def test_clips_are_summed_before_the_ratio_is_taken() -> None:
    still, lively = swinging(2.0, 301, size=1.0), swinging(2.0, 301, size=3.0)
    clips = [
        liveness.compare(still, 2 * still, still, FPS),
        liveness.compare(lively, lively, 2 * lively, FPS),
    ]
    found = liveness.summarize(clips, 1.0)
    assert found["energy"] == pytest.approx((4 + 9) / (1 + 9))
    assert found["own"] == 0.5


def test_motion_that_ends_early_is_compared_as_far_as_it_goes() -> None:
    true = random_motion(60)
    clip = liveness.compare(true, true[:40], true[:40] + 1.0, FPS)
    assert clip.prediction == clip.truth == liveness.energies(true[:40], FPS)
    longer = liveness.compare(true[:40], true, true + 1.0, FPS)
    assert longer.prediction == longer.truth == clip.truth


def test_stillness_is_over_all_faces_and_frames() -> None:
    gaps = [np.array([0.0, 0.5, 1.0, 3.0]), np.array([0.0, 2.0, 0.1, 0.2])]
    found = liveness.stillness(gaps, [1.0, 3.0], speech_energy=8.0)
    assert found == {"gap": 3.0, "open": 0.25, "energy": 0.25}
