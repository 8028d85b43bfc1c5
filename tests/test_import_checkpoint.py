"""Import of official files: the same motion as the official code, and errors for bad files."""

import json
import os
import pickle
from pathlib import Path
from typing import Any

import command
import golden_cases
import numpy as np
import pytest
import soundfile
import torch
import trimesh

import codetalker_cli as ct
from codetalker_cli.errors import CheckpointError, DataError, InputError
from codetalker_cli.formats.templates import read_mesh
from codetalker_cli.models import checkpoint
from codetalker_cli.models.import_official import import_official
from codetalker_cli.settings import Settings

WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0"}
WEIGHT_NORM |= {"weight_v": "parametrizations.weight.original1"}


class Case:
    """The official files of a golden case, written to ``folder``."""

    def __init__(self, folder: Path, name: str = "vocaset_tiny_13") -> None:
        self.meta, self.arrays = golden_cases.load(name)
        self.folder = folder
        self.settings: Settings = golden_cases.settings(self.meta)
        self.subject = self.meta["subjects"][0]
        self.write("stage1.pth.tar", "stage1_keys")
        self.write("stage2.pth.tar", "stage2_keys")
        template = self.arrays["template"].reshape(-1, 3)
        # The data sets contain float64 arrays that were pickled with Python 2 and NumPy 1.
        content = pickle.dumps({self.subject: template.astype(np.float64)}, protocol=2)
        (folder / "templates.pkl").write_bytes(content.replace(b"numpy._core.", b"numpy.core."))
        self.mesh_file("head.ply", len(template))
        soundfile.write(folder / "speech.wav", self.arrays["audio"], 16000, subtype="FLOAT")

    def write(self, name: str, keys: str, *, module: bool = False, new_names: bool = False) -> None:
        """Write a file in the official format."""
        state = golden_cases.weights(self.meta, self.meta[keys])
        if new_names:
            for old, new in WEIGHT_NORM.items():
                state = {key.replace(old, new): value for key, value in state.items()}
        if module:
            state = {f"module.{key}": value for key, value in state.items()}
        torch.save({"epoch": 100, "state_dict": state}, self.folder / name)

    def mesh_file(self, name: str, n_vertices: int) -> Path:
        first = np.arange(n_vertices - 2)
        vertices = np.random.default_rng(0).standard_normal((n_vertices, 3))
        faces = np.stack([first, first + 1, first + 2], axis=1)[::-1]
        trimesh.Trimesh(vertices, faces, process=False).export(self.folder / name)
        return self.folder / name

    def run(self, out: Path, **changes: Any) -> Path:
        """Import the files with the library function."""
        files = {"templates": self.folder / "templates.pkl", "mesh_file": self.folder / "head.ply"}
        files = {**files, **changes}
        stages = [self.folder / f"stage{k}.pth.tar" for k in (1, 2)]
        return import_official(*stages, out, self.settings, **files)


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def close(vertices: np.ndarray, case: Case) -> None:
    expected = case.arrays["pred_style0"]
    assert vertices.shape == (len(expected), case.meta["vertices"], 3)
    error = np.abs(vertices.reshape(len(expected), -1) - expected).max()
    assert error < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["vocaset_tiny_13", "biwi_tiny_14"])
@pytest.mark.parametrize("module", [False, True])
@pytest.mark.parametrize("new_names", [False, True])
def test_imported_checkpoint_reproduces_the_official_motion(
    tmp_path: Path, name: str, module: bool, new_names: bool
) -> None:
    case = Case(tmp_path, name)
    for stage in (1, 2):
        case.write(
            f"stage{stage}.pth.tar", f"stage{stage}_keys", module=module, new_names=new_names
        )
    voice = ct.load(case.run(tmp_path / "out"))
    motion = voice.animate(tmp_path / "speech.wav", case.subject)
    assert motion.codes is not None
    assert np.array_equal(motion.codes, case.arrays["pred_codes_style0"])
    close(motion.vertices, case)
    assert motion.fps == case.settings.data.fps
    assert motion.topology.unit == case.settings.data.unit


