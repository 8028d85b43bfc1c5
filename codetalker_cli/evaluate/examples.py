"""Show example clips in the report: the truth, the model and their difference, as videos and in 3D.

Both contain at most ``EvaluateSettings.shown_seconds`` of a clip, because an e-mail should have
room for the report.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.evaluate.charts import adapt_settings, clip_of, data_url, fps_of
from codetalker_cli.evaluate.truth import Truth
from codetalker_cli.metrics import ClipScores
from codetalker_cli.motion import Motion
from codetalker_cli.settings import EvaluateSettings, RenderSettings

if TYPE_CHECKING:
    from codetalker_cli.render import Panel

_VIDEO_CRF, _VIDEO_SIZE = 26, 256


def panels(
    score: ClipScores, prediction: Path, truth: Truth, settings: EvaluateSettings
) -> "list[Panel]":
    """Return the panels of the truth, the prediction and their difference.

    Args:
        score: The result to show.
        prediction: The file of the prediction.
        truth: The ground-truth clips.
        settings: The length that is shown.

    Raises:
        DataError: A file is missing or damaged.
    """
    from codetalker_cli.render import Panel

    predicted = truth.prediction(score.clip, prediction).vertices
    true = truth.vertices(score.clip)
    n_frames = min(len(true), len(predicted), max(1, round(settings.shown_seconds * fps_of(truth))))
    clip = clip_of(truth, score.clip)
    audio = (
        None if clip is None else clip.samples()[: round(n_frames / fps_of(truth) * SAMPLE_RATE)]
    )
    predicted_motion = _motion(truth, score.clip, predicted[:n_frames], audio)
    true_motion = _motion(truth, score.clip, true[:n_frames], audio)
    return [
        Panel(true_motion, "truth"),
        Panel(predicted_motion, "model"),
        Panel(predicted_motion, "difference", against=true_motion),
    ]


def video(shown: "list[Panel]", render: RenderSettings) -> str:
    """Render panels side by side, as a data URL.

    Raises:
        RenderError: The video cannot be drawn or encoded.
    """
    from codetalker_cli.render import render_video

    settings = adapt_settings(render, size=_VIDEO_SIZE, crf=max(render.crf, _VIDEO_CRF))
    with tempfile.TemporaryDirectory(prefix="codetalker-") as folder:
        path = Path(folder) / "clip.mp4"
        render_video(shown, path, settings, overwrite=True)
        return data_url("video/mp4", path.read_bytes())


def viewer(shown: "list[Panel]", render: RenderSettings) -> str:
    """Return the HTML element of a viewer that a button opens; it contains no names of clips.

    Raises:
        RenderError: The motions cannot be shown.
    """
    from codetalker_cli.render.viewer import Exhibit, embedded

    return embedded(Exhibit(tuple(shown)), render)


def _motion(truth: Truth, clip: str, vertices: Any, audio: np.ndarray | None) -> Motion:
    subject = truth.subjects[clip]
    return Motion(
        vertices=vertices,
        fps=fps_of(truth),
        topology=truth.mesh.topology,
        subject=subject,
        template=truth.template(clip),
        colors=truth.mesh.colors.get(subject),
        audio=audio,
    )
