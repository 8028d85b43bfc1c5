"""Test that prepared data sets are combined without changing their clips."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_data
from command import refuse, succeed

from codetalker_cli.arrays import map_array
from codetalker_cli.datasets.combine import combine
from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.errors import CodeTalkerError
from codetalker_cli.topology import Mesh


def renamed(folder: Path, prefix: str, **facts: object) -> PreparedDataSet:
    """Write a data set whose clip names begin with a prefix, with other facts in the manifest."""
    data = tiny_data.prepared(folder)
    entries = json.loads((folder / "manifest.json").read_text())
    for row in entries["clips"]:
        for suffix, kind in ((".npy", "clips"), (".wav", "audio")):
            path = folder / kind / (row["name"] + suffix)
            path.rename(folder / kind / (prefix + row["name"] + suffix))
        row["name"] = prefix + row["name"]
    entries |= facts
    (folder / "manifest.json").write_text(json.dumps(entries))
    return PreparedDataSet(data.folder)


def test_a_combined_data_set_has_the_clips_and_splits_of_all(tmp_path: Path) -> None:
    one, two = tiny_data.prepared(tmp_path / "one"), renamed(tmp_path / "two", "x")
    manifest = combine([one.folder, two.folder], tmp_path / "both")
    both = PreparedDataSet(tmp_path / "both")
    assert manifest == both.manifest
    assert both.manifest.name == "both"
    for split in ("train", "val"):
        expected = [*one.clips(split), *two.clips(split)]
        found = both.clips(split)
        assert sorted(c.entry.name for c in found) == sorted(c.entry.name for c in expected)
    originals = {c.entry.name: c for d in (one, two) for s in ("train", "val") for c in d.clips(s)}
    for clip in both.clips("train"):
        original = originals[clip.entry.name]
        np.testing.assert_array_equal(map_array(clip.vertices_path), original.vertices)
        np.testing.assert_array_equal(clip.samples(), original.samples())
        assert clip.entry.sha256 == original.entry.sha256
    assert both.manifest.train_subjects == one.manifest.train_subjects


def test_removing_a_source_leaves_the_combined_data_set_whole(tmp_path: Path) -> None:
    one, two = tiny_data.prepared(tmp_path / "one"), renamed(tmp_path / "two", "x")
    combine([one.folder, two.folder], tmp_path / "both")
    for path in [*(one.folder / "clips").iterdir(), *(two.folder / "audio").iterdir()]:
        path.unlink()
    for clip in PreparedDataSet(tmp_path / "both").clips("train"):
        assert len(clip.vertices) == clip.entry.n_frames
        assert len(clip.samples())


@pytest.mark.parametrize(
    ("facts", "message"),
    [({"fps": 30.0}, "its frame rate is 30.0"), ({}, "another data set has a clip named")],
)
def test_data_sets_that_do_not_fit_are_refused(
    tmp_path: Path, facts: dict[str, object], message: str
) -> None:
    one = tiny_data.prepared(tmp_path / "one")
    two = renamed(tmp_path / "two", "x" if facts else "", **facts)
    with pytest.raises(CodeTalkerError, match=message):
        combine([one.folder, two.folder], tmp_path / "both")
    assert not (tmp_path / "both" / "manifest.json").exists()


def test_another_neutral_face_of_the_same_subject_is_refused(tmp_path: Path) -> None:
    one, two = tiny_data.prepared(tmp_path / "one"), renamed(tmp_path / "two", "x")
    mesh = two.mesh
    templates = {name: face + 1 for name, face in mesh.templates.items()}
    Mesh(mesh.topology, templates).save(two.folder / "mesh.npz")
    with pytest.raises(CodeTalkerError, match="the neutral face of A differs"):
        combine([one.folder, two.folder], tmp_path / "both")


def test_a_damaged_clip_is_refused(tmp_path: Path) -> None:
    one, two = tiny_data.prepared(tmp_path / "one"), renamed(tmp_path / "two", "x")
    path = two.clips("train")[0].vertices_path
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CodeTalkerError, match="is missing or too short"):
        combine([one.folder, two.folder], tmp_path / "both")


def test_the_command_reports_the_clips_and_refuses_a_single_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one, two = tiny_data.prepared(tmp_path / "one"), renamed(tmp_path / "two", "x")
    out = succeed("prepare-data", "combine", "both", "one", "two", "--json")
    assert json.loads(out)["clips"] == len(one.manifest.clips) + len(two.manifest.clips)
    assert "at least two" in refuse("prepare-data", "combine", "other", "one")
    assert "cannot be one of" in refuse("prepare-data", "combine", "one", "one", "two")
