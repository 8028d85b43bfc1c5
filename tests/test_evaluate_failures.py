"""An evaluation that fails leaves nothing, an earlier evaluation, or predictions to resume."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_data
import voices
from command import listing, refuse, run, succeed

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.errors import OutputError
from codetalker_cli.evaluate import run as evaluation
from codetalker_cli.evaluate.folder import IDENTITY_KEYS, EvaluationFolder
from codetalker_cli.evaluate.predict import Predictor
from codetalker_cli.workspace import newest_evaluation

OUT = Path("runs/tiny/voice-eval/val")
COMMAND = ("eval", "voice", "--data", "data/tiny", "--split", "val")
CHANGED = ("--set", "evaluate.closure_mm=2")
"""A setting that is part of the protocol's content, but not of its identity."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two validation clips (subjects A and B), two training clips and a checkpoint ``voice``."""
    folder = tmp_path_factory.mktemp("stored")
    voices.save(folder / "voice", "A", "B", "C", family="whisper")
    tiny_data.prepared(folder / "data/tiny", n_val=2)
    return folder


@pytest.fixture
def data(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PreparedDataSet:
    """The stored data set, copied to the current folder together with ``voice``."""
    shutil.copytree(stored, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluation, "write_report", write_short_report)
    return PreparedDataSet(Path("data/tiny"))


def write_short_report(made: Any, *_: object) -> None:
    made.folder.report.write_text("report")


def finished(out: Path = OUT) -> dict[str, bytes]:
    """Return the files of the evaluation in a folder, without a draft."""
    found = listing(out)
    return {path: content for path, content in found.items() if "/.unfinished" not in path}


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


def writing_then_raising(error: BaseException) -> Callable[..., Any]:
    """Return a replacement of ``Predictor.write`` that fails after the first prediction."""
    write = Predictor.write

    def fail(self: Predictor, jobs: Any, folder: Path, progress: Any = None) -> Iterator[Any]:
        yield from write(self, jobs[:1], folder, progress)
        raise error

    return fail


def no_jobs(self: Predictor, jobs: Any, *_: object) -> Iterator[Any]:
    assert jobs == [], "a prediction is repeated"
    yield from ()


STAGES = {
    "predict": (Predictor, "write"),
    "measure": (evaluation, "score_pairs"),
    "report": (evaluation, "write_report"),
    "table": (evaluation, "write_csv"),
}
ERRORS = {
    "expected": OutputError("full"),
    "disk": OSError(28, "No space left on device"),
    "bug": RuntimeError("bug"),
    "Ctrl-C": KeyboardInterrupt(),
}


def fails(monkeypatch: pytest.MonkeyPatch, *more: object, **at: BaseException) -> None:
    """Run the command with a failure in one of the stages."""
    ((stage, error),) = at.items()
    with monkeypatch.context() as patch:
        patch.setattr(*STAGES[stage], raising(error))
        try:
            assert run(*COMMAND, *more).code != 0
        except RuntimeError:
            assert isinstance(error, RuntimeError)


def test_a_checkpoint_that_cannot_be_loaded_leaves_nothing(data: PreparedDataSet) -> None:
    (Path("voice") / "model.safetensors").write_bytes(b"no weights")
    refuse(*COMMAND)
    assert not Path("runs").exists()


def test_data_without_a_usable_clip_leaves_nothing(data: PreparedDataSet) -> None:
    for path in (data.folder / "audio").iterdir():
        path.write_bytes(b"no sound")
    before = listing()
    ended = run(*COMMAND)
    assert ended.code == 2 and "no clip could be evaluated" in ended.err
    assert listing() == before


@pytest.mark.parametrize("kind", ERRORS)
def test_a_failure_before_the_first_prediction_leaves_nothing(
    data: PreparedDataSet, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    before = listing()
    fails(monkeypatch, predict=ERRORS[kind])
    assert listing() == before
    Path("here").mkdir()
    fails(monkeypatch, "-o", "here/new/folder", predict=ERRORS[kind])
    assert list(Path("here").iterdir()) == []


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("stage", ["measure", "report", "table"])
def test_a_failure_after_the_predictions_can_be_resumed(
    data: PreparedDataSet, monkeypatch: pytest.MonkeyPatch, stage: str, kind: str
) -> None:
    if stage == "measure" and kind == "expected":
        return  # recorded as a failure of the clip
    fails(monkeypatch, **{stage: ERRORS[kind]})
    assert [path.name for path in OUT.iterdir()] == [".unfinished"]
    assert "contains no evaluation" in refuse("metrics")
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "write", no_jobs)
        succeed(*COMMAND)
    assert newest_evaluation() == OUT
    assert {path.name for path in OUT.iterdir()} == {
        "clips.csv", "metrics.json", "predictions", "protocol.json", "report.html"
    }  # fmt: skip


def test_an_interrupted_prediction_is_resumed_with_the_finished_ones(
    data: PreparedDataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "write", writing_then_raising(KeyboardInterrupt()))
        assert run(*COMMAND).code != 0
    (kept,) = (OUT / ".unfinished/predictions").iterdir()
    time = kept.stat().st_mtime_ns
    different = refuse(*COMMAND, "--set", "decode.method=window")
    assert "contains a different evaluation (decode: " in different
    succeed(*COMMAND)
    assert (OUT / "predictions" / kept.name).stat().st_mtime_ns == time


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("more", [(), ("--overwrite",)], ids=["resumed", "overwritten"])
def test_a_failure_leaves_the_earlier_evaluation_as_it_was(
    data: PreparedDataSet, monkeypatch: pytest.MonkeyPatch, stage: str, more: tuple[str, ...]
) -> None:
    succeed(*COMMAND)
    before = finished()
    assert len(before) > 5
    fails(monkeypatch, *CHANGED, *more, **{stage: RuntimeError("bug")})
    assert finished() == before and newest_evaluation() == OUT
    if not more or stage == "predict":
        assert not (OUT / ".unfinished").exists()
    succeed("metrics", "lve")
    found = json.loads(succeed(*COMMAND, *CHANGED, "--json"))
    assert found["protocol"]["evaluate"]["closure_mm"] == 2
    assert found == found | {"out": str(OUT), "report": str(OUT / "report.html")}
    assert not (OUT / ".unfinished").exists()


def test_a_failed_clip_is_predicted_again_without_the_others(data: PreparedDataSet) -> None:
    audio = data.folder / "audio/clip0.wav"
    sound = audio.read_bytes()
    audio.write_bytes(b"no sound")
    assert run(*COMMAND).code == 1
    times = {path.name: path.stat().st_mtime_ns for path in (OUT / "predictions").iterdir()}
    (OUT / "predictions/notes").mkdir()
    (OUT / "notes.txt").write_text("mine")
    audio.write_bytes(sound)
    succeed(*COMMAND)
    files = {path.name: path for path in (OUT / "predictions").iterdir()}
    assert len(files) > len(times) + 1 and "notes" in files
    assert {name: files[name].stat().st_mtime_ns for name in times} == times
    assert (OUT / "notes.txt").read_text() == "mine"


def test_an_overwriting_evaluation_replaces_all_files(data: PreparedDataSet) -> None:
    succeed(*COMMAND)
    (OUT / "predictions/old_condition_A.npy").write_bytes(b"old")
    succeed(*COMMAND, "--overwrite", "--set", "decode.method=window")
    assert not (OUT / "predictions/old_condition_A.npy").exists()
    assert json.loads((OUT / "protocol.json").read_text())["decode"]["method"] == "window"


def write_all(folder: EvaluationFolder, version: str) -> None:
    for path in (folder.draft.metrics, folder.draft.clips, folder.draft.report):
        path.write_text(version)
    (folder.draft.predictions / "a.npy").write_text(version)


@pytest.mark.parametrize("n_done", range(6))
def test_an_evaluation_that_is_stopped_while_it_is_published_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_done: int
) -> None:
    folder, killed = EvaluationFolder(tmp_path / "out"), EvaluationFolder(tmp_path / "killed")
    names = (*IDENTITY_KEYS, "data")
    old, new = dict.fromkeys(names, "old"), dict.fromkeys(names, "new")
    with folder.begin(old, overwrite=False):
        write_all(folder, "old")
    replace, done = os.replace, []

    def stop(source: Path, target: Path) -> None:
        if len(done) == n_done:
            shutil.copytree(folder.path, killed.path)  # what remains after kill -9
            raise KeyboardInterrupt
        replace(source, target)
        done.append(target)

    stopping = pytest.raises(KeyboardInterrupt)
    with monkeypatch.context() as patch, stopping, folder.begin(new, overwrite=True):
        write_all(folder, "new")
        patch.setattr(os, "replace", stop)
    for stopped in (folder, killed):
        with pytest.raises(RuntimeError), stopped.begin(new, overwrite=False):
            raise RuntimeError("bug")
        with stopped.begin(new, overwrite=False):
            assert (stopped.draft.predictions / "a.npy").read_text() == "new"
            write_all(stopped, "new")
        assert [path.read_text() for path in stopped.predictions.iterdir()] == ["new"]
        assert stopped.read() == new and stopped.metrics.read_text() == "new"
        assert not stopped.draft.path.exists()
