"""Spoken clips: a recording with its text and phone times, and the .json beside it.

NAME.json: {"text", "speaker", "engine", "speed", "aligner", "phones": [{"phone", "start", "end",
"word"}, ...]}; times in seconds, phones in ARPABET, contiguous. Only "phones" is needed to read it.
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


@dataclass(frozen=True)
class SpokenClip:
    """One recording with what is said when.

    Attributes:
        name: Unique within its set.
        audio_path: The recording.
        speaker: Who speaks (a voice's name for synthetic speech).
        text: What is said.
        phones: Contiguous, from 0 to the end.
    """

    name: str
    audio_path: Path
    speaker: str
    text: str
    phones: list[Phone]

    def samples(self) -> np.ndarray:
        """(n,) float32 mono at 16 kHz.

        Raises:
            InputError: The recording cannot be read.
        """
        return audio.load(self.audio_path)


@dataclass(frozen=True)
class Failure:
    """A clip that could not be used, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class SpeechSet:
    """Clips, ordered by name or number, and those that had to be left out."""

    clips: list[SpokenClip] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def write_description(path: Path, description: dict[str, Any], phones: Iterable[Phone]) -> None:
    """Write the .json of a clip, whole or not at all."""
    entry = {**description, "phones": [phone.to_json() for phone in phones]}
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(entry, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_description(path: Path) -> dict[str, Any]:
    """A clip's .json as a dict, its "phones" as a list of `Phone` (empty where it has none).

    Raises:
        DataError: It is not such a file; the message names it.
    """
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        entry["phones"] = [Phone.from_json(phone) for phone in entry.get("phones") or []]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not a clip's description ({type(error).__name__}: {error}); "
            'expected {"text", "phones": [{"phone", "start", "end", "word"}]}'
        ) from error
    description: dict[str, Any] = entry
    return description
