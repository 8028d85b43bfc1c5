"""Read the units of a face that users bring: .glb, a folder of .obj or .ply files, or .npz."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from codetalker_cli.arrays import read_arrays
from codetalker_cli.errors import DataError, InputError, counted, printable
from codetalker_cli.face_fit import SAME_SIZE, rms_distance, size_of, spread
from codetalker_cli.formats.glb_morphs import MAX_OFFSETS, MorphMesh, read_morphs
from codetalker_cli.formats.meshes import read_mesh_file
from codetalker_cli.motion import Motion
from codetalker_cli.rigs.unit_fit import Neutral, fit, unit_scales
from codetalker_cli.rigs.unit_names import canonical_names
from codetalker_cli.rigs.units import MAX_UNITS, UnitSet

NEUTRAL_NAMES = ("neutral", "base", "template", "rest", "basis")
"""The names of the neutral face in a folder of meshes, in any case."""
FOLDER_SUFFIXES = (".obj", ".ply")
"""The mesh files that a folder of units can contain."""
FILE_UNITS = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}
"""The values of ``unit`` in an .npz, in meters."""
_STILL = 1e-6
"""A unit that moves no vertex by more than this fraction of the face does not move it."""
_FAINT = 1e-3
"""The largest offset of all units is at least this fraction of the face."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Shapes:
    """The content of a file: offsets of its own vertices, in its own length unit.

    Attributes:
        names: The names of the U units.
        offsets: (U, N, 3) offsets.
        neutral: The neutral face, or None if the offsets are in the order of the motion.
        scale: The factor to the unit of the motion if there is no neutral face.
    """

    names: list[str]
    offsets: np.ndarray
    neutral: Neutral | None = None
    scale: float = 1.0


def read_units(path: Path | str, motion: Motion) -> UnitSet:
    """Read the units of a motion's face.

    The units can be the morph targets of a .glb, a folder with one .obj or .ply file a unit, or an
    .npz of offsets: ``names`` and ``deltas`` (U, V, 3), or one (V, 3) array a unit. The names of
    ARKit's units are recognized in many spellings; see ``unit_names``. Units that do not move the
    face are dropped.

    Args:
        path: The file or the folder.
        motion: A motion of the face. The vertices of a .glb can be split or in another order.

    Returns:
        The units in meters, or in the unit of the motion if its scale is unknown.

    Raises:
        InputError: The path is missing, or has an unknown format.
        DataError: The content is damaged, contains no units, or does not fit the face.
    """
    path = Path(path)
    where = printable(path)
    check_path(path)
    if path.is_dir():
        shapes = _read_folder(path, motion)
    elif path.suffix.lower() == ".glb":
        shapes = _read_glb(path)
    else:
        shapes = _read_npz(path, motion)
    if len(shapes.names) > MAX_UNITS:
        raise DataError(
            f"{where}: it contains {len(shapes.names)} units, at most {MAX_UNITS} are read"
        )
    _check_finite(shapes, where)
    deltas = _on_motion(shapes, motion, where)
    return _moving(shapes.names, deltas, motion, where)


def check_path(path: Path) -> None:
    """Check that a path can contain units, before any work is done.

    Raises:
        InputError: It is missing, or has an unknown format.
    """
    where = printable(path)
    if not path.exists():
        raise InputError(f"{where}: no such file or folder of units")
    if not path.is_dir() and path.suffix.lower() not in (".glb", ".npz"):
        raise InputError(
            f"{where}: units are a .glb with morph targets, a folder of .obj or .ply files, or an "
            f".npz of deltas, not {printable(path.suffix)!r}"
        )


def _check_finite(shapes: _Shapes, where: str) -> None:
    for name, offsets in zip(shapes.names, shapes.offsets, strict=True):
        if not np.isfinite(offsets).all():
            raise DataError(
                f"{where}: unit {printable(name)!r} contains NaN or infinite values; export it "
                "again"
            )
    if shapes.neutral is not None and not np.isfinite(shapes.neutral.vertices).all():
        raise DataError(f"{where}: the neutral face contains NaN or infinite values")


