"""Imports go down only, light imports stay light, and files and functions stay short."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "codetalker_cli"

# The order of imports, from top to bottom. Each name is a module or a package, and "" is the
# package's own __init__. A module belongs to the longest name that matches it. It may import from
# the rows below its own and from its own package. In a row marked True, it may also import other
# names of the row.
ROWS: list[tuple[set[str], bool]] = [
    ({"__main__"}, False),
    ({"cli", ""}, False),
    ({"train", "evaluate", "datasets.inspect"}, False),
    ({"studio"}, False),
    ({"live"}, False),
    ({"animate", "export", "render"}, False),
    ({"synthetic"}, False),
    ({"datasets"}, False),
    ({"capture"}, False),
    ({"models", "rigs", "metrics"}, False),
    ({"formats", "presets"}, False),
    (
        {
            "settings",
            "motion",
            "rig_curves",
            "face_track",
            "topology",
            "arrays",
            "audio",
            "media",
            "devices",
            "workspace",
        },
        True,
    ),
    (
        {
            "files",
            "failures",
            "outputs",
            "packages",
            "text_files",
            "resources",
            "subprocesses",
            "progress",
            "face_fit",
            "surface",
            "easing",
        },
        True,
    ),
    ({"errors"}, False),
]
HEAVY = (
    "torch",
    "torchaudio",
    "transformers",
    "accelerate",
    "scipy",
    "moviepy",
    "imageio_ffmpeg",
    "trimesh",
    "pyrender",
    "OpenGL",
    "PIL",
    "matplotlib",
    "jinja2",
    "tensorboard",
    "soundfile",
    "pxr",
    "alembic3d",
    "imath",
    "mediapipe",
    "cv2",
    "fastapi",
    "uvicorn",
    "websockets",
    "pythonosc",
    "miniaudio",
)
MAX_FILE_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 400, 60, 7


def module_name(path: Path) -> str:
    """Convert a path: ``models/layers.py`` → ``models.layers``, ``cli/__init__.py`` → ``cli``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "_bundled" not in path.parts
}


@cache
def parsed(module: str) -> ast.Module:
    """Parse a module once, when a test first asks for it: every test process imports this file."""
    return ast.parse(MODULES[module].read_text("utf-8"), str(MODULES[module]))


def is_block(node: ast.AST, test: str) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == test


@cache
def imported(module: str) -> set[str]:
    """Return the modules of the package that ``module`` imports."""
    return imports_in(parsed(module), module)


def imports_in(tree: ast.Module, module: str) -> set[str]:
    """Return the other modules of the package that the code of a module imports.

    Imports inside functions and imports for type checkers count too.
    """
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: relative import; write it in full"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                names.add(whole if own_name(whole) in MODULES else str(node.module))
    return {own_name(name) for name in names if own_name(name) in MODULES} - {module}


def own_name(name: str) -> str:
    """Remove ``codetalker_cli.`` from a module name; other packages keep their names."""
    return "" if name == "codetalker_cli" else name.removeprefix("codetalker_cli.")


def place(module: str) -> tuple[int, str]:
    """Return the row of a module, and the name in that row that the module belongs to."""
    parts = module.split(".")
    for n in range(len(parts), 0, -1):
        name = ".".join(parts[:n])
        for number, (names, _) in enumerate(ROWS):
            if name in names:
                return number, name
    pytest.fail(f"codetalker_cli/{module} is not in the order of imports; add it to ROWS")


LIBRARY = [module for module in MODULES if place(module)[0] > place("cli")[0]]


def test_imports_are_found_in_functions_and_type_checking_blocks() -> None:
    code = """
from typing import TYPE_CHECKING
import codetalker_cli.audio
from codetalker_cli import errors
if TYPE_CHECKING:
    from codetalker_cli.motion import Motion
def function():
    from codetalker_cli.train.loop import fit
"""
    assert imports_in(ast.parse(code), "example") == {"audio", "errors", "motion", "train.loop"}


def test_every_name_in_the_order_exists() -> None:
    names = set().union(*(names for names, _ in ROWS))
    assert sorted(name for name in names if name not in MODULES) == []


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module: str) -> None:
    here, name = place(module)
    for other in imported(module):
        there, other_name = place(other)
        allowed = here < there or name == other_name or (here == there and ROWS[here][1])
        assert allowed, f"{module} imports {other}, which is not below it"


def test_modules_have_no_import_cycle() -> None:
    TopologicalSorter({module: imported(module) for module in MODULES}).prepare()


def test_packages_have_no_import_cycle() -> None:
    edges: dict[str, set[str]] = {}
    for module in MODULES:
        name = place(module)[1]
        others = {place(other)[1] for other in imported(module)} - {name}
        edges.setdefault(name, set()).update(others)
    TopologicalSorter(edges).prepare()


def test_contributing_lists_the_same_order() -> None:
    text = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8").replace(",\n    ", ", ")
    shown = re.findall(r"^    (\w[\w, .]*)(?: →)?$", text, flags=re.MULTILINE)
    rows = [set(line.split(", ")) for line in shown]
    assert rows == [names - {""} for names, _ in ROWS[1:]]


def heavy_modules_after(code: str) -> list[str]:
    """Run code in a new interpreter and return the heavy packages that it loaded."""
    report = f"import sys\nprint('loaded', *[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1].split()
    assert last[0] == "loaded"
    return last[1:]


def test_heavy_imports_are_detected() -> None:
    assert heavy_modules_after("import soundfile, json") == ["soundfile"]


LIGHT = {
    "the package": "import codetalker_cli",
    "the command": "import codetalker_cli.cli",
    "settings": "from codetalker_cli import presets; presets.resolve('vocaset')",
    "audio and motion": "import codetalker_cli.audio, codetalker_cli.motion",
}
HELP = """
import sys
from codetalker_cli.cli import main

sys.argv = ["codetalker", *{arguments}]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""


@pytest.mark.parametrize("what", LIGHT)
def test_light_modules_load_no_heavy_package(what: str) -> None:
    assert heavy_modules_after(LIGHT[what]) == []


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["animate", "--help"]])
def test_help_loads_no_heavy_package(arguments: list[str]) -> None:
    assert heavy_modules_after(HELP.format(arguments=arguments)) == []


ANIMATE = """
import numpy as np
import codetalker_cli as ct

