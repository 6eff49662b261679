"""What a network does between a delivery and its store: nothing is half visible, and what can be whole becomes so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from polars.testing import assert_frame_equal

import mc_sink
from mc_sink import UploadError
from mc_sink.storage import Writer as FileWriter
from mc_sink.storage import open_store
from mc_sink.target import parse_target
from tests.servers.faults import FOREVER, BlackHole, Dribble, FlipByte, Late, Reset, Status
from tests.support.frames import FORMATS, SMALL_PARTS, as_text, numbers, read_back

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Recorded
    from tests.servers.fault import FaultServer

ROWS = numbers(1_000)
MIB = 2**20
# In seconds. With the default of 60, a request to a silent store would be over after 240.
IN_TIME = 100.0


def deliver(server: FaultServer, format: Any, read_timeout: float = 5, **options: Any) -> mc_sink.Receipt:
    """Deliver four files and a manifest, each file by an upload of its own."""
    return mc_sink.sink_madconnect(
        ROWS,
        server.writer.target("p/"),
        format=format,
        max_rows_per_file=250,
        storage_options=server.storage_options | {"config_kwargs": {"read_timeout": read_timeout}},
        **options,
    )


def is_whole(server: FaultServer, receipt: mc_sink.Receipt, format: str, folder: Path) -> None:
    """Find every row once, in order, in the files of the receipt, and no other file."""
    keys = [file.path.partition(f"//{server.bucket}/")[2] for file in receipt.files]
    assert {*server.listing(server.bucket)} == {*keys, f"p/_manifests/{receipt.run_id}.json"}
    parts = [read_back(server.read(server.bucket, key), format, folder) for key in keys]
    for number, part in enumerate(parts):
        assert_frame_equal(part, as_text(ROWS[250 * number : 250 * (number + 1)], format))
    assert server.pending_uploads(server.bucket) == []


@pytest.mark.parametrize("op", ["Create", "Part", "Complete", "Put", "List"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_fault_that_passes_costs_nothing(fault_s3: FaultServer, tmp_path: Path, format: str, op: str) -> None:
    """Throttled, then broken, then lost before anything was read: one copy is visible, and whole."""
    fault_s3.fault(op, Status(503, "SlowDown"))
    fault_s3.fault(op, Status(500), n=2)
    fault_s3.fault(op, Reset("head"), n=3)
    is_whole(fault_s3, deliver(fault_s3, format), format, tmp_path)


@pytest.mark.parametrize("code", [500, 503, 429, 408])
@pytest.mark.parametrize("op", ["Create", "Part", "List"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_fault_that_stays_is_an_error_in_time(fault_s3: FaultServer, format: str, op: str, code: int) -> None:
    """A store that always says no ends the delivery with one kind of error, and shows nothing."""
    fault_s3.fault(op, Status(code, "SlowDown" if code in {429, 503} else "InternalError"), times=FOREVER)
    started = time.monotonic()
    with pytest.raises(UploadError, match="Nothing became visible") as raised:
        deliver(fault_s3, format, read_timeout=0.5)
    assert time.monotonic() - started < IN_TIME
    assert type(raised.value) is UploadError
    assert fault_s3.listing(fault_s3.bucket) == {}
    assert fault_s3.pending_uploads(fault_s3.bucket) == []


@pytest.mark.parametrize("at", ["head", "body", "end"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_connection_that_breaks_at_a_part_is_made_again(
    fault_s3: FaultServer, tmp_path: Path, format: str, at: Any
) -> None:
    """Before, during and after a part: it is sent again, and the file has it once."""
    fault_s3.fault("Part", Reset(at), n=2)
    is_whole(fault_s3, deliver(fault_s3, format), format, tmp_path)
    assert len(fault_s3.log.of("Part")) == 5


@pytest.mark.parametrize("fault", [BlackHole(), Dribble(1.0)], ids=["black hole", "a byte a second"])
@pytest.mark.parametrize("format", FORMATS)
def test_a_store_that_never_comes_to_an_end_is_left(fault_s3: FaultServer, format: str, fault: Any) -> None:
    """No reply at all, or one that never ends: an error, in a time that follows from the read timeout."""
    fault_s3.fault("Part", fault, times=FOREVER)
    started = time.monotonic()
    with pytest.raises(UploadError, match="Nothing became visible"):
        deliver(fault_s3, format, read_timeout=1)
    assert time.monotonic() - started < IN_TIME
    assert fault_s3.listing(fault_s3.bucket) == {}


@pytest.mark.parametrize("format", FORMATS)
def test_a_part_that_arrives_again_and_late_changes_nothing(fault_s3: FaultServer, tmp_path: Path, format: str) -> None:
    """A part was given up and sent again, and then the first one is stored too: the file has it once."""
    fault_s3.fault("Part", Late(4.5), n=2)
    is_whole(fault_s3, deliver(fault_s3, format, read_timeout=2), format, tmp_path)
    assert len(fault_s3.log.of("Part")) >= 5


def test_parts_may_arrive_out_of_order(fault_s3: FaultServer) -> None:
    """The first part takes longer than those behind it: the object has them in their order."""
    fault_s3.fault("Part", Late(0.5))
    data = b"".join(number.to_bytes(4, "big") for number in range(5 * MIB))  # 20 MiB, no two parts alike
    target = parse_target(fault_s3.writer.target("p/x.csv"))
    writer = FileWriter(
        open_store(target, fault_s3.storage_options | SMALL_PARTS | {"max_concurrency": 4}).open(
            target, "text/csv", several=False
        )
    )
    writer.write(data)
    upload = writer.finish()
    file = mc_sink.StagedFile(target.url, 0, len(data), f"crc32:{writer.crc:08x}", upload)
    open_store(target, fault_s3.storage_options).publish(file, "fail", repeatable=False)
    assert fault_s3.read(fault_s3.bucket, "p/x.csv") == data
    assert {record.part_number for record in fault_s3.log.of("Part")} == {1, 2, 3, 4}


@pytest.mark.parametrize("format", FORMATS)
def test_a_bit_that_flips_on_the_way_to_a_real_server_is_noticed(
    recorded: Recorded, tmp_path: Path, format: Any
) -> None:
    """The store refuses a body that isn't the one that was summed, and the part is sent again."""
    recorded.proxy.fault("Part", FlipByte(100))
    receipt = mc_sink.sink_madconnect(
        ROWS,
        recorded.writer.target("p/"),
        format=format,
        max_rows_per_file=500,
        storage_options=recorded.writer.storage_options,
    )
    keys = [file.path.partition(f"//{recorded.writer.bucket}/")[2] for file in receipt.files]
    parts = [read_back(recorded.server.read(recorded.writer.bucket, key), format, tmp_path) for key in keys]
    assert_frame_equal(parts[0], as_text(ROWS[:500], format))
    assert_frame_equal(parts[1], as_text(ROWS[500:], format))
    assert len(recorded.proxy.log.of("Part")) == 3


@pytest.mark.parametrize("more", [-1, 0, 1], ids=["one less", "exactly one part", "one more"])
def test_the_edge_of_a_part_is_no_edge_of_the_data(fault_s3: FaultServer, more: int) -> None:
    """Bytes of one part, one less and one more arrive as they were written."""
    data = bytes(range(256)) * (5 * MIB // 256) + b"x"
    data = data[: 5 * MIB + more]
    target = parse_target(fault_s3.writer.target("p/x.csv"))
    store = open_store(target, fault_s3.storage_options | SMALL_PARTS)
    writer = FileWriter(store.open(target, "text/csv", several=False))
    writer.write(data)
    upload = writer.finish()
    file = mc_sink.StagedFile(target.url, 0, len(data), f"crc32:{writer.crc:08x}", upload)
    store.publish(file, "fail", repeatable=False)
    assert fault_s3.read(fault_s3.bucket, "p/x.csv") == data
    assert len(fault_s3.log.of("Part")) == {-1: 0, 0: 1, 1: 2}[more]
