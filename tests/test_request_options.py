"""Options of a request that Python callers can give with a wrong type or an impossible value."""

from typing import Any

import pytest

from codetalker_cli.animate.names import Names
from codetalker_cli.animate.request import Request
from codetalker_cli.errors import InputError


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": -1}, "`seed` -1: expected an integer from 0 on"),
        ({"seed": 1.5}, "`seed` 1.5: expected an integer from 0 on"),
        ({"seed": "1"}, "`seed` '1': expected an integer from 0 on"),
        ({"fps": "30"}, "`fps` '30': expected a number of frames per second"),
    ],
)
def test_impossible_seeds_and_frame_rates_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Names("demo", ["A"], ["A"]).check(Request("a.wav", **options))
