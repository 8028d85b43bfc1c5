"""The units of the bundled head follow a tracked face."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codetalker_cli.capture.contacts import contact_frames
from codetalker_cli.capture.fitting import fit_track, rest_of
from codetalker_cli.errors import DataError
from codetalker_cli.rigs.landmarks import bundled_landmarks
from codetalker_cli.rigs.units import bundled_rig
from tests.tracked_heads import FPS, frames, lip_gap, pose, tracked, with_face

REST = pose()
OPEN = pose(jawOpen=0.3, mouthLowerDown=0.2)
ROUND = pose(jawOpen=0.1, mouthPucker=0.7)
WIDE = pose(jawOpen=0.1, mouthSmile=0.4, mouthStretch=0.2)
SPEECH = frames(REST, OPEN, REST, ROUND, WIDE, REST, OPEN, REST, REST)
"""Ten frames each; the lips are shut in three places."""
NAMES = bundled_rig().unit_names


def of_unit(weights: np.ndarray, name: str) -> np.ndarray:
    return weights[:, NAMES.index(name)]


def fitted(track, fps: float = FPS):
    return fit_track(track, rest_of([track]), fps)


def test_units_are_recovered() -> None:
    weights = fitted(tracked(SPEECH)).curves.weights
    for name in ("jawOpen", "mouthPucker", "mouthSmileLeft", "mouthLowerDownRight"):
        assert np.corrcoef(of_unit(weights, name), of_unit(SPEECH, name))[0, 1] > 0.85, name


def test_eyes_are_recovered() -> None:
    eyes = frames(REST, pose(eyeBlink=0.9), REST, pose(eyeLookUp=0.8), REST)
    weights = fitted(tracked(eyes)).curves.weights
    for name in ("eyeBlinkLeft", "eyeBlinkRight", "eyeLookUpLeft"):
        assert np.corrcoef(of_unit(weights, name), of_unit(eyes, name))[0, 1] > 0.9, name
        assert of_unit(weights, name).max() > 0.3, name


def test_lips_open_as_far_as_those_of_the_person() -> None:
    track = tracked(frames(REST, OPEN, REST), pixels_per_mm=0.7)
    weights = fitted(track).curves.weights
    expected = track.opening() * bundled_landmarks().eye_distance
    rig = bundled_rig()
    upper, lower = rig.topology.central_lip_pairs()
    vertices = rig.pose("S01", weights)
    height = (vertices[:, upper, 1] - vertices[:, lower, 1]).mean(1) * 1000
    assert height[12:15] == pytest.approx(expected[12:15], rel=0.1)
    assert expected[12] > 5


def test_result_contains_the_units_of_the_bundled_head_without_head_rotation() -> None:
    curves = fitted(tracked(SPEECH, degrees=(15, 5, 0))).curves
    assert curves.names == NAMES
    assert curves.head is None
    assert curves.weights.min() >= 0
    assert curves.weights.max() <= 1


def test_invisible_and_opposed_units_are_not_mixed() -> None:
    rng = np.random.default_rng(0)
    track = tracked(SPEECH)
    noise = rng.normal(0, 1.0, track.landmarks.shape).astype(np.float32)
    weights = fitted(replace(track, landmarks=track.landmarks + noise)).curves.weights
    for one, other in (("jawLeft", "jawRight"), ("mouthSmileLeft", "mouthFrownLeft")):
        assert not (of_unit(weights, one) * of_unit(weights, other)).any()
    assert not of_unit(weights, "tongueOut").any()
    assert (of_unit(weights, "mouthClose") <= of_unit(weights, "jawOpen") + 1e-6).all()


@settings(max_examples=15, deadline=None)
@given(
    st.floats(-20, 20),
    st.floats(0.4, 5),
    st.tuples(st.floats(0, 640), st.floats(0, 480)),
)
def test_roll_size_and_place_make_no_difference(
    roll: float, pixels_per_mm: float, center: tuple[float, float]
) -> None:
    turned = tracked(SPEECH, degrees=(0, 0, roll), pixels_per_mm=pixels_per_mm, center=center)
    difference = fitted(turned).curves.weights - fitted(tracked(SPEECH)).curves.weights
    assert np.abs(difference).max() < 0.02


@settings(max_examples=15, deadline=None)
@given(st.floats(-20, 20), st.floats(-20, 20))
def test_lips_hardly_change_when_the_head_turns(yaw: float, pitch: float) -> None:
    straight, turned = (
        lip_gap(fitted(tracked(SPEECH, degrees=degrees)).curves.weights)
        for degrees in ((0, 0, 0), (yaw, pitch, 0))
    )
    assert np.corrcoef(straight, turned)[0, 1] > 0.97
    assert (turned[straight < 0.5] < 1).all()


# Contacts -----------------------------------------------------------------------------------------


def test_lips_are_shut_where_those_of_the_person_touch() -> None:
    rng = np.random.default_rng(0)
    # The tracker sees lips apart that touch, and the jaw stays open in the contact.
    half_shut = pose(jawOpen=0.25, mouthClose=0.25)
    track = tracked(frames(REST, OPEN, half_shut, OPEN, REST))
    landmarks = track.landmarks + rng.normal(0, 0.05, track.landmarks.shape)
    for number in (14, 87, 317, 178, 402):
        landmarks[20:26, track.landmark_ids == number, 1] += 0.25
    result = fitted(replace(track, landmarks=landmarks.astype(np.float32)))
    gap = lip_gap(result.curves.weights)
    assert result.contact[20:25].all()
    assert (gap[result.contact] < 0.35).all()
    assert (gap[10:15] > 5).all()
    assert not result.contact[10:15].any()


@pytest.mark.parametrize("fps", [12.5, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0])
def test_closures_of_one_frame_survive_resampling(fps: float) -> None:
    weights = np.tile(OPEN, (60, 1))
    closures = (20, 31, 40)
    weights[[0, 1, 2, 3, 4, 5, *closures]] = REST
    gap = lip_gap(fitted(tracked(weights), fps).curves.weights)
    for frame in closures:
        near = np.abs(np.arange(len(gap)) / fps - frame / FPS) <= max(0.5 / FPS, 0.501 / fps)
        assert gap[near].min() < 0.5, frame
    assert gap[round(25 / FPS * fps)] > 5


def test_movement_is_not_delayed() -> None:
    weights = frames(REST, OPEN, REST, OPEN, REST)
    fps = 100.0
    gap = lip_gap(fitted(tracked(weights), fps).curves.weights)
    truth = lip_gap(weights)
    times = np.arange(len(gap)) / fps

    def correlation(lag: float) -> float:
        shifted = np.interp(times - lag, np.arange(len(truth)) / FPS, truth)
        return float(np.corrcoef(gap, shifted)[0, 1])

    lags = np.arange(-0.05, 0.051, 0.01)
    assert abs(lags[np.argmax([correlation(lag) for lag in lags])]) <= 0.01


def test_long_run_of_slightly_open_lips_is_not_a_contact() -> None:
    opening = np.full(100, 0.012)
    opening[40:60] = 0.15
    opening[70:72] = 0.001
    touching = contact_frames(opening, np.arange(100) / 25, 0.001)
    assert touching[70:72].all()
    assert touching.sum() == 2


def test_longer_runs_of_nearly_shut_lips_are_not_contacts() -> None:
    opening = np.full(100, 0.1)
    opening[10:20] = opening[40:60] = 0.01
    touching = contact_frames(opening, np.arange(100) / 25, 0.0)
    assert touching[10:20].all() and touching.sum() == 30  # both are at the level of the closing
    opening[40:60] = 0.0119
    opening[10:20] = 0.005
    touching = contact_frames(opening, np.arange(100) / 25, 0.0)
    assert touching[10:20].all() and touching.sum() == 10


# The person ---------------------------------------------------------------------------------------


def test_rest_is_found_with_and_without_a_pause() -> None:
    neutral = rest_of([tracked(SPEECH)]).neutral
    hasty = rest_of([tracked(frames(OPEN, REST, OPEN, ROUND, OPEN, n=6))]).neutral
    head = bundled_landmarks()
    lips = [head.numbers.index(number) for number in (13, 14, 0, 17, 78, 308)]
    assert neutral[lips] == pytest.approx(hasty[lips], abs=1.0)


def test_takes_of_a_person_may_have_different_sizes() -> None:
    takes = [tracked(SPEECH, pixels_per_mm=scale) for scale in (0.5, 2.0)]
    one, both = rest_of(takes[:1]), rest_of(takes)
    assert both.neutral == pytest.approx(one.neutral, abs=0.1)
    gaps = [lip_gap(fit_track(take, both, FPS).curves.weights) for take in takes]
    assert gaps[0] == pytest.approx(gaps[1], abs=0.3)


def test_unused_landmarks_may_be_missing_but_lips_may_not() -> None:
    track = tracked(SPEECH)
    kept = track.landmark_ids != 152
    partial = replace(
        track, landmark_ids=track.landmark_ids[kept], landmarks=track.landmarks[:, kept]
    )
    assert 152 not in rest_of([partial]).numbers
    kept = track.landmark_ids != 13
    broken = replace(
        track, landmark_ids=track.landmark_ids[kept], landmarks=track.landmarks[:, kept]
    )
    with pytest.raises(DataError, match="landmark 13 is missing"):
        rest_of([broken])


# Gaps and damage ----------------------------------------------------------------------------------


def test_frames_without_a_face_hold_the_nearest_weights() -> None:
    found = np.ones(len(SPEECH), bool)
    found[:3] = found[42:48] = found[-4:] = False
    result = fitted(with_face(tracked(SPEECH), found))
    assert np.array_equal(result.valid, found)
    weights = result.curves.weights
    assert np.array_equal(weights[:3], np.tile(weights[3], (3, 1)))
    assert np.array_equal(weights[42], weights[41])
    assert np.array_equal(weights[47], weights[48])
    assert np.array_equal(weights[-1], weights[-5])


def test_time_without_film_frames_has_no_face() -> None:
    times = np.arange(len(SPEECH)) / FPS
    times[50:] += 1.0
    result = fitted(tracked(SPEECH, times + 0.5))
    at = np.arange(len(result.valid)) / FPS
    assert not result.valid[at < 0.2].any()
    assert result.valid[(at >= 0.5) & (at <= 0.5 + times[49])].all()
    assert not result.valid[(at > 0.5 + times[49] + 0.3) & (at < 0.5 + times[50] - 0.3)].any()


def test_irregular_times_are_followed() -> None:
    rng = np.random.default_rng(0)
    regular = np.arange(len(SPEECH)) / FPS
    times = regular + rng.uniform(-0.3, 0.3, len(regular)) / FPS
    times[0] = 0.0
    weights = np.stack([np.interp(times, regular, column) for column in SPEECH.T], axis=1)
    gap = lip_gap(fitted(tracked(weights, times)).curves.weights)
    n = min(len(gap), len(SPEECH))
    assert np.corrcoef(gap[:n], lip_gap(SPEECH)[:n])[0, 1] > 0.98


def test_turned_away_and_distorted_faces_are_gaps() -> None:
    straight, away = tracked(SPEECH), tracked(SPEECH, degrees=(60, 0, 0))
    landmarks = straight.landmarks.copy()
    landmarks[20:30] = away.landmarks[20:30]
    rng = np.random.default_rng(0)
    landmarks[50:55] = rng.uniform(0, 400, landmarks[50:55].shape)
    landmarks[70] = 3.0
    valid = fitted(replace(straight, landmarks=landmarks)).valid
    expected = np.ones(len(SPEECH), bool)
    expected[20:30] = expected[50:55] = expected[70] = False
    assert np.array_equal(valid, expected)


def test_track_without_a_face_is_an_error() -> None:
    track = with_face(tracked(SPEECH), np.zeros(len(SPEECH), bool))
    with pytest.raises(DataError, match="no frame shows a face"):
        rest_of([track])
    result = fit_track(track, rest_of([tracked(SPEECH)]), FPS)
    assert not result.valid.any()
    assert not result.curves.weights.any()


def test_still_face_and_single_frame_stay_at_rest() -> None:
    for n in (1, 2, 30):
        result = fitted(tracked(np.tile(REST, (n, 1))))
        assert result.valid.all()
        assert np.abs(result.curves.weights).max() < 0.05
        assert result.curves.n_frames == n


def test_long_tracks_are_fitted_in_blocks_without_seams() -> None:
    long = np.tile(SPEECH, (30, 1))
    weights = fitted(tracked(long)).curves.weights
    n = len(SPEECH)
    middle = weights[n : 29 * n].reshape(-1, n, weights.shape[1])
    assert len(weights) == 30 * n
    assert np.abs(middle - middle[:1]).max() < 1e-3
