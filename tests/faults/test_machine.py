"""What machines do to a delivery: forks, used-up descriptors, memory and disks, clocks that jump, signals that kill."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pandera.polars as pa
import polars as pl
import pytest

import mc_sink
from mc_sink import SinkError, UploadError
from tests.servers.faults import FOREVER, Call, Reset, Status
from tests.support import child_deliveries
from tests.support.frames import FORMATS, SMALL_PARTS, numbers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.fault import FaultServer

# In seconds: less than the two read timeouts after which a child leaves a silent store.
IN_TIME = 30.0
# Starting Python and its libraries takes seconds where the machine is busy.
BOUND = 120.0
ROWS = child_deliveries.ROWS
FORKED = """
import os, sys, time
import polars as pl

if sys.argv[1] == "after a look at the columns":
    import mc_sink
    pl.LazyFrame({"n": range(9)}).collect_schema()
else:
    pl.DataFrame({"n": [2, 1]}).sort("n")
time.sleep(0.2)  # new threads get their names a little later
if child := os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
import mc_sink, mc_sink._runtime.fork_guard
mc_sink._runtime.fork_guard.PATIENCE_SECONDS = 1.0
try:
    mc_sink.sink_madconnect(pl.LazyFrame({"n": range(9)}), sys.argv[2])
except mc_sink.ConfigurationError as error:
    print(error)
"""
CLOCK = r"""
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
long shift = 0;
int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (clock == CLOCK_REALTIME && result == 0) now->tv_sec += shift;
    return result;
}
"""
SHIFTED = """
import ctypes, json, sys, time
import mc_sink
from tests.support.child_deliveries import stored_at
from tests.support.frames import numbers

shift, begun, began = ctypes.c_long.in_dll(ctypes.CDLL(None), "shift"), time.time(), time.monotonic()

def source():
    for number in range(6):
        if number == 3:
            shift.value = int(sys.argv[2])
        yield numbers(50_000)

receipt = mc_sink.sink_madconnect(source(), "s3://bucket/p/", **stored_at(sys.argv[1]))
times = [receipt.elapsed.total_seconds(), time.monotonic() - began, time.time() - begun]
print(json.dumps([receipt.run_id, receipt.verify().ok, *times]))
"""


def ended(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a child's end, but not for ever, and give its exit code, output and errors."""
    with child:
        try:
            out, errors = child.communicate(timeout=BOUND)
        finally:
            child.kill()
    return child.returncode, out, errors


def test_a_fork_before_the_first_query_delivers(fault_s3: FaultServer) -> None:
    """A child that was forked while Polars had only been imported works like any interpreter."""
    code, out, errors = ended(child_deliveries.start("forked_at_first", fault_s3.url, "csv.gz"))
    assert (code, out) == (0, f"{ROWS}\ndelivered\n"), errors
    assert list(fault_s3.listing(fault_s3.bucket)) == ["p/x.csv.gz"]


def test_a_fork_after_a_query_is_refused(fault_s3: FaultServer) -> None:
    """Where a delivery would wait for ever for threads that are not there, it is an error that says what to do."""
    code, out, errors = ended(child_deliveries.start("forked_after_query", fault_s3.url, "parquet"))
    assert code == 0, errors
    assert out.startswith("ConfigurationError/SinkError/ValueError/")
    assert "spawn" in out
    assert "Nothing became visible" in out
    assert fault_s3.log.ops() == []


def test_a_fork_of_a_fork_that_delivered_is_refused(tmp_path: Path) -> None:
    """A child of a process that delivered is refused at once, without waiting for an answer."""
    code, out, errors = ended(child_deliveries.start("forked_twice", tmp_path, "parquet"))
    assert code == 0, errors
    assert out.startswith("ConfigurationError/")
    assert out.endswith("\ndelivered\n")
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


@pytest.mark.parametrize("when", ["before the import", "after a look at the columns"])
def test_a_fork_that_may_have_lost_its_engine_is_refused(tmp_path: Path, when: str) -> None:
    """Where the fork was not seen, or only some of Polars' threads ran before it, a small query decides."""
    code, out, errors = ended(child_deliveries.start_python("-c", FORKED, when, f"{tmp_path}/x.csv"))
    assert code == 0, errors
    assert "spawn" in out
    assert list(tmp_path.iterdir()) == []


def test_threads_of_another_library_are_no_reason_to_refuse(tmp_path: Path) -> None:
    """The names of threads decide nothing: the engine itself is asked."""
    code, out, errors = ended(child_deliveries.start("forked_beside_another_library", tmp_path, "csv"))
    assert (code, out) == (0, f"{ROWS}\ndelivered\n"), errors


