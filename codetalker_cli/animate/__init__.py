"""Animate faces from speech.

``voice`` loads a model and animates recordings; a ``request`` is a recording with its options, and
``styles`` are speaking styles. ``jobs`` plans the output file of each recording, and ``batch`` runs
the plan. ``batch_decoding`` decodes several recordings or segments in a batch. ``segments`` cuts
long recordings into segments that cross-fade.
"""

from codetalker_cli.animate.request import Request
from codetalker_cli.animate.styles import parse_styles
from codetalker_cli.animate.voice import ENVIRONMENT, Choice, Voice, choose_model, load_voice

__all__ = [
    "ENVIRONMENT",
    "Choice",
    "Request",
    "Voice",
    "choose_model",
    "load_voice",
    "parse_styles",
]
