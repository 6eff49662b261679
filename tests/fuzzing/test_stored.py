"""Changed journals, notes and messages, made-up replies and listings: each is read, or is an error of this library's.

Documents are changed where they mean something: a value is replaced, added or removed, or bytes are. Replies and
listings are put together from pieces of S3's own. The usual run takes seconds; `make test-long` gives each kind 10
minutes.
"""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl
import pytest
from hypothesis import strategies

import mc_sink
from mc_sink import Delivery, Receipt, Share, SinkError
from mc_sink._display import printable
from mc_sink.publishing import hidden_files, journal
from mc_sink.receipt import WrittenFile
from mc_sink.staged import Temporary
from mc_sink.storage import Stores
from mc_sink.storage.s3 import S3Store
from mc_sink.storage.s3.errors import translated
from mc_sink.storage.s3.failures import RequestFailed
from mc_sink.storage.s3.retry_rules import OPERATIONS
from mc_sink.target import parse_target
from tests.servers.fault import FaultServer
from tests.servers.faults import FOREVER, Body, Status
from tests.support.frames import numbers
from tests.support.fuzzing import SECONDS, examine, examine_for_minutes, outcome, steer
from tests.support.plain_requests import OPS, ready, requests_to
from tests.support.small_deliveries import FRAME, RUN, TINY, deliver, tiny_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mc_sink.storage.s3.retry_rules import Operation

REMOVED = object()
DEEP, NESTED = "<deep>", "[" * 5_000 + "]" * 5_000
ODD: list[Any] = [
    *(REMOVED, None, True, -1, 0, 2**70, 1e308, float("inf"), float("nan"), "", "x", "\0", "\x1b[2J", "\ud800"),
    *([], {}, [[]], [None], {"": None}, DEEP, "s3://bucket/p/", "file:///x", "ftp://", "9999-12-31T23:59:59+14:00"),
    *(
        "AAAA",
        "A",
        "=",
        "é",
        "../x",
        {"files": []},
        [{"path": "x"}],
        {"kind": "SinkError"},
        {"bucket": "b", "key": "k"},
    ),
]
XML = [
    *('<?xml version="1.0" encoding="UTF-8"?>', '<?xml version="1.0" encoding="utf-16"?>', "<!DOCTYPE a [", "\ufeff"),
    *("<ListBucketResult>", "</ListBucketResult>", "<Contents>", "</Contents>", "<Key>p/x.csv</Key>", "<Key></Key>"),
    *("<Key>p/r-1.csv</Key>", "<Size>1</Size>", "<Size>-1</Size>", "<Size>x</Size>", "<Size/>", "<ETag>0</ETag>"),
    *("<ETag/>", "<IsTruncated>true</IsTruncated>", "<IsTruncated>false</IsTruncated>", "<IsTruncated>x</IsTruncated>"),
    *("<NextContinuationToken>t</NextContinuationToken>", "<LastModified>x</LastModified>", "<Error>", "</Error>"),
    *("<LastModified>2026-01-01T00:00:00.000Z</LastModified>", "<Code>InternalError</Code>", "<Code>SlowDown</Code>"),
    *("<Code>AccessDenied</Code>", "<Code>NoSuchKey</Code>", "<Code>PreconditionFailed</Code>", "<Code></Code>"),
    *("<Message>", "</Message>", "\x1b[2J", "\0", "&lt;", "&x;", "<Header>a</Header>", "<Region>eu-west-1</Region>"),
    *("<InitiateMultipartUploadResult>", "</InitiateMultipartUploadResult>", "<UploadId>u</UploadId>", "<UploadId/>"),
    *("<CompleteMultipartUploadResult>", "</CompleteMultipartUploadResult>", "<Bucket>b</Bucket>", "<Location/>"),
    *("<ListMultipartUploadsResult>", "</ListMultipartUploadsResult>", "<Upload>", "</Upload>", "{}", "[", "<html>"),
]
# Documents in the form of S3's, of these names and values.
ROOTS = [
    *("ListBucketResult", "Error", "InitiateMultipartUploadResult", "CompleteMultipartUploadResult"),
    *("ListMultipartUploadsResult", "PostResponse"),
]
TAGS = [
    *("Contents", "CommonPrefixes", "Upload", "Error", "Owner", "Key", "Size", "ETag", "LastModified", "IsTruncated"),
    *("NextContinuationToken", "KeyCount", "EncodingType", "Prefix", "Name", "UploadId", "NextKeyMarker", "Code"),
    *("NextUploadIdMarker", "Bucket", "Location", "ChecksumType", "ChecksumCRC32", "Message", "Region", "Endpoint"),
    *("Header", "ArgumentName", "Condition", "StorageClass", "Initiated"),
]
VALUES = [
    *(
        "",
        "0",
        "1",
        "-1",
        "1" * 30,
        "x",
        "true",
        "false",
        "url",
        "p/x.csv",
        "p/",
        "p/r-1.csv",
        "%zz",
        "0" * 32,
        "COMPOSITE",
    ),
    *(
        '"' + "0" * 32 + '"',
        "9" * 32 + "-1",
        "2026-01-01T00:00:00.000Z",
        "0001-01-01T00:00:00Z",
        "eu-west-1",
        "127.0.0.1",
    ),
    *("AccessDenied", "InternalError", "NoSuchUpload", "PreconditionFailed", "SlowDown", "RequestTimeout", "BadDigest"),
    *(
        "InvalidPart",
        "EntityTooSmall",
        "NotImplemented",
        "If-None-Match",
        "x-amz-acl",
        "ExpiredToken",
        "InvalidRequest",
    ),
    *("InvalidAccessKeyId", "AuthorizationHeaderMalformed", "PermanentRedirect", "ConditionalRequestConflict", "AAAA"),
]
LISTINGS: tuple[Operation, ...] = ("list_objects_v2", "list_multipart_uploads")
# Of 500 and 503, a request is sent again after a pause. 1xx, 204 and 304 have no body.
STATUSES = [*(200, 206, 301, 307, 400, 403, 404, 409, 411, 412, 416, 501), 500, 503]
HEADERS = [
    *(("ETag", "0"), ("ETag", '"' + "0" * 32 + '"'), ("ETag", ""), ("Content-Type", "text/html"), ("Retry-After", "x")),
    *(("x-amz-bucket-region", "eu-west-1"), ("x-amz-checksum-crc32", "AAAA"), ("Location", "http://127.0.0.1:1/")),
    *(("Content-Encoding", "gzip"), ("Content-Encoding", "x"), ("Content-Type", "application/xml; charset=x")),
]


