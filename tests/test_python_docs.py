"""docs/python.md: its code runs, and its table of keys matches a saved motion."""

import os
import re
import threading
import urllib.error
import urllib.request
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import soundfile
import voices

import codetalker_cli as ct

PAGE = (Path(__file__).parent.parent / "docs" / "python.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
ROW = re.compile(r"^\| `(\w+)` \| (\(.*?\)) \| (\w+) \| .* \| ([\w `]*) ?\|$", re.MULTILINE)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """The variables and the folder after all blocks ran in one interpreter, in order."""
    folder = tmp_path_factory.mktemp("docs")
    soundfile.write(folder / "speech.wav", voices.speech(0.3, 44100), 44100)
    before = Path.cwd()
    names: dict[str, Any] = {"__name__": "docs"}
    # The settings of the drawing do not matter here, so they are the fastest ones.
    fast, render = {"renderer": "software", "samples": 1, "workers": 1}, ct.render

    def quick(motions: Any, path: str, **settings: Any) -> Path:
        settings |= {} if path.endswith(".html") else fast
        return render(motions, path, **settings)

    os.chdir(folder)
    try:
        with mock.patch.object(ct, "render", quick):
            for block in BLOCKS:
                exec(compile(block, "docs/python.md", "exec"), names)
    finally:
        os.chdir(before)
    return names, folder


def test_all_code_of_the_page_runs(run: tuple[dict[str, Any], Path]) -> None:
    names, folder = run
    assert len(BLOCKS) == PAGE.count("```") // 2 == 9
    assert isinstance(names["motion"], ct.Motion) and names["lips"].ndim == 3
    written = {path.name for path in folder.iterdir()} - {"speech.wav"}
    videos = {"speech.mp4", "mouth.mp4", "sheet.png", "both.mp4", "both.html"}
    exports = {"speech.abc", "basis.glb", "basis.wav", "opening.csv", "opening.glb"}
    motions = {"speech.npz", "0.npz", "1.npz", "2.npz", "frame.ply"}
    assert written == videos | exports | motions


def test_service_answers_with_a_motion_or_a_reason(
    run: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    names, folder = run
    server = ThreadingHTTPServer(("127.0.0.1", 0), names["Handler"])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        with urllib.request.urlopen(address, (folder / "speech.wav").read_bytes()) as answer:
            (tmp_path / "motion.npz").write_bytes(answer.read())
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(address, b"no recording")
        assert caught.value.code == 400
        assert caught.value.read().startswith(b"speech: not an audio file that can be read")
    finally:
        server.shutdown()
        server.server_close()
    assert ct.Motion.load(tmp_path / "motion.npz").n_frames == 9


def test_table_lists_the_keys_of_a_motion_file(run: tuple[dict[str, Any], Path]) -> None:
    rows = {
        key: (shape, kind, optional.strip()) for key, shape, kind, optional in ROW.findall(PAGE)
    }
    assert len(rows) == 19
    with np.load(run[1] / "speech.npz") as archive:
        arrays = {re.sub("(?<=^topology_region_).*", "NAME", k): archive[k] for k in archive.files}
    assert arrays.keys() <= rows.keys()
    assert {key for key, row in rows.items() if not row[2]} <= arrays.keys()
    assert {"colors", "audio", "codes", "head", "topology_region_NAME"} <= arrays.keys()
    for key, array in arrays.items():
        shape, kind, _ = rows[key]
        assert (kind == "text") == (array.dtype.kind == "U"), key
        assert kind in ("text", array.dtype.name), key
        assert array.ndim == len([part for part in shape[1:-1].split(",") if part.strip()]), key


def test_pages_link_to_this_one() -> None:
    root = Path(__file__).parent.parent
    for name in ("README.md", "docs/recordings.md", "docs/decoding.md"):
        assert "python.md" in (root / name).read_text("utf-8"), name
    for target in re.findall(r"\]\(([\w.]+)(?:#[\w-]+)?\)", PAGE):
        assert (root / "docs" / target).is_file(), target
