"""Splits follow the protocols of the public data sets, and shares are stable."""

from contextlib import AbstractContextManager

import pytest

from codetalker_cli.datasets.raw_clips import RawAudio, RawClip
from codetalker_cli.datasets.splits import UNUSED, assign, is_named
from codetalker_cli.formats.frames import Frames
from codetalker_cli.presets import resolve
from codetalker_cli.settings import SplitRule


def clip(subject: str, sentence: str) -> RawClip:
    def no_frames() -> AbstractContextManager[Frames]:
        raise NotImplementedError

    def no_sound() -> RawAudio:
        raise NotImplementedError

    return RawClip(f"{subject}_{sentence}", subject, sentence, 0, "", no_frames, no_sound)


def counts(preset: str, clips: list[RawClip]) -> dict[str, int]:
    chosen = list(assign(clips, resolve(preset).settings.data.splits).values())
    return {split: chosen.count(split) for split in dict.fromkeys(chosen)}


def test_vocaset_is_split_as_in_the_paper() -> None:
    data = resolve("vocaset").settings.data
    others = [s for name in ("val", "test") for s in data.splits[name].subjects]
    clips = [
        clip(subject, f"sentence{k:02d}")
        for subject in (*data.train_subjects, *others)
        for k in range(1, 41)
    ]
    assert counts("vocaset", clips) == {"train": 320, UNUSED: 80, "val": 40, "test": 40}


def test_biwi_has_both_test_splits() -> None:
    subjects = [*(f"F{k}" for k in range(1, 9)), *(f"M{k}" for k in range(1, 7))]
    emotional = [clip(s, f"e{k:02d}") for s in subjects for k in range(1, 41)]
    neutral = [clip(s, f"{k:02d}") for s in subjects for k in range(1, 41)]
    expected = {"train": 192, "val": 24, "test-a": 24, "test-b": 32}
    assert counts("biwi", emotional) == expected | {UNUSED: 288}
    # Neutral sentences have the same numbers but are different sentences.
    assert counts("biwi", emotional + neutral) == expected | {UNUSED: 288 + 560}


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("e07", "e01-e32", True),
        ("e33", "e01-e32", False),
        ("07", "e01-e32", False),
        ("e7", "e01-e32", True),
        ("sentence40", "sentence21-sentence40", True),
        ("sentence4", "sentence21-sentence40", False),
        ("sentence4x", "sentence1-sentence40", False),
        ("12", "1-20", True),
        ("take-3", "take-3", True),
        ("take-3", "take-*", True),
        ("a-b", "a-c", False),
    ],
)
def test_names_match_patterns_and_ranges(name: str, pattern: str, expected: bool) -> None:
    assert is_named(name, pattern) is expected


def test_a_clip_belongs_to_the_first_matching_split() -> None:
    clips = [clip("A", "1"), clip("A", "2"), clip("B", "1")]
    rules = {
        "val": SplitRule(clips=("A_2",)),
        "train": SplitRule(subjects=("A",)),
        "test": SplitRule(),
    }
    assert list(assign(clips, rules).values()) == ["train", "val", "test"]


def test_an_empty_rule_matches_the_remaining_clips() -> None:
    clips = [clip("A", "1"), clip("A", "2")]
    rules = {"train": SplitRule(), "val": SplitRule(sentences=("2",))}
    assert list(assign(clips, rules).values()) == ["train", "val"]


def test_new_clips_hardly_change_a_share() -> None:
    rules = {"val": SplitRule(share=0.1), "test": SplitRule(share=0.2), "train": SplitRule()}
    clips = [clip("A", str(k)) for k in range(100)]
    chosen = assign(clips, rules)
    assert [list(chosen.values()).count(s) for s in ("val", "test", "train")] == [10, 20, 70]
    assert assign(clips[::-1], rules) == chosen
    more = assign([*clips, clip("A", "100")], rules)
    assert sum(more[name] != split for name, split in chosen.items()) <= 2


@pytest.mark.parametrize(("n", "n_val"), [(1, 0), (4, 0), (5, 1), (14, 1), (16, 2)])
def test_a_share_of_few_clips_can_be_empty(n: int, n_val: int) -> None:
    clips = [clip("A", str(k)) for k in range(n)]
    chosen = assign(clips, {"val": SplitRule(share=0.1), "train": SplitRule()})
    assert list(chosen.values()).count("val") == n_val


def test_without_rules_all_clips_are_unused() -> None:
    assert assign([clip("A", "1")], {}) == {"A_1": UNUSED}
