"""``prepare-data`` for each kind of raw data, followed by training both stages on the result."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import biwi_raw
import custom_raw
import numpy as np
import pytest
import tiny
import vocaset_raw
import yaml
from command import listing, refuse, run, succeed
from vocaset_raw import TRAIN, VAL

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.models import checkpoint

VQ = {"hidden_size": 16, "n_layers": 1, "n_heads": 2, "mlp_size": 16, "codebook_size": 8}
VQ |= {"code_dim": 8, "codes_per_frame": 2}
SPEECH = {"hidden_size": 16, "n_layers": 1, "mlp_size": 16}
ENCODER = tiny.ENCODER_CONFIGS["wav2vec2"]


pytestmark = pytest.mark.usefixtures("no_curves")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def train(data: str, **sections: dict) -> checkpoint.Checkpoint:
    """Train both stages for one epoch with tiny models; return the checkpoint."""
    vq = VQ | ({"latent_projection": True} if "biwi" in data else {})
    speech = {**SPEECH, "encoder": {"family": "wav2vec2", "source": "", "config": ENCODER}}
    values = {"vq": vq, "speech": speech, **sections}
    stage = {"epochs": 1, "sample_frames": 0}
    values |= {"train_vq": stage, "train_speech": stage}
    Path("small.yaml").write_text(json.dumps(values))
    succeed("train-vq", data, "--config", "small.yaml", "--out", "runs/x/vq")
    succeed("train-speech", data, "--config", "small.yaml", "--out", "runs/x/speech")
    trained = checkpoint.load("runs/x/speech")
    assert trained.meta["data_id"] == PreparedDataSet(data).manifest.data_id
    return trained


def test_vocaset_can_be_prepared_and_trained() -> None:
    clips = {f"{TRAIN}/sentence01": range(24), f"{VAL}/sentence21": range(20)}
    vocaset_raw.build(Path("vocaset"), clips)
    succeed("prepare-data", "vocaset")
    trained = train("data/vocaset")
    assert trained.settings.data.n_vertices == 5023 and trained.settings.data.fps == 30
    assert set(trained.subjects) == {VAL, TRAIN}


def test_biwi_can_be_prepared_and_trained() -> None:
    contents = biwi_raw.Contents(("F2",), ("e01", "e33"), range(1, 9), grid=biwi_raw.FULL)
    biwi_raw.build(Path("BIWI"), "real", contents)
    succeed("prepare-data", "biwi")
    data = PreparedDataSet("data/biwi")
    assert {c.name: c.split for c in data.manifest.clips} == {"F2_e01": "train", "F2_e33": "val"}
    frame = data.clips("train")[0].vertices[0].astype(np.float64)
    a, b, c = (frame[data.mesh.topology.triangles[:, k]] for k in range(3))
    area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()
    np.testing.assert_allclose([area, *frame.mean(0)], [1, 0, 0, 0], atol=1e-6)
    trained = train("data/biwi")
    assert trained.settings.data.n_vertices == 23370 and trained.settings.data.unit == "area1"
    assert trained.settings.speech.features_per_frame == 2


def test_biwi_in_the_layout_of_the_reference_code() -> None:
    for part in ("vertices_npy", "wav"):
        Path("BIWI", part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    face = biwi_raw.template("F2", biwi_raw.FULL)
    frames = face + 1e-3 * rng.standard_normal((3, *face.shape))
    for sentence in ("e01", "e37"):
        np.save(f"BIWI/vertices_npy/F2_{sentence}.npy", frames.reshape(3, -1))
        custom_raw.write_sound(Path(f"BIWI/wav/F2_{sentence}.wav"), 0.12)
    Path("BIWI/templates.pkl").write_bytes(vocaset_raw.python2_pickle({"F2": face}))
    custom_raw.write_ply(Path("BIWI/BIWI.ply"), face, biwi_raw.faces(biwi_raw.FULL))
    succeed("prepare-data", "biwi")
    data = PreparedDataSet("data/biwi")
    assert [c.split for c in data.manifest.clips] == ["train", "test-a"]
    assert len(data.clips("test")) == len(data.clips("test-a")) == 1 and not data.clips("test-b")
    # The official code has already normalized these vertices, so they stay unchanged.
    np.testing.assert_array_equal(data.clips("train")[0].vertices, frames.astype(np.float32))


def test_custom_options_and_a_settings_file_give_the_same_data() -> None:
    custom_raw.write_all(Path("mine"), "npy3", "mm", "x z -y")
    flags = ["--fps", 30, "--unit", "mm", "--axes", "x z -y", "--name", "balls"]
    out = succeed("prepare-data", "custom", "mine", *flags)
    assert out.startswith("data/balls: 4 clips (4 train); ")
    config = {
        "custom": {"root": "mine", "fps": 30, "unit": "mm", "axes": "x z -y", "name": "balls"}
    }
    Path("mine.yaml").write_text(yaml.safe_dump(config))
    succeed("prepare-data", "custom", "mine.yaml", "data/again")
    first, second = PreparedDataSet("data/balls"), PreparedDataSet("data/again")
    assert first.manifest.data_id == second.manifest.data_id
    for clip in first.clips("train"):
        expected = custom_raw.motion(clip.entry.name)
        np.testing.assert_allclose(clip.vertices, expected, atol=1e-6)
    trained = train("data/balls")
    assert trained.settings.data.name == "balls"


def test_custom_frame_rate_and_splits() -> None:
    custom_raw.write_all(Path("mine"))
    custom = {"root": "mine", "fps": 30, "unit": "m", "prepared_fps": 15}
    custom["splits"] = {
        "test": {"sentences": ["good-bye"], "subjects": ["F1"]},
        "val": {"clips": ["M_2_*"]},
        "train": {},
    }
    Path("mine.yaml").write_text(yaml.safe_dump({"custom": custom}))
    succeed("prepare-data", "custom", "mine.yaml", "data/x")
    data = PreparedDataSet("data/x")
    assert {c.name: c.split for c in data.manifest.clips} == {
        "F1_good-bye": "test",
        "F1_hello": "train",
        "M_2_good-bye": "val",
        "M_2_hello": "val",
    }
    assert data.manifest.fps == 15 and data.manifest.train_subjects == ("F1",)
    whole = custom_raw.motion("F1_hello")
    np.testing.assert_allclose(data.clips("train")[0].vertices, whole[::2], atol=1e-6)


def test_broken_clips_are_reported_with_exit_code_1() -> None:
    custom_raw.write_all(Path("mine"))
    Path("mine/wav/F1_hello.wav").write_bytes(b"not a recording")
    result = run("prepare-data", "custom", "mine", "--fps", 30, "--unit", "m")
    assert result.code == 1 and "1 broken; see data/mine/report.txt" in result.out
    assert "broken: F1_hello: mine/wav/F1_hello.wav: not an audio file" in result.err
    result = run("prepare-data", "custom", "mine", "--fps", 30, "--unit", "m", "--json")
    report = json.loads(result.out)
    assert result.code == 1 and report["clips"] == 3 and report["written"] == 0
    assert report["problems"][0]["kind"] == "broken"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["custom", "nowhere"], "nowhere"),
        (["custom", "mine"], "custom.fps: missing"),
        (
            ["custom", "mine", "--fps", 30, "--unit", "inch"],
            "custom.unit: Input should be 'm', 'cm'",
        ),
        (["custom", "mine", "--fps", 30, "--unit", "m", "--motion", "x/*.npy"], "x/*.npy"),
        (["custom", "mine", "--fps", 30, "--unit", "m", "--regions", "no"], "prepare.regions: no"),
        (["custom", "mine", "--set", "demo.minutes=3"], "expected custom.KEY=value or prepare.KEY"),
        (["biwi"], "BIWI"),
        (["biwi", "mine"], "mine"),
        (["vocaset", "mine"], "mine"),
    ],
)
def test_invalid_raw_data_is_refused_with_one_line(arguments: list, message: str) -> None:
    custom_raw.write_all(Path("mine"))
    assert message in refuse("prepare-data", *arguments)


def test_settings_are_shown_with_their_origins() -> None:
    custom_raw.write_all(Path("mine"))
    before = listing()
    out = succeed("prepare-data", "custom", "mine", "--fps", 24, "--unit", "m", "--show-settings")
    assert "custom.fps" in out and "flag" in out and listing() == before


def test_check_reports_problems() -> None:
    custom_raw.write_all(Path("mine"))
    succeed("prepare-data", "custom", "mine", "--fps", 30, "--unit", "m")
    result = run("prepare-data", "check", "data/mine")
    assert result.code == 0 and "0 problems" in result.out and Path("data/mine/check.png").is_file()
    vertices = np.load("data/mine/clips/F1_hello.npy")
    vertices[3] = np.nan
    np.save("data/mine/clips/F1_hello.npy", vertices)
    result = run("prepare-data", "check", "data/mine", "--sheet", "sheet.png", "--json")
    report = json.loads(result.out)
    assert result.code == 1 and report["sheet"] == "sheet.png"
    messages = [f["message"] for f in report["findings"] if f["where"] == "F1_hello"]
    assert any("NaN" in message and "frame 3" in message for message in messages), messages
    assert "problem: F1_hello: " in run("prepare-data", "check", "data/mine").out
    assert "no prepared data set" in refuse("prepare-data", "check", "mine")


def test_settings_for_biwi_are_refused_for_other_data() -> None:
    custom_raw.write_all(Path("mine"), "npy3", "mm", "x z -y")
    neutral = ["--set", "prepare.neutral=true"]
    error = refuse("prepare-data", "custom", "mine", "--fps", 30, "--unit", "mm", *neutral)
    assert error == "prepare.neutral: only BIWI has neutral sentences; remove this setting"
    assert refuse("prepare-data", "vocaset", "mine", *neutral) == error
    error = refuse("prepare-data", "demo", "out", "--set", "prepare.fill_seconds=1")
    assert error.startswith("--set prepare.fill_seconds=1: expected demo.KEY=value or data.KEY")
