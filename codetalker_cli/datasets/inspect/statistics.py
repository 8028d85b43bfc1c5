"""Collect measurements of all clips by subject, for the later checks and the contact sheet."""

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
    """The measurements of a readable clip.

    Attributes:
        source: The clip.
        header: The header of the file of vertices.
        energy, steps, leaps: The measurements of ``ClipMotion``.
        n_bad: The number of frames with NaN.
        audio: The measured speech, or None if it cannot be read.
        fits: Whether the frames fit the template of the subject.
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
        """The name of the clip."""
        return self.source.entry.name


@dataclass
class SubjectStatistics:
    """The measurements of one subject.

    Attributes:
        base: (V, 3) template, or a frame if the subject has no template.
        has_template: Whether ``base`` is a template.
        clips: The readable clips.
    """

    base: np.ndarray
    has_template: bool
    clips: list[ClipStatistics] = field(default_factory=list)


@dataclass(frozen=True)
class Sample:
    """Frames from the whole data set, without head motion.

    Attributes:
        subjects: (N,) the subject of each frame.
        offsets: (N, V, 3) float32 offsets from the base of the subject.
        centered: (N, V, 3) float32 offsets from the mean of the subject's frames.
        mean_face: (V, 3) mean of the bases.
        variance: (V,) mean squared length of the vectors in ``centered``.
    """

    subjects: np.ndarray
    offsets: np.ndarray
    centered: np.ndarray
    mean_face: np.ndarray
    variance: np.ndarray


class Statistics:
    """The measurements of a data set.

    Attributes:
        manifest: The manifest.
        topology: The topology, or None if the mesh cannot be read.
        templates, colors: The valid templates and colors, by subject.
        subjects: The measurements of each subject with a readable clip.
        n_vertices: V, or None before the first clip if the mesh cannot be read.
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
        """The readable clips of all subjects."""
        return [clip for subject in self.subjects.values() for clip in subject.clips]

    def sample_positions(self, number: int, n_frames: int) -> np.ndarray:
        """Return the positions of the frames to sample from the clip in row ``number``."""
        n_clips = len(self.manifest.clips)
        max_frames = max(24, min(_SAMPLE_FRAMES, _SAMPLE_BYTES // (12 * (self.n_vertices or 1))))
        # The frames are spread over all clips; in a large data set, some clips contribute none.
        n_sampled = (number + 1) * max_frames // n_clips - number * max_frames // n_clips
        return np.unique(np.linspace(0, n_frames, n_sampled + 2)[1:-1].astype(int))

    def subject(self, name: str, frame: np.ndarray) -> SubjectStatistics:
        """Return a subject; its base is ``frame`` (V, 3) if it has no template."""
        if name not in self.subjects:
            template = self.templates.get(name)
            self.subjects[name] = SubjectStatistics(
                frame if template is None else template, template is not None
            )
        return self.subjects[name]

    def add_sample(self, subject: str, offsets: np.ndarray) -> None:
        """Add frames to the sample, as (k, V, 3) offsets from the base."""
        if len(offsets):
            self._sampled.append(
                (subject, remove_head_motion(self.subjects[subject].base, offsets))
            )
            self._sample = self._lips = None

    @property
    def sample(self) -> Sample | None:
        """The sampled frames, or None if there are none."""
        if self._sample is None and self._sampled:
            names = np.concatenate([[name] * len(offsets) for name, offsets in self._sampled])
            offsets = np.concatenate([offsets for _, offsets in self._sampled])
            self._sampled = [(name, offsets[k : k + 1]) for k, name in enumerate(names)]
            centered = offsets.copy()
            for name in np.unique(names):
                centered[names == name] -= offsets[names == name].mean(0)
            bases = [self.subjects[name].base for name in np.unique(names)]
            variance = np.einsum("tvx,tvx->v", centered, centered) / len(centered)
            self._sample = Sample(names, offsets, centered, np.mean(bases, axis=0), variance)
        return self._sample

    def moving_lips(self) -> np.ndarray | None:
        """Return the lip vertices inferred from the motion; None if that is impossible."""
        sample, topology = self.sample, self.topology
        if sample is None or topology is None:
            return None
        if self._lips is None:
            self._lips = np.zeros(0, np.int32)
            # If the lips are open in the templates, they may be less so in the mean frame.
            for face in (sample.mean_face, sample.mean_face + sample.offsets.mean(0)):
                try:
                    self._lips = infer_lips(face, sample.centered, topology.triangles)
                    break
                except DataError as error:
                    logger.debug("%s", error)
        return self._lips if len(self._lips) else None

    def mouth(self) -> np.ndarray | None:
        """Return the inferred lip vertices, or the region ``lips``; None if both are missing."""
        lips, topology = self.moving_lips(), self.topology
        if lips is None and topology is not None and len(topology.regions.get("lips", ())):
            return topology.regions["lips"]
        return lips
