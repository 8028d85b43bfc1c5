"""Checkpoint folders and official files: round trips, error messages, no code execution."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import golden_cases
import numpy as np
import pytest
import tiny
import torch
import yaml
from safetensors.torch import load_file, save_file

from codetalker_cli.errors import CheckpointError, CodeTalkerError, InputError
from codetalker_cli.models import checkpoint, checkpoint_files, official
from codetalker_cli.models.checkpoint import fill, from_official
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.topology import Mesh
from codetalker_cli.workspace import META, WEIGHTS

State = dict[str, torch.Tensor]


def mesh(*, colors: bool = True) -> Mesh:
    rng = np.random.default_rng(0)
    templates = {
        name: rng.standard_normal((tiny.N_VERTICES, 3)).astype(np.float32) for name in ("A", "Zoë")
    }
    albedo = {"Zoë": rng.integers(0, 256, (tiny.N_VERTICES, 3), dtype=np.uint8)} if colors else {}
    return Mesh(tiny.topology(), templates, albedo)


def equal(a: CodeTalker, b: CodeTalker, **tolerance: float) -> None:
    ours, theirs = a.state_dict(), b.state_dict()
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], **(tolerance or {"rtol": 0, "atol": 0}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved checkpoint with both stages and a mesh."""
    return checkpoint.save(tmp_path / "voice", tiny.codetalker(), mesh=mesh())


# Folders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_speech", [True, False])
@pytest.mark.parametrize("changes", [{}, {"vq": {"basis_rank": 4}}])
def test_loaded_model_equals_the_saved_one(
    tmp_path: Path, with_speech: bool, changes: dict[str, dict]
) -> None:
    model = tiny.codetalker(with_speech=with_speech, **changes)
    path = checkpoint.save(tmp_path / "a", model, meta={"step": 7, "metrics": {"lve": 0.5}})
    loaded = checkpoint.load(path)
    equal(loaded.model, model)
    assert (loaded.model.speech is None) != with_speech
    assert not any(module.training for module in loaded.model.modules())
    assert loaded.settings == model.settings
    assert loaded.path == path and loaded.mesh is None and loaded.subjects == []
    assert loaded.meta["stage"] == ("speech" if with_speech else "vq")
    assert loaded.meta["step"] == 7 and loaded.meta["metrics"] == {"lve": 0.5}
    assert loaded.meta["styles"] == ["A", "B", "C"]


def test_half_precision_halves_the_size(tmp_path: Path) -> None:
    model = tiny.codetalker()
    whole = checkpoint.save(tmp_path / "whole", model)
    half = checkpoint.save(tmp_path / "half", model, half=True)
    equal(checkpoint.load(half).model, model, rtol=1e-3, atol=1e-6)
    assert checkpoint.load(half).model.vq.quantizer.codebook.dtype == torch.float32
    a, b = ((path / WEIGHTS).stat().st_size for path in (whole, half))
    assert b < 0.6 * a


@pytest.mark.parametrize("colors", [True, False])
def test_mesh_is_saved(tmp_path: Path, colors: bool) -> None:
    saved = mesh(colors=colors)
    loaded = checkpoint.load(checkpoint.save(tmp_path / "a", tiny.codetalker(), mesh=saved))
    assert loaded.mesh is not None
    assert loaded.subjects == ["A", "Zoë"] == loaded.meta["subjects"]
    for name, template in saved.templates.items():
        assert np.array_equal(loaded.mesh.templates[name], template)
    assert loaded.mesh.colors.keys() == saved.colors.keys()
    for name, albedo in saved.colors.items():
        assert np.array_equal(loaded.mesh.colors[name], albedo)
    assert np.array_equal(loaded.mesh.topology.triangles, saved.topology.triangles)


