"""Load pretrained weights of speech encoders from the Hugging Face hub or a local folder."""

import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from torch import Tensor

from codetalker_cli.errors import MissingDependencyError, SettingsError, printable
from codetalker_cli.models.speech_encoders.encoder import AudioEncoder, transformers_classes
from codetalker_cli.settings import AudioEncoderSettings

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
    config = config_class.from_dict(_source_config(settings)).to_diff_dict()
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
            f"speech.encoder.source: {settings.source!r} lacks {len(missing)} weights of a "
            f"{settings.family} encoder, for example {missing[0]}"
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
        values, _ = config_class.get_config_dict(settings.source)
    except OSError as error:
        raise _source_error(settings) from error
    if not values:
        raise _source_error(settings)
    family = values.get("model_type")
    if family != settings.family:
        raise SettingsError(
            f"speech.encoder.family is {settings.family}, but {settings.source!r} contains a "
            f"{family} model; give `set` speech.encoder.family={family}, or another source"
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
            f"speech.encoder.source: {source!r} is not a folder, and the network is the reason why "
            f"it cannot be downloaded: {constants.ENDPOINT} does not answer "
            f"({printable(reasons[0])}); {_WITHOUT_NETWORK}"
        )


def _source_error(settings: AudioEncoderSettings) -> MissingDependencyError:
    where = "folder" if Path(settings.source).exists() else "hub name or folder"
    return MissingDependencyError(
        f"speech.encoder.source: no {settings.family} model was found for the {where} "
        f"{settings.source!r}; {_WITHOUT_NETWORK}"
    )
