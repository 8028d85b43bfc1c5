"""The units of a rig: named vertex offsets that add up to an expression."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from codetalker_cli.errors import InputError, printable
from codetalker_cli.motion import Motion
from codetalker_cli.rigs.arkit import ARKIT_UNITS
from codetalker_cli.rigs.head import Rig
from codetalker_cli.topology import Topology

MAX_UNITS = 1000
"""The most units of a face; the solve needs memory for the square of their number."""


@dataclass(frozen=True, eq=False)
class UnitSet:
    """The units of one face.

    Attributes:
        names: The names of the U units.
        deltas: (U, V, 3) float32 vertex offsets at weight 1, in the unit of the topology.

    Raises:
        InputError: The names or the deltas are invalid.
    """

    names: tuple[str, ...]
    deltas: np.ndarray

    def __post_init__(self) -> None:
        # Exporters write names as UTF-8, which cannot contain surrogates.
        names = [str(name).encode("utf-8", "replace").decode() for name in self.names or ()]
        try:
            deltas = np.asarray(self.deltas, np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"units: the deltas are not numbers ({error})") from error
        if deltas.ndim != 3 or deltas.shape[0] != len(names) or deltas.shape[2] != 3:
            raise InputError(
                f"units: the deltas have shape {deltas.shape}, expected ({len(names)}, vertices, 3)"
            )
        if not names or len(set(names)) < len(names):
            raise InputError("units: the names are missing or not distinct")
        if len(names) > MAX_UNITS:
            raise InputError(f"units: there are {len(names)} units, at most {MAX_UNITS} are used")
        if not np.isfinite(deltas).all():
            raise InputError("units: the deltas contain NaN or infinite values")
        object.__setattr__(self, "names", tuple(names))
        object.__setattr__(self, "deltas", deltas)

    def __repr__(self) -> str:
        """Return the size, without arrays."""
        return f"<UnitSet: {len(self.names)} units of {self.deltas.shape[1]} vertices>"

    def select(self, names: tuple[str, ...]) -> "UnitSet":
        """Return the units with these names, in the order of ``names``; missing ones are left out.

        Raises:
            InputError: The set has none of these units.
        """
        chosen = [self.names.index(name) for name in names if name in self.names]
        if not chosen:
            raise InputError(
                f"the units ({', '.join(map(printable, self.names[:4]))} …) include none of "
                f"{', '.join(names[:4])} …"
            )
        return UnitSet(tuple(self.names[k] for k in chosen), self.deltas[chosen])

    def arkit(self) -> "UnitSet":
        """Return those of ARKit's 52 units that the set has."""
        return self.select(ARKIT_UNITS)


@lru_cache(maxsize=1)
def bundled_rig() -> Rig:
    """Return the bundled head, which is read once."""
    return Rig.load()


def is_bundled_head(topology: Topology) -> bool:
    """Return whether a mesh has the vertices and triangles of the bundled head."""
    head = bundled_rig().topology
    return topology.n_vertices == head.n_vertices and np.array_equal(
        topology.triangles, head.triangles
    )


def bundled_units(subject: str) -> UnitSet:
    """Return the units of the bundled head, such that a blink of 1 closes the lids of the subject.

    Args:
        subject: One of the bundled subjects; for another one, the lids close at the mean weight.
    """
    rig = bundled_rig()
    known = subject in rig.subject_names
    blinks = rig.subject_blink
    closure = blinks[rig.subject_names.index(subject)] if known else blinks.mean()
    is_blink = np.array([name.startswith("eyeBlink") for name in rig.unit_names])
    scale = np.where(is_blink, closure, 1.0).astype(np.float32)
    return UnitSet(rig.unit_names, rig.unit_deltas * scale[:, None, None])


def units_of(motion: Motion) -> UnitSet:
    """Return the units of a motion's face.

    Raises:
        InputError: The face is not the bundled head, so its units are unknown.
    """
    if is_bundled_head(motion.topology):
        return bundled_units(motion.subject)
    raise InputError(
        f"the face {printable(motion.topology.name)!r} ({motion.topology.n_vertices} vertices) has "
        "no known units; give `units`: a .glb with morph targets, a folder of .obj or .ply files, "
        "or an .npz of deltas"
    )
