"""The rasterizer compared with brute force; camera, framing and lighting."""

import numpy as np
import pytest
from ball import SOFTWARE, make_motion, sphere

from codetalker_cli import surface
from codetalker_cli.motion import Motion
from codetalker_cli.render import light, rasterizer, render_frames, scene
from codetalker_cli.topology import Topology

# --- rasterizer -----------------------------------------------------------------------------------


def brute_force(points, triangles, colors, width, height, samples):
    """Compute the depth and color of every sample with barycentric coordinates."""
    offsets = rasterizer.sample_columns(samples)
    y = (np.arange(height * samples) + 0.5) / samples
    x = np.arange(width) + offsets[np.arange(height * samples) % samples, None]
    y = np.broadcast_to(y[:, None], x.shape)
    depth, color = np.zeros(x.shape), np.zeros((*x.shape, 3))
    doubtful = np.zeros(x.shape, bool)  # so close to an edge that the result depends on rounding
    for triangle in triangles:
        (x0, y0, q0), (x1, y1, q1), (x2, y2, q2) = points[triangle]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        b1 = ((x - x0) * (y2 - y0) - (x2 - x0) * (y - y0)) / area
        b2 = ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) / area
        b = np.stack([1 - b1 - b2, b1, b2])
        doubtful |= (np.abs(b).min(0) < 1e-9) & (b.min(0) > -1e-9)
        inverse = np.array([q0, q1, q2])
        q = np.einsum("i,ihw->hw", inverse, b)
        nearer = (b.min(0) >= 0) & (q > depth)
        shade = np.einsum("ihw,ic->hwc", b * inverse[:, None, None], colors[triangle])
        depth[nearer] = q[nearer]
        color[nearer] = (shade / q[..., None])[nearer]
    return depth, color, doubtful


@pytest.mark.parametrize("samples", [1, 4, 8])
@pytest.mark.parametrize("depths", [(0.2, 3.0), (0.99, 1.01)])
@pytest.mark.parametrize("seed", range(3))
def test_rasterizer_agrees_with_brute_force(samples, depths, seed):
    rng = np.random.default_rng(seed)
    width, height, n = 37, 29, 25
    points = np.concatenate(
        [rng.uniform(-10, 45, (n, 2)), rng.uniform(*depths, (n, 1))], axis=1
    )  # some beyond the borders
    triangles = rng.permuted(np.tile(np.arange(n), (40, 1)), axis=1)[:, :3]
    colors = rng.uniform(0, 255, (n, 3))
    raster = rasterizer.Rasterizer(np.full((height, width, 3), 17.0), samples)
    raster.draw(points, triangles, colors)
    depth, color, doubtful = brute_force(points, triangles, colors, width, height, samples)
    found = raster.inverse_depth().reshape(height * samples, width)
    sure = ~doubtful
    np.testing.assert_array_equal((found > 0)[sure], (depth > 0)[sure])
    np.testing.assert_allclose(found[sure], depth[sure], rtol=2e-5)
    color[depth == 0] = 17
    mean = color.reshape(height, samples, width, 3).mean(1)
    if depths[1] < 2:
        # Colors are exact at the ends of a span and linear in between, where the true color is
        # slightly curved. For depths like those of a face, the difference is below two levels.
        error = np.abs(raster.resolve() - mean)[sure.reshape(height, samples, width).all(1)]
        assert error.max() < 2


def test_flat_colors_are_exact_and_gradients_are_within_one_level():
    points = np.array([[0, 0, 1], [40, 0, 1], [0, 40, 1], [40, 40, 1]], float)
    triangles = np.array([[0, 1, 2], [2, 1, 3]])
    raster = rasterizer.Rasterizer(np.zeros((40, 40, 3)), 4)
    raster.draw(points, triangles, np.full((4, 3), [10.0, 0.0, 255.0]))
    assert (raster.resolve() == [10, 0, 255]).all()
    raster.clear()
    raster.draw(points, triangles, np.array([[0, 255, 0], [200, 255, 0], [0, 0, 0], [200, 0, 0]]))
    picture = raster.resolve().astype(float)
    ramp = (np.arange(40) + 0.5) / 40
    np.testing.assert_allclose(picture[:, :, 0], np.tile(200 * ramp, (40, 1)), atol=0.75)
    np.testing.assert_allclose(picture[:, :, 1], np.tile(255 * (1 - ramp), (40, 1)).T, atol=0.75)


