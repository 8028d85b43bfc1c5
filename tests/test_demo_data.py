"""Test the synthetic data set on speech with known phones: passages, splits and motion."""

import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import command
import numpy as np
import pytest
import soundfile
import voices

from codetalker_cli.datasets.inspect import check
from codetalker_cli.datasets.manifest import NO_SPEECH, Manifest
from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.errors import DataError, InputError
from codetalker_cli.presets import resolve
from codetalker_cli.rigs.head import Rig
from codetalker_cli.settings import Settings
from codetalker_cli.synthetic import dataset
from codetalker_cli.synthetic.dataset import Passage
from codetalker_cli.synthetic.speech.clips import SpokenClip
from codetalker_cli.synthetic.speech.phones import SILENCE, Phone

PHONES = [
    Phone(SILENCE, 0.0, 0.2),
    Phone("M", 0.2, 0.32),
    Phone("AA", 0.32, 0.62),
    Phone("P", 0.62, 0.74),
    Phone("AE", 0.74, 1.1),
    Phone(SILENCE, 1.1, 1.5),
]


@pytest.fixture(scope="module")
def rig() -> Rig:
    return Rig.load()


def settings(**changes: Any) -> Settings:
    assignments = [f"demo.{key}={value}" for key, value in changes.items()]
    return resolve("tiny", assignments=assignments).settings


@pytest.fixture
def clips(tmp_path: Path) -> list[SpokenClip]:
    """Return ten clips of 1.5 s by two alternating speakers."""
    made = []
    for k in range(10):
        path = tmp_path / f"{k}.flac"
        soundfile.write(path, voices.speech(1.5, seed=k), 16000)
        made.append(SpokenClip(f"c{k}", path, "xy"[k % 2], f"text {k}", PHONES))
    return made


