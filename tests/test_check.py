"""Inspection: a valid data set has no findings, and each fault of table or mesh is reported."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import talking
import tiny_data
import voices
from ball import sphere
from command import refuse, run, succeed
from talking import FIRST, LAST, SECOND, check_only, found

from codetalker_cli.datasets.inspect import InspectionReport, check
from codetalker_cli.datasets.prepared_writer import DataSetFacts, NewClip, PreparedWriter
from codetalker_cli.errors import InputError
from codetalker_cli.topology import Mesh, Topology


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return talking.write(tmp_path_factory.mktemp("valid") / "data")


@pytest.fixture
def data(valid: Path, tmp_path: Path) -> Path:
    """A copy that tests can damage."""
    return talking.linked(valid, tmp_path / "data")


# A valid data set ------------------------------------------------------------------------------


def test_a_valid_data_set_has_no_findings(valid: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = check(valid, progress=lambda done, total: seen.append((done, total)))
    assert report.findings == () and report.sheet is None
    assert (report.name, report.n_clips, report.n_frames) == ("talking", 6, 360)
    assert report.seconds == pytest.approx(14.4)
    assert report.n_bytes == 360 * 12 * len(talking.patch())
    assert seen == [(k, 6) for k in range(1, 7)]


def test_noise_and_head_motion_are_not_reported(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nod = np.array([0.01, -0.02, 0.015])

    def change(x: np.ndarray) -> np.ndarray:
        if x.ndim == 2:
            return x
        swing = np.sin(np.arange(len(x)) / 6)[:, None, None]
        noisy = x + nod * swing + rng.normal(0, 2e-4, x.shape)
        return noisy.astype(np.float32)

    assert found(talking.write(tmp_path, change=change)) == {}


def test_unit_area1_must_match_the_surface_area(tmp_path: Path) -> None:
    faces = talking.mesh()

    def scaled(x: np.ndarray) -> np.ndarray:
        a, b, c = (x[..., faces.topology.triangles[:, k], :] for k in range(3))
        area = np.linalg.norm(np.cross(b - a, c - a), axis=-1).sum(-1) / 2
        return (x / np.sqrt(area)[..., None, None]).astype(np.float32)

    unit = replace(faces, topology=replace(faces.topology, unit="area1"))
    assert found(talking.write(tmp_path / "a", unit, scaled)) == {}
    check_only(talking.write(tmp_path / "b", faces, scaled), "unit", "mesh.npz", "declare area1")
    check_only(talking.write(tmp_path / "c", unit), "unit", "mesh.npz", "has surface area 0.")


def test_axes_and_lips_of_objects_other_than_heads_are_not_reported(tmp_path: Path) -> None:
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


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no prepared data set \(no manifest.json\); make one"):
        check(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", "[" * 100_000])
def test_an_invalid_manifest_is_a_problem(data: Path, content: str) -> None:
    (data / "manifest.json").unlink()
    (data / "manifest.json").write_text(content)
    assert ("problem", "manifest", "manifest.json") in found(data)


def test_every_fault_of_a_damaged_manifest_is_reported(data: Path) -> None:
    rows = json.loads((data / "manifest.json").read_text())["clips"]
    rows[0] = 3
    rows[1]["name"] = "../../etc/passwd"
    rows[2]["n_frames"] = "sixty"
    rows[3]["subject"] = None
    talking.edit(data, clips=rows, fps="fast", format_version=99)
    messages = found(data)
    for where in ("clip 0", "clip 1"):
        assert ("problem", "manifest", f"manifest.json, {where}") in messages
    assert "n_frames is 'sixty', expected a count" in messages["problem", "manifest", "S03_0"]
    assert "subject is None, expected a name" in messages["problem", "manifest", "S03_1"]
    in_manifest = [f.message for f in check(data).findings if f.where == "manifest.json"]
    assert any("format_version is 99" in m for m in in_manifest)
    assert any("fps is 'fast'" in m for m in in_manifest)
    # The damaged rows no longer name the files of the first two clips.
    assert ("note", "stranger", "clips/") in messages and ("note", "stranger", "audio/") in messages


def test_missing_and_unlisted_files_are_reported(data: Path) -> None:
    (data / "clips" / f"{FIRST}.npy").unlink()
    (data / "audio" / f"{LAST}.wav").unlink()
    (data / "clips" / ".S01_1.ab12.npy").write_text("")
    (data / ".unfinished").touch()
    messages = found(data)
    assert "clips/S01_0.npy is missing" in messages["problem", "missing", FIRST]
    assert "audio/S05_1.wav is missing" in messages["problem", "missing", LAST]
    assert ".S01_1.ab12.npy" in messages["note", "stranger", "clips/"]
    assert (
        "run the same `codetalker prepare-data` command"
        in messages["problem", "unfinished", ".unfinished"]
    )
    assert len([key for key in messages if key[0] == "problem"]) == 3


def test_duplicate_names_are_a_problem(data: Path) -> None:
    rows = json.loads((data / "manifest.json").read_text())["clips"]
    talking.edit(data, clips=[*rows, rows[2]])
    check_only(data, "duplicate", "S03_0", "2 rows")


def test_unusable_splits_and_subjects_are_reported(data: Path) -> None:
    talking.edit(data, train_subjects=["S01", "S03", "S09"])
    talking.edit_row(data, SECOND, split="validation")
    messages = found(data)
    assert "never used" in messages["note", "split", "manifest.json"]
    assert "no clips in split train" in messages["note", "subject", "S09"]
    assert "is not a training subject" in messages["problem", "subject", "S05"]
    notes = [f.message for f in check(data).notes]
    assert any("split val has no clips" in m for m in notes)
    assert not any("there is nothing to train on" in m for m in notes)
    talking.edit(data, clips=[])
    assert "no clips" in found(data)["problem", "empty", "manifest.json"]


# The mesh --------------------------------------------------------------------------------------


def test_an_unreadable_mesh_does_not_hide_other_problems(data: Path) -> None:
    (data / "mesh.npz").unlink()
    (data / "mesh.npz").write_bytes(b"PK")
    (data / "audio" / f"{LAST}.wav").unlink()
    assert set(found(data)) == {
        ("problem", "mesh", "mesh.npz"),
        ("problem", "missing", LAST),
    }


def test_a_changed_mesh_is_a_problem(data: Path) -> None:
    path = data / "mesh.npz"
    before = path.read_bytes()
    path.unlink()
    talking.mesh().save(path)
    if path.read_bytes() == before:
        path.write_bytes(before + b"\0")
    check_only(data, "hash", "mesh.npz", "was changed")


def test_triangles_and_regions_out_of_range_are_problems(data: Path) -> None:
    with np.load(data / "mesh.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    arrays["topology_faces"][7, 1] = 99_999
    arrays["topology_region_upper_face"][3] = -1
    (data / "mesh.npz").unlink()
    np.savez(data / "mesh.npz", **arrays)
    talking.edit(data, mesh_sha256="")
    messages = found(data)
    assert "1 of 4992 triangles" in messages["problem", "faces", "mesh.npz"]
    assert "triangle 7" in messages["problem", "faces", "mesh.npz"]
    assert "region upper_face refers to 1 vertex that" in messages["problem", "region", "mesh.npz"]
    assert len(messages) == 2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("topology_n_vertices", np.array("x")),
        ("topology_faces", np.array([["a"]])),
        ("topology_region_lips", np.array(3)),
        ("topology_region_lips", np.array(["a"])),
    ],
)
def test_invalid_mesh_arrays_are_a_problem(data: Path, key: str, value: np.ndarray) -> None:
    with np.load(data / "mesh.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    (data / "mesh.npz").unlink()
    np.savez(data / "mesh.npz", **(arrays | {key: value}))
    talking.edit(data, mesh_sha256="")
    check_only(data, "mesh", "mesh.npz", "not a mesh file (")


def test_missing_and_nan_templates_are_problems(data: Path) -> None:
    templates = dict(talking.mesh().templates)
    del templates["S03"]
    templates["S05"] = templates["S05"].copy()
    templates["S05"][12] = np.nan
    talking.put_mesh(data, replace(talking.mesh(), templates=templates))
    messages = found(data)
    assert (
        "2 clips but no template (templates exist for: S01, S05)"
        in messages["problem", "template", "S03"]
    )
    assert "1 vertex of the template is" in messages["problem", "nan", "S05"]
    assert len(messages) == 2


def test_a_mask_in_place_of_a_region_is_a_problem(data: Path) -> None:
    with np.load(data / "mesh.npz") as archive:
        arrays = {key: archive[key] for key in archive.files}
    arrays["topology_region_nose"] = np.arange(50) % 2
    (data / "mesh.npz").unlink()
    np.savez(data / "mesh.npz", **arrays)
    talking.edit(data, mesh_sha256="")
    check_only(data, "region", "mesh.npz", "region nose: this is a mask of 50 values 0 or 1")


def test_missing_and_misplaced_regions_are_reported(data: Path) -> None:
    faces = talking.mesh()
    regions = {"lips": faces.topology.regions["upper_face"]}
    talking.put_mesh(data, replace(faces, topology=replace(faces.topology, regions=regions)))
    messages = found(data)
    assert "no region upper_face" in messages["note", "region", "mesh.npz"]
    assert (
        "0 % of the region lips are where the lips move"
        in messages["problem", "region", "mesh.npz"]
    )


# Unit, axes, winding ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (100, "the unit may be cm; scale by 0.01"),
        (1000, "the unit may be mm"),
        (7, "which is not plausible in m, cm or mm"),
    ],
)
def test_an_implausible_unit_is_a_problem(tmp_path: Path, factor: float, words: str) -> None:
    folder = talking.write(tmp_path, change=lambda x: (factor * x).astype(np.float32))
    check_only(folder, "unit", "mesh.npz", "the unit is m, but the face measures", words)


@pytest.mark.parametrize(
    ("axes", "words", "recipe"),
    [
        ((1, -3, 2), "as in Blender", "(x, z, -y)"),
        ((-1, 2, -3), "looks to -z", "(-x, y, -z)"),
        ((1, -2, -3), "upside down like the raw BIWI scans", "(x, -y, -z)"),
        ((-1, -2, 3), "upside down", "(-x, -y, z)"),
        ((2, 3, 1), "axes are swapped", "(z, x, y)"),
    ],
)
def test_wrong_axes_are_a_problem_with_the_correction(
    tmp_path: Path, axes: tuple[int, ...], words: str, recipe: str
) -> None:
    columns, signs = np.abs(axes) - 1, np.sign(axes).astype(np.float32)
    folder = talking.write(tmp_path, change=lambda x: x[..., columns] * signs)
    check_only(folder, "axes", "mesh.npz", words, f"replace (x, y, z) with {recipe}")
    # The correction in the message restores the original axes.
    turned = talking.mesh().templates["S01"][..., columns] * signs
    names = {"x": 0, "y": 1, "z": 2}
    new = [
        turned[:, names[term[-1]]] * (-1 if term[0] == "-" else 1)
        for term in recipe.strip("()").split(", ")
    ]
    np.testing.assert_array_equal(np.stack(new, 1), talking.mesh().templates["S01"])


def test_an_inside_out_mesh_is_a_problem(tmp_path: Path) -> None:
    faces = talking.mesh()
    flipped = replace(faces.topology, triangles=faces.topology.triangles[:, ::-1].copy())
    folder = talking.write(tmp_path / "a", replace(faces, topology=flipped))
    check_only(folder, "winding", "mesh.npz", "inside out")
    mirror = np.array([-1, 1, 1], np.float32)
    folder = talking.write(tmp_path / "b", change=lambda x: x * mirror)
    check_only(folder, "winding", "mesh.npz", "undo the mirroring")


# The report -------------------------------------------------------------------------------------


def test_the_report_contains_all_findings_and_converts_to_json(data: Path) -> None:
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
        "message": "clips/S01_0.npy is missing; prepare the data again, or restore the file",
    }
    lines = report.lines(most=2)
    assert len(lines) == 4 and lines[2] == "problem: 2 more of this kind (missing)"


def test_an_existing_file_is_not_replaced_by_the_sheet(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data.parent)
    other = data.parent / "mine.png"
    other.write_bytes(b"mine")
    assert "mine.png already exists; give --overwrite" in refuse(
        "prepare-data", "check", data, "--sheet", other
    )
    assert run("prepare-data", "check", data, "--sheet", other, "--overwrite").code in (0, 1)
    assert other.read_bytes() != b"mine"


def test_a_checkpoint_is_compared_with_its_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = voices.save(tmp_path / "voice", "A")
    assert succeed("prepare-data", "check", folder) == f"{folder}: 2 files as written\n"
    assert "has no contact sheet" in refuse(
        "prepare-data", "check", folder, "--sheet", tmp_path / "x.png"
    )
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "the content has changed since the checkpoint was written" in refuse(
        "prepare-data", "check", folder
    )


@pytest.mark.parametrize("scale", [1e8, 1e25, 1e30])
def test_absurd_coordinates_are_reported_in_time(data: Path, scale: float) -> None:
    """Products of such coordinates are infinite, and LAPACK does not return for them."""
    mesh = Mesh.load(data / "mesh.npz")
    templates = {name: face * np.float32(scale) for name, face in mesh.templates.items()}
    replace(mesh, templates=templates).save(data / "mesh.npz")
    for path in (data / "clips").glob("*.npy"):
        np.save(path, np.load(path) * np.float32(scale))
    report = check(data, data / "check.png")
    assert any("has coordinates up to" in str(problem) for problem in report.problems)
