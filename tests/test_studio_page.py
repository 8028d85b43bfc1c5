"""The page of the studio: characters, downloads, and how it looks."""

import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import browser
import characters
import numpy as np
import pytest
import soundfile
from PIL import Image, ImageFilter
from studio_pages import SAMPLE, until, until_done, until_text, until_whole, upload
from studio_server import StudioClient
from test_studio import wav

import codetalker_cli as ct
from codetalker_cli.motion import Motion

pytest_plugins = ("studio_fixtures",)
GOLDEN = Path(__file__).parent / "studio_pictures"


# Characters and downloads -------------------------------------------------------------------------


def test_own_character_talks_in_sync(visit: browser.Visit, voice: ct.Voice, tmp_path: Path) -> None:
    page = visit.page
    curves = ct.solve_curves(voice.animate(SAMPLE))
    expected = curves.select(("jawOpen",)).weights[:, 0]
    page.click("#sample")
    until_done(page)
    until_whole(page)
    page.evaluate("studio.player.playback.pause()")
    page.set_input_files("#character-file", characters.arkit().save(tmp_path / "hero.glb"))
    until(page, "studio.characters._view")
    assert page.is_visible("#character canvas")
    page.click("#characters summary")
    assert "moving mesh" in page.inner_text("#characters")
    mesh_of = "studio.characters._view.mixer.getRoot().getObjectByProperty('isMesh', true)"
    for seconds in (1.0, 2.5):
        page.evaluate(f"studio.player.playback.seek({seconds})")
        mesh = page.evaluate(
            f"(() => {{ const m = {mesh_of}; return [m.morphTargetDictionary,"
            " Array.from(m.morphTargetInfluences)]; })()"
        )
        jaw = mesh[1][mesh[0]["jawOpen"]]
        assert jaw == pytest.approx(expected[round(30 * seconds)], abs=0.05)
    page.locator("#characters .choose").click()
    assert not page.is_visible("#character")


def test_character_that_failed_is_tried_again(visit: browser.Visit, tmp_path: Path) -> None:
    page = visit.page
    upload(page, wav(0.5))
    until_done(page)
    answer = {"error": {"code": "busy", "message": "too many files are waiting"}}
    page.route("**/exports", lambda route: route.fulfill(status=503, json=answer))
    page.set_input_files("#character-file", characters.arkit().save(tmp_path / "hero.glb"))
    text = until(page, "document.getElementById('character-error').textContent")
    assert text == "Too many files are waiting."
    visit.console.clear()  # Chromium itself reports the refused request
    page.unroute("**/exports")
    for _ in range(2):  # not chosen, and chosen again
        page.locator("#characters .choose").click()
    until(page, "studio.characters._view")
    until_text(page, "#character-error", "")


def test_broken_character_is_a_sentence(visit: browser.Visit) -> None:
    file = {"name": "hero.glb", "mimeType": "model/gltf-binary", "buffer": b"glTF"}
    visit.page.set_input_files("#character-file", [file])
    text = until(visit.page, "document.getElementById('character-error').textContent")
    assert text.startswith("hero.glb: ") and text.endswith(".")
    visit.console.clear()  # Chromium itself reports the refused request


@pytest.mark.parametrize("format", ["npz", "glb", "csv", "html"])
def test_downloads_can_be_read_again(visit: browser.Visit, tmp_path: Path, format: str) -> None:
    page = visit.page
    upload(page, wav(0.7), "my talk.wav")
    until_done(page)
    page.select_option("#format", format)
    with page.expect_download(timeout=60_000) as download:
        page.click("#export")
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.stem == "my talk"
    if path.suffix == ".zip":  # with the sound next to it
        with zipfile.ZipFile(path) as archive:
            assert sorted(archive.namelist()) == [f"my talk.{format}", "my talk.wav"]
            archive.extractall(tmp_path)
        assert soundfile.info(tmp_path / "my talk.wav").frames == 0.7 * 16_000
    check_file(tmp_path / f"my talk.{format}")


def check_file(path: Path) -> None:
    """Read a file of one of the formats again."""
    start = path.read_bytes()[:15]
    if path.suffix == ".npz":
        assert Motion.load(path).n_frames == 21
    elif path.suffix == ".csv":
        assert ct.read_curves(path).weights.shape[0] == 21
    elif path.suffix == ".glb":
        assert start[:4] == b"glTF"
    else:
        assert path.suffix == ".html" and start == b"<!DOCTYPE html>"


# Looks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 800, 1400])
def test_page_fits_every_screen(
    client: StudioClient, chromium: Any, width: int, scheme: str
) -> None:
    size = {"width": width, "height": 900}
    with browser.visiting(client.url, chromium, viewport=size, color_scheme=scheme) as visit:
        page = visit.page
        page.wait_for_selector("#face canvas")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        small = page.evaluate(
            "[...document.querySelectorAll('button, select, input:not(.hidden)')].filter("
            "(e) => e.offsetParent && e.getBoundingClientRect().height < 18).map((e) => e.id)"
        )
        assert small == []
        for kind in ("--ink", "--muted", "--accent", "--error"):
            assert contrast(page, kind, "--panel") >= 4.5, kind


def contrast(page: Any, ink: str, ground: str) -> float:
    """Return the contrast of two colors as WCAG defines it."""
    style = "getComputedStyle(document.documentElement).getPropertyValue"
    values = []
    for name in (ink, ground):
        text = page.evaluate(f"{style}('{name}').trim()")
        channels = np.array([int(text[k : k + 2], 16) for k in (1, 3, 5)]) / 255
        linear = np.where(
            channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        values.append(float(linear @ [0.2126, 0.7152, 0.0722]))
    return (max(values) + 0.05) / (min(values) + 0.05)


def test_every_control_has_a_name(visit: browser.Visit) -> None:
    upload(visit.page, wav(0.4))
    until_done(visit.page)
    nameless = visit.page.evaluate(
        "[...document.querySelectorAll('button, input, select, textarea, canvas, [role=slider]')]"
        ".filter((e) => !(e.getAttribute('aria-label') || e.labels?.length || e.textContent.trim()"
        " || e.getAttribute('aria-labelledby'))).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert nameless == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_looks_as_before(fine: browser.Visit, scheme: str) -> None:
    page = fine.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": 1280, "height": 860})
    page.click("#sample")
    until_done(page)
    until_whole(page)
    page.evaluate("studio.player.playback.pause(); studio.player.playback.seek(1)")
    page.wait_for_timeout(200)
    picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
    # Small, so that fonts and graphics drivers make no difference.
    small = picture.filter(ImageFilter.GaussianBlur(8)).resize((80, 54), Image.Resampling.BOX)
    golden = GOLDEN / f"studio-{scheme}.png"
    difference = np.abs(np.asarray(small, int) - np.asarray(Image.open(golden), int))
    assert np.quantile(difference, 0.98) < 40 and difference.mean() < 4
