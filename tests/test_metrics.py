"""Metrics against plain loops, cases worked by hand, and torchmetrics."""

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


def test_torchmetrics_gives_the_same_lip_error(clips: list[tuple[np.ndarray, np.ndarray]]) -> None:
    from torchmetrics.multimodal import LipVertexError

    theirs = LipVertexError(mouth_map=LIPS.tolist(), validate_args=True)
    for predicted, true in clips:
        theirs.update(torch.from_numpy(predicted), torch.from_numpy(true))
    ours = metrics.lve([metrics.lip_errors(predicted, true, LIPS) for predicted, true in clips])
    assert float(theirs.compute()) == pytest.approx(ours, rel=1e-6)


# worked by hand ----------------------------------------------------------------------------------

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


def hand_made() -> tuple[np.ndarray, np.ndarray]:
    """(predicted, true) of two frames of six vertices; millimeters."""
    true = np.zeros((2, 6, 3), np.float32)
    true[:, 1, 1] = (0.5, 4)  # the lips: closed, then open
    true[1, 4, 0] = 2  # squared motion 0, then 4: deviation 2; vertex 5: 0
    predicted = true.copy()
    predicted[0, 0, 2] = 3  # lip error 9, gap sqrt(9.25): open
    predicted[1, 1, 1] = 0  # lip error 16, gap 0: closed
    predicted[1, 4, 0] = 1  # squared motion 0, then 1: deviation 0.5
    return predicted, true


def test_a_clip_worked_by_hand() -> None:
    made = metrics.measure(*hand_made(), TEMPLATE, TOPOLOGY, closed_mm=1.0)
    assert made.lip_errors.tolist() == [9.0, 16.0]
    assert made.fractions["lve"] == (25.0, 2)
    assert made.fractions["lve_mm"] == pytest.approx((7.0, 2))
    assert made.fractions["fdd"] == pytest.approx(((2 - 0.5) / 2, 1))
    assert made.fractions["mve"] == (3.0 + 4.0 + 1.0, 12)
    assert made.vertex_errors.tolist() == [3.0, 4.0, 0, 0, 1.0, 0]
    # one frame closed in each, never the same
    assert made.fractions["lip_closure_precision"] == (0.0, 1.0)
    assert made.fractions["lip_closure_recall"] == (0.0, 1.0)


def test_dynamics_deviation_is_signed_truth_minus_prediction() -> None:
    predicted, true = hand_made()
    swapped = metrics.measure(true, predicted, TEMPLATE, TOPOLOGY)
    assert swapped.fractions["fdd"] == pytest.approx((-0.75, 1))
    assert swapped.fractions["fdd_abs"] == pytest.approx((0.75, 1))
    own = metrics.motion_dynamics(true, TEMPLATE, TOPOLOGY.regions["upper_face"])
    assert own == pytest.approx(1.0)


def test_diversity_of_three_styles_worked_by_hand() -> None:
    still = np.zeros((5, 2, 3), np.float32)
    near, far = still.copy(), still[:3].copy()
    near[..., 0], far[..., 1] = 3, 4
    assert metrics.diversity([still, near, far], block=2) == pytest.approx((3 + 4 + 5) / 3)
    assert metrics.diversity([near, near]) == 0.0
    with pytest.raises(ValueError, match="at least two"):
        metrics.diversity([near])


# in blocks ---------------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 99),
    n_frames=st.integers(1, 12),
    block=st.integers(1, 5),
    offset=st.sampled_from([0.0, 1000.0]),
)
def test_blocks_give_what_the_whole_gives(
    seed: int, n_frames: int, block: int, offset: float
) -> None:
    rng = np.random.default_rng(seed)
    predicted, true = rng.standard_normal((2, n_frames, 6, 3))
    template = rng.standard_normal((6, 3)) + offset
    predicted, true = predicted + offset, true + offset
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip_module, "BLOCK_BYTES", block * 6 * 24)
        made = metrics.measure(predicted, true, template, TOPOLOGY)
    regions = TOPOLOGY.regions
    errors = metrics.lip_errors(predicted, true, regions["lips"])
    np.testing.assert_array_equal(made.lip_errors, errors)
    theirs, ours = (
        metrics.motion_dynamics(v, template, regions["upper_face"]) for v in (true, predicted)
    )
    assert made.fractions["fdd"][0] == pytest.approx(theirs - ours, rel=1e-9, abs=1e-12)
    total, count = made.fractions["mve"]
    assert total / count == pytest.approx(metrics.mve(predicted, true), rel=1e-12)
    both = [metrics.closures(TOPOLOGY, v, 1.0) for v in (predicted, true)]
    assert made.fractions["lip_closure_recall"] == (sum(both[0] & both[1]), both[1].sum())


