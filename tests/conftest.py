"""Set up all tests.

They use no network and no files in the user's home, see the same examples in every run, and have no
time limit on a busy machine.
"""

import gc
import logging
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from codetalker_cli.resources import CACHE_VARIABLE
from codetalker_cli.settings import limits

# Libraries read both variables when they are first imported. One thread is fastest: the arrays in
# tests are small, and parallel test processes compete for the cores.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

# A shell ignores SIGINT in background jobs, and nohup ignores SIGHUP. The commands that tests start
# and stop with signals would inherit this.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, handler)

# Modules stay in memory, so searching them for garbage while they are imported takes seconds, and
# finds none.
gc.disable()


def pytest_collection_finish() -> None:
    """Collect garbage from here on."""
    gc.enable()


settings.register_profile("project", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def isolated_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Use a temporary cache folder, also in the processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module", autouse=True)
def frozen_modules() -> None:
    """Let the garbage collector skip what is there before the tests of a module.

    The modules of all tests and of the libraries are more than a million objects. Each studio looks
    for garbage when it starts, and would take a second to look at them.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Do not wait until files are on the disk: only a machine that loses power would need it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not draw the curves of training runs, which takes longer than tiny runs."""
    monkeypatch.setattr("codetalker_cli.train.loop.draw_curves", lambda *_: None)


@pytest.fixture(autouse=True)
def default_limits() -> Iterator[None]:
    """Put the default limits in force again after a test that raises or lowers them."""
    yield
    limits.activate(limits.LimitSettings())


@pytest.fixture(autouse=True)
def default_logging() -> Iterator[None]:
    """Restore the level of the package's logger after a test that runs a command in this process.

    ``caplog.at_level`` changes the root logger only, so a quiet command would hide later messages.
    """
    logger = logging.getLogger("codetalker_cli")
    level, propagate = logger.level, logger.propagate
    yield
    logger.setLevel(level)
    logger.propagate = propagate
