"""The JSON Schema of a connection file, for editors, made from what `connection_file.py` reads a file with.

Keys and types are those of `Settings`, allowed values those of the options, descriptions those of the docstrings. A
file that the schema accepts may still be refused: `mc-sink connections check` knows more.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, make_dataclass
from inspect import cleandoc
from itertools import combinations
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from mc_sink._lazy import type_adapter
from mc_sink.connector.connections.connection_file import (
    ALLOWED,
    ALLOWED_CLIENT,
    CREDENTIAL,
    ENCRYPTIONS,
    FORMATS,
    PERCENT,
)
from mc_sink.connector.connections.settings import Guard, History, Hooks, Schedule, Settings, Source, Webhook
from mc_sink.connector.connections.sources import ADDRESSES, GOES_WITH, KINDS_OF_SOURCE, VARIABLE
from mc_sink.connector.connections.triggers import EVERY
from mc_sink.object_options import ObjectOptions
from mc_sink.presets import PRESETS
from mc_sink.scrub import ADDRESS, LOOKS_SECRET
from mc_sink.sink import KINDS, sink_madconnect
from mc_sink.validation import list_schemas

if TYPE_CHECKING:
    from mc_sink.sink import Kind

DIALECT = "http://json-schema.org/draft-07/schema#"  # the newest one that editors of TOML read
FORMAT_NAMES = ("csv", "csv.gz", "parquet")
EXAMPLES: dict[str, tuple[Any, ...]] = {
    "target": ("s3://bucket/prefix/", "s3://bucket/prefix/audience.csv.gz", "out/"),
    "platform": ("acme",),
    "name": ("{date}/audience-{run_id}-{part:05d}{ext}",),
    "partition_by": ("country", ["country", "date"]),
    "keys": ("user_id", ["user_id", "country"]),
    "rejects": ("rejects/", "s3://bucket/rejects/"),
    "max_rejects": (100, 0.01),
    "min_rows": (1,),
    "max_rows_per_file": (1_000_000,),
    "max_bytes_per_file": (1_000_000_000, "256MB"),
    "source.files": ("data/*.parquet", ["a.csv", "b.csv"]),
    "source.query": ("select * from 'data/*.parquet'",),
    "source.uri_env": ("DATABASE_URI",),
    "source.function": ("feeds:audience",),
    "schedule.cron": ("30 2 * * *", "@daily"),
    "schedule.every": ("15m", "6h", "1d"),
    "schedule.timezone": ("UTC", "Europe/Berlin"),
    "schedule.timeout": ("2h",),
    "guard.max_change": (0.5, "50%"),
    "hooks.on_failure": ("alerts:page", ["sh", "notify.sh"], {"url_env": "SLACK_WEBHOOK", "form": "slack"}),
}
_TABLES = {kind.__name__: kind for kind in (Source, Guard, Schedule, Hooks, History, Webhook)}
_LEAST = re.compile(r"(\d+) (?:or more|to )")  # in the words of an option's error
_SECRETS = "without_credentials"
# As in Python's docstrings: "name, name: text", and the lines of NumPy's sections.
_ARGUMENTS = re.compile(r"^    (\w+(?:, \w+)*): (.*(?:\n {8}.*)*)", re.MULTILINE)
_PARAMETERS = re.compile(r"^(\w+)\n((?:    .*(?:\n|$))+)", re.MULTILINE)


def connection_schema() -> dict[str, Any]:
    """Return the JSON Schema of a connection file, in the draft that editors of TOML read."""
    made = type_adapter(Settings).json_schema()
    tables = {name: _table(_TABLES[name], one) for name, one in made.pop("$defs").items()}
    _refine(tables)
    schema: dict[str, Any] = _inlined(made, tables)
    keys: dict[str, Any] = schema["properties"]
    for name, kind in KINDS.items():
        if name in keys and kind.accepts is not None:
            _bound(keys[name], kind)
    keys["max_bytes_per_file"]["anyOf"][1]["pattern"] = r"^\s*[0-9]*\.?[0-9]+\s*[A-Za-z]+$"
    keys["format"] = {"anyOf": [{"enum": [*FORMAT_NAMES]}, *(_typed(*one) for one in FORMATS.items())]}
    keys["encrypt"] = {"anyOf": [_typed(*one, without=("passphrase",)) for one in ENCRYPTIONS.items()]}
    keys["object_options"] = _of_class(ObjectOptions)
    keys["preset"] = {"anyOf": [{"enum": [*PRESETS]}, {"type": "string", "pattern": r"\.toml$"}]}
    keys["schema"] = {"anyOf": [{"enum": [*list_schemas()]}, {"type": "string"}]}  # the names are for completion
    keys["storage_options"] |= _only(ALLOWED)
    keys["storage_options"]["properties"]["client_kwargs"] = {"type": "object"} | _only(ALLOWED_CLIENT)
    _describe(keys, _parameters(sink_madconnect) | _arguments(Settings))
    return (
        {"$schema": DIALECT, "title": "A connection file of mc-sink"}
        | schema
        | {
            "description": _first_line(Settings),
            "not": {"required": ["min_rows", "guard"], "properties": {"guard": {"required": ["min_rows"]}}},
            "allOf": [{"$ref": f"#/definitions/{_SECRETS}"}],
            "definitions": {_SECRETS: _without_credentials(), "plain_names": _plain_names()},
        }
    )


def _only(names: set[str]) -> dict[str, Any]:
    return {"additionalProperties": False, "properties": {name: {} for name in sorted(names)}}


def _refine(tables: dict[str, Any]) -> None:
    """Add what the loader checks besides types: the keys that exclude each other, and the forms of texts."""
    source, schedule, guard = (tables[one.__name__]["properties"] for one in (Source, Schedule, Guard))
    for name in KINDS_OF_SOURCE:
        for one in (source[name], *source[name].get("anyOf", ())):
            one.update({"string": {"minLength": 1}, "array": {"minItems": 1}}.get(one.get("type"), {}))
    for name in ADDRESSES:
        source[name]["not"] = {"pattern": _pattern(ADDRESS)}
    source["uri_env"]["pattern"] = _whole(VARIABLE)
    tables["Source"] |= {
        "oneOf": [{"required": [name]} for name in KINDS_OF_SOURCE],
        "dependencies": {name: [kind] for name, kind in GOES_WITH.items()},
        "not": {"anyOf": [{"required": [*pair]} for pair in combinations(ADDRESSES, 2)]},
        "allOf": [{"$ref": "#/definitions/plain_names"}],
    }
    tables["Schedule"]["oneOf"] = [{"required": ["cron"]}, {"required": ["every"]}]
    for name in ("every", "timeout"):
        schedule[name]["pattern"] = rf"^\s*(?:{EVERY.pattern})\s*$"
    schedule["pause_after"]["minimum"] = tables["History"]["properties"]["keep"]["minimum"] = 1
    fraction, percent = guard["max_change"]["anyOf"]
    fraction |= {"minimum": 0, "maximum": 1}
    percent["pattern"] = rf"^\s*(?:{PERCENT.pattern})\s*$"
    _bound(guard["min_rows"], KINDS["min_rows"])
    tables["Webhook"]["properties"]["url_env"]["not"] = {"pattern": "://"}


def _table(kind: type, made: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a table from that of its class, with the descriptions and examples of its keys."""
    made = _tidied(made) | {"description": _first_line(kind)}
    _describe(made["properties"], _arguments(kind), f"{kind.__name__.lower()}.")
    return made