def test_folder_contains_the_documented_files(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == [
        "mesh.npz",
        "meta.json",
        "model.safetensors",
        "settings.yaml",
    ]
    meta = json.loads((folder / "meta.json").read_text())
    assert {"format_version", "package_version", "stage", "styles", "subjects"} <= set(meta)
    assert yaml.safe_load((folder / "settings.yaml").read_text())["data"]["name"] == "tiny"


def test_failed_save_keeps_the_old_checkpoint(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Mesh, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(folder, tiny.codetalker(seed=1), mesh=mesh())
    equal(checkpoint.load(folder).model, tiny.codetalker())
    assert list(folder.parent.iterdir()) == [folder]


def test_existing_folder_is_replaced_only_with_overwrite(folder: Path) -> None:
    with pytest.raises(InputError, match="already exists"):
        checkpoint.save(folder, tiny.codetalker(seed=1), overwrite=False)
    checkpoint.save(folder, tiny.codetalker(seed=1))
    assert checkpoint.load(folder).mesh is None


def test_unknown_name_lists_the_checkpoints_under_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for age, name in enumerate(["new", "voca/old"]):
        path = checkpoint.save(Path("runs") / name, tiny.codetalker(with_speech=False))
        os.utime(path / META, (10_000 - age, 10_000 - age))
    (tmp_path / "runs" / "unfinished").mkdir()
    assert list(checkpoint.available())[:2] == ["new", "voca/old"]
    assert checkpoint.load("voca/old").path == Path("runs/voca/old")
    assert checkpoint.find(tmp_path / "runs" / "new") == tmp_path / "runs" / "new"
    known = ", ".join(checkpoint.available())
    for name in ("neu", "runs"):
        with pytest.raises(CheckpointError, match=f"checkpoint '{name}' is ") as caught:
            checkpoint.load(name)
        assert str(caught.value).endswith(f"available names: {known}")


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def change_meta(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        meta = json.loads((folder / "meta.json").read_text())
        (folder / "meta.json").write_text(json.dumps(meta | values))

    return change


def old(folder: Path) -> None:
    """Remove the sizes and hashes from meta.json, as in older checkpoints."""
    meta = json.loads((folder / "meta.json").read_text())
    kept = {key: value for key, value in meta.items() if key not in ("contents", "n_settings")}
    (folder / "meta.json").write_text(json.dumps(kept))


def change_weights(folder: Path, name: str, value: float, n: int | None = None) -> None:
    """Replace the first ``n`` numbers, or all of them, of the weight whose name ends so."""
    state = load_file(folder / "model.safetensors")
    (key,) = (key for key in state if key.endswith(name))
    state[key].view(-1)[:n] = value
    save_file(state, folder / "model.safetensors")


def change_templates(folder: Path, factor: float) -> None:
    old(folder)
    with np.load(folder / "mesh.npz") as arrays:
        changed = {**arrays, "templates": arrays["templates"] * np.float32(factor)}
    np.savez_compressed(folder / "mesh.npz", **changed)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a last setting that is cut short": (
        lambda f: (f / "settings.yaml").write_bytes((f / "settings.yaml").read_bytes()[:-2]),
        "the last line has no end",
    ),
    "a number of settings that is not an integer": (
        change_meta(n_settings=1e99),
        "n_settings is 1e[+]99, expected a number of settings",
    ),
    "styles that are not names": (change_meta(styles=["\ud800"]), "styles is not a list of names"),
    "truncated weights": (
        lambda f: truncate(f / "model.safetensors"),
        r"bytes, expected \d+; copy",
    ),
    "empty weights": (lambda f: (f / "model.safetensors").write_bytes(b""), "safetensors"),
    "pickled weights": (
        lambda f: old(f) or torch.save({"a": torch.zeros(1)}, f / "model.safetensors"),
        "not a safetensors file",
    ),
    "weights of an unknown type": (
        lambda f: (f / "model.safetensors").write_bytes(
            (f / "model.safetensors").read_bytes().replace(b'"F32"', b'"\\n0"', 1)
        ),
        r"unknown variant `\\n",
    ),
    "truncated meta": (lambda f: truncate(f / "meta.json"), "the checkpoint is damaged"),
    "meta is a list": (lambda f: (f / "meta.json").write_text("[]"), "the checkpoint is damaged"),
    "no stage": (lambda f: (f / "meta.json").write_text('{"format_version": 1}'), "damaged"),
    "truncated mesh": (lambda f: truncate(f / "mesh.npz"), r"bytes, expected \d+; copy"),
    "empty mesh": (lambda f: (f / "mesh.npz").write_bytes(b""), "has 0 bytes, expected"),
    "truncated old mesh": (lambda f: old(f) or truncate(f / "mesh.npz"), "is damaged"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "safetensors: not a file; copy"),
    "no meta": (lambda f: (f / "meta.json").unlink(), r"meta\.json: not a file; copy"),
    "no mesh": (lambda f: (f / "mesh.npz").unlink(), r"mesh\.npz: no such file"),
    "mesh is a web page": (
        lambda f: (f / "mesh.npz").write_text("<!DOCTYPE html><html>"),
        r"mesh\.npz: it is a web page",
    ),
    "weights are a pointer": (
        lambda f: (f / "model.safetensors").write_text("version https://git-lfs.github.com/spec"),
        r"model\.safetensors: it is a Git LFS pointer",
    ),
    "NaN in weights": (
        lambda f: change_weights(f, "motion_projection.bias", np.nan),
        "motion_projection.bias contains NaN",
    ),
    "one NaN": (
        lambda f: change_weights(f, "motion_projection.bias", np.nan, 1),
        "motion_projection.bias contains NaN",
    ),
    "infinite weights": (
        lambda f: change_weights(f, "motion_projection.bias", np.inf),
        "values up to inf",
    ),
    "huge weights": (
        lambda f: change_weights(f, "motion_projection.bias", 1e30, 1),
        r"values up to 1\.0e\+30",
    ),
    "equal codes": (lambda f: change_weights(f, "codebook", 0.1), "all codes .* are equal"),
    "NaN template": (lambda f: change_templates(f, np.nan), "template of A contains NaN"),
    "huge template": (lambda f: change_templates(f, 1e30), "template of A contains NaN, infinite"),
    "collapsed template": (lambda f: change_templates(f, 0), "of template of A are at the same"),
    "contents are a list": (change_meta(contents=[1]), "meta.json is damaged"),
    "size is odd text": (
        change_meta(contents={"mesh.npz": {"bytes": "\x1b[31m" + "9" * 999}}),
        r"bytes, expected \\x1b\[31m9{30,40}…; copy",
    ),
    "size is text": (change_meta(contents={"mesh.npz": {"bytes": "1"}}), "bytes, expected 1;"),
    "no settings": (lambda f: (f / "settings.yaml").unlink(), "the checkpoint is damaged"),
    "settings are not YAML": (lambda f: (f / "settings.yaml").write_text("a: [}"), "damaged"),
    "settings are a list": (
        lambda f: (f / "settings.yaml").write_text("- 1"),
        "settings.yaml|damaged",
    ),
    "empty settings": (lambda f: (f / "settings.yaml").write_text(""), "settings.yaml|damaged"),
    "unknown setting": (
        lambda f: (f / "settings.yaml").write_text(
            (f / "settings.yaml").read_text().replace("n_layers", "layers")
        ),
        "layers: unknown key",
    ),
    "other sizes": (
        lambda f: (f / "settings.yaml").write_text(
            (f / "settings.yaml").read_text().replace("codebook_size: 12", "codebook_size: 13")
        ),
        r"vq\.quantizer\.codebook has shape \(12, 8\), expected \(13, 8\)",
    ),
    "other stage": (change_meta(stage="vq"), "extra speech"),
    "newer format": (change_meta(format_version=99), "has format 99.*upgrade codetalker"),
}


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98])
def test_settings_that_are_cut_short_are_refused(folder: Path, share: float) -> None:
    lines = (folder / "settings.yaml").read_text().splitlines(keepends=True)
    kept = lines[: max(1, int(share * len(lines)))]
    (folder / "settings.yaml").write_text("".join(kept))
    with pytest.raises(CodeTalkerError, match=r"settings\.yaml"):
        checkpoint.load(folder)


