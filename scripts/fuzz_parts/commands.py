"""The family of commands: random options and values, in a working folder of good and bad files.

No value leads out of the working folder, so whatever is written elsewhere is a fault. Values are
chosen by the types of the options, which are read from the command line itself.
"""

import io
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from fuzz_parts.damage import JUNK, damage_file, pick
from fuzz_parts.files import Case, MakeCase

SECONDS = 30
"""The longest processor time of a command; a longer one is a fault."""
SLOW, SLOW_SECONDS = ("train-vq", "train-speech", "demo"), 6
"""Commands that may take longer, and the time after which they are interrupted, as by Ctrl-C."""
WORDS = (
    "", " ", "nothing", "nothing/here.wav", "-", "--", "demo", "voice", "runs/tiny/vq", "tiny",
    "A", "B", "S01", "A:0.5,B:0.5", "A:x", "auto", "all", "none", "infer", "test", "val", "train",
    "cpu", "cuda", "cuda:9", "gpu", "npz", "mp4", ".npy", "front", "mouth", "black", "#12",
    "#aabbcc", "transparent", "software", "m", "mm", "area1", "x z -y", "x x x", "*.npy",
    "motion/*.npy", "motion/(", "[", "**", "first-frame", "espeak", "kokoro", "lve", "fdd", "mve",
    "lip_closure", "1", "0", "-1", "25", "1e9", "nan", "inf", "a\nb", "\x1b[2J", "é\u202e",
    "x" * 300, "a.wav",
)  # fmt: skip
OUTPUTS = (
    "made.mp4", "made.npz", "made.npy", "made.png", "made.csv", "made", "made/", "made/x.mp4",
    "made/deep/x.npz", "a.wav", "data/tiny", "data/tiny/manifest.json", "voice", "x.mkv", "x.webm",
    "x.exe", "", ".", " ", "x" * 300 + ".mp4", "a\nb.npz",
)  # fmt: skip
NUMBERS = (
    "0",
    "1",
    "-1",
    "2",
    "3.5",
    "25",
    "30",
    "1e9",
    "1e-9",
    "nan",
    "inf",
    "x",
    "",
    "64",
    "10**3",
)
_LEFTOVER = re.compile(r"(^|/)\.[^/]*\.([0-9a-f]{8}|[0-9a-f]{32})(\.[^/]*)?$|\.probe$")


class Fault(Exception):
    """What a command did wrong."""


class Overtime(BaseException):
    """Raised in a command that takes too long."""


class Interrupted(Exception):
    """A slow command was interrupted, without a fault.

    Its process may contain half-imported modules, so it cannot run other cases.
    """


def commands(folder: Path) -> MakeCase:
    """Return a maker of cases that each run one command with random arguments."""
    import typer.main

    from codetalker_cli.cli import app

    root: Any = typer.main.get_command(app)
    found: dict[tuple[str, ...], Any] = {}
    for name, command in root.commands.items():
        if hasattr(command, "commands"):
            found |= {(name, inner): one for inner, one in command.commands.items()}
        else:
            found[(name,)] = command
    pool = folder / "pool"
    pool.mkdir()
    _fill(pool)
    settings = _setting_names()

    def make(rng: np.random.Generator, scratch: Path) -> Case:
        work = scratch / "work"
        shutil.copytree(pool, work)
        (scratch / "outside").mkdir()
        (scratch / "outside/file.txt").write_text("outside")
        files = sorted(path for path in work.rglob("*") if path.is_file())
        for _ in range(int(rng.integers(0, 3)) if rng.random() < 0.3 else 0):
            path = pick(files, rng)
            if path.is_file():
                damage_file(path, rng)
        name = pick(list(found), rng)
        if name[-1] in SLOW and rng.random() < 0.8:
            name = pick(list(found), rng)
        words = [*name, *_arguments(found[name], work, settings, rng)]
        (scratch / "command.txt").write_text(repr(words))
        return " ".join(map(repr, words))[:400], lambda: _run(words, scratch)

    return make


# Arguments ---------------------------------------------------------------------------------------


def _arguments(
    command: Any, work: Path, settings: list[str], rng: np.random.Generator
) -> list[str]:
    paths = sorted(str(path.relative_to(work)) for path in work.rglob("*"))
    options: list[str] = []
    positional: list[str] = []
    for parameter in command.params:
        if parameter.name == "help":
            continue
        is_argument = parameter.param_type_name == "argument"
        if rng.random() > (0.9 if is_argument else 0.22):
            continue
        for _ in range(
            int(rng.integers(1, 4)) if parameter.nargs == -1 or parameter.multiple else 1
        ):
            if getattr(parameter, "is_flag", False):
                flags = [*parameter.opts, *parameter.secondary_opts]
                options.append(pick(flags, rng))
                continue
            value = _value(parameter, paths, settings, rng)
            if is_argument:
                positional.append(value)
            else:
                options += [pick(parameter.opts, rng), value]
    if "--config" not in options and command.name in SLOW and rng.random() < 0.8:
        options += ["--config", "tiny.yaml"]  # training in seconds
    return [*positional, *options] if rng.random() < 0.5 else [*options, *positional]


def _value(parameter: Any, paths: list[str], settings: list[str], rng: np.random.Generator) -> str:
    if parameter.name == "assignments":
        value = pick([text for text in map(str, JUNK) if "/" not in text and len(text) < 100], rng)
        value = pick((value, pick(NUMBERS, rng), pick(WORDS, rng)), rng)
        return pick((f"{pick(settings, rng)}={value}", value), rng) if rng.random() < 0.95 else "="
    if parameter.name in ("out", "csv", "sheet"):
        return pick(OUTPUTS, rng)
    if parameter.name in _NUMERIC:
        return pick(NUMBERS, rng)
    matching = [path for path in paths if _fits(parameter.name, path)]
    way = rng.random()
    if matching and way < 0.6:
        return pick(matching, rng)
    return pick(paths, rng) if way < 0.75 else pick(WORDS, rng)


_NUMERIC = ("fps", "size", "seed", "minutes")
_FITTING = {
    "speech": (".wav", ".mp3", "sounds"), "manifest": (".csv",), "config": (".yaml",),
    "preset": (".yaml",), "data": ("data/tiny",), "folder": ("data/tiny",), "model": ("voice",),
    "checkpoint": ("voice", "vq"), "vq": ("vq",), "motions": (".npz", ".npy", ".mp4"),
    "audio": (".wav",), "mesh": ("voice", ".obj"), "faces": (".obj",), "templates": (".pkl",),
    "regions": ("regions",), "pred": ("motion",), "gt": ("motion", "clips"),
    "source": ("raw", ".yaml"), "raw": ("raw", "biwi"),
    "stage1": (".pth.tar",), "stage2": (".pth.tar",),
}  # fmt: skip


def _fits(name: str, path: str) -> bool:
    return path.endswith(_FITTING.get(name, ("?",)))


def _setting_names() -> list[str]:
    """Return all settings as SECTION.KEY, except those that start processes."""
    from codetalker_cli.settings import Settings

    names = []
    for section, field in Settings.model_fields.items():
        keys = getattr(field.annotation, "model_fields", {})
        names += [f"{section}.{key}" for key in keys if "workers" not in key]
    return names


# Files -------------------------------------------------------------------------------------------


def _fill(work: Path) -> None:
    """Write small good and bad files of every kind that a command reads."""
    import pickle

    import soundfile
    import tiny_data
    import torch
    import voices

    from codetalker_cli.motion import Motion
    from codetalker_cli.settings import Settings
    from codetalker_cli.text_files import to_yaml

    data = tiny_data.prepared(work / "data/tiny", lengths=(12, 10, 14, 9), n_val=2)
    voices.save(work / "voice", "A", "B", "C", family="whisper")
    voices.save(work / "runs/tiny/vq", "A", "B", "C", with_speech=False)
    for k, name in enumerate(("a.wav", "sounds/b.wav", "sounds/c.wav")):
        (work / name).parent.mkdir(exist_ok=True)
        soundfile.write(work / name, voices.speech(0.4, seed=k), 16_000)
    soundfile.write(work / "silent.wav", np.zeros(8000), 16_000)
    soundfile.write(work / "short.wav", np.ones(3), 16_000)
    (work / "bad.wav").write_bytes(b"RIFF\xff\xff\xff\xffWAVE")
    (work / "bad.mp3").write_bytes(b"\xff" * 100)
    (work / "empty").mkdir()
    (work / "empty.npy").write_bytes(b"")
    (work / "motion").mkdir()
    mesh, clip = data.mesh, data.clips("val")[0]
    template, vertices = mesh.templates["A"], np.array(clip.vertices)
    for name in ("clip0_condition_A", "clip0_condition_B", "clip1"):
        np.save(work / f"motion/{name}.npy", vertices)
    np.save(work / "motion/A_flat.npy", vertices.reshape(len(vertices), -1))
    np.save(work / "objects.npy", np.array([{}], object))
    np.save(work / "nan.npy", np.full((5, 12, 3), np.nan, np.float32))
    speech = voices.speech(len(vertices) / 25)
    Motion(vertices, 25.0, mesh.topology, "A", template, audio=speech).save(work / "a.npz")
    (work / "templates.pkl").write_bytes(pickle.dumps(mesh.templates))
    (work / "bad.pkl").write_bytes(b"cos\nsystem\n(S'id'\ntR.")
    (work / "regions").mkdir()
    (work / "regions/lve.txt").write_text("0, 1, 2")
    (work / "regions/fdd.txt").write_text("5, 6")
    lines = [f"v {x} {y} {z}" for x, y, z in template]
    lines += [f"f {k} {k + 1} {k + 2}" for k in range(1, 11)]
    (work / "face.obj").write_text("\n".join(lines))
    (work / "list.csv").write_text("audio,out,subject,style,seed,fps\na.wav,made/a.npz,A,B,1,25\n")
    (work / "bad.csv").write_text("audio,out\na.wav,../outside/x.npz\n")
    small = tiny_data.settings()
    assert isinstance(small, Settings)
    (work / "tiny.yaml").write_text(to_yaml(small.of_a_run()))
    (work / "bad.yaml").write_text("train_vq: {epochs: [1, 2}\n")
    (work / "custom.yaml").write_text(
        "custom: {fps: 25, unit: m, motion: '*.npy', audio: '*.wav'}\n"
    )
    (work / "raw").mkdir()
    for k, name in enumerate(("A_one", "B_two")):
        np.save(work / f"raw/{name}.npy", vertices)
        soundfile.write(work / f"raw/{name}.wav", voices.speech(0.5, seed=k), 16_000)
    shutil.copy(work / "face.obj", work / "raw/face.obj")
    torch.save({"state_dict": {"x": torch.zeros(2)}}, work / "weights.pth.tar")


