"""Pretrained weights of speech encoders, from a hub name or a local folder."""

from pathlib import Path
from typing import Any

from torch import Tensor

from codetalker_cli.errors import MissingDependencyError, SettingsError
from codetalker_cli.models.speech_encoders.encoder import AudioEncoder, transformers_classes
from codetalker_cli.settings import AudioEncoderSettings


def with_pretrained_config(settings: AudioEncoderSettings) -> AudioEncoderSettings:
    """The same settings with the architecture of ``settings.source`` filled in.

    Raises:
        MissingDependencyError: The source is no local folder and the hub cannot be reached.
        SettingsError: The source holds a model of another family.
    """
    config_class, _ = transformers_classes(settings.family)
    config = config_class.from_dict(_source_config(settings)).to_diff_dict()
    for key in ("transformers_version", "model_type", "architectures", "torch_dtype", "dtype"):
        config.pop(key, None)
    return settings.model_copy(update={"config": config})


def load_pretrained(encoder: AudioEncoder) -> None:
    """Fill ``encoder`` with the pretrained weights of its settings' source.

    Raises:
        MissingDependencyError: The source is no local folder and the hub cannot be reached.
        SettingsError: The source holds a model of another family.
    """
    from safetensors import SafetensorError

    settings = encoder.settings
    _source_config(settings)
    try:
        encoder.model.load_state_dict(_pretrained_state(settings))
    except OSError as error:
        raise _source_error(settings) from error
    except SafetensorError as error:
        raise SettingsError(
            f"speech.encoder.source: the weights in {settings.source!r} are damaged ({error})"
        ) from error


def _pretrained_state(settings: AudioEncoderSettings) -> dict[str, Tensor]:
    """All weights of the source's encoder; none of them may be left random."""
    import transformers

    whisper = settings.family == "whisper"
    model_class = transformers_classes(settings.family)[1]
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()  # a Whisper without decoder is no loss here
    transformers.utils.logging.disable_progress_bar()
    try:
        result: Any = model_class.from_pretrained(settings.source, output_loading_info=True)
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
    model, info = result
    required = [k for k in info["missing_keys"] if k.startswith("encoder.") or not whisper]
    missing = sorted(key for key in required if key != "masked_spec_embed")
    if missing:
        raise SettingsError(
            f"speech.encoder.source: {settings.source!r} lacks {len(missing)} weights of a "
            f"{settings.family} encoder, {missing[0]} for one"
        )
    state: dict[str, Tensor] = (model.encoder if whisper else model).state_dict()
    return state


def _source_config(settings: AudioEncoderSettings) -> dict[str, Any]:
    """What the source's config.json says; transformers would take another family's with a warning
    and leave what does not fit random, and take no config at all for the default one.
    """
    config_class, _ = transformers_classes(settings.family)
    try:
        values, _ = config_class.get_config_dict(settings.source)
    except OSError as error:
        raise _source_error(settings) from error
    if not values:
        raise _source_error(settings)
    family = values.get("model_type")
    if family != settings.family:
        raise SettingsError(
            f"speech.encoder.family is {settings.family}, but {settings.source!r} holds a "
            f"{family} model; give `set` speech.encoder.family={family}, or another source"
        )
    return values


def _source_error(settings: AudioEncoderSettings) -> MissingDependencyError:
    where = "folder" if Path(settings.source).exists() else "hub name or folder"
    return MissingDependencyError(
        f"speech.encoder.source: the {where} {settings.source!r} gives no {settings.family} model; "
        "on a machine without internet, copy its config.json and model.safetensors into a folder "
        "and give `set` speech.encoder.source=FOLDER"
    )
