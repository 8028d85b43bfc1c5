"""Resolve settings from a preset, a config file, ``--set`` and flags, and track their origins.

A bundled preset may extend another (``base: NAME``) and list only the differences.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from codetalker_cli import resources
from codetalker_cli.errors import InputError, SettingsError, printable, similar_name
from codetalker_cli.presets.keys import (
    description,
    error_messages,
    flatten,
    refuse_ineffective,
    section_class,
    suggestion,
)
from codetalker_cli.presets.layers import Layers, drop_saved, merge_plain, upgrade
from codetalker_cli.settings import Settings
from codetalker_cli.settings.upgrade import OF_OTHER_STAGE, REMOVED_DEFAULTS, drop_former
from codetalker_cli.text_files import read_yaml

FORMER_PRESETS = {"own": "custom"}
"""Former name of a bundled preset → current name."""
REQUIRED = "required"
"""The origin of a setting that must be given and is not."""


@dataclass(frozen=True)
class Entry:
    """One setting.

    Attributes:
        key: The dotted key.
        value: The value as JSON-serializable data.
        origin: The layer that the value came from.
        description: One line that describes the setting.
    """

    key: str
    value: Any
    origin: str
    description: str

    @property
    def text(self) -> str:
        """The value as JSON."""
        return json.dumps(self.value, ensure_ascii=False)


@dataclass(frozen=True)
class Resolved:
    """Checked settings, and the origin of each value that is not a default."""

    settings: Settings
    origins: dict[str, str]

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (key, value, origin) of every setting, in order of declaration."""
        return [(one.key, one.text, one.origin) for one in self.entries()]

    def entries(self) -> list[Entry]:
        """Return every setting, in order of declaration."""
        return _entries(self.settings.model_dump(mode="json"), self.origins)


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
    layers = Layers()
    if begun is not None:
        layers.add(drop_saved(begun, "the run"), "the run")
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
    refuse_ineffective(
        {name: getattr(settings, name) for name in Settings.model_fields}, layers.origins
    )
    return Resolved(settings, layers.origins)


@dataclass(frozen=True)
class ResolvedSections:
    """Some checked sections, and the origin of each value that is not a default."""

    sections: dict[str, Any]
    origins: dict[str, str]

    def rows(self) -> list[tuple[str, str, str]]:
        """Return (key, value, origin) of every setting, in order of declaration."""
        return [(one.key, one.text, one.origin) for one in self.entries()]

    def entries(self) -> list[Entry]:
        """Return every setting, in order of declaration."""
        values = {name: section.model_dump(mode="json") for name, section in self.sections.items()}
        return _entries(values, self.origins)


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
    layers = Layers()
    _add_file(layers, config, names)
    layers.add_assignments(assignments, names)
    layers.add_flags(flags)
    sections = {
        name: _validate_section(name, layers.values.get(name, {}), layers.origins, names)
        for name in names
    }
    return ResolvedSections(sections, layers.origins)


def preview(
    names: Sequence[str] | None = None,
    preset: str | None = None,
    config: Path | None = None,
    assignments: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
    allowed: Sequence[str] | None = None,
) -> list[Entry]:
    """Return settings as far as they are known, without a data set.

    A required setting that no layer has is None, and its origin is ``REQUIRED``.

    Args:
        names: The sections to return; None: all.
        preset: See ``resolve``.
        config: See ``resolve``.
        assignments: See ``resolve``.
        flags: See ``resolve``.
        allowed: The sections that assignments may change; None: ``names``.

    Raises:
        SettingsError: A key or preset is unknown, or a value fails its check.
    """
    layers = Layers()
    shown = list(Settings.model_fields) if names is None else names
    if preset is not None:
        content = read_preset(preset)
        layers.add({n: content[n] for n in shown if n in content}, f"preset {preset}")
    _add_file(layers, config, shown)
    layers.add_assignments(assignments, allowed or names)
    layers.add_flags(flags)
    return [entry for name in shown for entry in _preview_section(name, layers, names is None)]


