"""Write files and folders atomically."""

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from codetalker_cli.errors import InputError, OutputError

MAX_NAME_BYTES = 180
"""The longest name, in bytes: file systems allow 255, and files add a suffix and a random part."""


def name_fault(name: object) -> str | None:
    """Return why a name cannot be part of a file name, or None if it can.

    Names of data sets, clips, subjects, splits and styles come from files, and become parts of
    paths. A valid name stays within its folder on every system.
    """
    if not isinstance(name, str) or not name.strip():
        return "is empty or not text"
    if any(separator in name for separator in "/\\:\0"):
        return "contains a path separator"
    if name.startswith("."):
        return "starts with a period"
    if not name.isprintable():
        return "contains a control character"
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    return None


def is_inside(path: Path, folder: Path) -> bool:
    """Return whether a path stays in a folder when all links and ``..`` are followed."""
    return path.resolve().is_relative_to(folder.resolve())


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse an output that exists, or whose folder cannot be written, before any work is done.

    This leaves nothing behind. For a missing folder, its nearest existing parent is tested.

    Raises:
        OutputError: The output exists, or its folder is not writable.
    """
    folder = path.parent
    try:
        if path.exists() and not overwrite:
            raise OutputError(
                f"{path} already exists; give `overwrite` to replace it, or another `out`"
            )
        nearest = next(f for f in (folder, *folder.absolute().parents) if f.exists())
        probe = nearest / f".{uuid.uuid4().hex}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"{folder}: cannot write here ({reason}); give another `out`") from error


@contextmanager
def atomic_path(path: Path | str, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to ``path`` (same suffix) and rename it to ``path`` on success.

    On an error, the temporary output is removed and an existing ``path`` is unchanged. This works
    for files and folders. A folder replaces the existing one as a whole.

    Raises:
        InputError: ``path`` exists and ``overwrite`` is false, its folder cannot be written, or a
            file would replace a folder.
    """
    path = Path(path)
    check_output(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        yield temporary
        if temporary.is_dir() and path.is_dir():
            old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
            os.replace(path, old)
            os.replace(temporary, path)
            shutil.rmtree(old)
        elif path.is_dir():
            raise InputError(
                f"{path} is a folder and cannot be replaced by a file; give another name"
            )
        else:
            os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def recover(path: Path) -> None:
    """Clean up what ``atomic_path`` left behind when its process was killed.

    Restore the old folder if its replacement was interrupted, and remove unfinished output. Only
    the sole writer of ``path`` may call this.
    """
    name, stem, suffix = (re.escape(part) for part in (path.name, path.stem, path.suffix))
    pattern = re.compile(rf"\.{name}\.[0-9a-f]{{8}}\.old|\.{stem}\.[0-9a-f]{{8}}{suffix}")
    if not path.parent.is_dir():
        return
    for leftover in sorted(path.parent.iterdir()):
        if not pattern.fullmatch(leftover.name):
            continue
        if leftover.suffix == ".old" and not path.exists():
            os.replace(leftover, path)
        elif leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