def _on_motion(shapes: _Shapes, motion: Motion, where: str) -> np.ndarray:
    """Return the (U, V, 3) float64 offsets of the motion's vertices in the unit of the motion."""
    n_vertices = motion.topology.n_vertices
    if shapes.neutral is not None:
        found = fit(shapes.neutral, motion, where)
        return shapes.offsets[:, found.vertices].astype(np.float64) * found.scale
    if shapes.offsets.shape[1] != n_vertices:
        raise DataError(
            f"{where}: the units have {counted(shapes.offsets.shape[1], 'vertex')}, expected "
            f"{n_vertices} as in the motion; give units that were made for this face"
        )
    return shapes.offsets.astype(np.float64) * shapes.scale


def _moving(names: list[str], deltas: np.ndarray, motion: Motion, where: str) -> UnitSet:
    """Drop the units that do not move the face, and check the size of the others."""
    face = size_of(motion.template)
    largest = np.abs(deltas).max(axis=(1, 2), initial=0)
    is_moving = largest > _STILL * face
    still = [printable(n) for n, moves in zip(names, is_moving, strict=True) if not moves]
    if not is_moving.any():
        raise DataError(f"{where}: none of the {counted(len(names), 'unit')} moves the face")
    if still:
        logger.info(
            "%s: %s not move the face and %s dropped: %s",
            where,
            "1 unit does" if len(still) == 1 else f"{len(still)} units do",
            "is" if len(still) == 1 else "are",
            ", ".join(still),
        )
    _check_sizes(names, deltas, motion, where)
    meters = motion.topology.meters_per_unit or 1.0
    kept = tuple(name for name, moves in zip(names, is_moving, strict=True) if moves)
    return UnitSet(kept, (deltas[is_moving] * meters).astype(np.float32))


def _check_sizes(names: list[str], deltas: np.ndarray, motion: Motion, where: str) -> None:
    """Refuse positions instead of offsets, and offsets in an implausible unit."""
    template = motion.template.astype(np.float64)
    for name, offsets in zip(names, deltas, strict=True):
        if rms_distance(offsets, template) < spread(template) / 4 < spread(offsets):
            raise DataError(
                f"{where}: unit {printable(name)!r} contains positions, expected offsets from the "
                "neutral face; subtract the neutral face from each unit"
            )
    face, largest = size_of(template), float(np.abs(deltas).max())
    if not _FAINT * face <= largest <= face:
        raise DataError(
            f"{where}: the largest offset of the units is {largest:.3g} {motion.topology.unit}, "
            f"expected {_FAINT * face:.3g} to {face:.3g} for a face of {face:.3g}; save them in "
            "the unit of the motion, or add 'unit' or 'neutral' to an .npz"
        )


# GLB ----------------------------------------------------------------------------------------------


def _read_glb(path: Path) -> _Shapes:
    meshes = read_morphs(path)
    if not any(mesh.names for mesh in meshes):
        raise DataError(
            f"{printable(path)}: none of its {counted(len(meshes), 'mesh', 'meshes')} has morph "
            "targets; export it with shape keys (blend shapes)"
        )
    # Meshes without morph targets, such as static teeth, can be part of the face, so they remain.
    meshes = sorted(meshes, key=lambda mesh: not mesh.names)
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)]).tolist()
    columns: dict[str, list[tuple[int, np.ndarray]]] = {}
    for mesh, start in zip(meshes, starts, strict=False):
        for name, offsets in zip(_names(mesh, path), mesh.offsets, strict=True):
            columns.setdefault(name, []).append((start, offsets))
    if len(columns) > MAX_UNITS:
        raise DataError(
            f"{printable(path)}: it has {len(columns)} morph targets with different names, at most "
            f"{MAX_UNITS} are read; export only the face"
        )
    if len(columns) * starts[-1] > MAX_OFFSETS:
        raise DataError(
            f"{printable(path)}: it has {len(columns)} morph targets for {starts[-1]} vertices, "
            f"which is too much (at most {MAX_OFFSETS} together); export only the face"
        )
    offsets = np.zeros((len(columns), starts[-1], 3), np.float32)
    for row, parts in zip(offsets, columns.values(), strict=True):
        for start, part in parts:
            row[start : start + len(part)] = part
    n_moving = sum(len(mesh.vertices) for mesh in meshes if mesh.names)
    neutral = Neutral(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([m.triangles + start for m, start in zip(meshes, starts, strict=False)]),
        [(0, n_moving), *pairwise(starts)],
        _movement(offsets),
    )
    return _Shapes(list(columns), offsets, neutral)


