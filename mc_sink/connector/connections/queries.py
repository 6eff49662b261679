"""Run a connection's query: in DuckDB, over files beside it, or in a database that a URI names.

DuckDB looks for a glob in its `file_search_path` alone, and for a plain name in the working directory first (measured,
2.0). So where a file of such a name lies in the working directory, the query gets the whole path of the one that is
meant. The working directory stays what it is: it belongs to all threads.

A URI has a password in it as often as not, in any place and with any quoting, and libraries repeat what they couldn't
read. So the URI is a `Secret`, bound to no variable; what a library raises is let go, with its frames; and of its
message nothing is kept where a piece of the password is in it, and else all but the URI's words.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, unquote_plus, urlsplit

import polars as pl

from mc_sink._frames import ROW_GROUP_SIZE
from mc_sink.exceptions import ConfigurationError, QueryError, SinkError
from mc_sink.secret import Secret, seal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mc_sink.connector.connections.settings import Source

# Functions whose first argument is the name of a file, or a list of them.
_READS_FILES = re.compile(r"(read|parquet|sniff|arrow)_\w+|\w+_scan|glob")
# A comma parts the folders of a search path, and the others are a pattern's.
_UNSEARCHABLE = re.compile(r"[,*?\[\]{}]")
_OTHER_DATABASE = re.compile(r"[:=]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# Only of these it is certain that they are no part of a password in the wrong place.
_KNOWN = {"bigquery", "clickhouse", "databricks", "duckdb", "flightsql", "mariadb", "mssql", "mysql", "oracle"}

_PLAIN = {"user", "username", "host", "port", "dbname", "database", "sslmode", "schema", "warehouse", "role"}
_ODD = re.compile(r"[\s#\x00-\x1f\x7f]")
# So few characters of a password are a piece of it; and words shorter than the second are left in a message.
_PIECE, _WORD = 4, 3
_INTERRUPTIONS = (KeyboardInterrupt, SystemExit, GeneratorExit)


@contextmanager
def queried(query: str, database: str | None, folder: Path) -> Iterator[Any]:
    """Yield the rows of a query in batches; its relative names, and `database`, begin at `folder`."""
    try:
        import duckdb
    except ImportError as error:
        raise ConfigurationError(
            "1 library is missing to run a query: install duckdb, or name a database in source.uri."
        ) from error
    place = str(folder / database) if database else ":memory:"
    with (
        _searchable(folder) as search_path,
        # Without replacements: a table's name is none of a variable of ours.
        duckdb.connect(
            place,
            read_only=bool(database),
            config={"file_search_path": search_path, "python_enable_replacements": False},
        ) as connection,
    ):
        relation: Any = None
        for statement in connection.extract_statements(query):
            relation = connection.sql(_Statement(connection, statement, folder).resolved())
        if relation is None:
            raise ConfigurationError("source.query gives no rows: write a select.")
        read = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
        yield read(ROW_GROUP_SIZE)


@contextmanager
def _searchable(folder: Path) -> Iterator[str]:
    """Yield a path of the folder that a search path can hold."""
    if not _UNSEARCHABLE.search(str(folder)):
        yield str(folder)
        return
    with tempfile.TemporaryDirectory(prefix="mc_sink-") as made:
        link = Path(made, "beside")
        link.symlink_to(folder, target_is_directory=True)
        yield str(link)


class _Statement:
    """One statement of a query; `resolved` returns it with the whole paths of files that another one could shadow."""

    def __init__(self, connection: Any, statement: Any, folder: Path) -> None:
        self._connection, self._folder = connection, folder
        self._text: str = statement.query
        self._kind: str = statement.type.name
        self._shadowed: set[str] = set()

    def resolved(self) -> str:
        """Return the statement to run, or raise `ConfigurationError` where a name may mean two files."""
        if self._kind == "ATTACH":
            return self._attached()
        here = Path.cwd()
        if here == self._folder or not any(_is_shadow(name, here) for name in self._texts()):
            return self._text
        found = json.loads(self._one("select json_serialize_sql(?)", self._text))
        if found["error"]:
            self._refuse()
        self._resolve(found["statements"], here)
        resolved: str = self._one("select json_deserialize_sql(?::json)", json.dumps(found))
        return resolved

    def _one(self, sql: str, value: str) -> Any:
        return self._connection.execute(sql, [value]).fetchall()[0][0]

    def _resolve(self, node: Any, here: Path) -> None:
        """Put whole paths into a tree of the statement, where it names tables and reads files."""
        if isinstance(node, list):
            for one in node:
                self._resolve(one, here)
        elif isinstance(node, dict):
            if node.get("type") == "BASE_TABLE":
                self._resolve_table(node, here)
            elif node.get("type") == "TABLE_FUNCTION":
                self._resolve_function(node["function"], here)
            for one in node.values():
                self._resolve(one, here)

    def _resolve_table(self, node: dict[str, Any], here: Path) -> None:
        parts = [node.get(name, "") for name in ("catalog_name", "schema_name", "table_name")]
        name = ".".join(filter(None, parts))
        if _is_shadow(name, here):
            path = str(self._folder / name)
            node |= {"catalog_name": "", "schema_name": "", "table_name": path}
            if "qualified_name" in node:
                node["qualified_name"] = {"path": [path]}

    def _resolve_function(self, function: dict[str, Any], here: Path) -> None:
        arguments = function.get("arguments") or function.get("children") or []
        texts = [(held, key) for argument in arguments for held, key in _constants(argument)]
        for held, key in texts:
            if _is_shadow(held[key], here):
                if not _READS_FILES.fullmatch(function["function_name"]):
                    self._refuse()
                held[key] = str(self._folder / held[key])

    def _refuse(self) -> None:
        raise ConfigurationError(
            "source.query names a file that lies in the working directory, too, and it can't be seen which one DuckDB "
            "would read. Start from another folder, or write the file's whole path."
        )

    def _attached(self) -> str:
        """Return an ATTACH with the whole path of a database that lies beside the connection."""
        for start, end in self._spans():
            name = self._text[start:end].strip().strip("'").replace("''", "'")
            if self._text[start] == "'" and name and not _OTHER_DATABASE.search(name):
                quoted = str(self._folder / name).replace("'", "''")
                return f"{self._text[:start]}'{quoted}'{self._text[end:]}"
        return self._text

    def _texts(self) -> Iterator[str]:
        """Yield every word of the statement that may name a file."""
        for start, end in self._spans():
            word = self._text[start:end].strip()
            if word[:1] in {"'", '"'}:
                yield word[1:-1].replace(word[0] * 2, word[0])
        yield from re.findall(r"\w+(?:\.\w+)+", self._text)

    def _spans(self) -> list[tuple[int, int]]:
        """Return where each token of the statement begins, and where the next one does."""
        import duckdb

        raw = self._text.encode()
        starts = [len(raw[:at].decode()) for at, _ in duckdb.tokenize(self._text)]
        return list(zip(starts, [*starts[1:], len(self._text)], strict=True))


def _constants(node: Any) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each text within an argument, by the mapping that holds it and its key."""
    if isinstance(node, list):
        for one in node:
            yield from _constants(one)
    elif isinstance(node, dict):
        for key in ("text", "value"):  # as DuckDB 2 writes it, and as DuckDB 1 does
            if isinstance(node.get(key), str):
                yield node, key
        for one in node.values():
            yield from _constants(one)


