"""Completion of values in the shell: fast, silent, and from small files only."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import tiny_data
import voices
from command import succeed

from codetalker_cli import cli, metrics
from codetalker_cli.animate import model_choice
from codetalker_cli.cli import completion
from codetalker_cli.export import FORMATS
from codetalker_cli.live import sources
from codetalker_cli.render import encoder, targets
from codetalker_cli.settings import (
    CustomSettings,
    DataSettings,
    DemoSettings,
    ExportSettings,
    RenderSettings,
)
from codetalker_cli.settings.export import TARGETS
from codetalker_cli.settings.render import BACKDROPS, TRANSPARENT

LOADED = """
import sys
from codetalker_cli.cli import main

sys.argv = ["codetalker"]
try:
    main()
finally:
    heavy = [name for name in ("torch", "numpy", "codetalker_cli.settings") if name in sys.modules]
    print("loaded", *heavy)
"""
MAX_RATIO = 6.0
"""The longest CPU time of a completion, relative to starting Python with typer and rich."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set and the models ``mine`` and ``old/vq``."""
    folder = tmp_path_factory.mktemp("completion")
    voices.save(folder / "runs/mine", "A", "X", family="whisper")
    voices.save(folder / "runs/old/vq", "B", with_speech=False)
    tiny_data.prepared(folder / "data/tiny")
    return folder