def _movement(offsets: np.ndarray) -> np.ndarray:
    """Return (N, 3) numbers that are equal for vertices with equal (U, N, 3) offsets."""
    weights = np.random.default_rng(0).uniform(1, 2, len(offsets))  # equal by chance: never
    return np.einsum("u,unc->nc", weights, offsets)


def _names(mesh: MorphMesh, path: Path) -> list[str]:
    return canonical_names(mesh.names, f"{printable(path)}: mesh {printable(mesh.name)!r}")


# Folder -------------------------------------------------------------------------------------------


def _read_folder(folder: Path, motion: Motion) -> _Shapes:
    where = printable(folder)
    files = sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in FOLDER_SUFFIXES and not file.name.startswith(".")
    )
    neutrals = [file for file in files if file.stem.lower() in NEUTRAL_NAMES]
    units = [file for file in files if file not in neutrals]
    if len(neutrals) > 1:
        listed = " and ".join(printable(file.name) for file in neutrals[:2])
        raise DataError(f"{where}: {listed} are both the neutral face; remove one of them")
    if not units:
        what = f"only {printable(neutrals[0].name)}" if neutrals else "no .obj or .ply files"
        raise DataError(
            f"{where}: the folder contains {what}; add one mesh a unit, named like the unit"
        )
    names = canonical_names([file.stem for file in units], where)
    if neutrals:
        base = read_mesh_file(neutrals[0])
        n_expected, source = len(base.vertices), neutrals[0].name
    else:
        n_expected, source = motion.topology.n_vertices, "the motion"
    shapes = [read_mesh_file(file).vertices for file in units]
    for file, shape in zip(units, shapes, strict=True):
        if len(shape) != n_expected:
            raise DataError(
                f"{printable(file)}: the mesh has {counted(len(shape), 'vertex')}, expected "
                f"{n_expected} as in {printable(source)}; give units of the same face"
            )
    positions = np.stack(shapes)
    if neutrals:
        offsets = positions - base.vertices
        neutral = Neutral(base.vertices, base.triangles, movement=_movement(offsets))
        return _Shapes(names, offsets, neutral)
    scale = _scale_of_positions(np.median(positions, axis=0), motion, where)
    return _Shapes(names, positions * scale - motion.template.astype(np.float64))


def _scale_of_positions(typical: np.ndarray, motion: Motion, where: str) -> float:
    """Return the factor from positions to the unit of the motion, which they must fit exactly.

    Args:
        typical: (V, 3) median of all units, which is close to the neutral face.
        motion: The motion.
        where: The folder, for the message.
    """
    template = motion.template.astype(np.float64)
    distances = {
        scale: rms_distance(typical * scale, template) for scale in unit_scales(motion) or [1.0]
    }
    scale = min(distances, key=lambda s: distances[s])
    if distances[scale] > spread(template) / 4:
        raise DataError(
            f"{where}: the units do not fit the neutral face of the motion (RMS distance "
            f"{distances[scale]:.3g} {motion.topology.unit}, expected up to "
            f"{spread(template) / 4:.3g}); add the neutral face of the units as neutral.obj"
        )
    return scale


