"""Arrays that training computes once a clip and reads at every step.

``CACHE/training/KEY/CLIP.npy``: KEY stands for everything but the clip that goes into the array
(weights, settings, version), CLIP for the hashes of the clip in the data set's manifest. Whatever
is prepared anew has another name, so nothing stale is read. The folder may be deleted at any time.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli import resources
from codetalker_cli.errors import CheckpointError, OutputError

logger = logging.getLogger(__name__)

FORMAT = 1
"""To be raised when this package gives other arrays of the same key."""


def stamp(*content: Any) -> str:
    """Short hash of JSON-able content."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class ArrayCache:
    """Arrays of one kind.

    Args:
        kind: What they are; begins the folder's name.
        key: JSON-able: everything but the clip that they follow from.
        folder: Where caches are; default the user's cache folder.
    """

    def __init__(self, kind: str, key: Any, folder: Path | None = None) -> None:
        self.folder = (
            resources.cache_dir(folder) / "training" / f"{kind}-{stamp(FORMAT, kind, key)}"
        )

    def path(self, clip: str) -> Path:
        """Where the array of a clip is, by :func:`stamp` of its bytes."""
        return self.folder / f"{clip}.npy"

    def ensure(self, clip: str, make: Callable[[], np.ndarray]) -> None:
        """Make the array unless a whole one is there.

        Raises:
            CheckpointError: The cache cannot be written, or is full.
        """
        if self._whole(self.path(clip)):
            return
        array = make()
        try:
            with resources.atomic_path(self.path(clip)) as temporary:
                np.save(temporary, array)
        except (OSError, OutputError) as error:
            reason = getattr(error, "strerror", None) or "it cannot be written"
            raise CheckpointError(
                f"{self.folder}: cannot keep what training computes once ({reason}); name a folder "
                f"with room by the environment variable {resources.CACHE_VARIABLE}"
            ) from error

    def load(self, clip: str) -> np.ndarray:
        """The array, as a memory map."""
        return np.load(self.path(clip), mmap_mode="r")

    @staticmethod
    def _whole(path: Path) -> bool:
        try:
            np.load(path, mmap_mode="r")
        except FileNotFoundError:
            return False
        except (OSError, EOFError, ValueError):  # cut short, by a full disk for one
            logger.debug("%s: not whole, is made again", path)
            return False
        return True
