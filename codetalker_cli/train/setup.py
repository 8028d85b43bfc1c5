"""What a training run needs before it starts: data set, settings, target, stage 1; all checked."""

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
from codetalker_cli.presets import Resolved, resolve
from codetalker_cli.resources import config_names
from codetalker_cli.settings import Settings
from codetalker_cli.train.run_folder import RunFolder, resumed_settings
from codetalker_cli.workspace import MANIFEST, RUNS, is_checkpoint, newest_data_set

logger = logging.getLogger(__name__)

Stage = Literal["vq", "speech"]
SECTIONS: dict[Stage, tuple[str, ...]] = {
    "vq": ("vq", "train_vq", "data", "render"),
    "speech": ("speech", "train_speech", "data", "decode", "render"),
}
"""Stage → the sections of settings that its training reads."""
CUSTOM_PRESET = "custom"
"""The preset of data sets that have none of their own name."""


@dataclass(frozen=True)
class Layers:
    """Where the settings of a run come from; see ``codetalker_cli.presets.resolve``."""

    preset: str | None = None
    config: Path | None = None
    assignments: Sequence[str] = ()

    def resolve(self, **more: Any) -> Resolved:
        """Merge the layers with what a data set or an earlier run contributes."""
        preset = more.pop("preset", self.preset)
        return resolve(preset, self.config, self.assignments, **more)


@dataclass(frozen=True)
class Setup:
    """A run that can start.

    Attributes:
        data: The opened data set.
        settings: The checked settings.
        out: The checkpoint folder to write.
        stage1: Path of the stage-1 checkpoint that an earlier, resumed run used; empty if none.
    """

    data: PreparedDataSet
    settings: Settings
    out: Path
    stage1: str

    def load_stage1(self, name: str | None) -> Checkpoint:
        """Load the stage-1 checkpoint: the named one, that of the resumed run, or ``vq``.

        Raises:
            InputError: No name is given, and there is no stage 1 next to the target.
            CheckpointError: It cannot be loaded.
        """
        chosen = name or self.stage1 or str(self.out.with_name("vq"))
        if name is None and not is_checkpoint(Path(chosen)):
            raise InputError(
                f"{chosen}: no stage 1 there; train it first with `codetalker train-vq "
                f"{self.data.folder}`, or name one with `vq`"
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
) -> Resolved:
    """The settings that a run would have, without starting one.

    Args:
        stage: The stage to train.
        data: Prepared data set; None: that of the run at ``out`` to resume, or the newest one.
        layers: Where the settings come from.
        out: Checkpoint folder.
        resume: Whether the run at ``out`` would be continued.

    Raises:
        InputError: There is no data set to take the facts from.
        SettingsError: Unknown key or preset, or a value that fails its check.
    """
    if layers.preset and (data is None or not (data / MANIFEST).exists()):
        return layers.resolve(sections=SECTIONS[stage])
    begun = RunFolder(out).describe() if resume and out is not None else None
    if begun is not None and layers.preset is None:
        return layers.resolve(begun=begun["settings"], sections=SECTIONS[stage])
    return _resolve(stage, _open(data, begun), layers)


def set_up(
    stage: Stage,
    data: Path | None,
    out: Path | None,
    layers: Layers,
    *,
    resume: bool = False,
    overwrite: bool = False,
) -> Setup:
    """Choose and check data set, settings and target of a run.

    A resumed run keeps its own data set and settings; the layers may add what changes no number.

    Args:
        stage: The stage to train.
        data: Prepared data set; None: that of the resumed run, or the newest one.
        out: Checkpoint folder; None: ``runs/DATA_SET/STAGE``.
        layers: Where the settings come from.
        resume: Continue the run at ``out``.
        overwrite: Replace an earlier run.

    Raises:
        InputError: Contradictory arguments, or no data set.
        OutputError: The target holds a run, or cannot be written.
        SettingsError: The settings are invalid, or differ from those of the resumed run.
    """
    if out is not None and not out.name:
        raise InputError(f"`out` {out}: the checkpoint's folder needs a name of its own")
    if resume and overwrite:
        raise InputError("`resume` continues a run, `overwrite` replaces it: give one of the two")
    begun = RunFolder(out).describe() if resume and out is not None else None
    opened = _open(data, begun)
    target = out or RUNS / opened.manifest.name / stage
    folder = RunFolder(target)
    if resume:
        begun = folder.describe()
        if begun is None:
            _log("%s: no run was begun here; this begins one", target)
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
    """Facts come from the data set, the rest from the preset of its name or the custom one."""
    name = data.manifest.name
    preset = layers.preset or (name if name in config_names() else CUSTOM_PRESET)
    return layers.resolve(preset=preset, facts=data.facts, sections=SECTIONS[stage])


def _log(message: str, *values: Any) -> None:
    if is_main_process():
        logger.info(message, *values)
