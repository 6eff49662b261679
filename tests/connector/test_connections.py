"""Connection files: what may stand in them, what is refused and how, and what a run makes of them."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import fields
from inspect import signature
from typing import TYPE_CHECKING

import pytest

from mc_sink import AlreadyExistsError, ConfigurationError, Csv, ObjectOptions, sink_madconnect
from mc_sink.connector.connections import Connection, deliver, load, rehearse
from mc_sink.connector.connections.connection_file import GIVEN_BY_RUN, arguments_for
from mc_sink.connector.connections.hooks import PASSED_ON
from mc_sink.connector.connections.settings import Settings
from mc_sink.connector.connections.sources import find_named
from mc_sink.connector.history import Busy, list_runs
from tests.support.connection_files import FRAME, environment, write_connection
from tests.support.frames import as_text, read_back

if TYPE_CHECKING:
    from pathlib import Path

    from mc_sink.connector.history import Run
    from mc_sink.sandbox.admin import Admin, Writer
    from tests.servers.fault import FaultServer


def refusal(folder: Path, more: str = "", **how: str) -> str:
    """Give what loading a connection says."""
    with pytest.raises(ConfigurationError) as caught:
        load(write_connection(folder, "s3://bucket/p/", more, **how))
    return str(caught.value)


def test_every_option_of_a_delivery_is_a_key() -> None:
    """What `sink_madconnect` takes can stand in a connection file, but for what one run alone has."""
    keys = {one.name for one in fields(Settings)}
    assert set(signature(sink_madconnect).parameters) - GIVEN_BY_RUN <= keys


def test_a_file_becomes_arguments(tmp_path: Path) -> None:
    """Every kind of key arrives as the argument that it means, and what is left out stays the default."""
    more = """
max_rejects = 0.5
on_invalid = "reject"
schema = "audience"
rejects = "bad/"
[format]
type = "csv"
separator = ";"
boolean_format = ["1", "0"]
[object_options]
acl = "bucket-owner-full-control"
tags = {team = "a"}
[storage_options.client_kwargs]
region_name = "eu-west-1"
"""
    arguments = arguments_for(sink_madconnect, load(write_connection(tmp_path, "s3://bucket/p/", more)))
    assert arguments == {
        "target": "s3://bucket/p/",
        "format": Csv(separator=";", boolean_format=("1", "0")),
        "schema": "audience",
        "on_invalid": "reject",
        "max_rejects": 0.5,
        "rejects": f"{tmp_path}/bad/",
        "object_options": ObjectOptions(acl="bucket-owner-full-control", tags={"team": "a"}),
        "storage_options": {"client_kwargs": {"region_name": "eu-west-1"}},
    }


def test_wrong_keys_are_named_with_the_right_ones(tmp_path: Path) -> None:
    """All invalid keys are reported at once: unknown ones with the nearest right one, wrong types, missing ones."""
    printed = refusal(tmp_path, 'if_exist = "fail"\nmax_rows_per_file = "many"\n[schedule]\ncrn = "* * * * *"')
    assert "nightly.toml is invalid in 3 keys:" in printed
    assert "if_exist is an unknown key. Did you mean 'if_exists'?" in printed
    assert "schedule.crn is an unknown key. Did you mean 'cron'?" in printed
    assert "max_rows_per_file is invalid" in printed
    (tmp_path / "none.toml").write_text("manifest = true", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"target is missing"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("more", "printed"),
    [
        ('[format]\ntype = "csv"\nseperator = ";"', "Did you mean 'separator'?"),
        ('[object_options]\naccl = "private"', "Did you mean 'acl'?"),
        ('[format]\ntype = "tsv"', "needs a type, one of csv, parquet"),
    ],
)
def test_wrong_keys_of_tables_are_named_too(tmp_path: Path, more: str, printed: str) -> None:
    """The options of formats and objects are held to their own names."""
    with pytest.raises(ConfigurationError, match=printed.replace("?", r"\?")):
        arguments_for(sink_madconnect, load(write_connection(tmp_path, "s3://bucket/p/", more)))


@pytest.mark.parametrize(
    "more",
    [
        '[storage_options]\nkey = "canary-1"\nsecret = "canary-2"',
        '[storage_options]\ntoken = "canary-1"',
        '[storage_options.client_kwargs]\naws_secret_access_key = "canary-1"',
        '[storage_options]\nendpoint_url = "https://canary-1:canary-2@host"',
        '[object_options]\nmetadata = {owner = "AKIACANARY1234567890"}',
        '[source.options.storage_options]\naws_access_key_id = "canary-1"',
        '[source.arguments]\napi_key = "canary-1"',
        '[hooks]\non_failure = ["curl", "-H", "Authorization: Bearer canary-canary-canary"]',
        '[hooks]\non_failure = ["curl", "https://host/x?token=canary"]',
    ],
)
def test_a_secret_is_refused_and_not_repeated(tmp_path: Path, more: str) -> None:
    """A credential in a file is refused with the place where it belongs, and no message shows it."""
    printed = refusal(tmp_path, more)
    assert "platform" in printed
    assert "canary" not in printed.lower()


def test_a_file_may_begin_with_a_mark_of_windows(tmp_path: Path) -> None:
    """An editor that puts a byte-order mark before a text has written TOML all the same."""
    file = write_connection(tmp_path, "out/")
    file.write_text(file.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert load(file).settings.target == "out/"


def test_a_platform_is_handed_on_or_refused(tmp_path: Path) -> None:
    """A platform's name reaches a delivery that knows platforms; any other refuses it and names the key."""
    connection = load(write_connection(tmp_path, "s3://bucket/p/", 'platform = "acme"'))

    def knows(target: str, platform: str | None = None) -> None:
        raise AssertionError((target, platform))

    def knows_not(target: str) -> None:
        raise AssertionError(target)

    assert arguments_for(knows, connection)["platform"] == "acme"
    with pytest.raises(ConfigurationError, match="platform"):
        arguments_for(knows_not, connection)


