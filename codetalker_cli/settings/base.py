"""The base class of all settings sections, and the types that they share."""

from typing import Annotated, Any

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


def only_with(name: str, *values: Any) -> dict[str, Any]:
    """Return ``json_schema_extra`` for a field whose effect depends on another field.

    Args:
        name: The other field of the section.
        values: The values of that field with which this one has an effect; any true value if
            none is listed.
    """
    return {"only_with": name, "values": list(values)}


def unmet_condition(section: BaseModel, key: str) -> tuple[str, str] | None:
    """Return the field that ``key`` depends on and the value it would need, or None.

    For example ``("schedule", "step")`` for ``step_epochs`` with another schedule.
    """
    extra: Any = type(section).model_fields[key].json_schema_extra
    if not extra or "only_with" not in extra:
        return None
    name, values = extra["only_with"], extra["values"]
    value = getattr(section, name)
    if value in values if values else value:
        return None
    return name, " or ".join(map(str, values)) if values else "above 0"
