"""No secret stands in a connection file: names that hold one are refused, and so is what looks like one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError
from mc_sink.secret import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
                f"{_WHERE_TO} {NOTHING_VISIBLE}"
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
            f"{', '.join(unknown)}. {NOTHING_VISIBLE}"
        )


def _refuse_names(options: Mapping[str, Any], place: str, told: str) -> None:
    if secrets := [shown(name) for name in options if _CREDENTIAL.fullmatch(name)]:
        raise ConfigurationError(
            f"{len(secrets)} credential(s) stand in {place} of {told} ({', '.join(secrets)}), and a connection file is "
            f"to be safe to commit. {_WHERE_TO} {NOTHING_VISIBLE}"
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
