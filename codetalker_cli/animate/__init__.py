"""Animate faces from speech.

``model_choice`` chooses a model, and ``voice`` loads it and animates recordings. A ``request`` is a
recording with its options; ``names`` checks them, and ``styles`` are speaking styles. ``jobs``
plans the output file of each recording, and ``batch`` runs the plan. ``batch_decoding`` decodes
several recordings or segments in a batch. ``segments`` cuts long recordings into segments that
cross-fade, and ``streaming`` decodes short windows as a live stream does. ``transcripts`` aligns
the words of recordings, with which ``lip_contacts`` closes the lips; ``lip_field`` moves them
smoothly.
"""

from codetalker_cli.animate.model_choice import ENVIRONMENT, Choice, choose_model
from codetalker_cli.animate.request import Request
from codetalker_cli.animate.styles import parse_styles
from codetalker_cli.animate.voice import Voice, load_voice

__all__ = [
    "ENVIRONMENT",
    "Choice",
    "Request",
    "Voice",
    "choose_model",
    "load_voice",
    "parse_styles",
]