def to_bucket(folder: Path, writer: Writer, more: str = "", path: str = "p/") -> Connection:
    """Make a connection to the writer's bucket."""
    return load(write_connection(folder, writer.target(path), more))


@pytest.fixture
def ambient(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> Writer:
    """Have the environment know the writer's key, as a service's does."""
    for name, value in environment(writer).items():
        monkeypatch.setenv(name, value)
    return writer


def test_each_run_makes_a_new_object(ambient: Writer, seaweed: Admin, tmp_path: Path) -> None:
    """Two runs of one connection are two objects with all rows, and two records that say what is in the bucket."""
    connection = to_bucket(tmp_path, ambient)
    runs = [deliver(connection, progress=False) for _ in range(2)]
    listed = seaweed.listing(ambient.bucket)
    recorded = {file.path: file.num_bytes for run in runs for file in run.files}
    assert {ambient.target(key): one.size for key, one in listed.items()} == recorded
    assert len(recorded) == len(runs)
    for key in listed:
        data = seaweed.read(ambient.bucket, key)
        assert read_back(data, "csv", tmp_path).equals(as_text(FRAME, "csv"))
    assert [run.run_id for run in list_runs()] == [run.run_id for run in reversed(runs)]


def test_a_file_that_is_there_is_no_new_object(ambient: Writer, seaweed: Admin, tmp_path: Path) -> None:
    """A target that is one file can be delivered to once, be the rows the same, unless a run id says it is a rerun."""
    connection = to_bucket(tmp_path, ambient, path="one.csv")
    deliver(connection, run_id="r-1", progress=False)
    before = seaweed.listing(ambient.bucket)
    with pytest.raises(AlreadyExistsError):
        deliver(connection, progress=False)
    again = deliver(connection, run_id="r-1", progress=False)
    assert again.status == "delivered"
    assert [file.from_prior_attempt for file in again.files] == [True]
    assert seaweed.listing(ambient.bucket) == before


@pytest.mark.parametrize("num_rows", [10, 20])
@pytest.mark.parametrize("local", [True, False])
def test_a_taken_key_is_told_before_the_query_runs(
    fault_s3: FaultServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, num_rows: int, *, local: bool
) -> None:
    """A generated run id has no earlier attempt: any object at the key is foreign, and the source isn't opened."""
    for name, value in environment(fault_s3.writer).items():
        monkeypatch.setenv(name, value)
    target = f"{tmp_path}/out/one.csv" if local else fault_s3.writer.target("one.csv")

    def connection(num_rows: int) -> Connection:
        source = 'function = "tests.support.connection_files:marking"\n'
        source += f'arguments = {{folder = "{tmp_path}", num_rows = {num_rows}}}'
        return load(write_connection(tmp_path, target, source=source))

    first = deliver(connection(10), progress=False)
    (tmp_path / "opened").unlink()
    before, asked = fault_s3.listing(fault_s3.bucket), len(fault_s3.log)
    with pytest.raises(AlreadyExistsError, match=r"An object is already at .*one\.csv and stays as it was"):
        deliver(connection(num_rows), progress=False)
    assert not (tmp_path / "opened").exists()
    assert fault_s3.listing(fault_s3.bucket) == before
    assert fault_s3.log.ops()[asked:] == ([] if local else ["List"])
    assert deliver(connection(10), run_id=first.run_id, progress=False).files[0].from_prior_attempt


def test_one_run_of_a_connection_at_a_time(ambient: Writer, seaweed: Admin, tmp_path: Path) -> None:
    """While a connection runs, a second run of it does nothing."""
    connection = to_bucket(tmp_path, ambient)

    def once_more(_run: Run) -> None:
        deliver(connection, progress=False)

    with pytest.raises(Busy, match="nightly is running already"):
        deliver(connection, progress=False, ended=once_more)
    assert len(seaweed.listing(ambient.bucket)) == 1


def test_a_rehearsal_writes_nothing(ambient: Writer, seaweed: Admin, tmp_path: Path) -> None:
    """A rehearsal gives schema, sample and the very keys of the run, and leaves neither object nor record."""
    connection = to_bucket(tmp_path, ambient)
    found = rehearse(connection, run_id="r-1", rows=3)
    assert found.sample is not None
    assert found.sample.equals(FRAME.head(3))
    assert seaweed.listing(ambient.bucket) == {}
    assert list_runs() == []
    run = deliver(connection, run_id="r-1", progress=False)
    assert tuple(file.path for file in run.files) == found.preview.files


def test_hooks_are_told(ambient: Writer, tmp_path: Path) -> None:
    """A command gets the record on its input, a function as it is; one that fails changes nothing."""
    hooks = """
[hooks]
on_success = ["sh", "-c", "cat > $MC_SINK_STATUS.json; exit 3"]
on_failure = "hooks_of_tests:notified"
"""
    (tmp_path / "hooks_of_tests.py").write_text("RUNS = []\nnotified = RUNS.append\n", encoding="utf-8")
    run = deliver(to_bucket(tmp_path, ambient, hooks), progress=False)
    assert run.run_id in (tmp_path / "delivered.json").read_text(encoding="utf-8")
    broken = write_connection(tmp_path, ambient.target("p/"), hooks, 'files = "none/*.parquet"')
    with pytest.raises(ConfigurationError):
        deliver(load(broken), progress=False)
    output: list[Run] = find_named("hooks_of_tests:RUNS", tmp_path)
    assert [run.status for run in output] == ["failed"]


def test_a_command_gets_no_secret_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what it needs to run, the facts, and the variables that the connection names."""
    for name in ("AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "HTTPS_PROXY", "MC_SINK_TOKEN", "GITHUB_TOKEN", "PYTHONPATH"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("LC_TIME", "C")
    monkeypatch.setenv("PAGER_URL", "https://pager.example.com")
    hooks = """
[hooks]
on_success = ["sh", "-c", "env > environment.txt; echo printed; echo printed >&2; exit 0"]
environment = ["PAGER_URL", "NO_SUCH_VARIABLE"]
"""
    run = deliver(load(write_connection(tmp_path, "out/", hooks)), progress=False)
    got = dict(line.split("=", 1) for line in (tmp_path / "environment.txt").read_text("utf-8").splitlines())
    assert "canary" not in got.values()
    assert got["PAGER_URL"] == "https://pager.example.com"
    assert got["MC_SINK_RUN_ID"] == run.run_id
    assert (got["PATH"], got["LC_TIME"]) == (os.environ["PATH"], "C")
    assert set(got) <= {
        *PASSED_ON,
        *("LC_TIME", "LC_ALL", "LC_CTYPE", "PAGER_URL", "MC_SINK_RUN_ID", "MC_SINK_CONNECTION", "MC_SINK_STATUS"),
        *("PWD", "OLDPWD", "SHLVL", "_"),  # the shell's own
    }


def test_what_a_command_leaves_running_is_not_waited_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A hook that ends while a child of it goes on has ended; what it printed is shown, control characters escaped."""
    hooks = '[hooks]\non_success = ["sh", "-c", "printf \'\\\\033[2Jshown\'; sleep 30 &"]'
    began = time.monotonic()
    deliver(load(write_connection(tmp_path, "out/", hooks)), progress=False)
    assert time.monotonic() - began < 25
    assert "\\x1b[2Jshown" in capfd.readouterr().err


def test_entry_points_are_told(
    ambient: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An installed entry point is called with the runs of every connection; a broken one is a warning."""
    installed = tmp_path / "site" / "alerts_of_tests-1.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: alerts-of-tests\nVersion: 1.0\n", encoding="utf-8"
    )
    points = "[mc_sink.on_success]\ngood = alerts_of_tests:notified\nbad = alerts_of_tests:nothing\n"
    (installed / "entry_points.txt").write_text(points, encoding="utf-8")
    (tmp_path / "site" / "alerts_of_tests.py").write_text("RUNS = []\nnotified = RUNS.append\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "site")
    run = deliver(to_bucket(tmp_path, ambient), progress=False)
    (output,) = sys.modules["alerts_of_tests"].RUNS
    assert output == run
    assert "The hook on_success (bad) failed: AttributeError." in caplog.text


def test_spans_and_counters(ambient: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where OpenTelemetry is set up, a run is a span with rows and status, and counts; an error's text is in none."""
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from mc_sink.connector import connections as _telemetry

    spans, reader, tracers = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    meters = MeterProvider([reader])
    monkeypatch.setattr(trace, "get_tracer", tracers.get_tracer)
    monkeypatch.setattr(metrics, "get_meter", meters.get_meter)
    _telemetry._instruments.cache_clear()  # noqa: SLF001  of another test's meter
    deliver(to_bucket(tmp_path, ambient), progress=False)
    broken = write_connection(tmp_path, ambient.target("p/"), source='function = "sources_of_tests:broken"')
    with pytest.raises(Exception, match="cell-4711"):
        deliver(load(broken), progress=False)
    _telemetry._instruments.cache_clear()  # noqa: SLF001  the next test's is another
    done, failed = spans.get_finished_spans()
    assert done.attributes is not None
    assert done.attributes["mc_sink.num_rows"] == FRAME.height
    assert failed.status.description == "polars.exceptions.InvalidOperationError"
    data = reader.get_metrics_data()
    assert data is not None
    output = data.to_json() + failed.to_json()
    assert "mc_sink.runs" in output
    assert "4711" not in output
