"""Define spoken clips: recordings with transcripts and phone times, stored in a .json file each.

NAME.json contains {"text", "speaker", "engine", "speed", "aligner", "phones": [{"phone", "start",
"end", "word"}, ...]}. The phones are contiguous ARPABET labels with times in seconds. All other
keys are optional.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli import audio
from codetalker_cli.errors import DataError
from codetalker_cli.files import atomic_path
from codetalker_cli.synthetic.speech.phones import Phone
from codetalker_cli.text_files import read_json


@dataclass(frozen=True)
class SpokenClip:
    """A recording with its transcript and phone times.

    Attributes:
        name: The name, which is unique within its set.
        audio_path: The path of the recording.
        speaker: The name of the speaker, or of the voice for synthetic speech.
        text: The transcript.
        phones: The contiguous phones from 0 to the end.
    """

    name: str
    audio_path: Path
    speaker: str
    text: str
    phones: list[Phone]

    def samples(self) -> np.ndarray:
        """Read the recording as (n,) float32 mono samples at 16 kHz.

        Raises:
            InputError: The recording cannot be read.
        """
        return audio.load(self.audio_path)


@dataclass(frozen=True)
class Failure:
    """The name of an unusable clip, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class SpeechSet:
    """The usable clips, ordered by name or number, and the unusable ones."""

    clips: list[SpokenClip] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def write_description(path: Path, description: dict[str, Any], phones: Iterable[Phone]) -> None:
    """Write the .json file of a clip atomically."""
    entry = {**description, "phones": [phone.to_json() for phone in phones]}
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(entry, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_description(path: Path) -> dict[str, Any]:
    """Read the .json file of a clip.

    Returns:
        The content, with "phones" as a list of `Phone`, which is empty if the file has none.

    Raises:
        DataError: The file is unreadable or malformed.
    """
    try:
        entry = read_json(path)
        entry["phones"] = [Phone.from_json(phone) for phone in entry.get("phones") or []]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: invalid description of a clip ({type(error).__name__}: {error}); "
            'expected {"text", "phones": [{"phone", "start", "end", "word"}]}'
        ) from error
    description: dict[str, Any] = entry
    return description
