"""Deliveries in partitions: every row in its folder, once and in order, whatever the order of the rows."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from mc_sink import ConfigurationError, UploadError
from mc_sink.keys import Partitioning
from mc_sink.keys.partitions import HIVE_DEFAULT_PARTITION
from mc_sink.staged import Present
from mc_sink.writing.partitioned import PartitionBuffer
from tests.servers.faults import FOREVER, Call, Status
from tests.support.frames import FORMATS, as_text, failing_once, numbers
from tests.support.staged_files import RUN_ID, read_file, read_partitions, show, stage_files
from tests.support.versions import raised_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mc_sink.sandbox.admin import Admin, Writer
    from mc_sink.staged import StagedFile
    from tests.servers.fault import FaultServer

ROOT = Path(__file__).parents[2]
COUNTRIES = pl.Series("country", ["US", "DE", None, "", "a/b"])


def world(rows: int) -> pl.DataFrame:
    """Make rows of two partition columns, in no order."""
    pick = pl.col("id").hash(1)
    return numbers(rows).select(
        "id",
        country=(pick % 5).replace_strict(list(range(5)), COUNTRIES, return_dtype=pl.String),
        day=pl.date(2026, 11, 20) + pl.duration(days=pick // 5 % 3),
        text="text",
    )


ORDERS = {
    "unsorted": lambda frame: frame,
    "sorted": lambda frame: frame.sort("country", "day", "id", nulls_last=True),
    "sorted and then not": lambda frame: pl.concat([frame.sort("country", "day", "id"), frame.head(500)]),
    "in long runs that come back": lambda frame: pl.concat([frame.sort("country", "day")] * 3),
}


def by_partition(files: Sequence[StagedFile]) -> dict[tuple[str | None, ...], list[StagedFile]]:
    """Give the files of each partition, in their order."""
    found: dict[tuple[str | None, ...], list[StagedFile]] = defaultdict(list)
    for file in files:
        assert file.partition is not None
        found[tuple(file.partition.values())].append(file)
    return found


BOUNDS: list[dict[str, Any]] = [{}, {"max_rows": 130}, {"max_bytes": 9_000}]
# Each order with each bound, and each of them with every format.
CASES = [(order, BOUNDS[n], FORMATS[(row + n) % 3]) for row, order in enumerate(ORDERS) for n in range(3)]


@pytest.mark.parametrize(("order", "bounds", "format"), CASES, ids=str)
def test_every_row_is_in_its_partition(tmp_path: Path, order: str, bounds: dict[str, Any], format: str) -> None:
    """A partition's files are its rows in order, numbered from 0 without gaps, in its folder, without the key."""
    frame = ORDERS[order](world(5_000))
    files = stage_files(frame, f"{tmp_path}/", format, partition_by=("country", "day"), **bounds)
    show(files, f"{tmp_path}/")
    assert [file.path for file in files] == sorted(file.path for file in files)
    rows = frame.with_columns(pl.when(pl.col("country") != "").then("country").alias("country"))
    expected: dict[tuple[str | None, ...], pl.DataFrame] = {
        (country, str(day)): as_text(part.drop("country", "day"), format)
        for (country, day), part in rows.partition_by("country", "day", as_dict=True, maintain_order=True).items()
    }
    found = by_partition(files)
    assert {key: pl.concat(map(read_file, part)).equals(expected[key]) for key, part in found.items()} == dict.fromkeys(
        expected, True
    )
    for (country, day), part in found.items():
        name = {None: HIVE_DEFAULT_PARTITION, "a/b": "a%2Fb"}.get(country, country)
        assert [file.path for file in part] == [
            f"{tmp_path}/country={name}/day={day}/{RUN_ID}-{number:05d}.{format}" for number in range(len(part))
        ]
        assert max(file.num_rows for file in part) <= bounds.get("max_rows", len(frame))
        assert max(file.num_bytes for file in part) <= bounds.get("max_bytes", 2**30)


def test_sorted_rows_are_one_file_each(tmp_path: Path) -> None:
    """A partition that never comes back is one file, where it ends in mid-window and where it is many windows long."""
    frame = world(9_000).sort("day")
    files = stage_files(frame, f"{tmp_path}/", "csv", row_group_size=100, partition_by=("day",))
    assert [file.partition for file in files] == [{"day": f"2026-11-{day}"} for day in (20, 21, 22)]
    assert [file.num_rows for file in files] == frame["day"].value_counts().sort("day")["count"].to_list()


