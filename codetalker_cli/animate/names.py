"""The subjects and styles of a model, which are known before its weights are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import TypeGuard

import numpy as np

from codetalker_cli.animate.request import Request
from codetalker_cli.animate.styles import Styles, style_weights
from codetalker_cli.errors import CheckpointError, InputError, printable
from codetalker_cli.models import checkpoint

MIN_FPS, MAX_FPS = 1, 240
"""The frame rates to which motion is resampled."""


@dataclass(frozen=True)
class Names:
    """The names that the options of a request can contain.

    Attributes:
        origin: The path of the checkpoint, for messages.
        subjects: The subjects that can be animated; the first one is the default.
        styles: The speaking styles.
    """

    origin: str
    subjects: Sequence[str]
    styles: Sequence[str]

    @classmethod
    def read(cls, folder: Path) -> "Names | None":
        """Read the names of a checkpoint from its ``meta.json``; None if it does not list them.

        Raises:
            CheckpointError: The checkpoint contains only stage 1.
        """
        meta = checkpoint.read_meta(folder)
        if meta.get("stage") == "vq":
            raise stage1_only(folder)
        subjects, styles = meta.get("subjects"), meta.get("styles")
        if not (_are_names(subjects) and _are_names(styles) and styles):
            return None
        return cls(str(folder), subjects, styles)

    def check(self, request: Request) -> tuple[str, np.ndarray]:
        """Check the options of a request, but not its recording.

        Returns:
            The subject, and (n_styles,) style weights.

        Raises:
            InputError: The subject or style is unknown, or the frame rate is invalid.
            CheckpointError: The checkpoint contains no templates.
        """
        check_numbers(request)
        subject = self._subject(request.subject)
        return subject, style_weights(self.style(request.style, subject), self.styles)

    def style(self, style: Styles | None, subject: str) -> Styles:
        """Return ``style`` if it is given, else the style of the subject, else the first one."""
        if style is not None:
            return style
        return subject if subject in self.styles else self.styles[0]

    def _subject(self, name: str | None) -> str:
        if not self.subjects:
            raise CheckpointError(
                f"{self.origin}: the checkpoint contains no templates to animate; import it again "
                "with `templates` and `mesh_file`"
            )
        if name is None:
            return self.subjects[0]
        if name not in self.subjects:
            raise InputError(
                f"`subject` {printable(repr(name))} is unknown; this model has: "
                f"{', '.join(self.subjects)}"
            )
        return name


def check_numbers(request: Request) -> None:
    """Check the options of a request that do not depend on the model.

    Raises:
        InputError: The frame rate or the seed is invalid.
    """
    if request.fps is not None and not isinstance(request.fps, Real):
        raise InputError(f"`fps` {request.fps!r}: expected a number of frames per second")
    if not isinstance(request.seed, Integral) or request.seed < 0:
        raise InputError(f"`seed` {request.seed!r}: expected an integer from 0 on")
    if request.fps is not None and not MIN_FPS <= request.fps <= MAX_FPS:
        raise InputError(
            f"`fps` {request.fps:g}: expected {MIN_FPS} to {MAX_FPS} frames per second"
        )


def _are_names(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def stage1_only(folder: Path) -> CheckpointError:
    """Return the error for a checkpoint that cannot animate speech."""
    return CheckpointError(
        f"{folder}: the checkpoint contains only stage 1; train stage 2 with `codetalker "
        "train-speech`"
    )
