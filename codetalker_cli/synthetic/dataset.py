"""Create the synthetic talking-head data set: text → speech → phones → unit weights → vertices.

No faces are captured. The speech is synthetic or comes from recordings with transcripts, the faces
are the twelve subjects of the bundled head, and the motion is rule-based
(``synthetic.articulation``).
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.audio import SAMPLE_RATE, whole_frames
from codetalker_cli.datasets.manifest import NO_SPEECH, Manifest
from codetalker_cli.datasets.prepared_writer import DataSetFacts, NewClip, PreparedWriter
from codetalker_cli.errors import DataError, InputError
from codetalker_cli.files import claim
from codetalker_cli.progress import Progress, Stages, silent_stages
from codetalker_cli.rigs.head import Rig
from codetalker_cli.rigs.idle import IDLE_UNITS, subject_mesh
from codetalker_cli.rigs.styles import SpeakingStyle
from codetalker_cli.settings import DemoSettings, Settings
from codetalker_cli.synthetic.articulation import articulate
from codetalker_cli.synthetic.noise import breath, sound
from codetalker_cli.synthetic.speech.clips import SpeechSet, SpokenClip
from codetalker_cli.synthetic.speech.phones import SILENCE, Phone
from codetalker_cli.topology import Mesh
from codetalker_cli.workspace import MANIFEST

logger = logging.getLogger(__name__)

PAUSE_SECONDS = (0.15, 0.7)
LONG_PAUSE_SECONDS = (0.5, 2.0)
LONG_PAUSE_SHARE = 0.3
"""The share of pauses that are long and contain a sound, if `demo.noise` is above 0."""
BREATH_SHARE = 0.6
"""The share of these sounds that are breaths."""
BREATH_DB = (-40.0, -18.0)
"""The range of a breath's peak, in dB relative to full scale."""


@dataclass(frozen=True)
class Passage:
    """Sentences of one speaker, joined with pauses.

    Attributes:
        name: The unique name.
        text: The transcript.
        samples: (n,) float32 at 16 kHz.
        phones: The phones in time order.
    """

    name: str
    text: str
    samples: np.ndarray
    phones: list[Phone]


def prepare_synthetic(
    out: Path,
    settings: Settings,
    speech: Path | None = None,
    *,
    engine_options: dict[str, Any] | None = None,
    overwrite: bool = False,
    stages: Stages = silent_stages,
) -> Manifest:
    """Create the synthetic data set in ``out``.

    Args:
        out: The prepared folder.
        settings: The settings, of which ``demo`` and ``data`` are used.
        speech: A folder of recordings with transcripts. None synthesizes speech, which is stored in
            ``out``/speech so that an interrupted run can resume.
        engine_options: Options of the speech engine, such as ``voices_dir`` for kokoro.
        overwrite: Whether to replace an existing data set.
        stages: A callback that reports the progress of each stage.

    Raises:
        InputError: ``out`` already contains a data set, or ``speech`` contains no recordings.
        DataError: None of the speech is usable.
        MissingDependencyError: The engine or the aligner is not installed.
    """
    demo, fps = settings.demo, settings.data.fps
    rig = Rig.load()
    _check_subjects(rig, settings)
    with claim(out / MANIFEST):
        writer = PreparedWriter(out, overwrite=overwrite)
        speech_set = _load_speech(
            out, settings, speech, engine_options or {}, stages("align" if speech else "speech")
        )
        passages = list(_limit_clips(join_passages(speech_set.clips, demo), settings))
        if not passages:
            raise DataError(f"{speech or demo.engine}: no usable speech; the log lists the reasons")
        subjects = settings.data.train_subjects
        splits = assign_splits(len(passages), demo.val_fraction, demo.test_fraction, demo.seed)
        noise_passages = _make_noise_passages(round(len(passages) * demo.noise), demo)
        passages, splits = passages + noise_passages, splits + ["train"] * len(noise_passages)
        progress = stages("motion")
        for index, (passage, split) in enumerate(zip(passages, splits, strict=True)):
            subject = subjects[index % len(subjects)]
            rng = np.random.default_rng([demo.seed, index])
            vertices = speak(rig, passage, subject, fps, rng, blinks=demo.blinks)
            name = f"{subject}_{passage.name}"
            writer.add(NewClip(name, subject, split, vertices, passage.samples, passage.text))
            progress(index + 1, len(passages))
        notes = {
            "made_with": demo.model_dump(mode="json"),
            "speech": str(speech.name) if speech else demo.engine,
            "left_out": [{"clip": f.name, "reason": f.reason} for f in speech_set.failures],
        }
        facts = DataSetFacts(settings.data.name, fps, subjects)
        return writer.finish(facts, mesh_of(rig, subjects, idle=not demo.blinks), notes)


