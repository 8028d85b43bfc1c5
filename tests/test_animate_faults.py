"""A fault costs one recording of a batch, and two runs into one folder share the work."""

import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import voices
from command import run, succeed

import codetalker_cli as ct
from codetalker_cli.animate import batch
from codetalker_cli.animate.jobs import Job, Request, plan
from codetalker_cli.errors import CheckpointError, OutOfMemoryError
from codetalker_cli.files import claim
from codetalker_cli.models import checkpoint
from codetalker_cli.models.decoding import Decoder
from codetalker_cli.motion import Motion
from codetalker_cli.outputs import Formats

HERE = Path(__file__).parent
NAMES = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return voices.save(tmp_path_factory.mktemp("faults") / "voice", "A", family="whisper")


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder with four recordings and the model "mine", without a bundled one."""
    folder = tmp_path / "work"
    (folder / "in").mkdir(parents=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("CODETALKER_MODEL", raising=False)
    monkeypatch.setattr(checkpoint, "bundled", dict)
    shutil.copytree(stored, folder / "runs" / "mine")
    for k, name in enumerate(NAMES):
        soundfile.write(f"in/{name}.wav", voices.speech(0.6 + 0.3 * k, seed=k), 16000)


def animate(*arguments: object) -> list[object]:
    return ["animate", "in", "-o", "out", "--model", "mine", "--format", "npz", *arguments]


def names(folder: str = "out") -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


# One recording ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ZeroDivisionError("odd"), "unexpected error (ZeroDivisionError: odd); this is a fault"),
        (MemoryError("Unable to allocate 9 TiB"), "not enough memory (Unable to allocate 9 TiB)"),
        (OSError(5, "Input/output error", "b.npz"), "b.npz: Input/output error"),
    ],
)
def test_any_error_in_writing_costs_one_recording(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = Motion.save

    def fail_for_b(self: Motion, path: Any, **more: Any) -> Path:
        if Path(path).name.lstrip(".").startswith("b."):  # its name is temporary
            raise error
        return save(self, path, **more)

    monkeypatch.setattr(Motion, "save", fail_for_b)
    ended = run(*animate("--json"))
    (failed,) = json.loads(ended.out)["failed"]
    assert ended.code == 1 and failed["speech"] == "in/b.wav"
    assert failed["reason"].startswith(reason)
    assert names() == ["a.npz", "c.npz", "d.npz"]


def test_full_disk_ends_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Motion, path: Any, **more: Any) -> Path:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Motion, "save", full)
    ended = run(*animate())
    assert ended.code == 1
    assert "No space left on device; free some space" in ended.err.splitlines()[-1]
    assert not Path("out").exists() or names() == []


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_error_in_decoding_costs_one_recording(
    batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, lengths_of_b = Decoder.decode, []

    def fail_for_b(self: Decoder, *arguments: Any, **options: Any) -> Any:
        if lengths_of_b[0] in options["lengths"]:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")
        return decode(self, *arguments, **options)

    speaker = ct.load("mine", decode={"batch_size": batch_size})
    lengths_of_b.append(speaker.animate("in/b.wav").n_frames)
    expected = {name: speaker.animate(f"in/{name}.wav").vertices for name in NAMES}
    monkeypatch.setattr(Decoder, "decode", fail_for_b)
    made = dict(speaker.animate_many([Request(f"in/{name}.wav") for name in NAMES]))
    assert sorted(made) == [0, 1, 2, 3]
    for number, name in enumerate(NAMES):
        result = made[number]
        if name == "b":
            assert isinstance(result, OutOfMemoryError)
        else:
            assert isinstance(result, Motion)
            np.testing.assert_allclose(result.vertices, expected[name], rtol=0, atol=1e-4)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        speaker.animate("in/b.wav")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "the prediction contains NaN or infinite vertices"),
        (1e5, "times the size of the face away from it"),
    ],
)
def test_absurd_predictions_are_refused(
    value: float, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = ct.load("mine")
    decode_hidden = type(speaker.checkpoint.model.vq).decode_hidden

    def absurd(self: Any, codes: Any, lengths: Any = None) -> Any:
        return decode_hidden(self, codes, lengths) * 0 + value

    monkeypatch.setattr(type(speaker.checkpoint.model.vq), "decode_hidden", absurd)
    with pytest.raises(CheckpointError, match=reason):
        speaker.animate("in/a.wav")


def test_error_in_encoding_costs_one_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = type(ct.load("mine").checkpoint.model.speech.encoder)  # type: ignore[union-attr]
    prepare, calls = encoder.prepare, []

    def fail_at_second(self: Any, audio: Any) -> Any:
        calls.append(audio)
        if len(calls) == 2:
            raise IndexError("odd")
        return prepare(self, audio)

    monkeypatch.setattr(encoder, "prepare", fail_at_second)
    ended = run(*animate("--json"))
    report = json.loads(ended.out)
    assert ended.code == 1 and len(report["done"]) == 3
    (failed,) = report["failed"]
    assert failed["reason"].startswith("unexpected error (IndexError: odd)")


def test_name_that_is_too_long_for_a_result_fails_alone() -> None:
    shutil.copy("in/a.wav", f"in/{'x' * 240}.wav")
    ended = run(*animate("--json"))
    report = json.loads(ended.out)
    assert ended.code == 1 and len(report["done"]) == 4
    (failed,) = report["failed"]
    assert "the name is too long for this file system" in failed["reason"]
    assert names() == ["a.npz", "b.npz", "c.npz", "d.npz"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--subject", "nobody", "--subject 'nobody' is unknown; this model has: A"),
        ("--style", "nobody", "--style 'nobody' is unknown; this model has: A, B, C"),
        ("--style", "A:x", "expected a name, or weights such as"),
        ("--device", "cuda:77", "--device cuda:77: not usable here"),
        ("--device", "toaster", "--device toaster: not usable here"),
        ("--fps", "999", "--fps 999: expected 1 to 240 frames per second"),
    ],
)
def test_unknown_names_are_found_before_the_model_loads(
    option: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "load", lambda name: pytest.fail("the model was loaded"))
    ended = run(*animate(option, value))
    assert ended.code == 2 and message in ended.err
    assert not Path("out").exists()


def test_invalid_value_in_a_manifest_costs_its_line() -> None:
    Path("list.csv").write_text("audio,seed\nin/a.wav,-1\nin/b.wav,1\n")
    command = ["animate", "--manifest", "list.csv", "-o", "out", "--model", "mine"]
    ended = run(*command, "--format", "npz", "--json")
    report = json.loads(ended.out)
    assert ended.code == 1 and names() == ["b.npz"] and len(report["done"]) == 1
    (failed,) = report["failed"]
    assert failed["reason"] == "list.csv:2: seed is '-1', expected an integer from 0 on"


# Two runs --------------------------------------------------------------------------------------


def two_runs(*options: str) -> list[dict[str, Any]]:
    """Run the same command twice at once, and return the two reports."""
    # The bundled voice, which is imported faster than one with an encoder of transformers.
    command = [sys.executable, "-m", "codetalker_cli", *map(str, animate("--json", *options))]
    command[command.index("mine")] = "demo"
    environment = os.environ | {"PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    with ThreadPoolExecutor(2) as pool:
        started = [
            pool.submit(subprocess.run, command, env=environment, capture_output=True, text=True)
            for _ in range(2)
        ]
        ended = [one.result() for one in started]
    assert [one.returncode for one in ended] == [0, 0], [one.stderr for one in ended]
    return [json.loads(one.stdout) for one in ended]


def test_two_runs_into_one_folder_share_the_work() -> None:
    for k in range(2):
        soundfile.write(f"in/e{k}.wav", voices.speech(1.5, seed=k), 16000)
    reports = two_runs("--set", "decode.batch_size=1")
    assert [report["failed"] for report in reports] == [[], []]
    done = [row["out"] for report in reports for row in report["done"]]
    assert len(done) == len(set(done)) == 6, "a recording was animated twice"
    for report in reports:
        assert len(report["done"]) + len(report["skipped"]) == 6
    assert names() == sorted({Path(out).name for out in done})


@pytest.mark.parametrize("has_result", [False, True])
def test_run_waits_for_the_results_of_another(
    has_result: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The other run writes b.npz or gives it up; then this run, with overwrite, does it."""
    caplog.set_level("INFO", "codetalker_cli")
    planned = plan(
        ["in"], Request(Path()), formats=Formats({"npz": ".npz"}), out="out", format="npz"
    )
    written, others = threading.Event(), threading.Event()

    def hold() -> None:
        with claim(Path("out/b.npz")):
            others.set()
            assert written.wait(60)
            if has_result:
                Path("out/b.npz").write_text("of the other run")

    def write(voice: Any, motion: Motion, job: Job) -> dict[str, Any]:
        motion.save(job.out)
        if len(names()) >= 3 + 2:  # three results, and the hidden files of b.npz
            written.set()
        return {"out": str(job.out)}

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(hold)
        assert others.wait(60)
        threading.Timer(3.0, written.set).start()
        report = batch.run(planned, write, model="mine", overwrite=True)
        other.result()
    assert len(report.done) == 4 - has_result and not report.failed
    assert report.skipped == ["out/b.npz"] * has_result
    assert "another run is writing 1 of the results; waiting for it" in caplog.text
    assert names() == ["a.npz", "b.npz", "c.npz", "d.npz"]


