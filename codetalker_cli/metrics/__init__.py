"""Metrics of facial motion: each has one name, one definition and one unit.

``definitions`` are the formulas, ``catalogue`` says what each is called and needs, ``clip``
measures one clip in one pass over its file, ``summary`` puts clips together.
"""

from codetalker_cli.metrics.clip import ClipScores, Measurement, Value, measure, summarize
from codetalker_cli.metrics.definitions import (
    GROUPS,
    METRICS,
    Metric,
    closures,
    diversity,
    expand,
    lacking,
    lip_errors,
    lve,
    lve_mm,
    motion_dynamics,
    mve,
    unit_of,
)

__all__ = [
    "GROUPS",
    "METRICS",
    "ClipScores",
    "Measurement",
    "Metric",
    "Value",
    "closures",
    "diversity",
    "expand",
    "lacking",
    "lip_errors",
    "lve",
    "lve_mm",
    "measure",
    "motion_dynamics",
    "mve",
    "summarize",
    "unit_of",
]
