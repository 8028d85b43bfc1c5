"""Import the optional packages of live animation."""

from types import ModuleType

from codetalker_cli.errors import MissingDependencyError
from codetalker_cli.resources import install_command


def import_miniaudio() -> ModuleType:
    """Return the package miniaudio, which records and plays sound.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        import miniaudio
    except ImportError as error:
        raise _missing("microphones and playback need", "miniaudio") from error
    return miniaudio


def import_pythonosc() -> tuple[ModuleType, ModuleType]:
    """Return the modules of python-osc that build messages and bundles.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        from pythonosc import osc_bundle_builder, osc_message_builder
    except ImportError as error:
        raise _missing("OSC needs", "python-osc") from error
    return osc_message_builder, osc_bundle_builder


def _missing(what: str, package: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"{what} the package {package}, which is not installed; run `{install_command('live')}`"
    )
