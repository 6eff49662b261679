"""Read a connection file: refuse secrets in it, name every invalid key in one error, and apply its `[guard]`.

`arguments_for` converts a connection into the arguments of `sink_madconnect` and `preview`.
"""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass, fields, is_dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mc_sink._display import lines, nearest
from mc_sink._lazy import type_adapter
from mc_sink.connector import history
from mc_sink.connector.connections.settings import Guard, History, Hooks, Schedule, Settings, Source
from mc_sink.connector.connections.sources import check_source, find_named
from mc_sink.connector.connections.triggers import seconds_of, trigger_of
from mc_sink.encryption import Age, Pgp
from mc_sink.exceptions import ConfigurationError
from mc_sink.formats import Csv, Parquet
from mc_sink.object_options import ObjectOptions
from mc_sink.scrub import looks_secret
from mc_sink.secret import shown
from mc_sink.sink import DEFAULT_REJECTS, RowCountGuard
from mc_sink.target import parse_target

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pydantic_core import ErrorDetails

# The arguments of one run, which a connection file does not have.
GIVEN_BY_RUN = frozenset({"frame", "run_id", "progress"})
# The parts of a file that are not options of a delivery.
_AROUND = {"source", "schedule", "hooks", "guard", "history"}
_ENCRYPTIONS: dict[str, Callable[..., Any]] = {"pgp": Pgp, "age": Age}
_PUBLIC_KEYS = ("-----BEGIN PGP", "age1", "ssh-")
_FORMATS: dict[str, Callable[..., Any]] = {"csv": Csv, "parquet": Parquet}
_YAML = (".yaml", ".yml")
_TABLES: dict[str, type] = {"source": Source, "guard": Guard, "schedule": Schedule, "hooks": Hooks, "history": History}
# Python would read True as 1, which is hardly the intended number of rows.
_NUMBERS = ("min_rows", "max_rejects", "max_rows_per_file", "max_bytes_per_file", "row_group_size")
_PYDANTIC_PREFIX = re.compile(r"^(Value error|Assertion failed), ")
# The options that state where and how to connect. Credentials come from a platform, a profile or the environment.
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
_ADDRESSES = {"source.uri", "source.uri_env", "source.database"}
_SAFE_PLACES = (
    'Connection files must be safe to commit. Save credentials as a platform and write platform = "NAME", or use the '
    "environment (AWS_ACCESS_KEY_ID, …) or a profile (storage_options.profile)."
)
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%")


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection: its name (that of its file, without the suffix), its file if it has one, and its settings.

    Relative paths begin at `folder`: the file's folder or, without a file, the working directory.
    """

    name: str
    file: Path | None
    folder: Path
    settings: Settings


def load(file: str | os.PathLike[str]) -> Connection:
    """Read a connection file and check it. Opens no source and no store.

    Raises `ConfigurationError` for a file that is unreadable or not TOML, for unknown keys, invalid values and
    contradictions, and for a secret. The message repeats no value.
    """
    path = Path(file).absolute()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(
            f"Cannot read the connection file {path}: {error.strerror}. Check the path."
        ) from error
    except ValueError as error:  # its text states the place, and quotes at most one character
        raise ConfigurationError(f"{path} is not valid TOML: {error}.") from None
    return of_document(document, name=path.stem, file=path, folder=path.parent)


def of_document(document: Mapping[str, Any], *, name: str, file: Path | None, folder: Path) -> Connection:
    """Return a connection from the content of a file; see `load`."""
    label = str(file) if file else "the command line"
    refuse_secrets(document, label)
    settings = _validated(document, label)
    check_source(settings.source, label)
    fraction_of(settings.guard.max_change, label)
    if settings.min_rows is not None and settings.guard.min_rows is not None:
        raise ConfigurationError(f"{label} has min_rows and guard.min_rows. Leave one of them out.")
    if settings.schedule is not None:
        trigger_of(settings.schedule, label)
    _check_limits(settings, label)
    return Connection(name, file, folder, settings)


def _check_limits(settings: Settings, label: str) -> None:
    schedule = settings.schedule
    try:
        if schedule is not None and schedule.timeout is not None:
            seconds_of(schedule.timeout, "timeout")
    except ValueError as error:
        raise ConfigurationError(f"[schedule] in {label} is invalid: {error}.") from None
    numbers = {
        "history.keep": settings.history.keep,
        "schedule.pause_after": schedule.pause_after if schedule else None,
    }
    if low := [name for name, number in numbers.items() if number is not None and number < 1]:
        raise ConfigurationError(f"{low[0]} in {label} is invalid: write a number of at least 1.")


def _validated(document: Mapping[str, Any], label: str) -> Settings:
    from pydantic import ValidationError

    numbers = {name: document.get(name) for name in _NUMBERS}
    for part in ("guard", "schedule", "history"):
        if isinstance(keys := document.get(part), dict):
            numbers |= {f"{part}.{name}": value for name, value in keys.items()}
    if odd := [name for name, value in numbers.items() if isinstance(value, bool)]:
        raise ConfigurationError(f"{odd[0]} in {label} is invalid: write a number, not true or false.")
    try:
        settings: Settings = type_adapter(Settings).validate_python(document)
    except ValidationError as error:
        faults = _faults_of(error.errors(include_url=False, include_input=False, include_context=False))
    else:
        return settings
    count = "1 key" if len(faults) == 1 else f"{len(faults)} keys"
    raise ConfigurationError(
        lines(f"{label} is invalid in {count}:", *(f"  {fault}" for fault in faults))
    ) from None  # pydantic's own error shows values


def _faults_of(errors: Sequence[ErrorDetails]) -> list[str]:
    """Return a sentence for each invalid key; pydantic has an error for every type that the key may have."""
    faults: dict[str, str] = {}
    for error in sorted(errors, key=lambda error: -len(error["loc"])):  # deepest: of the type that fits best
        place = [str(part) for part in error["loc"]]
        kind = _TABLES.get(place[0])
        depth = 2 if kind and len(place) > 1 else 1
        owner = kind if depth > 1 else Settings
        names = [one.name for one in fields(owner)] if is_dataclass(owner) else []
        fault = f"is invalid: {_PYDANTIC_PREFIX.sub('', error['msg'])}."
        if error["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
            advice = nearest(place[-1], names) or f" Use one of {', '.join(names)}."
            fault = f"is an unknown key.{advice}"
        elif error["type"] in {"missing", "missing_argument"}:
            fault = "is missing."
        faults.setdefault(".".join(place[:depth]), fault)
    return [f"{key} {fault}" for key, fault in faults.items()]


def refuse_secrets(document: Mapping[str, Any], label: str) -> None:
    """Raise `ConfigurationError` for a credential, or a place for one, without repeating it."""
    options = document.get("storage_options")
    if isinstance(options, dict):
        _check_names(options, ALLOWED, "storage_options", label)
        if isinstance(client := options.get("client_kwargs"), dict):
            _check_names(client, ALLOWED_CLIENT, "storage_options.client_kwargs", label)
    _check_source(document.get("source"), "source", label)
    _check_webhooks(document.get("hooks"), label)
    for place, value in _texts(document, ""):
        if looks_secret(value, is_address=place in _ADDRESSES):
            raise ConfigurationError(f"{label} seems to have a credential in {place}. {_SAFE_PLACES}")


def _check_source(value: object, place: str, label: str) -> None:
    """Check every table of the source: the options of Polars' readers may have credentials."""
    if isinstance(value, dict):
        _refuse_names(value, place, label)
        for name, inner in value.items():
            _check_source(inner, f"{place}.{shown(name)}", label)


