"""The page in a real browser: positions, sound, film, keys and the console."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import REQUIRED, Visit, find_browser, launched, visiting
from viewer_pages import CLICKS, FPS, N_FRAMES, brightness, speaking, write_film

import codetalker_cli as ct
from codetalker_cli.render import Panel
from codetalker_cli.render.footage import Footage
from codetalker_cli.render.viewer import Exhibit, embedded, viewer_parts, write_page
from codetalker_cli.rigs.posing import turned
from codetalker_cli.settings import RenderSettings

VIEWER = "document.querySelector('.codetalker-viewer').viewer"
READY = ".codetalker-viewer[data-ready]"
HOSTILE = "</script><img src=x onerror=\"document.title='broken'\">"

# The positions that WebGL gets, with the matrix of the head, as lists of numbers.
POSITIONS = f"""(frames) => {{
  const viewer = {VIEWER};
  return frames.map((frame) => {{
    viewer.playback.seekFrame(frame);
    return viewer.views.map(({{ view }}) => {{
      const mesh = view.mesh;
      mesh.updateWorldMatrix(true, false);
      const m = mesh.matrixWorld.elements;
      const p = mesh.geometry.attributes.position.array;
      const out = [];
      for (let i = 0; i < p.length; i += 3) {{
        for (let k = 0; k < 3; k++) {{
          out.push(m[k] * p[i] + m[4 + k] * p[i + 1] + m[8 + k] * p[i + 2] + m[12 + k]);
        }}
      }}
      return out;
    }});
  }});
}}"""

# The times of clicks: in the decoded sound, and while the element plays. There, a processor notes
# the position that the element reports when a click passes.
CLICK_TIMES = f"""async (clicks) => {{
  const audio = {VIEWER}.audio;
  const element = document.querySelector('.codetalker-viewer');
  const decoded = new OfflineAudioContext(1, 1, 48000);
  const buffer = await decoded.decodeAudioData(await element.viewer.soundBlob.arrayBuffer());
  const samples = buffer.getChannelData(0);
  const inFile = clicks.map((time) => {{
    let i = Math.round((time - 0.2) * buffer.sampleRate);
    while (i < samples.length && Math.abs(samples[i]) < 0.25) i += 1;
    return i / buffer.sampleRate;
  }});
  const context = new AudioContext();
  const source = context.createMediaElementSource(audio);
  const processor = context.createScriptProcessor(256, 1, 1);
  source.connect(processor).connect(context.destination);
  await context.resume();
  const listen = async (time) => {{
    let found = null;
    {VIEWER}.playback.seek(time - 0.3);
    processor.onaudioprocess = ({{ inputBuffer }}) => {{
      const loud = inputBuffer.getChannelData(0).some((x) => Math.abs(x) > 0.25);
      // Sound from before the seek may still arrive.
      found ??= loud && audio.currentTime > time - 0.25 ? audio.currentTime : null;
    }};
    await {VIEWER}.playback.play();
    const until = performance.now() + 3000;
    while (found === null && performance.now() < until) await new Promise((r) => setTimeout(r, 20));
    {VIEWER}.playback.pause();
    return found;
  }};
  const played = [];
  for (const time of clicks) {{
    let found = null; // a busy machine may drop the sound, and with it the click
    for (let i = 0; i < 4 && !(found < time + 0.25 && found); i++) found = await listen(time);
    played.push(found);
  }}
  await context.close();
  return {{ inFile, played, duration: audio.duration, delay: {VIEWER}.playback.delay }};
}}"""

# Each picture while playing: the frame that is shown, and the position of the sound.
IN_SYNC = f"""async (count) => {{
  const {{ playback, audio }} = {VIEWER};
  playback.seek(0.3);
  await playback.play();
  await new Promise((r) => setTimeout(r, 400));
  const pairs = [];
  while (pairs.length < count && playback.playing) {{
    await new Promise((r) => playback.addEventListener('frame', r, {{ once: true }}));
    pairs.push([{VIEWER}.frame / playback.fps, audio.currentTime - playback.delay]);
  }}
  playback.pause();
  return pairs;
}}"""

FILM_LEVEL = f"""async (frame) => {{
  const {{ playback, films: [{{ video }}] }} = {VIEWER};
  const sought = new Promise((r) => video.addEventListener('seeked', r, {{ once: true }}));
  playback.seekFrame(frame);
  await Promise.race([sought, new Promise((r) => setTimeout(r, 1000))]);
  const canvas = new OffscreenCanvas(8, 8);
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0, 8, 8);
  return context.getImageData(4, 4, 1, 1).data[0];
}}"""


@dataclass(frozen=True)
class Place:
    """A folder with pages, and a browser that opens them."""

    folder: Path
    browser: Any

    @contextmanager
    def opened(self, name: str, **options: Any) -> Iterator[Visit]:
        """Open a page from the disk, and wait until it is ready."""
        with visiting((self.folder / name).as_uri(), self.browser, **options) as visit:
            visit.page.wait_for_selector(READY, timeout=30_000)
            yield visit


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The pages one.html, and two.html with a heat map and a film."""
    find_browser()  # skip before the pages are written
    folder = tmp_path_factory.mktemp("pages")
    first, second = speaking(1), speaking(2)
    ct.render(first, folder / "one.html")
    write_film(folder / "film.mp4")
    panels = (
        Panel(first, HOSTILE),
        Panel(second, "b"),
        Panel(second, "distance", against=first),
    )
    footage = (Footage.open(folder / "film.mp4", "person", 0),)
    exhibit = Exhibit(panels, footage, title=HOSTILE)
    write_page(exhibit, folder / "two.html", RenderSettings.model_validate({}))
    with launched() as browser:
        yield Place(folder, browser)


