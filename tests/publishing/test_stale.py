"""Files of an earlier run that a shorter one doesn't replace: refused before anything is visible, or listed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest

import mc_sink
from mc_sink import AlreadyExistsError, ConfigurationError, PermissionDenied
from tests.servers.fault import FaultServer
from tests.servers.rules import GRANTED, Rules
from tests.support.frames import FORMATS, as_text, numbers, read_back

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REPLACING: dict[str, Any] = {"if_exists": "overwrite", "progress": False}
LONG, SHORT = numbers(50), numbers(30)
COUNTRIES = pl.DataFrame({"k": ["a", "b", "b"], "n": [1, 2, 3]})
SCHEMA = pa.DataFrameSchema({"n": pa.Column(pl.Int64, pa.Check.lt(3))}, strict=False)

# What the earlier run and the later one ask for, their rows, and the names that the later one would leave behind.
Case = tuple[dict[str, Any], pl.DataFrame, dict[str, Any], pl.DataFrame, list[str]]
NUMBERED: dict[str, Any] = {"name": "audience-{part:05d}{ext}", "max_rows_per_file": 10}
CASES: dict[str, Case] = {
    "a shorter run": (NUMBERED, LONG, NUMBERED, SHORT, ["audience-00003{ext}", "audience-00004{ext}"]),
    "a run without rows": (
        NUMBERED,
        SHORT,
        NUMBERED,
        SHORT.clear(),
        ["audience-00001{ext}", "audience-00002{ext}"],
    ),
    "larger files": (
        NUMBERED,
        SHORT,
        NUMBERED | {"max_rows_per_file": 20},
        SHORT,
        ["audience-00002{ext}"],
    ),
    "a partition that is gone, by the template": (
        {"name": "{k}/data{ext}", "partition_by": "k"},
        COUNTRIES,
        {"name": "{k}/data{ext}", "partition_by": "k"},
        COUNTRIES.head(1),
        ["b/data{ext}"],
    ),
    "a partition that is gone, by folders": (
        {"name": "data-{part}{ext}", "partition_by": "k"},
        COUNTRIES,
        {"name": "data-{part}{ext}", "partition_by": "k"},
        COUNTRIES.head(1),
        ["k=b/data-0{ext}"],
    ),
    "all partitions gone": (
        {"name": "data-{part}{ext}", "partition_by": "k"},
        COUNTRIES,
        {"name": "data-{part}{ext}", "partition_by": "k"},
        COUNTRIES.clear(),
        ["k=a/data-0{ext}", "k=b/data-0{ext}"],
    ),
    "partitions where there were none": (
        {"name": "data-{part}{ext}", "max_rows_per_file": 10},
        COUNTRIES,
        {"name": "data-{part}{ext}", "partition_by": "k"},
        COUNTRIES,
        ["data-0{ext}"],
    ),
    "a run id that two runs share": (
        {"run_id": "latest", "max_rows_per_file": 10},
        SHORT,
        {"run_id": "latest"},
        SHORT,
        [f"latest-0000{part}{{ext}}" for part in range(3)],
    ),
    "no change of a kind any more": (
        {"name": "{action}{ext}", "previous": LONG.head(20), "keys": "id"},
        LONG,
        {"name": "{action}{ext}", "previous": LONG.head(20), "keys": "id"},
        LONG.head(15),
        ["added{ext}"],
    ),
}


def deliver(server: FaultServer, frame: pl.DataFrame, format: str = "csv", to: str = "p/", **how: Any) -> Any:
    """Deliver to the server, replacing what is there unless other things are asked for."""
    given: dict[str, Any] = {"format": format, "storage_options": server.storage_options} | REPLACING | how
    return mc_sink.sink_madconnect(frame, server.writer.target(to), **given)


def stale_of(error: AlreadyExistsError) -> list[str]:
    """Return the stale files that an error names."""
    return error.message.partition("Stale:\n")[2].split()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_stale_files_are_refused_or_listed(fault_s3: FaultServer, tmp_path: Path, case: Case, format: str) -> None:
    """Refused with their names and the ways out, and nothing changes; accepted, receipt and manifest list them."""
    first, before, then, after, left = case
    urls = [fault_s3.writer.target("p/" + name.format(ext=f".{format}")) for name in left]
    deliver(fault_s3, before, format, **first)
    there = fault_s3.listing(fault_s3.bucket)
    with pytest.raises(AlreadyExistsError, match="would stay beside") as raised:
        deliver(fault_s3, after, format, **then)
    assert stale_of(raised.value) == urls
    assert all(
        way in str(raised.value) for way in ("owner delete", "{run_id}", 'stale="keep"', "Nothing became visible")
    )
    assert fault_s3.listing(fault_s3.bucket) == there
    assert fault_s3.pending_uploads(fault_s3.bucket) == []
    assert mc_sink.list_journals() == []
    receipt = deliver(fault_s3, after, format, **then, stale="keep", manifest=True)
    assert list(receipt.stale) == urls
    assert all(f"{url} is of an earlier run" in str(receipt) for url in urls)
    manifest = json.loads(fault_s3.read(fault_s3.bucket, f"p/_manifests/{receipt.run_id}.json"))
    assert manifest["stale"] == urls
    assert not {file["path"] for file in manifest["files"]} & set(urls)
    assert receipt.verify().ok
    if "action" not in str(then):
        keys = [file.path.removeprefix(fault_s3.writer.target()) for file in receipt.files]
        found = [read_back(fault_s3.read(fault_s3.bucket, key), format, tmp_path) for key in keys]
        assert sum(part.height for part in found) == after.height


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_folder_is_held_to_the_same(tmp_path: Path, case: Case, format: str) -> None:
    """On the disk too: refused with nothing written, and accepted by the same word."""
    first, before, then, after, left = case
    how: dict[str, Any] = {"format": format, **REPLACING}
    mc_sink.sink_madconnect(before, f"{tmp_path}/", **how | first)
    there = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    urls = [f"{tmp_path}/" + name.format(ext=f".{format}") for name in left]
    with pytest.raises(AlreadyExistsError, match="would stay beside") as raised:
        mc_sink.sink_madconnect(after, f"{tmp_path}/", **how | then)
    assert stale_of(raised.value) == urls
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == there
    assert list(mc_sink.sink_madconnect(after, f"{tmp_path}/", **how | then, stale="keep").stale) == urls


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_rows_again_leave_nothing_stale(fault_s3: FaultServer, tmp_path: Path, format: str) -> None:
    """As many files, or more, replace all that is there, without a word to accept anything."""
    deliver(fault_s3, SHORT, format, **NUMBERED)
    receipt = deliver(fault_s3, LONG, format, **NUMBERED)
    assert receipt.stale == ()
    manifest = json.loads(fault_s3.read(fault_s3.bucket, f"p/_manifests/{receipt.run_id}.json"))
    assert "stale" not in manifest
    keys = [f"p/audience-0000{part}.{format}" for part in range(5)]
    assert sorted(fault_s3.listing(fault_s3.bucket, "p/audience")) == keys
    found = [read_back(fault_s3.read(fault_s3.bucket, key), format, tmp_path) for key in keys]
    assert pl.concat(found).equals(as_text(LONG, format))


def test_another_format_leaves_the_old_one_stale(fault_s3: FaultServer) -> None:
    """A reader of the prefix finds both. Of a single file it is refused before the query runs."""
    deliver(fault_s3, SHORT, "csv", name="latest{ext}")
    frame = SHORT.lazy().map_batches(lambda frame: pytest.fail("the query ran") if frame.height else frame)
    with pytest.raises(AlreadyExistsError, match=r"Stale:\n  s3://bucket/p/latest\.csv\nNothing became visible\.$"):
        deliver(fault_s3, frame, "parquet", name="latest{ext}")  # type: ignore[arg-type]
    assert sorted(fault_s3.listing(fault_s3.bucket)) == ["p/latest.csv"]


def test_what_the_template_does_not_give_is_left_alone(fault_s3: FaultServer) -> None:
    """Other people's objects, other names, manifests, and files of other days are not of an earlier run."""
    template: dict[str, Any] = {"name": "{date}/audience-{part:05d}{ext}", "max_rows_per_file": 10}
    deliver(fault_s3, LONG, **template, run_id="20261121T000000Z")
    for key in ("p/readme.txt", "p/2026-11-22/audience-1.csv", "p/2026-11-22/audience-00007.csv.bak", "p/other/x.csv"):
        fault_s3.put_foreign(fault_s3.bucket, key, b"foreign")
    receipt = deliver(fault_s3, SHORT, **template, run_id="20261122T000000Z")
    assert receipt.stale == ()


