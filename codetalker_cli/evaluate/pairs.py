"""Match predictions with ground-truth clips, and select the styles to predict and to score."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from codetalker_cli.errors import InputError, counted
from codetalker_cli.evaluate.truth import Truth, motion_files
from codetalker_cli.formats.predictions import split_name

logger = logging.getLogger(__name__)

AUTO, ALL = "auto", "all"


@dataclass(frozen=True)
class Pair:
    """A prediction and the clip that it predicts.

    Attributes:
        clip: Name of the ground-truth clip.
        style: Style of the prediction, or None for a reconstruction.
        path: The file of the prediction.
    """

    clip: str
    style: str | None
    path: Path


def select_styles(rule: str, subject: str, train_subjects: Sequence[str]) -> list[str]:
    """Return the styles in which a clip is predicted.

    Args:
        rule: ``auto``: the subject's own style for training subjects, and every style for other
            subjects (the published protocol for unseen subjects); ``all``: every style; or style
            names separated by commas.
        subject: Subject of the clip.
        train_subjects: All styles of the model.

    Raises:
        InputError: A style name is unknown.
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
    """Return the style names of a rule that is neither ``auto`` nor ``all``."""
    return list(dict.fromkeys(name.strip() for name in rule.split(",")))


def select_pairs(pairs: Iterable[Pair], rule: str, subject: str) -> list[Pair]:
    """Return the predictions of one clip that are scored under a style rule.

    Args:
        pairs: The predictions of the clip.
        rule: See ``select_styles``; under ``auto``, all predictions are scored if none is in the
            subject's own style.
        subject: Subject of the clip.
    """
    pairs = list(pairs)
    if rule == AUTO:
        in_own_style = [pair for pair in pairs if pair.style == subject]
        return in_own_style or pairs
    if rule == ALL:
        return pairs
    names = parse_styles(rule)
    return [pair for pair in pairs if pair.style is None or pair.style in names]


def find_pairs(folder: Path, truth: Truth) -> list[Pair]:
    """Match the predictions in a folder with the ground-truth clips.

    Files are named ``CLIP`` or ``CLIP_condition_STYLE``.

    Raises:
        InputError: There are no predictions, two files have the same clip and style, or a file
            does not belong to a ground-truth clip.
    """
    pairs: dict[tuple[str, str | None], Pair] = {}
    for path in motion_files(folder, truth.clips):
        clip, style = split_name(path.stem)
        if clip not in truth.clips:
            examples = ", ".join(list(truth.clips)[:4])
            raise InputError(
                f"{path}: there is no ground-truth clip {clip!r} (there are clips such as "
                f"{examples}); name predictions CLIP or CLIP_condition_STYLE"
            )
        if (clip, style) in pairs:
            raise InputError(
                f"{path} and {pairs[clip, style].path} are predictions of the same clip and style; "
                "remove one of them"
            )
        pairs[clip, style] = Pair(clip, style, path)
    missing = sorted(truth.clips.keys() - {clip for clip, _ in pairs})
    if missing:
        logger.info(
            "%s: predictions of %d of %s; missing: %s%s",
            folder,
            len(truth.clips) - len(missing),
            counted(len(truth.clips), "clip"),
            ", ".join(missing[:3]),
            " …" * (len(missing) > 3),
        )
    return [pairs[key] for key in sorted(pairs, key=lambda key: (key[0], key[1] or ""))]
