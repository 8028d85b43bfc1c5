"""Build the wheel, install it in a new environment outside the checkout, and use it there.

``make wheel-check`` runs this script with the interpreter of .venv. All files are written to a
temporary folder in TMPDIR (about 5 GB), which is removed at the end, even after a failure.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
BUNDLED = "codetalker_cli/_bundled"
DATA_FOLDERS = ("configs", "assets")

USE_INSTALLED = """
import sys
from pathlib import Path

import numpy as np
import soundfile

import codetalker_cli
from codetalker_cli import presets, resources

assert Path(codetalker_cli.__file__).is_relative_to(sys.prefix), codetalker_cli.__file__
assert resources.config_names() == sys.argv[1].split(","), resources.config_names()
for name in resources.config_names():
    presets.resolve(name)
    print("preset", name, "loads")
assert resources.extra_packages("align")[0].startswith("pocketsphinx")
samples, rate = soundfile.read(resources.asset("sample.wav"), always_2d=True)
start = int(np.abs(samples).max(axis=1).argmax())
start = max(0, min(start - rate // 2, len(samples) - rate))
soundfile.write("second.wav", samples[start : start + rate], rate)
"""
MEASURE_VIDEO = """
import imageio_ffmpeg

n_frames, seconds = imageio_ffmpeg.count_frames_and_secs("second.mp4")
assert n_frames >= 20 and 0.8 < seconds < 1.3, (n_frames, seconds)
print(f"second.mp4: {n_frames} frames, {seconds:.2f} s")
"""


def main() -> None:
    """Run all steps, and stop at the first failure."""
    # A terminated run must still leave the `with` block, which removes the folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="codetalker-wheel-") as temporary:
        folder = Path(temporary)
        wheel = build_wheel(folder / "dist")
        check_content(wheel)
        print(f"wheel: {wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB")
        use_elsewhere(wheel, folder)
    print(f"wheel check passed in {time.monotonic() - started:.0f} s")


def build_wheel(out: Path) -> Path:
    """Build the sdist from the checkout and the wheel from the sdist, so both are tested."""
    run([sys.executable, "-m", "build", "--outdir", str(out), str(CHECKOUT)], cwd=CHECKOUT)
    (wheel,) = out.glob("*.whl")
    return wheel


def check_content(wheel: Path) -> None:
    """Check that the wheel contains all files of configs/ and assets/, but no tests or scripts."""
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f"{BUNDLED}/{path.relative_to(CHECKOUT).as_posix()}"
        for folder in DATA_FOLDERS
        for path in (CHECKOUT / folder).rglob("*")
        if path.is_file()
    }
    bundled = {name for name in names if name.startswith(f"{BUNDLED}/")}
    assert bundled == expected, f"bundled files differ: {sorted(bundled ^ expected)}"
    needed = {f"{BUNDLED}/assets/{name}" for name in ("sample.wav", "voice/model.safetensors")}
    assert needed <= bundled, f"not in the wheel: {sorted(needed - bundled)}"
    assert "codetalker_cli/py.typed" in names, "py.typed is not in the wheel"
    code = [name for name in bundled if name.endswith(".py")]
    assert not code, f"code in the data folders: {code}"
    outside = [
        name
        for name in names
        if not name.startswith("codetalker_cli/") and ".dist-info/" not in name
    ]
    assert not outside, f"files outside the package: {outside}"
    tests = [name for name in names if Path(name).name.startswith(("test_", "conftest"))]
    assert not tests, f"tests in the wheel: {tests}"


def use_elsewhere(wheel: Path, folder: Path) -> None:
    """Install the wheel into a new environment, load the presets, and animate one second."""
    environment = folder / "env"
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    venv.create(environment, with_pip=True)
    python = str(environment / "bin" / "python")
    constraints = str(CHECKOUT / "constraints.txt")
    # Compiling all of torch to bytecode would take longer than the check itself.
    install = ["-m", "pip", "install", "--quiet", "--no-compile", "-c", constraints, str(wheel)]
    run([python, *install], cwd=elsewhere)
    presets = ",".join(sorted(path.stem for path in (CHECKOUT / "configs").glob("*.yaml")))
    run([python, "-I", "-c", USE_INSTALLED, presets], cwd=elsewhere)
    codetalker = str(environment / "bin" / "codetalker")
    run([codetalker, "--version"], cwd=elsewhere)
    run([codetalker, "animate", "second.wav", "--out", "second.mp4"], cwd=elsewhere)
    run([python, "-I", "-c", MEASURE_VIDEO], cwd=elsewhere)
    run([codetalker, "animate", "second.wav", "--out", "second.html"], cwd=elsewhere)


def run(command: list[str], cwd: Path) -> None:
    """Run a command isolated from the checkout and from the calling environment."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    kept = {key: value for key, value in os.environ.items() if key not in hidden}
    shown = [part if "\n" not in part else "…" for part in command]
    print("+", " ".join(shown), flush=True)
    done = subprocess.run(command, cwd=cwd, env=kept, check=False)
    if done.returncode:
        sys.exit(f"wheel check: the command above failed with exit code {done.returncode}")


if __name__ == "__main__":
    main()
