"""Test the blinks, brows and gaze of the synthetic talking heads."""

from __future__ import annotations

import numpy as np

from codetalker_cli.rigs.styles import SpeakingStyle
from codetalker_cli.synthetic.expression import brow_curve, upper_face_motion
from codetalker_cli.synthetic.speech.phones import SILENCE, Phone

FPS = 30.0
UNITS = [
    "browInnerUp", "jawOpen",
    *(
        f"{unit}{side}"
        for unit in (
            "eyeBlink", "browOuterUp", "eyeLookIn", "eyeLookOut", "eyeLookUp", "eyeLookDown",
            "eyeWide",
        )
        for side in ("Left", "Right")
    ),
]  # fmt: skip


def even_phones(
    text: str, seconds: float, first_pause: float = 0.4, pause: float = 0.4
) -> list[Phone]:
    phones: list[Phone] = []
    now = 0.0
    for label in text.split():
        duration = seconds if label != SILENCE else pause if phones else first_pause
        phones.append(Phone(label, now, now + duration))
        now += duration
    return phones


def test_blinks_are_complete_symmetric_and_as_frequent_as_the_style_defines() -> None:
    phones = even_phones("SIL " + "T AA M IY " * 200 + "SIL", 0.1)
    n_frames = int(phones[-1].end_seconds * FPS)
    for name in ("S07", "S10"):
        style = SpeakingStyle.for_subject(name)
        weights = upper_face_motion(phones, n_frames, FPS, UNITS, style, np.random.default_rng(3))
        lid = weights[:, UNITS.index("eyeBlinkLeft")]
        np.testing.assert_array_equal(lid, weights[:, UNITS.index("eyeBlinkRight")])
        shut = lid > 0.98
        count = int((shut[1:] & ~shut[:-1]).sum())
        assert 0.5 < count / (n_frames / FPS) / style.blink_rate_hz < 1.6
        assert 0.02 < (lid > 0.1).mean() < 0.2


def test_brows_rise_at_phrase_onsets_and_rest_in_long_silence() -> None:
    phones = even_phones("SIL T AH T AH T AH T AH SIL", 0.07, 1.0, 2.0)
    times = np.arange(0.0, phones[-1].end_seconds, 1 / FPS)
    brow = brow_curve(phones, times)
    assert brow[int(1.12 * FPS)] > 0.2
    assert brow[: int(0.9 * FPS)].max() == 0.0
    assert brow[int(2.6 * FPS) :].max() == 0.0


def test_upper_face_is_reproducible_with_parallel_gaze_and_a_still_mouth() -> None:
    phones = even_phones("SIL " + "T AA M IY " * 30 + "SIL", 0.1)
    style = SpeakingStyle()
    first, again, other = (
        upper_face_motion(phones, 300, FPS, UNITS, style, np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert not first[:, UNITS.index("jawOpen")].any()
    assert first.min() >= 0.0 and first.max() <= 1.0
    out_left = first[:, UNITS.index("eyeLookOutLeft")]
    np.testing.assert_array_equal(out_left, first[:, UNITS.index("eyeLookInRight")])
    assert 0.0 < out_left.max() <= 0.15