def test_import_command_reproduces_the_official_motion(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sizes: list[str] = []
    for section in ("data", "vq", "speech"):
        for key, value in getattr(case.settings, section).model_dump(mode="json").items():
            nested = value.items() if key == "encoder" else [("", value)]
            for sub, content in nested:
                dotted = ".".join(filter(None, (section, key, sub)))
                sizes += ["--set", f"{dotted}={json.dumps(content)}"]
    files = ["stage1.pth.tar", "stage2.pth.tar", "runs/official/a"]
    faces = ["--templates", "templates.pkl", "--faces", "head.ply"]
    out = command.succeed("import-checkpoint", "--preset", "vocaset", *files, *faces, *sizes)
    assert "runs/official/a: imported" in out
    # The imported checkpoint is found by its subject.
    command.succeed("animate", "speech.wav", "--subject", case.subject, "-o", "a.npy")
    close(np.load("a.npy"), case)


def test_imported_checkpoint_is_self_contained(case: Case, tmp_path: Path) -> None:
    out = case.run(tmp_path / "out")
    for path in [*tmp_path.glob("*.tar"), tmp_path / "templates.pkl", tmp_path / "head.ply"]:
        path.unlink()
    loaded = checkpoint.load(out)
    assert loaded.subjects == [case.subject] and loaded.mesh is not None
    assert loaded.meta["origin"] == "official" and loaded.meta["stage"] == "speech"
    assert loaded.meta["files"]["stage1"]["name"] == "stage1.pth.tar"
    assert len(loaded.meta["files"]["stage2"]["sha256"]) == 64
    np.testing.assert_array_equal(
        loaded.mesh.templates[case.subject], case.arrays["template"].reshape(-1, 3)
    )
    assert loaded.mesh.topology.triangles[0].tolist() == [37, 38, 39]  # the order in the file


def test_import_without_templates_cannot_animate(case: Case, tmp_path: Path) -> None:
    voice = ct.load(case.run(tmp_path / "out", templates=None, mesh_file=None))
    with pytest.raises(CheckpointError, match="contains no templates to animate; import it again"):
        voice.animate(case.arrays["audio"])


def test_templates_and_mesh_file_are_required_together(case: Case, tmp_path: Path) -> None:
    for lacking in ("templates", "mesh_file"):
        with pytest.raises(InputError, match="`templates` and `mesh_file` must be given together"):
            case.run(tmp_path / "out", **{lacking: None})


def test_mesh_format_without_vertex_order_is_rejected(case: Case) -> None:
    with pytest.raises(DataError, match=r"head\.stl: .* give \.obj, \.ply, \.off or \.glb"):
        read_mesh(case.folder / "templates.pkl", case.mesh_file("head.stl", 40), case.settings.data)


# Errors -----------------------------------------------------------------------------------------


class Malicious:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.proof}",)


@pytest.mark.parametrize("as_torch", [False, True])
def test_malicious_checkpoint_executes_no_code(case: Case, tmp_path: Path, as_torch: bool) -> None:
    proof, path = tmp_path / "proof", tmp_path / "stage2.pth.tar"
    malicious = {"state_dict": Malicious(proof)}
    if as_torch:
        torch.save(malicious, path)
    else:
        path.write_bytes(pickle.dumps(malicious, protocol=2))
    with pytest.raises(
        CheckpointError, match=r"stage2\.pth\.tar: the file cannot be read as plain weights"
    ):
        case.run(tmp_path / "out")
    assert not proof.exists() and not (tmp_path / "out").exists()


