"""Receipts: readable, safe in a page, and silent about the way to the credentials."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from mc_sink import ConfigurationError, Receipt, Rejects, Verification, WrittenFile

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
        assert {name for name, _ in attrs} <= {"class"}
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
    assert str(held).startswith("3 of 3 files")


def test_a_verification_that_fails_names_every_file() -> None:
    """Missing and changed files are counted and listed, one to a line."""
    failed = Verification(3, ("s3://b/1",), ("s3://b/2",))
    assert not failed.ok
    assert str(failed).splitlines() == [
        "2 of 3 files are not as they were delivered:",
        "  missing: s3://b/1",
        "  changed: s3://b/2",
    ]


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
