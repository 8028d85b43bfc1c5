"""Forced alignment: a recording and its words → when each phone is spoken, by pocketsphinx in two
passes.

The first pass places the words, the second the phones inside them. pocketsphinx brings its acoustic
model and CMUdict; a word that the dictionary lacks is pronounced by espeak-ng where that is
installed. English only.

Times are multiples of 10 ms. In 22 minutes of synthetic speech, 91 % of 566 bilabials between
vowels show a closure in the waveform (a dip of 9 dB between 0.6 and 4.5 kHz) near their label; the
label starts 0 ms from it in the median, with a median deviation of 8 ms.
"""

import importlib.util
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.errors import DataError, MissingDependencyError
from codetalker_cli.synthetic.speech import espeak
from codetalker_cli.synthetic.speech.phones import LABELS, SILENCE, Phone, fill_with_silence

_FRAME_SECONDS = 0.01
_PADDING_SECONDS = 0.2  # of silence at both ends; without it the first and last phone often fail
_PEAK = 0.7
_DITHER = 1e-4  # digital silence has no spectrum to speak of
_SEARCH = {"cmn": "batch", "bestpath": False, "ds": 1, "topn": 4, "maxhmmpf": -1}
# The default beams lose the path on most sentences; the later ones are tried where the first fails.
_BEAMS = ((1e-80, 1e-80), (1e-120, 1e-120), (1e-60, 1e-40), (1e-200, 1e-200))
# Acoustic score a frame of the spoken phones. Right transcripts gave -21 to -6, under white noise
# at 10 dB down to -35; another sentence's words -75 to -46, where they gave a path at all.
WORST_FIT = -40.0
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*'?")


class AlignmentError(DataError):
    """One recording could not be aligned; the message says why."""


def is_available() -> bool:
    """Whether pocketsphinx is installed."""
    return importlib.util.find_spec("pocketsphinx") is not None


def align(samples: np.ndarray, text: str, worst_fit: float = WORST_FIT) -> list[Phone]:
    """When each phone of a text is spoken.

    Args:
        samples: (n,) float32 mono at 16 kHz, at most a few minutes.
        text: What is said, in English; punctuation and case do not matter.
        worst_fit: Mean acoustic score a frame under which the words are taken to be other ones.

    Returns:
        Contiguous phones from 0 to the end of the recording, pauses as SIL.

    Raises:
        MissingDependencyError: pocketsphinx is not installed.
        AlignmentError: The words do not fit the sound, or one has no known pronunciation.
    """
    _pocketsphinx()
    spoken = words_of(text)
    if not spoken:
        raise AlignmentError(f"no words to align in {text!r}")
    extra = _pronunciations_beyond_dictionary(spoken)
    pcm = _pcm(samples)
    reason = "no path through the words"
    for beam, word_beam in _BEAMS:
        try:
            phones, fit = _align_once(pcm, spoken, extra, beam, word_beam)
        except RuntimeError as error:  # what the extension module raises when a pass fails
            reason = str(error) or reason
            continue
        if phones and fit >= worst_fit:
            return fill_with_silence(phones, len(samples) / SAMPLE_RATE)
        if phones:
            reason = f"fit {fit:.0f} a frame, expected at least {worst_fit:.0f}"
            break
    raise AlignmentError(
        f"the words do not fit the sound ({reason}); check the transcript: {text[:80]!r}"
    )


def words_of(text: str) -> list[str]:
    """The words of a text, lower case, as they are looked up in the dictionary.

    Raises:
        AlignmentError: It has digits: how they are read is not known.
    """
    plain = text.lower().replace("\u2019", "'").replace("\u2018", "'")
    letters = unicodedata.normalize("NFKD", plain)  # é → e and an accent, which is dropped
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    digits = re.search(r"\S*\d\S*", plain)
    if digits:
        raise AlignmentError(f"write {digits.group()!r} in words in the transcript: {text[:80]!r}")
    known = dictionary() if is_available() else frozenset()
    words = (match.group() for match in _WORD.finditer(plain))
    return [w if w in known else w.rstrip("'") for w in words]


