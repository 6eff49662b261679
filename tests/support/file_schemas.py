"""The schema of connection files, as an editor uses it."""

from __future__ import annotations

import tomllib
from datetime import date, datetime, time
from functools import cache
from typing import Any

from jsonschema import Draft7Validator

from mc_sink.connector.connections import connection_schema


@cache
def _validator() -> Draft7Validator:
    return Draft7Validator(connection_schema())


def faults_of(file: str | dict[str, Any]) -> list[str]:
    """Return what the schema finds wrong in a file: its text, or its content."""
    document = tomllib.loads(file) if isinstance(file, str) else file
    return [error.message for error in _validator().iter_errors(_as_json(document))]


def _as_json(value: Any) -> Any:
    """Return a value of TOML as an editor has it: times are texts."""
    if isinstance(value, dict):
        return {name: _as_json(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_as_json(one) for one in value]
    return value.isoformat() if isinstance(value, date | datetime | time) else value
