"""Check the free space before a library writes a large file."""

import errno
import os
import shutil
from pathlib import Path


def check_space(path: Path, n_bytes: int) -> None:
    """Raise the error of a full disk if a file does not fit.

    Libraries in C++ report a full disk poorly: Alembic ends the process.

    Args:
        path: The file, in an existing folder.
        n_bytes: The size that it will have.

    Raises:
        OSError: There is less free space.
    """
    if shutil.disk_usage(path.parent).free < n_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
