"""Metrics compared with plain loops, hand-computed examples and torchmetrics."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st

from codetalker_cli import metrics
from codetalker_cli.errors import DataError, InputError
from codetalker_cli.metrics import ClipScores
from codetalker_cli.metrics import clip as clip_module

LIPS = np.array([1, 4, 5])


@pytest.fixture
def clips() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (predicted, true) for two clips of different length."""
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


def test_lip_vertex_error_averages_the_largest_squared_distance_of_each_frame(
    clips: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    worst = worst_lip_distances(clips)
    errors = [metrics.lip_errors(predicted, true, LIPS) for predicted, true in clips]
    assert [len(e) for e in errors] == [3, 5]
    np.testing.assert_allclose(np.concatenate(errors), np.square(worst))
    # All frames have the same weight, regardless of the length of their clip.
    assert metrics.lve(errors) == pytest.approx(sum(d**2 for d in worst) / 8)
    assert metrics.lve_mm(errors, 0.001) == pytest.approx(sum(worst) / 8)
    assert metrics.lve_mm(errors, 1.0) == pytest.approx(1000 * sum(worst) / 8)


def test_mean_vertex_error_averages_all_distances(
    clips: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    predicted, true = clips[1]
    distances = [distance(predicted[t, v], true[t, v]) for t in range(5) for v in range(7)]
    assert metrics.mve(predicted, true) == pytest.approx(sum(distances) / 35)


def test_longer_prediction_is_cut(clips: list[tuple[np.ndarray, np.ndarray]]) -> None:
    predicted, true = clips[1]
    longer = np.concatenate([predicted, predicted[:2] + 100])
    np.testing.assert_array_equal(
        metrics.lip_errors(longer, true, LIPS), metrics.lip_errors(predicted, true, LIPS)
    )
    assert metrics.mve(longer, true) == metrics.mve(predicted, true)


def test_lip_vertex_error_ignores_other_vertices() -> None:
    true = np.random.default_rng(1).standard_normal((4, 7, 3))
    moved = true.copy()
    moved[:, 0] += 9.0
    assert metrics.lve([metrics.lip_errors(moved, true, LIPS)]) == 0.0
    assert metrics.mve(moved, true) > 0.0


def test_lip_vertex_error_matches_torchmetrics(clips: list[tuple[np.ndarray, np.ndarray]]) -> None:
    from torchmetrics.multimodal import LipVertexError

    theirs = LipVertexError(mouth_map=LIPS.tolist(), validate_args=True)
    for predicted, true in clips:
        theirs.update(torch.from_numpy(predicted), torch.from_numpy(true))
    ours = metrics.lve([metrics.lip_errors(predicted, true, LIPS) for predicted, true in clips])
    assert float(theirs.compute()) == pytest.approx(ours, rel=1e-6)


# Hand-computed examples --------------------------------------------------------------------------

TOPOLOGY = replace(
    tiny.topology(6),
    unit="mm",
    regions={
        "lips": np.array([0, 1]),
        "upper_face": np.array([4, 5]),
        "inner_lip_upper": np.array([0]),
        "inner_lip_lower": np.array([1]),
    },
)
TEMPLATE = np.zeros((6, 3), np.float32)


def example_clip() -> tuple[np.ndarray, np.ndarray]:
    """Return (predicted, true) with two frames of six vertices, in millimeters."""
    true = np.zeros((2, 6, 3), np.float32)
    true[:, 1, 1] = (0.5, 4)  # the lips: closed, then open
    true[1, 4, 0] = 2  # squared motion 0, then 4: deviation 2 (vertex 5: 0)
    predicted = true.copy()
    predicted[0, 0, 2] = 3  # lip error 9, gap sqrt(9.25): open
    predicted[1, 1, 1] = 0  # lip error 16, gap 0: closed
    predicted[1, 4, 0] = 1  # squared motion 0, then 1: deviation 0.5
    return predicted, true


def test_measure_matches_the_hand_computed_example() -> None:
    measurement = metrics.measure(*example_clip(), TEMPLATE, TOPOLOGY, closed_mm=1.0)
    assert measurement.lip_errors.tolist() == [9.0, 16.0]
    assert measurement.fractions["lve"] == (25.0, 2)
    assert measurement.fractions["lve_mm"] == pytest.approx((7.0, 2))
    assert measurement.fractions["fdd"] == pytest.approx(((2 - 0.5) / 2, 1))
    assert measurement.fractions["mve"] == (3.0 + 4.0 + 1.0, 12)
    assert measurement.vertex_errors.tolist() == [3.0, 4.0, 0, 0, 1.0, 0]
    # Prediction and truth are each closed in one frame, but not in the same one.
    assert measurement.fractions["lip_closure_precision"] == (0.0, 1.0)
    assert measurement.fractions["lip_closure_recall"] == (0.0, 1.0)


def test_dynamics_deviation_is_signed_truth_minus_prediction() -> None:
    predicted, true = example_clip()
    swapped = metrics.measure(true, predicted, TEMPLATE, TOPOLOGY)
    assert swapped.fractions["fdd"] == pytest.approx((-0.75, 1))
    assert swapped.fractions["fdd_abs"] == pytest.approx((0.75, 1))
    own = metrics.motion_dynamics(true, TEMPLATE, TOPOLOGY.regions["upper_face"])
    assert own == pytest.approx(1.0)


def test_diversity_averages_the_distances_between_styles() -> None:
    still = np.zeros((5, 2, 3), np.float32)
    near, far = still.copy(), still[:3].copy()
    near[..., 0], far[..., 1] = 3, 4
    assert metrics.diversity([still, near, far], block=2) == pytest.approx((3 + 4 + 5) / 3)
    assert metrics.diversity([near, near]) == 0.0
    with pytest.raises(ValueError, match="at least two"):
        metrics.diversity([near])


# Blocks ------------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 99),
    n_frames=st.integers(1, 12),
    block=st.integers(1, 5),
    offset=st.sampled_from([0.0, 1000.0]),
)
def test_measure_in_blocks_matches_the_whole_clip(
    seed: int, n_frames: int, block: int, offset: float
) -> None:
    rng = np.random.default_rng(seed)
    predicted, true = rng.standard_normal((2, n_frames, 6, 3))
    template = rng.standard_normal((6, 3)) + offset
    predicted, true = predicted + offset, true + offset
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip_module, "BLOCK_BYTES", block * 6 * 24)
        measurement = metrics.measure(predicted, true, template, TOPOLOGY)
    regions = TOPOLOGY.regions
    errors = metrics.lip_errors(predicted, true, regions["lips"])
    np.testing.assert_array_equal(measurement.lip_errors, errors)
    theirs, ours = (
        metrics.motion_dynamics(v, template, regions["upper_face"]) for v in (true, predicted)
    )
    assert measurement.fractions["fdd"][0] == pytest.approx(theirs - ours, rel=1e-9, abs=1e-12)
    total, count = measurement.fractions["mve"]
    assert total / count == pytest.approx(metrics.mve(predicted, true), rel=1e-12)
    both = [metrics.closures(TOPOLOGY, v, 1.0) for v in (predicted, true)]
    assert measurement.fractions["lip_closure_recall"] == (sum(both[0] & both[1]), both[1].sum())


