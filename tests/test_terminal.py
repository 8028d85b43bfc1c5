"""Tables, progress, verbosity and usage errors on terminals of any width and in log files."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_data
import voices
from command import COMMANDS, run, succeed
from rich.console import Console

from codetalker_cli import cli
from codetalker_cli.cli import console

NUMBER = re.compile(r"[-−]?\d+\.?\d*(?:e[-+]?\d+)?")


def of_width(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    made = Console(width=columns, soft_wrap=True, emoji=False)
    monkeypatch.setattr(console, "stdout", made)


def test_all_commands_are_tested() -> None:
    groups = {group.typer_instance for group in cli.app.registered_groups}
    listed = [one for one in cli.app.registered_commands if not one.hidden]
    for group in groups:
        assert group is not None
        listed += [one for one in group.registered_commands if not one.hidden]
    assert sorted(str(one.name) for one in listed) == sorted(words[-1] for words in COMMANDS)


# Tables -------------------------------------------------------------------------------------------

ROWS: list[tuple[str, ...]] = [
    ("lve", "-9.337e-09", "-9.337e-09 … 1.235e-08", "m²"),
    ("lip_closure_precision", "–", "no region inner_lip_upper or inner_lip_lower", "share"),
    ("FaceTalk_170725_00137_TA", "123456.789", "0.1 … 0.2", "mm"),
]
COLUMNS = ["metric", "value", "95 % interval", "unit"]


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 200])
def test_tables_break_no_number_and_no_name(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    of_width(monkeypatch, columns)
    console.table("a title", COLUMNS, ROWS)
    shown = capsys.readouterr().out
    for row in ROWS:
        quantities = [cell for cell in row if NUMBER.match(cell)]
        words = [word for cell in row for word in cell.split()]
        assert all(text in shown for text in [*quantities, *words])
    lines = shown.splitlines()[1:]
    assert len({len(line) for line in lines}) == 1
    if columns >= 80:
        assert len(lines[0]) <= columns
        assert sum("no region" in line for line in lines) == 1


def test_tables_are_as_wide_as_their_text_at_most(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    of_width(monkeypatch, 200)
    console.table("", ["a", "b"], [("x", "two words")])
    assert {len(line) for line in capsys.readouterr().out.splitlines()} == {17}


@pytest.fixture
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model, and a data set on which it can be evaluated."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("codetalker_cli.evaluate.run.write_report", lambda *given: None)
    voices.save(Path("voice"), "A", "B", "C", family="whisper")
    tiny_data.prepared(Path("data/tiny"), n_val=1)


def test_tables_of_eval_and_metrics_show_whole_numbers(
    evaluated: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {}
    for columns in (200, 80, 60, 40):
        of_width(monkeypatch, columns)
        evaluation = succeed("eval", "voice", "--data", "data/tiny", "--split", "val")
        made[columns] = [
            sorted(NUMBER.findall(evaluation)),
            sorted(NUMBER.findall(succeed("metrics"))),
        ]
    assert min(len(numbers) for numbers in made[200]) > 10
    assert made[80] == made[60] == made[40] == made[200]


# Progress -----------------------------------------------------------------------------------------


class Clock:
    """A clock that only the test moves."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_progress_in_a_log_file_is_a_line_per_interval(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr(console, "time", clock)
    console.set_up()
    with console.bars() as stages:
        report = stages("animate")
        for done in range(0, 601):
            clock.now = 100 + done / 25
            report(done, 600)
        report(600, 600)
        again = stages("train-vq")
        clock.now += 200
        again(7, 9, "lip error 3 mm")
    assert capsys.readouterr().err.splitlines() == [
        "animate: 250/600 frames, 10 s",
        "animate: 500/600 frames, 20 s",
        "animate: 600/600 frames, 24 s",
        "train-vq: 7/9 steps, 3 min 20 s, lip error 3 mm",
    ]


def test_progress_of_several_recordings_starts_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr(console, "time", clock)
    console.set_up()
    with console.bars() as stages:
        report = stages("render")
        for n_frames in (2, 3):
            for done in range(1, n_frames + 1):
                clock.now += 1
                report(done, n_frames)
    assert capsys.readouterr().err.splitlines() == [
        "render: 2/2 frames, 2 s",
        "render: 3/3 frames, 2 s",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")],
)
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert console.duration(seconds) == text


WITHOUT_REPORT = """
from codetalker_cli import cli
from codetalker_cli.evaluate import run

run.write_report = lambda *given: None  # slow
cli.main()
"""


def test_log_files_contain_no_escape_codes(tmp_path: Path, evaluated: None) -> None:
    arguments = ["eval", "voice", "--data", "data/tiny", "--split", "val"]
    hidden = ("FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS")
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_REPORT, *arguments],
        env={
            **{key: value for key, value in os.environ.items() if key not in hidden},
            "PYTHONPATH": str(Path(cli.__file__).parents[2]),
        },
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert "\x1b" not in ended.stdout + ended.stderr and "\r" not in ended.stderr
    assert re.search(r"^predict: 3/3 clips, \d+ s$", ended.stderr, flags=re.MULTILINE)
    assert re.search(r"^measure: 1/1 clips, \d+ s$", ended.stderr, flags=re.MULTILINE)


