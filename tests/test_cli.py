"""The command line prints one clear line for each error and leaves no partial output."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import command
import numpy as np
import pytest
import soundfile
import voices
from command import refuse, run, succeed

from codetalker_cli import cli
from codetalker_cli.errors import InputError
from codetalker_cli.models import checkpoint
from codetalker_cli.motion import Motion

QUICK = ["--set", "render.size=64", "--set", "render.renderer=software"]
QUICK += ["--set", "render.workers=1", "--set", "render.samples=1"]


@pytest.fixture(scope="session")
def voice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with the subjects A and S01 and the styles A, B and C."""
    return voices.save(tmp_path_factory.mktemp("cli") / "voice", "A", "S01")


@pytest.fixture(autouse=True)
def work_folder(tmp_path: Path, voice: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with speech.wav and runs/mine; there is no bundled voice."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("CODETALKER_MODEL", raising=False)
    monkeypatch.setattr(checkpoint, "bundled", dict)
    shutil.copytree(voice, folder / "runs" / "mine")
    soundfile.write("speech.wav", voices.speech(), 16000)
    return folder


def animate(*arguments: object) -> list[object]:
    return ["animate", "speech.wav", "--model", "mine", *arguments]


# Successful commands ----------------------------------------------------------------------------


def test_video_is_written_next_to_the_recording() -> None:
    out = succeed(*animate(*QUICK))
    assert re.fullmatch(r"speech\.mp4: A, 24 frames, 1\.0 s\n", out)
    assert b"ftyp" in Path("speech.mp4").read_bytes()[:16]
    assert sorted(p.name for p in Path().iterdir()) == ["runs", "speech.mp4", "speech.wav"]


def test_motion_is_written_as_npz_and_npy() -> None:
    succeed(*animate("-o", "new/folder/a.npz", "--subject", "S01", "--seed", "7"))
    succeed(*animate("-o", "a.npy", "--subject", "S01", "--seed", "7"))
    motion = Motion.load("new/folder/a.npz")
    assert motion.subject == "S01" and motion.fps == 25
    np.testing.assert_array_equal(np.load("a.npy"), motion.vertices)


@pytest.mark.parametrize(
    ("options", "turns"),
    [
        ([], True),
        (["--no-head"], False),
        (["--no-idle"], False),
        (["--no-idle", "--head"], True),
    ],
)
def test_head_motion_follows_the_option_idle_unless_it_is_chosen(
    options: list[str], turns: bool
) -> None:
    succeed(*animate("-o", "a.npz", *options))
    assert (Motion.load("a.npz").head is not None) == turns


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("8 channels.wav", lambda p: soundfile.write(p, np.stack([voices.speech()] * 8, 1), 16000)),
        ("8k.wav", lambda p: soundfile.write(p, voices.speech(1.0, 8000), 8000)),
        ("96k.wav", lambda p: soundfile.write(p, voices.speech(1.0, 96000), 96000)),
        ("speech.flac", lambda p: soundfile.write(p, voices.speech(), 16000)),
        ("speech.ogg", lambda p: soundfile.write(p, voices.speech(), 16000)),
        ("speech.mp3", lambda p: soundfile.write(p, voices.speech(), 16000)),
        ("-dash ünï.wav", lambda p: soundfile.write(p, voices.speech(), 16000)),
    ],
)
def test_audio_formats_rates_and_file_names_are_accepted(
    name: str, write: Callable[[str], None]
) -> None:
    write(name)
    succeed("animate", "--model", "mine", "-o", "a.npz", "--", name)
    assert Motion.load("a.npz").seconds == pytest.approx(1.0, abs=0.1)


def test_json_is_the_only_output_on_stdout() -> None:
    motion = json.loads(succeed(*animate("-o", "a.npz", "--json")))
    assert motion["out"] == "a.npz" and motion["subject"] == "A" and motion["model"] == "runs/mine"
    assert (motion["frames"], motion["fps"]) == (24, 25.0)
    video = json.loads(succeed(*animate("-o", "a.mp4", "--json", "--fps", "50", *QUICK)))
    assert (video["frames"], video["fps"], video["size"]) == (48, 50.0, [64, 64])
    assert video["sound"] is True and video["renderer"] == "software"


