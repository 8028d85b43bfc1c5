"""A corpus of synthetic speech in a folder: NUMBER_VOICE.flac (16 kHz mono) with NUMBER_VOICE.json
beside it.

Voices take turns, so that stopping early leaves every voice with its share. Clip k depends on the
seed and k alone: a run that was stopped goes on where it was, and a longer one starts with the
clips of a shorter one. The .json is written last: a clip without it is made again.
"""

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
from codetalker_cli.synthetic.speech import alignment
from codetalker_cli.synthetic.speech.clips import (
    Failure,
    SpeechSet,
    SpokenClip,
    read_description,
    write_description,
)
from codetalker_cli.synthetic.speech.engines import load_engine
from codetalker_cli.synthetic.speech.phones import Phone, fill_with_silence
from codetalker_cli.synthetic.speech.sentences import sentences
from codetalker_cli.synthetic.speech.utterance import Engine, Utterance

logger = logging.getLogger(__name__)

_SPEEDS = (0.85, 1.3)
_MAX_FAILURES_IN_A_ROW = 20


@dataclass(frozen=True)
class _Plan:
    name: str
    text: str
    voice: str
    speed: float
    seed: int


def synthesize(
    out_dir: str | Path,
    engine: str | Engine,
    minutes: float,
    seed: int,
    voices: Sequence[str] | None = None,
    speeds: tuple[float, float] = _SPEEDS,
    progress: Progress | None = None,
) -> SpeechSet:
    """Speak sentences until there are `minutes` of speech in `out_dir`; goes on where an earlier
    run stopped.

    Phone times come from pocketsphinx; where that is not installed, from the engine itself if it
    has any (espeak: 20 ms late).

    Args:
        out_dir: Made if needed.
        engine: A name of `engines.ENGINES`, or an engine.
        minutes: Total length of the clips, pauses included.
        seed: Same seed, same bytes (with the same package versions).
        voices: Some of the engine's voices; default all.
        speeds: Tempo is drawn evenly from this range.
        progress: Called with seconds of speech done and wanted.

    Returns:
        The clips in order, and the sentences that could not be aligned (they are passed over).

    Raises:
        InputError: A voice that the engine lacks, or a bad number.
        DataError: The folder holds clips of another seed or engine, or nearly everything fails.
        MissingDependencyError: No engine, or nothing that gives phone times.
    """
    engine = load_engine(engine) if isinstance(engine, str) else engine
    selected_voices = _check_voices(engine, voices)
    if not minutes > 0 or not 0 < speeds[0] <= speeds[1]:
        raise InputError(f"minutes and speeds must be above 0, got {minutes} and {speeds}")
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    result = SpeechSet()
    seconds_done, seconds_wanted, failed_in_a_row = 0.0, 60.0 * minutes, 0
    for plan in _plan_clips(selected_voices, speeds, seed):
        if seconds_done >= seconds_wanted:
            break
        try:
            clip = _read_existing(out, plan, engine) or _make_clip(out, plan, engine)
        except alignment.AlignmentError as error:
            logger.warning("%s was left out: %s", plan.name, error)
            result.failures.append(Failure(plan.name, str(error)))
            failed_in_a_row += 1
            if failed_in_a_row >= _MAX_FAILURES_IN_A_ROW:
                raise DataError(
                    f"{failed_in_a_row} clips in a row failed, the last: {error}"
                ) from error
            continue
        failed_in_a_row = 0
        result.clips.append(clip)
        seconds_done += clip.phones[-1].end_seconds
        if progress:
            progress(min(seconds_done, seconds_wanted), seconds_wanted)
    return result


def _check_voices(engine: Engine, voices: Sequence[str] | None) -> list[str]:
    selected = list(voices) if voices else engine.voices
    unknown = [voice for voice in selected if voice not in engine.voices]
    if unknown:
        raise InputError(
            f"{engine.name} has no voice {unknown[0]!r}; it has {', '.join(engine.voices)}"
        )
    return selected


def _plan_clips(voices: list[str], speeds: tuple[float, float], seed: int) -> Iterator[_Plan]:
    """What each clip is to be, without end; voices in rounds, each round in another order."""
    for number, text in enumerate(sentences(seed)):
        turn, place = divmod(number, len(voices))
        order = np.random.default_rng([seed, 1, turn]).permutation(len(voices))
        rng = np.random.default_rng([seed, 2, number])
        voice = voices[order[place]]
        speed = round(float(rng.uniform(*speeds)), 3)
        yield _Plan(f"{number:05d}_{voice}", text, voice, speed, int(rng.integers(2**31)))


def _read_existing(out: Path, plan: _Plan, engine: Engine) -> SpokenClip | None:
    """The clip of an earlier run, or None if it was not finished."""
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
        raise DataError(
            f"{out} holds speech made with another seed, engine, voices or speeds "
            f"(see {path.name if not conflicting else conflicting[0].name}); give an empty folder"
        )
    if not recording.exists() or not description["phones"]:
        return None
    return SpokenClip(plan.name, recording, plan.voice, plan.text, description["phones"])


def _make_clip(out: Path, plan: _Plan, engine: Engine) -> SpokenClip:
    """Speak, align and write one clip."""
    import soundfile

    utterance = engine.say(plan.text, plan.voice, plan.speed, plan.seed)
    samples = audio.resample(utterance.samples, utterance.sample_rate, audio.SAMPLE_RATE)
    samples = np.clip(samples, -1.0, 1.0)
    phones, aligner = _phone_times(samples, utterance)
    recording = out / f"{plan.name}.flac"
    with atomic_path(recording) as partial:
        soundfile.write(partial, samples, audio.SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    description = {
        "text": plan.text,
        "speaker": plan.voice,
        "engine": engine.name,
        "speed": plan.speed,
        "aligner": aligner,
    }
    write_description(out / f"{plan.name}.json", description, phones)
    # Read back, so that a first and a resumed run give equal (rounded) times.
    phones = read_description(out / f"{plan.name}.json")["phones"]
    return SpokenClip(plan.name, recording, plan.voice, plan.text, phones)


def _phone_times(samples: np.ndarray, utterance: Utterance) -> tuple[list[Phone], str]:
    """Phones and who placed them."""
    if alignment.is_available():
        # A formant voice fits badly though it says the right words.
        worst_fit = -math.inf if utterance.phones else alignment.WORST_FIT
        return alignment.align(samples, utterance.text, worst_fit), "pocketsphinx"
    if utterance.phones:
        duration = len(samples) / audio.SAMPLE_RATE
        return fill_with_silence(utterance.phones, duration), "engine"
    raise MissingDependencyError(
        "phone times of this engine need pocketsphinx, which is not installed: "
        "pip install 'codetalker-cli[align]'"
    )
