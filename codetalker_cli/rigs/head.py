"""The bundled head as a linear rig: subjects, expression units, visemes, and the lip-gap measure.

This module owns the reading of assets/head.npz and assets/visemes.json. How the asset is made is
in scripts/head/ and assets/SOURCES.md.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from codetalker_cli import resources
from codetalker_cli.arrays import read_arrays
from codetalker_cli.errors import DataError, InputError
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
    """A head that is linear in its unit weights.

    Lengths are meters; the origin lies between the eyes, +y up, +z the way the face looks, +x to
    the subject's left.

    Attributes:
        neutral: (V, 3) float32 mean head, lips shut.
        unit_names: U names: the 52 ARKit units, then tongue shapes and lip correctives.
        unit_deltas: (U, V, 3) float32.
        subject_names: S names.
        subject_deltas: (S, V, 3) float32; a subject's template is neutral + delta.
        subject_blink: (S,) eyeBlink weight at which that subject's lids just close.
        subject_colors: (S, V, 3) uint8 sRGB albedo.
        topology: faces, regions, parts and texture coordinates.
        visemes: viseme name -> (U,) float32 unit weights.
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
        """Reads a head asset and the visemes.json beside it.

        Args:
            path: the .npz; the bundled head when None.

        Raises:
            DataError: a file is missing or damaged, or lacks an array.
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
        """U, the number of units."""
        return len(self.unit_names)

    def _subject_index(self, subject: str) -> int:
        if subject not in self.subject_names:
            raise InputError(
                f"unknown subject {subject!r} of the bundled head"
                f"{_suggest_similar(subject, self.subject_names)}; the choices are "
                f"{', '.join(self.subject_names)}"
            )
        return self.subject_names.index(subject)

    def template(self, subject: str) -> np.ndarray:
        """(V, 3) float32 meters: a subject at rest, lips shut.

        Raises:
            InputError: unknown subject; the message lists the choices.
        """
        return self.neutral + self.subject_deltas[self._subject_index(subject)]

    def colors(self, subject: str) -> np.ndarray:
        """(V, 3) uint8 sRGB albedo of a subject."""
        return self.subject_colors[self._subject_index(subject)]

    def unit_weights(self, mapping: Mapping[str, float]) -> np.ndarray:
        """(U,) float32 weights from names.

        A paired unit named without Left or Right means both sides ("mouthSmile").

        Raises:
            InputError: unknown unit; the message lists the choices.
        """
        return _unit_weights(mapping, self.unit_names)

    def pose(self, subject: str, weights: np.ndarray) -> np.ndarray:
        """A subject under unit weights, for every frame.

        The blink weights are multiplied by the subject's `subject_blink`, so 1 closes the lids
        of every subject. Otherwise linear: template + weights @ unit_deltas.

        Args:
            subject: one of `subject_names`.
            weights: (T, U).

        Returns:
            (T, V, 3) float32 meters.

        Raises:
            InputError: unknown subject.
            DataError: `weights` has another shape.
        """
        index = self._subject_index(subject)
        weights = np.asarray(weights, np.float32)
        if weights.ndim != 2 or weights.shape[1] != self.n_units:
            raise DataError(
                f"unit weights have the shape {weights.shape}, expected (frames, {self.n_units})"
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
        raise DataError(f"{path}: not a head asset, it lacks {', '.join(missing)}")
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
        table = json.loads(path.read_text(encoding="utf-8"))
        return {name: _unit_weights(units, unit_names) for name, units in table.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: cannot be read as a viseme table ({error}); reinstall codetalker-cli"
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
                f"unknown expression unit {name!r}{_suggest_similar(name, unit_names)}; "
                f"the choices are {', '.join(_abbreviate_paired(unit_names))}"
            )
        for unit in units:
            weights[unit_names.index(unit)] += weight
    return weights


def _abbreviate_paired(unit_names: Iterable[str]) -> list[str]:
    """Unit names with paired ones said once, "mouthSmile[Left|Right]"."""
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
    close = difflib.get_close_matches(name, list(choices), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
