"""Closing the lips of a motion where its phones require a contact."""

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codetalker_cli.animate.lip_contacts import APART_MM, enforce_contacts
from codetalker_cli.errors import DataError
from codetalker_cli.metrics.lips import CLOSED_MM, TEETH_MM, teeth_distance
from codetalker_cli.motion import Motion, VertexFrames
from codetalker_cli.rigs.head import Rig
from codetalker_cli.synthetic.contacts import LipContacts
from codetalker_cli.synthetic.speech.phones import Phone
from codetalker_cli.topology import Topology

FPS = 30.0
OPEN = 0.3  # jawOpen: lips 11 mm apart
LABELS = ("P", "B", "M", "F", "V", "AA", "IY", "T", "S", "SIL", "W")
REACH_FRAMES = 4  # more than the transitions of contacts, and than those of parted lips


@functools.cache
def rig() -> Rig:
    return Rig.load()


def motion(jaw: Sequence[float], topology: Topology | None = None, subject: str = "S01") -> Motion:
    """Return a motion of the bundled head with the given jaw openings."""
    weights = np.stack([rig().unit_weights({"jawOpen": w}) for w in jaw])
    topology, template = topology or rig().topology, rig().template(subject)
    return Motion(rig().pose(subject, weights), FPS, topology, subject, template)


def phones(*labels: str, frames: int = 8) -> list[Phone]:
    """Return contiguous phones of equal length."""
    step = frames / FPS
    return [Phone(label, k * step, (k + 1) * step) for k, label in enumerate(labels)]


def gap_mm(moved: Motion) -> np.ndarray:
    return moved.topology.inner_lip_gap(np.asarray(moved.vertices, np.float64)) * 1000


def teeth_mm(moved: Motion) -> np.ndarray:
    vertices = np.asarray(moved.vertices)
    return teeth_distance(moved.topology, moved.template, vertices) * 1000


def away(spoken: list[Phone], n_frames: int) -> np.ndarray:
    """Return the frames that are not close to a contact."""
    is_away = np.ones(n_frames, dtype=bool)
    for kind in ("PP", "FF"):
        for first, stop in LipContacts(spoken, n_frames, FPS).frames(kind):
            is_away[max(0, first - REACH_FRAMES) : stop + REACH_FRAMES] = False
    return is_away


def test_missed_contacts_are_reached_and_other_frames_stay_bit_for_bit() -> None:
    spoken = phones("SIL", "AA", "P", "AA", "F", "AA", "M", "AA", "SIL")
    original = motion([OPEN] * 72)
    moved = enforce_contacts(original, spoken)
    contacts = LipContacts(spoken, 72, FPS)
    for first, stop in contacts.frames("PP"):
        assert (gap_mm(moved)[first:stop] < CLOSED_MM).all()
    ((first, stop),) = contacts.frames("FF")
    assert (teeth_mm(original)[first:stop] > TEETH_MM).all()
    assert (teeth_mm(moved)[first:stop] <= TEETH_MM).all()
    assert (gap_mm(moved)[first:stop] >= APART_MM - 1e-3).all()
    still = away(spoken, 72)
    assert still.sum() > 10
    np.testing.assert_array_equal(moved.vertices[still], original.vertices[still])


@settings(max_examples=15, deadline=None)
@given(
    jaw=st.lists(st.floats(0.0, 0.5), min_size=4, max_size=10),
    labels=st.lists(st.sampled_from(LABELS), min_size=3, max_size=10),
    length=st.integers(2, 6),
)
def test_every_bilabial_has_a_shut_frame(jaw: list[float], labels: list[str], length: int) -> None:
    spoken = phones("AA", *labels, "AA", frames=length)
    n_frames = len(spoken) * length
    curve = np.interp(np.linspace(0, 1, n_frames), np.linspace(0, 1, len(jaw)), jaw)
    moved = enforce_contacts(motion(curve.tolist()), spoken)
    runs = LipContacts(spoken, n_frames, FPS).frames("PP")
    assert len(runs) == sum(label in "PBM" for label in labels)
    for first, stop in runs:
        assert gap_mm(moved)[max(first, 0) : stop].min() < CLOSED_MM


def test_contacts_that_the_motion_reaches_stay_as_they_are() -> None:
    jaw = np.full(40, OPEN)
    jaw[17:22] = [0.1, 0.0, 0.0, 0.0, 0.1]
    original = motion(jaw.tolist())
    assert enforce_contacts(original, phones("AA", "AA", "P", "AA", "AA")) is original


