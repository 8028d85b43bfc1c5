"""Our models against what the official code gave."""

import golden_cases
import numpy as np
import pytest

CASES = sorted(path.stem for path in golden_cases.GOLDEN.glob("*.json"))
INPUTS = {"audio", "template", "vertices"}


@pytest.mark.parametrize("name", CASES)
def test_every_array_equals_the_official_one(name: str) -> None:
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
