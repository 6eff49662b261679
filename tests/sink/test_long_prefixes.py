"""A prefix with a long history: a run asks for its own files and records, in a bounded number of requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from pyrage.x25519 import Identity

import mc_sink
from mc_sink import AlreadyExistsError, CommitError
from mc_sink.storage import store
from mc_sink.storage.s3 import evidence
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Reset, Status
from tests.servers.wire import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Recorded
    from tests.servers.operations import Request

NUM_KEYS = 400_000
RUN = "20261122"
KEYS = [f"{number:03d}" for number in range(12)]
ROWS = pl.DataFrame({"k": KEYS, "x": range(12)})
FEWER = ROWS.head(11)
MANIFEST = f"p/_manifests/{RUN}.json"
# The whole prefix, and what a template begins with.
WHOLE = {"p/", "p/k="}
# Five pages to see that a prefix has more than 4,000 keys, twice: before the first byte, and before publishing.
SHORT_LISTINGS = 10


class LongHistory(FaultServer):
    """A bucket in which a listing of all of `p/` has 400,000 files of earlier runs, whose names end in `file`."""

    file, page_size = "20250101-00000.csv", 1_000

    def answer(self, request: Request, incoming: Any) -> Reply:
        """Answer a listing of the whole prefix with a page of its history."""
        if request.op != "List" or request.query.get("prefix") not in WHOLE:
            return super().answer(request, incoming)
        number = int(request.query.get("continuation-token", 0))
        about = (
            f"<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;{'0' * 32}&quot;</ETag><Size>1</Size>"
        )
        keys = (f"p/k={number:04d}-{one:04d}/{self.file}" for one in range(self.page_size))
        entries = "".join(f"<Contents><Key>{key}</Key>{about}</Contents>" for key in keys)
        follows = (number + 1) * self.page_size < NUM_KEYS
        more = f"<NextContinuationToken>{number + 1}</NextContinuationToken>" if follows else ""
        body = f"<ListBucketResult><Name>b</Name><IsTruncated>{str(follows).lower()}</IsTruncated>{more}{entries}"
        return Reply(200, f"{body}</ListBucketResult>".encode(), (("Content-Type", "application/xml"),))


class Layouts(LongHistory):
    """The same, in a layout whose names have no run id."""

    file = "data.csv"


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> Iterator[LongHistory]:
    """Yield a bucket with a long history, in pages of a tenth of the usual size, as is what may be listed of it."""
    monkeypatch.setattr(store, "FEW_KEYS", store.FEW_KEYS // 10)
    with LongHistory() as server:
        server.page_size //= 10
        yield server


@pytest.fixture
def another_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a function after which deliveries have the state folder of another machine."""
    return lambda: monkeypatch.setenv("MC_SINK_STATE_DIR", str(tmp_path / "another"))


def deliver(server: Any, rows: pl.DataFrame = ROWS, **how: Any) -> mc_sink.Receipt:
    """Deliver a file for each key, under one run id."""
    given: dict[str, Any] = {"partition_by": "k", "run_id": RUN, "format": "csv", "progress": False} | how
    writer = server.writer
    return mc_sink.sink_madconnect(rows, writer.target("p/"), storage_options=writer.storage_options, **given)


def lists(server: FaultServer, begin: int = 0) -> tuple[int, int]:
    """Return how many listings of the whole prefix were sent since a request, and how many others."""
    asked = [one for one in list(server.log)[begin:] if one.op == "List"]
    whole = sum(one.query.get("prefix") in WHOLE for one in asked)
    return whole, len(asked) - whole


def files(server: FaultServer) -> set[str]:
    """Return the keys of the bucket, without the records of attempts."""
    return {key for key in server.listing(server.bucket) if "/_begun/" not in key}


def half_publish(server: FaultServer) -> set[str]:
    """Deliver up to the 8th file, and return the keys that are visible."""
    server.fault("Complete", Status(403, "AccessDenied"), n=8, times=FOREVER)
    with pytest.raises(CommitError):
        deliver(server)
    server.heal()
    return files(server)


def test_a_run_and_its_reruns_list_no_history() -> None:
    """The first attempt and the rerun after a success: bounded by their own files, and the rerun sends nothing else."""
    with LongHistory() as history:
        _lists_no_history(history)