noise = np.random.default_rng(0).standard_normal(16000) / 10
assert len(ct.load("demo").animate(noise).vertices) == 30
"""


def test_bundled_voice_loads_only_torch_and_soundfile() -> None:
    # Importing transformers would take longer than everything else together.
    assert set(heavy_modules_after(ANIMATE)) <= {"torch", "torchaudio", "soundfile"}


@pytest.mark.parametrize("module", MODULES)
def test_files_and_functions_stay_short(module: str) -> None:
    tree = parsed(module)
    n_lines = max((node.end_lineno or 0 for node in tree.body), default=0)
    assert n_lines <= MAX_FILE_LINES, f"{module} has {n_lines} lines"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{module}.{node.name} has {length} lines"


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Return the parameter names, including ``*args`` and ``**kwargs`` but not self and cls."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    every += [one for one in (arguments.vararg, arguments.kwarg) if one is not None]
    return [one.arg for one in every if one.arg not in ("self", "cls")]


def command_functions() -> set[str]:
    """Return the names of the functions that typer turns into commands."""
    from codetalker_cli.cli import app

    groups = [app, *(group.typer_instance for group in app.registered_groups)]
    callbacks = [one.callback for group in groups if group for one in group.registered_commands]
    return {own_name(f"{one.__module__}.{one.__name__}") for one in callbacks if one is not None}


def test_parameter_lists_stay_short() -> None:
    # Commands and the calls that users make in Python are exempt, because each of their parameters
    # is an option.
    calls = {"animate.voice.animate", "animate.voice.stream", "export.single.export"}
    commands = command_functions() | calls
    assert "cli.animate.animate" in commands
    too_long = [
        f"{module}.{node.name}: {', '.join(parameters(node))}"
        for module in MODULES
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and len(parameters(node)) > MAX_PARAMETERS
        and f"{module}.{node.name}" not in commands
    ]
    assert too_long == []


def test_every_parameter_named_in_a_message_has_an_existing_flag() -> None:
    import typer.main

    from codetalker_cli.cli import app
    from codetalker_cli.cli.console import FLAGS

    named = set()
    for module in LIBRARY:
        tree = parsed(module)
        if module.startswith("settings"):
            continue
        documented = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and id(node) not in documented:
                named |= set(re.findall(r"(?<!`)`([a-z][a-z0-9_]*)`(?!`)", text))
    assert named - set(FLAGS) <= {"sound"}  # in the text below a constant
    commands = [typer.main.get_command(app)]
    for command in commands:
        commands += getattr(command, "commands", {}).values()
    options = {text for command in commands for one in command.params for text in one.opts}
    assert set(FLAGS.values()) <= options


@pytest.mark.parametrize("module", [name for name in LIBRARY if not name.startswith("settings")])
def test_library_messages_name_parameters_not_flags(module: str) -> None:
    # The command line replaces `out` with --out.
    constants = (node for node in ast.walk(parsed(module)) if isinstance(node, ast.Constant))
    texts = [node.value for node in constants if isinstance(node.value, str)]
    pattern = re.compile(r"(?<![\w-])--(overwrite|out|resume|subject|style|fps|device|model|set)\b")
    # --set is the name of a layer in presets, and --model a CSS variable.
    named = [text for text in texts if pattern.search(text) and text not in ("--set", "--model")]
    docstrings = {
        ast.get_docstring(node, clean=False)
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    }
    assert [text for text in named if text not in docstrings] == []


@pytest.mark.parametrize("module", LIBRARY)
def test_library_code_does_not_exit(module: str) -> None:
    # Ruff's T20 forbids print but has no rule for exits. The main block of a worker process may
    # exit.
    program = {
        inner
        for node in parsed(module).body
        if is_block(node, "__name__ == '__main__'")
        for inner in ast.walk(node)
    }
    calls = [node for node in ast.walk(parsed(module)) if isinstance(node, ast.Call)]
    exits = ("sys.exit", "exit", "quit", "os._exit", "os.abort")
    assert [c.lineno for c in calls if c not in program and ast.unparse(c.func) in exits] == []


# Tests ------------------------------------------------------------------------------------------


def private_definitions(tree: ast.AST) -> set[str]:
    """Return the functions, classes, variables and attributes with one leading underscore."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return {name for name in names if PRIVATE.match(name)}


PRIVATE = re.compile(r"_[A-Za-z]")
PATCHERS = {"setattr", "delattr", "getattr", "hasattr", "object", "patch"}
"""Functions that take the name or path of an attribute as text."""


@cache
def private_names() -> set[str]:
    """Return the private names of the package."""
    names = set().union(*(private_definitions(parsed(module)) for module in MODULES))
    return names - {"_replace"}  # also a documented method of named tuples


def private_uses(tree: ast.AST) -> list[str]:
    """Return the private names of the package that a test imports, accesses or patches."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("codetalker_cli"):
            found += [alias.name for alias in node.names if PRIVATE.match(alias.name)]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls"):
            found += [node.attr] if node.attr in private_names() else []
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in PATCHERS:
            texts = [n.value for n in node.args if isinstance(n, ast.Constant)]
            last = [text.split(".")[-1] for text in texts if isinstance(text, str)]
            found += [name for name in last if name in private_names()]
    return found


@pytest.mark.parametrize(
    "code",
    [
        "from codetalker_cli.train.loop import _TrainingRun",
        "loop._TrainingRun(task)",
        "run.stepper._unwrapped.state_dict()",
        "monkeypatch.setattr(charts, '_RUNNING', 1)",
        "monkeypatch.setattr('codetalker_cli.evaluate.charts._RUNNING', 1)",
        "mock.patch.object(charts, '_RUNNING', 1)",
        "with mock.patch('codetalker_cli.evaluate.charts._RUNNING'): pass",
    ],
)
def test_uses_of_private_names_are_detected(code: str) -> None:
    assert len(private_uses(ast.parse(code))) == 1


TESTS = sorted(Path(__file__).parent.glob("*.py"))


@pytest.mark.parametrize("path", TESTS, ids=[path.name for path in TESTS])
def test_tests_use_public_names_only(path: Path) -> None:
    assert private_uses(ast.parse(path.read_text("utf-8"))) == []
