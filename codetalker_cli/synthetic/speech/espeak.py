"""Synthesize formant speech with phone times, and convert text to IPA, with espeak-ng.

The PyPI package `espeakng-loader` includes the library and its data, so pip is enough to install
it. Each call runs `espeak_worker.py` in a new process; the reasons are given there. The voices
sound robotic and suit quick experiments. Use `kokoro` for training data.
"""

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.errors import DataError, MissingDependencyError
from codetalker_cli.resources import install_command
from codetalker_cli.synthetic.speech.languages import ENGLISH, ESPEAK_ACCENTS, language_of_accent
from codetalker_cli.synthetic.speech.phones import (
    SILENCE,
    Phone,
    arpabet_of_ipa,
    fill_with_silence,
    join_consonants,
)
from codetalker_cli.synthetic.speech.utterance import Utterance

_WORKER = Path(__file__).with_name("espeak_worker.py")
_TIMEOUT_SECONDS = 60
_WORDS_PER_MINUTE = 165  # the rate at speed 1.0
# The events of other languages than English are corrected with the waveform of 215 p, b and m
# between vowels: the events follow the sounds by 10 ms, and the events of voiceless stops begin
# another 30 ms late, at the end of the closure. After that, the centers of 1,021 closures in 27
# minutes of speech are -8 to -1 ms (median of each language) from the centers of the labels.
_LATENESS_SECONDS = 0.01
_CLOSURE_SECONDS = 0.03
_VOICELESS_STOPS = ("P", "T", "K", "CH")
_VARIANTS = ("f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m5", "m7", "klatt2", "klatt4")


def is_available() -> bool:
    """Return whether `espeakng-loader` is installed."""
    return importlib.util.find_spec("espeakng_loader") is not None


def ipa(texts: list[str], accent: str = "us", tones: bool = False) -> list[str]:
    """Return the IPA of each text, with stress marks.

    "^" joins the two symbols of a diphthong or an affricate.

    Args:
        texts: The texts; punctuation is dropped.
        accent: A key of `ESPEAK_ACCENTS`.
        tones: Whether to return the phoneme names of espeak instead, which contain whole tones
            ("55"); the IPA contains only their first digit.

    Raises:
        MissingDependencyError: `espeakng-loader` is not installed.
        DataError: espeak-ng failed.
    """
    request = {"texts": texts, "voice": ESPEAK_ACCENTS[accent], "speak": False, "ipa": not tones}
    answer, _ = _ask(request)
    return [str(phonemes) for phonemes in answer["phonemes"]]


def pronounce(word: str) -> list[str]:
    """Return the American pronunciation of a word in ARPABET; empty if espeak-ng has none."""
    return arpabet_of_ipa(ipa([word])[0])


class EspeakEngine:
    """The espeak-ng engine, which provides phone times; voices are named like "us-f2", "de-m1"."""

    name = "espeak"
    sample_rate = 22050

    def __init__(self) -> None:
        _loader()

    @property
    def voices(self) -> list[str]:
        """The names of the voices, each an accent and a variant."""
        return [f"{accent}-{variant}" for accent in ESPEAK_ACCENTS for variant in _VARIANTS]

    def language_of(self, voice: str) -> str:
        """Return the language of a voice."""
        return language_of_accent(voice.split("-")[0])

    def say(self, text: str, voice: str, speed: float = 1.0, seed: int = 0) -> Utterance:
        """Synthesize one sentence; the same arguments give the same samples.

        Args:
            text: The text, in the language of the voice.
            voice: One of `voices`.
            speed: The speed, where 1 is 165 words per minute.
            seed: The random seed for pitch, pitch range and noise.

        Raises:
            DataError: The voice is unknown, or espeak-ng failed.
        """
        if voice not in self.voices:
            raise DataError(
                f"voice {voice!r} of espeak is unknown; use one of {', '.join(self.voices)}"
            )
        accent, variant = voice.split("-")
        rng = np.random.default_rng([seed, 11])
        request = {
            "texts": [text],
            "voice": f"{ESPEAK_ACCENTS[accent]}+{variant}",
            "rate": round(_WORDS_PER_MINUTE * speed),
            "pitch": int(rng.integers(35, 66)),
            "range": int(rng.integers(35, 76)),
            "seed": int(rng.integers(1, 2**31)),
            "speak": True,
        }
        answer, raw = _ask(request)
        samples = np.frombuffer(raw, dtype="<i2").astype(np.float32) / 32768
        if len(samples) == 0 or len(samples) != answer["n_samples"]:
            raise DataError(f"espeak-ng produced no audio, or incomplete audio, for {text!r}")
        rate = int(answer["sample_rate"])
        phones = _phones(answer["events"], rate, len(samples) / rate, self.language_of(voice))
        return Utterance(samples, rate, text, voice, phones)


def _phones(
    events: list[list[Any]], rate: int, duration_seconds: float, language: str
) -> list[Phone]:
    """Convert phone events to phones.

    An event with several phones, such as "ɑːɹ", is divided evenly. An empty event is a pause. In
    languages other than English, an event without a phone of its own, such as "ʲ" or a change of
    language "(en)", belongs to the phone before it.
    """
    late = 0.0 if language == ENGLISH else _LATENESS_SECONDS
    starts = [max(0.0, sample / rate - late) for sample, _ in events] + [duration_seconds]
    phones: list[Phone] = []
    for i, (_, name) in enumerate(events):
        labels = [] if name.startswith("(") else arpabet_of_ipa(name, language)
        if not labels and name and phones and language != ENGLISH:
            phones[-1] = replace(phones[-1], end_seconds=starts[i + 1])
            continue
        labels = labels or [SILENCE]
        width = (starts[i + 1] - starts[i]) / len(labels)
        for k, label in enumerate(labels):
            phones.append(Phone(label, starts[i] + k * width, starts[i] + (k + 1) * width))
    if language != ENGLISH:
        phones = _include_closures(phones)
        phones = join_consonants(fill_with_silence(phones, duration_seconds))
    return fill_with_silence(phones, duration_seconds)


def _include_closures(phones: list[Phone]) -> list[Phone]:
    """Let voiceless stops after another phone begin with their closure."""
    included: list[Phone] = []
    for phone in phones:
        last = included[-1] if included else None
        if last and last.label != SILENCE and phone.label in _VOICELESS_STOPS:
            length = last.end_seconds - last.start_seconds
            start = phone.start_seconds - min(_CLOSURE_SECONDS, length / 2)
            included[-1] = replace(last, end_seconds=start)
            phone = replace(phone, start_seconds=start)
        included.append(phone)
    return included


def _loader() -> Any:
    try:
        import espeakng_loader
    except ImportError as error:
        raise MissingDependencyError(
            "espeak needs the package espeakng-loader, which is not installed; run "
            f"`{install_command('espeak')}`"
        ) from error
    return espeakng_loader


def _ask(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Send a request to a new worker; return its JSON response and the bytes that follow it."""
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
        raise DataError(f"espeak-ng did not respond within {_TIMEOUT_SECONDS} s") from error
    head, _, rest = process.stdout.partition(b"\n")
    try:
        answer = json.loads(head)
    except ValueError as error:
        problem = process.stderr.decode(errors="replace").strip().splitlines()[-1:] or [
            "no message"
        ]
        raise DataError(
            f"espeak-ng exited with status {process.returncode}: {problem[0]}"
        ) from error
    if "error" in answer:
        raise DataError(f"espeak-ng: {answer['error']}")
    return answer, rest
