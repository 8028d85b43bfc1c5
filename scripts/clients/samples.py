"""Export a recording to the formats that the clients open, and write what each must show.

    .venv/bin/python scripts/clients/samples.py FOLDER [--sound SPEECH.wav]

A file NAME gets NAME.json (frame rate, number of frames, names and tolerance) and NAME.npy, the
vertices of five frames, (5, V, 3) float32 in meters with +y up and +z forward.
"""

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import codetalker_cli as ct
from codetalker_cli.export import head_rotation, inputs, vrma
from codetalker_cli.export.take import Take
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs import posing

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE_MM = 0.1
BASIS_ERROR_MM = 0.05
PARTS = ["skin", "tongue", "teeth", "eye", "brow"]
"""The materials of the bundled head."""


@dataclass(frozen=True)
class Sample:
    """A file to export.

    Attributes:
        name: The file.
        source: The motion or the rig curves.
        targets: The morph targets.
        fps: The frame rate to convert to, or None.
        format: The format, if the suffix does not determine it.
        pictures: Whether a client draws it.
    """

    name: str
    source: str = "motion.npz"
    targets: str | None = None
    fps: float | None = None
    format: str | None = None
    pictures: bool = False

    @property
    def options(self) -> list[str]:
        """The options of ``codetalker export``."""
        found = [] if self.targets is None else ["--targets", self.targets]
        found += [] if self.format is None else ["--format", self.format]
        if self.targets == "basis":
            found += ["--set", f"export.basis_error_mm={BASIS_ERROR_MM}"]
        return found + ([] if self.fps is None else ["--fps", str(self.fps)])


SAMPLES = (
    Sample("units.glb", pictures=True),
    Sample("arkit.glb", targets="arkit"),
    Sample("basis.glb", targets="basis"),
    Sample("frames.glb", targets="frames"),
    Sample("Über uns 23.glb", targets="arkit", fps=23.976),
    Sample("fast.glb", targets="units", fps=60),
    Sample("head.glb", source="head.csv"),
    Sample("short.glb", source="short.npz"),
    Sample("presets.vrma"),
    Sample("perfect sync.vrma", targets="arkit", fps=23.976),
    Sample("head.vrma", source="head.csv"),
    Sample("face.mdd"),
    Sample("face.usdz"),
)
"""The files that ``web/check.mjs`` and ``blender_glb.py`` open."""
GEOMETRY = (
    *(Sample(f"units{suffix}") for suffix in (".usdc", ".usda", ".usdz")),
    Sample("frames.usdc", targets="frames"),
    Sample("arkit face.usdc", targets="arkit"),
    *(Sample(f"Größe{suffix}") for suffix in (".abc", ".pc2", ".mdd")),
    Sample("obj", format="obj"),
    Sample("ply", format="ply"),
)
"""The files that ``usd_check.py`` and ``blender_geometry.py`` compare with motion.npz."""


