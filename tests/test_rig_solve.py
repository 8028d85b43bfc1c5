"""The solve for rig weights: against scipy, the conditions of optimality, and known curves."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from takes import head_take, small_take, smooth_weights

from codetalker_cli.errors import DataError
from codetalker_cli.motion import Motion
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.bounded import minimize
from codetalker_cli.rigs.solve import solve
from codetalker_cli.rigs.units import UnitSet, bundled_units
from codetalker_cli.settings import SolveSettings
from codetalker_cli.topology import Topology

PLAIN = SolveSettings(l2=0, symmetry=0, smoothness=0, lips=1, tongue=1, exclusive=())


def random_problems(seed: int, n: int, u: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    # Nearly parallel columns give badly conditioned problems, as the shapes of a mouth do.
    a = rng.normal(size=(3 * u, u)) + 3 * rng.normal(size=(3 * u, 1))
    return a, rng.normal(size=(n, u)) * 2 @ a.T


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_bounded_minimum_equals_scipys(seed: int, n_units: int) -> None:
    from scipy.optimize import lsq_linear

    a, b = random_problems(seed, 4, n_units)
    x = minimize(a.T @ a, b @ a, np.ones((4, n_units)))
    expected = [lsq_linear(a, one, (0, 1), method="bvls", tol=1e-14).x for one in b]
    np.testing.assert_allclose(x, expected, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_minimum_fulfills_the_conditions_of_optimality_from_any_start(seed: int) -> None:
    a, b = random_problems(seed, 30, 20)
    rng = np.random.default_rng(seed)
    upper = rng.integers(0, 2, (30, 20)) * rng.uniform(0.1, 1, (30, 20))
    start = np.clip(rng.normal(size=(30, 20)), 0, upper)
    for x in (minimize(a.T @ a, b @ a, upper), minimize(a.T @ a, b @ a, upper, start)):
        assert ((x >= 0) & (x <= upper)).all()
        descent = b @ a - x @ (a.T @ a)
        slack = 1e-6 * np.abs(b @ a).max()
        assert (descent[x < upper - 1e-9] < slack).all()
        assert (descent[x > 1e-9] > -slack).all()


def test_curves_of_the_bundled_head_are_recovered() -> None:
    weights = smooth_weights(30, 58)
    take = head_take(weights=weights)
    curves = solve(take.motion, bundled_units("S01"), PLAIN)
    assert curves.fps == 30 and curves.subject == "S01"
    np.testing.assert_allclose(curves.weights, weights, atol=2e-3)
    penalized = solve(take.motion, bundled_units("S01"), SolveSettings(exclusive=()))
    assert np.abs(penalized.weights - weights).mean() < 2e-3


@pytest.mark.parametrize("unit", range(58))
def test_each_unit_of_the_bundled_head_is_recovered(unit: int) -> None:
    weights = np.zeros((2, 58), np.float32)
    weights[1, unit] = 1
    curves = head_take(weights=weights).curves
    assert curves.names[unit] == bundled_units("S01").names[unit]
    np.testing.assert_allclose(curves.weights, weights, atol=0.02)


def test_neutral_face_has_zero_weights() -> None:
    take = head_take(weights=np.zeros((3, 58), np.float32))
    assert np.abs(take.curves.weights).max() < 1e-4
    assert np.abs(take.arkit_curves.weights).max() < 1e-4


def test_arkit_curves_have_all_52_names_in_order() -> None:
    assert head_take(2).arkit_curves.names == ARKIT_UNITS


def test_lids_of_every_subject_close_at_weight_one() -> None:
    for subject in ("S01", "S04"):
        units, rig_units = bundled_units(subject), bundled_units("someone else")
        blink = units.names.index("eyeBlinkLeft")
        assert not np.array_equal(units.deltas[blink], rig_units.deltas[blink])


def test_curves_of_another_topology_are_solved_in_its_unit() -> None:
    take = small_take()
    expected = smooth_weights(7, 2, seed=1)
    np.testing.assert_allclose(take.curves.weights, expected, atol=1e-3)
    assert take.curves.names == ("jawOpen", "mouth Löwer")


def line_motion(offsets: np.ndarray) -> tuple[Motion, UnitSet]:
    """Return a motion of one vertex along x and y, and two units that move it left and right."""
    template = np.zeros((1, 3), np.float32)
    topology = Topology("point", np.zeros((0, 3), np.int32), 1)
    deltas = np.array([[[1, 0.2, 0]], [[-1, 0.2, 0]]], np.float32)
    motion = Motion(offsets.astype(np.float32)[:, None], 30.0, topology, "P", template)
    return motion, UnitSet(("jawLeft", "jawRight"), deltas)


def test_only_one_of_two_exclusive_units_is_active() -> None:
    offsets = np.array([[0.3, 0.2, 0], [-0.2, 0.2, 0]])
    motion, units = line_motion(offsets)
    both = solve(motion, units, PLAIN).weights
    assert (both > 0.1).all()
    one = solve(motion, units, replace_settings(exclusive=(("jawLeft", "jawRight"),))).weights
    assert ((one > 0).sum(1) == 1).all()
    assert one[0, 0] > 0 and one[1, 1] > 0


def replace_settings(**changes: object) -> SolveSettings:
    return SolveSettings.model_validate(PLAIN.model_dump() | changes)


def test_smoothness_solves_the_problem_of_all_frames() -> None:
    offsets = np.random.default_rng(0).uniform(0.1, 0.9, (9, 3)) * [1, 0, 0]
    motion, units = line_motion(offsets)
    units = units.select(("jawLeft",))
    smooth = solve(motion, units, replace_settings(smoothness=0.5)).weights[:, 0]
    size = float((units.deltas**2).sum())
    difference = np.diff(np.eye(9), axis=0)
    system = size * np.eye(9) + 0.5 * size * difference.T @ difference
    expected = np.linalg.solve(system, offsets @ units.deltas[0, 0])
    np.testing.assert_allclose(smooth, expected, atol=1e-4)


@pytest.mark.parametrize("n_frames", [1, 2, 3])
def test_smoothness_works_for_few_frames(n_frames: int) -> None:
    motion, units = line_motion(np.full((n_frames, 3), 0.4) * [1, 0.2, 0])
    weights = solve(motion, units, replace_settings(smoothness=10)).weights
    np.testing.assert_allclose(weights, [[0.4, 0]] * n_frames, atol=1e-4)


def test_symmetry_moves_the_sides_together_but_not_directions_and_gaze() -> None:
    take = head_take(weights=smooth_weights(6, 58, seed=2))
    units = bundled_units("S01")
    curves = solve(take.motion, units, replace_settings(symmetry=1e4)).weights

    def gap(one: str, other: str) -> float:
        k, m = (units.names.index(name) for name in (one, other))
        return float(np.abs(curves[:, k] - curves[:, m]).max())

    assert gap("mouthSmileLeft", "mouthSmileRight") < 1e-2
    assert gap("eyeLookInLeft", "eyeLookOutRight") < 1e-2
    assert gap("mouthLeft", "mouthRight") > 0.05


def test_lip_factor_lowers_the_error_of_the_lips() -> None:
    take = head_take(weights=smooth_weights(6, 58, seed=3))
    lips = take.motion.topology.region("lips")
    units = bundled_units("S01").arkit()

    def error(factor: float) -> float:
        weights = solve(take.motion, units, replace_settings(lips=factor)).weights
        fit = np.tensordot(weights, units.deltas, 1) + take.motion.template
        return float(np.linalg.norm(fit - take.motion.vertices, axis=-1)[:, lips].mean())

    assert error(10) < error(1)


def test_tongue_moves_the_jaw_less_if_its_factor_is_small() -> None:
    weights = np.zeros((1, 58), np.float32)
    units = bundled_units("S01")
    weights[0, units.names.index("tongueBackUp")] = 1
    motion = head_take(weights=weights).motion
    jaw = units.arkit().names.index("jawOpen")
    moved, still = (
        solve(motion, units.arkit(), replace_settings(tongue=t)).weights[0, jaw] for t in (1, 0.03)
    )
    assert moved > 0.005 and still < 0.2 * moved


def test_unit_that_moves_nothing_has_no_weight() -> None:
    motion, units = line_motion(np.full((2, 3), 0.4))
    units = UnitSet((*units.names, "none"), np.concatenate([units.deltas, np.zeros((1, 1, 3))]))
    assert np.isfinite(solve(motion, units, PLAIN).weights).all()
    assert not solve(motion, units, PLAIN).weights[:, 2].any()


def test_units_with_another_vertex_count_are_refused() -> None:
    with pytest.raises(DataError, match="5370 vertices, expected 5"):
        solve(small_take().motion, bundled_units("S01"))


def test_curves_survive_a_change_of_the_frame_rate() -> None:
    curves = head_take(weights=smooth_weights(31, 58)).curves
    doubled = curves.at_fps(60)
    assert doubled.n_frames == 62 and doubled.fps == 60
    np.testing.assert_allclose(doubled.weights[::2], curves.weights, atol=1e-6)
    assert replace(curves, head=np.ones((31, 3), np.float32)).at_fps(15).head.shape == (16, 3)