def test_the_drawn_frames_are_those_of_the_motion(place: Place) -> None:
    frames = [0, 1, 30, N_FRAMES - 1]
    with place.opened("two.html") as visit:
        shown = np.array(visit.page.evaluate(POSITIONS, frames), np.float64)
        assert (visit.console, visit.requests) == ([], [])
    first, second = speaking(1), speaking(2)
    shown = shown.reshape(len(frames), 3, -1, 3)
    # The heads of faces turn; that of the heat map is still.
    for column, motion in enumerate([turned(first), turned(second), second]):
        error = np.linalg.norm(shown[:, column] - motion.vertices[frames], axis=-1).max()
        assert error <= 1e-4, column  # 0.1 mm


def test_the_sound_is_where_it_was_recorded(place: Place) -> None:
    with place.opened("one.html") as visit:
        found = visit.page.evaluate(CLICK_TIMES, list(CLICKS))
    np.testing.assert_allclose(found["inFile"], CLICKS, atol=0.005)
    np.testing.assert_allclose(np.array(found["played"], np.float64), CLICKS, atol=1 / FPS)
    assert found["duration"] == pytest.approx(N_FRAMES / FPS, abs=0.002) and found["delay"] == 0


def test_the_face_follows_the_sound(place: Place) -> None:
    with place.opened("one.html") as visit:
        pairs = np.array(visit.page.evaluate(IN_SYNC, 20))
        assert visit.console == []
    late = (pairs[:, 1] - pairs[:, 0]) * FPS  # 0 to 1: while the frame is shown
    assert len(pairs) > 5 and -0.5 <= np.median(late) <= 1.5
    assert np.mean((late > -1) & (late < 2)) >= 0.8  # some pictures are late on a busy machine


def test_the_film_shows_the_frame_of_the_motion(place: Place) -> None:
    with place.opened("two.html") as visit:
        for frame in (0, 1, 17, 40, N_FRAMES - 1, 3):
            level = visit.page.evaluate(FILM_LEVEL, frame)
            # Levels are 10 apart in limited range, so at least 11 apart in full range.
            expected = (brightness(frame) - 16) * 255 / 219
            assert min(abs(level - brightness(frame)), abs(level - expected)) <= 5, frame


def test_names_are_shown_as_text(place: Place) -> None:
    with place.opened("two.html") as visit:
        page = visit.page
        assert page.locator("figcaption").first.text_content() == "person"
        assert page.locator("figcaption").nth(1).text_content() == HOSTILE
        assert page.locator("img").count() == 0
        assert page.title() == HOSTILE


def test_the_keys_move_through_the_recording(place: Place) -> None:
    with place.opened("one.html") as visit:
        page = visit.page

        def frame_after(*keys: str) -> int:
            for key in keys:
                page.keyboard.press(key)
            return page.evaluate(f"{VIEWER}.frame")

        assert frame_after("Home") == 0
        assert frame_after("ArrowRight", "ArrowRight") == 2
        assert frame_after("ArrowLeft") == 1
        assert frame_after("Shift+ArrowRight") == 26
        assert frame_after("End") == N_FRAMES - 1
        assert frame_after("Home", "Space") >= 0 and page.evaluate(f"{VIEWER}.playback.playing")
        page.keyboard.press("Space")
        assert not page.evaluate(f"{VIEWER}.playback.playing")
        page.keyboard.press("s")
        assert page.evaluate(f"{VIEWER}.playback.speed") == 0.5
        page.keyboard.press("w")
        assert page.get_by_label("Wireframe").is_checked()
        page.keyboard.press("3")
        assert page.get_by_label("View", exact=True).input_value() == "profile"
        page.keyboard.press("m")
        assert page.evaluate(f"{VIEWER}.audio.muted")
        assert visit.console == []