def _lists_no_history(history: LongHistory) -> None:
    assert deliver(history).num_found == 0
    whole, others = lists(history)
    assert whole <= SHORT_LISTINGS
    assert others <= 2 * len(KEYS) + 10  # one before each Complete, on a store that may ignore its condition
    begin = len(history.log)
    assert deliver(history).num_found == len(KEYS)
    whole, others = lists(history, begin)
    assert whole <= SHORT_LISTINGS
    assert others <= 3 * len(KEYS) + 10  # each file is looked for, and its ETag read
    assert {one.op for one in list(history.log)[begin:]} == {"List"}
    assert files(history) == {*(f"p/k={key}/{RUN}-00000.csv" for key in KEYS), MANIFEST}


def test_a_rerun_on_another_machine_publishes_the_rest(history: LongHistory, another_machine: Any) -> None:
    """It compares what is visible and publishes what isn't, without a listing of the history."""
    visible = half_publish(history)
    another_machine()
    begin = len(history.log)
    receipt = deliver(history)
    assert receipt.num_found == len(visible) > 0
    assert len(history.log) - begin <= SHORT_LISTINGS + 8 * len(KEYS)
    assert files(history) == {*(f"p/k={key}/{RUN}-00000.csv" for key in KEYS), MANIFEST}
    assert receipt.verify().ok


def test_an_encrypted_rerun_that_is_known_by_its_record_alone_is_refused(
    history: LongHistory, another_machine: Any
) -> None:
    """It can't compare, and can't know what is visible: the error says unknown, no row is read, and nothing changes."""
    encrypt = mc_sink.Age(recipients=[str(Identity.generate().to_public())])
    history.fault("Complete", Status(403, "AccessDenied"), n=8, times=FOREVER)
    with pytest.raises(CommitError):
        deliver(history, encrypt=encrypt)
    history.heal()
    visible = files(history)
    assert visible
    another_machine()
    begin = len(history.log)
    with pytest.raises(AlreadyExistsError, match="began to publish, and may have published files") as raised:
        deliver(history, encrypt=encrypt)
    assert raised.value.visible == "unknown"
    assert files(history) == visible
    assert {one.op for one in list(history.log)[begin:]} == {"List"}
    assert lists(history, begin)[0] <= SHORT_LISTINGS
    again = deliver(history, encrypt=encrypt, run_id="20261123")
    assert (again.num_files, again.num_found) == (len(KEYS), 0)


@pytest.mark.parametrize("rows", [FEWER, ROWS.tail(3), ROWS.head(0)], ids=["fewer", "few", "none"])
def test_other_files_on_another_machine_are_refused(
    history: LongHistory, another_machine: Any, rows: pl.DataFrame
) -> None:
    """An attempt that makes other files than one that began to publish is refused, and nothing changes."""
    visible = half_publish(history)
    another_machine()
    with pytest.raises(AlreadyExistsError, match=rf"began to publish other files.*_begun/{RUN}/.*Use a new run_id"):
        deliver(history, rows)
    assert lists(history)[0] <= 2 * SHORT_LISTINGS
    assert files(history) == visible
    assert deliver(history).num_found == len(visible)


def test_other_contents_of_a_visible_file_are_refused_first(history: LongHistory, another_machine: Any) -> None:
    """A file that differs is an error before any other becomes visible."""
    visible = half_publish(history)
    another_machine()
    with pytest.raises(AlreadyExistsError, match="differs from this attempt's"):
        deliver(history, ROWS.with_columns(x=pl.when(k="000").then(pl.lit(99)).otherwise("x")))
    assert files(history) == visible


def test_a_complete_run_refuses_fewer_files(history: LongHistory) -> None:
    """Where the manifest is visible, an attempt with fewer files is an error, and nothing changes."""
    deliver(history)
    before = files(history)
    with pytest.raises(AlreadyExistsError):
        deliver(history, FEWER)
    assert files(history) == before


