"""Metrics of facial motion: each has one name, one definition and one unit.

``definitions`` has the formulas and the catalog of metrics; ``clip`` measures one clip in one
pass over its file and summarizes clips. ``lips`` judges a motion against phone times and
``liveness`` its energy and stillness; both are measures of a voice, see ``benchmarks/``.
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