def test_finished_recordings_are_reported_as_one_stage() -> None:
    """A stage that began again with each recording would never reach the time for a line."""
    begun: list[str] = []
    counts: list[float] = []

    def stages(name: str) -> Any:
        begun.append(name)
        return lambda done, total: counts.append(done) if name == "recordings" else None

    planned = plan(
        ["in"], Request(Path()), formats=Formats({"npz": ".npz"}), out="out", format="npz"
    )
    write = lambda voice, motion, job: {"out": str(motion.save(job.out))}  # noqa: E731
    batch.run(planned, write, model="mine", stages=stages)
    assert begun.count("recordings") == 1
    assert counts[-1] == 4 and counts == sorted(counts)


def test_next_run_removes_what_a_killed_one_left() -> None:
    script = (
        "import sys, time; from pathlib import Path; from codetalker_cli.files import atomic_path\n"
        "with atomic_path(Path('out/gone.mp4')) as temporary:\n"
        "    temporary.write_text('half'); print('writing', flush=True); time.sleep(60)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    killed = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert killed.stdout is not None and killed.stdout.readline() == "writing\n"
    assert len(names()) == 2
    succeed(*animate())
    assert len(names()) == 2 + 4, "the output of a running process was removed"
    killed.kill()
    killed.wait()
    killed.stdout.close()
    succeed(*animate())
    assert names() == ["a.npz", "b.npz", "c.npz", "d.npz"]


def test_single_output_that_another_run_writes_is_an_error() -> None:
    def hold(started: threading.Event, ended: threading.Event) -> None:
        with claim(Path("x.npz")):
            started.set()
            assert ended.wait(60)

    started, ended = threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(hold, started, ended)
        assert started.wait(60)
        result = run("animate", "in/a.wav", "-o", "x.npz", "--model", "mine")
        ended.set()
        other.result()
    assert result.code == 2 and "x.npz: another run is writing this" in result.err
