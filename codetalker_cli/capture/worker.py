"""The tracking process: load a model, then find the faces in the pictures of films.

MediaPipe runs in its own process. Its C++ code writes to stderr, and it can end the process.
"""

import os
import signal
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

N_LANDMARKS = 478
"""The landmarks of MediaPipe's face landmarker."""
WEIGHT_NAMES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft",
    "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft",
    "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft",
    "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft",
    "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft",
    "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight",
)  # fmt: skip
"""The names of MediaPipe's expression weights, in its order."""
N_FACES = 2
"""The most faces that are found in a picture.

If only one is allowed, MediaPipe smooths the landmarks over time. This delays the lips by half a
frame at 25 fps, lowers the openings by an eighth, and loses short closings.
"""
N_VALUES = N_LANDMARKS * 3 + len(WEIGHT_NAMES) + 16
"""The float32 values of a face: landmarks, weights and head transformation."""
SIZE = struct.Struct("<II")
"""The format of a picture's width and height; they start a film."""
TIME = struct.Struct("<q")
"""The format of a frame's time in milliseconds, before its picture; −1 ends a film."""
READY = b"\x01"
"""What the process writes when the model is loaded."""


def main() -> str | None:
    """Serve on standard input and output; the first argument is the model file.

    Returns:
        Why it failed, on one line, or None.
    """
    # Ctrl-C reaches the whole process group; the parent handles it and ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Libraries may print to stdout. Send that to stderr, and results to a duplicate of stdout.
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        serve(Path(sys.argv[1]).read_bytes(), sys.stdin.buffer, sink)
    except (OSError, ImportError, RuntimeError, ValueError, AttributeError) as error:
        return " ".join(str(error).split())
    return None


def serve(model: bytes, source: BinaryIO, sink: BinaryIO) -> None:
    """Read sizes, times and pictures from ``source``, and write the faces to ``sink``."""
    from mediapipe import Image, ImageFormat

    _create(model).close()
    sink.write(READY)
    sink.flush()
    while len(size := source.read(SIZE.size)) == SIZE.size:
        width, height = SIZE.unpack(size)
        scale = np.array([width, height, width], np.float32)
        picture = np.empty((height, width, 3), np.uint8)
        with _create(model) as landmarker:
            while (time := _read_time(source)) >= 0:
                source.readinto(picture.data.cast("B"))  # type: ignore[attr-defined]
                image = Image(image_format=ImageFormat.SRGB, data=picture)
                sink.write(_packed(landmarker.detect_for_video(image, time), scale))
                sink.flush()


def _create(model: bytes) -> Any:
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_buffer=model),
        running_mode=vision.RunningMode.VIDEO,
        num_faces=N_FACES,
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
    )
    return vision.FaceLandmarker.create_from_options(options)


def _read_time(source: BinaryIO) -> int:
    """Read the time of the next frame; return −1 at the end of the film or of the input."""
    header = source.read(TIME.size)
    return TIME.unpack(header)[0] if len(header) == TIME.size else -1


def _packed(result: Any, scale: np.ndarray) -> bytes:
    """Return the number of faces, and their landmarks in pixels, weights and transformations."""
    n_faces = len(result.face_landmarks)
    faces = np.empty((n_faces, N_VALUES), "<f4")
    for face, points, weights, head in zip(
        faces,
        result.face_landmarks,
        result.face_blendshapes,
        result.facial_transformation_matrixes,
        strict=True,
    ):
        names = tuple(weight.category_name for weight in weights)
        if len(points) != N_LANDMARKS or names != WEIGHT_NAMES:
            raise ValueError("the model returns other landmarks or weights than expected")
        landmarks = np.array([(point.x, point.y, point.z) for point in points], "<f4") * scale
        face[: landmarks.size] = landmarks.ravel()
        face[landmarks.size : -16] = [weight.score for weight in weights]
        face[-16:] = np.asarray(head).ravel()
    return bytes([n_faces]) + faces.tobytes()
