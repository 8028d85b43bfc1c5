"""Resolve settings from a preset, a config file, ``--set`` and flags, and track their origins.

A bundled preset may extend another (``base: NAME``) and list only the differences.
"""

import copy
import difflib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from codetalker_cli import resources
from codetalker_cli.errors import InputError, SettingsError, printable
from codetalker_cli.presets.keys import (
    error_messages,
    flatten,
    is_section,
    near_name,
    refuse_ineffective,
    section_class,
    suggestion,
)
from codetalker_cli.settings import Settings
from codetalker_cli.settings.upgrade import (
    OF_OTHER_STAGE,
    REMOVED_DEFAULTS,
    drop_former,
    upgrade_key,
    upgrade_settings,
)
from codetalker_cli.text_files import MAX_DEPTH, parse_json, read_yaml

FORMER_PRESETS = {"own": "custom"}
"""Former name of a bundled preset → current name."""

logger = logging.getLogger(__name__)


class _Layers:
    """Settings while their layers are merged, and the origin of each value."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}

    def add(self, values: Mapping[str, Any], origin: str) -> None:
        """Merge nested values over all earlier layers."""
        _merge(self.values, _upgrade(values, origin), origin, self.origins)

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
                    _merge_plain(copied, _nest(".".join(parts[depth:]), value))
                    return _nest(".".join(parts[:depth]), copied)
        return _nest(key, value)


@dataclass(frozen=True)
class Resolved:
    """Checked settings, and the origin of each value that is not a default."""

    settings: Settings
    origins: dict[str, str]

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (key, value, origin) of every setting, in order of declaration."""
        return _setting_rows(self.settings.model_dump(mode="json"), self.origins)


def resolve(
    preset: str | None = None,
    config: Path | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    begun: Mapping[str, Any] | None = None,
    sections: Sequence[str] | None = None,
) -> Resolved:
    """Merge all layers, lowest first: preset, facts, config file, ``--set``, flags.

    Args:
        preset: Name of a bundled preset, or the path of a YAML file.
        config: A user's YAML file.
        assignments: ``a.b=value`` each. A value that is not valid JSON is a plain string.
        flags: Dotted key → value of the flags that were given; None values are skipped.
        facts: The ``data`` section of a prepared data set. It replaces the preset's section if
            that section describes another data set.
        begun: The settings of a run to resume. They replace the preset.
        sections: The sections that the command uses; assignments to others are refused. None: all.

    Raises:
        SettingsError: A key or preset is unknown, a value fails its check, or a given key has no
            effect.
    """
    layers = _Layers()
    if begun is not None:
        layers.add(_drop_former(begun, "the run"), "the run")
    if preset is not None:
        layers.add(read_preset(preset), f"preset {preset}")
    if facts is not None:
        if layers.values.get("data", {}).get("name") != facts["name"]:
            layers.values["data"] = {}
        layers.add({"data": facts}, "the data set")
    if config is not None:
        layers.add(_read_yaml(config), str(config))
    layers.add_assignments(assignments, sections)
    layers.add_flags(flags)
    settings = _validate(layers.values, layers.origins)
    refuse_ineffective({name: getattr(settings, name) for name in layers.values}, layers.origins)
    return Resolved(settings, layers.origins)