@lru_cache(maxsize=1)
def dictionary() -> frozenset[str]:
    """The words that pocketsphinx's CMUdict holds."""
    path = _model() / "cmudict-en-us.dict"
    with open(path, encoding="utf-8") as lines:
        return frozenset(
            re.sub(r"\(\d+\)$", "", line.split(None, 1)[0]) for line in lines if line.strip()
        )


def _pronunciations_beyond_dictionary(spoken: Iterable[str]) -> dict[str, str]:
    """Word → ARPABET of the words that the dictionary lacks."""
    extra: dict[str, str] = {}
    for word in sorted(set(spoken) - dictionary()):
        if not espeak.is_available():
            raise AlignmentError(
                f"the word {word!r} is not in the pronouncing dictionary; install espeak-ng "
                "(pip install 'codetalker-cli[espeak]') or respell it in the transcript"
            )
        pronunciation = espeak.pronounce(word)
        if not pronunciation:
            raise AlignmentError(
                f"the word {word!r} has no pronunciation; respell it in the transcript"
            )
        extra[word] = " ".join(pronunciation)
    return extra


def _align_once(
    pcm: bytes, spoken: list[str], extra: dict[str, str], beam: float, word_beam: float
) -> tuple[list[Phone], float]:
    """Both passes with one beam: phones and their fit; no phones where the first finds nothing."""
    model = _model()
    decoder = _pocketsphinx().Decoder(
        hmm=str(model / "en-us"),
        dict=str(model / "cmudict-en-us.dict"),
        lm=None,
        loglevel="FATAL",
        beam=beam,
        pbeam=beam,
        wbeam=word_beam,
        **_SEARCH,
    )
    for word, pronunciation in extra.items():
        decoder.add_word(word, pronunciation, True)
    decoder.set_align_text(" ".join(spoken))
    _decode(decoder, pcm)
    if decoder.hyp() is None:
        return [], 0.0
    decoder.set_alignment()
    _decode(decoder, pcm)
    phones = []
    score, n_frames = 0, 0
    for word in decoder.get_alignment():
        name = re.sub(r"\(\d+\)$", "", word.name)
        for phone in word:
            label = phone.name if phone.name in LABELS else SILENCE  # fillers: breath, noise
            start = round(phone.start * _FRAME_SECONDS - _PADDING_SECONDS, 3)
            end = round(start + phone.duration * _FRAME_SECONDS, 3)
            phones.append(Phone(label, start, end, "" if label == SILENCE else name))
            if label != SILENCE:
                score, n_frames = score + phone.score, n_frames + phone.duration
    return phones, score / max(1, n_frames)


def _decode(decoder: Any, pcm: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm, no_search=False, full_utt=True)
    decoder.end_utt()


def _pcm(samples: np.ndarray) -> bytes:
    """int16 of the padded, levelled, dithered samples; the dither is the same on every call."""
    samples = np.asarray(samples, dtype=np.float64)
    peak = float(np.abs(samples).max(initial=0.0))
    if peak == 0.0 or not np.isfinite(peak):
        raise AlignmentError("the recording is silent or has NaN samples")
    padding = np.zeros(round(_PADDING_SECONDS * SAMPLE_RATE))
    padded = np.concatenate([padding, samples * (_PEAK / peak), padding])
    padded += np.random.default_rng(0).normal(0.0, _DITHER, len(padded))
    return (np.clip(padded, -1.0, 1.0) * 32767).astype("<i2").tobytes()


def _model() -> Path:
    return Path(_pocketsphinx().get_model_path()) / "en-us"


def _pocketsphinx() -> Any:
    try:
        import pocketsphinx
    except ImportError as error:
        raise MissingDependencyError(
            "aligning speech needs pocketsphinx, which is not installed: "
            "pip install 'codetalker-cli[align]'"
        ) from error
    return pocketsphinx
