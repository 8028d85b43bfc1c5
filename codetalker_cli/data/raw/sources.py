"""Files that a raw data set is made of: where they are, or a list of those that are missing."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from codetalker_cli.errors import InputError


def find_file(root: Path, names: Sequence[str], given: Path | None = None) -> Path | None:
    """The first of some files in a raw folder, in its ``templates`` folder or beside it.

    Args:
        root: The raw folder.
        names: Its possible names.
        given: A path that was given instead; it is taken as it is.
    """
    if given is not None:
        return given if given.is_file() else None
    for folder in (root, root / "templates", root.parent):
        for name in names:
            if (folder / name).is_file():
                return folder / name
    return None


def refuse_missing(root: Path, wanted: Mapping[str, tuple[bool, str]]) -> None:
    """Refuse a raw folder that lacks something: everything that is missing, in one line.

    Args:
        root: The raw folder.
        wanted: What → whether it is there, and where it comes from.

    Raises:
        InputError: Something is not there.
    """
    missing: dict[str, list[str]] = {}
    for what, (is_there, source) in wanted.items():
        if not is_there:
            missing.setdefault(source, []).append(what)
    if missing:
        told = "; ".join(f"{', '.join(what)} (from {source})" for source, what in missing.items())
        where = "lacks" if root.is_dir() else "does not exist; it should hold"
        raise InputError(f"{root} {where}: {told}")
