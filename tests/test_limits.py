"""Files cannot make a command wait, use much memory, or print control characters."""

import json
import math
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from codetalker_cli import arrays, devices, text_files
from codetalker_cli.animate.jobs import Request, plan
from codetalker_cli.cli import console
from codetalker_cli.errors import CheckpointError, DataError, InputError, SettingsError, printable
from codetalker_cli.evaluate.folder import EvaluationFolder, write_csv
from codetalker_cli.formats.meshes import read_mesh_file
from codetalker_cli.models import checkpoint, official
from codetalker_cli.outputs import Formats
from codetalker_cli.presets import resolve_sections
from codetalker_cli.settings.limits import LimitSettings, activate
from codetalker_cli.text_files import parse_json, parse_yaml, read_text

YAML = {
    "date": "a: 2020-13-45",
    "int": "a: !!int abc",
    "float": "a: !!float abc",
    "timestamp": "a: !!timestamp abc",
    "bool": "a: !!bool maybe",
    "long number": "a: " + "9" * 5000,
    "long hex number": "a: 0x" + "f" * 5000,
    "sexagesimal number": "a: 1" + ":1" * 5000,
    "deep list": "[" * 20000,
    "deep table": "{a: " * 3000 + "1" + "}" * 3000,
    "alias": "a: &x [1]\nb: *x",
    "null key": "null: 2",
    "date key": "2020-01-01: 3",
    "list key": "? [1]\n: 2",
    "code point": r'a: "\UFFFFFFFF"',
    "version": "%YAML " + "9" * 5000 + ".1\n---\na",
    "binary": "a: !!binary /w==",
    "object": "a: !!python/object/apply:os.system [ls]",
    "values": "[" + "a," * (text_files.MAX_VALUES + 1) + "]",
}


@pytest.mark.parametrize("text", YAML.values(), ids=YAML)
def test_unusable_yaml_is_an_error_of_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(SettingsError) as caught:
        resolve_sections(["render"], path)
    assert len(str(caught.value)) < 700 and str(caught.value).isprintable()


@given(st.text("{}[]:,-?!&*#|>'\"%@` \n\ta1.0eE_xX~<=U\\", max_size=60))
def test_parsers_raise_only_value_errors(text: str) -> None:
    for parse in (parse_yaml, parse_json):
        try:
            parse(text)
        except ValueError as error:
            assert str(error)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text("ab0", max_size=5),
        lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text("ab"), x),
        max_leaves=8,
    )
)
def test_yaml_is_read_as_by_safe_load(value: object) -> None:
    assert parse_yaml(yaml.safe_dump(value)) == value


@pytest.mark.parametrize("text", ["[" * 10**5, "[" * 500 + "]" * 500, "9" * 5000, "NaN",
                                  "[-Infinity]", "1e999", "{"])  # fmt: skip
def test_unusable_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "large", "latin-1"])
def test_text_is_read_from_small_regular_utf8_files_only(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(b"a" * 101 if kind == "large" else b"\xe9")
    with pytest.raises((OSError, ValueError)):
        read_text(path, 100)
    with pytest.raises(InputError if kind in ("pipe", "device") else Exception):
        plan([], Request(Path()), formats=Formats({"npz": ".npz"}), manifest=path)


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 10**5, "[NaN]"])
def test_an_assignment_of_an_unusable_value_is_refused(value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        resolve_sections(["render"], None, [f"render.size={value}"])
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("suffix", ["../../x", ".", "exe"])
def test_an_unknown_format_is_refused(suffix: str) -> None:
    with pytest.raises(InputError, match="expected npz"):
        plan(["x.wav"], Request(Path()), formats=Formats({"npz": ".npz"}), format=suffix)


@pytest.mark.parametrize("cell", ["seed,-1", "seed,1.5", "seed," + "9" * 5000, "fps,nan", "fps,inf",
                                  "fps,0", "fps,-1"])  # fmt: skip
def test_a_bad_number_in_a_manifest_is_a_fault_of_its_line(tmp_path: Path, cell: str) -> None:
    name, value = cell.split(",")
    (tmp_path / "m.csv").write_text(f"audio,{name}\na.wav,{value}\n")
    planned = plan(
        [], Request(Path()), formats=Formats({"mp4": ".mp4"}), manifest=tmp_path / "m.csv"
    )
    (job,) = planned.jobs
    assert job.fault is not None and f"m.csv:2: {name} is" in job.fault
    assert len(job.fault) < 600


@pytest.mark.parametrize("name", ["meta", "hpu", "privateuseone", "\x1b[2J", ""])
def test_a_device_without_numbers_is_refused(name: str) -> None:
    with pytest.raises(InputError) as caught:
        devices.pick_device(name)
    assert str(caught.value).isprintable()


def write_npz(path: Path, shape: tuple[int, ...], content: bytes) -> None:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("a.npy", "w") as f,
    ):
        np.lib.format.write_array_header_1_0(
            f, {"descr": "<f4", "fortran_order": False, "shape": shape}
        )
        f.write(content)


