"""The page of the studio in Chromium: what a user does with it, and what goes wrong."""

import time
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import browser
import characters
import numpy as np
import pytest
import soundfile
import studio_server
from PIL import Image, ImageFilter
from studio_server import StudioClient
from test_studio import wav

import codetalker_cli as ct
from codetalker_cli import resources
from codetalker_cli.motion import Motion

GOLDEN = Path(__file__).parent / "golden_pictures"
SAMPLE = resources.asset("sample.wav")
MICROPHONE = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    f"--use-file-for-fake-audio-capture={SAMPLE}",
)


@pytest.fixture(scope="module")
def voice() -> ct.Voice:
    return ct.load("demo", device="cpu")


@pytest.fixture(scope="module")
def client(voice: ct.Voice, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudioClient]:
    browser.find_browser()
    with studio_server.running(voice, tmp_path_factory.mktemp("takes"), "demo") as client:
        yield client


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser whose microphone hears the sample again and again."""
    with browser.launched(MICROPHONE) as chromium:
        yield chromium


@pytest.fixture
def visit(client: StudioClient, chromium: Any) -> Iterator[browser.Visit]:
    """The page with an empty profile, without takes of other tests; its console must stay empty."""
    for take in client.ask("GET", "/api/takes")["takes"]:
        client.ask("DELETE", f"/api/takes/{take['id']}")
    for one in client.ask("GET", "/api/characters"):
        client.ask("DELETE", f"/api/characters/{one['id']}")
    with browser.visiting(client.url, chromium) as visit:
        visit.page.wait_for_selector("#face canvas")
        yield visit
        assert visit.console == []
        own = f"http://127.0.0.1:{client.port}/"
        assert all(url.startswith((own, own.replace("http", "ws"))) for url in visit.requests)


def until(page: Any, expression: str, seconds: float = 30) -> Any:
    """Wait until an expression is true in the page, whose policy forbids Playwright's own way."""
    deadline = time.monotonic() + seconds
    while not (value := page.evaluate(expression)):
        assert time.monotonic() < deadline, expression
        time.sleep(0.02)
    return value


def upload(page: Any, content: bytes, name: str = "speech.wav") -> None:
    file = {"name": name, "mimeType": "audio/wav", "buffer": content}
    page.set_input_files("#files", [file])


def until_done(page: Any, n: int = 1) -> None:
    until(page, f"document.querySelectorAll('#takes [data-state=done]').length === {n}")


def until_whole(page: Any) -> None:
    until(page, "studio.player.playback && !studio.player.playback.open")


# Takes --------------------------------------------------------------------------------------------


def test_sample_plays_and_frames_equal_the_animation(
    visit: browser.Visit, client: StudioClient, voice: ct.Voice
) -> None:
    page = visit.page
    assert page.url == f"http://127.0.0.1:{client.port}/"  # the token is gone
    started = time.monotonic()
    page.click("#sample")
    until(page, "studio.player.playback?.playing && studio.player.time > 0")
    assert time.monotonic() - started < 10  # 0.9 s to 1.5 s were measured; this machine may be busy
    until_whole(page)
    motion = voice.animate(SAMPLE)
    for frame in (0, 140, motion.n_frames - 1):
        vertices = page.evaluate(f"Array.from(studio.player.verticesAt({frame}))")
        error = np.array(vertices).reshape(-1, 3) - motion.vertices[frame]
        assert np.linalg.norm(error, axis=1).max() <= 1e-4  # meters
    # The picture follows the sound.
    until(page, "studio.player.time > 1")
    time_, sound = page.evaluate("[studio.player.time, studio.player._audio.currentTime]")
    assert abs(time_ - sound) < 0.15
    page.click("#play")
    assert page.inner_text("#play") == "Play"


def test_reload_keeps_the_page_and_its_takes(visit: browser.Visit) -> None:
    upload(visit.page, wav(0.5), "one.wav")
    until_done(visit.page)
    visit.page.reload()
    until_done(visit.page)
    visit.page.click("#takes .choose")
    until_whole(visit.page)
    assert visit.page.inner_text("#take-title") == "one.wav"


