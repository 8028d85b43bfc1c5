"""Set-up of all tests: no network, nothing in the user's home, the same examples in every run, no
limit on a busy machine."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from codetalker_cli.resources import CACHE_VARIABLE

# Read when huggingface_hub is first imported, hence here.
os.environ["HF_HUB_OFFLINE"] = "1"

settings.register_profile("project", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def cache_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is computed once is kept for the tests alone; processes that they start use it too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield
