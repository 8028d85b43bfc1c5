"""Read small text files: plain text, YAML and JSON, within limits that are checked before parsing.

A file must be a regular file, because reading a pipe or a device can wait or continue forever.
The functions raise only ``OSError`` and ``ValueError``, with messages that are safe to print.
"""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, NoReturn

import yaml

from codetalker_cli.errors import CodeTalkerError, DataError, InputError, printable

YAML_BYTES = 1_000_000
"""The largest YAML file."""
TEXT_BYTES = 16_000_000
"""The largest text file and the largest JSON file that describes one thing."""
TABLE_BYTES = 256_000_000
"""The largest file with an entry for each clip or each epoch."""
MAX_DEPTH = 20
"""The deepest nesting of YAML."""
MAX_JSON_DEPTH = 100
"""The deepest nesting of JSON."""
MAX_VALUES = 100_000
"""The most values in a YAML file."""
MAX_DIGITS = 100
"""The most characters of an integer."""
_WEB_PAGE = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")


class _PlainDumper(yaml.SafeDumper):
    """Writes repeated values out, because ``read_yaml`` refuses aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def to_yaml(values: object) -> str:
    """Return values as YAML without aliases, in their own order."""
    return yaml.dump(values, Dumper=_PlainDumper, sort_keys=False)


def check_regular(path: Path | str) -> None:
    """Check that a path is a regular file, without opening it.

    Raises:
        OSError: The file is missing, or is a folder, a pipe or a device. The field ``strerror``
            contains the reason.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", str(path))
    if not stat.S_ISREG(mode):
        kind = "a pipe" if stat.S_ISFIFO(mode) else "a device or a socket"
        raise OSError(errno.EINVAL, f"it is {kind}, expected a regular file", str(path))


