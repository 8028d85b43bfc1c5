"""Topology: validation of indices, regions, and conversion to arrays."""

import numpy as np
import pytest
import tiny

from codetalker_cli.errors import DataError
from codetalker_cli.topology import UNITS, Topology

TRIANGLE = np.array([[0, 1, 2]], np.int32)


def equal(a: Topology, b: Topology) -> bool:
    arrays_a, arrays_b = a.to_arrays(), b.to_arrays()
    return arrays_a.keys() == arrays_b.keys() and all(
        np.array_equal(arrays_a[key], arrays_b[key]) for key in arrays_a
    )


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("bare", [False, True])
def test_arrays_round_trip(unit: str, bare: bool) -> None:
    topology = Topology("bare", TRIANGLE, 3, unit) if bare else tiny.topology()
    back = Topology.from_arrays(topology.to_arrays() | {"another": np.zeros(3)})
    assert equal(topology, back)
    assert back.parts == topology.parts
    assert set(back.regions) == set(topology.regions)
    assert (back.uv is None) == bare
    assert back.triangles.dtype == np.int32


def test_units_in_meters() -> None:
    sizes = {unit: Topology("t", TRIANGLE, 3, unit).meters_per_unit for unit in UNITS}
    assert sizes == {"m": 1.0, "mm": 1e-3, "area1": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "inch"}, "unit 'inch' is not one of"),
        (
            {"triangles": np.zeros((2, 4), np.int32)},
            r"triangles have shape \(2, 4\), expected \(F, 3\)",
        ),
        ({"n_vertices": 2}, r"triangles: indices are 0\.\.2, expected 0\.\.1"),
        ({"triangles": -TRIANGLE}, r"triangles: indices are -2\.\.0"),
        ({"regions": {"lips": np.array([0, 1, 1])}}, "lips: this is a mask of 3 values 0 or 1"),
        ({"regions": {"lips": np.array([True, False])}}, "lips: this is a mask of 2 values"),
        ({"regions": {"lips": np.array([2, 1, 2])}}, "lips: vertex 2 is listed 2 times"),
        ({"regions": {"lips": np.array([0.5])}}, "lips: contains float64"),
        ({"regions": {"lips": np.array([3])}}, r"lips: indices are 3\.\.3, expected 0\.\.2"),
    ],
)
def test_inconsistent_arguments_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(DataError, match=f"topology t: {message}"):
        Topology(**{"name": "t", "triangles": TRIANGLE, "n_vertices": 3} | changes)


def test_empty_region_is_allowed() -> None:
    topology = Topology("t", TRIANGLE, 3, regions={"none": np.array([], np.int32)})
    assert len(topology.region("none")) == 0


def test_unknown_region_lists_the_known_ones() -> None:
    topology = tiny.topology()
    assert np.array_equal(topology.region("lips"), [0, 3])
    with pytest.raises(DataError, match="no region 'nose'; it has: lips, upper_face"):
        topology.region("nose")
    with pytest.raises(DataError, match="it has: none"):
        Topology("t", TRIANGLE, 3).region("nose")
