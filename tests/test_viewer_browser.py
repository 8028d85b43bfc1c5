"""The page in a real browser: positions, sound, film and the time that they take."""

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from browser import Visit, visiting
from viewer_pages import (
    CLICKS,
    FPS,
    N_FRAMES,
    READY,
    VIEWER,
    Place,
    brightness,
    pages,
    speaking,
    undisturbed,
    write_film,
)

import codetalker_cli as ct
from codetalker_cli.motion import Motion
from codetalker_cli.render import Panel
from codetalker_cli.render.footage import Footage
from codetalker_cli.render.scene import build_scene
from codetalker_cli.render.viewer import Exhibit, basis, content, write_page
from codetalker_cli.resources import asset
from codetalker_cli.rigs.posing import turned
from codetalker_cli.settings import RenderSettings
from codetalker_cli.surface import to_linear
from codetalker_cli.topology import Mesh

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

PLAY_A_MOMENT = f"""async () => {{
  const {{ playback }} = {VIEWER};
  await playback.play();
  await new Promise((r) => setTimeout(r, 700));
  playback.pause();
}}"""
# The gray level of the film at present.
FILM_LEVEL = f"""() => {{
  const context = new OffscreenCanvas(8, 8).getContext('2d');
  context.drawImage({VIEWER}.films[0].video, 0, 0, 8, 8);
  return context.getImageData(4, 4, 1, 1).data[0];
}}"""


