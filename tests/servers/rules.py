"""How strict and how slow the test server is, and how it says no."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from tests.servers.operations import WRITER_OPS
from tests.servers.s3_admin import Credentials

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

Bodies: TypeAlias = Literal["keep", "digest", "count"]
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
    second for all connections together. `repeated_complete` answers a Complete that was done before. Where
    `conditions` are ignored, `If-None-Match` is read over, as by stores that don't know it.
    """

    buckets: tuple[str, ...] = ("bucket",)
    credentials: tuple[Credentials, ...] = (WRITER,)
    granted: AbstractSet[str] = field(default=GRANTED)
    bodies: Bodies = "keep"
    min_part_size: int = 5 * MIB
    max_parts: int = 10_000
    list_page: int = 1_000
    versions: Literal["off", "on"] = "off"
    repeated_complete: Literal["NoSuchUpload", "OK"] = "NoSuchUpload"
    conditions: Literal["honoured", "ignored"] = "honoured"
    latency: float = 0.0
    bandwidth: float | None = None
