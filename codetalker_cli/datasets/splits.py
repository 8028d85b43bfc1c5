"""Which clip belongs to which split: rules over subjects, sentences and names, or a share."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from codetalker_cli.datasets.raw_clips import RawClip
from codetalker_cli.settings import SplitRule

UNUSED = "unused"
"""The split of clips that no rule takes."""
FEW = 5
_RANGE = re.compile(r"(?P<prefix>.*?)(?P<first>\d+)-(?P=prefix)(?P<last>\d+)")


def assign(clips: Sequence[RawClip], rules: Mapping[str, SplitRule]) -> dict[str, str]:
    """Clip name → split, in the clips' order; a clip goes to the first split that takes it.

    A rule that asks for nothing takes what all others leave, wherever it stands. A share is of all
    clips that meet the rest of its rule, so that adding a rule above it moves no more clips than it
    takes.
    """
    split_of: dict[str, str] = {}
    for split, rule in sorted(rules.items(), key=lambda item: item[1] == SplitRule()):
        matching = [clip for clip in clips if meets(clip, rule)]
        if rule.share is not None:
            matching = sorted(matching, key=lambda clip: _draw_key(clip.name))
            # It takes one at least, unless there are so few that training would go short.
            least = 1 if rule.share > 0 and len(matching) >= FEW else 0
            n = max(round(rule.share * len(matching)), least)
            matching = [clip for clip in matching if clip.name not in split_of][:n]
        for clip in matching:
            split_of.setdefault(clip.name, split)
    return {clip.name: split_of.get(clip.name, UNUSED) for clip in clips}


def meets(clip: RawClip, rule: SplitRule) -> bool:
    """Whether a clip is what the rule asks for, its share aside."""
    return (
        (not rule.subjects or clip.subject in rule.subjects)
        and (not rule.sentences or any(is_named(clip.sentence, p) for p in rule.sentences))
        and (not rule.clips or any(is_named(clip.name, p) for p in rule.clips))
    )


def is_named(name: str, pattern: str) -> bool:
    """Whether a name is meant by a name, a pattern with * and ?, or a range ``e01-e32``.

    In a range only the number counts, not how many digits it is written with.
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
    """Subject and sentence of every clip that rules name outright, in order.

    Rules with patterns or shares name none: they take what there is.
    """
    pairs: dict[tuple[str, str], None] = {}
    for rule in rules.values():
        if rule.clips or rule.share is not None:
            continue
        for subject in rule.subjects:
            pairs |= dict.fromkeys((subject, s) for p in rule.sentences for s in _expand_range(p))
    return list(pairs)


def _expand_range(pattern: str) -> list[str]:
    """The sentences of a range, or the one of a plain name."""
    match = _RANGE.fullmatch(pattern)
    if match is None:
        return [] if any(sign in pattern for sign in "*?[") else [pattern]
    width = len(match["first"])
    numbers = range(int(match["first"]), int(match["last"]) + 1)
    return [f"{match['prefix']}{number:0{width}d}" for number in numbers]


def _draw_key(name: str) -> str:
    """A clip's place in the draw: the same wherever, whatever else is in the data set."""
    return hashlib.sha256(name.encode()).hexdigest()
