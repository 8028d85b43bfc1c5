"""Speech → Motion with a loaded model: the choice of the model, the style, and idle motion."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codetalker_cli import audio
from codetalker_cli.animate.batch_decoding import BatchDecoder, Progress, Recording
from codetalker_cli.animate.jobs import Request
from codetalker_cli.devices import pick_device
from codetalker_cli.errors import CheckpointError, CodeTalkerError, InputError, printable
from codetalker_cli.models import checkpoint
from codetalker_cli.models.checkpoint import Checkpoint
from codetalker_cli.motion import Motion, VertexFrames, materialize
from codetalker_cli.presets import changed
from codetalker_cli.rigs.idle import IdleMotion
from codetalker_cli.workspace import RUNS

logger = logging.getLogger(__name__)

ENVIRONMENT = "CODETALKER_MODEL"
"""Environment variable that names the model to use when none is given."""
_REPORTED_GAIN_DB = 3.0
"""Smaller corrections of the level are not worth a message."""


# Styles -------------------------------------------------------------------------------------------


Styles = str | Mapping[str, float]


def style_weights(style: Styles, names: Sequence[str]) -> np.ndarray:
    """(n_styles,) float32 weights of the styles ``names``, summing to 1.

    Raises:
        InputError: A name that is none of them, or weights that mean nothing.
    """
    blend = parse_styles(style) if isinstance(style, str) else dict(style)
    weights = np.zeros(len(names), dtype=np.float32)
    for name, weight in blend.items():
        if name not in names:
            raise InputError(f"`style` {name!r} is unknown; this model has: {', '.join(names)}")
        weights[list(names).index(name)] += weight
    total = float(weights.sum())
    if not np.isfinite(total) or (weights < 0).any() or total <= 0:
        raise InputError(f"`style` {style}: weights must be positive")
    return weights / total


def parse_styles(text: str) -> dict[str, float]:
    """``"S01"`` or ``"S01:0.3,S02:0.7"`` → weights by name.

    Raises:
        InputError: The text has another form, or names a style twice.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, colon, number = part.strip().rpartition(":")
        if not colon:
            name, number = number, "1"
        if name in weights:
            raise InputError(f"`style` {text}: names {name} twice")
        try:
            weights[name] = float(number)
        except ValueError as error:
            raise InputError(
                f"`style` {text}: expected a name, or name:weight,name:weight"
            ) from error
    return weights


@dataclass(frozen=True)
class Choice:
    """A model, and why it was chosen."""

    folder: Path
    reason: str


def choose_model(model: str | None, subject: str | None) -> Choice:
    """The model to animate with.

    The order: the given one; CODETALKER_MODEL; a trained or imported checkpoint under runs/ that
    knows the given subject; the bundled voice.

    Raises:
        CheckpointError: There is none, or the named one does not exist.
    """
    if model is not None:
        return Choice(checkpoint.find(model), "given")
    named = os.environ.get(ENVIRONMENT)
    if named:
        return Choice(checkpoint.find(named), f"from {ENVIRONMENT}")
    bundled = checkpoint.bundled()
    if subject is not None:
        for name, folder in checkpoint.available().items():
            # A run's best speaks for it, though its last is newer.
            is_candidate = name not in bundled and not name.endswith(checkpoint.LAST)
            if is_candidate and checkpoint.knows(folder, subject):
                return Choice(folder, f"the newest under {RUNS}/ that knows {subject}")
    if not bundled:
        raise CheckpointError(
            "there is no bundled voice in this installation; give `model` with a checkpoint folder"
        )
    return Choice(bundled["demo"], "the bundled voice")


