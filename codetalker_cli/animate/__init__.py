"""Speech → Motion.

``voice`` loads a model and animates recordings, ``jobs`` plans which recordings become which files,
``batch`` runs the plan, ``batch_decoding`` decodes recordings and segments side by side, and
``segments`` cuts long recordings and cross-fades what comes of them.
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
