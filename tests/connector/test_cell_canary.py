"""No value of a cell is in history, logs, what hooks get, or OpenTelemetry, after every kind of failure."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from mc_sink.connector import connections
from mc_sink.connector.connections import deliver, load
from mc_sink.connector.history import list_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CELL = "CanaryCell-4711"
MODULE = f'''
import os
import pathlib

import pandera.polars as pa
import polars as pl
import mc_sink

CELL = "{CELL}"
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
    text = f'target = "out/"\n{before}\n[source]\nfunction = "canary_rows:{source}"\n{arguments}\n{hooks}\n{table}\n'
    (folder / "c.toml").write_text(text)
    return folder / "c.toml"


def kept_in(folder: Path) -> dict[str, bytes]:
    """Return the files of the state folder but for journals and notes, which must have the paths of files."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.parent.name not in {"journals", "hidden"}]
    return {path.name: path.read_bytes() for path in files}


@pytest.mark.parametrize("failure", FAILURES)
def test_no_cell_is_kept_of_a_failure(  # noqa: PLR0913, PLR0917  what is searched
    tmp_path: Path,
    state_folder: Path,
    exported: Callable[[], str],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    failure: str,
) -> None:
    """The record of the run says how it failed, and no more; so do the hooks, once a command and once a function."""
    source, more = FAILURES[failure]
    caplog.set_level(logging.INFO)
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
    kept: dict[str, Any] = {**kept_in(state_folder), "hooks": hooked, "telemetry": exported(), "logs": logs}
    kept["history"] = [json.dumps(run.as_json()) for run in runs]
    kept["printed"] = capfd.readouterr()
    assert {place for place, text in kept.items() if "CanaryCell" in str(text)} == set()
    assert "history.sqlite3" in kept


def test_a_delivery_keeps_no_partition_in_its_history(tmp_path: Path, state_folder: Path) -> None:
    """The path of a partition has its value, and the record has an alias."""
    file = write(tmp_path, "rows", PARTS, "", "")
    assert CELL in deliver(load(file), run_id="r1", progress=False).files[0].path
    assert [name for name, data in kept_in(state_folder).items() if b"CanaryCell" in data] == []


def test_the_search_finds_what_is_there(tmp_path: Path, state_folder: Path) -> None:
    """A connection that names the value is recorded with it, and found."""
    file = write(tmp_path, "rows", "", "", "")
    file.write_text(file.read_text().replace("out/", f"{CELL}/out/").replace('target = "', 'target = "./'))
    deliver(load(file), run_id="r1", progress=False)
    assert [name for name, data in kept_in(state_folder).items() if b"CanaryCell" in data] == ["history.sqlite3"]
