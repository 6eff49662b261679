"""How strict and how slow the test server is, and how it says no."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from tests.servers.operations import WRITER_OPS
from tests.servers.s3_admin import Credentials

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

Bodies: TypeAlias = Literal["keep", "digest", "count"]
ETags: TypeAlias = Literal["s3", "whole", "empty", "other", "opaque"]
Kept: TypeAlias = Literal["honoured", "ignored"]
MIB: Final = 1 << 20
WRITER: Final = Credentials("FAULTSERVERWRITER", "fault-server-secret")
GRANTED: Final = WRITER_OPS | {"PutAcl", "HeadBucket"}
"""What the three documented permissions grant. Whether `Abort` is among them differs from store to store."""


class S3Error(Exception):
    """A refusal, to be answered as an error document."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, slots=True)
class Rules:
    """What the server grants, checks and keeps; the defaults are S3's own limits.

    `bodies`: keep them; or only check and `digest` them; or only `count` their bytes, where nothing is checked and
    ETags are made up. `granted` are operations. `latency` is in seconds for each request, `bandwidth` in bytes per
    second for all connections together.

    The others are the ways of stores that aren't AWS':

    - `if_none_match_on_put`, `if_none_match_on_complete`: "ignored" reads over it and replaces what is there.
    - `checksums`: "honoured" checks what a header claims, and echoes it in the reply; "ignored" does neither.
    - `signed_bodies`: "honoured" compares a body with its `x-amz-content-sha256`; "ignored" doesn't.
    - `etags`: "s3" are the MD5 of a Put and the MD5 of the parts' MD5s, with their number, of an upload. "whole": the
      MD5 of the object for an upload too. "empty": S3's, but Complete answers an empty one. "other": Complete answers
      S3's, and a listing shows the MD5 of the object. "opaque": 32 hex digits that mean nothing, for a Put and a part
      too, and others each time, as under KMS.
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
    signed_bodies: Kept = "honoured"
    etags: ETags = "s3"
    repeated_complete: Literal["NoSuchUpload", "OK", "InProgress"] = "NoSuchUpload"
    completed_uploads: Literal["forgotten", "kept"] = "forgotten"
    latency: float = 0.0
    bandwidth: float | None = None
