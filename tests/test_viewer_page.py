"""Pages with a viewer: what the file contains, its size, and the options that apply to it."""

import base64
import gzip
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import voices
from ball import make_motion
from command import refuse, succeed
from viewer_pages import FPS, N_FRAMES, speaking, write_film

import codetalker_cli as ct
from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.errors import DataError, RenderError, SettingsError
from codetalker_cli.render import Panel, RenderSettings
from codetalker_cli.render.viewer import Exhibit, write_page
from codetalker_cli.render.viewer.basis import FrameDecoder
from codetalker_cli.render.viewer.packets import unpack
from codetalker_cli.render.viewer.sound import bit_rate

HOSTILE = "</script><img src=x onerror=alert(1)>&\"'\u2028\ud800"


class Elements(HTMLParser):
    """Collects the elements of a page, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.parts: dict[str, list[str]] = {}
        self._part = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._part = dict(attrs).get("data-part") or "" if tag == "script" else ""

    def handle_data(self, data: str) -> None:
        if self._part:
            self.parts.setdefault(self._part, []).append(data)
            self._part = ""


def packets_of(path: Path) -> list[tuple[dict, dict[str, np.ndarray]]]:
    """Return the packets of a page."""
    (text,) = Elements(path.read_text("utf-8")).parts["packets"]
    content, found = gzip.decompress(base64.b64decode(text)), []
    while content:
        size = 8 + int(np.frombuffer(content, "<u4", 2).sum())
        found.append(unpack(content[:size]))
        content = content[size:]
    return found


def decoded(path: Path) -> list[np.ndarray]:
    """Return the frames of each face of a page."""
    faces: list[np.ndarray] = []
    for header, arrays in packets_of(path):
        if header["kind"] == "face":
            decoder = FrameDecoder(arrays["template"])
            faces.append(np.empty((0, *arrays["template"].shape), np.float32))
        elif header["kind"] == "basis":
            decoder.add(arrays["vectors"], arrays["scale"], restarts=header["restarts"])
        elif header["kind"] == "frames":
            faces[-1] = np.concatenate([faces[-1], decoder.decode(arrays["coefficients"].T)])
    return faces


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_file_contains_the_motions_within_the_tolerance() -> None:
    first, second = speaking(1), speaking(2)
    first.save("a.npz")
    second.save("b.npz")
    out = succeed("render", "a.npz", "b.npz", "--heat", "-o", "p.html", "--json")
    made = json.loads(out)
    assert made["panels"] == 3 and made["frames"] == N_FRAMES and made["sound"] is True
    assert made["bytes"] == Path("p.html").stat().st_size and made["seconds"] == 3.0
    faces = decoded(Path("p.html"))
    assert len(faces) == 2
    for motion, frames in zip((first, second), faces, strict=True):
        assert np.linalg.norm(frames - motion.vertices, axis=-1).max() <= 1e-4
    columns = packets_of(Path("p.html"))[0][0]["columns"]
    assert [(c["kind"], c["face"], c.get("against")) for c in columns] == [
        ("face", 0, None), ("face", 1, None), ("heat", 1, 0),
    ]  # fmt: skip
    assert columns[2]["maximum"] == pytest.approx(0.01) and columns[2]["maximum_label"] == "10 mm"


def test_a_heat_map_can_be_shown_without_its_motions() -> None:
    first, second = speaking(1), speaking(2)
    exhibit = Exhibit((Panel(second, "difference", against=first),))
    write_page(exhibit, Path("p.html"), RenderSettings.model_validate({}))
    columns = packets_of(Path("p.html"))[0][0]["columns"]
    assert [(c["kind"], c["face"], c["against"]) for c in columns] == [("heat", 0, 1)]
    assert len(decoded(Path("p.html"))) == 2


def test_a_page_needs_no_network_and_allows_none() -> None:
    ct.render(speaking(), "p.html")
    text = Path("p.html").read_text("utf-8")
    found = Elements(text)
    policy = next(a["content"] for t, a in found.tags if a.get("http-equiv"))
    assert policy is not None and policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy and "http" not in policy and "connect-src" not in policy
    assert not [a for _, a in found.tags if a.keys() & {"src", "href", "srcset", "action"}]
    plain = re.sub(r"<script type=.text/plain.*?</script>", "", text, flags=re.DOTALL)
    assert "http://" not in plain and "https://" not in plain and "url(" not in plain
    modules = dict(json.loads(gzip.decompress(base64.b64decode(found.parts["modules"][0]))))
    assert list(modules)[-1] == "web/viewer.js" and "three/build/three.core.min.js" in modules
    assert not any("GLTFLoader" in name for name in modules)
    for name, source in modules.items():
        linked = re.findall(
            r"""^(?:import|export|\}).*?from\s*["']([^"']+)""", source, re.MULTILINE
        )
        before = list(modules)[: list(modules).index(name)]
        assert all(one.strip("@") in before for one in linked)
    assert "Copyright © 2010-2026 three.js authors" in text


