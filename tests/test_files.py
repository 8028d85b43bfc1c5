"""One process at a time writes an output, and the next one removes what a killed one left."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from codetalker_cli import files
from codetalker_cli.errors import InputError, OutputError
from codetalker_cli.files import atomic_path, check_output, claim, remove_leftovers, scratch_folder

_WRITER = """
import sys, time
from pathlib import Path
from codetalker_cli.files import atomic_path

path, as_folder = Path(sys.argv[1]), sys.argv[2] == "folder"
with atomic_path(path) as temporary:
    if as_folder:
        temporary.mkdir()
        (temporary / "file").write_text("half")
    else:
        temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@contextmanager
def writer(path: Path, kind: str = "file") -> Iterator[subprocess.Popen[str]]:
    """Start a process that is in the middle of writing ``path``, and kill it at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), kind], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_output_of_a_running_process_is_not_touched(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out.npz"
    with writer(path, kind):
        before = names(tmp_path)
        busy = pytest.raises(OutputError, match=r"out\.npz: another run is writing this")
        with busy, atomic_path(path):
            pytest.fail("the block must not run")
        remove_leftovers(tmp_path)
        check_output(tmp_path / "other.npz", overwrite=False)
        assert names(tmp_path) == before and len(before) == 2


@pytest.mark.parametrize("kind", ["file", "folder"])
@pytest.mark.parametrize("same", [True, False])
def test_next_run_removes_what_a_killed_one_left(tmp_path: Path, kind: str, same: bool) -> None:
    with writer(tmp_path / "out.npz", kind):
        pass
    assert names(tmp_path), "nothing was left to remove"
    path = tmp_path / ("out.npz" if same else "other.mp4")
    check_output(path, overwrite=False)
    assert names(tmp_path) == []
    with atomic_path(path) as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_old_output_survives_a_killed_replacement(tmp_path: Path, number: int) -> None:
    path = tmp_path / "out.npz"
    path.write_text("old")
    with writer(path) as process:
        os.kill(process.pid, number)
        process.wait()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["out.npz"] and path.read_text() == "old"


def test_folder_is_restored_when_its_replacement_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    path.mkdir()
    (path / "file").write_text("old")
    replace, calls = os.replace, []

    def stop_at_second(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop_at_second)
    with pytest.raises(KeyboardInterrupt), atomic_path(path) as temporary:
        temporary.mkdir()
    assert names(tmp_path) == ["run"] and (path / "file").read_text() == "old"


def test_thread_can_claim_again_but_another_thread_cannot(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.npz"

    def claimed() -> None:
        with claim(path):
            pass

    with claim(path), claim(path), ThreadPoolExecutor(1) as pool:
        with pytest.raises(OutputError, match="another run"):
            pool.submit(claimed).result()
        with atomic_path(path) as temporary:
            temporary.write_text("new")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(claimed).result()
    assert names(tmp_path / "new") == ["out.npz"]


def test_claim_removes_the_folders_that_it_created(tmp_path: Path) -> None:
    with claim(tmp_path / "a" / "b" / "out.npz"):
        pass
    assert names(tmp_path) == []


def test_claim_waits_for_a_killed_process(tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    with writer(path) as process, ThreadPoolExecutor(1) as pool:

        def claimed() -> bool:
            with claim(path, wait=True):
                return process.poll() is not None

        waiting = pool.submit(claimed)
        assert not waiting.done()
        process.kill()
        process.wait()
        assert waiting.result(timeout=20)


@pytest.mark.parametrize("name", ["a" * 252 + ".npz", "ä" * 124 + ".npz"])
def test_too_long_name_is_one_clear_error(tmp_path: Path, name: str) -> None:
    for write in (atomic_path, claim):
        refused = pytest.raises(InputError, match="the name is too long for this file system")
        with refused, write(tmp_path / name):
            pytest.fail("the block must not run")
    with pytest.raises(OutputError, match="the name is too long for this file system"):
        check_output(tmp_path / ("a" * 240 + ".npz"), overwrite=False)  # before any work is done
    assert names(tmp_path) == []


def test_hidden_files_of_the_user_stay(tmp_path: Path) -> None:
    mine = [".out.npz.old", ".out.1234abcd.npz", ".out.partial.npz", ".out.lock", "codetalker-old"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    remove_leftovers(tmp_path)
    check_output(tmp_path / "out.npz", overwrite=True)
    with atomic_path(tmp_path / "out.npz") as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == sorted([*mine, "out.npz"])


@pytest.mark.parametrize("n", range(232, 252, 3))
def test_name_that_is_too_long_leaves_no_folders(tmp_path: Path, n: int) -> None:
    path = tmp_path / "new" / "folder" / ("a" * n + ".npz")
    try:
        with atomic_path(path) as temporary:
            temporary.write_text("new")
    except InputError as error:
        assert "the name is too long for this file system" in str(error)
        assert names(tmp_path) == []
    else:
        assert names(path.parent) == [path.name]


@pytest.mark.parametrize("name", ["exp.lr-1e-4", "take.1 b", "v1.2"])
def test_leftovers_of_names_with_unusual_suffixes_are_removed(tmp_path: Path, name: str) -> None:
    with writer(tmp_path / name, "folder"):
        pass
    (tmp_path / f".{name}.codetalker-lock").unlink()
    assert names(tmp_path), "nothing was left to remove"
    remove_leftovers(tmp_path)
    assert names(tmp_path) == []


def test_link_to_a_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "run").symlink_to("target")
    with atomic_path(tmp_path / "run") as temporary:
        temporary.mkdir()
        (temporary / "file").write_text("new")
    assert names(tmp_path) == ["run", "target"] and names(tmp_path / "target") == []
    assert not (tmp_path / "run").is_symlink() and names(tmp_path / "run") == ["file"]


def test_output_that_another_run_has_just_written_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.npz"

    @contextmanager
    def claim_after_another_run(claimed: Path) -> Iterator[None]:
        claimed.write_text("theirs")
        with claim(claimed):
            yield

    monkeypatch.setattr(files, "claim", claim_after_another_run)
    refused = pytest.raises(OutputError, match=r"out\.npz already exists")
    with refused, atomic_path(path, overwrite=False):
        pytest.fail("the block must not run")
    assert path.read_text() == "theirs"


def test_scratch_folder_is_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "out.usdc"
    with pytest.raises(KeyboardInterrupt), scratch_folder(path) as folder:
        (folder / "part").write_text("x")
        with ThreadPoolExecutor(1) as pool:
            pool.submit(remove_leftovers, tmp_path).result()  # as another run does
        assert folder.parent == tmp_path and names(folder) == ["part"]
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_next_run_removes_the_scratch_folder_of_a_killed_one(tmp_path: Path) -> None:
    with scratch_folder(tmp_path / "out.usdc") as folder:
        pass
    folder.mkdir()
    (folder / "part").write_text("x")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_file_systems_without_locks_are_written_without_leftovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with atomic_path(tmp_path / "new" / "out.npz") as temporary:
        temporary.write_text("new")
    assert names(tmp_path / "new") == ["out.npz"]