def load_voice(
    model: str | Path | None = None,
    *,
    subject: str | None = None,
    device: str = "auto",
    decode: Mapping[str, Any] | None = None,
) -> "Voice":
    """A voice by name (``demo``), by folder, or, with None, by the rule of ``choose_model``.

    Args:
        model: Name or folder.
        subject: Narrows the choice when no model is given.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        decode: Settings of the section ``decode`` that take the place of the checkpoint's.

    Raises:
        SettingsError: ``decode`` holds an unknown key or a value that fails its check.
        CheckpointError: Not found, damaged, or stage 1 only.
        InputError: The device does not exist.
    """
    choice = choose_model(None if model is None else str(model), subject)
    logger.info("model: %s (%s)", choice.folder, choice.reason)
    loaded = checkpoint.load(choice.folder)
    if loaded.model.speech is None:
        raise CheckpointError(
            f"{choice.folder} holds stage 1 only; train stage 2 with `codetalker train-speech`"
        )
    return Voice(loaded, pick_device(device), decode)


class Voice:
    """A loaded model that animates recordings.

    Attributes:
        checkpoint: The model with its settings and faces.
        device: Where it runs.
        decode: How it decodes.
    """

    def __init__(
        self,
        loaded: Checkpoint,
        device: torch.device,
        decode: Mapping[str, Any] | None = None,
    ) -> None:
        self.checkpoint = loaded
        self.device = device
        self.decode = changed("decode", loaded.settings.decode, decode or {})
        self._model = loaded.model.to(device)
        self._announced: set[str] = set()
        self._decoder = BatchDecoder(self._model, self.decode)

    @property
    def subjects(self) -> list[str]:
        """Whose faces it has."""
        return self.checkpoint.subjects

    @property
    def styles(self) -> list[str]:
        """Whose ways of speaking it learned."""
        return list(self.checkpoint.settings.data.train_subjects)

    def animate(
        self,
        speech: str | Path | np.ndarray,
        subject: str | None = None,
        style: Styles | None = None,
        *,
        seed: int = 0,
        idle: bool = True,
        fps: float | None = None,
        progress: Progress | None = None,
    ) -> Motion:
        """Make a face say a recording, of any length.

        Args:
            speech: An audio file, or (n,) float32 samples at 16 kHz.
            subject: Whose face; default the first.
            style: Whose way of speaking: a name, ``"S01:0.3,S02:0.7"``, or a mapping; default the
                subject's own, or the first for a face that was not trained on.
            seed: Of blinks and gaze.
            idle: Add blinks and gaze, where the face has them and speech does not tell them.
            fps: Frames a second of the result; default the model's.
            progress: Called with (frames done, frames) while decoding.

        Returns:
            The motion. Beyond 512 MB its vertices are no array but make themselves, some frames at
            a time (``codetalker_cli.motion.VertexFrames``).

        Raises:
            InputError: Unusable audio, unknown subject or style; the message lists the choices.
            CheckpointError: The checkpoint has no template for any face.
        """
        request = Request(speech, subject, style, seed, idle, fps)
        _, result = next(self.animate_many([request], progress))
        if isinstance(result, CodeTalkerError):
            raise result
        return result

    def animate_many(
        self, requests: Iterable[Request], progress: Progress | None = None
    ) -> Iterator[tuple[int, Motion | CodeTalkerError]]:
        """Make faces say many recordings, several at a time.

        Args:
            requests: Taken as they are needed.
            progress: Called with (frames decoded, frames known so far).

        Yields:
            The request's place and its motion, or why there is none; not always in their order.
        """
        failed: list[tuple[int, CodeTalkerError]] = []
        asked: dict[int, Request] = {}

        def prepared() -> Iterator[Recording]:
            for number, request in enumerate(requests):
                try:
                    recording = self._recording(number, request)
                except CodeTalkerError as error:
                    failed.append((number, error))
                    continue
                asked[number] = request
                yield recording

        for recording in self._decoder.run(prepared(), progress):
            yield from _drain(failed)
            yield recording.key, self._motion(recording, asked.pop(recording.key))
        yield from _drain(failed)

    def check(self, request: Request) -> tuple[str, np.ndarray]:
        """The subject and the (n_styles,) style weights of a request, whatever its speech.

        Raises:
            InputError: Unknown subject or style, or a frame rate that is none.
            CheckpointError: The checkpoint has no template for any face.
        """
        if request.fps is not None and not 1 <= request.fps <= 240:
            raise InputError(f"`fps` {request.fps:g}: expected 1 to 240 frames a second")
        subject = self._subject(request.subject)
        return subject, style_weights(self._style(request.style, subject), self.styles)

    def _recording(self, number: int, request: Request) -> Recording:
        """Everything about a request that can be wrong is found here."""
        subject, weights = self.check(request)
        speech, path = request.speech, None
        if isinstance(speech, np.ndarray):
            samples = _samples(speech)
        else:
            path = Path(speech)
            samples = audio.load(path) if request.samples is None else request.samples
        leveled = audio.raise_quiet_speech(samples)
        if leveled.gain_db >= _REPORTED_GAIN_DB:
            logger.info(
                "%s: the speech is quiet; raised by %.0f dB for the speech encoder",
                "speech" if path is None else printable(path),
                leveled.gain_db,
            )
        recording = Recording(number, leveled.samples, samples, path, subject, weights)
        self._decoder.prepare(recording)
        return recording

    def _motion(self, recording: Recording, request: Request) -> Motion:
        mesh, rate = self.checkpoint.mesh, self.checkpoint.settings.data.fps
        assert mesh is not None
        hidden, codes = recording.join()
        subject = recording.subject
        template = torch.from_numpy(mesh.templates[subject].astype(np.float32))[None]
        template = template.to(self.device)
        idle = None
        if request.idle and mesh.idle_units:
            idle = IdleMotion.of(mesh, subject, len(hidden), rate, request.seed)

        def make(frames: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                chosen = hidden[torch.from_numpy(frames)][None].to(self.device)
                vertices = self._model.vq.to_vertices(chosen, template)[0].cpu().numpy()
            return vertices if idle is None else idle.add_to(vertices, frames)

        motion = Motion(
            vertices=materialize(VertexFrames(len(hidden), mesh.topology.n_vertices, make)),
            fps=rate,
            topology=mesh.topology,
            subject=subject,
            template=mesh.templates[subject],
            colors=mesh.colors.get(subject),
            audio=recording.sound,
            audio_path=recording.path,
            codes=codes,
        )
        return motion if request.fps is None else motion.at_fps(request.fps)

    def _subject(self, name: str | None) -> str:
        known = self.subjects
        if not known:
            raise CheckpointError(
                f"{self.checkpoint.path}: holds no face; import it again with "
                "`templates` and `mesh_file`"
            )
        if name is None:
            return known[0]
        if name not in known:
            raise InputError(f"`subject` {name!r} is unknown; this model has: {', '.join(known)}")
        return name

    def _style(self, style: Styles | None, subject: str) -> Styles:
        """The given style, else the subject's own, else the first."""
        if style is not None:
            return style
        if subject in self.styles:
            return subject
        if subject not in self._announced:
            first = self.styles[0]
            logger.info("%s was not trained on; speaking in the style of %s", subject, first)
            self._announced.add(subject)
        return self.styles[0]


def _drain(
    failed: list[tuple[int, CodeTalkerError]],
) -> Iterator[tuple[int, CodeTalkerError]]:
    while failed:
        yield failed.pop(0)


def _samples(array: np.ndarray) -> np.ndarray:
    """(n,) floating-point samples, checked, as float32."""
    if array.ndim != 1 or array.dtype.kind != "f":
        raise InputError(
            f"speech: expected (n,) floating-point samples at {audio.SAMPLE_RATE} Hz within ±1, "
            f"got {array.shape} of {array.dtype}; codetalker_cli.audio converts"
        )
    return audio.check(array.astype(np.float32), "speech")
