"""Weights as JSON in the layout of Audio2Face exports.

{"exportFps": 30, "trackPath": "speech.wav", "numPoses": 52, "numFrames": 2,
 "facsNames": ["eyeBlinkLeft", …], "weightMat": [[0, …], [0, …]]}
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from codetalker_cli.errors import DataError, counted, printable
from codetalker_cli.formats.arkit_names import UNITS, unit_of
from codetalker_cli.motion import MAX_FPS, MIN_FPS
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.text_files import TABLE_BYTES, check_file, read_json

SUFFIX = ".json"
_SWAPPED = {"jawRight": "jawLeft", "mouthRight": "mouthLeft"}
_EXCHANGED = _SWAPPED | {left: right for right, left in _SWAPPED.items()}
NAMES = tuple(_EXCHANGED.get(unit, unit) for unit in UNITS)
"""The units in the order of Audio2Face, which lists left before right."""
_DIGITS = 7

logger = logging.getLogger(__name__)


def write(path: Path, curves: RigCurves, sound_name: str | None = None) -> None:
    """Write the weights of ARKit's 52 units.

    Args:
        path: The file.
        curves: The curves.
        sound_name: The name of the sound file, or None.
    """
    weights = np.round(curves.select(NAMES).weights.astype(np.float64), _DIGITS) + 0.0
    head = {
        "exportFps": int(curves.fps) if float(curves.fps).is_integer() else curves.fps,
        "trackPath": sound_name or "",
        "numPoses": len(NAMES),
        "numFrames": curves.n_frames,
        "facsNames": NAMES,
    }
    with path.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
        file.write(json.dumps(head, ensure_ascii=False)[:-1] + ', "weightMat": [\n')
        for k, row in enumerate(weights):
            file.write(",\n" * (k > 0) + json.dumps(row.tolist()))
        file.write("\n]}\n")


def read(path: Path) -> RigCurves:
    """Return the curves of a file. The sound that it names is not opened.

    Raises:
        InputError: The file is missing.
        DataError: The file is not an Audio2Face export, or is damaged.
    """
    path = Path(path)
    check_file(path)
    try:
        content = read_json(path, TABLE_BYTES)
        names, weights = content["facsNames"], content["weightMat"]
        fps = float(content["exportFps"])
        table = np.array(weights, np.float64)
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{printable(path)}: not an Audio2Face export ({_lacking(error)}); expected exportFps, "
            "facsNames and weightMat"
        ) from error
    except (OSError, ValueError, OverflowError) as error:
        raise DataError(
            f"{printable(path)}: not an Audio2Face export ({_reason(error)})"
        ) from error
    _check(path, names, table, fps)
    units = {unit: k for k, name in enumerate(names) if (unit := unit_of(name)) is not None}
    if not units:
        raise DataError(f"{printable(path)}: facsNames lists no ARKit unit such as jawOpen")
    if unknown := len(names) - len(units):
        logger.info("%s: %s skipped, which ARKit lacks", path, counted(unknown, "unit"))
    chosen = table[:, [*units.values()]]
    if np.any((chosen < 0) | (chosen > 1)):
        logger.warning("%s: weights outside of [0, 1] were clipped", printable(path))
    curves = RigCurves(tuple(units), fps, np.clip(chosen, 0, 1).astype(np.float32))
    return curves.select(UNITS)


def _check(path: Path, names: Any, table: np.ndarray, fps: float) -> None:
    shown = printable(path)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{shown}: facsNames is not a list of names")
    if len({unit_of(name) or name for name in names}) < len(names):
        raise DataError(f"{shown}: facsNames lists a unit twice")
    if not MIN_FPS <= fps <= MAX_FPS:
        raise DataError(f"{shown}: exportFps is {fps:g}, expected {MIN_FPS} to {MAX_FPS}")
    if not table.size:
        raise DataError(f"{shown}: weightMat contains no frames")
    if table.ndim != 2 or table.shape[1] != len(names):
        raise DataError(
            f"{shown}: weightMat has shape {table.shape}, expected (frames, {len(names)}), one "
            "number for each of facsNames"
        )
    if not np.isfinite(table).all():
        raise DataError(f"{shown}: weightMat contains NaN or infinite values")


def _lacking(error: Exception) -> str:
    return f"{error} is missing" if isinstance(error, KeyError) else "unexpected content"


def _reason(error: Exception) -> str:
    text = printable(error, 100)
    return "weightMat is not a table of numbers" if "inhomogeneous" in text else text