def test_a_remaining_gap_is_removed_without_moving_the_lips_further() -> None:
    jaw = np.full(40, OPEN)
    jaw[16:24] = 0.06  # about 2 mm
    original = motion(jaw.tolist())
    before = gap_mm(original)
    moved = enforce_contacts(original, phones("AA", "AA", "P", "AA", "AA"))
    assert (before[16:24] > CLOSED_MM).all() and (gap_mm(moved)[16:22] < CLOSED_MM).all()
    change = np.linalg.norm(moved.vertices - original.vertices, axis=-1).max() * 1000
    assert 0.5 < change <= before[16:24].max() * 1.05
    # The transition removes at most the same distance from the open vowel.
    assert (before[14:16] - gap_mm(moved)[14:16] <= before[16:24].max()).all()


def test_both_lips_move_and_do_not_pass_through_each_other() -> None:
    original = motion([OPEN] * 24)
    moved = enforce_contacts(original, phones("AA", "B", "AA"))
    upper, lower = rig().topology.central_lip_pairs()
    offsets = np.asarray(moved.vertices)[:, upper, 1] - np.asarray(moved.vertices)[:, lower, 1]
    assert offsets.min() > -1e-4
    change = np.asarray(moved.vertices - original.vertices)[10]
    assert change[lower, 1].min() > -change[upper, 1].min() > 1e-3
    for part in ("teeth_upper", "teeth_lower", "tongue", "eye_left"):
        first, stop = rig().topology.parts[part]
        assert not change[first:stop].any()


def test_lips_that_touch_without_a_reason_are_parted() -> None:
    jaw = np.full(72, OPEN)
    jaw[30:33] = 0.0  # in a vowel
    jaw[2:5] = 0.0  # in silence
    original = motion(jaw.tolist())
    moved = enforce_contacts(original, phones("SIL", *["AA"] * 7, "SIL"))
    assert (gap_mm(moved)[30:33] > 1.2).all() and (gap_mm(moved)[2:5] < CLOSED_MM).all()
    np.testing.assert_array_equal(moved.vertices[:25], original.vertices[:25])
    np.testing.assert_array_equal(moved.vertices[38:], original.vertices[38:])


def test_open_vowels_between_contacts_stay_open() -> None:
    spoken = phones("AA", "P", "AA", "P", "AA", frames=6)
    original = motion([OPEN] * 30)
    assert gap_mm(enforce_contacts(original, spoken))[15] > 0.7 * gap_mm(original)[15]


def test_computed_vertices_give_the_same_result_as_an_array() -> None:
    spoken = phones("AA", "P", "F", "AA")
    original = motion([OPEN] * 32)
    vertices = np.asarray(original.vertices)
    lazy = VertexFrames(32, vertices.shape[1], lambda frames: vertices[frames])
    moved = enforce_contacts(replace(original, vertices=lazy), spoken)
    expected = enforce_contacts(original, spoken)
    np.testing.assert_array_equal(np.asarray(moved.vertices), expected.vertices)


def test_the_length_unit_of_the_mesh_does_not_matter() -> None:
    spoken = phones("AA", "P", "V", "AA")
    meters = motion([OPEN] * 32)
    topology = replace(meters.topology, unit="mm")
    scaled = Motion(meters.vertices * 1000, FPS, topology, "S01", meters.template * 1000)
    moved, expected = enforce_contacts(scaled, spoken), enforce_contacts(meters, spoken)
    np.testing.assert_allclose(moved.vertices, expected.vertices * 1000, atol=0.02)


def test_a_vertex_can_belong_to_several_lip_pairs() -> None:
    regions = dict(rig().topology.regions)
    lower = regions["inner_lip_lower"].copy()
    lower[5] = lower[4]
    topology = replace(rig().topology, regions=regions | {"inner_lip_lower": lower})
    moved = enforce_contacts(motion([OPEN] * 24, topology), phones("AA", "P", "AA"))
    assert gap_mm(moved)[8:12].min() < CLOSED_MM


def test_a_mesh_without_upper_teeth_closes_its_lips_and_keeps_f_and_v() -> None:
    topology = replace(rig().topology, parts={"skin": rig().topology.parts["skin"]})
    original = motion([OPEN] * 40, topology)
    moved = enforce_contacts(original, phones("AA", "P", "AA", "F", "AA"))
    assert gap_mm(moved)[8:12].min() < CLOSED_MM
    np.testing.assert_array_equal(moved.vertices[20:], original.vertices[20:])


@pytest.mark.parametrize("missing", ["inner_lip_upper", "inner_lip_lower"])
def test_a_mesh_without_lip_pairs_is_refused(missing: str) -> None:
    regions = {k: v for k, v in rig().topology.regions.items() if k != missing}
    original = motion([OPEN] * 24, replace(rig().topology, regions=regions))
    with pytest.raises(DataError, match=f"no region {missing}.* without a transcript"):
        enforce_contacts(original, phones("AA", "P", "AA"))


def test_a_mesh_with_an_unknown_length_unit_is_refused() -> None:
    original = motion([OPEN] * 24, replace(rig().topology, unit="area1"))
    with pytest.raises(DataError, match=r"length unit .* is unknown"):
        enforce_contacts(original, phones("AA", "P", "AA"))
