"""The speech of anybody's own recordings: which file belongs to which clip."""

import re
from collections.abc import Sequence
from pathlib import Path

from codetalker_cli.datasets.raw_clips import Problem
from codetalker_cli.datasets.readers.custom_motion import MotionFile, matches, safe_name, what_is_in
from codetalker_cli.errors import InputError
from codetalker_cli.settings import CustomSettings

# fmt: off
SUFFIXES = (
    ".wav", ".flac", ".aif", ".aiff", ".caf", ".au", ".ogg", ".opus", ".mp3", ".m4a", ".aac",
    ".wma", ".ac3", ".amr", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".wmv",
    ".mpg", ".mpeg", ".3gp", ".ogv", ".mts",
)
# fmt: on
"""Of files that hold sound; of two of one name the one that comes first here is taken."""
_FIELD = re.compile(r"\{(subject|sentence|name)\}")


def find_sounds(
    base: Path, settings: CustomSettings, takes: Sequence[MotionFile]
) -> tuple[dict[str, Path], list[Problem]]:
    """Name of the clip → its audio or video file; and the files that no motion belongs to.

    Raises:
        InputError: There is no sound at all, or two files are the sound of one clip.
    """
    if _FIELD.search(settings.audio):
        return _told_by_fields(base, settings.audio, takes)
    place = base / Path(settings.audio).expanduser()
    if place.is_file():
        if len(takes) > 1:
            raise InputError(f"{place}: custom.audio is one file, but there are {len(takes)} clips")
        return {takes[0].name: place}, []
    pattern = f"{settings.audio}/**/*" if place.is_dir() else settings.audio
    files = list(_sound_files(base, pattern))
    if not files:
        raise _no_sound(base, settings.audio)
    whole: dict[str, list[Path]] = {}
    short: dict[str, list[Path]] = {}
    for path, relative in files:
        whole.setdefault(_key(relative), []).append(path)
        short.setdefault(_key(path.stem), []).append(path)
    sounds: dict[str, Path] = {}
    used: set[Path] = set()
    for take in takes:
        keys = dict.fromkeys((_key(take.name), _key(take.key)))
        # A path that is like the clip's says more than a name in any folder.
        found = [p for key in keys for p in whole.get(key, [])]
        found = found or [p for key in keys for p in short.get(key, [])]
        used.update(found)
        if found:
            sounds[take.name] = _best(take, found)
    return sounds, _without_motion([file for file in files if file[0] not in used])


def _key(name: str) -> str:
    return safe_name(name).casefold()


def _told_by_fields(
    base: Path, pattern: str, takes: Sequence[MotionFile]
) -> tuple[dict[str, Path], list[Problem]]:
    has_suffix = Path(pattern).suffix.lower() in SUFFIXES
    # {name} is a path: it goes as many folders deep as the clips' own.
    everything = dict.fromkeys(
        pattern.replace("{name}", "/".join("*" * (take.key.count("/") + 1))) for take in takes
    )
    end = "" if has_suffix else ".*"
    found = [_sound_files(base, _FIELD.sub("*", each) + end) for each in everything]
    files = list(dict.fromkeys(file for some in found for file in some))
    if not files:
        raise _no_sound(base, pattern)
    index: dict[Path, list[Path]] = {}
    for path, _ in files:
        index.setdefault(path.with_suffix(""), []).append(path)
    sounds: dict[str, Path] = {}
    used: set[Path] = set()
    for take in takes:
        fields = {"subject": take.subject, "sentence": take.sentence, "name": take.key}
        told = _FIELD.sub(lambda found, f=fields: f[found[1]], pattern)  # type: ignore[misc]
        stem = base / Path(told).expanduser()
        stem = stem.with_suffix("") if has_suffix else stem
        used.add(stem)
        if stem in index:
            sounds[take.name] = _best(take, index[stem])
    left = [(path, relative) for path, relative in files if path.with_suffix("") not in used]
    return sounds, _without_motion(left)


def _sound_files(base: Path, pattern: str) -> list[tuple[Path, str]]:
    """Files with sound, and their paths from the first folder that varies, without suffix."""
    return [
        (path, relative[: -len(path.suffix)])
        for path, relative in matches(base, pattern)
        if path.suffix.lower() in SUFFIXES and path.is_file()
    ]


def _best(take: MotionFile, files: list[Path]) -> Path:
    stems = sorted({path.with_suffix("") for path in files})
    if len(stems) > 1:
        first, second = (min(f for f in files if f.with_suffix("") == s) for s in stems[:2])
        raise InputError(f"{first} and {second} are both the sound of {take.name}; remove one")
    return min(files, key=lambda path: (SUFFIXES.index(path.suffix.lower()), path.name))


def _without_motion(files: Sequence[tuple[Path, str]]) -> list[Problem]:
    """A clip each, however many files of its sound there are."""
    by_clip = {safe_name(relative): path for path, relative in files}
    return [
        Problem(name, "missing", f"no motion for the sound {path}")
        for name, path in sorted(by_clip.items())
    ]


def _no_sound(base: Path, pattern: str) -> InputError:
    return InputError(
        f"{base}: custom.audio {pattern!r} leads to no audio file; {what_is_in(base, pattern)}"
    )
