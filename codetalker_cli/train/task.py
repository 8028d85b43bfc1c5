"""What the training loop needs of a stage."""

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
        module: Whose parameters are trained. Called with a ``Batch``, it gives named (B,)
            losses, one number a clip; ``loss`` is the one to lower.
        lengths: Frames that a step sees of each training clip.
        encoder: The part of it that was trained before on something else.
        encoder_rate: Learning rate of that part, as a factor of the rest's.
        unused_parameters: Whether a step may leave some weights without a gradient.
    """

    module: nn.Module
    lengths: Sequence[int]
    encoder: nn.Module | None = None
    encoder_rate = 1.0
    unused_parameters = False

    @abstractmethod
    def load(self, clips: Sequence[int], step: int) -> Batch:
        """A batch on the CPU; several processes may ask at once."""

    @abstractmethod
    def validate(self, accelerator: Accelerator) -> Values:
        """Values of the validation split, the same in every process.

        ``score`` (lower is better) chooses the best checkpoint; without one the training loss does.
        """

    @abstractmethod
    def save(self, folder: Path, meta: dict[str, Any]) -> None:
        """Write a checkpoint."""

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that ``encoder_rate`` is about."""
        return [] if self.encoder is None else list(self.encoder.parameters())

    def clip_name(self, clip: int) -> str:
        """Of a training clip, for messages."""
        return str(clip)

    def after_step(self, accelerator: Accelerator, step: int) -> Values:
        """Called in every process when the weights were moved; gives values to show."""
        return {}

    def after_epoch(self, accelerator: Accelerator) -> Values:
        """Called in every process after the last step of an epoch."""
        return {}

    def compile(self) -> None:  # noqa: B027 (a stage may have nothing to compile)
        """Compile the layers that take the time."""

    def sample(self, path: Path, n_frames: int) -> Path | None:
        """Write a video of a clip beside the truth; gives its path, or None if there is none."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """What the stage must know to go on, besides its weights."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Take up what ``state_dict`` gave."""
