"""The names of outputs: their formats, and which output belongs to which input."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from codetalker_cli.errors import InputError, printable

_MAX_PART_BYTES = 255
"""The longest name of a file or folder on common file systems, in bytes."""


@dataclass(frozen=True)
class Formats:
    """The formats that a command can write.

    Attributes:
        suffixes: Name → suffix, in order of preference where a suffix has several formats. An empty
            suffix is a folder of files.
    """

    suffixes: Mapping[str, str]

    def check_name(self, name: str) -> str:
        """Return the name of a format in its usual spelling.

        Raises:
            InputError: The name is unknown. The message lists the names.
        """
        known = name.lower().removeprefix(".")
        if known not in self.suffixes:
            choice = "one of " if len(self.suffixes) > 1 else ""
            raise InputError(
                f"`format` {printable(repr(name))}: expected {choice}{', '.join(self.suffixes)}"
            )
        return known

    def ending(self, name: str) -> str:
        """Return what the names of outputs end with, if the input determines the rest.

        Where a suffix has several formats, only the first one has it alone: ``.visemes.json``.
        """
        suffix = self.suffixes[name]
        first = next((n for n, s in self.suffixes.items() if s == suffix), name)
        return suffix if name == first or not suffix else f".{name}{suffix}"

    def is_folder(self, name: str | None) -> bool:
        """Return whether outputs of a format are folders."""
        return name is not None and not self.suffixes[name]

    def choose(self, path: Path, name: str | None = None) -> str:
        """Return the format of an output.

        Args:
            path: The output.
            name: The format that is given, which counts if its suffix is that of the output.

        Raises:
            InputError: No format has this suffix. The message lists the suffixes.
        """
        suffix = path.suffix.lower()
        if self.is_folder(name) and suffix not in self._known():
            assert name is not None
            return name
        if name is not None and suffix and self.suffixes[name] == suffix:
            return name
        found = next((n for n, s in self.suffixes.items() if s and s == suffix), None)
        if found is not None:
            return found
        if name is not None and self.suffixes[name]:
            raise InputError(
                f"`format` {name} writes {self.suffixes[name]} files, but `out` is "
                f"{printable(path)}"
            )
        if self.is_folder(suffix.removeprefix(".") if suffix[1:] in self.suffixes else None):
            folder = path.with_suffix("")
            raise InputError(
                f"`out` {printable(path)}: the frames are written to a folder of {suffix} files; "
                f"give `out` {printable(folder)} and `format` {suffix.removeprefix('.')}"
            )
        endings = list(dict.fromkeys(s for s in self.suffixes.values() if s))
        choice = "one of " if len(endings) > 1 else ""
        raise InputError(
            f"`out` {printable(path)}: the file suffix must be {choice}{', '.join(endings)}"
            + self._folders_text()
        )

    def _known(self) -> set[str]:
        """Return all suffixes, also those of the files in folders."""
        return {s for s in self.suffixes.values() if s} | {f".{n}" for n in self.suffixes}

    def _folders_text(self) -> str:
        folders = [name for name, suffix in self.suffixes.items() if not suffix]
        if not folders:
            return ""
        return f"; for a folder of frames, give `format` {' or '.join(folders)}"


def names_folder(text: str, *, is_folder_output: bool = False) -> bool:
    """Return whether a path specifies the folder in which outputs are written.

    A path that ends with a slash does, and so does an existing folder.

    Args:
        text: The path.
        is_folder_output: Whether each output is itself a folder, so that an existing folder can be
            an output.
    """
    path = Path(text)
    if text.endswith(("/", os.sep)):
        return True
    return not is_folder_output and path.is_dir() and not path.suffix


def check_inputs_kept(out: Path, inputs: Iterable[Path | None]) -> None:
    """Refuse an output that is one of the inputs.

    Raises:
        InputError: They are the same file.
    """
    for given in inputs:
        if given is not None and given.exists() and out.exists() and out.samefile(given):
            raise InputError(
                f"`out` {printable(out)}: this is one of the input files; give another `out`"
            )


def check_path(path: Path, where: str) -> None:
    """Refuse a path that no file can have, which most functions would report in their own way.

    Raises:
        InputError: The path contains a null character, or a name that is too long.
    """
    if "\0" in str(path):
        raise InputError(f"{where} {printable(repr(str(path)))}: a path has no null characters")
    if any(len(part.encode("utf-8", "surrogatepass")) > _MAX_PART_BYTES for part in path.parts):
        raise InputError(
            f"{where} {printable(path)}: a name has at most {_MAX_PART_BYTES} bytes; shorten it"
        )


def check_distinct(outputs: Iterable[tuple[Path, Path]], what: str, advice: str) -> None:
    """Refuse outputs that would replace each other or an input.

    Args:
        outputs: Each input with its output.
        what: What an input is, for messages, e.g. "recording".
        advice: What to do if two inputs have the same output.

    Raises:
        InputError: Two outputs are the same file, or an output is its input.
    """
    first: dict[Path, Path] = {}
    for source, out in outputs:
        target = Path(os.path.realpath(out))  # two spellings, or links, are one file
        if target in first and first[target] != source:
            raise InputError(
                f"{first[target]} and {source} would both be written to {out}; {advice}"
            )
        if target in first:
            raise InputError(
                f"{source}: the {what} is listed twice; both results would be written to {out}"
            )
        if target == Path(os.path.realpath(source)):
            raise InputError(f"`out` {out}: this is the {what} itself; give another `out`")
        first[target] = source
