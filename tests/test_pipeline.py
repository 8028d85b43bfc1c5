"""The command line from data to video, with the preset for quick tests."""

import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import command
import imageio_ffmpeg
import numpy as np
import pytest
import soundfile
import voices
from command import succeed

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.models import checkpoint
from codetalker_cli.motion import Motion

TINY = ["--preset", "tiny"]
pytestmark = pytest.mark.usefixtures("no_curves")  # after ``pipeline_folder``, which has some


def no_video(stage: str) -> list[str]:
    return ["--set", f"train_{stage}.sample_frames=0"]


def prepare(*more: object) -> dict:
    return json.loads(succeed("prepare-data", "demo", *more, *TINY, "--json"))


@pytest.fixture(scope="module")
def pipeline_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which all stages have been run, as in the README."""
    folder = tmp_path_factory.mktemp("pipeline")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("CODETALKER_MODEL", raising=False)
        prepare("data/a")
        succeed("train-vq", "data/a")
        succeed("train-speech")  # uses the data set that was prepared last
        soundfile.write("speech.wav", voices.speech(), 16000)
        yield folder


def test_the_demo_data_set_is_complete(pipeline_folder: Path) -> None:
    data = PreparedDataSet("data/a")
    assert data.manifest.name == "tiny" and data.manifest.train_subjects == ("S01", "S02")
    assert len(data.clips("train")) == 4 and len(data.clips("val")) == 1
    for clip in (*data.clips("train"), *data.clips("val")):
        seconds = len(clip.samples()) / 16000
        assert clip.vertices.shape == (int(seconds * 30), 5370, 3)
        assert clip.entry.text and np.abs(clip.samples()).max() > 0.1
        lips = data.mesh.topology.inner_lip_gap(clip.vertices)
        assert np.ptp(lips) > 0.004  # in meters: the mouth moves
    left_out = data.manifest.notes["left_out"]
    assert all({"clip", "reason"} == set(entry) for entry in left_out)


def test_both_checkpoints_are_self_contained(pipeline_folder: Path) -> None:
    vq, speech = (checkpoint.load(f"tiny/{stage}") for stage in ("vq", "speech"))
    assert (vq.meta["stage"], speech.meta["stage"]) == ("vq", "speech")
    assert vq.meta["data_id"] == PreparedDataSet("data/a").manifest.data_id
    assert speech.settings.data.name == "tiny" and speech.settings.vq.basis_rank == 8
    for stage in ("vq", "speech"):
        run = Path(f"runs/tiny/{stage}-run")
        lines = (run / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
        assert all(np.isfinite(list(json.loads(line).values())).all() for line in lines)
        assert (run / "curves.png").read_bytes().startswith(b"\x89PNG")
        assert next(imageio_ffmpeg.read_frames(run / "sample.mp4"))["fps"] == 30
        assert list((run / "tensorboard").iterdir()) and list((run / "state").iterdir())


def test_animate_writes_motion_and_video(pipeline_folder: Path) -> None:
    # The trained model is found by its subject.
    succeed("animate", "speech.wav", "--subject", "S02", "-o", "a.npz")
    motion = Motion.load("a.npz")
    assert motion.subject == "S02" and motion.vertices.shape == (30, 5370, 3)
    arguments = ["--subject", "S02", "-o", "a.mp4", "--set", "render.size=64", "--json"]
    made = json.loads(succeed("animate", "speech.wav", *arguments))
    assert (made["model"], made["frames"], made["sound"]) == ("runs/tiny/speech", 30, True)
    frames = imageio_ffmpeg.read_frames("a.mp4")
    facts = next(frames)
    assert (facts["size"], facts["fps"]) == ((64, 64), 30.0)
    pictures = [np.frombuffer(frame, np.uint8) for frame in frames]
    assert len(pictures) == 30 and all(np.ptp(picture) > 50 for picture in pictures)


def test_an_untrained_subject_can_be_animated(pipeline_folder: Path) -> None:
    succeed(
        "animate", "speech.wav", "--subject", "S11", "--style", "S01:0.3,S02:0.7", "-o", "b.npz"
    )
    assert Motion.load("b.npz").subject == "S11"


def test_the_same_seed_gives_the_same_bytes(pipeline_folder: Path) -> None:
    first = prepare("data/a", "--overwrite")  # its speech is cached
    same, other = prepare("data/b"), prepare("data/c", "--seed", "1")
    assert first["data_id"] == same["data_id"] != other["data_id"]
    files = {
        name: {k.removeprefix(f"data/{name}/"): v for k, v in command.listing(folder).items()}
        for name, folder in ((n, Path("data") / n) for n in "abc")
    }
    assert files["a"] == files["b"]
    assert "manifest.json" in files["a"] and len(files["a"]) > 12
    assert set(files["c"]) != set(files["a"])


def test_the_same_seed_gives_the_same_weights(pipeline_folder: Path) -> None:
    def weights(name: str, seed: int | None = None) -> tuple[bytes, bytes]:
        for stage in ("vq", "speech"):
            out = ["--out", f"runs/{name}/{stage}"]
            more = [] if seed is None else ["--set", f"train_{stage}.seed={seed}"]
            succeed(f"train-{stage}", "data/a", *out, *no_video(stage), *more)
        vq, speech = (Path("runs") / name / s / "model.safetensors" for s in ("vq", "speech"))
        return vq.read_bytes(), speech.read_bytes()

    first = tuple(
        (Path("runs/tiny") / s / "model.safetensors").read_bytes() for s in ("vq", "speech")
    )
    assert weights("same") == first
    other = weights("other", seed=1)
    assert other[0] != first[0] and other[1] != first[1]


def test_runs_and_data_are_replaced_only_with_overwrite(pipeline_folder: Path) -> None:
    before = (pipeline_folder / "runs/tiny/vq/model.safetensors").read_bytes()
    for stage in ("vq", "speech"):
        error = command.refuse(f"train-{stage}", "data/a")
        assert error.startswith(f"runs/tiny/{stage}: a run was already started here; give --resume")
    assert command.refuse("prepare-data", "demo", "data/a", *TINY).startswith(
        "data/a: already contains a prepared data set; give --overwrite"
    )
    succeed("train-vq", "data/a", "--overwrite", *no_video("vq"))
    assert (pipeline_folder / "runs/tiny/vq/model.safetensors").read_bytes() == before


def test_a_missing_tracker_is_refused_before_training(
    pipeline_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: [])
    error = command.refuse("train-vq", "data/a", "--out", "runs/t/vq")
    advice = f"{shlex.quote(sys.executable)} -m pip install tensorboard"
    assert error.startswith(f"trackers: tensorboard is not installed; run `{advice}`")


def test_resume_uses_the_original_settings_and_allows_more_epochs(pipeline_folder: Path) -> None:
    own = ["--out", "runs/on/vq", "--set", "train_vq.learning_rate=0.002"]
    none = ["--set", "train_vq.sample_frames=0"]
    succeed("train-vq", "data/a", *own, *none)
    asked = ["train-vq", "--out", "runs/on/vq", "--resume"]
    made = json.loads(succeed(*asked, "--set", "train_vq.epochs=3", "--json"))
    assert made["steps"] == 6 and made["last"]["learning_rate"] == 0.002
    error = command.refuse(*asked, "--set", "train_vq.learning_rate=0.1")
    assert error.startswith("--resume: the run was started with train_vq.learning_rate = 0.002")
    assert command.refuse(*asked, "--overwrite").startswith("--resume continues a run")
    assert command.refuse("train-vq", "--out", ".").startswith(
        "--out .: the path must end with a folder name"
    )


def test_stage_2_without_stage_1_is_refused(pipeline_folder: Path) -> None:
    error = command.refuse("train-speech", "data/a", "--out", "runs/new/speech")
    assert error.startswith(
        "runs/new/vq: there is no stage-1 checkpoint here; train it first with `codetalker train-vq"
    )


def test_settings_that_contradict_the_data_are_refused(pipeline_folder: Path) -> None:
    error = command.refuse("train-vq", "data/a", "--set", "data.fps=25", "--out", "runs/x/vq")
    assert error.startswith("data/a: the frame rate is 30 fps, but the settings require 25")
    unknown = ["--set", 'train_vq.region_weights={"lip": 3}', "--out", "runs/x/vq"]
    assert "no region 'lip'; it has: inner_lip_lower" in command.refuse(
        "train-vq", "data/a", *unknown
    )
    error = command.refuse("train-speech", "data/a", "--out", "runs/x/speech", "--vq", "none")
    assert error.startswith("checkpoint 'none' is not known; available names: ")
