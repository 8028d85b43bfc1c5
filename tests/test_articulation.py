"""Test the mouth curves: contacts, openings, rest, smoothness and styles.

Most properties are tested on a small fake rig, and distances in millimeters on the bundled head.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from timed_phones import phones_of

from codetalker_cli.errors import DataError
from codetalker_cli.rigs.head import Rig
from codetalker_cli.rigs.styles import SpeakingStyle
from codetalker_cli.synthetic.articulation import (
    JAW_SPEED,
    articulate,
    limit_speed,
    mouth_curves,
    padded_phones,
)
from codetalker_cli.synthetic.contacts import LipContacts
from codetalker_cli.synthetic.fitted import fitted_articulation
from codetalker_cli.synthetic.speech.phones import LABELS, Phone
from codetalker_cli.synthetic.visemes import PHONES, channel_of

FPS = 30.0
SUBJECTS = [f"S{i:02d}" for i in range(1, 13)]

_BOTH_SIDES = [
    "mouthPress", "mouthUpperUp", "mouthLowerDown", "mouthStretch", "mouthSmile", "mouthFrown",
    "eyeBlink", "browOuterUp", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeLookDown", "eyeWide",
]  # fmt: skip
_SINGLE = [
    "jawOpen", "mouthClose", "mouthRollUpper", "mouthRollLower", "mouthPucker", "mouthFunnel",
    "lipTuckFV", "browInnerUp", "tongueTipUp", "tongueTipOut", "tongueBackUp",
]  # fmt: skip
_POSES: dict[str, dict[str, float]] = {
    "sil": {},
    "PP": {"jawOpen": 0.06, "mouthClose": 0.1, "mouthPress": 0.3, "mouthPucker": 0.08},
    "FF": {"jawOpen": 0.05, "lipTuckFV": 1.0, "mouthUpperUp": 0.4, "mouthRollLower": 0.25},
    "TH": {"jawOpen": 0.17, "mouthLowerDown": 0.3, "tongueTipOut": 1.0},
    "DD": {"jawOpen": 0.13, "mouthUpperUp": 0.25, "mouthLowerDown": 0.4, "tongueTipUp": 0.9},
    "kk": {"jawOpen": 0.17, "mouthUpperUp": 0.2, "mouthLowerDown": 0.3, "tongueBackUp": 1.0},
    "CH": {"jawOpen": 0.05, "mouthFunnel": 0.6, "mouthPucker": 0.45},
    "SS": {"jawOpen": 0.04, "mouthUpperUp": 0.45, "mouthLowerDown": 0.7, "mouthStretch": 0.4},
    "nn": {"jawOpen": 0.11, "mouthUpperUp": 0.2, "mouthLowerDown": 0.35, "tongueTipUp": 1.0},
    "RR": {"jawOpen": 0.1, "mouthFunnel": 0.3, "mouthPucker": 0.5},
    "aa": {"jawOpen": 0.52, "mouthUpperUp": 0.15, "mouthLowerDown": 0.2},
    "E": {"jawOpen": 0.28, "mouthUpperUp": 0.25, "mouthLowerDown": 0.35, "mouthStretch": 0.4},
    "I": {"jawOpen": 0.13, "mouthUpperUp": 0.35, "mouthLowerDown": 0.45, "mouthStretch": 0.6},
    "O": {"jawOpen": 0.34, "mouthFunnel": 0.45, "mouthPucker": 0.55},
    "U": {"jawOpen": 0.1, "mouthFunnel": 0.25, "mouthPucker": 1.0},
}


@dataclass(frozen=True)
class FakeRig:
    """A rig with only unit names and viseme weights."""

    unit_names: tuple[str, ...] = (
        *_SINGLE,
        *(f"{unit}{side}" for unit in _BOTH_SIDES for side in ("Left", "Right")),
    )
    visemes: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for viseme, weights in _POSES.items():
            pose = np.zeros(len(self.unit_names))
            for unit, weight in weights.items():
                for name in (unit, f"{unit}Left", f"{unit}Right"):
                    if name in self.unit_names:
                        pose[self.unit_names.index(name)] = weight
            self.visemes[viseme] = pose

    def column(self, unit: str) -> int:
        return self.unit_names.index(unit)


RIG = FakeRig()
NEUTRAL_STYLE = SpeakingStyle()


def curves(
    phones: list[Phone], style: SpeakingStyle = NEUTRAL_STYLE, fps: float = FPS
) -> np.ndarray:
    n_frames = int(phones[-1].end_seconds * fps) + 1
    return articulate(phones, n_frames, fps, RIG, style, np.random.default_rng(0))


def column(weights: np.ndarray, unit: str) -> np.ndarray:
    return weights[:, RIG.column(unit)]


def frame_of(phone: Phone, fps: float = FPS) -> int:
    return round((phone.start_seconds + phone.end_seconds) / 2 * fps)


speech = st.lists(
    st.tuples(st.sampled_from(sorted(LABELS)), st.floats(0.02, 0.3)), min_size=1, max_size=25
).map(lambda pairs: phones_of(" ".join(f"{label}:{seconds:.3f}" for label, seconds in pairs)))
styles = st.sampled_from(SUBJECTS).map(SpeakingStyle.for_subject)
rates = st.sampled_from([25.0, 30.0, 60.0])


# --- tables ---------------------------------------------------------------------------------------


def test_every_phone_has_an_articulation_with_complete_phases() -> None:
    assert set(PHONES) == set(LABELS)
    for label, articulation in PHONES.items():
        assert sum(segment.share for segment in articulation.phases) == pytest.approx(1.0), label
        assert all(pose in _POSES for s in articulation.phases for pose in s.poses), label
        assert all(level > 0 for level in articulation.dominance.values()), label


def test_units_belong_to_the_expected_channels() -> None:
    assert channel_of("jawOpen") == "jaw"
    assert channel_of("mouthStretchLeft") == "spread"
    assert channel_of("mouthLowerDownRight") == "open"
    assert channel_of("tongueTipUp") == "tongue"


def test_styles_are_fixed_distinct_and_moderate() -> None:
    table = [SpeakingStyle.for_subject(name) for name in SUBJECTS]
    assert [SpeakingStyle.for_subject(i) for i in range(12)] == table
    assert len(set(table)) == 12
    assert all(0.75 <= style.amplitude <= 1.25 for style in table)
    assert all(0.2 <= style.blink_rate_hz <= 0.4 for style in table)
    assert max(s.amplitude for s in table) / min(s.amplitude for s in table) > 1.5
    other = SpeakingStyle.for_subject("someone", seed=1)
    assert other == SpeakingStyle.for_subject("someone", seed=1)
    assert other != SpeakingStyle.for_subject("someone", seed=2)


# --- general properties ---------------------------------------------------------------------------


@given(phones=speech, style=styles, fps=rates)
@settings(max_examples=60, deadline=None)
def test_weights_are_finite_in_range_and_continuous(
    phones: list[Phone], style: SpeakingStyle, fps: float
) -> None:
    weights = curves(phones, style, fps)
    assert weights.dtype == np.float32
    assert np.isfinite(weights).all()
    assert weights.min() >= 0.0 and weights.max() <= 1.0
    steps = np.abs(np.diff(weights, axis=0)).max(axis=0, initial=0.0)
    assert steps[RIG.column("jawOpen")] <= JAW_SPEED / fps + 1e-5
    lips = [i for i, name in enumerate(RIG.unit_names) if channel_of(name) in ("round", "spread")]
    assert steps[lips].max() <= 0.75


@given(phones=speech, style=styles, fps=rates)
@settings(max_examples=60, deadline=None)
def test_every_bilabial_is_pinned_for_two_frames_near_its_closure(
    phones: list[Phone], style: SpeakingStyle, fps: float
) -> None:
    n_frames = int(phones[-1].end_seconds * fps) + 1
    padded = padded_phones(phones, n_frames / fps)
    weights = mouth_curves(padded, n_frames, fps, RIG, style)
    contacts = LipContacts(padded, n_frames, fps)
    bilabials = [p for p in padded if p.label in ("P", "B", "M")]
    assert len(bilabials) == len(contacts.frames("PP"))
    for phone, (first, stop) in zip(bilabials, contacts.frames("PP"), strict=True):
        assert stop - first >= 2
        # At most 1.5 frames outside the phone.
        assert first / fps >= phone.start_seconds - 1.5 / fps
        assert (stop - 1) / fps <= phone.end_seconds + 1.5 / fps
        for frame in range(max(first, 0), min(stop, n_frames)):
            row = weights[frame]
            press = row[RIG.column("mouthPressLeft")]
            assert press == pytest.approx(0.3)
            assert row[RIG.column("mouthLowerDownLeft")] == pytest.approx(0.0, abs=1e-9)
            assert row[RIG.column("mouthUpperUpLeft")] == pytest.approx(0.0, abs=1e-9)
            # The lower lip compensates for the whole opening of the jaw.
            shut = row[RIG.column("mouthClose")] - row[RIG.column("jawOpen")]
            assert shut >= 0.04 - 1e-9


@given(phones=speech)
@settings(max_examples=40, deadline=None)
def test_curves_are_reproducible_from_the_seed(phones: list[Phone]) -> None:
    np.testing.assert_array_equal(curves(phones), curves(phones))


@given(values=st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40), step=st.floats(0.001, 0.5))
def test_limit_speed_is_the_lower_lipschitz_envelope(values: list[float], step: float) -> None:
    curve = np.array(values)
    index = np.arange(len(curve))
    expected = (curve[None, :] + step * np.abs(index[:, None] - index[None, :])).min(axis=1)
    np.testing.assert_allclose(limit_speed(curve, step), expected, atol=1e-9)


def test_unknown_and_misordered_phones_are_refused() -> None:
    with pytest.raises(DataError, match="QQ"):
        padded_phones([Phone("QQ", 0.0, 0.1)], 1.0)
    with pytest.raises(DataError, match="out of order"):
        padded_phones([Phone("AA", 0.5, 0.6), Phone("B", 0.2, 0.3)], 1.0)
    with pytest.raises(DataError, match="out of order"):
        padded_phones([Phone("AA", 0.5, 0.4)], 1.0)


# --- co-articulation ------------------------------------------------------------------------------


def test_rounding_is_anticipated_across_consonants() -> None:
    rounded = phones_of("SIL T IY S T UW SIL")
    spread = phones_of("SIL T IY S T IY SIL")
    s = frame_of(rounded[3])
    assert column(curves(rounded), "mouthPucker")[s + 1] > (
        column(curves(spread), "mouthPucker")[s + 1] + 0.1
    )
    assert (
        column(curves(rounded), "mouthStretchLeft")[s + 1]
        < (column(curves(spread), "mouthStretchLeft")[s + 1])
    )
    # Rounding reaches over the consonants on both sides of the vowel.
    alone = phones_of("SIL K UW K SIL", seconds=0.12)
    pucker = column(curves(alone, fps=120.0), "mouthPucker")
    begin, end = int(alone[2].start_seconds * 120), int(alone[2].end_seconds * 120)
    assert min(pucker[begin - 10], pucker[end + 10]) > 0.5 * pucker[begin:end].max()


def test_consonants_adopt_the_opening_of_their_neighbors() -> None:
    wide, narrow = phones_of("SIL HH AA K AA SIL", 0.1), phones_of("SIL HH IY K IY SIL", 0.1)
    k = frame_of(wide[3])
    assert column(curves(wide), "jawOpen")[k] > column(curves(narrow), "jawOpen")[k] + 0.05


def test_jaw_undershoots_in_fast_speech() -> None:
    slow, fast = phones_of("SIL M AA M AA M SIL", 0.2), phones_of("SIL M AA M AA M SIL", 0.05)
    jaw_slow, jaw_fast = (column(curves(p), "jawOpen").max() for p in (slow, fast))
    assert jaw_slow > 0.3
    assert 0.12 < jaw_fast < 0.75 * jaw_slow


def test_louder_and_longer_vowels_open_more() -> None:
    phones = padded_phones(phones_of("SIL T AA T SIL", 0.12), 1.2)
    soft, loud = (
        mouth_curves(phones, 36, FPS, RIG, NEUTRAL_STYLE, np.full(36, level))
        for level in (-6.0, 6.0)
    )
    # The talker that the rules were fitted to opens only a little further when he is louder.
    assert column(loud, "jawOpen").max() > 1.01 * column(soft, "jawOpen").max()


def test_labiodentals_tuck_the_lower_lip() -> None:
    for text in ("SIL F AA SIL", "SIL AA V IY SIL", "SIL P AE M F L AH T SIL"):
        phones = phones_of(text, 0.06)
        tuck = column(curves(phones), "lipTuckFV")
        at = next(frame_of(p) for p in phones if p.label in "FV")
        assert (tuck[at - 2 : at + 3] >= 0.999).any(), text


def test_mouth_rests_in_silence_and_parts_the_lips_before_the_sound() -> None:
    phones = phones_of("SIL:1.5 AA:0.2 T:0.1 SIL:0.9")
    padded = padded_phones(phones, 2.7)
    weights = mouth_curves(padded, 81, FPS, RIG, NEUTRAL_STYLE)
    times = np.arange(81) / FPS
    ready = fitted_articulation().ready
    rest = (times < 1.5 - ready.lead - ready.rise) | (times > 1.8 + 0.35)
    assert weights[rest].max() < 1e-3
    jaw = column(weights, "jawOpen")
    assert jaw[int(1.45 * FPS)] > 0.01  # anticipation
    assert jaw[int(1.85 * FPS)] > 0.005  # gradual closing
    # People part their lips 0.3 to 0.6 s before they speak.
    assert column(weights, "mouthLowerDownLeft")[int(1.1 * FPS)] > 0.05
    only_silence = padded_phones([], 1.0)
    assert not mouth_curves(only_silence, 30, FPS, RIG, NEUTRAL_STYLE).any()


def test_mouth_does_not_depend_on_the_seed() -> None:
    phones = phones_of("SIL B AH B AH L SIL")
    a, b = (
        articulate(phones, 40, FPS, RIG, NEUTRAL_STYLE, np.random.default_rng(seed))
        for seed in (1, 2)
    )
    mouth = [i for i, n in enumerate(RIG.unit_names) if n.startswith(("mouth", "jaw", "tongue"))]
    np.testing.assert_array_equal(a[:, mouth], b[:, mouth])
    assert (a != b).any()


# --- on the bundled head --------------------------------------------------------------------------

FAST = "SIL P AE M F L AH T B AH B AH L W UH L F M AH M B L IH NG S IH K S TH AA B V IY AH P SIL"
OPEN = (
    "SIL HH AA T SIL S AE T SIL L AW D SIL T AY M SIL B AH T SIL K AH P B OY SIL S T AA P AE D SIL"
)


@pytest.fixture(scope="module")
def head() -> Rig:
    return Rig.load()


def gaps_mm(head: Rig, subject: str, phones: list[Phone]) -> np.ndarray:
    """Return the inner-lip gap of every frame in millimeters."""
    style = SpeakingStyle.for_subject(subject)
    n_frames = int(phones[-1].end_seconds * FPS) + 1
    weights = articulate(phones, n_frames, FPS, head, style, np.random.default_rng(0))
    return 1000.0 * head.topology.inner_lip_gap(head.pose(subject, weights))


def test_lips_close_in_fast_speech_for_every_subject(head: Rig) -> None:
    for seconds in (0.045, 0.08):
        phones = phones_of(FAST, seconds)
        bilabials = [phone for phone in phones if phone.label in ("P", "B", "M")]
        assert len(bilabials) == 9
        for subject in SUBJECTS:
            gap = gaps_mm(head, subject, phones)
            for phone in bilabials:
                at = frame_of(phone)
                shut = gap[at - 2 : at + 3] < 1.0
                assert (shut[1:] & shut[:-1]).any(), (subject, seconds, phone)


def test_open_vowels_open_for_every_subject(head: Rig) -> None:
    phones = phones_of(OPEN, 0.075)
    vowels = [frame_of(p) for p in phones if PHONES[p.label].open_vowel]
    assert len(vowels) == 8
    for subject in SUBJECTS:
        gap = gaps_mm(head, subject, phones)
        assert (gap[vowels] > 4.0).mean() >= 0.9, (subject, gap[vowels])
        assert np.median(gap[vowels]) < 22.0


def test_lips_touch_only_in_contacts_and_at_rest(head: Rig) -> None:
    phones = phones_of("SIL W IY S T UW L OW K R UW Z Y IH R SH UH D W ER K SIL", 0.08, pause=0.6)
    for subject in SUBJECTS:
        gap = gaps_mm(head, subject, phones)
        times = np.arange(len(gap)) / FPS
        speaking = (times >= phones[1].start_seconds) & (times < phones[-1].start_seconds)
        assert gap[speaking].min() > 1.5, subject
        rest = times > phones[-1].start_seconds + 0.4
        assert gap[rest].max() < 1.0, subject


def test_lower_lip_touches_the_upper_teeth_in_labiodentals(head: Rig) -> None:
    phones = phones_of("SIL F AA DH ER V AE L IY K AO F UW F SIL", 0.07)
    n_frames = int(phones[-1].end_seconds * FPS) + 1
    start, stop = head.topology.parts["teeth_upper"]
    lower = head.topology.region("inner_lip_lower")[4:-4]
    labiodentals = [phone for phone in phones if phone.label in ("F", "V")]
    assert len(labiodentals) == 4
    for subject in SUBJECTS:
        style = SpeakingStyle.for_subject(subject)
        weights = articulate(phones, n_frames, FPS, head, style, np.random.default_rng(0))
        vertices = head.pose(subject, weights)
        apart = vertices[:, lower, None] - vertices[:, None, start:stop]
        nearest = 1000.0 * np.linalg.norm(apart, axis=-1).min(axis=(1, 2))
        for phone in labiodentals:
            at = frame_of(phone)
            assert nearest[at - 1 : at + 2].min() < 2.0, (subject, phone)


def test_rounded_phones_are_narrower_than_spread_ones(head: Rig) -> None:
    phones = phones_of("SIL W IY S UW T IY SH OW S IH W UW SIL", 0.09)
    n_frames = int(phones[-1].end_seconds * FPS) + 1
    lips = head.topology.region("lips")
    for subject in SUBJECTS:
        style = SpeakingStyle.for_subject(subject)
        weights = articulate(phones, n_frames, FPS, head, style, np.random.default_rng(0))
        width = 1000.0 * np.ptp(head.pose(subject, weights)[:, lips, 0], axis=1)
        rounded = [width[frame_of(p)] for p in phones if p.label in ("W", "UW", "OW")]
        spread = [width[frame_of(p)] for p in phones if p.label in ("IY", "IH", "S")]
        assert np.median(rounded) < np.median(spread) - 1.0, subject