def _describe(keys: dict[str, Any], known: Mapping[str, str], within: str = "") -> None:
    for name, one in keys.items():
        if name in known:
            one["description"] = known[name]
        if examples := EXAMPLES.get(within + name):
            one["examples"] = [*examples]


def _tidied(node: Any) -> Any:
    """Return a schema without titles, and without nulls, which TOML doesn't have; items are named as in the draft."""
    if isinstance(node, list):
        return [_tidied(one) for one in node]
    if not isinstance(node, dict):
        return node
    kept = {name: one for name, one in node.items() if not (name == "default" and one is None)}
    if isinstance(kept.get("title"), str):
        del kept["title"]
    choices = [one for one in kept.get("anyOf", ()) if one != {"type": "null"}]
    if len(choices) == 1:
        kept = kept | choices[0]
        del kept["anyOf"]
    elif choices:
        kept["anyOf"] = choices
    return {"items" if name == "prefixItems" else name: _tidied(one) for name, one in kept.items()}


def _inlined(node: Any, tables: Mapping[str, Any]) -> Any:
    """Return a schema with its tables in place of the references to them, beside which editors ignore other keys."""
    node = _tidied(node)
    if isinstance(node, list):
        return [_inlined(one, tables) for one in node]
    if not isinstance(node, dict):
        return node
    name = str(node.get("$ref", "")).rpartition("/")[2]
    inner = _inlined(tables[name], tables) if name in tables else {}
    return inner | {key: _inlined(one, tables) for key, one in node.items() if not (key == "$ref" and name in tables)}


