"""The types that every reader returns: raw clips whose frames and speech are read on demand."""

import hashlib
import json
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from codetalker_cli.formats.frames import Frames
from codetalker_cli.topology import Mesh


@dataclass(frozen=True)
class RawAudio:
    """Speech at its original sample rate.

    Attributes:
        samples: (n,) float32 mono samples.
        rate: The sample rate in hertz.
    """

    samples: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class RawClip:
    """One sentence of one subject, in files on disk.

    Attributes:
        name: The unique name, SUBJECT_SENTENCE; also used as a file name.
        subject: The subject whose template the motion belongs to.
        sentence: The name of the sentence, which the rules of the splits refer to.
        n_frames: The number of frames at the raw rate, or an estimate if it is not known in
            advance.
        stamp: A hash that changes with the files of the clip (see ``stamp_of``).
        open: A function that opens the frames. It returns a context manager, because archives are
            unpacked temporarily.
        read_audio: A function that reads the speech. If that fails, it raises a CodeTalkerError
            that names the file.
        text: The spoken text, if known.
        first_number: The number of the frame that is shown when the speech starts. None: it is
            inferred from the lengths of motion and speech.
        problems: What the reader reports about the clip, which is prepared nevertheless.
    """

    name: str
    subject: str
    sentence: str
    n_frames: int
    stamp: str
    open: Callable[[], AbstractContextManager[Frames]]
    read_audio: Callable[[], RawAudio]
    text: str = ""
    first_number: int | None = None
    problems: "tuple[Problem, ...]" = ()


@dataclass(frozen=True)
class Problem:
    """A problem of a raw clip.

    Attributes:
        clip: The name of the raw clip, or of a subject.
        kind: ``missing``: no data was found (public data sets lack some clips); ``broken``: the
            data cannot be used; ``hole``: frames are missing; ``length``: the lengths of audio
            and motion differ; ``audio``: the audio was repaired; ``unit``: the size of the
            template is implausible; ``face``: the film shows no face, several, or a small one;
            ``sync``: motion and audio seem to be shifted.
        reason: A one-line description.
    """

    clip: str
    kind: Literal["missing", "broken", "hole", "length", "audio", "unit", "face", "sync"]
    reason: str


@dataclass(frozen=True)
class RawDataSet:
    """An opened raw data set, whose clips have not been read yet.

    Attributes:
        fps: The raw frame rate.
        mesh: The topology, regions and templates, in the unit of the prepared data set.
        clips: The clips, in an order that is the same in every run.
        problems: The clips that the reader already found missing or broken.
        notes: Facts for the manifest, such as the layout and the frame rate.
        first_number: The number of the first frame of a complete clip (0 or 1).
    """

    fps: float
    mesh: Mesh
    clips: tuple[RawClip, ...]
    problems: tuple[Problem, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    first_number: int = 0


def stamp_of(files: Iterable[Path], *extra: Any) -> str:
    """Return a short hash of the names, sizes and modification times of files, and of ``extra``.

    The files are not opened, because an archive can be many gigabytes large.
    """
    facts = [(path.name, (stat := path.stat()).st_size, stat.st_mtime_ns) for path in files]
    return hashlib.sha256(json.dumps([facts, extra], default=str).encode()).hexdigest()[:16]