def test_a_run_that_is_skipped_leaves_the_earlier_one_whole(fault_s3: FaultServer) -> None:
    """It makes nothing, so that nothing stands beside fresh files."""
    how: dict[str, Any] = {"name": "{k}/data{ext}", "partition_by": "k"}
    deliver(fault_s3, COUNTRIES, **how)
    before = fault_s3.listing(fault_s3.bucket)
    receipt = deliver(fault_s3, COUNTRIES.clear(), **how, on_empty="skip")
    assert (receipt.skipped, receipt.stale) == (True, ())
    assert fault_s3.listing(fault_s3.bucket) == before


def test_names_with_the_run_id_leave_nothing_stale(fault_s3: FaultServer) -> None:
    """Each run's files are its own, replacing or not; and a new run lists nothing but its own names."""
    deliver(fault_s3, LONG, max_rows_per_file=10)
    asked = len(fault_s3.log.of("List"))
    receipt = deliver(fault_s3, SHORT, max_rows_per_file=10)
    assert receipt.stale == ()
    assert all(receipt.run_id in record.query["prefix"] for record in fault_s3.log.of("List")[asked:])


@pytest.mark.parametrize("local", [True, False])
def test_rejects_of_an_earlier_run_are_stale_too(fault_s3: FaultServer, tmp_path: Path, *, local: bool) -> None:
    """A run that rejects no row leaves another run's rejects where its own would be: refused, or listed."""
    place = f"{tmp_path}/rejected.csv" if local else fault_s3.writer.target("bad/rejected.csv")
    how: dict[str, Any] = {"schema": SCHEMA, "on_invalid": "reject", "rejects": place, "name": "all{ext}"}
    assert deliver(fault_s3, COUNTRIES, **how).rejects.num_rows == 1
    with pytest.raises(AlreadyExistsError, match="1 object of an earlier run") as raised:
        deliver(fault_s3, COUNTRIES.head(2), **how)
    assert stale_of(raised.value) == [place]
    assert deliver(fault_s3, COUNTRIES, **how).stale == ()
    receipt = deliver(fault_s3, COUNTRIES.head(2), **how, stale="keep")
    assert (receipt.stale, receipt.rejects.num_rows) == ((place,), 0)


