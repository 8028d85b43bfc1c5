"""Suggestions for misspelled names: only names that are likely to be meant."""

from pathlib import Path

import pytest
from command import refuse

from codetalker_cli.errors import similar_name


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("sylte", "style"),
        ("colour", "color"),
        ("Biwi", "biwi"),
        ("out", "output"),
        ("batch", "batch_size"),
        ("codebok_size", "codebook_size"),
    ],
)
def test_misspelled_name_is_recognized(name: str, meant: str) -> None:
    others = ["json", "file", "model", "seconds"]
    assert similar_name(name, [*others, meant]) == meant


@pytest.mark.parametrize(
    ("name", "other"),
    [("in", "json"), ("idle", "file"), ("style", "size"), ("length", "strength"), ("q", "quiet")],
)
def test_other_names_are_not_suggested(name: str, other: str) -> None:
    assert similar_name(name, [other]) is None


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["animate", "a.wav", "--in", "3"], "--json"),
        (["animate", "a.wav", "--set", "render.fps=3"], "data.fps"),
    ],
)
def test_commands_suggest_nothing_that_they_do_not_take(
    arguments: list[str], wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = refuse(*arguments)
    assert "did you mean" not in error and wrong not in error
