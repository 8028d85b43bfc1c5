"""Read damaged files until the time is up, and report every error that is not a one-line message.

    python scripts/fuzz.py sound --minutes 30 --seed 1
    python scripts/fuzz.py meshes --case 17     # repeat one case

Each case damages a valid file of a family (flipped bits, cuts, repeated parts, extreme numbers,
other values and shapes) and reads it. The family ``commands`` runs the command line with random
options, in a folder of good and bad files. A case fails if it raises anything but a
CodeTalkerError, takes longer than the limit, or needs more memory than the limit. A command fails
if it ends with an exit code other than 0, 1 and 2, prints a traceback or several errors, or changes
a file outside of its working folder. Failing cases are listed with their numbers, which repeat
them, and their inputs are kept.
"""

import argparse
import faulthandler
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
SEARCH_PATH = [str(ROOT), str(ROOT / "tests"), str(ROOT / "scripts")]
sys.path[:0] = SEARCH_PATH

from fuzz_parts import commands, files, folders  # noqa: E402
from fuzz_parts.files import MakeCase  # noqa: E402

SECONDS = 60
MEMORY = 6 << 30
"""The address space of a reader, in bytes; torch alone takes a part of it."""
FAMILIES: dict[str, Callable[[Path], MakeCase]] = {
    "sound": files.sound,
    "meshes": files.meshes,
    "motions": files.motions,
    "settings": files.settings,
    "pickles": files.pickles,
    "checkpoints": folders.checkpoints,
    "prepared": folders.prepared,
    "archives": folders.archives,
    "manifests": folders.manifests,
    "avatars": folders.avatars,
    "commands": commands.commands,
}


def run_case(number: int, seed: int, make: MakeCase, scratch: Path) -> str:
    """Run one case in an empty folder, and return what is wrong, or an empty text."""
    from codetalker_cli.errors import CodeTalkerError

    rng = np.random.default_rng([seed, number])
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    name, read = make(rng, scratch)
    start = time.monotonic()
    try:
        signal.alarm(2 * SECONDS)
        read()
    except CodeTalkerError as error:
        if "\n" in str(error) or not str(error).isprintable():
            return f"{name}: a message with control characters: {error!r}"
    except commands.Interrupted:
        raise
    except BaseException as error:
        return f"{name}: {type(error).__name__}: {str(error)[:200]} ({_place(error)})"
    finally:
        signal.alarm(0)
    seconds = time.monotonic() - start
    return f"{name}: took {seconds:.0f} s" if seconds > SECONDS else ""


def _place(error: BaseException) -> str:
    """Return the last line of the package that an error comes from."""
    place, trace = "", error.__traceback__
    while trace is not None:
        path = Path(trace.tb_frame.f_code.co_filename)
        if "codetalker_cli" in path.parts or not place:
            place = f"{path.name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def work(family: str, seed: int, first: int, stop: float, folder: Path, kept: Path) -> None:
    """Run cases until the time is up; the number of the current case is kept in a file."""
    faulthandler.enable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    (folder / "sources").mkdir(exist_ok=True)
    make = FAMILIES[family](Path(tempfile.mkdtemp(dir=folder / "sources")))
    number, scratch = first, folder / "scratch"
    while time.time() < stop:
        (folder / "case").write_text(str(number))
        try:
            fault = run_case(number, seed, make, scratch)
        except commands.Interrupted:
            return
        if fault:
            add_fault(folder, number, fault)
            keep(scratch, kept / f"{seed}-{number}")
        number += 1
    (folder / "case").write_text(str(number - 1))


def add_fault(folder: Path, number: int, fault: str) -> None:
    with (folder / "faults").open("a") as file:
        file.write(f"case {number}: {' '.join(fault.splitlines())}\n")


def keep(scratch: Path, target: Path) -> None:
    """Copy the input of a failing case."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(scratch, target, symlinks=True, ignore_dangling_symlinks=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to run (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the damage (default: 1)")
    parser.add_argument("--case", type=int, help="run only this case")
    parser.add_argument(
        "--keep", type=Path, default=Path(tempfile.gettempdir(), "codetalker-fuzz"),
        help="folder for the inputs of failing cases (default: codetalker-fuzz in the temporary "
        "folder)",
    )  # fmt: skip
    given = parser.parse_args()
    kept = given.keep.absolute() / given.family
    with tempfile.TemporaryDirectory(prefix="codetalker-fuzz-") as name:
        folder = Path(name)
        (folder / "faults").touch()
        if given.case is not None:
            make = FAMILIES[given.family](Path(tempfile.mkdtemp(dir=folder)))
            try:
                print(run_case(given.case, given.seed, make, folder / "scratch") or "no fault")
            except commands.Interrupted:
                print("no fault; interrupted")
            keep(folder / "scratch", kept / f"{given.seed}-{given.case}")
            return
        stop, first = time.time() + 60 * given.minutes, 0
        while time.time() < stop:
            process = multiprocessing.Process(
                target=work, args=(given.family, given.seed, first, stop, folder, kept)
            )
            process.start()
            process.join()
            last = int((folder / "case").read_text()) if (folder / "case").exists() else first
            if process.exitcode:
                add_fault(folder, last, f"the process ended with {process.exitcode}")
                keep(folder / "scratch", kept / f"{given.seed}-{last}")
            first = last + 1
        faults = (folder / "faults").read_text()
    print(faults, end="")
    print(f"{given.family}: {first} cases, {len(faults.splitlines())} faults, seed {given.seed}")
    if faults:
        print(f"the inputs of failing cases are in {kept}")
    sys.exit(bool(faults))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
