"""Small imitations of BIWI's download with synthetic faces, few frames and few vertices.

    folder = biwi_raw.build(tmp_path / "BIWI", layout="real")

All layouts contain the same frames, bit for bit. ``frame`` returns them.
``Contents(grid=FULL)`` has as many vertices as the real data set.
"""

import io
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from codetalker_cli.settings import DataSettings

FPS, RATE = 25, 44_100


@dataclass(frozen=True)
class Grid:
    """The vertices of a face, which form a rectangular grid."""

    rows: int
    columns: int

    @property
    def n_vertices(self) -> int:
        return self.rows * self.columns


FULL = Grid(123, 190)
"""23370 vertices, as in the real data set."""
SMALL = Grid(25, 38)
"""The grid of all other faces: parsing a template of the real size takes a tenth of a second."""
N_VERTICES = SMALL.n_vertices

Layout = Literal[
    "real",  # faces/F1/e01.tar, and faces/F1/e01.tgz with images
    "extracted",  # faces/F1/e01/frame_001.vl
    "tgz",  # faces/F1/e01.tgz only, with member names that start with ./
    "flat",  # faces/F1_e01.TGZ
    "subject tar",  # faces/F1.tar: e01.tar
    "subject tgz",  # faces/F1.tgz: F1/e01/frame_001.vl
    "subject nested",  # faces/F1.tgz: F1/e01.tgz
    "download",  # faces01.tgz: faces/F1/e01.tar; rest.tgz: rigid_scans, audio
    "one tar",  # BIWI.tar: ./BIWI/faces/F1/e01.tar, ./BIWI/rigid_scans, …
]
LAYOUTS: tuple[Layout, ...] = (
    "real",
    "extracted",
    "tgz",
    "flat",
    "subject tar",
    "subject tgz",
    "subject nested",
    "download",
    "one tar",
)