def test_a_face_turns_and_zooms_with_keys_and_the_mouse(place: Place) -> None:
    camera = f"{VIEWER}.views[0].view.getCamera().eye"
    with place.opened("one.html") as visit:
        page = visit.page
        start = page.evaluate(camera)
        page.locator(".stage canvas").first.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("+")
        turned_eye = page.evaluate(camera)
        assert turned_eye[0] > start[0] + 0.01
        assert np.linalg.norm(turned_eye) < np.linalg.norm(start)
        page.get_by_role("button", name="Reset view").click()
        np.testing.assert_allclose(page.evaluate(camera), start, atol=1e-9)
        box = page.locator(".stage canvas").first.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 50, box["y"] + 50)
        page.mouse.down()
        page.mouse.move(box["x"] + 120, box["y"] + 50, steps=3)
        page.mouse.up()
        assert abs(page.evaluate(camera)[0] - start[0]) > 0.01
        assert visit.console == []


def test_the_curve_is_a_slider(place: Place) -> None:
    with place.opened("one.html") as visit:
        page = visit.page
        curve = page.locator(".curves canvas")
        box = curve.bounding_box()
        assert box is not None
        curve.click(position={"x": box["width"] / 2, "y": 20})
        assert page.evaluate(f"{VIEWER}.playback.time") == pytest.approx(1.5, abs=0.02)
        frame = page.evaluate(f"{VIEWER}.frame")
        curve.press("ArrowRight")
        assert page.evaluate(f"{VIEWER}.frame") == frame + 1
        curve.press("PageDown")
        assert page.evaluate(f"{VIEWER}.frame") == frame + 1 - FPS
        curve.press("End")
        assert float(curve.get_attribute("aria-valuenow") or 0) == 3.0
        assert visit.console == []


def test_slow_motion_slows_the_face_and_the_sound(place: Place) -> None:
    with place.opened("one.html") as visit:
        visit.page.get_by_label("Speed").select_option("0.25")
        passed, rate = visit.page.evaluate(f"""async () => {{
          const {{ playback, audio }} = {VIEWER};
          playback.seek(0.5);
          await playback.play();
          await new Promise((r) => setTimeout(r, 300));
          const [time, start] = [playback.time, performance.now()];
          await new Promise((r) => setTimeout(r, 1200));
          const passed = (playback.time - time) / ((performance.now() - start) / 1000);
          playback.pause();
          return [passed, audio.playbackRate];
        }}""")
    assert rate == 0.25 and passed == pytest.approx(0.25, abs=0.08)


def test_the_end_pauses_or_repeats(place: Place) -> None:
    near_end = f"""async () => {{
      const {{ playback }} = {VIEWER};
      playback.seek(2.8);
      await playback.play();
      await new Promise((r) => setTimeout(r, 900));
      return [playback.playing, playback.time];
    }}"""
    with place.opened("one.html") as visit:
        playing, time = visit.page.evaluate(near_end)
        assert not playing and time == 3.0
        assert visit.page.get_by_role("button", name="Play").count() == 1
        visit.page.get_by_label("Repeat").check()
        playing, time = visit.page.evaluate(near_end)
        assert playing and time < 2.0
        assert visit.console == []


def test_a_single_frame_and_a_short_film_are_shown(place: Place) -> None:
    motion = speaking(3)
    still = replace(motion, vertices=motion.vertices[:1], head=None, audio=None)
    ct.render(still, place.folder / "still.html")
    write_film(place.folder / "short.mp4", fps=10, n_frames=5)  # half a second
    footage = (Footage.open(place.folder / "short.mp4", "person", 1),)
    exhibit = Exhibit((Panel(motion),), footage)
    write_page(exhibit, place.folder / "short.html", RenderSettings.model_validate({}))
    with place.opened("still.html") as visit:
        visit.page.keyboard.press("Space")
        visit.page.keyboard.press("ArrowRight")
        assert visit.page.evaluate(f"{VIEWER}.frame") == 0 and visit.console == []
    with place.opened("short.html") as visit:
        # Frame 5 of the motion is at 0.2 s, frame 2 of the film; the last frame stays.
        for frame, shown in ((5, 2), (60, 4)):
            level = visit.page.evaluate(FILM_LEVEL, frame)
            expected = (brightness(shown) - 16) * 255 / 219
            assert min(abs(level - brightness(shown)), abs(level - expected)) <= 5, frame
        assert visit.console == []


