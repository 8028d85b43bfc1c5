"""Choose and load a model, and animate recordings with it."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from codetalker_cli import audio
from codetalker_cli.animate.assembly import Assembly, MotionPart
from codetalker_cli.animate.batch_decoding import BatchDecoder, Progress, Recording
from codetalker_cli.animate.live_windows import LOOKAHEAD_SECONDS, LiveWindows, WindowDecoder
from codetalker_cli.animate.model_choice import choose_model
from codetalker_cli.animate.names import Names, stage1_only
from codetalker_cli.animate.request import Request, Transcript
from codetalker_cli.animate.stream import Stream, StreamFace
from codetalker_cli.animate.styles import Styles
from codetalker_cli.animate.transcripts import timed_phones
from codetalker_cli.audio.inputs import Speech, checked_rate, read_speech
from codetalker_cli.devices import pick_device
from codetalker_cli.errors import CodeTalkerError, InputError, counted, printable
from codetalker_cli.failures import to_error
from codetalker_cli.models import checkpoint
from codetalker_cli.models.checkpoint import Checkpoint
from codetalker_cli.motion import Motion
from codetalker_cli.presets import changed
from codetalker_cli.rigs.live_idle import LiveIdle
from codetalker_cli.rigs.solve import frame_solver
from codetalker_cli.rigs.units import UnitSet

logger = logging.getLogger(__name__)

_REPORTED_GAIN_DB = 3.0
"""The smallest correction of the level, in decibels, that is reported."""


def load_voice(
    model: str | Path | None = None,
    *,
    subject: str | None = None,
    device: str = "auto",
    decode: Mapping[str, Any] | None = None,
    request: Request | None = None,
) -> "Voice":
    """Load a model for animation.

    Args:
        model: The name (e.g. ``demo``) or folder of a checkpoint; None: see ``choose_model``.
        subject: The subject to animate, which affects the choice if ``model`` is None.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        decode: Settings of the section ``decode`` that override those of the checkpoint.
        request: A request whose options are checked before the weights are read, or None.

    Raises:
        SettingsError: ``decode`` contains an unknown key or an invalid value.
        CheckpointError: The checkpoint is not found, is damaged, or contains only stage 1.
        InputError: The device does not exist, or an option of ``request`` is invalid.
    """
    chosen_device = pick_device(device)
    choice = choose_model(None if model is None else str(model), subject)
    logger.info("model: %s (%s)", choice.folder, choice.reason)
    names = Names.read(choice.folder)
    if names is not None and request is not None:
        names.check(request)
    loaded = checkpoint.load(choice.folder)
    if loaded.model.speech is None:
        raise stage1_only(choice.folder)
    return Voice(loaded, chosen_device, decode)


class Voice:
    """A loaded model that animates recordings.

    Several threads can use a voice. A pickled voice contains the path of its checkpoint, from which
    it is loaded again; a voice without a path is pickled with its weights.

    Attributes:
        checkpoint: The checkpoint with the model, its settings and its mesh.
        device: The device that the model runs on.
        decode: The decoding settings.
    """

    def __init__(
        self,
        loaded: Checkpoint,
        device: torch.device,
        decode: Mapping[str, Any] | None = None,
    ) -> None:
        self.checkpoint = loaded
        self.device = device
        others = {"speech": loaded.settings.speech}
        self.decode = changed("decode", loaded.settings.decode, decode or {}, others)
        self._folder = None if loaded.path is None else loaded.path.absolute()
        self._decode_changes = dict(decode or {})
        self._model = loaded.model.to(device)
        self._announced: set[str] = set()
        self._names = Names(str(loaded.path or "the checkpoint"), self.subjects, self.styles)
        self._decoder = BatchDecoder(self._model, self.decode)
        self._windows: WindowDecoder | None = None

    def __repr__(self) -> str:
        """Return the name, the size and the device."""
        name = "without a path" if self.checkpoint.path is None else printable(self.checkpoint.path)
        return (
            f"<Voice {name}: {counted(len(self.subjects), 'subject')}, "
            f"{counted(len(self.styles), 'style')}, "
            f"{self.checkpoint.settings.data.fps:g} fps, on {self.device}>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the call that loads the voice again; see the class."""
        if self._folder is None:
            return Voice, (self.checkpoint, self.device, self._decode_changes)
        return _load_again, (self._folder, str(self.device), self._decode_changes)

    @property
    def subjects(self) -> list[str]:
        """The subjects that can be animated."""
        return self.checkpoint.subjects

    @property
    def styles(self) -> list[str]:
        """The speaking styles, which are named after the training subjects."""
        return list(self.checkpoint.settings.data.train_subjects)

    def animate(
        self,
        speech: Speech,
        subject: str | None = None,
        style: Styles | None = None,
        *,
        sampling_rate: float | None = None,
        seed: int = 0,
        idle: bool = True,
        head: bool | None = None,
        fps: float | None = None,
        transcript: Transcript | None = None,
        progress: Progress | None = None,
    ) -> Motion:
        """Animate a face with a recording of any length.

        Silence gives the neutral face with idle motion. With ``idle=False``, the motion is the
        output of the model alone.

        Args:
            speech: The path of an audio or video file; its content, as bytes or as an open binary
                file; samples, as a NumPy array, a PyTorch tensor or a list; a pair of a rate and
                samples; or a mapping with ``array`` and ``sampling_rate``. ``read_speech`` in
                ``codetalker_cli.audio.inputs`` describes shapes and types.
            subject: The subject whose face is animated; default: the first one.
            style: The speaking style: a name, a blend such as ``"S01:0.3,S02:0.7"``, or a mapping
                of names to weights; default: the style of the subject, or the first style if the
                subject was not in the training data.
            sampling_rate: The rate of the samples in hertz; default: 16 kHz.
            seed: The random seed for blinks, gaze and head motion.
            idle: Add idle motion (blinks and gaze), if the face supports it.
            head: Add head motion that follows the rhythm of the speech: a rotation, which
                ``Motion.head`` contains and the vertices do not, and raised brows on accents, if
                the face supports them; default: the value of ``idle``.
            fps: The frame rate of the result; default: that of the model.
            transcript: The English words of the speech, or the path of a text file. They are
                aligned with the speech (this needs pocketsphinx), and the lips are moved where they
                miss a p, b, m, f or v; see ``enforce_contacts``.
            progress: Called with (frames done, frames) during decoding.

        Returns:
            The motion, with at least one frame. If its vertices exceed 512 MB, they are not an
            array but are computed on access (``codetalker_cli.motion.VertexFrames``).

        Raises:
            InputError: The speech is unusable, ``fps`` is invalid, or the subject or style is
                unknown (the message lists the choices), or the transcript cannot be read.
            DataError: The transcript does not match the speech, or the mesh has no paired inner
                lips.
            MissingDependencyError: A transcript is given, but pocketsphinx is not installed.
            CheckpointError: The checkpoint contains no templates.
        """
        request = Request(
            speech, subject, style, seed, idle, fps, head, sampling_rate=sampling_rate
        )
        request = replace(request, transcript=transcript)
        _, result = next(self._results([request], progress))
        if isinstance(result, Exception):
            raise result
        return result

    def animate_many(
        self, requests: Iterable[Request | Speech], progress: Progress | None = None
    ) -> Iterator[tuple[int, Motion | CodeTalkerError]]:
        """Animate faces with several recordings, which are decoded in batches.

        Args:
            requests: The recordings, in any form that ``animate`` accepts; a ``Request`` contains
                options too. The iterable is consumed only as far as needed.
            progress: Called with (frames decoded, frames of all recordings read so far).

        Yields:
            The index of a request, and its motion or the error that prevented it. The order can
            differ from that of the requests.

        Raises:
            InputError: ``requests`` is a single recording.
        """
        if isinstance(requests, str | bytes | os.PathLike | Mapping | Request):
            raise InputError("animate_many expects a list of recordings, but got a single one")
        for number, result in self._results(requests, progress):
            yield number, to_error(result) if isinstance(result, Exception) else result

    def animate_in_parts(
        self, request: Request, progress: Progress | None = None
    ) -> Iterator[MotionPart]:
        """Animate a recording, and yield its motion whenever more of its frames are known.

        The last part is the whole motion, which equals that of ``animate``. Vertices are computed
        on access. With a transcript, the whole motion is the only part.

        Args:
            request: The recording and its options.
            progress: Called with (frames done, frames) during decoding.

        Raises:
            CodeTalkerError: See ``animate``.
        """
        recording = self._recording(0, request)
        assembly = self._assembly(recording, request)
        n_known = 0
        for _ in self._decoder.run([recording], progress, with_parts=True):
            if recording.error is not None:
                raise recording.error
            part = assembly.part()
            if part.n_known > n_known:
                n_known = part.n_known
                yield part

    def stream(
        self,
        subject: str | None = None,
        style: Styles | None = None,
        *,
        sampling_rate: int = audio.SAMPLE_RATE,
        lookahead_seconds: float = LOOKAHEAD_SECONDS,
        seed: int = 0,
        idle: bool = True,
        head: bool | None = None,
        units: UnitSet | None = None,
    ) -> Stream:
        """Return a stream, which animates live speech.

        Args:
            subject: The subject whose face is animated; default: the first one.
            style: The speaking style, as for ``animate``.
            sampling_rate: The rate of the samples in hertz.
            lookahead_seconds: How much sound after a frame is used for it, which delays the frame.
            seed: The random seed for blinks, gaze and head motion.
            idle: Add blinks and gaze, if the face supports them.
            head: Add the rotation of the head, which ``StreamFrame.head`` contains and the vertices
                do not; default: the value of ``idle``. Brows are not raised.
            units: The units of the face in meters, whose weights the frames contain; None: ARKit's
                52 units for the bundled head, and no weights for other faces.

        Raises:
            InputError: The subject or style is unknown, or a number is invalid.
            CheckpointError: The checkpoint contains no templates.
        """
        request = Request(np.zeros(0), subject, style, seed, idle, head=head)
        subject, weights = self.check(request)
        rate, left = checked_rate(sampling_rate), self.decode.live_left_seconds
        lengths = LiveWindows.of(lookahead_seconds, left)
        mesh, fps = self.checkpoint.mesh, self.checkpoint.settings.data.fps
        assert mesh is not None
        if self._windows is None:
            self._windows = WindowDecoder(self._model, self.decode)
        solver = frame_solver(mesh.topology, subject, units)
        moves = LiveIdle(mesh, subject, fps, seed) if idle and mesh.idle_units else None
        head_seed = seed if request.moves_head else None
        face = StreamFace(mesh.templates[subject].astype(np.float32), solver, moves, head_seed)
        return Stream(self._windows, face, weights, lengths, rate)

    def _results(
        self, requests: Iterable[Request | Speech], progress: Progress | None
    ) -> Iterator[tuple[int, Motion | Exception]]:
        """Yield the results of ``animate_many``, with unexpected exceptions as they are."""
        failed: list[tuple[int, Exception]] = []
        asked: dict[int, Request] = {}

        def prepared() -> Iterator[Recording]:
            for number, given in enumerate(requests):
                request = given if isinstance(given, Request) else Request(given)
                try:
                    recording = self._recording(number, request)
                except Exception as error:
                    failed.append((number, error))
                    continue
                asked[number] = request
                yield recording

        for recording in self._decoder.run(prepared(), progress):
            yield from _drain(failed)
            request = asked.pop(recording.key)
            if recording.error is not None:
                yield recording.key, recording.error
                continue
            try:
                result: Motion | Exception = self._assembly(recording, request).motion()
            except Exception as error:
                result = error
            yield recording.key, result
        yield from _drain(failed)

    def check(self, request: Request) -> tuple[str, np.ndarray]:
        """Check the options of a request, but not its recording; see ``Names.check``."""
        subject, weights = self._names.check(request)
        if request.style is None and subject not in self.styles and subject not in self._announced:
            logger.info(
                "%s was not in the training data; using the style of %s", subject, self.styles[0]
            )
            self._announced.add(subject)  # log this once per subject
        return subject, weights

    def _recording(self, number: int, request: Request) -> Recording:
        # An invalid request fails here, before its batch is decoded.
        subject, weights = self.check(request)
        samples, path = _read(request)
        assert self.checkpoint.mesh is not None
        phones = timed_phones(request, samples, self.checkpoint.mesh.topology, _name(path))
        recording = Recording(number, samples, samples, path, subject, weights, phones)
        if float(np.abs(samples).max()) < audio.SILENCE_PEAK:
            return recording  # without segments, because there is nothing to decode
        leveled = audio.raise_quiet_speech(samples)
        if leveled.gain_db >= _REPORTED_GAIN_DB:
            logger.info(
                "%s: the speech is quiet; raised by %.0f dB for the speech encoder",
                _name(path),
                leveled.gain_db,
            )
        rate = self.checkpoint.settings.data.fps
        recording.set_speech(leveled.samples, self.decode.initial_silence_seconds, rate)
        self._decoder.prepare(recording)
        return recording

    def _assembly(self, recording: Recording, request: Request) -> Assembly:
        mesh = self.checkpoint.mesh
        assert mesh is not None
        return Assembly(self._model, mesh, recording, request, self._names.origin)


def _drain(
    failed: list[tuple[int, Exception]],
) -> Iterator[tuple[int, Exception]]:
    while failed:
        yield failed.pop(0)


def _load_again(folder: Path, device: str, decode: Mapping[str, Any]) -> Voice:
    return load_voice(folder, device=device, decode=decode)


def _read(request: Request) -> tuple[np.ndarray, Path | None]:
    """Return (n,) float32 samples at 16 kHz, and the path if there is one."""
    speech = request.speech
    if request.samples is None:
        samples, path = read_speech(speech, request.sampling_rate)
    else:
        samples, path = request.samples, Path(speech) if isinstance(speech, str | Path) else None
    if request.needs_speech:
        audio.check(samples, _name(path))
    return samples, path


def _name(path: Path | None) -> str:
    return "speech" if path is None else printable(path)
