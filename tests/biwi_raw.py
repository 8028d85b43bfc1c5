"""Small look-alikes of BIWI's download: full vertex count, few frames, smooth made-up faces.

    folder = biwi_raw.build(tmp_path / "BIWI", layout="real")

Every layout holds the same frames, bit for bit: ``frame`` gives them.
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

ROWS, COLUMNS = 123, 190
N_VERTICES = ROWS * COLUMNS
"""23370, as in the real data."""
N_FACES = 2 * (ROWS - 1) * (COLUMNS - 1)
FPS, RATE = 25, 44_100

Layout = Literal[
    "real",  # faces/F1/e01.tar beside an e01.tgz of pictures
    "extracted",  # faces/F1/e01/frame_001.vl
    "tgz",  # faces/F1/e01.tgz alone, names with ./
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
    """What a look-alike holds.

    Attributes:
        subjects: F1 to F8, M1 to M6.
        sentences: e01 to e40; 01 to 40 are the neutral ones.
        numbers: Of the frames of every clip.
    """

    subjects: Sequence[str] = ("F2", "M3")
    sentences: Sequence[str] = ("e01", "e37")
    numbers: Sequence[int] = (1, 2, 3, 4)
    sound: Literal["cut", "wav", "flv", "none"] = "cut"
    clips: list[tuple[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        pairs = [(s, q) for s in self.subjects for q in self.sentences]
        object.__setattr__(self, "clips", pairs)


def data_settings(*train: str) -> DataSettings:
    """The facts of the data set, with other training subjects."""
    return DataSettings(
        name="biwi", fps=FPS, unit="area1", n_vertices=N_VERTICES, train_subjects=train or ("F2",)
    )


@lru_cache(maxsize=1)
def faces() -> np.ndarray:
    """(N_FACES, 3) int32 triangles of a sheet."""
    corner = np.arange(N_VERTICES, dtype=np.int32).reshape(ROWS, COLUMNS)
    a, b = corner[:-1, :-1].ravel(), corner[:-1, 1:].ravel()
    c, d = corner[1:, 1:].ravel(), corner[1:, :-1].ravel()
    return np.stack([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)], axis=1).reshape(
        -1, 3
    )


@lru_cache(maxsize=1)
def _sheet() -> tuple[np.ndarray, np.ndarray]:
    return np.meshgrid(np.linspace(-1, 1, COLUMNS), np.linspace(-1, 1, ROWS))


@lru_cache(maxsize=4)
def template(subject: str) -> np.ndarray:
    """(N_VERTICES, 3) millimeters, y down and z away, as the real ones."""
    u, v = _sheet()
    wide = 60 + sum(subject.encode()) % 13
    depth = 80 * np.sqrt(np.clip(1 - 0.4 * u**2 - 0.3 * v**2, 0, None))
    nose = 18 * np.exp(-((u / 0.15) ** 2) - (v / 0.25) ** 2)
    made = np.stack([wide * u, 85 * v + 3 * u**2, -(depth + nose)], axis=-1)
    return np.round(made.reshape(-1, 3) + np.array([4.0, -20.0, 650.0]), 3)


def frame(subject: str, sentence: str, number: int) -> np.ndarray:
    """(N_VERTICES, 3) float32: the template with a jaw that moves, at another place."""
    _, v = _sheet()
    weight = np.clip(v, 0, None).reshape(-1, 1) ** 2
    phase = sum(sentence.encode()) + 0.8 * number
    offset = weight * [0.4 * np.cos(phase), 5 + 5 * np.sin(phase), 2 * np.sin(phase)]
    return (template(subject) + offset + 0.3 * np.sin(number)).astype(np.float32)


def vl_bytes(vertices: np.ndarray, count: int | None = None) -> bytes:
    """A .vl file; ``count`` is what it says of itself."""
    head = np.uint32(len(vertices) if count is None else count).tobytes()
    return head + np.asarray(vertices, dtype="<f4").tobytes()


def frame_files(subject: str, sentence: str, numbers: Iterable[int]) -> dict[str, bytes]:
    """frame_001.vl → content."""
    return {f"frame_{k:03d}.vl": vl_bytes(frame(subject, sentence, k)) for k in numbers}


def tar_bytes(files: Mapping[str, bytes], *, gz: bool = False) -> bytes:
    """A tar archive of files, in the order given."""
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
    """A Wavefront file."""
    lines = ["# scan", *(f"v {x:.3f} {y:.3f} {z:.3f}" for x, y, z in vertices.tolist())]
    lines += [f"f {a}/{a} {b}/{b} {c}/{c}" for a, b, c in (triangles + 1).tolist()]
    return ("\n".join(lines) + "\n").encode()


@lru_cache(maxsize=4)
def _template_file(subject: str) -> bytes:
    return obj_bytes(template(subject), faces())


def samples(n_frames: int) -> np.ndarray:
    """(n,) float32 noise that lasts as long as the motion."""
    n = round(n_frames / FPS * RATE)
    return (0.1 * np.random.default_rng(n).standard_normal(n)).astype(np.float32)


def wav_bytes(n_frames: int) -> bytes:
    """A recording of the length of the motion."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, samples(n_frames), RATE, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def write_flv(path: Path, n_frames: int) -> None:
    """A video file that holds speech alone."""
    import imageio_ffmpeg

    path.parent.mkdir(parents=True, exist_ok=True)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", "-i", "-"]
    command += ["-c:a", "aac", "-f", "flv", str(path)]
    subprocess.run(command, input=wav_bytes(n_frames), check=True)


