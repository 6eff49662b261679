"""Receipts: readable, safe in a page, and silent about the way to the credentials."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from mc_sink import Changes, ClearBytes, ConfigurationError, CountedWarning, Receipt, Rejects, Verification, WrittenFile
from mc_sink.content import Content
from mc_sink.receipt import FailedCheck, Stage

FILE = WrittenFile("s3://b/p/one.csv", 1_234, 5_678, "0c1e", "v7", "crc32:00c0ffee")


def receipt(**changes: Any) -> Receipt:
    """Return a receipt for one file, with `changes`."""
    facts = Receipt(
        run_id="20261122T101530Z-4f2a9c",
        target="s3://b/p/",
        files=(FILE,),
        num_rows=1_234,
        num_bytes=5_678,
        rejects=None,
        validated=True,
        manifest=None,
        started_at=datetime(2026, 11, 22, 10, 15, 30, tzinfo=UTC),
        elapsed=timedelta(seconds=1.5),
    )
    return dataclasses.replace(facts, **changes)


class Cells(HTMLParser):
    """Reads the texts of a page, and the tags that it opens and closes."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.opened: list[str] = []
        self.closed: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag that opens."""
        assert set(dict(attrs).items()) <= {
            ("class", "mc-sink"),
            ("class", "number"),
            ("style", "text-align:left"),
            ("style", "text-align:right"),
        }
        self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Note a tag that closes."""
        self.closed.append(tag)

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.texts.append(data)


def page(of: Receipt) -> Cells:
    """Read the receipt as a notebook shows it."""
    cells = Cells()
    cells.feed(of._repr_html_())
    return cells


def test_text_says_how_much_where_and_whether_it_was_judged() -> None:
    """Rows, bytes, target, run id, validation, time and each file stand in the text."""
    text = str(receipt())
    for fact in (
        "1,234 rows", "5.5 KiB", "1 file", "s3://b/p/", "20261122T101530Z-4f2a9c", "yes", "2026-11-22 10:15:30 UTC",
        "1.50 s", "s3://b/p/one.csv", "crc32:00c0ffee",
    ):  # fmt: skip
        assert fact in text


def test_text_says_when_nothing_was_judged() -> None:
    """A delivery without a schema says so."""
    assert "validated  no" in str(receipt(validated=False))


def test_text_counts_rejected_rows() -> None:
    """Rows that were kept out stand beside those that went."""
    assert "1,234 rows, 7 rejected" in str(receipt(rejects=Rejects(7, (FILE,))))
    assert "rejected" not in str(receipt())


@pytest.mark.parametrize(
    ("num_bytes", "written"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (2**20, "1.0 MiB"),
        (3 * 2**30, "3.0 GiB"),
        (5 * 2**40, "5.0 TiB"),
    ],
)
def test_sizes_are_written_in_binary_units(num_bytes: int, written: str) -> None:
    """A size is exact below 1 KiB and has one digit after that."""
    assert f", {written}, 1 file" in str(receipt(num_bytes=num_bytes))


def test_text_has_the_right_number() -> None:
    """One row is a row, in the headline and on the line of its file."""
    text = str(receipt(num_rows=1, files=(dataclasses.replace(FILE, num_rows=1, create_only="unproven"),)))
    assert "1 row," in text
    assert "one.csv  1 row  5.5 KiB" in text
    assert "1 of 1 file not proven" in text


def test_the_place_of_rejected_rows_is_on_the_receipt() -> None:
    """A person who reads that rows were rejected sees where they are; in a notebook too."""
    rejected = dataclasses.replace(FILE, path="s3://b/rejects/one.csv")
    shown = receipt(rejects=Rejects(7, (rejected,)))
    assert "\nrejects    s3://b/rejects/one.csv\n" in str(shown)
    assert {"rejects", "s3://b/rejects/one.csv"} <= set(page(shown).texts)
    assert "rejects" not in str(receipt(rejects=Rejects(0, ())))


def test_a_repeated_run_is_headed_as_repeated() -> None:
    """The first line states whether something was done now; a run that was continued is a delivery."""
    found, new = dataclasses.replace(FILE, from_prior_attempt=True), dataclasses.replace(FILE, path="s3://b/p/two.csv")
    repeated, continued = receipt(files=(found,)), receipt(files=(found, new))
    assert str(repeated).startswith("repeated   nothing was done: an earlier attempt had delivered 1,234 rows")
    assert repeated.is_repeated
    assert repeated.to_dict()["repeated"]
    assert "delivered  " not in str(repeated)
    first, second, *_ = str(continued).splitlines()
    assert first.startswith("delivered  1,234 rows")
    assert second == "repeated   an earlier attempt had published 1 of 2 files; the others were published now"
    assert not continued.is_repeated


def full() -> Receipt:
    """Return a receipt in which every fact is set."""
    written = dataclasses.replace(FILE, partition={"day": "2026-11-22", "n": None}, integrity="crc32")
    return receipt(
        files=(written,),
        rejects=Rejects(2, (FILE,), (FailedCheck("email", "str_matches", 2), FailedCheck(None, "whole rows", 1))),
        warnings=(CountedWarning("formula", "name", 3),),
        manifest="s3://b/p/_manifests/r.json",
        success_marker="s3://b/p/_SUCCESS",
        closing=(WrittenFile("s3://b/p/_manifests/r.json", 0, 99, "e", None, "crc32:00000001"),),
        changes=Changes(1, 2, 3, 4),
        stale=("s3://b/p/old.csv",),
        content=Content("csv", {"separator": ","}, {"id": "Int64"}, "audience", ("day",)),
        stages=(Stage("rows", 1.25), Stage("publish", 0.25)),
    )


