"""Connections in one process: each has the modules and files of its own folder, and none changes the process."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from mc_sink import ConfigurationError, ValidationError
from mc_sink.connector.connections import deliver, load
from mc_sink.connector.connections.sources import find_named, opened
from mc_sink.records import failure_of
from tests.support.command_line import Machine
from tests.support.connection_files import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHDIR = os.chdir
ROWS = """
import helper
import tools.deep
from tools import NAME
from tools.deep import further


class Broken(ValueError):
    pass


def rows():
    import lately

    assert {helper.NAME, tools.deep.NAME, NAME, further(), lately.NAME} == {"NAME_HERE"}, "of another folder"
    return helper.frame()


def broken():
    raise Broken("canary")


def refused():
    from mc_sink import ConfigurationError

    raise ConfigurationError("a canary of two words")


def notified(run):
    helper.RUNS.append(run.connection)
"""
HELPER = """
import polars as pl
import pandera.polars as pa

NAME = "NAME_HERE"
RUNS = []
Checks = pa.DataFrameSchema({"x": pa.Column(str, pa.Check.eq(NAME))})


def frame():
    return pl.DataFrame({"x": [NAME]})
"""
CONNECTION = """
target = "out/"
schema = "{schema}"
[source]
{source}
[hooks]
on_success = "rows:notified"
"""


def make(folder: Path, source: str = 'function = "rows:rows"', schema: str = "helper:Checks") -> Path:
    """Write a connection whose modules, files and schema have the names that every other has, too."""
    (folder / "tools").mkdir(parents=True)
    (folder / "data").mkdir()
    here = {
        "rows.py": ROWS,
        "helper.py": HELPER,
        "lately.py": 'NAME = "NAME_HERE"\n',
        "tools/__init__.py": "import helper\nNAME = helper.NAME\n",
        "tools/deep.py": (
            "import helper\nfrom . import NAME\nfrom .. import lately as beside\nassert beside.NAME == NAME\n\n\n"
            "def further():\n    import tools\n\n    return tools.NAME\n"
        ),
        "in.csv": 'x\n"NAME_HERE"\n',
        "ids.csv": 'x\n"NAME_HERE"\n',
        "data/in.csv": 'x\n"NAME_HERE"\n',
        "same.toml": CONNECTION.format(source=source, schema=schema),
    }
    for name, text in here.items():
        (folder / name).write_text(text.replace("NAME_HERE", folder.name), "utf-8")
    return folder / "same.toml"


def delivered(file: Path) -> list[str]:
    """Deliver a connection and read what came of it."""
    run = deliver(load(file), progress=False)
    values: list[str] = pl.read_csv(run.files[0].path)["x"].to_list()
    return values


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Work in another folder, as a command that was given there does."""
    before = os.getcwd()  # noqa: PTH109
    CHDIR(folder)
    try:
        yield
    finally:
        CHDIR(before)


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail where the working directory or the places of modules change, were it for a moment."""

    def refuse(*_args: object) -> None:
        raise AssertionError("the working directory was to be changed")

    before, here, modules = list(sys.path), os.getcwd(), set(sys.modules)  # noqa: PTH109
    with monkeypatch.context() as patch:
        patch.setattr(os, "chdir", refuse)
        patch.setattr(os, "fchdir", refuse)
        yield
    assert (sys.path, os.getcwd()) == (before, here)  # noqa: PTH109
    assert not {"rows", "helper", "tools", "lately"} & (set(sys.modules) - modules)


SOURCES = {
    "a function": 'function = "rows:rows"',
    "files": 'files = "i?.csv"',
    "a query of a file": "query = \"select * from 'in.csv'\"",
    "a query of a glob": "query = \"select * from 'data/*.csv'\"",
    "a query of a list": "query = \"select x from read_csv(['in.csv', 'data/in.csv']) limit 1\"",
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_each_gets_its_own_in_any_order(tmp_path: Path, source: str) -> None:
    """Rows, checks and hooks are those of the connection's folder, whichever came before."""
    files = {name: make(tmp_path / name, source) for name in ("one", "two")}
    for name in ("one", "two", "two", "one"):
        assert delivered(files[name]) == [name]
    for name in files:
        assert find_named("helper:RUNS", tmp_path / name) == ["same", "same"]


def test_a_check_of_another_folder_is_not_taken(tmp_path: Path) -> None:
    """Rows that only the other folder's schema would let pass are refused."""
    make(tmp_path / "one")
    second = make(tmp_path / "two")
    (tmp_path / "two" / "rows.py").write_text(
        'import polars as pl\nrows = lambda: pl.DataFrame({"x": ["one"]})\n', "utf-8"
    )
    assert delivered(tmp_path / "one" / "same.toml") == ["one"]
    with pytest.raises(ValidationError):
        deliver(load(second), progress=False)


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_threads_stay_apart(tmp_path: Path, source: str) -> None:
    """Deliveries that go on at once, each in a thread, get their own."""
    names = [f"folder{number}" for number in range(4)]
    files = [make(tmp_path / name, source) for name in names]
    barrier = threading.Barrier(len(names))

    def one(file: Path) -> list[str]:
        barrier.wait(timeout=30)
        return delivered(file)

    with ThreadPoolExecutor(len(names)) as pool:
        assert list(pool.map(one, files)) == [[name] for name in names]


