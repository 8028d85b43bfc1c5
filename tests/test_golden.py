"""Our models against outputs of the official code."""

import golden_cases
import numpy as np
import pytest

INPUTS = {"audio", "template", "vertices"}


def test_golden_folder_contains_exactly_the_named_cases() -> None:
    expected = {f"{name}{ending}" for name in golden_cases.CASES for ending in (".json", ".npz")}
    assert {path.name for path in golden_cases.GOLDEN.iterdir()} == expected


@pytest.mark.parametrize("name", golden_cases.CASES)
def test_outputs_equal_the_official_ones(name: str) -> None:
    meta, arrays = golden_cases.load(name)
    got = golden_cases.outputs(golden_cases.build(meta), arrays, meta)
    assert set(got) == set(arrays) - INPUTS
    for key, value in got.items():
        expected = arrays[key]
        assert value.shape == expected.shape, key
        if "codes" in key:
            assert np.array_equal(value, expected), key
        else:
            error = np.abs(value - expected).max() / np.abs(expected).max()
            assert error < 1e-4, (key, error)
