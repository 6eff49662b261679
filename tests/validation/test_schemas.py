"""The schemas that ship: found by name, honest about what they check, each with samples that keep and break it."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from traceback import format_exception
from typing import TYPE_CHECKING

import pandera.polars as pa
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import mc_sink
import mc_sink.testing
from mc_sink import identity, validation
from mc_sink.exceptions import ConfigurationError, ValidationError
from mc_sink.testing import sample, violations

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMAS = Path(__file__).parents[2] / "schemas"
DOCS = Path(__file__).parents[2] / "docs" / "schemas"
CANARY = "canary-SECRET-4711"
HEADERS = {
    "amazon_amc": "first_name,last_name,email,phone,address,city,state,zip",
    "google_customer_match": "Email,Phone,First Name,Last Name,Country,Zip",
    "meta_custom_audience": "email,phone,madid,fn,ln,ct,st,country,zip,dob,gen,uid",
    "microsoft_customer_list": "Type,Status,Id,Parent Id,Client Id,Modified Time,Name,Description,Scope,Audience,"
    "Action Type,Sub Type,Text",
    "tiktok_customer_file": "Email_SHA256,Phone_SHA256,MAID",
}
FEEDS = sorted(["audience", "payload", "report", *HEADERS])
KINDS = [(feed, what) for feed in FEEDS for what in violations(feed)]


def judged(schema: validation.SchemaLike, frame: pl.LazyFrame) -> pl.DataFrame:
    run = validation.compile(schema, frame)
    try:
        return pl.concat([run.delivered.to_frame(), *run.judge(run.frame.collect_batches(maintain_order=True))])
    finally:
        run.close()


def test_the_feeds_are_listed() -> None:
    """A plain function names what ships."""
    assert validation.list_schemas() == FEEDS


@pytest.mark.parametrize("feed", FEEDS)
def test_a_sample_is_delivered_unchanged(feed: str) -> None:
    """Sample rows pass, of three feeds two batches and a half, and Pandera alone passes them too."""
    frame = sample(feed, 250_000 if feed not in HEADERS else 20_000)
    delivered = judged(feed, frame)
    assert_frame_equal(delivered, frame.collect())
    assert validation.load_schema(feed).validate(delivered.head(1000), lazy=True).height == 1000


@pytest.mark.parametrize(("feed", "what"), KINDS)
def test_every_violation_is_found(feed: str, what: str) -> None:
    """What is wrong by design is refused by us, and by Pandera alone."""
    frame = violations(feed)[what]
    with pytest.raises(ValidationError) as caught:
        judged(feed, frame.lazy())
    with pytest.raises(pa.errors.SchemaErrors):
        validation.load_schema(feed).validate(frame, lazy=True)
    rows = caught.value.failure_cases["row"].drop_nulls().to_list() if caught.value.failure_cases is not None else []
    assert set(rows) <= {0, frame.height - 1}


@pytest.mark.parametrize("feed", FEEDS)
def test_every_check_of_a_schema_has_a_violation(feed: str) -> None:
    """No rule ships that no violation breaks."""
    broken = set()
    for frame in violations(feed).values():
        with pytest.raises(ValidationError) as caught:
            judged(feed, frame.lazy())
        assert caught.value.checks is not None
        broken |= {(column, check) for column, check, *_ in caught.value.checks.rows()}
    schema = validation.load_schema(feed)
    rules = {(name, check.error) for name, column in schema.columns.items() for check in column.checks}
    rules |= {(None, check.error) for check in schema.checks}
    rules |= {(name, "not_nullable") for name, column in schema.columns.items() if not column.nullable}
    assert rules <= broken


@pytest.mark.parametrize("feed", FEEDS)
def test_a_sample_is_the_same_however_it_is_read(feed: str) -> None:
    """Rows depend on their number and the seed, not on batches, columns or filters."""
    whole = sample(feed, 1000).collect()
    first = whole.columns[0]
    assert_frame_equal(sample(feed, 5000).head(1000).collect(), whole)
    assert_frame_equal(sample(feed, 1000).select(first).collect(), whole.select(first))
    assert_frame_equal(
        sample(feed, 1000).filter(pl.col(first).is_null()).collect(), whole.filter(pl.col(first).is_null())
    )
    assert not sample(feed, 1000, seed=1).collect().equals(whole)


@pytest.mark.parametrize("feed", FEEDS)
def test_the_page_of_a_schema_names_every_column(feed: str) -> None:
    """Documentation keeps up with the schema."""
    page = (DOCS / f"{feed}.md").read_text(encoding="utf-8")
    assert [name for name in validation.load_schema(feed).columns if f"`{name}`" not in page] == []


@pytest.mark.parametrize(("feed", "header"), HEADERS.items())
def test_a_delivered_file_has_the_receiver_s_header(feed: str, header: str, tmp_path: Path) -> None:
    """The file of a sample begins with the header that the receiver documents; its page names the receiver's pages."""
    receipt = mc_sink.sink_madconnect(sample(feed, 50), tmp_path / "list.csv", schema=feed, progress=False)
    assert (receipt.num_rows, receipt.validated) == (50, True)
    first, *rows = (tmp_path / "list.csv").read_text(encoding="utf-8").splitlines()
    assert first == header
    assert len(rows) == 50
    page = (DOCS / f"{feed}.md").read_text(encoding="utf-8")
    assert "Pages of the receiver:" in page
    written = (SCHEMAS / f"{feed}.yaml").read_text(encoding="utf-8")
    assert [url for url in re.findall(r"# (https://\S+)", written) if f"<{url}>" not in page] == []