def test_a_partition_that_comes_back_goes_on_numbering(tmp_path: Path) -> None:
    """What was closed stays closed; the rows that come later make the file after it, and no files of one row appear."""
    frame = pl.concat([world(2_000).sort("day")] * 4)
    files = stage_files(frame, f"{tmp_path}/", "csv", row_group_size=100, partition_by=("day",))
    assert [Path(file.path).stem for file in files] == [f"{RUN_ID}-00000", f"{RUN_ID}-00001"] * 3
    assert min(file.num_rows for file in files) > 500


def test_the_key_may_stay_in_the_files(tmp_path: Path) -> None:
    """With `include_key` files have all columns, and the empty text stays one."""
    frame = world(500)
    files = stage_files(frame, f"{tmp_path}/", "parquet", partition_by=("country",), include_key=True)
    show(files, f"{tmp_path}/")
    rows = pl.concat(map(read_file, files)).sort("id")
    assert rows.equals(frame)


def test_no_rows_are_no_files(tmp_path: Path) -> None:
    """Without values, no partition exists."""
    assert stage_files(world(0), f"{tmp_path}/", "csv", partition_by=("day",)) == ()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("partitions", "format"), [(200, "csv"), (1_000, "parquet")])
def test_many_partitions_of_unsorted_rows(tmp_path: Path, format: str, partitions: int) -> None:
    """Of 300,000 rows, more than fit in memory by our own bound, each is where a group-by has it."""
    frame = numbers(300_000, 48).with_columns(k=pl.col("id").hash(5) % partitions)
    assert frame.estimated_size() > 32 * 2**20
    files = stage_files(frame, f"{tmp_path}/", format, row_group_size=100_000, partition_by=("k",))
    assert len(files) == partitions
    counts = dict(frame.group_by("k").len().select(pl.col("k").cast(pl.String), "len").iter_rows())
    assert {(file.partition or {})["k"]: file.num_rows for file in files} == counts
    show(files, f"{tmp_path}/")
    assert Counter(Path(file.path).stat().st_size == file.num_bytes for file in files) == {True: partitions}
    read = read_partitions(tmp_path, format).select(frame.columns)
    assert read.sort(pl.col("id").cast(pl.Int64)).equals(frame.cast(pl.String))


def test_a_buffer_gives_back_what_it_took() -> None:
    """Through any number of lots on the disk, and with the last one in memory, rows come back as they were."""
    frame = world(3_000)
    partitioning = Partitioning(("country", "day"), frame.schema)
    with PartitionBuffer(partitioning, None, lot_bytes=5_000) as buffer:
        assert sum(batch.height for batch in buffer.fill(batch for batch in frame.iter_slices(100))) == 3_000
        expected = dict(partitioning.groups(frame))
        assert set(buffer.partitions) == set(expected)
        for partition in buffer.partitions:
            assert pl.concat(buffer.rows(partition)).equals(expected[partition])


def facts(file: StagedFile) -> tuple[str, int, int, str]:
    """Give everything about a file but how it is stored."""
    return file.path, file.num_rows, file.num_bytes, file.checksum


@pytest.mark.parametrize(("order", "format"), [*zip(ORDERS, [*FORMATS, "csv.gz"], strict=True)])
def test_a_rerun_makes_the_same_files(tmp_path: Path, order: str, format: str) -> None:
    """Names, rows and bytes are a function of the rows alone, and visible files are found to be the same."""
    frame, place = ORDERS[order](world(4_000)), f"{tmp_path}/"
    plan: dict[str, Any] = {"partition_by": ("country", "day"), "max_bytes": 15_000}
    first, *others = [
        stage_files(frame, place, format, batch_rows=batch_rows, **plan) for batch_rows in (1_000, 1_000, 77, 4_000)
    ]
    for other in others:
        assert list(map(facts, other)) == list(map(facts, first))
    show(first[::2], place)
    again = stage_files(frame, place, format, there=[file.path for file in first[::2]], **plan)
    assert list(map(facts, again)) == list(map(facts, first))
    assert {isinstance(file.upload, Present) for file in again[::2]} == {True}
    show(again[1::2], place)


def test_rows_that_were_parked_make_the_same_file(tmp_path: Path) -> None:
    """What comes back from the disk in lots is encoded as if it had come alone, to the byte."""
    frame = numbers(100_000, 200).with_columns(k=pl.col("id") % 2)
    files = stage_files(frame, f"{tmp_path}/", "csv.gz", row_group_size=30_000, partition_by=("k",))
    for number, file in enumerate(files):
        rows = frame.filter(k=number).drop("k")
        (alone,) = stage_files(rows, f"{tmp_path}/", "csv.gz", row_group_size=30_000)
        assert file.checksum == alone.checksum


