"""What notebooks show: tables of one look, in which a hostile name is text and no secret stands."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mc_sink
from mc_sink import _display, platforms
from mc_sink._display import lines
from mc_sink.connector.history import Beginning, begin, list_runs
from mc_sink.platforms import CheckReport, CheckRow, Platform
from mc_sink.publishing.journal import write
from mc_sink.receipt import Receipt, Rejects, Verification, WrittenFile
from mc_sink.testing import sample
from tests.support.canary import CANARIES, KEY, SECRET, TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOSTILE = """<img src=x onerror="alert('1')">&amp;</td>"""
MOMENT = datetime(2026, 11, 22, 10, 15, 30, tzinfo=UTC)
FILE = WrittenFile(f"s3://b/{HOSTILE}.csv", 1_234, 5_678, None, None, "crc32:00c0ffee")
RECEIPT = Receipt(
    run_id="r-1",
    target=f"s3://b/{HOSTILE}/",
    files=(FILE,),
    num_rows=1_234,
    num_bytes=5_678,
    rejects=Rejects(2, (FILE,)),
    validated=True,
    manifest=f"s3://b/{HOSTILE}.json",
    started_at=MOMENT,
    elapsed=timedelta(seconds=1.5),
    changes=mc_sink.Changes(1_000, 2, 3, 4),
)
STYLES = {("class", "mc-sink"), ("class", "number"), ("style", "text-align:left"), ("style", "text-align:right")}
ALLOWED = {"table", "thead", "tbody", "tr", "th", "td", "p", "b"}


class Page(HTMLParser):
    """What a browser would read: every tag is one that the library writes, and closes in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Check a tag: it loads and runs nothing."""
        assert tag in ALLOWED
        assert set(attrs) <= STYLES
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close the last tag."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect a text."""
        self.texts.append(data)


def journals() -> Any:
    """Note a delivery whose publishing is about to begin, and list it."""
    staged = mc_sink.stage(pl.DataFrame({"a": [1]}), "./memory-of-a-run/x.csv", run_id="r-1")
    try:
        write([replace(staged, target=f"s3://b/{HOSTILE}/")])
    finally:
        mc_sink.discard([staged])
    return mc_sink.list_journals()


def runs() -> Any:
    """Begin a run and have it fail."""
    begin(Beginning(run_id="r-1", connection=HOSTILE, target=f"s3://b/{HOSTILE}/")).failed(ValueError(HOSTILE))
    return list_runs()


def saved() -> Any:
    """Save a platform and list it."""
    platform = Platform(
        name="acme", access_key_id=KEY, secret_access_key=SECRET, session_token=TOKEN, profile=None, kms_key=HOSTILE
    )
    platforms.save(platform, store="file")
    return platforms.list()


def invalid() -> Any:
    """Deliver a row that breaks a schema."""
    rows = sample("audience", 3).with_columns(action=pl.lit(HOSTILE))
    with pytest.raises(mc_sink.ValidationError) as raised:
        mc_sink.sink_madconnect(rows, "never-made/", schema="audience")
    return raised.value


def report() -> CheckReport:
    """Return a report with the text of a store."""
    row = CheckRow(HOSTILE, "no", "GET", HOSTILE, HOSTILE, required=True)
    return CheckReport("acme", f"s3://b/{HOSTILE}/", "Failing", HOSTILE, MOMENT, (row,), (HOSTILE,))


THINGS: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "receipt": (lambda: RECEIPT, ("1,234", "5,678", "yes", "1,000 added, 2 changed, 3 removed, 4 unchanged")),
    "rejects": (lambda: RECEIPT.rejects, ("2 rows were rejected.", "1,234")),
    "verification": (
        lambda: Verification(2, (FILE.path,), ()),
        ("1 of 2 files is not as it was delivered:", "missing"),
    ),
    "sound verification": (
        lambda: Verification(2, (), ()),
        ("2 of 2 files are there, with the size and ETag of the receipt.",),
    ),
    "changes": (lambda: RECEIPT.changes, ("added", "1,000", "unchanged", "4")),
    "check": (report, ("question", "verdict", "no", "GET")),
    "preview": (
        lambda: mc_sink.preview(pl.DataFrame({HOSTILE: [1]}), "s3://bucket/p/"),
        ("would make", "columns", HOSTILE),
    ),
    "platform": (lambda: platforms.load(saved()[0].platform.name), ("acme", "key AKIA…0001", "everything", "never")),
    "platform as listed": (lambda: saved()[0], ("acme", "key AKIA…0001", "file")),
    "platforms": (saved, ("name", "acme", "key AKIA…0001", "file")),
    "journal": (lambda: journals()[0], ("run id", "r-1", "files", "1")),
    "journals": (journals, ("run id", "r-1", "target", f"s3://b/{HOSTILE}/")),
    "no journals": (mc_sink.list_journals, ("The list is empty.",)),
    "run": (lambda: runs()[0], ("to", f"s3://b/{HOSTILE}/", "failed", "ValueError")),
    "runs": (runs, ("run id", HOSTILE, "failed", "ValueError")),
    "validation error": (
        invalid,
        ("3 rows failed 1 check of schema 'audience'.", "action", "3", "Nothing became visible."),
    ),
    "an error without a report": (lambda: mc_sink.ValidationError(lines(HOSTILE, "more")), (HOSTILE, "more")),
}


@pytest.mark.parametrize(("make", "texts"), THINGS.values(), ids=THINGS)
def test_it_is_a_table_of_escaped_text_without_secrets(
    make: Callable[[], Any], texts: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tag is the library's own and closed, what came from outside is text, and no credential is in it."""
    monkeypatch.chdir(tmp_path)
    html = make()._repr_html_()
    page = Page(html)
    assert [text for text in texts if text not in page.texts] == []
    assert [one for one in CANARIES if one in html] == []
    assert "None" not in page.texts


def test_one_look_for_all() -> None:
    """Each cell aligns itself, paths to the left and numbers to the right: a page may drop style sheets."""
    html = _display.rows(("file", "rows", "seen"), [("a", 1_234, True), ("b", None, False)])
    left, right = '<td style="text-align:left">', '<td class="number" style="text-align:right">'
    assert html.count('<table class="mc-sink">') == 1
    assert "<style" not in html
    assert f"{left}a</td>{right}1,234</td>{left}True</td>" in html
    assert f"{left}b</td>{left}</td>{left}False</td>" in html
    assert html.count('<th style="text-align:left">') == 3
    assert '<th style="text-align:left">to</th><td style="text-align:left">' in _display.facts([("to", "s3://b/p/")])


def test_a_platform_that_is_wrong_shows_why_and_nothing_else() -> None:
    """What can't be meant may be a credential in the wrong place."""
    platform = Platform(name="acme", endpoint=f"https://{KEY}:{SECRET}@host", profile=TOKEN)
    html = platform._repr_html_()
    assert "endpoint is not a plain URL" in html
    assert [one for one in CANARIES if one in html] == []


def test_a_listing_is_a_list() -> None:
    """It equals, slices and sorts as one; only a notebook sees the difference."""
    assert mc_sink.list_journals() == []
    assert isinstance(list_runs(), list)
