"""The public names of the package: imports, help, types, and rendering with one call."""

import inspect
import pydoc
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import voices
from ball import make_motion
from PIL import Image

import codetalker_cli as ct
from codetalker_cli import errors, resources
from codetalker_cli.errors import InputError, RenderError, SettingsError
from codetalker_cli.media import has_stream

ROOT = Path(__file__).parent.parent
ERRORS = {
    name
    for name, value in vars(errors).items()
    if inspect.isclass(value) and issubclass(value, errors.CodeTalkerError)
}
QUICK: dict[str, Any] = {"size": 64, "samples": 1, "workers": 1, "renderer": "software"}


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Names --------------------------------------------------------------------------------------------


def test_public_names_exist_and_include_all_errors() -> None:
    assert len(ERRORS) == 12 and set(ct.__all__) >= ERRORS
    others = {"Avatar", "Motion", "Request", "RigCurves", "UnitSet", "Voice", "__version__"}
    others |= {"export", "load", "read_curves", "render", "solve_curves", "write_mesh"}
    assert set(ct.__all__) == ERRORS | others
    for name in ct.__all__:
        assert getattr(ct, name) is not None
    assert ct.__version__ == resources.package_version()
    assert ct.InputError is errors.InputError
    with pytest.raises(AttributeError, match="has no attribute 'rendre'"):
        ct.rendre  # type: ignore[attr-defined]  # noqa: B018


def test_names_are_listed_before_they_are_imported() -> None:
    code = "import codetalker_cli as ct, sys; print(*dir(ct)); assert 'torch' not in sys.modules"
    assert set(ct.__all__) <= set(python(code).split())


def test_help_lists_all_names() -> None:
    text = pydoc.plain(pydoc.render_doc(ct))
    for name in set(ct.__all__) - {"__version__"}:
        assert name in text.partition("PACKAGE CONTENTS")[0], f"{name} is not in the docstring"
        assert name in ("render", "export") or f"{name}(" in text or f"{name} = " in text
    assert "animate(self, speech: " in text and f"VERSION\n    {ct.__version__}" in text


ORDERS = {
    "attribute": "import codetalker_cli as ct; render = ct.render",
    "attribute after a module": "import codetalker_cli.render.video as v, codetalker_cli as ct;"
    "render = ct.render",
    "attribute before a module": "import codetalker_cli as ct; render = ct.render;"
    "import codetalker_cli.render.video; assert render is codetalker_cli.render",
    "module": "import codetalker_cli.render.video, codetalker_cli.render.comparison;"
    "render = codetalker_cli.render; assert render.video.RenderReport",
    "from package": "from codetalker_cli import render; import codetalker_cli.render.stills",
    "from module": "from codetalker_cli.render.scene import build_scene;"
    "from codetalker_cli import render",
    "after loading": "import codetalker_cli as ct, codetalker_cli.evaluate.charts; ct.load;"
    "render = ct.render",
}


USE = """
assert render.Panel and render.RenderSettings
try:
    render([], "x.gif")
except Exception as error:
    print(type(error).__name__)
"""
STAR = "from codetalker_cli import *; print(load.__name__, render.__name__, __version__)"
FORKS = """
import os, sys
import numpy, pydantic, torch, yaml  # once for all, because this takes long

assert not any(name.startswith("codetalker_cli") for name in sys.modules)
for name, code in CODES.items():
    print(name, end=": ", flush=True)
    if os.fork() == 0:
        exec(code, {})
        sys.stdout.flush()
        os._exit(0)
    assert os.wait()[1] == 0, name
"""


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    """What each import prints in a process that has not yet imported the package."""
    codes = {name: code + USE for name, code in ORDERS.items()} | {"star": STAR}
    lines = python(f"CODES = {codes!r}\n{FORKS}").splitlines()
    return dict(line.split(": ") for line in lines)


@pytest.mark.parametrize("order", ORDERS)
def test_render_can_be_called_and_imported_in_any_order(
    printed: dict[str, str], order: str
) -> None:
    assert printed[order] == "RenderError"


def test_star_import_gives_all_names(printed: dict[str, str]) -> None:
    assert printed["star"].split()[:2] == ["load_voice", "codetalker_cli.render"]


