"""Assign clips to splits by rules on subjects, sentences, names and shares."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from codetalker_cli.datasets.raw_clips import RawClip
from codetalker_cli.settings import SplitRule

UNUSED = "unused"
"""The split of clips that match no rule."""
FEW = 5
"""With fewer matching clips, a small share can be rounded down to 0 clips."""
_RANGE = re.compile(r"(?P<prefix>.*?)(?P<first>\d+)-(?P=prefix)(?P<last>\d+)")


def assign(clips: Sequence[RawClip], rules: Mapping[str, SplitRule]) -> dict[str, str]:
    """Return the split of each clip, by name, in the order of the clips.

    A clip belongs to the first split whose rule it meets. An empty rule matches all clips that
    belong to no other split, regardless of its position. The size of a share is relative to all
    clips that meet the rest of its rule, including those of earlier splits, so an additional
    earlier rule does not change it.
    """
    split_of: dict[str, str] = {}
    for split, rule in sorted(rules.items(), key=lambda item: item[1] == SplitRule()):
        matching = [clip for clip in clips if meets(clip, rule)]
        if rule.share is not None:
            matching = sorted(matching, key=lambda clip: _draw_key(clip.name))
            # A share contains at least one clip, unless too few clips would remain for training.
            least = 1 if rule.share > 0 and len(matching) >= FEW else 0
            n = max(round(rule.share * len(matching)), least)
            matching = [clip for clip in matching if clip.name not in split_of][:n]
        for clip in matching:
            split_of.setdefault(clip.name, split)
    return {clip.name: split_of.get(clip.name, UNUSED) for clip in clips}


def meets(clip: RawClip, rule: SplitRule) -> bool:
    """Return whether a clip meets all conditions of a rule except its share."""
    return (
        (not rule.subjects or clip.subject in rule.subjects)
        and (not rule.sentences or any(is_named(clip.sentence, p) for p in rule.sentences))
        and (not rule.clips or any(is_named(clip.name, p) for p in rule.clips))
    )


def is_named(name: str, pattern: str) -> bool:
    """Return whether a name matches a name, a pattern with * and ?, or a range like ``e01-e32``.

    A range compares numbers, so leading zeros do not matter.
    """
    if name == pattern:
        return True
    match = _RANGE.fullmatch(pattern)
    if match is None:
        return fnmatchcase(name, pattern)
    number = name.removeprefix(match["prefix"])
    if number == name and match["prefix"]:
        return False
    return number.isdecimal() and int(match["first"]) <= int(number) <= int(match["last"])


def expected_clips(rules: Mapping[str, SplitRule]) -> list[tuple[str, str]]:
    """Return the subject and sentence of each clip that the rules name explicitly, in order.

    Patterns and shares do not name clips, because they apply to the clips that exist.
    """
    pairs: dict[tuple[str, str], None] = {}
    for rule in rules.values():
        if rule.clips or rule.share is not None:
            continue
        for subject in rule.subjects:
            pairs |= dict.fromkeys((subject, s) for p in rule.sentences for s in _expand_range(p))
    return list(pairs)


def _expand_range(pattern: str) -> list[str]:
    """Return the sentences of a range or a plain name; none for a pattern."""
    match = _RANGE.fullmatch(pattern)
    if match is None:
        return [] if any(sign in pattern for sign in "*?[") else [pattern]
    width = len(match["first"])
    numbers = range(int(match["first"]), int(match["last"]) + 1)
    return [f"{match['prefix']}{number:0{width}d}" for number in numbers]


def _draw_key(name: str) -> str:
    """Return the key that sorts clips before a split takes its share of them.

    The key of a clip does not depend on the other clips.
    """
    return hashlib.sha256(name.encode()).hexdigest()
