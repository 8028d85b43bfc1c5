"""Load the programs of benchmarks/ and scripts/ as modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def benchmark(name: str) -> ModuleType:
    """Load benchmarks/NAME.py as a new module."""
    return load(BENCHMARKS / f"{name}.py")


def load(path: Path) -> ModuleType:
    """Load a program as a new module."""
    name = f"{path.stem}_program"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # needed by dataclasses
    spec.loader.exec_module(module)
    return module
