"""Speech → Motion: ``voice`` is the whole, ``speak`` decodes recordings side by side, ``pieces``
cuts and joins long ones, ``styles`` reads blends, ``many`` is for many of them in one command.
"""

from codetalker_cli.animate.voice import (
    ENVIRONMENT,
    Choice,
    Voice,
    choose_model,
    load_voice,
    parse_styles,
)

__all__ = [
    "ENVIRONMENT",
    "Choice",
    "Voice",
    "choose_model",
    "load_voice",
    "parse_styles",
]
