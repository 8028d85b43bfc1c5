"""Choose and check the data set, settings, target and stage 1 of a training run."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from codetalker_cli.datasets.prepared import PreparedDataSet
from codetalker_cli.devices import is_main_process
from codetalker_cli.errors import InputError
from codetalker_cli.models import checkpoint
from codetalker_cli.models.checkpoint import Checkpoint
from codetalker_cli.presets import Entry, Resolved, preview, resolve
from codetalker_cli.resources import config_names
from codetalker_cli.settings import Settings
from codetalker_cli.train.run_folder import RunFolder, resumed_settings
from codetalker_cli.workspace import MANIFEST, RUNS, data_sets, is_checkpoint, newest_data_set

logger = logging.getLogger(__name__)

Stage = Literal["vq", "speech"]
SECTIONS: dict[Stage, tuple[str, ...]] = {
    "vq": ("vq", "train_vq", "data", "render"),
    "speech": ("speech", "train_speech", "data", "decode", "render"),
}
"""The sections of the settings that each stage reads in training."""
CUSTOM_PRESET = "custom"
"""The preset for data sets that do not have a preset of their own."""


@dataclass(frozen=True)
class Layers:
    """The sources of a run's settings; see ``codetalker_cli.presets.resolve``.

    Attributes:
        preset: The name of a preset, or None.
        config: The path of a YAML file, or None.
        assignments: Single settings, each as ``KEY=VALUE``.
    """

    preset: str | None = None
    config: Path | None = None
    assignments: Sequence[str] = ()

    def resolve(self, **more: Any) -> Resolved:
        """Merge the layers; ``more`` contains further arguments of ``presets.resolve``.

        A ``preset`` in ``more`` replaces the preset of the layers.
        """
        preset = more.pop("preset", self.preset)
        return resolve(preset, self.config, self.assignments, **more)


@dataclass(frozen=True)
class Setup:
    """The checked inputs of a run.

    Attributes:
        data: The opened data set.
        settings: The checked settings.
        out: The checkpoint folder to write.
        stage1: The path of the stage-1 checkpoint that the resumed run used; empty for a new run.
    """

    data: PreparedDataSet
    settings: Settings
    out: Path
    stage1: str

    def load_stage1(self, name: str | None) -> Checkpoint:
        """Load the stage-1 checkpoint.

        Args:
            name: A folder or name; None: the stage 1 of the resumed run, or else the checkpoint
                ``vq`` next to ``out``.

        Raises:
            InputError: ``name`` is None, and the default checkpoint does not exist.
            CheckpointError: The checkpoint cannot be loaded.
        """
        chosen = name or self.stage1 or str(self.out.with_name("vq"))
        if name is None and not is_checkpoint(Path(chosen)):
            raise InputError(
                f"{chosen}: there is no stage-1 checkpoint here; train it first with `codetalker "
                f"train-vq {self.data.folder}`, or give another stage-1 checkpoint with `vq`"
            )
        stage1 = checkpoint.load(chosen)
        if name is None:
            _log("stage 1: %s", stage1.path)
        return stage1


def settings_to_show(
    stage: Stage,
    data: Path | None,
    layers: Layers,
    *,
    out: Path | None = None,
    resume: bool = False,
) -> list[Entry]:
    """Return the settings that a run would have, without starting it.

    If no data set exists yet, its facts are missing, and the recipe is the one for custom data.

    Args:
        stage: The stage to train.
        data: The prepared data set; None: that of the resumed run, or else the newest one.
        layers: The sources of the settings.
        out: The checkpoint folder.
        resume: Whether to show the settings with which the run at ``out`` would resume.

    Raises:
        InputError: The data set cannot be read.
        SettingsError: A key or preset is unknown, or a value is invalid.
    """
    if layers.preset and (data is None or not (data / MANIFEST).exists()):
        return layers.resolve(sections=SECTIONS[stage]).entries()
    begun = RunFolder(out).describe() if resume and out is not None else None
    if begun is not None and layers.preset is None:
        return layers.resolve(begun=begun["settings"], sections=SECTIONS[stage]).entries()
    if data is None and begun is None and not data_sets():
        options: dict[str, Any] = {"config": layers.config, "assignments": layers.assignments}
        others = [name for name in Settings.model_fields if name != "data"]
        facts = preview(["data"], **options, allowed=SECTIONS[stage])
        return facts + preview(others, CUSTOM_PRESET, **options, allowed=SECTIONS[stage])
    return _resolve(stage, _open(data, begun), layers).entries()


def set_up(
    stage: Stage,
    data: Path | None,
    out: Path | None,
    layers: Layers,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Setup:
    """Choose and check the data set, settings and target of a run.

    A resumed run keeps its own data set and settings. The layers may only change settings that do
    not affect the result, and the number of epochs; see ``resumed_settings``.

    Args:
        stage: The stage to train.
        data: The prepared data set; None: that of the resumed run, or else the newest one.
        out: The checkpoint folder; None: ``runs/DATA_SET/STAGE``.
        layers: The sources of the settings.
        resume: Whether to continue the run at ``out``.
        overwrite: Whether to replace an earlier run.

    Raises:
        InputError: The arguments contradict each other, or there is no data set.
        OutputError: The target already contains a run or is not writable.
        SettingsError: The settings are invalid, or they differ from those of the resumed run.
    """
    if out is not None and not out.name:
        raise InputError(f"`out` {out}: the path must end with a folder name, like runs/NAME")
    if resume and overwrite:
        raise InputError("`resume` continues a run and `overwrite` replaces it; give only one")
    begun = RunFolder(out).describe() if resume and out is not None else None
    opened = _open(data, begun)
    target = out or RUNS / opened.manifest.name / stage
    folder = RunFolder(target)
    if resume:
        begun = folder.describe()
        if begun is None:
            _log("%s: there is no run to resume, so a new one starts", target)
    elif is_main_process():
        folder.check(overwrite=overwrite)
    if begun is None:
        settings = _resolve(stage, opened, layers).settings
    elif layers.preset is None:
        resolved = layers.resolve(begun=begun["settings"], sections=SECTIONS[stage])
        settings = resumed_settings(begun, resolved.settings, stage)
    else:
        settings = resumed_settings(begun, _resolve(stage, opened, layers).settings, stage)
    return Setup(opened, settings, target, begun["stage1"] if begun else "")


def _open(data: Path | None, begun: Mapping[str, Any] | None) -> PreparedDataSet:
    if data is None:
        data = Path(begun["data"]) if begun else newest_data_set()
        _log("data set: %s", data)
    return PreparedDataSet(data)


def _resolve(stage: Stage, data: PreparedDataSet, layers: Layers) -> Resolved:
    """Take the facts from the data set; the rest is from the preset of this name, or ``custom``."""
    name = data.manifest.name
    preset = layers.preset or (name if name in config_names() else CUSTOM_PRESET)
    return layers.resolve(preset=preset, facts=data.facts, sections=SECTIONS[stage])


def _log(message: str, *values: Any) -> None:
    if is_main_process():
        logger.info(message, *values)
