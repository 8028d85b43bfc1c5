"""Write files and folders atomically, one process at a time.

While an output is written, its folder contains two hidden entries: the unfinished output and a lock
file. The system releases the lock when its process ends, even if the process is killed. The next
run in that folder removes what a killed one left.
"""

import errno
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from codetalker_cli.errors import BusyError, InputError, OutputError, printable

if TYPE_CHECKING:
    from filelock import BaseFileLock

MAX_NAME_BYTES = 180
"""The longest name, in bytes: file systems allow 255, and files add a suffix and a marker."""
_PARTIAL, _OLD, _LOCK = (f"codetalker-{kind}" for kind in ("partial", "old", "lock"))
_LEFTOVER = re.compile(
    rf"\.(?P<name>.+)\.(?P<kind>{_PARTIAL}|{_OLD}|{_LOCK})(?P<suffix>\.[^.]+)?", re.DOTALL
)
_WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
"""The errors of file systems that do not support locks; outputs are written there without."""
_held: set[tuple[str, int]] = set()
"""The outputs that this process has claimed, each with the thread that claimed it."""


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


def check_output(path: Path, *, overwrite: bool, name: str = "out") -> None:
    """Refuse an output that exists, or whose folder cannot be written, before any work is done.

    This leaves nothing behind, and removes what killed runs left in the folder. For a missing
    folder, its nearest existing parent is tested.

    Args:
        path: The output.
        overwrite: Whether an existing output may be replaced.
        name: The parameter that contains the path, for the message.

    Raises:
        OutputError: The output exists, or its folder is not writable.
    """
    _refuse(path, overwrite=overwrite, name=name)
    remove_leftovers(path.parent)


def _refuse(path: Path, *, overwrite: bool, name: str = "out") -> None:
    folder = path.parent
    try:
        _refuse_existing(path, overwrite=overwrite, name=name)
        nearest = next(f for f in (folder, *folder.absolute().parents) if f.exists())
        longest = len(os.fsencode(_hidden(path, _PARTIAL).name))
        probe = nearest / (f".{uuid.uuid4().hex}".ljust(longest - len(".probe"), "x") + ".probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


def _refuse_existing(path: Path, *, overwrite: bool, name: str = "out") -> None:
    if os.path.lexists(path) and not overwrite:  # a link to a missing file exists too
        raise OutputError(
            f"{path} already exists; give `overwrite` to replace it, or another `{name}`"
        )


def _unwritable(path: Path, error: OSError) -> OutputError:
    if error.errno == errno.ENAMETOOLONG:
        return OutputError(
            f"{printable(path)}: the name is too long for this file system; give a shorter `out`"
        )
    reason = error.strerror or str(error)
    return OutputError(f"{path.parent}: cannot write here ({reason}); give another `out`")


@contextmanager
def atomic_path(path: Path | str, overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to ``path`` (same suffix) and rename it to ``path`` on success.

    On an error, the temporary output is removed and an existing ``path`` is unchanged. This works
    for files and folders. A folder replaces the existing one as a whole.

    Raises:
        InputError: ``path`` exists and ``overwrite`` is false, its folder cannot be written,
            another process is writing it, or a file would replace a folder.
    """
    path = Path(path)
    _refuse(path, overwrite=overwrite)
    with claim(path):
        _refuse_existing(path, overwrite=overwrite)  # another run may just have written it
        temporary, old = _temporary(path), _hidden(path, _OLD)
        try:
            yield temporary
            if temporary.is_dir() and path.is_dir():
                os.replace(path, old)
                os.replace(temporary, path)
            elif path.is_dir():
                raise InputError(
                    f"{path} is a folder and cannot be replaced by a file; give another name"
                )
            else:
                os.replace(temporary, path)
        finally:
            _recover(path)  # removes ``old``, or restores it after an error


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder next to an output, for files that are needed while it is written.

    The folder is removed at the end. If the process is killed, the next run in the same folder
    removes it.
    """
    scratch = path.with_name(f"{path.name}~")
    with claim(scratch):
        folder = _temporary(scratch)
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def claim(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Claim an output inside a ``with`` block, so that no other process or thread writes it.

    A thread can claim the same output again inside the block. Missing folders are created, and
    removed at the end if they are still empty.

    Args:
        path: The output, a file or a folder.
        wait: Whether to wait for another process that has claimed it.

    Raises:
        BusyError: Another process or thread has claimed it.
        OutputError: Its folder cannot be written.
    """
    from filelock import FileLock

    key = (os.path.abspath(path), threading.get_ident())
    if key in _held:
        yield
        return
    created = _create(path.parent)
    lock = FileLock(
        _hidden(path, _LOCK), -1 if wait else 0, thread_local=False, fallback_to_soft=False
    )
    try:
        _acquire(lock, path)
        _held.add(key)
        yield
    finally:
        _held.discard(key)
        _release(lock)
        _remove_empty(created)


def _acquire(lock: "BaseFileLock", path: Path) -> None:
    """Acquire the lock of an output, and remove what a killed run left of the output."""
    from filelock import Timeout

    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError(
            f"{path}: another run is writing this; wait for it, stop it, or give another `out`"
        ) from error
    except OSError as error:
        if error.errno in _WITHOUT_LOCKS:
            with suppress(OSError):
                os.unlink(lock.lock_file)  # it has been created all the same
            return
        raise _unwritable(path, error) from error
    try:
        _recover(path)
    except OSError as error:
        raise _unwritable(path, error) from error


def _create(folder: Path) -> list[Path]:
    """Create a folder, and return the folders that did not exist, deepest first."""
    created: list[Path] = []
    try:
        created += [f for f in (folder, *folder.parents) if not f.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _remove_empty(created)
        raise _unwritable(folder / "output", error) from error
    return created


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):  # it has content, or was not created
            folder.rmdir()


def _release(lock: "BaseFileLock") -> None:
    # filelock leaves its file in place. Removing it while it is locked is safe, because a process
    # that opened it before gets a lock on a file without a name, and then tries again.
    with suppress(OSError):
        if lock.is_locked:
            os.unlink(lock.lock_file)
    with suppress(OSError):
        lock.release()


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{_PARTIAL}{path.suffix}")


def _hidden(path: Path, kind: str) -> Path:
    return path.with_name(f".{path.name}.{kind}")


def _recover(path: Path) -> None:
    """Restore the folder whose replacement was interrupted, and remove unfinished output."""
    old = _hidden(path, _OLD)
    if old.exists() and not path.exists():
        os.replace(old, path)
    for leftover in (old, _temporary(path)):
        if leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed runs left in a folder; the output of running ones stays."""
    try:
        found = [_LEFTOVER.fullmatch(name) for name in os.listdir(folder)]
    except OSError:
        return
    for match in filter(None, found):
        suffix = match["suffix"] or ""
        path = folder / (match["name"] + (suffix if match["kind"] == _PARTIAL else ""))
        with suppress(OutputError, OSError), claim(path):
            pass  # claiming an output removes its leftovers
