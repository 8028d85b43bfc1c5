"""Find the audio or video file that belongs to each clip of a custom data set."""

import re
from collections.abc import Sequence
from pathlib import Path

from codetalker_cli.audio import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from codetalker_cli.datasets.raw_clips import Problem
from codetalker_cli.datasets.readers.custom_motion import (
    MotionFile,
    describe_contents,
    matches,
    safe_name,
)
from codetalker_cli.errors import InputError
from codetalker_cli.settings import CustomSettings

SUFFIXES = (*AUDIO_SUFFIXES, *VIDEO_SUFFIXES)
_FIELD = re.compile(r"\{(subject|sentence|name)\}")


def find_recordings(
    base: Path, settings: CustomSettings, motion_files: Sequence[MotionFile]
) -> tuple[dict[str, Path], list[Problem]]:
    """Find the recording of each clip.

    Args:
        base: The folder that ``settings.audio`` is relative to.
        settings: The settings of the data set.
        motion_files: The motion of all clips.

    Returns:
        The audio or video file of each clip, by clip name, and one problem for each recording
        without motion.

    Raises:
        InputError: There are no audio files, or two of them belong to the same clip.
    """
    if _FIELD.search(settings.audio):
        return _match_by_fields(base, settings.audio, motion_files)
    place = base / Path(settings.audio).expanduser()
    if place.is_file():
        if len(motion_files) > 1:
            raise InputError(
                f"{place}: custom.audio is a single file, but there are {len(motion_files)} clips; "
                "give a folder or a path pattern"
            )
        return {motion_files[0].name: place}, []
    pattern = f"{settings.audio}/**/*" if place.is_dir() else settings.audio
    files = list(_list_recordings(base, pattern))
    if not files:
        raise _no_audio_error(base, settings.audio)
    by_path: dict[str, list[Path]] = {}
    by_name: dict[str, list[Path]] = {}
    for path, relative in files:
        by_path.setdefault(_key(relative), []).append(path)
        by_name.setdefault(_key(path.stem), []).append(path)
    recordings: dict[str, Path] = {}
    used: set[Path] = set()
    for motion_file in motion_files:
        keys = dict.fromkeys((_key(motion_file.name), _key(motion_file.key)))
        # Prefer a recording with the same relative path. A file name alone can be ambiguous.
        candidates = [p for key in keys for p in by_path.get(key, [])]
        candidates = candidates or [p for key in keys for p in by_name.get(key, [])]
        used.update(candidates)
        if candidates:
            recordings[motion_file.name] = _best_recording(motion_file, candidates)
    return recordings, _report_unmatched([file for file in files if file[0] not in used])


def _key(name: str) -> str:
    return safe_name(name).casefold()


def _match_by_fields(
    base: Path, pattern: str, motion_files: Sequence[MotionFile]
) -> tuple[dict[str, Path], list[Problem]]:
    has_suffix = Path(pattern).suffix.lower() in SUFFIXES
    # {name} contains slashes if the clips are in nested folders, and "*" does not match a slash.
    patterns = dict.fromkeys(
        pattern.replace("{name}", "/".join("*" * (motion_file.key.count("/") + 1)))
        for motion_file in motion_files
    )
    suffix = "" if has_suffix else ".*"
    listings = [_list_recordings(base, _FIELD.sub("*", filled) + suffix) for filled in patterns]
    files = list(dict.fromkeys(file for listing in listings for file in listing))
    if not files:
        raise _no_audio_error(base, pattern)
    index: dict[Path, list[Path]] = {}
    for path, _ in files:
        index.setdefault(path.with_suffix(""), []).append(path)
    recordings: dict[str, Path] = {}
    used: set[Path] = set()
    for motion_file in motion_files:
        fields = {
            "subject": motion_file.subject,
            "sentence": motion_file.sentence,
            "name": motion_file.key,
        }
        name = _FIELD.sub(lambda match, f=fields: f[match[1]], pattern)  # type: ignore[misc]
        stem = base / Path(name).expanduser()
        stem = stem.with_suffix("") if has_suffix else stem
        used.add(stem)
        if stem in index:
            recordings[motion_file.name] = _best_recording(motion_file, index[stem])
    unmatched = [(path, relative) for path, relative in files if path.with_suffix("") not in used]
    return recordings, _report_unmatched(unmatched)


def _list_recordings(base: Path, pattern: str) -> list[tuple[Path, str]]:
    """Return audio and video files with their path from the first folder that varies.

    That path has no suffix.
    """
    return [
        (path, relative[: -len(path.suffix)])
        for path, relative in matches(base, pattern)
        if path.suffix.lower() in SUFFIXES and not _is_folder_of_recordings(path)
    ]


def _is_folder_of_recordings(path: Path) -> bool:
    """Return whether a path is a folder to search, not a folder in place of a recording."""
    return path.is_dir() and any(entry.suffix.lower() in SUFFIXES for entry in path.iterdir())


def _best_recording(motion_file: MotionFile, files: list[Path]) -> Path:
    stems = sorted({path.with_suffix("") for path in files})
    if len(stems) > 1:
        first, second = (min(f for f in files if f.with_suffix("") == s) for s in stems[:2])
        raise InputError(
            f"{first} and {second} are both recordings of the clip {motion_file.name}; remove one"
        )
    return min(files, key=lambda path: (SUFFIXES.index(path.suffix.lower()), path.name))


def _report_unmatched(files: Sequence[tuple[Path, str]]) -> list[Problem]:
    # A clip that has both an audio and a video file is reported once.
    by_clip = {safe_name(relative): path for path, relative in files}
    return [
        Problem(name, "missing", f"{path}: no motion belongs to this recording")
        for name, path in sorted(by_clip.items())
    ]


def _no_audio_error(base: Path, pattern: str) -> InputError:
    return InputError(
        f"{base}: custom.audio {pattern!r} matches no audio or video file; "
        f"{describe_contents(base, pattern)}"
    )
