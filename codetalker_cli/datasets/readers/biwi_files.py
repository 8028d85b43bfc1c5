"""Locate BIWI's frames, templates and recordings, whether or not the archives were unpacked.

- ``faces/F1/e01.tar``      one vertex list per frame (frame_001.vl, …), in millimeters, 25 fps
- ``faces/F1/e01.tgz``      other data of the same sentence
- ``rigid_scans/F1.obj``    template and triangles of a subject
- ``videos/``, ``audio/``   speech: F1_e01.flv, F1_e01_cut.wav

The subject (F1) and the sentence (e01, or 01 if spoken neutrally) are parsed from the path of a
file: the names of its folders and archives, and its own name. If the path of an archive contains
both, the archive is opened only when its clip is read. Any other archive is opened only if it may
contain something that was not found elsewhere.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from codetalker_cli.audio import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from codetalker_cli.errors import DataError
from codetalker_cli.formats import archives, tar_members, vl
from codetalker_cli.formats.archives import FoundFile

SENTENCES = tuple(f"e{k:02d}" for k in range(1, 41))
"""The emotional sentences, which published work uses; 01 to 40 are their neutral versions."""

_SUBJECT = re.compile(r"[FM]\d+", re.IGNORECASE)
_SENTENCE = re.compile(r"e?\d\d", re.IGNORECASE)
_SEPARATORS = re.compile(r"[_\-\s]+")
_FACES, _TEMPLATES, _RECORDINGS = ("faces",), ("rigid",), ("audio", "wav", "video")
_UNUSED = "scan"  # raw scans: large, and not needed here
_KINDS = (*_FACES, *_TEMPLATES, *_RECORDINGS, _UNUSED)
_PACKED_SHARE = 0.85  # typical compressed size of a frame, as a fraction of its raw size


class Key(NamedTuple):
    """A subject and a sentence, each empty if the path of the file does not contain it."""

    subject: str
    sentence: str

    @property
    def clip(self) -> str:
        """The clip name, such as ``F1_e01``."""
        return f"{self.subject}_{self.sentence}"

    @classmethod
    def of(cls, file: FoundFile) -> "Key":
        """Parse the subject and the sentence from the path of a file."""
        subject = sentence = ""
        *above, file_name = file.parts
        words = [word for name in above for word in _words(name)]
        name_words = _words(file_name if file.is_archive else Path(file_name).stem)
        # The last word of a frame's name is the frame number, not a sentence.
        words += name_words[:-1] if _suffix(file) == vl.SUFFIX else name_words
        # The innermost name wins, so a later word replaces an earlier one.
        for word in words:
            if _SUBJECT.fullmatch(word):
                subject = word.upper()
            elif _SENTENCE.fullmatch(word):
                sentence = word.lower()
        return cls(subject, sentence)


@lru_cache(maxsize=4096)
def _words(part: str) -> tuple[str, ...]:
    return tuple(word for word in _SEPARATORS.split(archives.SUFFIX.sub("", part)) if word)


@dataclass(frozen=True)
class BiwiClip:
    """One source of the frames of a clip: a folder, a shared archive, or the clip's own archive.

    Attributes:
        files: The files of the frames, or only the clip's own archive.
        is_closed: Whether the source is the clip's own archive, which is not listed yet.
    """

    files: list[FoundFile]
    is_closed: bool

    @property
    def rank(self) -> tuple[int, str]:
        """The sort key among the sources of one clip; the smallest is the best."""
        # A plain .tar is read in place and is as complete as the download. A folder may have
        # been unpacked only in part. Compressed archives are slow to read.
        file = self.files[0]
        names = [part.lower() for part in file.parts if archives.SUFFIX.search(part)]
        if any(not name.endswith(".tar") for name in names):
            return 2, file.label
        return (0 if names else 1), file.label

    def frames(self) -> list[FoundFile]:
        """Return the files of the frames, in any order.

        Raises:
            DataError: The archive is damaged or unsafe.
        """
        if not self.is_closed:
            return self.files
        return [f for f in archives.list_archive(self.files[0]) if _suffix(f) == vl.SUFFIX]

    def n_frames(self, n_vertices: int) -> int:
        """Return the number of frames, estimated from the file size for a closed archive."""
        if not self.is_closed:
            return len(self.files)
        (file,) = self.files
        content = vl.n_bytes(n_vertices)
        try:
            size = archives.unpacked_size(file)
        except DataError:  # reported when the clip is read
            size = None
        if size is None:
            return max(1, round(file.size / (content * _PACKED_SHARE)))
        return max(1, size // tar_members.size_of(content))


@dataclass
class BiwiFiles:
    """The files that a download contains.

    Attributes:
        clips: All sources of the frames of each clip, best first.
        templates: The best template of each subject.
        recordings: The best recording of each clip.
        failed: The error for each subject whose own archive cannot be listed.
        n_unplaced: The number of frames whose path lacks the subject or the sentence.
    """

    clips: dict[Key, list[BiwiClip]] = field(default_factory=dict)
    templates: dict[str, FoundFile] = field(default_factory=dict)
    recordings: dict[Key, FoundFile] = field(default_factory=dict)
    failed: dict[str, DataError] = field(default_factory=dict)
    n_unplaced: int = 0

    def add(self, files: Iterable[FoundFile]) -> None:
        """Assign files to the attributes by their paths; files of other kinds are ignored."""
        frames: dict[tuple[Key, archives.Archive | None], list[FoundFile]] = {}
        for file in files:
            key, suffix = Key.of(file), _suffix(file)
            is_identified = bool(key.subject and key.sentence)
            if suffix in AUDIO_SUFFIXES or suffix in VIDEO_SUFFIXES:
                if is_identified:
                    self.recordings[key] = min(
                        self.recordings.get(key, file), file, key=_recording_rank
                    )
            elif suffix == ".obj":
                self._add_template(file)
            elif _is_in(file, *_TEMPLATES, *_RECORDINGS, _UNUSED):
                continue
            elif file.is_archive:
                if is_identified:
                    self.clips.setdefault(key, []).append(BiwiClip([file], True))
            elif suffix == vl.SUFFIX:
                if is_identified:
                    frames.setdefault((key, file.archive), []).append(file)
                else:
                    self.n_unplaced += 1
        for (key, _), clip_files in frames.items():
            self.clips.setdefault(key, []).append(BiwiClip(clip_files, False))

    def _add_template(self, file: FoundFile) -> None:
        stem = Path(file.name).stem
        if _SUBJECT.fullmatch(stem):
            subject = stem.upper()
            known = self.templates.get(subject, file)
            self.templates[subject] = min(known, file, key=_template_rank)

    def may_contribute(self, file: FoundFile, expected: Iterable[str]) -> bool:
        """Return whether an archive may contain something that has not been found yet.

        Args:
            file: The archive.
            expected: The subjects to look for if the path of the archive does not contain one.
        """
        key = Key.of(file)
        subjects = [key.subject] if key.subject else list(expected)
        keys = [
            Key(s, e) for s in subjects for e in ([key.sentence] if key.sentence else SENTENCES)
        ]
        missing = {
            _FACES: any(k not in self.clips for k in keys),
            _TEMPLATES: any(s not in self.templates for s in subjects),
            _RECORDINGS: any(k not in self.recordings for k in keys),
        }
        kinds = [kind for kind in missing if _is_in(file, *kind)]
        return any(missing[kind] for kind in kinds or missing)


def find_files(root: Path, expected: Iterable[str]) -> BiwiFiles:
    """Find the files in a folder, then in the archives that may contain what is still missing.

    Args:
        root: The folder of the download.
        expected: The subjects that the download should contain.

    Returns:
        The files by clip and by subject.

    Raises:
        InputError: A folder cannot be read.
        DataError: An archive that several subjects share is damaged or unsafe.
    """
    result = BiwiFiles()
    files = list(archives.walk(root))
    result.add(file for file in files if not _holds_several_clips(file))
    archives_left = [file for file in files if _holds_several_clips(file)]
    for file in sorted(archives_left, key=lambda f: (not f.name.lower().endswith(".tar"), f.parts)):
        if not result.may_contribute(file, expected):
            continue
        failed: list[tuple[FoundFile, DataError]] = []
        result.add(archives.contents(file, _holds_several_clips, failed))
        for archive, error in failed:
            subject = Key.of(archive).subject
            if not subject or _is_in(archive, *_TEMPLATES, *_RECORDINGS):
                raise error
            result.failed.setdefault(subject, error)
    for clips in result.clips.values():
        clips.sort(key=lambda clip: clip.rank)
    if not result.clips and result.failed:
        raise next(iter(result.failed.values()))
    return result


def _holds_several_clips(file: FoundFile) -> bool:
    """Return whether a file is an archive that must be searched, not the frames of one clip."""
    if not file.is_archive or _is_in(file, _UNUSED):
        return False
    key = Key.of(file)
    return not (key.subject and key.sentence) or _is_in(file, *_RECORDINGS, *_TEMPLATES)


def _is_in(file: FoundFile, *starts: str) -> bool:
    """Return whether the innermost folder or archive of a known kind has one of these prefixes.

    Folders further out are ignored, because their names can mislead: the frames in
    ``audiovisual_corpus/faces`` are not audio.
    """
    places = file.parts if file.is_archive else file.parts[:-1]
    names = (part.lower() for part in reversed(places))
    return next((name for name in names if name.startswith(_KINDS)), "").startswith(starts)


def _suffix(file: FoundFile) -> str:
    return Path(file.name).suffix.lower()


def _recording_rank(file: FoundFile) -> tuple:
    """Return the sort key among recordings of one clip; the smallest is the best."""
    # Audio is better than video. A recording that was cut to the motion is better than the
    # uncut one.
    suffix, stem = _suffix(file), Path(file.name).stem.lower()
    return (
        suffix != ".wav",
        suffix in VIDEO_SUFFIXES,
        not stem.endswith("_cut"),
        len(file.parts),
        file.parts,
    )


def _template_rank(file: FoundFile) -> tuple:
    return not _is_in(file, *_TEMPLATES), len(file.parts), file.parts
