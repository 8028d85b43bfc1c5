"""The check of a prepared data set: nothing on a right one; faults of the table and the faces."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import talking
import tiny_data
from ball import sphere
from talking import FIRST, LAST, SECOND, check_only, found

from codetalker_cli.datasets.inspect import InspectionReport, check
from codetalker_cli.datasets.prepared_writer import DataSetFacts, NewClip, PreparedWriter
from codetalker_cli.errors import InputError
from codetalker_cli.topology import Mesh, Topology


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talking.write(tmp_path_factory.mktemp("right") / "data")


@pytest.fixture
def data(right: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return talking.linked(right, tmp_path / "data")


# A right one ------------------------------------------------------------------------------------


def test_nothing_is_found_in_a_right_one(right: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = check(right, progress=lambda done, total: seen.append((done, total)))
    assert report.findings == () and report.sheet is None
    assert (report.name, report.n_clips, report.n_frames) == ("talking", 6, 360)
    assert report.seconds == pytest.approx(14.4)
    assert report.n_bytes == 360 * 12 * len(talking.patch())
    assert seen == [(k, 6) for k in range(1, 7)]


def test_noise_and_motion_of_the_head_are_no_faults(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nod = np.array([0.01, -0.02, 0.015])

    def change(x: np.ndarray) -> np.ndarray:
        if x.ndim == 2:
            return x
        swing = np.sin(np.arange(len(x)) / 6)[:, None, None]
        noisy = x + nod * swing + rng.normal(0, 2e-4, x.shape)
        return noisy.astype(np.float32)

    assert found(talking.write(tmp_path, change=change)) == {}


def test_faces_of_area_1_are_right_where_they_are_declared(tmp_path: Path) -> None:
    faces = talking.mesh()

    def scaled(x: np.ndarray) -> np.ndarray:
        a, b, c = (x[..., faces.topology.triangles[:, k], :] for k in range(3))
        area = np.linalg.norm(np.cross(b - a, c - a), axis=-1).sum(-1) / 2
        return (x / np.sqrt(area)[..., None, None]).astype(np.float32)

    unit = replace(faces, topology=replace(faces.topology, unit="area1"))
    assert found(talking.write(tmp_path / "a", unit, scaled)) == {}
    check_only(talking.write(tmp_path / "b", faces, scaled), "unit", "mesh.npz", "declare area1")
    check_only(talking.write(tmp_path / "c", unit), "unit", "mesh.npz", "has surface area 0.")


def test_faces_that_are_no_heads_have_no_axes(tmp_path: Path) -> None:
    """Random strips and swelling balls: nothing is made up about axes, winding or lips."""
    kinds = {f.kind for f in check(tiny_data.prepared(tmp_path / "a").folder).findings}
    assert kinds <= {"unit", "length", "sync"}, kinds
    vertices, faces = sphere()
    vertices *= 0.12
    writer = PreparedWriter(tmp_path / "b", overwrite=False)
    for k, (name, split) in enumerate({"A_0": "train", "A_1": "val"}.items()):
        swell = 1 + 0.1 * np.sin(np.arange(50) / (3 + k))[:, None, None]
        writer.add(
            NewClip(name, "A", split, vertices * swell, talking.spoken(talking.CLIPS[k])[1][:32000])
        )
    mesh = Mesh(Topology("ball", faces, len(vertices)), {"A": vertices})
    writer.finish(DataSetFacts("ball", 25.0, ["A"]), mesh, {})
    assert {f.kind for f in check(tmp_path / "b").findings} == {"region"}


# The table and the folder -----------------------------------------------------------------------


def test_without_a_manifest_it_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no prepared data set \(no manifest.json\); make one"):
        check(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", "[" * 100_000])
def test_a_manifest_that_is_none_is_told(data: Path, content: str) -> None:
    (data / "manifest.json").unlink()
    (data / "manifest.json").write_text(content)
    assert ("problem", "manifest", "manifest.json") in found(data)


def test_what_can_be_understood_of_a_damaged_manifest_is_checked(data: Path) -> None:
    rows = json.loads((data / "manifest.json").read_text())["clips"]
    rows[0] = 3
    rows[1]["name"] = "../../etc/passwd"
    rows[2]["n_frames"] = "sixty"
    rows[3]["subject"] = None
    talking.edit(data, clips=rows, fps="fast", format_version=99)
    said = found(data)
    for where in ("clip 0", "clip 1"):
        assert ("problem", "manifest", f"manifest.json, {where}") in said
    assert "n_frames is 'sixty', expected a count" in said["problem", "manifest", "S03_0"]
    assert "subject is None, expected a name" in said["problem", "manifest", "S03_1"]
    both = [f.message for f in check(data).findings if f.where == "manifest.json"]
    assert any("format_version is 99" in m for m in both)
    assert any("fps is 'fast'" in m for m in both)
    # The first two clips' files are no longer in the table.
    assert ("note", "stranger", "clips/") in said and ("note", "stranger", "audio/") in said


def test_files_that_are_missing_or_not_in_the_table(data: Path) -> None:
    (data / "clips" / f"{FIRST}.npy").unlink()
    (data / "audio" / f"{LAST}.wav").unlink()
    (data / "clips" / ".S01_1.ab12.npy").write_text("")
    (data / ".unfinished").touch()
    said = found(data)
    assert "clips/S01_0.npy is not there" in said["problem", "missing", FIRST]
    assert "audio/S05_1.wav is not there" in said["problem", "missing", LAST]
    assert ".S01_1.ab12.npy" in said["note", "stranger", "clips/"]
    assert "run the same prepare-data again" in said["problem", "unfinished", ".unfinished"]
    assert len([key for key in said if key[0] == "problem"]) == 3


def test_names_that_stand_there_twice(data: Path) -> None:
    rows = json.loads((data / "manifest.json").read_text())["clips"]
    talking.edit(data, clips=[*rows, rows[2]])
    check_only(data, "duplicate", "S03_0", "2 rows")


def test_splits_and_subjects(data: Path) -> None:
    talking.edit(data, train_subjects=["S01", "S03", "S09"])
    talking.edit_row(data, SECOND, split="validation")
    said = found(data)
    assert "never used" in said["note", "split", "manifest.json"]
    assert "without clips of split train" in said["note", "subject", "S09"]
    assert "is no training subject" in said["problem", "subject", "S05"]
    notes = [f.message for f in check(data).notes]
    assert any("no clips of split val" in m for m in notes)
    assert not any("split train: there is nothing" in m for m in notes)
    talking.edit(data, clips=[])
    assert "no clips" in found(data)["problem", "empty", "manifest.json"]


# The faces --------------------------------------------------------------------------------------


def test_a_mesh_that_cannot_be_read_hides_nothing_else(data: Path) -> None:
    (data / "mesh.npz").unlink()
    (data / "mesh.npz").write_bytes(b"PK")
    (data / "audio" / f"{LAST}.wav").unlink()
    assert set(found(data)) == {
        ("problem", "mesh", "mesh.npz"),
        ("problem", "missing", LAST),
    }


def test_a_mesh_that_was_changed(data: Path) -> None:
    path = data / "mesh.npz"
    before = path.read_bytes()
    path.unlink()
    talking.mesh().save(path)
    if path.read_bytes() == before:
        path.write_bytes(before + b"\0")
    check_only(data, "hash", "mesh.npz", "was changed")


def test_faces_and_regions_out_of_range(data: Path) -> None:
    with np.load(data / "mesh.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    arrays["topology_faces"][7, 1] = 99_999
    arrays["topology_region_upper_face"][3] = -1
    (data / "mesh.npz").unlink()
    np.savez(data / "mesh.npz", **arrays)
    talking.edit(data, mesh_sha256="")
    said = found(data)
    assert "1 of 4992 triangles" in said["problem", "faces", "mesh.npz"]
    assert "triangle 7" in said["problem", "faces", "mesh.npz"]
    assert "region upper_face names 1 vertices" in said["problem", "region", "mesh.npz"]
    assert len(said) == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("topology_n_vertices", np.array("x")),
        ("topology_faces", np.array([["a"]])),
        ("topology_region_lips", np.array(3)),
        ("topology_region_lips", np.array(["a"])),
    ],
)
def test_arrays_that_are_no_mesh(data: Path, key: str, value: np.ndarray) -> None:
    with np.load(data / "mesh.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    (data / "mesh.npz").unlink()
    np.savez(data / "mesh.npz", **(arrays | {key: value}))
    talking.edit(data, mesh_sha256="")
    check_only(data, "mesh", "mesh.npz", "not a mesh file (")


def test_templates(data: Path) -> None:
    templates = dict(talking.mesh().templates)
    del templates["S03"]
    templates["S05"] = templates["S05"].copy()
    templates["S05"][12] = np.nan
    talking.put_mesh(data, replace(talking.mesh(), templates=templates))
    said = found(data)
    assert "2 clips but no template (there are: S01, S05)" in said["problem", "template", "S03"]
    assert "1 vertices of the template" in said["problem", "nan", "S05"]
    assert len(said) == 2


def test_regions_that_are_missing_or_elsewhere(data: Path) -> None:
    faces = talking.mesh()
    regions = {"lips": faces.topology.regions["upper_face"]}
    talking.put_mesh(data, replace(faces, topology=replace(faces.topology, regions=regions)))
    said = found(data)
    assert "no region upper_face" in said["note", "region", "mesh.npz"]
    assert "0 % of region lips lie where the lips move" in said["problem", "region", "mesh.npz"]


# Unit, axes, winding ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "words"),
    [(100, "looks like cm; scale by 0.01"), (1000, "looks like mm"), (7, "no size of a face")],
)
def test_the_unit(tmp_path: Path, factor: float, words: str) -> None:
    folder = talking.write(tmp_path, change=lambda x: (factor * x).astype(np.float32))
    check_only(folder, "unit", "mesh.npz", "unit m, but the face reaches over", words)


@pytest.mark.parametrize(
    ("axes", "words", "recipe"),
    [
        ((1, -3, 2), "as in Blender", "(x, z, -y)"),
        ((-1, 2, -3), "looks to -z", "(-x, y, -z)"),
        ((1, -2, -3), "upside down, as the raw BIWI scans", "(x, -y, -z)"),
        ((-1, -2, 3), "upside down", "(-x, -y, z)"),
        ((2, 3, 1), "axes are swapped", "(z, x, y)"),
    ],
)
def test_the_axes(tmp_path: Path, axes: tuple[int, ...], words: str, recipe: str) -> None:
    columns, signs = np.abs(axes) - 1, np.sign(axes).astype(np.float32)
    folder = talking.write(tmp_path, change=lambda x: x[..., columns] * signs)
    check_only(folder, "axes", "mesh.npz", words, f"write (x, y, z) as {recipe}")
    # What the message says to write is right.
    turned = talking.mesh().templates["S01"][..., columns] * signs
    names = {"x": 0, "y": 1, "z": 2}
    new = [
        turned[:, names[term[-1]]] * (-1 if term[0] == "-" else 1)
        for term in recipe.strip("()").split(", ")
    ]
    np.testing.assert_array_equal(np.stack(new, 1), talking.mesh().templates["S01"])


def test_faces_inside_out(tmp_path: Path) -> None:
    faces = talking.mesh()
    flipped = replace(faces.topology, triangles=faces.topology.triangles[:, ::-1].copy())
    folder = talking.write(tmp_path / "a", replace(faces, topology=flipped))
    check_only(folder, "winding", "mesh.npz", "inside out")
    mirror = np.array([-1, 1, 1], np.float32)
    folder = talking.write(tmp_path / "b", change=lambda x: x * mirror)
    check_only(folder, "winding", "mesh.npz", "undo a mirroring")


# The report -------------------------------------------------------------------------------------


def test_all_findings_are_given_and_the_report_is_plain_data(data: Path) -> None:
    for name in talking.CLIPS[:4]:
        (data / "clips" / f"{name}.npy").unlink()
    (data / "audio" / "song.mp3").write_text("")
    report = check(data)
    assert isinstance(report, InspectionReport)
    assert len(report.problems) == 4 and len(report.notes) == 1
    assert [f.level for f in report.findings] == ["problem"] * 4 + ["note"]
    assert json.loads(json.dumps(report.to_dict()))["findings"][0] == {
        "level": "problem",
        "kind": "missing",
        "where": FIRST,
        "message": "clips/S01_0.npy is not there; prepare the data again, or restore it",
    }
    lines = report.lines(most=2)
    assert len(lines) == 4 and lines[2] == "problem: 2 more of this sort (missing)"
