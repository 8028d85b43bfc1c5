"""Several panels in one picture: order, cameras, labels, heat maps, backgrounds and errors."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ball import SOFTWARE, make_motion

from codetalker_cli.errors import DataError, RenderError
from codetalker_cli.motion import Motion
from codetalker_cli.render import (
    Panel,
    contact_sheet,
    encoder,
    heat_colors,
    heat_picture,
    render_frames,
    render_video,
    scene,
)
from codetalker_cli.render.captions import label_height
from codetalker_cli.render.heat import heat_range
from codetalker_cli.render.panels import Stage, as_panels, set_stage
from codetalker_cli.surface import to_linear

SIZE = SOFTWARE.size


def moved(motion: Motion, by: float) -> Motion:
    """Return the motion with all vertices shifted by ``by`` along x."""
    return replace(motion, vertices=motion.vertices + np.float32([by, 0, 0]))


def one_frame(shown: Motion | list[Panel], **changes: object) -> np.ndarray:
    (picture,) = render_frames(shown, SOFTWARE.model_copy(update=changes), [1])
    return picture


# Panels -----------------------------------------------------------------------------------------


def test_panels_are_in_order_and_drawn_as_if_alone() -> None:
    first = make_motion()
    second = replace(first, vertices=first.vertices * np.float32([0.5, 1, 1]))
    both = one_frame([Panel(second), Panel(first), Panel(second)])
    assert both.shape == (SIZE, 3 * SIZE, 3)
    for place, motion in enumerate((second, first, second)):
        alone = one_frame(replace(motion, template=first.template))
        np.testing.assert_array_equal(both[:, place * SIZE : (place + 1) * SIZE], alone)


def test_equal_templates_share_a_camera_and_each_motion_is_sent_once() -> None:
    first = make_motion()
    other = replace(moved(first, 0.3), template=first.template.copy())
    larger = replace(other, template=2 * first.template)
    panels = [Panel(m) for m in (first, other, larger)] + [Panel(other, against=first)]
    stage, sources = set_stage(panels, SOFTWARE)
    assert stage.shown == (0, 1, 1, 1) and stage.against == (-1, -1, -1, 0)
    assert sources[0].vertices is first.vertices and sources[1].vertices is other.vertices
    eyes = [s.eye for s in stage.scenes]
    np.testing.assert_array_equal(eyes[0], eyes[1])
    np.testing.assert_array_equal(eyes[0], eyes[3])
    assert np.abs(eyes[2] - eyes[0]).max() > 1
    again = Stage.from_bytes(stage.to_bytes())
    assert (again.shown, again.against, again.n_vertices) == (
        stage.shown,
        stage.against,
        stage.n_vertices,
    )
    for one, two in zip(stage.scenes, again.scenes, strict=True):
        for key, value in one.to_arrays().items():
            np.testing.assert_array_equal(value, getattr(two, key), err_msg=key)


@pytest.mark.parametrize("background", ["#8b96a5", "transparent"])
def test_several_processes_draw_the_same_panels(background: str) -> None:
    first = make_motion(18)
    panels = [Panel(first, "a"), Panel(moved(first, 0.1), "b", against=first)]
    changes = {"size": 32, "background": background}
    settings = SOFTWARE.model_copy(update=changes)
    one = list(render_frames(panels, settings, range(18)))
    two = list(render_frames(panels, settings.model_copy(update={"workers": 2}), range(18)))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_long_labels_that_differ_at_the_end_look_different() -> None:
    motion, name = (
        make_motion(),
        "FaceTalk_170725_00137_TA_sentence01_condition_FaceTalk_170728_0327",
    )
    first, second = (one_frame([Panel(motion, f"{name}{k}_TA")], size=128) for k in (2, 6))
    assert (first != second).any()


def test_a_label_changes_only_the_top_of_its_panel() -> None:
    motion = make_motion()
    plain = one_frame([Panel(motion), Panel(motion)], size=128)
    labeled = one_frame([Panel(motion, "left"), Panel(motion, "x" * 300)], size=128)
    changed = (labeled != plain).any(2)
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert rows.max() < label_height(128)
    left = columns[columns < 128]
    assert abs(left.mean() - 64) < 8 and len(left) < 50  # centered
    assert columns.min() > 2 and columns.max() < 2 * 128 - 2  # a text that is too long is cut
    assert labeled[changed].max() > 230  # light text
    bright = one_frame([Panel(motion, "left")], size=128, background="white")
    assert bright[: label_height(128)].min() < 90  # dark text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": 30.0}, r"first\.npz has 25 frames per second, but second\.npz has 30; give `fps`"),
        ({"vertices": make_motion(9).vertices}, r"first\.npz has 6 frames, but second\.npz has 9"),
        ({"vertices": np.zeros((6, 5, 3), np.float32)}, r"second\.npz: .* \(6, 5, 3\)"),
    ],
)
def test_motions_that_do_not_match_are_refused(change: dict, message: str) -> None:
    first = make_motion()
    panels = [Panel(first, origin="first.npz")]
    panels += [Panel(replace(first, **change), origin="second.npz")]
    with pytest.raises(RenderError, match=message):
        one_frame(panels)
    heat = [Panel(panels[1].motion, origin="second.npz", against=first)]
    with pytest.raises(RenderError, match=r"second\.npz"):
        one_frame(heat)
    with pytest.raises(RenderError, match="at least one"):
        one_frame([])


def test_a_heat_map_needs_one_mesh_and_finite_vertices() -> None:
    first = make_motion()
    smaller = replace(first.topology, n_vertices=5, triangles=first.topology.triangles[:0])
    other = replace(first, topology=smaller, vertices=first.vertices[:, :5])
    with pytest.raises(RenderError, match=r"a has 266 vertices, .* has 5; a heat map needs two"):
        one_frame([Panel(first, "a", against=other)])
    broken = moved(first, 0.1)
    broken.vertices[1, 3] = np.inf
    with pytest.raises(RenderError, match=r"b\.npz: frame 1 of the motion contains NaN"):
        one_frame([Panel(first), Panel(broken, origin="b.npz")])


def test_a_video_of_slightly_different_lengths_ends_with_the_shortest(tmp_path: Path) -> None:
    panels = [Panel(make_motion(6)), Panel(make_motion(8))]
    report = render_video(panels, tmp_path / "v.mp4", SOFTWARE)
    assert report.n_frames == 6 and report.size == (2 * SIZE, SIZE)


# Heat -------------------------------------------------------------------------------------------


def test_the_color_map_goes_from_cool_through_yellow_to_red() -> None:
    colors = heat_colors(np.array([[-1.0, 0.0, 0.4], [0.999, 1.0, 7.0]]))
    assert colors.shape == (2, 3, 3) and colors.dtype == np.uint8
    (below, cool, yellow), (_, hot, beyond) = colors.astype(int)
    np.testing.assert_array_equal(below, cool)
    np.testing.assert_array_equal(beyond, hot)
    assert cool[2] > cool[0] and yellow[:2].min() > yellow[2] + 80 and hot[0] > hot[1:].max() + 100
    steps = np.abs(np.diff(heat_colors(np.linspace(0, 1, 256)).astype(int), axis=0))
    assert steps.max() < 8


@pytest.mark.parametrize("distance", [0.0, 0.004, 0.01, 0.05])
def test_the_albedo_of_a_distance_is_its_heat_color(distance: float) -> None:
    motion = make_motion()
    stage, _ = set_stage([Panel(motion, against=motion)], SOFTWARE)
    found = scene.Painter(stage.scenes[0]).heat_albedo(np.full(266, distance))
    expected = to_linear(heat_colors(np.array(distance / 0.01)) / 255)
    np.testing.assert_allclose(found, np.broadcast_to(expected, (266, 3)), atol=1e-6)


def test_heat_follows_the_distance_in_each_frame() -> None:
    first = make_motion()
    other = replace(first, vertices=first.vertices.copy())
    other.vertices[1, :, 0] += 0.01  # 10 mm in this frame only
    panels = [Panel(other, against=first), Panel(first, against=first)]
    frames = list(render_frames(panels, SOFTWARE, [0, 1]))
    middle = [f[28:36, 28:36].reshape(-1, 3).mean(0) for f in frames]
    assert middle[0][2] > middle[0][0]  # cool
    assert middle[1][0] > middle[1][1:].max() + 60  # hot
    np.testing.assert_array_equal(frames[0][28:36, 28:36], frames[0][28:36, 92:100])


def test_without_a_unit_the_heat_range_depends_on_the_height_of_the_face() -> None:
    motion = make_motion()
    unitless = replace(motion.topology, unit="area1")
    assert heat_range(motion.topology, motion.template, SOFTWARE) == pytest.approx(0.01)
    assert heat_range(unitless, motion.template, SOFTWARE) == pytest.approx(0.04 * 2)
    half = SOFTWARE.model_copy(update={"heat_max_share": 0.02, "heat_max_mm": 5.0})
    assert heat_range(unitless, motion.template, half) == pytest.approx(0.02 * 2)
    assert heat_range(replace(unitless, unit="mm"), motion.template, half) == 5.0


def test_heat_picture_shows_values_and_a_bar() -> None:
    motion = make_motion()
    values = np.where(motion.template[:, 0] > 0, 3.0, 0.0)
    settings = SOFTWARE.model_copy(update={"size": 96})
    picture = heat_picture(motion.topology, motion.template, values, settings, 3.0, "mean")
    left, right = picture[48, 24].astype(int), picture[48, 66].astype(int)
    assert left[2] > left[0] and right[0] > right[2] + 60
    bare = heat_picture(motion.topology, motion.template, values, settings, 3.0, hottest="")
    columns = np.flatnonzero((bare != picture)[30:66].any((0, 2)))
    assert columns.min() > 80  # only the bar at the right edge
    for bad, message in (
        (values[:5], r"\(5,\).*\(266,\)"),
        (values * np.nan, "finite"),
    ):
        with pytest.raises(RenderError, match=message):
            heat_picture(motion.topology, motion.template, bad, settings, 3.0)
    with pytest.raises(RenderError, match="the maximum must be above 0; it is 0"):
        heat_picture(motion.topology, motion.template, values, settings, 0.0)


# Views and backgrounds --------------------------------------------------------------------------


def test_views_are_defaults_for_angles_and_framing() -> None:
    motion = make_motion()
    lips = np.flatnonzero(motion.template[:, 2] > 0.9).astype(np.int32)
    motion = replace(motion, topology=replace(motion.topology, regions={"lips": lips}))

    def camera(**changes: object) -> scene.Camera:
        return scene.build_scene(motion, SOFTWARE.model_copy(update=changes)).camera

    front, mouth = camera(), camera(view="mouth")
    assert front.rotation[2].tolist() == mouth.rotation[2].tolist() == [0, 0, 1]
    distance = [np.linalg.norm(c.eye) for c in (front, mouth)]
    assert distance[1] < 0.7 * distance[0]
    assert camera(view="profile").rotation[2] == pytest.approx([1, 0, 0])
    assert camera(view="profile", yaw=0.0).rotation[2].tolist() == [0, 0, 1]
    assert camera(view="three-quarter").rotation[2][0] > 0.4
    np.testing.assert_array_equal(camera(view="mouth", framing="head").eye, front.eye)
    bare = replace(motion, topology=replace(motion.topology, regions={}))
    with pytest.raises(DataError, match=r"view mouth: .* no region lips or mouth"):
        one_frame(bare, view="mouth")


@pytest.mark.parametrize(("name", "level"), [("black", 0), ("white", 255)])
def test_named_backgrounds_have_a_single_color(name: str, level: int) -> None:
    corners = one_frame(make_motion(), background=name)[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == level).all()
    faded = one_frame(make_motion(), background="white", vignette=0.45)
    assert faded[-1, -1].max() < 200


@pytest.mark.parametrize("label", ["", "label"])
@pytest.mark.parametrize("samples", [1, 4, 16])
def test_a_transparent_picture_over_a_color_matches_the_opaque_one(
    samples: int, label: str
) -> None:
    panels = [Panel(make_motion(), label)]
    bare = one_frame(panels, samples=samples, background="transparent")
    assert bare.shape == (SIZE, SIZE, 4)
    assert set(np.unique(bare[28:36, 28:36, 3])) == {255} and bare[-1, 0, 3] == 0
    edges = (bare[..., 3] > 0) & (bare[..., 3] < 255)
    assert label or edges.any() == (samples > 1)
    color = np.array([0x20, 0xC0, 0x40])
    opaque = one_frame(panels, samples=samples, background="#20c040", vignette=0.0)
    part = bare[..., 3:] / 255.0
    over = bare[..., :3] * part + color * (1 - part)
    assert np.abs(over - opaque).max() <= 2


@pytest.mark.parametrize(
    ("name", "pixels", "codec"),
    [("v.mov", "yuva444p", "prores"), ("v.webm", "vp9", "vp9"), ("v.mkv", "yuv420p", "h264")],
)
def test_each_container_has_its_codec(tmp_path: Path, name: str, pixels: str, codec: str) -> None:
    import imageio_ffmpeg

    transparent = name != "v.mkv"
    settings = SOFTWARE.model_copy(
        update={"background": "transparent" if transparent else "black", "size": 32}
    )
    tone = 0.5 * np.sin(np.arange(4000) * 0.2).astype(np.float32)
    report = render_video(make_motion(6, audio=tone), tmp_path / name, settings)
    decoder = ["-c:v", "libvpx-vp9"] if name == "v.webm" else []
    reader = imageio_ffmpeg.read_frames(
        report.path, pix_fmt="rgba", bits_per_pixel=32, input_params=decoder
    )
    meta = next(reader)
    first = np.frombuffer(next(reader), np.uint8).reshape(32, 32, 4)
    assert codec in meta["codec"] and (pixels in meta["pix_fmt"] or transparent)
    assert report.has_sound and meta["fps"] == 25
    assert first[16, 16, 3] == 255
    assert first[-1, 0, 3] < 8 if transparent else first[-1, 0, 3] == 255


def test_containers_without_transparency_are_refused(tmp_path: Path) -> None:
    clear = SOFTWARE.model_copy(update={"background": "transparent"})
    with pytest.raises(RenderError, match=r"\.mp4 video cannot be transparent; use \.mov or"):
        render_video(make_motion(), tmp_path / "v.mp4", clear)
    with pytest.raises(RenderError, match=r"needs codec prores_ks, not libx264"):
        render_video(
            make_motion(), tmp_path / "v.mov", clear.model_copy(update={"codec": "libx264"})
        )
    assert encoder.codec_of(tmp_path / "v.webm", SOFTWARE) == "libvpx-vp9"
    assert not list(tmp_path.iterdir())


def test_a_contact_sheet_of_several_panels_has_one_row_per_panel() -> None:
    first = make_motion()
    second = replace(first, vertices=first.vertices * np.float32([0.5, 1, 1]))
    sheet = contact_sheet([Panel(first), Panel(second)], SOFTWARE, [0, 2, 4])
    assert sheet.shape == (2 * SIZE + 16, 3 * SIZE, 3)
    alone = one_frame(replace(second, vertices=second.vertices[3:]))
    np.testing.assert_array_equal(sheet[SIZE : 2 * SIZE, 2 * SIZE :], alone)


@pytest.mark.parametrize("factor", [1000, 0.001, 1e30, 1e-30])
def test_frames_in_another_unit_than_the_template_are_refused(factor: float) -> None:
    motion = make_motion()
    scaled = replace(motion, vertices=np.asarray(motion.vertices) * np.float32(factor))
    with pytest.raises(RenderError, match="times as large as the template"):
        as_panels(scaled)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v * np.float32([-1, 1, 1]), "is mirrored relative to the template"),
        (lambda v: v[..., [1, 2, 0]], "is rotated by 120° relative to the template"),
        (lambda v: v[:, ::-1], "has another vertex order than|is rotated|is mirrored"),
    ],
)
def test_frames_with_other_axes_or_vertices_are_refused(
    change: Callable[[np.ndarray], np.ndarray], words: str
) -> None:
    motion = make_motion()
    with pytest.raises(RenderError, match=words):
        as_panels(replace(motion, vertices=change(np.asarray(motion.vertices))))


def test_a_frame_of_zeros_is_refused() -> None:
    motion = make_motion()
    vertices = np.array(motion.vertices)
    vertices[1] = 0
    _, sources = set_stage(as_panels(replace(motion, vertices=vertices)), SOFTWARE)
    with pytest.raises(RenderError, match="frame 1 of the motion has all vertices at one point"):
        sources[0].read([0, 1])


def test_a_motion_of_zeros_is_refused() -> None:
    motion = make_motion()
    with pytest.raises(RenderError, match="all vertices of the first frame are at one point"):
        as_panels(replace(motion, vertices=np.asarray(motion.vertices) * 0))


def test_a_motion_outside_the_picture_is_refused() -> None:
    with pytest.raises(RenderError, match="face sizes away from the template, outside the pic"):
        as_panels(moved(make_motion(), 100.0))


def test_an_absurd_coordinate_is_named_with_its_frame() -> None:
    motion = make_motion()
    vertices = np.array(motion.vertices)
    vertices[1, 3] = 1e30
    with pytest.raises(RenderError, match=r"frame 1 of the motion contains coordinates up to"):
        one_frame(replace(motion, vertices=vertices))


def test_a_heat_map_of_two_units_is_refused() -> None:
    first = make_motion()
    other = replace(first, topology=replace(first.topology, unit="mm"))
    as_panels([Panel(first), Panel(other)])  # each is drawn in its own unit
    with pytest.raises(RenderError, match=r"the unit of b\.npz is mm, but that of a\.npz is m;"):
        as_panels([Panel(first, origin="a.npz"), Panel(other, origin="b.npz", against=first)])


@pytest.mark.parametrize(
    ("factor", "shift", "words"),
    [(1000, 0, "is 1000 times as large as"), (1, 99, "is .* face sizes away from")],
)
def test_a_heat_map_of_two_sizes_or_places_is_refused(
    factor: float, shift: float, words: str
) -> None:
    first = make_motion()
    vertices, template = (np.asarray(a) * factor + shift for a in (first.vertices, first.template))
    other = replace(first, vertices=vertices.astype(np.float32), template=template)
    with pytest.raises(RenderError, match=rf"template of b\.npz {words} that of the reference"):
        as_panels([Panel(other, origin="b.npz", against=first)])
