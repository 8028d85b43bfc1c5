"""Read damaged files until the time is up, and report every error that is not a one-line message.

    python scripts/fuzz.py sound --minutes 30 --seed 1
    python scripts/fuzz.py meshes --case 17     # repeat one case

Each case damages a valid file of a family (flipped bits, cuts, repeated parts, extreme numbers) and
reads it. A case fails if it raises anything but a CodeTalkerError, takes longer than the limit, or
needs more memory than the limit. Failing cases are listed with their numbers, which repeat them.
"""

import argparse
import faulthandler
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

SECONDS = 60
MEMORY = 6 << 30
"""The address space of a reader, in bytes; torch alone takes a part of it."""
EXTREMES = (b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\x00\x00\x00")


def damage(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a damaged copy; the start of a file, which holds the header, is hit most often."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        if not data:
            break
        end = min(len(data), 200) if rng.random() < 0.6 else len(data)
        at = int(rng.integers(0, end))
        size = int(rng.integers(1, 64))
        match int(rng.integers(0, 6)):
            case 0:
                data[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                data[at : at + 4] = EXTREMES[int(rng.integers(0, len(EXTREMES)))]
            case 2:
                del data[int(rng.integers(at, len(data))) :]
            case 3:
                del data[at : at + size]
            case 4:
                data[at:at] = data[at : at + size] * int(rng.integers(1, 20))
            case _:
                data[at : at + size] = rng.bytes(size)
    return bytes(data)


# Families ----------------------------------------------------------------------------------------


def sound_files(folder: Path) -> tuple[list[Path], Callable[[Path], object]]:
    import subprocess

    import imageio_ffmpeg
    import soundfile

    from codetalker_cli import audio, resources

    speech = audio.load(resources.asset("sample.wav"))[:16_000]
    soundfile.write(folder / "a.wav", speech, 16_000)
    video = ["-f", "lavfi", "-i", "color=size=32x32:rate=5:duration=1"]
    for name in ("a.flac", "a.ogg", "a.mp3", "a.m4a", "a.mp4", "a.mkv", "a.avi", "a.wma", "a.opus",
                 "a.ts", "a.aiff", "a.caf", "a.au", "a.w64"):  # fmt: skip
        more = video if name in ("a.mp4", "a.mkv", "a.avi", "a.ts") else []
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(folder / "a.wav")]
        subprocess.run([*command, *more, str(folder / name)], check=True)
    return sorted(folder.iterdir()), audio.load


def mesh_files(folder: Path) -> tuple[list[Path], Callable[[Path], object]]:
    import trimesh

    from codetalker_cli.formats.meshes import read_mesh_file

    ball = trimesh.creation.icosphere(1)
    for name in ("a.obj", "a.ply", "a.off", "a.glb"):
        ball.export(folder / name)
    return sorted(folder.iterdir()), read_mesh_file


def motion_files(folder: Path) -> tuple[list[Path], Callable[[Path], object]]:
    from codetalker_cli.motion import Motion
    from codetalker_cli.topology import Mesh, Topology

    topology = Topology("t", np.array([[0, 1, 2]], np.int32), 3)
    template = np.eye(3, dtype=np.float32)
    frames = np.repeat(template[None], 4, 0)
    Motion(frames, 30, topology, "A", template, audio=np.zeros(800, np.float32)).save(
        folder / "motion.npz"
    )
    Mesh(topology, {"A": template}).save(folder / "mesh.npz")

    def read(path: Path) -> object:
        return Mesh.load(path) if "mesh" in path.name else Motion.load(path).vertices[:]

    return sorted(folder.iterdir()), read


def settings_files(folder: Path) -> tuple[list[Path], Callable[[Path], object]]:
    from codetalker_cli import resources
    from codetalker_cli.presets import resolve

    for name in ("demo", "vocaset", "tiny"):
        (folder / f"{name}.yaml").write_bytes(resources.config(name).read_bytes())
    return sorted(folder.iterdir()), lambda path: resolve(config=path, preset="demo")


def pickle_files(folder: Path) -> tuple[list[Path], Callable[[Path], object]]:
    import pickle

    from codetalker_cli.formats.templates import read_templates

    templates = {name: np.zeros((5, 3)) for name in "AB"}
    for protocol in range(6):
        (folder / f"{protocol}.pkl").write_bytes(pickle.dumps(templates, protocol))
    return sorted(folder.iterdir()), read_templates


FAMILIES = {
    "sound": sound_files,
    "meshes": mesh_files,
    "motions": motion_files,
    "settings": settings_files,
    "pickles": pickle_files,
}


# Running -----------------------------------------------------------------------------------------


def run_case(number: int, seed: int, sources: list[Path], read: Callable, scratch: Path) -> str:
    """Read one damaged file, and return what is wrong, or an empty text."""
    from codetalker_cli.errors import CodeTalkerError

    rng = np.random.default_rng([seed, number])
    source = sources[int(rng.integers(0, len(sources)))]
    path = scratch / source.name
    path.write_bytes(damage(source.read_bytes(), rng))
    start = time.monotonic()
    try:
        signal.alarm(2 * SECONDS)
        read(path)
    except CodeTalkerError as error:
        if "\n" in str(error) or not str(error).isprintable():
            return f"{source.name}: a message with control characters: {error!r}"
    except BaseException as error:
        return f"{source.name}: {type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.alarm(0)
    seconds = time.monotonic() - start
    return f"{source.name}: took {seconds:.0f} s" if seconds > SECONDS else ""


def work(family: str, seed: int, first: int, stop: float, folder: Path) -> None:
    """Run cases until the time is up; the number of the current case is kept in a file."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    (folder / "sources").mkdir(exist_ok=True)
    (folder / "scratch").mkdir(exist_ok=True)
    sources, read = FAMILIES[family](Path(tempfile.mkdtemp(dir=folder / "sources")))
    number = first
    while time.time() < stop:
        (folder / "case").write_text(str(number))
        if fault := run_case(number, seed, sources, read, folder / "scratch"):
            with (folder / "faults").open("a") as file:
                file.write(f"case {number}: {fault}\n")
        number += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to run (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the damage (default: 1)")
    parser.add_argument("--case", type=int, help="run only this case")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="codetalker-fuzz-") as name:
        folder = Path(name)
        (folder / "faults").touch()
        if given.case is not None:
            sources, read = FAMILIES[given.family](Path(tempfile.mkdtemp(dir=folder)))
            print(run_case(given.case, given.seed, sources, read, folder) or "no fault")
            return
        stop, first = time.time() + 60 * given.minutes, 0
        while time.time() < stop:
            process = multiprocessing.Process(
                target=work, args=(given.family, given.seed, first, stop, folder)
            )
            process.start()
            process.join()
            last = int((folder / "case").read_text())
            if process.exitcode:
                with (folder / "faults").open("a") as file:
                    file.write(f"case {last}: the process ended with {process.exitcode}\n")
            first = last + 1
        faults = (folder / "faults").read_text()
    print(faults, end="")
    print(f"{given.family}: {first} cases, {len(faults.splitlines())} faults, seed {given.seed}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