def content_fault(start: bytes) -> str | None:
    """Return why a file with these first bytes is not the content it was named after, or None."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; download the file itself with `git lfs pull`"
    if text.startswith(_WEB_PAGE):
        return "it is a web page; download the file again"
    return None


def check_file(path: Path | str, error_class: type[CodeTalkerError] = InputError) -> None:
    """Refuse a path that cannot be a data file, before a reader opens it.

    Args:
        path: The path.
        error_class: The class of the error for a path that cannot be read as a file.

    Raises:
        InputError: The file is missing or cannot be read, or is a folder, a pipe or a device; or
            ``error_class``.
        DataError: The file is a web page or a Git LFS pointer.
    """
    try:
        check_regular(path)
        with open(path, "rb") as file:
            fault = content_fault(file.read(512))
    except FileNotFoundError as error:
        raise error_class(f"{printable(path)}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = getattr(error, "strerror", None) or str(error)
        raise error_class(f"{printable(path)}: cannot be read ({reason})") from error
    if fault:
        raise DataError(f"{printable(path)}: {fault}")


def read_text(
    path: Path | str,
    limit: int = TEXT_BYTES,
    *,
    encoding: str = "utf-8",
    errors: str = "strict",
) -> str:
    """Return the text of a regular file.

    Args:
        path: The file.
        limit: The largest size in bytes.
        encoding: ``utf-8``, or ``utf-8-sig`` to remove a byte order mark.
        errors: How bytes that are not UTF-8 are handled, as in ``bytes.decode``.

    Raises:
        OSError: The file cannot be read, or is not a regular file.
        ValueError: The file is larger than the limit, or its text is not UTF-8.
    """
    try:
        check_regular(path)
        with open(path, "rb") as file:
            content = file.read(limit + 1)  # the size of a file can change
    except ValueError as error:  # a path with a null byte
        raise OSError(errno.EINVAL, str(error), printable(path)) from error
    if len(content) > limit:
        raise ValueError(f"the file is larger than {limit / 1e6:g} MB")
    try:
        return content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"not UTF-8 text: {error.reason} at byte {error.start}; save it as UTF-8"
        ) from error


# JSON --------------------------------------------------------------------------------------------


def read_json(path: Path | str, limit: int = TEXT_BYTES, *, finite: bool = True) -> Any:
    """Return the content of a JSON file.

    Args:
        path: The file.
        limit: The largest size in bytes.
        finite: Whether NaN and infinite numbers are errors.

    Raises:
        OSError: The file cannot be read, or is not a regular file.
        ValueError: The file is too large, or ``parse_json`` refuses its text.
    """
    return parse_json(read_text(path, limit), finite=finite)


def parse_json(text: str | bytes, *, finite: bool = True) -> Any:
    """Return the value of a JSON text.

    Args:
        text: The text.
        finite: Whether NaN and infinite numbers are errors.

    Raises:
        ValueError: The text is not JSON, is nested too deeply, or contains an integer of more than
            ``MAX_DIGITS`` digits.
    """
    options: dict[str, Any] = {"parse_int": _integer}
    if finite:
        options |= {"parse_constant": _refuse_constant, "parse_float": _finite_float}
    try:
        content = json.loads(text, **options)
    except RecursionError as error:
        raise ValueError(f"nested too deeply, more than {MAX_JSON_DEPTH} levels") from error
    _check_depth(content)
    return content


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has {len(text)} digits, but at most {MAX_DIGITS} are read")
    return int(text)


def _finite_float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"the number {printable(text, 40)} is too large")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a valid number")


def _check_depth(content: Any) -> None:
    level, depth = [content], 0
    while level := [
        child
        for item in level
        if isinstance(item, dict | list)
        for child in (item.values() if isinstance(item, dict) else item)
        if isinstance(child, dict | list)
    ]:
        depth += 1
        if depth >= MAX_JSON_DEPTH:
            raise ValueError(f"nested too deeply, more than {MAX_JSON_DEPTH} levels")


# YAML --------------------------------------------------------------------------------------------


_PARSER_ERRORS = (ValueError, ArithmeticError, AttributeError, LookupError, TypeError)
"""The exceptions of PyYAML for some invalid numbers, dates and escapes, besides its own."""


class _Loader(yaml.SafeLoader):
    """A loader of plain values that refuses aliases, deep nesting and long numbers."""

    depth = n_values = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise yaml.YAMLError(
                f"line {event.start_mark.line + 1}: anchors and aliases (& and *) are not "
                "supported; write the value out"
            )
        self.n_values += 1
        if self.n_values > MAX_VALUES:
            raise yaml.YAMLError(f"it contains more than {MAX_VALUES} values")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.YAMLError(f"nested more than {MAX_DEPTH} levels deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind in ("binary", "set", "omap", "pairs"):
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: !!{kind} is not supported")
        try:
            if kind in ("int", "float") and len(node.value) > MAX_DIGITS:
                raise ValueError(f"the number has {len(node.value)} digits")
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except _PARSER_ERRORS as error:
            value = node.value if isinstance(node.value, str) else ""
            raise yaml.YAMLError(
                f"line {node.start_mark.line + 1}: {printable(repr(value[:60]), 40)} is not a "
                f"valid {kind}"
            ) from error

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        content = super().construct_mapping(node, deep)
        for key in content:
            if type(key) not in (str, int):
                raise yaml.YAMLError(
                    f"line {node.start_mark.line + 1}: the key {printable(key, 40)} is not text; "
                    "put it in quotes"
                )
        return {str(key): value for key, value in content.items()}


def read_yaml(path: Path | str) -> Any:
    """Return the content of a YAML file.

    Raises:
        OSError: The file cannot be read, or is not a regular file.
        ValueError: The file is larger than ``YAML_BYTES``, or ``parse_yaml`` refuses its text.
    """
    return parse_yaml(read_text(path, YAML_BYTES))


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML text; keys that are numbers become text.

    Raises:
        ValueError: The text is not YAML, contains anchors or aliases, is nested too deeply, or
            contains an invalid number, date or key.
    """
    try:
        return yaml.load(text, _Loader)  # plain values only, as yaml.safe_load
    except yaml.YAMLError as error:
        raise ValueError(printable(" ".join(str(error).split()))) from error
    except _PARSER_ERRORS as error:
        reason = printable(error, 100)
        raise ValueError(f"an escape or a directive is invalid ({reason})") from error
