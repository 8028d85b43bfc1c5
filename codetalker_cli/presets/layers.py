"""Merge the layers of settings, lowest first, and remember where each value came from."""

import copy
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from codetalker_cli.errors import SettingsError, printable
from codetalker_cli.presets.keys import is_collection, is_section, near_name
from codetalker_cli.settings import Settings
from codetalker_cli.settings.upgrade import drop_former, upgrade_key, upgrade_settings
from codetalker_cli.text_files import MAX_DEPTH, parse_json, parse_yaml

logger = logging.getLogger(__name__)


class Layers:
    """Settings while their layers are merged, and the origin of each value."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}

    def add(self, values: Mapping[str, Any], origin: str) -> None:
        """Merge nested values over all earlier layers."""
        _merge(self.values, upgrade(values, origin), origin, self.origins)

    def add_assignments(
        self, assignments: Sequence[str], names: Sequence[str] | None = None
    ) -> None:
        """Merge ``a.b=value`` assignments; ``names`` restricts them to some sections."""
        expected = "a.b=value" if names is None else " or ".join(f"{n}.KEY=value" for n in names)
        for assignment in assignments:
            key, sign, text = assignment.partition("=")
            given, key = key.strip(), upgrade_key(key.strip())
            if key != given:
                logger.info("`set`: %s is now called %s", given, key)
            if key.count(".") > MAX_DEPTH:
                raise SettingsError(f"`set` {printable(key)}: unknown key; it has too many parts")
            if not sign:
                raise SettingsError(f"`set` {printable(assignment)}: expected {expected}")
            if names is not None and key.partition(".")[0] not in names:
                raise SettingsError(
                    f"`set` {printable(assignment)}: expected {expected} for this command"
                    + near_name(key.split("."), names)
                )
            self.add(self._nest_in_table(key, _parse_value(key, text)), "--set")

    def add_flags(self, flags: Mapping[str, Any] | None) -> None:
        """Merge flags (dotted key → value); None values are skipped."""
        for key, value in (flags or {}).items():
            if value is not None:
                self.add(_nest(key, value), "flag")

    def _nest_in_table(self, key: str, value: Any) -> dict[str, Any]:
        """Nest a value under its key.

        If the key is inside a table (``data.splits.val.share``), the result contains the whole
        table, because merging replaces tables.
        """
        parts = key.split(".")
        table: Any = self.values
        for depth, part in enumerate(parts[:-1], 1):
            table = table.get(part) if isinstance(table, dict) else None
            if table is not None and not is_section(".".join(parts[:depth])):
                copied = copy.deepcopy(table)
                if isinstance(copied, dict):
                    merge_plain(copied, _nest(".".join(parts[depth:]), value))
                    return _nest(".".join(parts[:depth]), copied)
        return _nest(key, value)


def merge_plain(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            merge_plain(into[key], value)
        else:
            into[key] = value


def upgrade(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Rename former keys to their current names, and log them."""
    upgraded, renamed = upgrade_settings(values)
    for former, key in renamed.items():
        logger.info("%s: %s is now called %s", origin, former, key)
    return upgraded


def drop_saved(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Drop keys without an effect from saved settings."""
    kept, dropped = drop_former(values)
    if dropped:
        logger.debug("%s: dropped settings that have no effect: %s", origin, ", ".join(dropped))
    return kept


def _parse_value(key: str, text: str) -> Any:
    """Return the value of an assignment.

    This is JSON, or a list or mapping in YAML (``[a, b]``) for a key that takes one, or else the
    text itself: a path pattern may begin with a bracket too.
    """
    try:
        return parse_json(text)
    except json.JSONDecodeError:
        if not text.lstrip().startswith(("[", "{")) or not is_collection(key):
            return text
    except ValueError as error:  # a number or a nesting that no setting accepts
        raise SettingsError(f"`set` {key}: {error}") from error
    try:
        return parse_yaml(text)
    except ValueError as error:
        reason = getattr(error.__cause__, "problem", None) or str(error)
        raise SettingsError(
            f"`set` {key}={printable(text, 60)}: not a list or mapping ({printable(reason, 100)}); "
            "check the brackets, and put quotes around the assignment so that it stays one argument"
        ) from error


def _nest(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def _merge(
    into: dict[str, Any],
    values: Mapping[str, Any],
    origin: str,
    origins: dict[str, str],
    prefix: str = "",
) -> None:
    for key, value in values.items():
        dotted = f"{prefix}{key}"
        field = Settings.model_fields.get(dotted)
        is_left_out = value is None and field is not None and field.default is None
        if is_section(dotted) and not is_left_out:
            if not isinstance(value, Mapping):
                raise SettingsError(
                    f"{dotted}: expected a section of settings, got {printable(repr(value))} "
                    f"(from {origin})"
                )
            _merge(into.setdefault(key, {}), value, origin, origins, f"{dotted}.")
        else:
            into[key] = value
            origins[dotted] = origin
