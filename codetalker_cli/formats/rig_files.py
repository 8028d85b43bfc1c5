"""Files of rig curves: recordings of Live Link Face (.csv) and Audio2Face exports (.json)."""

import os
from dataclasses import replace
from pathlib import Path

from codetalker_cli.errors import DataError, InputError, printable
from codetalker_cli.formats import audio2face, live_link
from codetalker_cli.rig_curves import RigCurves

SUFFIXES = (live_link.SUFFIX, audio2face.SUFFIX)


def read_curves(path: Path | str, fps: float | None = None) -> RigCurves:
    """Return the weights of ARKit's 52 units, and the head rotation if there is any.

    The sound is the .wav file with the same name next to the file, if there is one.

    Args:
        path: A file with one of ``SUFFIXES``.
        fps: The frame rate of a .csv that contains no times; ignored for others.

    Raises:
        InputError: The file is missing, has another suffix, or has no frame rate.
        DataError: The file is damaged, or has other content.
    """
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"path: expected a path, got a {type(path).__name__}")
    path = Path(os.fsdecode(path))
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"{printable(path)}: expected rig curves ({' or '.join(SUFFIXES)}), found "
            f"{path.suffix!r}"
        )
    try:
        curves = audio2face.read(path) if suffix == audio2face.SUFFIX else live_link.read(path, fps)
    except DataError as error:
        text = str(error)
        if text.startswith(printable(path)):
            raise
        raise DataError(f"{printable(path)}: {text}") from error
    sound = path.with_suffix(".wav")
    return replace(curves, audio_path=sound) if sound.is_file() else curves
