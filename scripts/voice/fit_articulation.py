"""Fit the numbers of the articulation rules to a filmed talker, and compare them with the film.

    python scripts/voice/fit_articulation.py TALKER_FOLDER [--out assets/articulation.json]

TALKER_FOLDER contains face tracks with words (NAME.npz, see codetalker_cli/formats/face_tracks.py)
and their sound (NAME.flac). Every other clip is fitted, and the rules are measured on the other
half. 875 clips of 3 s take ten minutes on one core. The extra `align` is needed.
"""

import argparse
import json
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from articulation_head import FITTED_UNITS, PHASES, Head
from articulation_model import FPS, ArticulationModel, Speech, padded_frames, speech_of
from torch import Tensor

from codetalker_cli import audio
from codetalker_cli.capture.fitting import fit_track, rest_of
from codetalker_cli.errors import CodeTalkerError, DataError
from codetalker_cli.face_track import FaceTrack, TimedWord
from codetalker_cli.files import atomic_path
from codetalker_cli.formats.face_tracks import read_track
from codetalker_cli.metrics import people
from codetalker_cli.rigs.landmarks import bundled_lip_rows
from codetalker_cli.rigs.styles import SpeakingStyle
from codetalker_cli.rigs.units import bundled_rig
from codetalker_cli.synthetic.articulation import mouth_curves, padded_phones
from codetalker_cli.synthetic.dataset import loudness
from codetalker_cli.synthetic.fitted import FittedArticulation
from codetalker_cli.synthetic.speech.alignment import AlignmentError, align
from codetalker_cli.synthetic.speech.phones import SILENCE, Phone
from codetalker_cli.synthetic.visemes import CHANNELS, PHONES

OUT = Path(__file__).resolve().parents[2] / "assets" / "articulation.json"
SPELLINGS = {"z": "zed"}
"""Words that the talker pronounces differently than the dictionary; letters are words."""
MIN_COUNT = 10
"""The phones with at least so many examples in the fitted half get a pose and dominances."""
MIN_WEIGHT, MIN_OPENING_MM = 0.005, 0.05
"""Smaller weights in a pose and smaller openings of a unit are not written."""
SCALED_UNITS = (*FITTED_UNITS, "lipRound")
"""The units that are written."""

BATCH_CLIPS, REPORT_STEPS, SEED = 32, 50, 0
POSE_RATE, TIMING_RATE, LOUDNESS_RATE = 0.01, 0.03, 0.001
"""The learning rates at the start; they decay to 0 along a cosine."""
CURVE_WEIGHT = 30.0
"""The weight of 1 - r of opening and width, next to the squared error of the face in mm²."""
CHANGE_PENALTY, SCALE_PENALTY, WEIGHT_PENALTY = 0.004, 0.01, 20.0
"""The penalties of changes of poses and dominances, of scales, and of errors of single weights."""


# The talker -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class FilmedClip:
    """A clip of the talker with N frames of ``FPS``.

    Attributes:
        name: The name of the clip.
        track: The face track.
        weights: (N, R) the units of the bundled head that move it like the film.
        phones: The contiguous phones, from before the clip until after it.
        level_db: (N,) the level of the speech.
    """

    name: str
    track: FaceTrack
    weights: np.ndarray
    phones: list[Phone]
    level_db: np.ndarray


def read_talker(folder: Path) -> list[FilmedClip]:
    """Return the clips in which every frame shows the face, in the order of their names.

    Other clips, and those that cannot be aligned, are reported and skipped.

    Raises:
        CodeTalkerError: A file is damaged, or fewer than two clips can be used.
    """
    tracks = {path: read_track(path) for path in sorted(folder.glob("*.npz"))}
    if not tracks:
        raise DataError(f"{folder}: no face tracks (NAME.npz) were found")
    rest = rest_of(list(tracks.values()))
    clips = []
    for path, track in tracks.items():
        samples = audio.load(path.with_suffix(".flac"))
        fitted = fit_track(track, rest, FPS)
        if not fitted.valid.all():
            print(f"{path.name}: skipped, because some frames show no face", file=sys.stderr)
            continue
        try:
            phones = align(samples, transcript(track.words))
        except AlignmentError as error:
            print(f"{path.name}: skipped: {error}", file=sys.stderr)
            continue
        weights = fitted.curves.weights
        spoken = padded_phones(phones, len(weights) / FPS)
        level = loudness(samples, len(weights), FPS)
        clips.append(FilmedClip(path.stem, track, weights, spoken, level))
    if len(clips) < 2:
        raise DataError(f"{folder}: {len(clips)} clips can be used, at least 2 are needed")
    return clips


