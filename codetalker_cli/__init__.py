"""Speech-driven 3D facial animation.

    import codetalker_cli as ct
    motion = ct.load("demo").animate("speech.wav", subject="S01")
    motion.save("speech.npz")

Each name is imported when it is first used, so ``import codetalker_cli`` is fast.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codetalker_cli.animate import Voice
    from codetalker_cli.animate import load_voice as load
    from codetalker_cli.formats.meshes import write_mesh_file as write_mesh
    from codetalker_cli.motion import Motion
    from codetalker_cli.render import render_video

__all__ = ["Motion", "Voice", "load", "render_video", "write_mesh"]

_HOME = {
    "Motion": ("codetalker_cli.motion", "Motion"),
    "Voice": ("codetalker_cli.animate", "Voice"),
    "load": ("codetalker_cli.animate", "load_voice"),
    "render_video": ("codetalker_cli.render", "render_video"),
    "write_mesh": ("codetalker_cli.formats.meshes", "write_mesh_file"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _HOME[name]
    return getattr(import_module(module), attribute)