# --verbose and --quiet ----------------------------------------------------------------------------


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_lists_verbose_and_quiet(words: tuple[str, ...]) -> None:
    shown = succeed(*words, "--help")
    for option in ("--verbose", "-v", "--quiet", "-q", "--show-settings"):
        assert re.search(rf"(?<![\w-]){option}(?![\w-])", shown), option


@pytest.mark.parametrize(
    ("option", "level"), [("-v", "DEBUG"), ("--verbose", "DEBUG"), ("-q", "WARNING")]
)
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_verbosity_is_given_before_or_after_the_command(
    words: tuple[str, ...], option: str, level: str
) -> None:
    for position in range(len(words) + 1):
        given = [*words[:position], option, *words[position:]]
        succeed(*given, "--show-settings")
        assert logging.getLevelName(logging.getLogger("codetalker_cli").level) == level
    succeed(*words, "--show-settings")
    assert logging.getLogger("codetalker_cli").level == logging.INFO


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_verbose_and_quiet_exclude_each_other(words: tuple[str, ...]) -> None:
    for given in (["-v", "-q", *words], ["-q", *words, "-v"], [*words, "--quiet", "--verbose"]):
        ended = run(*given, "--show-settings")
        assert (ended.code, ended.out) == (2, "")
        assert ended.err.startswith(
            "error: --verbose and --quiet exclude each other; give only one"
        )
        assert len(ended.err.splitlines()) == 1


def test_quiet_prints_only_the_result(evaluated: None) -> None:
    arguments = ("eval", "voice", "--data", "data/tiny", "--split", "val")
    loud, quiet = run(*arguments), run(*arguments, "--overwrite", "-q")
    assert "predict: " in loud.err and "report: " in loud.err
    assert all(line.startswith("warning: ") for line in quiet.err.splitlines())
    assert quiet.out == loud.out != ""


def test_quiet_prints_warnings_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    console.set_up(quiet=True)
    with console.bars() as stages:
        stages("animate")(1, 1)
    console.inform("information")
    assert capsys.readouterr().err == ""
    console.say("a warning")
    console.fail("wrong")
    assert capsys.readouterr().err == "a warning\nerror: wrong\n"
    assert not logging.getLogger("codetalker_cli.x").isEnabledFor(logging.INFO)
    assert logging.getLogger("codetalker_cli.x").isEnabledFor(logging.WARNING)


# Usage errors -------------------------------------------------------------------------------------

USAGE = {
    "unknown command": (["animat"], "no such command 'animat'; did you mean 'animate'?"),
    "unknown command of a group": (["prepare-data", "bwi"], "did you mean 'biwi'?"),
    "unknown option": (["animate", "--subjct", "A"], "no such option: --subjct; did you mean --su"),
    "far option": (["animate", "--zzz"], "no such option: --zzz; see codetalker animate --help"),
    "bad value": (["animate", "--fps", "fast"], "invalid value for '--fps': "),
    "missing argument": (["render"], "missing argument"),
    "missing option": (["import-checkpoint", "a", "b", "c"], "missing option '--preset'"),
    "missing value": (["animate", "--fps"], "option '--fps' requires an argument"),
    "too many": (["train-vq", "a", "b"], "unexpected extra argument"),
}


@pytest.mark.parametrize("kind", USAGE)
def test_usage_errors_are_one_line(kind: str) -> None:
    arguments, message = USAGE[kind]
    ended = run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ") and len(ended.err.splitlines()) == 1
    assert message in ended.err


@pytest.mark.parametrize("value", ["\x1b[2J\x07\r\n" * 3, "x" * 2_000_000, "a b " * 500_000])
@pytest.mark.parametrize(
    "before", [[], ["prepare-data"], ["animate", "--fps"], ["train-vq", "data"]]
)
def test_usage_errors_are_safe_to_print(before: list[str], value: str) -> None:
    for given in (value, f"--{value}"):
        ended = run(*before, given)
        assert ended.code == 2 and ended.err.startswith("error: "), ended.err[:500]
        assert len(ended.err) < 2000 and ended.err.rstrip("\n").isprintable()


def test_missing_arguments_of_a_group_show_the_help() -> None:
    for words in ([], ["prepare-data"]):
        ended = run(*words)
        assert ended.code == 2 and "Commands" in ended.out and ended.err == ""


def test_name_of_the_program_does_not_depend_on_how_it_is_started() -> None:
    assert "see codetalker animate --help" in run("animate", "--zzz").err
    assert "Usage: codetalker animate" in succeed("animate", "--help")
