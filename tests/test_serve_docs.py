"""docs/serving.md: its clients run, and its tables match the protocol."""

import asyncio
import json
import re
import shutil
import subprocess
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import served
import voices

import scripts
from codetalker_cli.animate.voice import Voice
from codetalker_cli.live.server import create_app
from codetalker_cli.live.server.protocol import REFUSALS, Config

PAGE = (Path(__file__).parent.parent / "docs" / "serving.md").read_text("utf-8")
SPEECH = voices.speech(0.4)
MAX_LINES = 50
# Until version 22, Node.js has a WebSocket only with this option.
NODE_OPTIONS = "--experimental-websocket"
DRIVER = """
const samples = new Float32Array(%s);
const frames = [];
const url = "ws://127.0.0.1:%d/v1/stream";
animate(url, samples, 16000, (frame, units) => frames.push([frame, units]))
  .then(() => console.log(JSON.stringify(frames)));
"""


def block(language: str) -> str:
    """Return the only code block of a language."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    return blocks[0]


@pytest.fixture(scope="module")
def speaker(tmp_path_factory: pytest.TempPathFactory) -> Voice:
    return served.voice(tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def port(speaker: Voice) -> Iterator[int]:
    with served.running(create_app(speaker, None, None, served.UNITS)) as port:
        yield port


def test_python_client_gets_all_frames(port: int, speaker: Voice, tmp_path: Path) -> None:
    code = block("python")
    assert code.count("\n") <= MAX_LINES
    names: dict = {"__name__": "docs"}
    exec(compile(code, "docs/serving.md", "exec"), names)
    with wave.open(str(tmp_path / "speech.wav"), "wb") as file:
        file.setparams((1, 2, served.RATE, 0, "NONE", ""))
        file.writeframes(served.pcm16(SPEECH))
    url = f"ws://127.0.0.1:{port}/v1/stream"
    frames = asyncio.run(names["animate"](url, str(tmp_path / "speech.wav")))
    expected = [one.weights for one in served.alone(speaker, SPEECH)]
    np.testing.assert_allclose(served.weights(frames), expected, atol=2e-5)


def test_benchmark_measures_the_delay_of_each_frame(port: int) -> None:
    program = scripts.benchmark("serve")
    rows = asyncio.run(program.streams(f"ws://127.0.0.1:{port}/v1/stream", SPEECH, 2, 0.6))
    assert [row["expected"] for row in rows] == [15, 15]
    for row in rows:
        assert len(row["delays"]) == 15
        # The last frames of a hop need less than the whole look-ahead.
        assert -0.2 < min(row["delays"]) <= max(row["delays"]) < 5


def test_javascript_client_gets_all_frames(port: int, speaker: Voice, tmp_path: Path) -> None:
    code = block("javascript")
    assert code.count("\n") <= MAX_LINES
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed, so the JavaScript client was not run")
    samples = json.dumps(served.heard(SPEECH).astype(float).tolist())
    (tmp_path / "client.js").write_text(code + DRIVER % (samples, port), "utf-8")
    done = subprocess.run(
        [node, NODE_OPTIONS, str(tmp_path / "client.js")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    frames = json.loads(done.stdout)
    expected = [one.weights for one in served.alone(speaker, SPEECH)]
    got = served.weights([frame for frame, _ in frames])
    np.testing.assert_allclose(got, expected, atol=2e-5)
    assert frames[0][1] == ["jawOpen", "mouthFunnel"]


def test_page_lists_every_field_and_code() -> None:
    rows = re.findall(r"^\| (`.*?`) \|", PAGE, flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert set(REFUSALS) <= named
    assert set(Config.model_fields) - {"type"} <= named
    assert {"start", "end", "interrupt", "ping"} <= named
    assert {"ready", "frame", "behind", "ended", "interrupted", "pong", "error"} <= named


def test_links_of_the_page_lead_to_files() -> None:
    folder = Path(__file__).parent.parent / "docs"
    targets = re.findall(r"\]\(([\w.-]+)(?:#[\w-]+)?\)", PAGE)
    assert targets and all((folder / target).is_file() for target in targets)