# NPZ ----------------------------------------------------------------------------------------------


def _read_npz(path: Path, motion: Motion) -> _Shapes:
    where = printable(path)
    if not path.exists():
        raise InputError(f"{where}: no such file or folder of units")
    arrays = read_arrays(path)
    scale = _scale_of(arrays, motion, where)
    neutral = _neutral_array(arrays, where)
    if "deltas" in arrays and "names" in arrays:
        if arrays["names"].dtype.kind != "U":
            raise DataError(
                f"{where}: 'names' is an array of {arrays['names'].dtype}, expected text"
            )
        given, offsets = [str(name) for name in arrays["names"].ravel()], arrays["deltas"]
        _check_array("deltas", offsets, (len(given), -1, 3), where)
    else:
        kept = {k: v for k, v in arrays.items() if k not in ("unit", "neutral", "names", "deltas")}
        if not kept:
            raise DataError(
                f"{where}: it contains no units; save 'names' (U,) and 'deltas' (U, V, 3), or one "
                "(V, 3) array a unit"
            )
        for name, array in kept.items():
            _check_array(name, array, (-1, 3), where)
            if len(array) != motion.topology.n_vertices:
                raise DataError(
                    f"{where}: unit {printable(name)!r} has {counted(len(array), 'vertex')}, "
                    f"expected {motion.topology.n_vertices} as in the motion; give units that were "
                    "made for this face"
                )
        given, offsets = list(kept), np.stack(list(kept.values()))
    names = canonical_names(given, where)
    if neutral is None:
        return _Shapes(names, offsets, scale=1.0 if scale is None else scale)
    if len(neutral) != offsets.shape[1]:
        raise DataError(
            f"{where}: 'neutral' has {counted(len(neutral), 'vertex')}, expected "
            f"{offsets.shape[1]} as in the units"
        )
    face = Neutral(neutral.astype(np.float64))
    if (
        scale is not None
        and not SAME_SIZE[0] < fit(face, motion, where).scale / scale < (SAME_SIZE[1])
    ):
        raise DataError(
            f"{where}: 'unit' is {arrays['unit']}, but the size of 'neutral' contradicts it; "
            "correct or remove 'unit'"
        )
    return _Shapes(names, offsets, face)


def _scale_of(arrays: Mapping[str, np.ndarray], motion: Motion, where: str) -> float | None:
    """Return the factor from the stored ``unit`` to that of the motion; None if there is none."""
    if "unit" not in arrays:
        return None
    unit, meters = str(arrays["unit"]), motion.topology.meters_per_unit
    if unit == motion.topology.unit:
        return 1.0
    if unit not in FILE_UNITS:
        raise DataError(f"{where}: 'unit' is {printable(unit)!r}, expected {', '.join(FILE_UNITS)}")
    if meters is None:
        raise DataError(
            f"{where}: 'unit' is {unit}, but the scale of the motion is unknown; add 'neutral', "
            "the (V, 3) neutral face of the units, instead"
        )
    return FILE_UNITS[unit] / meters


def _neutral_array(arrays: Mapping[str, np.ndarray], where: str) -> np.ndarray | None:
    if "neutral" not in arrays:
        return None
    _check_array("neutral", arrays["neutral"], (-1, 3), where)
    return arrays["neutral"]


def _check_array(name: str, array: np.ndarray, shape: tuple[int, ...], where: str) -> None:
    fits = array.ndim == len(shape) and all(
        m in (-1, n) for n, m in zip(array.shape, shape, strict=True)
    )
    if not fits or array.dtype.kind not in "fiu" or not array.size:
        wanted = str(shape).replace("-1", "V")
        raise DataError(
            f"{where}: array {printable(name)!r} is {array.shape} of {array.dtype}, expected "
            f"numbers of shape {wanted}"
        )
