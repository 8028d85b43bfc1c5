"""Which prediction is compared with which truth, and whose styles count."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from codetalker_cli.errors import InputError
from codetalker_cli.evaluate.truth import Truth, motion_files
from codetalker_cli.formats.predictions import split_name

logger = logging.getLogger(__name__)

AUTO, ALL = "auto", "all"


@dataclass(frozen=True)
class Pair:
    """A prediction of a clip.

    Attributes:
        clip: Name of the true clip.
        style: Whose way of speaking, or None.
        path: The prediction's file.
    """

    clip: str
    style: str | None
    path: Path


def select_styles(rule: str, subject: str, train_subjects: Sequence[str]) -> list[str]:
    """The styles that a clip is spoken in.

    Args:
        rule: ``auto``: a training subject's own style, every style for others (the published
            protocol for unseen subjects); ``all``; or names with commas.
        subject: Of the clip.
        train_subjects: All styles.

    Raises:
        InputError: A name that is no style.
    """
    if rule == ALL or (rule == AUTO and subject not in train_subjects):
        return list(train_subjects)
    if rule == AUTO:
        return [subject]
    names = parse_styles(rule)
    for name in names:
        if name not in train_subjects:
            raise InputError(
                f"`style` {name!r} is unknown; this model has: {', '.join(train_subjects)}"
            )
    return names


def parse_styles(rule: str) -> list[str]:
    """Names of a rule that is neither ``auto`` nor ``all``."""
    return list(dict.fromkeys(name.strip() for name in rule.split(",")))


def select_pairs(pairs: Iterable[Pair], rule: str, subject: str) -> list[Pair]:
    """Of one clip's predictions those that the rule counts."""
    pairs = list(pairs)
    if rule == AUTO:
        in_own_style = [pair for pair in pairs if pair.style == subject]
        return in_own_style or pairs
    if rule == ALL:
        return pairs
    names = parse_styles(rule)
    return [pair for pair in pairs if pair.style is None or pair.style in names]


def find_pairs(folder: Path, truth: Truth) -> list[Pair]:
    """The predictions of a folder with the clips they are of.

    A file is named as its clip, or ``CLIP_condition_STYLE``.

    Raises:
        InputError: Nothing there, two files of one clip and style, or one of no known clip.
    """
    pairs: dict[tuple[str, str | None], Pair] = {}
    for path in motion_files(folder):
        clip, style = split_name(path.stem)
        if clip not in truth.clips:
            examples = ", ".join(list(truth.clips)[:4])
            raise InputError(
                f"{path}: there is no true clip {clip!r} (there are {examples} …); predictions are "
                "named CLIP or CLIP_condition_STYLE"
            )
        if (clip, style) in pairs:
            raise InputError(f"{path} and {pairs[clip, style].path} are of one clip and style")
        pairs[clip, style] = Pair(clip, style, path)
    missing = sorted(truth.clips.keys() - {clip for clip, _ in pairs})
    if missing:
        logger.info(
            "%s: predictions of %d of %d clips; none of %s%s",
            folder,
            len(truth.clips) - len(missing),
            len(truth.clips),
            ", ".join(missing[:3]),
            " …" * (len(missing) > 3),
        )
    return [pairs[key] for key in sorted(pairs, key=lambda key: (key[0], key[1] or ""))]