def codetalker(*arguments: str | Path) -> None:
    """Run a command of codetalker; its output is shown only if it fails."""
    command = [sys.executable, "-m", "codetalker_cli", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")


def write_sources(folder: Path, sound: Path) -> None:
    """Write motion.npz, the first frame of it, and rig curves with head rotation.

    The vertices of posed.npz contain the head rotation of motion.npz.
    """
    codetalker("animate", sound, "-o", folder / "motion.npz", "--overwrite")
    take = inputs.read_take(folder / "motion.npz", inputs.TakeOptions())
    motion = take.motion
    short = type(motion)(
        np.asarray(motion.vertices[:1]),
        motion.fps,
        motion.topology,
        motion.subject,
        motion.template,
        motion.colors,
    )
    short.save(folder / "short.npz")
    posing.turned(motion).save(folder / "posed.npz")
    time = np.arange(take.n_frames) / take.fps
    head = np.stack([0.4 * np.sin(2 * time), 0.25 * np.sin(3 * time), 0.2 * np.cos(time)], axis=1)
    curves = take.arkit_curves
    nodding = RigCurves(
        curves.names, curves.fps, curves.weights, curves.subject, head.astype(np.float32)
    )
    ct.export(nodding, folder / "head.csv")


def write_reference(sample: Sample, take: Take, folder: Path) -> None:
    """Write what a file must show."""
    frames = np.linspace(0, take.n_frames - 1, 5).round().astype(int)
    if take.n_frames == 1:
        frames = frames[:1]
    reference: dict[str, Any] = {
        "fps": take.fps,
        "n_frames": take.n_frames,
        "frames": frames.tolist(),
        "tolerance_mm": TOLERANCE_MM,
        "names": _names(sample, take, folder),
        "materials": ["face"] if sample.targets == "frames" else PARTS,
        "pictures": frames[1:4].tolist() if sample.pictures else [],
    }
    if take.head is not None:
        reference["rotations"] = head_rotation.quaternions(take.head)[frames].tolist()
    if sample.name.endswith(".vrma"):
        curves = take.arkit_curves
        custom = dict(zip(curves.names, curves.weights.T, strict=True))
        preset = {} if sample.targets == "arkit" else vrma.presets(curves)
        for kind, values in (("custom", custom), ("preset", preset)):
            reference[kind] = {name: w[frames].tolist() for name, w in values.items()}
        if preset:
            reference["gaze"] = _gaze(custom)[frames].tolist()
    else:
        np.save(folder / f"{sample.name}.npy", _vertices(sample, take, frames))
    (folder / f"{sample.name}.json").write_text(json.dumps(reference), "utf-8")


def _gaze(weights: dict[str, np.ndarray]) -> np.ndarray:
    """Return (T, 2) degrees to the subject's left and down, the mean of both eyes."""
    look = {name.removeprefix("eyeLook"): values for name, values in weights.items()}
    left = look["OutLeft"] - look["InLeft"] + look["InRight"] - look["OutRight"]
    down = look["DownLeft"] - look["UpLeft"] + look["DownRight"] - look["UpRight"]
    degrees = np.degrees([vrma.YAW_OF_GAZE, vrma.PITCH_OF_GAZE])
    return np.stack([left, down], axis=1) / 2 * degrees


def _vertices(sample: Sample, take: Take, frames: np.ndarray) -> np.ndarray:
    given = take.native is not None  # the motion follows from the weights
    if given or not sample.name.endswith(".glb") or sample.targets in ("basis", "frames"):
        vertices = np.asarray(take.motion.vertices[frames]) * take.scale
    else:
        units = take.arkit_units if sample.targets == "arkit" else take.units
        curves = take.arkit_curves if sample.targets == "arkit" else take.curves
        weights = curves.select(units.names).weights[frames]
        vertices = take.template + np.einsum("tu,uvc->tvc", weights, units.deltas)
    if take.motion.head is not None:
        rotations = posing.rotation_matrices(take.motion.head[frames])
        vertices = posing.rotate(vertices, rotations, take.neck_pivot)
    return vertices.astype(np.float32)


def _names(sample: Sample, take: Take, folder: Path) -> list[str]:
    if sample.targets == "frames":
        return [f"frame_{k:0{len(str(take.n_frames))}d}" for k in range(take.n_frames)]
    if sample.targets == "basis":  # only the file itself defines how many shapes there are
        content = (folder / sample.name).read_bytes()
        tree = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])
        n = len(tree["meshes"][0]["primitives"][0]["targets"])
        return [f"basis_{k:03d}" for k in range(1, n + 1)]
    return list((take.arkit_units if sample.targets == "arkit" else take.units).names)


def write_samples(folder: Path, sound: Path) -> None:
    """Write motion.npz, and the exports in the folders ``scenes`` and ``geometry``.

    Args:
        folder: The folder.
        sound: The speech.
    """
    for name, samples in (("scenes", SAMPLES), ("geometry", GEOMETRY)):
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        if name == "scenes":
            write_sources(folder, sound)
        for sample in samples:
            source = folder / sample.source
            codetalker("export", source, "-o", target / sample.name, "--overwrite", *sample.options)
            if name == "scenes":
                take = inputs.read_take(source, inputs.TakeOptions(fps=sample.fps))
                write_reference(sample, take, target)
            print(f"wrote {target / sample.name}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder to write")
    parser.add_argument(
        "--sound",
        type=Path,
        default=ROOT / "assets/sample.wav",
        help="speech (default: assets/sample.wav)",
    )
    arguments = parser.parse_args()
    write_samples(arguments.folder.resolve(), arguments.sound.resolve())
