"""No value of a cell, and no credential, is in what is kept and shown of a run, after every kind of failure.

That is the history, logs, what hooks get, metrics and OpenTelemetry. The environment has a database's URI and a token,
which the source's module holds, and quotes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from mc_sink.connector import connections
from mc_sink.connector.connections import deliver, load
from mc_sink.connector.history import list_runs
from tests.support.connection_files import start_command, wait_until
from tests.support.kept_of_runs import SHOWN, kept, metrics_at_a_port, places_of, stored_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CELL = "CanaryCell-4711"
PASSWORD, TOKEN = "canaryDSNpass" + "0004", "canaryTOKENvalue" + "0003"
URI = f"postgresql://reader:{PASSWORD}@127.0.0.1:1/db"
SECRETS = {"DATABASE_URL": URI, "FEED_TOKEN": TOKEN}
SEARCHED = ("CanaryCell", PASSWORD, TOKEN)
MODULE = f'''
import os
import pathlib

import pandera.polars as pa
import polars as pl
import mc_sink

CELL = "{CELL}"
URI, TOKEN = os.environ.get("DATABASE_URL", ""), os.environ.get("FEED_TOKEN", "")
HERE = pathlib.Path(__file__).parent
FEW = pa.DataFrameSchema({{"k": pa.Column(str, pa.Check.str_matches("^ok$"))}}, strict=False, name="few")
NONE = pa.DataFrameSchema({{"k": pa.Column(str, pa.Check.isin(["another"]))}}, strict=False, name="none")
UNIQUE = pa.DataFrameSchema({{"k": pa.Column(str)}}, unique=["k"], strict=False, name="apart")
NUMBERS = pa.DataFrameSchema({{"k": pa.Column(int)}}, coerce=True, strict=False, name="numbers")


def rows(k=CELL, number=3):
    return pl.DataFrame({{"k": [k] * number, "x": range(number)}})


def cast():
    return rows().lazy().with_columns(pl.col("k").cast(pl.Int64))


def dates():
    return rows().lazy().with_columns(pl.col("k").str.to_date("%Y"))


def raising():
    yield rows()
    raise ValueError(f"cannot use {{CELL}}")


def chained():
    try:
        raise KeyError(CELL)
    except KeyError as error:
        raise mc_sink.ConfigurationError(f"The row {{CELL}} can't be used. It was not found.") from error


def quoting():
    raise ConnectionError(f"cannot connect to {{URI}} with {{TOKEN}}")


def quoting_as_ours():
    raise mc_sink.UploadError(f"The store at {{URI}} can't be reached with {{TOKEN}}. Rerun.")


def duckdb_file():
    import duckdb
    return duckdb.connect(URI)


def sqlite():
    import sqlite3
    return sqlite3.connect(f"file:{{URI}}?mode=ro", uri=True)


def header():
    return pl.DataFrame({{CELL: [object()]}})


def exits():
    raise SystemExit(CELL)


def taken():
    (HERE / "out").mkdir(exist_ok=True)
    for name in ("k=" + CELL, "k=b"):
        (HERE / "out" / name).mkdir(exist_ok=True)
        (HERE / "out" / name / "r1-00000.csv").write_text("another's")
    return pl.DataFrame({{"k": [CELL, "b"], "x": [1, 2]}})


def late():
    """Take the second key once the first file is published."""
    (HERE / "out" / ("k=" + CELL)).mkdir(parents=True)
    (HERE / "out" / ("k=" + CELL) / "r1-00000.csv").mkdir()
    return pl.DataFrame({{"k": ["a", CELL], "x": [1, 2]}})


def hook(run):
    text = f"{{run!r}} {{run}} {{run.as_json()}} {{run._repr_html_()}}"
    (HERE / "hooked").write_text(text)
'''
HOOKS = """
[hooks]
on_failure = ["sh", "-c", "cat > hook; env >> hook"]
"""
PARTS = 'partition_by = "k"'
# The source, more options, and whether the function or the command is the hook.
FAILURES: dict[str, tuple[str, str]] = {
    "invalid rows": ("rows", 'schema = "canary_rows:FEW"'),
    "a check that lists values": ("rows", 'schema = "canary_rows:NONE"'),
    "every row is rejected": ("rows", 'schema = "canary_rows:FEW"\non_invalid = "reject"'),
    "a key that is not unique": ("rows", 'schema = "canary_rows:UNIQUE"'),
    "a coercion": ("rows", 'schema = "canary_rows:NUMBERS"'),
    "a cast": ("cast", ""),
    "a date": ("dates", ""),
    "a source that raises": ("raising", ""),
    "a source that raises an error of this library": ("chained", ""),
    "a source that quotes a database's URI": ("quoting", ""),
    "an error of this library that quotes it": ("quoting_as_ours", ""),
    "a file that DuckDB can't open": ("duckdb_file", ""),
    "a database that SQLite can't open": ("sqlite", ""),
    "a query of a database": ("", '[source]\nquery = "select 1"\nuri_env = "DATABASE_URL"'),
    "a query that ATTACHes a file": ("", "[source]\nquery = \"attach 'none/none.db' as other (read_only)\""),
    "a header": ("header", ""),
    "a source that exits": ("exits", ""),
    "a key that is taken": ("taken", PARTS),
    "a key that is a folder": ("late", PARTS),
    "too few rows": ("rows", "min_rows = 5"),
    "an odd partition": ("rows", PARTS),
    "a limit": ("rows", 'preset = "excel"'),
    "a formula": ("rows", '[format]\ntype = "csv"\nformulas = "raise"'),
    "a cell that the dialect can't hold": ("rows", '[format]\ntype = "csv"\nnull_value = "CanaryCell-4711"'),
}
ARGUMENTS = {
    "an odd partition": 'arguments = {k = "CanaryCell-4711\\u0085\\"\'"}',
    "a limit": f'arguments = {{k = "{CELL * 3_000}"}}',
    "a formula": 'arguments = {k = "=CanaryCell-4711"}',
}


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Yield a function that returns all spans and metrics so far, as their exporters have them."""
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    spans, reader, tracers = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr(trace, "get_tracer", tracers.get_tracer)
    monkeypatch.setattr(metrics, "get_meter", MeterProvider([reader]).get_meter)
    connections._instruments.cache_clear()  # noqa: SLF001  of another test's meter

    def everything() -> str:
        data = reader.get_metrics_data()
        return (data.to_json() if data else "") + "".join(span.to_json() for span in spans.get_finished_spans())

    yield everything
    connections._instruments.cache_clear()  # noqa: SLF001  the next test's is another


