"""Values that the shell offers when the Tab key is pressed.

A completion must be fast and must not print anything. It reads only small files, and it imports
neither torch nor the settings. The fixed values are listed here for this reason; a test compares
them with their declarations.
"""

import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from codetalker_cli import workspace

DEVICES = ("auto", "cpu", "cuda", "cuda:0", "cuda:1", "mps")
ENGINES = ("espeak", "kokoro")
VIDEOS = ("mp4", "mov", "mkv", "webm")
PAGES = ("html",)
EXPORTS = (
    "glb", "csv", "json", "usdc", "usda", "usdz", "abc", "pc2", "mdd", "obj", "ply", "vrma",
    "anim", "tres", "visemes", "tsv", "xml", "npz", "npy",
)  # fmt: skip
METRICS = (
    "lve", "lve_mm", "fdd", "fdd_abs", "mve", "lip_closure", "lip_closure_precision",
    "lip_closure_recall", "diversity",
)  # fmt: skip
RAW_FORMATS = ("s16le", "f32le")
RAW_UNITS = ("m", "cm", "mm")
REGIONS = ("auto", "infer", "none")
RENDERERS = ("auto", "software", "pyrender")
SPLITS = ("train", "val", "test", "test-a", "test-b")
TARGETS = ("units", "arkit", "basis", "frames")
UNITS = ("m", "mm", "area1")
VIEWS = ("front", "three-quarter", "profile", "mouth")
BACKGROUNDS = ("black", "white", "transparent")

MODEL_VARIABLE = "CODETALKER_MODEL"
MAX_BYTES = 2_000_000
"""The largest file that is read."""
MAX_FILES = 50
"""The most checkpoints or data sets whose names are read."""

Completion = Callable[[typer.Context, str], list[str]]
_Find = Callable[[dict[str, Any]], Iterable[Any]]


def one_of(values: Iterable[str]) -> Completion:
    """Return a completion with fixed values."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        return list(values)

    return complete


def _names(find: _Find) -> Completion:
    """Return a completion with the names that a function finds, given the other options.

    The names come from files. A fault in them must not print an error at the prompt.
    """

    @functools.wraps(find)
    def safely(options: dict[str, Any]) -> list[str]:
        logging.disable()
        try:
            found = [name for name in find(options) if isinstance(name, str)]
        except Exception:  # any fault, because nothing may be printed
            return []
        finally:
            logging.disable(logging.NOTSET)
        return list(dict.fromkeys(name for name in found if name.isprintable()))

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        before, comma, _ = incomplete.rpartition(",")  # S01,S02: the names are complete before it
        return [f"{before}{comma}{name}" for name in safely(ctx.params)]

    return complete


@_names
def presets(options: dict[str, Any]) -> Iterable[str]:
    """Complete the names of bundled presets."""
    from codetalker_cli.resources import config_names

    return config_names()


@_names
def models(options: dict[str, Any]) -> Iterable[str]:
    """Complete the names of checkpoints."""
    return _checkpoints()


@_names
def subjects(options: dict[str, Any]) -> Iterable[Any]:
    """Complete the subjects of the given or of all known models and data sets."""
    return _people(options, "subjects")


@_names
def styles(options: dict[str, Any]) -> Iterable[Any]:
    """Complete the speaking styles of the given or of all known models."""
    return _people(options, "styles")


@_names
def evaluated_styles(options: dict[str, Any]) -> Iterable[Any]:
    """Complete the choices of styles for an evaluation."""
    return ["auto", "all", *_people(options, "styles")]


@_names
def splits(options: dict[str, Any]) -> Iterable[Any]:
    """Complete the splits of the given or of all prepared data sets."""
    given = options.get("data")
    folders = [Path(given)] if given else workspace.data_sets()[:MAX_FILES]
    found = [name for folder in folders for name in _read(folder / workspace.MANIFEST, "splits")]
    return found or SPLITS


def _people(options: dict[str, Any], key: str) -> Iterator[Any]:
    """Yield the subjects or the styles that the given model has, or else all models."""
    model = options.get("model") or options.get("checkpoint") or options.get("mesh")
    if options.get("data"):
        key = "train_subjects" if key == "styles" else key
        yield from _read(Path(options["data"]) / workspace.MANIFEST, key)
    named = model or os.environ.get(MODEL_VARIABLE)
    known = _checkpoints()
    folders = [known.get(named, Path(named).expanduser())] if named else list(known.values())
    for folder in folders[:MAX_FILES]:
        yield from _read(folder / workspace.META, key)


def _checkpoints() -> dict[str, Path]:
    """Return the name and folder of each checkpoint, the bundled one first."""
    from codetalker_cli.resources import root

    voice = root() / "assets" / "voice"
    found = {"demo": voice} if workspace.is_checkpoint(voice) else {}
    for folder in workspace.checkpoints():
        found[folder.relative_to(workspace.RUNS).as_posix()] = folder
    return found


def _read(path: Path, key: str) -> Iterable[Any]:
    """Return a list, or the keys of a table, from a JSON file; empty if it cannot be read."""
    from codetalker_cli.text_files import read_json

    try:
        content = read_json(path, MAX_BYTES)
    except (OSError, ValueError):
        return ()
    found = content.get(key) if isinstance(content, dict) else None
    return found if isinstance(found, list | dict) else ()
