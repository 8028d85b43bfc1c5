"""The bundled head with units that move both sides, and the poses of the phones on it."""

from dataclasses import dataclass

import numpy as np

from codetalker_cli.capture.fitting import (
    DEPTH_FACTOR,
    LIPS_FACTOR,
    OPENING_FACTOR,
    OTHERS_FACTOR,
    WIDTH_FACTOR,
)
from codetalker_cli.rigs.landmarks import LIPS, bundled_landmarks, bundled_lip_rows
from codetalker_cli.rigs.units import bundled_rig
from codetalker_cli.synthetic.contacts import CONTACTS
from codetalker_cli.synthetic.visemes import CHANNELS, PHONES, channel_of

FITTED_UNITS = (
    "jawOpen", "mouthClose", "mouthDimple", "mouthFrown", "mouthFunnel", "mouthLowerDown",
    "mouthPress", "mouthPucker", "mouthRollLower", "mouthRollUpper", "mouthShrugLower",
    "mouthShrugUpper", "mouthSmile", "mouthStretch", "mouthUpperUp",
)  # fmt: skip
"""The units whose weight in each pose is fitted. The scale of each other unit is fitted."""
PHASES = [(label, k) for label, phone in PHONES.items() for k in range(len(phone.phases))]
"""The phases of all phones: the label of the phone, and the number of the phase in it."""


def both_sides(unit: str) -> str:
    """Return the name of a unit without Left or Right."""
    return unit.removesuffix("Left").removesuffix("Right")


@dataclass(frozen=True, eq=False)
class Head:
    """The bundled head with units that move both sides.

    Attributes:
        units: The names of the U units.
        to_rig: The (U, R) matrix that turns weights into those of the R units of the head.
        poses: (n_phases, U) the pose of each of ``PHASES`` in the mean style.
        dominance: (n_phases, C) its dominance in each channel.
        contact_poses: The (U,) pose of each lip contact.
        opening: (U,) millimeters by which each unit opens the inner lips.
        width: (U,) millimeters by which it widens them.
        metric: (U, U) the squared error of a face that has wrong weights, see ``capture.fitting``.
    """

    units: tuple[str, ...]
    to_rig: np.ndarray
    poses: np.ndarray
    dominance: np.ndarray
    contact_poses: dict[str, np.ndarray]
    opening: np.ndarray
    width: np.ndarray
    metric: np.ndarray

    @classmethod
    def load(cls) -> "Head":
        """Return the bundled head with the poses of ``codetalker_cli.synthetic.visemes``."""
        rig, lips, landmarks = bundled_rig(), bundled_lip_rows(), bundled_landmarks()
        names = [both_sides(name) for name in rig.unit_names]
        units = tuple(sorted(set(names)))
        to_rig = np.array([[float(name == unit) for name in names] for unit in units])
        mean = (to_rig / to_rig.sum(1, keepdims=True)).T
        is_lip = np.isin(landmarks.numbers, LIPS)
        factors = np.where(is_lip, LIPS_FACTOR, OTHERS_FACTOR)[:, None] * [1.0, 1.0, DEPTH_FACTOR]
        rows = np.concatenate(
            [
                (landmarks.deltas * factors).reshape(len(names), -1),
                OPENING_FACTOR * lips.openings.mean(1)[:, None],
                WIDTH_FACTOR * lips.width[:, None],
            ],
            axis=1,
        )
        rows = to_rig @ rows
        return cls(
            units,
            to_rig,
            np.array([_pose(*phase) for phase in PHASES]) @ mean,
            np.array([[PHONES[label].dominance[c] for c in CHANNELS] for label, _ in PHASES]),
            {contact: rig.visemes[contact] @ mean for contact in CONTACTS},
            to_rig @ lips.openings.mean(1),
            to_rig @ lips.width,
            rows @ rows.T,
        )

    def is_channel(self, *channels: str) -> np.ndarray:
        """Return which of the units belong to one of the channels."""
        return np.array([channel_of(unit) in channels for unit in self.units])


def _pose(label: str, number: int) -> np.ndarray:
    """Return the weights of the rig's units in a phase, without those of a lip contact."""
    rig, phone = bundled_rig(), PHONES[label]
    phase = phone.phases[number]
    pose = np.zeros(rig.n_units)
    for viseme, weight in phase.poses.items():
        pose += weight * rig.visemes[viseme]
    for unit, weight in phase.units.items():
        pose[rig.unit_names.index(unit)] += weight
    pose = np.maximum(pose, 0.0)
    if phone.contact:
        pose[[channel_of(name) not in ("jaw", "tongue") for name in rig.unit_names]] = 0.0
    return pose
