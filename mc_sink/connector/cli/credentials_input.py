"""Read credentials from a prompt, a file or the environment; never from the command line, which other users see."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mc_sink.exceptions import ConfigurationError
from mc_sink.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

STDIN = "-"
# The names in AWS' variables, files, downloads and replies, in lower case and without separators.
_NAMES = {
    "accesskeyid": "access_key_id",
    "awsaccesskeyid": "access_key_id",
    "secretaccesskey": "secret_access_key",
    "awssecretaccesskey": "secret_access_key",
    "sessiontoken": "session_token",
    "awssessiontoken": "session_token",
}
_IN_ORDER = ("access_key_id", "secret_access_key", "session_token")
_BETWEEN = re.compile(r"[^a-z]")
_PLAIN = re.compile(r"[^\s,;\"']+")
_LEAST = 2
_MARK = "\ufeff"  # Windows begins text files with it


def ask() -> dict[str, Secret]:
    """Ask for a key, without showing it."""
    key_id = Secret(typer.prompt("Access Key ID", hide_input=True))
    secret = Secret(typer.prompt("Secret Access Key", hide_input=True))
    token = Secret(typer.prompt("Session Token (none)", hide_input=True, default="", show_default=False))
    return {
        "access_key_id": key_id,
        "secret_access_key": secret,
        **({"session_token": token} if token.reveal() else {}),
    }


def from_environment() -> dict[str, Secret]:
    """Read the variables of the AWS tools."""
    names = {"access_key_id": "AWS_ACCESS_KEY_ID", "secret_access_key": "AWS_SECRET_ACCESS_KEY"}
    names |= {"session_token": "AWS_SESSION_TOKEN"}
    found = {name: Secret(os.environ[variable]) for name, variable in names.items() if os.environ.get(variable)}
    if len(found) < _LEAST:
        raise ConfigurationError("The environment has no key. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.")
    return found


def from_file(path: str) -> dict[str, Secret]:
    """Read a key from a file, or from standard input for `-`; see `read` for the formats."""
    try:
        text = Secret(sys.stdin.read().removeprefix(_MARK) if path == STDIN else Path(path).read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        kind = type(error).__name__
    else:
        return read(text)
    raise ConfigurationError(
        f"Cannot read credentials from {path} ({kind}). Check the path, and that the file is text."
    )


def read(text: Secret) -> dict[str, Secret]:
    """Parse a key: the console's CSV, JSON of the AWS CLI, `name=value` lines, or plain lines.

    Plain lines are the key's id, the secret and, for a temporary key, the token. Raises `ConfigurationError`, which
    repeats nothing of the text.
    """
    try:
        found = _read(text)
    except (ValueError, csv.Error, StopIteration):
        found = {}
    if len(found) < _LEAST:
        raise ConfigurationError(
            "The text has no key, or more than one. Pass the console's CSV, JSON with AccessKeyId and SecretAccessKey, "
            "lines such as AWS_ACCESS_KEY_ID=…, or the id, the secret and the token on a line each."
        )
    return found


def _read(text: Secret) -> dict[str, Secret]:
    lines = [Secret(line.strip()) for line in text.reveal().splitlines() if line.strip()]
    if not lines:
        return {}
    if lines[0].reveal().startswith("{"):
        reply: Any = json.loads(text.reveal())
        # Replies of STS and IAM have the key in a field.
        return _named(next((reply[field] for field in ("Credentials", "AccessKey") if field in reply), reply))
    if any(map(_known, lines[0].reveal().split(","))) and "," in lines[0].reveal():
        return _named(next(csv.DictReader(line.reveal() for line in lines)))
    pairs = [Secret(line.reveal()) for line in lines if _known(line.reveal().partition("=")[0])]
    if pairs:
        parts = [line.reveal().partition("=") for line in pairs]
        named = {_known(name) or "": value.strip().strip("'\"") for name, _, value in parts}
        return _named(named) if len(named) == len(pairs) else {}  # two keys are ambiguous
    plain = [line for line in lines if not line.reveal().startswith(("#", "["))]
    fits = _LEAST <= len(plain) <= len(_IN_ORDER) and all(_PLAIN.fullmatch(line.reveal()) for line in plain)
    return dict(zip(_IN_ORDER, plain, strict=False)) if fits else {}


def _named(values: Mapping[str, Any]) -> dict[str, Secret]:
    return {name: Secret(str(value).strip()) for one, value in values.items() if value and (name := _known(one))}


def _known(name: str | None) -> str | None:
    return _NAMES.get(_BETWEEN.sub("", (name or "").lower().removeprefix("export ")))
