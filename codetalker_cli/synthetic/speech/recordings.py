"""Read recordings of real speech with transcripts, and align them to get phone times.

The transcript of a recording is the first of these that exists:
 1. NAME.json next to the recording. Its "phones" are used as they are; if it contains only "text",
    the recording is aligned.
 2. NAME.txt or NAME.lab next to the recording, with plain words.
 3. A LibriSpeech list `*.trans.txt` in the same folder ("ID WORDS").
 4. An LJSpeech `metadata.csv` in the same folder or a folder above ("id|text|text in words").

Alignments are cached by the content of the recording and its transcript. The folder of the
recordings is not modified unless `write_beside` is set.
"""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from codetalker_cli.audio import AUDIO_SUFFIXES
from codetalker_cli.errors import DataError, InputError, MissingDependencyError
from codetalker_cli.failures import error_of_item
from codetalker_cli.progress import Progress
from codetalker_cli.resources import cache_dir
from codetalker_cli.synthetic.speech import alignment
from codetalker_cli.synthetic.speech.clips import (
    Failure,
    SpeechSet,
    SpokenClip,
    read_description,
    write_description,
)
from codetalker_cli.synthetic.speech.phones import LABELS, Phone, fill_with_silence
from codetalker_cli.text_files import TABLE_BYTES, read_text

logger = logging.getLogger(__name__)

_TEXT_SUFFIXES = (".txt", ".lab")
_FOLDERS_WITHOUT_NAME = frozenset({"wavs", "wav", "audio", "clips", "flac", "mp3"})
_OVERRUN_SECONDS = 0.5  # tolerance for given phones that end after the recording
_ALIGNMENT_VERSION = 1  # increase when `alignment.align` gives different times


@dataclass(frozen=True)
class _TranscriptList:
    """A file with the transcripts of many recordings."""

    path: Path
    texts: dict[str, str]
    is_librispeech: bool

    def covers(self, recording: Path) -> bool:
        """Return whether the list contains the transcript of a recording."""
        if recording.stem not in self.texts:
            return False
        folder = self.path.parent
        return recording.parent == folder or (
            not self.is_librispeech and folder in recording.parents
        )


