"""Compute and cache the inputs of stage 2 that do not change during training.

- Speech: the output of the frozen part of the speech encoder.
- Motion: the stage-1 codes of the whole clip, from which the codes of each crop are cut.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from codetalker_cli import resources
from codetalker_cli.arrays import map_array
from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.datasets.prepared import Clip, PreparedDataSet
from codetalker_cli.devices import local_world_size
from codetalker_cli.errors import CheckpointError, DataError, OutputError
from codetalker_cli.files import atomic_path
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.progress import Progress
from codetalker_cli.train.augment import VERSION as AUGMENTATION
from codetalker_cli.train.augment import augment
from codetalker_cli.train.batches import Batch, ClipSource

logger = logging.getLogger(__name__)

MEL_RATE = 100
"""The columns per second of Whisper's spectrogram, which is cached when Whisper is trained.

A crop is cut from it before its range is limited, as ``animate`` does with separate segments.
"""
MIN_SAMPLES = SAMPLE_RATE // 10
"""The minimum length; shorter speech is padded with silence, because the convolutions need it."""
N_OTHERS = 6
"""The maximum number of clips that can be mixed into the background of an augmented clip."""


class Precomputed:
    """The cached speech features and codes of the clips of a data set.

    Args:
        data: The prepared data set.
        model: Both stages, on the device that computes the features and codes.

    Attributes:
        encoder: The hash of the frozen weights of the speech encoder.
    """

    def __init__(self, data: PreparedDataSet, model: CodeTalker) -> None:
        assert model.speech is not None
        encoder, s = model.speech.encoder, model.settings
        self._model, self._encoder, self._data = model, encoder, data
        self._seed = s.train_speech.seed
        self._n_versions = 1 + s.train_speech.n_augmentations
        architecture = encoder.settings.model_dump(exclude={"source"})
        self.encoder = _weights_hash(encoder.frozen_part)
        library = metadata.version("transformers")  # implements the layers of the encoder
        kind = [architecture, s.data.fps, encoder.features_per_frame, self.encoder, library]
        self._clean = ArrayCache("speech", kind)
        # Augmented speech also depends on the other clips, which are mixed in as background.
        self._augmented = ArrayCache(
            "augmented", [kind, data.manifest.data_id, self._seed, AUGMENTATION]
        )
        self._codes = ArrayCache("codes", [s.vq.model_dump(), _weights_hash(model.vq)])

    def prepare(
        self,
        training: ClipSource,
        validation: ClipSource,
        accelerator: Accelerator,
        progress: Progress | None = None,
    ) -> None:
        """Compute whatever is not cached yet, with the clips divided among the processes.

        Args:
            training: The training clips: clean and augmented speech, and codes.
            validation: The validation clips: clean speech only.
            accelerator: The processes of the run; all of them must call this.
            progress: Called in the main process with (done, total) for the clips of that process.
        """
        jobs = [(training, k) for k in range(len(training))]
        jobs += [(validation, k) for k in range(len(validation))]
        own_jobs = jobs[accelerator.process_index :: accelerator.num_processes]
        for done, (source, index) in enumerate(own_jobs, 1):
            self._ensure(source, index, source is training)
            if progress and accelerator.is_main_process:
                progress(done, len(own_jobs))
        accelerator.wait_for_everyone()
        # Machines may have separate caches, so each one computes what its own cache lacks.
        n_local = local_world_size()
        for source, index in jobs[accelerator.local_process_index :: n_local]:
            self._ensure(source, index, source is training)
        accelerator.wait_for_everyone()
        for source, index in jobs:
            self._limit_length(source, index)

    def _limit_length(self, source: ClipSource, index: int) -> None:
        """Ignore the frames of a clip after the end of its speech."""
        clip, per_frame = source.clip(index), self._encoder.features_per_frame
        if per_frame > 1:  # with one feature per frame, features are interpolated to the frames
            count = len(self._clean.load(self._speech_key(clip, 0)))
            source.lengths[index] = min(clip.entry.n_frames, count // per_frame)

    def speech(
        self, source: ClipSource, batch: Batch, versions: Sequence[int]
    ) -> tuple[Tensor, ...]:
        """Return the output of the frozen part of the speech encoder for each crop.

        Args:
            source: The clips of the batch.
            batch: The crops.
            versions: The version of each crop's speech: 0 is clean, the others are augmented.

        Returns:
            An array of (columns, ...) for each crop.
        """
        crops = []
        for clip, start, n_frames, version in zip(
            batch.clips, batch.starts, batch.n_frames, versions, strict=True
        ):
            entry = source.clip(clip)
            cache = self._augmented if version else self._clean
            columns = cache.load(self._speech_key(entry, version))
            rate = self._columns_per_frame()
            first, last = round(start * rate), round((start + n_frames) * rate)
            crops.append(torch.from_numpy(np.array(columns[first:last])))
        return tuple(crops)

    def codes(self, source: ClipSource, batch: Batch) -> Tensor:
        """Return the (B, T, q) int64 codes of the crops, padded with 0."""
        crops = []
        for clip, start, n_frames in zip(batch.clips, batch.starts, batch.n_frames, strict=True):
            name = self._codes_key(source.clip(clip), source.lengths[clip])
            codes = self._codes.load(name)
            crops.append(torch.from_numpy(codes[start : start + n_frames].astype(np.int64)))
        return nn.utils.rnn.pad_sequence(crops, batch_first=True)

    def _columns_per_frame(self) -> float:
        """Return the number of cached columns per motion frame."""
        encoder = self._encoder
        if encoder.settings.family == "whisper" and not encoder.settings.frozen:
            return MEL_RATE / encoder.fps
        return encoder.features_per_frame

    def _ensure(self, source: ClipSource, index: int, is_training: bool) -> None:
        clip = source.clip(index)
        self._clean.ensure(self._speech_key(clip, 0), lambda: self._encode(clip, clip.samples()))
        self._limit_length(source, index)
        if not is_training:
            return
        n_frames = source.lengths[index]
        name = self._codes_key(clip, n_frames)
        self._codes.ensure(name, lambda: self._quantize(clip, n_frames))
        for version in range(1, self._n_versions):
            compute = partial(self._augment, source, index, version)
            self._augmented.ensure(self._speech_key(clip, version), compute)

    @torch.no_grad()
    def _encode(self, clip: Clip, samples: np.ndarray) -> np.ndarray:
        encoder = self._encoder
        n_samples = max(len(samples), MIN_SAMPLES)
        if encoder.settings.family == "whisper" and not encoder.settings.frozen:
            # A spectrogram is cropped by time, so it must be as long as the motion.
            n_samples = max(MIN_SAMPLES, round(clip.entry.n_frames / encoder.fps * SAMPLE_RATE))
        samples = np.pad(samples, (0, max(0, n_samples - len(samples))))[:n_samples]
        audio = torch.from_numpy(samples)[None].to(next(encoder.parameters()).device)
        return encoder.encode_frozen(encoder.prepare(audio), clip.entry.n_frames)[0].cpu().numpy()

    def _augment(self, source: ClipSource, index: int, version: int) -> np.ndarray:
        rng = np.random.default_rng([self._seed, 4, index, version])
        indices = rng.choice(len(source), min(N_OTHERS, len(source)), replace=False)
        others = [source.clip(int(k)).samples() for k in indices]
        clip = source.clip(index)
        is_speech = not clip.entry.is_silent
        return self._encode(clip, augment(clip.samples(), rng, others, is_speech=is_speech))

    @torch.no_grad()
    def _quantize(self, clip: Clip, n_frames: int) -> np.ndarray:
        vq = self._model.vq
        device = vq.quantizer.codebook.device
        template = self._data.mesh.templates[clip.entry.subject]
        vertices = torch.from_numpy(np.array(clip.vertices[:n_frames]))[None].to(device)
        template_tensor = torch.from_numpy(np.asarray(template, np.float32))[None].to(device)
        lengths = torch.tensor([1], device=device) if n_frames == 1 else None
        return vq.encode(vertices, template_tensor, lengths)[0].cpu().numpy().astype(np.int32)

    def _speech_key(self, clip: Clip, version: int) -> str:
        entry = clip.entry
        content = entry.audio_sha256 or hashlib.sha256(clip.samples().tobytes()).hexdigest()
        return short_hash(content, entry.n_frames, version, entry.name if version else "")

    def _codes_key(self, clip: Clip, n_frames: int) -> str:
        template = np.ascontiguousarray(self._data.mesh.templates[clip.entry.subject])
        return short_hash(
            clip.entry.sha256, n_frames, hashlib.sha256(template.tobytes()).hexdigest()
        )


def _weights_hash(module: nn.Module | None) -> str:
    digest = hashlib.sha256()
    for key, value in ({} if module is None else module.state_dict()).items():
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


# The cache ----------------------------------------------------------------------------------------


FORMAT = 2
"""The version of the cached arrays; increase it when the same key gives different arrays."""


def short_hash(*content: Any) -> str:
    """Return 16 hexadecimal digits of a hash of JSON-serializable content."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class ArrayCache:
    """The cached arrays of one kind, one for each clip.

    Args:
        kind: The name of the kind, used as the prefix of the folder name.
        key: Everything that the arrays depend on, except the clip; JSON-serializable.
        folder: The parent folder; default: the user's cache folder.
    """

    def __init__(self, kind: str, key: Any, folder: Path | None = None) -> None:
        self.folder = (
            resources.cache_dir(folder) / "training" / f"{kind}-{short_hash(FORMAT, kind, key)}"
        )

    def path(self, clip: str) -> Path:
        """Return the path of an array; ``clip`` is a key computed by ``short_hash``."""
        return self.folder / f"{clip}.npy"

    def ensure(self, clip: str, compute: Callable[[], np.ndarray]) -> None:
        """Compute and store the array, unless a complete one is cached.

        Args:
            clip: The key of the clip; see ``path``.
            compute: Returns the array.

        Raises:
            CheckpointError: The cache is not writable, or the disk is full.
        """
        if self._is_complete(self.path(clip)):
            return
        array = compute()
        try:
            with atomic_path(self.path(clip)) as temporary:
                np.save(temporary, array)
        except (OSError, OutputError) as error:
            reason = getattr(error, "strerror", None) or "it cannot be written"
            raise CheckpointError(
                f"{self.folder}: precomputed values cannot be cached ({reason}); set the "
                f"environment variable {resources.CACHE_VARIABLE} to a folder with enough space"
            ) from error

    def load(self, clip: str) -> np.ndarray:
        """Return the array of a clip as a memory map."""
        return map_array(self.path(clip))

    @staticmethod
    def _is_complete(path: Path) -> bool:
        if not path.exists():
            return False
        try:
            map_array(path)
        except DataError:  # truncated, for example by a full disk
            logger.debug("%s: the file is incomplete; computing it again", path)
            return False
        return True
