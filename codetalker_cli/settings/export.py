"""Settings of the solve for rig weights, and of exported files."""

from typing import Literal

from pydantic import Field, field_validator

from codetalker_cli.settings.base import Section, only_with

TARGETS = ("units", "arkit", "basis", "frames")
"""What the morph targets of an exported mesh can be."""
EXCLUSIVE = (
    ("jawLeft", "jawRight"),
    ("mouthLeft", "mouthRight"),
    ("eyeLookInLeft", "eyeLookOutLeft"),
    ("eyeLookInRight", "eyeLookOutRight"),
    ("eyeLookUpLeft", "eyeLookDownLeft"),
    ("eyeLookUpRight", "eyeLookDownRight"),
)
"""Units that move a part in opposite directions, of which one is active at a time."""


class SolveSettings(Section):
    """How the weights of a rig's units are found for the vertices of a motion."""

    l2: float = Field(
        1e-5,
        ge=0,
        le=1e3,
        description="penalty on squared weights, as a fraction of the squared size of the unit",
    )
    symmetry: float = Field(
        0.0,
        ge=0,
        le=1e6,
        description="penalty on squared differences between the left and the right unit of a pair, "
        "as a fraction of their squared size",
    )
    smoothness: float = Field(
        0.0,
        ge=0,
        le=1e3,
        description="penalty on squared changes of the weights from frame to frame, as a fraction "
        "of the squared size of the unit",
    )
    lips: float = Field(
        3.0, gt=0, le=1e6, description="factor by which the squared error of lip vertices counts"
    )
    tongue: float = Field(
        0.03,
        gt=0,
        le=1e6,
        description="factor by which the squared error of tongue vertices counts; ARKit's units "
        "cannot follow the tongue inside the mouth, and a large factor moves the jaw instead",
    )
    exclusive: tuple[tuple[str, str], ...] = Field(
        EXCLUSIVE,
        description="pairs of units of which only one is active in a frame",
    )

    @field_validator("exclusive")
    @classmethod
    def _different(cls, pairs: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        for one, other in pairs:
            if one == other:
                raise ValueError(f"a unit cannot exclude itself ({one})")
        return pairs


class ExportSettings(Section):
    """What exported files contain."""

    targets: Literal["units", "arkit", "basis", "frames"] = Field(
        "units",
        description="morph targets of a mesh: all units of the rig, ARKit's units, as few "
        "principal shapes as basis_error_mm allows, or every frame",
    )
    basis_error_mm: float = Field(
        0.1,
        gt=0,
        le=1e3,
        json_schema_extra=only_with("targets", "basis"),
        description="largest error of any vertex in any frame with targets basis, in millimeters",
    )
    object: str = Field(
        "Head",
        pattern=r'^[^\x00-\x1f":]+$',
        description="object of the character whose blend shapes .anim and .tres files animate, "
        "with its path, e.g. Armature/Head",
    )
    sound: bool = Field(
        True,
        description="include the sound, in the file where its format allows it, otherwise as a "
        ".wav file next to it",
    )
