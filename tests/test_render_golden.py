"""Pictures of the bundled head compared with the golden pictures, and both renderers compared."""

from dataclasses import replace

import numpy as np
import pytest
import render_cases
from PIL import Image

from codetalker_cli.render import Panel, gl


def assert_alike(made: np.ndarray, expected: np.ndarray, mean: float, share: float) -> None:
    assert made.shape == expected.shape
    away = np.abs(made.astype(int) - expected)
    assert away.mean() < mean
    assert (away.max(2) > 12).mean() < share


@pytest.mark.parametrize("name", render_cases.CASES)
def test_pictures_match_the_golden_pictures(name: str) -> None:
    """After an intended change, draw the golden pictures again with render_cases.py."""
    with Image.open(render_cases.FOLDER / f"{name}.png") as image:
        expected = np.asarray(image)
    assert_alike(render_cases.CASES[name](), expected, mean=1.0, share=0.01)


def test_golden_pictures_are_small() -> None:
    files = list(render_cases.FOLDER.iterdir())
    assert sorted(p.name for p in files) == sorted(f"{name}.png" for name in render_cases.CASES)
    assert sum(p.stat().st_size for p in files) < 100_000


@pytest.fixture
def opengl() -> None:
    """Skip the test if OpenGL does not work."""
    found = gl.probe()
    if found.platform is None:
        pytest.skip(f"no OpenGL: {found.reason}")


@pytest.mark.usefixtures("opengl")
def test_both_renderers_draw_similar_heat_maps() -> None:
    assert_alike(render_cases.heat(renderer="pyrender"), render_cases.heat(), mean=1.5, share=0.06)


@pytest.mark.usefixtures("opengl")
def test_panels_that_share_an_opengl_context_are_drawn_as_if_alone() -> None:
    head = render_cases.bundled_head()
    other = replace(head, colors=None, vertices=head.vertices * np.float32([0.8, 1, 1]))
    pair = render_cases.picture([Panel(head), Panel(other)], renderer="pyrender")
    for place, motion in enumerate((head, other)):
        alone = render_cases.picture(motion, renderer="pyrender")
        size = len(alone)
        np.testing.assert_array_equal(pair[:, place * size : (place + 1) * size], alone)


@pytest.mark.usefixtures("opengl")
@pytest.mark.parametrize("background", ["#8b96a5", "transparent"])
def test_both_renderers_draw_similar_heads(background: str) -> None:
    head = render_cases.bundled_head()
    changes = {"background": background, "view": "three-quarter"}
    ours = render_cases.picture(head, **changes)
    theirs = render_cases.picture(head, **changes, renderer="pyrender")
    if background == "transparent":  # weight the colors by alpha
        ours, theirs = (
            np.concatenate([p[..., :3] * (p[..., 3:] / 255.0), p[..., 3:]], axis=2)
            for p in (ours, theirs)
        )
    # The sample points of the renderers differ, which affects the many edges of a small picture.
    assert_alike(theirs, ours, mean=1.5, share=0.06)
