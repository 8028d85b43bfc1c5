"""Write a take in one of the formats: all of its files, or none."""

import filecmp
import re
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli import audio
from codetalker_cli.errors import CodeTalkerError, DataError, InputError, OutputError, printable
from codetalker_cli.export.table import Exporter, Target
from codetalker_cli.export.take import Take
from codetalker_cli.files import MAX_NAME_BYTES, atomic_path, check_output
from codetalker_cli.motion import write_sound
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
        beside: The other files that belong to it, except for the sound.
        sound: The .wav file next to it, or None. It may be the recording itself.
        exporter: The format.
        take: The take.
        facts: What the exporter reports.
    """

    path: Path
    beside: tuple[Path, ...]
    sound: Path | None
    exporter: Exporter
    take: Take
    facts: Mapping[str, Any]

    @property
    def opening(self) -> str:
        """One sentence that explains how to open the file."""
        # The name of a folder may come from the motion, so its path is given.
        name = printable(self.path.name if self.exporter.suffix else self.path)
        return self.exporter.opening.replace("{name}", name).replace("{stem}", self.path.stem)

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as data that JSON can store."""
        return {
            "out": str(self.path),
            "format": self.exporter.name,
            "content": self.exporter.content,
            "beside": [str(path) for path in self.beside],
            "sound_file": None if self.sound is None else str(self.sound),
            "subject": self.take.motion.subject,
            "frames": self.take.n_frames,
            "fps": self.take.fps,
            "seconds": round(self.take.seconds, 3),
            "opening": self.opening,
            **self.facts,
        }


def check_outputs(path: Path, exporter: Exporter, *, overwrite: bool) -> None:
    """Refuse an output that exists or cannot be written, before any work is done.

    The files next to it are checked by ``write``, because they may already have the right content.

    Raises:
        OutputError: The output exists, or its folder is not writable.
        InputError: A file would replace a folder, or a folder contains other files.
    """
    _check_name(path)
    if exporter.suffix and path.is_dir():
        raise InputError(f"`out` {printable(path)}: expected a file, but this is a folder")
    check_output(path, overwrite=overwrite)
    if not exporter.suffix and path.exists():
        _check_folder(path, f".{exporter.name}")


def _check_name(path: Path) -> None:
    """Refuse names that some formats cannot contain or that leave no room for suffixes."""
    name = path.name
    if not name:
        raise InputError(f"`out` {printable(path)}: this is not the name of a file or a new folder")
    if not name.isprintable():
        raise InputError(
            f"`out` {printable(repr(name))}: the name contains characters that cannot be printed"
        )
    if len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        raise InputError(
            f"`out` {printable(name)}: the name has more than {MAX_NAME_BYTES} bytes; shorten it"
        )


def _check_folder(path: Path, suffix: str) -> None:
    """Refuse to replace a folder that contains anything but frames."""
    if not path.is_dir():
        raise InputError(f"`out` {printable(path)}: expected a folder, but this is a file")
    frame = re.compile(rf"\d{{5,}}{re.escape(suffix)}")
    other = next(
        (
            f
            for f in sorted(path.iterdir())
            if not f.is_file() or not (frame.fullmatch(f.name) or f.name == _SOUND_IN_FOLDER)
        ),
        None,
    )
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
    motion = take.motion
    if not motion.n_frames:
        raise DataError("the motion has no frames")
    inside, beside = _place_of_sound(path, exporter, settings, motion.audio_path, motion.audio)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="codetalker-")))
        sound = folder / _SOUND_IN_FOLDER
        has_sound = (inside or beside is not None) and write_sound(motion, sound)
        target = Target(
            stack.enter_context(atomic_path(path, overwrite)),
            path,
            {suffix: folder / f"beside{suffix}" for suffix in exporter.beside},
            sound if has_sound and exporter.sound == "inside" else None,
            beside.name if beside is not None and has_sound else None,
        )
        facts = exporter.write(take, target, settings)
        files = {path.with_suffix(suffix): made for suffix, made in target.beside.items()}
        for final, made in files.items():
            if not (final.is_file() and filecmp.cmp(made, final, shallow=False)):
                shutil.copyfile(made, stack.enter_context(atomic_path(final, overwrite)))
        if has_sound and not exporter.suffix:
            shutil.copyfile(sound, target.path / _SOUND_IN_FOLDER)
        elif has_sound and beside is not None and not beside.exists():
            shutil.copyfile(sound, stack.enter_context(atomic_path(beside, overwrite=False)))
    return Exported(path, tuple(files), beside if has_sound else None, exporter, take, facts or {})


def check_sound(
    path: Path,
    exporter: Exporter,
    settings: ExportSettings,
    audio_path: Path | None,
    samples: np.ndarray | None,
) -> None:
    """Refuse an output next to which there is another sound, before any work is done.

    Args:
        path: The file.
        exporter: The format.
        settings: Whether the sound is included.
        audio_path: The recording, or None.
        samples: (n,) its mono samples at 16 kHz, or None.

    Raises:
        OutputError: The .wav file next to the output contains another sound.
    """
    _place_of_sound(path, exporter, settings, audio_path, samples)


def _place_of_sound(
    path: Path,
    exporter: Exporter,
    settings: ExportSettings,
    audio_path: Path | None,
    samples: np.ndarray | None,
) -> tuple[bool, Path | None]:
    """Return whether the sound is inside the output, and the .wav file next to it or None."""
    has_sound = audio_path is not None or (samples is not None and len(samples) > 0)
    if not settings.sound or not has_sound or exporter.sound == "none":
        return False, None
    if exporter.sound == "inside" or not exporter.suffix:
        return True, None
    endings = (f".{exporter.name}{exporter.suffix}", exporter.suffix)  # .visemes.json, .json
    ending = next(ending for ending in endings if path.name.lower().endswith(ending))
    beside = path.with_name(path.name[: -len(ending)] + SOUND)
    if beside.exists() and not beside.is_file():
        raise OutputError(f"{printable(beside)} is not a file; move it, or give another `out`")
    if beside.exists() and not _is_sound_of(beside, audio_path, samples):
        # Not even with ``overwrite``, because it may be a recording of which no copy exists.
        raise OutputError(
            f"{printable(beside)} already exists and contains another sound, which is not "
            "replaced; move it, give another `out`, or turn the setting export.sound off"
        )
    return False, beside


def _is_sound_of(path: Path, audio_path: Path | None, samples: np.ndarray | None) -> bool:
    """Return whether a file contains a sound, e.g. because it is the recording itself."""
    try:
        if audio_path is not None and audio_path.exists() and path.samefile(audio_path):
            return True
        expected = _samples(audio_path) if samples is None and audio_path else samples
        found = _samples(path)
    except (CodeTalkerError, OSError):
        return False
    if expected is None or len(found) != len(expected):
        return False
    difference = np.abs(np.clip(found, -1, 1) - np.clip(expected, -1, 1))
    return bool(difference.max(initial=0) <= _SAME_SOUND)


def _samples(path: Path) -> np.ndarray:
    """Return (n,) mono samples at 16 kHz; the file may be silent or short."""
    samples, rate = audio.read(path)
    return audio.resample(samples, rate, audio.SAMPLE_RATE)