def test_a_dictionary_has_every_fact_as_json_has_it() -> None:
    """No field is left out but the way to the credentials, and JSON reads back what it wrote."""
    facts = full().to_dict()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    names = {one.name for one in dataclasses.fields(Receipt)} - {"_verifier", "sweep"}
    assert names <= set(facts)
    assert facts["files"][0]["partition"] == {"day": "2026-11-22", "n": None}
    assert facts["rejects"]["checks"][0] == {"column": "email", "check": "str_matches", "num_failures": 2}
    assert (facts["started_at"], facts["elapsed"]) == ("2026-11-22T10:15:30+00:00", 1.5)
    assert facts["changes"] == {"added": 1, "changed": 2, "removed": 3, "unchanged": 4}


def test_a_frame_has_a_row_for_each_file_and_no_value_of_a_partition() -> None:
    """Also the rejects, the manifest and the marker, whose size may be unknown."""
    frame = full().to_frame()
    assert frame["role"].to_list() == ["rows", "rejects", "manifest", "success_marker"]
    assert frame["num_bytes"].to_list() == [5_678, 5_678, 99, None]
    assert "partition" not in frame.columns
    encrypted = dataclasses.replace(FILE, clear=ClearBytes(5_000, "crc32:00000002"))
    assert receipt(files=(encrypted,)).to_frame()["clear"].to_list() == [
        {"num_bytes": 5_000, "checksum": "crc32:00000002"}
    ]
    assert receipt(files=()).to_frame().schema == frame.schema
    assert receipt(files=()).to_frame().is_empty()


def test_html_is_a_table_that_says_the_same() -> None:
    """A notebook shows the facts and one line for each file, with every tag closed."""
    cells = page(receipt())
    assert sorted(cells.opened) == sorted(cells.closed)
    assert {"s3://b/p/one.csv", "1,234", "5,678", "0c1e", "crc32:00c0ffee", "yes"} <= set(cells.texts)


def test_html_escapes_what_came_from_outside() -> None:
    """A target, a path or an ETag with markup in it is text, not markup."""
    bad = "<script>alert('x')</script>&amp;"
    hostile = receipt(target=bad, run_id=bad, files=(dataclasses.replace(FILE, path=bad, etag=bad),))
    cells = page(hostile)
    assert "script" not in cells.opened
    assert cells.texts.count(bad) == 4


def test_html_leaves_an_unknown_etag_empty() -> None:
    """A store without ETags shows an empty cell, not the word None."""
    assert "None" not in receipt(files=(dataclasses.replace(FILE, etag=None, version_id=None),))._repr_html_()


def test_a_pickle_drops_the_way_to_the_credentials() -> None:
    """The verifier, which holds an open store, never gets into a pickle or a copy of one."""
    secret = "wJalrXUtnFEMI"

    def verifier(found: Receipt) -> Verification:
        return Verification(len(found.files), (), (secret,))

    fresh = receipt(_verifier=verifier)
    again = pickle.loads(pickle.dumps(fresh))  # noqa: S301  our own bytes
    assert again == fresh
    assert hash(again) == hash(fresh)
    assert secret.encode() not in pickle.dumps(fresh)
    for loaded in (again, copy.deepcopy(fresh)):
        with pytest.raises(ConfigurationError, match=r"mc_sink\.verify\(receipt, storage_options"):
            loaded.verify()


def test_verify_asks_the_store_about_this_receipt() -> None:
    """A fresh receipt is handed, whole, to the store that it came from."""
    asked: list[Receipt] = []

    def verifier(found: Receipt) -> Verification:
        asked.append(found)
        return Verification(1, (), ())

    fresh = receipt(_verifier=verifier)
    assert fresh.verify().ok
    assert asked == [fresh]
    assert "verifier" not in repr(fresh)


def test_a_verification_that_holds_says_how_many() -> None:
    """All there: one sentence with the count."""
    held = Verification(3, (), ())
    assert held.ok
    assert str(held).startswith("3 of 3 files are there")
    assert str(Verification(1, (), ())).startswith("1 of 1 file is there")


def test_a_verification_that_fails_names_every_file() -> None:
    """Missing and changed files are counted and listed, one to a line."""
    failed = Verification(3, ("s3://b/1",), ("s3://b/2",))
    assert not failed.ok
    assert str(failed).splitlines() == [
        "2 of 3 files are not as they were delivered:",
        "  missing: s3://b/1",
        "  changed: s3://b/2",
    ]
    assert str(Verification(3, ("s3://b/1",), ())).startswith("1 of 3 files is not as it was delivered:")


@pytest.mark.parametrize("missing_or_changed", [(("s3://b/1",), ()), ((), ("s3://b/1",))])
def test_one_wrong_file_is_enough(missing_or_changed: tuple[tuple[str, ...], tuple[str, ...]]) -> None:
    """A verification is ok only when nothing is missing and nothing changed."""
    assert not Verification(9, *missing_or_changed).ok


@pytest.mark.parametrize("fact", [FILE, Rejects(0, ()), Verification(0, (), ()), receipt()])
def test_facts_are_frozen(fact: object) -> None:
    """Nothing about a delivery can be changed after it."""
    name = dataclasses.fields(fact)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(fact, name, "other")
    assert not hasattr(fact, "__dict__")
    hash(fact)
