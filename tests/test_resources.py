"""Files are written completely or not at all, and configs/ and assets/ are found."""

import shlex
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from codetalker_cli import resources
from codetalker_cli.errors import CodeTalkerError, InputError
from codetalker_cli.files import atomic_path


class Interrupted(Exception):
    pass


def fill(path: Path, text: str, *, as_folder: bool) -> None:
    if as_folder:
        path.mkdir()
        (path / "file").write_text(text)
    else:
        path.write_text(text)


def content(path: Path) -> str:
    return (path / "file").read_text() if path.is_dir() else path.read_text()


@pytest.mark.parametrize("as_folder", [False, True])
@pytest.mark.parametrize("exists", [False, True])
def test_a_finished_output_leaves_no_other_files(
    tmp_path: Path, as_folder: bool, exists: bool
) -> None:
    target = tmp_path / "out.npz"
    if exists:
        fill(target, "old", as_folder=as_folder)
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent and temporary.suffix == ".npz"
        fill(temporary, "new", as_folder=as_folder)
    assert content(target) == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_a_new_folder_replaces_the_old_one_completely(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint"
    target.mkdir()
    (target / "stale").write_text("old")
    with atomic_path(target) as temporary:
        fill(temporary, "new", as_folder=True)
    assert [path.name for path in target.iterdir()] == ["file"]


@pytest.mark.parametrize("as_folder", [False, True])
@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("error", [Interrupted, KeyboardInterrupt])
def test_a_failure_leaves_the_old_output_unchanged(
    tmp_path: Path, as_folder: bool, exists: bool, error: type[BaseException]
) -> None:
    target = tmp_path / "out.mp4"
    if exists:
        fill(target, "old", as_folder=as_folder)
    before = list(tmp_path.iterdir())
    with pytest.raises(error), atomic_path(target) as temporary:
        fill(temporary, "half", as_folder=as_folder)
        raise error
    assert list(tmp_path.iterdir()) == before
    if exists:
        assert content(target) == "old"


def test_writing_nothing_is_an_error_and_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_path(target):
        pass
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_existing_output_is_refused_before_any_work(tmp_path: Path) -> None:
    target = tmp_path / "out.npz"
    target.write_text("old")
    with (
        pytest.raises(InputError, match=r"out\.npz already exists; give `overwrite`"),
        atomic_path(target, overwrite=False),
    ):
        pytest.fail("the block must not run")
    assert target.read_text() == "old"


def test_missing_folders_are_created(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "out.txt"
    with atomic_path(str(target)) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new"


def test_a_relative_path_is_written_to_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with atomic_path("out.txt") as temporary:
        temporary.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


def test_an_unwritable_folder_is_one_clear_error(tmp_path: Path) -> None:
    # A file in place of a folder is not writable even for root.
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match=r"cannot write here .*give another `out`"),
        atomic_path(tmp_path / "file" / "sub" / "out.mp4"),
    ):
        pytest.fail("the block must not run")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_presets_are_found_and_missing_assets_are_named() -> None:
    names = resources.config_names()
    assert {"vocaset", "biwi"} <= set(names) and names == sorted(names)
    assert resources.config("vocaset").is_file()
    with pytest.raises(CodeTalkerError, match=r"nothing\.bin is missing from the installation"):
        resources.asset("nothing.bin")


# The packages of extras ---------------------------------------------------------------------------

EXTRAS = ("align", "alembic", "espeak", "kokoro", "usd")


def declared(extra: str) -> list[str]:
    project = Path(__file__).resolve().parents[1] / "pyproject.toml"
    return tomllib.loads(project.read_text())["project"]["optional-dependencies"][extra]


@pytest.mark.parametrize("extra", EXTRAS)
def test_install_command_names_the_interpreter_and_the_packages(extra: str) -> None:
    words = shlex.split(resources.install_command(extra))
    assert words == [sys.executable, "-m", "pip", "install", *declared(extra)]
    assert not any("codetalker" in word for word in words[1:])  # it is in no package index


@pytest.mark.parametrize("extra", EXTRAS)
def test_wheel_names_the_same_packages(
    extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "root", lambda: tmp_path)  # as in a wheel: no pyproject.toml
    listed = [f"{one}; extra == '{name}'" for name in EXTRAS for one in declared(name)]
    monkeypatch.setattr(metadata, "requires", lambda name: ["numpy>=2.0", *listed])
    assert resources.extra_packages(extra) == declared(extra)


def test_packages_come_from_the_installed_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resources, "root", lambda: tmp_path)
    assert any(one.startswith("onnxruntime") for one in resources.extra_packages("kokoro"))
