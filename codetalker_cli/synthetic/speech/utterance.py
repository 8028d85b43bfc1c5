"""What speaking one sentence gives, and the small interface that every engine has."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from codetalker_cli.synthetic.speech.phones import Phone


@dataclass(frozen=True)
class Utterance:
    """One spoken sentence.

    Attributes:
        samples: (n,) float32 mono, within [-1, 1].
        sample_rate: Hz.
        text: What was said.
        voice: The engine's name of the voice.
        phones: Phone times of the engine itself, or None where it gives none.
    """

    samples: np.ndarray
    sample_rate: int
    text: str
    voice: str
    phones: list[Phone] | None = None


class Engine(Protocol):
    """What a text-to-speech engine offers."""

    name: str

    @property
    def voices(self) -> list[str]:
        """The voices' names."""
        ...

    def say(self, text: str, voice: str, speed: float = 1.0, seed: int = 0) -> Utterance:
        """Speak one sentence; the same arguments give the same samples."""
        ...
