"""Metrics of the runs of this machine, as Prometheus reads them."""

from __future__ import annotations

import stat
import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mc_sink import ConfigurationError, UploadError
from mc_sink.connector import deliver, load
from mc_sink.connector.history import Beginning, begin, list_runs, pause
from mc_sink.connector.metrics import metrics_text, serve_metrics, write_metrics
from tests.support.connection_files import start_command, wait_until, write_connection

if TYPE_CHECKING:
    from pathlib import Path

KEY, CELL = "wJalrXUtnFEMI", "cell-4711"


def samples(text: str) -> dict[tuple[str, str], float]:
    """Return the values by metric and connection, or by metric and status."""
    return {
        (sample.name, sample.labels.get("status", sample.labels["connection"])): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_connection_in_numbers(tmp_path: Path) -> None:
    """Its last success, what that delivered, and what has failed since; neither cells, targets nor errors."""
    file = write_connection(tmp_path, str(tmp_path / "out") + "/")
    run = deliver(load(file), trigger="schedule")
    facts = Beginning(run_id="r", connection="nightly", target=f"s3://{KEY}/", file=str(file), trigger="schedule")
    begin(facts).failed(ValueError(CELL))
    begin(Beginning(run_id="s", connection="other\n\x1b[31m", target="t")).failed(ValueError(CELL))
    pause(str(file))
    text = metrics_text()
    found = samples(text)
    assert found["mc_sink_last_success_rows", "nightly"] == 60
    assert found["mc_sink_last_success_bytes", "nightly"] == run.num_bytes
    assert found["mc_sink_last_success_rejects", "nightly"] == 0
    assert 0 <= found["mc_sink_last_success_age_seconds", "nightly"] < 60
    assert run.ended_at is not None
    assert found["mc_sink_last_success_timestamp_seconds", "nightly"] == pytest.approx(run.ended_at.timestamp())
    assert found["mc_sink_last_success_duration_seconds", "nightly"] > 0
    assert found["mc_sink_last_run_ok", "nightly"] == 0
    assert found["mc_sink_failures_in_a_row", "nightly"] == 1
    assert found["mc_sink_paused", "nightly"] == 1
    assert found["mc_sink_runs", "delivered"] == 1
    assert not any(word in text for word in (KEY, CELL, "\x1b"))
    assert [name for name, one in found if one.startswith("other") and "success" in name] == []


def test_the_file_is_replaced_and_readable_by_a_collector(tmp_path: Path) -> None:
    """Any user may read it, and no other file is left; a folder that is missing is named."""
    begin(Beginning(run_id="r", connection="nightly", target="t")).failed(ValueError())
    file = tmp_path / "m" / "mc_sink.prom"
    with pytest.raises(UploadError, match=r"mc_sink.prom can't be written: No such file or directory"):
        write_metrics(file)
    file.parent.mkdir()
    for _ in range(2):
        write_metrics(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert list(file.parent.iterdir()) == [file]
    assert samples(file.read_text(encoding="utf-8"))["mc_sink_last_run_ok", "nightly"] == 0


def test_the_port_answers_with_the_state_of_now() -> None:
    """Each request reads the history; a port that is taken is named."""
    with serve_metrics(0) as port:
        for number in range(2):
            begin(Beginning(run_id=f"r-{number}", connection="nightly", target="t")).failed(ValueError())
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as reply:
                assert samples(reply.read().decode())["mc_sink_runs", "failed"] == number + 1
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}: Address already in use"), serve_metrics(port):
            pass


def test_metrics_that_can_not_be_written_end_no_schedule(tmp_path: Path) -> None:
    """The scheduler writes them after each run, and logs where it can't."""
    file = write_connection(tmp_path, str(tmp_path / "out") + "/", '[schedule]\nevery = "1s"')
    folder = tmp_path / "metrics"
    folder.mkdir()
    written = folder / "mc_sink.prom"
    scheduler = start_command("schedule", file, "--metrics-file", written)
    wait_until(lambda: written.exists() and "mc_sink_last_success_rows{" in written.read_text("utf-8"), scheduler)
    written.unlink()
    folder.rmdir()
    number = len(list_runs(status="delivered"))
    wait_until(lambda: len(list_runs(status="delivered")) > number + 1, scheduler)
    scheduler.terminate()
    err = scheduler.communicate(timeout=60)[1]
    assert scheduler.returncode == 0
    assert f"The metrics at {written} can't be written" in err
