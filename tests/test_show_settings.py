"""``--show-settings`` in every command, and lists and mappings in ``--set``."""

import json
from pathlib import Path

import pytest
import tiny_data
from command import COMMANDS, listing, refuse, run, succeed
from rich.console import Console

from codetalker_cli.cli import console
from codetalker_cli.presets import preview, resolve
from codetalker_cli.settings import Settings

SECTIONS = {
    "animate": {"render", "decode", "export", "solve", "limits"},
    "export": {"export", "solve", "limits"},
    "live": {"live", "decode", "export", "limits"},
    "studio": {"studio", "render", "decode", "export", "solve", "limits"},
    "render": {"render", "limits"},
    "prepare-data custom": {"custom", "prepare", "limits"},
    "prepare-data video": {"capture", "prepare", "limits"},
    "prepare-data arkit": {"capture", "prepare", "limits"},
    "prepare-data combine": {"limits"},
    "prepare-data check": {"limits"},
    "eval": {"evaluate", "decode", "render", "limits"},
    "metrics": {"evaluate", "limits"},
}
"""Command → its sections; the other commands show all sections."""


@pytest.fixture(autouse=True)
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shown(*arguments: object) -> dict[str, dict]:
    rows = json.loads(succeed(*arguments, "--show-settings", "--json"))
    return {row["key"]: row for row in rows}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_settings_are_shown_without_any_argument(words: tuple[str, ...]) -> None:
    rows = shown(*words)
    every = set(Settings.model_fields)
    assert {key.split(".")[0] for key in rows} == SECTIONS.get(" ".join(words), every)
    for row in rows.values():
        assert list(row) == ["key", "value", "origin", "description"]
        assert row["description"] and "\n" not in row["description"] and row["origin"]
    assert rows["limits.audio_hours"] == {
        "key": "limits.audio_hours",
        "value": 4.0,
        "origin": "default",
        "description": "longest recording, in hours",
    }
    assert not listing()


@pytest.mark.parametrize("columns", [40, 80, 160])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_settings_are_readable_at_any_width(
    words: tuple[str, ...], columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = shown(*words)
    monkeypatch.setattr(console, "stdout", Console(width=columns, soft_wrap=True, emoji=False))
    text = succeed(*words, "--show-settings")
    lines = text.splitlines()
    assert max(map(len, lines)) <= columns or columns < 160
    for row in rows.values():
        if columns == 160:
            line = next(one for one in lines if f"│ {row['key']} " in one)
            assert len(line.split("│")[1:-1]) == 4
        else:
            heading = f"{row['key']} = {json.dumps(row['value'], ensure_ascii=False)}  "
            assert f"{heading}({row['origin']})" in lines
        assert all(word in text for word in row["description"].split())
    if columns == 80:  # the descriptions are paragraphs of the width of the terminal
        assert all(len(line) <= 80 for line in lines if line.startswith("    "))


def test_origins_are_those_of_the_layers() -> None:
    Path("my.yaml").write_text("render: {zoom: 2}\nlimits: {audio_hours: 1}\n")
    rows = shown("render", "--config", "my.yaml", "--set", "render.crf=9", "--view", "mouth")
    origins = {key: row["origin"] for key, row in rows.items() if row["origin"] != "default"}
    assert origins == {
        "render.view": "flag",
        "render.zoom": "my.yaml",
        "render.crf": "--set",
        "limits.audio_hours": "my.yaml",
    }


def test_missing_facts_are_marked_as_required() -> None:
    for words in (["train-vq"], ["import-checkpoint"]):
        rows = shown(*words)
        assert rows["data.fps"]["value"] is None and rows["data.fps"]["origin"] == "required"
    rows = shown("prepare-data", "custom", "--fps", "25")
    assert rows["custom.fps"]["origin"] == "flag" and rows["custom.unit"]["origin"] == "required"
    assert shown("train-vq", "--preset", "biwi")["data.fps"]["value"] == 25.0
    assert shown("import-checkpoint", "--preset", "biwi")["data.fps"]["value"] == 25.0


def test_facts_come_from_the_data_set_if_there_is_one() -> None:
    tiny_data.prepared(Path("data/tiny"))
    rows = shown("train-speech", "--set", "speech.n_layers=3")
    assert rows["data.fps"]["origin"] == "the data set"
    assert rows["speech.n_layers"]["value"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["render", "--set", "render.sise=3"], "render.sise: unknown key"),
        (["render", "--view", "above"], "render.view: Input should be 'front'"),
        (["prepare-data", "custom", "--fps", "-1"], "custom.fps: Input should be greater than 0"),
        (["train-vq", "--set", "speech.n_layers=3"], "expected vq.KEY=value"),
        (["import-checkpoint", "--preset", "bivi"], "did you mean biwi?"),
    ],
)
def test_invalid_settings_are_not_shown(arguments: list[str], message: str) -> None:
    assert message in refuse(*arguments, "--show-settings")


def test_required_arguments_are_still_required() -> None:
    succeed("render", "--show-settings")
    for words in (["render"], ["render", "--out", "--show-settings"], ["prepare-data", "check"]):
        ended = run(*words)
        assert ended.code == 2 and "missing argument" in ended.err


# --set --------------------------------------------------------------------------------------------


def data_of(*assignments: str) -> dict:
    return resolve("vocaset", assignments=assignments).settings.data.model_dump(mode="json")


@pytest.mark.parametrize(
    "value", ["[a, b]", '["a", "b"]', "['a', \"b\"]", "[ a,b ]", "[a, b,]", "[a,\n b]"]
)
def test_lists_can_be_yaml_or_json(value: str) -> None:
    assert data_of(f"data.train_subjects={value}")["train_subjects"] == ["a", "b"]


def test_mappings_can_be_yaml() -> None:
    splits = data_of("data.splits={val: {share: 0.5}, train: {subjects: [a, 'b c']}}")["splits"]
    assert list(splits) == ["val", "train"]
    assert splits["val"]["share"] == 0.5 and splits["train"]["subjects"] == ["a", "b c"]
    assert data_of("data.splits.val={share: 0.25}")["splits"]["val"]["share"] == 0.25
    assert data_of("data={fps: 25}")["fps"] == 25


def test_text_that_begins_with_a_bracket_stays_text() -> None:
    given = ["custom.fps=25", "custom.unit=mm", "custom.motion=[ab]*.npy"]
    entries = preview(["custom"], assignments=[*given, "custom.pattern={subject}_{sentence}"])
    values = {entry.key: entry.value for entry in entries}
    assert values["custom.motion"] == "[ab]*.npy"
    assert values["custom.pattern"] == "{subject}_{sentence}"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[a, b", "not a list or mapping (expected ',' or ']'"),
        ("[a,", "not a list or mapping ("),
        ("[a] b", "not a list or mapping ("),
        ("{a: 1", "not a list or mapping (expected ',' or '}'"),
        ("[*a]", "anchors and aliases"),
        ("[a\x1b[2J", "not a list or mapping ("),
        ("[" * 50, "not a list or mapping ("),
        ("{a: b}", "data.train_subjects: Input should be a valid list"),
        ("a, b", "data.train_subjects: Input should be a valid list"),
    ],
)
def test_unusable_lists_are_one_line(value: str, message: str) -> None:
    line = refuse("prepare-data", "vocaset", "--set", f"data.train_subjects={value}")
    assert message in line and line.isprintable() and len(line) < 500
    assert line.startswith(("--set data.train_subjects", "data.train_subjects"))
