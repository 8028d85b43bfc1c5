"""The interface between the training loop and a stage."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import nn

from codetalker_cli.train.batches import Batch

Values = dict[str, float]


class Task(ABC):
    """A stage in training.

    Attributes:
        module: The module to train. Called with a ``Batch``, it returns named (B,) losses, one
            value per clip; ``loss`` is the one to minimize.
        lengths: The number of frames of each training clip that a step uses.
        encoder: The pretrained part of the module, or None.
        encoder_rate: The learning rate of ``encoder``, as a multiple of ``learning_rate``.
        unused_parameters: Whether a step can leave some weights without a gradient.
    """

    module: nn.Module
    lengths: Sequence[int]
    encoder: nn.Module | None = None
    encoder_rate = 1.0
    unused_parameters = False

    @abstractmethod
    def load(self, clips: Sequence[int], step: int) -> Batch:
        """Return a batch on the CPU; loader processes may call this concurrently."""

    @abstractmethod
    def validate(self, accelerator: Accelerator) -> Values:
        """Return named values of the validation split, the same in every process.

        The value ``score`` (lower is better) selects the best checkpoint. If it is missing, the
        training loss is used.
        """

    @abstractmethod
    def save(self, folder: Path, meta: dict[str, Any]) -> None:
        """Write a checkpoint with the entries of ``meta`` in its metadata."""

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that ``encoder_rate`` applies to."""
        return [] if self.encoder is None else list(self.encoder.parameters())

    def clip_name(self, clip: int) -> str:
        """Return the name of a training clip, for messages."""
        return str(clip)

    def after_step(self, accelerator: Accelerator, step: int) -> Values:
        """Run after each step, in every process, and return named values to log."""
        return {}

    def after_epoch(self, accelerator: Accelerator) -> Values:
        """Run after the last step of an epoch, in every process, and return values to log."""
        return {}

    def compile(self) -> None:  # noqa: B027 (a stage may have nothing to compile)
        """Compile the layers that take most of the time."""

    def sample(self, path: Path, n_frames: int) -> Path | None:
        """Render a validation clip next to the ground truth.

        Returns:
            The path of the video, or None if there is no validation clip.
        """
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return what the stage needs in order to resume, apart from its weights."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Restore what ``state_dict`` returned."""