def assert_film_shows(visit: Visit, frame: int) -> None:
    """Assert that the film comes to show a frame; a busy machine takes some time to find it."""
    # Levels are 10 apart in limited range, so at least 11 apart in full range.
    expected = (brightness(frame), (brightness(frame) - 16) * 255 / 219)
    deadline = time.monotonic() + 20
    while True:
        level = visit.page.evaluate(FILM_LEVEL)
        if min(abs(level - value) for value in expected) <= 5:
            return
        assert time.monotonic() < deadline, (frame, level, expected)
        visit.page.wait_for_timeout(20)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The pages one.html, and two.html with a heat map and a film."""
    with pages(tmp_path_factory.mktemp("pages")) as place:
        yield place


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


def test_heat_maps_have_the_colors_of_videos_below_them(place: Place) -> None:
    n_vertices = speaking().topology.n_vertices
    colors = np.random.default_rng(0).integers(0, 256, (n_vertices, 3), np.uint8)
    ours, other = (speaking(seed, audio=None, colors=colors) for seed in (1, 2))
    ct.render([ours, other], place.folder / "colors.html", heat=True)
    with place.opened("colors.html") as visit:
        albedo = f"{VIEWER}.views.map((x) => [...x.view.mesh.geometry.attributes.albedo.array])"
        shown = np.array(visit.page.evaluate(albedo)).reshape(3, n_vertices, 3)
        assert visit.console == []
    np.testing.assert_array_equal(shown[:2], [colors, colors])
    clay = build_scene(other, RenderSettings.model_validate({}), heat=0.01).albedo
    np.testing.assert_allclose(to_linear(shown[2].astype(np.float32) / 255), clay, atol=0.005)


def test_the_page_follows_a_motion_that_changes_its_basis(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(basis, "MAX_VECTORS", 4)
    motion = speaking(4, head=None, audio=None)
    monkeypatch.setattr(content, "BLOCK_BYTES", 10 * motion.vertices[0].nbytes)
    ct.render(motion, place.folder / "changing.html")
    between = f"""(frame) => {{
      const motion = {VIEWER}.motions[0];
      return [...motion.write(frame, new Float32Array(motion.template.length))];
    }}"""
    with place.opened("changing.html") as visit:
        assert visit.page.evaluate(f"{VIEWER}.motions[0].nVectors") >= 4 * 4
        shown = np.array(visit.page.evaluate(POSITIONS, [*range(N_FRAMES)]))
        halfway = np.array(visit.page.evaluate(between, 9.5)).reshape(motion.template.shape)
        assert visit.console == []
    shown = shown.reshape(motion.vertices.shape)
    assert np.linalg.norm(shown - motion.vertices, axis=-1).max() <= 1e-4
    expected = motion.vertices[9:11].mean(0)
    assert np.linalg.norm(halfway - expected, axis=-1).max() <= 1e-4


def test_the_sound_is_where_it_was_recorded(place: Place) -> None:
    with place.opened("one.html") as visit:
        found = visit.page.evaluate(CLICK_TIMES, list(CLICKS))
    np.testing.assert_allclose(found["inFile"], CLICKS, atol=0.005)
    played = np.array(found["played"], np.float64)
    assert np.abs(played - CLICKS).max() <= 1 / FPS, played - CLICKS
    assert found["duration"] == pytest.approx(N_FRAMES / FPS, abs=0.002) and found["delay"] == 0


def test_a_browser_that_plays_the_start_of_the_encoder_is_corrected(place: Place) -> None:
    # Such a browser plays 1024 samples more at 32 kHz, and perhaps silence at the end.
    longer = "Object.defineProperty(HTMLMediaElement.prototype, 'duration', {value: 3.04})"
    with visiting(browser=place.browser) as visit:
        visit.page.add_init_script(longer)
        visit.page.goto((place.folder / "one.html").as_uri())
        visit.page.wait_for_selector(READY)
        assert visit.page.evaluate(f"{VIEWER}.playback.delay") == pytest.approx(1024 / 32000)
        visit.page.evaluate(f"{VIEWER}.playback.seek(1)")
        time = visit.page.evaluate(f"{VIEWER}.audio.currentTime")
        assert time == pytest.approx(1.032, abs=0.001)


def test_the_face_follows_the_sound(place: Place) -> None:
    with place.opened("one.html") as visit:

        def delays() -> np.ndarray:
            pairs = np.array(visit.page.evaluate(IN_SYNC, 20)).reshape(-1, 2)
            return (pairs[:, 1] - pairs[:, 0]) * FPS  # 0 to 1: while the frame is shown

        def in_sync(late: np.ndarray) -> bool:
            if len(late) < 6:
                return False
            within = np.mean((late > -1) & (late < 2))  # some pictures are late on a busy machine
            return bool(-0.5 <= np.median(late) <= 1.5 and within >= 0.8)

        late = undisturbed(delays, in_sync)
        assert in_sync(late), late
        assert visit.console == []


def test_the_film_shows_the_frame_of_the_motion(place: Place) -> None:
    with place.opened("two.html") as visit:
        for frame in (0, 1, 17, 40, N_FRAMES - 1, 3):
            visit.page.evaluate(f"{VIEWER}.playback.seekFrame({frame})")
            assert_film_shows(visit, frame)


def test_the_film_stops_at_the_frame_of_the_motion(place: Place) -> None:
    with place.opened("two.html") as visit:
        for _ in range(3):
            visit.page.evaluate(PLAY_A_MOMENT)
            frame, paused = visit.page.evaluate(f"[{VIEWER}.frame, {VIEWER}.films[0].video.paused]")
            assert paused
            assert_film_shows(visit, frame)


def test_slow_motion_slows_the_face_and_the_sound(place: Place) -> None:
    with place.opened("one.html") as visit:
        visit.page.get_by_label("Speed").select_option("0.25")
        measure = f"""async () => {{
          const {{ playback, audio }} = {VIEWER};
          playback.seek(0.5);
          await playback.play();
          await new Promise((r) => setTimeout(r, 300));
          const [time, start] = [playback.time, performance.now()];
          await new Promise((r) => setTimeout(r, 1200));
          const passed = (playback.time - time) / ((performance.now() - start) / 1000);
          playback.pause();
          return [passed, audio.playbackRate];
        }}"""
        passed, rate = undisturbed(
            lambda: visit.page.evaluate(measure), lambda found: abs(found[0] - 0.25) <= 0.05
        )
    assert rate == 0.25 and passed == pytest.approx(0.25, abs=0.05)


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
            visit.page.evaluate(f"{VIEWER}.playback.seekFrame({frame})")
            assert_film_shows(visit, shown)
        assert visit.console == []


def test_a_picture_of_the_bundled_head_takes_little_time(place: Place) -> None:
    mesh = Mesh.load(asset("voice") / "mesh.npz")
    template = mesh.templates["S01"]
    generator = np.random.default_rng(0)
    shapes = generator.standard_normal((50, *template.shape)) * 0.0005
    frames = template + np.einsum("tk,kvc->tvc", generator.standard_normal((60, 50)), shapes)
    motion = Motion(frames.astype(np.float32), FPS, mesh.topology, "S01", template)
    ct.render(motion, place.folder / "head.html")
    # A small picture, because Chromium draws all of them without a graphics card before it closes.
    with place.opened("head.html", viewport={"width": 240, "height": 320}) as visit:
        assert visit.page.evaluate(f"{VIEWER}.motions[0].nVectors") >= 50
        measure = f"""() => {{
          for (let i = 0; i < 80; i++) {VIEWER}.playback.seekFrame(i % 60);
          return {VIEWER}.scriptTimes.slice(-50);
        }}"""
        milliseconds = undisturbed(
            lambda: float(np.median(visit.page.evaluate(measure))), lambda found: found <= 4
        )
    assert milliseconds <= 4
