"""One delivery in shares: staged apart, judged together, and published once."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
import traceback
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest
from pyarrow import Table, int64, string
from pyarrow import schema as columns_of_arrow

import mc_sink
from mc_sink import AlreadyExistsError, CommitError, ConfigurationError, Delivery, Share, UploadError, ValidationError
from mc_sink.sandbox.admin import Credentials
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Reset, Status
from tests.servers.rules import GRANTED
from tests.support.canary import KEY, SECRET, TOKEN, found_in
from tests.support.frames import read_back
from tests.support.shared_deliveries import FRAME, open_on, parts_of, stage_all, stage_there
from tests.support.small_deliveries import MANIFEST, RUN, TINY, assert_delivered_once, data_files, seen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Recorded

SMALL = pa.DataFrameSchema({"id": pa.Column(pl.Int64, pa.Check.lt(50))}, strict=False, name="small")
ONCE = pa.DataFrameSchema({"id": pa.Column(pl.Int64, unique=True)}, strict=False, name="once")
FORMAT = "parquet"


def publish(delivery: Delivery, shares: list[Share]) -> mc_sink.Receipt:
    """Publish all of them."""
    return delivery.publish(shares, num_shares=len(shares))


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    """Yield processes that share nothing with this one."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        yield pool


def test_shares_of_other_processes_are_one_delivery(
    workers: ProcessPoolExecutor, recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a real server, with nothing but pickles in between, in any order, and with three permissions."""
    writer = recorded.writer
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", writer.credentials.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", writer.credentials.secret)
    delivery = open_on(writer, part_size=0, credentials=None, format=FORMAT)
    bounds = [(40, 60, 2), (0, 20, 0), (60, 60, 3), (20, 40, 1)]
    packed = pickle.dumps(delivery)
    futures = [workers.submit(stage_there, packed, *one) for one in bounds]
    messages = [future.result() for future in futures]
    assert max(map(len, [packed, *messages])) < 4096
    assert not recorded.server.listing(writer.bucket)
    receipt = delivery.publish([pickle.loads(one) for one in messages], num_shares=4)  # noqa: S301  our own
    assert [file.path for file in receipt.files] == [
        writer.target(f"p/{RUN}-s{number:05d}-00000.parquet") for number in range(3)
    ]
    assert (receipt.num_rows, receipt.sweep is not None, receipt.verify().ok) == (60, True, True)
    with recorded.server.client() as s3:
        read = [
            s3.get_object(Bucket=writer.bucket, Key=file.path.split("/", 3)[3])["Body"].read() for file in receipt.files
        ]
        facts = json.loads(s3.get_object(Bucket=writer.bucket, Key=MANIFEST)["Body"].read())
    assert pl.concat(read_back(one, FORMAT, tmp_path) for one in read).equals(FRAME)
    assert (facts["num_shares"], facts["num_rows"], len(facts["files"])) == (4, 60, 3)
    assert recorded.server.pending_uploads(writer.bucket) == []
    assert [one.op for one in recorded.proxy.log.forbidden() if one.op != "ListUploads"] == []


@pytest.mark.parametrize("format", ["csv", "csv.gz", "parquet"])
def test_json_carries_a_delivery_and_its_shares(server: FaultServer, tmp_path: Path, format: str) -> None:
    """A scheduler that passes text between its tasks gets the same delivery; every file is a multipart upload."""
    made = mc_sink.Csv(separator=";", compression="gzip") if format == "csv.gz" else format
    options = mc_sink.ObjectOptions(tags={"a": "b"}, storage_class="STANDARD_IA")
    server.rules = replace(server.rules, granted=GRANTED | {"PutTagging"})
    delivery = open_on(server, format=made, object_options=options, max_rows_per_file=10)
    again = Delivery.from_json(delivery.to_json())
    assert again == delivery
    shares = [Share.from_json(one.to_json()) for one in stage_all(again)]
    assert {type(file.upload).__name__ for share in shares for file in share.files} == {"Multipart"}
    receipt = publish(again, shares)
    assert receipt.num_files == 6
    if format != "csv.gz":
        assert_delivered_once(server, FRAME, format, tmp_path)


def test_other_text_is_refused() -> None:
    """Neither is read from what isn't its own."""
    for kind in (Delivery, Share):
        for text in ("", "{}", "[1]", '{"number": 1}'):
            with pytest.raises(ConfigurationError, match="of the same version"):
                kind.from_json(text)


DAMAGED: dict[str, Any] = {
    "an endless time": lambda facts: facts | {"took": float("inf")},
    "a number that no column holds": lambda facts: (
        facts | {"failure": facts["failure"] | {"checks": [["a", "b", 2**70, None]]}}
    ),
    "a failure of no kind": lambda facts: (
        facts | {"failure": facts["failure"] | {"kind": "SinkError", "message": None}}
    ),
    "options in a list": lambda facts: facts | {"options": []},
    "another value of an option": lambda facts: facts | {"options": facts["options"] | {"max_rows_per_file": "x"}},
    "damaged columns": lambda facts: facts | {"columns": facts["columns"][:40] + "AAAA" + facts["columns"][44:]},
    "a field too few": lambda facts: {name: facts[name] for name in facts if name != "host"},
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_text_is_refused(server: FaultServer, damage: Any) -> None:
    """Neither a share nor a delivery is made of it, and no other error comes of it."""
    delivery = open_on(server, schema=SMALL, format=FORMAT)
    failed = delivery.stage(FRAME, number=0)
    travelling = open_on(server, max_rows_per_file=10, format=FORMAT)
    refused = 0
    for kind, text in ((Share, failed.to_json()), (Delivery, travelling.to_json())):
        facts = json.loads(text)
        with suppress(KeyError):  # of the other kind
            damaged = json.dumps(damage(facts))
            with pytest.raises(ConfigurationError):
                kind.from_json(damaged)
            refused += 1
        with pytest.raises(ConfigurationError, match="of the same version"):
            kind.from_json(text.replace('"host":', '"host":' + "[" * 5_000))
    assert refused


WRONG: dict[str, tuple[Any, int, str]] = {
    "missing": (lambda shares: shares[:1] + shares[2:], 3, r"1 share of 3 is missing: 1\."),
    "missing at the end": (lambda shares: shares[:2], 3, r"1 share of 3 is missing: 2\."),
    "doubled": (lambda shares: [*shares, shares[1]], 3, r"Share 1 was given 2 times"),
    "another number": (lambda shares: shares, 2, r"Share 2 is not one of num_shares=2"),
    "none": (lambda _: [], 0, r"num_shares=0 is too small"),
}


@pytest.mark.parametrize(("taken", "number", "expected"), WRONG.values(), ids=WRONG)
def test_shares_must_be_there_once_each(server: FaultServer, taken: Any, number: int, expected: str) -> None:
    """Nothing is visible before; with the right ones, all is."""
    delivery = open_on(server, format=FORMAT)
    shares = stage_all(delivery)
    with pytest.raises(ConfigurationError, match=expected):
        delivery.publish(taken(shares), num_shares=number)
    assert seen(server) == {}
    assert publish(delivery, shares).num_rows == 60


def test_a_share_of_another_delivery_is_refused(server: FaultServer) -> None:
    """Also of one under the same run id."""
    first, second = open_on(server), open_on(server)
    foreign = second.stage(FRAME, number=1)
    with pytest.raises(ConfigurationError, match="1 share belongs to another delivery, such as share 1"):
        publish(first, [first.stage(FRAME, number=0), foreign])
    assert seen(server) == {}


def test_verdicts_of_all_shares_are_one_report(server: FaultServer) -> None:
    """With the share and the row of each failure, and exact counts; nothing is left in the store."""
    delivery = open_on(server, schema=SMALL)
    bad = FRAME.with_columns(id=pl.col("id") + 48)
    shares = [
        delivery.stage(part, number=number) for number, part in enumerate([FRAME[:10], bad[:5], bad[10:13], bad[:3]])
    ]
    assert [type(share.failure).__name__ for share in shares] == ["NoneType", *["ValidationError"] * 3]
    with pytest.raises(ValidationError, match=r"3 shares failed 1 check of schema 'small'") as raised:
        publish(delivery, shares)
    assert raised.value.failure_cases is not None
    assert raised.value.checks is not None
    assert raised.value.failure_cases.select("share", "row").rows() == [
        *((1, row) for row in (2, 3, 4)),
        *((2, row) for row in (0, 1, 2)),
        (3, 2),
    ]
    assert raised.value.checks.select("share", "failures").rows() == [(1, 3), (2, 3), (3, 1)]
    assert delivery.discard(shares) == []
    assert (seen(server), server.pending_uploads(server.bucket)) == ({}, [])


def test_a_verdict_is_no_exception_and_a_passing_failure_is_one(server: FaultServer) -> None:
    """What no retry can change comes back, so that no scheduler retries it; the source's own error is raised."""
    delivery = open_on(server, format=FORMAT, schema=SMALL)
    server.fault("Create", Status(403, "AccessDenied"), times=FOREVER)
    denied = delivery.stage(FRAME[:20], number=0)
    assert isinstance(denied.failure, mc_sink.PermissionDenied)
    assert denied.failure.action == "s3:PutObject"
    server.heal()
    with pytest.raises(RuntimeError, match="lost"):
        delivery.stage((_failing(part) for part in parts_of(FRAME[:40], 4)), number=1)
    server.fault("Part", Reset(), times=FOREVER)
    with pytest.raises(UploadError):
        replace(delivery, store_options={**delivery.store_options, "config_kwargs": {"read_timeout": 0.3}}).stage(
            FRAME[:20], number=1
        )
    server.heal()
    other = delivery.stage(FRAME.rename({"id": "other"})[:5], number=2)
    assert isinstance(other.failure, ConfigurationError)
    assert "'id' is None, was Int64" in str(other.failure)
    with pytest.raises(mc_sink.PermissionDenied) as raised:
        publish(delivery, [denied, delivery.stage(FRAME[:20], number=1), other])
    assert len(server.pending_uploads(server.bucket)) == 1  # of share 1 alone
    assert any("share 2" in note for note in raised.value.__notes__)
    assert seen(server) == {}


def _failing(part: pl.DataFrame) -> pl.DataFrame:
    """Return the part, and raise at the third."""
    if part["id"][0] == 20:
        raise RuntimeError("the worker was lost")
    return part


def test_rejects_are_judged_over_all_shares(server: FaultServer, tmp_path: Path) -> None:
    """Two shares within the bound exceed it together; each row has its share and its number in it."""
    how: dict[str, Any] = {"schema": SMALL, "on_invalid": "reject", "rejects": server.writer.target("bad/")}
    bad = pl.concat([FRAME[:9], FRAME[55:56]])
    strict = open_on(server, max_rejects=1, format=FORMAT, **how)
    shares = [strict.stage(bad, number=0), strict.stage(bad, number=1)]
    assert [share.failure for share in shares] == [None, None]
    with pytest.raises(ValidationError, match=r"2 of 20 rows were rejected, more than max_rejects=1") as raised:
        publish(strict, shares)
    assert raised.value.failure_cases is not None
    assert raised.value.failure_cases.select("share", "row").rows() == [(0, 9), (1, 9)]
    assert strict.discard(shares) == []
    assert (seen(server), seen(server, "bad/"), server.pending_uploads(server.bucket)) == ({}, {}, [])
    delivery = open_on(server, max_rejects=0.15, format=FORMAT, **how)
    receipt = publish(delivery, [delivery.stage(bad, number=0), delivery.stage(FRAME[:10], number=1)])
    assert receipt.rejects is not None
    assert (receipt.num_rows, receipt.rejects.num_rows, receipt.validated) == (19, 1, True)
    (key,) = seen(server, "bad/")
    assert key == f"bad/{RUN}.rejects-00000.parquet"
    found = read_back(server.read(server.bucket, key), FORMAT, tmp_path)
    assert found.select("share", "row", "id").rows() == [(0, 9, 55)]


def test_a_share_holds_no_bytes_of_rejected_rows(server: FaultServer) -> None:
    """The rejected rows of a share are fewer than a part, and are uploaded all the same: a share is a small message."""
    how: dict[str, Any] = {"schema": SMALL, "on_invalid": "reject", "rejects": server.writer.target("bad/")}
    delivery = open_on(server, part_size=0, format="csv", **how)
    few = delivery.stage(FRAME[:52], number=0)
    many = delivery.stage(pl.concat([FRAME[50:]] * 2_000), number=1)
    assert many.num_rejected == 20_000
    assert len(many.to_json()) - len(few.to_json()) < 1_000
    receipt = publish(delivery, [few, many])
    assert receipt.rejects is not None
    assert receipt.rejects.num_rows == 20_002


def test_only_rejected_rows_are_refused(server: FaultServer) -> None:
    """A share may reject all of its rows, and the run may not."""
    how: dict[str, Any] = {"schema": SMALL, "on_invalid": "reject", "rejects": server.writer.target("bad/")}
    delivery = open_on(server, **how)
    shares = [delivery.stage(FRAME[55:], number=0), delivery.stage(FRAME[52:55], number=1)]
    with pytest.raises(ValidationError, match=r"Every row was rejected"):
        publish(delivery, shares)
    assert delivery.discard(shares) == []
    assert server.pending_uploads(server.bucket) == []
    receipt = publish(delivery, [delivery.stage(FRAME[55:], number=0), delivery.stage(FRAME[:5], number=1)])
    assert (receipt.num_rows, receipt.num_files) == (5, 1)


def test_too_few_rows_are_counted_over_all_shares(server: FaultServer) -> None:
    """20 rows in each of three shares are 60."""
    for least, is_enough in ((60, True), (61, False)):
        delivery = open_on(server, min_rows=least, run_id=f"r-{least}")
        shares = stage_all(delivery)
        if is_enough:
            assert publish(delivery, shares).num_rows == 60
        else:
            with pytest.raises(ValidationError, match=r"Only 60 rows .* min_rows=61"):
                publish(delivery, shares)


def test_a_run_in_fewer_shares_is_refused(server: FaultServer) -> None:
    """A file that an earlier attempt of the run has shown, and that no share has, isn't passed over."""
    delivery = open_on(server)
    shares = stage_all(delivery)
    server.fault("Complete", Status(403, "AccessDenied"), n=3)
    with pytest.raises(CommitError):
        publish(delivery, shares)
    assert len(data_files(server)) == 2
    again = open_on(server)
    assert len(again.published) == 2
    fewer = [again.stage(FRAME, number=0)]
    assert isinstance(fewer[0].failure, AlreadyExistsError)
    fewer = [again.stage(FRAME[:20], number=0)]
    with pytest.raises(AlreadyExistsError, match=r"1 object of an earlier attempt of run r-1 "):
        publish(again, fewer)
    assert len(data_files(server)) == 2
    assert publish(again, stage_all(again)).num_found == 2
    assert server.pending_uploads(server.bucket) == []


def buckets_divided(delivery: Delivery, frame: pl.DataFrame, number: int) -> list[pl.DataFrame]:
    """Divide rows as an engine does that shuffles by bucket."""
    return [frame.filter(delivery.buckets(frame) % number == place) for place in range(number)]


def test_a_key_is_proven_to_be_unique_over_all_shares(server: FaultServer) -> None:
    """Divided by bucket, duplicates meet in one share; divided otherwise, the proof fails and nothing is visible."""
    delivery = open_on(server, schema=ONCE, by_bucket=True)
    receipt = publish(
        delivery, [delivery.stage(one, number=n) for n, one in enumerate(buckets_divided(delivery, FRAME, 3))]
    )
    assert (receipt.num_rows, receipt.validated) == (60, True)
    twice = pl.concat([FRAME, FRAME[10:20]])
    delivery = open_on(server, schema=ONCE, by_bucket=True, run_id="r-2")
    shares = [delivery.stage(one, number=n) for n, one in enumerate(buckets_divided(delivery, twice, 3))]
    with pytest.raises(ValidationError) as raised:
        publish(delivery, shares)
    assert raised.value.checks is not None
    assert raised.value.checks["failures"].sum() == 20
    delivery.discard(shares)
    shares = stage_all(delivery, twice)
    assert [share.failure for share in shares] == [None] * 3
    with pytest.raises(ConfigurationError, match=r"both hold keys of one bucket, so it isn't proven that id is unique"):
        publish(delivery, shares)
    assert delivery.discard(shares) == []
    assert (len(data_files(server)), server.pending_uploads(server.bucket)) == (3, [])


@pytest.mark.parametrize("dtype", [pl.String, pl.Int32, pl.Date, pl.Decimal(9, 2), pl.Categorical, pl.Boolean])
def test_buckets_are_of_the_key_alone(dtype: Any) -> None:
    """Equal keys have one bucket, in any batch, whatever the other rows are."""
    key = pl.Series("id", [3, None, 40, 3, 40, None]).cast(dtype if dtype != pl.Categorical else pl.String).cast(dtype)
    from mc_sink.validation import buckets_of

    frame = key.to_frame()
    whole = buckets_of(frame, ["id"]).to_list()
    assert whole[:2] == [whole[3], whole[5]]
    assert [buckets_of(frame[n : n + 1], ["id"]).item() for n in range(6)] == whole


EMPTY: dict[str, tuple[dict[str, Any], list[str]]] = {
    "one empty file": ({}, [MANIFEST, f"p/{RUN}-s00000-00000.csv"]),
    "only the manifest": ({"partition_by": "day"}, [MANIFEST]),
    "nothing": ({"on_empty": "skip"}, []),
}


@pytest.mark.parametrize(("how", "expected"), EMPTY.values(), ids=EMPTY)
def test_shares_without_rows(server: FaultServer, how: dict[str, Any], expected: list[str]) -> None:
    """Without any batch; what becomes of none at all is as in a delivery of one process."""
    delivery = open_on(server, **how)
    before = len(server.log)
    shares = [delivery.stage(iter([]), number=number) for number in range(2)]
    assert len(server.log) == before
    receipt = publish(delivery, shares)
    assert (receipt.num_rows, sorted(seen(server))) == (0, sorted(expected))
    assert receipt.skipped == (not expected)
    assert server.pending_uploads(server.bucket) == []


def test_no_rows_at_all_may_be_a_failure(server: FaultServer) -> None:
    """As `on_empty` says, over all shares; one share with rows is enough."""
    delivery = open_on(server, on_empty="fail")
    empty = delivery.stage(FRAME[:0], number=0)
    with pytest.raises(ValidationError, match='no share has a row, and on_empty is "fail"'):
        publish(delivery, [empty])
    assert publish(delivery, [empty, delivery.stage(FRAME[:3], number=1)]).num_rows == 3


def test_partitions_of_several_shares_lie_beside_each_other(server: FaultServer) -> None:
    """Each share has files of its own in each folder."""
    delivery = open_on(server, partition_by="day", format=FORMAT)
    receipt = publish(delivery, stage_all(delivery, number=2))
    assert (receipt.num_rows, receipt.num_files) == (60, 14)
    assert f"p/day=0/{RUN}-s00001-00000.parquet" in data_files(server)
    named = open_on(server, name="{share:03d}/{run_id}{ext}", run_id="r-2")
    publish(named, stage_all(named, number=2))
    assert {"p/000/r-2.csv", "p/001/r-2.csv"} <= set(data_files(server))


def test_a_complete_run_is_told_before_any_task(server: FaultServer) -> None:
    """With the place of its manifest, so that a scheduler counts it as done."""
    delivery = open_on(server)
    receipt = publish(delivery, stage_all(delivery))
    with pytest.raises(mc_sink.AlreadyDelivered, match="its manifest is at") as raised:
        open_on(server)
    assert raised.value.manifest == receipt.manifest
    assert raised.value.visible == "some"
    again = pickle.loads(pickle.dumps(raised.value))  # noqa: S301  our own
    assert (again.manifest, str(again)) == (raised.value.manifest, str(raised.value))
    replaced = open_on(server, if_exists="overwrite")
    assert publish(replaced, stage_all(replaced)).num_rows == 60


@pytest.mark.parametrize("k", range(1, 5))
def test_publishing_stops_at_any_file_and_is_recovered(server: FaultServer, tmp_path: Path, k: int) -> None:
    """The k-th Complete fails for good: no manifest, the files are kept, and `recover` ends it."""
    delivery = open_on(server, format=FORMAT)
    shares = stage_all(delivery, number=4)
    server.fault("Complete", Status(403, "AccessDenied"), n=k)
    with pytest.raises(mc_sink.SinkError) as raised:
        publish(delivery, shares)
    assert isinstance(raised.value, CommitError) == (k > 1)
    assert (len(data_files(server)), MANIFEST in seen(server)) == (k - 1, False)
    if k > 1:
        assert [one[:59] for one in delivery.discard(shares)] == [
            "The files of 4 shares stay: publishing them was begun. mc_s"
        ]
        storage = server.storage_options | {"default_block_size": 400}
        assert mc_sink.recover(RUN, storage_options=storage).num_files == 4
    else:
        assert publish(delivery, shares).num_files == 4
    assert_delivered_once(server, FRAME, FORMAT, tmp_path)


def test_a_sweep_aborts_the_uploads_of_this_run_alone(server: FaultServer) -> None:
    """Those that a lost worker or a losing attempt has begun, where it is granted to list them."""
    server.rules = replace(server.rules, granted=GRANTED | {"ListUploads"}, list_page=2)
    delivery = open_on(server)
    other = open_on(server, run_id=f"{RUN}-s00001")
    foreign = stage_all(other, number=2)
    shares, lost = stage_all(delivery), stage_all(delivery)
    receipt = publish(delivery, shares)
    assert receipt.sweep == mc_sink.Sweep("done", 3)
    assert "lost uploads searched for: 3 aborted, 0 left" in str(receipt)
    pending = {one.upload_id for one in server.pending_uploads(server.bucket)}
    assert pending == {file.upload.upload_id for share in foreign for file in share.files}  # type: ignore[union-attr]
    assert receipt.verify().ok
    stage_all(other, number=2)
    assert other.discard(foreign) == []
    assert server.pending_uploads(server.bucket) == []
    del lost


@pytest.mark.usefixtures("tiny")
def test_a_sweep_aborts_nothing_that_may_be_an_object(state: Path, tmp_path: Path) -> None:
    """Some stores still list the upload of a visible object, and an Abort takes that object's parts."""
    rules = replace(TINY, granted=GRANTED | {"ListUploads"}, completed_uploads="kept")
    with FaultServer(rules) as keeping:
        delivery = open_on(keeping, format=FORMAT)
        shares = stage_all(delivery)
        keeping.fault("Complete", Status(403, "AccessDenied"), n=3)
        with pytest.raises(CommitError):
            publish(delivery, shares)
        shutil.rmtree(state / "journals")  # as on another machine
        again = open_on(keeping, format=FORMAT)
        renewed = stage_all(again)
        left = again.discard(renewed)
        assert sum("may be the object" in sentence for sentence in left) == 2
        receipt = publish(again, stage_all(again))
        assert receipt.sweep is not None
        assert (receipt.num_found, receipt.sweep.outcome) == (2, "done")
        assert sum("may be the object" in sentence for sentence in receipt.sweep.left) == 2
        assert_delivered_once(keeping, FRAME, FORMAT, tmp_path, in_doubt=True)


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [(None, "denied"), (Status(403, "AccessDenied"), "denied"), (Status(501, "NotImplemented"), "failed")],
)
def test_a_sweep_that_is_not_granted_changes_nothing(server: FaultServer, fault: Any, outcome: str) -> None:
    """The receipt says that lost uploads weren't searched for, and what removes them."""
    if fault:
        server.rules = replace(server.rules, granted=GRANTED | {"ListUploads"})
        server.fault("ListUploads", fault, times=FOREVER)
    delivery = open_on(server)
    receipt = publish(delivery, stage_all(delivery))
    assert receipt.sweep == mc_sink.Sweep(outcome)  # type: ignore[arg-type]
    assert "lost uploads not searched for" in str(receipt)
    assert pickle.loads(pickle.dumps(receipt)) == receipt  # noqa: S301  our own


def test_discarded_shares_leave_nothing(server: FaultServer) -> None:
    """And can't be published any more."""
    delivery = open_on(server)
    shares = stage_all(delivery)
    assert len(server.pending_uploads(server.bucket)) == 3
    assert delivery.discard(shares[:2]) == []
    assert delivery.discard(shares) == []
    assert (seen(server), server.pending_uploads(server.bucket)) == ({}, [])
    with pytest.raises(mc_sink.SinkError):
        publish(delivery, shares)
    assert seen(server) == {}


def test_messages_are_small_whatever_is_in_them(server: FaultServer) -> None:
    """A file of many columns and parts, and a report on many checks with long values."""
    delivery = open_on(server, pl.Schema({f"column {n}": pl.String for n in range(300)}), part_size=4_000)
    rows = pl.DataFrame({name: ["x" * 7] * 60 for name in delivery.columns})
    share = delivery.stage([rows], number=0)
    (file,) = share.files
    assert len(file.upload.parts) > 30  # type: ignore[union-attr]
    assert len(pickle.dumps(share)) < 4096
    rows = rows.select(pl.concat_str(pl.lit("y" * 900), pl.col(name)).alias(name) for name in rows.columns)
    checks = {
        name: pa.Column(pl.String, [pa.Check.str_length(1, 2), pa.Check.str_matches("^[0-9]*$")])
        for name in rows.columns[:30]
    }
    schema = pa.DataFrameSchema(checks, name="n" * 500, strict=False)
    failed = replace(delivery, schema=schema).stage(rows[:20], number=1)
    assert isinstance(failed.failure, ValidationError)
    assert len(pickle.dumps(failed)) < 4096
    again = pickle.loads(pickle.dumps(failed))  # noqa: S301  our own
    assert str(again.failure) == str(failed.failure)
    assert again.failure.checks.equals(failed.failure.checks)


def test_other_versions_and_other_disks_are_refused(server: FaultServer, tmp_path: Path) -> None:
    """By every worker, as a verdict; and by a driver."""
    delivery = open_on(server)
    older = replace(delivery, versions={**delivery.versions, "Polars": "1.0.0"})
    share = older.stage(FRAME, number=0)
    assert f"it has Polars {pl.__version__}, and the delivery was opened with 1.0.0" in str(share.failure)
    with pytest.raises(ConfigurationError, match="Install the same versions everywhere"):
        publish(older, [share])
    local = mc_sink.open_delivery(f"{tmp_path}/", FRAME)
    there = replace(local, host="elsewhere")
    assert "is on the disk of elsewhere" in str(there.stage(FRAME, number=0).failure)
    with pytest.raises(ConfigurationError, match="such as s3://"):
        there.discard([])
    assert local.publish([local.stage(FRAME, number=0)], num_shares=1).num_rows == 60


def test_no_secret_travels_or_stays(
    server: FaultServer, state: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Pickles, JSON and texts of a delivery, its shares and its receipt have no credential, nor have files on disk."""
    monkeypatch.setenv("SHARED_KEY", KEY)
    monkeypatch.setenv("SHARED_SECRET", SECRET)
    server.rules = replace(server.rules, credentials=(Credentials(KEY, SECRET),))
    with FaultServer(server.rules) as guarded:
        schema = tmp_path / "small.yaml"
        schema.write_text(str(SMALL.to_yaml()))
        delivery = open_on(guarded, schema=schema)
        shares = [*stage_all(delivery, FRAME[:40]), delivery.stage(FRAME, number=3)]
        guarded.fault("Complete", Status(403, "AccessDenied", f"{KEY} {SECRET}"), n=2)
        with pytest.raises(CommitError) as raised:
            publish(delivery, shares[:3])
        written = b"".join(path.read_bytes() for path in state.rglob("*") if path.is_file())
        receipt = publish(delivery, shares[:3])
    things: list[Any] = [delivery, *shares, receipt, raised.value]
    texts = [text for one in things for text in (repr(one).encode(), str(one).encode(), pickle.dumps(one))]
    texts += [one.to_json().encode() for one in things[:5]]
    assert written
    assert found_in(b"".join([*texts, written])) == []
    with pytest.raises(ConfigurationError) as refused:
        open_on(server, storage_options={"key": KEY, "secret": SECRET, "client_kwargs": {"aws_session_token": TOKEN}})
    frames = [frame for frame, _ in traceback.walk_tb(refused.value.__traceback__)]
    ours = [str(one.f_locals) for one in frames if "/mc_sink/" in one.f_code.co_filename]
    assert ours
    assert found_in(f"{refused.value}{ours}".encode()) == []


def test_a_number_counts_from_0(server: FaultServer) -> None:
    """Others are the caller's mistake."""
    for number in (-1, True, "1", 1.0):
        with pytest.raises(ConfigurationError, match="Number the shares of a delivery from 0"):
            open_on(server).stage(FRAME, number=number)  # type: ignore[arg-type]


def test_unwritable_state_is_found_out_before_any_work(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the driver, and once: no worker needs a journal."""
    monkeypatch.setenv("MC_SINK_STATE_DIR", "/proc/nowhere")
    with pytest.raises(UploadError, match="/proc/nowhere"):
        open_on(server)
    with suppress(KeyError):
        assert server.log.of("Create") == []


def test_the_driver_looks_once(server: FaultServer) -> None:
    """Workers send nothing but their uploads."""
    delivery = open_on(server)
    assert set(server.log.ops()) == {"List"}
    before = len(server.log)
    stage_all(delivery)
    assert {one.op for one in list(server.log)[before:]} == {"Create", "Part"}


def test_a_schema_travels_as_its_text(server: FaultServer, tmp_path: Path) -> None:
    """A worker needs no file of the driver's, and an object can't be JSON."""
    path = tmp_path / "few.yaml"
    path.write_text(str(SMALL.to_yaml()))
    delivery = open_on(server, schema=str(path))
    path.unlink()
    again = Delivery.from_json(delivery.to_json())
    assert isinstance(again.stage(FRAME, number=0).failure, ValidationError)
    assert publish(again, [again.stage(FRAME[:20], number=0)]).validated
    with pytest.raises(ConfigurationError, match="Give it as the name or path of a YAML schema"):
        open_on(server, schema=SMALL, run_id="r-2").to_json()


DRIVER: dict[str, tuple[dict[str, Any], str]] = {
    "previous": ({"previous": FRAME, "keys": "id"}, "previous= compares all rows"),
    "no manifest": ({"manifest": False}, "manifest=False can't be used with shares"),
    "one rejects file": (
        {"schema": SMALL, "on_invalid": "reject", "rejects": "/tmp/x.csv"},  # noqa: S108  nothing is written
        "is a single file, and each share",
    ),
    "names without a share": ({"name": "{run_id}{ext}"}, r"has no {share}"),
    "names in two formats": ({"name": "{share:03d}/{run_id}-{share}{ext}"}, r"has {share} in two formats"),
    "unique": ({"schema": ONCE}, r"requires id to be unique over all rows.*Delivery.buckets.*by_bucket=True"),
    "two unique keys": (
        {"schema": pa.DataFrameSchema({n: pa.Column(unique=True) for n in ("id", "text")}), "by_bucket": True},
        "requires 2 unique keys",
    ),
    "a key that is cast": (
        {"schema": pa.DataFrameSchema({"id": pa.Column(pl.String, unique=True, coerce=True)}), "by_bucket": True},
        "casts column 'id'",
    ),
    "a key": ({"storage_options": {"key": "k", "secret": "s"}}, r"'key' of storage_options, or of the platform, can't"),
    "a platform with a key": (
        {"platform": mc_sink.Platform(name="x", access_key_id="k", secret_access_key="s"), "storage_options": None},
        "of the platform, can't travel",
    ),
    "an endpoint with a password": ({"storage_options": {"endpoint_url": "http://a:b@c"}}, "with a user or a query"),
    "a nested secret": (
        {"storage_options": {"client_kwargs": {"aws_session_token": "t"}}},
        r"'client_kwargs'\['aws_session_token'\] of storage_options",
    ),
    "no such function": ({"credentials": "tests.support.nowhere:x"}, "can't be found in this process"),
    "no function": ({"credentials": "tests.support"}, "can't be found in this process"),
    "the run id": ({"run_id": "a b"}, "can't be part of a key"),
    "a column": ({"partition_by": "other"}, "other"),
    "a format": ({"format": "xlsx"}, "xlsx"),
}


@pytest.mark.parametrize(("how", "expected"), DRIVER.values(), ids=DRIVER)
def test_what_can_be_refused_is_refused_by_the_driver(server: FaultServer, how: dict[str, Any], expected: str) -> None:
    """Before any task, and before anything is written anywhere."""
    with pytest.raises(ConfigurationError, match=expected):
        open_on(server, **how)
    assert server.log.of("Create", "Put") == []


def test_targets_and_columns_are_refused_by_the_driver(tmp_path: Path) -> None:
    """A single file, columns that a receiver doesn't take, and what describes no columns."""
    with pytest.raises(ConfigurationError, match="is a single file"):
        mc_sink.open_delivery(f"{tmp_path}/x.csv", FRAME)
    with pytest.raises(ConfigurationError, match="doesn't describe columns"):
        mc_sink.open_delivery(f"{tmp_path}/", 7)
    with pytest.raises(ConfigurationError):
        mc_sink.open_delivery(f"{tmp_path}/", {"a": pl.Object})
    with pytest.raises(ValidationError, match="missing, expected"):
        mc_sink.open_delivery(f"{tmp_path}/", FRAME.select("text"), schema=SMALL)
    schema = columns_of_arrow({"id": int64(), "text": string()})
    delivery = mc_sink.open_delivery(f"{tmp_path}/", schema)
    batches = Table.from_pydict({"id": [1, 2], "text": ["a", None]}, schema=schema).to_batches()
    shares = [delivery.stage(iter(batches), number=0), delivery.stage(schema.empty_table().to_reader(), number=1)]
    assert delivery.publish(shares, num_shares=2).num_rows == 2
    assert len(list(tmp_path.glob("*-s00000-00000.csv"))) == len(list(tmp_path.glob("_manifests/*.json"))) == 1


def test_a_share_token_is_for_shares(tmp_path: Path) -> None:
    """A delivery of one process has none."""
    with pytest.raises(ConfigurationError, match="is the number of a worker's share, and this delivery has one"):
        mc_sink.sink_madconnect(FRAME, f"{tmp_path}/", name="{run_id}-{share}{ext}")
