"""Read a custom data set: motion and speech files for each clip, and neutral faces.

    vertices_npy/F1_hello.npy        (T, V, 3) or (T, 3V); or a .pc2, or a folder of meshes
    wav/F1_hello.wav                 any audio or video file
    templates.pkl | templates/F1.obj neutral faces
    head.ply                         the triangles

These are the default paths; ``CustomSettings`` can change each of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from codetalker_cli import audio
from codetalker_cli.datasets.raw_clips import Problem, RawAudio, RawClip, RawDataSet, stamp_of
from codetalker_cli.datasets.readers.custom_audio import find_recordings
from codetalker_cli.datasets.readers.custom_motion import MotionFile, find_motion_files, safe_name
from codetalker_cli.datasets.readers.custom_templates import CustomTemplates, read_custom_templates
from codetalker_cli.datasets.readers.facts import data_settings
from codetalker_cli.errors import CodeTalkerError, InputError, counted
from codetalker_cli.formats.frames import AxisMap, ConvertedFrames, FrameSource, axis_map
from codetalker_cli.settings import CustomSettings, DataSettings

METERS = {"m": 1.0, "cm": 1e-2, "mm": 1e-3}
"""Length of each supported unit in meters."""


def read_custom(settings: CustomSettings, root: Path) -> RawDataSet:
    """Open a custom data set. Frames are read later, except those that serve as templates.

    Args:
        settings: The paths, the frame rate, the unit and the axes of the recordings.
        root: The folder that a relative ``settings.root`` refers to, and the root folder itself if
            ``settings.root`` is None.

    Returns:
        The clips, the templates and a list of what is missing or broken.

    Raises:
        InputError: There is no motion, no speech, no mesh with triangles or no template; two files
            belong to the same clip; or no clip is usable.
        DataError: A file that all clips need is damaged or unsafe.
    """
    base = base_of(settings, root)
    if not base.is_dir():
        raise InputError(
            f"{base}: no such folder; custom.root must be the folder that contains the clips"
        )
    name = settings.name or safe_name(base.resolve().name)
    if name != safe_name(name):
        raise InputError(
            f"custom.name: {name!r} is not a valid folder name; use {safe_name(name)!r}"
        )
    change = axis_map(settings.axes, METERS[settings.unit])
    motion_files, problems = find_motion_files(base, settings)
    recordings, unmatched = find_recordings(base, settings, motion_files)
    templates = read_custom_templates(base, settings, motion_files, name, change)
    usable = _collect_usable(motion_files, recordings, templates, change, settings)
    problems += usable.problems
    if not usable.clips:
        first = problems[0]
        hint = f"; {unmatched[0].reason}" if first.kind == "missing" and unmatched else ""
        raise InputError(
            f"{base}: none of {counted(len(motion_files), 'clip')} is usable; {first.clip}: "
            f"{first.reason}{hint} (triangles from {templates.file.name})"
        )
    notes = {"layout": "custom", "unit": settings.unit, "axes": settings.axes, **templates.notes}
    return RawDataSet(
        settings.fps / _common_step(usable.steps),
        templates.mesh,
        tuple(usable.clips),
        tuple(sorted([*problems, *unmatched], key=lambda problem: problem.clip)),
        notes,
        max(usable.first_number, 0),
    )


@dataclass
class _UsableClips:
    """The usable clips, and the reasons why the others are not.

    Attributes:
        clips: The usable clips.
        problems: One problem per clip that is not usable.
        steps: One motion file for each sampling step that occurs (see ``MotionFile.step``).
        first_number: The lowest number that any clip starts at, or 1 if all clips start later.
    """

    clips: list[RawClip] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    steps: dict[float, MotionFile] = field(default_factory=dict)
    first_number: int = 1


def _collect_usable(
    motion_files: Sequence[MotionFile],
    recordings: Mapping[str, Path],
    templates: CustomTemplates,
    change: AxisMap,
    settings: CustomSettings,
) -> _UsableClips:
    usable = _UsableClips()
    n_vertices = templates.mesh.topology.n_vertices
    for motion_file in motion_files:
        if motion_file.name not in recordings:
            reason = f"{motion_file.path}: no audio file belongs to this clip"
            usable.problems.append(Problem(motion_file.name, "missing", reason))
            continue
        if motion_file.subject in templates.unusable:
            usable.problems.append(
                Problem(motion_file.name, "broken", templates.unusable[motion_file.subject])
            )
            continue
        recording = recordings[motion_file.name]
        try:
            numbers = motion_file.open(n_vertices).numbers
            stamp = stamp_of([*motion_file.files, recording], settings.unit, settings.axes)
            usable.steps.setdefault(motion_file.step, motion_file)
        except (CodeTalkerError, OSError) as error:
            usable.problems.append(Problem(motion_file.name, "broken", str(error)))
            continue
        usable.first_number = min(usable.first_number, int(numbers[0]))
        usable.clips.append(
            RawClip(
                motion_file.name,
                motion_file.subject,
                motion_file.sentence,
                len(numbers),
                stamp,
                partial(_open, motion_file, n_vertices, change),
                partial(_read_audio, recording),
            )
        )
    return usable


def _open(motion_file: MotionFile, n_vertices: int, change: AxisMap) -> FrameSource:
    return ConvertedFrames(motion_file.open(n_vertices), change)


def _read_audio(path: Path) -> RawAudio:
    return RawAudio(*audio.read(path))


def _common_step(steps: Mapping[float, MotionFile]) -> float:
    """Return the number of scene frames per sample, which must be the same in all clips."""
    if len(steps) > 1:
        (one, first), (other, second) = list(steps.items())[:2]
        raise InputError(
            f"{first.path} has one sample per {one:g} scene frames, but {second.path} has one per "
            f"{other:g}; export all clips with the same sampling rate"
        )
    return next(iter(steps))


def base_of(settings: CustomSettings, root: Path) -> Path:
    """Return the folder that all paths in the settings are relative to."""
    return root / Path(settings.root or ".").expanduser()


def data_of(raw: RawDataSet, settings: CustomSettings) -> DataSettings:
    """Return the data settings of a custom data set; see ``facts.data_settings``."""
    return data_settings(raw, settings, "custom", raw.mesh.topology.name)