def _is_shadow(name: str, here: Path) -> bool:
    """Return whether DuckDB would find a relative name in the working directory."""
    return bool(name) and "\0" not in name and not os.path.isabs(name) and (here / name).is_file()  # noqa: PTH117


_KNOWN |= {"postgres", "postgresql", "redshift", "snowflake", "sqlite", "trino"}


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
            f'source.options.engine = "adbc".'
        )
    except _INTERRUPTIONS as error:
        error.__cause__ = error.__context__ = None  # their frames, and its own, have the URI
        error.args = tuple(one for one in error.args if isinstance(one, int))
        raise error.with_traceback(None) from None
    except BaseException as error:  # noqa: BLE001  connectorx panics
        failed = QueryError(
            f"The query of a {kind} failed ({type(error).__name__}){_repeatable(str(error), uri)}. Check source.query, "
            f"and that the database can be reached."
        )
    raise failed


def _uri_of(source: Source) -> Secret:
    """Return the URI, or raise `ConfigurationError`; one that could be read in two ways is refused."""
    if source.uri_env and not os.environ.get(source.uri_env):
        raise ConfigurationError(
            f"The environment has no {source.uri_env}, which source.uri_env names: set it to the database's URI."
        )
    uri = Secret(source.uri or os.environ[source.uri_env or ""])
    if wrong := _wrong_with(uri):
        where = f"the variable {source.uri_env}" if source.uri_env else "source.uri"
        raise ConfigurationError(
            f"The database's URI in {where} can't be read: {wrong}. Write scheme://user:password@host:port/name, with "
            f"characters such as # / ? @ in a user or a password percent-encoded."
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
