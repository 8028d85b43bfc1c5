"""The fuzzing script: every family runs, cases repeat, and faults are found and kept."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import scripts
from codetalker_cli.errors import InputError

SCRIPT = Path(__file__).parents[1] / "scripts" / "fuzz.py"
FAMILIES = (
    "sound",
    "meshes",
    "motions",
    "settings",
    "pickles",
    "checkpoints",
    "prepared",
    "archives",
    "manifests",
    "avatars",
    "commands",
)


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", sys.path.copy())
    return scripts.load(SCRIPT)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_family_is_tested(fuzz: ModuleType) -> None:
    assert tuple(fuzz.FAMILIES) == FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_a_case_is_repeated_by_its_number(fuzz: ModuleType, tmp_path: Path, family: str) -> None:
    (tmp_path / "sources").mkdir()
    make = fuzz.FAMILIES[family](tmp_path / "sources")
    made = []
    for k, number in enumerate((3, 3, 4)):
        (tmp_path / str(k)).mkdir()
        name, _ = make(np.random.default_rng([1, number]), tmp_path / str(k))
        made.append((name, contents(tmp_path / str(k))))
    assert made[0] == made[1] and made[0] != made[2]


@pytest.mark.parametrize("family", ["checkpoints", "prepared", "archives", "manifests", "avatars"])
def test_undamaged_files_and_a_few_damaged_ones_have_no_fault(
    fuzz: ModuleType, tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sources").mkdir()
    make = fuzz.FAMILIES[family](tmp_path / "sources")
    assert [fuzz.run_case(n, 1, make, tmp_path / "case") for n in range(4)] == [""] * 4
    assert any((tmp_path / "case").iterdir())


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (None, ""),
        (InputError("one line"), ""),
        (InputError("two\nlines"), "a message with control characters"),
        (ValueError("bug"), "x: ValueError: bug"),
        (SystemExit(70), "x: SystemExit: 70"),
    ],
)
def test_anything_but_a_one_line_error_is_a_fault(
    fuzz: ModuleType, tmp_path: Path, error: BaseException | None, fault: str
) -> None:
    def read() -> None:
        if error is not None:
            raise error

    found = fuzz.run_case(0, 1, lambda rng, scratch: ("x", read), tmp_path / "case")
    assert fault in found and bool(found) == bool(fault)


COMMAND_FAULTS = {
    "exit code 70": "sys.exit(70)",
    "ValueError": "raise ValueError('bug')",
    "a traceback": "print('Traceback (most recent call last)')",
    "2 error lines": "print('error: a\\nerror: b', file=sys.stderr)",
    "without a message": "sys.exit(1)",
    "outside of the working folder": "Path('../outside/new').touch()",
    "the temporary file": "Path('.made.0123abcd.npz').touch()",
    "a Python warning": "print('x.py:3: RuntimeWarning: overflow', file=sys.stderr)",
}


@pytest.mark.parametrize("fault", COMMAND_FAULTS)
def test_faults_of_commands_are_found(
    fuzz: ModuleType, tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sources").mkdir()
    make = fuzz.FAMILIES["commands"](tmp_path / "sources")
    code = compile(COMMAND_FAULTS[fault], "code", "exec")
    monkeypatch.setattr("codetalker_cli.cli.main", lambda: exec(code, {"sys": sys, "Path": Path}))
    assert fault in fuzz.run_case(0, 1, make, tmp_path / "case")


def test_values_and_arrays_are_changed_in_well_formed_files(
    fuzz: ModuleType, tmp_path: Path
) -> None:
    from fuzz_parts import damage

    rng, found = np.random.default_rng(0), set()
    for _ in range(30):
        changed = damage.STRUCTURED[".json"](b'{"a": 1, "b": [1, {"c": 2}]}', rng)
        found.add(json.dumps(json.loads(changed)))
    assert len(found) > 20
    np.savez(tmp_path / "a.npz", a=np.arange(6).reshape(2, 3), b=np.ones(3))
    content, shapes = (tmp_path / "a.npz").read_bytes(), set()
    for _ in range(30):
        (tmp_path / "b.npz").write_bytes(damage.STRUCTURED[".npz"](content, rng))
        with np.load(tmp_path / "b.npz", allow_pickle=False) as file:
            shapes.add(tuple(sorted(file.files)))
    assert len(shapes) > 2


def test_the_script_lists_faults_and_keeps_their_inputs(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import fuzz\n"
        "from pathlib import Path\n"
        "def family(folder):\n"
        "    def make(rng, scratch):\n"
        "        (scratch / 'in').write_text(str(rng.integers(9)))\n"
        "        return 'in', lambda: 1 / 0\n"
        "    return make\n"
        "fuzz.FAMILIES['meshes'] = family\n"
        "sys.argv = ['fuzz.py', 'meshes', '--minutes', '0.003', '--keep', sys.argv[2]]\n"
        "fuzz.main()\n"
    )
    command = [sys.executable, "-c", code, str(SCRIPT.parent), str(tmp_path / "kept")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    *faults, counts, where = done.stdout.splitlines()
    assert faults[0].startswith("case 0: in: ZeroDivisionError: division by zero")
    assert f"{len(faults)} faults, seed 1" in counts and str(tmp_path / "kept") in where
    kept = sorted(path.name for path in (tmp_path / "kept/meshes").iterdir())
    assert len(kept) == len(faults) and (tmp_path / "kept/meshes/1-0/in").is_file()
