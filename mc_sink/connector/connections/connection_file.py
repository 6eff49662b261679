"""Read a connection file: refuse secrets in it, name every wrong key in one error, and apply its `[guard]`."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mc_sink._display import lines
from mc_sink.connector import history
from mc_sink.connector.connections.settings import Guard, Hooks, Schedule, Settings, Source
from mc_sink.connector.connections.sources import check_source
from mc_sink.connector.connections.triggers import trigger_of
from mc_sink.exceptions import ConfigurationError
from mc_sink.secret import shown
from mc_sink.sink import RowCountGuard

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic_core import ErrorDetails

_TABLES: dict[str, type] = {"source": Source, "guard": Guard, "schedule": Schedule, "hooks": Hooks}
# Where True would be read as 1, a number of rows that was hardly meant.
_NUMBERS = ("min_rows", "max_rejects", "max_rows_per_file", "max_bytes_per_file", "row_group_size")
_PYDANTIC_PREFIX = re.compile(r"^(Value error|Assertion failed), ")
# What says where and how to connect; credentials come from a platform, a profile or the environment.
ALLOWED = {
    "anon",
    "client_kwargs",
    "config_kwargs",
    "default_block_size",
    "endpoint_url",
    "expected_bucket_owner",
    "max_concurrency",
    "profile",
    "requester_pays",
    "use_ssl",
}
ALLOWED_CLIENT = {"endpoint_url", "region_name", "use_ssl", "verify"}
_CREDENTIAL = re.compile(
    r"(.*_)?(secret|token|password|passwd|passphrase|credentials?|(access|account|api|private|sas)_?key)(_.*)?|key|username",
    re.IGNORECASE,
)
_KEY_ID = re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{12,}")
_USER_INFO = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_QUERY = re.compile(r"[?&;](password|passwd|pwd|token|secret|sig|signature|x-amz-signature)=", re.IGNORECASE)
_HEADER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{12,}", re.IGNORECASE)
# As libpq and ODBC have it; in a query it may be a column's name.
_WORDS = re.compile(r"(?:^|[\s;,])(password|passwd|pwd|token|secret)\s*=", re.IGNORECASE)
_LOOKS_LIKE_ONE = (_KEY_ID, _USER_INFO, _QUERY, _HEADER)
_ADDRESSES = {"source.uri", "source.uri_env", "source.database"}
_WHERE_TO = (
    'Save them as a platform and write platform = "NAME", or leave them to the environment (AWS_ACCESS_KEY_ID, …) '
    "or to a profile (storage_options.profile)."
)
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%")


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
        raise ConfigurationError(f"1 connection can't be read: {path} ({error.strerror}).") from error
    except ValueError as error:  # the texts of tomllib and of UTF-8 say where, and quote a character at most
        raise ConfigurationError(f"{path} is no TOML: {error}.") from None
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
        raise ConfigurationError(f"{odd[0]} of {told} won't do: give a number, not true or false.")
    try:
        settings: Settings = _adapter().validate_python(document)
    except ValidationError as error:
        wrong = _each_once(error.errors(include_url=False, include_input=False, include_context=False))
    else:
        return settings
    raise ConfigurationError(
        lines(f"{len(wrong)} key(s) of {told} won't do.", *(f"  {one}" for one in wrong))
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


def refuse_secrets(document: Mapping[str, Any], told: str) -> None:
    """Raise `ConfigurationError` for a credential, or a place for one, without repeating it."""
    options = document.get("storage_options")
    if isinstance(options, dict):
        _check_names(options, ALLOWED, "storage_options", told)
        if isinstance(client := options.get("client_kwargs"), dict):
            _check_names(client, ALLOWED_CLIENT, "storage_options.client_kwargs", told)
    _check_source(document.get("source"), "source", told)
    for place, value in _texts(document, ""):
        if any(pattern.search(value) for pattern in _LOOKS_LIKE_ONE) or (place in _ADDRESSES and _WORDS.search(value)):
            raise ConfigurationError(
                f"{told} seems to have a credential in {place}, and a connection file is to be safe to commit. "
                f"{_WHERE_TO}"
            )


def _check_source(value: object, place: str, told: str) -> None:
    """Look at every table of the source: what Polars reads with has credentials of its own."""
    if isinstance(value, dict):
        _refuse_names(value, place, told)
        for name, inner in value.items():
            _check_source(inner, f"{place}.{shown(name)}", told)


def _check_names(options: Mapping[str, Any], allowed: set[str], place: str, told: str) -> None:
    _refuse_names(options, place, told)
    if unknown := [shown(name) for name in options if name not in allowed]:
        raise ConfigurationError(
            f"{len(unknown)} key(s) of {place} in {told} are none of {', '.join(sorted(allowed))}: "
            f"{', '.join(unknown)}."
        )


def _refuse_names(options: Mapping[str, Any], place: str, told: str) -> None:
    if secrets := [shown(name) for name in options if _CREDENTIAL.fullmatch(name)]:
        raise ConfigurationError(
            f"{len(secrets)} credential(s) stand in {place} of {told} ({', '.join(secrets)}), and a connection file is "
            f"to be safe to commit. {_WHERE_TO}"
        )


def _texts(value: object, place: str) -> Iterator[tuple[str, str]]:
    """Give every text of a document with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, f"{place}.{shown(name)}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, place)


def check_guard(settings: Settings, told: str) -> None:
    """Raise `ConfigurationError` for a `[guard]` that contradicts itself; reads no history."""
    fraction_of(settings.guard.max_change, told)
    if settings.min_rows is not None and settings.guard.min_rows is not None:
        raise ConfigurationError(f"{told} has min_rows and guard.min_rows: write one of them.")


def guard_of(settings: Settings, beginning: history.Beginning) -> RowCountGuard | None:
    """Return the guard of a run that begins, with the last delivery's rows from the history; None without one."""
    fraction = fraction_of(settings.guard.max_change, beginning.connection)
    return None if fraction is None else RowCountGuard(fraction, history.last_rows(beginning))


def fraction_of(value: float | str | None, told: str) -> float | None:
    """Return a change as a fraction: 0.5 and "50%" are the same, and 50 is refused because it could be either."""
    if value is None:
        return None
    if isinstance(value, str):
        found = _PERCENT.fullmatch(value.strip())
        fraction = float(found.group(1)) / 100 if found else math.nan
    else:
        fraction = value if not isinstance(value, bool) and value <= 1 else math.nan
    if not 0 <= fraction < math.inf:
        raise ConfigurationError(
            f"guard.max_change of {told} won't do: write a fraction from 0.0 to 1.0, such as 0.5, or percent as text, "
            f'such as "50%".'
        )
    return fraction
