"""Lip metrics: scores of known curves, and curves of poses of the bundled head."""

import numpy as np
import pytest

from codetalker_cli.metrics import lips
from codetalker_cli.metrics.lips import LipCurves, TimedPhone
from codetalker_cli.rigs.head import Rig
from codetalker_cli.synthetic.dataset import mesh_of

FPS = 30.0


def phone(label: str, first: float, last: float) -> TimedPhone:
    """Return a phone between two frames."""
    return TimedPhone(label, first / FPS, last / FPS)


def gap(n: int, **frames: float) -> LipCurves:
    """Return curves with n gaps of 3 mm, except for the given frames (``f7=0.5``: frame 7)."""
    gap_mm = np.full(n, 3.0)
    for name, value in frames.items():
        gap_mm[int(name[1:])] = value
    return LipCurves(gap_mm)


@pytest.mark.parametrize(
    ("frames", "closed"),
    [
        ({"f10": 0.9}, True),
        ({"f8": 0.5}, True),
        ({"f12": 0.5}, True),
        ({"f7": 0.5}, False),
        ({"f13": 0.5}, False),
        ({"f10": 1.0}, False),
        ({}, False),
    ],
)
def test_bilabial_is_closed_within_one_frame_of_its_interval(frames: dict, closed: bool) -> None:
    for label in ("P", "b", "M"):
        verdicts = lips.score(gap(20, **frames), FPS, [phone(label, 9, 11)])
        assert verdicts["closure"] == [closed]
    assert verdicts["opening"] == verdicts["labiodental"] == []


@pytest.mark.parametrize(("at", "is_open"), [(6.1, True), (6.0, False), (0.0, False)])
def test_open_vowel_is_scored_at_its_middle_frame(at: float, is_open: bool) -> None:
    for label in ("AA1", "ae", "AW0", "AY2", "AH"):
        verdicts = lips.score(gap(20, f10=at, f9=9.0), FPS, [phone(label, 8, 12)])
        assert verdicts["opening"] == [is_open]
        assert verdicts["stressed"] == ([] if label == "AH" else [is_open])
    assert lips.score(gap(20, f10=at), FPS, [phone("IY1", 8, 12)])["opening"] == []


def test_contact_without_a_nearby_phone_is_false() -> None:
    phones = [phone("S", 0, 10), phone("M", 10, 12), phone("T", 12, 20)]
    # Contacts: frames 3 and 4 (false); 7 and 8 (8 is near the m); 11 (in the m); 15 (false).
    closed = {f"f{k}": 0.5 for k in (3, 4, 7, 8, 11, 15)}
    assert lips.score(gap(20, **closed), FPS, phones)["false"] == [1.0, 0.0, 0.0, 1.0]


@pytest.mark.parametrize("late", [-3, 0, 2])
def test_lag_compares_the_middles_of_phone_and_contact(late: int) -> None:
    closed = {f"f{k + late}": 0.5 for k in (9, 10, 11)}
    assert lips.score(gap(30, **closed), FPS, [phone("B", 9, 11)])["lag"] == [late]
    assert lips.score(gap(30, f20=0.5), FPS, [phone("B", 9, 11)])["lag"] == []
    nearest = lips.score(gap(30, f7=0.5, f11=0.5), FPS, [phone("B", 9, 11)])["lag"]
    assert nearest == [1.0]


def test_rounded_and_spread_widths_are_compared_by_rank() -> None:
    width = np.linspace(30.0, 60.0, 20)
    phones = [phone("W", 2, 4), phone("IY1", 10, 12), phone("T", 13, 15), phone("S", 16, 18)]
    values = lips.score(gap(20)._replace(width_mm=width), FPS, phones)
    assert values["rounded"] == [width[3]] and values["spread"] == [width[11], width[17]]
    assert lips.area_under_curve([1.0, 2.0], [3.0, 4.0]) == 1.0
    assert lips.area_under_curve([3.0, 4.0], [1.0, 2.0]) == 0.0
    assert lips.area_under_curve([1.0, 3.0], [2.0, 3.0]) == pytest.approx((1 + 1 + 0 + 0.5) / 4)


