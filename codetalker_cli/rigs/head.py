"""The bundled head as a linear rig: subjects, expression units and visemes.

``Rig.load`` reads assets/head.npz and assets/visemes.json. scripts/head/ builds these files, and
assets/SOURCES.md documents their sources.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from codetalker_cli import resources
from codetalker_cli.arrays import read_arrays
from codetalker_cli.errors import DataError, InputError, similar_name
from codetalker_cli.text_files import read_json
from codetalker_cli.topology import Topology

SIDES = ("Left", "Right")
# The names in assets/head.npz; `subject_colours` keeps the spelling of the stored file.
_ARRAYS = (
    "neutral", "faces", "uv", "uv_faces", "part_names", "part_ranges", "unit_names", "unit_deltas",
    "subject_names", "subject_deltas", "subject_blink", "subject_colours", "region_lips",
    "region_mouth", "region_upper_face", "region_inner_lip_upper", "region_inner_lip_lower",
)  # fmt: skip


@dataclass(frozen=True)
class Rig:
    """A head whose vertices are a linear function of unit weights.

    Lengths are in meters. The origin is between the eyes; +x points to the subject's left, +y up
    and +z forward.

    Attributes:
        neutral: The mean head with shut lips, (V, 3) float32.
        unit_names: The names of the U units: the 52 ARKit units, then tongue shapes and lip
            correctives.
        unit_deltas: The vertex offsets of each unit at weight 1, (U, V, 3) float32.
        subject_names: The names of the S subjects.
        subject_deltas: The offset of each subject's template from ``neutral``, (S, V, 3) float32.
        subject_blink: The eyeBlink weight at which each subject's lids just close, (S,).
        subject_colors: The sRGB albedo of the vertices, (S, V, 3) uint8.
        topology: The triangles, regions, parts and texture coordinates.
        visemes: The (U,) float32 unit weights of each viseme.
    """

    neutral: np.ndarray
    unit_names: tuple[str, ...]
    unit_deltas: np.ndarray
    subject_names: tuple[str, ...]
    subject_deltas: np.ndarray
    subject_blink: np.ndarray
    subject_colors: np.ndarray
    topology: Topology
    visemes: dict[str, np.ndarray]

    @classmethod
    def load(cls, path: Path | None = None) -> "Rig":
        """Read a head and the visemes.json in the same folder.

        Args:
            path: The .npz file. None reads the bundled head.

        Raises:
            DataError: A file is missing or damaged, or lacks an array.
        """
        path = resources.asset("head.npz") if path is None else Path(path)
        arrays = _read_arrays(path)
        names = tuple(str(n) for n in arrays["unit_names"])
        return cls(
            neutral=arrays["neutral"].astype(np.float32),
            unit_names=names,
            unit_deltas=arrays["unit_deltas"].astype(np.float32),
            subject_names=tuple(str(n) for n in arrays["subject_names"]),
            subject_deltas=arrays["subject_deltas"].astype(np.float32),
            subject_blink=arrays["subject_blink"].astype(np.float32),
            subject_colors=arrays["subject_colours"],
            topology=_build_topology(arrays),
            visemes=_read_visemes(path.with_name("visemes.json"), names),
        )

    @property
    def n_units(self) -> int:
        """The number of units, U."""
        return len(self.unit_names)

    def _subject_index(self, subject: str) -> int:
        if subject not in self.subject_names:
            raise InputError(
                f"subject {subject!r} of the bundled head is unknown"
                f"{_suggest_similar(subject, self.subject_names)}; the choices are "
                f"{', '.join(self.subject_names)}"
            )
        return self.subject_names.index(subject)

    def template(self, subject: str) -> np.ndarray:
        """Return a subject's neutral face with shut lips, (V, 3) float32 in meters.

        Raises:
            InputError: The subject is unknown. The message lists the choices.
        """
        return self.neutral + self.subject_deltas[self._subject_index(subject)]

    def colors(self, subject: str) -> np.ndarray:
        """Return the (V, 3) uint8 sRGB albedo of a subject.

        Raises:
            InputError: The subject is unknown. The message lists the choices.
        """
        return self.subject_colors[self._subject_index(subject)]

    def unit_weights(self, mapping: Mapping[str, float]) -> np.ndarray:
        """Convert weights by unit name to a (U,) float32 array.

        A name without Left or Right, such as "mouthSmile", sets the units of both sides.

        Raises:
            InputError: A unit is unknown. The message lists the choices.
        """
        return _unit_weights(mapping, self.unit_names)

    def pose(self, subject: str, weights: np.ndarray) -> np.ndarray:
        """Apply unit weights to a subject's template: template + weights @ unit_deltas.

        The blink weights are first multiplied by the subject's ``subject_blink``, so that a weight
        of 1 closes the lids of every subject.

        Args:
            subject: One of ``subject_names``.
            weights: (T, U) unit weights.

        Returns:
            (T, V, 3) float32 vertices in meters.

        Raises:
            InputError: The subject is unknown.
            DataError: ``weights`` has the wrong shape.
        """
        index = self._subject_index(subject)
        weights = np.asarray(weights, np.float32)
        if weights.ndim != 2 or weights.shape[1] != self.n_units:
            raise DataError(
                f"unit weights have shape {weights.shape}, expected (frames, {self.n_units})"
            )
        scale = np.ones(self.n_units, np.float32)
        scale[self._blink] = self.subject_blink[index]
        offsets = (weights * scale) @ self.unit_deltas.reshape(self.n_units, -1)
        return self.template(subject) + offsets.reshape(len(weights), *self.neutral.shape)

    @cached_property
    def _blink(self) -> np.ndarray:
        names = [n for n in self.unit_names if n.startswith("eyeBlink")]
        return np.array([self.unit_names.index(n) for n in names], np.intp)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    arrays = read_arrays(path)
    missing = [name for name in _ARRAYS if name not in arrays]
    if missing:
        raise DataError(f"{path}: not a head file; these arrays are missing: {', '.join(missing)}")
    return arrays


def _build_topology(arrays: dict[str, np.ndarray]) -> Topology:
    names = [str(n) for n in arrays["part_names"]]
    return Topology(
        name="head",
        triangles=arrays["faces"].astype(np.int32),
        n_vertices=len(arrays["neutral"]),
        unit="m",
        regions={
            name.removeprefix("region_"): arrays[name].astype(np.int32)
            for name in _ARRAYS
            if name.startswith("region_")
        },
        uv=arrays["uv"].astype(np.float32),
        uv_triangles=arrays["uv_faces"].astype(np.int32),
        parts={
            name: (int(start), int(stop))
            for name, (start, stop) in zip(names, arrays["part_ranges"], strict=True)
        },
    )


def _read_visemes(path: Path, unit_names: tuple[str, ...]) -> dict[str, np.ndarray]:
    try:
        table = read_json(path)
        return {name: _unit_weights(units, unit_names) for name, units in table.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: cannot read the viseme table ({error}); reinstall codetalker-cli"
        ) from error
    except InputError as error:
        raise DataError(f"{path}: {error}") from error


def _unit_weights(mapping: Mapping[str, float], unit_names: tuple[str, ...]) -> np.ndarray:
    weights = np.zeros(len(unit_names), np.float32)
    for name, weight in mapping.items():
        both_sides = [name + side for side in SIDES]
        if name in unit_names:
            units = [name]
        elif all(s in unit_names for s in both_sides):
            units = both_sides
        else:
            raise InputError(
                f"expression unit {name!r} is unknown{_suggest_similar(name, unit_names)}; "
                f"the choices are {', '.join(_abbreviate_paired(unit_names))}"
            )
        for unit in units:
            weights[unit_names.index(unit)] += weight
    return weights


def _abbreviate_paired(unit_names: Iterable[str]) -> list[str]:
    """Return the unit names with both sides of a pair merged: "mouthSmile[Left|Right]"."""
    names = tuple(unit_names)
    abbreviated = []
    for name in names:
        stem = name.removesuffix("Left")
        if stem != name and stem + "Right" in names:
            abbreviated.append(f"{stem}[Left|Right]")
        elif not (name.endswith("Right") and name.removesuffix("Right") + "Left" in names):
            abbreviated.append(name)
    return abbreviated


def _suggest_similar(name: str, choices: Iterable[str]) -> str:
    close = similar_name(name, choices)
    return "" if close is None else f" (did you mean {close}?)"
