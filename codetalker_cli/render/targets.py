"""Choose and check the file that motions are rendered to: a video, a page or a picture."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from codetalker_cli.errors import InputError, SettingsError
from codetalker_cli.files import check_output
from codetalker_cli.render.footage import is_footage
from codetalker_cli.render.video import check_target
from codetalker_cli.render.viewer.page import SUFFIX as PAGE
from codetalker_cli.settings import RenderSettings
from codetalker_cli.settings.render import TRANSPARENT

PICTURES = (".png", ".jpg", ".jpeg")
"""Suffixes of files that a contact sheet is written to."""
PAGE_SETTINGS = ("render.view", "render.heat_max_mm", "render.heat_max_share")
"""The settings that have an effect in a page. The browser determines the others."""


def is_page(target: Path) -> bool:
    """Return whether a file has the suffix of a page with a viewer."""
    return target.suffix.lower() == PAGE


def check_settings(target: Path, keys: Iterable[str]) -> None:
    """Refuse settings that have no effect in the output.

    Args:
        target: The output file.
        keys: The settings that were given, such as ``render.size``.

    Raises:
        SettingsError: A setting has no effect.
    """
    for key in keys:
        if is_page(target) and key.startswith("render.") and key not in PAGE_SETTINGS:
            raise SettingsError(
                f"{key}: has no effect in a page (.html), whose viewer has its own size, colors "
                f"and camera; omit it (effective: {', '.join(PAGE_SETTINGS)})"
            )


def check_curves(target: Path, shown: Sequence[Path]) -> None:
    """Refuse ``curves`` for a page without films, because it shows lip gaps in any case.

    Args:
        target: The output file.
        shown: The files of the motions and filmed videos.

    Raises:
        InputError: The option has no effect.
    """
    if is_page(target) and not any(is_footage(path) for path in shown):
        raise InputError(
            "`curves`: a page always shows the lip gaps of motions; give `curves` only with a "
            "filmed video, whose face is then tracked"
        )


def choose_target(
    out: Path | None,
    shown: Sequence[Path],
    settings: RenderSettings,
    *,
    overwrite: bool,
    audio: Path | None = None,
) -> Path:
    """Return the output file, after checking that it can be written.

    Args:
        out: The output file; None: a video next to the first motion.
        shown: The files of the motions and filmed videos.
        settings: The render settings; not every container supports a transparent background.
        overwrite: Whether an existing file may be replaced.
        audio: The recording for the sound track, if any, which is not replaced either.

    Raises:
        RenderError: The suffix is unknown or does not fit the settings.
        InputError: There is no motion; or the output file is one of the inputs, exists already,
            is a folder, or cannot be written.
    """
    motions = [path for path in shown if not is_footage(path)]
    if not motions:
        raise InputError(f"{shown[0]} is a filmed video; also give at least one motion")
    transparent = settings.background == TRANSPARENT
    target = motions[0].with_suffix(".mov" if transparent else ".mp4") if out is None else out
    inputs = [*shown, *([] if audio is None else [audio])]
    check_file(target, inputs, settings, overwrite=overwrite)
    return target


def check_file(
    target: Path, inputs: Sequence[Path], settings: RenderSettings, *, overwrite: bool
) -> None:
    """Check that a file with this suffix can be written, and that it is not one of the inputs.

    Args:
        target: The output file.
        inputs: The files that are read.
        settings: The render settings; not every container supports a transparent background.
        overwrite: Whether an existing file may be replaced.

    Raises:
        RenderError: The suffix is unknown or does not fit the settings.
        InputError: The file is one of the inputs, exists already, is a folder, or cannot be
            written.
    """
    suffix = target.suffix.lower()
    if is_page(target):
        if target.is_dir():
            raise InputError(f"{target} is a folder; give the name of a page")
    elif suffix not in PICTURES:
        check_target(target, settings)
    elif settings.background == TRANSPARENT and suffix != ".png":
        raise InputError(f"{target}: a {suffix} picture cannot be transparent; use .png")
    elif target.is_dir():
        raise InputError(f"{target} is a folder; give the name of a picture file")
    if any(target.exists() and path.exists() and target.samefile(path) for path in inputs):
        raise InputError(f"`out` {target} is one of the input files; give another name")
    check_output(target, overwrite=overwrite)
