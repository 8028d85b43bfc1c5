"""Load pretrained weights of speech encoders from the Hugging Face hub or a local folder."""

import re
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codetalker_cli.errors import (
    CheckpointError,
    CodeTalkerError,
    MissingDependencyError,
    SettingsError,
    counted,
    printable,
)
from codetalker_cli.models.speech_encoders.encoder import (
    AudioEncoder,
    build_model,
    check_config,
    transformers_classes,
)
from codetalker_cli.settings import AudioEncoderSettings
from codetalker_cli.text_files import YAML_BYTES, read_json

WEIGHT_SUFFIXES = (".safetensors", ".bin")
"""The suffixes of weight files that transformers reads."""

HUB_SECONDS = 10.0
"""The time that the hub has to answer, in seconds."""
_WITHOUT_NETWORK = (
    "on a machine without internet access, copy its config.json and model.safetensors into a "
    "folder and give `set` speech.encoder.source=FOLDER"
)


def with_pretrained_config(settings: AudioEncoderSettings) -> AudioEncoderSettings:
    """Return the settings with the architecture of ``settings.source`` filled in.

    Raises:
        MissingDependencyError: The source is not a local folder, and the hub is not reachable.
        SettingsError: The source contains a model of another family.
    """
    config_class, _ = transformers_classes(settings.family)
    values = _source_config(settings)
    try:
        config = config_class.from_dict(values).to_diff_dict()
        _check_size(settings, config)
    except SettingsError:
        raise
    except Exception as error:  # transformers does not check the values of a config
        raise _damaged(settings, "config.json", error) from error
    # These keys do not describe the architecture.
    for key in ("transformers_version", "model_type", "architectures", "torch_dtype", "dtype"):
        config.pop(key, None)
    return settings.model_copy(update={"config": config})


def load_pretrained(encoder: AudioEncoder) -> None:
    """Load the pretrained weights from the source in the encoder's settings.

    Raises:
        MissingDependencyError: The source is not a local folder, and the hub is not reachable.
        SettingsError: The source contains a model of another family, or its weights are damaged or
            incomplete.
    """
    settings = encoder.settings
    _source_config(settings)
    try:
        encoder.model.load_state_dict(_pretrained_state(settings))
    except OSError as error:
        raise _source_error(settings) from error
    except (CodeTalkerError, MemoryError):
        raise
    except Exception as error:  # unpickling and transformers raise many types of exceptions
        raise _damaged(settings, "the weights", error) from error


def _pretrained_state(settings: AudioEncoderSettings) -> dict[str, Tensor]:
    """Return all weights of the encoder in the source."""
    import transformers

    whisper = settings.family == "whisper"
    model_class = transformers_classes(settings.family)[1]
    verbosity = transformers.utils.logging.get_verbosity()
    # Hide the warning about a missing Whisper decoder, which is not used. Missing encoder weights
    # raise an error below, because transformers would leave them random.
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        result: Any = model_class.from_pretrained(settings.source, output_loading_info=True)
    finally:
        transformers.utils.logging.set_verbosity(verbosity)
    model, info = result
    required = [k for k in info["missing_keys"] if k.startswith("encoder.") or not whisper]
    # Some published checkpoints lack this embedding, which only SpecAugment uses.
    missing = sorted(key for key in required if key != "masked_spec_embed")
    if missing:
        raise SettingsError(
            f"speech.encoder.source: {settings.source!r} lacks {counted(len(missing), 'weight')} "
            f"of a {settings.family} encoder, for example {missing[0]}"
        )
    state: dict[str, Tensor] = (model.encoder if whisper else model).state_dict()
    return state


def _source_config(settings: AudioEncoderSettings) -> dict[str, Any]:
    """Return the contents of the source's ``config.json``, and check the family.

    transformers accepts a model of a different family with only a warning, and initializes the
    missing weights randomly. Without a config, it uses the default one.
    """
    config_class, _ = transformers_classes(settings.family)
    _check_hub(settings.source)
    try:
        local = Path(settings.source) / "config.json"
        if local.exists():  # transformers reads it without any limit
            read_json(local, YAML_BYTES)
        values, _ = config_class.get_config_dict(settings.source)
    except ValueError as error:
        raise _damaged(settings, "config.json", error) from error
    except OSError as error:
        raise _source_error(settings) from error
    if not values:
        raise _source_error(settings)
    family = values.get("model_type")
    if family != settings.family:
        raise SettingsError(
            f"speech.encoder.family is {settings.family}, but {settings.source!r} contains a "
            f"{family} model; set speech.encoder.family to {family}, or choose another source"
        )
    return values


def _check_hub(source: str) -> None:
    """Check that a model on the hub can be reached, unless it is a folder or in the local cache.

    The hub's own client tries for minutes on a machine without internet access.

    Raises:
        MissingDependencyError: The hub does not answer.
    """
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        is_local = Path(source).exists() or isinstance(
            try_to_load_from_cache(source, "config.json"), str
        )
    except HFValidationError:  # neither a folder nor a valid name; the caller reports it
        return
    if is_local or constants.HF_HUB_OFFLINE:
        return
    reasons: list[str] = ["no answer"]

    def ask() -> None:
        try:
            with urllib.request.urlopen(constants.ENDPOINT, timeout=HUB_SECONDS):
                reasons.clear()
        except urllib.error.HTTPError:
            reasons.clear()  # an answer, whatever it is
        except (OSError, ValueError) as error:
            reasons[0] = str(getattr(error, "reason", error))

    # A thread, because looking up the address has no time limit of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(HUB_SECONDS)
    if reasons:
        raise MissingDependencyError(
            f"speech.encoder.source: {source!r} is not a local folder, and it cannot be "
            f"downloaded because {constants.ENDPOINT} does not respond "
            f"({printable(reasons[0])}); {_WITHOUT_NETWORK}"
        )


def _check_size(settings: AudioEncoderSettings, config: dict[str, Any]) -> None:
    """Check that the model of a config is not larger than the files in its local folder."""
    folder = Path(settings.source)
    try:
        check_config(config)
    except CheckpointError as error:
        raise _damaged(settings, "config.json", error) from error
    if not folder.is_dir():
        return
    n_bytes = sum(f.stat().st_size for f in folder.iterdir() if f.suffix in WEIGHT_SUFFIXES)
    with torch.device("meta"):
        model = build_model(settings.model_copy(update={"config": config}))
    n_weights = sum(weight.numel() for weight in model.parameters())
    if n_weights > n_bytes > 0:  # a weight has at least one byte
        raise SettingsError(
            f"speech.encoder.source: config.json in {printable(repr(settings.source))} describes "
            f"{n_weights} weights, but the weight files have only {n_bytes} bytes"
        )


def _damaged(settings: AudioEncoderSettings, what: str, error: Exception) -> SettingsError:
    reason = printable(" ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split()), 120)
    return SettingsError(
        f"speech.encoder.source: {what} in {printable(repr(settings.source))} cannot be used "
        f"({reason}); nothing in it was executed"
    )


def _source_error(settings: AudioEncoderSettings) -> MissingDependencyError:
    where = "folder" if Path(settings.source).exists() else "hub name or folder"
    return MissingDependencyError(
        f"speech.encoder.source: no {settings.family} model was found for the {where} "
        f"{settings.source!r}; {_WITHOUT_NETWORK}"
    )