@pytest.fixture(autouse=True)
def work_folder(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current folder, a copy of the stored one."""
    shutil.copytree(stored, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(completion.MODEL_VARIABLE, raising=False)


def environment(words: str, place: int) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(Path(cli.__file__).parents[2]),
        "_CODETALKER_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(place),
    }


def completed(words: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what the shell would offer for the last word of a line."""
    place = len(words.split()) - (not words.endswith(" "))
    for name in ("_CODETALKER_COMPLETE", "COMP_WORDS", "COMP_CWORD"):
        monkeypatch.setenv(name, environment(words, place)[name])
    return succeed().split()


CASES = {
    "codetalker anim": ["animate"],
    "codetalker prepare-data ": [
        "vocaset",
        "biwi",
        "custom",
        "video",
        "arkit",
        "combine",
        "check",
        "demo",
    ],
    "codetalker animate --model ": ["demo", "mine", "old/vq"],
    "codetalker animate --model mine --subject ": ["A", "X"],
    "codetalker animate --model runs/mine --subject ": ["A", "X"],
    "codetalker animate --subject S1": ["S10", "S11", "S12"],
    "codetalker animate --model mine --style ": ["A", "B", "C"],
    "codetalker animate --model mine --style A,": ["A,A", "A,B", "A,C"],
    "codetalker animate --model none --subject ": [],
    "codetalker animate -v --device ": list(completion.DEVICES),
    "codetalker animate --format m": ["mp4", "mov", "mkv", "mdd"],
    "codetalker live --stdin --format s": ["s16le"],
    "codetalker live --model mine --subject ": ["A", "X"],
    "codetalker render a.npz --view ": list(completion.VIEWS),
    "codetalker render a.npz --background t": ["transparent"],
    "codetalker render a.npz --renderer s": ["software"],
    "codetalker render a.npy --mesh ": ["demo", "mine", "old/vq"],
    "codetalker render a.npy --mesh old/vq --subject ": ["B"],
    "codetalker render a.npy --data data/tiny --mesh mine --subject ": ["A", "B", "C", "X"],
    "codetalker prepare-data custom x --unit ": ["m", "cm", "mm"],
    "codetalker prepare-data vocaset x --regions ": ["auto", "infer", "none"],
    "codetalker prepare-data demo x --engine ": ["espeak", "kokoro"],
    "codetalker train-vq --preset bi": ["biwi", "biwi-fast"],
    "codetalker train-speech --vq o": ["old/vq"],
    "codetalker eval ": ["demo", "mine", "old/vq"],
    "codetalker eval mine --style a": ["auto", "all"],
    "codetalker eval mine --split ": ["train", "val"],
    "codetalker metrics --data data/tiny --split v": ["val"],
    "codetalker metrics --unit ": ["m", "mm", "area1"],
    "codetalker metrics lve fd": ["fdd", "fdd_abs"],
    "codetalker import-checkpoint --preset voca": ["vocaset", "vocaset-fast"],
    "codetalker animate --nonsense --device a": ["auto"],
}


@pytest.mark.parametrize("words", CASES)
def test_values_are_completed(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(completed(words, monkeypatch)) == sorted(CASES[words])


def test_model_in_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(completion.MODEL_VARIABLE, "mine")
    assert completed("codetalker animate --subject ", monkeypatch) == ["A", "X"]


def cpu_seconds(code: str, line: str) -> tuple[float, str]:
    """Run Python code with a line to complete; return the CPU time and what it printed."""
    before = os.times()
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(line, len(line.split())),
        capture_output=True,
        text=True,
    )
    after = os.times()
    assert (ended.returncode, ended.stderr) == (0, "")
    seconds = after.children_user + after.children_system
    return seconds - before.children_user - before.children_system, ended.stdout


@pytest.mark.parametrize("words", ["animate --subject ", "eval --split ", "train-vq --preset "])
def test_completion_is_fast_and_prints_nothing_else(words: str) -> None:
    """The time is compared with that of Python with typer, because machines differ."""
    line, ratios = f"codetalker {words}", []
    for _ in range(3):
        seconds, out = cpu_seconds(LOADED, line)
        *values, loaded = out.split("\n")[:-1]
        assert values and loaded.endswith("loaded")
        ratios.append(seconds / cpu_seconds("import typer, rich.console", line)[0])
        if ratios[-1] < MAX_RATIO:  # repeated only on a busy machine
            break
    assert min(ratios) < MAX_RATIO


DAMAGED = {
    "not JSON": b"{",
    "not text": b"\xff\xfe\x00",
    "a list": b"[1]",
    "other types": json.dumps({"subjects": 3, "styles": {"a": 1}}).encode(),
    "control characters": json.dumps({"subjects": ["a\x1b[2J", 5, None]}).encode(),
    "deep": b"[" * 100_000,
    "large": b'{"subjects": ["' + b"x" * 3_000_000 + b'"]}',
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_files_complete_nothing_and_print_nothing(
    kind: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    Path("runs/mine/meta.json").write_bytes(DAMAGED[kind])
    Path("data/tiny/manifest.json").write_bytes(DAMAGED[kind])
    assert completed("codetalker animate --model mine --subject ", monkeypatch) == []
    assert completed("codetalker render --data data/tiny --mesh mine --subject ", monkeypatch) == []
    splits = completed("codetalker eval --data data/tiny --split ", monkeypatch)
    assert splits == list(completion.SPLITS)
    assert capfd.readouterr().err == ""


def test_a_fault_while_completing_prints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr("codetalker_cli.resources.config_names", fail)
    monkeypatch.setattr("codetalker_cli.workspace.checkpoints", fail)
    assert completed("codetalker train-vq --preset ", monkeypatch) == []
    assert completed("codetalker animate --model ", monkeypatch) == []


def choices(section: type, name: str) -> set[str]:
    return set(get_args(section.model_fields[name].annotation))


def test_listed_values_are_those_that_the_commands_accept() -> None:
    assert set(completion.VIEWS) == choices(RenderSettings, "view")
    assert set(completion.RENDERERS) == choices(RenderSettings, "renderer")
    assert set(completion.ENGINES) == choices(DemoSettings, "engine")
    assert set(completion.UNITS) == choices(DataSettings, "unit")
    assert tuple(sources.FORMATS) == completion.RAW_FORMATS
    assert set(completion.RAW_UNITS) == choices(CustomSettings, "unit")
    assert set(completion.BACKGROUNDS) == {*BACKDROPS, TRANSPARENT}
    every = {*metrics.METRICS, *metrics.GROUPS}
    assert set(completion.METRICS) == every
    assert set(completion.VIDEOS) == {suffix[1:] for suffix in encoder.SUFFIXES} - {"m4v"}
    assert (targets.PAGE.removeprefix("."),) == completion.PAGES
    assert tuple(FORMATS.suffixes) == completion.EXPORTS
    assert completion.TARGETS == TARGETS and set(TARGETS) == choices(ExportSettings, "targets")
    assert completion.MODEL_VARIABLE == model_choice.ENVIRONMENT


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_shown_and_installed(shell: str) -> None:
    # Typer asks the parent process for the name of the shell, unless this variable is set.
    ended = subprocess.run(
        [sys.executable, "-m", "codetalker_cli", "--show-completion", shell],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(cli.__file__).parents[2]),
            "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1",
        },
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0 and "_CODETALKER_COMPLETE" in ended.stdout
    assert "--install-completion" in succeed("--help")