def speak(
    rig: Rig,
    passage: Passage,
    subject: str,
    fps: float,
    rng: np.random.Generator,
    *,
    blinks: bool = True,
) -> np.ndarray:
    """Return (T, V, 3) float32 vertices of ``subject`` speaking the passage in its own style."""
    n_frames = whole_frames(len(passage.samples), SAMPLE_RATE, fps)
    weights = articulate(
        passage.phones,
        n_frames,
        fps,
        rig,
        SpeakingStyle.for_subject(subject),
        rng,
        loudness(passage.samples, n_frames, fps),
    )
    if not blinks:
        weights[:, [name.startswith(IDLE_UNITS) for name in rig.unit_names]] = 0.0
    return rig.pose(subject, weights)


def loudness(samples: np.ndarray, n_frames: int, fps: float) -> np.ndarray:
    """Return the (T,) level of the 60 ms around each frame, in dB.

    The level is relative to the median of the louder half of the frames.
    """
    centers = (np.arange(n_frames) / fps * SAMPLE_RATE).astype(int)
    half = int(0.03 * SAMPLE_RATE)
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    start = np.clip(centers - half, 0, len(samples))
    stop = np.clip(centers + half, 0, len(samples))
    power = (energy[stop] - energy[start]) / np.maximum(stop - start, 1)
    level = 10 * np.log10(power + 1e-10)
    return level - np.median(level[level >= np.median(level)]) if n_frames else level


def mesh_of(rig: Rig, subjects: Sequence[str] | None = None, *, idle: bool = True) -> Mesh:
    """Return the mesh of a data set with the rig's faces.

    Args:
        rig: The bundled head.
        subjects: The subjects to include; None includes all.
        idle: Whether to include the units of blinks and gaze, for motion that contains neither.
    """
    names = [str(name) for name in rig.subject_names] if subjects is None else subjects
    return subject_mesh(rig, {name: name for name in names}, idle=idle)


def _check_subjects(rig: Rig, settings: Settings) -> None:
    known = [str(name) for name in rig.subject_names]
    unknown = [name for name in settings.data.train_subjects if name not in known]
    if unknown:
        raise InputError(
            f"data.train_subjects: the bundled head does not have {', '.join(unknown)}; "
            f"use any of {', '.join(known)}"
        )
    expected = settings.data.n_vertices
    if rig.topology.n_vertices != expected:
        raise InputError(
            f"data.n_vertices is {expected}, but the bundled head has {rig.topology.n_vertices} "
            "vertices; use `preset` demo or tiny"
        )


def _load_speech(
    out: Path,
    settings: Settings,
    folder: Path | None,
    engine_options: dict[str, Any],
    progress: Progress,
) -> SpeechSet:
    if folder is not None:
        from codetalker_cli.synthetic.speech.recordings import read_recordings

        return read_recordings(folder, progress)
    from codetalker_cli.synthetic.speech.corpus import synthesize
    from codetalker_cli.synthetic.speech.engines import load_engine

    demo = settings.demo
    engine = load_engine(demo.engine, **engine_options)
    cache = out / "speech" / f"{demo.engine}-{demo.seed}"
    return synthesize(
        cache,
        engine,
        demo.minutes,
        demo.seed,
        demo.voices or None,
        progress=progress,
        languages=demo.languages,
    )


