"""What every reader gives: raw clips whose frames and sound are read when asked for, in pieces."""

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
    """Speech at its own rate.

    Attributes:
        samples: (n,) float32 mono.
        rate: Hertz.
    """

    samples: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.rate


@dataclass(frozen=True)
class RawClip:
    """One sentence of one subject, as it lies on disk.

    Attributes:
        name: Unique, safe as a file name: SUBJECT_SENTENCE.
        subject: Whose template the motion belongs to.
        sentence: What the rules of the splits go by.
        n_frames: Frames at the raw rate, or a good guess where only reading tells.
        stamp: Changes when the files it is read from do (see ``stamp_of``).
        open: Opens the frames; a context manager, since archives are unpacked for the time.
        read_audio: Reads the speech; raises a CodeTalkerError that names the file.
        text: What is said, where known.
    """

    name: str
    subject: str
    sentence: str
    n_frames: int
    stamp: str
    open: Callable[[], AbstractContextManager[Frames]]
    read_audio: Callable[[], RawAudio]
    text: str = ""


@dataclass(frozen=True)
class Problem:
    """Something about a clip that is not as one would expect.

    Attributes:
        clip: Name of the raw clip.
        kind: ``missing``: nothing is there (public data sets lack some clips); ``broken``: what is
            there cannot be used; ``hole``: frames are missing within; ``length``: sound and motion
            last differently; ``audio``: something about the sound was mended; ``unit``: the
            faces have an unlikely size.
        reason: One line.
    """

    clip: str
    kind: Literal["missing", "broken", "hole", "length", "audio", "unit"]
    reason: str


@dataclass(frozen=True)
class RawDataSet:
    """A raw data set, opened: nothing large is read yet.

    Attributes:
        fps: Raw frames a second.
        mesh: Topology, regions and templates, in the unit of the prepared data set.
        clips: In a fixed order.
        problems: What was found missing or unusable so far.
        notes: For the manifest: layout, rates, and the like.
        first_number: Number of the first frame of a clip that is whole (0 or 1).
    """

    fps: float
    mesh: Mesh
    clips: tuple[RawClip, ...]
    problems: tuple[Problem, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    first_number: int = 0


def stamp_of(files: Iterable[Path], *extra: Any) -> str:
    """Short hash of files' names, sizes and times of change, and of anything else that counts.

    Only looks at the folder entries: an archive of gigabytes is not read for it.
    """
    facts = [(path.name, (stat := path.stat()).st_size, stat.st_mtime_ns) for path in files]
    return hashlib.sha256(json.dumps([facts, extra], default=str).encode()).hexdigest()[:16]
