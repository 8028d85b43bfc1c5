"""Numbers in messages agree with their nouns and verbs."""

import ast
import re
from pathlib import Path

import pytest

from codetalker_cli.errors import counted, verb

PACKAGE = Path(__file__).resolve().parent.parent / "codetalker_cli"


@pytest.mark.parametrize(
    ("n", "noun", "text"),
    [
        (1, "clip", "1 clip"),
        (0, "clip", "0 clips"),
        (2, "complete frame", "2 complete frames"),
        (1, "vertex", "1 vertex"),
        (3, "vertex", "3 vertices"),
        (2, "face entry", "2 face entries"),
    ],
)
def test_nouns_agree_with_their_number(n: int, noun: str, text: str) -> None:
    assert counted(n, noun) == text


def test_an_irregular_plural_can_be_given() -> None:
    assert [counted(n, "mouse", "mice") for n in (1, 2)] == ["1 mouse", "2 mice"]


def test_verbs_agree_with_their_number() -> None:
    assert [verb(n, "has", "have") for n in (0, 1, 2)] == ["have", "has", "have"]


def test_no_message_leaves_the_plural_open() -> None:
    texts = [
        node.value
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert len(texts) > 1000
    assert not [text for text in texts if re.search(r"[a-z]\(s\)", text)]