def transcript(words: Iterable[TimedWord]) -> str:
    """Return the words as text for the aligner."""
    said = (word.label for word in words if word.label not in people.SILENCE)
    return " ".join(SPELLINGS.get(word, word) for word in said)


# The fit ----------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """Clips of the talker: speech, (B, T, U) weights of the film, and 1 in the frames of a clip."""

    speech: Speech
    film: Tensor
    exists: Tensor


def batch_of(clips: Sequence[FilmedClip], head: Head) -> Batch:
    """Return clips as a batch."""
    to_units = (head.to_rig / head.to_rig.sum(1, keepdims=True)).T
    return Batch(
        speech_of([(clip.phones, clip.level_db) for clip in clips]),
        padded_frames([clip.weights @ to_units for clip in clips]),
        padded_frames([np.ones(len(clip.weights)) for clip in clips]),
    )


def fit(model: ArticulationModel, clips: Sequence[FilmedClip], n_steps: int) -> None:
    """Fit the model to clips."""
    timing = [model.log_dominance, *model.log_seconds.values(), model.ramp, model.log_silence]
    timing += [model.vowel_per_second, model.log_ready_dominance]
    rates = (POSE_RATE, TIMING_RATE, LOUDNESS_RATE)
    groups = ([model.scale, model.pose_change, model.ready], timing, [model.loudness_per_db])
    optimizer = torch.optim.Adam(
        [{"params": group, "lr": rate} for group, rate in zip(groups, rates, strict=True)]
    )
    rng = np.random.default_rng(SEED)
    for step in range(n_steps):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / n_steps))
        chosen = rng.choice(len(clips), min(BATCH_CLIPS, len(clips)), replace=False)
        loss = loss_of(model, batch_of([clips[k] for k in chosen], model.head))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % REPORT_STEPS == 0 or step == n_steps - 1:
            print(f"step {step}: loss {loss.item():.1f}", flush=True)


def loss_of(model: ArticulationModel, batch: Batch) -> Tensor:
    """Return the loss: the squared error of the face, 1 - r of the lips, and the penalties."""
    head = model.head
    metric, opening, width = (
        torch.tensor(values, dtype=torch.float32)
        for values in (head.metric, head.opening, head.width)
    )
    weights = model(batch.speech)
    error = weights - batch.film
    face = ((error @ metric * error).sum(-1) * batch.exists).sum() / batch.exists.sum()
    openings = [(curves @ opening).clamp_min(0) for curves in (weights, batch.film)]
    widths = [curves @ width for curves in (weights, batch.film)]
    exists = batch.exists
    curves = (1 - correlation(openings[0], openings[1], exists)).mean()
    curves = curves + (1 - correlation(widths[0], widths[1], exists)).mean()
    changes = (model.pose_change**2).sum() + (model.log_dominance**2).sum()
    scales = ((model.scale - 1) ** 2).sum()
    penalties = CHANGE_PENALTY * changes + SCALE_PENALTY * scales
    return face + CURVE_WEIGHT * curves + penalties + WEIGHT_PENALTY * (error**2).sum(-1).mean()


def correlation(x: Tensor, y: Tensor, exists: Tensor) -> Tensor:
    """Return Pearson's r of each of (B, T) curves over the frames that exist."""
    n_frames = exists.sum(1, keepdim=True)
    x, y = (curve - (curve * exists).sum(1, keepdim=True) / n_frames for curve in (x, y))
    spread = (x * x * exists).sum(1) * (y * y * exists).sum(1)
    return (x * y * exists).sum(1) / spread.clamp_min(1e-9).sqrt()


# The numbers ------------------------------------------------------------------------------------


def fitted_labels(clips: Iterable[FilmedClip]) -> list[str]:
    """Return the phones that are frequent enough for poses of their own."""
    counts = Counter(phone.label for clip in clips for phone in clip.phones)
    return [label for label in PHONES if label != SILENCE and counts[label] >= MIN_COUNT]


@torch.no_grad()
def numbers_of(model: ArticulationModel, labels: Sequence[str]) -> dict[str, Any]:
    """Return the content of the file of ``codetalker_cli.synthetic.fitted``.

    Args:
        model: The model.
        labels: The phones that get poses and dominances.
    """
    units, poses, dominance = model.head.units, model.poses(), model.dominance()
    phases = {
        label: [PHASES.index((label, k)) for k in range(len(PHONES[label].phases))]
        for label in labels
    }
    lead, rise = _rounded(model.seconds("ready"))
    return {
        "scale": {unit: _rounded(model.scale)[units.index(unit)] for unit in SCALED_UNITS},
        "poses": {label: [_weights(poses[k], units) for k in ks] for label, ks in phases.items()},
        "dominance": {
            label: [_by_channel(dominance[k]) for k in ks] for label, ks in phases.items()
        },
        "timing": _timing(model),
        "silence_seconds": _rounded(model.seconds("silence")),
        "ready": {
            "pose": _weights(torch.relu(model.ready), units),
            "dominance": _by_channel(model.log_ready_dominance.exp()),
            "lead": lead,
            "rise": rise,
        },
        "loudness_per_db": round(float(model.loudness_per_db), 4),
        "vowel_per_second": round(float(model.vowel_per_second), 3),
        "opening_mm": {
            unit: round(float(opening), 2)
            for unit, opening in zip(units, model.head.opening, strict=True)
            if abs(opening) > MIN_OPENING_MM
        },
    }