def _preview_section(name: str, layers: Layers, may_be_absent: bool) -> list[Entry]:
    values, origins = layers.values.get(name, {}), layers.origins
    section, field = section_class(name), Settings.model_fields[name]
    assert section is not None
    if may_be_absent and not values and field.default is None:
        return _entries({name: None}, origins)
    try:
        section.model_validate(values)
    except ValidationError as error:
        if any(item["type"] != "missing" or len(item["loc"]) > 1 for item in error.errors()):
            messages = error_messages(error, origins, (name,))
            raise SettingsError("; ".join(messages)) from error
        fields = section.model_fields
        lacking = [key for key in fields if fields[key].is_required() and key not in values]
        defaults = section.model_construct(**values).model_dump(mode="json", warnings=False)
        values = {key: defaults.get(key) for key in fields}
        origins = {**origins, **{f"{name}.{key}": REQUIRED for key in lacking}}
        return _entries({name: values}, origins)
    return _entries(
        {name: _validate_section(name, values, origins).model_dump(mode="json")}, origins
    )


def _add_file(layers: Layers, config: Path | None, names: Sequence[str]) -> None:
    """Add some sections of a file."""
    if config is None:
        return
    content = _read_yaml(config)
    for key in content:
        if key not in Settings.model_fields:
            raise SettingsError(f"{printable(key)}: unknown key (from {config}){suggestion([key])}")
    layers.add({n: content[n] for n in names if content.get(n) is not None}, str(config))


def changed(
    name: str,
    section: Any,
    values: Mapping[str, Any],
    others: Mapping[str, Any] | None = None,
) -> Any:
    """Return a checked section with some of its values replaced.

    Args:
        name: The name of the section.
        section: The section.
        values: The new values.
        others: Other sections by name; a new value that has no effect with them is refused.

    Raises:
        SettingsError: A key is unknown, a value fails its check, or it has no effect.
    """
    if not values:
        return section
    upgraded = upgrade({name: dict(values)}, "the call").get(name, {})
    result = _validate_section(name, {**section.model_dump(), **upgraded}, {})
    if others:
        origins = {f"{name}.{key}": "the given settings" for key in upgraded}
        refuse_ineffective({name: result, **others}, origins)
    return result


def _entries(values: Mapping[str, Any], origins: Mapping[str, str]) -> list[Entry]:
    return [
        Entry(key, value, origins.get(key, "default"), description(key))
        for key, value in flatten(values)
    ]


def _validate_section(
    name: str,
    values: Any,
    origins: Mapping[str, str],
    sections: Iterable[str] = tuple(Settings.model_fields),
) -> BaseModel:
    section = section_class(name)
    assert section is not None
    try:
        checked = section.model_validate(values)
    except ValidationError as error:
        messages = error_messages(error, dict(origins), (name,), sections)
        raise SettingsError("; ".join(messages)) from error
    refuse_ineffective({name: checked}, origins)
    return checked


def settings_from_dict(values: Mapping[str, Any], origin: str) -> Settings:
    """Check a plain dictionary of settings that came from ``origin``."""
    layers = Layers()
    layers.add(drop_saved(_check_sections(values, origin), origin), origin)
    return _validate(layers.values, layers.origins)


def read_preset(name: str) -> dict[str, Any]:
    """Read a bundled preset by name, or a YAML file by path; an error lists the names."""
    if name.endswith((".yaml", ".yml")):
        return _read_yaml(Path(name))
    name = FORMER_PRESETS.get(name, name)
    names = resources.config_names()
    if name not in names:
        close = similar_name(name, names)
        hint = "" if close is None else f"; did you mean {close}?"
        raise SettingsError(
            f"preset {printable(repr(name))} is unknown; the presets are: {', '.join(names)}{hint}"
        )
    content = _read_yaml(resources.config(name))
    base = content.pop("base", None)
    if base is None:
        return content
    merged = read_preset(base)
    merge_plain(merged, content)
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
    return upgrade(kept, str(path))


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


def _validate(merged: dict[str, Any], origins: dict[str, str]) -> Settings:
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise SettingsError("; ".join(error_messages(error, origins))) from error