@pytest.mark.parametrize("subject", [f"S{k:02d}" for k in range(1, 13)])
def test_lower_lip_touches_the_teeth_in_f_but_not_in_vowels(subject: str) -> None:
    rig = Rig.load()
    poses = np.stack([rig.visemes[name] for name in ("FF", "E", "aa", "U")])
    template = rig.template(subject)
    vertices = rig.pose(subject, poses)
    apart = lips.teeth_distance(mesh_of(rig).topology, template, vertices) * 1000
    assert apart[0] < 1.0 and (apart[1:] > lips.TEETH_MM).all()


@pytest.mark.parametrize("subject", [f"S{k:02d}" for k in range(1, 13)])
def test_only_the_lower_lip_is_measured_against_the_teeth(subject: str) -> None:
    rig = Rig.load()
    template = rig.template(subject)
    open_mouth = rig.pose(subject, rig.unit_weights({"jawOpen": 1.0})[None])[0]
    lip = lips.IncisorEdge.of(mesh_of(rig).topology, template).lip
    lowered_mm = 1000 * (template - open_mouth)[:, 1]
    assert len(lip) > 50 and lowered_mm[lip].min() > 20  # the upper lip follows by up to 4 mm


def test_phones_after_the_end_of_the_motion_are_ignored() -> None:
    phones = [phone("AA", 18, 20), phone("P", 25, 35), phone("SIL", 30, 40)]
    verdicts = lips.score(gap(20, f19=9.0), FPS, phones)
    assert verdicts["opening"] == [True] and verdicts["closure"] == []


@pytest.mark.parametrize(
    ("teeth", "met"),
    [({10: 2.0}, 1.0), ({8: 1.5}, 1.0), ({12: 0.0}, 1.0), ({7: 0.0}, 0.0), ({10: 2.1}, 0.0)],
)
def test_labiodental_touches_the_teeth_within_one_frame_of_its_interval(
    teeth: dict[int, float], met: float
) -> None:
    teeth_mm = np.full(20, 3.0)
    teeth_mm[list(teeth)] = list(teeth.values())
    curves = gap(20)._replace(teeth_mm=teeth_mm)
    for label in ("F", "v"):
        verdicts = lips.score(curves, FPS, [phone(label, 9, 11)])
        assert verdicts["labiodental"] == [met]
    assert verdicts["closure"] == verdicts["opening"] == []


def test_lip_curves_measure_the_vertices_in_millimeters() -> None:
    rig = Rig.load()
    topology, template = mesh_of(rig).topology, rig.template("S01")
    weights = np.stack([rig.unit_weights({"jawOpen": value}) for value in (0.0, 0.3, 0.6)])
    vertices = rig.pose("S01", weights)
    curves = lips.lip_curves(topology, template, vertices)
    assert curves.teeth_mm is not None and curves.width_mm is not None
    assert curves.gap_mm[0] < 1.0 and (np.diff(curves.gap_mm) > 5.0).all()
    region = vertices[:, topology.region("lips"), 0] * 1000
    np.testing.assert_allclose(curves.width_mm, region.max(1) - region.min(1), rtol=1e-5)
    apart = lips.teeth_distance(topology, template, vertices)
    np.testing.assert_allclose(curves.teeth_mm, 1000 * apart, rtol=1e-6)


def test_summary_contains_values_and_counts() -> None:
    verdicts = {
        "closure": [1.0, 0.0, 1.0, 1.0],
        "rounded": [1.0],
        "spread": [2.0, 0.5],
        "lag": [3.0, -1.0, 0.0],
        "opening": [],
    }
    assert lips.summarize(verdicts) == {"closure": (0.75, 4), "width": (0.5, 3), "lag": (0.0, 3)}
