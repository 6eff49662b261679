"""Run a connection's query: in DuckDB, over files beside the connection, or in a database that a URI names.

DuckDB looks for a glob only in its `file_search_path`, and for a plain name in the working directory first (measured,
2.0). So if the working directory has a file of that name, the query gets the whole path of the file beside the
connection. The working directory is never changed, because all threads share it.

A URI often contains a password, in any place and with any quoting, and libraries repeat what they could not parse. So
the URI is a `Secret` that is bound to no variable. A library's exception is dropped with its frames. Its message is
kept without the words of the URI, and dropped where it repeats a part of the password.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import polars as pl

from mc_sink._frames import ROW_GROUP_SIZE
from mc_sink.exceptions import ConfigurationError, QueryError, SinkError
from mc_sink.scrub import without_uri
from mc_sink.secret import Secret, seal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mc_sink.connector.connections.settings import Source

# Functions whose first argument is the name of a file, or a list of them.
_READS_FILES = re.compile(r"(read|parquet|sniff|arrow)_\w+|\w+_scan|glob")
# A comma separates the folders of a search path. The others belong to patterns.
_UNSEARCHABLE = re.compile(r"[,*?\[\]{}]")
_OTHER_DATABASE = re.compile(r"[:=]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# Only these schemes are repeated in messages: any other text may be a misplaced password.
_KNOWN = {"bigquery", "clickhouse", "databricks", "duckdb", "flightsql", "mariadb", "mssql", "mysql", "oracle"}
_KNOWN |= {"postgres", "postgresql", "redshift", "snowflake", "sqlite", "trino"}
_ODD = re.compile(r"[\s#\x00-\x1f\x7f]")
_INTERRUPTIONS = (KeyboardInterrupt, SystemExit, GeneratorExit)


@contextmanager
def queried(query: str, database: str | None, folder: Path) -> Iterator[Any]:
    """Yield the rows of a query in batches; its relative names, and `database`, begin at `folder`."""
    try:
        import duckdb
    except ImportError as error:
        raise ConfigurationError(
            "Cannot run source.query: duckdb is not installed. Install it, or name a database in source.uri."
        ) from error
    place = str(folder / database) if database else ":memory:"
    with (
        _searchable(folder) as search_path,
        # Without replacements: a table's name must not resolve to a variable of this module.
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
            raise ConfigurationError("source.query returns no rows. Write a select.")
        read = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
        yield read(ROW_GROUP_SIZE)


@contextmanager
def _searchable(folder: Path) -> Iterator[str]:
    """Yield the folder's path, or that of a link to it, without characters that a search path can't hold."""
    if not _UNSEARCHABLE.search(str(folder)):
        yield str(folder)
        return
    with tempfile.TemporaryDirectory(prefix="mc_sink-") as made:
        link = Path(made, "beside")
        link.symlink_to(folder, target_is_directory=True)
        yield str(link)


class _Statement:
    """A statement of a query. `resolved` returns it with whole paths for names that the working directory has too."""

    def __init__(self, connection: Any, statement: Any, folder: Path) -> None:
        self._connection, self._folder = connection, folder
        self._text: str = statement.query
        self._kind: str = statement.type.name
        self._shadowed: set[str] = set()

    def resolved(self) -> str:
        """Return the statement to run, or raise `ConfigurationError` where a name is ambiguous."""
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
        """Insert whole paths into the syntax tree of the statement, for the tables and files that it reads."""
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
            "source.query names a file that the working directory has too, and it is not clear which one DuckDB would "
            "read. Start from another folder, or write the file's whole path."
        )

    def _attached(self) -> str:
        """Return an ATTACH with the whole path of a database beside the connection."""
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


def read_database(source: Source) -> pl.DataFrame:
    """Return the rows of a query; raises `QueryError` with the library's message, without the URI."""
    uri = _uri_of(source)
    scheme = next(iter(_SCHEME.findall(uri.reveal()))).lower()
    kind = f"{scheme}: database" if scheme in _KNOWN else "database"
    try:
        return pl.read_database_uri(source.query or "", **seal({"uri": uri}).reveal(), **source.options)
    except ImportError as error:
        known = {"connectorx", "pyarrow", *(f"adbc_driver_{name}" for name in _KNOWN)}
        missing = error.name if error.name in known else f"the library for a {kind}"
        failed: SinkError = ConfigurationError(
            f"Cannot read a {kind}: {missing} is not installed. Install connectorx, or an ADBC driver with "
            f'source.options.engine = "adbc".'
        )
    except _INTERRUPTIONS as error:
        error.__cause__ = error.__context__ = None  # all of their frames hold the URI
        error.args = tuple(one for one in error.args if isinstance(one, int))
        raise error.with_traceback(None) from None
    except BaseException as error:  # noqa: BLE001  connectorx panics
        text = without_uri(str(error), uri)
        reason = f": {text.rstrip('. ')}" if text else ""
        reason = "; its message is left out, because it repeats a part of the URI" if text is None else reason
        failed = QueryError(
            f"The query of a {kind} failed ({type(error).__name__}){reason}. Check source.query, and that the database "
            "can be reached."
        )
    raise failed


def _uri_of(source: Source) -> Secret:
    """Return the URI, or raise `ConfigurationError` where it is missing or ambiguous."""
    if source.uri_env and not os.environ.get(source.uri_env):
        raise ConfigurationError(
            f"The variable {source.uri_env}, which source.uri_env names, is not set. Set it to the database's URI."
        )
    uri = Secret(source.uri or os.environ[source.uri_env or ""])
    if wrong := _wrong_with(uri):
        where = f"the variable {source.uri_env}" if source.uri_env else "source.uri"
        raise ConfigurationError(
            f"The database's URI in {where} is invalid: {wrong}. Write scheme://user:password@host:port/name, with "
            "characters such as # / ? @ in a user or a password percent-encoded."
        )
    return uri


def _wrong_with(uri: Secret) -> str | None:
    """Return why a URI is invalid, without repeating it; None for a valid one."""
    if not _SCHEME.match(uri.reveal()):
        return "it doesn't begin with a scheme and ://"
    if _ODD.search(uri.reveal()):
        return "it has a space, a # or a control character in it"
    try:
        urlsplit(uri.reveal()).port  # noqa: B018  it raises for what isn't a number
    except ValueError:
        return "its host or its port is invalid"
    if urlsplit(uri.reveal()).netloc and "@" in uri.reveal().rpartition(urlsplit(uri.reveal()).netloc)[2]:
        return "it has an @ after the host"
    return None
