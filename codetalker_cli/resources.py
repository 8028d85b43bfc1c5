"""Locate bundled files (configs/, assets/), the package's metadata and the cache folder."""

import os
import re
import shlex
import sys
import tomllib
from functools import lru_cache
from pathlib import Path

from codetalker_cli.errors import CodeTalkerError

_PACKAGE = Path(__file__).resolve().parent
_DISTRIBUTION = "codetalker-cli"
CACHE_VARIABLE = "CODETALKER_CACHE"


@lru_cache(maxsize=1)
def root() -> Path:
    """Return the folder of configs/ and assets/: in the installed wheel, or the checkout itself."""
    bundled = _PACKAGE / "_bundled"
    if bundled.is_dir():
        return bundled
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file():
        return checkout
    raise CodeTalkerError(
        f"configs/ and assets/ were not found next to {_PACKAGE}; "
        "reinstall from the project folder: pip install --force-reinstall ."
    )


def package_version() -> str:
    """Return the version of the installed distribution; ``checkout`` if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return "checkout"


def install_command(extra: str) -> str:
    """Return the command that installs the packages of an extra.

    The command lists packages, because the name of an extra works only where pip finds this
    distribution: it is not in a package index, and a clone may be in any folder.
    """
    return pip_install(*extra_packages(extra))


def pip_install(*packages: str) -> str:
    """Return the command that installs packages for the interpreter that runs this process."""
    return shlex.join([sys.executable or "python", "-m", "pip", "install", *packages])


def extra_packages(extra: str) -> list[str]:
    """Return the packages of an extra, with their versions.

    They come from ``pyproject.toml`` in a clone, and from the installed metadata otherwise.
    """
    from importlib.metadata import requires

    project = root() / "pyproject.toml"
    if project.is_file():
        return tomllib.loads(project.read_text("utf-8"))["project"]["optional-dependencies"][extra]
    found = (line.partition(";") for line in requires(_DISTRIBUTION) or ())
    condition = re.compile(rf"extra == ['\"]{re.escape(extra)}['\"]")
    return [package.strip() for package, _, marker in found if condition.search(marker)]


def asset(name: str) -> Path:
    """Return the path of a bundled asset; raise ``CodeTalkerError`` if it is missing."""
    return _check_exists(root() / "assets" / name)


def config(name: str) -> Path:
    """Return the path of a bundled preset file by its name, which has no ``.yaml``."""
    return _check_exists(root() / "configs" / f"{name}.yaml")


def config_names() -> list[str]:
    """Return the names of the bundled presets, sorted."""
    return sorted(path.stem for path in (root() / "configs").glob("*.yaml"))


def _check_exists(path: Path) -> Path:
    if not path.exists():
        raise CodeTalkerError(f"{path} is missing from the installation; reinstall codetalker-cli")
    return path


def cache_dir(folder: str | Path | None = None) -> Path:
    """Return the folder for files that can be regenerated; it may not exist yet.

    This is the given folder, else $CODETALKER_CACHE, else ~/.cache/codetalker.
    """
    path = folder or os.environ.get(CACHE_VARIABLE)
    return Path(path) if path else Path.home() / ".cache" / "codetalker"
