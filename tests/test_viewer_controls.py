"""The controls of the page in a real browser: keys, mouse, screen readers, and narrow screens."""

import math
import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from browser import REQUIRED, find_browser, visiting
from viewer_pages import FPS, HOSTILE, N_FRAMES, READY, VIEWER, Place, pages, speaking

from codetalker_cli.render import Panel
from codetalker_cli.render.footage import Footage
from codetalker_cli.render.lip_charts import LipCurve
from codetalker_cli.render.viewer import Exhibit, embedded, viewer_parts, write_page
from codetalker_cli.settings import RenderSettings

SETTINGS = RenderSettings.model_validate({})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The pages one.html, and two.html with a heat map and a film."""
    with pages(tmp_path_factory.mktemp("pages")) as place:
        yield place


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


def test_the_keys_can_be_turned_off(place: Place) -> None:
    with place.opened("one.html") as visit:
        page = visit.page
        page.get_by_label("Keys", exact=True).uncheck()
        page.evaluate("document.activeElement.blur()")
        for key in ("ArrowRight", "w", "3", "m", "s", "Space"):
            page.keyboard.press(key)
        state = f"""(({{ frame, playback, audio }}) =>
          [frame, playback.speed, playback.playing, audio.muted])({VIEWER})"""
        assert page.evaluate(state) == [0, 1, False, False]
        page.get_by_label("Frame", exact=True).press("ArrowRight")  # its own key
        assert page.evaluate(f"{VIEWER}.frame") == 1
        page.get_by_label("Keys", exact=True).check()
        page.keyboard.press("w")
        assert page.get_by_label("Wireframe").is_checked() and visit.console == []


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


def test_curves_of_other_units_have_their_own_scale(place: Place) -> None:
    motion = speaking(5)
    regions = {"inner_lip_upper": np.array([2, 3]), "inner_lip_lower": np.array([30, 31])}
    topology = replace(motion.topology, regions=regions)
    unknown = replace(topology, unit="area1")
    panels = [
        Panel(replace(motion, topology=t), label) for t, label in ((topology, "a"), (unknown, "b"))
    ]
    footage = (Footage.open(place.folder / "film.mp4", "person", 2),)
    gaps = np.array([0.0, 15.0, np.nan])
    curves = [LipCurve(name, np.array([0.0, 1.0, 2.0]), gaps, gaps) for name in "abc"]
    exhibit = Exhibit(tuple(panels), footage, tuple(curves))
    write_page(exhibit, place.folder / "units.html", SETTINGS)
    with place.opened("units.html") as visit:
        entries = visit.page.locator(".legend span").all_text_contents()
        lines = visit.page.evaluate(f"{VIEWER}.curves.lines.map((x) => [x.unit, [...x.values]])")
        assert entries == ["a (mm)", "b (units)", "person (mm)"] and visit.console == []
    assert [unit for unit, _ in lines] == ["mm", "units", "mm"]
    upper, lower = (motion.vertices[:, regions[k], 1].mean(1) for k in regions)
    np.testing.assert_allclose(lines[0][1], 1000 * (upper - lower), atol=0.2)
    np.testing.assert_allclose(lines[1][1], upper - lower, atol=2e-4)


def test_the_end_pauses_or_repeats(place: Place) -> None:
    near_end = f"""async () => {{
      const {{ playback }} = {VIEWER};
      playback.seek(2.8);
      await playback.play();
      const until = performance.now() + 10000;
      while (playback.playing && playback.time > 2 && performance.now() < until) {{
        await new Promise((r) => setTimeout(r, 50));
      }}
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


def write_report(place: Place, elements: str) -> None:
    """Write many.html, a page with embedded viewers."""
    parts = viewer_parts()
    (place.folder / "many.html").write_text(
        f"<!doctype html><meta charset=utf-8><title>Report</title><style>{parts['style']}</style>"
        f"{elements}{parts['modules']}<script>{parts['boot']}</script>",
        encoding="utf-8",
    )


def test_embedded_viewers_open_on_request_and_play_one_at_a_time(place: Place) -> None:
    panels = tuple(Panel(speaking(k), str(k)) for k in range(5))
    elements = embedded(Exhibit(panels), SETTINGS) + 2 * embedded(Exhibit(panels[:1]), SETTINGS)
    write_report(place, elements + embedded(Exhibit((*panels, *panels)), SETTINGS))
    with visiting((place.folder / "many.html").as_uri(), place.browser) as visit:
        page = visit.page
        page.locator("button.open:visible").nth(3).wait_for()
        assert page.locator("canvas").count() == 0
        for n_open in (1, 2, 3):
            page.locator("button.open").first.click()
            page.locator(READY).nth(n_open - 1).wait_for()
            focused = "document.activeElement.closest('.controls') && document.activeElement"
            assert page.evaluate(f"({focused}).textContent") == "Play"
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
        page.locator(READY).nth(2).wait_for()
        assert page.locator(READY).count() == 3
        assert visit.console == []


def test_viewers_opened_at_once_share_the_drawings_of_a_browser(place: Place) -> None:
    footage = (Footage.open(place.folder / "film.mp4", "person", 0),)
    panels = tuple(Panel(speaking(k), str(k)) for k in range(6))
    write_report(place, "\n".join(3 * [embedded(Exhibit(panels, footage), SETTINGS)]))
    noting = """
      window.urls = new Set();
      const [create, revoke] = [URL.createObjectURL, URL.revokeObjectURL];
      URL.createObjectURL = (blob) => {
        const url = create(blob);
        urls.add(url);
        return url;
      };
      URL.revokeObjectURL = (url) => urls.delete(url) && revoke(url);"""
    with visiting(browser=place.browser) as visit:
        page = visit.page
        page.add_init_script(noting)
        page.goto((place.folder / "many.html").as_uri())
        page.locator("button.open:visible").nth(2).wait_for()
        page.evaluate("document.querySelectorAll('button.open').forEach((b) => b.click())")
        page.locator(READY).nth(1).wait_for()
        page.locator(".notice").wait_for()
        assert page.locator(READY).count() == 2 and page.locator(".stage canvas").count() == 12
        closed = "document.querySelectorAll('.codetalker-viewer')[{}].viewer === undefined"
        assert [page.evaluate(closed.format(k)) for k in range(3)].count(True) == 1
        assert page.evaluate("urls.size") == 2 * 2  # the sound and the film of two viewers
        assert visit.console == []


def test_controls_have_names_for_screen_readers(place: Place) -> None:
    with place.opened("two.html") as visit:
        page = visit.page
        for role, name in (
            ("button", "Play"), ("button", "One frame back"), ("button", "One frame forward"),
            ("slider", "Frame"), ("combobox", "Speed"), ("combobox", "View"),
            ("checkbox", "Wireframe"), ("checkbox", "Repeat"), ("checkbox", "Sound"),
            ("checkbox", "Keys"), ("slider", "Position in the recording"),
            ("application", "Talking face: b"),
            ("application", "Heat map of the distance: distance"),
        ):  # fmt: skip
            assert page.get_by_role(role, name=name, exact=True).count() == 1, name
        keys = page.get_by_role("application", name="Talking face: b").get_attribute(
            "aria-describedby"
        )
        assert "arrow keys turn" in (page.locator(f"#{keys}").text_content() or "")
        page.get_by_role("button", name="One frame forward").click()
        text = page.get_by_role("slider", name="Position").get_attribute("aria-valuetext")
        assert text == "0.04 of 3.00 seconds"


def test_screen_readers_get_the_time_once_a_second(place: Place) -> None:
    play = f"""async () => {{
      const changes = [];
      const observer = new MutationObserver((found) => changes.push(...found));
      const sliders = document.querySelectorAll('.position, .curves canvas');
      const options = {{ attributeFilter: ['aria-valuetext'] }};
      for (const slider of sliders) observer.observe(slider, options);
      const {{ playback }} = {VIEWER};
      playback.seek(0.1);
      await playback.play();
      const until = performance.now() + 8000;
      while (playback.time < 1.5 && performance.now() < until) {{
        await new Promise((r) => setTimeout(r, 50));
      }}
      playback.pause();
      await new Promise((r) => setTimeout(r, 50));
      const texts = [...sliders].map((slider) => slider.getAttribute('aria-valuetext'));
      return [changes.length, texts, playback.time];
    }}"""
    with place.opened("one.html") as visit:
        n_changes, (curve, slider), time = visit.page.evaluate(play)
    # For each slider: the seek, the start, the next second, and the pause.
    assert n_changes <= 2 * 5 and time >= 1.5
    assert curve == f"{time:.2f} of 3.00 seconds"
    assert slider.startswith(f"0:0{math.floor(100 * time + 1e-6) / 100:.2f} / 0:03.00, frame ")


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1200, "light")])
def test_the_page_fits_narrow_and_wide_screens(place: Place, width: int, scheme: str) -> None:
    size = {"width": width, "height": 800}
    options = {"viewport": size, "color_scheme": scheme, "device_scale_factor": 1}
    with place.opened("two.html", **options) as visit:
        page = visit.page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        level = int(background.removeprefix("rgb(").split(",")[0])
        assert level < 60 if scheme == "dark" else level > 200
        # The face is drawn: the stage has many colors.
        picture = page.locator(".stage").nth(1).screenshot()
        assert len(picture) > 3000


def test_an_unusable_browser_gets_a_plain_sentence(place: Place) -> None:
    for script, sentence in (
        ("DecompressionStream = function () { throw new Error('damaged'); }", "(damaged)"),
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
