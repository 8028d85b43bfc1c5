"""The complete model: stage 1 and stage 2."""

from torch import nn

from codetalker_cli.models.speech_to_codes import SpeechToCodes
from codetalker_cli.models.vq_autoencoder import MotionVQ
from codetalker_cli.settings import Settings


class CodeTalker(nn.Module):
    """Stage 1 (``vq``) and, optionally, stage 2 (``speech``).

    Args:
        settings: The settings; only the sections ``data``, ``vq`` and ``speech`` are used.
        with_speech: Also build stage 2; if false, ``speech`` is None.
    """

    def __init__(self, settings: Settings, *, with_speech: bool = True) -> None:
        super().__init__()
        self.settings = settings
        self.vq = MotionVQ(settings.vq, settings.data.n_vertices)
        self.speech: SpeechToCodes | None = None
        if with_speech:
            self.speech = SpeechToCodes(
                settings.speech,
                fps=settings.data.fps,
                n_styles=len(settings.data.train_subjects),
                feature_size=self.vq.feature_size,
                latent_size=settings.vq.latent_size,
            )