def _timing(model: ArticulationModel) -> dict[str, dict[str, float]]:
    columns = {
        **{name: model.seconds(name) for name in ("attack", "release", "onset", "offset")},
        "ramp": model.ramps(),
        "silence": model.log_silence.exp(),
    }
    values = {name: _rounded(column) for name, column in columns.items()}
    return {
        channel: {name: value[k] for name, value in values.items()}
        for k, channel in enumerate(CHANNELS)
    }


def _weights(pose: Tensor, units: Sequence[str]) -> dict[str, float]:
    weights = dict(zip(units, pose.tolist(), strict=True))
    return {unit: round(weights[unit], 3) for unit in SCALED_UNITS if weights[unit] >= MIN_WEIGHT}


def _by_channel(values: Tensor) -> dict[str, float]:
    return dict(zip(CHANNELS, _rounded(values), strict=True))


def _rounded(values: Tensor) -> list[float]:
    return [round(value, 3) for value in values.tolist()]


def load(numbers: dict[str, Any]) -> FittedArticulation:
    """Return numbers as the rules read them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "articulation.json"
        path.write_text(json.dumps(numbers), "utf-8")
        return FittedArticulation.load(path)


# The comparison with the film -------------------------------------------------------------------

FIGURES = ("opening", "opening inside words", "width", "width inside words")


def compare(clips: Iterable[FilmedClip], numbers: FittedArticulation) -> list[float]:
    """Return the mean r of each of ``FIGURES`` between the rules in the mean style and the film."""
    found = np.array([_compare_clip(clip, numbers) for clip in clips], dtype=float)
    return [float(mean) for mean in np.nanmean(found, axis=0)]


def _compare_clip(clip: FilmedClip, numbers: FittedArticulation) -> list[float | None]:
    lips, track, n_frames = bundled_lip_rows(), clip.track, len(clip.weights)
    weights = mouth_curves(
        clip.phones, n_frames, FPS, bundled_rig(), SpeakingStyle(), clip.level_db, numbers
    )
    times = np.arange(n_frames) / FPS
    said = [word for word in track.words if word.label not in people.SILENCE]
    inside = people.inside_words(times, said)
    pairs = (
        (track.opening(), np.maximum(weights @ lips.openings.mean(1), 0.0)),
        (track.width(), weights @ lips.width),
    )
    found = []
    for film, ours in pairs:
        true = people.resample(track.times, film.astype(float), times)
        found += [people.correlate(true, ours), people.correlate(true[inside], ours[inside])]
    return found


def main(folder: Path, out: Path, n_steps: int) -> None:
    """Fit the numbers, compare them with the film, and write them."""
    torch.set_num_threads(1)  # more threads are hardly faster, and change the last digits
    clips = read_talker(folder)
    fitted, held_back = clips[0::2], clips[1::2]
    print(f"{len(fitted)} clips to fit, {len(held_back)} to measure", flush=True)
    model = ArticulationModel(Head.load())
    start = numbers_of(model, [])
    fit(model, fitted, n_steps)
    numbers = numbers_of(model, fitted_labels(fitted))
    print("\nr with the film on the other half:", *FIGURES, sep="\t")
    for name, content in (("poses of the visemes", start), ("fitted", numbers)):
        print(name, *(f"{r:.3f}" for r in compare(held_back, load(content))), sep="\t", flush=True)
    with atomic_path(out) as temporary:
        temporary.write_text(json.dumps(numbers, indent=1) + "\n", "utf-8")
    print(out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fit the articulation rules to a filmed talker.")
    parser.add_argument("folder", type=Path, help="folder of NAME.npz and NAME.flac")
    parser.add_argument("--out", type=Path, default=OUT, help="the file to write")
    parser.add_argument("--steps", type=int, default=600, help="steps of the fit (default: 600)")
    args = parser.parse_args()
    try:
        main(args.folder, args.out, args.steps)
    except CodeTalkerError as error:
        sys.exit(f"error: {error}")
