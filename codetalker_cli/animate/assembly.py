"""Make the motion of a recording from its decoded segments, while the others are decoded."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from codetalker_cli import audio
from codetalker_cli.animate.batch_decoding import Joined, Recording
from codetalker_cli.animate.layers import Layers
from codetalker_cli.animate.lip_contacts import enforce_contacts
from codetalker_cli.animate.request import Request
from codetalker_cli.errors import CheckpointError
from codetalker_cli.face_fit import prediction_fault
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.motion import Motion, VertexFrames, Vertices, materialize
from codetalker_cli.topology import Mesh

_CHECKED_FRAMES = 5
"""The number of predicted frames whose vertices are checked for plausible positions."""


@dataclass(frozen=True, eq=False)
class MotionPart:
    """A motion of which the frames from the start are known.

    Attributes:
        motion: The motion, with all of its frames. Those that are not known can have any values,
            and change until the last part.
        n_known: The number of frames that have their final values.
    """

    motion: Motion
    n_known: int

    @property
    def is_whole(self) -> bool:
        """Whether all frames are known."""
        return self.n_known == self.motion.n_frames


class Assembly:
    """The motion of a recording.

    Args:
        model: The model that decodes the recording.
        mesh: Its mesh.
        recording: The recording, which is prepared.
        request: What was asked for.
        origin: The name of the checkpoint, for messages.
    """

    def __init__(
        self, model: CodeTalker, mesh: Mesh, recording: Recording, request: Request, origin: str
    ) -> None:
        self._model, self._mesh, self._recording = model, mesh, recording
        self._request, self._origin = request, origin
        self._fps = model.settings.data.fps
        n_frames = max(1, audio.whole_frames(len(recording.sound), audio.SAMPLE_RATE, self._fps))
        if recording.segments:
            n_decoded = recording.n_frames - recording.n_silent
            is_padded = len(recording.samples) > len(recording.sound)
            n_frames = min(n_frames, n_decoded) if is_padded else n_decoded
        self._n_frames = n_frames
        self._layers = Layers.of(mesh, recording, request, n_frames, self._fps)

    def motion(self) -> Motion:
        """Return the motion of a recording that is decoded; small vertices are an array.

        Raises:
            CheckpointError: The model predicts implausible positions.
        """
        frames, codes, _ = self._frames()
        motion = self._with(materialize(frames), codes)
        if self._request.fps is not None:
            motion = motion.at_fps(self._request.fps)
        return self._finished(motion)

    def part(self) -> MotionPart:
        """Return the motion with the segments that are decoded; vertices are computed on access.

        Raises:
            CheckpointError: The model predicts implausible positions.
        """
        frames, codes, n_known = self._frames()
        motion = self._with(frames, codes)
        is_whole, fps = n_known == self._n_frames, self._request.fps
        if fps is not None:
            motion = motion.at_fps(fps, lazy=True)
            # A frame is interpolated between two frames of the model.
            n_known = max(0, int((n_known - 2) * fps / self._fps) + 1) if n_known > 1 else 0
        if is_whole:
            return MotionPart(self._finished(motion), motion.n_frames)
        return MotionPart(motion, 0 if self._recording.phones is not None else n_known)

    def _frames(self) -> tuple[VertexFrames, np.ndarray | None, int]:
        """Return the vertices, the codes, and the number of frames that are known."""
        recording, n_frames = self._recording, self._n_frames
        joined = recording.join() if recording.segments else None
        n_known = n_frames if joined is None else min(joined.n_known, n_frames)
        hidden = None if joined is None else joined.hidden[:n_frames]
        frames = self._vertices(hidden)
        self._check(frames, joined, n_known)
        codes = None if joined is None else joined.codes[:n_frames].int().numpy()
        return frames, codes, n_known

    def _vertices(self, hidden: Tensor | None) -> VertexFrames:
        """Return the vertices of (T, H) hidden states, or of silence."""
        neutral = self._neutral
        vq = self._model.vq
        device = next(vq.parameters()).device
        template = torch.from_numpy(neutral)[None].to(device)

        def make(frames: np.ndarray) -> np.ndarray:
            if hidden is None:  # silence
                vertices = np.repeat(neutral[None], len(frames), axis=0)
            else:
                with torch.no_grad():
                    chosen = hidden[torch.from_numpy(frames)][None].to(device)
                    vertices = vq.to_vertices(chosen, template)[0].cpu().numpy()
            return self._layers.add_to(vertices, frames)

        return VertexFrames(self._n_frames, self._mesh.topology.n_vertices, make)

    def _check(self, frames: VertexFrames, joined: Joined | None, n_known: int) -> None:
        if not n_known:
            return
        some = np.unique(np.linspace(0, n_known - 1, _CHECKED_FRAMES).astype(int))
        is_finite = joined is None or bool(torch.isfinite(joined.hidden[:n_known]).all())
        fault = prediction_fault(frames[some] if is_finite else np.array(np.nan), self._neutral)
        if fault:
            raise CheckpointError(f"{self._origin}: {fault}; the weights may be damaged")

    @property
    def _neutral(self) -> np.ndarray:
        return self._mesh.templates[self._recording.subject].astype(np.float32)

    def _with(self, vertices: Vertices, codes: np.ndarray | None) -> Motion:
        mesh, recording = self._mesh, self._recording
        return Motion(
            vertices=vertices,
            fps=self._fps,
            topology=mesh.topology,
            subject=recording.subject,
            template=mesh.templates[recording.subject],
            colors=mesh.colors.get(recording.subject),
            audio=recording.sound,
            audio_path=recording.path,
            codes=codes,
            head=self._layers.head,
        )

    def _finished(self, motion: Motion) -> Motion:
        # Resampling would part lips that are shut for few frames, so they are moved afterwards.
        phones = self._recording.phones
        return motion if phones is None else enforce_contacts(motion, phones)
