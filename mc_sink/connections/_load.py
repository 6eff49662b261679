"""TOML → a connection, or one error that names every key that is wrong, with the nearest right one."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mc_sink._printable import lines
from mc_sink.connections._guard import check_guard
from mc_sink.connections._secrets import refuse_secrets
from mc_sink.connections._settings import Guard, Hooks, Schedule, Settings, Source
from mc_sink.connections._sources import check_source
from mc_sink.connections._triggers import trigger_of
from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from pydantic_core import ErrorDetails

_TABLES: dict[str, type] = {"source": Source, "guard": Guard, "schedule": Schedule, "hooks": Hooks}
# Where True would be read as 1, a number of rows that was hardly meant.
_NUMBERS = ("min_rows", "max_rejects", "max_rows_per_file", "max_bytes_per_file", "row_group_size")
_PYDANTIC_PREFIX = re.compile(r"^(Value error|Assertion failed), ")


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection: its name (its file's, without the suffix), its file if it has one, and what is in it.

    Relative paths in it begin at `folder`: its file's, or where the command was given.
    """

    name: str
    file: Path | None
    folder: Path
    settings: Settings


def load(file: str | os.PathLike[str]) -> Connection:
    """Read a connection file and check it; opens no source and no store.

    Raises `ConfigurationError` for what can't be read, is no TOML, has a key that is unknown or a value of another
    kind, contradicts itself, or holds a secret; the message repeats no value.
    """
    path = Path(file).absolute()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"1 connection can't be read: {path} ({error.strerror}). {NOTHING_VISIBLE}") from error
    except ValueError as error:  # the texts of tomllib and of UTF-8 say where, and quote a character at most
        raise ConfigurationError(f"{path} is no TOML: {error}. {NOTHING_VISIBLE}") from None
    return of_document(document, name=path.stem, file=path, folder=path.parent)


def of_document(document: Mapping[str, Any], *, name: str, file: Path | None, folder: Path) -> Connection:
    """Make a connection of what would stand in a file; see `load`."""
    told = str(file) if file else "the command line"
    refuse_secrets(document, told)
    settings = _checked(document, told)
    check_source(settings.source, told)
    check_guard(settings, told)
    if settings.schedule is not None:
        trigger_of(settings.schedule, told)
    return Connection(name, file, folder, settings)


def _checked(document: Mapping[str, Any], told: str) -> Settings:
    from pydantic import ValidationError

    guard = document.get("guard")
    numbers = {name: document.get(name) for name in _NUMBERS}
    numbers |= {f"guard.{name}": value for name, value in guard.items()} if isinstance(guard, dict) else {}
    if odd := [name for name, value in numbers.items() if isinstance(value, bool)]:
        raise ConfigurationError(f"{odd[0]} of {told} won't do: give a number, not true or false. {NOTHING_VISIBLE}")
    try:
        settings: Settings = _adapter().validate_python(document)
    except ValidationError as error:
        wrong = _each_once(error.errors(include_url=False, include_input=False, include_context=False))
    else:
        return settings
    raise ConfigurationError(
        lines(f"{len(wrong)} key(s) of {told} won't do. {NOTHING_VISIBLE}", *(f"  {one}" for one in wrong))
    ) from None  # pydantic's own error shows values


def _each_once(errors: Sequence[ErrorDetails]) -> list[str]:
    """Say what is wrong with each key, once, where pydantic says it for every type that the key may have."""
    told: dict[str, str] = {}
    for error in errors:
        place = [str(part) for part in error["loc"]]
        kind = _TABLES.get(place[0])
        depth = 2 if kind and len(place) > 1 else 1
        told.setdefault(".".join(place[:depth]), _told(error, kind if depth > 1 else Settings))
    return [f"{key} {what}" for key, what in told.items()]


def _told(error: ErrorDetails, kind: Any) -> str:
    """Say what is wrong with one key of a table."""
    names = [one.name for one in fields(kind)] if is_dataclass(kind) else []
    if error["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        near = get_close_matches(str(error["loc"][-1]), names, n=1, cutoff=0.5)
        return f"is unknown: did you mean {near[0]}?" if near else f"is unknown: use one of {', '.join(names)}."
    if error["type"] in {"missing", "missing_argument"}:
        return "is missing."
    return f"won't do: {_PYDANTIC_PREFIX.sub('', error['msg'])}."


@cache
def _adapter() -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(Settings)
