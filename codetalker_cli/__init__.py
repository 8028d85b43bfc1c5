"""Speech-driven 3D facial animation.

    import codetalker_cli as ct
    motion = ct.load("demo").animate("speech.wav", subject="S01")
    motion.save("speech.npz")
    ct.render(motion, "speech.mp4")
    ct.export(motion, "speech.glb")

- ``load`` returns a ``Voice``: a model that animates recordings.
- ``Request`` is a recording with options, for ``Voice.animate_many``.
- ``Motion`` is the result: vertices, frame rate, topology and sound.
- ``render`` writes a motion as a video or as a picture.
- ``export`` writes a motion for other programs, e.g. as .glb, .usdz or Live Link .csv.
- ``Avatar`` is a character of one's own that ``export`` moves.
- ``solve_curves`` solves the weights of ARKit's and other units for a motion, and ``read_curves``
  reads them from a file; the result is a ``RigCurves``. A ``UnitSet`` contains the units of a face.
- ``write_mesh`` writes one face as .obj, .ply, .glb or .off.
- ``CodeTalkerError`` is the base of all errors: ``InputError`` (with ``OutputError`` and
  ``BusyError``), ``SettingsError``, ``DataError``, ``CheckpointError``, ``FileError``,
  ``MissingDependencyError``, ``OutOfMemoryError``, ``RenderError`` and ``UnexpectedError``.

Each name is imported when it is first used, so ``import codetalker_cli`` is fast.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codetalker_cli.animate import Request, Voice
    from codetalker_cli.animate import load_voice as load
    from codetalker_cli.errors import (
        BusyError,
        CheckpointError,
        CodeTalkerError,
        DataError,
        FileError,
        InputError,
        MissingDependencyError,
        OutOfMemoryError,
        OutputError,
        RenderError,
        SettingsError,
        UnexpectedError,
    )
    from codetalker_cli.export import Avatar, export
    from codetalker_cli.formats.meshes import write_mesh_file as write_mesh
    from codetalker_cli.formats.rig_files import read_curves
    from codetalker_cli.motion import Motion
    from codetalker_cli.render import render
    from codetalker_cli.rig_curves import RigCurves
    from codetalker_cli.rigs.solve import solve_curves
    from codetalker_cli.rigs.units import UnitSet

    __version__: str

__all__ = [
    "Avatar",
    "BusyError",
    "CheckpointError",
    "CodeTalkerError",
    "DataError",
    "FileError",
    "InputError",
    "MissingDependencyError",
    "Motion",
    "OutOfMemoryError",
    "OutputError",
    "RenderError",
    "Request",
    "RigCurves",
    "SettingsError",
    "UnexpectedError",
    "UnitSet",
    "Voice",
    "__version__",
    "export",
    "load",
    "read_curves",
    "render",
    "solve_curves",
    "write_mesh",
]

_HOME = {
    "Avatar": ("codetalker_cli.export", "Avatar"),
    "Motion": ("codetalker_cli.motion", "Motion"),
    "Request": ("codetalker_cli.animate", "Request"),
    "RigCurves": ("codetalker_cli.rig_curves", "RigCurves"),
    "UnitSet": ("codetalker_cli.rigs.units", "UnitSet"),
    "Voice": ("codetalker_cli.animate", "Voice"),
    "load": ("codetalker_cli.animate", "load_voice"),
    "read_curves": ("codetalker_cli.formats.rig_files", "read_curves"),
    "solve_curves": ("codetalker_cli.rigs.solve", "solve_curves"),
    "write_mesh": ("codetalker_cli.formats.meshes", "write_mesh_file"),
}
"""The module and the name there of each public name that is not an error."""

if not TYPE_CHECKING:  # otherwise type checkers would accept any name

    def __getattr__(name: str) -> Any:
        from importlib import import_module

        if name == "__version__":
            return import_module("codetalker_cli.resources").package_version()
        if name in ("render", "export"):  # the package, which can be called
            return import_module(f"codetalker_cli.{name}")
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module, attribute = _HOME.get(name, ("codetalker_cli.errors", name))
        return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
