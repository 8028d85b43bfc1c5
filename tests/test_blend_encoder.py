"""Test the blend of a fine-tuned speech encoder with its source (scripts/voice)."""

import json
import sys
from pathlib import Path

import pytest
import tiny
import torch
import voices

import scripts
from codetalker_cli.models import checkpoint

PROGRAM = Path(__file__).parents[1] / "scripts" / "voice" / "blend_encoder.py"


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_weights_lie_between_both_encoders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    program = scripts.load(PROGRAM)
    monkeypatch.chdir(tmp_path)
    voices.save(Path("tuned"), "A", family="whisper")
    pretrained = tiny.codetalker(seed=5, speech={"encoder": whisper()}).speech.encoder

    def load(encoder: torch.nn.Module) -> None:
        encoder.load_state_dict(pretrained.state_dict())

    monkeypatch.setattr(program, "load_pretrained", load)
    monkeypatch.setattr(sys, "argv", ["blend_encoder.py", "tuned", "out", "--share", str(share)])
    program.main()
    tuned, blended = (checkpoint.load(Path(name)).model for name in ("tuned", "out"))
    for name, weights in blended.state_dict().items():
        expected = tuned.state_dict()[name]
        if name.startswith("speech.encoder."):
            source = pretrained.state_dict()[name.removeprefix("speech.encoder.")]
            expected = (1 - share) * source + share * expected
        torch.testing.assert_close(weights, expected)
    assert json.loads(Path("out/meta.json").read_text())["subjects"] == ["A"]


def whisper() -> dict:
    return {"family": "whisper", "config": tiny.ENCODER_CONFIGS["whisper"]}


@pytest.mark.parametrize("share", ["-0.1", "1.1", "nan"])
def test_share_outside_of_the_range_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], share: str
) -> None:
    program = scripts.load(PROGRAM)
    monkeypatch.setattr(sys, "argv", ["blend_encoder.py", "a", "b", "--share", share])
    with pytest.raises(SystemExit):
        program.main()
    assert "expected a number from 0 to 1" in capsys.readouterr().err
