"""How strict and how slow the test server is, and how it says no."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from mc_sink.sandbox.admin import Credentials
from tests.servers.operations import WRITER_OPS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

Bodies: TypeAlias = Literal["keep", "digest", "count"]
ETags: TypeAlias = Literal["s3", "whole", "empty", "other", "unlike", "opaque"]
Kept: TypeAlias = Literal["honoured", "ignored"]
Kind: TypeAlias = Literal["FULL_OBJECT", "COMPOSITE"]
MIB: Final = 1 << 20
WRITER: Final = Credentials("FAULTSERVERWRITER", "fault-server-secret")
GRANTED: Final = WRITER_OPS | {"PutAcl", "HeadBucket"}
"""What the three documented permissions grant. Whether `Abort` is among them differs from store to store."""


class S3Error(Exception):
    """A refusal, to be answered as an error document."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


NOT_IMPLEMENTED: Final = (501, "NotImplemented", "A header you provided implies functionality that is not implemented")
SUMS: Final[Mapping[str, AbstractSet[Kind]]] = {
    "CRC32": {"FULL_OBJECT", "COMPOSITE"},
    "CRC32C": {"FULL_OBJECT", "COMPOSITE"},
    "CRC64NVME": {"FULL_OBJECT"},
    "SHA1": {"COMPOSITE"},
    "SHA256": {"COMPOSITE"},
}
"""AWS' checksums, and the types that an upload may have with each."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A header that a store doesn't take on some operations, where its value matches, and the answer that it gives.

    `value` is a regular expression for the whole value, in any case. `{header}` and `{value}` in the message of
    `answer` stand for what came.
    """

    ops: tuple[str, ...]
    header: str
    value: str = ".*"
    answer: tuple[int, str, str] = NOT_IMPLEMENTED

    def meets(self, op: str, headers: Mapping[str, str]) -> bool:
        """Return True if the store refuses a request with these headers."""
        asked = headers.get(self.header)
        return op in self.ops and asked is not None and bool(re.fullmatch(self.value, asked, re.IGNORECASE))

    def error(self, headers: Mapping[str, str]) -> S3Error:
        """Return the answer to a request with these headers."""
        status, code, message = self.answer
        return S3Error(status, code, message.format(header=self.header, value=headers.get(self.header, "")))


@dataclass(frozen=True, slots=True)
class Rules:
    """What the server grants, checks and keeps; the defaults are S3's own limits.

    `bodies`: keep them; or only check and `digest` them; or only `count` their bytes, where nothing is checked and
    ETags are made up. `granted` are operations. `latency` is in seconds for each request, `bandwidth` in bytes per
    second for all connections together.

    The others are the ways of stores that aren't AWS':

    - `if_none_match_on_put`, `if_none_match_on_complete`: "ignored" reads over it and replaces what is there.
    - `checksums`: "honoured" checks what a header claims, and echoes it in the reply; "ignored" does neither.
    - `refusals`: headers that it doesn't take. They are refused before a body is read.
    - `sums`: the checksums that an upload may be created with, and their types; `no_sum` answers all others, on a Put
      and a part too.
    - `sum_types`: "ignored" makes every upload with a checksum `COMPOSITE` that may be, under every requested type.
    - `sums_of_parts`: "required" refuses a Complete that lists a part without its checksum, as `InvalidPart`; by S3's
      own rules only a composite one needs them.
    - `equal_parts` refuses a Complete whose parts, but for a smaller last one, aren't all of the same size.
    - `object_size`: "ignored" doesn't compare the size that a Complete announces.
    - `signed_bodies`: "honoured" compares a body with its `x-amz-content-sha256`; "ignored" doesn't.
    - `content_md5`: "honoured" compares a body with its `content-md5`; "ignored" doesn't.
    - `etags`: "s3" are the MD5 of a Put and the MD5 of the parts' MD5s, with their number, of an upload. "whole": the
      MD5 of the object for an upload too. "empty": S3's, but Complete answers an empty one. "other": Complete answers
      S3's, and a listing shows the MD5 of the object. "unlike": those of uploads are sums of nothing, and not in hex.
      "opaque": 32 hex digits that mean nothing, for a Put and a part too, and others each time, as under KMS.
    - `repeated_complete` answers a Complete that was done before: 404, the first answer, or 500 "already in progress".
    - `completed_uploads`: "forgotten" when their object is visible, or "kept", as after a crash in between: then an
      Abort succeeds and collects the parts of the visible object, which stays listed and can't be read any more.
    """

    buckets: tuple[str, ...] = ("bucket",)
    credentials: tuple[Credentials, ...] = (WRITER,)
    granted: AbstractSet[str] = field(default=GRANTED)
    bodies: Bodies = "keep"
    min_part_size: int = 5 * MIB
    max_parts: int = 10_000
    list_page: int = 1_000
    versions: Literal["off", "on"] = "off"
    if_none_match_on_put: Kept = "honoured"
    if_none_match_on_complete: Kept = "honoured"
    checksums: Kept = "honoured"
    refusals: tuple[Refusal, ...] = ()
    sums: Mapping[str, AbstractSet[Kind]] = field(default_factory=lambda: SUMS)
    no_sum: tuple[int, str, str] = (400, "InvalidRequest", "Checksum algorithm provided is unsupported.")
    sum_types: Kept = "honoured"
    sums_of_parts: Literal["optional", "required"] = "optional"
    equal_parts: bool = False
    object_size: Kept = "honoured"
    signed_bodies: Kept = "honoured"
    content_md5: Kept = "honoured"
    etags: ETags = "s3"
    repeated_complete: Literal["NoSuchUpload", "OK", "InProgress"] = "NoSuchUpload"
    completed_uploads: Literal["forgotten", "kept"] = "forgotten"
    latency: float = 0.0
    bandwidth: float | None = None
