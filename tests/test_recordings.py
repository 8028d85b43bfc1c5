"""Test that unusable recordings of a folder are reported with a reason."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import voices

from codetalker_cli.synthetic.speech.recordings import read_recordings

PHONES = [
    {"phone": "SIL", "start": 0.0, "end": 0.2},
    {"phone": "M", "start": 0.2, "end": 0.4},
    {"phone": "AA", "start": 0.4, "end": 0.9},
]


def record(path: Path, samples: np.ndarray) -> None:
    """Write a recording and its .json file with phones."""
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, samples, 16000)
    path.with_suffix(".json").write_text(json.dumps({"text": "ma", "phones": PHONES}))


@pytest.mark.parametrize(
    ("samples", "reason"),
    [(np.zeros(16000), "silent"), (np.zeros(0), "no audio samples")],
)
def test_unusable_recording_is_reported_with_its_reason(
    tmp_path: Path, samples: np.ndarray, reason: str
) -> None:
    record(tmp_path / "bad.wav", samples)
    record(tmp_path / "good.wav", voices.speech())
    found = read_recordings(tmp_path, cache=tmp_path / "cache")
    assert [clip.name for clip in found.clips] == ["good"]
    (failure,) = found.failures
    assert "bad.wav" in failure.name and reason in failure.reason


def test_duplicate_recording_names_are_reported(tmp_path: Path) -> None:
    record(tmp_path / "a-b.wav", voices.speech())
    record(tmp_path / "a" / "b.wav", voices.speech())
    found = read_recordings(tmp_path, cache=tmp_path / "cache")
    assert len(found.clips) == 1
    (failure,) = found.failures
    assert "its name a-b is also the name of" in failure.reason
