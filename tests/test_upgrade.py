"""Settings files, checkpoints and runs of earlier versions can be read."""

import json
import logging
from pathlib import Path

import pytest
import tiny
import voices
import yaml

import codetalker_cli as ct
from codetalker_cli.errors import SettingsError
from codetalker_cli.models import checkpoint
from codetalker_cli.presets import changed, resolve, resolve_sections, settings_from_dict
from codetalker_cli.settings import DecodeSettings, Settings
from codetalker_cli.settings.upgrade import (
    OF_OTHER_STAGE,
    REMOVED,
    RENAMED,
    drop_former,
    upgrade_key,
    upgrade_settings,
)
from codetalker_cli.train.run_folder import resumed_settings
from codetalker_cli.workspace import META

FORMER_DECODE = {
    "hear": "pieces",
    "piece_seconds": 4.0,
    "overlap_seconds": 0.5,
    "join_seconds": 0.2,
}
DECODE = {
    "encoder_context": "segments",
    "segment_seconds": 4.0,
    "warmup_seconds": 0.5,
    "crossfade_seconds": 0.2,
}
FACTS = {"name": "x", "fps": 25, "unit": "m", "n_vertices": 12, "train_subjects": ["A"]}


def test_every_former_key_maps_to_a_current_setting() -> None:
    for key in RENAMED.values():
        model: object = Settings
        for part in key.split("."):
            field = model.model_fields[part]  # type: ignore[attr-defined]
            model = field.annotation
            if part == "custom":
                model = field.annotation.__args__[0]


def test_former_names_and_values_are_upgraded() -> None:
    former = {"decode": FORMER_DECODE, "own": {"fps": 30, "faces": "a.obj"}, "demo": {"sounds": 1}}
    upgraded, renamed = upgrade_settings(former)
    expected = {"custom": {"fps": 30, "triangles": "a.obj"}, "demo": {"noise": 1}}
    assert upgraded == {"decode": DECODE, **expected}
    assert set(renamed) == set(RENAMED)
    assert former["decode"] is FORMER_DECODE and "hear" in FORMER_DECODE
    assert upgrade_settings(upgraded) == (upgraded, {})


def test_current_name_wins_over_the_former_name() -> None:
    upgraded, _ = upgrade_settings({"decode": {"piece_seconds": 4, "segment_seconds": 6}})
    assert upgraded == {"decode": {"segment_seconds": 6}}


def test_assignments_accept_former_keys(caplog: pytest.LogCaptureFixture) -> None:
    assert upgrade_key("own.faces") == "custom.triangles"
    assert upgrade_key("ownership") == "ownership"
    given = ["own.fps=30", "own.unit=mm", "own.faces=a.obj"]
    with caplog.at_level(logging.INFO):
        custom = resolve_sections(["custom", "prepare"], assignments=given).sections["custom"]
    assert "`set`: own.faces is now called custom.triangles" in caplog.text
    assert (custom.fps, custom.unit, custom.triangles) == (30, "mm", "a.obj")
    assert changed("decode", DecodeSettings(), FORMER_DECODE) == DecodeSettings(**DECODE)
    with pytest.raises(SettingsError, match=r"decode\.piece_second: unknown key"):
        changed("decode", DecodeSettings(), {"piece_second": 4})


def test_former_settings_file_is_read_and_renamings_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump({"decode": FORMER_DECODE}))
    with caplog.at_level(logging.INFO):
        settings = resolve("own", path, facts=FACTS).settings
    assert settings.decode == DecodeSettings(**DECODE, whole_frames=120)
    assert f"{path}: decode.hear is now called decode.encoder_context" in caplog.text


def test_format_1_checkpoint_is_read_without_its_cuda_graphs_setting(tmp_path: Path) -> None:
    folder = voices.save(tmp_path / "voice", "A")
    values = yaml.safe_load((folder / checkpoint.SETTINGS).read_text())
    for key in DECODE:
        del values["decode"][key]
    values["decode"] |= {**FORMER_DECODE, "cuda_graphs": True}
    values["own"] = values.pop("custom")
    (folder / checkpoint.SETTINGS).write_text(yaml.safe_dump(values))
    meta = json.loads((folder / META).read_text())
    assert meta["format_version"] == 2
    (folder / META).write_text(json.dumps(meta | {"format_version": 1}))
    decode = checkpoint.load(folder).settings.decode
    assert decode == DecodeSettings(**DECODE)
    assert len(ct.load(folder).animate(voices.speech(0.5), "A").vertices) == 12
    # In format 2, the stored value counts.
    values["decode"]["cuda_graphs"] = True
    (folder / META).write_text(json.dumps(meta))
    assert checkpoint.load(folder).settings.decode.cuda_graphs


def test_run_with_former_names_is_resumed() -> None:
    now = tiny.settings(decode=DECODE)
    begun = now.model_dump(mode="json")
    begun["decode"] = {**begun["decode"], **FORMER_DECODE}
    for key in DECODE:
        del begun["decode"][key]
    begun["own"] = begun.pop("custom")
    assert settings_from_dict(begun, "run.json") == now
    assert resumed_settings({"settings": begun}, now, "vq") == now
    assert resolve(begun=begun).settings == now


def test_keys_without_effect_are_dropped_from_saved_settings() -> None:
    now = tiny.settings()
    begun = now.model_dump(mode="json")
    begun["train_vq"] |= {"own_history": 0.5, "contact_weight": 4.0, "start_from": None}
    begun["train_speech"]["revive_after_steps"] = 30
    begun["render"]["preset"] = "slow"
    begun["evaluate"]["shown_size"] = 512
    assert settings_from_dict(begun, "run.json") == now
    assert resolve(begun=begun).settings == now
    kept, dropped = drop_former(begun)
    assert len(dropped) == 6 and "train_vq.own_history" in dropped
    assert "own_history" in begun["train_vq"] and drop_former(kept) == (kept, [])


def test_current_settings_do_not_count_as_former() -> None:
    for section, names in OF_OTHER_STAGE.items():
        fields = Settings.model_fields[section].annotation.model_fields  # type: ignore[union-attr]
        assert not fields.keys() & set(names)
    for key in REMOVED:
        section, name = key.split(".")
        assert name not in Settings.model_fields[section].annotation.model_fields  # type: ignore[union-attr]