def test_runs_of_a_scheduler_stay_apart(tmp_path: Path) -> None:
    """Each run that it starts has its own folder's rows and checks."""
    files = [make(tmp_path / name) for name in ("one", "two")]
    for file in files:
        file.write_text(file.read_text("utf-8") + '[schedule]\nevery = "1s"\n', "utf-8")
    outs = [file.parent / "out" for file in files]
    with Machine(tmp_path, tmp_path / "state").running("schedule", *files) as child:
        wait_until(lambda: all(list(out.glob("*.csv")) for out in outs), child)
    for out in outs:
        assert {pl.read_csv(found)["x"].item() for found in out.glob("*.csv")} == {out.parent.name}


QUERIES = {
    "a file": "from 'in.csv'",
    "its name without quotes": "select * from ids.csv",
    "a function": "select x from read_csv('in.csv', header = true)",
    "a list": "select x from read_csv_auto(['in.csv', 'data/in.csv']) limit 1",
    "a join": "select a.x from 'data/in.csv' a join 'in.csv' b using (x)",
    "a common table": "with t as (select * from 'in.csv') select * from t where x <> 'in.csv'",
    "a scalar": "select (select max(x) from 'in.csv') as x",
    "several statements": "set threads = 2; select * from 'in.csv'",
    "a glob": "select * from 'i?.csv'",
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_file_of_that_name_in_the_working_directory_is_not_read(tmp_path: Path, query: str) -> None:
    """DuckDB would take it before the one beside the connection."""
    make(tmp_path / "one")
    make(tmp_path / "here")
    with working_in(tmp_path / "here"):
        assert rows_of(tmp_path / "one", query) == ["one"]


def rows_of(folder: Path, query: str, more: str = "") -> list[str]:
    """Open a query's source and read it."""
    file = folder / "query.toml"
    file.write_text(f'target = "out/"\n[source]\nquery = "{query}"\n{more}', "utf-8")
    connection = load(file)
    with opened(connection.settings.source, connection.folder) as frame:
        return pl.DataFrame(frame)["x"].to_list()


def test_a_name_that_may_mean_two_files_is_refused(tmp_path: Path) -> None:
    """Where it can't be seen what DuckDB would read, nothing is read; a text that isn't a file's name stays a text."""
    make(tmp_path / "one")
    make(tmp_path / "here")
    with working_in(tmp_path / "here"):
        for query in ("pivot 'in.csv' on x", "select * from unnest(['in.csv']) as t(x)"):
            with pytest.raises(ConfigurationError, match="whole path"):
                rows_of(tmp_path / "one", query)
        assert rows_of(tmp_path / "one", "select 'in.csv' as x from 'in.csv'") == ["in.csv"]


def test_a_query_attaches_what_lies_beside(tmp_path: Path) -> None:
    """Another database's file begins at the connection's folder, too; and a variable of this module is not a table."""
    make(tmp_path / "one")
    import duckdb

    with duckdb.connect(tmp_path / "one" / "other.db") as database:
        database.execute("create table t as select 'one' as x")
    assert rows_of(tmp_path / "one", "attach 'other.db' as o (read_only); select * from o.t") == ["one"]
    with pytest.raises(duckdb.CatalogException):
        rows_of(tmp_path / "one", "select * from folder")


@pytest.mark.parametrize("name", ["a, b", "[prod]", "{x}", "it's", "über*"])
def test_folders_of_any_name_are_searched(tmp_path: Path, name: str) -> None:
    """A name that a search path has a meaning for is a name."""
    make(tmp_path / name)
    assert rows_of(tmp_path / name, "select * from 'in.csv'") == [name]
    assert rows_of(tmp_path / name, "select * from 'data/*.csv'") == [name]


def test_what_is_installed_is_found(tmp_path: Path) -> None:
    """A module that lies nowhere beside is the installed one; a folder of data doesn't stand in its place."""
    make(tmp_path / "one")
    (tmp_path / "one" / "tests").mkdir()
    (tmp_path / "one" / "polars").mkdir()
    (tmp_path / "one" / "uses.py").write_text(
        "import polars\nimport tests.support.frames\nnumbers = tests.support.frames.numbers\n"
    )
    assert find_named("tests.support.frames:numbers", tmp_path / "one") is sys.modules["tests.support.frames"].numbers
    assert find_named("uses:numbers", tmp_path / "one") is sys.modules["tests.support.frames"].numbers
    assert find_named("uses:polars", tmp_path / "one") is pl


def test_a_module_that_is_missing_is_named_as_it_was_asked_for(tmp_path: Path) -> None:
    """Neither the message nor a record has the name that a folder's module has within."""
    file = make(tmp_path / "one")
    for name in ("nothing:rows", "tools.nothing:rows"):
        with pytest.raises(ConfigurationError, match=f"No module is named {name.partition(':')[0]},"):
            find_named(name, file.parent)
    with pytest.raises(ValueError, match="canary") as raised:
        find_named("rows:broken", file.parent)()
    assert failure_of(raised.value).kind == "rows.Broken"
    with pytest.raises(ConfigurationError) as refused:
        find_named("rows:refused", file.parent)()
    # The source of a connection is not the package's.
    assert failure_of(refused.value).text == "… Nothing became visible."


def in_a_child(pickled: bytes) -> Any:
    """Run a pickled function."""
    return pickle.loads(pickled)().to_dicts()  # noqa: S301  our own


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_its_functions_can_be_pickled(tmp_path: Path, method: str) -> None:
    """Another process finds a folder's function by its name, and two of one name stay apart there."""
    for name in ("one", "two"):
        make(tmp_path / name)
    functions = [pickle.dumps(find_named("rows:rows", tmp_path / name)) for name in ("one", "two")]
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map(in_a_child, functions) == [[{"x": "one"}], [{"x": "two"}]]