@dataclass(frozen=True)
class Contents:
    """The contents of a download.

    Attributes:
        subjects: The subjects, from F1 to F8 and M1 to M6.
        sentences: The sentences, from e01 to e40, or 01 to 40 for the neutral ones.
        numbers: The frame numbers of every clip.
        sound: The kind of recording.
        grid: The vertices of each face.
        clips: The (subject, sentence) pairs.
    """

    subjects: Sequence[str] = ("F2", "M3")
    sentences: Sequence[str] = ("e01", "e37")
    numbers: Sequence[int] = (1, 2, 3, 4)
    sound: Literal["cut", "wav", "flv", "none"] = "cut"
    grid: Grid = SMALL
    clips: list[tuple[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        pairs = [(s, q) for s in self.subjects for q in self.sentences]
        object.__setattr__(self, "clips", pairs)


def data_settings(*train: str, grid: Grid = SMALL) -> DataSettings:
    """Return BIWI's data settings with the given training subjects and number of vertices."""
    return DataSettings(
        name="biwi",
        fps=FPS,
        unit="area1",
        n_vertices=grid.n_vertices,
        train_subjects=train or ("F2",),
    )


@lru_cache(maxsize=2)
def faces(grid: Grid = SMALL) -> np.ndarray:
    """Return the (F, 3) int32 triangles of a grid."""
    corner = np.arange(grid.n_vertices, dtype=np.int32).reshape(grid.rows, grid.columns)
    a, b = corner[:-1, :-1].ravel(), corner[:-1, 1:].ravel()
    c, d = corner[1:, 1:].ravel(), corner[1:, :-1].ravel()
    return np.stack([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)], axis=1).reshape(
        -1, 3
    )


@lru_cache(maxsize=2)
def _sheet(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    return np.meshgrid(np.linspace(-1, 1, grid.columns), np.linspace(-1, 1, grid.rows))


@lru_cache(maxsize=4)
def template(subject: str, grid: Grid = SMALL) -> np.ndarray:
    """Return (V, 3) vertices in millimeters, with y down and z away from the camera."""
    u, v = _sheet(grid)
    wide = 60 + sum(subject.encode()) % 13
    depth = 80 * np.sqrt(np.clip(1 - 0.4 * u**2 - 0.3 * v**2, 0, None))
    nose = 18 * np.exp(-((u / 0.15) ** 2) - (v / 0.25) ** 2)
    vertices = np.stack([wide * u, 85 * v + 3 * u**2, -(depth + nose)], axis=-1)
    return np.round(vertices.reshape(-1, 3) + np.array([4.0, -20.0, 650.0]), 3)


def frame(subject: str, sentence: str, number: int, grid: Grid = SMALL) -> np.ndarray:
    """Return a frame, (V, 3) float32: the moved template with a moving jaw."""
    _, v = _sheet(grid)
    weight = np.clip(v, 0, None).reshape(-1, 1) ** 2
    phase = sum(sentence.encode()) + 0.8 * number
    offset = weight * [0.4 * np.cos(phase), 5 + 5 * np.sin(phase), 2 * np.sin(phase)]
    return (template(subject, grid) + offset + 0.3 * np.sin(number)).astype(np.float32)


def vl_bytes(vertices: np.ndarray, count: int | None = None) -> bytes:
    """Return a .vl file. ``count`` replaces the vertex count in its header."""
    head = np.uint32(len(vertices) if count is None else count).tobytes()
    return head + np.asarray(vertices, dtype="<f4").tobytes()


def frame_files(
    subject: str, sentence: str, numbers: Iterable[int], grid: Grid = SMALL
) -> dict[str, bytes]:
    """Return the contents of the frame files, by name (frame_001.vl, …)."""
    return {f"frame_{k:03d}.vl": vl_bytes(frame(subject, sentence, k, grid)) for k in numbers}


def tar_bytes(files: Mapping[str, bytes], *, gz: bool = False) -> bytes:
    """Return a tar archive with the files in the given order."""
    buffer = io.BytesIO()
    mode: Literal["w:gz", "w"] = "w:gz" if gz else "w"
    options = {"compresslevel": 1} if gz else {}
    with tarfile.open(fileobj=buffer, mode=mode, **options) as tar:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def obj_bytes(vertices: np.ndarray, triangles: np.ndarray) -> bytes:
    """Return an .obj file."""
    lines = ["# scan", *(f"v {x:.3f} {y:.3f} {z:.3f}" for x, y, z in vertices.tolist())]
    lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in (triangles + 1).tolist()]
    return ("\n".join(lines) + "\n").encode()


@lru_cache(maxsize=4)
def _template_file(subject: str, grid: Grid) -> bytes:
    return obj_bytes(template(subject, grid), faces(grid))


def samples(n_frames: int) -> np.ndarray:
    """Return (n,) float32 noise as long as ``n_frames`` of motion."""
    n = round(n_frames / FPS * RATE)
    return (0.1 * np.random.default_rng(n).standard_normal(n)).astype(np.float32)


def wav_bytes(n_frames: int) -> bytes:
    """Return a .wav file as long as ``n_frames`` of motion."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, samples(n_frames), RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def write_flv(path: Path, n_frames: int) -> None:
    """Write an .flv file with audio but no video."""
    import imageio_ffmpeg

    path.parent.mkdir(parents=True, exist_ok=True)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", "-i", "-"]
    command += ["-c:a", "aac", "-f", "flv", str(path)]
    subprocess.run(command, input=wav_bytes(n_frames), check=True)


def write(path: Path, content: bytes) -> Path:
    """Write a file and create its parent folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_all(root: Path, files: Mapping[str, bytes]) -> None:
    """Write files by their paths relative to ``root``."""
    for name, content in files.items():
        write(root / name, content)


def face_files(contents: Contents, layout: Layout) -> dict[str, bytes]:
    """Return the files that contain the frames, by path."""
    result: dict[str, bytes] = {}
    for subject in contents.subjects:
        clips = {
            q: frame_files(subject, q, contents.numbers, contents.grid) for q in contents.sentences
        }
        plain = {f"{q}/{name}": c for q, files in clips.items() for name, c in files.items()}
        tars = {q: tar_bytes(files) for q, files in clips.items()}
        place = f"faces/{subject}"
        if layout == "real":
            result |= {f"{place}/{q}.tar": tar for q, tar in tars.items()}
            pictures = tar_bytes({"frame_001.png": b"picture"}, gz=True)
            result |= {f"{place}/{q}.tgz": pictures for q in tars}
        elif layout == "extracted":
            result |= {f"{place}/{name}": content for name, content in plain.items()}
        elif layout in ("tgz", "flat"):
            for q, files in clips.items():
                dotted = {f"./{q}/{name}": content for name, content in files.items()}
                name = f"{place}/{q}.tgz" if layout == "tgz" else f"{place}_{q}.TGZ"
                result[name] = tar_bytes(dotted, gz=True)
        elif layout == "subject tar":
            result[f"{place}.tar"] = tar_bytes({f"{q}.tar": tar for q, tar in tars.items()})
        elif layout == "subject tgz":
            inner = {f"{subject}/{name}": content for name, content in plain.items()}
            result[f"{place}.tgz"] = tar_bytes(inner, gz=True)
        elif layout == "subject nested":
            inner = {f"{subject}/{q}.tgz": tar_bytes(files, gz=True) for q, files in clips.items()}
            result[f"{place}.tgz"] = tar_bytes(inner, gz=True)
        else:
            result |= {f"{place}/{q}.tar": tar for q, tar in tars.items()}
    return {"faces01.tgz": tar_bytes(result, gz=True)} if layout == "download" else result


def rest_files(contents: Contents) -> dict[str, bytes]:
    """Return the templates, an unrelated file next to them, and the .wav recordings, by path."""
    result = {
        f"rigid_scans/{subject}.obj": _template_file(subject, contents.grid)
        for subject in contents.subjects
    }
    result["rigid_scans/scan_000.obj"] = b"v 0 0 0\n"
    end = {"cut": "_cut.wav", "wav": ".wav"}.get(contents.sound)
    if end:
        sound = wav_bytes(max(contents.numbers))
        result |= {f"audio/{s}_{q}{end}": sound for s, q in contents.clips}
    return result


def build(root: Path, layout: Layout = "real", contents: Contents | None = None) -> Path:
    """Write a download and return ``root``."""
    contents = contents or Contents()
    faces, rest = face_files(contents, layout), rest_files(contents)
    if layout == "download":
        rest = {"rest.tgz": tar_bytes(rest, gz=True)}
    elif layout == "one tar":
        faces, rest = {}, {f"./BIWI/{name}": data for name, data in (faces | rest).items()}
        rest = {"BIWI.tar": tar_bytes(rest)}
    write_all(root, faces | rest)
    if contents.sound == "flv":
        for subject, sentence in contents.clips:
            write_flv(root / "videos" / f"{subject}_{sentence}.flv", max(contents.numbers))
    return root
