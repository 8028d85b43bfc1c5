"""Generate docs/settings.md from the declarations of the settings.

    python scripts/settings_docs.py

A test checks that the page is up to date.
"""

import json
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from codetalker_cli.settings import Settings

PAGE = Path(__file__).resolve().parents[1] / "docs" / "settings.md"
HEAD = """# Settings

This page is generated from `codetalker_cli/settings/` by `scripts/settings_docs.py`.

Settings come from the layers below. A later layer overrides an earlier one, except for the facts of
the data set: a setting that contradicts them is an error. A command uses the layers that apply to
it:

1. the default in the tables on this page,
2. the preset (`--preset`: a name from `configs/`, or a YAML file),
3. for training, the facts of the prepared data set (section `data`); for animation and evaluation,
   the section `decode` of the checkpoint,
4. your YAML file (`--config my.yaml`),
5. each `--set SECTION.KEY=VALUE` (see below),
6. an option of the command, such as `--view` for `render.view`.

When a training run is resumed, its stored settings replace the preset and the facts.

The value of `--set` is a number, `true`, `false`, `null` or plain text. A setting that takes a list
or a table is written as in a YAML file or in JSON. Put the whole assignment in quotes, so that the
shell does not split it:

    --set 'data.train_subjects=[S01, S02]'
    --set 'data.splits={val: {share: 0.1}, train: {}}'
    --set data.splits.val.share=0.1

A list or table that is set replaces the former one. A key inside a table (`data.splits.val.share`)
changes only this entry.

In every command, `--show-settings` prints the settings that the command uses: the value, the layer
that it came from, and a description. It needs no other argument. A setting whose origin is
`required` must be given or comes from the data set. On a terminal of less than about 100 columns,
each description is printed below its setting. With `--json`, the output is a list of objects with
the keys `key`, `value`, `origin` and `description`.

An unknown key causes an error that suggests similar keys. A key that has no effect causes an error
that names the setting that it depends on.

Some settings can be `null`, which means "no value" (`--set SECTION.KEY=null`). In the tables,
`null: …` describes what happens then.
"""


def page() -> str:
    """Return the text of the page."""
    parts = [HEAD]
    for name, field in Settings.model_fields.items():
        section = model_of(field.annotation)
        assert section is not None
        parts += [f"## `{name}`: {field.description}\n", table(section, name)]
    return "\n".join(parts)


def table(section: type[BaseModel], prefix: str) -> str:
    """Return the Markdown tables of a section and of its subsections."""
    rows = ["| key | default | values | what |", "|---|---|---|---|"]
    inner = []
    for name, field in section.model_fields.items():
        nested = model_of(field.annotation)
        if nested is not None:
            inner.append(f"### `{prefix}.{name}`: {field.description}\n")
            inner.append(table(nested, f"{prefix}.{name}"))
            continue
        cells = [f"`{prefix}.{name}`", default_of(field), values_of(field), field.description or ""]
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join([*rows, "", *inner])


def model_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section class of a field, or None if the field is a plain value."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return None if get_origin(annotation) in (dict, tuple, list) else kind
    return None


def default_of(field: FieldInfo) -> str:
    """Return a field's default as JSON."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    plain = json.dumps(value, default=lambda model: model.model_dump(exclude_defaults=True))
    return f"`{plain}`"


def values_of(field: FieldInfo) -> str:
    """Return a short description of the type and bounds of a field."""
    words, null, _ = type_words(field.annotation).partition(" or null")
    bounds = []
    for limit in field.metadata:
        for kind, sign in ((Gt, ">"), (Ge, "≥"), (Lt, "<"), (Le, "≤")):
            if isinstance(limit, kind):
                bounds.append(f"{sign} {getattr(limit, kind.__name__.lower())}")
    text = f"{words} {', '.join(bounds)}".strip()
    return f"{text}, or null" if null and bounds else text + null


def type_words(annotation: Any) -> str:
    """Return a short description of a type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (UnionType, Union):
        return " or ".join(type_words(one) for one in arguments)
    if origin is dict:
        return "table"
    if origin in (tuple, list):
        return f"list of {type_words(arguments[0])}"
    if hasattr(annotation, "__metadata__"):
        return type_words(arguments[0])
    names = {
        int: "integer",
        float: "number",
        str: "text",
        bool: "true or false",
        dict: "table",
        type(None): "null",
    }
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