def test_type_checker_knows_the_types(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    assert (ROOT / "codetalker_cli" / "py.typed").is_file()
    script = tmp_path / "use.py"
    script.write_text(
        """import codetalker_cli.render.video
import codetalker_cli as ct
voice = ct.load("demo")
reveal_type(voice)
motion = voice.animate((16000, [0.1]), sampling_rate=16000)
reveal_type(motion)
reveal_type(ct.render([motion], "x.mp4", size=512))
reveal_type(ct.__version__)
voice.animate_many(["a.wav", b"", ct.Request(open("a.wav", "rb"), seed=3)])
voice.animate(3)
ct.rendre
""",
        "utf-8",
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--no-site-packages", "--follow-imports"]
    command += ["silent", "--cache-dir", str(tmp_path / "cache"), str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    lines = [line.partition("use.py:")[2] for line in done.stdout.splitlines() if "use.py" in line]
    types = [line.partition(' type is "')[2].rstrip('"') for line in lines if "Revealed" in line]
    assert types == [
        "codetalker_cli.animate.voice.Voice",
        "codetalker_cli.motion.Motion",
        "pathlib.Path",
        "str",
    ]
    found = [line.split(":")[0] for line in lines if ": error:" in line]
    assert found == ["10", "11"], done.stdout  # a number is not speech, and a misspelled name


# Rendering ----------------------------------------------------------------------------------------


def test_motion_is_rendered_with_one_call(tmp_path: Path) -> None:
    seen: list[tuple[float, float]] = []
    motion = make_motion(4, audio=voices.speech(0.2))
    path = ct.render(motion, tmp_path / "v.mp4", progress=lambda *x: seen.append(x), **QUICK)
    assert path == tmp_path / "v.mp4" and has_stream(path, "V") and has_stream(path, "a")
    assert seen[-1] == (4, 4)
    with pytest.raises(InputError, match="already exists"):
        ct.render(motion, path, overwrite=False, **QUICK)


def test_default_settings_are_those_of_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from codetalker_cli.render import RenderSettings, comparison

    used: list[Any] = []
    monkeypatch.setattr(comparison, "write", lambda *given, **_: used.append(given))
    assert ct.render(make_motion(3), "x.mp4") == Path("x.mp4")
    ((shown, target, settings, _),) = used
    assert settings == RenderSettings() and target == Path("x.mp4")
    assert [panel.label for panel in shown.panels] == [""]


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_picture_is_a_contact_sheet(tmp_path: Path, suffix: str) -> None:
    path = ct.render(make_motion(20), str(tmp_path / f"sheet{suffix}"), **QUICK)
    width, height = size(path)
    assert width == 3 * 64 and height >= 3 * 64  # eight tiles
    other = ct.render(make_motion(20), tmp_path / f"o{suffix}", **QUICK | {"size": 32})
    assert size(other)[0] == 3 * 32


def test_several_motions_are_side_by_side(tmp_path: Path) -> None:
    motions = [make_motion(2), replace(make_motion(2), subject="B")]
    sheet = ct.render(motions, tmp_path / "a.png", **QUICK)
    heat = ct.render(motions, tmp_path / "b.png", heat=True, labels=["x", "y"], **QUICK)
    assert size(sheet)[1] == 2 * 64 + 16 and size(heat)[1] == 3 * 64 + 16
    labeled = ct.render(motions, tmp_path / "c.png", labels=["", ""], **QUICK)
    assert not np.array_equal(np.asarray(Image.open(sheet)), np.asarray(Image.open(labeled)))


def test_labels_are_the_subjects_or_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    from codetalker_cli.render import comparison

    labels: list[list[str]] = []
    monkeypatch.setattr(
        comparison, "write", lambda shown, *_, **__: labels.append([p.label for p in shown.panels])
    )
    first, second = make_motion(2), replace(make_motion(2), subject="B")
    for motions, heat in (([first, second], False), ([first, first], False), ([first] * 2, True)):
        ct.render(motions, "x.png", heat=heat)
    assert labels == [[first.subject, "B"], ["1", "2"], ["1", "2", "distance to 1"]]


def test_unusable_calls_are_errors(tmp_path: Path) -> None:
    motion, path = make_motion(3), tmp_path / "v.mp4"
    with pytest.raises(SettingsError, match=r"render\.sise: unknown key"):
        ct.render(motion, path, sise=3)
    with pytest.raises(SettingsError, match=r"render\.size"):
        ct.render(motion, path, size=33)
    with pytest.raises(RenderError, match=r"must end in one of \.mp4"):
        ct.render(motion, tmp_path / "v.gif")
    with pytest.raises(RenderError, match="no motion to draw"):
        ct.render([], path)
    with pytest.raises(InputError, match=r"expects motions, got a str; .* Motion\.load"):
        ct.render("v.npz", path)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"expected one label per motion \(1\), found 2"):
        ct.render(motion, path, labels=["a", "b"])
    with pytest.raises(InputError, match="give at least two motions"):
        ct.render(motion, path, heat=True)
    with pytest.raises(RenderError, match="must be of the same recording"):
        ct.render([motion, make_motion(30)], path)
    path.write_bytes(b"a filmed video")
    with pytest.raises(InputError, match="is one of the input files"):
        ct.render(replace(motion, audio_path=path), path)
    assert path.read_bytes() == b"a filmed video"