class Reply(NamedTuple):
    """What is sent in place of the answer to a request."""

    operation: Operation
    status: int
    text: bytes
    headers: tuple[tuple[str, str], ...]

    @property
    def body(self) -> Body:
        """The reply as the server sends it."""
        return Body(self.status, self.text, self.headers)


def places(document: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each value of a document."""
    yield at
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inner:
        yield from places(value, (*at, key))


def changed(text: str, changes: list[tuple[int, Any]]) -> str:
    """Return JSON text with some of its values replaced or removed."""
    document = [json.loads(text)]
    for number, value in changes:
        ways = list(places(document))[1:] or [(0,)]
        *way, last = ways[number % len(ways)]
        inner: Any = document
        for key in way:
            inner = inner[key]
        if value is not REMOVED:
            inner[last] = deepcopy(value)
        elif len(ways) > 1 and inner is not document:
            del inner[last]
    return json.dumps(document[0]).replace(json.dumps(DEEP), NESTED)


def changes_of(text: str) -> strategies.SearchStrategy[str]:
    """Return texts that differ from a document in few values, or in few characters."""
    one = strategies.tuples(strategies.integers(0, 10_000), strategies.sampled_from(ODD) | strategies.text(max_size=5))
    cut = strategies.tuples(strategies.integers(0, len(text)), strategies.integers(0, 9), strategies.text(max_size=4))
    by_value = strategies.lists(one, min_size=1, max_size=3).map(partial(changed, text))
    return by_value | cut.map(lambda where: text[: where[0]] + where[2] + text[where[0] + where[1] :])


class Journals:
    """A journal of a delivery that was cut short, changed and read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tiny_parts(monkeypatch)
        with FaultServer(TINY) as server:
            server.fault("Complete", Status(403, "AccessDenied"), n=2)
            with pytest.raises(SinkError):
                deliver(server)
        self.path = Path(mc_sink.list_journals()[0].path)
        self.target = mc_sink.list_journals()[0].target
        self.texts = changes_of(self.path.read_text(encoding="utf-8"))

    def attempt(self, text: str) -> None:
        """Read it in each way; one that is accepted is written again as itself."""
        self.path.write_bytes(text.encode("utf-8", "surrogatepass"))
        self.path.with_suffix(".sent").write_bytes(text.encode("utf-8", "surrogatepass"))
        found, unreadable = journal.read_all()
        assert len(found) + len(unreadable) == 1
        steer(len(found) + outcome(lambda: journal.sent(RUN, self.target)))
        outcome(lambda: journal.journals_of(RUN))
        for one in found:
            journal.write(one.staged, one.superseded, one.replaces)
            again = journal.find(RUN, self.target)
            assert again is not None
            assert (again.staged, again.superseded, again.replaces) == (one.staged, one.superseded, one.replaces)


class Notes:
    """A note of the hidden files of a killed process, changed and read: it lists files of its run, or nothing."""

    def __init__(self) -> None:
        with hidden_files.noted(RUN, "file:///tmp/") as note:
            for name in ("a", "b"):
                note(f"file:///tmp/{name}", Temporary(f"/tmp/{name}", f"/tmp/.{name}.1234abcd.partial", ("/tmp",)))  # noqa: S108
            (path,) = hidden_files._notes()  # noqa: SLF001
            lines = path.read_text(encoding="utf-8").splitlines()
        self.path = path
        self.texts = strategies.tuples(*map(changes_of, lines)).map("\n".join)

    def attempt(self, text: str) -> None:
        """List what it has left."""
        self.path.write_bytes(text.encode("utf-8", "surrogatepass"))
        left = hidden_files.list_left()
        steer(sum(len(one.files) for one in left))
        for one in left:
            assert all(".partial" in file.upload.temporary for file in one.files if isinstance(file.upload, Temporary))


class Messages:
    """The text of a share, or of a delivery of shares, changed and read."""

    def __init__(self, kind: type[Share | Delivery]) -> None:
        delivery = mc_sink.open_delivery("./out/", FRAME.schema, format="parquet", run_id=RUN)
        self.read: Callable[[str], Share | Delivery] = kind.from_json
        self.texts = changes_of((delivery.stage(FRAME, number=0) if kind is Share else delivery).to_json())

    def attempt(self, text: str) -> None:
        """Read it; one that is accepted is written again as text that is accepted."""
        steer(outcome(lambda: self.read(text)))
        if outcome(lambda: self.read(text)):
            again = self.read(text).to_json()
            assert self.read(again).to_json() == again


def documents() -> strategies.SearchStrategy[str]:
    """Return well-formed documents, of names and values of S3's own."""
    tags, values = strategies.sampled_from(TAGS), strategies.sampled_from(VALUES)

    def holding(inner: strategies.SearchStrategy[str], size: int) -> strategies.SearchStrategy[str]:
        elements = strategies.tuples(tags, inner).map(lambda one: f"<{one[0]}>{one[1]}</{one[0]}>")
        return strategies.lists(elements, max_size=size).map("".join)

    return strategies.tuples(strategies.sampled_from(ROOTS), holding(values | holding(values, 5), 5)).map(
        lambda one: f'<{one[0]} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{one[1]}</{one[0]}>'
    )


def replies_to(operations: Sequence[str]) -> strategies.SearchStrategy[Reply]:
    """Return replies to one of some operations: put together from pieces of S3's own, or any text."""
    pieces = strategies.lists(strategies.sampled_from(XML) | strategies.text(max_size=4), max_size=12)
    bodies = (pieces.map("".join) | documents()).map(lambda text: text.encode("utf-8", "surrogatepass"))
    headers = strategies.lists(strategies.sampled_from(HEADERS), max_size=2, unique_by=lambda one: one[0])
    named, statuses = strategies.sampled_from(operations), strategies.sampled_from(STATUSES)
    return strategies.builds(Reply, named, statuses, bodies, headers.map(tuple))


class Replies:
    """A reply to each request: it is an answer, or a failure with a meaning."""

    def __init__(self) -> None:
        self.server = FaultServer(TINY)
        self.requests = requests_to(self.server, read_timeout=1)
        self.texts = replies_to(OPERATIONS)

    def attempt(self, drawn: Reply) -> None:
        """Send the request."""
        parameters = ready(self.requests, drawn.operation)
        self.server.fault(OPS[drawn.operation], drawn.body)
        try:
            reply = self.requests.call(drawn.operation, **parameters)
        except RequestFailed as failed:
            text = str(translated(failed, "s3://bucket/p/x.csv"))
            assert text == "\n".join(map(str, map(printable, text.split("\n"))))
            steer(len(failed.message))
        else:
            assert isinstance(reply, dict)
            steer(1_000)
        self.server.heal()


class Listings:
    """A listing of objects or of uploads, as a store reads it: keys and facts, or an error of this library."""

    def __init__(self) -> None:
        self.server = FaultServer(TINY)
        self.server.rules = replace(self.server.rules, granted={*self.server.rules.granted, "ListUploads"})
        self.place = parse_target("s3://bucket/p/")
        self.store = Stores(self.server.storage_options | {"config_kwargs": {"read_timeout": 1}}).of(self.place)
        self.texts = strategies.tuples(replies_to(LISTINGS), strategies.sampled_from([1, 2, FOREVER]))

    def attempt(self, drawn: tuple[Reply, float]) -> None:
        """List what is there, look for one file, and search for lost uploads."""
        reply, times = drawn
        self.server.fault(OPS[reply.operation], reply.body, times=times)
        file = WrittenFile("s3://bucket/p/x.csv", 1, 1, '"0"', None, "")
        got = outcome(lambda: self.store.listing(self.place, exact=False))
        got += outcome(lambda: self.store.match(file))
        if isinstance(self.store, S3Store):
            got += self.store.sweep(self.place, [re.compile(".*")], (), ()).outcome == "done"
        steer(got)
        self.server.heal()


class Deliveries:
    """A reply within a delivery: a receipt shows the file, and an error knows what is visible."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        tiny_parts(monkeypatch)
        self.server, self.number = FaultServer(TINY), 0
        self.frame = numbers(20)
        self.texts = strategies.tuples(replies_to(OPERATIONS), strategies.sampled_from([100, 2**20]))

    def attempt(self, drawn: tuple[Reply, int]) -> None:
        """Deliver one file, of one part or several; the request that gets the reply has no effect."""
        reply, part_size = drawn
        self.number += 1
        key = f"p/{self.number}.csv"
        self.server.fault(OPS[reply.operation], reply.body)
        options = self.server.storage_options | {"default_block_size": part_size, "config_kwargs": {"read_timeout": 1}}
        got: Receipt | SinkError
        try:
            got = mc_sink.sink_madconnect(self.frame, self.server.writer.target(key), storage_options=options)
        except SinkError as error:
            got = error
        self.server.heal()
        present = key in self.server.listing(self.server.bucket)
        if isinstance(got, Receipt):
            assert present
            assert self.server.read(self.server.bucket, key) == self.frame.write_csv().encode()
            assert got.verify().ok
        else:
            assert not (present and got.visible == "nothing")
        steer(isinstance(got, Receipt))


class Manifests:
    """Names and values of any characters: a manifest of either form is JSON, and lists the files that are there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.number = folder, 0
        words, forms = strategies.text(max_size=6), strategies.sampled_from([True, "redshift"])
        self.texts = strategies.tuples(
            words, strategies.lists(words | strategies.none(), min_size=1, max_size=3), forms
        )

    def attempt(self, drawn: tuple[str, list[str | None], Any]) -> None:
        """Deliver to a folder, by partition."""
        name, values, form = drawn
        self.number += 1
        place = self.folder / f"{self.number}"
        frame = pl.DataFrame({name: values, f"{name}x": range(len(values))}, schema_overrides={name: pl.String})
        how: dict[str, Any] = {"partition_by": name, "format": "csv", "run_id": RUN, "manifest": form}
        got = outcome(lambda: mc_sink.sink_madconnect(frame, f"{place}/", **how))
        steer(got)
        if got:
            facts = json.loads((place / "_manifests" / f"{RUN}.json").read_text(encoding="utf-8"))
            urls = (
                [file["path"] for file in facts["files"]] if form is True else [one["url"] for one in facts["entries"]]
            )
            assert sorted(Path(url.removeprefix("file://")) for url in urls) == sorted(place.rglob("*.csv"))
            assert form == "redshift" or facts["num_rows"] == len(values)


KINDS: dict[str, Callable[[Path, pytest.MonkeyPatch], Any]] = {
    "journals": lambda _, patch: Journals(patch),
    "notes": lambda _, __: Notes(),
    "shares": lambda _, __: Messages(Share),
    "deliveries of shares": lambda _, __: Messages(Delivery),
    "replies": lambda _, __: Replies(),
    "listings": lambda _, __: Listings(),
    "replies within a delivery": lambda _, patch: Deliveries(patch),
    "manifests": lambda folder, _: Manifests(folder),
}
# A request and a file take longer than a text, and a request that fails is sent again after a pause.
FEW = {"journals": 60, "notes": 60, "replies": 20, "listings": 25, "replies within a delivery": 15, "manifests": 25}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield what makes up things of a kind, and reads them."""
    monkeypatch.chdir(tmp_path)
    made = KINDS[request.param](tmp_path, monkeypatch)
    made.few = FEW.get(request.param, 150)
    with getattr(made, "server", nullcontext()):
        yield made


def test_nothing_that_is_read_breaks_its_reader(kind: Any) -> None:
    """A few of each kind."""
    examine(kind.texts, kind.attempt, kind.few)


@pytest.mark.long
@pytest.mark.timeout(2 * SECONDS)
def test_nothing_that_is_read_breaks_its_reader_in_ten_minutes(kind: Any) -> None:
    """Rounds of them until the time is over."""
    examine_for_minutes(kind.texts, kind.attempt, 200)
