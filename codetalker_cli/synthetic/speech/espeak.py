"""espeak-ng through the PyPI package `espeakng-loader`: formant speech with phone times, and text →
IPA.

The package brings the library and its data, so that pip alone installs it. Each call runs
`espeak_worker.py` in a process of its own (see there). The voice is robotic: good for trying things
out; `kokoro` is the engine to train on.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.errors import DataError, MissingDependencyError
from codetalker_cli.synthetic.speech.phones import SILENCE, Phone, arpabet_of_ipa, fill_with_silence
from codetalker_cli.synthetic.speech.utterance import Utterance

_WORKER = Path(__file__).with_name("espeak_worker.py")
_TIMEOUT_SECONDS = 60
_WORDS_PER_MINUTE = 165  # espeak's rate at speed 1.0
_LANGUAGES = {"us": "en-us", "gb": "gmw/en"}
_VARIANTS = ("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m5", "m7", "klatt2", "klatt4")


def is_available() -> bool:
    """Whether `espeakng-loader` is installed."""
    return importlib.util.find_spec("espeakng_loader") is not None


def ipa(texts: list[str], accent: str = "us") -> list[str]:
    """IPA of each text, stress marked, diphthongs and affricates tied by "^".

    Args:
        texts: Pieces without punctuation (it would be lost).
        accent: "us" or "gb".

    Raises:
        MissingDependencyError: `espeakng-loader` is not installed.
        DataError: The library failed.
    """
    request = {"texts": texts, "voice": _LANGUAGES[accent], "speak": False}
    answer, _ = _ask(request)
    return [str(phonemes) for phonemes in answer["phonemes"]]


def pronounce(word: str) -> list[str]:
    """ARPABET of one word after espeak's American rules; [] where it makes nothing of it."""
    return arpabet_of_ipa(ipa([word])[0])


class EspeakEngine:
    """Text → speech with phone times. Voices are named ACCENT-VARIANT, e.g. "us-f2"."""

    name = "espeak"
    sample_rate = 22050

    def __init__(self) -> None:
        _loader()

    @property
    def voices(self) -> list[str]:
        """The names that `say` takes."""
        return [f"{accent}-{variant}" for accent in _LANGUAGES for variant in _VARIANTS]

    def say(self, text: str, voice: str, speed: float = 1.0, seed: int = 0) -> Utterance:
        """Speak one sentence.

        Args:
            text: English text.
            voice: One of `voices`.
            speed: 1 is 165 words a minute.
            seed: Chooses pitch, liveliness and noise; same arguments, same samples.

        Raises:
            DataError: An unknown voice, or the library failed.
        """
        if voice not in self.voices:
            raise DataError(f"espeak has no voice {voice!r}; it has {', '.join(self.voices)}")
        accent, variant = voice.split("-")
        rng = np.random.default_rng([seed, 11])
        request = {
            "texts": [text],
            "voice": f"{_LANGUAGES[accent]}+{variant}",
            "rate": round(_WORDS_PER_MINUTE * speed),
            "pitch": int(rng.integers(35, 66)),
            "range": int(rng.integers(35, 76)),
            "seed": int(rng.integers(1, 2**31)),
            "speak": True,
        }
        answer, raw = _ask(request)
        samples = np.frombuffer(raw, dtype="<i2").astype(np.float32) / 32768
        if len(samples) == 0 or len(samples) != answer["n_samples"]:
            raise DataError(f"espeak gave no sound for {text!r}")
        rate = int(answer["sample_rate"])
        phones = _phones(answer["events"], rate, len(samples) / rate)
        return Utterance(samples, rate, text, voice, phones)


def _phones(events: list[list[Any]], rate: int, duration_seconds: float) -> list[Phone]:
    """Phone events → phones; a pair such as "ɑːɹ" is shared evenly, an empty event is a pause."""
    starts = [sample / rate for sample, _ in events] + [duration_seconds]
    phones: list[Phone] = []
    for i, (_, name) in enumerate(events):
        labels = arpabet_of_ipa(name) or [SILENCE]
        width = (starts[i + 1] - starts[i]) / len(labels)
        for k, label in enumerate(labels):
            phones.append(Phone(label, starts[i] + k * width, starts[i] + (k + 1) * width))
    return fill_with_silence(phones, duration_seconds)


def _loader() -> Any:
    try:
        import espeakng_loader
    except ImportError as error:
        raise MissingDependencyError(
            "espeak needs the package espeakng-loader, which is not installed: "
            "pip install 'codetalker-cli[espeak]'"
        ) from error
    return espeakng_loader


def _ask(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """One request to a fresh worker: its answer, and the bytes after it."""
    loader = _loader()
    request["library"], request["data"] = loader.get_library_path(), loader.get_data_path()
    try:
        process = subprocess.run(
            [sys.executable, "-I", str(_WORKER)],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"espeak-ng did not answer within {_TIMEOUT_SECONDS} s") from error
    head, _, rest = process.stdout.partition(b"\n")
    try:
        answer = json.loads(head)
    except ValueError as error:
        problem = process.stderr.decode(errors="replace").strip().splitlines()[-1:] or [
            "no message"
        ]
        raise DataError(
            f"espeak-ng ended with status {process.returncode}: {problem[0]}"
        ) from error
    if "error" in answer:
        raise DataError(f"espeak-ng: {answer['error']}")
    return answer, rest
