"""Define the interface of the text-to-speech engines and their output."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from codetalker_cli.synthetic.speech.phones import Phone


@dataclass(frozen=True)
class Utterance:
    """A synthesized sentence.

    Attributes:
        samples: (n,) float32 mono, within [-1, 1].
        sample_rate: The sample rate in hertz.
        text: The text that was synthesized.
        voice: The name of the voice.
        phones: The timed phones, or None if the engine does not provide them.
    """

    samples: np.ndarray
    sample_rate: int
    text: str
    voice: str
    phones: list[Phone] | None = None


class Engine(Protocol):
    """A text-to-speech engine."""

    name: str

    @property
    def voices(self) -> list[str]:
        """The names of the voices."""
        ...

    def language_of(self, voice: str) -> str:
        """Return the language of a voice, one of `languages.LANGUAGES`."""
        ...

    def say(self, text: str, voice: str, speed: float = 1.0, seed: int = 0) -> Utterance:
        """Synthesize one sentence; the same arguments give the same samples."""
        ...
