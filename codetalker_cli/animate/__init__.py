"""Speech → Motion: ``voice`` is the whole, ``speak`` decodes recordings side by side, ``pieces``
cuts and joins long ones, ``styles`` reads blends, ``many`` is for many of them in one command.
"""

from codetalker_cli.animate.styles import parse_styles
from codetalker_cli.animate.voice import (
    ENVIRONMENT,
    Choice,
    Voice,
    choose_model,
    load_voice,
    pick_device,
)

__all__ = [
    "ENVIRONMENT",
    "Choice",
    "Voice",
    "choose_model",
    "load_voice",
    "parse_styles",
    "pick_device",
]