# Running -----------------------------------------------------------------------------------------


def _run(words: list[str], scratch: Path) -> None:
    """Run a command, and raise a ``Fault`` if it does anything but succeed or refuse."""
    from codetalker_cli import cli

    work, out, err, code = scratch / "work", io.StringIO(), io.StringIO(), 0
    variables = {
        "HOME": "home",
        "MPLCONFIGDIR": "cache",
        "XDG_CACHE_HOME": "cache",
        "CODETALKER_CACHE": "cache",
        "TMPDIR": "tmp",
    }
    for name in {*variables.values()}:
        (scratch / name).mkdir()
    environment = {name: str(scratch / value) for name, value in variables.items()}
    environment |= {"HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    before = _outside(scratch)
    is_slow, interrupted = any(word in SLOW for word in words[:2]), False
    with (
        _working_in(work),
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "argv", ["codetalker", *words]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            with _time_limit(SLOW_SECONDS if is_slow else SECONDS):
                cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        except Overtime:
            interrupted = True
            if not is_slow:
                raise Fault(f"took more than {SECONDS} s") from None
        # Any other exception is a fault and is raised.
    if not interrupted:
        _check_output(code, out.getvalue(), err.getvalue())
    changed = sorted(path for path, _ in _outside(scratch).items() ^ before.items())
    if changed:
        raise Fault(f"a file outside of the working folder has changed: {changed[0]}")
    left = [path for path in work.rglob("*") if _LEFTOVER.search(str(path.relative_to(work)))]
    if left:
        raise Fault(f"the temporary file {left[0].relative_to(work)} is left")
    if interrupted:
        raise Interrupted


def _check_output(code: int, out: str, err: str) -> None:
    if code not in (0, 1, 2):
        raise Fault(f"exit code {code}")
    if "Traceback (most recent call last)" in out + err:
        raise Fault("a traceback")
    if warning := re.search(r"\.py:\d+: \w*Warning: .*", out + err):
        raise Fault(f"a Python warning: {warning[0][:200]}")
    errors = [line for line in err.splitlines() if line.startswith("error:")]
    if len(errors) > 1:
        raise Fault(f"{len(errors)} error lines: {errors}")
    if code == 2 and not errors and "Error" not in err:
        raise Fault(f"exit code 2 without an error line: {err[-300:]!r}")
    if code and not (out + err).strip():
        raise Fault(f"exit code {code} without a message")
    if any(not line.isprintable() for line in errors):
        raise Fault(f"an error line with control characters: {errors}")


def _outside(scratch: Path) -> dict[str, int]:
    """Return the files that a command must not change, with their times."""
    files = [path for name in ("outside", "home") for path in (scratch / name).rglob("*")]
    return {str(path): path.stat().st_mtime_ns for path in [*files, *scratch.iterdir()]
            if path.name not in ("work", "cache", "tmp", "home")}  # fmt: skip


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Overtime

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
