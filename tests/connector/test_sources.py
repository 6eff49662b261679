"""Sources: files of every kind, queries and functions, each read as Polars or DuckDB itself would read it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pytest

from mc_sink import ConfigurationError
from mc_sink.connector.connections import load, rehearse
from tests.support.connection_files import FRAME, write_connection

if TYPE_CHECKING:
    from collections.abc import Callable


WRITERS: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    "parquet": pl.DataFrame.write_parquet,
    "csv": pl.DataFrame.write_csv,
    "ndjson": pl.DataFrame.write_ndjson,
    "arrow": pl.DataFrame.write_ipc,
}


def read(folder: Path, source: str, rows: int = 1_000) -> pl.DataFrame:
    """Give what a connection with this source would deliver."""
    found = rehearse(load(write_connection(folder, "out/", source=source)), rows=rows)
    assert found.sample is not None
    assert not (folder / "out").exists()
    return found.sample


@pytest.mark.parametrize("suffix", WRITERS)
def test_files_of_every_kind(tmp_path: Path, suffix: str) -> None:
    """A glob gives all rows of the files that it matches, in the order of their names, from the file's own folder."""
    for number in range(3):
        WRITERS[suffix](FRAME.slice(number * 20, 20), tmp_path / f"part-{number}.{suffix}")
    assert read(tmp_path, f'files = "part-*.{suffix}"').equals(FRAME)
    assert read(tmp_path, f'files = ["part-2.{suffix}", "part-0.{suffix}"]')["id"].to_list() == [
        *range(40, 60),
        *range(20),
    ]


def test_options_reach_polars(tmp_path: Path) -> None:
    """Arguments of Polars' scan are passed on; an unknown one is refused with the nearest name."""
    FRAME.write_csv(tmp_path / "a.txt", separator=";")
    source = 'files = "a.txt"\nformat = "csv"\n[source.options]\n'
    assert read(tmp_path, source + 'separator = ";"').equals(FRAME)
    with pytest.raises(ConfigurationError, match=r"Did you mean 'separator'\?"):
        read(tmp_path, source + 'seperator = ";"')


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ('files = "none/*.csv"', "No file matches"),
        ('files = "nightly.toml"', "Write source.format"),
        (
            'files = "data/*"\nquery = "select 1"',
            "needs exactly one of files, query and function, and has files, query",
        ),
        ("options = {a = 1}", "needs exactly one of files, query and function, and has none"),
        ('files = "data/*"\ndatabase = "x"', "database, which is for query"),
        ('query = "select 1"\ndatabase = "x"\nuri_env = "X"', "more than one of"),
        ('query = "select 1"\nuri_env = "NO_SUCH_VARIABLE"', "The variable NO_SUCH_VARIABLE"),
        ('function = "no_such_module:f"', "No module is named no_such_module"),
        ('function = "sources_of_tests:sume"', r"Did you mean 'some'\?"),
        ('function = "sources_of_tests"', "is not of the form module:function"),
        ('function = "sources_of_tests:FRAME"', "not a function"),
    ],
)
def test_a_wrong_source_is_refused(tmp_path: Path, source: str, shown: str) -> None:
    """An unreadable source fails before anything is written, with advice."""
    with pytest.raises(ConfigurationError, match=shown):
        read(tmp_path, source)


def test_a_query_reads_files_and_databases(tmp_path: Path) -> None:
    """DuckDB runs a query on files beside the connection, or on a database that it may only read."""
    assert read(tmp_path, "query = \"select * from 'data/*.parquet' order by id\"").equals(FRAME)
    with duckdb.connect(tmp_path / "some.duckdb") as database:
        database.execute("create table audience as select range as id from range(250000)")
    source = 'database = "some.duckdb"\nquery = "{}"'
    assert read(tmp_path, source.format("select * from audience order by id"), 300_000)["id"].to_list() == [
        *range(250_000)
    ]
    with pytest.raises(duckdb.InvalidInputException, match="read-only"):
        read(tmp_path, source.format("drop table audience"))


def test_a_database_by_its_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Polars reads a database whose address the environment holds; without a driver, the library is named."""
    with sqlite3.connect(tmp_path / "some.db") as database:
        database.execute("create table audience as select 7 as id")
    database.close()
    monkeypatch.setenv("AUDIENCE_DB", f"sqlite://{tmp_path}/some.db")
    source = 'uri_env = "AUDIENCE_DB"\nquery = "select * from audience"'
    try:
        import connectorx  # type: ignore[import-not-found]
    except ImportError:
        with pytest.raises(ConfigurationError, match=r"Cannot read a sqlite: database"):
            read(tmp_path, source)
    else:
        assert connectorx
        assert read(tmp_path, source)["id"].to_list() == [7]


def test_a_function_is_called_with_arguments(tmp_path: Path) -> None:
    """A function gets its arguments, and its own error arrives as it is."""
    source = 'function = "sources_of_tests:some"\narguments = {rows = 3}'
    assert read(tmp_path, source)["id"].to_list() == [0, 1, 2]
    with pytest.raises(TypeError, match="lines"):
        read(tmp_path, source.replace("rows", "lines"))


def test_a_query_reads_beside_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the same name where the command was given is not the one that was meant."""
    (tmp_path / "a, b").mkdir()
    pl.DataFrame({"id": [1]}).write_csv(tmp_path / "a, b" / "ids.csv")
    pl.DataFrame({"id": [2]}).write_csv(tmp_path / "ids.csv")
    monkeypatch.chdir(tmp_path)
    assert read(tmp_path / "a, b", "query = \"select * from 'ids.csv'\"")["id"].to_list() == [1]
    assert Path.cwd() == tmp_path


def test_names_with_brackets_are_names(tmp_path: Path) -> None:
    """A pattern is what stands in source.files; the folder's own name, and a name that was found, mean themselves."""
    folder = tmp_path / "[prod]"
    folder.mkdir()
    for suffix in ("csv", "parquet", "arrow"):
        WRITERS[suffix](FRAME, folder / f"export[1].{suffix}")
        assert read(folder, f'files = "*.{suffix}"').equals(FRAME)