def write(folder: Path, source: str, more: str, arguments: str, hooks: str) -> Path:
    """Write a connection whose source is one of the functions above."""
    (folder / "canary_rows.py").write_text(MODULE)
    before, _, table = more.partition("[")
    table = f"[{table}" if table else ""
    rows = f'[source]\nfunction = "canary_rows:{source}"\n{arguments}' if source else ""
    text = f'target = "out/"\n{before}\n{rows}\n{hooks}\n{table}\n'
    (folder / "c.toml").write_text(text)
    return folder / "c.toml"


@pytest.mark.parametrize("failure", FAILURES)
def test_no_cell_and_no_credential_is_kept_of_a_failure(  # noqa: PLR0913, PLR0917  what is searched
    tmp_path: Path,
    state_folder: Path,
    exported: Callable[[], str],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    failure: str,
) -> None:
    """The record of the run says how it failed, and no more; so do the hooks, once a command and once a function."""
    source, more = FAILURES[failure]
    caplog.set_level(logging.INFO)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    for number, hooks in enumerate([HOOKS, '[hooks]\non_failure = "canary_rows:hook"']):
        folder = tmp_path / str(number)
        folder.mkdir()
        file = write(folder, source, more, ARGUMENTS.get(failure, ""), hooks)
        with pytest.raises((Exception, SystemExit)):
            deliver(load(file), run_id="r1", progress=False)
    hooked = [(tmp_path / "0" / "hook").read_text(), (tmp_path / "1" / "hooked").read_text()]
    runs = list_runs()
    assert [run.status for run in runs] == ["interrupted" if source == "exits" else "failed"] * 2
    assert all(run.error for run in runs)
    assert '"run_id": "r1"' in hooked[0]
    assert "mc_sink.runs" in exported()
    logs = [record.getMessage() for record in caplog.records if record.name.startswith("mc_sink")]
    texts = kept(state_folder) | {"hooks": hooked, "telemetry": exported(), "logs": logs, "printed": capfd.readouterr()}
    assert {word: places_of(word, texts) for word in SEARCHED} == {word: set() for word in SEARCHED}
    assert {"history.sqlite3", *SHOWN} <= set(texts)