def test_progress_and_chosen_model_are_printed_on_stderr() -> None:
    # This needs a separate process, because pytest captures the log lines of its own.
    package = str(Path(cli.__file__).parents[2])
    voices.save(Path("runs/newer"), "S01", family="whisper")
    arguments = ["animate", "speech.wav", "--subject", "S01", "-o", "a.npz"]
    done = subprocess.run(
        [sys.executable, "-m", "codetalker_cli", *arguments],
        env={**os.environ, "PYTHONPATH": package},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    model, style, bar = done.stderr.splitlines()
    assert model == "model: runs/newer (the newest one under runs/ with the subject S01)"
    assert style == "S01 was not in the training data; using the style of A"
    assert "animate" in bar and "25/25" in bar
    assert done.stdout == "a.npz: S01, 25 frames, 1.0 s\n"


@pytest.mark.parametrize("name", ["a.NPZ", "a.Npy"])
def test_suffix_may_be_upper_case(name: str) -> None:
    succeed("animate", "speech.wav", "--model", "mine", "-o", name)
    assert Path(name).is_file()


def test_environment_variable_selects_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.move("runs/mine", "elsewhere")
    assert "no bundled voice" in refuse("animate", "speech.wav")
    monkeypatch.setenv("CODETALKER_MODEL", "elsewhere")
    assert json.loads(succeed("animate", "speech.wav", "-o", "a.npz", "--json"))["model"] == (
        "elsewhere"
    )
    monkeypatch.setenv("CODETALKER_MODEL", "nowhere")
    assert "'nowhere' is not known" in refuse("animate", "speech.wav", "-o", "b.npz")


def test_bundled_voice_is_the_last_choice(voice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "bundled", lambda: {"demo": voice})
    arguments = ["animate", "speech.wav", "-o", "a.npz", "--overwrite", "--json"]
    models = [
        json.loads(succeed(*arguments, *more))["model"]
        for more in ([], ["--subject", "S01"], ["--subject", "S01", "--model", "demo"])
    ]
    assert models == [str(voice), "runs/mine", str(voice)]


# Refused commands -------------------------------------------------------------------------------


def speech_with_nan() -> np.ndarray:
    samples = voices.speech()
    samples[[70, 90]] = np.nan
    return samples


BAD_AUDIO: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda p: None, "bad.wav: no such audio file"),
    "folder": (lambda p: p.mkdir(), "bad.wav: the folder contains no recordings"),
    "empty file": (lambda p: p.touch(), r"bad.wav: the file is empty \(0 bytes\)"),
    "no samples": (
        lambda p: soundfile.write(p, voices.speech(0), 16000),
        "bad.wav: contains no audio samples; check the recording",
    ),
    "silent": (
        lambda p: soundfile.write(p, 0 * voices.speech(), 16000),
        "bad.wav: the recording is silent .*; check the microphone",
    ),
    "short": (
        lambda p: soundfile.write(p, voices.speech(0.1), 16000),
        "bad.wav: the recording is 0.10 s long; at least 0.2 s is needed",
    ),
    "NaN": (
        lambda p: soundfile.write(p, speech_with_nan(), 16000, subtype="FLOAT"),
        r"bad.wav: 2 samples are NaN or infinite \(first at sample 70\); export",
    ),
    "text": (lambda p: p.write_text("hello\n" * 99), "bad.wav: not an audio file .*; convert it"),
    "noise": (
        lambda p: p.write_bytes(np.random.default_rng(0).bytes(3000)),
        "bad.wav: not an audio file .*; convert it",
    ),
}


@pytest.mark.parametrize("kind", BAD_AUDIO)
@pytest.mark.parametrize("out", ["a.npz", "a.mp4"])
def test_unusable_audio_is_refused_and_writes_nothing(kind: str, out: str) -> None:
    write, message = BAD_AUDIO[kind]
    write(Path("bad.wav"))
    error = refuse("animate", "bad.wav", "--model", "mine", "-o", out)
    assert re.match(message, error), error
    # An earlier result is kept even with --overwrite.
    Path(out).write_text("old")
    refuse("animate", "bad.wav", "--model", "mine", "-o", out, "--overwrite")
    assert Path(out).read_text() == "old"