def test_values_reach_the_receipt_and_the_manifest(tmp_path: Path) -> None:
    """Who reads a receipt or a manifest sees which partition a file is, in text."""
    place = f"{tmp_path}/"
    files = stage_files(world(100), place, "csv", partition_by=("country", "day"))
    staged = mc_sink.stage(numbers(1), place, run_id=RUN_ID, max_rows_per_file=1)
    receipt = mc_sink.publish([replace(staged, files=files)])
    assert [file.partition for file in receipt.files] == [file.partition for file in files]
    assert receipt.files[0].partition == {"country": "DE", "day": "2026-11-20"}
    assert receipt.manifest is not None
    text = Path(receipt.manifest).read_text(encoding="utf-8")
    assert '"partition": {\n        "country": null,\n        "day": "2026-11-22"\n      }' in text


def test_a_real_server_takes_the_keys(seaweed: Admin, writer: Writer) -> None:
    """Under the write-only key, with a file in each partition, percent signs, spaces and all."""
    values = ["US", "a/b", "50%", "x=y", "été", "Côte d'Ivoire", "<~|`}>", None]
    frame = pl.DataFrame({"k": values * 20}).with_row_index("n")
    place, options = writer.target("p/"), writer.storage_options
    files = stage_files(frame, place, "csv", partition_by=("k",), storage_options=options)
    assert seaweed.listing(writer.bucket) == {}
    show(files, place, options)
    names = ["US", "a%2Fb", "50%25", "x%3Dy", "été", "Côte d%27Ivoire", "%3C%7E%7C%60%7D%3E", HIVE_DEFAULT_PARTITION]
    assert set(seaweed.listing(writer.bucket)) == {f"p/k={name}/{RUN_ID}-00000.csv" for name in names}
    data = seaweed.read(writer.bucket, f"p/k=Côte d%27Ivoire/{RUN_ID}-00000.csv")
    assert data.decode() == "n\n" + "".join(f"{n}\n" for n in range(5, 160, 8))


@pytest.mark.parametrize("order", ["sorted", "unsorted"])
def test_few_uploads_are_open_at_once(fault_s3: FaultServer, order: str) -> None:
    """However many the partitions, 33 uploads at most wait for their bytes at any time; the others have them."""
    frame = numbers(5_000).with_columns(k=pl.col("id").hash(5) % 200)
    frame = frame.sort("k") if order == "sorted" else frame
    place, options = fault_s3.writer.target("p/"), fault_s3.storage_options
    files = stage_files(frame, place, "csv", partition_by=("k",), storage_options=options)
    waiting, most = 0, 0
    for record in fault_s3.log.of("Create", "Part"):
        waiting += 1 if record.op == "Create" else -1
        most = max(most, waiting)
    assert (len(files), waiting) == (200, 0)
    assert most <= 32 + 1
    assert fault_s3.listing(fault_s3.bucket) == {}


def test_many_small_files_are_stored_at_once(fault_s3: FaultServer) -> None:
    """The parts of 32 wait for one another at the server, which could not be if fewer were under way."""
    meeting = threading.Barrier(32, timeout=30)
    fault_s3.fault("Part", Call(lambda _: meeting.wait()), times=32)
    frame = numbers(1_000).with_columns(k=pl.col("id") % 40)
    place, options = fault_s3.writer.target("p/"), fault_s3.storage_options
    files = stage_files(frame, place, "csv", partition_by=("k",), storage_options=options)
    assert len(files) == 40
    assert not meeting.broken


def nothing_left(server: FaultServer, folder: Path) -> bool:
    """Say whether the bucket shows nothing and keeps no upload, and no row is on the disk, with a name or without."""
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    parked = [link for link in links if link.startswith(str(folder))] + list(map(str, folder.iterdir()))
    return not parked and not server.listing(server.bucket) and not server.pending_uploads(server.bucket)


UNSORTED = numbers(100_000, 200).with_columns(k=pl.col("id").hash(5) % 50)


@pytest.mark.parametrize("frame", [UNSORTED, UNSORTED.sort("k")], ids=["unsorted", "sorted"])
@pytest.mark.parametrize("n", [1, 7, 30])
def test_a_part_that_is_refused_leaves_nothing(
    fault_s3: FaultServer, tmp_path: Path, frame: pl.DataFrame, n: int
) -> None:
    """Whichever file it is of, all the others are thrown away too."""
    fault_s3.fault("Part", Status(400, "EntityTooSmall"), n=n, times=FOREVER)
    place, options = fault_s3.writer.target("p/"), fault_s3.storage_options
    with pytest.raises(UploadError, match="EntityTooSmall"):
        stage_files(
            frame,
            place,
            "csv",
            row_group_size=50_000,
            partition_by=("k",),
            folder=str(tmp_path),
            storage_options=options,
        )
    assert len(fault_s3.log.of("Part")) >= n
    assert nothing_left(fault_s3, tmp_path)