HANGS = """

def hangs():
    words = [CELL, TOKEN, URI]
    (HERE / "began").touch()
    __import__("time").sleep(600)
"""
SCHEDULE = '[schedule]\nevery = "1s"\ntimeout = "1s"'


def kinds_of(name: str) -> set[str]:
    """Return the kinds of the errors in the records of a connection."""
    return {run.error.kind for run in list_runs(connection=name) if run.error}


def test_no_cell_and_no_credential_is_kept_of_a_run_that_did_not_begin_or_end(
    tmp_path: Path, state_folder: Path
) -> None:
    """Runs that took too long, that could not begin and that were missed, and the output of their scheduler."""
    files = [
        write(tmp_path, "hangs", "", "", f"{SCHEDULE}\n{HOOKS}").rename(tmp_path / f"{name}.toml")
        for name in ("hangs", "gone")
    ]
    (tmp_path / "canary_rows.py").write_text(MODULE + HANGS)
    written = tmp_path / "mc_sink.prom"
    scheduler = start_command("schedule", *files, "--metrics-file", written, "--debug", env=SECRETS)
    try:
        wait_until(lambda: list_runs(connection="gone", status="running"), scheduler)
        files[1].write_text(f'target = "out/"\n[source]\nquery = "select 1"\nuri = "{URI}"\n')  # a person's mistake
        wait_until(lambda: kinds_of("hangs") >= {"TimedOut", "Missed"}, scheduler)
        wait_until(lambda: "NotStarted" in kinds_of("gone"), scheduler)
    finally:
        scheduler.terminate()
        printed = scheduler.communicate(timeout=60)
    texts = kept(state_folder) | {
        "printed": printed,
        "metrics at a port": metrics_at_a_port(),
        "metrics of the scheduler": written.read_text(),
        "hook": (tmp_path / "hook").read_text(),
    }
    assert {word: places_of(word, texts) for word in SEARCHED} == {word: set() for word in SEARCHED}
    assert "gone ended with exit code 3" in str(printed)


def test_a_delivery_keeps_no_partition_in_its_history(tmp_path: Path, state_folder: Path) -> None:
    """The path of a partition has its value, and the record has an alias."""
    file = write(tmp_path, "rows", PARTS, "", "")
    assert CELL in deliver(load(file), run_id="r1", progress=False).files[0].path
    assert [name for name, data in stored_in(state_folder).items() if b"CanaryCell" in data] == []


def test_the_search_finds_what_is_there(tmp_path: Path, state_folder: Path) -> None:
    """A connection that names the value is recorded with it, and found."""
    file = write(tmp_path, "rows", "", "", "")
    file.write_text(file.read_text().replace("out/", f"{CELL}/out/").replace('target = "', 'target = "./'))
    deliver(load(file), run_id="r1", progress=False)
    assert [name for name, data in stored_in(state_folder).items() if b"CanaryCell" in data] == ["history.sqlite3"]
