"""Write, read and find checkpoints, and build a model from the official files.

A checkpoint is a self-contained folder:

- ``model.safetensors``  all weights, including the speech encoder's, in float32 or float16
- ``settings.yaml``      the resolved settings
- ``meta.json``          format and package version, stage, step, metrics, origin
- ``mesh.npz``           topology, and the template and colors of each subject (absent if unknown)
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codetalker_cli import resources
from codetalker_cli.errors import (
    CheckpointError,
    DataError,
    InputError,
    SettingsError,
    counted,
    printable,
)
from codetalker_cli.failures import doing
from codetalker_cli.files import atomic_path, check_output, name_fault
from codetalker_cli.models import checkpoint_files, official, shapes
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.presets import settings_from_dict
from codetalker_cli.settings import Settings
from codetalker_cli.text_files import check_regular, read_json, read_yaml, to_yaml
from codetalker_cli.topology import Mesh
from codetalker_cli.workspace import META, RUNS, WEIGHTS, checkpoints, is_checkpoint

FORMAT_VERSION = 2
LAST = "-last"
"""The suffix of a training run's latest checkpoint, which is next to its best one."""
MAX_LISTED = 8
"""The maximum number of checkpoints that an error message lists, newest first."""
MAX_REASON = 1000
"""The most characters of another error in a message."""
SETTINGS, MESH = "settings.yaml", "mesh.npz"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A model with its settings, metadata and mesh.

    Attributes:
        model: The model, on the CPU and in evaluation mode.
        settings: The resolved settings.
        meta: The contents of ``meta.json``: format version, stage ("vq" or "speech"), step, etc.
        mesh: The topology and templates, or None. Official files contain no mesh.
        path: The folder from which the checkpoint was read, or None.
    """

    model: CodeTalker
    settings: Settings
    meta: dict[str, Any]
    mesh: Mesh | None = None
    path: Path | None = None

    def __repr__(self) -> str:
        """Return the path and the content, without weights."""
        name = "without a path" if self.path is None else printable(self.path)
        stages = "stage 1" if self.model.speech is None else "both stages"
        return (
            f"<Checkpoint {name}: {stages}, {counted(len(self.subjects), 'subject')}, "
            f"{self.settings.data.n_vertices} vertices>"
        )

    @property
    def subjects(self) -> list[str]:
        """The subjects that have a template."""
        return list(self.mesh.templates) if self.mesh else []


def save(
    folder: Path | str,
    model: CodeTalker,
    *,
    meta: Mapping[str, Any] | None = None,
    mesh: Mesh | None = None,
    half: bool = False,
    overwrite: bool = True,
) -> Path:
    """Write a checkpoint folder atomically.

    Args:
        folder: The folder to write.
        model: The model, with stage 1 or both stages.
        meta: Additional entries for ``meta.json``.
        mesh: The topology, templates and colors.
        half: Store float16 weights, which halves the size but rounds the weights.
        overwrite: Replace an existing checkpoint.

    Returns:
        The path of the folder.

    Raises:
        InputError: The folder cannot be written (see ``check_folder``).
    """
    from safetensors.torch import save as to_bytes

    folder = Path(folder)
    check_folder(folder, overwrite=overwrite)
    dtype = torch.float16 if half else torch.float32
    state = {
        key: value.detach().cpu().to(dtype).contiguous()
        for key, value in model.state_dict().items()
    }
    weights = to_bytes(state)
    full_meta = {
        "format_version": FORMAT_VERSION,
        "package_version": resources.package_version(),
        "weights": hashlib.sha256(weights).hexdigest(),  # identifies the model
        "stage": "vq" if model.speech is None else "speech",
        "styles": list(model.settings.data.train_subjects),
        "subjects": list(mesh.templates) if mesh else [],
        **(meta or {}),
    }
    with atomic_path(folder, overwrite) as temporary:
        temporary.mkdir()
        (temporary / WEIGHTS).write_bytes(weights)
        settings_dict = model.settings.of_a_run()
        (temporary / SETTINGS).write_text(to_yaml(settings_dict), "utf-8")
        if mesh is not None:
            mesh.save(temporary / MESH)
        binaries = [p for p in (temporary / WEIGHTS, temporary / MESH) if p.exists()]
        full_meta |= checkpoint_files.describe(binaries, settings_dict)
        (temporary / META).write_text(json.dumps(full_meta, indent=1) + "\n", "utf-8")
    return folder


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Check that a checkpoint can be written to ``folder``.

    Call this before a long computation, so that an invalid path does not waste it.

    Raises:
        InputError: The folder exists and ``overwrite`` is false, it is not writable, or it contains
            other files, which are never replaced.
    """
    if not folder.name:
        raise InputError(
            f"{folder}: the path of a checkpoint must end with a folder name, like runs/NAME"
        )
    check_output(folder, overwrite=overwrite)
    if folder.is_file():
        raise InputError(f"{folder}: a checkpoint is a folder, not a file; give another name")
    checkpoint_files = {WEIGHTS, SETTINGS, META, MESH}
    extra = (
        sorted(p.name for p in folder.iterdir() if p.name not in checkpoint_files)
        if folder.is_dir()
        else []
    )
    if extra:
        raise InputError(
            f"{folder}: the folder contains {extra[0]}, which is not part of a checkpoint and "
            "would be lost; give another folder"
        )