def test_embedded_viewers_open_on_request_and_play_one_at_a_time(place: Place) -> None:
    parts, settings = viewer_parts(), RenderSettings.model_validate({})
    panels = tuple(Panel(speaking(k), str(k)) for k in range(5))
    elements = embedded(Exhibit(panels), settings) + 2 * embedded(Exhibit(panels[:1]), settings)
    elements += embedded(Exhibit((*panels, *panels)), settings)
    (place.folder / "many.html").write_text(
        f"<!doctype html><meta charset=utf-8><title>Report</title><style>{parts['style']}</style>"
        f"{elements}{parts['modules']}<script>{parts['boot']}</script>",
        encoding="utf-8",
    )
    with visiting((place.folder / "many.html").as_uri(), place.browser) as visit:
        page = visit.page
        page.locator("button.open:visible").nth(3).wait_for()
        assert page.locator("canvas").count() == 0
        for n_open in (1, 2, 3):
            page.locator("button.open").first.click()
            page.locator(READY).nth(n_open - 1).wait_for()
        for number in (1, 2):
            page.get_by_role("button", name="Play", exact=True).nth(number).click()
            viewers = page.locator(READY).all()
            playing = [one.evaluate("(x) => x.viewer.playback.playing") for one in viewers]
            assert sum(playing) == 1
            page.get_by_role("button", name="Pause", exact=True).click()
        # There are too many faces for a browser now, so the first viewer is closed.
        page.locator("button.open").first.click()
        page.locator(".notice").wait_for()
        assert page.locator(".notice").count() == 1 and page.title() == "Report"
        assert visit.console == []


def test_controls_have_names_for_screen_readers(place: Place) -> None:
    with place.opened("two.html") as visit:
        page = visit.page
        for role, name in (
            ("button", "Play"), ("button", "One frame back"), ("button", "One frame forward"),
            ("slider", "Frame"), ("combobox", "Speed"), ("combobox", "View"),
            ("checkbox", "Wireframe"), ("checkbox", "Repeat"), ("checkbox", "Sound"),
            ("slider", "Position in the recording"), ("img", "Talking face: b"),
            ("img", "Heat map of the distance: distance"),
        ):  # fmt: skip
            assert page.get_by_role(role, name=name, exact=True).count() == 1, name
        page.get_by_role("button", name="One frame forward").click()
        text = page.get_by_role("slider", name="Position").get_attribute("aria-valuetext")
        assert text == "0.04 of 3.00 seconds"


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1200, "light")])
def test_the_page_fits_narrow_and_wide_screens(place: Place, width: int, scheme: str) -> None:
    options = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with place.opened("two.html", **options) as visit:
        page = visit.page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        level = int(background.removeprefix("rgb(").split(",")[0])
        assert level < 60 if scheme == "dark" else level > 200
        # The face is drawn: the stage has many colors.
        picture = page.locator(".stage").nth(1).screenshot()
        assert len(picture) > 3000


def test_a_picture_takes_little_time(place: Place) -> None:
    with place.opened("one.html") as visit:
        times = visit.page.evaluate(
            f"""() => {{
              for (let i = 0; i < 60; i++) {VIEWER}.playback.seekFrame(i % {N_FRAMES});
              return {VIEWER}.scriptTimes.slice(-40);
            }}"""
        )
    assert np.median(times) <= 4.0  # milliseconds


def test_an_unusable_browser_gets_a_plain_sentence(place: Place) -> None:
    for script, sentence in (
        ("delete window.DecompressionStream", "too old to show the faces"),
        ("HTMLCanvasElement.prototype.getContext = () => null", "WebGL does not work"),
    ):
        with visiting(browser=place.browser) as visit:
            visit.page.add_init_script(script)
            visit.page.goto((place.folder / "one.html").as_uri())
            visit.page.wait_for_selector(f".status:text('{sentence}')", timeout=20_000)
            assert visit.console == []


def test_a_missing_browser_is_an_error_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Chromium is installed"):
        find_browser()
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="no Chromium is installed"):
        find_browser()
    assert os.environ[REQUIRED] == "1"
