"""Smooth transitions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from codetalker_cli.easing import bump, smoothstep


def test_smoothstep_rises_evenly_from_0_to_1() -> None:
    x = np.linspace(-1, 2, 301)
    y = smoothstep(x)
    assert (y[x <= 0] == 0).all() and (y[x >= 1] == 1).all() and (np.diff(y) >= 0).all()
    np.testing.assert_allclose(y + smoothstep(1 - x), 1)
    np.testing.assert_allclose(smoothstep(np.array([0.25, 0.5])), [0.15625, 0.5])


@given(rise=st.floats(0.01, 2), fall=st.floats(0.01, 2))
def test_bump_is_1_between_its_rise_and_its_fall(rise: float, fall: float) -> None:
    times = np.array([-0.1, 0.0, rise / 2, rise, rise + fall / 2, rise + fall, rise + fall + 0.1])
    np.testing.assert_allclose(bump(times, rise, fall), [0, 0, 0.5, 1, 0.5, 0, 0], atol=1e-12)
