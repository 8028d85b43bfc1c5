"""Synthesize a corpus of speech into a folder of NUMBER_VOICE.flac and NUMBER_VOICE.json files.

The recordings are mono at 16 kHz. The languages take turns, and so do the voices of each language,
so an interrupted run still has about equally many clips of each voice. Clip k depends only on the
languages, the voices, the seed and k. Therefore an interrupted run can resume, and a longer corpus
begins with the clips of a shorter one. The .json file is written last, and a clip without it is
synthesized again.
"""

import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codetalker_cli import audio
from codetalker_cli.errors import DataError, InputError, MissingDependencyError
from codetalker_cli.files import atomic_path
from codetalker_cli.progress import Progress
from codetalker_cli.resources import install_command
from codetalker_cli.synthetic.speech import alignment
from codetalker_cli.synthetic.speech.clips import (
    Failure,
    SpeechSet,
    SpokenClip,
    read_description,
    write_description,
)
from codetalker_cli.synthetic.speech.engines import load_engine
from codetalker_cli.synthetic.speech.languages import ENGLISH, check_language
from codetalker_cli.synthetic.speech.phones import Phone, fill_with_silence
from codetalker_cli.synthetic.speech.sentences import sentences_of
from codetalker_cli.synthetic.speech.utterance import Engine, Utterance

logger = logging.getLogger(__name__)

_SPEEDS = (0.85, 1.3)  # the speed of each clip is drawn uniformly
_MAX_FAILURES_IN_A_ROW = 20


@dataclass(frozen=True)
class _Plan:
    name: str
    text: str
    voice: str
    speed: float
    seed: int
    language: str = ENGLISH


def synthesize(
    out_dir: str | Path,
    engine: str | Engine,
    minutes: float,
    seed: int,
    voices: Sequence[str] | None = None,
    progress: Progress | None = None,
    languages: Sequence[str] = (ENGLISH,),
) -> SpeechSet:
    """Synthesize sentences until `out_dir` contains `minutes` of speech; resume an earlier run.

    English phone times come from pocketsphinx, or from the engine if pocketsphinx is not installed
    (those of espeak are 20 ms late). Those of other languages always come from the engine.

    Args:
        out_dir: The output folder, which is created if needed.
        engine: A key of `engines.ENGINES`, or an engine.
        minutes: The total length of the clips, including pauses.
        seed: The random seed. The same seed and package versions give identical files.
        voices: A subset of the voices, with at least one for each language; None uses all of them.
        progress: A callback for the seconds of speech done and their total.
        languages: The languages, which take turns: a clip of each, then the next round.

    Returns:
        The clips in order, and the sentences that could not be aligned, which are skipped.

    Raises:
        InputError: A voice or language is unknown or missing, or `minutes` is not above 0.
        DataError: The folder contains clips made with a different seed or engine, or too many clips
            failed.
        MissingDependencyError: The engine is not installed, or no phone times are available.
    """
    engine = load_engine(engine) if isinstance(engine, str) else engine
    selected_voices = _voices_by_language(engine, voices, languages)
    if not minutes > 0:
        raise InputError(f"expected minutes > 0, found {minutes}")
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    result = SpeechSet()
    seconds_done, seconds_wanted, failed_in_a_row = 0.0, 60.0 * minutes, 0
    for plan in _plan_clips(selected_voices, seed):
        if seconds_done >= seconds_wanted:
            break
        try:
            clip = _read_existing(out, plan, engine) or _make_clip(out, plan, engine)
        except alignment.AlignmentError as error:
            logger.warning("%s was skipped: %s", plan.name, error)
            result.failures.append(Failure(plan.name, str(error)))
            failed_in_a_row += 1
            if failed_in_a_row >= _MAX_FAILURES_IN_A_ROW:
                raise DataError(
                    f"{failed_in_a_row} clips in a row failed, last: {error}"
                ) from error
            continue
        failed_in_a_row = 0
        result.clips.append(clip)
        seconds_done += clip.phones[-1].end_seconds
        if progress:
            progress(min(seconds_done, seconds_wanted), seconds_wanted)
    return result


