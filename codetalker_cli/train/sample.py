"""A video of a validation clip: the truth on the left, what the model made of it on the right."""

import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from codetalker_cli.errors import RenderError
from codetalker_cli.motion import Motion
from codetalker_cli.render import render_video
from codetalker_cli.render.processes import last_line
from codetalker_cli.render.video import SUFFIXES
from codetalker_cli.resources import atomic_path
from codetalker_cli.settings import RenderSettings

LABELS = ("truth", "model")
"""What stands above the halves."""
_FONT_SHARE = 1 / 22
"""Height of the letters in parts of the picture's, but never below what can be read."""
_MIN_FONT = 10


def write_sample(out: Path, true: Motion, made: Motion, settings: RenderSettings) -> None:
    """Show two motions of one face side by side, with the sound of the true one if it has any.

    Each is drawn by :func:`~codetalker_cli.render.render_video` without loss, then both are joined:
    frames are streamed all the way, and all processes draw at one half at a time.

    Args:
        out: One of the renderer's suffixes, such as .mp4; an older one is replaced. It is
            2 · ``settings.size`` wide.
        true: Motion of the clip.
        made: The model's, of as many frames a second; the longer one is cut.
        settings: How.

    Raises:
        RenderError: A motion that cannot be drawn, an unknown suffix, a failing encoder.
        InputError: The folder cannot be written.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise RenderError(f"{out}: a video is written as {', '.join(SUFFIXES)}")
    if true.fps != made.fps:
        raise RenderError(
            f"{out}: the model's motion has {made.fps:g} frames a second, the true one {true.fps:g}"
        )
    n_frames = min(true.n_frames, made.n_frames)
    left = replace(true, vertices=true.vertices[:n_frames])
    # the camera follows from the template: one template, one camera
    right = replace(left, vertices=made.vertices[:n_frames], audio=None, audio_path=None)
    without_loss = settings.model_copy(update={"crf": 0})
    with atomic_path(out) as temporary, tempfile.TemporaryDirectory(prefix="codetalker-") as folder:
        halves = [Path(folder) / f"{name}.mp4" for name in LABELS]
        for half, motion in zip(halves, (left, right), strict=True):
            render_video(motion, half, without_loss)
        labels = Path(folder) / "labels.png"
        _draw_labels(labels, settings.size)
        _join(halves, labels, temporary, settings)


def label_height(size: int) -> int:
    """Rows of the picture, from its top, that the labels may cover."""
    return 2 * _font_size(size)


def _font_size(size: int) -> int:
    return max(_MIN_FONT, round(size * _FONT_SHARE))


def _draw_labels(path: Path, size: int) -> None:
    """A transparent picture over both halves: a label in the middle of the top of each."""
    from PIL import Image, ImageDraw, ImageFont

    letters = _font_size(size)
    font = ImageFont.load_default(letters)
    image = Image.new("RGBA", (2 * size, size))
    draw = ImageDraw.Draw(image)
    for k, text in enumerate(LABELS):
        x, y = (k + 0.5) * size, 0.4 * letters
        edge = max(1, letters // 14)
        draw.text(
            (x, y),
            text,
            font=font,
            anchor="ma",
            fill="white",
            stroke_width=edge,
            stroke_fill="#30343a",
        )
    image.save(path)


def _join(halves: list[Path], labels: Path, path: Path, settings: RenderSettings) -> None:
    import imageio_ffmpeg

    filters = "[0:v][1:v]hstack[both];[both][2:v]overlay=format=yuv420,format=yuv420p[v]"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-nostdin", "-v", "error"]
    for source in (*halves, labels):
        command += ["-i", f"file:{source}"]
    command += ["-filter_complex", filters, "-map", "[v]", "-map", "0:a?", "-c:a", "copy"]
    command += ["-c:v", settings.codec]
    if settings.codec in ("libx264", "libx265"):
        command += ["-crf", str(settings.crf)]
    command += ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"]
    if path.suffix.lower() != ".mkv":
        command += ["-movflags", "+faststart"]
    done = subprocess.run([*command, f"file:{path}"], capture_output=True, check=False)
    if done.returncode:
        said = last_line(done.stderr) or f"exit code {done.returncode}"
        raise RenderError(f"the {settings.codec} encoder failed: {said}; check free disk space")
