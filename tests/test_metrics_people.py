"""Compare mouths with known relations: shifted, scaled, shut, cut and repeated curves."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetalker_cli.errors import DataError, InputError
from codetalker_cli.face_track import TimedWord
from codetalker_cli.metrics import mouth_curves, people
from codetalker_cli.metrics.clip import ClipScores
from codetalker_cli.metrics.mouth_curves import MouthCurves
from codetalker_cli.metrics.repeated_words import repeat_words
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.head import Rig
from codetalker_cli.rigs.posing import motion_of
from codetalker_cli.topology import Topology

FPS = 25.0
N = 75
WORDS = (
    TimedWord("sil", 0.0, 0.6),
    TimedWord("bin", 0.6, 1.2),
    TimedWord("sp", 1.2, 1.3),
    TimedWord("red", 1.3, 2.2),
    TimedWord("sil", 2.2, 3.0),
)


def curves(opening: np.ndarray, width: np.ndarray | None = None, fps: float = FPS) -> MouthCurves:
    width = 0.5 - opening if width is None else width
    return MouthCurves(np.arange(len(opening)) / fps, opening, width)


def talking(seed: int = 0, n: int = N) -> np.ndarray:
    """Return a smooth random opening from 0.001 to about 0.1, which is shut now and then."""
    rng = np.random.default_rng(seed)
    smooth = np.convolve(rng.standard_normal(n + 4), np.hanning(7)[1:-1], "valid")
    return np.maximum(0.001, 0.04 + 0.03 * smooth)


def value(found: dict, name: str) -> float:
    total, count = found[name]
    return total / count


def scores(*found: dict, people_of: tuple[str, ...] = ()) -> list[ClipScores]:
    names = people_of or ("A",) * len(found)
    return [
        ClipScores(f"{k}", name, None, N, one)
        for k, (name, one) in enumerate(zip(names, found, strict=True))
    ]


# Properties ---------------------------------------------------------------------------------------


@given(st.integers(0, 1000))
def test_identical_curves_have_perfect_figures(seed: int) -> None:
    mouth = curves(talking(seed))
    found = people.compare(mouth, mouth, WORDS, curves(talking(seed + 1)))
    perfect = ["opening_r", "opening_r_words", "width_r", "width_r_words", "opening_p95_ratio"]
    perfect += ["opening_p50_ratio", "speed_p95_ratio", "width_range_ratio"]
    assert [value(found, name) for name in perfect] == pytest.approx([1.0] * len(perfect))
    assert value(found, "closings_f1") == 1.0 if "closings_f1" in found else True
    summary = people.summarize(scores(found))
    assert summary["opening_lag"].value == summary["width_lag"].value == 0.0
    assert summary["opening_r_near"].value == pytest.approx(1.0)


@given(st.integers(0, 1000), st.integers(-people.MAX_LAG, people.MAX_LAG))
def test_shifted_curve_has_its_shift_as_lag(seed: int, shift: int) -> None:
    long = talking(seed, N + 40)
    person, late = curves(long[20 : 20 + N]), curves(long[20 - shift : 20 - shift + N])
    summary = people.summarize(scores(people.compare(person, late, WORDS)))
    assert summary["opening_lag"].value == summary["width_lag"].value == shift
    assert summary["opening_r_best"].value == pytest.approx(1.0)
    near = summary["opening_r_near"].value
    assert near is not None and (near > 0.999) == (abs(shift) <= 1)


@given(st.integers(0, 1000), st.floats(0.1, 10.0))
def test_scaled_curve_has_its_scale_as_ratio(seed: int, scale: float) -> None:
    mouth = curves(talking(seed))
    scaled = curves(scale * mouth.opening, scale * mouth.width)
    found = people.compare(mouth, scaled, WORDS)
    ratios = ["opening_p50_ratio", "opening_p95_ratio", "speed_p95_ratio", "width_range_ratio"]
    assert [value(found, name) for name in ratios] == pytest.approx([scale] * 4)
    assert value(found, "opening_r") == pytest.approx(1.0)
    assert value(found, "opening_p95") == pytest.approx(
        scale * np.percentile(mouth.opening[people.inside_words(mouth.times, WORDS[1:4:2])], 95)
    )


def test_wrong_clip_is_worse_than_the_right_one() -> None:
    mouths = [curves(talking(seed)) for seed in range(12)]
    found = [
        people.compare(mouth, curves(0.9 * mouth.opening), WORDS, mouths[(k + 1) % 12])
        for k, mouth in enumerate(mouths)
    ]
    summary = people.summarize(scores(*found))
    for name in ("opening_r", "width_r", "closings_f1"):
        right, wrong = summary[name].value, summary[f"{name}_control"].value
        assert right is not None and wrong is not None and right > 0.99 > 0.6 > wrong


# Frames -------------------------------------------------------------------------------------------


def test_curves_are_interpolated_at_25_frames_per_second() -> None:
    times = np.arange(0, 3.0, 1 / 60)
    fine = MouthCurves(times, np.sin(5 * times) + 1.0, np.cos(5 * times))
    coarse = curves(np.sin(5 * np.arange(N) / FPS) + 1.0, np.cos(5 * np.arange(N) / FPS))
    for person, tool in ((fine, coarse), (coarse, fine)):
        found = people.compare(person, tool, WORDS)
        assert value(found, "opening_r") > 0.999 and value(found, "width_r") > 0.999
        assert value(found, "speed_p95_ratio") == pytest.approx(1.0, abs=0.01)


def test_resampling_keeps_frames_and_does_not_extrapolate() -> None:
    times, values = np.array([0.0, 0.1, 0.3, 0.4]), np.array([1.0, 2.0, 6.0, np.nan])
    at = np.array([-0.01, 0.0, 0.05, 0.1, 0.2, 0.3, 0.35, 0.4, 0.5])
    expected = [np.nan, 1.0, 1.5, 2.0, 4.0, 6.0, np.nan, np.nan, np.nan]
    np.testing.assert_allclose(people.resample(times, values, at), expected)
    assert np.isnan(people.resample(np.zeros(0), np.zeros(0), at)).all()
    # Times that differ by a rounding error are those of the frames.
    film = np.arange(N) / FPS
    assert np.isfinite(people.resample(film, film, film * (1 + 1e-12))).all()


def test_untracked_frames_are_excluded() -> None:
    opening = talking()
    gap = opening.copy()
    gap[30:35] = np.nan
    whole, holed = curves(opening), curves(gap)
    other = curves(talking(1))
    found = people.compare(holed, other, WORDS)
    known = np.isfinite(gap)
    expected = np.corrcoef(gap[known], other.opening[known])[0, 1]
    assert value(found, "opening_r") == pytest.approx(expected)
    assert all(np.isfinite(one).all() for one in found.values())
    # A tool that lacks more than a tenth of the frames is not measured by the rest of them.
    gap[20:35] = np.nan
    found = people.compare(whole, curves(gap), WORDS)
    assert "opening_r" not in found and "opening_p95" not in found
    assert "opening_r" in people.compare(curves(gap), whole, WORDS)


@pytest.mark.parametrize("n", [0, 1, 2, 9, 15])
def test_short_clips_have_only_the_figures_that_they_allow(n: int) -> None:
    mouth = curves(talking(n=N)[20 : 20 + n])
    found = people.compare(mouth, mouth, [TimedWord("a", 0.0, 0.1)], mouth)
    assert ("opening_r" in found) == (n >= people.MIN_FRAMES)
    assert not any("@" in name for name in found)
    assert "opening_lag" not in people.summarize(scores(found))


def test_clips_without_words_have_figures_of_the_whole_clip() -> None:
    mouth = curves(talking())
    for words in ((), (TimedWord("sil", 0.0, 3.0),)):
        found = people.compare(mouth, mouth, words)
        assert {"opening_r", "width_r", "closings_f1"} <= set(found)
        assert not {"opening_r_words", "opening_p95", "rest_opening", "lead_seconds"} & set(found)


def test_still_tool_has_no_correlation_and_still_person_is_not_measured() -> None:
    still, mouth = curves(np.full(N, 0.02)), curves(talking())
    assert value(people.compare(mouth, still, WORDS), "opening_r") == 0.0
    assert "opening_r" not in people.compare(still, mouth, WORDS)


# Closings -----------------------------------------------------------------------------------------


def shut_in(*frames: tuple[int, int], n: int = N) -> MouthCurves:
    """Return a mouth that is shut in these ranges of frames, including the last."""
    opening = np.full(n, 0.1)
    for first, last in frames:
        opening[first : last + 1] = 0.0
    return curves(opening)


def test_closings_take_at_most_half_a_second() -> None:
    mouth = shut_in((5, 5), (10, 21), (30, 42))  # 1, 12 and 13 frames: 0.04, 0.48 and 0.52 s
    assert people.closings(mouth) == pytest.approx([5 / FPS, 15.5 / FPS])
    assert people.closings(mouth, 0.3, 0.7) == pytest.approx([15.5 / FPS])


def test_lips_are_shut_below_their_own_limit_or_a_share_of_the_opening() -> None:
    opening = np.full(N, 0.1)
    opening[10], opening[20], opening[30] = 0.011, 0.013, 0.03
    mouth = curves(opening)
    assert people.closings(mouth) == pytest.approx([10 / FPS])
    limited = replace(mouth, closed_below=0.03)
    assert people.closings(limited) == pytest.approx([10 / FPS, 20 / FPS, 30 / FPS])


def best_match(first: list[float], second: list[float]) -> int:
    """Return the size of the best matching, by trying all orders."""
    if len(first) > len(second):
        first, second = second, first
    return max(
        sum(abs(a - b) <= people.MATCH_SECONDS + 1e-6 for a, b in zip(first, order, strict=False))
        for order in itertools.permutations(second, len(first))
    )


TIMES = st.lists(st.integers(0, 30), max_size=5, unique=True)


@given(TIMES, TIMES)
def test_as_many_closings_as_possible_match(first: list[int], second: list[int]) -> None:
    a, b = sorted(k / FPS for k in first), sorted(k / FPS for k in second)
    pairs = people.match(np.array(a, float), np.array(b, float))
    assert len(pairs) == best_match(a, b)
    assert all(abs(x - y) <= people.MATCH_SECONDS + 1e-6 for x, y in pairs)
    assert len({x for x, _ in pairs}) == len({y for _, y in pairs}) == len(pairs)


def test_f1_counts_closings_in_speech_and_anywhere() -> None:
    person = shut_in((5, 6), (20, 21), (40, 41))  # the first is in silence
    tool = shut_in((6, 7), (22, 23), (60, 61))  # a match in speech, and two in silence
    found = people.compare(person, tool, WORDS)
    assert found["closings_f1"] == (2.0, 2 + 1)
    assert found["closings_f1_anywhere"] == (2.0, 2 + 3)
    # A closing just before the first word may match one inside.
    early = people.compare(shut_in((15, 16)), shut_in((13, 14)), WORDS)
    assert early["closings_f1"] == (2.0, 2.0)


def test_lips_shut_at_the_beginning_of_bilabial_words() -> None:
    words = [
        TimedWord(w, 0.4 * k, 0.4 * k + 0.4) for k, w in enumerate(["bin", "m", "my", "phone"])
    ]
    found = people.compare(curves(talking()), shut_in((3, 3)), words)
    assert found["bilabials_shut"] == (1.0, 2.0)  # "m" begins with a vowel, "phone" with f
    assert "bilabials_shut" not in people.compare(shut_in(), shut_in(), WORDS[3:])


# Rest ---------------------------------------------------------------------------------------------


def test_rest_and_lead_are_measured_before_and_after_speech() -> None:
    opening = np.full(N, 0.002)
    opening[11:55] = 0.1  # the first word starts at frame 15
    opening[65::2] = 0.004
    found = people.compare(curves(opening), curves(opening), WORDS)
    assert value(found, "lead_seconds") == pytest.approx(0.6 - 11 / FPS)
    assert value(found, "rest_opening") == 0.002
    assert 0.0 < value(found, "rest_noise") < 0.002


def test_noise_of_rest_is_its_standard_deviation() -> None:
    rng = np.random.default_rng(0)
    noisy = curves(np.abs(0.1 + rng.normal(0, 0.003, 4000)))
    found = people.compare(noisy, noisy, [TimedWord("a", 1.0, 1.1)])
    assert value(found, "rest_noise") == pytest.approx(0.003, rel=0.05)


# Summaries ----------------------------------------------------------------------------------------


def test_every_person_counts_the_same() -> None:
    found = [{"opening_r": (r, 1.0)} for r in (0.2, 0.4, 0.9)]
    summary = people.summarize(scores(*found, people_of=("A", "A", "B")))["opening_r"]
    assert summary.value == pytest.approx((0.3 + 0.9) / 2) and summary.n_clips == 3
    assert summary.low is not None and summary.high is not None
    assert 0.19 < summary.low < summary.high < 0.91


def test_f1_is_pooled_over_the_clips_of_a_person() -> None:
    found = [{"closings_f1": (2.0, 2.0)}, {"closings_f1": (0.0, 6.0)}]
    assert people.summarize(scores(*found))["closings_f1"].value == 0.25


def test_figures_agree_with_a_plain_computation() -> None:
    found, plain = [], {"opening_r": [], "opening_r_words": [], "width_r": []}
    for seed in range(5):
        person = curves(talking(seed))
        tool_times = np.arange(90) / 30
        rng = np.random.default_rng(seed)
        opening, width = rng.random(90), rng.random(90)
        found.append(people.compare(person, MouthCurves(tool_times, opening, width), WORDS))
        ours = [np.interp(person.times, tool_times, c) for c in (opening, width)]
        inside = [k for k in range(N) if 15 <= k < 30 or 33 <= k < 55]
        plain["opening_r"].append(np.corrcoef(person.opening, ours[0])[0, 1])
        plain["opening_r_words"].append(np.corrcoef(person.opening[inside], ours[0][inside])[0, 1])
        plain["width_r"].append(np.corrcoef(person.width, ours[1])[0, 1])
    summary = people.summarize(scores(*found))
    for name, values in plain.items():
        assert summary[name].value == pytest.approx(np.mean(values), abs=1e-9)


# Sources of curves --------------------------------------------------------------------------------


def test_curves_of_a_motion_are_heights_and_extents_of_the_inner_lips() -> None:
    rig = Rig.load()
    units = ("jawOpen", "mouthPucker")
    motion = motion_of(RigCurves(units, 30.0, np.array([[0.0, 0.0], [0.5, 0.0], [0.0, 0.7]])))
    found = mouth_curves.of_motion(motion)
    eyes = mouth_curves.eye_distance_of(motion.topology, motion.template)
    assert 0.085 < eyes < 0.1
    upper = rig.topology.region("inner_lip_upper")
    lower = rig.topology.region("inner_lip_lower")
    for k, frame in enumerate(np.asarray(motion.vertices, np.float64)):
        gaps = [frame[a, 1] - frame[b, 1] for a, b in zip(upper, lower, strict=True)]
        x = [frame[v, 0] for v in (*upper, *lower)]
        assert found.opening[k] * eyes == pytest.approx(np.mean(gaps), abs=1e-8)
        assert found.width[k] * eyes == pytest.approx(max(x) - min(x), abs=1e-8)
    assert found.times == pytest.approx([0, 1 / 30, 2 / 30])
    assert found.closed_below == pytest.approx(0.001 / eyes)
    assert found.opening[1] > found.closed_below > found.opening[0]
    assert found.width[2] < found.width[0]
    assert mouth_curves.of_motion(motion, 1.0).opening == pytest.approx(found.opening * eyes)


def test_mesh_without_eyes_uses_the_eye_distance_of_an_adult() -> None:
    triangles, template = np.array([[0, 1, 2]]), np.zeros((3, 3))
    distance = mouth_curves.eye_distance_of(Topology("a", triangles, 3, "mm"), template)
    assert distance == pytest.approx(90.0)
    with pytest.raises(DataError, match="length unit is unknown"):
        mouth_curves.eye_distance_of(Topology("a", triangles, 3, "area1"), template)


def test_level_is_the_mean_square_of_25_milliseconds() -> None:
    rng = np.random.default_rng(0)
    samples = np.concatenate([np.zeros(8000), 0.1 * rng.standard_normal(8000)])
    times = np.array([0.25, 0.6, 0.9, 2.0])
    expected = [-100.0]
    for k in (9600, 14400):
        expected.append(10 * np.log10(np.mean(samples[k - 200 : k + 200] ** 2)))
    assert mouth_curves.level(samples, times) == pytest.approx([*expected, -100.0])
    loud = mouth_curves.of_loudness(samples, times)
    assert (loud.width == -loud.opening).all()
    found = people.compare(curves(talking()), mouth_curves.of_loudness(samples, np.arange(75) / 25))
    assert "opening_r" in found and not {"closings_f1", "opening_p95"} & set(found)


def test_speech_is_the_interval_between_its_first_and_last_sound() -> None:
    rng = np.random.default_rng(0)
    samples = 1e-4 * rng.standard_normal(32000)
    samples[8000:24000] += 0.1 * rng.standard_normal(16000)
    (word,) = mouth_curves.spoken(samples)
    assert word.start_seconds == pytest.approx(0.5, abs=0.02)
    assert word.end_seconds == pytest.approx(1.5, abs=0.02)
    assert word.label not in people.SILENCE
    assert mouth_curves.spoken(np.zeros(16000)) == mouth_curves.spoken(np.zeros(0)) == ()


def test_invalid_curves_are_refused() -> None:
    for times in ([0.0, 0.0], [0.1, 0.0], [0.0, np.nan]):
        with pytest.raises(InputError, match="not strictly increasing"):
            MouthCurves(np.array(times), np.zeros(2), np.zeros(2))


def test_repeated_words_are_stretched_to_the_length_of_the_word() -> None:
    def clip(slope: float, start: float, end: float) -> people.Clip:
        times = np.arange(N) / FPS
        share = (times - start) / (end - start)
        words = [TimedWord("sil", 0.0, start), TimedWord("yes", start, end)]
        return people.Clip(MouthCurves(times, slope * share, -slope * share), words)

    here, next_one, last = clip(5.0, 0.4, 0.8), clip(1.0, 0.2, 1.4), clip(3.0, 1.0, 2.0)
    once, mean = repeat_words(here, [next_one, last])
    frames = np.arange(10, 20)
    share = (frames / FPS - 0.4) / 0.4
    assert once.opening[frames] == pytest.approx(share, abs=1e-6)
    assert mean.width[frames] == pytest.approx(-2.0 * share, abs=1e-6)
    outside = np.setdiff1d(np.arange(N), frames)
    assert np.isnan(once.opening[outside]).all() and np.isnan(mean.width[outside]).all()
    other = people.Clip(here.curves, [TimedWord("no", 0.4, 0.8)])
    assert np.isnan(repeat_words(here, [other])[0].opening).all()


def test_every_figure_is_documented() -> None:
    text = (Path(__file__).parents[1] / "docs" / "evaluation.md").read_text("utf-8")
    section = text.split("## Filmed people", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    named = " ".join(rows)
    for name in people.FIGURES:
        ends = re.search(r"(_r_words|_r_control|_lag|_r_best|_r_near)$", name)
        shown = f"…{ends[1]}" if ends and not name.startswith("closings") else name
        assert f"`{shown}`" in named, name
    assert f"at most {people.CLOSED_SHARE} times" in section
    assert f"from −{people.MAX_LAG} to {people.MAX_LAG} frames" in section