@dataclass(frozen=True)
class ResolvedSections:
    """Some checked sections, and the origin of each value that is not a default."""

    sections: dict[str, Any]
    origins: dict[str, str]

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (key, value, origin) of every setting, in order of declaration."""
        values = {name: section.model_dump(mode="json") for name, section in self.sections.items()}
        return _setting_rows(values, self.origins)


def resolve_sections(
    names: Sequence[str],
    config: Path | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> ResolvedSections:
    """Resolve some sections only, for commands that need no data set facts (e.g. rendering).

    Raises:
        SettingsError: A key is unknown or in another section, or a value fails its check.
    """
    layers = _Layers()
    if config is not None:
        content = _read_yaml(config)
        for key in content:
            if key not in Settings.model_fields:
                raise SettingsError(
                    f"{printable(key)}: unknown key (from {config}){suggestion([key])}"
                )
        layers.add({n: content[n] for n in names if content.get(n) is not None}, str(config))
    layers.add_assignments(assignments, names)
    layers.add_flags(flags)
    sections = {
        name: _validate_section(name, layers.values.get(name, {}), layers.origins) for name in names
    }
    return ResolvedSections(sections, layers.origins)


def changed(name: str, section: Any, values: Mapping[str, Any]) -> Any:
    """Return a checked section with some of its values replaced.

    Raises:
        SettingsError: A key is unknown, or a value fails its check.
    """
    if not values:
        return section
    upgraded = _upgrade({name: dict(values)}, "the call").get(name, {})
    return _validate_section(name, {**section.model_dump(), **upgraded}, {})


def _setting_rows(
    values: Mapping[str, Any], origins: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    return [(key, json.dumps(value), origins.get(key, "default")) for key, value in flatten(values)]


def _validate_section(name: str, values: Any, origins: Mapping[str, str]) -> BaseModel:
    section = section_class(name)
    assert section is not None
    try:
        checked = section.model_validate(values)
    except ValidationError as error:
        raise SettingsError("; ".join(error_messages(error, dict(origins), (name,)))) from error
    refuse_ineffective({name: checked}, origins)
    return checked


def _merge_plain(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge_plain(into[key], value)
        else:
            into[key] = value


def settings_from_dict(values: Mapping[str, Any], origin: str) -> Settings:
    """Check a plain dictionary of settings that came from ``origin``."""
    origins: dict[str, str] = {}
    merged: dict[str, Any] = {}
    saved = _drop_former(_check_sections(values, origin), origin)
    _merge(merged, _upgrade(saved, origin), origin, origins)
    return _validate(merged, origins)


def read_preset(name: str) -> dict[str, Any]:
    """Read a bundled preset by name, or a YAML file by path; an error lists the names."""
    if name.endswith((".yaml", ".yml")):
        return _read_yaml(Path(name))
    name = FORMER_PRESETS.get(name, name)
    names = resources.config_names()
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise SettingsError(
            f"preset {printable(repr(name))} is unknown; the presets are: {', '.join(names)}{hint}"
        )
    content = _read_yaml(resources.config(name))
    base = content.pop("base", None)
    if base is None:
        return content
    merged = read_preset(base)
    _merge_plain(merged, content)
    return merged


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = read_yaml(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise SettingsError(f"{path}: not a YAML file of settings ({error})") from error
    if content is None:
        return {}
    # The file may contain all settings of a run that an earlier version saved.
    kept, _ = drop_former(_check_sections(content, str(path)), _former_defaults())
    return _upgrade(kept, str(path))


def _former_defaults() -> dict[str, Any]:
    """Return the defaults of removed keys, including those that the other stage still has."""
    stages = {"train_vq": "train_speech", "train_speech": "train_vq"}
    defaults = dict(REMOVED_DEFAULTS)
    for section, names in OF_OTHER_STAGE.items():
        other = section_class(stages[section])
        assert other is not None
        defaults |= {f"{section}.{name}": other.model_fields[name].default for name in names}
    return defaults


def _check_sections(content: Any, origin: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise SettingsError(
            f"{origin}: expected sections of settings, got {type(content).__name__}"
        )
    return content


def _upgrade(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Rename former keys to their current names, and log them."""
    upgraded, renamed = upgrade_settings(values)
    for former, key in renamed.items():
        logger.info("%s: %s is now called %s", origin, former, key)
    return upgraded


def _drop_former(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Drop keys without an effect from saved settings."""
    kept, dropped = drop_former(values)
    if dropped:
        logger.debug("%s: dropped settings that have no effect: %s", origin, ", ".join(dropped))
    return kept


def _parse_value(key: str, text: str) -> Any:
    """Return a JSON value, or the text itself if it is not JSON."""
    try:
        return parse_json(text)
    except json.JSONDecodeError:
        return text
    except ValueError as error:  # a number or a nesting that no setting accepts
        raise SettingsError(f"`set` {key}: {error}") from error


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


def _validate(merged: dict[str, Any], origins: dict[str, str]) -> Settings:
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise SettingsError("; ".join(error_messages(error, origins))) from error