def test_float32_files_are_summed_in_float64() -> None:
    true = np.zeros((4000, 6, 3), np.float32)
    predicted = true + np.float32(0.1)
    total, count = metrics.measure(predicted, true, TEMPLATE, TOPOLOGY).fractions["lve"]
    assert total / count == pytest.approx(3 * float(np.float32(0.1)) ** 2, rel=1e-12)


def test_invalid_vertices_are_refused() -> None:
    predicted, true = example_clip()
    predicted[1, 3, 2] = np.inf
    with pytest.raises(DataError, match="frame 1 of the prediction has NaN"):
        metrics.measure(predicted, true, TEMPLATE, TOPOLOGY)
    predicted[1, 3, 2] = 1e30
    with pytest.raises(DataError, match=r"frame 1 of the prediction has coordinates up to 1e\+30"):
        metrics.measure(predicted, true, TEMPLATE + 0.1, TOPOLOGY)
    with pytest.raises(DataError, match="the template contains NaN"):
        metrics.measure(true, true, TEMPLATE * np.nan, TOPOLOGY)
    with pytest.raises(DataError, match="5 vertices per frame, expected 6"):
        metrics.measure(true[:, :5], true, TEMPLATE, TOPOLOGY)
    with pytest.raises(DataError, match="no frames"):
        metrics.measure(true[:0], true, TEMPLATE, TOPOLOGY)


def test_metrics_depend_on_the_regions_and_unit_of_the_topology() -> None:
    unknown = replace(TOPOLOGY, unit="area1", regions={"lips": np.array([0, 1])})
    measurement = metrics.measure(*example_clip(), TEMPLATE, unknown)
    assert set(measurement.fractions) == {"mve", "lve"}
    assert metrics.lacking("lve_mm", unknown) == "the length unit is unknown"
    assert metrics.lacking("fdd", unknown) == "no region upper_face"
    assert metrics.unit_of("lve", unknown) == "unit²" and metrics.unit_of("mve", TOPOLOGY) == "mm"
    assert metrics.expand(["lip_closure", "lve", "lip_closure_recall"]) == [
        "lip_closure_precision",
        "lip_closure_recall",
        "lve",
    ]
    with pytest.raises(InputError, match="'lvee' is unknown; the choices are lve, "):
        metrics.expand(["lvee"])


# Summaries ---------------------------------------------------------------------------------------


def scores_of(*sums: tuple[str, float, float]) -> list[ClipScores]:
    return [
        ClipScores(clip, "A", None, int(n), {"lve": (float(total), n)}) for clip, total, n in sums
    ]


def test_clips_are_weighted_by_their_frames() -> None:
    value = metrics.summarize(scores_of(("a", 10, 10), ("b", 90, 30)), "lve")
    assert value.value == pytest.approx(100 / 40)
    assert (value.n_clips, value.n_results) == (2, 2)
    assert value.low is not None and value.high is not None
    assert 1.0 <= value.low <= value.value <= value.high <= 3.0


def test_interval_resamples_clips_with_all_their_styles() -> None:
    """More styles of the same clips do not narrow the interval."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal(30)
    once = scores_of(*((f"{k}", float(v), 1.0) for k, v in enumerate(values)))
    tenfold = once * 10
    first, second = (metrics.summarize(scores, "lve", seed=3) for scores in (once, tenfold))
    assert (first.low, first.high) == pytest.approx((second.low, second.high))
    assert second.n_results == 300 and second.n_clips == 30
    # The normal approximation of the interval of a mean.
    width = 2 * 1.96 * values.std() / math.sqrt(30)
    assert first.high - first.low == pytest.approx(width, rel=0.1)  # type: ignore[operator]


def test_single_clip_has_no_interval_and_empty_metric_has_no_value() -> None:
    alone = metrics.summarize(scores_of(("a", 4, 2)), "lve")
    assert (alone.value, alone.low, alone.high) == (2.0, None, None)
    empty = metrics.summarize(scores_of(("a", 4, 2)), "fdd")
    assert (empty.value, empty.n_clips) == (None, 0)
    never = metrics.summarize(scores_of(("a", 0, 0), ("b", 0, 0)), "lve")
    assert never.value is None