def write(path: Path, content: bytes) -> Path:
    """Write a file and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_all(root: Path, files: Mapping[str, bytes]) -> None:
    """Write files by their names below ``root``."""
    for name, content in files.items():
        write(root / name, content)


def face_files(contents: Contents, layout: Layout) -> dict[str, bytes]:
    """What lies in the root of the download for the frames: name → content."""
    made: dict[str, bytes] = {}
    for subject in contents.subjects:
        clips = {q: frame_files(subject, q, contents.numbers) for q in contents.sentences}
        plain = {f"{q}/{name}": c for q, files in clips.items() for name, c in files.items()}
        tars = {q: tar_bytes(files) for q, files in clips.items()}
        place = f"faces/{subject}"
        if layout == "real":
            made |= {f"{place}/{q}.tar": tar for q, tar in tars.items()}
            pictures = tar_bytes({"frame_001.png": b"picture"}, gz=True)
            made |= {f"{place}/{q}.tgz": pictures for q in tars}
        elif layout == "extracted":
            made |= {f"{place}/{name}": content for name, content in plain.items()}
        elif layout in ("tgz", "flat"):
            for q, files in clips.items():
                dotted = {f"./{q}/{name}": content for name, content in files.items()}
                name = f"{place}/{q}.tgz" if layout == "tgz" else f"{place}_{q}.TGZ"
                made[name] = tar_bytes(dotted, gz=True)
        elif layout == "subject tar":
            made[f"{place}.tar"] = tar_bytes({f"{q}.tar": tar for q, tar in tars.items()})
        elif layout == "subject tgz":
            inner = {f"{subject}/{name}": content for name, content in plain.items()}
            made[f"{place}.tgz"] = tar_bytes(inner, gz=True)
        elif layout == "subject nested":
            inner = {f"{subject}/{q}.tgz": tar_bytes(files, gz=True) for q, files in clips.items()}
            made[f"{place}.tgz"] = tar_bytes(inner, gz=True)
        else:
            made |= {f"{place}/{q}.tar": tar for q, tar in tars.items()}
    return {"faces01.tgz": tar_bytes(made, gz=True)} if layout == "download" else made


def rest_files(contents: Contents) -> dict[str, bytes]:
    """Templates, something else that lies beside them, and .wav recordings."""
    made = {f"rigid_scans/{subject}.obj": _template_file(subject) for subject in contents.subjects}
    made["rigid_scans/scan_000.obj"] = b"v 0 0 0\n"
    end = {"cut": "_cut.wav", "wav": ".wav"}.get(contents.sound)
    if end:
        sound = wav_bytes(max(contents.numbers))
        made |= {f"audio/{s}_{q}{end}": sound for s, q in contents.clips}
    return made


def build(root: Path, layout: Layout = "real", contents: Contents | None = None) -> Path:
    """Write a look-alike; gives ``root``."""
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
