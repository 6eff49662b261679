"""What a request to S3 is, in one word, and the log of all of them; shared by every server here."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.servers.wire import Head

WRITER_OPS: Final = frozenset({"Create", "Part", "Complete", "Put", "Abort", "List"})
"""What a delivery is made of; anything else, but for `PutAcl`, needs a fourth permission."""

_BUCKET_READS: Final = {"location": "GetBucketLocation", "uploads": "ListUploads", "versions": "ListVersions"}
_BUCKET_PLAIN: Final = {"HEAD": "HeadBucket", "PUT": "CreateBucket", "DELETE": "DeleteBucket", "GET": "ListV1"}
_KEY_READS: Final = {"uploadId": "ListParts", "acl": "GetAcl", "tagging": "GetTagging", "attributes": "GetAttributes"}
_KEY_PLAIN: Final = {"GET": "Get", "HEAD": "Head", "PUT": "Put", "DELETE": "Delete"}
_KEY_WRITES: Final = {
    ("PUT", "partNumber"): "Part",
    ("PUT", "acl"): "PutAcl",
    ("PUT", "tagging"): "PutTagging",
    ("POST", "uploads"): "Create",
    ("POST", "uploadId"): "Complete",
    ("DELETE", "uploadId"): "Abort",
    ("DELETE", "tagging"): "DeleteTagging",
}
_COPIES: Final = {"Put": "Copy", "Part": "PartCopy"}
_LOGGED: Final = {
    "content-length",
    "content-type",
    "content-md5",
    "content-encoding",
    "if-none-match",
    "if-match",
    "user-agent",
}
_UNLOGGED: Final = {"x-amz-security-token"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived: `n` counts all of a server's requests from 1, `head` is everything before its body.

    The names of `headers` are in small letters.
    """

    n: int
    op: str
    method: str
    target: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    head: bytes = field(repr=False)

    @property
    def upload_id(self) -> str | None:
        """The multipart upload it belongs to."""
        return self.query.get("uploadId")

    @property
    def part_number(self) -> int | None:
        """The number of the part it carries."""
        return int(self.query["partNumber"]) if self.query.get("partNumber", "").isdigit() else None


@dataclass(frozen=True, slots=True)
class Record:
    """A line of the log; `status` is 0 until, and unless, it is answered; `fault` is what was done to it."""

    n: int
    op: str
    bucket: str
    key: str
    upload_id: str | None
    part_number: int | None
    query: Mapping[str, str]
    headers: Mapping[str, str]
    status: int = 0
    fault: str | None = None


class OperationLog:
    """Every request in the order of arrival; it may be read while requests are under way."""

    def __init__(self) -> None:
        self._records: dict[int, Record] = {}
        self._lock = threading.Lock()

    def arrive(self, head: Head) -> Request:
        """Return a request its number and name, and write it down as not yet answered."""
        with self._lock:
            request = _parse(len(self._records) + 1, head)
            self._records[request.n] = _record(request)
        return request

    def settle(self, request: Request, *, status: int = 0, fault: str | None = None) -> None:
        """Write down how the request ended."""
        with self._lock:
            self._records[request.n] = replace(self._records[request.n], status=status, fault=fault)

    def __iter__(self) -> Iterator[Record]:
        with self._lock:
            return iter(tuple(self._records.values()))

    def __len__(self) -> int:
        return len(self._records)

    def ops(self) -> list[str]:
        """Return the requests' names alone, in the order of arrival."""
        return [record.op for record in self]

    def of(self, *ops: str) -> list[Record]:
        """Return the requests with one of these names."""
        return [record for record in self if record.op in ops]

    def forbidden(self) -> list[Record]:
        """Return the requests that three permissions are not enough for, whether they were granted or not."""
        return [record for record in self if record.op not in WRITER_OPS]


def recognise(method: str, bucket: str, key: str, query: Mapping[str, str], headers: Mapping[str, str]) -> str:
    """Name the operation: a writer's are `WRITER_OPS`, all others have names of their own, at worst `Other`."""
    if not bucket:
        return "ListBuckets" if method == "GET" else "Other"
    op = _key_op(method, query) if key else _bucket_op(method, query)
    return _COPIES.get(op, op) if "x-amz-copy-source" in headers else op


def _bucket_op(method: str, query: Mapping[str, str]) -> str:
    if method == "GET":
        if query.get("list-type") == "2":
            return "List"
        if read := next((name for sub, name in _BUCKET_READS.items() if sub in query), None):
            return read
    if method == "POST":
        return "DeleteMany" if "delete" in query else "Other"
    listing = method == "GET" and query.keys() <= {"prefix", "delimiter", "marker", "max-keys", "encoding-type"}
    return _BUCKET_PLAIN.get(method, "Other") if listing or not query else "Other"


def _key_op(method: str, query: Mapping[str, str]) -> str:
    if method == "GET" and (read := next((name for sub, name in _KEY_READS.items() if sub in query), None)):
        return read
    if write := next((name for (verb, sub), name in _KEY_WRITES.items() if verb == method and sub in query), None):
        return write
    return _KEY_PLAIN.get(method, "Other")


# What follows the bucket, or the access point, in a host that has it in front.
_OURS = ".localhost"


def _parse(n: int, head: Head) -> Request:
    method, target, _ = head.first
    path, _, query_text = target.partition("?")
    query = dict(parse_qsl(query_text, keep_blank_values=True))
    host = head.headers.get("host", "").partition(":")[0]
    whole = unquote(path).removeprefix("/")
    bucket, _, key = (host.removesuffix(_OURS), "", whole) if host.endswith(_OURS) else whole.partition("/")
    op = recognise(method, bucket, key, query, head.headers)
    return Request(n, op, method, target, bucket, key, query, head.headers, head.raw)


def _record(request: Request) -> Record:
    headers = {
        name: value
        for name, value in request.headers.items()
        if name in _LOGGED or (name.startswith("x-amz-") and name not in _UNLOGGED)
    }
    return Record(
        request.n,
        request.op,
        request.bucket,
        request.key,
        request.upload_id,
        request.part_number,
        request.query,
        headers,
    )