def record(path: Path, seed: int, text: str, seconds: float = 1.5) -> None:
    """Write a recording and its .json file with transcript and phones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, voices.speech(seconds, seed=seed), 16000)
    phones = [{"phone": p.label, "start": p.start_seconds, "end": p.end_seconds} for p in PHONES]
    path.with_suffix(".json").write_text(json.dumps({"text": text, "phones": phones}))


@pytest.fixture
def spoken(tmp_path: Path) -> Path:
    """Return a folder of ten recordings by two speakers and one with an unknown phone label."""
    for k in range(10):
        record(tmp_path / "spoken" / "xy"[k % 2] / f"{k}.flac", k, f"text {k}")
    record(tmp_path / "spoken" / "z.flac", 10, "")
    (tmp_path / "spoken" / "z.json").write_text(
        json.dumps({"phones": [{"phone": "QQ", "start": 0.1, "end": 0.4}]})
    )
    return tmp_path / "spoken"


# Passages, splits -------------------------------------------------------------------------------


def test_passages_join_clips_of_one_speaker_with_pauses(clips: list[SpokenClip]) -> None:
    passages = list(dataset.join_passages(clips, settings(seconds_per_clip=2.5).demo))
    assert [p.text for p in passages] == [
        *("text 0 text 2", "text 1 text 3", "text 4 text 6", "text 5 text 7"),
        *("text 8", "text 9"),  # the remaining clips are kept
    ]
    assert len({p.name for p in passages}) == len(passages)
    again = list(dataset.join_passages(clips, settings(seconds_per_clip=2.5).demo))
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(passages, again, strict=True))


def test_passage_phones_are_shifted_with_their_samples(clips: list[SpokenClip]) -> None:
    passage = next(dataset.join_passages(clips, settings(seconds_per_clip=4.0).demo))
    first, second, third = (clips[k].samples() for k in (0, 2, 4))
    starts = [p.start_seconds for p in passage.phones if p.label == "M"]
    begins = [round((start - 0.2) * 16000) for start in starts]
    for begin, samples in zip(begins, (first, second, third), strict=True):
        np.testing.assert_array_equal(passage.samples[begin : begin + len(samples)], samples)
    gaps = np.diff(begins) / 16000 - 1.5
    assert (gaps >= 0.15).all() and (gaps <= 0.7).all()
    assert len(passage.samples) == begins[-1] + len(third)
    assert all(p.end_seconds > p.start_seconds for p in passage.phones)


def test_noise_setting_adds_sounds_to_some_long_pauses(clips: list[SpokenClip]) -> None:
    many = [replace(clip, name=f"c{k}", speaker="x") for k, clip in enumerate(clips * 4)]
    demo_settings = settings(seconds_per_clip=60.0, noise=0.1).demo
    (passage,) = dataset.join_passages(many, demo_settings)
    begins = [round((p.start_seconds - 0.2) * 16000) for p in passage.phones if p.label == "M"]
    pauses = [passage.samples[a + 24_000 : b] for a, b in pairwise(begins)]
    seconds = np.array([len(pause) / 16000 for pause in pauses])
    loud = np.array([np.abs(pause).max() > 1e-3 for pause in pauses])
    assert (seconds >= 0.15).all() and 0.7 < seconds.max() <= 2.0
    assert 0 < loud.sum() < len(pauses) / 2
    assert not loud[seconds < 0.5].any()
    for clip, begin in zip(many, begins, strict=True):  # the phones are shifted with the samples
        np.testing.assert_array_equal(passage.samples[begin : begin + 24_000], clip.samples())


@pytest.mark.parametrize("n", [1, 2, 3, 5, 30, 100])
@pytest.mark.parametrize(("val", "test"), [(0.08, 0.08), (0.2, 0.0), (0.0, 0.0), (0.5, 0.5)])
def test_splits_are_reproducible_and_have_the_requested_sizes(
    n: int, val: float, test: float
) -> None:
    splits = dataset.assign_splits(n, val, test, seed=0)
    assert len(splits) == n and splits == dataset.assign_splits(n, val, test, seed=0)
    assert "train" in splits
    assert ("val" in splits) == (n > 1)
    if n == 100:
        assert splits.count("val") == max(1, min(round(100 * val), 99))
        assert splits.count("test") == min(round(100 * test), 99 - splits.count("val"))
        assert splits != dataset.assign_splits(n, val, test, seed=1) or val == 0


# Motion -----------------------------------------------------------------------------------------


def short_passage() -> Passage:
    return Passage("p", "", voices.speech(1.5), PHONES)


@pytest.mark.parametrize("subject", ["S01", "S09"])
def test_lips_close_and_open_with_the_phones(rig: Rig, subject: str) -> None:
    vertices = dataset.speak(rig, short_passage(), subject, 30, np.random.default_rng(0))
    assert vertices.shape == (45, rig.topology.n_vertices, 3) and vertices.dtype == np.float32
    gap_mm = 1000 * rig.topology.inner_lip_gap(vertices)
    for phone in PHONES:
        frames = slice(round(phone.start_seconds * 30), round(phone.end_seconds * 30) + 1)
        if phone.label in "MP":
            assert gap_mm[frames].min() < 1.0
        elif phone.label != SILENCE:
            assert gap_mm[frames].max() > 4.0


def test_eyes_are_still_without_blinks(rig: Rig) -> None:
    long = Passage("p", "", voices.speech(12.0), [Phone(SILENCE, 0.0, 12.0)])
    eyes = [i for i, n in enumerate(rig.unit_names) if n.startswith(("eyeBlink", "eyeLook"))]
    moved = np.abs(rig.unit_deltas[eyes]).max((0, 2)) > 0
    made = [
        dataset.speak(rig, long, "S02", 30, np.random.default_rng(0), blinks=blinks)[:, moved]
        for blinks in (True, False)
    ]
    assert np.ptp(made[0], axis=0).max() > 0.003
    assert np.ptp(made[1], axis=0).max() < 0.001


def test_loudness_is_relative_to_the_speech_level() -> None:
    samples = np.concatenate([voices.speech(1.0), 0.1 * voices.speech(1.0)])
    level = dataset.loudness(samples, 60, 30)
    assert level.shape == (60,) and np.isfinite(level).all()
    assert np.mean(level[:30]) - np.mean(level[30:]) == pytest.approx(20, abs=1)
    np.testing.assert_allclose(dataset.loudness(4 * samples, 60, 30), level, atol=0.01)
    assert dataset.loudness(samples, 0, 30).shape == (0,)
    assert np.isfinite(dataset.loudness(np.zeros(16000, np.float32), 30, 30)).all()


def test_mesh_contains_the_templates_and_idle_units(rig: Rig) -> None:
    mesh = dataset.mesh_of(rig)
    assert list(mesh.templates) == list(mesh.colors) == [f"S{k:02d}" for k in range(1, 13)]
    assert {"eyeBlinkLeft", "eyeLookUpRight"} <= set(mesh.idle_units)
    assert all(name.startswith(("eyeBlink", "eyeLook")) for name in mesh.idle_units)
    weights = rig.unit_weights({"eyeBlinkLeft": 1.0})
    posed = rig.pose("S05", weights[None])[0]
    by_mesh = mesh.templates["S05"] + mesh.lid_closure["S05"] * mesh.idle_units["eyeBlinkLeft"]
    np.testing.assert_allclose(posed, by_mesh, atol=1e-6)
    # Motion that already blinks must not get additional blinks.
    assert not dataset.mesh_of(rig, idle=False).idle_units
    few = dataset.mesh_of(rig, ["S07", "S02"])
    assert list(few.templates) == list(few.colors) == ["S07", "S02"]
    assert few.lid_closure["S07"] == mesh.lid_closure["S07"]


# Data sets --------------------------------------------------------------------------------------


def prepare(out: Path, spoken: Path, **changes: Any) -> Manifest:
    changes = {"seconds_per_clip": 1.0, "max_clips": "null", **changes}
    return dataset.prepare_synthetic(out, settings(**changes), spoken)


def test_clips_have_the_expected_subjects_frames_and_audio(spoken: Path, tmp_path: Path) -> None:
    manifest = prepare(tmp_path / "data", spoken)
    assert [c.subject for c in manifest.clips] == ["S01", "S02"] * 5
    assert {c.n_frames for c in manifest.clips} == {45}
    # The clips are ordered by path, so they are grouped by speaker.
    assert [c.text for c in manifest.clips] == [
        f"text {k}" for k in (*range(0, 10, 2), *range(1, 10, 2))
    ]
    ((clip, reason),) = [entry.values() for entry in manifest.notes["left_out"]]
    assert clip == str(spoken / "z.flac") and "phone 'QQ' is unknown" in reason
    assert manifest.notes["made_with"]["seed"] == 0 and manifest.notes["speech"] == "spoken"
    data = PreparedDataSet(tmp_path / "data")
    for clip in (*data.clips("train"), *data.clips("val")):
        rest = data.mesh.templates[clip.entry.subject]
        assert 0.004 < np.abs(clip.vertices - rest).max() < 0.05  # meters
        assert len(clip.samples()) == 24_000


def test_data_set_is_reproducible_from_its_seed(spoken: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        prepare(tmp_path / name, spoken, seed=seed, noise=0.3)
    a, b, c = (
        {k.removeprefix(str(tmp_path / n)): v for k, v in command.listing(tmp_path / n).items()}
        for n in "abc"
    )
    assert a == b
    assert any(a[key] != c[key] for key in a if key.endswith(".npy"))


def test_face_rests_in_clips_without_speech(spoken: Path, rig: Rig, tmp_path: Path) -> None:
    speech = prepare(tmp_path / "speech", spoken, blinks=False)
    manifest = prepare(tmp_path / "data", spoken, blinks=False, noise=0.4)
    made = [c for c in manifest.clips if "no-speech" in c.name]
    assert len(manifest.clips) == 14 and len(made) == 4
    assert {c.split for c in made} == {"train"} and {c.text for c in made} == {NO_SPEECH}
    splits = {c.name: c.split for c in manifest.clips}
    assert all(splits[c.name] == c.split for c in speech.clips)
    data = PreparedDataSet(tmp_path / "data")
    for clip in data.clips("train"):
        if clip.entry.text != NO_SPEECH:
            continue
        assert np.abs(clip.samples()).max() > 1e-4
        assert np.ptp(clip.vertices, axis=0).max() < 1e-6
        assert 1000 * rig.topology.inner_lip_gap(np.array(clip.vertices)).max() < 1.0


def test_max_clips_limits_the_number_of_clips(spoken: Path, tmp_path: Path) -> None:
    assert len(prepare(tmp_path / "data", spoken, max_clips=3).clips) == 3
    short = prepare(tmp_path / "more", spoken, max_clips=4, noise=0.5, seconds_per_clip=1e-5)
    assert [c.n_frames for c in short.clips] == [45] * 4 + [30] * 2


def test_duplicate_clip_names_are_refused(tmp_path: Path) -> None:
    """The name of a recording can equal the name of a passage that joins two others."""
    folder = tmp_path / "spoken" / "x"
    for k, (name, seconds) in enumerate({"a+1": 3, "a": 1.5, "aa/other": 3, "b": 1.5}.items()):
        record(folder / f"{name}.flac", k, "", seconds)
    with pytest.raises(DataError, match=r"two clips are named S01_x-a\+1"):
        prepare(tmp_path / "data", tmp_path / "spoken", seconds_per_clip=2.0)


def test_check_accepts_resting_faces_without_speech(spoken: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "data", spoken, blinks=False, noise=0.6)
    report = check(tmp_path / "data")
    kinds = {finding.kind for finding in report.findings}
    assert not kinds & {"motionless", "repeated"}
    assert not [f for f in report.findings if f.kind == "twins" and "no-speech" in f.where]


def test_progress_counts_all_recordings_and_clips(spoken: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, float, float]] = []
    dataset.prepare_synthetic(
        tmp_path / "data",
        settings(seconds_per_clip=1.0),
        spoken,
        stages=lambda stage: lambda done, total: seen.append((stage, done, total)),
    )
    assert seen[:11] == [("align", k, 11) for k in range(1, 12)]
    assert seen[11:] == [("motion", k, 5) for k in range(1, 6)]


def test_unusable_speech_leaves_the_existing_data_set_intact(spoken: Path, tmp_path: Path) -> None:
    prepare(tmp_path / "data", spoken)
    before = command.listing(tmp_path / "data")
    for name in "xy":
        shutil.rmtree(spoken / name)
    with pytest.raises(DataError, match="spoken: no usable speech"):
        dataset.prepare_synthetic(tmp_path / "data", settings(), spoken, overwrite=True)
    assert command.listing(tmp_path / "data") == before


def test_subjects_and_meshes_other_than_the_bundled_head_are_refused(tmp_path: Path) -> None:
    for assignment, message in (
        (
            'data.train_subjects=["S01","Bob"]',
            "the bundled head does not have Bob; use any of S01, S02",
        ),
        ("data.n_vertices=12", "data.n_vertices is 12, but the bundled head has 5370"),
    ):
        changed = resolve("tiny", assignments=[assignment]).settings
        with pytest.raises(InputError, match=message):
            dataset.prepare_synthetic(tmp_path / "data", changed)
    assert not (tmp_path / "data").exists()
