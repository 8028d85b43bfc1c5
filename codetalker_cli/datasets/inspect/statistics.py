"""How the subjects of a data set move, gathered clip by clip: what the later checks and the sheet
go by.
"""

import logging
from dataclasses import dataclass, field

import numpy as np

from codetalker_cli.arrays import NpyHeader
from codetalker_cli.datasets.inspect.speech import ClipSpeech
from codetalker_cli.datasets.lip_region import infer_lips, remove_head_motion
from codetalker_cli.datasets.manifest import Manifest
from codetalker_cli.datasets.prepared import Clip
from codetalker_cli.errors import DataError
from codetalker_cli.topology import Mesh, Topology

logger = logging.getLogger(__name__)

_SAMPLE_FRAMES = 300
_SAMPLE_BYTES = 96 << 20


@dataclass(frozen=True)
class ClipStatistics:
    """A clip that could be read.

    Attributes:
        source: The clip.
        header: The header of its vertices.
        energy, steps, leaps: As in ``ClipMotion``.
        n_bad: Frames with NaN.
        audio: None: could not be read.
        fits: Whether its frames belong to the template.
    """

    source: Clip
    header: NpyHeader
    energy: np.ndarray
    steps: np.ndarray
    leaps: np.ndarray
    n_bad: int
    audio: ClipSpeech | None
    fits: bool

    @property
    def name(self) -> str:
        """The clip's name."""
        return self.source.entry.name


@dataclass
class SubjectStatistics:
    """One subject.

    Attributes:
        base: (V, 3) template, or a frame where there is none.
        has_template: Which of both.
        clips: All that could be read.
    """

    base: np.ndarray
    has_template: bool
    clips: list[ClipStatistics] = field(default_factory=list)


@dataclass(frozen=True)
class Sample:
    """Frames from all over the data set, without motion of the head.

    Attributes:
        subjects: (N,) whose frames.
        offsets: (N, V, 3) float32, from the base of the subject.
        centered: (N, V, 3) float32, from the mean of the subject's frames.
        mean_face: (V, 3) mean of the bases.
        variance: (V,) mean squared length of ``centered``.
    """

    subjects: np.ndarray
    offsets: np.ndarray
    centered: np.ndarray
    mean_face: np.ndarray
    variance: np.ndarray


class Statistics:
    """All of a data set.

    Attributes:
        manifest: The manifest.
        topology: None: not known.
        templates, colors: By subject.
        subjects: Those with a clip that could be read.
        n_vertices: V; None: not known before the first clip.
    """

    def __init__(self, manifest: Manifest, mesh: Mesh | None) -> None:
        self.manifest = manifest
        self.topology: Topology | None = None if mesh is None else mesh.topology
        self.templates = {} if mesh is None else mesh.templates
        self.colors = {} if mesh is None else mesh.colors
        self.subjects: dict[str, SubjectStatistics] = {}
        self.n_vertices = None if mesh is None else mesh.topology.n_vertices
        self._sampled: list[tuple[str, np.ndarray]] = []
        self._sample: Sample | None = None
        self._lips: np.ndarray | None = None

    @property
    def clips(self) -> list[ClipStatistics]:
        """All that could be read."""
        return [clip for subject in self.subjects.values() for clip in subject.clips]

    def sample_positions(self, number: int, n_frames: int) -> np.ndarray:
        """Which frames of the clip in row ``number`` belong to the sample."""
        n_clips = len(self.manifest.clips)
        max_frames = max(24, min(_SAMPLE_FRAMES, _SAMPLE_BYTES // (12 * (self.n_vertices or 1))))
        # the frames go round the clips; of a data set of many clips, some give none
        n_sampled = (number + 1) * max_frames // n_clips - number * max_frames // n_clips
        return np.unique(np.linspace(0, n_frames, n_sampled + 2)[1:-1].astype(int))

    def subject(self, name: str, frame: np.ndarray) -> SubjectStatistics:
        """A subject; ``frame`` (V, 3) is its base where there is no template."""
        if name not in self.subjects:
            template = self.templates.get(name)
            self.subjects[name] = SubjectStatistics(
                frame if template is None else template, template is not None
            )
        return self.subjects[name]

    def add_sample(self, subject: str, offsets: np.ndarray) -> None:
        """Add frames (k, V, 3), as offsets from the base, to the sample."""
        if len(offsets):
            self._sampled.append(
                (subject, remove_head_motion(self.subjects[subject].base, offsets))
            )
            self._sample = self._lips = None

    @property
    def sample(self) -> Sample | None:
        """Frames from all over the data set; None: there are none."""
        if self._sample is None and self._sampled:
            names = np.concatenate([[name] * len(offsets) for name, offsets in self._sampled])
            offsets = np.concatenate([offsets for _, offsets in self._sampled])
            self._sampled = [(name, offsets[k : k + 1]) for k, name in enumerate(names)]  # views
            centered = offsets.copy()
            for name in np.unique(names):
                centered[names == name] -= offsets[names == name].mean(0)
            bases = [self.subjects[name].base for name in np.unique(names)]
            variance = np.einsum("tvx,tvx->v", centered, centered) / len(centered)
            self._sample = Sample(names, offsets, centered, np.mean(bases, axis=0), variance)
        return self._sample

    def moving_lips(self) -> np.ndarray | None:
        """Lip vertices as the motion tells them; None: it does not."""
        sample, topology = self.sample, self.topology
        if sample is None or topology is None:
            return None
        if self._lips is None:
            self._lips = np.zeros(0, np.int32)
            # lips that are open in the templates may be less so in the mean of the frames
            for face in (sample.mean_face, sample.mean_face + sample.offsets.mean(0)):
                try:
                    self._lips = infer_lips(face, sample.centered, topology.triangles)
                    break
                except DataError as error:
                    logger.debug("%s", error)
        return self._lips if len(self._lips) else None

    def mouth(self) -> np.ndarray | None:
        """Lip vertices as the motion tells them, else the region ``lips``; None: not known."""
        lips, topology = self.moving_lips(), self.topology
        if lips is None and topology is not None and len(topology.regions.get("lips", ())):
            return topology.regions["lips"]
        return lips