def load(name: str | Path) -> Checkpoint:
    """Read a checkpoint.

    Args:
        name: The path of the folder, its name under runs/, or the name of a bundled checkpoint
            (``demo``).

    Raises:
        CheckpointError: The checkpoint is not found (the message lists the choices), is damaged, or
            has a newer format.
    """
    folder = find(name)
    with doing(f"loading {folder}"):
        return _load(folder)


def _load(folder: Path) -> Checkpoint:
    try:
        meta = read_meta(folder)
        if meta["format_version"] > FORMAT_VERSION:
            raise CheckpointError(
                f"{folder}: the checkpoint has format {meta['format_version']}; this version of "
                f"codetalker reads formats up to {FORMAT_VERSION}; upgrade codetalker-cli"
            )
        checkpoint_files.check_sizes(folder, meta)
        values = read_yaml(folder / SETTINGS)
        checkpoint_files.check_settings(folder / SETTINGS, values, meta)
        if meta["format_version"] < 2:
            values = _upgrade_from_1(values)
        settings = settings_from_dict(values, str(folder / SETTINGS))
        model = _load_weights(folder / WEIGHTS, settings, with_speech=meta["stage"] == "speech")
        mesh = Mesh.load(folder / MESH) if (folder / MESH).exists() else None
        if mesh is not None:
            mesh.check(settings.data.n_vertices, str(folder / MESH))
            mesh.check_values(str(folder / MESH))
    except SettingsError as error:
        raise CheckpointError(f"{folder}: the settings are damaged ({error})") from error
    except (OSError, ValueError, AttributeError, KeyError, TypeError, DataError) as error:
        reason = printable(error, MAX_REASON)
        raise CheckpointError(f"{folder}: the checkpoint is damaged ({reason})") from error
    return Checkpoint(model, settings, meta, mesh, folder)


