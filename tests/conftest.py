"""Set-up of all tests: no network, nothing in the user's home, the same examples in every run, no
limit on a busy machine."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from codetalker_cli.resources import CACHE_VARIABLE

# Both are read when libraries are first imported, hence here. Tests are of small shapes, which
# several threads only slow down, and of processes that would take each other's cores.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

settings.register_profile("project", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is computed once is kept for the tests alone; processes that they start use it too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield
