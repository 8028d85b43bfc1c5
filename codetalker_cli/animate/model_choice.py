"""Choose the model to animate with."""

import os
from dataclasses import dataclass
from pathlib import Path

from codetalker_cli.errors import CheckpointError
from codetalker_cli.models import checkpoint
from codetalker_cli.workspace import RUNS

ENVIRONMENT = "CODETALKER_MODEL"
"""The environment variable with the default model, by name or folder."""


@dataclass(frozen=True)
class Choice:
    """The folder of a model, and the reason why it was chosen."""

    folder: Path
    reason: str


def choose_model(model: str | None, subject: str | None) -> Choice:
    """Choose the model to animate with.

    The first of these that applies is chosen:

    1. ``model``, if it is given.
    2. The model in the environment variable CODETALKER_MODEL.
    3. The newest checkpoint under runs/ that has a template of ``subject``, if that is given.
    4. The bundled voice.

    Args:
        model: The name or folder of a checkpoint, or None.
        subject: The subject to animate, or None.

    Raises:
        CheckpointError: The named checkpoint does not exist, or there is no bundled voice.
    """
    if model is not None:
        return Choice(checkpoint.find(model), "given")
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Choice(checkpoint.find(named), f"from {ENVIRONMENT}")
    bundled = checkpoint.bundled()
    if subject is not None:
        for name, folder in checkpoint.available().items():
            # Prefer the best checkpoint of a run, although its last one is newer.
            is_candidate = name not in bundled and not name.endswith(checkpoint.LAST)
            if is_candidate and checkpoint.knows(folder, subject):
                return Choice(folder, f"the newest one under {RUNS}/ with the subject {subject}")
    if not bundled:
        raise CheckpointError(
            "this installation contains no bundled voice; give `model` with a checkpoint folder"
        )
    return Choice(bundled["demo"], "the bundled voice")