def test_what_is_staged_can_be_published_after_a_fork(fault_s3: FaultServer) -> None:
    """Publishing runs no query, so the child of any fork may do it."""
    code, out, errors = ended(child_deliveries.start("forked_to_publish", fault_s3.url, "csv"))
    assert (code, out) == (0, f"{ROWS}\ndelivered\n"), errors
    assert list(fault_s3.listing(fault_s3.bucket)) == ["p/x.csv"]


def test_forks_in_mid_delivery_do_it_no_harm(fault_s3: FaultServer) -> None:
    """Children that are forked while a delivery runs, from its source too, end in order, and the delivery is whole."""
    code, out, errors = ended(child_deliveries.start("forking_meanwhile", fault_s3.url, "csv.gz"))
    assert (code, out, errors) == (0, f"{ROWS}\n", "")
    assert list(fault_s3.listing(fault_s3.bucket)) == ["p/x.csv.gz"]


def test_without_descriptors_nothing_is_delivered(fault_s3: FaultServer) -> None:
    """With no file descriptor left it is an error at once, and with enough of them the same interpreter delivers."""
    code, out, errors = ended(child_deliveries.start("without_descriptors", fault_s3.url, "csv"))
    assert code == 0, errors
    first, second = out.splitlines()
    assert "SinkError/" in first or first.startswith("OSError/")
    assert "Too many open files" in first
    assert second == "delivered"


@pytest.mark.parametrize("place", ["a bucket", "a folder"])
def test_descriptors_that_run_out_end_the_delivery(fault_s3: FaultServer, tmp_path: Path, place: str) -> None:
    """A lost connection that can't be replaced, or a journal that can't be written, is an error that says why."""
    fault_s3.fault("Part", Reset(), n=2)
    code, out, errors = ended(
        child_deliveries.start("losing_descriptors", fault_s3.url if place == "a bucket" else tmp_path, "csv")
    )
    assert code == 0, errors
    assert out.startswith("UploadError/SinkError/OSError/")
    assert "open files" in out
    assert "Nothing became visible" in out
    assert fault_s3.listing(fault_s3.bucket) == {}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_out_of_memory_shows_nothing(fault_s3: FaultServer, format: str) -> None:
    """However the query dies when the system gives it no more memory, it ends, and nothing is visible."""
    code, out, errors = ended(child_deliveries.start("losing_memory", fault_s3.url, format))
    # Rust aborts; the code that then prints the threads may find no memory either, and ends in another signal.
    died = code in {-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS}
    assert died or "Error" in out or "Exception" in out, (code, errors)
    assert "delivered" not in out
    assert fault_s3.listing(fault_s3.bucket) == {}
    assert fault_s3.log.of("Complete", "Put") == []


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Limit the size of files, in bytes; the write that would pass it fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_the_disk_does_not_take_is_an_upload_error(tmp_path: Path, format: str) -> None:
    """The hidden file goes, and the message says which file, why, and that nothing became visible."""
    target = tmp_path / f"x.{format}"
    with files_of_at_most(200_000), pytest.raises(UploadError) as raised:
        mc_sink.sink_madconnect(numbers(ROWS), target)
    assert all(word in str(raised.value) for word in (str(target), "too large", "Nothing became visible"))
    assert list(tmp_path.iterdir()) == []


def test_rejects_that_the_disk_does_not_take_end_the_delivery(fault_s3: FaultServer, tmp_path: Path) -> None:
    """Rejected rows wait on the local disk; where it is full, nothing of the rest is shown either."""
    schema = pa.DataFrameSchema({"day": pa.Column(pl.Int8, pa.Check.lt(3))})
    with files_of_at_most(200_000), pytest.raises(OSError, match="too large") as raised:
        mc_sink.sink_madconnect(
            numbers(ROWS),
            fault_s3.writer.target("p/x.csv"),
            schema=schema,
            on_invalid="reject",
            rejects=tmp_path / "rejected.csv",
            storage_options=fault_s3.storage_options | SMALL_PARTS,
        )
    assert "Nothing became visible" in "\n".join([str(raised.value), *getattr(raised.value, "__notes__", ())])
    assert list(tmp_path.iterdir()) == []
    assert fault_s3.listing(fault_s3.bucket) == {}
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> tuple[str, ...]:
    """Return the command under which `tmp_path` is a disk of 1 MiB, for one child and as long as it lives."""
    under = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=1m none "$0" && exec "$@"', str(tmp_path))
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here, so no small disk")
    tried = subprocess.run([*under, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no small disk can be mounted here: {tried.stderr.strip()}")
    return under


def test_a_disk_that_fills_up_is_an_upload_error(tmp_path: Path, small_disk: tuple[str, ...]) -> None:
    """The message names the lack of space, and what was written has gone."""
    code, out, errors = ended(child_deliveries.start("filling", tmp_path, "csv.gz", under=small_disk))
    assert code == 0, errors
    assert out.startswith("UploadError/SinkError/OSError/")
    assert "No space left on device" in out
    assert out.endswith("\n[]\n")


def test_a_disk_that_rejects_fill_up_ends_the_delivery(
    fault_s3: FaultServer, tmp_path: Path, small_disk: tuple[str, ...]
) -> None:
    """What was staged in the bucket is thrown away with the rejects that had no space."""
    child = child_deliveries.start("filling_with_rejects", fault_s3.url, "csv", tmp_path, under=small_disk)
    code, out, errors = ended(child)
    assert code == 0, errors
    assert out.startswith("UploadError/SinkError/OSError/")
    assert "No space left on device" in out
    assert out.endswith("\n[]\n")
    assert fault_s3.listing(fault_s3.bucket) == {}
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


@pytest.fixture
def clock(tmp_path: Path) -> tuple[str, ...]:
    """Return the command under which a child's clock can be set, and no other one's."""
    compiler, library = shutil.which("cc"), tmp_path / "clock.so"
    if compiler is None or sys.platform != "linux":
        pytest.skip("a clock of one's own needs Linux and a C compiler")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, "-x", "c", "-"], input=CLOCK, text=True, check=True)
    return ("env", f"LD_PRELOAD={library}")