def read_meta(folder: Path) -> dict[str, Any]:
    """Read ``meta.json``, whose metrics may contain NaN, and check the values that are used.

    Raises:
        CheckpointError: The file is damaged.
    """
    try:
        return _parse_meta(folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: the checkpoint is damaged ({error})") from error


def _parse_meta(folder: Path) -> dict[str, Any]:
    meta = read_json(folder / META, finite=False)
    if not isinstance(meta, dict):
        raise ValueError(f"{META}: expected a table, found {type(meta).__name__}")
    version, stage = meta.get("format_version"), meta.get("stage")
    if type(version) is not int or version < 1:
        raise ValueError(
            f"{META}: format_version is {printable(repr(version))}, expected a positive integer"
        )
    if version <= FORMAT_VERSION and stage not in ("vq", "speech"):
        raise ValueError(f"{META}: stage is {printable(repr(stage))}, expected vq or speech")
    for key in ("styles", "subjects"):
        names = meta.get(key, [])
        if not isinstance(names, list) or any(name_fault(name) for name in names):
            raise ValueError(f"{META}: {key} is not a list of names")
    return meta


def _upgrade_from_1(values: dict[str, Any]) -> dict[str, Any]:
    # Format 1 stored every default, and CUDA graphs used to be on by default. The stored value is
    # therefore not a choice of the user. Renamed settings are handled by `upgrade_settings`.
    decode = {k: v for k, v in values.get("decode", {}).items() if k != "cuda_graphs"}
    return {**values, "decode": decode}


def _load_weights(path: Path, settings: Settings, *, with_speech: bool) -> CodeTalker:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        check_regular(path)
        shapes.check(shapes.in_file(path), settings, with_speech=with_speech, origin=str(path))
        state = load_file(path)
    except SafetensorError as error:
        reason = printable(error, MAX_REASON)  # it quotes the header of the file
        raise CheckpointError(f"{path}: the file is not a safetensors file ({reason})") from error
    model = CodeTalker(settings, with_speech=with_speech)
    # The file can contain float16 weights; computation always uses float32.
    fill(model, {key: value.float() for key, value in state.items()}, str(path))
    return model.eval()


def bundled() -> dict[str, Path]:
    """Return the name and folder of each checkpoint in the package."""
    voice = resources.root() / "assets" / "voice"
    return {"demo": voice} if is_checkpoint(voice) else {}


def available(runs: Path = RUNS) -> dict[str, Path]:
    """Return the name and folder of each checkpoint that can be loaded by name, newest first."""
    folders = checkpoints(runs)
    return {folder.relative_to(runs).as_posix(): folder for folder in folders} | bundled()


def knows(folder: Path, subject: str) -> bool:
    """Return whether a checkpoint has both stages and a template of ``subject``.

    This reads only ``meta.json``. The result is False if that file cannot be read.
    """
    try:
        meta = read_meta(folder)
    except CheckpointError:
        return False
    subjects = meta.get("subjects")
    return meta.get("stage") == "speech" and isinstance(subjects, list) and subject in subjects


@dataclass(frozen=True)
class Description:
    """The properties of a checkpoint's mesh and motion.

    Attributes:
        n_vertices: The number of vertices.
        fps: The frame rate of the motion.
        subjects: The subjects that have a template.
        mesh: The path of the mesh file.
    """

    n_vertices: int
    fps: float
    subjects: tuple[str, ...]
    mesh: Path


def describe(name: str | Path) -> Description:
    """Describe a checkpoint that has a mesh, without reading its weights.

    Args:
        name: A path or a name, as in ``load``.

    Raises:
        CheckpointError: The checkpoint is not found, is damaged, or has no mesh.
    """
    folder = find(name)
    path = folder / MESH
    if not path.is_file():
        raise CheckpointError(
            f"{folder}: the checkpoint contains no mesh; give `data` (a prepared data set) or a "
            "mesh file"
        )
    try:
        facts, subjects = read_yaml(folder / SETTINGS)["data"], read_meta(folder)["subjects"]
        n_vertices, fps = int(facts["n_vertices"]), float(facts["fps"])
        return Description(n_vertices, fps, tuple(subjects), path)
    except (OSError, ValueError, OverflowError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}: the checkpoint is damaged ({error!r})") from error


def find(name: str | Path) -> Path:
    """Return the folder of a checkpoint, given its path or its name.

    Raises:
        CheckpointError: There is no such checkpoint. The message lists the known names.
    """
    folder = Path(name).expanduser()
    if is_checkpoint(folder):
        return folder
    choices = available()
    if str(name) in choices:
        return choices[str(name)]
    for present, missing in ((META, WEIGHTS), (WEIGHTS, META)):
        if (folder / present).is_file():
            raise CheckpointError(f"{folder / missing}: not a file; copy the checkpoint again")
    listed = ", ".join(list(choices)[:MAX_LISTED]) or "none"
    listed += f" and {len(choices) - MAX_LISTED} more" * (len(choices) > MAX_LISTED)
    problem = "is a folder without a checkpoint" if folder.is_dir() else "is not known"
    raise CheckpointError(f"checkpoint {str(name)!r} {problem}; available names: {listed}")


def fill(model: torch.nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Load ``state`` into ``model``.

    Args:
        model: The module to fill.
        state: The tensors by their names in ``model``.
        origin: The file name for error messages.

    Raises:
        CheckpointError: The keys or shapes differ (the message lists up to five differences), or
            weights are not plausible numbers.
    """
    shapes.compare(shapes.of_state(state), shapes.of_state(model.state_dict()), origin)
    checkpoint_files.check_values(state, origin)
    model.load_state_dict(dict(state))


def from_official(
    stage1_state: Mapping[str, Tensor],
    stage2_state: Mapping[str, Tensor] | None,
    settings: Settings,
) -> CodeTalker:
    """Return a model with the weights of the official files, in evaluation mode.

    Args:
        stage1_state: The tensors of the stage-1 file by their official names.
        stage2_state: The tensors of the stage-2 file, or None for stage 1 only.
        settings: The settings that the files were trained with, e.g. the preset ``vocaset``.

    Raises:
        CheckpointError: A key is missing, unknown or has the wrong shape.
    """
    with_speech = stage2_state is not None
    vq_state, speech_state = official.vq_state(stage1_state, settings), {}
    expected = shapes.expected(settings, with_speech=with_speech, origin="the preset")
    shapes.compare(shapes.of_state(vq_state), shapes.below(expected, "vq."), "stage 1 file")
    if stage2_state is not None:
        speech_state = official.speech_state(stage2_state, settings)
        wanted = shapes.below(expected, "speech.")
        shapes.compare(shapes.of_state(speech_state), wanted, "stage 2 file")
    model = CodeTalker(settings, with_speech=with_speech)  # only now, because it needs memory
    fill(model.vq, vq_state, "stage 1 file")
    if model.speech is not None:
        fill(model.speech, speech_state, "stage 2 file")
    return model.eval()