def test_malicious_templates_execute_no_code(case: Case, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    (tmp_path / "templates.pkl").write_bytes(pickle.dumps({case.subject: Malicious(proof)}))
    with pytest.raises(DataError, match=r"templates\.pkl: .*imports posix\.system"):
        case.run(tmp_path / "out")
    assert not proof.exists() and not (tmp_path / "out").exists()


def test_swapped_files_are_an_error(case: Case, tmp_path: Path) -> None:
    one, two = tmp_path / "stage1.pth.tar", tmp_path / "stage2.pth.tar"
    one.rename(tmp_path / "x")
    two.rename(one)
    (tmp_path / "x").rename(two)
    with pytest.raises(CheckpointError, match=r"stage 1 file: .*order of the two files") as caught:
        case.run(tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_same_file_for_both_stages_is_an_error(case: Case, tmp_path: Path) -> None:
    stage1 = (tmp_path / "stage1.pth.tar").read_bytes()
    (tmp_path / "stage2.pth.tar").write_bytes(stage1)
    with pytest.raises(CheckpointError, match=r"stage 2 file: .*the order of the two files"):
        case.run(tmp_path / "out")


def test_missing_and_misshapen_keys_are_named(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "stage1.pth.tar"
    content = torch.load(path, weights_only=True)
    del content["state_dict"]["quantize.embedding.weight"]
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"stage 1 file: .*missing quantizer\.codebook"):
        case.run(tmp_path / "out")
    content["state_dict"]["quantize.embedding.weight"] = torch.zeros(3, 5)
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"codebook has shape \(3, 5\), expected \(24, 8\)"):
        case.run(tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "expected a dictionary of templates"),
        ([1], "expected a dictionary of templates"),
        ({"A": np.zeros((41, 3))}, r"template of A is \(41, 3\), expected \(40, 3\)"),
        ({"A": np.zeros(10)}, "the template of A: "),
        ({"A": "text"}, "the template of A: "),
        ({"A": None}, "the template of A: "),
        ({"A": np.array([{}, 1], object)}, "not a pickle of plain arrays.*object array"),
    ],
)
def test_invalid_templates_are_an_error(
    case: Case, tmp_path: Path, content: Any, message: str
) -> None:
    (tmp_path / "templates.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(DataError, match=rf"templates\.pkl: {message}"):
        case.run(tmp_path / "out")


def test_invalid_mesh_file_is_an_error(case: Case, tmp_path: Path) -> None:
    for n in (39, 41):
        with pytest.raises(
            DataError, match=f"other.ply: the mesh has {n} vertices, but vocaset has 40"
        ):
            case.run(tmp_path / "out", mesh_file=case.mesh_file("other.ply", n))
    (tmp_path / "text.ply").write_text("no mesh")
    with pytest.raises(DataError, match=r"text\.ply: not a readable mesh file"):
        case.run(tmp_path / "out", mesh_file=tmp_path / "text.ply")
    with pytest.raises(InputError, match=r"gone\.ply: no such mesh file"):
        case.run(tmp_path / "out", mesh_file=tmp_path / "gone.ply")
    assert not (tmp_path / "out").exists()


def test_existing_checkpoint_is_replaced_only_with_overwrite(case: Case, tmp_path: Path) -> None:
    out = case.run(tmp_path / "out")
    before = command.listing(out)
    with pytest.raises(InputError, match="out already exists; give `overwrite`"):
        case.run(out)
    (tmp_path / "stage1.pth.tar").write_text("no weights")
    with pytest.raises(CheckpointError):
        case.run(out, overwrite=True)
    assert command.listing(out) == before
    case.write("stage1.pth.tar", "stage1_keys")
    assert case.run(out, overwrite=True) == out


def test_folder_with_other_files_is_never_replaced(case: Case, tmp_path: Path) -> None:
    mine = tmp_path / "pictures"
    mine.mkdir()
    (mine / "cat.png").write_text("")
    with pytest.raises(InputError, match=r"contains cat\.png, which is not part of a checkpoint"):
        case.run(mine, overwrite=True)
    with pytest.raises(InputError, match="a checkpoint is a folder, not a file"):
        case.run(mine / "cat.png", overwrite=True)
    assert [p.name for p in mine.iterdir()] == ["cat.png"]


def test_missing_file_and_wrong_preset_are_one_line_errors(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = ["stage1.pth.tar", "stage2.pth.tar", "out"]
    run = command.refuse
    said = run("import-checkpoint", "--preset", "vocasett", *files)
    assert "the presets are: biwi, biwi-fast, custom, demo" in said
    assert "gone: no such" in run("import-checkpoint", "--preset", "vocaset", "gone", *files[1:])
    said = run("import-checkpoint", "--preset", "tiny", *files)
    assert said.startswith("stage 1 file: ") and "check the preset" in said