def _check_webhooks(hooks: object, label: str) -> None:
    for name, hook in hooks.items() if isinstance(hooks, dict) else ():
        if isinstance(hook, dict) and ("url" in hook or "://" in str(hook.get("url_env"))):
            raise ConfigurationError(
                f"hooks.{shown(name)} in {label} has the URL of a webhook, which is a secret: write the URL into an "
                'environment variable, and its name here: url_env = "NAME".'
            )


def _check_names(options: Mapping[str, Any], allowed: set[str], place: str, label: str) -> None:
    _refuse_names(options, place, label)
    if unknown := [shown(name) for name in options if name not in allowed]:
        raise ConfigurationError(
            f"{place} in {label} has unknown keys: {', '.join(unknown)}. Use {', '.join(sorted(allowed))}."
        )


def _refuse_names(options: Mapping[str, Any], place: str, label: str) -> None:
    if secrets := [shown(name) for name in options if _CREDENTIAL.fullmatch(name)]:
        raise ConfigurationError(f"{place} in {label} has credentials: {', '.join(secrets)}. {_SAFE_PLACES}")


def _texts(value: object, place: str) -> Iterator[tuple[str, str]]:
    """Yield every text of a document with its place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, f"{place}.{shown(name)}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, place)


def guard_of(settings: Settings, beginning: history.Beginning) -> RowCountGuard | None:
    """Return the guard of a new run, with the rows of the last delivery from the history; None without a guard."""
    fraction = fraction_of(settings.guard.max_change, beginning.connection)
    return None if fraction is None else RowCountGuard(fraction, history.last_rows(beginning))


def fraction_of(value: float | str | None, label: str) -> float | None:
    """Return a change as a fraction: 0.5 and "50%" are the same, and 50 is refused because it is ambiguous."""
    if value is None:
        return None
    if isinstance(value, str):
        found = _PERCENT.fullmatch(value.strip())
        fraction = float(found.group(1)) / 100 if found else math.nan
    else:
        fraction = value if not isinstance(value, bool) and value <= 1 else math.nan
    if not 0 <= fraction < math.inf:
        raise ConfigurationError(
            f"guard.max_change in {label} is invalid: write a fraction from 0.0 to 1.0, such as 0.5, or percent as "
            f'text, such as "50%".'
        )
    return fraction


def arguments_for(sink: Callable[..., Any], connection: Connection) -> dict[str, Any]:
    """Return the options in a connection as arguments of `sink`, without those that the file leaves out.

    Raises `ConfigurationError` for keys that `sink` has no argument for, and for contradictory options.
    """
    settings, folder = connection.settings, connection.folder
    options = {one.name: getattr(settings, one.name) for one in fields(settings) if one.name not in _AROUND}
    options["min_rows"] = settings.min_rows if settings.guard.min_rows is None else settings.guard.min_rows
    given = {name: value for name, value in options.items() if value not in (None, {})}
    if unknown := sorted(set(given) - set(signature(sink).parameters)):
        raise ConfigurationError(
            f"{connection.name} has keys that this version of mc_sink doesn't know: {', '.join(unknown)}. Remove them, "
            "or install a newer version."
        )
    if settings.on_invalid == "reject":  # a default in the working directory would differ from start to start
        given.setdefault("rejects", DEFAULT_REJECTS)
    return {name: _argument(name, value, folder) for name, value in given.items()}


def _argument(name: str, value: Any, folder: Path) -> Any:
    """Convert the value of one key. Relative paths begin at `folder`."""
    if name in {"target", "rejects"}:
        return target_of(value, folder)
    if name in {"object_options", "encrypt"}:
        return _encryption(dict(value), folder) if name == "encrypt" else _made(ObjectOptions, value, name)
    if name == "format" and not isinstance(value, str):
        options = dict(value)
        kind = options.pop("type", None)
        if kind not in _FORMATS:
            raise ConfigurationError(f"[format] needs a type, one of {', '.join(_FORMATS)}.")
        return _made(_FORMATS[kind], options, name)
    if name not in {"previous", "schema", "preset"} or "://" in value or (name == "preset" and ".toml" not in value):
        return value
    if name == "previous" or value.endswith((*_YAML, ".toml")):
        return str(folder / value) if name == "previous" else folder / value
    return find_named(value, folder) if ":" in value else value


def _encryption(options: dict[str, Any], folder: Path) -> Pgp | Age:
    """Create an encryption from a table. Keys are text, or paths that begin at `folder`; a file has no passphrase."""
    kind = options.pop("type", None)
    if kind not in _ENCRYPTIONS or "passphrase" in options:
        types = f"needs a type, one of {', '.join(_ENCRYPTIONS)}"
        reason = "can't have a passphrase" if kind in _ENCRYPTIONS else types
        raise ConfigurationError(f"[encrypt] {reason}. Correct the connection file.")
    keys = options.get("recipients")
    if isinstance(keys, list):
        options["recipients"] = [
            key if not isinstance(key, str) or key.lstrip().startswith(_PUBLIC_KEYS) else folder / key for key in keys
        ]
    if isinstance(options.get("signer"), str):
        options["signer"] = folder / options["signer"]
    made: Pgp | Age = _made(_ENCRYPTIONS[kind], options, "encrypt")
    return made


def target_of(value: str, folder: Path) -> str:
    """Return a target as the file has it; a relative path begins at the file's folder."""
    found = parse_target(value, folder)
    return found.url if found.protocol == "file" else value


def _made(kind: Callable[..., Any], options: Mapping[str, Any], place: str) -> Any:
    """Create a value from a table of the file with the same names."""
    names = signature(kind).parameters
    if unknown := [name for name in options if name not in names]:
        advice = nearest(unknown[0], names) or f" Use one of {', '.join(names)}."
        raise ConfigurationError(f"{place}.{unknown[0]} is an unknown key.{advice}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in options.items()})
