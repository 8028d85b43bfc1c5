"""Synthesize sentences in several languages, to measure a voice in languages other than English.

    python benchmarks/languages.py OUT [--voices f3 m2] [--languages de es …] [--clips 25]
        [--seed 0] [--without SPEECH...]
    python benchmarks/lips.py OUT/* --subject S01

OUT/LANGUAGE contains NUMBER_VOICE.flac and, for benchmarks/lips.py, NUMBER_VOICE.json with the
phone times of espeak-ng. The sentences are those that `demo.languages` draws from. --without leaves
out the sentences of other folders of speech, so that a voice is measured with sentences that are
not part of its training data. --voices are variants of the espeak voices. Existing clips are kept.
"""

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np

from codetalker_cli import audio
from codetalker_cli.files import atomic_path
from codetalker_cli.synthetic.speech.clips import read_description, write_description
from codetalker_cli.synthetic.speech.espeak import EspeakEngine
from codetalker_cli.synthetic.speech.languages import ENGLISH, LANGUAGES
from codetalker_cli.synthetic.speech.sentences import sentences_of
from codetalker_cli.synthetic.speech.utterance import Utterance

N_DRAWN = 1000
"""The number of sentences that are considered. Each file has about a hundred."""


def texts_in(folders: list[Path]) -> set[str]:
    """Return the transcripts in folders of speech."""
    files = itertools.chain.from_iterable(sorted(folder.rglob("*.json")) for folder in folders)
    return {str(read_description(file).get("text")) for file in files}


def choose(language: str, seed: int, n: int, without: set[str]) -> list[str]:
    """Return up to `n` different sentences that are not in `without`."""
    drawn = dict.fromkeys(itertools.islice(sentences_of(language, seed), N_DRAWN))
    return [text for text in drawn if text not in without][:n]


def write(folder: Path, name: str, said: Utterance, language: str) -> None:
    """Write a clip as FLAC at 16 kHz, with its description."""
    import soundfile

    samples = np.clip(audio.resample(said.samples, said.sample_rate, audio.SAMPLE_RATE), -1, 1)
    with atomic_path(folder / f"{name}.flac") as partial:
        soundfile.write(partial, samples, audio.SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    description = {"text": said.text, "speaker": said.voice, "language": language}
    write_description(folder / f"{name}.json", description, said.phones or [])


def main() -> None:
    """Write the clips of each language, and print their numbers."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("out", type=Path, help="folder to write to, with a folder for each language")
    add("--voices", nargs="+", default=["f3", "m2"], help="espeak variants (default: f3 m2)")
    others = [language for language in LANGUAGES if language != ENGLISH]
    add("--languages", nargs="+", default=others, choices=others, help="default: all of them")
    add("--clips", type=int, default=25, help="sentences per language (default: 25)")
    add("--seed", type=int, default=0, help="random seed for sentences and voices (default: 0)")
    add("--without", nargs="+", type=Path, default=[], help="speech whose sentences are left out")
    given = parser.parse_args()
    engine = EspeakEngine()
    unknown = [v for v in given.voices if f"{given.languages[0]}-{v}" not in engine.voices]
    if unknown:
        sys.exit(f"--voices: {unknown[0]!r} is not a variant of the espeak voices")
    excluded = texts_in(given.without)
    for language in given.languages:
        folder = given.out / language
        folder.mkdir(parents=True, exist_ok=True)
        texts = choose(language, given.seed, given.clips, excluded)
        for k, text in enumerate(texts):
            voice = f"{language}-{given.voices[k % len(given.voices)]}"
            name = f"{k:05d}_{voice}"
            if not (folder / f"{name}.json").exists():
                write(folder, name, engine.say(text, voice, seed=given.seed + k), language)
        print(f"{language} {len(texts)} clips in {folder}")


if __name__ == "__main__":
    main()
