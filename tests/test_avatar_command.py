"""``--avatar``: characters moved by ``codetalker export`` and ``codetalker animate``."""

import json
from pathlib import Path

import characters
import numpy as np
import pytest
import soundfile
import voices
from command import run, succeed
from takes import head_take

import codetalker_cli as ct


@pytest.fixture(autouse=True)
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def names() -> list[str]:
    return sorted(p.name for p in Path().iterdir())