@pytest.mark.parametrize("kind", ["shape", "ratio", "total"])
def test_an_npz_that_needs_too_much_memory_is_refused(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.npz"
    write_npz(path, (2**38,) if kind == "shape" else (250_000,), bytes(1_000_000))
    if kind == "ratio":
        monkeypatch.setattr(arrays, "RATIO_FLOOR_BYTES", 500_000)
    if kind == "total":
        activate(LimitSettings(archive_gb=1e-4))
    try:
        with pytest.raises(
            DataError, match={"total": "archive_gb"}.get(kind, kind.replace("shape", "header"))
        ):
            arrays.read_arrays(path)
    finally:
        activate(LimitSettings())


MESHES = {
    "m.obj": "v 0 0 0\nv 1 0 0\nv 0 1 0\n" + "f 1 2 3\n" * 20,
    "fan.obj": "v 0 0 0\nv 1 0 0\nv 0 1 0\nf" + " 1 2 3" * 20 + "\n",
    "m.off": "OFF\n3 20 0\n0 0 0\n1 0 0\n0 1 0\n" + "3 0 1 2\n" * 20,
    "m.ply": "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\n"
    "property float z\nelement face 20\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n"
    + "3 0 0 0\n"
    * 20,
}


@pytest.mark.parametrize("name", MESHES)
def test_a_mesh_of_too_many_triangles_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(MESHES[name])
    assert len(read_mesh_file(tmp_path / name).triangles) >= 20
    activate(LimitSettings(mesh_triangles=10))
    try:
        with pytest.raises(DataError, match="mesh_triangles"):
            read_mesh_file(tmp_path / name)
    finally:
        activate(LimitSettings())


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint.bundled()["demo"], tmp_path / "voice"))


@pytest.mark.parametrize(
    "key, value",
    [("vq.n_layers", 10**5), ("speech.n_layers", 10**5), ("vq.codebook_size", 10**15),
     ("speech.encoder.config.encoder_layers", 10**5), ("speech.encoder.config.d_model", 10**30),
     ("speech.encoder.config.d_model", "x"), ("data.n_vertices", 10**9), ("vq", [])],
)  # fmt: skip
def test_settings_that_do_not_fit_the_weights_are_refused(
    voice: Path, key: str, value: object
) -> None:
    settings = yaml.safe_load((voice / "settings.yaml").read_text())
    *parents, name = key.split(".")
    section = settings
    for parent in parents:
        section = section[parent]
    section[name] = value
    (voice / "settings.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(CheckpointError):
        checkpoint.load(voice)


@pytest.mark.parametrize("text", ["[" * 10**5, "[]", '{"format_version": Infinity}',
                                  '{"format_version": 2}', '{"format_version": "x"}'])  # fmt: skip
def test_an_unusable_meta_json_is_refused(voice: Path, text: str) -> None:
    (voice / "meta.json").write_text(text)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(voice)
    assert not checkpoint.knows(voice, "S01")


FILES = {
    "web page": b"<!DOCTYPE html><title>x</title>",
    "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\n",
    "empty": b"",
    "text file": b"Not Found",
}


@pytest.mark.parametrize("what", FILES)
def test_an_unusable_weights_file_is_described(tmp_path: Path, what: str) -> None:
    (tmp_path / "a.pth.tar").write_bytes(FILES[what])
    with pytest.raises(CheckpointError, match=what) as caught:
        official.read_state(tmp_path / "a.pth.tar")
    assert "torch" not in str(caught.value) and str(caught.value).isprintable()


def test_weights_with_keys_that_are_not_text_are_refused(tmp_path: Path) -> None:
    import torch

    torch.save({1: torch.zeros(2)}, tmp_path / "a.pth.tar")
    with pytest.raises(CheckpointError, match="names to tensors"):
        official.read_state(tmp_path / "a.pth.tar")


def test_a_protocol_without_a_key_is_damaged(tmp_path: Path) -> None:
    folder = EvaluationFolder(tmp_path)
    folder.protocol.write_text('{"data": "x"}')
    with pytest.raises(InputError, match="checkpoint, split"):
        folder.read()


@given(st.text())
def test_printed_text_is_one_short_line(text: str) -> None:
    for shown in (printable(text), console.safe(text)):
        assert shown.isprintable()
    assert len(printable(text * 50)) <= 300


def test_long_paths_are_printed_whole() -> None:
    path = "/" + "/".join(["a" * 250] * 8)
    assert console.safe(f"{path}: no such file") == f"{path}: no such file"
    assert len(console.safe("x" * 10**6)) == 300


def test_tables_show_markup_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.table("[/red]", ["[b]"], [("[link=x]y[/link]",), ("\x1b[2J",)])
    shown = capsys.readouterr().out
    assert "[/red]" in shown and "[link=x]y[/link]" in shown and "\x1b" not in shown


def test_json_output_is_valid(capsys: pytest.CaptureFixture[str]) -> None:
    console.give({"a": [math.nan, (1.0, math.inf)]}, as_json=True, line="")
    assert json.loads(capsys.readouterr().out) == {"a": [None, [1.0, None]]}


def test_csv_cells_are_no_formulas(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["=a"], [["-1.5"], ["@x"], ["+1"], ["-y"], ["b"]])
    assert (tmp_path / "a.csv").read_text() == "'=a\n-1.5\n'@x\n+1\n'-y\nb\n"
