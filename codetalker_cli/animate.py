"""Speech → Motion with a trained voice: choosing the model, the style, and the idle life."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from codetalker_cli import audio
from codetalker_cli.data.synthetic.liveliness import idle_weights
from codetalker_cli.errors import CheckpointError, InputError
from codetalker_cli.models import checkpoint
from codetalker_cli.models.checkpoint import Checkpoint
from codetalker_cli.motion import Motion

logger = logging.getLogger(__name__)

ENVIRONMENT = "CODETALKER_MODEL"
"""Environment variable that names the model to use without ``--model``."""

Progress = Callable[[int, int], None]
Styles = str | Mapping[str, float]


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
                return Choice(folder, f"the newest under {checkpoint.RUNS}/ that knows {subject}")
    if not bundled:
        raise CheckpointError(
            "there is no bundled voice in this installation; give --model with a checkpoint folder"
        )
    return Choice(bundled["demo"], "the bundled voice")


def load_voice(
    model: str | Path | None = None, *, subject: str | None = None, device: str = "auto"
) -> "Voice":
    """A voice by name (``demo``), by folder, or, with None, by the rule of :func:`choose_model`.

    Raises:
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
    return Voice(loaded, pick_device(device))


def pick_device(name: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps`` → a device that works.

    Raises:
        InputError: There is no such device here.
    """
    # cuDNN's convolutions would round float32 to TF32, and codes would differ from the CPU's.
    torch.backends.cudnn.allow_tf32 = False
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        mps = torch.backends.mps.is_available()
        return torch.device("mps" if mps else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise InputError(f"--device {name}: not usable here ({reason}); use auto or cpu") from error
    return device


class Voice:
    """A loaded model that animates recordings.

    Attributes:
        checkpoint: The model with its settings and faces.
        device: Where it runs.
    """

    def __init__(self, loaded: Checkpoint, device: torch.device) -> None:
        self.checkpoint = loaded
        self.device = device
        self._model = loaded.model.to(device)

    @property
    def subjects(self) -> list[str]:
        """Whose faces it has."""
        return self.checkpoint.subjects

    @property
    def styles(self) -> list[str]:
        """Whose ways of speaking it learnt."""
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
        """Make a face say a recording.

        Args:
            speech: An audio file, or (n,) float32 samples at 16 kHz.
            subject: Whose face; default the first.
            style: Whose way of speaking: a name, ``"S01:0.3,S02:0.7"``, or a mapping; default the
                subject's own, or the first for a face that was not trained on.
            seed: Of blinks and gaze.
            idle: Add blinks and gaze, where the face has them and speech does not tell them.
            fps: Frames a second of the result; default the model's.
            progress: Called with (frames done, frames) while decoding.

        Raises:
            InputError: Unusable audio, unknown subject or style; the message lists the choices.
            CheckpointError: The checkpoint has no template for any face.
        """
        if fps is not None and not 1 <= fps <= 240:
            raise InputError(f"--fps {fps:g}: expected 1 to 240 frames a second")
        path = None if isinstance(speech, np.ndarray) else Path(speech)
        samples = _samples(speech) if isinstance(speech, np.ndarray) else audio.load(speech)
        subject = self._subject(subject)
        weights = self._style_weights(style, subject)
        vertices, codes = self._run(samples, subject, weights, progress)
        mesh = self.checkpoint.mesh
        assert mesh is not None
        rate = self.checkpoint.settings.data.fps
        if idle:
            vertices = self._with_idle(vertices, subject, rate, seed)
        motion = Motion(
            vertices=vertices,
            fps=rate,
            topology=mesh.topology,
            subject=subject,
            template=mesh.templates[subject],
            colours=mesh.colours.get(subject),
            audio=samples,
            audio_path=path,
            codes=codes,
        )
        return motion if fps is None else motion.at_fps(fps)

    @torch.no_grad()
    def _run(
        self, samples: np.ndarray, subject: str, weights: np.ndarray, progress: Progress | None
    ) -> tuple[np.ndarray, np.ndarray]:
        mesh, speech = self.checkpoint.mesh, self._model.speech
        assert mesh is not None
        assert speech is not None
        prepared = speech.encoder.prepare(torch.from_numpy(samples)[None].to(self.device))
        template = torch.from_numpy(mesh.templates[subject].astype(np.float32))[None]
        made = self._model.animate(
            prepared,
            template.to(self.device),
            torch.from_numpy(weights)[None].to(self.device),
            progress,
        )
        return made.vertices[0].cpu().numpy(), made.codes[0].int().cpu().numpy()

    def _subject(self, name: str | None) -> str:
        known = self.subjects
        if not known:
            raise CheckpointError(
                f"{self.checkpoint.path}: holds no face; import it again with "
                "--templates templates.pkl --faces MESH.ply"
            )
        if name is None:
            return known[0]
        if name not in known:
            raise InputError(f"--subject {name}: unknown; this model has: {', '.join(known)}")
        return name

    def _style_weights(self, style: Styles | None, subject: str) -> np.ndarray:
        """(n_styles,) float32 weights, summing to 1."""
        names = self.styles
        if style is None:
            style = subject if subject in names else names[0]
            if style != subject:
                logger.info("%s was not trained on; speaking in the style of %s", subject, style)
        blend = parse_styles(style) if isinstance(style, str) else dict(style)
        weights = np.zeros(len(names), dtype=np.float32)
        for name, weight in blend.items():
            if name not in names:
                raise InputError(f"--style {name}: unknown; this model has: {', '.join(names)}")
            weights[names.index(name)] += weight
        total = float(weights.sum())
        if not np.isfinite(total) or (weights < 0).any() or total <= 0:
            raise InputError(f"--style {style}: weights must be positive")
        return weights / total

    def _with_idle(self, vertices: np.ndarray, subject: str, fps: float, seed: int) -> np.ndarray:
        """Blinks and gaze on top: linear offsets of the face's own units."""
        mesh = self.checkpoint.mesh
        assert mesh is not None
        if not mesh.idle_units:
            return vertices
        rng = np.random.default_rng(seed)
        curves = idle_weights(len(vertices), fps, subject, rng)
        closure = mesh.lid_closure.get(subject, 1.0)
        total = vertices.copy()
        for name, delta in mesh.idle_units.items():
            curve = curves.get(name)
            if curve is None or not curve.any():
                continue
            factor = closure if name.startswith("eyeBlink") else 1.0
            moved = np.flatnonzero(np.abs(delta).max(1) > 0)
            total[:, moved] += (factor * curve)[:, None, None].astype(np.float32) * delta[moved]
        return total


def _samples(array: np.ndarray) -> np.ndarray:
    """(n,) floating-point samples, checked, as float32."""
    if array.ndim != 1 or array.dtype.kind != "f":
        raise InputError(
            f"speech: expected (n,) floating-point samples at {audio.SAMPLE_RATE} Hz within ±1, "
            f"got {array.shape} of {array.dtype}; codetalker_cli.audio converts"
        )
    return audio.check(array.astype(np.float32), "speech")


def parse_styles(text: str) -> dict[str, float]:
    """``"S01"`` or ``"S01:0.3,S02:0.7"`` → weights by name.

    Raises:
        InputError: Not of that form, or a name stands there twice.
    """
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, colon, number = part.strip().rpartition(":")
        if not colon:
            name, number = number, "1"
        if name in weights:
            raise InputError(f"--style {text}: names {name} twice")
        try:
            weights[name] = float(number)
        except ValueError as error:
            raise InputError(
                f"--style {text}: expected a name, or name:weight,name:weight"
            ) from error
    return weights
