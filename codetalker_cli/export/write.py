"""Write a take in one of the formats: all of its files, or none."""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli import audio
from codetalker_cli.errors import CodeTalkerError, InputError, OutputError, printable
from codetalker_cli.export.table import Exporter, Target
from codetalker_cli.export.take import Take
from codetalker_cli.files import atomic_path, check_output
from codetalker_cli.motion import Motion, write_sound
from codetalker_cli.settings import ExportSettings

SOUND = ".wav"
"""The suffix of the sound next to an export."""
_SOUND_IN_FOLDER = "sound.wav"
_SAME_SOUND = 1e-3
"""The largest difference of two samples of the same sound, which rounding to 16 bits causes."""


@dataclass(frozen=True)
class Exported:
    """A summary of an export.

    Attributes:
        path: The file or the folder.
        beside: The other files that belong to it, such as the sound.
        exporter: The format.
        take: The take.
    """

    path: Path
    beside: tuple[Path, ...]
    exporter: Exporter
    take: Take

    @property
    def opening(self) -> str:
        """One sentence that explains how to open the file."""
        name = printable(self.path.name)
        return self.exporter.opening.replace("{name}", name).replace("{stem}", self.path.stem)

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as data that JSON can store."""
        return {
            "out": str(self.path),
            "format": self.exporter.name,
            "content": self.exporter.content,
            "beside": [str(path) for path in self.beside],
            "subject": self.take.motion.subject,
            "frames": self.take.n_frames,
            "fps": self.take.fps,
            "seconds": round(self.take.seconds, 3),
            "opening": self.opening,
        }


def check_outputs(path: Path, exporter: Exporter, *, overwrite: bool) -> None:
    """Refuse outputs that exist or cannot be written, before any work is done.

    The sound next to the file is checked by ``write``, because it may already be the right one.

    Raises:
        OutputError: An output exists, or its folder is not writable.
        InputError: A file would replace a folder, or a folder contains other files.
    """
    for output in (path, *(path.with_suffix(suffix) for suffix in exporter.beside)):
        if exporter.suffix and output.is_dir():
            raise InputError(f"`out` {printable(output)}: expected a file, but this is a folder")
        check_output(output, overwrite=overwrite)
    if not exporter.suffix and path.exists():
        _check_folder(path, f".{exporter.name}")


def _check_folder(path: Path, suffix: str) -> None:
    """Refuse to replace a folder that contains anything but frames."""
    if not path.is_dir():
        raise InputError(f"`out` {printable(path)}: expected a folder, but this is a file")
    expected = (suffix, SOUND)
    other = next((f for f in sorted(path.iterdir()) if f.suffix.lower() not in expected), None)
    if other is not None:
        raise InputError(
            f"`out` {printable(path)}: the folder contains {printable(other.name)}, which is not a "
            f"frame; give the name of a new folder"
        )


def write(
    take: Take,
    path: Path,
    exporter: Exporter,
    settings: ExportSettings,
    *,
    overwrite: bool = False,
) -> Exported:
    """Write a take, with its sound where the format has room for it.

    Args:
        take: The take.
        path: The file or the folder.
        exporter: The format.
        settings: What the file contains.
        overwrite: Whether existing outputs may be replaced.

    Raises:
        CodeTalkerError: The take cannot be written in this format, or an output exists or cannot
            be written. No output is changed then.
    """
    check_outputs(path, exporter, overwrite=overwrite)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="codetalker-")))
        inside, beside = _sounds(take.motion, path, exporter, settings)
        sound = folder / _SOUND_IN_FOLDER
        has_sound = (inside or beside is not None) and write_sound(take.motion, sound)
        others = {suffix: path.with_suffix(suffix) for suffix in exporter.beside}
        target = Target(
            stack.enter_context(atomic_path(path, overwrite)),
            path,
            {s: stack.enter_context(atomic_path(p, overwrite)) for s, p in others.items()},
            sound if has_sound and exporter.sound == "inside" else None,
            beside.name if beside is not None and has_sound else None,
        )
        exporter.write(take, target, settings)
        written = list(others.values())
        if has_sound and not exporter.suffix:
            write_sound(take.motion, target.path / _SOUND_IN_FOLDER)
        elif has_sound and beside is not None:
            written.append(beside)
            if not beside.exists():
                temporary = stack.enter_context(atomic_path(beside, overwrite=False))
                write_sound(take.motion, temporary)
    return Exported(path, tuple(written), exporter, take)


def _sounds(
    motion: Motion, path: Path, exporter: Exporter, settings: ExportSettings
) -> tuple[bool, Path | None]:
    """Return whether the sound is inside the output, and the .wav file next to it or None."""
    has_sound = motion.audio is not None or motion.audio_path is not None
    if not settings.sound or not has_sound or exporter.sound == "none":
        return False, None
    if exporter.sound == "inside" or not exporter.suffix:
        return True, None
    beside = path.with_suffix(SOUND)
    if beside.exists() and not _is_sound_of(beside, motion):
        # Not even with ``overwrite``, because it may be a recording of which no copy exists.
        raise OutputError(
            f"{beside} already exists and contains another sound, which is not replaced; move it, "
            "give another `out`, or use export.sound=false"
        )
    return False, beside


def _is_sound_of(path: Path, motion: Motion) -> bool:
    """Return whether a file contains the sound of a motion, e.g. because it is its recording."""
    source = motion.audio_path
    try:
        if source is not None and source.exists() and path.samefile(source):
            return True
        expected = audio.load(source) if motion.audio is None and source else motion.audio
        samples = audio.load(path)
    except (CodeTalkerError, OSError):
        return False
    if expected is None or len(samples) != len(expected):
        return False
    return bool(np.abs(samples - expected).max(initial=0) <= _SAME_SOUND)
