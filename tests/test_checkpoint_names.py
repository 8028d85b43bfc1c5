"""Which folders are listed as checkpoints, and which are never replaced."""

import json
from pathlib import Path

import pytest
import voices

from codetalker_cli.errors import InputError
from codetalker_cli.models import checkpoint
from codetalker_cli.workspace import META


def test_unfinished_checkpoint_is_not_listed(tmp_path: Path) -> None:
    voices.save(tmp_path / "runs" / "a" / "speech", "A")
    voices.save(tmp_path / "runs" / "a" / ".speech.1a2b3c4d", "A")
    found = checkpoint.available(tmp_path / "runs")
    assert "a/speech" in found and not any("/." in name for name in found)


def test_foreign_meta_file_has_no_subjects(tmp_path: Path) -> None:
    (tmp_path / META).write_text(json.dumps(["A"]))
    assert not checkpoint.knows(tmp_path, "A")


@pytest.mark.parametrize("inside", ["mine.mp4", "official/meta.json"])
def test_checkpoint_with_other_files_is_not_replaced(tmp_path: Path, inside: str) -> None:
    folder = voices.save(tmp_path / "voca", "A")
    kept = folder / inside
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("kept")
    with pytest.raises(InputError, match="is not part of a checkpoint"):
        checkpoint.check_folder(folder, overwrite=True)
    assert kept.read_text() == "kept"
