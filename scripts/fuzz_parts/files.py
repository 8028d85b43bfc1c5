"""Families of single files."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fuzz_parts.damage import damage

Case = tuple[str, Callable[[], object]]
"""The name of a damaged input, and a function that reads it."""
MakeCase = Callable[[np.random.Generator, Path], Case]
"""Writes the input of a case into an empty folder."""


def damaged_files(sources: Sequence[Path], read: Callable[[Path], object]) -> MakeCase:
    """Return a maker of cases that each read one damaged file."""

    def make(rng: np.random.Generator, scratch: Path) -> Case:
        source = sources[int(rng.integers(0, len(sources)))]
        path = scratch / source.name
        path.write_bytes(damage(source.read_bytes(), rng))
        return source.name, lambda: read(path)

    return make


def sound(folder: Path) -> MakeCase:
    import imageio_ffmpeg
    import soundfile

    from codetalker_cli import audio, resources

    speech = audio.load(resources.asset("sample.wav"))[:16_000]
    soundfile.write(folder / "a.wav", speech, 16_000)
    video = ["-f", "lavfi", "-i", "color=size=32x32:rate=5:duration=1"]
    for name in ("a.flac", "a.ogg", "a.mp3", "a.m4a", "a.mp4", "a.mkv", "a.avi", "a.wma", "a.opus",
                 "a.ts", "a.aiff", "a.caf", "a.au", "a.w64"):  # fmt: skip
        more = video if name in ("a.mp4", "a.mkv", "a.avi", "a.ts") else []
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(folder / "a.wav")]
        subprocess.run([*command, *more, str(folder / name)], check=True)
    return damaged_files(sorted(folder.iterdir()), audio.load)


def meshes(folder: Path) -> MakeCase:
    import trimesh

    from codetalker_cli.formats.meshes import read_mesh_file

    ball = trimesh.creation.icosphere(1)
    for name in ("a.obj", "a.ply", "a.off", "a.glb"):
        ball.export(folder / name)
    return damaged_files(sorted(folder.iterdir()), read_mesh_file)


def motions(folder: Path) -> MakeCase:
    from codetalker_cli.motion import Motion
    from codetalker_cli.topology import Mesh, Topology

    topology = Topology("t", np.array([[0, 1, 2]], np.int32), 3)
    template = np.eye(3, dtype=np.float32)
    frames = np.repeat(template[None], 4, 0)
    Motion(frames, 30, topology, "A", template, audio=np.zeros(800, np.float32)).save(
        folder / "motion.npz"
    )
    Mesh(topology, {"A": template}).save(folder / "mesh.npz")

    def read(path: Path) -> object:
        return Mesh.load(path) if "mesh" in path.name else Motion.load(path).vertices[:]

    return damaged_files(sorted(folder.iterdir()), read)


def settings(folder: Path) -> MakeCase:
    from codetalker_cli import resources
    from codetalker_cli.presets import resolve

    for name in ("demo", "vocaset", "tiny"):
        (folder / f"{name}.yaml").write_bytes(resources.config(name).read_bytes())
    return damaged_files(sorted(folder.iterdir()), lambda path: resolve(config=path, preset="demo"))


def pickles(folder: Path) -> MakeCase:
    import pickle

    from codetalker_cli.formats.templates import read_templates

    templates = {name: np.zeros((5, 3)) for name in "AB"}
    for protocol in range(6):
        (folder / f"{protocol}.pkl").write_bytes(pickle.dumps(templates, protocol))
    return damaged_files(sorted(folder.iterdir()), read_templates)
