"""What all sections of the settings are made of."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values never change after the check, numbers
    are finite.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def only_with(name: str, *values: Any) -> dict[str, Any]:
    """Return ``json_schema_extra`` of a field that has an effect only beside a value of another.

    Args:
        name: The other field of the section.
        values: Its values that give this field an effect; none: all that are true.
    """
    return {"only_with": name, "values": list(values)}


def unmet_condition(section: BaseModel, key: str) -> tuple[str, str] | None:
    """Return the field that a field depends on and the value that it lacks, or None.

    For example ``("schedule", "step")`` for ``step_epochs`` beside another schedule.
    """
    extra: Any = type(section).model_fields[key].json_schema_extra
    if not extra or "only_with" not in extra:
        return None
    name, values = extra["only_with"], extra["values"]
    value = getattr(section, name)
    if value in values if values else value:
        return None
    return name, " or ".join(map(str, values)) if values else "above 0"