def test_names_never_become_markup() -> None:
    motion = replace(speaking(audio=None), subject=HOSTILE)
    ct.render([motion, motion], "p.html", labels=[HOSTILE, "b"], heat=True)
    found = Elements(Path("p.html").read_text("utf-8"))
    assert not [tag for tag, _ in found.tags if tag == "img"]
    assert sum(tag == "script" for tag, _ in found.tags) == 3  # the modules, the packets, the start
    assert [c["label"] for c in packets_of(Path("p.html"))[0][0]["columns"]] == [
        HOSTILE, "b", f"distance to {HOSTILE}",
    ]  # fmt: skip


def test_a_still_head_and_a_silent_motion_are_shown() -> None:
    ct.render(speaking(audio=None, head=None), "p.html")
    found = Elements(Path("p.html").read_text("utf-8"))
    assert "sound" not in found.parts and "film" not in found.parts
    header = packets_of(Path("p.html"))[0][0]
    assert header["sound"] is None and header["n_frames"] == N_FRAMES and header["fps"] == FPS


def test_a_film_is_shown_next_to_the_motion() -> None:
    speaking().save("a.npz")
    write_film(Path("film.mp4"))
    succeed("render", "film.mp4", "a.npz", "--label", "person", "--label", "x", "-o", "p.html")
    header = packets_of(Path("p.html"))[0][0]
    assert [c["kind"] for c in header["columns"]] == ["film", "face"]
    (film,) = Elements(Path("p.html").read_text("utf-8")).parts["film"]
    assert base64.b64decode(film)[4:8] == b"ftyp"


def test_a_mesh_of_unknown_size_is_measured_in_units() -> None:
    motion = speaking()
    topology = replace(motion.topology, unit="area1")
    ct.render(replace(motion, topology=topology), "p.html")
    assert packets_of(Path("p.html"))[1][0]["millimeters"] is None
    error = np.linalg.norm(decoded(Path("p.html"))[0] - motion.vertices, axis=-1).max()
    assert error <= 0.0005 * np.ptp(motion.template[:, 1])


def test_the_bit_rate_of_a_long_recording_is_lower() -> None:
    assert bit_rate(10) == 96_000 and bit_rate(600) * 600 / 8 <= 4_000_000
    assert bit_rate(100_000) == 16_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "64"], "render.size: has no effect in a page"),
        (["--background", "white"], "render.background: has no effect in a page"),
        (["--renderer", "software"], "render.renderer: has no effect in a page"),
        (["--set", "render.yaw=3"], "render.yaw: has no effect in a page"),
        (["--curves"], "--curves: a page always shows the lip gaps"),
    ],
)
def test_options_without_effect_are_errors(arguments: list[str], message: str) -> None:
    speaking().save("a.npz")
    assert message in refuse("render", "a.npz", "-o", "p.html", *arguments)
    assert not Path("p.html").exists()


def test_settings_of_a_file_may_be_meant_for_videos() -> None:
    speaking().save("a.npz")
    Path("mine.yaml").write_text("render:\n  size: 64\n  view: profile\n")
    succeed("render", "a.npz", "-o", "p.html", "--config", "mine.yaml")
    assert packets_of(Path("p.html"))[0][0]["view"] == "profile"
    with pytest.raises(SettingsError, match=r"render\.size: has no effect in a page"):
        ct.render(speaking(), "q.html", size=64)


def test_a_motion_that_cannot_be_shown_leaves_nothing_behind() -> None:
    motion = make_motion()
    broken = motion.vertices.copy()
    broken[4, 3] = np.nan
    with pytest.raises(RenderError, match="frame 4 of the motion contains NaN"):
        ct.render(replace(motion, vertices=broken), "p.html")
    assert list(Path().iterdir()) == []


def test_a_template_without_a_shape_is_refused() -> None:
    motion = make_motion()
    empty = replace(motion.topology, triangles=np.empty((0, 3), np.int32))
    for changes, message in (
        ({"template": motion.template[:-1]}, "the template has shape"),
        ({"topology": empty}, "cannot frame the template"),
    ):
        with pytest.raises(RenderError, match=message):
            ct.render(replace(motion, **changes), "p.html")
    assert not Path("p.html").exists()


def test_the_mouth_of_a_mesh_without_lips_cannot_be_shown() -> None:
    with pytest.raises(DataError, match="view mouth: topology ball has no region lips or mouth"):
        ct.render(make_motion(), "p.html", view="mouth")


def test_more_faces_than_a_browser_can_show_are_refused() -> None:
    with pytest.raises(RenderError, match="at most 15 faces and heat maps, got 16"):
        ct.render([make_motion()] * 16, "p.html")


def test_recordings_are_animated_to_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    import soundfile

    voices.save(Path("voice"), "Q", family="whisper")
    tone = 0.4 * np.sin(np.arange(SAMPLE_RATE) * 0.2).astype(np.float32)
    for name in ("a.wav", "b.wav"):
        soundfile.write(name, tone, SAMPLE_RATE)
    made = json.loads(succeed("animate", "a.wav", "-o", "a.html", "--model", "voice", "--json"))
    assert made["sound"] is True and made["bytes"] == Path("a.html").stat().st_size
    succeed("animate", "a.wav", "b.wav", "-o", "out/", "--format", "html", "--model", "voice")
    assert sorted(path.name for path in Path("out").iterdir()) == ["a.html", "b.html"]
    message = refuse(
        "animate", "a.wav", "-o", "c.html", "--model", "voice", "--set", "render.crf=9"
    )
    assert "render.crf: has no effect in a page" in message
