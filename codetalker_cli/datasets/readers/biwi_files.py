"""Where BIWI's frames, templates and recordings are, however far the download was unpacked.

- ``faces/F1/e01.tar``      a vertex list a frame, frame_001.vl and on, in millimeters; 25 fps
- ``faces/F1/e01.tgz``      something else of the same sentence
- ``rigid_scans/F1.obj``    template and triangles of each subject
- ``videos/``, ``audio/``   the speech: F1_e01.flv, F1_e01_cut.wav

A subject (F1) and a sentence (e01; neutral: 01) are told by the names that lead to a file: of
folders, of archives, its own. An archive whose own path tells both is not looked into before its
clip is opened; any other only if something is lacking that it may hold.
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
"""The emotional ones, which the field uses; 01 to 40 are the same ones spoken neutrally."""

_SUBJECT = re.compile(r"[FM]\d+", re.IGNORECASE)
_SENTENCE = re.compile(r"e?\d\d", re.IGNORECASE)
_SEPARATORS = re.compile(r"[_\-\s]+")
_FACES, _TEMPLATES, _RECORDINGS = ("faces",), ("rigid",), ("audio", "wav", "video")
_USELESS = "scan"  # the raw scans: large, and nothing here needs them
_KINDS = (*_FACES, *_TEMPLATES, *_RECORDINGS, _USELESS)
_PACKED_SHARE = 0.85  # of its size that a frame takes in a compressed archive


class Key(NamedTuple):
    """A subject and a sentence; empty where not told."""

    subject: str
    sentence: str

    @property
    def clip(self) -> str:
        """Name of the clip."""
        return f"{self.subject}_{self.sentence}"

    @classmethod
    def of(cls, file: FoundFile) -> "Key":
        """What the names tell that lead to a file; the last one decides."""
        subject = sentence = ""
        *above, file_name = file.parts
        words = [word for name in above for word in _words(name)]
        name_words = _words(file_name if file.is_archive else Path(file_name).stem)
        # The last word of a frame's name is its number.
        words += name_words[:-1] if _suffix(file) == vl.SUFFIX else name_words
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
    """One place that has frames of a clip: folders, an archive of more, or an archive of its own.

    Attributes:
        files: The frames; of an archive of its own, only that archive.
        is_closed: Whether it is such an archive, not looked into yet.
    """

    files: list[FoundFile]
    is_closed: bool

    @property
    def rank(self) -> tuple[int, str]:
        """Smaller is better: what lies uncompressed in an archive is as whole as it came."""
        file = self.files[0]
        names = [part.lower() for part in file.parts if archives.SUFFIX.search(part)]
        if any(not name.endswith(".tar") for name in names):
            return 2, file.label
        return (0 if names else 1), file.label

    def frames(self) -> list[FoundFile]:
        """Its frames, in any order.

        Raises:
            DataError: It is an archive that is damaged or hostile.
        """
        if not self.is_closed:
            return self.files
        return [f for f in archives.list_archive(self.files[0]) if _suffix(f) == vl.SUFFIX]

    def n_frames(self, n_vertices: int) -> int:
        """How many frames; a guess from the size of an archive that was not looked into."""
        if not self.is_closed:
            return len(self.files)
        (file,) = self.files
        content = vl.n_bytes(n_vertices)
        try:
            size = archives.unpacked_size(file)
        except DataError:  # told when the clip itself is opened
            size = None
        if size is None:
            return max(1, round(file.size / (content * _PACKED_SHARE)))
        return max(1, size // tar_members.size_of(content))


@dataclass
class BiwiFiles:
    """What a download holds.

    Attributes:
        clips: Subject and sentence → all places that have its frames, the best first.
        templates: Subject → the best template.
        recordings: Subject and sentence → the best recording.
        failed: Subject → why an archive of this subject alone could not be listed.
        n_unplaced: Frames whose names tell no subject or no sentence.
    """

    clips: dict[Key, list[BiwiClip]] = field(default_factory=dict)
    templates: dict[str, FoundFile] = field(default_factory=dict)
    recordings: dict[Key, FoundFile] = field(default_factory=dict)
    failed: dict[str, DataError] = field(default_factory=dict)
    n_unplaced: int = 0

    def add(self, files: Iterable[FoundFile]) -> None:
        """Sort files into the above; each goes where its name says, or nowhere."""
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
            elif _is_in(file, *_TEMPLATES, *_RECORDINGS, _USELESS):
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
        """Whether an archive may hold something that is lacking so far."""
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
    """Look through folders, then through the archives that may hold what they lack.

    Args:
        root: The folder.
        expected: Subjects that there should be.

    Raises:
        InputError: A folder cannot be read.
        DataError: An archive is damaged or hostile, and is not one subject's alone.
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
    """Whether it is an archive that is not of the frames of one clip alone."""
    if not file.is_archive or _is_in(file, _USELESS):
        return False
    key = Key.of(file)
    return not (key.subject and key.sentence) or _is_in(file, *_RECORDINGS, *_TEMPLATES)


def _is_in(file: FoundFile, *starts: str) -> bool:
    """Whether the nearest folder or archive that says what it holds starts so: ``rigid_scans``.

    What lies further above may be named after anything: ``audiovisual_corpus/faces``.
    """
    places = file.parts if file.is_archive else file.parts[:-1]
    names = (part.lower() for part in reversed(places))
    return next((name for name in names if name.startswith(_KINDS)), "").startswith(starts)


def _suffix(file: FoundFile) -> str:
    return Path(file.name).suffix.lower()


def _recording_rank(file: FoundFile) -> tuple:
    """A recording is better than a video, the part that belongs to the motion than the whole."""
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
