"""Translate the advice in messages from Python's arguments and calls to the words of the command line.

The library advises arguments (`if_exists="overwrite"`) and calls (`mc_sink.recover("…")`), because most errors are
raised for callers in Python. A person at a terminal has commands and flags, and the keys of a connection file. All
messages pass through `for_command` on their way out, and no other code translates them.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import fields

from mc_sink.connector.connections import Settings
from mc_sink.platforms import Platform

_DELIVERY = {"run_id": "--run-id", "min_rows": "--min-rows"}
_SENT = ("format", "schema", "name", "on_invalid", "if_exists", "platform")
_RECORDED = {"platform": "--platform", "target": "--target", "storage_options": "--endpoint-url or --profile"}
_PLATFORM = {one.name: f"--{one.name.replace('_', '-')}" for one in fields(Platform)} | {
    "buckets": "--bucket",
    "recipients": "--recipient",
}
# The flag of a command for an argument of Python. Other options of a delivery are keys of a connection file.
FLAGS: dict[str, dict[str, str]] = {
    "run": _DELIVERY,
    "preview": {"run_id": "--run-id"},
    "send": _DELIVERY | {name: f"--{name.replace('_', '-')}" for name in _SENT},
    "handover": {name: f"--{name.replace('_', '-')}" for name in (*_SENT[:3], "platform", "preset", "partition_by")}
    | {name: f"--{name}" for name in ("dialect", "table", "access", "principal")},
    "recover": _RECORDED,
    "verify": {name: flag for name, flag in _RECORDED.items() if name != "target"},
    "platforms": _PLATFORM | {"store": "--store"},
    "policy": {"kms_key": "--kms-key", "external_id": "--external-id", "region": "--region"},
    "lifecycle": {name: f"--{name.replace('_', '-')}" for name in ("expire_days", "archive_days", "abort_days")},
}
# The flags that stand for one value of an argument.
VALUES = {
    ("platforms", "if_exists", "overwrite"): "--replace",
    ("platforms", "leaving", "an object"): "--write-probe",
    ("platforms", "credentials", "ambient"): "--ambient",
    ("recover", "action", "discard"): "--discard",
}
# Calls of Python, and the commands that do the same.
CALLS: tuple[tuple[str, str], ...] = (
    (r'(?:mc_sink\.)?\brecover\("([^"]*)", action="discard"\)', r"mc-sink recover \1 --discard"),
    (r'(?:mc_sink\.)?\brecover\("([^"]*)"\)', r"mc-sink recover \1"),
    (r"(?:\breceipt\.verify|\bmc_sink\.verify)\([^()]*\)", "mc-sink verify RUN_ID"),
    (r"\bmc_sink\.list_journals\(\)", "mc-sink recover"),
    (r'\bmc_sink\.(lifecycle|policy)\("([^"]*)"\)', r"mc-sink \1 \2"),
    (
        r'\bplatforms\.save\(Platform\(name="([^"]*)", …\), if_exists="overwrite"\)',
        r"mc-sink platforms add \1 --replace",
    ),
    (r'\bplatforms\.save\(Platform\(name="([^"]*)", …\)\)', r"mc-sink platforms add \1"),
    (r'\bplatforms\.check\("([^"]*)"\)', r"mc-sink platforms check \1"),
    # Options within options are keys of a table.
    (r'\bobject_options=ObjectOptions\((\w+=(?:"[^"]*"|[\w.]+))\)', r"object_options.\1"),
    (r"\bobject_options=ObjectOptions\([^()]*\)", "object_options="),
    (r"\bstorage_options=\{['\"](\w+)['\"]: ([^{}]*)\}", r"storage_options.\1=\2"),
)
_CALLS = [(re.compile(pattern), words) for pattern, words in CALLS]
_ARGUMENTS = {
    *(one.name for one in fields(Settings)),
    *_PLATFORM,
    *(name for flags in FLAGS.values() for name in flags),
    *(name for _, name, _ in VALUES),
}
_VALUE = r"\"[^\"]*\"|'[^']*'|\[[^\[\]]*\]|\{[^{}]*\}|[\w+-]+(?:\.[\w+-]+)*|…"
_NAME = rf"(?:object_options|storage_options)\.\w+|{'|'.join(sorted(_ARGUMENTS))}"
# Not after a slash, where it is a part of a key, as in Hive's folders.
_ARGUMENT = re.compile(rf"(?<![\w./-])({_NAME})=({_VALUE})?(?!=)")


def for_command(text: str, command: str | None) -> str:
    """Return a message with the advice in the words of a command, such as "run" or "platforms"."""
    for pattern, words in _CALLS:
        text = pattern.sub(words, text)
    return _ARGUMENT.sub(lambda found: _translated(found[1], found[2] or "", command or ""), text)


def _translated(name: str, value: str, command: str) -> str:
    plain = value.strip("\"'").removesuffix("…")
    if flag := VALUES.get((command, name, plain)):
        return flag
    if flag := FLAGS.get(command, {}).get(name):
        return f"{flag} {shlex.quote(plain)}" if plain else flag
    if not plain:
        return name
    value = {"True": "true", "False": "false"}.get(value, f'"{plain}"' if value[0] == "'" else value)
    return f"--set {shlex.quote(f'{name}={value}')}" if command == "send" else f"{name} = {value}"
