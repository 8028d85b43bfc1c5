"""Export a recording, and open the files with programs that we have not written.

    .venv/bin/python scripts/clients/check.py [--only web blender usd] [--render]

- web: the glTF validator, and three.js in headless Chromium (needs node 20 or newer and a browser).
- blender: Blender 5.0 as a Python package, which the script installs in .venv-blender, an
  environment of its own (needs Python 3.11).
- usd: USD's own validators (needs usd-core in the environment of codetalker).

Prints one line a check and a summary, and exits with 1 if a check fails or cannot be made. The
files, the references and the pictures stay in the output folder.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from samples import ROOT, write_samples

HERE = Path(__file__).resolve().parent
WEB = HERE / "web"
BLENDER = ROOT / ".venv-blender"
BLENDER_PACKAGES = ("bpy==5.0.1", "trimesh==5.2.0")
"""Blender, and what its script needs to read folders of frames."""


class MissingToolError(Exception):
    """A program that a check needs is missing; the message explains how to install it."""


def run(*command: str | Path, cwd: Path | None = None) -> tuple[int, str]:
    """Run a command. Return its exit status and what it printed."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def install(what: str, *command: str | Path, cwd: Path | None = None) -> None:
    print(f"installing {what}", flush=True)
    status, output = run(*command, cwd=cwd)
    if status:
        raise MissingToolError(f"{what} cannot be installed: {output.strip().splitlines()[-1]}")


def tool(names: tuple[str, ...], package: str) -> str:
    """Return the path of the first of these programs that exists."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise MissingToolError(f"{' or '.join(names)} is missing; install {package}")
    return found


def prepare_web() -> str:
    """Install the packages of package-lock.json, and return the path of node."""
    node = tool(("node", "nodejs"), "Node.js 20 or newer, https://nodejs.org")
    browsers = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    tool(browsers, "Chromium, e.g. apt install chromium")
    if not (WEB / "node_modules").exists():
        npm = tool(("npm",), "npm, which is part of Node.js")
        install("the packages of package-lock.json", npm, "ci", "--ignore-scripts", cwd=WEB)
    return node


def prepare_blender() -> Path:
    """Install Blender in an environment of its own, and return the path of its Python."""
    python = BLENDER / "bin/python"
    if not (BLENDER / "complete").exists():
        system = tool(("python3.11",), "Python 3.11, which Blender 5.0 needs")
        install(BLENDER.name, system, "-m", "venv", "--clear", BLENDER)
        install("Blender (370 MB)", python, "-m", "pip", "install", "-q", *BLENDER_PACKAGES)
        (BLENDER / "complete").touch()
    return python


def web_commands(folder: Path, render: bool) -> list[list[str | Path]]:
    return [[prepare_web(), WEB / "check.mjs", folder / "scenes"]]


def blender_commands(folder: Path, render: bool) -> list[list[str | Path]]:
    python = prepare_blender()
    drawing = ["--render"] if render else []
    geometry = [folder / "geometry", folder / "posed.npz"]
    return [
        [python, HERE / "blender_glb.py", folder / "scenes", *drawing],
        [python, HERE / "blender_geometry.py", *geometry],
    ]


def usd_commands(folder: Path, render: bool) -> list[list[str | Path]]:
    return [[sys.executable, HERE / "usd_check.py", folder / "geometry", folder / "motion.npz"]]


# USD comes first, because its check writes the references of blender_geometry.py.
CLIENTS: dict[str, Callable[[Path, bool], list[list[str | Path]]]] = {
    "usd": usd_commands,
    "web": web_commands,
    "blender": blender_commands,
}


def check(client: str, folder: Path, render: bool) -> str | None:
    """Run the checks of a client. Return what failed, or None."""
    try:
        commands = CLIENTS[client](folder, render)
    except MissingToolError as error:
        return str(error)
    n_passed, faults = 0, []
    for command in commands:
        status, output = run(*command)
        lines = output.splitlines()
        shown = [line for line in lines if line.startswith(("ok ", "FAILED "))]
        print("\n".join(shown if status in (0, 1) and shown else lines), flush=True)
        n_passed += sum(line.startswith("ok ") for line in shown)
        n_failed = sum(line.startswith("FAILED ") for line in shown)
        if status or n_failed or not shown:
            faults.append(f"{Path(command[1]).name}: {n_failed} failed, exit status {status}")
    print(f"{client}: {n_passed} checks passed", flush=True)
    return "; ".join(faults) or None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "client-check",
        help="folder of the exports (default: client-check)",
    )
    parser.add_argument(
        "--sound",
        type=Path,
        default=ROOT / "assets/sample.wav",
        help="speech (default: assets/sample.wav)",
    )
    parser.add_argument(
        "--only", nargs="+", choices=CLIENTS, default=[*CLIENTS], help="clients (default: all)"
    )
    parser.add_argument(
        "--keep", action="store_true", help="check the files of the last run instead of new ones"
    )
    parser.add_argument("--render", action="store_true", help="also draw with Blender (1 minute)")
    arguments = parser.parse_args()
    folder = arguments.out.resolve()
    if not arguments.keep:
        write_samples(folder, arguments.sound.resolve())
    results = {
        client: check(client, folder, arguments.render)
        for client in CLIENTS
        if client in arguments.only
    }
    print()
    for client, fault in results.items():
        print(f"{'ok' if fault is None else 'FAILED'}  {client}{f': {fault}' if fault else ''}")
    return 1 if any(results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
