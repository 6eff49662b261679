"""Find credentials in texts, and remove them: from connection files, messages of libraries, and errors."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, unquote_plus, urlsplit

if TYPE_CHECKING:
    from mc_sink.secret import Secret

_KEY_ID = re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{12,}\b")
_USER_INFO = re.compile(r"(?<=://)[^/\s'\"]+@")  # up to the last @: a password may have one
_PASSWORD_IN_URL = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_PASSWORD_OF_URL = re.compile(r"://[^/@:\s]*:([^/\s]+)@")
_QUERY = re.compile(r"[?&;](password|passwd|pwd|token|secret|sig|signature|x-amz-signature)=", re.IGNORECASE)
_HEADER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{12,}", re.IGNORECASE)
LOOKS_SECRET = (_KEY_ID, _PASSWORD_IN_URL, _QUERY, _HEADER)
# As libpq and ODBC write it. In a query it may be the name of a column.
ADDRESS = re.compile(r"(?:^|[\s;,])(password|passwd|pwd|token|secret)\s*=", re.IGNORECASE)
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


def looks_secret(text: str, *, is_address: bool = False) -> bool:
    """Return True if a text seems to contain a credential; the address of a database is judged more strictly."""
    return any(pattern.search(text) for pattern in LOOKS_SECRET) or bool(is_address and ADDRESS.search(text))


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
