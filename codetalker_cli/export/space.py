"""Report a full disk when a C++ library writes the file."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def check_space(path: Path, n_bytes: int) -> None:
    """Raise the error of a full disk if a file does not fit.

    Alembic ends the process when the disk becomes full.

    Args:
        path: The file, in an existing folder.
        n_bytes: The size that it will have.

    Raises:
        OSError: There is less free space.
    """
    if shutil.disk_usage(path.parent).free < n_bytes:
        raise _disk_full(path)


@contextmanager
def full_disk_is_reported(path: Path) -> Iterator[None]:
    """Turn an error of any kind that mentions a full disk into the one of Python.

    Args:
        path: The file that is written inside the ``with`` block.

    Raises:
        OSError: The disk is full.
    """
    try:
        yield
    except RuntimeError as error:  # the base of the errors of USD
        if os.strerror(errno.ENOSPC) in str(error):
            raise _disk_full(path) from error
        raise


def _disk_full(path: Path) -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
