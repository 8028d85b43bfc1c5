"""Recordings and films for the tests of viewers, whose sound and pictures mark the time."""

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from ball import make_motion

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.motion import Motion

FPS = 25.0
CLICKS = (0.4, 1.0, 1.52, 2.2)
"""The times of clicks in the sound, in seconds."""
N_FRAMES = 75


def clicking() -> np.ndarray:
    """Return 3 s of silence with clicks of 10 ms."""
    samples = np.zeros(round(N_FRAMES / FPS * SAMPLE_RATE), np.float32)
    noise = np.random.default_rng(0).uniform(-0.9, 0.9, 160)
    for time in CLICKS:
        start = round(time * SAMPLE_RATE)
        samples[start : start + len(noise)] = noise
    return samples


def speaking(seed: int = 0, **changes: object) -> Motion:
    """Return 3 s of a ball of 0.1 m that moves irregularly, turns, and clicks."""
    ball = make_motion(N_FRAMES, FPS)
    generator = np.random.default_rng(seed)
    shapes = generator.standard_normal((5, *ball.template.shape)) * 0.002
    time = np.arange(N_FRAMES)[:, None] / FPS
    weights = np.sin(time * generator.uniform(2, 20, 5) + generator.uniform(0, 6, 5))
    template = (ball.template * 0.1).astype(np.float32)
    vertices = (template + np.einsum("tk,kvc->tvc", weights, shapes)).astype(np.float32)
    head = (0.2 * np.sin(time * [1.0, 2.0, 3.0])).astype(np.float32)
    fields = {"audio": clicking(), "head": head, **changes}
    return Motion(vertices, FPS, ball.topology, "S01", template, **fields)


def brightness(frame: int) -> int:
    """Return the gray level of a frame of ``write_film``."""
    return 40 + 10 * (frame % 18)


def write_film(path: Path, fps: float = FPS, n_frames: int = N_FRAMES) -> None:
    """Write a film whose gray level tells the frame."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", "-f", "rawvideo"]
    command += ["-pix_fmt", "gray", "-s", "64x48", "-r", str(fps), "-i", "pipe:0"]
    command += ["-c:v", "libx264", "-crf", "1", "-pix_fmt", "yuv420p", str(path)]
    frames = [np.full((48, 64), brightness(k), np.uint8) for k in range(n_frames)]
    subprocess.run(command, input=b"".join(f.tobytes() for f in frames), check=True)
