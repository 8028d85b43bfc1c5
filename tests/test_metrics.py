"""Metrics against plain loops."""

import math

import numpy as np
import pytest

from codetalker_cli import metrics

LIPS = np.array([1, 4, 5])


@pytest.fixture
def clips() -> list[tuple[np.ndarray, np.ndarray]]:
    """(predicted, true) of two clips of different length."""
    rng = np.random.default_rng(0)
    return [(rng.standard_normal((n, 7, 3)), rng.standard_normal((n, 7, 3))) for n in (3, 5)]


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def worst_lip_distances(clips: list[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    return [
        max(distance(p[v], t[v]) for v in LIPS)
        for predicted, true in clips
        for p, t in zip(predicted, true, strict=True)
    ]


def test_lip_vertex_error_is_the_mean_over_frames_of_the_worst_squared_distance(
    clips: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    worst = worst_lip_distances(clips)
    errors = [metrics.lip_errors(predicted, true, LIPS) for predicted, true in clips]
    assert [len(e) for e in errors] == [3, 5]
    np.testing.assert_allclose(np.concatenate(errors), np.square(worst))
    # Frames weigh the same, whatever the length of their clip.
    assert metrics.lve(errors) == pytest.approx(sum(d**2 for d in worst) / 8)
    assert metrics.lve_mm(errors, 0.001) == pytest.approx(sum(worst) / 8)
    assert metrics.lve_mm(errors, 1.0) == pytest.approx(1000 * sum(worst) / 8)


def test_mean_vertex_error(clips: list[tuple[np.ndarray, np.ndarray]]) -> None:
    predicted, true = clips[1]
    distances = [distance(predicted[t, v], true[t, v]) for t in range(5) for v in range(7)]
    assert metrics.mve(predicted, true) == pytest.approx(sum(distances) / 35)


def test_a_longer_prediction_is_cut(clips: list[tuple[np.ndarray, np.ndarray]]) -> None:
    predicted, true = clips[1]
    longer = np.concatenate([predicted, predicted[:2] + 100])
    np.testing.assert_array_equal(
        metrics.lip_errors(longer, true, LIPS), metrics.lip_errors(predicted, true, LIPS)
    )
    assert metrics.mve(longer, true) == metrics.mve(predicted, true)


def test_no_error_means_zero_and_other_vertices_do_not_count_as_lips() -> None:
    true = np.random.default_rng(1).standard_normal((4, 7, 3))
    moved = true.copy()
    moved[:, 0] += 9.0
    assert metrics.lve([metrics.lip_errors(moved, true, LIPS)]) == 0.0
    assert metrics.mve(moved, true) > 0.0
