"""Vertex regions are read from files, validated, and inferred from the motion if missing."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import voices

from codetalker_cli.datasets.regions import Regions, find_regions, sample_of
from codetalker_cli.errors import DataError, InputError

V = 12


def texts(folder: Path, **contents: str) -> Path:
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / f"{name}.txt").write_text(content)
    return folder


def test_region_names_of_the_reference_code_are_translated(tmp_path: Path) -> None:
    texts(tmp_path / "regions", lve="3, 1, 2", fdd="7,\n8", nose="5 6")
    found = find_regions("auto", tmp_path, V)
    assert {name: found.named[name].tolist() for name in found.named} == {
        "lips": [1, 2, 3],
        "upper_face": [7, 8],
        "nose": [5, 6],
    }
    assert found.origin == "regions"


def test_a_vertex_can_belong_to_several_lip_pairs(tmp_path: Path) -> None:
    texts(tmp_path / "regions", inner_lip_upper="3, 5, 5", inner_lip_lower="4, 6, 7")
    found = find_regions("auto", tmp_path, V)
    assert found.named["inner_lip_upper"].tolist() == [3, 5, 5]


@pytest.mark.parametrize("suffix", ["json", "pkl"])
def test_one_file_can_contain_all_regions(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"masks.{suffix}"
    if suffix == "json":
        path.write_text(json.dumps({"lips": [1, 2], "scalp": [0]}))
    else:
        content = {"lips": np.array([1, 2]), "scalp": np.array([0])}
        path.write_bytes(pickle.dumps(content, protocol=2))
    found = find_regions(str(path), tmp_path, V)
    assert found.named["lips"].tolist() == [1, 2] and found.named["scalp"].dtype == np.int32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1, 2, 12", r"lve: indices are 1\.\.12, expected 0\.\.11; give"),
        ("-1, 2", r"indices are -1\.\.2"),
        ("1, two", r"lve\.txt: expected vertex indices separated by commas"),
        ("", "lve: the list is empty"),
        ("1, 3, 5, 3", "lve: vertex 3 is listed 2 times; list each vertex once"),
        ("1.0, 2.5", "lve: contains float64, expected integer vertex indices"),
        (", ".join("000111000001"), "lve: this is a mask of 12 values 0 or 1; expected vertex"),
        ("0.0 1.0 1.0", "lve: this is a mask of 3 values"),
    ],
)
def test_invalid_indices_are_refused(tmp_path: Path, content: str, message: str) -> None:
    texts(tmp_path / "regions", lve=content)
    with pytest.raises(DataError, match=message):
        find_regions("auto", tmp_path, V)


@pytest.mark.parametrize(
    "content",
    [[1, 2], {"lips": [0.5]}, {"lips": [[1]]}, {"lips": "ab"}, {}, {"lips": [True, False]}],
)
def test_files_without_regions_are_refused(tmp_path: Path, content: Any) -> None:
    (tmp_path / "regions.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"regions\.json"):
        find_regions("auto", tmp_path, V)


class Malicious:
    def __reduce__(self) -> tuple:
        return os.system, ("touch proof",)


@pytest.mark.parametrize("content", [[99], ["x"], [[1], [2, 3]]])
def test_a_region_name_with_control_characters_is_escaped(tmp_path: Path, content: list) -> None:
    (tmp_path / "regions.json").write_text(json.dumps({"a\n\x1b[31m": content}))
    with pytest.raises(DataError) as caught:
        find_regions("auto", tmp_path, 9)
    assert "regions.json: a\\n\\x1b[31m: " in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_malicious_pickle_is_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("FLAME_masks.pkl").write_bytes(pickle.dumps({"lips": Malicious()}))
    with pytest.raises(DataError, match=r"FLAME_masks\.pkl: .*posix\.system"):
        find_regions("auto", tmp_path, V)
    assert not Path("proof").exists()


def test_a_missing_or_empty_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"prepare\.regions: .*nowhere does not exist"):
        find_regions(str(tmp_path / "nowhere"), tmp_path, V)
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        InputError, match=r"empty: the folder contains no regions \(NAME\.txt files\)"
    ):
        find_regions(str(tmp_path / "empty"), tmp_path, V)


def test_none_infer_and_auto(tmp_path: Path) -> None:
    texts(tmp_path / "regions", lve="1")
    assert find_regions("none", tmp_path, V) == Regions()
    infer = find_regions("infer", tmp_path, V)
    assert infer.infer and not infer.named
    assert find_regions("auto", tmp_path / "regions", V).infer  # no region files


def test_the_origin_explains_why_lips_were_not_inferred() -> None:
    mesh = voices.mesh("A")
    still = (mesh.templates["A"], np.zeros((20, V, 3), np.float32))
    result, origin = Regions(infer=True).complete(mesh, still)
    # The mesh already has lips, so nothing is inferred.
    assert result.topology.regions.keys() == mesh.topology.regions.keys()
    bare = Regions(infer=True, named={}).complete(_without_regions(mesh), still)
    assert "lips" not in bare[0].topology.regions and "no lips: " in bare[1]
    given = Regions({"lips": np.array([4], np.int32)}, infer=True, origin="mine").complete(
        mesh, still
    )
    assert given[0].topology.region("lips").tolist() == [4] and given[1] == "mine"
    assert origin == "none"


def _without_regions(mesh: Any) -> Any:
    from dataclasses import replace

    return replace(mesh, topology=replace(mesh.topology, regions={}))


def test_the_sample_contains_offsets_from_the_template_of_each_clip() -> None:
    rng = np.random.default_rng(0)
    faces = [rng.standard_normal((V, 3)).astype(np.float32) for _ in range(2)]
    clips = [(face, face + np.arange(30)[:, None, None].astype(np.float32)) for face in faces]
    template, offsets = sample_of(clips, n_frames=10)
    np.testing.assert_array_equal(template, faces[0])
    levels = offsets[:, 0, 0].round(3).tolist()
    assert levels == [0, 7, 14, 21, 29] * 2