@pytest.mark.parametrize("out", ["a.npz", "a.npy", "a.mp4"])
def test_existing_output_is_kept_without_overwrite(out: str) -> None:
    Path(out).write_text("old")
    error = refuse(*animate("-o", out))
    assert error.startswith(f"{out} already exists; give --overwrite")
    succeed(*animate("-o", out, "--overwrite", *QUICK))
    assert Path(out).stat().st_size > 3


def test_existing_default_output_is_refused() -> None:
    Path("speech.mp4").write_text("old")
    assert refuse(*animate()).startswith("speech.mp4 already exists")


def test_failed_video_leaves_no_file_and_keeps_the_old_one() -> None:
    arguments = [*animate("-o", "a.mp4", "--overwrite", *QUICK), "--set", "render.codec=nonsense"]
    assert "nonsense encoder failed" in refuse(*arguments)
    Path("a.mp4").write_text("old")
    refuse(*arguments)
    assert Path("a.mp4").read_text() == "old"


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (
            "a.gif",
            "--out a.gif: the file suffix must be one of .mp4, .m4v, .mov, .mkv, .webm, .html, ",
        ),
        ("a", "--out a: the file suffix must be one of"),
        ("speech.wav/a.npz", "speech.wav: cannot write here (Not a directory); give another"),
        ("runs.npz", "--out runs.npz: expected a file, but this is a folder"),
        ("x" * 300 + ".npz", "File name too long"),
        ("/proc/nowhere/a.npz", "/proc/nowhere: cannot write here"),
    ],
)
def test_unusable_output_is_refused(out: str, message: str) -> None:
    if out.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("this system has no /proc")
    Path("runs.npz").mkdir()
    assert message in refuse(*animate("-o", out, "--overwrite"))


def test_failure_leaves_no_new_folders() -> None:
    refuse("animate", "speech.wav", "--model", "none", "-o", "new/folder/a.npz")
    assert not Path("new").exists()


def test_output_must_differ_from_the_recording() -> None:
    shutil.copy("speech.wav", "talk.mp4")
    before = Path("talk.mp4").read_bytes()
    for arguments in (["talk.mp4"], ["talk.mp4", "-o", "runs/../talk.mp4"]):
        error = refuse("animate", *arguments, "--overwrite", "--model", "mine")
        assert "this is the recording itself; give another --out" in error
    assert Path("talk.mp4").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--subject", "Bob"], "--subject 'Bob' is unknown; this model has: A, S01"),
        (["--style", "Bob"], "--style 'Bob' is unknown; this model has: A, B, C"),
        (["--style", "A:x"], "--style A:x: expected a name, or weights such as"),
        (["--fps", "0"], "--fps 0: expected 1 to 240"),
        (["--fps", "nan"], "--fps nan: expected 1 to 240"),
        (["--device", "tpu9"], "--device tpu9: not usable here"),
        (["--set", "render.sise=3"], "render.sise: unknown key (from --set); did you mean render."),
        (["--set", "render.size=63"], "render.size: size 63 must be even"),
        (["--set", "render.size=big"], "render.size: Input should be a valid integer"),
        (
            ["--set", "vq.hidden_size=3"],
            "expected render.KEY=value or decode.KEY=value or export.KEY=value or solve.KEY=value",
        ),
        (["--set", "nonsense"], "--set nonsense: expected render.KEY=value"),
        (["--config", "none.yaml"], "none.yaml: cannot be read"),
    ],
)
def test_invalid_option_states_what_is_expected(arguments: list[str], message: str) -> None:
    assert message in refuse(*animate("-o", "a.npz", *arguments))


def test_unknown_model_lists_the_known_ones() -> None:
    voices.save(Path("runs/other/vq"), "A", with_speech=False)
    error = refuse("animate", "speech.wav", "--model", "nine")
    assert error == "checkpoint 'nine' is not known; available names: other/vq, mine"
    error = refuse("animate", "speech.wav", "--model", "runs")
    assert "'runs' is a folder without a checkpoint; available names" in error
    error = refuse("animate", "speech.wav", "--model", "other/vq")
    assert "contains only stage 1; train stage 2 with `codetalker train-speech`" in error


@pytest.mark.parametrize("name", ["model.safetensors", "meta.json", "settings.yaml", "mesh.npz"])
def test_damaged_model_is_refused(name: str) -> None:
    path = Path("runs/mine") / name
    path.write_bytes(path.read_bytes()[:100])
    assert "runs/mine" in refuse(*animate("-o", "a.npz"))


