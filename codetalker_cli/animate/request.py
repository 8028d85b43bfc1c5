"""A recording to animate, with its options."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from codetalker_cli.audio.inputs import Speech
from codetalker_cli.errors import printable

Transcript = str | os.PathLike[str]
"""The words of a recording, or the path of a text file."""
_MAX_LISTED = 4
"""The most elements of a list or a mapping in a ``repr``."""


@dataclass(frozen=True)
class Request:
    """A recording and the options for animating it, which ``Voice.animate`` describes.

    Attributes:
        head: Whether to add head motion; None: the value of ``idle``.
        speech: The recording: a path, the content of a file, or samples.
        samples: The (n,) float32 samples at 16 kHz if a path has already been read, else None.
        sampling_rate: The rate of samples in hertz; None: 16 kHz, or what the speech states.
        needs_speech: Refuse a recording that is silent or shorter than 0.2 s. The commands do so,
            because it is usually a mistake.
        needs_transcript: Whether an unusable transcript is an error. If not, it is reported, and
            the recording is animated without it.
    """

    speech: Speech
    subject: str | None = None
    style: str | Mapping[str, float] | None = None
    seed: int = 0
    idle: bool = True
    fps: float | None = None
    head: bool | None = None
    samples: np.ndarray | None = None
    sampling_rate: float | None = None
    needs_speech: bool = False
    transcript: Transcript | None = None
    needs_transcript: bool = True

    @property
    def moves_head(self) -> bool:
        """Whether head motion is added."""
        return self.idle if self.head is None else self.head

    def __repr__(self) -> str:
        """Return the speech and the options that are not the default, without long arrays."""
        options = ""
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray) or value != field.default:
                options += f", {field.name}={_short(value)}"
        return f"Request({_short(self.speech)}{options})"


def _short(value: Any) -> str:
    """Return a short ``repr`` of speech or of an option, on one line."""
    if isinstance(value, str | os.PathLike):
        return repr(printable(os.fsdecode(value)))
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{memoryview(value).nbytes} bytes>"
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        return f"<{dtype} {type(value).__name__} {tuple(shape)}>" if shape else printable(value, 40)
    if isinstance(value, Mapping) and len(value) <= _MAX_LISTED:
        return "{" + ", ".join(f"{_short(k)}: {_short(v)}" for k, v in value.items()) + "}"
    if isinstance(value, tuple) and len(value) <= _MAX_LISTED:
        return "(" + ", ".join(map(_short, value)) + ")"
    if isinstance(value, Mapping | list | tuple):
        return f"<{type(value).__name__} of {len(value)}>"
    is_plain = value is None or isinstance(value, int | float)
    return repr(value) if is_plain else f"<{type(value).__name__}>"