def test_a_file_that_comes_during_the_upload_is_stale(fault_s3: FaultServer) -> None:
    """The look that decides is the one right before publishing."""

    def rows() -> Any:
        yield SHORT
        fault_s3.put_foreign(fault_s3.bucket, "p/audience-00009.csv", b"of a longer run")

    with pytest.raises(AlreadyExistsError, match=r"audience-00009\.csv"):
        deliver(fault_s3, rows(), **NUMBERED)
    assert list(fault_s3.listing(fault_s3.bucket)) == ["p/audience-00009.csv"]


def test_parts_staged_apart_are_looked_at_together(fault_s3: FaultServer) -> None:
    """What one part doesn't replace another does; what none does is stale."""
    storage: dict[str, Any] = {"storage_options": fault_s3.storage_options}
    how: dict[str, Any] = {"partition_by": "k", "name": "{k}/data{ext}", "run_id": "20261122", **REPLACING, **storage}
    target = fault_s3.writer.target("p/")

    def parts(*names: str) -> list[mc_sink.Staged]:
        return [mc_sink.stage(COUNTRIES.filter(k=name), target, **how) for name in names]

    mc_sink.publish(parts("a", "b"), **storage)
    assert mc_sink.publish(parts("a", "b"), **storage).stale == ()
    alone = parts("a")
    with pytest.raises(AlreadyExistsError, match=r"Stale:\n  s3://bucket/p/b/data\.csv\nNothing became visible\.$"):
        mc_sink.publish(alone, **storage)
    mc_sink.discard(alone, **storage)


def test_a_writer_who_may_not_list_can_not_replace_unseen() -> None:
    """Without the right to list, stale files can't be looked for: refused, unless they are accepted."""
    with FaultServer(Rules(granted=GRANTED - {"List"})) as server:
        with pytest.raises(PermissionDenied, match=r"can't be looked for.*s3:ListBucket"):
            deliver(server, SHORT, **NUMBERED)
        assert server.listing(server.bucket) == {}
        assert deliver(server, SHORT, **NUMBERED, stale="keep").num_rows == 30


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another word": ({"stale": "delete", "if_exists": "overwrite"}, 'Give "fail" or "keep"'),
    "with nothing that is replaced": ({"stale": "keep"}, 'Add if_exists="overwrite"'),
}


@pytest.mark.parametrize(("how", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("call", [mc_sink.sink_madconnect, mc_sink.preview])
def test_a_word_that_means_nothing_is_refused(
    tmp_path: Path, call: Callable[..., Any], how: dict[str, Any], message: str
) -> None:
    """By the run and by its preview, with nothing written."""
    with pytest.raises(ConfigurationError, match=message):
        call(SHORT, f"{tmp_path}/", **how)
    assert list(tmp_path.iterdir()) == []
