"""Prepare a filmed talker as training data of the bundled voice, on the face S01.

    python scripts/voice/talker.py FOLDER OUT --style grid1 --share 0.6
    python scripts/voice/talker.py FOLDER OUT --style S01 --share 0.4 --readable

FOLDER contains films (NAME.mpg, …) or face tracks (NAME.npz), with NAME.flac or another recording
next to a track. The words of a clip are those of its track, or NAME.txt. Their phones are aligned,
and the lower lip is moved to the teeth in f and v, which the tracker does not see. With --readable,
the lips also touch in every p, b and m, and open in every open vowel. Clips whose words are not
known or do not fit are left out.
"""

import argparse
import fnmatch
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from codetalker_cli import audio
from codetalker_cli.capture.fitting import fit_track, rest_of
from codetalker_cli.capture.tracking import cached_track
from codetalker_cli.datasets.prepared_writer import DataSetFacts, NewClip, PreparedWriter
from codetalker_cli.errors import CodeTalkerError
from codetalker_cli.face_track import FaceTrack
from codetalker_cli.formats.face_tracks import read_track
from codetalker_cli.resources import cache_dir
from codetalker_cli.rigs.head import Rig
from codetalker_cli.rigs.idle import IDLE_UNITS, subject_mesh
from codetalker_cli.rigs.styles import SpeakingStyle
from codetalker_cli.synthetic.articulation import padded_phones
from codetalker_cli.synthetic.clarity import make_readable
from codetalker_cli.synthetic.speech.alignment import align

FPS, FACE = 30.0, "S01"
SPELLED = {"z": "zed"}
"""Letters that the talker pronounces differently than the dictionary."""


class Take(NamedTuple):
    """A clip: its name, track, recording and words."""

    name: str
    track: FaceTrack
    recording: Path
    text: str


def takes(folder: Path) -> Iterator[Take]:
    """Yield the clips of a folder, in the order of their names."""
    names = sorted({path.stem for path in folder.iterdir() if path.suffix != ".txt"})
    for name in names:
        stored = folder / f"{name}.npz"
        films = [folder / f"{name}{s}" for s in audio.VIDEO_SUFFIXES]
        film = next((path for path in films if path.is_file()), None)
        sounds = [folder / f"{name}{s}" for s in audio.AUDIO_SUFFIXES]
        sound = next((path for path in sounds if path.is_file()), film)
        if sound is None or not (stored.is_file() or film):
            continue
        if stored.is_file():
            track = read_track(stored)
        else:
            assert film is not None
            track = cached_track(film, cache_dir() / "tracks")
        written = folder / f"{name}.txt"
        words = [word.label for word in track.words if word.label not in ("sil", "sp")]
        text = written.read_text(encoding="utf-8") if written.is_file() else " ".join(words)
        yield Take(name, track, sound, " ".join(SPELLED.get(w, w) for w in text.split()))


def main() -> None:
    """Prepare the data set."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="films or face tracks of one talker")
    parser.add_argument("out", type=Path, help="prepared folder to write")
    parser.add_argument("--style", required=True, help="name of the speaking style")
    parser.add_argument("--share", type=float, default=1.0, help="share of the training clips")
    parser.add_argument("--readable", action="store_true", help="make all contacts and openings")
    parser.add_argument("--test", default="*[37][as]", help="names of clips kept for measurements")
    parser.add_argument("--val", default="*2n", help="names of validation clips")
    given = parser.parse_args()
    rig, rng = Rig.load(), np.random.default_rng(0)
    clips = [take for take in takes(given.folder) if not fnmatch.fnmatch(take.name, given.test)]
    rest = rest_of([take.track for take in clips])
    resting = [name.startswith(IDLE_UNITS) for name in rig.unit_names]
    writer = PreparedWriter(given.out, overwrite=False)
    for take in clips:
        is_val = fnmatch.fnmatch(take.name, given.val)
        if not is_val and rng.random() >= given.share:
            continue
        samples = audio.load(take.recording)
        try:
            phones = align(samples, take.text)
            fitted = fit_track(take.track, rest, FPS)
        except CodeTalkerError as error:
            print(f"{take.name} was left out: {error}", file=sys.stderr)
            continue
        if not fitted.valid.all():
            continue
        weights = np.where(resting, 0.0, fitted.curves.select(rig.unit_names).weights)
        spoken = padded_phones(phones, len(weights) / FPS)
        weights = make_readable(
            weights,
            spoken,
            FPS,
            rig,
            SpeakingStyle(),
            ("PP", "FF") if given.readable else ("FF",),
            openings=given.readable,
        )
        vertices = rig.pose(FACE, np.clip(weights, 0.0, 1.0))
        split = "val" if is_val else "train"
        name = f"{given.style}_{take.name}"
        writer.add(NewClip(name, given.style, split, vertices, samples, take.text))
    mesh = subject_mesh(rig, {given.style: FACE}, idle=True)
    writer.finish(DataSetFacts(given.out.name, FPS, [given.style]), mesh, {"face": FACE})


if __name__ == "__main__":
    main()