@pytest.mark.parametrize("arguments", [["--seed", "-1"], ["--fps", "fast"], ["--nonsense"], ["x"]])
def test_unparsable_options_exit_with_2(arguments: list[str]) -> None:
    before = command.listing()
    ended = run(*animate(*arguments))
    assert ended.code == 2 and ended.out == "" and "Traceback" not in ended.err
    assert command.listing() == before


def test_full_disk_is_one_line_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_disk_full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "a.npz")

    monkeypatch.setattr(Motion, "save", raise_disk_full)
    assert refuse(*animate("-o", "a.npz")) == (
        "a.npz: No space left on device; free some space and run the command again"
    )


def test_error_text_is_printed_without_markup_or_line_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message = "[bold]x[/bold] :smile: " + "long " * 60 + "end"

    def fail(*_: object, **__: object) -> None:
        raise InputError(message)

    monkeypatch.setattr(Motion, "save", fail)
    assert refuse(*animate("-o", "a.npz")) == message


# The other commands -----------------------------------------------------------------------------

COMMANDS = {"animate", "render", "prepare-data", "train-vq", "train-speech", "eval", "metrics"}
COMMANDS |= {"import-checkpoint", "export", "live", "studio"}


def test_help_lists_all_commands() -> None:
    out = succeed("--help")
    listed = set(re.findall(r"^│ ([a-z-]+) ", out.split("Commands")[1], flags=re.MULTILINE))
    assert listed == COMMANDS
    for name in COMMANDS:
        assert "Usage" in succeed(name, "-h")
    assert "demo" in succeed("prepare-data", "--help")


@pytest.mark.parametrize("arguments", [[], ["prepare-data"]])
def test_missing_arguments_show_the_help(arguments: list[str]) -> None:
    ended = run(*arguments)
    assert ended.code in (0, 2) and "Commands" in ended.out + ended.err


def test_version_is_printed() -> None:
    assert re.fullmatch(r"codetalker-cli \d+\.\d+\.\d+\n", succeed("--version"))


def test_unknown_command_exits_with_2() -> None:
    ended = run("animat")
    assert ended.code == 2 and "animat" in ended.err


def test_show_settings_prints_values_with_origins() -> None:
    Path("my.yaml").write_text("demo: {seed: 5}")
    arguments = ["prepare-data", "demo", "out", "--preset", "tiny", "--config", "my.yaml"]
    arguments += ["--minutes", "2", "--set", "demo.max_clips=9", "--show-settings"]
    lines = succeed(*arguments).splitlines()
    for expected in (
        "demo.minutes = 2.0  (flag)",
        "demo.max_clips = 9  (--set)",
        "demo.seed = 5  (my.yaml)",
        'demo.engine = "espeak"  (preset tiny)',
        "demo.blinks = true  (default)",
    ):
        assert expected in lines
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare-data", "demo", "out", "--preset", "tinny"], "did you mean tiny?"),
        (
            ["prepare-data", "demo", "out", "--preset", "vocaset"],
            "the bundled head does not have Face",
        ),
        (["prepare-data", "demo", "out", "--engine", "x"], "Input should be 'espeak' or 'kokoro'"),
        (["prepare-data", "demo", "out", "--minutes", "-1"], "demo.minutes: Input should be grea"),
        (["prepare-data", "demo", "out", "--speech", "none"], "none: no such folder"),
        (["prepare-data", "demo", "out", "--speech", "runs"], "runs: contains no recordings"),
        (["prepare-data", "demo", "speech.wav", "--preset", "tiny"], "speech.wav: cannot write"),
        (["train-vq", "none"], "none: no prepared data set (no manifest.json); make one with"),
        (["train-speech", "runs"], "runs: no prepared data set"),
        (["import-checkpoint", "a", "b", "c", "--preset", "bivi"], "did you mean biwi?"),
        (["import-checkpoint", "a", "b", "c", "--preset", "tiny"], "a: no such checkpoint file"),
        (["import-checkpoint", "a", "b", "runs", "--preset", "tiny"], "runs already exists"),
    ],
)
def test_other_commands_refuse_invalid_input(arguments: list[str], message: str) -> None:
    assert message in refuse(*arguments)
