"""The whole path against a real server, as a user who may put, set an ACL and list, and nothing else."""

from __future__ import annotations

import multiprocessing
import pickle
import re
import threading
from typing import TYPE_CHECKING

import pandera.polars as pa
import polars as pl
import pytest
from pandera.config import config_context

import mc_sink
from mc_sink import AlreadyExistsError, ConfigurationError, PermissionDenied, TargetError
from tests.support.frames import FORMATS, SMALL_PARTS, as_text, numbers, read_back

if TYPE_CHECKING:
    from pathlib import Path

    from mc_sink.sandbox.admin import Admin, Writer
    from mc_sink.sink.options import FormatName

MANY_PARTS = 300_000
SIZES = {"no rows": 0, "one request": 10, "many parts": MANY_PARTS}


@pytest.mark.parametrize("rows", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("format", FORMATS)
def test_a_frame_arrives_whole(seaweed: Admin, writer: Writer, tmp_path: Path, format: str, rows: int) -> None:
    """What another library reads from the bucket is the frame, and the receipt tells its rows, bytes and ETag."""
    frame = numbers(rows)
    receipt = frame.sink_madconnect(  # type: ignore[attr-defined]
        writer.target("exports/"), format=format, storage_options=writer.storage_options | SMALL_PARTS
    )
    (file,) = receipt.files
    key = file.path.removeprefix(writer.target())
    data = seaweed.read(writer.bucket, key)
    assert read_back(data, format, tmp_path).equals(as_text(frame, format))
    assert (receipt.num_rows, receipt.num_bytes) == (rows, len(data))
    assert seaweed.listing(writer.bucket) == {key: seaweed.listing(writer.bucket)[key]}
    assert seaweed.listing(writer.bucket)[key].etag == file.etag
    assert ("-" in str(file.etag)) == (len(data) > SMALL_PARTS["default_block_size"])
    assert receipt.verify().ok
    assert seaweed.pending_uploads(writer.bucket) == []


def test_a_prefix_gets_a_new_object_each_run(seaweed: Admin, writer: Writer) -> None:
    """Two runs make two objects, each named by the UTC time and the run id of its run."""
    frame = numbers(3)
    receipts = [
        mc_sink.sink_madconnect(frame, writer.target("p/"), storage_options=writer.storage_options) for _ in range(2)
    ]
    keys = sorted(f"p/{receipt.run_id}.csv" for receipt in receipts)
    assert sorted(seaweed.listing(writer.bucket)) == keys
    assert all(re.fullmatch(r"p/\d{8}T\d{6}Z-[0-9a-f]{6}\.csv", key) for key in keys)


@pytest.mark.parametrize("rows", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("format", FORMATS)
def test_a_taken_key_stays_as_it_is(seaweed: Admin, writer: Writer, format: str, rows: int) -> None:
    """A second delivery to the same file raises, and the first object is byte for byte what it was."""
    target, options = writer.target(f"p/audience.{format}"), writer.storage_options | SMALL_PARTS
    mc_sink.sink_madconnect(numbers(rows), target, storage_options=options)
    before = seaweed.read(writer.bucket, f"p/audience.{format}")
    with pytest.raises(AlreadyExistsError, match=re.escape(target)) as raised:
        mc_sink.sink_madconnect(numbers(rows + 1), target, storage_options=options)
    assert "Nothing became visible" in str(raised.value)
    assert seaweed.read(writer.bucket, f"p/audience.{format}") == before


@pytest.mark.parametrize("rows", SIZES.values(), ids=SIZES)
def test_of_two_that_were_staged_the_second_is_refused(seaweed: Admin, writer: Writer, rows: int) -> None:
    """The store itself keeps the second out, where a look beforehand could not: an empty file, a small and a large."""
    target, options = writer.target("p/audience.csv"), writer.storage_options | SMALL_PARTS
    first, second = (mc_sink.stage(numbers(n), target, storage_options=options) for n in (rows, rows + 1))
    assert seaweed.listing(writer.bucket) == {}
    mc_sink.publish([first], storage_options=options)
    before = seaweed.read(writer.bucket, "p/audience.csv")
    with pytest.raises(AlreadyExistsError, match="stays as it was"):
        mc_sink.publish([second], storage_options=options)
    assert seaweed.read(writer.bucket, "p/audience.csv") == before
    mc_sink.discard([second], storage_options=options)
    assert list(seaweed.listing(writer.bucket)) == ["p/audience.csv"]


@pytest.mark.parametrize("rows", [10, MANY_PARTS], ids=["one request", "many parts"])
def test_overwriting_is_done_where_it_is_asked_for(seaweed: Admin, writer: Writer, rows: int) -> None:
    """The object is replaced whole, and the old receipt notices."""
    target, options = writer.target("p/audience.csv"), writer.storage_options | SMALL_PARTS
    old = mc_sink.sink_madconnect(numbers(5), target, storage_options=options)
    new = mc_sink.sink_madconnect(numbers(rows), target, if_exists="overwrite", storage_options=options)
    assert seaweed.listing(writer.bucket)["p/audience.csv"].size == new.num_bytes
    assert new.verify().ok
    assert old.verify().changed == (target,)


def test_a_receipt_notices_a_missing_object(seaweed: Admin, writer: Writer) -> None:
    """Verification lists the store, and names what isn't there."""
    receipt = mc_sink.sink_madconnect(numbers(5), writer.target("p/"), storage_options=writer.storage_options)
    with seaweed.client() as s3:
        s3.delete_object(Bucket=writer.bucket, Key=f"p/{receipt.run_id}.csv")
    assert receipt.verify().missing == (receipt.files[0].path,)
    loaded = pickle.loads(pickle.dumps(receipt))  # noqa: S301  our own
    assert not mc_sink.verify(loaded, storage_options=writer.storage_options).ok


def _publish_elsewhere(staged: bytes, options: dict[str, object]) -> str:
    return mc_sink.publish([pickle.loads(staged)], storage_options=options).files[0].path  # noqa: S301  our own


@pytest.mark.parametrize("rows", [10, MANY_PARTS], ids=["one request", "many parts"])
def test_one_process_stages_and_another_publishes(seaweed: Admin, writer: Writer, rows: int) -> None:
    """What was staged is plain data: it crosses to another process, without credentials, and is published there."""
    options = writer.storage_options | SMALL_PARTS
    staged = mc_sink.stage(numbers(rows), writer.target("p/x.parquet"), storage_options=options)
    data = pickle.dumps(staged)
    assert options["secret"].encode() not in data
    assert seaweed.listing(writer.bucket) == {}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        path = pool.apply(_publish_elsewhere, (data, options))
    assert list(seaweed.listing(writer.bucket)) == [path.removeprefix(writer.target())]


def test_discarding_leaves_neither_object_nor_upload(seaweed: Admin, writer: Writer) -> None:
    """A staged delivery of many parts is thrown away."""
    options = writer.storage_options | SMALL_PARTS
    staged = mc_sink.stage(numbers(MANY_PARTS), writer.target("p/x.csv"), storage_options=options)
    assert len(seaweed.pending_uploads(writer.bucket)) == 1
    left_behind = mc_sink.discard([staged], storage_options=options)
    assert seaweed.listing(writer.bucket) == {}
    assert len(seaweed.pending_uploads(writer.bucket)) == len(left_behind)


def test_several_deliveries_run_at_once(seaweed: Admin, writer: Writer) -> None:
    """Threads of one process deliver side by side, each its own object."""
    frame, receipts = numbers(MANY_PARTS), []

    def deliver(format: FormatName) -> None:
        options = writer.storage_options | SMALL_PARTS
        receipts.append(mc_sink.sink_madconnect(frame, writer.target("p/"), format=format, storage_options=options))

    threads = [threading.Thread(target=deliver, args=(format,)) for format in FORMATS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seaweed.listing(writer.bucket, "p/")) == 3
    assert all(receipt.verify().ok for receipt in receipts)


WRONG = {
    "secret": ({"secret": "wrong"}, PermissionDenied, "secret access key"),
    "key": ({"key": "AKIAWRONG"}, PermissionDenied, "access key id"),
    "name": ({"sekret": "x"}, ConfigurationError, "Did you mean 'secret'"),
    "part size": ({"default_block_size": 1000}, ConfigurationError, "default_block_size"),
    "dropped": ({"s3_additional_kwargs": {"Acl": "x"}}, ConfigurationError, "object_options"),
}


@pytest.mark.parametrize(("options", "error", "words"), WRONG.values(), ids=WRONG)
def test_wrong_storage_options_end_the_run_before_the_query(
    writer: Writer, options: dict[str, object], error: type[Exception], words: str
) -> None:
    """Credentials and names are checked before the frame is touched, and the message says which is wrong."""
    touched = pl.LazyFrame({"a": [1]}).map_batches(lambda _: pytest.fail("the query ran"))
    with pytest.raises(error, match=words):
        mc_sink.sink_madconnect(touched, writer.target("p/"), storage_options=writer.storage_options | options)


def test_a_bucket_that_is_not_there_is_said_so(seaweed: Admin, writer: Writer) -> None:
    """An owner, who may see that the bucket is missing, gets that error; the bucket is never created."""
    owner = {"key": seaweed.credentials.key, "secret": seaweed.credentials.secret, "endpoint_url": writer.url}
    with pytest.raises(TargetError, match="the bucket does not exist"):
        mc_sink.sink_madconnect(numbers(1), "s3://no-such-bucket-here/p/", storage_options=owner)
    with seaweed.client() as s3:
        assert "no-such-bucket-here" not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}


def test_the_frame_itself_delivers(writer: Writer) -> None:
    """A LazyFrame and a DataFrame carry the method, and it takes the function's arguments."""
    options = writer.storage_options
    eager = numbers(5).sink_madconnect(writer.target("p/a.csv"), storage_options=options)  # type: ignore[attr-defined]
    lazy = numbers(5).lazy().sink_madconnect(writer.target("p/b.csv"), storage_options=options)  # type: ignore[attr-defined]
    assert eager.files[0].checksum == lazy.files[0].checksum


def test_bad_rows_are_set_aside_and_every_row_is_counted(seaweed: Admin, writer: Writer, tmp_path: Path) -> None:
    """Rows in are rows delivered and rows rejected; rejects carry numbers and reasons, and appear with the delivery."""
    check = pa.Check(lambda data: data.lazyframe.select(pl.col("id") % 9 != 4))
    schema = pa.DataFrameSchema({"id": pa.Column(pl.Int64, check)})
    frame = numbers(10_000)
    options = writer.storage_options
    staged = mc_sink.stage(
        frame,
        writer.target("p/x.parquet"),
        schema=schema,
        on_invalid="reject",
        rejects=tmp_path / "bad.parquet",
        storage_options=options,
    )
    assert [path for path in tmp_path.iterdir() if not path.name.startswith(".")] == []
    receipt = mc_sink.publish([staged], storage_options=options)
    assert receipt.rejects is not None
    assert (receipt.num_rows, receipt.rejects.num_rows, receipt.validated) == (8_889, 1_111, True)
    rejected = pl.read_parquet(tmp_path / "bad.parquet")
    assert rejected["row"].to_list() == list(range(4, 10_000, 9))
    delivered = read_back(seaweed.read(writer.bucket, "p/x.parquet"), "parquet", tmp_path)
    assert delivered.equals(frame.filter(pl.col("id") % 9 != 4))
    assert schema.validate(delivered).equals(delivered)
    assert receipt.verify().ok


def test_too_many_rejects_leave_nothing(seaweed: Admin, writer: Writer, tmp_path: Path) -> None:
    """Past `max_rejects` the run fails: no object, no upload, no rejects."""
    schema = pa.DataFrameSchema({"id": pa.Column(pl.Int64, pa.Check.lt(9_000))})
    with pytest.raises(mc_sink.ValidationError, match="max_rejects"):
        mc_sink.sink_madconnect(
            numbers(10_000),
            writer.target("p/"),
            schema=schema,
            on_invalid="reject",
            rejects=f"{tmp_path}/",
            max_rejects=0.01,
            storage_options=writer.storage_options,
        )
    assert seaweed.listing(writer.bucket) == {}
    assert list(tmp_path.iterdir()) == []


def test_validation_that_is_switched_off_is_told(writer: Writer) -> None:
    """With Pandera off, the receipt says that nothing was validated, and a warning says why."""
    schema = pa.DataFrameSchema({"id": pa.Column(pl.Int64, pa.Check.lt(0))}, name="never")
    with config_context(validation_enabled=False), pytest.warns(UserWarning, match="PANDERA_VALIDATION_ENABLED"):
        receipt = mc_sink.sink_madconnect(
            numbers(3), writer.target("p/"), schema=schema, storage_options=writer.storage_options
        )
    assert not receipt.validated
