"""Lip curves that are drawn below a picture."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ball import make_motion
from command import refuse, succeed
from filmed_heads import film_head, talk
from PIL import Image
from test_face_tracks import make_track

from codetalker_cli.errors import InputError
from codetalker_cli.metrics.mouth_curves import EYE_DISTANCE_MM
from codetalker_cli.motion import Motion
from codetalker_cli.render.comparison import compare
from codetalker_cli.render.lip_charts import (
    LipChart,
    LipCurve,
    curve_of_motion,
    curve_of_track,
)
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.head import Rig
from codetalker_cli.rigs.posing import motion_of


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


QUICK = ("--renderer", "software", "--size", 64, "--set", "render.workers=1")


def talking(n: int = 6) -> Motion:
    weights = np.linspace(0, 1, n, dtype=np.float32)[:, None]
    return motion_of(RigCurves(("jawOpen",), 25.0, weights), "S01")


def curve(values: np.ndarray, fps: float = 10.0) -> LipCurve:
    return LipCurve("take", np.arange(len(values)) / fps, values, np.full(len(values), 50.0))


def colored(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return (picture[..., :3] == color).all(-1)


def test_curve_of_motion_is_in_millimeters() -> None:
    motion = talking()
    found = curve_of_motion(motion, "take")
    upper, lower = (motion.topology.region(f"inner_lip_{side}") for side in ("upper", "lower"))
    heights = motion.vertices[:, upper, 1] - motion.vertices[:, lower, 1]
    np.testing.assert_allclose(found.opening, 1000 * heights.mean(1), atol=1e-3)
    assert found.opening[0] < 1 < 10 < found.opening[-1]
    np.testing.assert_allclose(found.times, np.arange(6) / 25)
    assert 20 < found.width[0] < 60


def test_curves_of_unknown_units_have_their_own_scale() -> None:
    motion = talking()
    vertices = np.asarray(motion.vertices) * 7
    unknown = replace(motion, topology=replace(motion.topology, unit="area1"), vertices=vertices)
    found = curve_of_motion(unknown, "units")
    known = curve_of_motion(motion, "mm")
    assert (known.unit, found.unit) == ("mm", "units")
    np.testing.assert_allclose(found.opening, known.opening * 7e-3, atol=1e-4)
    alone = LipChart([known], 400, 200, 0.24).draw([])
    both = LipChart([known, found], 400, 200, 0.24).draw([])
    second = colored(both, (0x59, 0xC2, 0xFF))[30:]  # below the legend
    assert second.any(0).sum() > 200 and np.ptp(np.flatnonzero(second.any(1))) > 15
    assert colored(alone, (0xFF, 0xB4, 0x54)).any()


def test_curve_of_a_film_is_scaled_by_the_eyes() -> None:
    found = curve_of_track(make_track(np.array([0.0, 0.1]), gap_frame=0), "film")
    assert np.isnan(found.opening[0])
    assert found.opening[1] == pytest.approx(0.1 * EYE_DISTANCE_MM, rel=1e-5)
    assert found.times[0] == pytest.approx(0.02)


def test_time_line_moves_with_the_time() -> None:
    chart = LipChart([curve(np.linspace(0, 10, 41))], 400, 200, 4.0)
    columns = [
        int(np.flatnonzero(colored(chart.draw([time]), (255, 255, 255)).all(0) == 0).size)
        for time in (1.0, 3.0)
    ]
    lines = [
        np.flatnonzero(colored(chart.draw([time]), (255, 255, 255)).sum(0) > chart.height / 2)
        for time in (1.0, 3.0)
    ]
    assert columns[0] == columns[1] and len(lines[0]) == len(lines[1]) == 1
    assert lines[1][0] - lines[0][0] == pytest.approx(200 * 0.9, abs=20)


def test_long_recordings_scroll() -> None:
    values = np.zeros(400)
    values[200:] = 10
    chart = LipChart([curve(values)], 400, 200, 40.0)
    early, late = chart.draw([5.0]), chart.draw([35.0])
    assert early.shape == late.shape == (chart.height, 400, 3) and chart.height % 2 == 0
    assert not np.array_equal(early[40:], late[40:])


def test_unknown_values_interrupt_the_curve() -> None:
    whole, part = np.full(41, 5.0), np.full(41, 5.0)
    part[10:30] = np.nan
    drawn = [
        colored(LipChart([curve(v)], 400, 200, 4.0).draw([0.0]), (255, 180, 84)).sum()
        for v in (whole, part)
    ]
    assert 0 < drawn[1] < drawn[0]


def test_charts_extend_the_picture_downward() -> None:
    talking().save("a.npz")
    for flags in ((), ("--curves",)):
        name = f"{len(flags)}.png"
        succeed("render", "a.npz", *flags, "-o", name, *QUICK)
    with Image.open("0.png") as plain, Image.open("1.png") as charted:
        assert charted.width == plain.width and charted.height == plain.height + 26
        np.testing.assert_array_equal(np.asarray(charted)[: plain.height], np.asarray(plain))
    written = succeed("render", "a.npz", "--curves", "-o", "v.mp4", "--json", *QUICK)
    assert json.loads(written)["size"] == [64, 90]


def test_face_in_a_film_is_tracked_for_its_curve() -> None:
    curves = talk(seconds=1.0, fps=25.0)
    film = film_head(Path("film.mp4"), curves, 25.0)
    motion = motion_of(curves, "S01")
    motion.save("a.npz")
    shown = compare([motion], [Path("a.npz"), film], curves=True)
    ours, filmed = shown.curves
    assert (ours.label, filmed.label) == ("a", "film")
    both = np.interp(filmed.times, ours.times, ours.opening)
    assert np.corrcoef(both, filmed.opening)[0, 1] > 0.9
    succeed("render", "a.npz", film, "--curves", "-o", "c.png", *QUICK)


def test_motion_without_inner_lips_is_refused() -> None:
    make_motion().save("ball.npz")
    message = refuse("render", "ball.npz", "--curves", "-o", "x.png", *QUICK)
    assert "ball has no regions of the inner lips" in message and "--curves" in message
    motion = talking()
    bare = replace(motion, topology=replace(motion.topology, regions={}))
    with pytest.raises(InputError, match="no regions of the inner lips"):
        curve_of_motion(bare, "bare")
    assert Rig.load().topology.regions["inner_lip_upper"].size