def test_options_reach_the_take_and_come_back(visit: browser.Visit, client: StudioClient) -> None:
    page = visit.page
    page.select_option("#subject", "S07")
    page.click("#styles summary")
    for name, value in (("S01", 30), ("S04", 70)):
        page.evaluate(
            f"(() => {{ const e = document.getElementById('style-{name}'); e.value = {value};"
            "e.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )
    assert page.inner_text("#style-summary") == "S01 30 %, S04 70 %"
    page.fill("#seed", "8")
    page.uncheck("#head")
    upload(page, wav(0.6))
    until_done(page)
    (take,) = client.ask("GET", "/api/takes")["takes"]
    expected = {"subject": "S07", "style": {"S01": 0.3, "S04": 0.7}, "seed": 8, "head": False}
    assert take["options"] == expected
    page.click("#same summary")
    assert page.inner_text("#command") == take["command"]
    assert "--style S01:0.3,S04:0.7" in take["command"] and "seed=8" in page.inner_text("#python")
    page.fill("#seed", "9")
    page.click("#again")
    until_done(page, 2)
    page.locator("#takes .choose").last.click()
    assert page.input_value("#seed") == "8" and not page.is_checked("#head")


def test_many_recordings_show_progress_and_failures(visit: browser.Visit) -> None:
    page = visit.page
    files = [
        {"name": f"{k}.wav", "mimeType": "audio/wav", "buffer": wav(0.4, seed=k)} for k in range(4)
    ]
    files.insert(2, {"name": "broken.wav", "mimeType": "audio/wav", "buffer": b"no sound"})
    page.set_input_files("#files", files)
    until(page, "document.getElementById('batch').textContent === '4 of 5 done, 1 failed'")
    failed = page.locator("#takes [data-state=failed]")
    assert failed.count() == 1
    assert "broken.wav" in failed.inner_text() and failed.locator(".error").inner_text()


def test_dropped_files_become_takes_and_characters(visit: browser.Visit, tmp_path: Path) -> None:
    page = visit.page
    hero = characters.arkit().save(tmp_path / "hero.glb").read_bytes()
    page.evaluate(
        """(files) => {
          const transfer = new DataTransfer();
          for (const [name, bytes] of files) {
            transfer.items.add(new File([new Uint8Array(bytes)], name));
          }
          const options = { dataTransfer: transfer, cancelable: true };
          document.dispatchEvent(new DragEvent('drop', options));
        }""",
        [["dropped.wav", list(wav(0.4))], ["hero.glb", list(hero)]],
    )
    until_done(page)
    assert page.inner_text("#takes .name") == "dropped.wav"
    until(page, "document.querySelector('#characters .name')?.textContent === 'hero.glb'")
    until(page, "studio.characters._view")


def test_folder_is_searched_for_recordings(visit: browser.Visit, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "a.wav").write_bytes(wav(0.4))
    (tmp_path / "in" / "b.wav").write_bytes(wav(0.4, seed=1))
    (tmp_path / "in" / "notes.txt").write_text("no recording")
    visit.page.set_input_files("#folder", tmp_path / "in")
    until(visit.page, "document.getElementById('batch').textContent === '2 of 2 done'")


def test_hostile_names_are_text(visit: browser.Visit) -> None:
    name = "<img src=x onerror=document.title='hacked'>&amp;.wav"
    upload(visit.page, wav(0.4), name)
    until_done(visit.page)
    assert visit.page.inner_text("#take-title") == name
    assert visit.page.inner_text("#takes .name") == name
    assert visit.page.title() == "codetalker studio"
    assert visit.page.locator("#main img").count() == 0


def test_takes_are_renamed_and_deleted_with_the_keyboard(visit: browser.Visit) -> None:
    page = visit.page
    upload(page, wav(0.4), "old.wav")
    until_done(page)
    page.focus("[aria-label='Rename old.wav']")
    page.keyboard.press("Enter")
    page.keyboard.type("new name")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#takes .name')?.textContent === 'new name'")
    page.on("dialog", lambda dialog: dialog.accept())
    page.focus("[aria-label='Delete new name']")
    page.keyboard.press("Enter")
    until(page, "!document.querySelector('#takes li')")
    assert page.inner_text("#take-title") == "No take yet"


def test_keys_play_step_and_choose(visit: browser.Visit) -> None:
    page = visit.page
    upload(page, wav(1.0, seed=1), "a.wav")
    until_done(page)
    upload(page, wav(1.0, seed=2), "b.wav")
    until_done(page, 2)
    until_whole(page)
    page.evaluate("studio.player.playback.pause()")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("studio.player.playback.frame") == 2
    page.keyboard.press(" ")
    until(page, "studio.player.playback.playing")
    page.keyboard.press("j")
    assert page.inner_text("#take-title") == "a.wav"
    page.keyboard.press("k")
    assert page.inner_text("#take-title") == "b.wav"
    page.keyboard.press("4")
    assert page.input_value("#view") == "mouth"
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    page.keyboard.press("Escape")
    page.focus("#seed")
    page.keyboard.type("12")  # digits in a field are digits
    assert page.input_value("#view") == "mouth"


def test_two_pages_at_once(visit: browser.Visit, client: StudioClient, chromium: Any) -> None:
    second = chromium.new_page()
    second.goto(client.url)
    second.wait_for_selector("#face canvas")
    upload(visit.page, wav(0.5), "first.wav")
    upload(second, wav(0.5, seed=1), "second.wav")
    for page in (visit.page, second):
        until_done(page, 2)
        until_whole(page)
    assert visit.page.inner_text("#take-title") == "first.wav"
    assert second.inner_text("#take-title") == "second.wav"
    second.close()


# Microphone ---------------------------------------------------------------------------------------


def test_recording_becomes_a_take(visit: browser.Visit, client: StudioClient) -> None:
    page = visit.page
    page.click("#record")
    until(page, "document.getElementById('record').getAttribute('aria-pressed') === 'true'")
    until(page, "document.getElementById('meter-text').textContent >= 'Recording, 1.5'")
    page.click("#record")
    until_done(page)
    (take,) = client.ask("GET", "/api/takes")["takes"]
    assert take["name"].startswith("recording ") and 1.4 < take["n_frames"] / take["fps"] < 4
    url = client.ask("POST", f"/api/takes/{take['id']}/sound")["url"]
    samples, _ = soundfile.read(BytesIO(client.request("GET", url)[2]))
    assert np.abs(samples).max() > 0.01


def test_live_face_follows_the_microphone(visit: browser.Visit, client: StudioClient) -> None:
    page = visit.page
    page.check("#keep-live")
    page.select_option("#lookahead", "0.1")
    page.click("#live")
    until(page, "studio.live.isLive && studio.live.nFrames > 40")
    moved = page.evaluate(
        "Math.max(...studio.live._vertices.map((v, k) => Math.abs(v - studio.live._neutral[k])))"
    )
    assert moved > 1e-3  # meters
    assert "follows the sound after" in page.inner_text("#live-status")
    assert page.inner_text("#take-title") == "Live"
    page.click("#live")
    until_done(page)
    (take,) = client.ask("GET", "/api/takes")["takes"]
    assert take["name"].startswith("live ")
    assert page.inner_text("#live-error") == ""


def test_denied_microphone_is_a_sentence(client: StudioClient, chromium: Any) -> None:
    with browser.visiting(client.url, chromium) as visit:
        page = visit.page
        refused = "Promise.reject(new DOMException('', 'NotAllowedError'))"
        page.evaluate(f"navigator.mediaDevices.getUserMedia = () => {refused}; 0")
        page.wait_for_selector("#face canvas")
        for button, error in (("#record", "#make-error"), ("#live", "#live-error")):
            page.click(button)
            text = until(page, f"document.querySelector('{error}').textContent")
            assert "microphone" in text and text.endswith(".")
            assert page.get_attribute(button, "aria-pressed") == "false"


def test_too_many_live_pages_is_a_sentence(voice: ct.Voice, chromium: Any, tmp_path: Path) -> None:
    with (
        studio_server.running(voice, tmp_path, "demo", streams=1) as client,
        browser.visiting(client.url, chromium) as visit,
        browser.visiting(client.url, chromium) as other,
    ):
        visit.page.wait_for_selector("#face canvas")
        visit.page.click("#live")
        until(visit.page, "studio.live.isLive")
        second = other.page
        second.wait_for_selector("#face canvas")
        second.click("#live")
        text = until(second, "document.getElementById('live-error').textContent")
        assert text.startswith("Too many pages are live")


# Errors -------------------------------------------------------------------------------------------


def test_page_without_its_token_says_what_to_do(client: StudioClient, chromium: Any) -> None:
    with browser.visiting(f"http://127.0.0.1:{client.port}/", chromium) as visit:
        text = visit.page.locator(".alert").inner_text()
        assert "open the address that codetalker studio has printed" in text


def test_ended_server_is_a_sentence(voice: ct.Voice, chromium: Any, tmp_path: Path) -> None:
    with browser.visiting(browser=chromium) as visit:
        with studio_server.running(voice, tmp_path, "demo") as client:
            visit.page.goto(client.url)
            visit.page.wait_for_selector("#face canvas")
            visit.page.click("#live")
            until(visit.page, "studio.live.nFrames > 0")
            started = time.monotonic()
        assert time.monotonic() - started < 10  # requests and streams do not hold it up
        visit.page.wait_for_selector(".alert")
        text = until(visit.page, "document.getElementById('live-error').textContent")
        assert text == "The server has ended."
        assert visit.page.inner_text("#live") == "Start live"
        assert "The server does not answer" in visit.page.inner_text("#alerts")
        upload(visit.page, wav(0.4))
        text = until(visit.page, "document.getElementById('make-error').textContent")
        assert "could not be sent" in text


def test_large_file_is_refused_before_it_is_sent(
    voice: ct.Voice, chromium: Any, tmp_path: Path
) -> None:
    with (
        studio_server.running(voice, tmp_path, "demo", upload_mb=0.01) as client,
        browser.visiting(client.url, chromium) as visit,
    ):
        visit.page.wait_for_selector("#face canvas")
        upload(visit.page, wav(0.6), "large.wav")
        text = until(visit.page, "document.getElementById('make-error').textContent")
        assert "large.wav" in text and "limit is 0.01 MB" in text and visit.console == []


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
def test_page_looks_as_before(client: StudioClient, visit: browser.Visit, scheme: str) -> None:
    page = visit.page
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
