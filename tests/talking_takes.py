"""Takes of talking people for ``prepare-data video`` and ``prepare-data arkit``, without films."""

from pathlib import Path

import filmed_heads
import numpy as np
import soundfile

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.face_track import FaceTrack, TimedWord
from codetalker_cli.formats import audio2face, live_link
from codetalker_cli.formats.face_tracks import write_track
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.landmarks import bundled_landmarks
from codetalker_cli.rigs.units import bundled_rig

SIZE = (360, 288)


def write_sound(path: Path, curves: RigCurves, shift_seconds: float = 0.0) -> None:
    """Write the sound of a take; a positive shift delays it."""
    assert curves.audio is not None
    shift = round(shift_seconds * SAMPLE_RATE)
    samples = np.pad(curves.audio, (max(shift, 0), max(-shift, 0)))
    n = len(curves.audio)
    soundfile.write(path, samples[:n] if shift >= 0 else samples[-n:], SAMPLE_RATE)


def track_of(
    curves: RigCurves, pixels: float = 70.0, lost: slice = slice(0), words: tuple = ()
) -> FaceTrack:
    """Return the track of a head that moves like the curves.

    Args:
        curves: The weights of the bundled head's units.
        pixels: The distance of the outer eye corners in the film.
        lost: The frames without a face.
        words: The words of the track.
    """
    head = bundled_landmarks()
    weights = curves.select(bundled_rig().unit_names).weights
    points = head.neutral + np.einsum("tu,uld->tld", weights, head.seen)
    scale = pixels / head.eye_distance
    landmarks = (points * [scale, -scale, -scale] + [180, 144, 0]).astype(np.float32)
    n = len(landmarks)
    expression = np.zeros((n, 1), np.float32)
    pose = np.tile(np.eye(4, dtype=np.float32), (n, 1, 1))
    for values in (landmarks, expression, pose):
        values[lost] = np.nan
    return FaceTrack(
        np.array(head.numbers),
        landmarks,
        np.arange(n) / curves.fps,
        SIZE,
        ("_neutral",),
        expression,
        pose,
        tuple(TimedWord(*word) for word in words),
    )


def write_take(
    folder: Path,
    name: str,
    seed: int = 0,
    seconds: float = 2.0,
    shift: float = 0.0,
    **track: object,
) -> RigCurves:
    """Write a face track at 25 fps with its sound; return the curves."""
    folder.mkdir(parents=True, exist_ok=True)
    curves = filmed_heads.talk(seconds, seed, 25.0)
    write_track(folder / f"{name}.npz", track_of(curves, **track))  # type: ignore[arg-type]
    write_sound(folder / f"{name}.wav", curves, shift)
    return curves


def write_csv(folder: Path, name: str, seed: int = 0, seconds: float = 2.0) -> RigCurves:
    """Write a take of Live Link Face at 30 fps with its sound; return the curves."""
    folder.mkdir(parents=True, exist_ok=True)
    curves = filmed_heads.talk(seconds, seed)
    live_link.write(folder / f"{name}.csv", curves)
    write_sound(folder / f"{name}.wav", curves)
    return curves


def write_json(folder: Path, name: str, seed: int = 0, seconds: float = 2.0) -> RigCurves:
    """Write an Audio2Face export at 30 fps with its sound; return the curves."""
    folder.mkdir(parents=True, exist_ok=True)
    curves = filmed_heads.talk(seconds, seed)
    audio2face.write(folder / f"{name}.json", curves)
    write_sound(folder / f"{name}.wav", curves)
    return curves