def test_an_upload_that_is_just_beginning_is_thrown_away(fault_s3: FaultServer, tmp_path: Path) -> None:
    """One file fails while another waits for the id of its upload: that one is gone, too."""

    def begin(_: object) -> None:
        fault_s3.fault("Part", Status(400, "EntityTooSmall"), times=FOREVER)
        time.sleep(0.5)

    fault_s3.fault("Create", Call(begin), n=3)
    place, options = fault_s3.writer.target("p/"), fault_s3.storage_options
    frame = numbers(1_000).with_columns(k=pl.col("id") % 20)
    with pytest.raises(UploadError, match="EntityTooSmall"):
        stage_files(frame, place, "csv", partition_by=("k",), folder=str(tmp_path), storage_options=options)
    assert fault_s3.wait_until_idle()
    assert nothing_left(fault_s3, tmp_path)


class SourceError(Exception):
    """Raised by a caller's own source."""


@pytest.mark.parametrize("order", ["sorted", "unsorted"])
def test_a_source_that_fails_leaves_nothing(fault_s3: FaultServer, tmp_path: Path, order: str) -> None:
    """Its exception arrives with a note, in the midst of a file or while rows are parked."""
    batch = numbers(10_000, 200)
    frame = batch.with_columns(k=pl.lit(1)) if order == "sorted" else batch.with_columns(k=pl.col("id") % 10)
    calls = count()
    failing = failing_once(frame, lambda: next(calls) > 30, SourceError("gone"))
    place, options = fault_s3.writer.target("p/"), fault_s3.storage_options
    with pytest.raises(raised_for(SourceError), match="gone") as raised:
        stage_files(failing, place, "csv", partition_by=("k",), folder=str(tmp_path), storage_options=options)
    assert any("Nothing became visible" in note for note in raised.value.__notes__)
    assert nothing_left(fault_s3, tmp_path)


def test_an_abort_that_is_refused_is_reported(fault_s3: FaultServer, tmp_path: Path) -> None:
    """What could not be thrown away is named on the exception, file by file."""
    fault_s3.fault("Abort", Status(403, "AccessDenied"), times=FOREVER)
    fault_s3.fault("Part", Status(400, "EntityTooSmall"), n=20, times=FOREVER)
    place, options = fault_s3.writer.target("p/"), fault_s3.storage_options
    with pytest.raises(UploadError) as raised:
        stage_files(UNSORTED, place, "csv", partition_by=("k",), folder=str(tmp_path), storage_options=options)
    left = [note for note in raised.value.__notes__ if "could not be aborted" in note]
    assert len(left) == len(fault_s3.pending_uploads(fault_s3.bucket)) >= 19


def test_a_value_that_cannot_stand_in_a_key_ends_it(tmp_path: Path) -> None:
    """At any row, nothing is left of the files before it."""
    frame = pl.concat([world(3_000), world(1).with_columns(country=pl.lit(HIVE_DEFAULT_PARTITION))])
    with pytest.raises(ConfigurationError, match="every reader reads as null"):
        stage_files(ORDERS["unsorted"](frame), f"{tmp_path}/", "csv", partition_by=("country",))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_disk_that_takes_no_rows_is_an_error(tmp_path: Path) -> None:
    """Where rows can't be parked, the error says how many, where, and what to do."""
    message = r"rows could not be parked in .*/none, .* set TMPDIR to another folder. Nothing"
    with pytest.raises(UploadError, match=message):
        stage_files(UNSORTED, f"{tmp_path}/", "csv", partition_by=("k",), folder=f"{tmp_path}/none")


@pytest.mark.parametrize("how", ["sorted", "parking", "parked"])
def test_an_interrupt_leaves_nothing(fault_s3: FaultServer, tmp_path: Path, how: str) -> None:
    """Ctrl-C while partitions close one by one, while rows are parked, and while they become files."""
    command = [
        sys.executable,
        "-X",
        "faulthandler",
        "-m",
        "tests.support.staged_files",
        how,
        fault_s3.url,
        str(tmp_path),
    ]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    fault_s3.fault("Part", Call(lambda _: child.send_signal(signal.SIGINT)), n=12)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == -signal.SIGINT, errors
    assert "KeyboardInterrupt" in errors
    assert "Fatal Python error" not in errors
    assert (len(fault_s3.log.of("Part")) >= 12) == (how != "parking")
    assert nothing_left(fault_s3, tmp_path)