@pytest.mark.parametrize("seed", range(3))
def test_adjacent_triangles_meet_without_gap_or_overlap(seed):
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0)), axis=-1) * 5
    grid[1:-1, 1:-1] += rng.uniform(-2, 2, (6, 6, 2))
    points = np.concatenate([grid.reshape(-1, 2) + 3, np.ones((64, 1))], axis=1)
    corner = np.arange(64).reshape(8, 8)
    a, b, c, d = (
        v.ravel() for v in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, :-1], corner[1:, 1:])
    )
    triangles = np.concatenate([np.stack([a, b, c], 1), np.stack([b, d, c], 1)])
    covered = np.zeros((41, 4, 41), int)
    for triangle in triangles:
        raster = rasterizer.Rasterizer(np.zeros((41, 41, 3)), 4)
        raster.draw(points, triangle[None], np.zeros((64, 3)))
        covered += raster.inverse_depth() > 0
    assert covered.max() == 1
    assert covered.sum() == 35 * 35 * 4


def test_edges_are_antialiased_and_the_drawing_order_does_not_matter():
    points = np.array(
        [[3, 2, 1], [29, 7, 1], [12, 30, 1], [5, 20, 2], [31, 16, 2], [8, 3, 2]], float
    )
    colors = np.repeat([[255.0, 255, 255], [0, 200, 0]], 3, axis=0)
    pictures = []
    for order in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        raster = rasterizer.Rasterizer(np.zeros((32, 32, 3)), 4)
        raster.draw(points, np.array(order), colors)
        pictures.append(raster.resolve())
    np.testing.assert_array_equal(*pictures)
    red = pictures[0][:, :, 0]
    assert set(np.unique(red)) == {0, 63, 64, 127, 128, 191, 255} & set(np.unique(red))
    assert ((red > 0) & (red < 255)).sum() > 20
    aliased = rasterizer.Rasterizer(np.zeros((32, 32, 3)), 1)
    aliased.draw(points, np.array([[0, 1, 2]]), colors)
    assert set(np.unique(aliased.resolve())) == {0, 255}


def test_triangles_behind_the_camera_are_skipped():
    raster = rasterizer.Rasterizer(np.full((8, 8, 3), 9.0), 2)
    raster.draw(
        np.array([[0, 0, 1], [9, 0, -1], [0, 9, 1.0]]), np.array([[0, 1, 2]]), np.zeros((3, 3))
    )
    raster.draw(np.zeros((3, 3)), np.zeros((0, 3), int), np.zeros((3, 3)))
    assert (raster.resolve() == 9).all()


@pytest.mark.parametrize("seed", range(3))
def test_drawing_a_hidden_triangle_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    raster = rasterizer.Rasterizer(np.zeros((53, 45, 3)), 2)
    wall = np.array([[-9, -9, 2], [90, -9, 2], [-9, 70, 2.0]])
    raster.draw(wall, np.array([[0, 1, 2]]), np.full((3, 3), 99.0))
    centers = rng.uniform(0, 50, (300, 1, 2))
    corners = centers + rng.normal(0, rng.uniform(0.5, 9, (300, 1, 1)), (300, 3, 2))
    points = np.concatenate([corners, rng.uniform(0.5, 2.5, (300, 3, 1))], axis=2).reshape(-1, 3)
    triangles = np.arange(900).reshape(300, 3)
    hidden = raster.hidden(points, triangles)
    assert 20 < hidden.sum() < 300
    before = raster.inverse_depth().copy()
    raster.draw(points, triangles[hidden], np.zeros((900, 3)))
    np.testing.assert_array_equal(raster.inverse_depth(), before)


