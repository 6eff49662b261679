"""Read credentials from a prompt, a file or the environment; never from the command line, which others can see."""

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
# What AWS' variables, files, downloads and answers call each, in small letters and without anything between.
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
_MARK = "\ufeff"  # what Windows puts before a text


def ask() -> dict[str, Secret]:
    """Ask for a key, and show nothing of what is typed."""
    key_id = Secret(typer.prompt("Access Key ID", hide_input=True))
    secret = Secret(typer.prompt("Secret Access Key", hide_input=True))
    token = Secret(typer.prompt("Session Token (none)", hide_input=True, default="", show_default=False))
    return {
        "access_key_id": key_id,
        "secret_access_key": secret,
        **({"session_token": token} if token.reveal() else {}),
    }


def from_environment() -> dict[str, Secret]:
    """Take AWS' own variables."""
    names = {"access_key_id": "AWS_ACCESS_KEY_ID", "secret_access_key": "AWS_SECRET_ACCESS_KEY"}
    names |= {"session_token": "AWS_SESSION_TOKEN"}
    found = {ours: Secret(os.environ[theirs]) for ours, theirs in names.items() if os.environ.get(theirs)}
    if len(found) < _LEAST:
        raise ConfigurationError("The environment has no key: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.")
    return found


def from_file(path: str) -> dict[str, Secret]:
    """Read a file, or standard input where it is `-`; see `read` for what may be in it."""
    try:
        text = Secret(sys.stdin.read().removeprefix(_MARK) if path == STDIN else Path(path).read_text("utf-8-sig"))
    except (OSError, ValueError) as error:
        kind = type(error).__name__
    else:
        return read(text)
    raise ConfigurationError(f"The credentials in {path} can't be read ({kind}). Check the path, and that it is text.")


def read(text: Secret) -> dict[str, Secret]:
    """Read a key from what AWS gives: the console's CSV, an answer's JSON, `name=value` lines, or plain lines.

    Plain lines are the key's id, the secret and, if there is one, the token. Raises `ConfigurationError` that repeats
    none of it.
    """
    try:
        found = _read(text)
    except (ValueError, csv.Error, StopIteration):
        found = {}
    if len(found) < _LEAST:
        raise ConfigurationError(
            "There is no key in what was given, or more than one. It may be the console's CSV, JSON with AccessKeyId "
            "and SecretAccessKey, lines as AWS_ACCESS_KEY_ID=…, or the id, the secret and the token on a line each."
        )
    return found


def _read(text: Secret) -> dict[str, Secret]:
    lines = [Secret(line.strip()) for line in text.reveal().splitlines() if line.strip()]
    if not lines:
        return {}
    if lines[0].reveal().startswith("{"):
        return _from_json(text)
    if any(map(_known, lines[0].reveal().split(","))) and "," in lines[0].reveal():
        return _named(next(csv.DictReader(line.reveal() for line in lines)))
    pairs = [Secret(line.reveal()) for line in lines if _known(line.reveal().partition("=")[0])]
    if pairs:
        named = dict(_pair(line) for line in pairs)
        return _named(named) if len(named) == len(pairs) else {}  # two keys: nobody could tell which was meant
    plain = [line for line in lines if not line.reveal().startswith(("#", "["))]
    fits = _LEAST <= len(plain) <= len(_IN_ORDER) and all(_PLAIN.fullmatch(line.reveal()) for line in plain)
    return dict(zip(_IN_ORDER, plain, strict=False)) if fits else {}


def _from_json(text: Secret) -> dict[str, Secret]:
    """Look into the answers of STS and IAM, which have the key inside."""
    held: Any = json.loads(text.reveal())
    return _named(next((held[one] for one in ("Credentials", "AccessKey") if one in held), held))


def _named(values: Mapping[str, Any]) -> dict[str, Secret]:
    return {name: Secret(str(value).strip()) for one, value in values.items() if value and (name := _known(one))}


def _pair(line: Secret) -> tuple[str, str]:
    name, _, value = line.reveal().partition("=")
    return _known(name) or "", value.strip().strip("'\"")


def _known(name: str | None) -> str | None:
    return _NAMES.get(_BETWEEN.sub("", (name or "").lower().removeprefix("export ")))