def join_passages(clips: Sequence[SpokenClip], demo: DemoSettings) -> Iterator[Passage]:
    """Join consecutive clips of each speaker with pauses until a passage is long enough.

    Args:
        clips: The clips in order; speakers may alternate.
        demo: The settings. ``seconds_per_clip`` is the minimum length of a passage, and ``seed``
            determines the pauses. If ``noise`` is above 0, some pauses are long and contain a
            non-speech sound.

    Yields:
        The passages, with phone times relative to their start. The last passage of each speaker
        contains the remaining clips and may be shorter.
    """
    rng = np.random.default_rng([demo.seed, 1])
    waiting: dict[str, list[SpokenClip]] = {}
    length: dict[str, float] = {}
    for clip in clips:
        waiting.setdefault(clip.speaker, []).append(clip)
        length[clip.speaker] = length.get(clip.speaker, 0.0) + clip.phones[-1].end_seconds
        if length[clip.speaker] >= demo.seconds_per_clip:
            yield _join_clips(waiting.pop(clip.speaker), rng, demo.noise > 0)
            length[clip.speaker] = 0.0
    for rest in waiting.values():
        yield _join_clips(rest, rng, demo.noise > 0)


def _join_clips(clips: Sequence[SpokenClip], rng: np.random.Generator, noise: bool) -> Passage:
    chunks: list[np.ndarray] = []
    phones: list[Phone] = []
    n_samples = 0
    for k, clip in enumerate(clips):
        if k:
            chunks.append(_pause(rng, noise))
            n_samples += len(chunks[-1])
        samples = clip.samples()
        shift = n_samples / SAMPLE_RATE
        phones += [
            replace(p, start_seconds=p.start_seconds + shift, end_seconds=p.end_seconds + shift)
            for p in clip.phones
        ]
        chunks.append(samples)
        n_samples += len(samples)
    name = f"{clips[0].name}" + (f"+{len(clips) - 1}" if len(clips) > 1 else "")
    return Passage(name, " ".join(c.text for c in clips), np.concatenate(chunks), phones)


def _pause(rng: np.random.Generator, noise: bool) -> np.ndarray:
    long = noise and rng.random() < LONG_PAUSE_SHARE
    n = int(rng.uniform(*(LONG_PAUSE_SECONDS if long else PAUSE_SECONDS)) * SAMPLE_RATE)
    pause = rng.normal(0.0, 1e-4, n).astype(np.float32)
    if long and rng.random() < BREATH_SHARE:
        air = breath(n, rng)
        pause += 10 ** (rng.uniform(*BREATH_DB) / 20) * air / np.abs(air).max()
    elif long:
        pause += sound(n, rng)
    return pause.astype(np.float32)


def _make_noise_passages(n_clips: int, demo: DemoSettings) -> list[Passage]:
    """Return passages of non-speech sounds, whose only phone is a silence.

    A third of them mix two sounds.
    """
    rng = np.random.default_rng([demo.seed, 3])
    n = int(max(demo.seconds_per_clip, 1.0) * SAMPLE_RATE)
    passages = []
    for k in range(n_clips):
        samples = sound(n, rng)
        if rng.random() < 1 / 3:
            samples = np.clip(samples + sound(n, rng), -1.0, 1.0)
        rest = [Phone(SILENCE, 0.0, n / SAMPLE_RATE)]
        passages.append(Passage(f"no-speech-{k:03d}", NO_SPEECH, samples, rest))
    return passages


def _limit_clips(passages: Iterator[Passage], settings: Settings) -> Iterator[Passage]:
    for count, passage in enumerate(passages):
        if settings.demo.max_clips is not None and count >= settings.demo.max_clips:
            return
        yield passage


def assign_splits(n: int, val: float, test: float, seed: int) -> list[str]:
    """Assign clips to splits at random, with at least one clip each for training and validation.

    Args:
        n: The number of clips. A single clip is used for training.
        val, test: The shares of the validation and test splits.
        seed: The random seed.

    Returns:
        The split of each clip: ``train``, ``val`` or ``test``.
    """
    order = np.random.default_rng([seed, 2]).permutation(n)
    n_val = max(1, round(n * val)) if n > 1 else 0
    n_test = min(round(n * test), n - n_val - 1) if n > 2 else 0
    splits: list[str] = ["train"] * n
    for k in order[:n_val]:
        splits[k] = "val"
    for k in order[n_val : n_val + n_test]:
        splits[k] = "test"
    return splits