def test_microsoft_s_bulk_file_is_that_of_its_example(tmp_path: Path) -> None:
    """The version of the format comes first, then the list, then a customer in each row: of as many cells."""
    mc_sink.sink_madconnect(sample("microsoft_customer_list", 3), tmp_path / "list.csv", progress=False)
    _, version, its_list, item = (tmp_path / "list.csv").read_text(encoding="utf-8").splitlines()
    assert version == "Format Version,,,,,,6.0,,,,,,"
    assert its_list == "Customer List,Active,-10,,,,,Customers of the spring,Customer,Spring,Add,,"
    assert re.fullmatch(r"Customer List Item,,,-10,,,,,,,,Email,[0-9a-f]{64}", item)


def test_raw_addresses_become_a_feed() -> None:
    """The expressions of `identity` make what the feeds of the receivers take."""
    raw = pl.LazyFrame(
        {"e": ["Jane.Doe@Gmail.com"], "p": ["0170 1234567"], "f": ["Jane"], "l": ["Doe"], "z": ["10115"]}
    )
    google = raw.select(
        identity.email("e", receiver="google").alias("Email"),
        identity.phone("p", country="DE", receiver="google").alias("Phone"),
        identity.first_name("f", receiver="google").alias("First Name"),
        identity.last_name("l", receiver="google").alias("Last Name"),
        identity.country(pl.lit("DE"), receiver="google").alias("Country"),
        identity.postal_code("z", receiver="google").alias("Zip"),
    )
    assert judged("google_customer_match", google).height == 1
    tiktok = raw.select(
        identity.email("e", receiver="tiktok").alias("Email_SHA256"),
        identity.phone("p", country="DE", receiver="tiktok").alias("Phone_SHA256"),
        MAID=pl.lit(None, dtype=pl.String),
    )
    assert judged("tiktok_customer_file", tiktok).height == 1


def test_one_s_own_yaml_works_by_path_and_by_url(tmp_path: Path) -> None:
    """A path, its text and a file URL give the same schema as the name."""
    own = tmp_path / "own.yaml"
    own.write_text(
        (SCHEMAS / "report.yaml").read_text(encoding="utf-8").replace("name: report\n", ""), encoding="utf-8"
    )
    for source in (own, str(own), own.as_uri()):
        schema = validation.load_schema(source)
        assert (schema.name, [*schema.columns]) == ("own", [*validation.load_schema("report").columns])
    with pytest.raises(ValidationError, match="'own'"):
        judged(own, violations("report")["spend is negative"].lazy())


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("audiences", f"Did you mean 'audience'[?] Pass one of {', '.join(FEEDS)}"),
        ("nowhere.yaml", "schema file 'nowhere.yaml' doesn't exist"),
        ("s3://bucket/schema.yaml", "can't be read from a s3:// URL"),
        ("file:///nowhere/schema.yaml", "can't be read"),
    ],
)
def test_a_schema_that_is_not_there_is_a_configuration_error(source: str, words: str) -> None:
    """An unknown name is refused with the nearest one and all others."""
    with pytest.raises(ConfigurationError, match=words):
        validation.load_schema(source)


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{CANARY}@127.0.0.1:9/schema.yaml",
        f"http://127.0.0.1:9/schema.yaml?X-Amz-Signature={CANARY}",
        f"http://{CANARY}@127.0.0.1:9/schema.yaml#{CANARY}",
        f"http://127.0.0.1:{CANARY}/schema.yaml",
        f"http://user:{CANARY}@[127.0.0.1/schema.yaml",
        f"file://user:{CANARY}@host/nowhere.yaml?{CANARY}",
        f"s3://key:{CANARY}@bucket/schema.yaml",
        f"file:///nowhere/{CANARY}:{CANARY}@host.yaml?token={CANARY}",
    ],
)
def test_a_url_that_may_hold_a_secret_is_not_repeated(url: str) -> None:
    """Neither in the message nor in the causes, which a traceback shows too."""
    with pytest.raises(ConfigurationError, match=r"A schema can't be read|The schema at .* can't be read") as raised:
        validation.load_schema(url)
    assert CANARY not in "".join(format_exception(raised.value))