@pytest.mark.parametrize("shift", [-3600, 3600], ids=["back", "forward"])
def test_a_clock_that_jumps_changes_nothing(fault_s3: FaultServer, clock: tuple[str, ...], shift: int) -> None:
    """Retries wait as ever, the time taken is the time that passed, and the names are those of the beginning."""
    fault_s3.fault("Part", Status(503, "SlowDown"), n=2, times=2)
    begun = datetime.now(UTC)
    code, out, errors = ended(child_deliveries.start_python("-c", SHIFTED, fault_s3.url, str(shift), under=clock))
    assert code == 0, errors
    run_id, verified, elapsed, passed, shown = json.loads(out)
    assert abs(shown - passed - shift) < BOUND
    assert 0 <= elapsed <= passed
    named = datetime.strptime(f"{run_id[:16]}+0000", "%Y%m%dT%H%M%SZ%z")
    assert abs((named - begun).total_seconds()) < BOUND
    assert list(fault_s3.listing(fault_s3.bucket)) == [f"p/{run_id}.csv"]
    assert verified


def test_a_clock_that_is_off_is_named(fault_s3: FaultServer) -> None:
    """A clock that is off is named, and isn't tried again."""
    fault_s3.fault("Part", Status(403, "RequestTimeTooSkewed"), n=2, times=FOREVER)
    with pytest.raises(SinkError, match="clock") as raised:
        mc_sink.sink_madconnect(
            numbers(ROWS), fault_s3.writer.target("p/x.csv"), storage_options=fault_s3.storage_options | SMALL_PARTS
        )
    assert "Nothing became visible" in str(raised.value)
    assert fault_s3.listing(fault_s3.bucket) == {}
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


@pytest.mark.parametrize(
    ("sent", "format"), [(signal.SIGTERM, "csv"), (signal.SIGKILL, "csv.gz"), (signal.SIGHUP, "parquet")]
)
def test_a_process_that_is_killed_leaves_nothing_visible(
    fault_s3: FaultServer, sent: signal.Signals, format: str
) -> None:
    """A signal that Python never hears of ends it in mid-upload; the same key can be delivered to at once."""
    child = child_deliveries.start("killed", fault_s3.url, format)
    fault_s3.fault("Part", Call(lambda _: child.send_signal(sent)), n=2)
    code, _, errors = ended(child)
    assert code == -sent, errors
    assert fault_s3.log.of("Complete", "Put") == []
    assert fault_s3.listing(fault_s3.bucket) == {}
    mc_sink.sink_madconnect(
        numbers(9), fault_s3.writer.target(f"p/x.{format}"), storage_options=fault_s3.storage_options
    )
    assert list(fault_s3.listing(fault_s3.bucket)) == [f"p/x.{format}"]


def test_ctrl_c_ends_an_upload_whose_source_blocks(fault_s3: FaultServer) -> None:
    """A source that never comes back is left behind, and what has gone up is thrown away all the same."""
    sent = threading.Event()
    fault_s3.fault("Part", Call(lambda _: sent.set()))
    child = child_deliveries.start("blocked", fault_s3.url, "csv")
    assert child.stdout is not None
    assert child.stdout.readline() == "blocked\n"
    assert sent.wait(BOUND)
    struck = time.monotonic()
    child.send_signal(signal.SIGINT)
    code, _, errors = ended(child)
    assert time.monotonic() - struck < IN_TIME
    assert code == -signal.SIGINT, errors
    assert "Fatal Python error" not in errors
    assert "Nothing became visible" in errors
    assert fault_s3.listing(fault_s3.bucket) == {}
    assert fault_s3.pending_uploads(fault_s3.bucket) == []
