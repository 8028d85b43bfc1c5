"""Loading a voice imports no compiler, which would take seconds."""

import subprocess
import sys
from pathlib import Path

import voices

PROGRAM = """
import sys
import codetalker_cli as ct
ct.load(sys.argv[1], device="cpu").animate([0.1] * 8000)
print([name for name in ("torch._dynamo", "sympy", "transformers") if name in sys.modules])
"""


def test_animating_with_a_whisper_encoder_imports_no_compiler(tmp_path: Path) -> None:
    folder = voices.save(tmp_path / "voice", "A", family="whisper", motion_history=False)
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    assert subprocess.check_output(command, text=True).strip() == "[]"
