"""Test the smallest openings of the lips on the bundled head, and the lips of other languages."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from timed_phones import phones_of

from codetalker_cli.rigs.styles import SpeakingStyle
from codetalker_cli.rigs.units import bundled_rig
from codetalker_cli.synthetic.articulation import mouth_curves, padded_phones
from codetalker_cli.synthetic.clarity import CLEAR_MM, OPEN_MM
from codetalker_cli.synthetic.speech.phones import LABELS, SILENCE, Phone
from codetalker_cli.synthetic.visemes import PHONES, channel_of

FPS = 30.0
SUBJECT = "S01"
STYLE = SpeakingStyle.for_subject(SUBJECT)
OPEN = sorted(label for label in LABELS if PHONES[label].open_vowel)
CLOSURES = sorted(label for label in LABELS if PHONES[label].contact)
APART = sorted(LABELS - {SILENCE} - set(CLOSURES))
"""The phones whose lips must not touch."""


class Mouth(NamedTuple):
    """The (T, U) weights, and the (T,) gap and width of the inner lips in millimeters."""

    weights: np.ndarray
    gap: np.ndarray
    width: np.ndarray


def speak(phones: list[Phone], fps: float = FPS, loudness_db: float | None = None) -> Mouth:
    rig = bundled_rig()
    n_frames = int(phones[-1].end_seconds * fps) + 1
    level = None if loudness_db is None else np.full(n_frames, loudness_db)
    padded = padded_phones(phones, n_frames / fps)
    weights = np.clip(mouth_curves(padded, n_frames, fps, rig, STYLE, level), 0.0, 1.0)
    vertices = rig.pose(SUBJECT, weights)
    inner = [*rig.topology.region("inner_lip_upper"), *rig.topology.region("inner_lip_lower")]
    width = 1000.0 * np.ptp(vertices[:, inner, 0], axis=1)
    return Mouth(weights, 1000.0 * rig.topology.inner_lip_gap(vertices), width)


def center(phone: Phone, fps: float = FPS) -> int:
    return round((phone.start_seconds + phone.end_seconds) / 2 * fps)


def random_speech(labels: list[str], seed: int, shortest: float) -> list[Phone]:
    """Return phones of random durations, up to 0.25 s, between silences."""
    rng = np.random.default_rng(seed)
    spoken = (f"{label}:{rng.uniform(shortest, 0.25):.3f}" for label in labels)
    return phones_of(f"SIL:0.5 {' '.join(spoken)} SIL:0.5")


# Open vowels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.05, 0.08, 0.12, 0.2])
@pytest.mark.parametrize("label", OPEN)
def test_open_vowels_are_open_in_their_center_frame(label: str, seconds: float) -> None:
    neighbors = [name for name in APART if name not in OPEN]
    text = " ".join(f"{name} {label}" for name in neighbors)
    phones = phones_of(f"SIL {text} SIL", seconds)
    gap = speak(phones).gap
    vowels = [phone for phone in phones if phone.label == label]
    assert len(vowels) == len(neighbors) > 20
    assert min(gap[center(phone)] for phone in vowels) >= 6.0


@pytest.mark.parametrize("contact", CLOSURES)
@pytest.mark.parametrize("label", OPEN)
def test_open_vowels_are_open_between_lip_contacts(label: str, contact: str) -> None:
    phones = phones_of(f"SIL {contact} {label}:0.12 {contact} {label}:0.15 {contact} SIL", 0.07)
    gap = speak(phones).gap
    vowels = [phone for phone in phones if phone.label == label]
    assert len(vowels) == 2
    assert min(gap[center(phone)] for phone in vowels) >= 6.0
    # The contacts are still reached.
    assert gap.min() < (1.0 if PHONES[contact].contact == "PP" else 6.0)


@pytest.mark.parametrize("loudness_db", [-40.0, -12.0, 12.0])
@pytest.mark.parametrize("fps", [25.0, 60.0])
def test_open_vowels_are_open_at_every_level_and_frame_rate(fps: float, loudness_db: float) -> None:
    phones = phones_of("SIL S AA T HH AE K L AH N D AW S T AY M SIL", 0.09)
    gap = speak(phones, fps, loudness_db).gap
    vowels = [phone for phone in phones if phone.label in OPEN]
    assert len(vowels) == len(OPEN)
    assert min(gap[center(phone, fps)] for phone in vowels) >= 6.0


# Lips that must not touch -------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_phones_without_a_contact_do_not_touch(seed: int) -> None:
    labels = list(np.random.default_rng(100 + seed).permutation(APART))
    phones = random_speech(labels, seed, shortest=0.03)
    gap = speak(phones).gap
    times = np.arange(len(gap)) / FPS
    spoken = (times >= phones[1].start_seconds) & (times <= phones[-1].start_seconds)
    assert spoken.sum() > 60
    assert gap[spoken].min() >= 1.0
    vowels = [phone for phone in phones if phone.label in OPEN]
    assert len(vowels) == len(OPEN)
    assert min(gap[center(phone)] for phone in vowels) >= 6.0


@pytest.mark.parametrize("label", APART)
def test_a_phone_without_a_contact_does_not_touch_at_any_level(label: str) -> None:
    for loudness_db in (-40.0, 12.0):
        phones = phones_of(f"SIL {label}:0.1 {label}:0.2 SIL")
        gap = speak(phones, 60.0, loudness_db).gap
        for phone in phones[1:3]:
            inside = slice(int(phone.start_seconds * 60) + 1, int(phone.end_seconds * 60) + 1)
            assert gap[inside].min() >= 1.0


def test_smallest_openings_are_the_stated_ones() -> None:
    # The inner lips of the head at rest are 0.12 mm apart.
    for label in ("N", "BH"):
        gap = speak(phones_of(f"SIL {label}:0.3 SIL")).gap
        assert gap[round(0.55 * FPS)] == pytest.approx(CLEAR_MM + 0.12, abs=0.25)
    assert CLEAR_MM > 1.0
    assert OPEN_MM > 6.0


# Other languages ----------------------------------------------------------------------------------


def middle(label: str, seconds: float = 0.2) -> tuple[float, float, np.ndarray]:
    """Return the gap, the width and the weights in the middle of a phone between vowels."""
    phones = phones_of(f"SIL AH:0.12 {label}:{seconds} AH:0.12 SIL")
    mouth, k = speak(phones), center(phones_of(f"SIL AH:0.12 {label}:{seconds}")[2])
    return float(mouth.gap[k]), float(mouth.width[k]), mouth.weights[k]


def test_spanish_b_between_vowels_is_narrow_and_does_not_touch() -> None:
    near, touching, vowel = (middle(label)[0] for label in ("BH", "B", "AH"))
    assert touching < 1.0 <= near < 0.6 * vowel


@pytest.mark.parametrize(("label", "spread", "narrower_mm"), [("UE", "IY", 3.0), ("OE", "EH", 0.2)])
def test_front_rounded_vowels_are_rounder_than_their_spread_partners(
    label: str, spread: str, narrower_mm: float
) -> None:
    rounded, partner = middle(label), middle(spread)
    assert rounded[0] >= 1.0
    assert rounded[1] < partner[1] - narrower_mm
    round_units = [channel_of(name) == "round" for name in bundled_rig().unit_names]
    assert rounded[2][round_units].sum() > partner[2][round_units].sum() + 0.3


def test_front_rounded_vowels_differ_as_their_partners_do() -> None:
    close, mid = middle("UE"), middle("OE")
    assert mid[0] > close[0] + 1.0
    tongue = [channel_of(name) == "tongue" for name in bundled_rig().unit_names]
    assert close[2][tongue].max() > 0.05


def test_labels_of_other_languages_can_follow_each_other() -> None:
    phones = phones_of("SIL UE OE BH UE BH OE AA BH SIL", 0.08)
    mouth = speak(phones)
    times = np.arange(len(mouth.gap)) / FPS
    spoken = (times >= phones[1].start_seconds) & (times <= phones[-1].start_seconds)
    assert np.isfinite(mouth.weights).all()
    assert mouth.gap[spoken].min() >= 1.0
