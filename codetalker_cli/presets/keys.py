"""Dotted keys of settings: find the section of a key, and explain an invalid one."""

from collections.abc import Iterable, Mapping, Sequence
from types import UnionType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from codetalker_cli.errors import SettingsError, printable, similar_name
from codetalker_cli.settings import Settings
from codetalker_cli.settings.base import unmet_condition
from codetalker_cli.settings.upgrade import REMOVED


def section_class(dotted: str) -> type[BaseModel] | None:
    """Return the section class that a dotted key names; None for a value or an unknown key."""
    current: type[BaseModel] = Settings
    for part in dotted.split("."):
        field = current.model_fields.get(part)
        types: tuple[Any, ...] = (field.annotation,) if field else ()
        if field is not None and isinstance(field.annotation, UnionType):
            types = get_args(field.annotation)  # a section that may be absent
        sections = [k for k in types if isinstance(k, type) and issubclass(k, BaseModel)]
        if not sections:
            return None
        current = sections[0]
    return current


def is_section(dotted: str) -> bool:
    """Return whether a dotted key names a section."""
    return section_class(dotted) is not None


def field_of(dotted: str) -> FieldInfo | None:
    """Return the declaration of a setting; None for an unknown key or a key inside a table."""
    parent, _, name = dotted.rpartition(".")
    section = section_class(parent) if parent else Settings
    return None if section is None else section.model_fields.get(name)


def is_collection(dotted: str) -> bool:
    """Return whether a key takes a list or a mapping: a section, a table, or a part of a table."""
    field = field_of(dotted)
    if field is None:
        parent = dotted.rpartition(".")[0]
        return bool(parent) and not is_section(parent) and is_collection(parent)
    kinds = [field.annotation, *get_args(field.annotation)]
    return is_section(dotted) or any(
        get_origin(kind) in (tuple, list, dict) or kind is dict for kind in kinds
    )


def description(dotted: str) -> str:
    """Return the line that describes a setting; empty for an unknown key."""
    field = field_of(dotted)
    return "" if field is None else field.description or ""


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Flatten nested settings to (dotted key, value) rows; tables in a section stay whole."""
    pairs: list[tuple[str, Any]] = []
    for key, value in values.items():
        dotted = f"{prefix}{key}"
        if isinstance(value, Mapping) and is_section(dotted):
            pairs += flatten(value, f"{dotted}.")
        else:
            pairs.append((dotted, value))
    return pairs


MAX_LISTED = 10
"""The most invalid settings that one message lists."""


def error_messages(
    error: ValidationError,
    origins: dict[str, str],
    prefix: tuple[str, ...] = (),
    sections: Iterable[str] = tuple(Settings.model_fields),
) -> list[str]:
    """Return a line for each setting that failed its check: key, cause, origin, similar key.

    Args:
        error: The error raised by pydantic.
        origins: Dotted key → the layer that its value came from.
        prefix: The path of the section that was checked.
        sections: The sections whose keys can be given, and therefore be suggested.
    """
    lines = []
    items = error.errors(include_url=False)
    for item in items[:MAX_LISTED]:
        path = [*prefix, *(str(part) for part in item["loc"])]
        dotted = ".".join(path)
        shown = printable(dotted)
        origin = next(
            (o for key, o in origins.items() if key == dotted or dotted.startswith(f"{key}.")),
            None,
        )
        where = f" (from {origin})" if origin else ""
        if item["type"] == "extra_forbidden":
            lines.append(f"{shown}: unknown key{where}{suggestion(path, sections)}")
        elif item["type"] == "missing":
            is_data = path[0] == "data"
            remedy = "choose a preset (`preset` NAME)" if is_data else "set it in your YAML file"
            lines.append(f"{shown}: missing; {remedy}, or `set` {shown}=VALUE")
        else:
            message = item["msg"].removeprefix("Value error, ").replace("valid tuple", "valid list")
            is_table = isinstance(item["input"], dict)
            received = "" if is_table else f", got {printable(repr(item['input']))}"
            lines.append(f"{shown}: {printable(message)}{received}{where}")
    if len(items) > MAX_LISTED:
        lines.append(f"and {len(items) - MAX_LISTED} more")
    return lines


_RANKS = {"default": 0, "the data set": 0, "the run": 0, "the call": 0, "--set": 2, "flag": 3}


def _rank(origin: str) -> int:
    """Return the rank of a layer: 0 for values the user did not give, 1 for a user's file."""
    return 0 if origin.startswith("preset ") else _RANKS.get(origin, 1)


def refuse_ineffective(sections: Mapping[str, Any], origins: Mapping[str, str]) -> None:
    """Refuse given values that have no effect in combination with another value.

    Three kinds of values pass: defaults, values from a file that also sets the other value (a file
    may list all settings of a run), and values made ineffective by a higher layer that changes the
    other value.

    Raises:
        SettingsError: A value has no effect. The message names its key, origin and condition.
    """
    for key, origin in origins.items():
        name, _, field = key.partition(".")
        section = sections.get(name)
        if not _rank(origin) or not isinstance(section, BaseModel) or "." in field:
            continue
        declared = type(section).model_fields.get(field)
        if declared is None or getattr(section, field) == declared.default:
            continue
        unmet = unmet_condition(sections, name, field)
        if unmet is None:
            continue
        other_rank = _rank(origins.get(unmet.key, "default"))
        if _rank(origin) > other_rank or _rank(origin) == other_rank > 1:
            raise SettingsError(
                f"{key} (from {origin}): has no effect with {unmet.key} {unmet.value}; it needs "
                f"{unmet.key} {unmet.needed}"
            )


def near_name(path: Sequence[str], names: Iterable[str]) -> str:
    """Suggest a key of the same name in another section, if there is one."""
    for name in names if len(path) > 1 else ():
        section = section_class(".".join([name, *path[1:-1]]))
        if section is not None and path[-1] in section.model_fields:
            return f"; did you mean {'.'.join([name, *path[1:]])}?"
    return ""


def suggestion(path: list[str], sections: Iterable[str] = tuple(Settings.model_fields)) -> str:
    """Return a hint for an unknown key: why it was removed, or which keys are similar."""
    if reason := REMOVED.get(".".join(path)):
        return f"; it was removed: {reason}"
    if near := near_name(path, sections):
        return near
    parent = section_class(".".join(path[:-1])) if len(path) > 1 else Settings
    if parent is None:
        return ""
    close = similar_name(path[-1], parent.model_fields)
    if close is None:
        return f"; known: {', '.join(parent.model_fields)}"
    return f"; did you mean {'.'.join([*path[:-1], close])}?"
