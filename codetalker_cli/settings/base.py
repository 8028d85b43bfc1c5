"""The base class of all settings sections, and the types that they share."""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from codetalker_cli.files import name_fault

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def _checked_name(name: str) -> str:
    if fault := name_fault(name):
        raise ValueError(f"a name {fault}")
    return name


Name = Annotated[str, AfterValidator(_checked_name)]
"""The name of a data set, a subject or a split; it can be part of a file name."""


class Section(BaseModel):
    """The base of all sections. Unknown keys are errors; values are immutable and finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def only_with(name: str, *values: Any, also: str | None = None) -> dict[str, Any]:
    """Return ``json_schema_extra`` for a field whose effect depends on another field.

    Args:
        name: The other field of the section, or the dotted key of a field of another section.
        values: The values of that field with which this one has an effect; any true value if
            none is listed.
        also: Another field that must have a true value, named like ``name``.
    """
    conditions = [(name, list(values)), *([(also, [])] if also else [])]
    return {"only_with": conditions}


class Unmet(NamedTuple):
    """A condition of a setting that is not met: a dotted key, its value and the one it needs."""

    key: str
    value: str
    needed: str


def unmet_condition(sections: Mapping[str, Any], section: str, key: str) -> Unmet | None:
    """Return the first condition of a field that is not met, or None.

    For example ``("train_vq.schedule", "cosine", "step")`` for ``step_epochs``. A condition on a
    section that is not in ``sections`` counts as met.
    """
    extra: Any = type(sections[section]).model_fields[key].json_schema_extra
    for name, values in (extra or {}).get("only_with", ()):
        other, _, field = name.rpartition(".")
        other = other or section
        if other not in sections:
            continue
        value = getattr(sections[other], field)
        if not (value in values if values else value):
            is_flag = isinstance(value, bool)
            needed = " or ".join(map(str, values)) or ("true" if is_flag else "above 0")
            return Unmet(f"{other}.{field}", str(value).lower() if is_flag else str(value), needed)
    return None