def _bound(node: dict[str, Any], kind: Kind) -> None:
    """Add the least and the greatest whole number that an option accepts, and whether it accepts an empty text."""
    accepts: Any = kind.accepts
    if node.get("type") == "string" and "enum" not in node and not accepts(""):
        node["minLength"] = 1
    least = _LEAST.search(kind.words)
    for one in (node, *node.get("anyOf", ())):
        if least is not None and one.get("type") == "integer":
            low, high = 1, 2**64  # the second is not accepted
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if accepts(middle) else (low, middle)
            one.update({"minimum": int(least[1]), "maximum": low})


def _typed(name: str, kind: Any, without: Sequence[str] = ()) -> dict[str, Any]:
    """Return the schema of a table that `type` names, with the arguments of its class."""
    made = _of_class(kind, without)
    own = {"type": {"const": name, "description": _first_line(kind)}}
    return made | {"properties": own | made["properties"], "required": ["type", *made.get("required", ())]}


def _of_class(kind: Any, without: Sequence[str] = ()) -> dict[str, Any]:
    """Return the schema of a table with the arguments of a dataclass."""
    around = {"Mapping": Mapping, "Sequence": Sequence, **vars(sys.modules[kind.__module__])}
    hints = get_type_hints(kind, globalns=around)
    plain = [
        (one.name, _in_toml(hints[one.name]), *([] if one.default is one.default_factory is MISSING else [None]))
        for one in fields(kind)
        if one.init and one.name not in without
    ]
    made: dict[str, Any] = _tidied(type_adapter(make_dataclass(kind.__name__, plain, kw_only=True)).json_schema())
    for one in fields(kind):
        if one.name in made["properties"] and isinstance(one.default, str | bool | int | float):
            made["properties"][one.name]["default"] = one.default
    if "recipients" in made["properties"]:
        made["properties"]["recipients"]["minItems"] = 1
    _describe(made["properties"], _arguments(kind))
    return made | {"description": _first_line(kind), "additionalProperties": False}


def _in_toml(hint: Any) -> Any:
    """Return the type of an argument without what a file doesn't hold, such as bytes and paths."""
    kept = [
        one for one in get_args(hint) if getattr(one, "__module__", "") not in {"pathlib", "os"} and one is not bytes
    ]
    return hint if len(kept) == len(get_args(hint)) else kept[0]


def _without_credentials() -> dict[str, Any]:
    """Return a schema of everything that has no text which looks like a credential."""
    inner = {"$ref": f"#/definitions/{_SECRETS}"}
    patterns = [{"type": "string", "pattern": _pattern(one)} for one in LOOKS_SECRET]
    return {"not": {"anyOf": patterns}, "additionalProperties": inner, "items": inner}


def _plain_names() -> dict[str, Any]:
    """Return a schema of tables within which no key names a credential."""
    inner = {"$ref": "#/definitions/plain_names"}
    return {"propertyNames": {"not": {"pattern": _whole(CREDENTIAL)}}, "additionalProperties": inner}


def _whole(pattern: re.Pattern[str]) -> str:
    return f"^(?:{_pattern(pattern)})$"


def _pattern(pattern: re.Pattern[str]) -> str:
    """Return a pattern as JSON Schema has it, which knows no flags: letters of either case are written as both."""
    if not pattern.flags & re.IGNORECASE:
        return pattern.pattern
    parts = re.findall(r"\\.|\[[^\]]*\]|.", pattern.pattern)
    return "".join(f"[{one}{one.upper()}]" if one.isalpha() else one for one in parts)


def _first_line(kind: Any) -> str:
    return cleandoc(kind.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _arguments(kind: Any) -> dict[str, str]:
    """Return the descriptions in the section `Arguments:` of a docstring."""
    listed = _ARGUMENTS.findall(cleandoc(kind.__doc__ or "").partition("Arguments:\n")[2])
    return {name: " ".join(text.split()) for names, text in listed for name in names.split(", ")}


def _parameters(function: Any) -> dict[str, str]:
    """Return the descriptions in the section `Parameters` of a docstring of NumPy's form."""
    section = cleandoc(function.__doc__ or "").partition("Parameters\n----------\n")[2].partition("\n\nRaises\n")[0]
    return {name: " ".join(text.split()) for name, text in _PARAMETERS.findall(section)}
