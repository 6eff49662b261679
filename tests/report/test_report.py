"""The report of a run: what it shows, what it never shows, and that anybody can read it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
import polars as pl
import pytest

import mc_sink
from mc_sink import ConfigurationError, report
from mc_sink.receipt import Changes, CountedWarning, FailedCheck, Receipt, Rejects, WrittenFile
from tests.servers.fault import FaultServer
from tests.support.browser import Browser, chromium
from tests.support.report_pages import GRAPHIC, TEXT, ReportPage, colours, contrast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOMENT = datetime(2026, 11, 22, 10, 15, 30, tzinfo=UTC)
CELL = "CanaryCell-4711"
HOSTILE = """<img src=x onerror="alert('1')">&amp;</td>\x1b[2J\u202e"""


def delivered(folder: Path) -> Receipt:
    """Deliver rows, a tenth of which a schema rejects, in partitions whose values are cells."""
    kinds = pa.DataFrameSchema({"kind": pa.Column(str, pa.Check.isin(["ok"]))}, strict=False, name="kinds")
    kind = pl.when(pl.int_range(1_000) % 10 == 0).then(pl.lit(CELL)).otherwise(pl.lit("ok"))
    rows = pl.DataFrame({"day": [CELL] * 1_000}).with_columns(kind=kind)
    return mc_sink.sink_madconnect(
        rows,
        f"{folder}/out/",
        schema=kinds,
        on_invalid="reject",
        rejects=f"{folder}/rejects/",
        partition_by="day",
        progress=False,
    )


def run(status: str, num_rows: int, number: int = 0) -> dict[str, Any]:
    """Return a run as a bar shows it."""
    moment = "2026-11-22T10:15:30+00:00"
    return {"run_id": f"r-{number}", "status": status, "num_rows": num_rows, "started_at": moment, "elapsed": 1.0}


def test_a_delivery_is_shown_whole(tmp_path: Path) -> None:
    """Rows in, delivered and rejected, checks, files, schema, integrity and the time of the stages."""
    receipt = delivered(tmp_path)
    made = receipt.report(tmp_path / "run.html")
    page = ReportPage(made.read_text("utf-8"))
    for fact in (
        "Delivered", "1,000", "900", "100", receipt.run_id, receipt.target, receipt.files[0].checksum, "kinds",
        "100 failures of kind", f"{receipt.num_bytes / 1024:.1f} KiB", "partitioned by", "yes, every row",
        "Read, validate, encode and upload rows", "Make the files visible",
    ):  # fmt: skip
        assert fact in page.text, fact
    assert receipt.rejects
    assert receipt.rejects.files[0].path in page.text
    assert [stage.name for stage in receipt.stages] == ["prepare", "rows", "upload", "check", "publish"]
    assert sum(stage.seconds for stage in receipt.stages) == pytest.approx(receipt.elapsed.total_seconds(), abs=1e-3)
    assert receipt.content
    assert set(receipt.content.columns) <= set(page.texts)


def test_an_encrypted_file_has_the_checksum_of_the_clear_bytes(tmp_path: Path) -> None:
    """Beside that of the stored ones: the receiver compares it after decrypting, and a file in the clear has none."""
    pyrage = pytest.importorskip("pyrage")
    recipient = str(pyrage.x25519.Identity.generate().to_public())
    frame = pl.DataFrame({"a": [1, 2]})
    clear = mc_sink.sink_madconnect(frame, tmp_path / "a.csv", progress=False)
    receipt = mc_sink.sink_madconnect(
        frame, tmp_path / "a.csv.age", encrypt=mc_sink.Age(recipients=[recipient]), progress=False
    )
    page = ReportPage(receipt.report(tmp_path / "run.html").read_text("utf-8"))
    assert f"before encryption:\n{clear.files[0].checksum}\n, {clear.num_bytes} bytes" in page.text
    assert receipt.files[0].checksum in page.text
    assert "as stored. That before encryption is of the file that the receiver decrypts" in page.text
    assert "encryption" not in ReportPage(clear.report(tmp_path / "clear.html").read_text("utf-8")).text


def test_no_cell_is_in_it(tmp_path: Path) -> None:
    """Neither the value of a partition, which is in a path, nor one that failed a check."""
    receipt = delivered(tmp_path)
    assert CELL in receipt.files[0].path
    assert CELL not in receipt.report(tmp_path / "run.html").read_text("utf-8")


def test_a_delivery_to_s3_shows_how_it_was_proven(tmp_path: Path) -> None:
    """By the sum that the store returned, and by a listing; and no credential is in the page."""
    with FaultServer() as server:
        receipt = mc_sink.sink_madconnect(
            pl.DataFrame({"a": [1]}), f"s3://{server.bucket}/p/", storage_options=server.storage_options, progress=False
        )
        page = ReportPage(receipt.report(tmp_path / "run.html").read_text("utf-8"))
    assert "1 file: The store returned the CRC32 of the bytes that it holds" in page.text
    assert "1 file: A listing right before the request showed that no object would be replaced." in page.text
    assert server.storage_options["secret"] not in page.html
    assert server.storage_options["key"] not in page.html


def facts(**more: Any) -> dict[str, Any]:
    """Return the facts of a run with hostile texts wherever a text may come from outside."""
    file = WrittenFile(f"s3://b/{HOSTILE}.csv", 1, 2, HOSTILE, None, "crc32:00c0ffee", integrity="unproven")
    receipt = Receipt(
        run_id="r-1",
        target=f"s3://b/{HOSTILE}/",
        files=(file,),
        num_rows=1,
        num_bytes=2,
        rejects=Rejects(1, (file,), (FailedCheck(HOSTILE, HOSTILE, 7), FailedCheck(None, "whole", 1))),
        validated=True,
        manifest=f"s3://b/{HOSTILE}.json",
        started_at=MOMENT,
        elapsed=timedelta(seconds=2),
        warnings=(CountedWarning("formula", HOSTILE, 3), CountedWarning("unproven", "", 1)),
        changes=Changes(1, 0, 0, 4),
        stale=(f"s3://b/{CELL}.csv",),
    )
    return receipt.to_dict() | more


@pytest.mark.parametrize("status", ["delivered", "failed", "interrupted", "skipped", "missed", "running"])
def test_every_end_of_a_run_is_a_page_of_escaped_text(status: str) -> None:
    """What came from outside is text, control characters are shown as escapes, and of stale files only the number."""
    error = {"kind": HOSTILE, "text": HOSTILE, "visible": "nothing"}
    own = {"status": status, "connection": HOSTILE, "platform": HOSTILE, "trigger": "schedule", "error": error}
    runs = [run("failed", 0, 1), run(status, 5, 2)]
    page = ReportPage(report.run_page(facts(**own), runs))
    assert f"The last 2 runs of {HOSTILE[:30]}" in page.text
    assert "\x1b" not in page.html
    assert "\u202e" not in page.html
    assert CELL not in page.html
    assert ("Nothing became visible." in page.text) == (error["visible"] == "nothing")


def test_a_failed_run_claims_no_rows() -> None:
    """How many rows came before the error isn't known, so no number is shown."""
    own: dict[str, Any] = {"status": "failed", "error": {"kind": "UploadError", "text": "x", "visible": "unknown"}}
    page = ReportPage(report.run_page(facts(**own)))
    assert "rows delivered" not in page.text
    assert "validated" not in page.text
    assert "It is not known whether anything became visible." in page.text


def test_a_repeated_run_is_headed_as_repeated(tmp_path: Path) -> None:
    """Nothing was done, and the page says so."""
    frame = pl.DataFrame({"a": [1, 2]})
    for _ in range(2):
        receipt = mc_sink.sink_madconnect(frame, f"{tmp_path}/out/", run_id="r-1", progress=False)
    page = ReportPage(receipt.report(tmp_path / "run.html").read_text("utf-8"))
    assert "Repeated: an earlier attempt had delivered everything" in page.texts


def test_the_bars_of_the_last_runs_are_as_high_as_their_rows() -> None:
    """Each has a title of its own, and the picture names them all in order."""
    runs = [run("delivered", 50, 1), run("failed", 0, 2), run("delivered", 100, 3)]
    page = ReportPage(report.run_page(facts(connection="nightly"), runs))
    assert "The last 3 runs of nightly, the oldest first: delivered, failed, delivered." in page.titles_of_pictures
    assert "r-1: delivered, 50 rows, 2026-11-22 10:15:30 UTC" in page.texts
    assert page.html.count('height="30.0"') == 1
    assert page.html.count('height="56.0"') == 1
    assert 'class="bad" x="18" y="56.0"' in page.html


def test_it_has_contrast_in_light_in_dark_and_on_paper() -> None:
    """As WCAG 2.2 AA wants: 4.5 for texts on either ground, 3 for bars."""
    page = ReportPage(report.run_page(facts()))
    for name, found in colours(page.style).items():
        for text in ("--fg", "--muted", "--good", "--bad", "--warn"):
            for ground in ("--bg", "--panel"):
                assert contrast(found[text], found[ground]) >= TEXT, (name, text, ground)
        assert contrast(found["--bar"], found["--bg"]) >= TEXT, name  # links have this colour
        assert contrast(found["--bar"], found["--panel"]) >= GRAPHIC, name
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_many_files_are_cut() -> None:
    """The page stays readable; the manifest has all of them."""
    many = facts()
    many["files"] = many["files"] * (report.MOST_FILES + 1)
    page = ReportPage(report.run_page(many))
    assert "The first 1,000 of 1,002 files. The manifest lists all of them." in page.text


def test_only_a_report_is_replaced(tmp_path: Path) -> None:
    """A path that was typed wrong must not cost a file."""
    receipt = delivered(tmp_path)
    place = tmp_path / "run.html"
    assert receipt.report(place) == receipt.report(str(place)) == place
    place.write_text("rows")
    with pytest.raises(ConfigurationError, match="a file that is not a report is there, and stays"):
        receipt.report(place)
    assert place.read_text() == "rows"
    with pytest.raises(ConfigurationError, match="Choose another path"):
        receipt.report(tmp_path / "no folder" / "run.html")


def pages(folder: Path) -> dict[str, str]:
    """Return the pages that a browser is shown: a delivery, a failed run with hostile texts, and an index."""
    error = {"kind": "UploadError", "text": HOSTILE, "visible": "unknown"}
    runs = [run("delivered", 50, 1), run("failed", 0, 2), run("interrupted", 7, 3), run("delivered", 100, 4)]
    receipt = delivered(folder).to_dict() | {"connection": "nightly", "platform": "acme"}
    failed = facts(status="failed", connection="nightly", error=error)
    platform = {
        "name": "acme",
        "endpoint": None,
        "region": "eu-west-1",
        "buckets": "s3://b/exports/",
        "key": "AKIA…K7QD",
    }
    connection = {"connection": "nightly", "target": f"s3://b/{HOSTILE}/", "runs": runs}
    listed = [one | {"connection": "nightly", "page": f"{one['run_id']}.html", "num_rejected": 3} for one in runs]
    return {
        "delivered": report.run_page(receipt, runs),
        "failed": report.run_page(failed, runs),
        "index": report.index_page([platform], [connection], listed),
    }


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Start a browser for all pages."""
    with Browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.mark.skipif(chromium() is None, reason="no Chromium is installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_renders_it_and_asks_for_nothing(tmp_path: Path, browser: Browser, scheme: str) -> None:
    """No error in the console, no request but for the page, and nothing that hinders a reader, in both schemes."""
    for name, html in pages(tmp_path).items():
        place = report.write_page(tmp_path / f"{name}.html", html)
        for width in (360, 1000):
            browser.open(place.as_uri(), scheme=scheme, width=width)
            assert browser.errors == []
            assert browser.requests == [place.as_uri()]
            assert browser.audit() == [], (name, width)
        assert browser.value("document.querySelectorAll('svg').length") > 0
        picture = tmp_path / f"{name}.png"
        browser.picture(picture)
        assert picture.stat().st_size > 10_000


@pytest.mark.skipif(chromium() is None, reason="no Chromium is installed")
def test_the_browser_finds_what_hinders_a_reader(tmp_path: Path, browser: Browser) -> None:
    """A page with every fault: its error, its request, its headings, picture, link, contrast, ids and width."""
    place = tmp_path / "bad.html"
    place.write_text(
        "<h2>x</h2><img src='gone.png'><a href='#'></a><p id=a style='color:#999'>pale</p>"
        "<table style='width:9px'><th scope=col style='overflow-wrap:anywhere'>narrow</table>"
        "<p id=a style='width:3000px'>wide</p><script>nothing.here()</script>",
        encoding="utf-8",
    )
    browser.open(place.as_uri())
    assert any("nothing is not defined" in error for error in browser.errors)
    assert browser.requests == [place.as_uri(), (tmp_path / "gone.png").as_uri()]
    kinds = ("contrast 2.85: pale", "heading h2 after h0", "a picture without", "a link without", "an id twice",
             "no title", "a broken word: narrow", "the page is wider")  # fmt: skip
    assert [kind for kind in kinds if not any(found.startswith(kind) for found in browser.audit())] == []