def test_shares_list_no_history(history: LongHistory, another_machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second opening of a run compares what the first one's shares have made visible."""
    options, target = history.storage_options, history.writer.target("p/")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", options["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", options["secret"])
    how: dict[str, Any] = {"partition_by": "k", "run_id": RUN, "format": "csv"}
    how |= {"storage_options": {"endpoint_url": options["endpoint_url"]}}

    def publish() -> mc_sink.Receipt:
        delivery = mc_sink.open_delivery(target, ROWS.schema, **how)
        shares = [delivery.stage(ROWS[start : start + 6], number=start // 6) for start in (0, 6)]
        return delivery.publish(shares, num_shares=2)

    history.fault("Complete", Status(403, "AccessDenied"), n=8, times=FOREVER)
    with pytest.raises(CommitError):
        publish()
    history.heal()
    visible = files(history)
    another_machine()
    assert publish().num_found == len(visible) > 0
    assert lists(history)[0] <= 2 * SHORT_LISTINGS


def test_stale_files_end_the_search_at_once() -> None:
    """One page shows files of an earlier run that this one doesn't replace; what is replaced is looked at by itself."""
    layout: dict[str, Any] = {"name": "k={k}/data{ext}", "if_exists": "overwrite", "run_id": None}
    with Layouts() as server:
        with pytest.raises(AlreadyExistsError, match=r"(?s)at least 1,000 objects of an earlier run.*… and more"):
            deliver(server, **layout)
        assert lists(server)[0] <= 2
        assert files(server) == set()
        receipt = deliver(server, **layout, stale="keep")
        assert len(receipt.stale) == 10_000
        assert lists(server)[0] <= 20
        assert receipt.num_files == len(KEYS)


def test_a_history_that_has_to_be_listed_ends_at_a_stated_number_of_pages(
    history: LongHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run without a manifest has no records either: the error says what to do, before the first byte."""
    monkeypatch.setattr(evidence, "_MOST_PAGES", 20)
    with pytest.raises(mc_sink.UploadError, match=r"too many objects.*prefix, or with a manifest.*Nothing became vis"):
        deliver(history, manifest=False)
    assert lists(history) == (20, 0)


def test_a_record_is_found_on_a_real_store(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch, another_machine: Any
) -> None:
    """On SeaweedFS: more keys than are listed, a run, its rerun, and an attempt with other files."""
    monkeypatch.setattr(store, "FEW_KEYS", 10)
    deliver(recorded, run_id="20250101")
    receipt = deliver(recorded)
    another_machine()
    again = deliver(recorded)
    assert again.num_found == receipt.num_files == len(KEYS)
    assert again.verify().ok
    with pytest.raises(AlreadyExistsError):
        deliver(recorded, FEWER)
    keys = recorded.server.listing(recorded.writer.bucket)
    assert sum(key.startswith(f"p/_begun/{RUN}/") for key in keys) == 1
    assert len(keys) == 2 * (len(KEYS) + 2)


ANYWHERE: dict[str, tuple[dict[str, Any], bool]] = {
    "folders": ({}, True),
    "a template that begins with a column": ({"name": "{k}/{run_id}{ext}"}, True),
    "a template that begins with the run id": ({"name": "{run_id}/{k}{ext}"}, False),
    "no partitions": ({"partition_by": None, "max_rows_per_file": 5}, False),
    "no partitions, and the number first": (
        {"partition_by": None, "max_rows_per_file": 5, "name": "{part}-{run_id}{ext}"},
        False,
    ),
    "no manifest": ({"manifest": False}, False),
    "a new run id": ({"run_id": None}, False),
    "overwriting": ({"if_exists": "overwrite"}, False),
}


@pytest.mark.parametrize(("how", "has_record"), ANYWHERE.values(), ids=ANYWHERE)
def test_a_record_is_left_only_where_files_may_be_anywhere(
    fault_s3: FaultServer, how: dict[str, Any], *, has_record: bool
) -> None:
    """And nothing else is in its folder; it is empty, and there before the first file."""
    fault_s3.fault("Complete", Status(403, "AccessDenied"), times=FOREVER)
    fault_s3.fault("Put", Status(403, "AccessDenied"), n=2, times=FOREVER)
    with pytest.raises(mc_sink.PermissionDenied, match="Nothing became visible"):
        deliver(fault_s3, **how)
    records = [key for key in fault_s3.listing(fault_s3.bucket) if key.startswith(f"p/_begun/{RUN}/")]
    assert len(records) == len(fault_s3.listing(fault_s3.bucket)) == has_record
    assert all(fault_s3.read(fault_s3.bucket, key) == b"" for key in records)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_record_whose_reply_is_lost_costs_nothing(fault_s3: FaultServer, when: Any) -> None:
    """It is sent again, and one of the two is there."""
    fault_s3.fault("Put", Reset(), when=when)
    assert deliver(fault_s3).verify().ok
    assert len(fault_s3.listing(fault_s3.bucket)) == len(KEYS) + 2


def test_a_record_that_is_refused_ends_the_run_before_its_first_file(fault_s3: FaultServer) -> None:
    """Nothing is visible, no journal waits, and a rerun delivers."""
    fault_s3.fault("Put", Status(403, "AccessDenied"))
    with pytest.raises(mc_sink.PermissionDenied, match=r"s3:PutObject at .*/_begun/.*Nothing became visible"):
        deliver(fault_s3)
    assert fault_s3.listing(fault_s3.bucket) == {}
    assert mc_sink.list_journals() == []
    assert deliver(fault_s3).num_found == 0
