"""Upgrade saved settings of earlier versions to the current names."""

import copy
from collections.abc import Mapping
from typing import Any

RENAMED = {
    "own": "custom",
    "custom.faces": "custom.triangles",
    "decode.hear": "decode.encoder_context",
    "decode.piece_seconds": "decode.segment_seconds",
    "decode.overlap_seconds": "decode.warmup_seconds",
    "decode.join_seconds": "decode.crossfade_seconds",
    "demo.sounds": "demo.noise",
}
"""Former key → current key, in the order in which they are applied."""
REVALUED = {"decode.encoder_context": {"pieces": "segments"}}
"""Key → former value → current value."""

OF_OTHER_STAGE = {
    "train_vq": (
        "encoder_rate",
        "start_from",
        "contact_weight",
        "history_dropout",
        "own_history",
        "own_history_passes",
        "history_noise",
        "n_augmentations",
        "validation_clips",
        "validation_frames",
    ),
    "train_speech": ("revive_after_steps",),
}
"""Section → keys that it once accepted but that only have an effect on the other stage."""
REMOVED = {
    "render.preset": "x264 always runs with veryfast; render.crf sets the quality",
    "evaluate.shown_size": "the report's videos are 256 pixels wide",
}
"""Removed key → why it was removed."""
REMOVED_DEFAULTS = {"render.preset": "veryfast", "evaluate.shown_size": 256}
"""Removed key → its former default."""


def drop_former(
    values: Mapping[str, Any], only: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Drop keys that no longer have an effect from settings that an earlier version saved.

    Args:
        values: Nested settings.
        only: Dotted key → value; a key is dropped only if it has this value. None: drop them all.

    Returns:
        The settings without them, and the dotted keys that were dropped.
    """
    result = copy.deepcopy(dict(values))
    former = [f"{section}.{name}" for section, names in OF_OTHER_STAGE.items() for name in names]
    dropped = []
    for key in [*former, *REMOVED]:
        table, name = _find(result, key)
        if table is None or name not in table:
            continue
        if only is None or only.get(key, ...) == table[name]:
            del table[name]
            dropped.append(key)
    return result, dropped


def upgrade_settings(values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Rename the keys and values of settings that an earlier version wrote.

    Args:
        values: Nested settings, or a part of them.

    Returns:
        The settings under their current names, and the renamed keys (former → current).
    """
    result = copy.deepcopy(dict(values))
    renamed = {}
    for former, key in RENAMED.items():
        table, name = _find(result, former)
        if table is None or name not in table:
            continue
        new = key.rpartition(".")[2]
        if new not in table:  # if both are present, the current name wins
            table[new] = table[name]
        del table[name]
        renamed[former] = key
    for key, changes in REVALUED.items():
        table, name = _find(result, key)
        if table is not None and isinstance(table.get(name), str):
            table[name] = changes.get(table[name], table[name])
    return result, renamed


def upgrade_key(key: str) -> str:
    """Return the current name of a dotted key."""
    for former, new in RENAMED.items():
        if key == former or key.startswith(f"{former}."):
            key = new + key.removeprefix(former)
    return key


def _find(values: dict[str, Any], key: str) -> tuple[dict[str, Any] | None, str]:
    """Return the table that may contain a dotted key, and the last part of the key."""
    *path, name = key.split(".")
    table: Any = values
    for part in path:
        table = table.get(part) if isinstance(table, dict) else None
    return (table if isinstance(table, dict) else None), name