def _voices_by_language(
    engine: Engine, voices: Sequence[str] | None, languages: Sequence[str]
) -> dict[str, list[str]]:
    """Return the selected voices of each language, in the order of the languages."""
    for language in languages:
        check_language(language)
    if not languages or len(set(languages)) < len(languages):
        raise InputError(f"expected different languages, found {', '.join(languages) or 'none'}")
    usable = [voice for voice in engine.voices if engine.language_of(voice) in languages]
    selected = list(voices) if voices else usable
    unknown = [voice for voice in selected if voice not in usable]
    if unknown:
        raise InputError(
            f"voice {unknown[0]!r} of {engine.name} is unknown; use any of {', '.join(usable)}"
        )
    grouped = {
        language: [voice for voice in selected if engine.language_of(voice) == language]
        for language in languages
    }
    missing = [language for language, group in grouped.items() if not group]
    if missing:
        raise InputError(
            f"{engine.name} has no voice for the language {missing[0]!r}"
            + (f" among {', '.join(selected)}" if voices else "")
        )
    return grouped


def _plan_clips(voices: dict[str, list[str]], seed: int) -> Iterator[_Plan]:
    """Yield an endless sequence of clip plans.

    The languages take turns. Each round of a language uses all of its voices, in a new order.
    """
    languages = list(voices)
    texts = {language: sentences_of(language, seed) for language in languages}
    for number in itertools.count():
        count, which = divmod(number, len(languages))
        language = languages[which]
        group = voices[language]
        turn, place = divmod(count, len(group))
        order = np.random.default_rng([seed, 1, turn]).permutation(len(group))
        rng = np.random.default_rng([seed, 2, number])
        voice = group[order[place]]
        speed = round(float(rng.uniform(*_SPEEDS)), 3)
        yield _Plan(
            f"{number:05d}_{voice}",
            next(texts[language]),
            voice,
            speed,
            int(rng.integers(2**31)),
            language,
        )


def _read_existing(out: Path, plan: _Plan, engine: Engine) -> SpokenClip | None:
    """Return the clip of an earlier run, or None if it is missing or incomplete."""
    recording, path = out / f"{plan.name}.flac", out / f"{plan.name}.json"
    conflicting = [p for p in out.glob(f"{plan.name[:5]}_*.json") if p != path]
    if not path.exists() and not conflicting:
        return None
    description = read_description(conflicting[0] if conflicting else path)
    is_same = (description.get("text"), description.get("engine"), description.get("speed")) == (
        plan.text,
        engine.name,
        plan.speed,
    )
    if conflicting or not is_same:
        found = conflicting[0] if conflicting else path
        raise DataError(
            f"{out} contains speech made with a different seed, engine, languages or "
            f"voices (see {found.name}); give an empty folder"
        )
    if not recording.exists() or not description["phones"]:
        return None
    return SpokenClip(plan.name, recording, plan.voice, plan.text, description["phones"])


def _make_clip(out: Path, plan: _Plan, engine: Engine) -> SpokenClip:
    """Synthesize, align and write one clip."""
    import soundfile

    utterance = engine.say(plan.text, plan.voice, plan.speed, plan.seed)
    samples = audio.resample(utterance.samples, utterance.sample_rate, audio.SAMPLE_RATE)
    samples = np.clip(samples, -1.0, 1.0)
    phones, aligner = _phone_times(samples, utterance, plan.language)
    recording = out / f"{plan.name}.flac"
    with atomic_path(recording) as partial:
        soundfile.write(partial, samples, audio.SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    description = {
        "text": plan.text,
        "speaker": plan.voice,
        "language": plan.language,
        "engine": engine.name,
        "speed": plan.speed,
        "aligner": aligner,
    }
    write_description(out / f"{plan.name}.json", description, phones)
    # The file rounds the times. Reading it back gives the same times as a resumed run.
    phones = read_description(out / f"{plan.name}.json")["phones"]
    return SpokenClip(plan.name, recording, plan.voice, plan.text, phones)


def _phone_times(
    samples: np.ndarray, utterance: Utterance, language: str
) -> tuple[list[Phone], str]:
    """Return the phones, and the name of the aligner."""
    if language == ENGLISH and alignment.is_available():
        # Formant voices have low acoustic scores even for correct transcripts.
        worst_fit = -math.inf if utterance.phones else alignment.WORST_FIT
        return alignment.align(samples, utterance.text, worst_fit), "pocketsphinx"
    if utterance.phones:
        duration = len(samples) / audio.SAMPLE_RATE
        return fill_with_silence(utterance.phones, duration), "engine"
    if language != ENGLISH:
        raise DataError(
            f"the engine provides no phone times for voice {utterance.voice!r}, and only English "
            "speech can be aligned without them"
        )
    raise MissingDependencyError(
        "this engine provides no phone times; computing them needs pocketsphinx, which is not "
        f"installed; run `{install_command('align')}`"
    )
