"""Read the numbers of the articulation rules that were fitted to a filmed talker.

scripts/voice/fit_articulation.py computes them and writes assets/articulation.json. The phones that
the talker never speaks, and those of other languages, get the poses of
``codetalker_cli.synthetic.visemes``, scaled like the poses of all phones that were fitted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from codetalker_cli import resources
from codetalker_cli.errors import DataError
from codetalker_cli.synthetic.visemes import CHANNELS, PHONES, Channel
from codetalker_cli.text_files import read_json


@dataclass(frozen=True)
class ChannelTiming:
    """When a phone influences an articulator channel, in seconds unless noted.

    Attributes:
        attack: The time by which the influence precedes the phone.
        release: The time by which it outlasts the phone.
        onset: The attack of the first phone after a silence.
        offset: The release of the last phone before a silence.
        ramp: The share of the phone, at each end, in which its influence rises or falls.
        silence: The weight of silence relative to its dominance.
    """

    attack: float
    release: float
    onset: float
    offset: float
    ramp: float
    silence: float


@dataclass(frozen=True)
class ReadyPose:
    """The pose of the lips shortly before speech.

    People part their lips for a breath before they speak.

    Attributes:
        pose: The weight of each face unit; a name without Left or Right sets both sides.
        dominance: The weight of the pose in the blend of each channel.
        lead: The time before the first sound at which the pose is reached, in seconds.
        rise: The time in which it is reached, in seconds.
    """

    pose: dict[str, float]
    dominance: dict[Channel, float]
    lead: float
    rise: float


@dataclass(frozen=True)
class FittedArticulation:
    """The fitted numbers of the articulation rules.

    Attributes:
        scale: The factor of each face unit in the poses of phones that were not fitted.
        poses: For each fitted phone, the weights of the face units in each of its phases.
        dominance: For each fitted phone, the dominance of each of its phases by channel.
        timing: The timing of each channel.
        silence_seconds: The longest ramps of a silence: at its start and at its end.
        ready: The pose before speech.
        opening_mm: The opening of the inner lips that each face unit of the bundled head adds at
            weight 1, in millimeters; a name without Left or Right stands for both sides together.
        loudness_per_db: The relative change of the opening per dB of speech level.
        vowel_per_second: The relative change of a vowel's opening per second of its duration.
    """

    scale: dict[str, float]
    poses: dict[str, list[dict[str, float]]]
    dominance: dict[str, list[dict[Channel, float]]]
    timing: dict[Channel, ChannelTiming]
    silence_seconds: tuple[float, float]
    ready: ReadyPose
    opening_mm: dict[str, float]
    loudness_per_db: float
    vowel_per_second: float

    @classmethod
    def load(cls, path: Path | None = None) -> "FittedArticulation":
        """Read the numbers from a file; None: those of the package.

        Raises:
            DataError: The file is damaged.
        """
        path = resources.asset("articulation.json") if path is None else path
        try:
            return cls._parse(read_json(path))
        except (AttributeError, OSError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: not the numbers of an articulation ({error!r})") from error

    @classmethod
    def _parse(cls, entry: dict[str, Any]) -> "FittedArticulation":
        start, end = entry["silence_seconds"]
        ready = entry["ready"]
        return cls(
            scale=_by_unit(entry["scale"]),
            poses=_by_phase(entry["poses"], _by_unit),
            dominance=_by_phase(entry["dominance"], _by_channel),
            timing={channel: _timing(entry["timing"][channel]) for channel in CHANNELS},
            silence_seconds=(float(start), float(end)),
            ready=ReadyPose(
                _by_unit(ready["pose"]),
                _by_channel(ready["dominance"]),
                float(ready["lead"]),
                float(ready["rise"]),
            ),
            opening_mm=_by_unit(entry["opening_mm"]),
            loudness_per_db=float(entry["loudness_per_db"]),
            vowel_per_second=float(entry["vowel_per_second"]),
        )


def _by_unit(entry: dict[str, Any]) -> dict[str, float]:
    return {unit: float(value) for unit, value in entry.items()}


def _by_channel(entry: dict[str, Any]) -> dict[Channel, float]:
    return {channel: float(entry[channel]) for channel in CHANNELS}


def _by_phase(
    entry: dict[str, Any], parse: Callable[[dict[str, Any]], dict[Any, float]]
) -> dict[str, list[dict[Any, float]]]:
    """Return what is stored for each phase of each phone."""
    for label, phases in entry.items():
        n_phases = len(PHONES[label].phases)
        if len(phases) != n_phases:
            raise ValueError(f"{label} has {len(phases)} phases, expected {n_phases}")
    return {label: [parse(phase) for phase in phases] for label, phases in entry.items()}


def _timing(entry: dict[str, Any]) -> ChannelTiming:
    return ChannelTiming(**_by_unit(entry))


@lru_cache(maxsize=1)
def fitted_articulation() -> FittedArticulation:
    """Return the numbers of the package, which are read once."""
    return FittedArticulation.load()
