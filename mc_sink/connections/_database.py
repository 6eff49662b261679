"""A query of a database by its URI, as Polars reads it, with no word of the URI in anything that is said.

A URI has a password in it as often as not, in any place and with any quoting, and libraries repeat what they couldn't
read. So the URI is a `Secret`, bound to no variable; what a library raises is let go, with its frames; and of its
message nothing is kept where a piece of the password is in it, and else all but the URI's words.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, unquote_plus, urlsplit

import polars as pl

from mc_sink.exceptions import NOTHING_VISIBLE, ConfigurationError, QueryError, SinkError
from mc_sink.secret import Secret, seal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mc_sink.connections._settings import Source

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# Only of these it is certain that they are no part of a password in the wrong place.
_KNOWN = {"bigquery", "clickhouse", "databricks", "duckdb", "flightsql", "mariadb", "mssql", "mysql", "oracle"}
_KNOWN |= {"postgres", "postgresql", "redshift", "snowflake", "sqlite", "trino"}
_PLAIN = {"user", "username", "host", "port", "dbname", "database", "sslmode", "schema", "warehouse", "role"}
_ODD = re.compile(r"[\s#\x00-\x1f\x7f]")
# So few characters of a password are a piece of it; and words shorter than the second are left in a message.
_PIECE, _WORD = 4, 3
_INTERRUPTIONS = (KeyboardInterrupt, SystemExit, GeneratorExit)


def read_database(source: Source) -> pl.DataFrame:
    """Return the rows of a query; raises `QueryError` with what the library said, as far as it may be repeated."""
    uri = _uri_of(source)
    kind = _kind_of(uri)
    try:
        return pl.read_database_uri(source.query or "", **seal({"uri": uri}).reveal(), **source.options)
    except ImportError as error:
        missing = _known_module(error.name) or f"the library for a {kind}"
        failed: SinkError = ConfigurationError(
            f"1 library is missing to read a {kind}: {missing}. Install connectorx, or an ADBC driver with "
            f'source.options.engine = "adbc". {NOTHING_VISIBLE}'
        )
    except _INTERRUPTIONS as error:
        error.__cause__ = error.__context__ = None  # their frames, and its own, have the URI
        error.args = tuple(one for one in error.args if isinstance(one, int))
        raise error.with_traceback(None) from None
    except BaseException as error:  # noqa: BLE001  connectorx panics
        failed = QueryError(
            f"The query of a {kind} failed ({type(error).__name__}){_repeatable(str(error), uri)}. Check source.query, "
            f"and that the database can be reached. {NOTHING_VISIBLE}"
        )
    raise failed


def _uri_of(source: Source) -> Secret:
    """Return the URI, or raise `ConfigurationError`; one that could be read in two ways is refused."""
    if source.uri_env and not os.environ.get(source.uri_env):
        raise ConfigurationError(
            f"The environment has no {source.uri_env}, which source.uri_env names: set it to the database's URI. "
            f"{NOTHING_VISIBLE}"
        )
    uri = Secret(source.uri or os.environ[source.uri_env or ""])
    if wrong := _wrong_with(uri):
        where = f"the variable {source.uri_env}" if source.uri_env else "source.uri"
        raise ConfigurationError(
            f"The database's URI in {where} can't be read: {wrong}. Write scheme://user:password@host:port/name, with "
            f"characters such as # / ? @ in a user or a password percent-encoded. {NOTHING_VISIBLE}"
        )
    return uri


def _wrong_with(uri: Secret) -> str | None:
    """Return what is wrong with a URI, without a word of it."""
    if not _SCHEME.match(uri.reveal()):
        return "it doesn't begin with a scheme and ://"
    if _ODD.search(uri.reveal()):
        return "it has a space, a # or a control character in it"
    try:
        urlsplit(uri.reveal()).port  # noqa: B018  it raises for what isn't a number
    except ValueError:
        return "its host or its port isn't one"
    if urlsplit(uri.reveal()).netloc and "@" in uri.reveal().rpartition(urlsplit(uri.reveal()).netloc)[2]:
        return "it has an @ after the host"
    return None


def _kind_of(uri: Secret) -> str:
    scheme = next(iter(_SCHEME.findall(uri.reveal()))).lower()
    return f"{scheme}: database" if scheme in _KNOWN else "database"


def _known_module(name: str | None) -> str | None:
    return name if name in {"connectorx", "pyarrow", *(f"adbc_driver_{kind}" for kind in _KNOWN)} else None


def _repeatable(said: str, uri: Secret) -> str:
    """Return what may be repeated of a message, after a colon."""
    low = said.casefold()
    if any(piece in low for secret in _secrets(uri) for piece in _pieces(secret.casefold())):
        return "; its message is left out, for it repeats a part of the URI"
    for word in sorted(_words(uri), key=len, reverse=True):
        said = re.sub(re.escape(word), "…", said, flags=re.IGNORECASE)
    return f": {said.rstrip('. ')}" if said.strip() else ""


def _secrets(uri: Secret) -> Iterator[str]:
    """Yield what may be a password, in every form that it may be repeated in."""
    parts = urlsplit(uri.reveal())
    given = [parts.netloc.rpartition("@")[0].partition(":")[2]]
    given += [value for name, value in parse_qsl(parts.query) if name.lower() not in _PLAIN]
    yield from (form for one in given if one for form in _forms(one))


def _forms(text: str) -> set[str]:
    plain = unquote(text)
    return {text, plain, unquote_plus(text), quote(plain, safe=""), plain.encode("unicode_escape").decode("ascii")}


def _pieces(secret: str) -> set[str]:
    last = max(len(secret) - _PIECE, 0)
    return {secret[at : at + _PIECE] for at in range(last + 1)}


def _words(uri: Secret) -> set[str]:
    rest = uri.reveal().partition("://")[2]
    return {word for form in _forms(rest) for word in re.findall(r"\w+", form) if len(word) >= _WORD}