# --- camera, light --------------------------------------------------------------------------------


def test_camera_projects_known_points():
    camera = scene.Camera(np.eye(3), np.array([0, 0, 10.0]), focal=100.0, width=200, height=100)
    found = camera.project(np.array([[0, 0, 0], [1, 0, 0], [0, 1, 5], [2, -1, -10.0]]))
    expected = [[100, 50, 0.1], [110, 50, 0.1], [100, 30, 0.2], [110, 55, 0.05]]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (35, 10), (-90, -40), (180, 80)])
@pytest.mark.parametrize("unit", [0.01, 1000.0])
def test_framing_shows_the_whole_head_and_fills_the_picture(yaw, pitch, unit):
    points = np.random.default_rng(0).normal(0, 1, (500, 3)) * [0.7, 1.0, 0.8] * unit + 3 * unit
    camera = scene.frame(points, (320, 240), yaw=yaw, pitch=pitch, margin=0.05)
    x, y, inverse = camera.project(points).T
    assert (inverse > 0).all()
    assert x.min() >= 15.9 and x.max() <= 304.1 and y.min() >= 11.9 and y.max() <= 228.1
    assert max(np.abs(x - 160).max() / 144, np.abs(y - 120).max() / 108) == pytest.approx(1)


def test_positive_yaw_shows_the_subjects_left_and_positive_pitch_the_top():
    face = np.array([[0, 0, 1.0], [1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])
    left = scene.frame(face, (64, 64), yaw=60).project(face)
    assert left[1, 2] > left[0, 2] > left[3, 2]  # the subject's left ear is the nearest
    top = scene.frame(face, (64, 64), pitch=60).project(face)
    assert top[2, 2] > top[4, 2]


def test_vertex_normals_of_a_sphere_point_outwards():
    vertices, triangles = sphere()
    normals = surface.vertex_normals(vertices, triangles)
    assert ((normals * vertices).sum(1) > 0.99).all()


def test_a_sphere_is_not_occluded_but_the_inside_of_a_bowl_is():
    vertices, triangles = sphere(16)
    assert light.occlusion(vertices, triangles).min() > 0.95
    lower = triangles[(vertices[triangles][:, :, 1] < 0.3).all(1)]
    inside = light.occlusion(vertices, lower[:, ::-1])
    assert inside[vertices[:, 1] < -0.95].max() < 0.75


def test_srgb_round_trips_and_shaded_colors_are_in_range():
    values = np.linspace(0, 1, 256, dtype=np.float32)
    np.testing.assert_allclose(surface.to_srgb(surface.to_linear(values)), values, atol=1e-5)
    motion = make_motion()
    colors = scene.Painter(scene.build_scene(motion, SOFTWARE)).paint(motion.vertices[0])[1]
    assert colors.shape == (motion.topology.n_vertices, 3)
    assert colors.min() >= 0 and 100 < colors.max() <= 255


def test_both_sides_of_an_open_surface_are_visible():
    vertices, triangles = sphere()
    front_gone = triangles[~(vertices[triangles][:, :, 2] > 0.3).all(1)]
    topology = Topology("bowl", front_gone, len(vertices))
    motion = Motion(vertices[None], 25.0, topology, "S01", vertices)
    (picture,) = render_frames(motion, SOFTWARE, [0])
    backdrop = scene.backdrop(64, 64, SOFTWARE.background, 0.45)
    middle = picture[28:36, 28:36].astype(float)
    assert np.abs(middle - backdrop[28:36, 28:36]).mean() > 25  # the inner side covers the backdrop
    (outside,) = render_frames(motion, SOFTWARE.model_copy(update={"yaw": 180.0}), [0])
    assert outside[28:36, 28:36].mean() > middle.mean() + 30  # the inner side is darker
