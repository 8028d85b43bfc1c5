"""Derive the facts about a data set from its clips and the rules of its splits."""

from collections.abc import Mapping

from codetalker_cli.datasets.raw_clips import RawDataSet
from codetalker_cli.datasets.splits import assign, meets
from codetalker_cli.errors import InputError, counted
from codetalker_cli.settings import CaptureSettings, CustomSettings, DataSettings, SplitRule


def data_settings(
    raw: RawDataSet, settings: CustomSettings | CaptureSettings, section: str, name: str
) -> DataSettings:
    """Return the data settings of a data set that is described by a section.

    Args:
        raw: The opened raw data set.
        settings: The section, of which the splits, training subjects and frame rate are used.
        section: The name of the section, for messages.
        name: The name of the data set.

    Raises:
        InputError: A split rule matches no clip, the split ``train`` is empty, a training subject
            is not listed in ``settings.train_subjects``, or a training subject has no template.
    """
    _check_rules(raw, settings.splits, section)
    split_of = assign(raw.clips, settings.splits)
    subjects = settings.train_subjects or tuple(
        sorted({clip.subject for clip in raw.clips if split_of[clip.name] == "train"})
    )
    if not subjects:
        raise InputError(
            f"{section}.splits: none of {counted(len(raw.clips), 'clip')} belongs to the split "
            f"train; the defined splits are {', '.join(settings.splits) or 'none'}"
        )
    others = sorted({c.subject for c in raw.clips if split_of[c.name] == "train"} - set(subjects))
    if others:
        raise InputError(
            f"{section}.train_subjects: the split train contains clips of subjects that are not "
            f"listed ({', '.join(others)}); add them, or restrict {section}.splits.train to listed "
            "subjects"
        )
    unknown = [name for name in subjects if name not in raw.mesh.templates]
    if unknown:
        raise InputError(
            f"{section}.train_subjects: no template for {', '.join(unknown)}; "
            f"there are templates for {', '.join(raw.mesh.templates)}"
        )
    topology = raw.mesh.topology
    prepared_fps = settings.prepared_fps if isinstance(settings, CustomSettings) else None
    return DataSettings(
        name=name,
        fps=prepared_fps or raw.fps,
        unit="m",
        n_vertices=topology.n_vertices,
        train_subjects=subjects,
        splits=settings.splits,
    )


def _check_rules(raw: RawDataSet, splits: Mapping[str, SplitRule], section: str) -> None:
    """Raise an error for a split rule that matches nothing."""
    # A misspelled name in a rule would silently move clips into another split.
    subjects = {clip.subject for clip in raw.clips}
    for split, rule in splits.items():
        unknown = sorted(set(rule.subjects) - subjects)
        if unknown:
            raise InputError(
                f"{section}.splits.{split}: there are no clips of {', '.join(unknown)}; the "
                f"subjects are {', '.join(sorted(subjects))}"
            )
        if (rule.sentences or rule.clips) and not any(meets(clip, rule) for clip in raw.clips):
            example = raw.clips[0]
            raise InputError(
                f"{section}.splits.{split}: no clip matches this rule; clips have names such as "
                f"{example.name} and sentences such as {example.sentence}"
            )