def test_float32_files_are_summed_in_float64() -> None:
    true = np.zeros((4000, 6, 3), np.float32)
    predicted = true + np.float32(0.1)
    total, count = metrics.measure(predicted, true, TEMPLATE, TOPOLOGY).fractions["lve"]
    assert total / count == pytest.approx(3 * float(np.float32(0.1)) ** 2, rel=1e-12)


def test_what_cannot_be_compared_names_the_frame() -> None:
    predicted, true = hand_made()
    predicted[1, 3, 2] = np.inf
    with pytest.raises(DataError, match="frame 1 of the prediction has NaN"):
        metrics.measure(predicted, true, TEMPLATE, TOPOLOGY)
    with pytest.raises(DataError, match="5 vertices per frame, expected 6"):
        metrics.measure(true[:, :5], true, TEMPLATE, TOPOLOGY)
    with pytest.raises(DataError, match="no frame"):
        metrics.measure(true[:0], true, TEMPLATE, TOPOLOGY)


def test_a_topology_gives_the_metrics_that_it_can() -> None:
    unknown = replace(TOPOLOGY, unit="area1", regions={"lips": np.array([0, 1])})
    made = metrics.measure(*hand_made(), TEMPLATE, unknown)
    assert set(made.fractions) == {"mve", "lve"}
    assert metrics.lacking("lve_mm", unknown) == "the scale is unknown"
    assert metrics.lacking("fdd", unknown) == "no region upper_face"
    assert metrics.unit_of("lve", unknown) == "unit²" and metrics.unit_of("mve", TOPOLOGY) == "mm"
    assert metrics.expand(["lip_closure", "lve", "lip_closure_recall"]) == [
        "lip_closure_precision",
        "lip_closure_recall",
        "lve",
    ]
    with pytest.raises(InputError, match="'lvee' is unknown; the choices are lve, "):
        metrics.expand(["lvee"])


# clips together ----------------------------------------------------------------------------------


def rows_of(*sums: tuple[str, float, float]) -> list[ClipScores]:
    return [
        ClipScores(clip, "A", None, int(n), {"lve": (float(total), n)}) for clip, total, n in sums
    ]


def test_clips_weigh_by_their_frames() -> None:
    value = metrics.summarize(rows_of(("a", 10, 10), ("b", 90, 30)), "lve")
    assert value.value == pytest.approx(100 / 40)
    assert (value.n_clips, value.n_results) == (2, 2)
    assert value.low is not None and value.high is not None
    assert 1.0 <= value.low <= value.value <= value.high <= 3.0


def test_the_interval_is_over_clips_with_all_their_styles() -> None:
    """Styles of one clip are drawn together: a clip said in ten styles is no more certain."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal(30)
    once = rows_of(*((f"{k}", float(v), 1.0) for k, v in enumerate(values)))
    tenfold = once * 10
    first, second = (metrics.summarize(rows, "lve", seed=3) for rows in (once, tenfold))
    assert (first.low, first.high) == pytest.approx((second.low, second.high))
    assert second.n_results == 300 and second.n_clips == 30
    # about the normal interval of a mean
    width = 2 * 1.96 * values.std() / math.sqrt(30)
    assert first.high - first.low == pytest.approx(width, rel=0.1)  # type: ignore[operator]


def test_one_clip_has_no_interval_and_nothing_has_no_value() -> None:
    alone = metrics.summarize(rows_of(("a", 4, 2)), "lve")
    assert (alone.value, alone.low, alone.high) == (2.0, None, None)
    empty = metrics.summarize(rows_of(("a", 4, 2)), "fdd")
    assert (empty.value, empty.n_clips) == (None, 0)
    never = metrics.summarize(rows_of(("a", 0, 0), ("b", 0, 0)), "lve")
    assert never.value is None
