"""Solve the weights of a rig's units for the vertices of a motion.

Each frame is a least-squares problem with bounds: the weights x in [0, 1] that minimize
‖A x − b‖² plus penalties, where the columns of A are the units and b is the offset from the neutral
face. A is only used in AᵀA and Aᵀb, so each frame becomes a system of U × U numbers.
"""

import numpy as np

from codetalker_cli.errors import DataError
from codetalker_cli.motion import Motion, vertex_blocks
from codetalker_cli.rig_curves import RigCurves
from codetalker_cli.rigs.units import UnitSet
from codetalker_cli.settings import SolveSettings


def solve(motion: Motion, units: UnitSet, settings: SolveSettings | None = None) -> RigCurves:
    """Return the unit weights of each frame of a motion.

    Args:
        motion: The motion.
        units: The units of its face, in its length unit.
        settings: The penalties; None: the defaults.

    Raises:
        DataError: The units have another number of vertices.
    """
    settings = SolveSettings.model_validate({}) if settings is None else settings
    if units.deltas.shape[1] != motion.topology.n_vertices:
        raise DataError(
            f"`units` has {units.deltas.shape[1]} vertices, expected "
            f"{motion.topology.n_vertices} as in the motion"
        )
    a = units.deltas.reshape(len(units.names), -1).astype(np.float64)
    gram = a @ a.T
    gram[np.diag_indices_from(gram)] += settings.l2 * np.mean(np.diag(gram)) + 1e-30
    rest = motion.template.astype(np.float64).reshape(1, -1)
    sides = [
        (block.reshape(len(block), -1) - rest) @ a.T for block in vertex_blocks(motion.vertices)
    ]
    weights = np.clip(np.linalg.solve(gram, np.concatenate(sides).T).T, 0, 1)
    return RigCurves(
        units.names,
        motion.fps,
        weights.astype(np.float32),
        motion.subject,
        audio=motion.audio,
        audio_path=motion.audio_path,
    )
