"""Pages for the tests of viewers: recordings and films whose sound and pictures mark the time."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
from ball import make_motion
from browser import Visit, find_browser, launched, visiting

import codetalker_cli as ct
from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.motion import Motion
from codetalker_cli.render import Panel
from codetalker_cli.render.footage import Footage
from codetalker_cli.render.viewer import Exhibit, write_page
from codetalker_cli.settings import RenderSettings

FPS = 25.0
CLICKS = (0.4, 1.0, 1.52, 2.2)
"""The times of clicks in the sound, in seconds."""
N_FRAMES = 75
HOSTILE = "</script><img src=x onerror=\"document.title='broken'\">"
"""The first label and the title of two.html."""
VIEWER = "document.querySelector('.codetalker-viewer').viewer"
READY = ".codetalker-viewer[data-ready]"


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


@dataclass(frozen=True)
class Place:
    """A folder with pages, and a browser that opens them."""

    folder: Path
    browser: Any

    @contextmanager
    def opened(self, name: str, **options: Any) -> Iterator[Visit]:
        """Open a page from the disk, and wait until it is ready."""
        with visiting((self.folder / name).as_uri(), self.browser, **options) as visit:
            visit.page.wait_for_selector(READY, timeout=30_000)
            yield visit


@contextmanager
def pages(folder: Path) -> Iterator[Place]:
    """Write one.html, and two.html with two motions, a heat map and a film; launch a browser."""
    find_browser()  # skip before the pages are written
    first, second = speaking(1), speaking(2)
    ct.render(first, folder / "one.html")
    write_film(folder / "film.mp4")
    panels = (
        Panel(first, HOSTILE),
        Panel(second, "b"),
        Panel(second, "distance", against=first),
    )
    footage = (Footage.open(folder / "film.mp4", "person", 0),)
    exhibit = Exhibit(panels, footage, title=HOSTILE)
    write_page(exhibit, folder / "two.html", RenderSettings.model_validate({}))
    with launched() as browser:
        yield Place(folder, browser)


def undisturbed(
    measure: Callable[[], Any], accept: Callable[[Any], bool], attempts: int = 4
) -> Any:
    """Return a measurement of times that is acceptable, or the last of several.

    Other processes of a busy machine delay sound and pictures, but not in each attempt.
    """
    for _ in range(attempts - 1):
        if accept(result := measure()):
            return result
    return measure()
