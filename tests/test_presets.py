"""Presets load, layers override each other in order, and errors name the origin of a value."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from codetalker_cli import presets, resources
from codetalker_cli.errors import InputError, SettingsError
from codetalker_cli.presets import resolve, resolve_sections, settings_from_dict
from codetalker_cli.settings import (
    Settings,
    SpeechTrainSettings,
    TrainSettings,
    VQTrainSettings,
)


def config_file(folder: Path, content: str | dict, name: str = "my.yaml") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def message(**layers: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        resolve(**layers)
    assert "\n" not in str(caught.value)
    return str(caught.value)


FACTS = {"name": "mine", "fps": 50, "unit": "m", "n_vertices": 9, "train_subjects": ["A"]}


PRESETS = ("biwi", "biwi-fast", "custom", "demo", "tiny", "vocaset", "vocaset-fast")


def test_bundled_presets_are_the_expected_ones() -> None:
    assert resources.config_names() == sorted(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_every_bundled_preset_loads(name: str) -> None:
    needs_facts = name == "custom"  # this preset is not for one data set
    resolved = resolve(name, facts=FACTS if needs_facts else None)
    assert resolved.origins["data.name"] == ("the data set" if needs_facts else f"preset {name}")
    dumped = resolved.settings.model_dump(mode="json")
    assert settings_from_dict(yaml.safe_load(yaml.safe_dump(dumped)), "back") == resolved.settings


def test_facts_of_another_data_set_replace_those_of_the_preset() -> None:
    resolved = resolve("vocaset", facts=FACTS, assignments=["data.fps=25"])
    data = resolved.settings.data
    assert (data.name, data.fps, data.n_vertices, data.splits) == ("mine", 25, 9, {})
    assert resolved.origins["data.unit"] == "the data set"
    assert resolved.settings.vq.hidden_size == 1024
    # For the preset's own data set, the facts are merged with the preset's section.
    same = resolve("vocaset", facts={**FACTS, "name": "vocaset"}).settings.data
    assert (same.fps, same.train_subjects) == (50, ("A",))
    assert same.splits == resolve("vocaset").settings.data.splits


def test_assignment_changes_one_split_rule_and_file_replaces_all_splits(tmp_path: Path) -> None:
    plain = resolve("vocaset").settings.data.splits
    assignment = 'data.splits.val.sentences=["sentence01"]'
    changed = resolve("vocaset", assignments=[assignment]).settings.data.splits
    assert changed["val"].sentences == ("sentence01",)
    assert changed["val"].subjects == plain["val"].subjects and changed["train"] == plain["train"]
    config = config_file(tmp_path, {"data": {"splits": {"holdout": {"share": 0.5}}}})
    assert list(resolve("vocaset", config).settings.data.splits) == ["holdout"]
    weights = ["train_vq.region_weights.brows=3"]
    assert resolve("demo", assignments=weights).settings.train_vq.region_weights == {
        "lips": 10,
        "brows": 3,
    }


def test_preset_extends_another() -> None:
    custom, demo = resolve("custom", facts=FACTS).settings, resolve("demo").settings
    assert custom.train_vq == demo.train_vq and custom.vq == demo.vq
    assert not custom.speech.motion_history and not demo.speech.motion_history
    assert custom.train_speech.model_copy(update={"contact_weight": 4.0}) == demo.train_speech


def test_some_sections_are_resolved_without_the_others(tmp_path: Path) -> None:
    config = config_file(tmp_path, {"custom": {"fps": 24, "unit": "cm"}, "vq": {"n_layers": 2}})
    resolved = resolve_sections(
        ["custom", "prepare"], config, ["custom.fps=30"], {"custom.unit": "mm"}
    )
    custom = resolved.sections["custom"]
    assert (custom.fps, custom.unit, resolved.sections["prepare"].fill_seconds) == (30, "mm", 0.1)
    origins = {key: origin for key, _, origin in resolved.rows()}
    assert (origins["custom.fps"], origins["custom.unit"]) == ("--set", "flag")
    for assignments, expected in (
        ([], r"custom\.fps: missing; set it in your YAML file, or `set` custom\.fps=VALUE"),
        (["vq.n_layers=3"], r"expected custom\.KEY=value or prepare\.KEY=value"),
        (["custom.fps=30", "custom.unit=inch"], r"custom\.unit: Input should be 'm', 'cm' or 'mm'"),
    ):
        with pytest.raises(SettingsError, match=expected):
            resolve_sections(["custom", "prepare"], assignments=assignments)


def test_higher_layers_override_lower_ones(tmp_path: Path) -> None:
    config = config_file(
        tmp_path, {"train_vq": {"epochs": 3, "seed": 3, "learning_rate": 3.0, "batch_size": 1}}
    )
    resolved = resolve(
        "vocaset",
        config,
        ["train_vq.epochs=4", "train_vq.seed=4"],
        {"train_vq.epochs": 5, "train_speech.epochs": None},
    )
    train = resolved.settings.train_vq
    assert (train.epochs, train.seed, train.learning_rate) == (5, 4, 3.0)
    assert (train.weight_decay, train.gradient_clip) == (0.01, 0.0)
    assert resolved.settings.train_speech.epochs == 100
    rows = {key: (value, origin) for key, value, origin in resolved.rows()}
    assert rows["train_vq.epochs"] == ("5", "flag")
    assert rows["train_vq.seed"] == ("4", "--set")
    assert rows["train_vq.learning_rate"] == ("3.0", str(config))
    assert rows["train_vq.weight_decay"] == ("0.01", "preset vocaset")
    assert rows["train_vq.warmup_steps"] == ("0", "default")
    assert rows["train_speech.epochs"] == ("100", "preset vocaset")


def test_rows_list_every_setting_once() -> None:
    rows = resolve("biwi").rows()
    keys = [key for key, _, _ in rows]
    assert len(set(keys)) == len(keys)
    assert {key.split(".")[0] for key in keys} == set(Settings.model_fields)
    for _, value, _ in rows:
        json.loads(value)


def test_last_assignment_of_a_key_wins() -> None:
    assert resolve("biwi", None, ["vq.n_layers=2", "vq.n_layers=3"]).settings.vq.n_layers == 3


def test_assigned_section_is_merged() -> None:
    vq = resolve("biwi", None, ['vq={"n_layers": 2}']).settings.vq
    assert (vq.n_layers, vq.code_dim) == (2, 128)


def test_preset_can_be_a_path(tmp_path: Path) -> None:
    path = config_file(tmp_path, presets.read_preset("biwi"))
    assert resolve(str(path)).settings == resolve("biwi").settings


@given(value=st.floats(min_value=1e-9, max_value=1e3))
def test_assigned_numbers_are_read_exactly(value: float) -> None:
    assert resolve("biwi", None, [f"train_vq.learning_rate={value!r}"]) == resolve(
        "biwi", None, [f"train_vq.learning_rate={json.dumps(value)}"]
    )
    settings = resolve("biwi", None, [f"train_vq.learning_rate={value!r}"]).settings
    assert settings.train_vq.learning_rate == value


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("train_vq.learning_rate=1e-5", 1e-5),
        ("speech.encoder.frozen=true", True),
        ("train_vq.crop_frames=null", None),
        ('train_vq.region_weights={"lips": 10}', {"lips": 10.0}),
        ("speech.encoder.source=off", "off"),
        ("speech.encoder.source=a=b", "a=b"),
        ("speech.encoder.source=facebook/hubert-base-ls960", "facebook/hubert-base-ls960"),
        ('speech.encoder.source="12"', "12"),
        ('data.train_subjects=["F1"]', ("F1",)),
    ],
)
def test_assigned_values_are_json_or_else_text(assignment: str, expected: Any) -> None:
    value: Any = resolve("biwi", None, [assignment]).settings
    for part in assignment.partition("=")[0].split("."):
        value = getattr(value, part)
    assert value == expected


def test_unknown_key_names_its_origin_and_a_similar_key(tmp_path: Path) -> None:
    assert message(preset="biwi", assignments=["vq.codebok_size=9"]) == (
        "vq.codebok_size: unknown key (from --set); did you mean vq.codebook_size?"
    )
    config = config_file(tmp_path, {"speech": {"encoder": {"familly": "hubert"}}})
    assert message(preset="biwi", config=config) == (
        f"speech.encoder.familly: unknown key (from {config}); did you mean speech.encoder.family?"
    )
    assert "did you mean train_vq?" in message(preset="biwi", assignments=["train_vqq.seed=1"])
    far = message(preset="biwi", flags={"render.zzz": 1})
    assert far.startswith("render.zzz: unknown key (from flag); known: size")


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("train_vq.own_history", "train_speech.own_history"),
        ("train_vq.contact_weight", "train_speech.contact_weight"),
        ("train_speech.revive_after_steps", "train_vq.revive_after_steps"),
        ("train_vq.n_layers", "vq.n_layers"),
        ("speech.codebook_size", "vq.codebook_size"),
    ],
)
def test_key_of_another_section_suggests_the_right_section(
    tmp_path: Path, key: str, near: str
) -> None:
    assert message(preset="biwi", assignments=[f"{key}=1"]) == (
        f"{key}: unknown key (from --set); did you mean {near}?"
    )
    section, name = key.split(".")
    config = config_file(tmp_path, {section: {name: 3}})
    assert f"did you mean {near}?" in message(preset="biwi", config=config)


def test_stages_share_only_the_common_training_settings() -> None:
    sections = (VQTrainSettings, SpeechTrainSettings, TrainSettings)
    vq, speech, shared = (set(section.model_fields) for section in sections)
    assert vq & speech == shared and vq - shared == {"revive_after_steps"}
    assert len(speech - shared) == 11


@pytest.mark.parametrize(
    ("given", "needed"),
    [
        ("train_vq.step_epochs=5", "train_vq.schedule step"),
        ("train_vq.step_factor=0.1", "train_vq.schedule step"),
        ("train_speech.warmup_steps=5", "train_speech.schedule cosine"),
        ("train_speech.weight_decay=0.5", "train_speech.optimizer adamw"),
        ("train_speech.own_history_passes=3", "train_speech.own_history above 0"),
    ],
)
def test_setting_without_effect_is_refused_with_its_condition(
    tmp_path: Path, given: str, needed: str
) -> None:
    key, _, value = given.partition("=")
    error = message(preset="biwi", assignments=[given])
    assert error.startswith(f"{key} (from --set): has no effect with ")
    assert error.endswith(f"it needs {needed}")
    section, name = key.split(".")
    config = config_file(tmp_path, {section: {name: json.loads(value)}})
    assert f"(from {config})" in message(preset="biwi", config=config)


def test_higher_layer_may_remove_the_effect_of_a_setting(tmp_path: Path) -> None:
    cosine = {"train_vq": {"schedule": "cosine", "warmup_steps": 7}}
    config = config_file(tmp_path, cosine)
    settings = resolve("biwi", config, ["train_vq.schedule=constant"]).settings
    assert settings.train_vq.warmup_steps == 7


@pytest.mark.parametrize("name", ["biwi", "demo", "vocaset-fast"])
@pytest.mark.parametrize("stage", ["train_vq", "train_speech"])
@pytest.mark.parametrize("change", ["schedule=constant", "optimizer=adam", "schedule=cosine"])
def test_all_settings_of_a_run_are_accepted_as_a_file(
    tmp_path: Path, name: str, stage: str, change: str
) -> None:
    settings = resolve(name, assignments=[f"{stage}.{change}"]).settings
    config = config_file(tmp_path, settings.model_dump(mode="json"))
    assert resolve(name, config).settings == settings


def test_file_may_contain_former_keys_with_their_defaults_only(
    tmp_path: Path,
) -> None:
    former = {"train_vq": {"own_history": 0.0, "epochs": 7}, "render": {"preset": "veryfast"}}
    assert resolve("biwi", config_file(tmp_path, former)).settings.train_vq.epochs == 7
    former["train_vq"]["own_history"] = 0.5
    assert "train_speech.own_history" in message(
        preset="biwi", config=config_file(tmp_path, former)
    )


def test_assignment_to_an_unused_section_is_refused() -> None:
    sections = ["vq", "train_vq"]
    error = message(preset="biwi", assignments=["train_speech.epochs=3"], sections=sections)
    assert error == (
        "`set` train_speech.epochs=3: expected vq.KEY=value or train_vq.KEY=value for this "
        "command; did you mean train_vq.epochs?"
    )
    resolved = resolve("biwi", assignments=["vq.n_layers=2"], sections=sections)
    assert resolved.settings.vq.n_layers == 2


def test_removed_setting_states_why_it_was_removed() -> None:
    error = message(preset="biwi", assignments=["render.preset=slow"])
    assert error.startswith("render.preset: unknown key (from --set); it was removed: x264")


def test_invalid_value_is_named_with_its_origin() -> None:
    text = message(preset="biwi", assignments=["vq.n_layers=many"])
    assert text.startswith("vq.n_layers: ") and "got 'many' (from --set)" in text
    assert "(from flag)" in message(preset="biwi", flags={"train_vq.epochs": 0})
    assert "(from preset biwi)" not in message(preset="biwi", assignments=["data.fps=-1"])


def test_all_errors_are_reported_together() -> None:
    text = message(preset="biwi", assignments=["vq.n_layers=0", "data.fps=0"])
    assert "vq.n_layers" in text and "data.fps" in text


def test_missing_facts_suggest_a_preset() -> None:
    assert "data: missing; choose a preset" in message()


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        (["vq.n_heads=7"], "hidden_size 1024 is not a multiple of n_heads 7"),
        (["vq.kernel_size=4"], "kernel_size 4 must be odd"),
        (["vq.latent_projection=false", "vq.code_dim=64"], "codes_per_frame × code_dim = 512"),
        (["speech.n_heads=3"], "hidden_size 1024 is not a multiple of n_heads 3"),
        (["speech.hidden_size=9", "speech.n_heads=3"], "hidden_size 9 must be even"),
        (['data.train_subjects=["A", "A"]'], "train_subjects lists a subject twice"),
        (["data.train_subjects=[]"], "data.train_subjects"),
        (["train_speech.history_dropout=1.5"], "train_speech.history_dropout"),
        (["render.size=101"], "render.size"),
    ],
)
def test_contradictory_or_invalid_values_are_refused(assignments: list[str], expected: str) -> None:
    assert expected in message(preset="biwi", assignments=assignments)


def test_assignment_without_equals_sign_is_refused() -> None:
    assert message(assignments=["vq.n_layers"]) == "`set` vq.n_layers: expected a.b=value"


def test_unknown_preset_lists_the_known_ones() -> None:
    text = message(preset="vocasett")
    assert "preset 'vocasett' is unknown" in text and "did you mean vocaset?" in text
    assert all(name in text for name in PRESETS)


def test_files_without_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read"):
        resolve("biwi", tmp_path / "none.yaml")
    assert "not a YAML file" in message(config=config_file(tmp_path, "a: [1\nb: }"))
    assert "expected sections of settings, got list" in message(
        config=config_file(tmp_path, "- 1\n- 2\n")
    )
    assert "not a YAML file" in message(
        config=config_file(tmp_path, "!!python/object/apply:os.getcwd []")
    )


def test_empty_file_changes_nothing(tmp_path: Path) -> None:
    config = config_file(tmp_path, "# nothing yet\n")
    assert resolve("biwi", config) == resolve("biwi")


@pytest.mark.parametrize("content", ["vq: 3", "vq:", "vq: [1]"])
def test_section_with_a_plain_value_is_refused(tmp_path: Path, content: str) -> None:
    config = config_file(tmp_path, content)
    for assignments in ([], ["vq.n_layers=2"]):
        text = message(preset="biwi", config=config, assignments=assignments)
        assert text.startswith("vq: expected a section") and str(config) in text


@pytest.mark.parametrize("assignment", ["=1", "vq.=1", ".=1", "vq..n_layers=1", "1=1"])
def test_malformed_key_is_refused(assignment: str) -> None:
    assert "unknown key" in message(preset="biwi", assignments=[assignment])
