"""A delivery as JSON text, for a scheduler that passes text between its tasks."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mc_sink._lazy import type_adapter
from mc_sink.encryption import PublicKeys
from mc_sink.exceptions import ConfigurationError
from mc_sink.formats import Csv, Format, Parquet, options_of
from mc_sink.object_options import ObjectOptions
from mc_sink.publishing import journal
from mc_sink.sink.options import check_values
from mc_sink.sink.travelling import columns_as_text, columns_in
from mc_sink.validation import schema_from_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mc_sink.validation import SchemaLike

_FORMATS: dict[str, type] = {"csv": Csv, "parquet": Parquet}
# Options that are plain data of a class of their own.
_CLASSES: dict[str, Any] = {"object_options": ObjectOptions, "encrypt": PublicKeys}


@dataclass(frozen=True, slots=True)
class SchemaText:
    """A YAML schema as its text, so that no worker needs the file."""

    name: str
    text: str = field(repr=False)

    def read(self) -> SchemaLike:
        """Return the schema under its name."""
        schema = schema_from_yaml(self.text)
        schema.name = self.name
        return schema


# The types of a delivery's fields in JSON.
_IN_JSON: dict[str, Any] = dict.fromkeys(("target", "run_id", "id", "columns", "host"), str) | {
    "opened_at": datetime,
    "unique": tuple[str, ...],
    "credentials": str | None,
    "published": tuple[str, ...],
    "versions": dict[str, str],
    "options": dict[str, Any],
    "store_options": dict[str, Any],
    "schema": SchemaText | None,
    "run_id_given": bool,
}


def text_of(facts: Mapping[str, Any]) -> str:
    """Return the fields of a delivery as JSON. Raises `ConfigurationError` for a schema or preset that is an object."""
    options = {name: _option_as_json(name, value) for name, value in facts["options"].items()}
    if not isinstance(facts["schema"], SchemaText | None):
        raise _no_json("schema", "Give it as the name or path of a YAML schema.")
    plain = {**facts, "columns": columns_as_text(facts["columns"]), "options": options}
    return json.dumps(plain, default=journal.as_json, ensure_ascii=False)


def facts_in(text: str) -> dict[str, Any]:
    """Return the fields of a delivery from its JSON. Raises `ValueError`, `TypeError` or `KeyError` for other text."""
    facts: dict[str, Any] = type_adapter(dict[str, Any]).validate_json(text)
    facts |= {name: type_adapter(kind).validate_python(facts[name]) for name, kind in _IN_JSON.items()}
    facts["columns"] = columns_in(facts["columns"])
    facts["options"] = {name: _option_of(name, value) for name, value in facts["options"].items()}
    check_values(facts["options"])
    return facts


def _option_as_json(name: str, value: Any) -> Any:
    """Return an option as JSON can hold it."""
    if isinstance(value, Format):
        kind = next(kind for kind, one in _FORMATS.items() if isinstance(value, one))
        return {"kind": kind, **options_of(value)}
    if isinstance(value, _CLASSES.get(name, ())):
        return journal.as_json(value)
    if not isinstance(value, str | int | float | bool | list | tuple | None):
        raise _no_json(name, "Give it by its name.")
    return value


def _option_of(name: str, value: Any) -> Any:
    if name in _CLASSES and value is not None:
        return type_adapter(_CLASSES[name]).validate_python(value)
    if isinstance(value, dict):
        options = {one: tuple(text) if isinstance(text, list) else text for one, text in value.items()}
        kind = str(options.pop("kind"))
        return _FORMATS[kind](**options)
    return value


def _no_json(name: str, advice: str) -> ConfigurationError:
    return ConfigurationError(
        f"A delivery with {name}= of a class of its own can be pickled, and not be JSON. {advice}"
    )
