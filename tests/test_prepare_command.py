"""The whole way of each kind of data: raw look-alike, prepared folder, both stages start on it."""

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


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def train(data: str, **sections: dict) -> checkpoint.Checkpoint:
    """Both stages for an epoch, with models of some thousand weights; the result."""
    vq = VQ | ({"latent_projection": True} if "biwi" in data else {})
    speech = {**SPEECH, "encoder": {"family": "wav2vec2", "source": "", "config": ENCODER}}
    values = {"vq": vq, "speech": speech, **sections}
    stage = {"epochs": 1, "sample_frames": 0}
    values |= {"train_vq": stage, "train_speech": stage}
    Path("small.yaml").write_text(yaml.safe_dump(values))
    succeed("train-vq", data, "--config", "small.yaml", "--out", "runs/x/vq")
    succeed("train-speech", data, "--config", "small.yaml", "--out", "runs/x/speech")
    made = checkpoint.load("runs/x/speech")
    assert made.meta["data_id"] == PreparedDataSet(data).manifest.data_id
    return made


def test_vocaset() -> None:
    clips = {f"{TRAIN}/sentence01": range(24), f"{VAL}/sentence21": range(20)}
    vocaset_raw.build(Path("vocaset"), clips)
    succeed("prepare-data", "vocaset")
    made = train("data/vocaset")
    assert made.settings.data.n_vertices == 5023 and made.settings.data.fps == 30
    assert set(made.subjects) == {VAL, TRAIN}


def test_biwi() -> None:
    contents = biwi_raw.Contents(subjects=("F2",), sentences=("e01", "e33"), numbers=range(1, 9))
    biwi_raw.build(Path("BIWI"), "real", contents)
    succeed("prepare-data", "biwi")
    data = PreparedDataSet("data/biwi")
    assert {c.name: c.split for c in data.manifest.clips} == {"F2_e01": "train", "F2_e33": "val"}
    frame = data.clips("train")[0].vertices[0].astype(np.float64)
    a, b, c = (frame[data.mesh.topology.triangles[:, k]] for k in range(3))
    area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()
    np.testing.assert_allclose([area, *frame.mean(0)], [1, 0, 0, 0], atol=1e-6)
    made = train("data/biwi")
    assert made.settings.data.n_vertices == 23370 and made.settings.data.unit == "area1"
    assert made.settings.speech.features_per_frame == 2


def test_biwi_in_the_reference_layout() -> None:
    for part in ("vertices_npy", "wav"):
        Path("BIWI", part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    face = biwi_raw.template("F2")
    frames = face + 1e-3 * rng.standard_normal((3, *face.shape))
    for sentence in ("e01", "e37"):
        np.save(f"BIWI/vertices_npy/F2_{sentence}.npy", frames.reshape(3, -1))
        custom_raw.write_sound(Path(f"BIWI/wav/F2_{sentence}.wav"), 0.12)
    Path("BIWI/templates.pkl").write_bytes(vocaset_raw.python2_pickle({"F2": face}))
    custom_raw.write_ply(Path("BIWI/BIWI.ply"), face, biwi_raw.faces())
    succeed("prepare-data", "biwi")
    data = PreparedDataSet("data/biwi")
    assert [c.split for c in data.manifest.clips] == ["train", "test-a"]
    assert len(data.clips("test")) == len(data.clips("test-a")) == 1 and not data.clips("test-b")
    # Numbers are taken as they are: the reference has normalized them already.
    np.testing.assert_array_equal(data.clips("train")[0].vertices, frames.astype(np.float32))


def test_own_by_flags_and_by_file() -> None:
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
    made = train("data/balls")
    assert made.settings.data.name == "balls"


def test_own_at_another_rate_and_with_splits_of_its_own() -> None:
    custom_raw.write_all(Path("mine"))
    own = {"root": "mine", "fps": 30, "unit": "m", "prepared_fps": 15}
    own["splits"] = {
        "test": {"sentences": ["good-bye"], "subjects": ["F1"]},
        "val": {"clips": ["M_2_*"]},
        "train": {},
    }
    Path("mine.yaml").write_text(yaml.safe_dump({"custom": own}))
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


def test_broken_clips_are_told_with_an_exit_code_of_their_own() -> None:
    custom_raw.write_all(Path("mine"))
    Path("mine/wav/F1_hello.wav").write_bytes(b"not a recording")
    ended = run("prepare-data", "custom", "mine", "--fps", 30, "--unit", "m")
    assert ended.code == 1 and "1 broken; see data/mine/report.txt" in ended.out
    assert "broken: F1_hello: mine/wav/F1_hello.wav: not an audio file" in ended.err
    ended = run("prepare-data", "custom", "mine", "--fps", 30, "--unit", "m", "--json")
    result = json.loads(ended.out)
    assert ended.code == 1 and result["clips"] == 3 and result["written"] == 0
    assert result["problems"][0]["kind"] == "broken"


@pytest.mark.parametrize(
    ("arguments", "told"),
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
def test_what_cannot_be_prepared_is_one_line(arguments: list, told: str) -> None:
    custom_raw.write_all(Path("mine"))
    assert told in refuse("prepare-data", *arguments)


def test_settings_are_shown_with_their_origins() -> None:
    custom_raw.write_all(Path("mine"))
    before = listing()
    out = succeed("prepare-data", "custom", "mine", "--fps", 24, "--unit", "m", "--show-settings")
    assert "custom.fps" in out and "flag" in out and listing() == before


def test_check_says_what_is_wrong() -> None:
    custom_raw.write_all(Path("mine"))
    succeed("prepare-data", "custom", "mine", "--fps", 30, "--unit", "m")
    ended = run("prepare-data", "check", "data/mine")
    assert ended.code == 0 and "0 problems" in ended.out and Path("data/mine/check.png").is_file()
    vertices = np.load("data/mine/clips/F1_hello.npy")
    vertices[3] = np.nan
    np.save("data/mine/clips/F1_hello.npy", vertices)
    ended = run("prepare-data", "check", "data/mine", "--sheet", "sheet.png", "--json")
    result = json.loads(ended.out)
    assert ended.code == 1 and result["sheet"] == "sheet.png"
    said = [f["message"] for f in result["findings"] if f["where"] == "F1_hello"]
    assert any("NaN" in message and "frame 3" in message for message in said), said
    assert "problem: F1_hello: " in run("prepare-data", "check", "data/mine").out
    assert "no prepared data set" in refuse("prepare-data", "check", "mine")


def test_what_only_biwi_knows_is_refused_elsewhere() -> None:
    custom_raw.write_all(Path("mine"), "npy3", "mm", "x z -y")
    neutral = ["--set", "prepare.neutral=true"]
    said = refuse("prepare-data", "custom", "mine", "--fps", 30, "--unit", "mm", *neutral)
    assert said == "prepare.neutral: only BIWI has neutral sentences; remove this setting"
    assert refuse("prepare-data", "vocaset", "mine", *neutral) == said
    said = refuse("prepare-data", "demo", "out", "--set", "prepare.fill_seconds=1")
    assert said.startswith("--set prepare.fill_seconds=1: expected demo.KEY=value or data.KEY")
