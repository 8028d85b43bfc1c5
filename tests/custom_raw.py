"""Custom data sets in every file layout, all with the same small talking ball."""

import struct
import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import soundfile
from ball import sphere

from codetalker_cli.formats.meshes import write_mesh_file
from codetalker_cli.settings import CustomSettings

FPS = 30.0
SUBJECTS = ("F1", "M_2")
SENTENCES = ("hello", "good-bye")
CLIPS = tuple(f"{subject}_{sentence}" for subject in SUBJECTS for sentence in SENTENCES)
UNITS = {"m": 1.0, "cm": 100.0, "mm": 1000.0}
HEAD, FACES = (lambda ball: (ball[0].astype(np.float64) * 0.1, ball[1]))(sphere(4))
"""(26, 3) vertices in meters, and triangles that face outward."""
N_VERTICES = len(HEAD)


def template(subject: str) -> np.ndarray:
    """Return the (V, 3) template of a subject in meters."""
    return HEAD * (1.0 + 0.1 * SUBJECTS.index(subject))


def motion(clip: str, n_frames: int | None = None) -> np.ndarray:
    """Return the (T, V, 3) motion of a clip in meters. The first frame is not the template."""
    index = CLIPS.index(clip)
    n_frames = 20 + index if n_frames is None else n_frames
    swell = 1.0 + 0.05 * np.sin(np.arange(1, n_frames + 1) * 0.7 + index)
    return template(SUBJECTS[index // len(SENTENCES)]) * swell[:, None, None]


def recorded(vertices: np.ndarray, unit: str = "m", axes: str = "x y z") -> np.ndarray:
    """Convert meters in the default axes to the unit and axes of a recording program."""
    raw = np.empty_like(vertices)
    for ours, word in enumerate(axes.split()):
        sign = -1.0 if word.startswith("-") else 1.0
        raw[..., "xyz".index(word[-1])] = sign * vertices[..., ours]
    return raw * UNITS[unit]


def settings(**changes: object) -> CustomSettings:
    """Return settings with values for the required keys."""
    return CustomSettings.model_validate({"fps": FPS, "unit": "m", **changes})


# Writers ----------------------------------------------------------------------------------------


def with_parents(path: Path) -> Path:
    """Create the parent folders of a path and return it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_obj(path: Path, vertices: np.ndarray, faces: np.ndarray | None = FACES) -> Path:
    lines = [f"v {x:.9g} {y:.9g} {z:.9g}" for x, y, z in vertices]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in ([] if faces is None else faces)]
    with_parents(path).write_text("\n".join(lines) + "\n")
    return path


def write_ply(
    path: Path,
    vertices: np.ndarray,
    faces: np.ndarray = FACES,
    *,
    binary: bool = True,
    colors: np.ndarray | None = None,
) -> Path:
    kind = "binary_little_endian" if binary else "ascii"
    header = f"ply\nformat {kind} 1.0\nelement vertex {len(vertices)}\n"
    header += "".join(f"property double {axis}\n" for axis in "xyz")
    fields: list[tuple] = [("v", "<f8", 3)]
    if colors is not None:
        header += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
        fields.append(("c", "u1", 3))
    header += f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    rows = np.zeros(len(vertices), fields)
    rows["v"] = vertices
    if colors is not None:
        rows["c"] = colors
    triangles = np.zeros(len(faces), [("n", "u1"), ("f", "<i4", 3)])
    triangles["n"], triangles["f"] = 3, faces
    if binary:
        body = rows.tobytes() + triangles.tobytes()
    else:
        lines = [" ".join(str(x) for field in row for x in field) for row in rows.tolist()]
        lines += [f"3 {a} {b} {c}" for a, b, c in faces]
        body = ("\n".join(lines) + "\n").encode()
    with_parents(path).write_bytes(header.encode() + body)
    return path


def write_pc2(path: Path, frames: np.ndarray, step: float = 1.0) -> Path:
    header = struct.pack("<12siiffi", b"POINTCACHE2\0", 1, frames.shape[1], 0.0, step, len(frames))
    with_parents(path).write_bytes(header + frames.astype("<f4").tobytes())
    return path


def write_sound(path: Path, seconds: float = 0.8, rate: int = 16000) -> Path:
    """Write a tone. Formats other than wav, flac and mp3 are converted by ffmpeg."""
    samples = 0.3 * np.sin(np.arange(round(seconds * rate)) * 0.2)
    if path.suffix in (".wav", ".flac", ".mp3"):
        soundfile.write(with_parents(path), samples, rate)
        return path
    wave = path.with_name(f"{path.stem}-temporary.wav")
    soundfile.write(with_parents(wave), samples, rate)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(wave), "-vn", str(path)]
    subprocess.run(command, check=True)
    wave.unlink()
    return path


def write_motion(
    folder: Path,
    layout: str,
    clip: str,
    unit: str = "m",
    axes: str = "x y z",
    frames: np.ndarray | None = None,
) -> Path:
    """Write one clip in a layout: npy3, npy2, pc2, obj, ply, ply-ascii, glb or off."""
    frames = recorded(motion(clip) if frames is None else frames, unit, axes)
    if layout in ("npy3", "npy2"):
        flat = frames if layout == "npy3" else frames.reshape(len(frames), -1)
        np.save(with_parents(folder / f"{clip}.npy"), flat.astype(np.float32))
        return folder / f"{clip}.npy"
    if layout == "pc2":
        return write_pc2(folder / f"{clip}.pc2", frames)
    for number, vertices in enumerate(frames):
        name = folder / clip / f"{clip}.{number:04d}"
        if layout == "obj":
            write_obj(name.with_name(name.name + ".obj"), vertices)
        elif layout in ("glb", "off"):
            write_mesh_file(name.with_name(f"{name.name}.{layout}"), vertices, FACES)
        else:
            binary = layout == "ply"
            write_ply(name.with_name(name.name + ".ply"), vertices, binary=binary)
    return folder / clip


def write_all(root: Path, layout: str = "npy3", unit: str = "m", axes: str = "x y z") -> Path:
    """Write a data set that fits the default settings, except ``custom.motion`` if not .npy."""
    for clip in CLIPS:
        write_motion(root / "vertices_npy", layout, clip, unit, axes)
        write_sound(root / "wav" / f"{clip}.wav", len(motion(clip)) / FPS)
    write_obj(root / "head.obj", recorded(HEAD, unit, axes))
    for subject in SUBJECTS:
        raw = recorded(template(subject), unit, axes)
        np.save(with_parents(root / "templates" / f"{subject}.npy"), raw)
    return root
