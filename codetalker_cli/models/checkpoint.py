"""Checkpoint folders: write, read, find by name, import the official files.

A checkpoint is a folder that needs nothing else:

- ``model.safetensors``  all weights, the speech encoder's too; float32, or float16 for a small file
- ``settings.yaml``      the resolved settings
- ``meta.json``          format and package version, stage, step, metrics, origin
- ``mesh.npz``           topology, and each subject's template and colors (absent if unknown)
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from codetalker_cli import resources
from codetalker_cli.errors import CheckpointError, DataError, InputError
from codetalker_cli.files import atomic_path, check_output
from codetalker_cli.models import official
from codetalker_cli.models.codetalker import CodeTalker
from codetalker_cli.presets import settings_from_dict
from codetalker_cli.settings import Settings
from codetalker_cli.topology import Mesh
from codetalker_cli.workspace import META, RUNS, WEIGHTS, checkpoints, is_checkpoint

FORMAT_VERSION = 2
LAST = "-last"
"""Ends the name of a training run's latest checkpoint, beside its best."""
MAX_LISTED = 8
"""So many known checkpoints an error names, the newest ones."""
SETTINGS, MESH = "settings.yaml", "mesh.npz"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A model with everything that using it takes.

    Attributes:
        model: On the CPU, in evaluation mode.
        settings: Its resolved settings.
        meta: Format version, stage ("vq" or "speech"), step, metrics, origin …
        mesh: Topology and templates, or None (an official file holds none).
        path: The folder it came from, or None.
    """

    model: CodeTalker
    settings: Settings
    meta: dict[str, Any]
    mesh: Mesh | None = None
    path: Path | None = None

    @property
    def subjects(self) -> list[str]:
        """Subjects whose template is known."""
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
    """Write a checkpoint folder, whole or not at all.

    Args:
        folder: Where to.
        model: Stage 1, or both stages.
        meta: Joined to what is written anyway (versions, stage).
        mesh: Topology, templates, colors.
        half: Store float16: half the size; results change by rounding.
        overwrite: Replace an older checkpoint.

    Raises:
        InputError: See ``check_folder``.
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
        "weights": hashlib.sha256(weights).hexdigest(),
        "stage": "vq" if model.speech is None else "speech",
        "styles": list(model.settings.data.train_subjects),
        "subjects": list(mesh.templates) if mesh else [],
        **(meta or {}),
    }
    with atomic_path(folder, overwrite) as temporary:
        temporary.mkdir()
        (temporary / WEIGHTS).write_bytes(weights)
        settings_dict = model.settings.model_dump(mode="json")
        (temporary / SETTINGS).write_text(yaml.safe_dump(settings_dict, sort_keys=False), "utf-8")
        (temporary / META).write_text(json.dumps(full_meta, indent=1) + "\n", "utf-8")
        if mesh is not None:
            mesh.save(temporary / MESH)
    return folder


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that a checkpoint cannot or must not be written to, before any work is done.

    Raises:
        InputError: It exists and ``overwrite`` is false, it cannot be written, or it holds
            something else: that is never replaced.
    """
    if not folder.name:
        raise InputError(f"{folder}: the checkpoint's folder needs a name of its own")
    check_output(folder, overwrite=overwrite)
    if folder.is_file():
        raise InputError(f"{folder} is a file, a checkpoint is a folder; give another name")
    checkpoint_files = {WEIGHTS, SETTINGS, META, MESH}
    extra = (
        sorted(p.name for p in folder.iterdir() if p.name not in checkpoint_files)
        if folder.is_dir()
        else []
    )
    if extra:
        raise InputError(
            f"{folder} holds {extra[0]}, which is no part of a checkpoint and is not replaced; "
            "give another folder"
        )


def load(name: str | Path) -> Checkpoint:
    """Read a checkpoint by path, or by name: a folder under runs/, or a bundled one (``demo``).

    Raises:
        CheckpointError: Not found (the message lists the choices), damaged, or of a newer format.
    """
    folder = find(name)
    try:
        meta = json.loads((folder / META).read_text("utf-8"))
        if int(meta["format_version"]) > FORMAT_VERSION:
            raise CheckpointError(
                f"{folder}: checkpoint format {meta['format_version']}, this codetalker reads up "
                f"to {FORMAT_VERSION}; upgrade codetalker-cli"
            )
        values = yaml.safe_load((folder / SETTINGS).read_text("utf-8"))
        if int(meta["format_version"]) < 2:
            values = _upgrade_from_1(values)
        settings = settings_from_dict(values, str(folder / SETTINGS))
        model = _load_weights(folder / WEIGHTS, settings, with_speech=meta["stage"] == "speech")
        mesh = Mesh.load(folder / MESH) if (folder / MESH).exists() else None
        if mesh is not None:
            mesh.check(settings.data.n_vertices, str(folder / MESH))
    except (OSError, ValueError, KeyError, TypeError, DataError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())  # YAML's reasons have several lines
        raise CheckpointError(f"{folder}: damaged checkpoint ({reason})") from error
    return Checkpoint(model, settings, meta, mesh, folder)


def _upgrade_from_1(values: dict[str, Any]) -> dict[str, Any]:
    """Settings of format 1: every checkpoint stored CUDA graphs, the default then, as its choice.

    Former names of settings are upgraded wherever settings are read
    (``upgrade_settings``).
    """
    decode = {k: v for k, v in values.get("decode", {}).items() if k != "cuda_graphs"}
    return {**values, "decode": decode}


def _load_weights(path: Path, settings: Settings, *, with_speech: bool) -> CodeTalker:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a safetensors file ({error})") from error
    model = CodeTalker(settings, with_speech=with_speech)
    fill(model, {key: value.float() for key, value in state.items()}, str(path))
    return model.eval()


def bundled() -> dict[str, Path]:
    """Names and folders of the checkpoints that come with the package."""
    voice = resources.root() / "assets" / "voice"
    return {"demo": voice} if is_checkpoint(voice) else {}


def available(runs: Path = RUNS) -> dict[str, Path]:
    """Names and folders of all checkpoints that ``load`` knows by name, newest first."""
    folders = checkpoints(runs)
    return {folder.relative_to(runs).as_posix(): folder for folder in folders} | bundled()


def knows(folder: Path, subject: str) -> bool:
    """Whether a checkpoint speaks and has the template of ``subject`` (reads meta.json only)."""
    try:
        meta = json.loads((folder / META).read_text("utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(meta, dict):
        return False
    return meta.get("stage") == "speech" and subject in meta.get("subjects", [])


@dataclass(frozen=True)
class Description:
    """What a checkpoint contains besides its weights, which are not read.

    Attributes:
        n_vertices: V of the topology.
        fps: Frames per second of the motion.
        subjects: The subjects whose templates it has.
        mesh: The file of its faces.
    """

    n_vertices: int
    fps: float
    subjects: tuple[str, ...]
    mesh: Path


def describe(name: str | Path) -> Description:
    """Describe a checkpoint with faces, by path or by name.

    Raises:
        CheckpointError: Not found, damaged, or without faces.
    """
    folder = find(name)
    path = folder / MESH
    if not path.is_file():
        raise CheckpointError(f"{folder}: holds no faces; give `data` PREPARED, or a mesh file")
    try:
        facts = yaml.safe_load((folder / SETTINGS).read_text("utf-8"))["data"]
        subjects = json.loads((folder / META).read_text("utf-8"))["subjects"]
        n_vertices, fps = int(facts["n_vertices"]), float(facts["fps"])
        return Description(n_vertices, fps, tuple(subjects), path)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise CheckpointError(f"{folder}: damaged checkpoint ({error!r})") from error


def find(name: str | Path) -> Path:
    """The folder that a path or a name means."""
    folder = Path(name).expanduser()
    if is_checkpoint(folder):
        return folder
    choices = available()
    if str(name) in choices:
        return choices[str(name)]
    listed = ", ".join(list(choices)[:MAX_LISTED]) or "none"
    listed += f" and {len(choices) - MAX_LISTED} more" * (len(choices) > MAX_LISTED)
    problem = "is a folder without a checkpoint" if folder.is_dir() else "is not known"
    raise CheckpointError(f"checkpoint {str(name)!r} {problem}; known by name: {listed}")


def fill(model: torch.nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Load ``state`` into ``model``; each missing, extra or misshapen key is named.

    Raises:
        CheckpointError: The keys or shapes differ.
    """
    expected = model.state_dict()
    problems = [f"missing {key}" for key in expected if key not in state]
    problems += [f"extra {key}" for key in state if key not in expected]
    problems += [
        f"{key} is {tuple(value.shape)}, expected {tuple(expected[key].shape)}"
        for key, value in state.items()
        if key in expected and value.shape != expected[key].shape
    ]
    if problems:
        listed = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" * (len(problems) > 5))
        raise CheckpointError(f"{origin}: does not fit the model of these settings: {listed}")
    model.load_state_dict(dict(state))


def from_official(
    stage1_state: Mapping[str, Tensor],
    stage2_state: Mapping[str, Tensor] | None,
    settings: Settings,
) -> CodeTalker:
    """Our model with the weights of the official files.

    Args:
        stage1_state: Tensors of the stage-1 file, by their official names.
        stage2_state: Tensors of the stage-2 file, or None for stage 1 alone.
        settings: Sizes that the files were trained with, e.g. of the preset ``vocaset``.

    Raises:
        CheckpointError: A key is missing, extra, or of another shape; it is named.
    """
    model = CodeTalker(settings, with_speech=stage2_state is not None)
    fill(model.vq, official.vq_state(stage1_state, settings), "stage 1 file")
    if model.speech is not None and stage2_state is not None:
        fill(model.speech, official.speech_state(stage2_state, settings), "stage 2 file")
    return model.eval()
