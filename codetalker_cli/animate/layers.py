"""The layers that are added to the output of a model: idle motion, head motion and brows."""

from dataclasses import dataclass

import numpy as np

from codetalker_cli.animate.batch_decoding import Recording
from codetalker_cli.animate.request import Request
from codetalker_cli.rigs.brows import BrowMotion
from codetalker_cli.rigs.head_motion import head_rotation
from codetalker_cli.rigs.idle import IdleMotion
from codetalker_cli.rigs.rhythm import Rhythm
from codetalker_cli.topology import Mesh


@dataclass(frozen=True)
class Layers:
    """What is added to the output of the model.

    Attributes:
        idle: Blinks and gaze, or None.
        brows: The raise of the brows, or None.
        head: (T, 3) float32 rotation of the head, or None.
    """

    idle: IdleMotion | None = None
    brows: BrowMotion | None = None
    head: np.ndarray | None = None

    @classmethod
    def of(
        cls, mesh: Mesh, recording: Recording, request: Request, n_frames: int, fps: float
    ) -> "Layers":
        subject, seed = recording.subject, request.seed
        brows = spoken = None
        if request.moves_head:
            rhythm = Rhythm.of(recording.samples[recording.n_silent_samples :])
            spoken = rhythm, head_rotation(rhythm, n_frames, fps, seed)
            brows = BrowMotion.of(mesh, subject, rhythm, n_frames, fps, seed)
        idle = None
        if request.idle and mesh.idle_units:
            idle = IdleMotion.of(mesh, subject, n_frames, fps, seed, spoken)
        return cls(idle, brows, None if spoken is None else spoken[1])

    def add_to(self, vertices: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """Add the layers to the (n, V, 3) vertices of the model's frames in place."""
        for layer in (self.brows, self.idle):
            if layer is not None:
                layer.add_to(vertices, frames)
        return vertices
