"""Metrics of facial motion.

- ``definitions`` contains the formulas and the list of metrics.
- ``clip`` measures one clip in a single pass over its files, and summarizes many clips.
- ``lips`` compares a motion with phone times, and ``liveness`` measures its energy and stillness.
  The scripts in ``benchmarks/`` use both to judge a trained model.
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