def read_recordings(
    folder: str | Path,
    progress: Progress | None = None,
    cache: str | Path | None = None,
    write_beside: bool = False,
) -> SpeechSet:
    """Read all recordings (wav, flac, ogg, mp3) in a folder and its subfolders, with phone times.

    Args:
        folder: The folder of recordings and transcripts, as described at the top of this module.
        progress: A callback for the number of recordings done and their total.
        cache: The folder for cached alignments; None uses the default of `cache_dir`.
        write_beside: Whether to also write NAME.json next to each aligned recording.

    Returns:
        The clips ordered by path, and every unusable recording or transcript with the reason.

    Raises:
        InputError: The folder is missing or contains no recordings.
        DataError: A list of transcripts is malformed.
        MissingDependencyError: pocketsphinx is needed but not installed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a folder of recordings")
    recordings = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    )
    if not recordings:
        raise InputError(f"{folder}: contains no recordings ({', '.join(AUDIO_SUFFIXES)})")
    lists = _transcript_lists(folder)
    result = SpeechSet(failures=_find_unmatched(lists, recordings))
    recording_of_name: dict[str, Path] = {}
    alignments = cache_dir(cache) / "alignments"
    for count, recording in enumerate(recordings, 1):
        name = "-".join(recording.relative_to(folder).with_suffix("").parts)
        try:
            if recording_of_name.setdefault(name, recording) != recording:
                raise DataError(
                    f"its name {name} is also the name of {recording_of_name[name]}; rename one of "
                    "them"
                )
            result.clips.append(_read_clip(name, recording, lists, alignments, write_beside))
        except MissingDependencyError:
            raise  # it would be the same for every recording
        except Exception as exception:
            error = error_of_item(exception)
            logger.warning("%s was skipped: %s", recording, error)
            result.failures.append(Failure(str(recording), str(error)))
        if progress:
            progress(count, len(recordings))
    return result


def _read_clip(
    name: str, recording: Path, lists: list[_TranscriptList], alignments: Path, write_beside: bool
) -> SpokenClip:
    """Return the clip of one recording; raise a CodeTalkerError if it is unusable."""
    json_path = recording.with_suffix(".json")
    description = read_description(json_path) if json_path.exists() else {}
    transcript_list = next((entry for entry in lists if entry.covers(recording)), None)
    speaker = str(description.get("speaker") or _guess_speaker(recording, transcript_list))
    text = str(description.get("text") or description.get("transcript") or "")
    if description.get("phones"):
        phones = _check_phones(description["phones"], recording, json_path)
        return SpokenClip(name, recording, speaker, text, phones)
    text = text or _transcript(recording, transcript_list)
    phones = _align_or_load(recording, text, alignments)
    if write_beside:
        write_description(
            json_path, {"text": text, "speaker": speaker, "aligner": "pocketsphinx"}, phones
        )
    return SpokenClip(name, recording, speaker, text, phones)


def _transcript(recording: Path, transcript_list: _TranscriptList | None) -> str:
    for suffix in _TEXT_SUFFIXES:
        path = recording.with_suffix(suffix)
        if path.exists():
            try:
                return " ".join(read_text(path, encoding="utf-8-sig").split())
            except (OSError, ValueError) as error:
                raise DataError(f"{path}: cannot be read as a transcript ({error})") from error
    if transcript_list:
        return transcript_list.texts[recording.stem]
    raise DataError(
        f"no transcript was found; add {recording.stem}.txt, .lab or .json next to the recording, "
        "or a line in *.trans.txt or metadata.csv"
    )


def _align_or_load(recording: Path, text: str, alignments: Path) -> list[Phone]:
    """Return the cached phones of a recording, or align it and cache the result."""
    digest = hashlib.sha256(recording.read_bytes())
    digest.update(f"\0{text}\0{_ALIGNMENT_VERSION}".encode())
    cached = alignments / f"{digest.hexdigest()[:32]}.json"
    if cached.exists():
        phones: list[Phone] = read_description(cached)["phones"]
        return phones
    from codetalker_cli import audio

    phones = alignment.align(audio.load(recording), text)
    alignments.mkdir(parents=True, exist_ok=True)
    write_description(cached, {"text": text, "recording": recording.name}, phones)
    phones = read_description(cached)["phones"]
    return phones


def _check_phones(phones: list[Phone], recording: Path, source: Path) -> list[Phone]:
    """Check the labels and times of phones from a .json file, and fill gaps with silence."""
    from codetalker_cli import audio

    unknown = sorted({phone.label for phone in phones} - LABELS)
    if unknown:
        raise DataError(
            f"{source}: phone {unknown[0]!r} is unknown; expected ARPABET labels or SIL"
        )
    duration = len(audio.load(recording)) / audio.SAMPLE_RATE
    last = max(phone.end_seconds for phone in phones)
    if last > duration + _OVERRUN_SECONDS:
        raise DataError(
            f"{source}: the phones end at {last:.2f} s, but the recording ends at "
            f"{duration:.2f} s; they seem to belong to another recording"
        )
    return fill_with_silence(phones, duration)


def _guess_speaker(recording: Path, transcript_list: _TranscriptList | None) -> str:
    if transcript_list and transcript_list.is_librispeech:
        return recording.stem.split("-")[0]
    folder = recording.parent
    if folder.name.lower() in _FOLDERS_WITHOUT_NAME:
        folder = folder.parent
    return folder.resolve().name


def _transcript_lists(folder: Path) -> list[_TranscriptList]:
    lists = []
    for path in sorted(folder.rglob("*.trans.txt")):
        lists.append(_TranscriptList(path, _split_lines(path, None), is_librispeech=True))
    for path in sorted(folder.rglob("metadata.csv")):
        lists.append(_TranscriptList(path, _split_lines(path, "|"), is_librispeech=False))
    return lists


def _split_lines(path: Path, separator: str | None) -> dict[str, str]:
    """Return the transcript (the last non-empty column) of each recording, by its stem."""
    texts = {}
    try:
        lines = read_text(path, TABLE_BYTES, encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as transcripts ({error})") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, *columns = line.split(separator, 1) if separator is None else line.split(separator)
        columns = [column.strip() for column in columns if column.strip()]
        if not columns:
            expected = "ID WORDS" if separator is None else "id|text or id|text|text in words"
            raise DataError(f"{path}: line {number}: expected {expected}, found {line[:60]!r}")
        stem = Path(name.strip())
        texts[stem.stem if stem.suffix.lower() in AUDIO_SUFFIXES else stem.name] = columns[-1]
    return texts


def _find_unmatched(lists: list[_TranscriptList], recordings: list[Path]) -> list[Failure]:
    """Return a failure for each listed transcript without a recording."""
    failures = []
    for entry in lists:
        present = {path.stem for path in recordings if entry.covers(path)}
        for stem in entry.texts:
            if stem not in present:
                reason = f"listed in {entry.path}, but no such recording exists"
                failures.append(Failure(stem, reason))
    return failures
