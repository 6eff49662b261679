"""Find credentials, and remove them: in connection files, messages of libraries, errors, and storage options."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, unquote_plus, urlsplit

from mc_sink.secret import Sealed, seal, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mc_sink.secret import Secret

_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{12,}\b")
_USER_INFO = re.compile(r"(?<=://)[^/\s'\"]+@")  # up to the last @: a password may have one
_PASSWORD_IN_URL = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_PASSWORD_OF_URL = re.compile(r"://[^/@:\s]*:([^/\s]+)@")
_QUERY = re.compile(r"[?&;](password|passwd|pwd|token|secret|sig|signature|x-amz-signature)=", re.IGNORECASE)
_HEADER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{12,}", re.IGNORECASE)
_LOOKS_SECRET = (_KEY_ID, _PASSWORD_IN_URL, _QUERY, _HEADER)
# As libpq and ODBC write it. In a query it may be the name of a column.
_ADDRESS = re.compile(r"(?:^|[\s;,])(password|passwd|pwd|token|secret)\s*=", re.IGNORECASE)
# A credential by its name in a database's DSN, an ODBC string or a query, with its value in any of their quotes.
_NAMED = re.compile(
    r"\b((?:ssl)?password|passwd|pwd|passphrase|token|secret|sig|signature|x-amz-signature)( = |=)"
    r"('(?:[^'\\]|\\.)*'|\"[^\"]*\"|\{[^}]*\}|[^\s;&,'\"]+)",
    re.IGNORECASE,
)
_SECRET_VARIABLE = re.compile(
    r"AWS_ACCESS_KEY_ID|.*(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|(ACCESS|ACCOUNT|API|PRIVATE|SECRET)_KEY|_URI|_DSN|(DATABASE|DB)_URL)"
)
# Shorter values would remove unrelated words.
_MIN_SECRET = 8
# Parameters of a database's URI that are not secret.
_PLAIN = {"user", "username", "host", "port", "dbname", "database", "sslmode", "schema", "warehouse", "role"}
# So many characters of a password count as a part of it. Words of a URI that are shorter than the second stay.
_PIECE, _WORD = 4, 3

_SECTION: dict[str, Any] = dict.fromkeys(("addressing_style", "payload_signing_enabled", "use_accelerate_endpoint"))
# Storage options that can't hold a secret, those of nested mappings included.
_PLAIN_OPTIONS: dict[str, Any] = {
    **dict.fromkeys(("profile", "expected_bucket_owner", "default_block_size", "max_concurrency", "equal_parts")),
    **dict.fromkeys(("checksum_algorithm", "use_ssl", "anon", "endpoint_url", "host", "port")),
    "client_kwargs": dict.fromkeys(("region_name", "use_ssl", "verify", "endpoint_url")),
    "config_kwargs": {
        **dict.fromkeys(("connect_timeout", "read_timeout", "max_pool_connections", "request_checksum_calculation")),
        "s3": _SECTION,
    },
}


def looks_secret(text: str, *, is_address: bool = False) -> bool:
    """Return True if a text seems to contain a credential; the address of a database is judged more strictly."""
    return any(pattern.search(text) for pattern in _LOOKS_SECRET) or bool(is_address and _ADDRESS.search(text))


def masked(text: str) -> str:
    """Replace credentials in a text: the environment's, key ids, the user part of URLs, and those that are named."""
    for value in sorted(_known_secrets(), key=len, reverse=True):
        text = text.replace(value, "…")
    return _NAMED.sub(r"\1\2…", _USER_INFO.sub("…@", _KEY_ID.sub("…", text)))


def _known_secrets() -> set[str]:
    """Return the credentials in the environment, and the passwords in its URLs: libraries repeat them alone."""
    by_value = (_PASSWORD_IN_URL, _NAMED)
    known = {
        value
        for name, value in os.environ.items()
        if _SECRET_VARIABLE.fullmatch(name) or any(pattern.search(value) for pattern in by_value)
    }
    passwords = {found for value in known for found in _PASSWORD_OF_URL.findall(value)}
    passwords |= {found.group(3).strip("'\"{}") for value in known for found in _NAMED.finditer(value)}
    return {form for value in known | passwords for form in _forms(value) if len(form) >= _MIN_SECRET}


def without_uri(text: str, uri: Secret) -> str | None:
    """Remove the words of a database's URI from a message; None where the message repeats a part of its password."""
    low = text.casefold()
    parts = urlsplit(uri.reveal())
    values = [parts.netloc.rpartition("@")[0].partition(":")[2]]
    values += [value for name, value in parse_qsl(parts.query) if name.lower() not in _PLAIN]
    values += [found.group(3).strip("'\"{}") for found in _NAMED.finditer(uri.reveal())]
    # Each part that may be a password, in every form in which a library may repeat it.
    for secret in (form.casefold() for value in values if value for form in _forms(value)):
        if any(secret[at : at + _PIECE] in low for at in range(max(len(secret) - _PIECE, 0) + 1)):
            return None
    forms = _forms(uri.reveal().rpartition("://")[2])
    words = {word for form in forms for word in re.findall(r"\w+", form) if len(word) >= _WORD}
    for word in sorted(words, key=len, reverse=True):
        text = re.sub(re.escape(word), "…", text, flags=re.IGNORECASE)
    return text


def _forms(text: str) -> set[str]:
    plain = unquote(text)
    return {text, plain, unquote_plus(text), quote(plain, safe=""), plain.encode("unicode_escape").decode("ascii")}


def without_secrets(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the storage options that can't hold a secret, as plain values; all others are left out."""
    sealed = seal(given)
    return _plain_part(sealed, sealed.reveal(), _PLAIN_OPTIONS)


def _plain_part(given: Mapping[str, Any], plain: Mapping[str, Any], allowed: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name in set(given) & set(allowed):
        if isinstance(given[name], Mapping):
            kept[name] = _plain_part(given[name], plain[name], allowed[name] or {})
        elif not any(names_that_may_hold_secrets({name: given[name]}, allowed)) and _is_plain(plain[name]):
            kept[name] = plain[name]
    return {name: value for name, value in kept.items() if value not in (None, {})}


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool)


def names_that_may_hold_secrets(
    given: Mapping[str, Any], allowed: Mapping[str, Any] = _PLAIN_OPTIONS, place: str = ""
) -> Iterator[str]:
    """Yield the name of each storage option that may hold a secret."""
    for name, value in given.items():
        where = f"{place}[{shown(name)!r}]" if place else repr(shown(name))
        if name not in allowed:
            yield where
        elif allowed[name] is not None and isinstance(value, Mapping):
            yield from names_that_may_hold_secrets(value, allowed[name], where)
        elif isinstance(value, Mapping | list | tuple):
            yield where
        elif name == "endpoint_url" and value is not None and not _is_bare(given):
            yield f"{where} with a user or a query"


def _is_bare(given: Mapping[str, Any]) -> bool:
    """Return True if the endpoint has neither a user nor a query."""
    parts = urlsplit(Sealed({"url": given["endpoint_url"]}).reveal()["url"])
    return not (parts.username or parts.password or parts.query or parts.fragment)
