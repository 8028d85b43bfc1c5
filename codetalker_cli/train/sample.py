"""A video of a validation clip: the truth on the left, what the model made of it on the right."""

from dataclasses import replace
from pathlib import Path

from codetalker_cli.motion import Motion
from codetalker_cli.render import Panel, render_video
from codetalker_cli.settings import RenderSettings

LABELS = ("truth", "model")
"""What stands above the halves."""


def write_sample(out: Path, true: Motion, made: Motion, settings: RenderSettings) -> None:
    """Show two motions of one face side by side, with the sound of the true one if it has any.

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
    n_frames = min(true.n_frames, made.n_frames)
    left = replace(true, vertices=true.vertices[:n_frames])
    # the camera follows from the template: one template, one camera
    right = replace(left, vertices=made.vertices[:n_frames], fps=made.fps)
    panels = [Panel(motion, label) for motion, label in zip((left, right), LABELS, strict=True)]
    render_video(panels, out, settings)
