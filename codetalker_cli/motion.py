"""Motion: what every model gives and every renderer, exporter and metric takes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codetalker_cli.audio import SAMPLE_RATE
from codetalker_cli.errors import InputError
from codetalker_cli.resources import atomic_path
from codetalker_cli.topology import Topology

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Motion:
    """A face in motion, with the speech it belongs to.

    Attributes:
        vertices: (T, V, 3) float32 in the topology's unit, template included.
        fps: Frames a second.
        topology: Faces, regions and unit.
        subject: Whose face it is.
        template: (V, 3) float32 neutral face of the subject.
        colours: (V, 3) uint8 sRGB albedo, or None.
        audio: (n,) float32 mono samples at 16 kHz, or None.
        audio_path: The recording they come from, or None.
        codes: (T, codes_per_frame) int32 motion codes, or None.
    """

    vertices: np.ndarray
    fps: float
    topology: Topology
    subject: str
    template: np.ndarray
    colours: np.ndarray | None = None
    audio: np.ndarray | None = None
    audio_path: Path | None = None
    codes: np.ndarray | None = None

    @property
    def n_frames(self) -> int:
        """T."""
        return int(self.vertices.shape[0])

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.n_frames / self.fps

    def save(self, path: Path | str, *, overwrite: bool = True) -> Path:
        """Write .npz (everything) or .npy (the (T, V, 3) vertices alone); atomically.

        Raises:
            InputError: Unknown suffix, or the file exists and ``overwrite`` is false.
        """
        path = Path(path)
        if path.suffix == ".npy":
            with atomic_path(path, overwrite) as temporary:
                np.save(temporary, self.vertices)
        elif path.suffix == ".npz":
            with atomic_path(path, overwrite) as temporary:
                np.savez_compressed(temporary, **self._arrays())
        else:
            raise InputError(f"{path}: a motion is saved as .npz or .npy, not {path.suffix!r}")
        return path

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {
            "format_version": np.array(FORMAT_VERSION),
            "vertices": self.vertices,
            "fps": np.array(self.fps, dtype=np.float64),
            "subject": np.array(self.subject),
            "template": self.template,
        }
        for name in ("colours", "audio", "codes"):
            value = getattr(self, name)
            if value is not None:
                arrays[name] = value
        if self.audio is not None:
            arrays["audio_rate"] = np.array(SAMPLE_RATE)
        if self.audio_path is not None:
            arrays["audio_path"] = np.array(str(self.audio_path))
        return arrays | {f"topology_{k}": v for k, v in self.topology.to_arrays().items()}

    @classmethod
    def load(cls, path: Path | str) -> "Motion":
        """Read a motion that :meth:`save` wrote as .npz.

        Raises:
            InputError: Missing, not such a file, or of a newer format.
        """
        path = Path(path)
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {key: archive[key] for key in archive.files}
            version = int(arrays["format_version"])
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file") from error
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise InputError(f"{path}: not a motion file (.npz of `codetalker animate`)") from error
        if version > FORMAT_VERSION:
            raise InputError(
                f"{path}: motion format {version}, this codetalker reads up to {FORMAT_VERSION}; "
                "upgrade codetalker-cli"
            )
        prefix = "topology_"
        mesh = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
        return cls(
            vertices=arrays["vertices"],
            fps=float(arrays["fps"]),
            topology=Topology.from_arrays(mesh),
            subject=str(arrays["subject"]),
            template=arrays["template"],
            colours=arrays.get("colours"),
            audio=arrays.get("audio"),
            audio_path=Path(str(arrays["audio_path"])) if "audio_path" in arrays else None,
            codes=arrays.get("codes"),
        )