def test_settings_can_be_edited(folder: Path) -> None:
    values = yaml.safe_load((folder / "settings.yaml").read_text())
    values["decode"]["window_frames"] = 77
    (folder / "settings.yaml").write_text(yaml.safe_dump(values))
    assert checkpoint.load(folder).settings.decode.window_frames == 77


def test_check_finds_a_changed_byte_that_loading_accepts(folder: Path) -> None:
    meta = checkpoint.load(folder).meta
    checkpoint_files.check_hashes(folder, meta)
    for name in ("model.safetensors", "mesh.npz"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        checkpoint_files.check_sizes(folder, meta)
        with pytest.raises(CodeTalkerError, match=rf"{name}: the content has changed"):
            checkpoint_files.check_hashes(folder, meta)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_checkpoint_is_a_one_line_error(folder: Path, damage: str) -> None:
    action, message = DAMAGE[damage]
    action(folder)
    with pytest.raises(CodeTalkerError, match=message) as caught:
        checkpoint.load(folder)
    assert str(folder) in str(caught.value) and str(caught.value).isprintable()


# Official files --------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["vocaset_tiny_13", "biwi_tiny_14"])
def case(request: pytest.FixtureRequest) -> tuple[dict, State, State]:
    """The fields of a golden case, and the tensors of its two official files."""
    meta, _ = golden_cases.load(request.param)
    states = (golden_cases.weights(meta, meta[key]) for key in ("stage1_keys", "stage2_keys"))
    return meta, *states


def write(path: Path, state: State) -> Path:
    torch.save({"epoch": 3, "state_dict": state}, path)
    return path


def test_official_files_load(case: tuple[dict, State, State], tmp_path: Path) -> None:
    meta, stage1, stage2 = case
    settings = golden_cases.settings(meta)
    files = [write(tmp_path / f"{k}.pth.tar", state) for k, state in enumerate((stage1, stage2))]
    model = from_official(*(official.read_state(path) for path in files), settings)
    equal(model, golden_cases.build(meta))
    assert from_official(stage1, None, settings).speech is None


def test_module_prefix_and_unused_keys_are_ignored(case: tuple[dict, State, State]) -> None:
    meta, stage1, stage2 = case
    more1 = stage1 | {"encoder.encoder_pos_embedding.pe": torch.zeros(5, 1, 32)}
    more2 = stage2 | {"PPE.pe": torch.zeros(1, 9, 32), "autoencoder.x.weight": torch.zeros(2)}
    prefixed = (
        {f"module.{key}": value for key, value in state.items()} for state in (more1, more2)
    )
    equal(from_official(*prefixed, golden_cases.settings(meta)), golden_cases.build(meta))


def test_both_naming_schemes_of_weight_norm_load(case: tuple[dict, State, State]) -> None:
    meta, stage1, stage2 = case
    names = {"weight_g": "parametrizations.weight.original0"}
    names["weight_v"] = "parametrizations.weight.original1"
    renamed = dict(stage2)
    for old, new in names.items():
        head = "audio_encoder.encoder.pos_conv_embed.conv"
        renamed[f"{head}.{new}"] = renamed.pop(f"{head}.{old}")
    assert renamed.keys() != stage2.keys()
    equal(
        from_official(stage1, renamed, golden_cases.settings(meta)),
        golden_cases.build(meta),
    )


def test_missing_key_is_named(case: tuple[dict, State, State]) -> None:
    meta, stage1, stage2 = case
    settings = golden_cases.settings(meta)
    model = CodeTalker(settings)
    assert model.speech is not None
    stages = [
        (model.vq, official.vq_state(stage1, settings)),
        (model.speech, official.speech_state(stage2, settings)),
    ]
    for module, state in stages:
        for key in state:
            less = {other: value for other, value in state.items() if other != key}
            with pytest.raises(
                CheckpointError,
                match=f"here: the weights do not match the settings: missing {key}$",
            ):
                fill(module, less, "here")
        with pytest.raises(CheckpointError, match=r"missing .*; and \d+ more$"):
            fill(module, {}, "here")


def test_every_official_weight_is_used(case: tuple[dict, State, State]) -> None:
    """Some tensors are split, but the total number of weights is the same."""
    meta, stage1, stage2 = case
    settings = golden_cases.settings(meta)
    for state, renamed in (
        (stage1, official.vq_state(stage1, settings)),
        (stage2, official.speech_state(stage2, settings)),
    ):
        numbers, arrived = (sum(v.numel() for v in part.values()) for part in (state, renamed))
        assert arrived == numbers


@pytest.mark.parametrize(
    ("stage", "key", "named"),
    [
        (1, "decoder.more.weight", "decoder.more.weight"),
        (1, "quantize.embedding.weight", "quantizer.codebook has shape (3,), expected"),
        (2, "lip_reader.weight", "lip_reader.weight"),
        (2, "feat_map.bias", "extra head.bias"),
        (2, "transformer_decoder.layers.2.linear1.weight", "layers.2.linear1.weight"),
        (2, "transformer_decoder.layers.one", "layers.one"),
        (2, "audio_encoder.more", "extra encoder.model.more"),
    ],
)
def test_unknown_and_misshapen_keys_are_named(
    case: tuple[dict, State, State], stage: int, key: str, named: str
) -> None:
    meta, *states = case
    states[stage - 1] = states[stage - 1] | {key: torch.zeros(3)}
    with pytest.raises(CheckpointError) as caught:
        from_official(*states, golden_cases.settings(meta))
    assert f"stage {stage}" in str(caught.value) and named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_swapped_files_and_wrong_preset_are_errors(case: tuple[dict, State, State]) -> None:
    meta, stage1, stage2 = case
    settings = golden_cases.settings(meta)
    with pytest.raises(CheckpointError, match=r"stage 1 file: .* the order of the two files"):
        from_official(stage2, stage1, settings)
    fewer = settings.model_copy(update={"vq": settings.vq.model_copy(update={"n_layers": 1})})
    with pytest.raises(CheckpointError, match="check the preset"):
        from_official(stage1, stage2, fewer)


class Malicious:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("kind", ["zip", "pickle", "legacy"])
@pytest.mark.parametrize("hidden", [False, True])
def test_malicious_file_executes_no_code(tmp_path: Path, kind: str, hidden: bool) -> None:
    ran, path = tmp_path / "ran", tmp_path / "model.pth.tar"
    content: Any = Malicious(ran)
    if hidden:
        content = {"state_dict": {"feat_map.weight": torch.zeros(2), "x": content}}
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(CheckpointError, match="no code in it was executed") as caught:
        official.read_state(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not ran.exists()
    torch.load(path, weights_only=False) if kind != "pickle" else pickle.loads(path.read_bytes())
    assert ran.exists(), "the file was not malicious at all"


@pytest.mark.parametrize(
    "content", [None, [1, 2], {"state_dict": None}, {"state_dict": {"a": 3}}, {"epoch": 3}]
)
def test_file_without_tensors_is_rejected(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "model.pth.tar"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match="contains no state_dict"):
        official.read_state(path)


def test_unreadable_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint file"):
        official.read_state(tmp_path / "none.pth.tar")
    with pytest.raises(InputError, match="no such checkpoint file"):
        official.read_state(tmp_path)
    whole = write(tmp_path / "cut.pth.tar", {"a": torch.zeros(999)})
    truncate(whole)
    for path, data in {"empty": b"", "text": b"hello\nyou\n", "cut": whole.read_bytes()}.items():
        (tmp_path / path).write_bytes(data)
        with pytest.raises(CheckpointError, match="cannot be read as plain weights") as caught:
            official.read_state(tmp_path / path)
        assert "\n" not in str(caught.value)


def test_bare_state_dict_loads(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "bare.pth")
    assert torch.equal(official.read_state(tmp_path / "bare.pth")["a"], torch.ones(2))