def test_a_url_whose_text_is_no_schema_is_not_repeated(tmp_path: Path) -> None:
    """Also where the URL is readable."""
    (tmp_path / "other.yaml").write_text("- 1\n", encoding="utf-8")
    (tmp_path / "own.yaml").write_text((SCHEMAS / "report.yaml").read_text().replace("name: report\n", ""))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path)) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            place = f"http://127.0.0.1:{server.server_port}"
            with pytest.raises(ConfigurationError, match=rf"{place}/other.yaml is not a Pandera schema") as raised:
                validation.load_schema(f"{place}/other.yaml?token={CANARY}")
            assert CANARY not in "".join(format_exception(raised.value))
            assert validation.load_schema(f"{place}/own.yaml?token=a.{CANARY}").name == "own"
            with pytest.raises(ConfigurationError, match=f"{place}/none.yaml can't be read: HTTP 404"):
                validation.load_schema(f"{place}/none.yaml?token={CANARY}")
        finally:
            server.shutdown()
            thread.join()


def test_yaml_that_is_no_schema_is_a_configuration_error(tmp_path: Path) -> None:
    """A file of another kind is named."""
    (tmp_path / "other.yaml").write_text("- 1\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="is not a Pandera schema"):
        validation.load_schema(tmp_path / "other.yaml")


def test_schemas_load_without_pandas() -> None:
    """An installation without pandas reads every shipped schema."""
    program = (
        "import sys\n"
        "class NoPandas:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'pandas':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, NoPandas())\n"
        "from mc_sink import validation\n"
        "print([len(validation.load_schema(name).columns) for name in validation.list_schemas()])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[8, 10, 6, 12, 13, 6, 12, 3]"


def test_bounds_in_yaml_have_the_type_of_their_column(tmp_path: Path) -> None:
    """Dates, times and durations that are written as text or nanoseconds, as Pandera writes them, compare as such."""
    (tmp_path / "typed.yaml").write_text(
        "columns:\n"
        "  day: {dtype: Date, greater_than: '2026-01-01'}\n"
        "  at: {dtype: \"Datetime(time_unit='us', time_zone=None)\", less_than: '2026-01-02 00:00:00'}\n"
        "  took: {dtype: \"Duration(time_unit='us')\", isin: [1000000000]}\n",
        encoding="utf-8",
    )
    frame = pl.select(
        day=pl.date(2026, 1, 2), at=pl.datetime(2026, 1, 1), took=pl.duration(seconds=1, time_unit="us")
    ).lazy()
    assert judged(tmp_path / "typed.yaml", frame).height == 1
    for days, columns in ((-9, {"day", "took"}), (9, {"at", "took"})):
        with pytest.raises(ValidationError) as caught:
            judged(tmp_path / "typed.yaml", frame.with_columns(pl.all() + pl.duration(days=days, time_unit="us")))
        assert caught.value.checks is not None
        assert set(caught.value.checks["column"]) == columns


def test_the_examples_of_the_sample_data_hold() -> None:
    """The docstrings of `mc_sink.testing` are run."""
    result = doctest.testmod(mc_sink.testing)
    assert (result.failed, result.attempted) == (0, 2)


def test_unknown_names_of_sample_data_are_refused() -> None:
    """The error for a name without sample data lists the others."""
    for function in (lambda: sample("nothing", 1), lambda: violations("nothing")):
        with pytest.raises(ConfigurationError, match=r"audience, google_customer_match, .*, payload, report"):
            function()


def _metadata(schema: pa.DataFrameSchema) -> Mapping[str, object]:
    return {name: column.metadata for name, column in schema.columns.items() if column.metadata}


def test_personal_data_is_marked_in_yaml() -> None:
    """The mark in the file arrives at the columns."""
    marked = _metadata(validation.load_schema("audience"))
    assert marked == {n: {"personal_data": True} for n in ("external_id", "email_sha256", "phone_sha256", "device_id")}
