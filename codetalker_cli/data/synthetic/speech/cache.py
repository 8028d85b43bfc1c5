"""Where files that can be made again are kept: the joined Kokoro model, alignments."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "CODETALKER_CACHE"


def cache_dir(given: str | Path | None = None) -> Path:
    """The given folder, else $CODETALKER_CACHE, else ~/.cache/codetalker. It need not exist yet."""
    chosen = given or os.environ.get(CACHE_VARIABLE)
    return Path(chosen) if chosen else Path.home() / ".cache" / "codetalker"
